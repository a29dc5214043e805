// SPDX-License-Identifier: GPL-2.0

//! Data behind a rundown reference.
//!
//! A [`Rundown<T, R>`] is a value with a reference in front of it. A guard dereferences to the
//! value. A wait that has completed returns an [`Exclusive`], through which the value can be
//! changed in place, or taken out, which leaves a [`Vacant`]. The object becomes live again by a
//! method of these two.

use super::{
    guard::{
        Guard,
        GuardMobility,
        GuardPointer,
        Guards, //
    },
    lockdep::DepHold,
    track::ClaimSite,
    traits::{
        raw::Internal,
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
    convert::Infallible,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ops::{
        Deref,
        DerefMut, //
    },
    panic::Location,
    pin::Pin, //
};
use kernel::{
    fmt,
    prelude::*,
    time::Jiffies,
    types::NotThreadSafe, //
};

/// A value that is used through guards until it is run down.
///
/// Guards dereference to the value, and their holders may sleep. A task that has waited for the
/// rundown owns the value exclusively, as an [`Exclusive`]: it can change the value, take it out and
/// make the object live again, none of which can fail.
///
/// ```text
///             new()                wait_for_rundown()               take()
///   (value) ---------->  live  -------------------------> Exclusive -------> Vacant
///                         ^                                  |  |              |
///                         +---------- re_init() -------------+  | drop         | fill(value)
///                         +-------------------------------------+--------------+
///                                     run down <----------------+
/// ```
///
/// `R` is the type of the reference.
///
/// # Where the value is dropped
///
/// Dropping this drops the value, in the context of the caller; for the last [`ArcGuard`] see
/// [`Guard`]. [`Exclusive`] and [`Vacant`] drop values in the task that owns them. No value is
/// dropped by a release of a borrowed guard. Leaked guards cannot be used any more when this is
/// dropped, as they borrow or own it.
///
/// [`ArcGuard`]: super::ArcGuard
///
/// # Invariants
///
/// `present` is whether `value` is initialised. Both are changed only by the owner of a claim on
/// `rundown`, and `present` is `true` while acquisitions can succeed. If `T` is not [`Unpin`], this
/// was initialised in place, and is pinned.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::Rundown;
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
///     old.re_init();
///     Ok(())
/// }
/// # replace([5, 6, 7, 8])?;
/// # assert_eq!(lookup(1)?, 6);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Rundown<T, R: RundownProtect = RundownRef> {
    #[pin]
    rundown: R,
    present: UnsafeCell<bool>,
    #[pin]
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: Sending the object sends the value and the reference, which are both `Send`; no other
// field refers to a task.
unsafe impl<T: Send, R: RundownProtect + Send> Send for Rundown<T, R> {}

// SAFETY: Guards give out `&T` in any task, and an `Exclusive` gives out `T` itself.
unsafe impl<T: Send + Sync, R: RundownProtect> Sync for Rundown<T, R> {}

impl<T: Unpin> Rundown<T> {
    /// Creates a live object with `value`. A constant function, for statics, fields and
    /// allocations.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new(value: T) -> Self {
        // INVARIANT: There is a value.
        Self {
            rundown: RundownRef::new(),
            present: UnsafeCell::new(true),
            value: UnsafeCell::new(MaybeUninit::new(value)),
        }
    }

    /// Creates an object without a value. It is run down until it is [filled](Vacant::fill).
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_vacant() -> Self {
        // INVARIANT: There is no value, and the object is run down.
        Self {
            rundown: RundownRef::new_rundown(),
            present: UnsafeCell::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

impl<T, R: RundownProtect> Rundown<T, R> {
    /// Initialises an object in place.
    ///
    /// `rundown` and `value` are values or initialisers, such as `new_mutex!(5)`. If `rundown` is run
    /// down, the value is available to a wait, which returns at once.
    ///
    /// # Errors
    ///
    /// Those of `rundown` and `value`.
    pub fn pin_init<E, F>(
        rundown: impl PinInit<R, E>,
        value: impl PinInit<T, F>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E> + From<F>,
    {
        // SAFETY: The closure initialises the slot as `value` does; `UnsafeCell` and `MaybeUninit`
        // have the layout of what they hold.
        let value = unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut UnsafeCell<MaybeUninit<T>>| {
                pin_init::raw_try_init(slot.cast(), value)
            })
        };
        // INVARIANT: There is a value, so that it does not matter whether the object is live.
        try_pin_init!(Self {
            rundown <- rundown,
            present: UnsafeCell::new(true),
            value <- value,
        }? Error)
    }

    /// Initialises an object without a value in place. It is run down until it is
    /// [filled](Vacant::fill), also if `rundown` is live.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// Those of `rundown`.
    pub fn pin_init_vacant<E>(rundown: impl PinInit<R, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // SAFETY: The closure returns success only if `rundown` has initialised the slot, and
        // leaves it uninitialised otherwise.
        let rundown = unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut R| {
                pin_init::raw_try_init(slot, rundown).map_err(Error::from)?;
                // Nobody can hold it, so that this takes no longer than the reference needs.
                //
                // SAFETY: `raw_try_init()` returned success, so the slot is initialised.
                (*slot).wait_for_rundown();
                Ok::<(), Error>(())
            })
        };
        // INVARIANT: There is no value. Acquisitions fail until somebody with a claim puts one in: a
        // rundown that has completed cannot be resurrected.
        try_pin_init!(Self {
            rundown <- rundown,
            present: UnsafeCell::new(false),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }? Error)
    }
}

#[pinned_drop]
impl<T, R: RundownProtect> PinnedDrop for Rundown<T, R> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The value is dropped in place and nothing is moved out of the object, so it stays
        // pinned.
        let this = unsafe { Pin::into_inner_unchecked(self) };
        if *this.present.get_mut() {
            // SAFETY: By the type invariants the value is initialised, and it is not used after the
            // drop of the object.
            unsafe { this.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T: Send + Sync, R: RundownProtect> Rundown<T, R> {
    /// Acquires the object, or fails if its rundown has begun.
    ///
    /// See [`HasRundown::try_acquire`].
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }

    /// Begins the rundown without waiting; see [`RundownProtect::begin_rundown`].
    pub fn begin_rundown(&self) -> bool {
        self.rundown.begin_rundown()
    }

    /// Cancels a rundown that has not completed; see [`RundownProtect::resurrect`].
    ///
    /// # Errors
    ///
    /// Those of [`RundownProtect::resurrect`]; also if the value is owned exclusively.
    pub fn resurrect(&self) -> Result<(), RundownError> {
        self.rundown.resurrect()
    }

    /// Returns whether the rundown has begun; see [`RundownProtect::is_rundown_requested`].
    pub fn is_rundown_requested(&self) -> bool {
        self.rundown.is_rundown_requested()
    }

    /// Returns whether the rundown has completed; see [`RundownProtect::rundown_completed`].
    pub fn rundown_completed(&self) -> bool {
        self.rundown.rundown_completed()
    }

    /// Returns the number of acquisitions; see [`RundownProtect::holders`].
    pub fn holders(&self) -> usize {
        self.rundown.holders()
    }

    /// Begins the rundown and waits until the caller owns the value exclusively.
    ///
    /// If several tasks wait, one after the other owns the value, until one of them makes the object
    /// live again: then the others begin another rundown.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// [`RundownError::Vacant`] if somebody took the value out, and those of
    /// [`RundownProtect::wait_with`].
    #[track_caller]
    pub fn wait_with(&self, how: Wait) -> Result<Exclusive<'_, T, R>, RundownError> {
        Exclusive::of(self.claim(how)?)
    }

    /// Begins the rundown, waits until it has completed, and returns exclusive ownership of the
    /// value.
    ///
    /// It ends only with the rundown or its cancellation: a guard that is leaked makes it wait
    /// indefinitely. Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// [`RundownError::Vacant`], [`RundownError::Resurrected`], [`RundownError::Saturated`] and
    /// [`RundownError::WouldSleep`], as [`wait_with`](Self::wait_with).
    #[track_caller]
    pub fn wait_for_rundown(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::uninterruptible())
    }

    /// Waits as [`wait_with`](Self::wait_with), and until a signal is pending at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    pub fn wait_for_rundown_interruptible(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::interruptible())
    }

    /// Waits as [`wait_with`](Self::wait_with), and until a fatal signal is pending at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    pub fn wait_for_rundown_killable(&self) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::killable())
    }

    /// Waits as [`wait_with`](Self::wait_with), for `timeout` jiffies at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    pub fn wait_for_rundown_timeout(
        &self,
        timeout: Jiffies,
    ) -> Result<Exclusive<'_, T, R>, RundownError> {
        self.wait_with(Wait::uninterruptible().timeout(timeout))
    }

    /// Returns the exclusive ownership of an object that is run down and has no value.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// [`RundownError::NotDrained`] if the object is not run down, or owned exclusively;
    /// [`RundownError::Saturated`] if the count is saturated; [`RundownError::Occupied`] if it has
    /// a value.
    #[track_caller]
    pub fn vacancy(&self) -> Result<Vacant<'_, T, R>, RundownError> {
        self.rundown.claim(Internal::new())?;
        let claim = Claim::new(self);
        if claim.is_present() {
            return Err(RundownError::Occupied);
        }
        Ok(Vacant(claim))
    }

    #[track_caller]
    fn claim(&self, how: Wait) -> Result<Claim<'_, T, R>, RundownError> {
        self.rundown
            .wait_raw(how.at(Location::caller()), true, Internal::new())?;
        Ok(Claim::new(self))
    }
}

// SAFETY: `rundown()` returns the field `rundown` of the object, so both have the same lifetime and
// each object has exactly one.
unsafe impl<T: Send + Sync, R: RundownProtect> HasRundown for Rundown<T, R> {
    type Ref = R;

    #[inline(always)]
    unsafe fn rundown(&self) -> &R {
        &self.rundown
    }
}

impl<T: Send + Sync, R: RundownProtect> fmt::Debug for Rundown<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::traits::debug(f, "Rundown", &self.rundown)
    }
}

macro_rules! deref {
    ($guard:ident) => {
        impl<T, R, P, M> Deref for $guard<P, M>
        where
            T: Send + Sync,
            R: RundownProtect,
            P: GuardPointer + Deref<Target = Rundown<T, R>>,
            M: GuardMobility,
        {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: The guard has an acquisition as long as it exists, so that nobody has
                // claimed the object and, by the type invariants of `Rundown`, there is a value that
                // nobody changes.
                unsafe { (*self.object().value.get()).assume_init_ref() }
            }
        }
    };
}

deref!(Guard);
deref!(Guards);

/// An exclusively owned object, run down again on drop.
///
/// # Invariants
///
/// The object's reference was claimed, and this is the claim.
struct Claim<'a, T: Send + Sync, R: RundownProtect> {
    object: &'a Rundown<T, R>,
    held: DepHold,
    site: ClaimSite,
    /// Lockdep knows which task holds the claim.
    _task: NotThreadSafe,
}

impl<'a, T: Send + Sync, R: RundownProtect> Claim<'a, T, R> {
    /// Creates the owner of a claim that was just made.
    #[track_caller]
    fn new(object: &'a Rundown<T, R>) -> Self {
        // INVARIANT: The callers have claimed the reference.
        Self {
            object,
            held: DepHold::hold_exclusive(object.rundown.dep(Internal::new())),
            site: ClaimSite::enter(object.rundown.key(Internal::new())),
            _task: NotThreadSafe,
        }
    }

    /// Ends lockdep's view of the claim, and its entry in the table.
    fn untrack(&self) {
        self.held.release();
        self.site.leave();
    }

    fn is_present(&self) -> bool {
        // SAFETY: By the type invariants this has exclusive ownership of the object, so no other
        // context accesses `present`.
        unsafe { *self.object.present.get() }
    }

    fn set_present(&mut self, present: bool) {
        // SAFETY: By the type invariants this has exclusive ownership of the object, so no other
        // context accesses `present`.
        unsafe { *self.object.present.get() = present };
    }

    fn value(&self) -> *mut T {
        self.object.value.get().cast()
    }

    /// Drops the value, of which there is one.
    ///
    /// # Safety
    ///
    /// There is a value.
    unsafe fn drop_value(&mut self) {
        // First, so that the value is not dropped again if its destructor does not return.
        self.set_present(false);
        // SAFETY: There is a value by the requirements of this function, and nobody else accesses it.
        unsafe { self.value().drop_in_place() };
    }

    /// Makes the object live. There is a value.
    fn re_init(self) {
        let this = ManuallyDrop::new(self);
        this.untrack();
        // SAFETY: By the type invariants this is the claim, and it is used up.
        unsafe { this.object.rundown.unclaim(true, Internal::new()) };
    }
}

impl<T: Send + Sync, R: RundownProtect> Drop for Claim<'_, T, R> {
    fn drop(&mut self) {
        self.untrack();
        // SAFETY: By the type invariants this is the claim, and it is gone after this.
        unsafe { self.object.rundown.unclaim(false, Internal::new()) };
    }
}

/// A value that is run down and owned exclusively.
///
/// It dereferences to the value. Dropping this leaves the object run down, with its value, for the
/// next task that waits. It stays in its task, which lockdep takes for the holder of a lock. If it is leaked, the object stays run down and nobody else can wait for it
/// without a timeout.
///
/// # Invariants
///
/// There is a value.
#[must_use = "the value is given back immediately when this is unused"]
pub struct Exclusive<'a, T: Send + Sync, R: RundownProtect = RundownRef>(Claim<'a, T, R>);

impl<'a, T: Send + Sync, R: RundownProtect> Exclusive<'a, T, R> {
    fn of(claim: Claim<'a, T, R>) -> Result<Self, RundownError> {
        if !claim.is_present() {
            return Err(RundownError::Vacant);
        }
        // INVARIANT: There is a value, as was checked.
        Ok(Self(claim))
    }

    /// Makes the object live again: acquisitions succeed from now on, and see what was done to the
    /// value.
    ///
    /// Context: any but NMI; with a [`PerCpuRundownRef`](super::PerCpuRundownRef) process, may sleep,
    /// as it locks a mutex.
    pub fn re_init(self) {
        self.0.re_init();
    }

    /// Takes the value out. The object stays run down until it is filled again.
    pub fn take(mut self) -> (T, Vacant<'a, T, R>)
    where
        T: Unpin,
    {
        self.0.set_present(false);
        // SAFETY: By the type invariants there is a value. It is marked as absent, so that it is not
        // used again.
        let value = unsafe { self.0.value().read() };
        // INVARIANT: There is no value.
        (value, Vacant(self.0))
    }

    /// Drops the value. The object stays run down until it is filled again.
    pub fn clear(mut self) -> Vacant<'a, T, R> {
        // SAFETY: By the type invariants of `Exclusive` the value is present, and `self` is
        // consumed, so no reference to it is left.
        unsafe { self.0.drop_value() };
        // INVARIANT: There is no value.
        Vacant(self.0)
    }

    /// Returns a pinned reference to the value, for types that must not be moved.
    pub fn as_pin_mut(&mut self) -> Pin<&mut T> {
        // SAFETY: By the type invariants there is a value. If `T` is not `Unpin`, the object is pinned
        // by the type invariants of `Rundown`, and the value is dropped in place.
        unsafe { Pin::new_unchecked(&mut *self.0.value()) }
    }
}

impl<T: Send + Sync, R: RundownProtect> Deref for Exclusive<'_, T, R> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is a value, and nobody else accesses it mutably.
        unsafe { &*self.0.value() }
    }
}

impl<T: Send + Sync + Unpin, R: RundownProtect> DerefMut for Exclusive<'_, T, R> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants there is a value, and nobody else accesses it.
        unsafe { &mut *self.0.value() }
    }
}

impl<T: Send + Sync + fmt::Debug, R: RundownProtect> fmt::Debug for Exclusive<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exclusive").field(&**self).finish()
    }
}

/// An object that is run down, has no value, and is owned exclusively.
///
/// Dropping this leaves the object as it is: waits for it fail with [`RundownError::Vacant`], and
/// [`Rundown::vacancy`] returns another one of this type.
///
/// # Invariants
///
/// There is no value.
#[must_use = "the object stays without a value when this is unused"]
pub struct Vacant<'a, T: Send + Sync, R: RundownProtect = RundownRef>(Claim<'a, T, R>);

impl<'a, T: Send + Sync, R: RundownProtect> Vacant<'a, T, R> {
    /// Puts `value` in and makes the object live: acquisitions succeed from now on.
    ///
    /// Context: that of [`Exclusive::re_init`].
    pub fn fill(self, value: T)
    where
        T: Unpin,
    {
        self.put(value).re_init();
    }

    /// Puts `value` in and keeps exclusive ownership, so that the caller can go on changing it
    /// before the object becomes live.
    pub fn put(self, value: T) -> Exclusive<'a, T, R>
    where
        T: Unpin,
    {
        match self.try_put_init::<Infallible>(value) {
            Ok(exclusive) => exclusive,
            Err((never, _)) => match never {},
        }
    }

    /// Initialises a value in place and keeps the object to the caller.
    ///
    /// # Errors
    ///
    /// Those of `value`, together with the vacancy.
    pub fn try_put_init<E>(
        mut self,
        value: impl PinInit<T, E>,
    ) -> Result<Exclusive<'a, T, R>, (E, Self)> {
        // SAFETY: By the type invariants there is no value, and nobody else accesses its place. If
        // `T` is not `Unpin`, the object is pinned by the type invariants of `Rundown`.
        match unsafe { pin_init::raw_try_init(self.0.value(), value) } {
            Ok(()) => {
                self.0.set_present(true);
                // INVARIANT: There is a value.
                Ok(Exclusive(self.0))
            }
            Err(err) => Err((err, self)),
        }
    }
}

impl<T: Send + Sync, R: RundownProtect> fmt::Debug for Vacant<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vacant")
    }
}
