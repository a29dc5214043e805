// SPDX-License-Identifier: GPL-2.0

//! A reference that is frozen for a while, and whose acquirers wait meanwhile.
//!
//! A freeze is a rundown that the end of the freeze undoes, as in blk-mq: what the holders use can
//! be changed while there are none. Acquirers wait for that on a condition variable instead of
//! failing. A mutex serializes freezes, their ends and the removal, so that the reference is live
//! exactly if no freeze is left and it was not removed.

use super::{
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
use kernel::{
    fmt,
    prelude::*,
    static_lock_class,
    str::CStr,
    sync::{
        CondVar,
        LockClassKey,
        Mutex, //
    },
    types::NotThreadSafe, //
};

/// A rundown reference that can be frozen, as the request queues of blk-mq can.
///
/// [`freeze`](Self::freeze) runs the reference down for a while: to change what its holders use. It
/// nests; the reference is live again when all [`Frozen`] are dropped.
/// [`acquire_or_wait`](Self::acquire_or_wait) waits for that, instead of failing. It fails when
/// [`remove`](Self::remove) has run the reference down for good. So does a holder that runs it down, by
/// [`into_rundown`](super::Guard::into_rundown).
///
/// # Contexts
///
/// [`try_acquire`](Self::try_acquire) and releases are allowed where they are for `R`; everything else
/// is for process context.
///
/// # Invariants
///
/// Outside of critical sections of `state`, the reference is not live if `depth` is not zero or it was
/// removed. Otherwise it is live, unless it is saturated.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::{Freezable, RundownRef, Wait};
///
/// let queue = KBox::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
/// {
///     let _request = queue.acquire_or_wait()?;
/// }
/// {
///     // Nobody has a request, and new ones wait.
///     let _frozen = queue.freeze(Wait::killable())?;
/// }
/// queue.remove(Wait::uninterruptible())?;
/// assert!(queue.acquire_or_wait().is_err());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct Freezable<R: RundownProtect = RundownRef> {
    #[pin]
    rundown: R,
    #[pin]
    state: Mutex<State>,
    #[pin]
    thawed: CondVar,
}

struct State {
    depth: usize,
    removed: bool,
}

impl<R: RundownProtect> Freezable<R> {
    /// Initialises a reference that is not frozen.
    ///
    /// # Errors
    ///
    /// Those of `rundown`; [`EINVAL`] if it is not live.
    pub fn new<E>(rundown: impl PinInit<R, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // SAFETY: The closure initialises the slot as `rundown` does, or drops it and fails.
        let rundown = unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut R| {
                pin_init::raw_try_init(slot, rundown).map_err(Error::from)?;
                // SAFETY: `raw_try_init()` in the line above returned success, so the slot is
                // initialised.
                if (*slot).is_rundown_requested() {
                    core::ptr::drop_in_place(slot);
                    return Err(EINVAL);
                }
                Ok(())
            })
        };
        let (name, mutex, condvar) = classes();
        // INVARIANT: The reference is live, and the depth is zero.
        try_pin_init!(Self {
            rundown <- rundown,
            state <- Mutex::new(State { depth: 0, removed: false }, name, mutex),
            thawed <- CondVar::new(name, condvar),
        }? Error)
    }

    /// Acquires the object, or fails if it is frozen or removed.
    ///
    /// See [`HasRundown::try_acquire`].
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }

    /// Acquires the object, and waits while it is frozen.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] if it was removed, or run down by a holder
    /// ([`into_rundown`](super::Guard::into_rundown)), which no later thaw undoes;
    /// [`RundownError::WouldSleep`], with a warning, where the caller may not sleep.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn acquire_or_wait(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        self.acquire_with(|thawed, state| {
            thawed.wait(state);
            false
        })
    }

    /// [`acquire_or_wait`](Self::acquire_or_wait) that ends when a signal is pending.
    ///
    /// # Errors
    ///
    /// Those of [`acquire_or_wait`](Self::acquire_or_wait); [`RundownError::Interrupted`].
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn acquire_or_wait_interruptible(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        self.acquire_with(|thawed, state| thawed.wait_interruptible(state))
    }

    /// Acquires the object; `wait` waits for it to be thawed and returns whether a signal is pending.
    #[cfg_attr(quiesce_track, track_caller)]
    fn acquire_with(
        &self,
        wait: impl Fn(&CondVar, &mut kernel::sync::MutexGuard<'_, State>) -> bool,
    ) -> Result<RundownGuard<'_, Self>, RundownError> {
        loop {
            if let Ok(guard) = self.try_acquire() {
                return Ok(guard);
            }
            Wait::uninterruptible().check_context()?;
            // A holder of the object deadlocks here.
            self.rundown.dep(Internal::new()).may_wait();
            let mut state = self.state.lock();
            while state.depth != 0 && !state.removed {
                if wait(&self.thawed, &mut state) {
                    return Err(RundownError::Interrupted);
                }
            }
            // With the depth at zero it is live, unless it is saturated.
            if state.removed || self.rundown.is_rundown_requested() {
                return Err(RundownError::RundownInProgress);
            }
        }
    }

    /// Freezes the object: acquisitions fail or wait, and this waits until there is no holder.
    ///
    /// Everything done under guards happens before this returns; everything done while frozen happens
    /// before what later guards protect.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// Those of [`RundownProtect::wait_with`], and [`RundownError::Overflow`] if `usize::MAX` freezes
    /// are in force: then the object is not frozen by this call.
    #[track_caller]
    pub fn freeze(&self, how: Wait) -> Result<Frozen<'_, R>, RundownError> {
        how.check_may_sleep()?;
        {
            let mut state = self.state.lock();
            if state.depth == usize::MAX {
                return Err(RundownError::Overflow);
            }
            state.depth += 1;
            // INVARIANT: The depth is not zero, and the rundown has begun.
            self.rundown.begin_rundown();
        }
        let frozen = Frozen {
            object: self,
            _task: NotThreadSafe,
        };
        // If this fails, the drop of `frozen` undoes the above.
        self.rundown.wait_with(how)?;
        Ok(frozen)
    }

    /// Runs the object down for good. Acquirers that wait fail.
    ///
    /// Context: process, may sleep.
    ///
    /// # Errors
    ///
    /// Those of [`RundownProtect::wait_with`]. The object is removed with all of them but
    /// [`RundownError::WouldSleep`], and the caller may wait again.
    #[track_caller]
    pub fn remove(&self, how: Wait) -> Result<(), RundownError> {
        how.check_may_sleep()?;
        self.begin_removal();
        self.rundown.wait_with(how)
    }

    /// Begins the removal. Process context.
    fn begin_removal(&self) {
        let mut state = self.state.lock();
        state.removed = true;
        self.rundown.begin_rundown();
        self.thawed.notify_all();
    }

    /// Returns whether the object is frozen or removed.
    pub fn is_frozen(&self) -> bool {
        self.rundown.is_rundown_requested()
    }

    fn thaw(&self) {
        let mut state = self.state.lock();
        state.depth -= 1;
        if state.depth != 0 || state.removed {
            return;
        }
        // INVARIANT: The depth is zero, and the reference is live: its rundown has completed and is
        // undone, or it is cancelled. A saturated reference stays frozen.
        while self.rundown.re_init().is_err() && self.rundown.resurrect().is_err() {
            // The rundown is about to complete.
            if self.rundown.wait_with(Wait::uninterruptible()).is_err() {
                break;
            }
        }
        self.thawed.notify_all();
    }
}

/// Returns the name of the mutex and the condition variable, and the lockdep class of each.
///
/// Not inlined: [`Freezable::new`] is compiled into each module that calls it. The name must be in this
/// module, as the keys are.
#[inline(never)]
fn classes() -> (
    &'static CStr,
    Pin<&'static LockClassKey>,
    Pin<&'static LockClassKey>,
) {
    (
        c"quiesce_freezable",
        static_lock_class!(),
        static_lock_class!(),
    )
}

// SAFETY: `rundown()` returns a field of the object, so both have the same lifetime and each object
// has exactly one.
unsafe impl<R: RundownProtect> HasRundown for Freezable<R> {
    type Ref = R;

    #[inline(always)]
    unsafe fn rundown(&self) -> &R {
        &self.rundown
    }

    fn run_down_by_holder(&self, _: Internal) -> Result<(), RundownError> {
        // The removal locks a mutex, also for a wait that only polls.
        Wait::uninterruptible().check_may_sleep()?;
        // The guard is no longer a lock to lockdep. A thaw that has the mutex does not wait for it: while
        // there is a holder, it can resurrect the reference.
        self.begin_removal();
        Ok(())
    }
}

/// A frozen object, see [`Freezable::freeze`].
///
/// Dropping the last one of an object thaws it; the drop is for process context, as it locks a mutex.
/// If it is leaked, the object stays frozen.
#[must_use = "the object is thawed immediately when this is unused"]
pub struct Frozen<'a, R: RundownProtect = RundownRef> {
    object: &'a Freezable<R>,
    _task: NotThreadSafe,
}

impl<R: RundownProtect> Drop for Frozen<'_, R> {
    fn drop(&mut self) {
        self.object.thaw();
    }
}

impl<R: RundownProtect> fmt::Debug for Frozen<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::traits::debug(f, "Frozen", &self.object.rundown)
    }
}
