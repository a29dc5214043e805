// SPDX-License-Identifier: GPL-2.0

//! A module with wakers that does not use quiesce, as an executor does not: `rcu_waiter.rs` waits with them.
//!
//! It logs when the last waker is dropped.

use core::task::{
    RawWaker,
    RawWakerVTable, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

module! {
    type: Executor,
    name: "quiesce_waker",
    authors: ["The quiesce developers"],
    description: "Has wakers, and uses nothing",
    license: "GPL",
}

/// The number of wakers that are left.
static WAKERS: Atomic<i32> = Atomic::new(0);

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, drop_waker, |_| (), drop_waker);

fn clone(data: *const ()) -> RawWaker {
    WAKERS.add(1, Relaxed);
    RawWaker::new(data, &TABLE)
}

fn drop_waker(_data: *const ()) {
    if WAKERS.fetch_sub(1, Full) == 1 {
        pr_info!("the last waker is dropped\n");
    }
}

/// Returns the table of the wakers, whose data is null; the first waker is counted.
#[no_mangle]
extern "C" fn quiesce_waker_table() -> *const c_void {
    WAKERS.add(1, Relaxed);
    (&raw const TABLE).cast()
}

struct Executor;

impl kernel::Module for Executor {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
