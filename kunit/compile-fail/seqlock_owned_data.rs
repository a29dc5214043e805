// SPDX-License-Identifier: GPL-2.0

//! The value must not own anything either: a copy of it would be a second owner.

//~ ERROR the trait bound `Box<u32, Kmalloc>: core::marker::Copy` is not satisfied

use kernel::prelude::*;
use quiesce::seqlock::SeqLock;

/// Reads.
#[cfg(not(fixed))]
pub fn read(lock: &SeqLock<KBox<u32>>) -> KBox<u32> {
    lock.read()
}

/// Reads.
#[cfg(fixed)]
pub fn read(lock: &SeqLock<u32>) -> Result<KBox<u32>> {
    Ok(KBox::new(lock.read(), GFP_KERNEL)?)
}
