// SPDX-License-Identifier: GPL-2.0

//! A writer stores word by word; no reference to the shared value can be written through.

//~ ERROR cannot assign to data in dereference of `WriteGuard

use quiesce::seqlock::SeqLock;

/// Writes.
pub fn write(lock: &SeqLock<u32>) {
    let mut guard = lock.write();
    #[cfg(not(fixed))]
    {
        *guard = 1;
    }
    #[cfg(fixed)]
    guard.set(1);
}
