// SPDX-License-Identifier: GPL-2.0

//! Writers.

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

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Begins to write in mode `M`; the named methods are this.
    #[inline]
    pub fn write_in<M: Context + AtLeast<C>>(&self) -> WriteGuard<'_, T, M, K> {
        // SAFETY: By the type invariants the lock is initialised, and it outlives the guard.
        WriteGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) })
    }

    /// Begins to write in mode `M` if the lock is free; the named methods are this.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_write_in<M: Context + AtLeast<C>>(&self) -> Result<WriteGuard<'_, T, M, K>> {
        // SAFETY: As in `write_in`.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(WriteGuard::new(&self.body, held))
    }

    /// Begins to write with preemption disabled.
    ///
    /// For locks whose other users all are in process context. From process context; elsewhere if
    /// no other user of the lock interrupts the caller. Spins, on PREEMPT_RT a [`Spin`] lock sleeps.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, Preempt, K>
    where
        Preempt: AtLeast<C>,
    {
        self.write_in()
    }

    /// Begins to write with bottom halves disabled. From process and softirq context.
    #[inline]
    pub fn write_bh(&self) -> WriteGuard<'_, T, Bh, K>
    where
        Bh: AtLeast<C>,
    {
        self.write_in()
    }

    /// Begins to write with interrupts disabled.
    ///
    /// From any context but NMI; on PREEMPT_RT a [`Spin`] lock disables none, sleeps, and must not
    /// be taken in hardware interrupts. Interrupts come back with the last guard or token that
    /// disabled them, in whichever order they are dropped.
    #[inline]
    pub fn write_irq(&self) -> WriteGuard<'_, T, Irq, K> {
        self.write_in()
    }

    /// The same as [`SeqLock::write_irq`], which saves the state too.
    #[inline]
    pub fn write_irqsave(&self) -> WriteGuard<'_, T, Irq, K> {
        self.write_in()
    }

    /// As [`SeqLock::write`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_write(&self) -> Result<WriteGuard<'_, T, Preempt, K>>
    where
        Preempt: AtLeast<C>,
    {
        self.try_write_in()
    }

    /// As [`SeqLock::write_bh`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_write_bh(&self) -> Result<WriteGuard<'_, T, Bh, K>>
    where
        Bh: AtLeast<C>,
    {
        self.try_write_in()
    }

    /// As [`SeqLock::write_irq`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_write_irq(&self) -> Result<WriteGuard<'_, T, Irq, K>> {
        self.try_write_in()
    }

    /// The same as [`SeqLock::try_write_irq`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is not free.
    #[inline]
    pub fn try_write_irqsave(&self) -> Result<WriteGuard<'_, T, Irq, K>> {
        self.try_write_in()
    }

    /// Begins to write where `token` proves that the context is entered already.
    ///
    /// On PREEMPT_RT a [`Spin`] lock takes [`BhDisabled`](super::BhDisabled) alone: it sleeps, and
    /// must not where preemption or interrupts are disabled. A [`Raw`](super::Raw) lock takes all.
    #[inline]
    pub fn write_with<'a, P>(&'a self, _token: &'a P) -> WriteGuard<'a, T, Preempt, K>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: As in `write_in`.
        WriteGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) })
    }

    /// As [`SeqLock::write_with`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_write_with<'a, P>(&'a self, _token: &'a P) -> Result<WriteGuard<'a, T, Preempt, K>>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: As in `write_in`.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(WriteGuard::new(&self.body, held))
    }
}

/// A writer: holds the lock, and readers off, in mode `M`.
///
/// The value can be looked at through the guard, but not changed through a reference: it is stored
/// word by word, as readers may be copying it.
///
/// # Invariants
///
/// The lock of `body` is `held`, and the counter is odd.
#[must_use = "the write ends at once when the guard is unused"]
pub struct WriteGuard<'a, T: SeqData, M: Context = Preempt, K: Kind = Spin> {
    body: &'a Body<T, K>,
    _held: Held<'a, K::Lock, M>,
}

impl<'a, T: SeqData, M: Context, K: Kind> WriteGuard<'a, T, M, K> {
    #[inline(always)]
    pub(super) fn new(body: &'a Body<T, K>, held: Held<'a, K::Lock, M>) -> Self {
        // SAFETY: By its invariants the lock is initialised; it is held, and given back after
        // `write_end`.
        // INVARIANT: The counter is odd from here.
        unsafe { sequence::write_begin(body.sequence()) };
        Self { body, _held: held }
    }

    /// Stores `value`.
    #[inline]
    pub fn set(&mut self, value: T) {
        // SAFETY: By the type invariants this context alone writes; `&mut self` says that there is
        // no reference to the value.
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
        // SAFETY: As in `set`.
        unsafe { self.body.data.store_field(field, value) }
    }
}

impl<T: SeqData, M: Context, K: Kind> Deref for WriteGuard<'_, T, M, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The value is stored to by `&mut self` alone, as this context alone writes; readers
        // only load.
        unsafe { &*self.body.data.get() }
    }
}

impl<T: SeqData, M: Context, K: Kind> Drop for WriteGuard<'_, T, M, K> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the write was begun, and the lock is still held.
        unsafe { sequence::write_end(self.body.sequence()) }
    }
}
