// SPDX-License-Identifier: GPL-2.0

//! Disabled bottom halves are too weak for readers in hardware interrupts.

//~ ERROR Bh` is too weak for a lock with readers in `

use quiesce::seqlock::{Irq, RawSeqLock};

/// Writes.
pub fn write(lock: &RawSeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    lock.write_bh().set(1);
    #[cfg(fixed)]
    lock.write_irqsave().set(1);
}
