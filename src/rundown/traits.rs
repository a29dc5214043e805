// SPDX-License-Identifier: GPL-2.0

//! What the forms of a rundown reference have in common.

use super::{
    guard::{
        ArcGuard,
        ArcGuards,
        Guard,
        Many,
        One,
        RundownGuard,
        RundownGuards, //
    },
    track,
    RundownError,
    Wait, //
};
use kernel::{
    sync::Arc,
    time::Jiffies, //
};

pub(super) mod raw {
    use crate::rundown::{
        lockdep::Dep,
        RundownError, //
    };

    /// Counting without guards: not for users, as a count that is not a guard can be forged.
    ///
    /// # Safety
    ///
    /// As long as an acquisition succeeded and was not released, `claim` fails, and all that was
    /// done before a release happens before what follows a `claim` that succeeds. While claimed,
    /// acquisitions fail.
    pub unsafe trait RawRundown: Sync {
        /// Acquires once.
        fn acquire_one(&self) -> Result<(), RundownError>;

        /// Acquires `n` times or not at all; `n` is not zero.
        fn acquire_many(&self, n: usize) -> Result<(), RundownError>;

        /// Acquires `n` times more, though the rundown has begun.
        ///
        /// # Safety
        ///
        /// The caller has an acquisition.
        unsafe fn acquire_more(&self, n: usize);

        /// Releases once.
        ///
        /// # Safety
        ///
        /// The caller has an acquisition, which is used up.
        unsafe fn release_one(&self);

        /// Releases `n` times.
        ///
        /// # Safety
        ///
        /// The caller has `n` acquisitions, which are used up.
        unsafe fn release_many(&self, n: usize);

        /// Takes the object for the caller alone if it is run down.
        fn claim(&self) -> Result<(), RundownError>;

        /// Gives up a claim; the object is live afterwards if `live`, and else run down.
        ///
        /// # Safety
        ///
        /// The caller has claimed the object.
        unsafe fn unclaim(&self, live: bool);

        /// Begins the rundown and waits for what `claim` if asked for needs.
        fn wait_raw(&self, how: super::Wait, claim: bool) -> Result<(), RundownError>;

        /// What lockdep sees.
        fn dep(&self) -> &Dep;
    }
}

/// Is called when a rundown has ended, in the context of the last release.
///
/// This is for those who do not want a task to wait: free a resource, queue a work item, complete a
/// request.
pub trait Drained: Send + Sync {
    /// The rundown is over: nobody holds the object.
    ///
    /// It must not sleep, and not begin or end rundowns of per-CPU forms.
    ///
    /// Called once per rundown, from where the last release was (so perhaps in an interrupt, or
    /// in an NMI) or from where the rundown was begun if nobody held the object then; from a
    /// callback of RCU in the case of a [`PerCpuRundownRef`](super::PerCpuRundownRef). Waiters may
    /// be back before it returns, and whoever waited may have re-armed the object.
    fn drained(&self);
}

impl Drained for () {
    #[inline(always)]
    fn drained(&self) {}
}

/// A rundown reference: what can be asked of both forms.
///
/// Sealed; [`RundownRef`](super::RundownRef) and [`PerCpuRundownRef`](super::PerCpuRundownRef) are
/// the forms. Guards come from [`HasRundown`].
pub trait RundownProtect: raw::RawRundown {
    /// Begins the rundown without waiting: from now on no acquisition succeeds.
    ///
    /// Returns whether this call began it; `false` if it has begun already.
    fn begin_rundown(&self) -> bool;

    /// Whether the rundown has begun, or is over.
    ///
    /// Only a hint, unless the caller knows that nobody re-arms or resurrects the object.
    fn is_rundown_requested(&self) -> bool;

    /// Whether the rundown is over: it has begun and nobody holds the object.
    ///
    /// If so, all that was done under guards happened before. Until somebody re-arms the object, it
    /// stays like that.
    fn rundown_completed(&self) -> bool;

    /// Arms the object again after a rundown: acquisitions succeed from now on.
    ///
    /// Whoever has waited for the rundown is told that it was over.
    ///
    /// # Errors
    ///
    /// [`RundownError::NotDrained`] if the object is not run down, or in somebody's exclusive
    /// hands; [`RundownError::Saturated`] if it never will be.
    fn re_init(&self) -> Result<(), RundownError>;

    /// Takes back a rundown that has begun and is not over.
    ///
    /// Whoever waits for it is told [`RundownError::Resurrected`].
    ///
    /// # Errors
    ///
    /// [`RundownError::NotInProgress`] if none has begun, or it is over: then
    /// [`re_init`](Self::re_init) helps.
    fn resurrect(&self) -> Result<(), RundownError>;

    /// How many acquisitions there are now: for reports, as they come and go.
    fn holders(&self) -> usize;

    /// Begins the rundown and waits until nobody holds the object, as `how` says.
    ///
    /// Any number of tasks can wait. When this returns `Ok`, no guard was left, and all that was
    /// done under guards happened before. A guard that was leaked makes it wait forever, unless
    /// `how` has a timeout; a wait that takes long is reported in the log.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// [`RundownError::TimedOut`] and [`RundownError::Interrupted`], as `how` allows: the rundown
    /// goes on, and one may wait again. [`RundownError::Resurrected`] if somebody took it back.
    /// [`RundownError::Saturated`] if it would never end.
    fn wait_with(&self, how: Wait) -> Result<(), RundownError> {
        self.wait_raw(how, false)
    }

    /// [`wait_with`](Self::wait_with) until the rundown is over, whatever comes.
    fn wait_for_rundown(&self) -> Result<(), RundownError> {
        self.wait_with(Wait::uninterruptible())
    }

    /// [`wait_with`](Self::wait_with) until the rundown is over or a signal comes.
    fn wait_for_rundown_interruptible(&self) -> Result<(), RundownError> {
        self.wait_with(Wait::interruptible())
    }

    /// [`wait_with`](Self::wait_with) until the rundown is over or a fatal signal comes.
    fn wait_for_rundown_killable(&self) -> Result<(), RundownError> {
        self.wait_with(Wait::killable())
    }

    /// [`wait_with`](Self::wait_with) until the rundown is over, for `timeout` at most.
    fn wait_for_rundown_timeout(&self, timeout: Jiffies) -> Result<(), RundownError> {
        self.wait_with(Wait::uninterruptible().timeout(timeout))
    }

    /// Lists in the log who holds the object: where it was acquired, and by which task.
    ///
    /// Returns how many are listed. They are known in a kernel with lockdep, or if the crate was
    /// built with `make QUIESCE_TRACK=1`; otherwise there are none. A wait that takes long lists
    /// them by itself.
    fn report_holders(&self) -> usize {
        track::report(core::ptr::from_ref(self).addr())
    }

    /// Tells lockdep that the caller may wait here, as `might_lock()` does for a lock.
    ///
    /// Does nothing without `CONFIG_LOCKDEP`. Every wait does this by itself.
    fn might_wait(&self) {
        self.dep().may_wait();
    }

    /// Whether lockdep knows that this task holds a guard of this very reference.
    ///
    /// Always `false` without `CONFIG_LOCKDEP`: only for assertions that are on with it.
    fn is_held_by_current(&self) -> bool {
        self.dep().is_held()
    }
}

/// An object with a rundown reference: what can be acquired.
///
/// The references themselves are such objects. For a type of one's own that holds one, use
/// [`impl_has_rundown!`](crate::impl_has_rundown).
///
/// # Safety
///
/// [`rundown`](Self::rundown) returns the same reference each time.
pub unsafe trait HasRundown: Sync {
    /// The form of the reference.
    type Ref: RundownProtect;

    /// The reference.
    ///
    /// # Safety
    ///
    /// The caller does not arm it again: an object may have more to do then, as
    /// [`Rundown`](super::Rundown) has, which may lack a value.
    unsafe fn rundown(&self) -> &Self::Ref;

    /// Acquires the object, or fails if its rundown has begun.
    ///
    /// Context: any, see the table in the [module](crate::rundown). Acquire ordering.
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] from the moment the rundown has begun.
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError>
    where
        Self: Sized,
    {
        Guard::acquire(self, One::new())
    }

    /// Acquires the object `n` times, or not at all.
    ///
    /// Context and ordering as [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] from the moment the rundown has begun,
    /// [`RundownError::ZeroCount`] if `n` is zero, [`RundownError::Overflow`] if there would be more
    /// holders than can be counted.
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_many(&self, n: usize) -> Result<RundownGuards<'_, Self>, RundownError>
    where
        Self: Sized,
    {
        Guard::acquire(self, Many::new(n)?)
    }

    /// Acquires the object for an owner who keeps it alive.
    ///
    /// Context and errors as [`try_acquire`](Self::try_acquire).
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_arc(this: Arc<Self>) -> Result<ArcGuard<Self>, RundownError>
    where
        Self: Sized,
    {
        Guard::acquire(this, One::new())
    }

    /// Acquires the object `n` times for an owner who keeps it alive.
    ///
    /// Context and errors as [`try_acquire_many`](Self::try_acquire_many).
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_arc_many(this: Arc<Self>, n: usize) -> Result<ArcGuards<Self>, RundownError>
    where
        Self: Sized,
    {
        Guard::acquire(this, Many::new(n)?)
    }
}

/// Implements [`HasRundown`] for a type by one of its fields.
///
/// # Examples
///
/// ```
/// use quiesce::{impl_has_rundown, rundown::{HasRundown, RundownRef}};
///
/// struct Device {
///     users: RundownRef,
///     name: &'static CStr,
/// }
///
/// impl_has_rundown! {
///     impl HasRundown for Device { self.users: RundownRef }
/// }
///
/// # fn f(device: &Device) -> Result {
/// let guard = device.try_acquire()?;
/// pr_info!("{}\n", guard.object().name);
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! impl_has_rundown {
    (impl$({$($generics:tt)*})? HasRundown for $t:ty { self.$field:ident: $ref:ty }) => {
        // SAFETY: It is a place within the object, which is the same each time.
        unsafe impl$(<$($generics)*>)? $crate::rundown::HasRundown for $t {
            type Ref = $ref;

            #[inline(always)]
            unsafe fn rundown(&self) -> &Self::Ref {
                // A field of the type's own, and of this very type: nothing is dereferenced, which
                // could lead elsewhere each time.
                let _ = ::core::mem::offset_of!(Self, $field);
                let field: *const $ref = &raw const self.$field;
                // SAFETY: It is borrowed with `self`.
                unsafe { &*field }
            }
        }
    };
}
