// SPDX-License-Identifier: GPL-2.0

//! The names of XWOS's `Seqlock`, for code that was written for it.
//!
//! `use quiesce::seqlock::compat::*;` stands for `use xwrust::xwos::lock::seqlock::*;`. The mode is a
//! value here, and the guard changes a copy of the value, which it stores when it is dropped. New
//! code has methods for the modes, which are checked against the lock's context when it is compiled.
//!
//! Two features of XWOS are missing: writing under an exclusive read, which does not compile, and
//! waits for a condition on a guard (`wait`, `wait_to`, `wait_unintr`).
//!
//! # Examples
//!
//! ```
//! use kernel::{prelude::*, sync::Arc};
//! use quiesce::seqlock::compat::*;
//!
//! static GLOBAL_SEQLOCK: Seqlock<u32> = Seqlock::new(0);
//!
//! fn example() -> Result {
//!     let seqlock: Arc<Seqlock<u32>> = Arc::new(Seqlock::new(0), GFP_KERNEL)?;
//!     let mut guard = seqlock.lock(SeqlockMode::WriteLock);
//!     *guard = 1;
//!     Seqlock::unlock(guard);
//!     let mut guard = GLOBAL_SEQLOCK.lock(SeqlockMode::WriteLockCpuirqSave(None));
//!     *guard += *seqlock.lock(SeqlockMode::ReadExclusiveLock);
//!     Ok(())
//! }
//! ```

use core::{
    convert::Infallible,
    marker::PhantomData,
    mem::size_of,
    ops::{
        Deref,
        DerefMut, //
    },
};
use kernel::prelude::*;

use super::{
    backend::SpinSeqlock,
    context::Held,
    data::assert_by_value,
    sequence,
    Bh,
    Body,
    Context,
    Irq,
    Kind,
    Preempt,
    SeqData,
    SeqLock,
    Spin, //
};

pub use SeqLockError as SeqlockError;
pub use SeqLockGuard as SeqlockGuard;
pub use SeqLockMode as SeqlockMode;
pub use SeqLockReadGuard as SeqlockReadGuard;
pub use SIZEOF_SEQLOCK as SIZEOF_XWOS_SQLK;

/// XWOS's lock, which states no context.
pub type Seqlock<T> = SeqLock<T>;

/// The memory that a sequence lock takes beside its value.
pub const SIZEOF_SEQLOCK: usize = size_of::<SpinSeqlock>();

/// The error of [`SeqLock::trylock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqLockError {
    /// The lock is held by another context: [`EAGAIN`].
    Again(Error),
    /// Any other error.
    Unknown(Error),
}

impl SeqLockError {
    /// Returns the kernel's error.
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

mod sealed {
    pub trait Sealed {}
}

/// The access that a guard of [`SeqLock::lock`] gives: [`Write`] or [`ReadExclusive`].
pub trait Access: sealed::Sealed {
    /// Whether the guard writes.
    #[doc(hidden)]
    const WRITES: bool;
}

/// The access of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {}

/// The access of an exclusive reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadExclusive {}

impl sealed::Sealed for Write {}
impl sealed::Sealed for ReadExclusive {}

impl Access for Write {
    const WRITES: bool = true;
}

impl Access for ReadExclusive {
    const WRITES: bool = false;
}

/// A mode of [`SeqLock::lock`], which may be stored, copied and chosen at run time.
///
/// The type says whether it writes, so that a choice is between modes that do, or between modes that
/// do not. One that is weaker than the lock's context is strengthened to it.
///
/// # Examples
///
/// ```
/// use quiesce::seqlock::{SeqLock, SeqLockMode};
///
/// fn clear(lock: &SeqLock<u32>, read_in_interrupts: bool) {
///     let mode: SeqLockMode = if read_in_interrupts {
///         SeqLockMode::WriteLockCpuirq
///     } else {
///         SeqLockMode::WriteLock
///     };
///     *lock.lock(mode) = 0;
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqLockMode<A = Write> {
    level: u8,
    _access: PhantomData<A>,
}

impl<A> SeqLockMode<A> {
    const fn of<C: Context>() -> Self {
        Self {
            level: C::LEVEL,
            _access: PhantomData,
        }
    }
}

#[allow(non_upper_case_globals, non_snake_case, reason = "the names of XWOS")]
impl SeqLockMode<Write> {
    /// Writes with preemption disabled; for locks that only threads use.
    pub const WriteLock: Self = Self::of::<Preempt>();
    /// Writes with bottom halves disabled; for locks that bottom halves use too.
    pub const WriteLockBh: Self = Self::of::<Bh>();
    /// Writes with interrupts disabled; for locks that threads and one interrupt use.
    pub const WriteLockCpuirq: Self = Self::of::<Irq>();

    /// Writes with interrupts disabled and their state saved; for locks that several interrupt
    /// contexts use.
    ///
    /// The guard holds the saved state, so that the argument can only be [`None`].
    pub const fn WriteLockCpuirqSave(_: Option<Infallible>) -> Self {
        Self::of::<Irq>()
    }
}

#[allow(non_upper_case_globals, non_snake_case, reason = "the names of XWOS")]
impl SeqLockMode<ReadExclusive> {
    /// Reads exclusively with preemption disabled; for locks that only threads use.
    pub const ReadExclusiveLock: Self = Self::of::<Preempt>();
    /// Reads exclusively with bottom halves disabled; for locks that bottom halves use too.
    pub const ReadExclusiveLockBh: Self = Self::of::<Bh>();
    /// Reads exclusively with interrupts disabled; for locks that threads and one interrupt use.
    pub const ReadExclusiveLockCpuirq: Self = Self::of::<Irq>();

    /// Reads exclusively with interrupts disabled and their state saved; for locks that several
    /// interrupt contexts use.
    ///
    /// The guard holds the saved state, so that the argument can only be [`None`].
    pub const fn ReadExclusiveLockCpuirqSave(_: Option<Infallible>) -> Self {
        Self::of::<Irq>()
    }
}

/// A lock that is held in a mode of run time.
#[expect(dead_code, reason = "dropping it unlocks")]
enum AnyHeld<'a, K: Kind> {
    Preempt(Held<'a, K::Lock, Preempt>),
    Bh(Held<'a, K::Lock, Bh>),
    Irq(Held<'a, K::Lock, Irq>),
}

impl<'a, K: Kind> AnyHeld<'a, K> {
    fn lock<T: SeqData>(body: &'a Body<T, K>, level: u8) -> Self {
        let lock = body.lock();
        // SAFETY: By the type invariants of `Body` the lock is initialised, and it is borrowed for
        // as long as it is held.
        unsafe {
            match level {
                Preempt::LEVEL => Self::Preempt(Held::lock(lock)),
                Bh::LEVEL => Self::Bh(Held::lock(lock)),
                _ => Self::Irq(Held::lock(lock)),
            }
        }
    }

    fn try_lock<T: SeqData>(body: &'a Body<T, K>, level: u8) -> Option<Self> {
        let lock = body.lock();
        // SAFETY: By the type invariants of `Body` the lock is initialised, and it is borrowed for
        // as long as it is held.
        Some(unsafe {
            match level {
                Preempt::LEVEL => Self::Preempt(Held::try_lock(lock)?),
                Bh::LEVEL => Self::Bh(Held::try_lock(lock)?),
                _ => Self::Irq(Held::try_lock(lock)?),
            }
        })
    }
}

/// A guard of [`SeqLock::lock`]; a writer changes a copy of the value, which is stored when the guard
/// is dropped.
///
/// A leaked guard leaves the lock held, and what was written to the copy is lost.
///
/// # Invariants
///
/// The lock of `body` is held, and the counter is odd if `A` writes.
#[must_use = "the lock is released at once if the guard is unused"]
pub struct SeqLockGuard<'a, T: SeqData, C: Context = Preempt, K: Kind = Spin, A: Access = Write> {
    body: &'a Body<T, K>,
    copy: T,
    _held: AnyHeld<'a, K>,
    _lock: PhantomData<(fn() -> C, A)>,
}

impl<'a, T: SeqData, C: Context, K: Kind, A: Access> SeqLockGuard<'a, T, C, K, A> {
    fn new(body: &'a Body<T, K>, held: AnyHeld<'a, K>) -> Self {
        const { assert_by_value::<T>() };
        if A::WRITES {
            // SAFETY: By the type invariants of `Body` the counter is initialised; `held` excludes
            // other writers, and is dropped after `write_end`.
            unsafe { sequence::write_begin(body.sequence()) };
        }
        // INVARIANT: The counter is odd if `A` writes.
        Self {
            body,
            // SAFETY: The lock is held by `held`, so that no writer stores to the value during the
            // copy.
            copy: unsafe { body.data.load().assume_whole() },
            _held: held,
            _lock: PhantomData,
        }
    }
}

impl<T: SeqData, C: Context, K: Kind, A: Access> Deref for SeqLockGuard<'_, T, C, K, A> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: SeqData, C: Context, K: Kind> DerefMut for SeqLockGuard<'_, T, C, K, Write> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.copy
    }
}

impl<T: SeqData, C: Context, K: Kind, A: Access> Drop for SeqLockGuard<'_, T, C, K, A> {
    #[inline]
    fn drop(&mut self) {
        if A::WRITES {
            // SAFETY: By the type invariants the lock is held and the counter is odd, and no guard
            // returns a reference to the protected value.
            unsafe {
                self.body.data.store_from(&self.copy);
                sequence::write_end(self.body.sequence());
            }
        }
    }
}

/// A guard of [`SeqLock::read_begin`]: a whole copy of the value.
///
/// A leaked guard holds nothing.
#[must_use = "a read without effect"]
pub struct SeqLockReadGuard<'a, T: SeqData, K: Kind = Spin> {
    body: &'a Body<T, K>,
    start: u32,
    copy: T,
}

impl<T: SeqData, K: Kind> SeqLockReadGuard<'_, T, K> {
    /// Returns whether a writer came since the read began, so that the copy is not the newest value.
    #[inline]
    pub fn read_retry(&self) -> bool {
        self.body.retry(self.start)
    }
}

impl<T: SeqData, K: Kind> Deref for SeqLockReadGuard<'_, T, K> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Takes the lock in a mode given by value.
    ///
    /// Context as for the method of that mode, see the [table](super).
    pub fn lock<A: Access>(&self, mode: SeqLockMode<A>) -> SeqLockGuard<'_, T, C, K, A> {
        let level = mode.level.max(C::LEVEL);
        SeqLockGuard::new(&self.body, AnyHeld::lock(&self.body, level))
    }

    /// Takes the lock in a mode given by value, if it is free.
    ///
    /// # Errors
    ///
    /// [`SeqLockError::Again`] if it is not.
    pub fn trylock<A: Access>(
        &self,
        mode: SeqLockMode<A>,
    ) -> Result<SeqLockGuard<'_, T, C, K, A>, SeqLockError> {
        let level = mode.level.max(C::LEVEL);
        let held = AnyHeld::try_lock(&self.body, level).ok_or(EAGAIN)?;
        Ok(SeqLockGuard::new(&self.body, held))
    }

    /// Releases the lock of `guard`, as dropping it does.
    #[inline]
    pub fn unlock<A: Access>(guard: SeqLockGuard<'_, T, C, K, A>) {
        drop(guard);
    }

    /// Begins a non-exclusive read, with a whole copy of the value in the guard.
    ///
    /// The copy can be used at once, of whatever type it is; [`SeqLockReadGuard::read_retry`] returns
    /// whether it still is the newest. Context as for [`SeqLock::read`].
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
    pub fn read_begin(&self) -> SeqLockReadGuard<'_, T, K> {
        loop {
            let start = self.body.begin();
            let copy = self.body.data.load();
            if !self.body.retry(start) {
                return SeqLockReadGuard {
                    body: &self.body,
                    start,
                    // SAFETY: The counter was even and is the same, so that no writer stored while
                    // the value was copied.
                    copy: unsafe { copy.assume_whole() },
                };
            }
        }
    }
}
