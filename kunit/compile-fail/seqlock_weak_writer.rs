// SPDX-License-Identifier: GPL-2.0

//! A lock with readers in interrupts has no writer that leaves interrupts enabled.

//~ ERROR a section in mode `quiesce::seqlock::Preempt` is too weak for a lock with readers in `quiesce::seqlock::Irq` context

use quiesce::seqlock::{Irq, SeqLock};

/// Writes.
pub fn write(lock: &SeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    lock.write().set(1);
    #[cfg(fixed)]
    lock.write_irq().set(1);
}
