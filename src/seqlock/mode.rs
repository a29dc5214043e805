// SPDX-License-Identifier: GPL-2.0

//! The lock with its mode as an argument, after XWOS's `Seqlock`.
//!
//! [`SeqLockMode`] has the seed's eight names. Each is a value of a type of its own, so that a guard
//! can be what its mode allows, a mode that is too weak for the lock does not compile, and neither
//! does writing under an exclusive read. [`AnyMode`] is for a mode that is known at run time only.

use core::{
    convert::Infallible,
    marker::PhantomData,
    mem::size_of,
    ops::{
        Deref,
        DerefMut, //
    },
};
use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    AtLeast,
    Bh,
    Context,
    ExclusiveGuard,
    Irq,
    Kind,
    Preempt,
    SeqData,
    SeqLock,
    Spin,
    WriteGuard, //
};

mod any;

pub use any::{
    AnyGuard,
    AnyMode,
    AnyReader,
    AnyWriter, //
};

/// The memory that a sequence lock takes beside its value.
pub const SIZEOF_SEQLOCK: usize = size_of::<bindings::seqlock_t>();

/// Why [`SeqLock::trylock`] did not take the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqLockError {
    /// Somebody else has it: [`EAGAIN`].
    Again(Error),
    /// Anything else.
    Unknown(Error),
}

impl SeqLockError {
    /// The kernel's error.
    pub fn unwrap(self) -> Error {
        match self {
            Self::Again(e) | Self::Unknown(e) => e,
        }
    }
}

impl From<Error> for SeqLockError {
    fn from(e: Error) -> Self {
        if e == EAGAIN {
            Self::Again(e)
        } else {
            Self::Unknown(e)
        }
    }
}

impl From<SeqLockError> for Error {
    fn from(e: SeqLockError) -> Self {
        e.unwrap()
    }
}

/// A mode that a lock of context `C` can be taken in.
///
/// One of [`SeqLockMode`]'s values, or an [`AnyMode`].
#[diagnostic::on_unimplemented(
    message = "the mode `{Self}` cannot lock a sequence lock with readers in `{C}` context",
    note = "a reader that interrupts the writer on its CPU would spin for ever"
)]
pub trait Mode<C: Context>: Sized {
    /// What holds the lock.
    type Guard<'a, T: SeqData, K: Kind>
    where
        C: 'a;

    /// Takes the lock.
    #[doc(hidden)]
    fn lock<T: SeqData, K: Kind>(self, lock: &SeqLock<T, C, K>) -> Self::Guard<'_, T, K>;

    /// Takes the lock if it is free.
    #[doc(hidden)]
    fn trylock<T: SeqData, K: Kind>(
        self,
        lock: &SeqLock<T, C, K>,
    ) -> Result<Self::Guard<'_, T, K>, SeqLockError>;
}

/// A mode that writes, in context `M`.
pub struct WriteMode<M>(PhantomData<M>);

/// A mode that reads exclusively, in context `M`.
pub struct ReadExclusiveMode<M>(PhantomData<M>);

/// The eight modes by the names of the seed.
#[allow(non_upper_case_globals, non_snake_case, reason = "the seed's names")]
pub enum SeqLockMode {}

#[allow(non_upper_case_globals, non_snake_case, reason = "the seed's names")]
impl SeqLockMode {
    /// Writes with preemption disabled.
    pub const WriteLock: WriteMode<Preempt> = WriteMode(PhantomData);
    /// Writes with bottom halves disabled.
    pub const WriteLockBh: WriteMode<Bh> = WriteMode(PhantomData);
    /// Writes with interrupts disabled.
    pub const WriteLockCpuirq: WriteMode<Irq> = WriteMode(PhantomData);
    /// Reads exclusively with preemption disabled.
    pub const ReadExclusiveLock: ReadExclusiveMode<Preempt> = ReadExclusiveMode(PhantomData);
    /// Reads exclusively with bottom halves disabled.
    pub const ReadExclusiveLockBh: ReadExclusiveMode<Bh> = ReadExclusiveMode(PhantomData);
    /// Reads exclusively with interrupts disabled.
    pub const ReadExclusiveLockCpuirq: ReadExclusiveMode<Irq> = ReadExclusiveMode(PhantomData);

    /// Writes with interrupts disabled and their state saved.
    ///
    /// Where the state is saved is not the caller's business, so the argument can only be [`None`].
    pub const fn WriteLockCpuirqSave(_: Option<Infallible>) -> WriteMode<Irq> {
        WriteMode(PhantomData)
    }

    /// Reads exclusively with interrupts disabled and their state saved.
    ///
    /// Where the state is saved is not the caller's business, so the argument can only be [`None`].
    pub const fn ReadExclusiveLockCpuirqSave(_: Option<Infallible>) -> ReadExclusiveMode<Irq> {
        ReadExclusiveMode(PhantomData)
    }
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Takes the lock in a mode given by value.
    ///
    /// Context as for the method of that mode, see the [module's table](super).
    ///
    /// # Examples
    ///
    /// ```
    /// use quiesce::{seqlock_static, seqlock::{SeqLock, SeqLockMode}};
    ///
    /// seqlock_static! {
    ///     static GLOBAL: SeqLock<u32> = 0;
    /// }
    ///
    /// fn example() {
    ///     let mut guard = GLOBAL.lock(SeqLockMode::WriteLock);
    ///     *guard = 1;
    ///     SeqLock::unlock(&GLOBAL, guard);
    /// }
    /// ```
    #[inline]
    pub fn lock<M: Mode<C>>(&self, mode: M) -> M::Guard<'_, T, K> {
        mode.lock(self)
    }

    /// Takes the lock in a mode given by value, if it is free.
    ///
    /// # Errors
    ///
    /// [`SeqLockError::Again`] if it is not.
    #[inline]
    pub fn trylock<M: Mode<C>>(&self, mode: M) -> Result<M::Guard<'_, T, K>, SeqLockError> {
        mode.trylock(self)
    }

    /// Gives the lock back, as dropping the guard does.
    #[inline]
    pub fn unlock<'a, G: LockGuard<'a>>(&'a self, guard: G) {
        drop(guard);
    }

    /// Begins a non-exclusive read, with a copy of the value in the guard.
    ///
    /// The copy is whole already, so that it can be looked at, be the type what it may;
    /// [`SeqLockReadGuard::read_retry`] tells whether it is still the newest. Context as for
    /// [`SeqLock::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use quiesce::seqlock::SeqLock;
    /// fn value(lock: &SeqLock<u32>) -> u32 {
    ///     loop {
    ///         let guard = lock.read_begin();
    ///         let value = *guard;
    ///         if !guard.read_retry() {
    ///             break value;
    ///         }
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn read_begin(&self) -> SeqLockReadGuard<'_, T, C, K> {
        loop {
            let section = self.begin();
            if let Ok(copy) = section.load().validate() {
                return SeqLockReadGuard {
                    lock: self,
                    start: section.start(),
                    copy,
                };
            }
        }
    }
}

/// A non-exclusive read: a whole copy of the value, and how old it is.
///
/// Leaking it does no harm.
#[must_use = "a read that looks at nothing is of no use"]
pub struct SeqLockReadGuard<'a, T: SeqData, C: Context = Preempt, K: Kind = Spin> {
    lock: &'a SeqLock<T, C, K>,
    start: u32,
    copy: T,
}

impl<T: SeqData, C: Context, K: Kind> SeqLockReadGuard<'_, T, C, K> {
    /// Whether a writer came since the read began, so that the copy is no longer the newest value.
    #[inline]
    pub fn read_retry(&self) -> bool {
        self.lock.body.retry(self.start)
    }
}

impl<T: SeqData, C: Context, K: Kind> Deref for SeqLockReadGuard<'_, T, C, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

/// A writer by [`SeqLock::lock`]: changes a copy of the value, and stores it when it is dropped.
///
/// Leaked, it leaves the lock held, and what was written to the copy is lost.
#[must_use = "the write ends at once when the guard is unused"]
pub struct SeqLockGuard<'a, T: SeqData, M: Context = Preempt, K: Kind = Spin> {
    guard: WriteGuard<'a, T, M, K>,
    copy: T,
}

impl<'a, T: SeqData, M: Context, K: Kind> SeqLockGuard<'a, T, M, K> {
    #[inline]
    fn new(guard: WriteGuard<'a, T, M, K>) -> Self {
        Self {
            copy: *guard,
            guard,
        }
    }
}

impl<T: SeqData, M: Context, K: Kind> Deref for SeqLockGuard<'_, T, M, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: SeqData, M: Context, K: Kind> DerefMut for SeqLockGuard<'_, T, M, K> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.copy
    }
}

impl<T: SeqData, M: Context, K: Kind> Drop for SeqLockGuard<'_, T, M, K> {
    #[inline]
    fn drop(&mut self) {
        self.guard.set(self.copy);
    }
}

mod sealed {
    pub trait Sealed {}
}

/// What [`SeqLock::unlock`] takes: a guard of [`SeqLock::lock`].
pub trait LockGuard<'a>: sealed::Sealed {}

impl<T: SeqData, M: Context, K: Kind> sealed::Sealed for SeqLockGuard<'_, T, M, K> {}
impl<'a, T: SeqData, M: Context, K: Kind> LockGuard<'a> for SeqLockGuard<'a, T, M, K> {}
impl<T: SeqData, M: Context, K: Kind> sealed::Sealed for ExclusiveGuard<'_, T, M, K> {}
impl<'a, T: SeqData, M: Context, K: Kind> LockGuard<'a> for ExclusiveGuard<'a, T, M, K> {}
impl<T: SeqData, K: Kind> sealed::Sealed for AnyGuard<'_, T, K> {}
impl<'a, T: SeqData, K: Kind> LockGuard<'a> for AnyGuard<'a, T, K> {}

impl<C: Context, M: Context + AtLeast<C>> Mode<C> for WriteMode<M> {
    type Guard<'a, T: SeqData, K: Kind>
        = SeqLockGuard<'a, T, M, K>
    where
        C: 'a;

    #[inline]
    fn lock<T: SeqData, K: Kind>(self, lock: &SeqLock<T, C, K>) -> SeqLockGuard<'_, T, M, K> {
        SeqLockGuard::new(lock.write_in())
    }

    #[inline]
    fn trylock<T: SeqData, K: Kind>(
        self,
        lock: &SeqLock<T, C, K>,
    ) -> Result<SeqLockGuard<'_, T, M, K>, SeqLockError> {
        Ok(SeqLockGuard::new(lock.try_write_in()?))
    }
}

impl<C: Context, M: Context + AtLeast<C>> Mode<C> for ReadExclusiveMode<M> {
    type Guard<'a, T: SeqData, K: Kind>
        = ExclusiveGuard<'a, T, M, K>
    where
        C: 'a;

    #[inline]
    fn lock<T: SeqData, K: Kind>(self, lock: &SeqLock<T, C, K>) -> ExclusiveGuard<'_, T, M, K> {
        lock.read_exclusive_in()
    }

    #[inline]
    fn trylock<T: SeqData, K: Kind>(
        self,
        lock: &SeqLock<T, C, K>,
    ) -> Result<ExclusiveGuard<'_, T, M, K>, SeqLockError> {
        Ok(lock.try_read_exclusive_in()?)
    }
}
