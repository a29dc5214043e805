// SPDX-License-Identifier: GPL-2.0

//! An example from XWOS's documentation, whose store optimistic readers would take for consistent.

//~ ERROR cannot assign to data in dereference of `SeqLockGuard

use quiesce::seqlock::{SeqLock, SeqLockMode};

/// Writes.
pub fn write(lock: &SeqLock<u32>) {
    #[cfg(not(fixed))]
    let mut guard = lock.lock(SeqLockMode::ReadExclusiveLock);
    #[cfg(fixed)]
    let mut guard = lock.lock(SeqLockMode::WriteLock);
    *guard = 1;
    SeqLock::unlock(guard);
}
