// SPDX-License-Identifier: GPL-2.0

//! A lock is released by its own guard only, whichever lock the caller names.

//~ ERROR no method named `unlock` found

use quiesce::seqlock::{SeqLock, SeqLockMode};

/// Releases one by the guard of another.
pub fn release(a: &SeqLock<u32>, b: &SeqLock<u32>) {
    let _ = a;
    let guard = b.lock(SeqLockMode::WriteLock);
    #[cfg(not(fixed))]
    a.unlock(guard);
    #[cfg(fixed)]
    SeqLock::unlock(guard);
}
