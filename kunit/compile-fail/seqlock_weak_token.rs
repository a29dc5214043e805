// SPDX-License-Identifier: GPL-2.0

//! A token proves only the context it was made for, and no stronger one.

//~ ERROR Bh` is too weak

use quiesce::seqlock::{bh_disable, Irq, RawSeqLock};

/// Writes.
pub fn write(lock: &RawSeqLock<u64, Irq>) {
    #[cfg(not(fixed))]
    let token = bh_disable().unwrap();
    #[cfg(not(fixed))]
    lock.write_with(&token).set(1);
    #[cfg(fixed)]
    let token = kernel::interrupt::local_interrupt_disable();
    #[cfg(fixed)]
    lock.write_with(&token).set(1);
    let _ = bh_disable;
}
