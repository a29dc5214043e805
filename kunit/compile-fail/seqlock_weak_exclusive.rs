// SPDX-License-Identifier: GPL-2.0

//! An exclusive reader holds the lock as a writer does.

//~ ERROR Bh` is too weak for a lock with readers in `

use quiesce::seqlock::{Irq, RawSeqLock};

/// Reads.
pub fn read(lock: &RawSeqLock<u64, Irq>) -> u64 {
    #[cfg(not(fixed))]
    return *lock.read_exclusive_bh();
    #[cfg(fixed)]
    return *lock.read_exclusive_irq();
}
