// SPDX-License-Identifier: GPL-2.0

//! Deliberately broken sequence locks: the stress has to find each of them out.
//!
//! One implementation over the kernel's atomics, right as [`Right`], and wrong in one thing as each
//! of the others. x86 does not reorder stores with stores or loads with loads, so what a missing
//! barrier allows other CPUs to do is done here by hand.

use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        barrier::{
            smp_mb,
            Read,
            Write, //
        },
        Arc,
        SpinLock, //
    },
};

use super::stress::{
    From,
    Payload,
    Subject, //
};
use crate::support;

/// The step that a mutant leaves out.
pub(super) trait Defect: Send + Sync + 'static {
    /// No `smp_wmb()` after the first increment: half of the stores are seen before it.
    const NO_WRITE_BARRIER_BEGIN: bool = false;
    /// No `smp_wmb()` before the second increment: half of the stores are seen after it.
    const NO_WRITE_BARRIER_END: bool = false;
    /// A reader does not check whether the counter is odd.
    const NO_ODD_CHECK: bool = false;
    /// No `smp_rmb()` before the counter is read again: half of the loads are made after it.
    const NO_READ_BARRIER: bool = false;
    /// The writer believes itself an exclusive reader, and does not count.
    const NO_COUNT: bool = false;
}

/// Nothing is wrong: it passes, so that the others fail for what they are named after.
pub(super) struct Right;
pub(super) struct NoWriteBarrierBegin;
pub(super) struct NoWriteBarrierEnd;
pub(super) struct NoOddCheck;
pub(super) struct NoReadBarrier;
pub(super) struct NoCount;

impl Defect for Right {}
impl Defect for NoWriteBarrierBegin {
    const NO_WRITE_BARRIER_BEGIN: bool = true;
}
impl Defect for NoWriteBarrierEnd {
    const NO_WRITE_BARRIER_END: bool = true;
}
impl Defect for NoOddCheck {
    const NO_ODD_CHECK: bool = true;
}
impl Defect for NoReadBarrier {
    const NO_READ_BARRIER: bool = true;
}
impl Defect for NoCount {
    const NO_COUNT: bool = true;
}

/// A sequence lock for writers in process context.
#[pin_data]
pub(super) struct Twin<D: Defect> {
    sequence: Atomic<u32>,
    words: [Atomic<u64>; 16],
    #[pin]
    writer: SpinLock<()>,
    _defect: core::marker::PhantomData<D>,
}

impl<D: Defect> Twin<D> {
    fn store(&self, payload: &Payload, half: usize) {
        let from = [&payload.low, &payload.high][half];
        for (to, word) in self.words[8 * half..].iter().zip(from) {
            to.store(*word, Relaxed);
        }
    }

    fn load(&self, payload: &mut Payload, half: usize) {
        let to = [&mut payload.low, &mut payload.high];
        for (to, word) in to
            .into_iter()
            .nth(half)
            .into_iter()
            .flatten()
            .zip(&self.words[8 * half..])
        {
            *to = word.load(Relaxed);
        }
    }

    fn count(&self) {
        if !D::NO_COUNT {
            let next = self.sequence.load(Relaxed).wrapping_add(1);
            self.sequence.store(next, Relaxed);
        }
    }
}

impl<D: Defect> Subject for Twin<D> {
    fn writable(from: From) -> bool {
        from == From::Process
    }

    fn new() -> Result<Arc<Self>> {
        let zero = Payload::of(0);
        let word = |i: usize| Atomic::new(if i < 8 { zero.low[i] } else { zero.high[i - 8] });
        Arc::pin_init(
            pin_init!(Self {
                sequence: Atomic::new(0),
                words: core::array::from_fn(word),
                writer <- new_spinlock!((), "twin"),
                _defect: core::marker::PhantomData,
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, _way: u64) -> Payload {
        let mut copy = Payload::of(0);
        loop {
            let start = self.sequence.load(Acquire);
            if !D::NO_ODD_CHECK && start & 1 != 0 {
                support::cpu_relax();
                continue;
            }
            self.load(&mut copy, 0);
            let early = self.sequence.load(Relaxed);
            if D::NO_READ_BARRIER {
                support::udelay(1);
            }
            self.load(&mut copy, 1);
            smp_mb(Read);
            let end = if D::NO_READ_BARRIER {
                early
            } else {
                self.sequence.load(Relaxed)
            };
            if end == start {
                return copy;
            }
        }
    }

    fn write(&self, _from: From, pause: impl Fn()) {
        let _writer = self.writer.lock();
        let next = Payload::of(self.words[0].load(Relaxed).wrapping_add(1));
        if D::NO_WRITE_BARRIER_BEGIN {
            self.store(&next, 0);
            pause();
        }
        self.count();
        smp_mb(Write);
        if !D::NO_WRITE_BARRIER_BEGIN {
            self.store(&next, 0);
        }
        pause();
        if !D::NO_WRITE_BARRIER_END {
            self.store(&next, 1);
        }
        smp_mb(Write);
        self.count();
        if D::NO_WRITE_BARRIER_END {
            pause();
            self.store(&next, 1);
        }
    }
}

#[kunit_tests(quiesce_seqlock_broken)]
mod tests {
    use super::*;
    use crate::seqlock::stress::{
        stress,
        Plan, //
    };

    /// As much as the sound ones get, or until something is found.
    const PLAN: Plan = Plan {
        reads: 400_000,
        pause_us: 2,
        stop: true,
    };

    #[test]
    fn right_passes() -> Result {
        let report = stress::<Twin<Right>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads && report.process_writes > 0);
        Ok(())
    }

    #[test]
    fn no_write_barrier_after_the_first_increment_is_caught() -> Result {
        assert!(stress::<Twin<NoWriteBarrierBegin>>(PLAN)?.torn > 0);
        Ok(())
    }

    #[test]
    fn no_write_barrier_before_the_second_increment_is_caught() -> Result {
        assert!(stress::<Twin<NoWriteBarrierEnd>>(PLAN)?.torn > 0);
        Ok(())
    }

    #[test]
    fn no_odd_check_is_caught() -> Result {
        assert!(stress::<Twin<NoOddCheck>>(PLAN)?.torn > 0);
        Ok(())
    }

    #[test]
    fn no_read_barrier_is_caught() -> Result {
        assert!(stress::<Twin<NoReadBarrier>>(PLAN)?.torn > 0);
        Ok(())
    }

    #[test]
    fn a_write_under_an_exclusive_read_is_caught() -> Result {
        assert!(stress::<Twin<NoCount>>(PLAN)?.torn > 0);
        Ok(())
    }
}
