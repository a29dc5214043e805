// SPDX-License-Identifier: GPL-2.0

//! An exclusive reader cannot store.

//~ ERROR no method named `set` found for struct `ExclusiveGuard

use quiesce::seqlock::SeqLock;

/// Writes.
pub fn write(lock: &SeqLock<u32>) {
    #[cfg(not(fixed))]
    lock.read_exclusive().set(1);
    #[cfg(fixed)]
    lock.write().set(1);
}
