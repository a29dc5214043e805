// SPDX-License-Identifier: GPL-2.0

//! A lock stays where it was made.

//~ ERROR cannot be unpinned

use kernel::prelude::*;
use quiesce::seqlock::SeqLock;

/// Moves one away.
pub fn take(lock: Pin<KBox<SeqLock<u32>>>) {
    #[cfg(not(fixed))]
    let lock = Pin::into_inner(lock);
    drop(lock);
}
