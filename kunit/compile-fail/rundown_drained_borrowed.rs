// SPDX-License-Identifier: GPL-2.0

//! The callback of a per-CPU reference must not borrow, as it may be called after the borrow ends.

//~ ERROR `local` does not live long enough

use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};
use quiesce::rundown::{Drained, PerCpuRundownRef};

pub struct Callback<'a>(&'a Atomic<u32>);

impl Drained for Callback<'_> {
    fn drained(&self) {
        self.0.store(1, Relaxed);
    }
}

pub fn f() -> Result {
    #[cfg(not(fixed))]
    let local = Atomic::new(0u32);
    #[cfg(fixed)]
    static local: Atomic<u32> = Atomic::new(0);
    let users = KBox::pin_init(
        PerCpuRundownRef::with_callback(Callback(&local)),
        GFP_KERNEL,
    )?;
    users.begin_rundown();
    core::mem::forget(users);
    Ok(())
}
