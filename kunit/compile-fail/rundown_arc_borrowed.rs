// SPDX-License-Identifier: GPL-2.0

//! An object that borrows is not guarded by an `Arc`: a worker may drop the last one, after the borrow
//! has ended.

//~ ERROR `local` does not live long enough

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        rcu, Arc,
    },
};
use quiesce::rundown::{HasRundown, Rundown};

pub struct Borrows<'a>(&'a Atomic<u32>);

impl Drop for Borrows<'_> {
    fn drop(&mut self) {
        self.0.store(1, Relaxed);
    }
}

pub fn f() -> Result {
    #[cfg(not(fixed))]
    let local = Atomic::new(0u32);
    #[cfg(fixed)]
    static local: Atomic<u32> = Atomic::new(0);
    let object = Arc::new(Rundown::new(Borrows(&local)), GFP_KERNEL)?;
    let guard = HasRundown::try_acquire_arc(object)?;
    let section = rcu::read_lock();
    drop(guard);
    drop(section);
    Ok(())
}
