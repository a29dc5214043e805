// SPDX-License-Identifier: GPL-2.0

//! An exclusive reader holds the lock as a writer does.

//~ ERROR a section in mode `quiesce::seqlock::Bh` is too weak for a lock with readers in `quiesce::seqlock::Irq` context

use quiesce::seqlock::{Irq, SeqLock};

/// Reads.
pub fn read(lock: &SeqLock<u64, Irq>) -> u64 {
    #[cfg(not(fixed))]
    return *lock.read_exclusive_bh();
    #[cfg(fixed)]
    return *lock.read_exclusive_irq();
}
