// SPDX-License-Identifier: GPL-2.0

//! The common interface of the two rundown references.
//!
//! [`RundownProtect`] has the operations of a reference, and [`HasRundown`] those of the types that
//! contain one; users' types implement it by [`impl_has_rundown!`](crate::impl_has_rundown). The
//! counting itself is in a sealed trait, whose functions are out of reach of other crates, because
//! a release without an acquisition would release the guard of another holder.

use super::{
    guard::{
        ArcGuard,
        ArcGuards,
        Guard,
        Guards,
        RundownGuard,
        RundownGuards, //
    },
    track,
    wait,
    RundownError,
    Wait, //
};
use core::panic::Location;
use kernel::{
    fmt,
    sync::Arc,
    time::Jiffies, //
};

pub(super) mod raw {
    use crate::rundown::{
        lockdep::Dep,
        RundownError, //
    };

    /// A proof that the caller is this crate.
    ///
    /// The trait below is a supertrait of a public one, so that generic code of other crates finds
    /// its methods. None of them can be called without a value of this type.
    #[derive(Clone, Copy)]
    pub struct Internal(());

    impl Internal {
        #[inline(always)]
        pub(in crate::rundown) const fn new() -> Self {
            Self(())
        }
    }

    /// Counting without guards.
    ///
    /// # Safety
    ///
    /// As long as an acquisition succeeded and was not released, `claim` fails, and everything done
    /// before a release happens before what follows a successful `claim`. While claimed,
    /// acquisitions fail.
    pub unsafe trait RawRundown: Sync {
        /// Acquires once.
        fn acquire_one(&self, token: Internal) -> Result<(), RundownError>;

        /// Acquires `n` times or not at all; `n` is not zero.
        fn acquire_many(&self, n: usize, token: Internal) -> Result<(), RundownError>;

        /// Acquires once more, though the rundown may have begun.
        ///
        /// # Safety
        ///
        /// The caller has an acquisition.
        unsafe fn acquire_more(&self, token: Internal);

        /// Releases once.
        ///
        /// # Safety
        ///
        /// The caller has an acquisition, which is used up.
        unsafe fn release_one(&self, token: Internal);

        /// Releases `n` times.
        ///
        /// # Safety
        ///
        /// The caller has `n` acquisitions, which are used up.
        unsafe fn release_many(&self, n: usize, token: Internal);

        /// Takes exclusive ownership of the object if it is run down.
        fn claim(&self, token: Internal) -> Result<(), RundownError>;

        /// Gives up a claim. The object is live afterwards if `live`, and else run down.
        ///
        /// # Safety
        ///
        /// The caller has claimed the object.
        unsafe fn unclaim(&self, live: bool, token: Internal);

        /// Begins the rundown and waits for it to complete; with `claim`, also takes exclusive
        /// ownership of the object before returning.
        fn wait_raw(
            &self,
            how: super::Wait,
            claim: bool,
            token: Internal,
        ) -> Result<(), RundownError>;

        /// Begins the rundown, releases once, and waits for the rundown to complete. The wait does not
        /// miss that, however short the object is run down. Where the caller may not sleep, it begins
        /// the rundown if that is allowed there, and releases.
        ///
        /// # Safety
        ///
        /// The caller has an acquisition, which is used up also if this fails.
        unsafe fn release_and_wait(
            &self,
            how: super::Wait,
            token: Internal,
        ) -> Result<(), RundownError>;

        /// Returns lockdep's map.
        fn dep(&self, token: Internal) -> &Dep;

        /// Returns the address by which waiters and the table of holders know the reference.
        fn key(&self, token: Internal) -> usize;
    }
}

use raw::Internal;

/// A callback for the end of rundowns.
///
/// For users that do not want a task to wait: it frees a resource, queues a work item, completes a
/// request.
pub trait Drained: Send + Sync {
    /// Called at the end of a rundown: nobody holds the object.
    ///
    /// It is called once per rundown, by the last release (which may be in an interrupt or in an
    /// NMI), or by the call that began the rundown if there was no holder. For a
    /// [`PerCpuRundownRef`](super::PerCpuRundownRef) it may also be called by an RCU callback.
    ///
    /// Everything done under guards, by whichever holder, happened before the call.
    ///
    /// It must not sleep, and not begin or end rundowns of per-CPU references. It may drop any
    /// owner of the reference, also the last one. Of a [`RundownRef`](super::RundownRef), waiters
    /// may have returned before it does, and may have re-initialized the reference; the rundown of a
    /// [`PerCpuRundownRef`](super::PerCpuRundownRef) completes when it has returned.
    fn drained(&self);
}

impl Drained for () {
    #[inline(always)]
    fn drained(&self) {}
}

/// The operations that both rundown references have.
///
/// Sealed; implemented by [`RundownRef`](super::RundownRef) and
/// [`PerCpuRundownRef`](super::PerCpuRundownRef), which have the usual ones as inherent methods,
/// too. Guards come from [`HasRundown`].
pub trait RundownProtect: raw::RawRundown {
    /// Begins the rundown without waiting: from now on no acquisition succeeds.
    ///
    /// Returns whether this call began it; `false` if it had begun already, and with a warning if
    /// the context is not allowed.
    ///
    /// Context: any but NMI for [`RundownRef`](super::RundownRef); process context, may sleep, for
    /// [`PerCpuRundownRef`](super::PerCpuRundownRef).
    fn begin_rundown(&self) -> bool;

    /// Returns whether the rundown has begun or completed.
    ///
    /// Only a hint, unless the caller knows that nobody re-initializes or resurrects the object.
    fn is_rundown_requested(&self) -> bool;

    /// Returns whether the rundown has completed: it has begun and nobody holds the object.
    ///
    /// If so, everything done under guards happened before, and the object stays run down until it
    /// is re-initialized.
    fn rundown_completed(&self) -> bool;

    /// Makes the object live again after a rundown: acquisitions succeed from now on.
    ///
    /// Waits for the rundown that are in progress return success.
    ///
    /// # Errors
    ///
    /// [`RundownError::NotDrained`] if the object is not run down, or owned exclusively;
    /// [`RundownError::Saturated`] if it never will be run down; [`RundownError::WouldSleep`], with a
    /// warning, if the context is not allowed.
    fn re_init(&self) -> Result<(), RundownError>;

    /// Cancels a rundown that has begun and has not completed.
    ///
    /// Waits for it fail with [`RundownError::Resurrected`], except
    /// [`wait_for_rundown`](Self::wait_for_rundown), which begins the rundown again.
    ///
    /// # Errors
    ///
    /// [`RundownError::NotInProgress`] if none has begun, or it has completed: then
    /// [`re_init`](Self::re_init) makes the object live; also if the count is saturated.
    /// [`RundownError::WouldSleep`], with a warning, if the context is not allowed.
    fn resurrect(&self) -> Result<(), RundownError>;

    /// Returns the number of acquisitions, which may have changed by the time it is used.
    ///
    /// For a [`PerCpuRundownRef`](super::PerCpuRundownRef) it may be one more for a moment, after
    /// a rundown has begun or was cancelled: `percpu_ref` holds a reference while it collects the
    /// CPUs' counters.
    fn holders(&self) -> usize;

    /// Begins the rundown and waits until it completes, as `how` says.
    ///
    /// Any number of tasks can wait. When this returns `Ok`, no guard was left, and everything done
    /// under guards happened before. A leaked guard makes it wait indefinitely, unless `how` has a
    /// timeout. Waits that take long are reported in the log, see
    /// [`set_stall_report_ms`](super::set_stall_report_ms).
    ///
    /// Context: process, may sleep; with a timeout of zero, any but NMI for a
    /// [`RundownRef`](super::RundownRef).
    ///
    /// # Errors
    ///
    /// [`RundownError::TimedOut`] and [`RundownError::Interrupted`], as `how` allows: the rundown
    /// goes on, and the caller may wait again. [`RundownError::Resurrected`] if it was cancelled.
    /// [`RundownError::Saturated`] if it would never complete. [`RundownError::WouldSleep`], with a
    /// warning, where the caller cannot sleep.
    #[track_caller]
    fn wait_with(&self, how: Wait) -> Result<(), RundownError> {
        self.wait_raw(how.at(Location::caller()), false, Internal::new())
    }

    /// Begins the rundown and waits until it completes.
    ///
    /// This cannot fail. If somebody [resurrects](Self::resurrect) the object meanwhile, the
    /// rundown begins again. If the reference is saturated, of which there was a warning, this does
    /// not return; [`wait_with`](Self::wait_with) fails then.
    ///
    /// Context: process, may sleep. Elsewhere the kernel warns, as for any function that sleeps.
    #[track_caller]
    fn wait_for_rundown(&self) {
        loop {
            match self.wait_with(Wait::uninterruptible().insist()) {
                Ok(()) => return,
                Err(RundownError::Resurrected) => {}
                Err(_) => wait::forever(),
            }
        }
    }

    /// Waits as [`wait_with`](Self::wait_with), and until a signal is pending at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    fn wait_for_rundown_interruptible(&self) -> Result<(), RundownError> {
        self.wait_with(Wait::interruptible())
    }

    /// Waits as [`wait_with`](Self::wait_with), and until a fatal signal is pending at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    fn wait_for_rundown_killable(&self) -> Result<(), RundownError> {
        self.wait_with(Wait::killable())
    }

    /// Waits as [`wait_with`](Self::wait_with), for `timeout` jiffies at most.
    ///
    /// # Errors
    ///
    /// Those of [`wait_with`](Self::wait_with).
    #[track_caller]
    fn wait_for_rundown_timeout(&self, timeout: Jiffies) -> Result<(), RundownError> {
        self.wait_with(Wait::uninterruptible().timeout(timeout))
    }

    /// Lists the holders of the object in the log: their tasks, and where they acquired it.
    ///
    /// Returns how many are listed. Holders are recorded in a kernel with lockdep, or if the crate
    /// was built with `make modules KDIR=PATH QUIESCE_TRACK=1`; otherwise there are none. The
    /// report of a wait that takes long lists them as well. The holder that leaked a guard of a
    /// [`RundownRef`](super::RundownRef) is listed for a later reference at that address, too.
    fn report_holders(&self) -> usize {
        track::report(self.key(Internal::new()))
    }

    /// Tells lockdep that the caller may wait here, as `might_lock()` does for a lock.
    ///
    /// Does nothing without `CONFIG_LOCKDEP`. Every wait does this by itself.
    fn might_wait(&self) {
        self.dep(Internal::new()).may_wait();
    }

    /// Returns whether lockdep knows that this task holds a guard of this reference, or of another one
    /// of its class: one that was created at the same place of the source.
    ///
    /// Always `false` without `CONFIG_LOCKDEP`: only for assertions that are enabled with it.
    fn is_held_by_current(&self) -> bool {
        self.dep(Internal::new()).is_held()
    }
}

/// Adds the usual operations of [`RundownProtect`] and [`HasRundown`] to a reference as inherent
/// methods, which work without a trait in scope.
macro_rules! inherent_methods {
    () => {
        /// Acquires the object, or fails if its rundown has begun.
        ///
        /// Context: any, see the table in the [module](crate::rundown). Acquire ordering.
        ///
        /// # Errors
        ///
        /// [`RundownError::RundownInProgress`] if the rundown has begun.
        ///
        /// # Limits
        ///
        /// This does not check the count for overflow; see the
        /// [module](crate::rundown#limits).
        #[inline(always)]
        #[cfg_attr(quiesce_track, track_caller)]
        pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
            HasRundown::try_acquire(self)
        }

        /// Acquires `n` times, or not at all; see [`HasRundown::try_acquire_many`].
        #[cfg_attr(quiesce_track, track_caller)]
        pub fn try_acquire_many(&self, n: usize) -> Result<RundownGuards<'_, Self>, RundownError> {
            HasRundown::try_acquire_many(self, n)
        }

        /// Begins the rundown without waiting; see [`RundownProtect::begin_rundown`].
        pub fn begin_rundown(&self) -> bool {
            RundownProtect::begin_rundown(self)
        }

        /// Returns whether the rundown has begun; see [`RundownProtect::is_rundown_requested`].
        #[inline]
        pub fn is_rundown_requested(&self) -> bool {
            RundownProtect::is_rundown_requested(self)
        }

        /// Returns whether the rundown has completed; see [`RundownProtect::rundown_completed`].
        pub fn rundown_completed(&self) -> bool {
            RundownProtect::rundown_completed(self)
        }

        /// Begins the rundown and waits until it completes; see
        /// [`RundownProtect::wait_for_rundown`].
        #[track_caller]
        pub fn wait_for_rundown(&self) {
            RundownProtect::wait_for_rundown(self)
        }

        /// Waits as `how` says; see [`RundownProtect::wait_with`].
        #[track_caller]
        pub fn wait_with(&self, how: Wait) -> Result<(), RundownError> {
            RundownProtect::wait_with(self, how)
        }

        /// Waits until the rundown completes or a signal is pending; see
        /// [`RundownProtect::wait_with`].
        #[track_caller]
        pub fn wait_for_rundown_interruptible(&self) -> Result<(), RundownError> {
            RundownProtect::wait_for_rundown_interruptible(self)
        }

        /// Waits until the rundown completes or a fatal signal is pending; see
        /// [`RundownProtect::wait_with`].
        #[track_caller]
        pub fn wait_for_rundown_killable(&self) -> Result<(), RundownError> {
            RundownProtect::wait_for_rundown_killable(self)
        }

        /// Waits until the rundown completes, for at most `timeout` jiffies; see
        /// [`RundownProtect::wait_with`].
        #[track_caller]
        pub fn wait_for_rundown_timeout(&self, timeout: Jiffies) -> Result<(), RundownError> {
            RundownProtect::wait_for_rundown_timeout(self, timeout)
        }

        /// Makes the object live again after a rundown; see [`RundownProtect::re_init`].
        ///
        /// # Errors
        ///
        /// [`RundownError::NotDrained`] and [`RundownError::Saturated`]; of a
        /// [`PerCpuRundownRef`](crate::rundown::PerCpuRundownRef) also [`RundownError::WouldSleep`].
        pub fn re_init(&self) -> Result<(), RundownError> {
            RundownProtect::re_init(self)
        }

        /// Cancels a rundown that has not completed; see [`RundownProtect::resurrect`].
        ///
        /// # Errors
        ///
        /// [`RundownError::NotInProgress`]; of a
        /// [`PerCpuRundownRef`](crate::rundown::PerCpuRundownRef) also [`RundownError::WouldSleep`].
        pub fn resurrect(&self) -> Result<(), RundownError> {
            RundownProtect::resurrect(self)
        }

        /// Returns the number of acquisitions; see [`RundownProtect::holders`].
        pub fn holders(&self) -> usize {
            RundownProtect::holders(self)
        }
    };
}

pub(super) use inherent_methods;

/// Formats the state of a reference.
pub(super) fn debug(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    of: &impl RundownProtect,
) -> fmt::Result {
    f.debug_struct(name)
        .field("holders", &of.holders())
        .field("rundown_requested", &of.is_rundown_requested())
        .field("rundown_completed", &of.rundown_completed())
        .finish()
}

/// An object with a rundown reference, which can be acquired.
///
/// The references themselves are such objects. For a type that contains one, use
/// [`impl_has_rundown!`](crate::impl_has_rundown).
///
/// # Safety
///
/// [`rundown`](Self::rundown) returns the same reference each time.
pub unsafe trait HasRundown: Sync {
    /// The type of the reference.
    type Ref: RundownProtect;

    /// Returns the reference.
    ///
    /// # Safety
    ///
    /// The caller does not re-initialize it, and does not return it from this function of another
    /// object: an object may depend on more than its reference, as [`Rundown`](super::Rundown) does,
    /// which may have no value.
    unsafe fn rundown(&self) -> &Self::Ref;

    /// Called by a holder that runs the object down, before the rundown begins. With an error it does
    /// not begin.
    #[doc(hidden)]
    #[inline(always)]
    fn run_down_by_holder(&self, _: Internal) -> Result<(), RundownError> {
        Ok(())
    }

    /// Acquires the object, or fails if its rundown has begun.
    ///
    /// Context: any, see the table in the [module](crate::rundown). Acquire ordering.
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] if the rundown has begun.
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError>
    where
        Self: Sized,
    {
        Guard::acquire(self)
    }

    /// Acquires the object `n` times, or not at all.
    ///
    /// Context and ordering as [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] if the rundown has begun,
    /// [`RundownError::ZeroCount`] if `n` is zero, [`RundownError::Overflow`] if there would be more
    /// holders than can be counted.
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_many(&self, n: usize) -> Result<RundownGuards<'_, Self>, RundownError>
    where
        Self: Sized,
    {
        Guards::acquire(self, n)
    }

    /// Acquires the object with a guard that owns an `Arc` of it.
    ///
    /// Context and errors as [`try_acquire`](Self::try_acquire). If it fails, `this` is dropped as
    /// a last [`ArcGuard`] is, see [`Guard`](super::Guard). A worker may drop it later, so that the
    /// object is [`Send`] and borrows nothing.
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_arc(this: Arc<Self>) -> Result<ArcGuard<Self>, RundownError>
    where
        Self: Sized + Send + 'static,
    {
        Guard::acquire(this)
    }

    /// Acquires the object `n` times with a guard that owns an `Arc` of it.
    ///
    /// Context and errors as [`try_acquire_many`](Self::try_acquire_many), drop and bounds as
    /// [`try_acquire_arc`](Self::try_acquire_arc).
    #[cfg_attr(quiesce_track, track_caller)]
    fn try_acquire_arc_many(this: Arc<Self>, n: usize) -> Result<ArcGuards<Self>, RundownError>
    where
        Self: Sized + Send + 'static,
    {
        Guards::acquire(this, n)
    }
}

/// Implements [`HasRundown`] for a type by one of its fields.
///
/// The field is named, or numbered in a tuple struct. It must be of the given type itself, not of
/// one that dereferences to it, and the type must not be packed.
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
/// let device = Device { users: RundownRef::new(), name: c"disk" };
/// let guard = device.try_acquire()?;
/// pr_info!("{}\n", guard.object().name);
/// # drop(guard);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! impl_has_rundown {
    (impl$({$($generics:tt)*})? HasRundown for $t:ty { self.$field:tt: $ref:ty }) => {
        // Tokens that are parameters here and in the next item do not end the list, and so begin no
        // implementation of something else.
        const _: () = {
            #[allow(dead_code, reason = "only parsed")]
            fn parameters$(<$($generics)*>)?() {}
        };

        // SAFETY: The function returns a reference to a field of the object, at the same offset
        // each time.
        unsafe impl$(<$($generics)*>)? $crate::rundown::HasRundown for $t {
            type Ref = $ref;

            #[inline(always)]
            unsafe fn rundown(&self) -> &Self::Ref {
                // The field is one of `Self`, and not of a type that `Self` dereferences to.
                let _ = $crate::__core::mem::offset_of!(Self, $field);
                // A reference to a field of a packed struct is an error, unlike a raw pointer. The
                // coercion to a raw pointer admits no dereference of the field, which could lead
                // elsewhere each time.
                let field: *const $ref = &self.$field;
                // SAFETY: The pointer was made from a reference that lives as long as `self`.
                unsafe { &*field }
            }
        }
    };
}
