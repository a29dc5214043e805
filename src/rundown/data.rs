// SPDX-License-Identifier: GPL-2.0

//! Data behind a rundown reference.

use super::{
    guard::{
        Count,
        Guard,
        Mobility,
        Pointer, //
    },
    traits::{
        HasRundown,
        RundownProtect, //
    },
    RundownError,
    RundownGuard,
    RundownRef,
    Wait, //
};
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{prelude::*, time::Jiffies};

/// A value that can be used while it lasts.
///
/// Guards dereference to the value and may sleep. Who has waited for the rundown has the value
/// alone: as `&mut`, to take it out, or to arm it again. None of that can fail any more, as the type
/// [`Exclusive`] is the proof.
///
/// The life of a value:
///
/// ```text
///             new()                wait_for_rundown()               take()
///   (value) ---------->  live  -------------------------> Exclusive -------> Vacant
///                         ^                                  |  |              |
///                         +---------- re_arm() --------------+  | drop         | fill(value)
///                         +-------------------------------------+--------------+
///                                     run down <----------------+
/// ```
///
/// `R` is the form of the reference. Dropping this drops the value. If guards were leaked by
/// [`core::mem::forget`], they cannot be used any more by then, as they borrow this or own it.
///
/// # Invariants
///
/// `value` is changed only by who has claimed `rundown`, and is `Some` while `rundown` is not run
/// down.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::{HasRundown, Rundown};
///
/// static TABLE: Rundown<[u32; 4]> = Rundown::new([1, 2, 3, 4]);
///
/// fn lookup(i: usize) -> Result<u32> {
///     let table = TABLE.try_acquire()?;
///     table.get(i).copied().ok_or(EINVAL)
/// }
///
/// fn replace(table: [u32; 4]) -> Result {
///     let mut old = TABLE.wait_for_rundown()?;
///     *old = table;
///     old.re_arm();
///     Ok(())
/// }
/// ```
#[pin_data]
pub struct Rundown<T, R: RundownProtect = RundownRef> {
    #[pin]
    rundown: R,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: The value goes along.
unsafe impl<T: Send, R: RundownProtect + Send> Send for Rundown<T, R> {}

// SAFETY: Guards give out `&T` in any task, and an `Exclusive` gives out `T` itself.
unsafe impl<T: Send + Sync, R: RundownProtect> Sync for Rundown<T, R> {}

impl<T> Rundown<T> {
    /// Makes a live object of `value`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new(value: T) -> Self {
        // INVARIANT: It is live and there is a value.
        Self {
            rundown: RundownRef::new(),
            value: UnsafeCell::new(Some(value)),
        }
    }

    /// Makes an object without a value, run down until it is [filled](Vacant::fill).
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_vacant() -> Self {
        // INVARIANT: It is run down.
        Self {
            rundown: RundownRef::new_rundown(),
            value: UnsafeCell::new(None),
        }
    }
}

impl<T, R: RundownProtect> Rundown<T, R> {
    /// Initialises an object of `value` in place, with a reference of either form.
    ///
    /// If the reference is run down, the value is had by waiting for it, which does not take long.
    ///
    /// # Errors
    ///
    /// Those of `rundown`.
    pub fn pin_init<E>(rundown: impl PinInit<R, E>, value: T) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // INVARIANT: There is a value, so that it does not matter whether it is live.
        try_pin_init!(Self {
            rundown <- rundown,
            value: UnsafeCell::new(Some(value)),
        }? Error)
    }
}

impl<T: Send + Sync, R: RundownProtect> Rundown<T, R> {
    /// Acquires the object, or fails if its rundown has begun.
    ///
    /// See [`HasRundown::try_acquire`], of which this is a shorthand.
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }

    /// Begins the rundown without waiting; see [`RundownProtect::begin_rundown`].
    pub fn begin_rundown(&self) -> bool {
        self.rundown.begin_rundown()
    }

    /// Takes back a rundown that is not over; see [`RundownProtect::resurrect`].
    ///
    /// # Errors
    ///
    /// As [`RundownProtect::resurrect`]; also if the value is in somebody's exclusive hands.
    pub fn resurrect(&self) -> Result<(), RundownError> {
        self.rundown.resurrect()
    }

    /// Whether the rundown is over; see [`RundownProtect::rundown_completed`].
    pub fn rundown_completed(&self) -> bool {
        self.rundown.rundown_completed()
    }

    /// How many acquisitions there are now; see [`RundownProtect::holders`].
    pub fn holders(&self) -> usize {
        self.rundown.holders()
    }

    /// Begins the rundown and waits until the value is the caller's alone.
    ///
    /// If several wait, one after the other has the value, until one of them arms the object again:
    /// then the others begin anew.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// [`RundownError::Vacant`] if somebody took the value away, and those of
    /// [`RundownProtect::wait_with`].
    pub fn wait_with(&self, how: Wait) -> Result<Exclusive<'_, T, R>, RundownError> {
        Exclusive::of(self.claim(how)?)
    }

    /// [`wait_with`](Self::wait_with), whatever comes.
    pub fn wait_for_rundown(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::uninterruptible())
    }

    /// [`wait_with`](Self::wait_with), until a signal comes.
    pub fn wait_for_rundown_interruptible(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::interruptible())
    }

    /// [`wait_with`](Self::wait_with), until a fatal signal comes.
    pub fn wait_for_rundown_killable(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::killable())
    }

    /// [`wait_with`](Self::wait_with), for `timeout` at most.
    pub fn wait_for_rundown_timeout(
        &self,
        timeout: Jiffies,
    ) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::uninterruptible().timeout(timeout))
    }

    /// The vacancy, if the object is run down and has no value.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// [`RundownError::NotDrained`] if the object is not run down, or in somebody's exclusive hands;
    /// [`RundownError::Occupied`] if it has a value.
    pub fn vacancy(&self) -> Result<Vacant<'_, T, R>, RundownError> {
        self.rundown.claim()?;
        let claim = Claim(self);
        if claim.value().is_some() {
            return Err(RundownError::Occupied);
        }
        Ok(Vacant(claim))
    }

    fn claim(&self, how: Wait) -> Result<Claim<'_, T, R>, RundownError> {
        self.rundown.wait_raw(how, true)?;
        Ok(Claim(self))
    }
}

// SAFETY: It is a place within the object.
unsafe impl<T: Send + Sync, R: RundownProtect> HasRundown for Rundown<T, R> {
    type Ref = R;

    #[inline(always)]
    unsafe fn rundown(&self) -> &R {
        &self.rundown
    }
}

impl<T, R, P, M, N> Deref for Guard<P, M, N>
where
    T: Send + Sync,
    R: RundownProtect,
    P: Pointer + Deref<Target = Rundown<T, R>>,
    M: Mobility,
    N: Count,
{
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The object is acquired as long as the guard exists, so that nobody has claimed it
        // and, by the type invariants of `Rundown`, there is a value that nobody changes.
        unsafe { (*self.object().value.get()).as_ref().unwrap_unchecked() }
    }
}

/// The object is the caller's alone; run down again on drop.
///
/// # Invariants
///
/// The object's reference was claimed, and this is the claim.
struct Claim<'a, T: Send + Sync, R: RundownProtect>(&'a Rundown<T, R>);

impl<T: Send + Sync, R: RundownProtect> Claim<'_, T, R> {
    fn value(&self) -> &Option<T> {
        // SAFETY: By the type invariants nobody else looks at the value, and this borrows the
        // claim.
        unsafe { &*self.0.value.get() }
    }

    fn value_mut(&mut self) -> &mut Option<T> {
        // SAFETY: By the type invariants nobody else looks at the value, and this borrows the claim
        // mutably.
        unsafe { &mut *self.0.value.get() }
    }

    /// Arms the object; there is a value.
    fn re_arm(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariants this is the claim, and it is used up.
        unsafe { this.0.rundown.unclaim(true) };
    }
}

impl<T: Send + Sync, R: RundownProtect> Drop for Claim<'_, T, R> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is the claim, and it is gone after this.
        unsafe { self.0.rundown.unclaim(false) };
    }
}

/// A value that is run down and the caller's alone.
///
/// Dropping this leaves the object run down, with its value, for the next who waits. If it is
/// leaked, the object stays run down and nobody else can wait for it without a timeout.
///
/// # Invariants
///
/// There is a value.
#[must_use = "the value is given back immediately when this is unused"]
pub struct Exclusive<'a, T: Send + Sync, R: RundownProtect = RundownRef>(Claim<'a, T, R>);

impl<'a, T: Send + Sync, R: RundownProtect> Exclusive<'a, T, R> {
    fn of(claim: Claim<'a, T, R>) -> Result<Self, RundownError> {
        if claim.value().is_none() {
            return Err(RundownError::Vacant);
        }
        // INVARIANT: It was just looked at.
        Ok(Self(claim))
    }

    /// Arms the object again: acquisitions succeed from now on, and see what was done to the value.
    pub fn re_arm(self) {
        self.0.re_arm();
    }

    /// Takes the value out. The object stays run down until it is filled again.
    pub fn take(mut self) -> (T, Vacant<'a, T, R>) {
        // SAFETY: By the type invariants there is a value.
        let value = unsafe { self.0.value_mut().take().unwrap_unchecked() };
        (value, Vacant(self.0))
    }
}

impl<T: Send + Sync, R: RundownProtect> Deref for Exclusive<'_, T, R> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is a value.
        unsafe { self.0.value().as_ref().unwrap_unchecked() }
    }
}

impl<T: Send + Sync, R: RundownProtect> DerefMut for Exclusive<'_, T, R> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants there is a value.
        unsafe { self.0.value_mut().as_mut().unwrap_unchecked() }
    }
}

/// An object that is run down, without a value, and the caller's alone.
///
/// Dropping this leaves the object as it is: who waits for it is told [`RundownError::Vacant`], and
/// [`Rundown::vacancy`] leads back here.
///
/// # Invariants
///
/// There is no value.
#[must_use = "the object stays without a value when this is unused"]
pub struct Vacant<'a, T: Send + Sync, R: RundownProtect = RundownRef>(Claim<'a, T, R>);

impl<'a, T: Send + Sync, R: RundownProtect> Vacant<'a, T, R> {
    /// Puts `value` in and arms the object: acquisitions succeed from now on.
    pub fn fill(self, value: T) {
        self.put(value).re_arm();
    }

    /// Puts `value` in and keeps the object to the caller.
    pub fn put(mut self, value: T) -> Exclusive<'a, T, R> {
        *self.0.value_mut() = Some(value);
        // INVARIANT: Now there is.
        Exclusive(self.0)
    }
}
