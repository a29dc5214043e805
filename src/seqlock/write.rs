// SPDX-License-Identifier: GPL-2.0

//! Writers.
//!
//! A writer disables what its mode names, acquires the lock, and makes the counter odd; dropping
//! the guard does the same in reverse. In between it stores the value, or single fields, by marked
//! accesses. The guard dereferences to the value for reading, but gives no exclusive reference to
//! it, because optimistic readers load the value at the same time.

use core::ops::Deref;
use kernel::prelude::*;

use super::{
    context::Held,
    sequence,
    AtLeast,
    Bh,
    Body,
    Context,
    Field,
    Irq,
    Kind,
    Preempt,
    SeqData,
    SeqLock,
    Spin,
    Token, //
};

/// Checks a lockdep subclass at compile time.
pub(super) const fn subclass<const N: u32>() -> u32 {
    // `MAX_LOCKDEP_SUBCLASSES`
    const { assert!(N < 8, "lockdep has 8 subclasses, 0 to 7") };
    N
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Acquires the lock to write, in mode `M`.
    ///
    /// For generic code; see the methods named after the modes.
    #[inline]
    pub fn write_in<M: Context + AtLeast<C>>(&self) -> WriteGuard<'_, T, M, K> {
        self.write_nested::<M, 0>()
    }

    /// Acquires the lock to write, in mode `M`, if it is free.
    ///
    /// For generic code; see the methods named after the modes.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held, and if the mode disables bottom halves but they cannot be
    /// disabled, see [`bh_disable`](super::bh_disable).
    #[inline]
    pub fn try_write_in<M: Context + AtLeast<C>>(&self) -> Result<WriteGuard<'_, T, M, K>> {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(WriteGuard::new(&self.body, held, 0))
    }

    /// Acquires the lock to write, in mode `M`, where another lock of the same lockdep class may be
    /// held.
    ///
    /// Lockdep takes two locks of one class for the same one and reports a deadlock, unless the
    /// inner one is acquired in a subclass `N` of its own, 1 to 7, as by `spin_lock_nested()`. The
    /// caller guarantees an order between the two, for example from a parent to its child. Without
    /// lockdep this is [`SeqLock::write_in`].
    ///
    /// # Examples
    ///
    /// ```
    /// use quiesce::seqlock::{Preempt, SeqLock};
    ///
    /// fn charge(parent: &SeqLock<u64>, child: &SeqLock<u64>, n: u64) {
    ///     let mut parent = parent.write();
    ///     let mut child = child.write_nested::<Preempt, 1>();
    ///     parent.update(|v| *v += n);
    ///     child.update(|v| *v += n);
    /// }
    /// ```
    #[inline]
    pub fn write_nested<M: Context + AtLeast<C>, const N: u32>(&self) -> WriteGuard<'_, T, M, K> {
        let subclass = subclass::<N>();
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::lock_nested(self.body.lock(), subclass) };
        WriteGuard::new(&self.body, held, subclass)
    }

    /// Acquires the lock to write, with preemption disabled.
    ///
    /// Choose it when only tasks use the lock. For process context; for others if no other user of
    /// the lock can interrupt the caller. Spins; a [`Spin`] lock sleeps on PREEMPT_RT, where it does
    /// not disable preemption.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, Preempt, K>
    where
        Preempt: AtLeast<C>,
    {
        self.write_in()
    }

    /// Acquires the lock to write, with bottom halves disabled.
    ///
    /// Choose it when softirqs, tasklets or softirq timers use the lock beside tasks. For process
    /// and softirq context. A [`Spin`] lock sleeps on PREEMPT_RT, and must not be acquired there
    /// where the task is not preemptible.
    #[inline]
    pub fn write_bh(&self) -> WriteGuard<'_, T, Bh, K>
    where
        Bh: AtLeast<C>,
    {
        self.write_in()
    }

    /// Acquires the lock to write, with interrupts disabled.
    ///
    /// Choose it when interrupt handlers use the lock. For all contexts but NMI. Interrupts are
    /// enabled again when the last guard or token is dropped that disabled them, in whichever order,
    /// and not at all if they were disabled before: so it also serves where C code needs the
    /// `irqsave` form. On PREEMPT_RT a [`Spin`] lock sleeps instead, does not disable interrupts,
    /// and must not be acquired in hardware interrupts.
    #[inline]
    pub fn write_irq(&self) -> WriteGuard<'_, T, Irq, K> {
        self.write_in()
    }

    /// The same as [`SeqLock::write_irq`], under C's other name for it.
    #[inline]
    pub fn write_irqsave(&self) -> WriteGuard<'_, T, Irq, K> {
        self.write_in()
    }

    /// Acquires the lock to write, with preemption disabled, if it is free; see [`SeqLock::write`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_write(&self) -> Result<WriteGuard<'_, T, Preempt, K>>
    where
        Preempt: AtLeast<C>,
    {
        self.try_write_in()
    }

    /// Acquires the lock to write, with bottom halves disabled, if it is free; see
    /// [`SeqLock::write_bh`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held, or if bottom halves cannot be disabled, see
    /// [`bh_disable`](super::bh_disable).
    #[inline]
    pub fn try_write_bh(&self) -> Result<WriteGuard<'_, T, Bh, K>>
    where
        Bh: AtLeast<C>,
    {
        self.try_write_in()
    }

    /// Acquires the lock to write, with interrupts disabled, if it is free; see
    /// [`SeqLock::write_irq`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_write_irq(&self) -> Result<WriteGuard<'_, T, Irq, K>> {
        self.try_write_in()
    }

    /// Acquires the lock to write where `token` proves that everything is disabled that the lock's
    /// context requires.
    ///
    /// Choose it to acquire several locks in one section. A [`Raw`](super::Raw) lock accepts all
    /// tokens. A [`Spin`] lock sleeps on PREEMPT_RT, and therefore accepts only
    /// [`BhDisabled`](super::BhDisabled) there.
    #[inline]
    pub fn write_with<'a, P>(&'a self, _token: &'a P) -> WriteGuard<'a, T, Preempt, K>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        WriteGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) }, 0)
    }

    /// The same as [`SeqLock::write_with`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_write_with<'a, P>(&'a self, _token: &'a P) -> Result<WriteGuard<'a, T, Preempt, K>>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(WriteGuard::new(&self.body, held, 0))
    }
}

/// A writer's guard: holds the lock in mode `M`, and ends the write on drop.
///
/// It dereferences to the value, which is not changed through a reference but stored word by word,
/// because readers may copy it at the same time.
///
/// A leaked guard leaves the lock held, what its mode disables disabled, and the counter odd: who
/// waits for the lock waits indefinitely, as does [`SeqLock::read`].
///
/// # Invariants
///
/// `held` is the lock of `body`, and the counter is odd.
#[must_use = "the write ends at once when the guard is unused"]
pub struct WriteGuard<'a, T: SeqData, M: Context = Preempt, K: Kind = Spin> {
    body: &'a Body<T, K>,
    _held: Held<'a, K::Lock, M>,
}

impl<'a, T: SeqData, M: Context, K: Kind> WriteGuard<'a, T, M, K> {
    #[inline(always)]
    pub(super) fn new(body: &'a Body<T, K>, held: Held<'a, K::Lock, M>, subclass: u32) -> Self {
        // SAFETY: By the type invariant of `Body` the counter is initialised. The lock is held, and
        // released after `write_end`.
        // INVARIANT: The counter is odd from here.
        unsafe { sequence::write_begin_nested(body.sequence(), subclass) };
        Self { body, _held: held }
    }

    /// Stores `value`. Optimistic readers get it when the guard has been dropped.
    #[inline]
    pub fn set(&mut self, value: T) {
        // SAFETY: By the type invariant this context alone writes. There is no reference to the
        // value, because it would borrow `self`.
        unsafe { self.body.data.store(value) }
    }

    /// Stores `*value`, for values of any size.
    #[inline]
    pub fn set_from(&mut self, value: &T) {
        // SAFETY: By the type invariants this context alone writes; `&mut self` says that there is
        // no reference to the protected value.
        unsafe { self.body.data.store_from(value) }
    }

    /// Changes a copy of the value and stores that.
    #[inline]
    pub fn update<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = **self;
        let ret = f(&mut value);
        self.set(value);
        ret
    }

    /// Stores one field.
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::{seq_field, seqlock::SeqLock};
    /// # #[derive(Clone, Copy)]
    /// # struct Clock { seconds: u64, nanos: u32 }
    /// fn reset(clock: &SeqLock<Clock>) {
    ///     clock.write().set_field(seq_field!(Clock, nanos), 0);
    /// }
    /// ```
    #[inline]
    pub fn set_field<F: SeqData>(&mut self, field: Field<T, F>, value: F) {
        // SAFETY: By the type invariant this context alone writes. There is no reference to the
        // value, because it would borrow `self`.
        unsafe { self.body.data.store_field(field, value) }
    }
}

impl<T: SeqData, M: Context, K: Kind> Deref for WriteGuard<'_, T, M, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant this context alone writes, by methods that need `&mut self`;
        // readers only load.
        unsafe { &*self.body.data.get() }
    }
}

impl<T: SeqData, M: Context, K: Kind> Drop for WriteGuard<'_, T, M, K> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the counter is odd, so a write began; the lock is held
        // until the field `_held` is dropped.
        unsafe { sequence::write_end(self.body.sequence()) }
    }
}
