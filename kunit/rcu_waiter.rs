// SPDX-License-Identifier: GPL-2.0

//! A module that leaks futures with wakers of `waker.rs`, a module that does not use quiesce: on the heap,
//! and one in a static.
//!
//! They wait for the domain that `quiesce_rcu_holder lend=1` reads.

use core::{
    cell::UnsafeCell,
    future::Future as _,
    mem::{
        forget,
        MaybeUninit, //
    },
    pin::Pin,
    ptr::null,
    task::{
        Context,
        Waker, //
    }, //
};
use kernel::prelude::*;
use quiesce::rcu::{
    Domain,
    Global,
    GracePeriod,
    Object,
    RcuCell,
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
    params: {
        defer: u32 {
            default: 0,
            description: "Also defer an object",
        },
    },
}

extern "C" {
    fn quiesce_waker_table() -> *const c_void;
}

type Future = GracePeriod<Srcu<Lent>>;

/// A place in the module's memory, which is freed without a call of any destructor.
///
/// Safe code gets `&'static mut` of one, too: from the exclusive owner of a `Rundown` in a static, by leaking
/// it. lockdep would report that owner as a lock that insmod holds when it returns.
struct Slot(UnsafeCell<MaybeUninit<Future>>);

// SAFETY: Accessed by the module's init only.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot(UnsafeCell::new(MaybeUninit::uninit()));

/// Pins a future in the static.
fn in_a_static(lent: Srcu<Lent>) -> Result<Pin<&'static mut Future>> {
    // SAFETY: The module's init calls this once, and nothing else accesses the static.
    let slot = unsafe { &mut *SLOT.0.get() };
    Ok(slot.write_pin_init(lent.synchronize_async())?)
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
        if in_a_static(lent)?
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            return Err(EINVAL);
        }
        if module_parameters::defer.value() != 0 {
            let cell = RcuCell::<_, Global>::new(Some(Object::new(waker).boxed(GFP_KERNEL)?));
            drop(cell.replace(None));
        }
        Ok(Self)
    }
}
