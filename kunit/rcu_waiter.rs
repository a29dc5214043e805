// SPDX-License-Identifier: GPL-2.0

//! A module that leaks futures with wakers of `waker.rs`, a module that does not use quiesce.
//!
//! They wait for the domain that `quiesce_rcu_holder lend=1` reads.

use core::{
    future::Future,
    mem::forget,
    ptr::null,
    task::{
        Context,
        Waker, //
    }, //
};
use kernel::prelude::*;
use quiesce::rcu::{
    Domain,
    Srcu, //
};

#[path = "rcu/lent.rs"]
mod lent;

use lent::Lent;

module! {
    type: Waiter,
    name: "quiesce_rcu_waiter",
    authors: ["The quiesce developers"],
    description: "Leaks futures with wakers of another module",
    license: "GPL",
}

extern "C" {
    fn quiesce_waker_table() -> *const c_void;
}

struct Waiter;

impl kernel::Module for Waiter {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lent = Srcu::<Lent>::init()?;
        // SAFETY: The function returns the address of a static table, whose functions ignore the data. This
        // module depends on that of the table.
        let waker = unsafe { Waker::new(null(), &*quiesce_waker_table().cast()) };
        for _ in 0..100 {
            let mut future = KBox::pin(lent.synchronize_async(), GFP_KERNEL)?;
            if future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                return Err(EINVAL);
            }
            forget(future);
        }
        Ok(Self)
    }
}
