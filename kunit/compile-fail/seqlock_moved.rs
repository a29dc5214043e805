// SPDX-License-Identifier: GPL-2.0

//! A lock cannot be moved while it is held.

//~ ERROR cannot move out of `lock` because it is borrowed

use quiesce::seqlock::SeqLock;

/// Moves one away.
pub fn take(lock: SeqLock<u32>) -> u32 {
    let guard = lock.write();
    #[cfg(fixed)]
    drop(guard);
    let moved = lock;
    #[cfg(not(fixed))]
    drop(guard);
    moved.read()
}
