// SPDX-License-Identifier: GPL-2.0

//! The saved interrupt state is private to the guard.

//~ ERROR mismatched types

use quiesce::seqlock::{SeqLock, SeqLockMode};

/// Writes.
pub fn write(lock: &SeqLock<u32>) {
    #[cfg(not(fixed))]
    let flags = Some(0usize);
    #[cfg(fixed)]
    let flags = None;
    *lock.lock(SeqLockMode::WriteLockCpuirqSave(flags)) = 1;
}
