// SPDX-License-Identifier: GPL-2.0

//! A lock with readers in interrupts has no writer that leaves interrupts enabled.

//~ ERROR Preempt` is too weak for a lock with readers in `

use quiesce::seqlock::{Irq, RawSeqLock};

/// Writes.
pub fn write(lock: &RawSeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    lock.write().set(1);
    #[cfg(fixed)]
    lock.write_irq().set(1);
}
