// SPDX-License-Identifier: GPL-2.0

//! Optimistic readers.

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    bindings,
    processor::cpu_relax, //
};

use super::{
    data::Words,
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
    SeqLock,
    Spin, //
};

impl<T: SeqData, K: Kind> Body<T, K> {
    #[inline(always)]
    pub(super) fn begin(&self) -> u32 {
        // SAFETY: By the type invariants the lock is initialised.
        unsafe { K::begin(self.raw()) }
    }

    #[inline(always)]
    pub(super) fn retry(&self, start: u32) -> bool {
        // SAFETY: By the type invariants the lock is initialised.
        unsafe { sequence::retry(self.sequence(), start) }
    }

    /// One pass of `copy`, which does not wait for a writer.
    #[inline(always)]
    fn try_copy<R>(&self, copy: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: By the type invariants the lock is initialised.
        let start = unsafe { sequence::peek(self.sequence()) };
        if start & 1 != 0 {
            return None;
        }
        let copy = copy();
        (!self.retry(start)).then_some(copy)
    }
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Copies the value out, again until no writer came in between.
    ///
    /// Spins while a writer is active; on PREEMPT_RT a [`Spin`] lock then sleeps until it is done.
    /// How often it copies has no bound: see [`SeqLock::read_or_lock`].
    ///
    /// In process context; in softirqs if `C` is [`Bh`](super::Bh) or [`Irq`](super::Irq), in
    /// hardware interrupts if it is [`Irq`](super::Irq), not on PREEMPT_RT unless the lock is
    /// [`Raw`](super::Raw). Not in NMIs, and not by who holds a write guard of the lock: it would
    /// spin for ever.
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

    /// The rest of a read that was disturbed where waiting sleeps: a call, even on a way that is
    /// never taken, costs each reader the registers that have to live over it.
    #[cold]
    #[inline(never)]
    fn read_asleep(&self) -> T {
        self.read_again()
    }

    /// Copies the value out in one pass; [`None`] if a writer came in between or is active.
    ///
    /// From any context, also NMI, and also on PREEMPT_RT: it never waits.
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
        // SAFETY: As in `read_again`.
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

    /// Copies one field out, again until no writer came in between.
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

    /// Copies the value out in at most `N` passes, and under the lock if all are disturbed.
    ///
    /// So it waits no longer than for the lock, which it takes exclusively in mode `C`. Context as
    /// for [`SeqLock::read_exclusive_in`] in that mode.
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

    /// Begins a read, to copy and validate by hand.
    ///
    /// Waits while a writer is active. Context as for [`SeqLock::read`].
    ///
    /// A section lasts for a second: copies that are validated later are refused, because the
    /// counter has 32 bits and is the same after 2^31 writes. That takes a clock source which
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
    pub fn begin(&self) -> ReadSection<'_, T, K> {
        ReadSection {
            start: Start::new(self.body.begin()),
            body: &self.body,
        }
    }

    /// Begins a read unless a writer is active; never waits. From any context.
    #[inline]
    pub fn try_begin(&self) -> Option<ReadSection<'_, T, K>> {
        // SAFETY: By the type invariants the lock is initialised.
        let start = unsafe { sequence::peek(self.body.sequence()) };
        (start & 1 == 0).then(|| ReadSection {
            start: Start::new(start),
            body: &self.body,
        })
    }

    /// Calls `f` with a section until it returns [`Ok`], which is when what it validated was whole.
    ///
    /// Context as for [`SeqLock::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::{seq_field, seqlock::SeqLock};
    /// # #[derive(Clone, Copy)]
    /// # struct Clock { seconds: u64, nanos: u32 }
    /// fn now(clock: &SeqLock<Clock>) -> (u64, u32) {
    ///     clock.read_with(|s| {
    ///         let seconds = s.field(seq_field!(Clock, seconds));
    ///         let nanos = s.field(seq_field!(Clock, nanos));
    ///         Ok((seconds.validate()?, nanos.validate()?))
    ///     })
    /// }
    /// ```
    #[inline]
    pub fn read_with<R>(&self, mut f: impl FnMut(&ReadSection<'_, T, K>) -> Result<R, Retry>) -> R {
        loop {
            if let Ok(ret) = f(&self.begin()) {
                return ret;
            }
        }
    }
}

/// A writer came in between; the copy is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry;

/// An optimistic read under way.
///
/// It holds nothing off; leaking it does no harm.
#[must_use = "a read that copies nothing is of no use"]
pub struct ReadSection<'a, T: SeqData, K: Kind = Spin> {
    body: &'a Body<T, K>,
    start: Start,
}

impl<T: SeqData, K: Kind> ReadSection<'_, T, K> {
    /// Copies the value, whole or not.
    #[inline]
    pub fn load(&self) -> Unvalidated<'_, T> {
        self.unvalidated(self.body.data.load())
    }

    /// Copies a field, whole or not.
    #[inline]
    pub fn field<F: SeqData>(&self, field: Field<T, F>) -> Unvalidated<'_, F> {
        self.unvalidated(self.body.data.load_field(field))
    }

    /// Returns whether a writer was active since the section began, or a second has passed: then
    /// its copies are not valid.
    #[inline]
    pub fn retry(&self) -> bool {
        // SAFETY: By the type invariant of `Body` the counter is initialised.
        unsafe { self.start.retry(self.body.sequence()) }
    }

    #[inline(always)]
    fn unvalidated<V>(&self, copy: Words<V>) -> Unvalidated<'_, V> {
        // INVARIANT: The copy was made after the counter was read, which was even.
        Unvalidated {
            copy,
            sequence: self.body.sequence(),
            start: self.start,
            _section: PhantomData,
        }
    }
}

/// On KCSAN a begin without its retry would leave accesses unchecked.
#[cfg(CONFIG_KCSAN)]
impl<T: SeqData, K: Kind> Drop for ReadSection<'_, T, K> {
    fn drop(&mut self) {
        let _ = self.retry();
    }
}

/// A copy that may be a mixture of two values.
///
/// # Invariants
///
/// It was copied after the counter `sequence` of an initialised lock was at `start`, which is even.
#[must_use = "the copy has to be validated"]
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
    /// [`Retry`] if a writer was active, or the section began more than a second ago.
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

    /// What was copied, be it whole or not.
    #[inline]
    pub fn into_inner(self) -> MaybeUninit<V> {
        self.copy.into_inner()
    }
}
