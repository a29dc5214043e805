// SPDX-License-Identifier: GPL-2.0

//! Lockdep has eight subclasses.

//~ ERROR lockdep has 8 subclasses, 0 to 7

use quiesce::seqlock::{Preempt, SeqLock};

/// Writes.
pub fn write(lock: &SeqLock<u64>) {
    #[cfg(not(fixed))]
    lock.write_nested::<Preempt, 8>().set(1);
    #[cfg(fixed)]
    lock.write_nested::<Preempt, 7>().set(1);
}
