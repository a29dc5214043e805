// SPDX-License-Identifier: GPL-2.0

//! Guards: acquisitions that are released on drop.
//!
//! A guard consists of a pointer to the object, a borrow or an `Arc`, and of what lockdep and the
//! table of holders know about it. [`Guard`] owns one acquisition and [`Guards`] several. The
//! parameter `M` says whether the guard stays in its task, where lockdep treats it as a held lock,
//! or may be sent to another one. `RundownGuard`, `SendGuard` and `ArcGuard` are names for the
//! combinations.

use super::{
    listeners,
    lockdep::DepHold,
    reaper,
    track::Site,
    traits::{
        raw::{
            Internal,
            RawRundown, //
        },
        HasRundown,
        RundownProtect, //
    },
    wait,
    RundownError,
    Wait, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    panic::Location,
    ptr, //
};
use kernel::{
    fmt,
    sync::Arc,
    types::NotThreadSafe, //
};

mod sealed {
    pub trait Sealed {}
}

/// The pointer by which a guard reaches its object: `&O` or `Arc<O>`.
///
/// # Safety
///
/// The object stays alive and in place until the pointer and its clones are gone.
pub unsafe trait GuardPointer: Deref<Target: HasRundown> + Clone + sealed::Sealed {
    /// Drops a pointer in any context.
    #[doc(hidden)]
    fn drop_anywhere(this: Self, token: Internal);
}

impl<O: HasRundown> sealed::Sealed for &O {}

// SAFETY: A guard borrows the object while it is held, and a borrowed object is neither moved nor
// dropped.
unsafe impl<O: HasRundown> GuardPointer for &O {
    #[inline(always)]
    fn drop_anywhere(_this: Self, _: Internal) {}
}

impl<O: HasRundown + Send + 'static> sealed::Sealed for Arc<O> {}

// The bounds are those of `reaper::drop_arc()`: a worker may drop the object, at any later time.
//
// SAFETY: An `Arc` keeps its object alive and does not move it.
unsafe impl<O: HasRundown + Send + 'static> GuardPointer for Arc<O> {
    #[inline]
    fn drop_anywhere(this: Self, _: Internal) {
        reaper::drop_arc(this);
    }
}

/// Whether a guard may leave its task: [`TaskBound`] or [`Movable`].
pub trait GuardMobility: sealed::Sealed {
    #[doc(hidden)]
    const BOUND: bool;
    #[doc(hidden)]
    type Marker;
}

/// The guard stays in its task, where lockdep tracks it as a held lock.
pub struct TaskBound;

impl sealed::Sealed for TaskBound {}

impl GuardMobility for TaskBound {
    const BOUND: bool = true;
    type Marker = NotThreadSafe;
}

/// The guard can be sent to another task. Lockdep does not track its holder.
pub struct Movable;

impl sealed::Sealed for Movable {}

impl GuardMobility for Movable {
    const BOUND: bool = false;
    type Marker = ();
}

/// Returns the object's reference.
///
/// Guards never re-initialize it, which is what [`HasRundown::rundown`] requires.
#[inline(always)]
fn rundown<O: HasRundown + ?Sized>(object: &O) -> &O::Ref {
    // SAFETY: No function of this module calls `re_init()` on the reference.
    unsafe { object.rundown() }
}

/// The largest count that [`Guards`] can hold.
const MAX: usize = usize::MAX >> 3;

/// Checks a number of acquisitions: not zero, and not above the limit of the count.
pub(super) fn check_count(n: usize) -> Result<(), RundownError> {
    match n {
        0 => Err(RundownError::ZeroCount),
        1..=MAX => Ok(()),
        _ => Err(RundownError::Overflow),
    }
}

/// Makes a guard invariant in its pointer, and so in the object's type.
///
/// That type's [`HasRundown`] chooses the reference. A supertype, such as `O<fn(&'static u64)>` of
/// `O<for<'a> fn(&'a u64)>`, may implement it by another field than the one that was acquired.
type Invariant<P> = PhantomData<fn(P) -> P>;

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident { $($count:ident: $usize:ty)? }) => {
        $(#[$doc])*
        #[must_use = "the object is released immediately when the guard is unused"]
        pub struct $name<P: GuardPointer, M: GuardMobility = TaskBound> {
            at: ManuallyDrop<P>,
            $($count: $usize,)?
            held: DepHold,
            site: Site,
            _mobility: PhantomData<M::Marker>,
            _object: Invariant<P>,
        }

        impl<P: GuardPointer, M: GuardMobility> $name<P, M> {
            /// Creates a guard for acquisitions that the caller owns.
            ///
            /// # Safety
            ///
            /// The caller owns the acquisitions, which become the guard's.
            #[inline(always)]
            #[cfg_attr(quiesce_track, track_caller)]
            unsafe fn from_acquired(at: P $(, $count: $usize)?) -> Self {
                let of = rundown(&*at);
                let held = if M::BOUND {
                    DepHold::hold(of.dep(Internal::new()))
                } else {
                    DepHold::NO
                };
                let site = Site::enter(of.key(Internal::new()));
                // INVARIANT: The caller owns the acquisitions; `held` and `site` are what lockdep
                // and the table of holders returned for them.
                Self {
                    at: ManuallyDrop::new(at),
                    $($count,)?
                    held,
                    site,
                    _mobility: PhantomData,
                    _object: PhantomData,
                }
            }

            /// Ends lockdep's and the table's view of this guard.
            #[inline(always)]
            fn untrack(&self) {
                self.held.release();
                self.site.leave();
            }

            /// Returns the object.
            #[inline]
            pub fn object(&self) -> &P::Target {
                &self.at
            }

            /// Returns whether a rundown of the object has begun.
            ///
            /// A holder that keeps the object for long polls this, or is notified by
            /// [`on_rundown`](Self::on_rundown), and then releases its guard.
            #[inline]
            pub fn is_rundown_requested(&self) -> bool {
                rundown(&**self.at).is_rundown_requested()
            }

            /// Runs `body`, and calls `notify` when a rundown of the object begins meanwhile, or has
            /// begun already.
            ///
            /// For a holder that waits for something else and has to stop when the object is to go:
            /// `notify` wakes it up, and its condition includes
            /// [`is_rundown_requested`](Self::is_rundown_requested). `notify` may be called more than
            /// once, by the task or interrupt that begins the rundown. It is called without locks; but a
            /// [`Freezable`](super::Freezable) that is frozen, removed or run down by a holder holds its
            /// mutex meanwhile. It must not sleep. It is not called any more when this returns.
            ///
            /// A call of `notify` may be late, and be about a rundown that is over: one that was
            /// cancelled, or that had completed before this guard was acquired. So it is only a reason
            /// to check [`is_rundown_requested`](Self::is_rundown_requested).
            ///
            /// Context: process, may sleep.
            ///
            /// # Examples
            ///
            /// ```
            /// use kernel::{new_condvar, new_spinlock};
            /// use quiesce::rundown::RundownRef;
            ///
            /// // Only a task begins this rundown: in an interrupt the lock would have to disable
            /// // interrupts.
            /// let device = RundownRef::new();
            /// let data = KBox::pin_init(new_spinlock!(None::<u32>), GFP_KERNEL)?;
            /// let arrived = KBox::pin_init(new_condvar!(), GFP_KERNEL)?;
            ///
            /// let guard = device.try_acquire()?;
            /// # let read = || {
            /// // A read that ends when the device is removed, instead of delaying that.
            /// guard.on_rundown(
            ///     || {
            ///         // With the lock, so that this is not between the check below and the wait.
            ///         let _locked = data.lock();
            ///         arrived.notify_all();
            ///     },
            ///     || {
            ///         let mut locked = data.lock();
            ///         loop {
            ///             if let Some(data) = locked.take() {
            ///                 return Ok(data);
            ///             }
            ///             if guard.is_rundown_requested() {
            ///                 return Err(ENODEV);
            ///             }
            ///             if arrived.wait_interruptible(&mut locked) {
            ///                 return Err(ERESTARTSYS);
            ///             }
            ///         }
            ///     },
            /// )
            /// # };
            /// # device.begin_rundown();
            /// # assert_eq!(read(), Err(ENODEV));
            /// # Ok::<(), Error>(())
            /// ```
            pub fn on_rundown<R>(
                &self,
                notify: impl Fn() + Sync,
                body: impl FnOnce() -> R,
            ) -> R {
                listeners::listen(rundown(&**self.at).key(Internal::new()), &notify, || {
                    // The listener is in the table: a rundown that begins later notifies it.
                    if self.is_rundown_requested() {
                        notify();
                    }
                    body()
                })
            }

            /// Sleeps until a rundown of the object begins, or as `how` says.
            ///
            /// Returns at once if one has begun. One that is cancelled before this task runs again may
            /// go unnoticed: the sleep goes on then.
            ///
            /// Context: process, may sleep, also with a timeout of zero.
            ///
            /// # Errors
            ///
            /// [`RundownError::TimedOut`], [`RundownError::Interrupted`] and
            /// [`RundownError::WouldSleep`].
            pub fn wait_until_requested(&self, how: Wait) -> Result<(), RundownError> {
                wait::until_notified(
                    how,
                    || self.is_rundown_requested(),
                    |notify, body| self.on_rundown(notify, body),
                )
            }
        }

        impl<P: GuardPointer, M: GuardMobility> Drop for $name<P, M> {
            #[inline(always)]
            fn drop(&mut self) {
                self.untrack();
                // SAFETY: By the type invariants the guard owns the acquisitions, and it is not
                // used after its drop.
                unsafe { self.release_all() };
                // SAFETY: `drop()` runs once and is the only place that takes `at`, which is not
                // used afterwards.
                P::drop_anywhere(unsafe { ManuallyDrop::take(&mut self.at) }, Internal::new());
            }
        }
    };
}

guard! {
    /// An acquired object: its rundown does not complete while this exists.
    ///
    /// [`RundownGuard`], [`SendGuard`] and [`ArcGuard`] name the usual kinds. Dropping the guard
    /// releases the object, with release ordering, in any context in which it can be acquired.
    ///
    /// # Drop of the last [`ArcGuard`]
    ///
    /// The drop of the last `Arc` runs the destructor of the object and frees its memory. Where the
    /// caller can be preempted, and is in no RCU read-side critical section, this is done at once.
    /// Otherwise a worker does it in process context, after the drop has returned. So the object is
    /// [`Send`] and borrows nothing (`'static`). A module whose destructor waits for the worker is not
    /// unloaded before. If more than 512 objects wait, the next one is leaked, with a warning.
    /// [`ArcGuard::release`] returns the `Arc` instead.
    ///
    /// # Leaks
    ///
    /// A leaked guard is never released, so that the rundown of its object never completes.
    ///
    /// # Invariants
    ///
    /// One acquisition of `at` belongs to this guard. `held` is whether lockdep counts it as
    /// held by this task, and `site` is its entry in the table of holders.
    Guard {}
}

guard! {
    /// Several acquisitions of one object in one guard, see [`Guard`].
    ///
    /// # Invariants
    ///
    /// `count` acquisitions of `at` belong to this guard; `count` is not zero and at most
    /// [`Guards::MAX`]. `held` is whether lockdep counts them as held by this task, and `site`
    /// is their entry in the table of holders.
    Guards { count: usize }
}

/// A borrowed guard that stays in its task.
pub type RundownGuard<'a, O = super::RundownRef> = Guard<&'a O>;

/// Several acquisitions in a borrowed guard that stays in its task.
pub type RundownGuards<'a, O = super::RundownRef> = Guards<&'a O>;

/// A borrowed guard that can be sent to another task.
pub type SendGuard<'a, O = super::RundownRef> = Guard<&'a O, Movable>;

/// Several acquisitions in a borrowed guard that can be sent to another task.
pub type SendGuards<'a, O = super::RundownRef> = Guards<&'a O, Movable>;

/// A guard that owns an `Arc` of its object and can be sent to another task.
pub type ArcGuard<O = super::RundownRef> = Guard<Arc<O>, Movable>;

/// Several acquisitions in a guard that owns an `Arc` of its object and can be sent to another task.
pub type ArcGuards<O = super::RundownRef> = Guards<Arc<O>, Movable>;

impl<P: GuardPointer, M: GuardMobility> Guard<P, M> {
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    pub(super) fn acquire(at: P) -> Result<Self, RundownError> {
        match rundown(&*at).acquire_one(Internal::new()) {
            // SAFETY: `acquire_one()` returned success in the line above, and the guard is the only
            // owner of that acquisition.
            Ok(()) => Ok(unsafe { Self::from_acquired(at) }),
            Err(err) => {
                P::drop_anywhere(at, Internal::new());
                Err(err)
            }
        }
    }

    /// Releases the acquisition.
    ///
    /// # Safety
    ///
    /// The guard is not used afterwards, except for its pointer.
    #[inline(always)]
    unsafe fn release_all(&self) {
        // SAFETY: By the type invariants the guard owns an acquisition, which is used up here as
        // the caller does not use the guard again.
        unsafe { rundown(&**self.at).release_one(Internal::new()) }
    }

    /// Takes the guard apart; its acquisition becomes the caller's.
    #[inline(always)]
    fn into_acquired(self) -> P {
        let mut this = ManuallyDrop::new(self);
        this.untrack();
        // SAFETY: `this` is never dropped, so that `at` is taken once.
        unsafe { ManuallyDrop::take(&mut this.at) }
    }

    /// Converts the guard into one that can be sent to another task. Lockdep no longer tracks it,
    /// because it does not know which task will release it. The acquisition is kept. Context: as
    /// for the release.
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn unbind(self) -> Guard<P, Movable> {
        // SAFETY: `into_acquired()` consumes this guard without releasing and gives its acquisition
        // to the new one.
        unsafe { Guard::from_acquired(self.into_acquired()) }
    }

    /// Converts the guard into one that stays in this task, where lockdep tracks it as a held lock.
    /// The acquisition is kept. Context: as for the release.
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn bind(self) -> Guard<P, TaskBound> {
        // SAFETY: `into_acquired()` consumes this guard without releasing and gives its acquisition
        // to the new one.
        unsafe { Guard::from_acquired(self.into_acquired()) }
    }

    /// Begins the rundown of the object, releases this guard and waits for all others.
    ///
    /// For a holder that runs down the object that it uses. Any number of holders may do so at the
    /// same time. Each of them returns when that rundown has completed, also if one of them, another
    /// waiter or the callback makes the object live again at once. See [`RundownProtect::wait_with`] for
    /// the wait.
    ///
    /// # Errors
    ///
    /// Those of [`RundownProtect::wait_with`]. The guard is released in any case. With
    /// [`RundownError::WouldSleep`] the rundown has begun if the reference is a
    /// [`RundownRef`](super::RundownRef) and is not in a [`Freezable`](super::Freezable). Otherwise it has
    /// not, as it begins in process context. An `Arc` is dropped as that of an [`ArcGuard`] is.
    #[track_caller]
    pub fn into_rundown(self) -> Result<P, RundownError> {
        self.into_rundown_with(Wait::uninterruptible())
    }

    /// The same as [`into_rundown`](Self::into_rundown), with another kind of wait: a timeout, or
    /// one that signals end.
    #[track_caller]
    pub fn into_rundown_with(self, how: Wait) -> Result<P, RundownError> {
        let at = self.into_acquired();
        let how = how.at(Location::caller());
        let ret = match HasRundown::run_down_by_holder(&*at, Internal::new()) {
            // SAFETY: `into_acquired()` gave the acquisition to this function, which uses it up.
            Ok(()) => unsafe { rundown(&*at).release_and_wait(how, Internal::new()) },
            Err(err) => {
                // SAFETY: As `into_acquired()` gave the acquisition to this function, and nothing else
                // uses it up here.
                unsafe { rundown(&*at).release_one(Internal::new()) };
                Err(err)
            }
        };
        if let Err(err) = ret {
            // This may be the last `Arc`, in a context in which the object cannot be dropped.
            P::drop_anywhere(at, Internal::new());
            return Err(err);
        }
        Ok(at)
    }
}

impl<O: HasRundown + Send + 'static, M: GuardMobility> Guard<Arc<O>, M> {
    /// Releases the object and returns its `Arc`.
    ///
    /// For contexts in which the caller does not want the last `Arc` to be dropped.
    pub fn release(self) -> Arc<O> {
        let at = self.into_acquired();
        // SAFETY: `into_acquired` gave the acquisition to this function, which uses it up.
        unsafe { rundown(&*at).release_one(Internal::new()) };
        at
    }

    /// Turns the guard into a pointer to the object, for C code. The object stays acquired.
    pub fn into_raw(self) -> *const O {
        Arc::into_raw(self.into_acquired())
    }
}

impl<O: HasRundown + Send + 'static> ArcGuard<O> {
    /// Restores a guard from a pointer of [`into_raw`](Self::into_raw).
    ///
    /// # Safety
    ///
    /// `object` comes from a call of `into_raw`, for which this is the only call of `from_raw`.
    #[cfg_attr(quiesce_track, track_caller)]
    pub unsafe fn from_raw(object: *const O) -> Self {
        // SAFETY: `into_raw` got the pointer from `Arc::into_raw`, and left the acquisition to the
        // pointer's owner, which is the caller.
        unsafe { Self::from_acquired(Arc::from_raw(object)) }
    }
}

impl<P: GuardPointer, M: GuardMobility> Guards<P, M> {
    /// The largest number of acquisitions that can be asked for at once.
    pub const MAX: usize = MAX;

    #[cfg_attr(quiesce_track, track_caller)]
    pub(super) fn acquire(at: P, n: usize) -> Result<Self, RundownError> {
        let ret = check_count(n).and_then(|()| rundown(&*at).acquire_many(n, Internal::new()));
        match ret {
            // SAFETY: `acquire_many()` returned success in the line above, and the guard is the
            // only owner of those `n` acquisitions.
            Ok(()) => Ok(unsafe { Self::from_acquired(at, n) }),
            Err(err) => {
                P::drop_anywhere(at, Internal::new());
                Err(err)
            }
        }
    }

    /// Releases the acquisitions.
    ///
    /// # Safety
    ///
    /// The guard is not used afterwards, except for its pointer.
    unsafe fn release_all(&self) {
        // SAFETY: By the type invariants the guard owns `count` acquisitions, which are used up
        // here as the caller does not use the guard again.
        unsafe { rundown(&**self.at).release_many(self.count, Internal::new()) }
    }

    /// Takes the guard apart; its acquisitions become the caller's.
    fn into_acquired(self) -> (P, usize) {
        let mut this = ManuallyDrop::new(self);
        this.untrack();
        // SAFETY: `this` is never dropped, so that `at` is taken once.
        (unsafe { ManuallyDrop::take(&mut this.at) }, this.count)
    }

    /// Returns the number of acquisitions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Converts the guard into one that can be sent to another task. Lockdep no longer tracks it,
    /// because it does not know which task will release it. The acquisition is kept. Context: as
    /// for the release.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn unbind(self) -> Guards<P, Movable> {
        let (at, count) = self.into_acquired();
        // SAFETY: `into_acquired()` consumes this guard without releasing and gives its
        // acquisitions to the new one.
        unsafe { Guards::from_acquired(at, count) }
    }

    /// Converts the guard into one that stays in this task, where lockdep tracks it as a held lock.
    /// The acquisition is kept. Context: as for the release.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn bind(self) -> Guards<P, TaskBound> {
        let (at, count) = self.into_acquired();
        // SAFETY: `into_acquired()` consumes this guard without releasing and gives its
        // acquisitions to the new one.
        unsafe { Guards::from_acquired(at, count) }
    }

    /// Splits off a guard for `n` of the acquisitions.
    ///
    /// # Errors
    ///
    /// [`RundownError::ZeroCount`] if `n` is zero or nothing would be left, and
    /// [`RundownError::Overflow`] if there are fewer.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn split(&mut self, n: usize) -> Result<Self, RundownError> {
        check_count(n)?;
        match self.count.checked_sub(n) {
            None => Err(RundownError::Overflow),
            Some(0) => Err(RundownError::ZeroCount),
            Some(left) => {
                // INVARIANT: `left` is not zero, and `n` acquisitions are no longer this guard's.
                self.count = left;
                // SAFETY: This guard gave up the `n` acquisitions in the line above.
                Ok(unsafe { Self::from_acquired(P::clone(&self.at), n) })
            }
        }
    }

    /// Splits off a guard for one of the acquisitions; `None` if there is only one.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn split_one(&mut self) -> Option<Guard<P, M>> {
        if self.count == 1 {
            return None;
        }
        // INVARIANT: The count is at least one afterwards, as it was more than one.
        self.count -= 1;
        // SAFETY: This guard gave up the acquisition in the line above.
        Some(unsafe { Guard::from_acquired(P::clone(&self.at)) })
    }

    /// Adds the acquisitions of `other`.
    ///
    /// # Errors
    ///
    /// Returns `other` if it is of another object, or if there would be more than
    /// [`MAX`](Self::MAX).
    pub fn merge<P2, M2>(&mut self, other: Guards<P2, M2>) -> Result<(), Guards<P2, M2>>
    where
        P2: GuardPointer<Target = P::Target>,
        M2: GuardMobility,
    {
        let sum = self.count.saturating_add(other.count);
        if sum > MAX || !ptr::eq(rundown(&**self.at), rundown(&**other.at)) {
            return Err(other);
        }
        let (at, _) = other.into_acquired();
        // INVARIANT: `into_acquired` gave the acquisitions to this function.
        self.count = sum;
        P2::drop_anywhere(at, Internal::new());
        Ok(())
    }
}

impl<P: GuardPointer, M: GuardMobility> From<Guard<P, M>> for Guards<P, M> {
    #[cfg_attr(quiesce_track, track_caller)]
    fn from(one: Guard<P, M>) -> Self {
        // SAFETY: `into_acquired()` consumes the guard without releasing and gives its one
        // acquisition to the new one.
        unsafe { Self::from_acquired(one.into_acquired(), 1) }
    }
}

/// Acquires the object once more, also after its rundown has begun.
///
/// An overflow saturates the count with a warning, of a
/// [`PerCpuRundownRef`](super::PerCpuRundownRef) at the next rundown: the object is leaked then.
impl<P: GuardPointer, M: GuardMobility> Clone for Guard<P, M> {
    #[cfg_attr(quiesce_track, track_caller)]
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants this guard owns an acquisition of this object, which it
        // keeps during the call.
        unsafe { rundown(&**self.at).acquire_more(Internal::new()) };
        // SAFETY: `acquire_more()` in the line above added one acquisition, which the new guard
        // owns alone.
        unsafe { Self::from_acquired(P::clone(&self.at)) }
    }
}

impl<P: GuardPointer, M: GuardMobility> fmt::Debug for Guard<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Guard", rundown(&**self.at), 1)
    }
}

impl<P: GuardPointer, M: GuardMobility> fmt::Debug for Guards<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Guards", rundown(&**self.at), self.count)
    }
}

fn debug(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    of: &impl RundownProtect,
    count: usize,
) -> fmt::Result {
    f.debug_struct(name)
        .field("count", &count)
        .field("holders", &of.holders())
        .field("rundown_requested", &of.is_rundown_requested())
        .finish()
}
