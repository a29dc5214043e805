// SPDX-License-Identifier: GPL-2.0

//! The seed's modes are held to the same rule.

//~ ERROR a section in mode `quiesce::seqlock::Preempt` is too weak for a lock with readers in `quiesce::seqlock::Irq` context

use quiesce::seqlock::{Irq, SeqLock, SeqLockMode};

/// Writes.
pub fn write(lock: &SeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    let mode = SeqLockMode::WriteLock;
    #[cfg(fixed)]
    let mode = SeqLockMode::WriteLockCpuirqSave(None);
    *lock.lock(mode) = 1;
}
