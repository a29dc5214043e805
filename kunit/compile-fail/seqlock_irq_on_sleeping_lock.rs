// SPDX-License-Identifier: GPL-2.0

//! A lock that sleeps on PREEMPT_RT cannot be made for hardware interrupts.

//~ ERROR a `SeqLock` cannot be used in hardware interrupts: it sleeps on PREEMPT_RT
//~ ERROR or a `SeqLock<T, ThreadedIrq>`, if on PREEMPT_RT all the interrupt handlers that use it

#[cfg(fixed)]
use quiesce::seqlock::RawSeqLock as Lock;
#[cfg(not(fixed))]
use quiesce::seqlock::SeqLock as Lock;
use quiesce::{seqlock::Irq, seqlock_static};

seqlock_static! {
    /// Read in hardware interrupts.
    pub static CLOCK: Lock<u64, Irq> = 0;
}
