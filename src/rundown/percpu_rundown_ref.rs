// SPDX-License-Identifier: GPL-2.0

//! The reference that is a counter per CPU, on `percpu_ref`.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)
//!
//! # How it avoids what is easily done wrong with `percpu_ref`
//!
//! - Killing twice warns: the phase, changed under a mutex, decides who kills.
//! - `percpu_ref_is_zero()` may be true before the release callback was called, so that who polls it
//!   frees too early: here a rundown is over when the callback says so, and not before.
//! - The callback's last access is the one that says so, and it is code of quiesce.ko: after it, the
//!   object and the module that it belongs to may go.
//! - Freeing while the counters are being collected corrupts memory: dropping waits for that.
//! - `percpu_ref_tryget_live()` promises no ordering, which is not enough for data that was replaced
//!   during a rundown: here it is followed by what makes it an acquire.

use super::{
    lockdep::Dep,
    percpu_core::{
        Core,
        CLAIMED,
        RUN_DOWN, //
    },
    traits::{
        raw::RawRundown,
        Drained,
        HasRundown,
        RundownProtect, //
    },
    RundownError,
    RundownGuard,
    Wait, //
};
use crate::{
    arch,
    bindings as helpers, //
};
use kernel::prelude::*;

/// A rundown reference with a counter per CPU.
///
/// Acquisitions and releases of different CPUs share no cache line and use no locked instruction.
/// For that, a rundown waits for a grace period of RCU, which takes milliseconds; the reference needs
/// an allocation (`size_of::<usize>()` per possible CPU) and must be pinned; and beginning a rundown
/// needs process context. The count is not checked, but acquisitions of more than 1024 at once are
/// summed up, and refused from 2^62 on until the object is armed again: so it cannot wrap around in
/// the time there is, on 64 bits.
///
/// With `C`, something is called when a rundown has ended, see [`Drained`].
///
/// Dropping this may sleep.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::{PerCpuRundownRef, RundownProtect};
///
/// let users = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
/// {
///     let _guard = users.try_acquire()?;
/// }
/// users.wait_for_rundown()?;
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
#[repr(C)]
pub struct PerCpuRundownRef<C: Drained = ()> {
    #[pin]
    core: Core,
    dep: Dep,
    callback: C,
}

impl PerCpuRundownRef {
    /// Initialises a live reference without holders.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new() -> impl PinInit<Self, Error> {
        Self::with_callback(())
    }

    /// Initialises a reference that is run down already, to be armed by
    /// [`re_init`](RundownProtect::re_init).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new_rundown() -> impl PinInit<Self, Error> {
        Self::new_rundown_with_callback(())
    }
}

impl PerCpuRundownRef {
    pub(super) fn with_dep(dep: Dep) -> impl PinInit<Self, Error> {
        Self::init((), true, dep)
    }
}

impl<C: Drained> PerCpuRundownRef<C> {
    /// Initialises a live reference that calls `callback` when a rundown has ended.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn with_callback(callback: C) -> impl PinInit<Self, Error> {
        Self::init(callback, true, Dep::new())
    }

    /// Initialises a reference that is run down already and calls `callback` when a later rundown
    /// has ended.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new_rundown_with_callback(callback: C) -> impl PinInit<Self, Error> {
        Self::init(callback, false, Dep::new())
    }

    fn init(callback: C, live: bool, dep: Dep) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            core <- Core::new(live, Self::call),
            dep,
            callback,
        }? Error)
    }

    /// # Safety
    ///
    /// `core` is the one of a `Self`, which is alive.
    unsafe fn call(core: *const Core) {
        // SAFETY: The core is the first field of what is laid out as in C.
        let this = unsafe { &*core.cast::<Self>() };
        this.callback.drained();
    }

    /// The callback.
    pub fn callback(&self) -> &C {
        &self.callback
    }

    /// Acquires, or fails if the rundown has begun.
    ///
    /// Context: any, see the table in the [module](crate::rundown). Acquire ordering.
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] from the moment the rundown has begun.
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }
}

// SAFETY: The core's count has a reference for each acquisition, so that the callback, which alone
// makes the phase `RUN_DOWN`, is not called before they are released; `claim` needs that phase.
// Releases come before the callback: by the grace period, or as the count's atomic operations are
// fully ordered. An object that is not live gives out no references.
unsafe impl<C: Drained> RawRundown for PerCpuRundownRef<C> {
    #[inline(always)]
    fn acquire_one(&self) -> Result<(), RundownError> {
        // SAFETY: The count is initialised.
        if unsafe { arch::percpu_count::tryget_live(self.core.count.get()) } {
            Ok(())
        } else {
            Err(RundownError::RundownInProgress)
        }
    }

    fn acquire_many(&self, n: usize) -> Result<(), RundownError> {
        self.acquire_one()?;
        let ret = self.core.charge(n);
        match ret {
            Ok(()) if n > 1 => self.core.acquire_more(n - 1),
            Ok(()) => {}
            // SAFETY: It was acquired above.
            Err(_) => unsafe { self.release_one() },
        }
        ret
    }

    unsafe fn acquire_more(&self, n: usize) {
        self.core.acquire_more(n);
    }

    #[inline(always)]
    unsafe fn release_one(&self) {
        // SAFETY: The count is initialised and has a reference for the acquisition.
        unsafe { arch::percpu_count::put(self.core.count.get()) };
    }

    unsafe fn release_many(&self, n: usize) {
        // SAFETY: The count is initialised and has a reference for each acquisition.
        unsafe { helpers::quiesce_helper_percpu_ref_put_many(self.core.count.get(), n) };
    }

    fn claim(&self) -> Result<(), RundownError> {
        self.core.claim()
    }

    unsafe fn unclaim(&self, live: bool) {
        if !live || self.core.arm(CLAIMED).is_err() {
            self.core.unclaim();
        }
    }

    fn wait_raw(&self, how: Wait, claim: bool) -> Result<(), RundownError> {
        how.tell(&self.dep);
        self.core.wait(how, claim)
    }

    #[inline(always)]
    fn dep(&self) -> &Dep {
        &self.dep
    }
}

impl<C: Drained> RundownProtect for PerCpuRundownRef<C> {
    fn begin_rundown(&self) -> bool {
        self.core.begin().0
    }

    fn is_rundown_requested(&self) -> bool {
        self.core.is_begun()
    }

    fn rundown_completed(&self) -> bool {
        self.core.is_run_down()
    }

    fn re_init(&self) -> Result<(), RundownError> {
        self.core.arm(RUN_DOWN)
    }

    fn resurrect(&self) -> Result<(), RundownError> {
        self.core.resurrect()
    }

    fn holders(&self) -> usize {
        self.core.holders()
    }
}

// SAFETY: It is the reference itself.
unsafe impl<C: Drained> HasRundown for PerCpuRundownRef<C> {
    type Ref = Self;

    #[inline(always)]
    unsafe fn rundown(&self) -> &Self {
        self
    }
}
