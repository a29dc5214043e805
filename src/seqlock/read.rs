// SPDX-License-Identifier: GPL-2.0

//! Optimistic readers.
//!
//! A reader waits until the counter is even, copies the value, and reads the counter again. If it
//! has not changed, no writer stored during the copy, which is a value of the type then; otherwise
//! the copy is discarded and the reader repeats. It only loads, so readers share the cache lines of
//! the lock; on PREEMPT_RT a reader that meets a writer that sleeps waits for its lock. [`ReadSection`] gives the same steps to the caller one by one.

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    bindings,
    processor::cpu_relax, //
};

use super::{
    data::{
        WordCell,
        Words, //
    },
    sequence::{
        self,
        Start, //
    },
    spinlock::Lock,
    Body,
    Context,
    Field,
    Kind,
    SeqData,
    SeqLock, //
};

impl<T: SeqData, K: Kind> Body<T, K> {
    #[inline(always)]
    pub(super) fn begin(&self) -> u32 {
        // SAFETY: By the type invariant of `Body` the lock is initialised, and it stays in place
        // while `self` is borrowed.
        unsafe { K::begin(self.raw()) }
    }

    #[inline(always)]
    pub(super) fn retry(&self, start: u32) -> bool {
        // SAFETY: By the type invariant of `Body` the lock is initialised, and it stays in place
        // while `self` is borrowed.
        unsafe { sequence::retry(self.sequence(), start) }
    }

    /// Calls `copy` once, without waiting for a writer; returns its result if no writer interfered.
    #[inline(always)]
    fn try_copy<R>(&self, copy: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: By the type invariant of `Body` the lock is initialised, and it stays in place
        // while `self` is borrowed.
        let start = unsafe { sequence::peek(self.sequence()) };
        if start & 1 != 0 {
            return None;
        }
        let copy = copy();
        (!self.retry(start)).then_some(copy)
    }
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Copies the value out; repeats that until no writer interfered.
    ///
    /// Choose it where waiting for a writer is fine. Spins while a writer is active; on PREEMPT_RT a
    /// [`Spin`](super::Spin) lock sleeps until the write ends. The number of copies has no bound: see
    /// [`SeqLock::read_or_lock`].
    ///
    /// For process context; for softirqs if `C` is [`Bh`](super::Bh) or stronger; for hardware
    /// interrupts if `C` is [`Irq`](super::Irq), as a [`RawSeqLock`](super::RawSeqLock) can have it, or,
    /// without PREEMPT_RT, [`ThreadedIrq`](super::ThreadedIrq). Not for NMIs, and not within a write
    /// guard of the same lock, where it spins indefinitely.
    #[inline]
    pub fn read(&self) -> T {
        if K::Lock::SLEEPS && !sequence::CHECKED {
            if let Some(value) = self.try_read() {
                return value;
            }
            return self.read_asleep();
        }
        self.read_again()
    }

    #[inline(always)]
    fn read_again(&self) -> T {
        loop {
            let start = self.body.begin();
            let copy = self.body.data.load();
            if !self.body.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // value was copied.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Slow path of [`SeqLock::read`] where waiting for a writer may sleep. Out of line, so that the
    /// fast path does not save registers for a call that it rarely makes.
    #[cold]
    #[inline(never)]
    fn read_asleep(&self) -> T {
        self.read_again()
    }

    /// Copies the value out in one pass; returns [`None`] if a writer interfered or is active.
    ///
    /// Choose it where nothing may wait. For any context, including NMI and PREEMPT_RT.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::seqlock::SeqLock;
    /// fn sample(lock: &SeqLock<u64>, last: u64) -> u64 {
    ///     lock.try_read().unwrap_or(last)
    /// }
    /// ```
    #[inline]
    pub fn try_read(&self) -> Option<T> {
        let copy = self.body.try_copy(|| self.body.data.load())?;
        // SAFETY: The counter was even and is the same, so that no writer stored while the value was
        // copied.
        Some(unsafe { copy.assume_whole() })
    }

    /// Copies the value to the caller's memory, for values of any size; see [`SeqLock::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// # use quiesce::seqlock::SeqLock;
    /// fn sum(table: &SeqLock<[u64; 512]>) -> Result<u64> {
    ///     let mut copy = KBox::new_uninit(GFP_KERNEL)?;
    ///     Ok(table.read_into(&mut copy).iter().sum())
    /// }
    /// ```
    #[inline]
    pub fn read_into<'a>(&self, to: &'a mut MaybeUninit<T>) -> &'a mut T {
        loop {
            let start = self.body.begin();
            self.body.data.load_into(to);
            if !self.body.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // value was copied.
                return unsafe { to.assume_init_mut() };
            }
        }
    }

    /// Copies the value to the caller's memory in one pass; see [`SeqLock::try_read`].
    #[inline]
    pub fn try_read_into<'a>(&self, to: &'a mut MaybeUninit<T>) -> Option<&'a mut T> {
        self.body.try_copy(|| self.body.data.load_into(to))?;
        // SAFETY: The counter was even and is the same, so that no writer stored while the value was
        // copied.
        Some(unsafe { to.assume_init_mut() })
    }

    /// Copies one field out; repeats that until no writer interfered.
    ///
    /// Context as for [`SeqLock::read`].
    #[inline]
    pub fn read_field<F: SeqData>(&self, field: Field<T, F>) -> F {
        loop {
            let start = self.body.begin();
            let copy = self.body.data.load_field(field);
            if !self.body.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // field was copied, and a part of a value is a value of its type.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies the value out in at most `N` passes, and under the lock if writers interfere with all.
    ///
    /// Choose it where the wait must have a bound: it is that for the lock, which is acquired in mode
    /// `C`. Context as for [`SeqLock::read_exclusive_in`] in that mode.
    #[inline]
    pub fn read_or_lock<const N: usize>(&self) -> T {
        for _ in 0..N {
            if let Some(value) = self.try_read() {
                return value;
            }
            cpu_relax();
        }
        *self.read_exclusive_in::<C>()
    }

    /// Begins a read whose copies the caller validates, in a loop of its own.
    ///
    /// Waits while a writer is active. Context as for [`SeqLock::read`].
    ///
    /// A section lasts for a quarter of a second: copies that are validated later are refused, because
    /// the counter has 32 bits and is the same after 2^31 writes. That takes a clock source which
    /// advances with interrupts disabled, as all machines have but some without SMP.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::{seq_field, seqlock::SeqLock};
    /// # #[derive(Clone, Copy)]
    /// # struct Clock { seconds: u64, nanos: u32 }
    /// fn now(clock: &SeqLock<Clock>) -> (u64, u32) {
    ///     loop {
    ///         let section = clock.begin();
    ///         let seconds = section.field(seq_field!(Clock, seconds));
    ///         let nanos = section.field(seq_field!(Clock, nanos));
    ///         if let (Ok(seconds), Ok(nanos)) = (seconds.validate(), nanos.validate()) {
    ///             return (seconds, nanos);
    ///         }
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn begin(&self) -> ReadSection<'_, T> {
        let start = self.body.begin();
        // SAFETY: By the type invariant of `Body` the lock is initialised, and `data` is stored to
        // in its write sections alone. The counter was `start` just now, which is even.
        unsafe { ReadSection::new(&self.body.data, self.body.sequence(), start) }
    }

    /// Begins a read as [`SeqLock::begin`], by who holds the lock until the section has ended. So it
    /// lasts as long as that takes.
    #[inline(always)]
    fn begin_exclusive(&self) -> ReadSection<'_, T> {
        let start = Start::without_limit(self.body.begin());
        // SAFETY: By the type invariant of `Body` the lock is initialised, and `data` is stored to
        // in its write sections alone. The counter was `start` just now, which is even.
        unsafe { ReadSection::with_start(&self.body.data, self.body.sequence(), start) }
    }

    /// Begins a read as [`SeqLock::begin`], unless a writer is active. For any context.
    #[inline]
    pub fn try_begin(&self) -> Option<ReadSection<'_, T>> {
        // SAFETY: By the type invariant of `Body` the lock is initialised.
        let start = unsafe { sequence::peek(self.body.sequence()) };
        if start & 1 != 0 {
            return None;
        }
        // SAFETY: By the type invariant of `Body` the lock is initialised, and `data` is stored to
        // in its write sections alone. The counter was `start` just now, which is even.
        Some(unsafe { ReadSection::new(&self.body.data, self.body.sequence(), start) })
    }

    /// Calls `f` until it returns [`Ok`] and no writer interfered with the call.
    ///
    /// Choose it for several fields of one value, for what is computed from it on the way, and for
    /// data beside the lock, which is accessed by marked accesses. `f` must not have effects that
    /// may not be repeated, and takes less than a quarter of a second, see [`SeqLock::begin`]. Context as
    /// for [`SeqLock::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::{seq_field, seqlock::SeqLock};
    /// # #[derive(Clone, Copy)]
    /// # struct Clock { seconds: u64, nanos: u32 }
    /// fn now(clock: &SeqLock<Clock>) -> (u64, u32) {
    ///     clock.read_section(|s| {
    ///         let seconds = s.field(seq_field!(Clock, seconds));
    ///         let nanos = s.field(seq_field!(Clock, nanos));
    ///         Ok((seconds.validate()?, nanos.validate()?))
    ///     })
    /// }
    /// ```
    #[inline]
    pub fn read_section<R>(&self, mut f: impl FnMut(&ReadSection<'_, T>) -> Result<R, Retry>) -> R {
        loop {
            if let Some(ret) = self.begin().pass(&mut f) {
                return ret;
            }
        }
    }

    /// Calls `f` at most `N` times as [`SeqLock::read_section`] does, and under the lock if writers
    /// interfere with all of them; C's `scoped_seqlock_read()`.
    ///
    /// Choose it for a walk that may take long, or whose wait must have a bound. The last call runs
    /// in mode `C`, and must not sleep; all that it copies is valid, however long it takes. Context as
    /// for [`SeqLock::read_exclusive_in`] in that mode.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::sync::atomic::{Atomic, Relaxed};
    /// # use quiesce::seqlock::SeqLock;
    /// /// Counters that belong together, changed under the lock.
    /// struct Stats {
    ///     lock: SeqLock<()>,
    ///     counters: [Atomic<u64>; 64],
    /// }
    ///
    /// fn sum(stats: &Stats) -> u64 {
    ///     stats.lock.read_section_or_lock::<1, _>(|_| {
    ///         Ok(stats.counters.iter().map(|c| c.load(Relaxed)).sum())
    ///     })
    /// }
    /// ```
    #[inline]
    pub fn read_section_or_lock<const N: usize, R>(
        &self,
        mut f: impl FnMut(&ReadSection<'_, T>) -> Result<R, Retry>,
    ) -> R {
        loop {
            for _ in 0..N {
                if let Some(ret) = self.try_begin().and_then(|section| section.pass(&mut f)) {
                    return ret;
                }
                cpu_relax();
            }
            let guard = self.read_exclusive_in::<C>();
            let ret = f(&self.begin_exclusive());
            drop(guard);
            // A `Retry` is of the closure's own making here. The lock is not kept for that.
            if let Ok(ret) = ret {
                return ret;
            }
        }
    }
}

/// A writer interfered: what was copied is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry;

/// An optimistic read in progress.
///
/// It excludes nobody; a leaked one has no effect.
///
/// # Invariants
///
/// `sequence` is an initialised counter that lives as long as `data`, which is only stored to while
/// the counter is odd. The counter had the value `start`, which is even, before the section began.
#[must_use = "a read without effect"]
pub struct ReadSection<'a, T: SeqData> {
    data: &'a WordCell<T>,
    sequence: *const bindings::seqcount_t,
    start: Start,
}

impl<'a, T: SeqData> ReadSection<'a, T> {
    /// # Safety
    ///
    /// As the type invariant says, for the value `start` that the caller has just read.
    #[inline(always)]
    pub(super) unsafe fn new(
        data: &'a WordCell<T>,
        sequence: *const bindings::seqcount_t,
        start: u32,
    ) -> Self {
        // SAFETY: This function requires an initialised counter, and what `with_start()` does.
        unsafe { Self::with_start(data, sequence, Start::new(sequence, start)) }
    }

    /// # Safety
    ///
    /// As for [`new`](Self::new). If `start` has no limit, nobody writes before the section ends.
    #[inline(always)]
    unsafe fn with_start(
        data: &'a WordCell<T>,
        sequence: *const bindings::seqcount_t,
        start: Start,
    ) -> Self {
        // INVARIANT: By the safety contract.
        Self {
            data,
            sequence,
            start,
        }
    }

    /// Calls `f` once in this section; returns its result if no writer interfered.
    #[inline(always)]
    pub(super) fn pass<R>(self, f: impl FnOnce(&Self) -> Result<R, Retry>) -> Option<R> {
        let ret = f(&self).ok()?;
        (!self.retry()).then_some(ret)
    }

    /// Copies the value. The copy may be a mixture of two values, until it is validated.
    #[inline]
    pub fn load(&self) -> Unvalidated<'_, T> {
        self.unvalidated(self.data.load())
    }

    /// Copies a field. The copy may be a mixture of two values, until it is validated.
    #[inline]
    pub fn field<F: SeqData>(&self, field: Field<T, F>) -> Unvalidated<'_, F> {
        self.unvalidated(self.data.load_field(field))
    }

    /// Returns whether a writer was active since the section began, or its time has passed: then
    /// its copies are not valid.
    #[inline]
    pub fn retry(&self) -> bool {
        // SAFETY: By the type invariant `sequence` points to an initialised counter, which is
        // borrowed as long as the section.
        unsafe { self.start.retry(self.sequence) }
    }

    #[inline(always)]
    fn unvalidated<V>(&self, copy: Words<V>) -> Unvalidated<'_, V> {
        // INVARIANT: The copy was made after the counter was read, which was even.
        Unvalidated {
            copy,
            sequence: self.sequence,
            start: self.start,
            _section: PhantomData,
        }
    }
}

/// With KCSAN a begin without a retry would leave accesses unchecked.
#[cfg(CONFIG_KCSAN)]
impl<T: SeqData> Drop for ReadSection<'_, T> {
    fn drop(&mut self) {
        let _ = self.retry();
    }
}

/// A copy that may be a mixture of two values.
///
/// # Invariants
///
/// It was copied after the counter `sequence` of an initialised lock was at `start`, which is even.
#[must_use = "a copy is of no use until it is validated"]
pub struct Unvalidated<'s, V> {
    copy: Words<V>,
    sequence: *const bindings::seqcount_t,
    start: Start,
    _section: PhantomData<&'s ()>,
}

impl<V> Unvalidated<'_, V> {
    /// Returns the value, if no writer was active since the section began.
    ///
    /// All copies of one section that are valid are of the same value.
    ///
    /// # Errors
    ///
    /// [`Retry`] if a writer was active, or the section's time has passed, see [`SeqLock::begin`].
    #[inline]
    pub fn validate(self) -> Result<V, Retry> {
        // SAFETY: By the type invariant the counter is initialised; it outlives the section.
        if unsafe { self.start.retry(self.sequence) } {
            return Err(Retry);
        }
        // SAFETY: The counter was even before the copy was made and is the same after it, within
        // less time than it takes to wrap: no writer stored in between.
        Ok(unsafe { self.copy.assume_whole() })
    }

    /// Returns the copy without validation: it may be a mixture of two values.
    #[inline]
    pub fn into_inner(self) -> MaybeUninit<V> {
        self.copy.into_inner()
    }
}
