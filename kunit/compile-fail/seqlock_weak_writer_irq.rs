// SPDX-License-Identifier: GPL-2.0

//! Disabled bottom halves are too weak for readers in hardware interrupts.

//~ ERROR a section in mode `quiesce::seqlock::Bh` is too weak for a lock with readers in `quiesce::seqlock::Irq` context

use quiesce::seqlock::{Irq, SeqLock};

/// Writes.
pub fn write(lock: &SeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    lock.write_bh().set(1);
    #[cfg(fixed)]
    lock.write_irqsave().set(1);
}
