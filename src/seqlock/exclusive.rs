// SPDX-License-Identifier: GPL-2.0

//! Exclusive readers.

use core::ops::Deref;
use kernel::prelude::*;

use super::{
    context::Held,
    AtLeast,
    Bh,
    Body,
    Context,
    Irq,
    Kind,
    Preempt,
    SeqData,
    SeqLock,
    Spin,
    Token, //
};

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Begins to read exclusively in mode `M`; the named methods are this.
    #[inline]
    pub fn read_exclusive_in<M: Context + AtLeast<C>>(&self) -> ExclusiveGuard<'_, T, M, K> {
        // SAFETY: By the type invariants the lock is initialised, and it outlives the guard.
        ExclusiveGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) })
    }

    /// Begins to read exclusively in mode `M` if the lock is free; the named methods are this.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_read_exclusive_in<M: Context + AtLeast<C>>(
        &self,
    ) -> Result<ExclusiveGuard<'_, T, M, K>> {
        // SAFETY: As in `read_exclusive_in`.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(ExclusiveGuard::new(&self.body, held))
    }

    /// Begins to read with writers and other exclusive readers held off, and preemption disabled.
    ///
    /// Optimistic readers are not disturbed. Context as for [`SeqLock::write`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::seqlock::SeqLock;
    /// fn sum(values: &SeqLock<[u64; 64]>) -> u64 {
    ///     // No copy, and no retry.
    ///     values.read_exclusive().iter().sum()
    /// }
    /// ```
    #[inline]
    pub fn read_exclusive(&self) -> ExclusiveGuard<'_, T, Preempt, K>
    where
        Preempt: AtLeast<C>,
    {
        self.read_exclusive_in()
    }

    /// As [`SeqLock::read_exclusive`], with bottom halves disabled.
    ///
    /// Context as for [`SeqLock::write_bh`].
    #[inline]
    pub fn read_exclusive_bh(&self) -> ExclusiveGuard<'_, T, Bh, K>
    where
        Bh: AtLeast<C>,
    {
        self.read_exclusive_in()
    }

    /// As [`SeqLock::read_exclusive`], with interrupts disabled.
    ///
    /// Context as for [`SeqLock::write_irq`].
    #[inline]
    pub fn read_exclusive_irq(&self) -> ExclusiveGuard<'_, T, Irq, K> {
        self.read_exclusive_in()
    }

    /// The same as [`SeqLock::read_exclusive_irq`].
    #[inline]
    pub fn read_exclusive_irqsave(&self) -> ExclusiveGuard<'_, T, Irq, K> {
        self.read_exclusive_in()
    }

    /// As [`SeqLock::read_exclusive`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_read_exclusive(&self) -> Result<ExclusiveGuard<'_, T, Preempt, K>>
    where
        Preempt: AtLeast<C>,
    {
        self.try_read_exclusive_in()
    }

    /// As [`SeqLock::read_exclusive_bh`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_read_exclusive_bh(&self) -> Result<ExclusiveGuard<'_, T, Bh, K>>
    where
        Bh: AtLeast<C>,
    {
        self.try_read_exclusive_in()
    }

    /// As [`SeqLock::read_exclusive_irq`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_read_exclusive_irq(&self) -> Result<ExclusiveGuard<'_, T, Irq, K>> {
        self.try_read_exclusive_in()
    }

    /// The same as [`SeqLock::try_read_exclusive_irq`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is not free.
    #[inline]
    pub fn try_read_exclusive_irqsave(&self) -> Result<ExclusiveGuard<'_, T, Irq, K>> {
        self.try_read_exclusive_in()
    }

    /// Begins to read exclusively where `token` proves that the context is entered already.
    ///
    /// Which tokens there are says [`SeqLock::write_with`].
    #[inline]
    pub fn read_exclusive_with<'a, P>(&'a self, _token: &'a P) -> ExclusiveGuard<'a, T, Preempt, K>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: As in `read_exclusive_in`.
        ExclusiveGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) })
    }

    /// As [`SeqLock::read_exclusive_with`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if it is not.
    #[inline]
    pub fn try_read_exclusive_with<'a, P>(
        &'a self,
        _token: &'a P,
    ) -> Result<ExclusiveGuard<'a, T, Preempt, K>>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: As in `read_exclusive_in`.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(ExclusiveGuard::new(&self.body, held))
    }
}

/// An exclusive reader: holds the lock in mode `M`, without disturbing optimistic readers.
///
/// There is no way to change the value through it, which they would take for consistent.
///
/// # Invariants
///
/// The lock of `body` is held.
#[must_use = "the lock is given back at once when the guard is unused"]
pub struct ExclusiveGuard<'a, T: SeqData, M: Context = Preempt, K: Kind = Spin> {
    body: &'a Body<T, K>,
    _held: Held<'a, K::Lock, M>,
}

impl<'a, T: SeqData, M: Context, K: Kind> ExclusiveGuard<'a, T, M, K> {
    #[inline(always)]
    pub(super) fn new(body: &'a Body<T, K>, held: Held<'a, K::Lock, M>) -> Self {
        // INVARIANT: It is held.
        Self { body, _held: held }
    }
}

impl<T: SeqData, M: Context, K: Kind> Deref for ExclusiveGuard<'_, T, M, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is no writer.
        unsafe { &*self.body.data.get() }
    }
}
