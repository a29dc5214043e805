// SPDX-License-Identifier: GPL-2.0

//! A lock with readers in softirqs has no writer that leaves bottom halves enabled.

//~ ERROR Preempt` is too weak for a lock with readers in `

use quiesce::seqlock::{Bh, SeqLock};

/// Writes.
pub fn write(lock: &SeqLock<u64, Bh>) {
    #[cfg(not(fixed))]
    drop(lock.try_write());
    #[cfg(fixed)]
    drop(lock.try_write_bh());
}
