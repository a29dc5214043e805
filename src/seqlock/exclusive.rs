// SPDX-License-Identifier: GPL-2.0

//! Exclusive readers: readers that hold the lock, as C's `read_seqlock_excl()`.
//!
//! They exclude writers and each other, and get a reference to the value instead of a copy. They do
//! not change the sequence counter, so optimistic readers are not disturbed.

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
    /// Acquires the lock to read, in mode `M`.
    ///
    /// For generic code; see the methods named after the modes.
    #[inline]
    pub fn read_exclusive_in<M: Context + AtLeast<C>>(&self) -> ExclusiveGuard<'_, T, M, K> {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::lock(self.body.lock()) };
        ExclusiveGuard::new(&self.body, held)
    }

    /// Acquires the lock to read, in mode `M`, if it is free.
    #[inline]
    fn try_read_exclusive_in<M: Context + AtLeast<C>>(
        &self,
    ) -> Result<ExclusiveGuard<'_, T, M, K>> {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(ExclusiveGuard::new(&self.body, held))
    }

    /// Acquires the lock to read, with preemption disabled.
    ///
    /// Choose an exclusive read for a value that is too large to copy, or that writers change too
    /// often for [`SeqLock::read`] to succeed. It excludes writers and other exclusive readers; it
    /// does not disturb optimistic readers. Choose this mode, and call it from the contexts, as for
    /// [`SeqLock::write`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::seqlock::SeqLock;
    /// fn sum(values: &SeqLock<[u64; 64]>) -> u64 {
    ///     // Neither copies nor retries.
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

    /// Acquires the lock to read, with bottom halves disabled.
    ///
    /// Choose this mode, and call it from the contexts, as for [`SeqLock::write_bh`].
    #[inline]
    pub fn read_exclusive_bh(&self) -> ExclusiveGuard<'_, T, Bh, K>
    where
        Bh: AtLeast<C>,
    {
        self.read_exclusive_in()
    }

    /// Acquires the lock to read, with interrupts disabled.
    ///
    /// Choose this mode, and call it from the contexts, as for [`SeqLock::write_irq`].
    #[inline]
    pub fn read_exclusive_irq(&self) -> ExclusiveGuard<'_, T, Irq, K> {
        self.read_exclusive_in()
    }

    /// The same as [`SeqLock::read_exclusive_irq`], under C's other name for it.
    #[inline]
    pub fn read_exclusive_irqsave(&self) -> ExclusiveGuard<'_, T, Irq, K> {
        self.read_exclusive_in()
    }

    /// Acquires the lock to read, with preemption disabled, if it is free; see
    /// [`SeqLock::read_exclusive`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_read_exclusive(&self) -> Result<ExclusiveGuard<'_, T, Preempt, K>>
    where
        Preempt: AtLeast<C>,
    {
        self.try_read_exclusive_in()
    }

    /// Acquires the lock to read, with bottom halves disabled, if it is free; see
    /// [`SeqLock::read_exclusive_bh`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] as for [`SeqLock::try_write_bh`].
    #[inline]
    pub fn try_read_exclusive_bh(&self) -> Result<ExclusiveGuard<'_, T, Bh, K>>
    where
        Bh: AtLeast<C>,
    {
        self.try_read_exclusive_in()
    }

    /// Acquires the lock to read, with interrupts disabled, if it is free; see
    /// [`SeqLock::read_exclusive_irq`].
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_read_exclusive_irq(&self) -> Result<ExclusiveGuard<'_, T, Irq, K>> {
        self.try_read_exclusive_in()
    }

    /// Acquires the lock to read where `token` proves that everything is disabled that the lock's
    /// context requires.
    ///
    /// See [`SeqLock::write_with`] for the accepted tokens.
    #[inline]
    pub fn read_exclusive_with<'a, P>(&'a self, _token: &'a P) -> ExclusiveGuard<'a, T, Preempt, K>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        ExclusiveGuard::new(&self.body, unsafe { Held::lock(self.body.lock()) })
    }

    /// The same as [`SeqLock::read_exclusive_with`], if the lock is free.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if the lock is held.
    #[inline]
    pub fn try_read_exclusive_with<'a, P>(
        &'a self,
        _token: &'a P,
    ) -> Result<ExclusiveGuard<'a, T, Preempt, K>>
    where
        P: Token<K::Lock>,
        P::Context: AtLeast<C>,
    {
        // SAFETY: By the type invariant of `Body` the lock is initialised. The guard borrows it, so
        // that it stays in place.
        let held = unsafe { Held::try_lock(self.body.lock()) }.ok_or(EAGAIN)?;
        Ok(ExclusiveGuard::new(&self.body, held))
    }
}

/// An exclusive reader's guard: holds the lock in mode `M`, and releases it on drop.
///
/// It gives no access to change the value: optimistic readers would not notice.
///
/// A leaked guard leaves the lock held and the contexts of its mode disabled: tasks that wait for
/// the lock wait indefinitely. [`SeqLock::read`] is not affected.
///
/// # Invariants
///
/// `held` is the lock of `body`.
#[must_use = "the lock is released at once when the guard is unused"]
pub struct ExclusiveGuard<'a, T: SeqData, M: Context = Preempt, K: Kind = Spin> {
    body: &'a Body<T, K>,
    _held: Held<'a, K::Lock, M>,
}

impl<'a, T: SeqData, M: Context, K: Kind> ExclusiveGuard<'a, T, M, K> {
    #[inline(always)]
    pub(super) fn new(body: &'a Body<T, K>, held: Held<'a, K::Lock, M>) -> Self {
        // INVARIANT: The callers acquired the lock of `body`.
        Self { body, _held: held }
    }
}

impl<T: SeqData, M: Context, K: Kind> Deref for ExclusiveGuard<'_, T, M, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant the lock is held, so nobody writes the value.
        unsafe { &*self.body.data.get() }
    }
}
