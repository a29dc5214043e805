// SPDX-License-Identifier: GPL-2.0

//! A lock stays where it is while somebody has it.

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
