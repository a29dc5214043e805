// SPDX-License-Identifier: GPL-2.0

//! The reference with a counter per CPU, on `percpu_ref`.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)
//!
//! # How it avoids the pitfalls of `percpu_ref`
//!
//! - Killing twice warns: the phase, changed under a mutex, decides who kills.
//! - `percpu_ref_is_zero()` may be true before the release callback was called, so that a caller
//!   that polls it frees too early: here a rundown has completed when the callback says so.
//! - An RCU callback uses the `percpu_ref` after a rundown has begun. So it is not in the reference
//!   but in a [`PerCpuCore`], which the callback keeps alive.
//! - `percpu_ref_tryget_live()` promises no ordering, which is not enough for data that was replaced
//!   during a rundown: here it is followed by what makes it an acquire.

use super::{
    callbacks::{
        self,
        Callback,
        CallbackOperations, //
    },
    listeners,
    lockdep::Dep,
    percpu_core::{
        PerCpuCore,
        CLAIMED,
        RUN_DOWN, //
    },
    traits::{
        inherent_methods,
        raw::{
            Internal,
            RawRundown, //
        },
        Drained,
        HasRundown,
        RundownProtect, //
    },
    wait,
    RundownError,
    RundownGuard,
    RundownGuards,
    Wait, //
};
use crate::{
    arch::percpu_count::{
        self,
        Counters, //
    },
    bindings as helpers, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    fmt,
    prelude::*,
    time::Jiffies, //
};

/// A rundown reference with a counter per CPU.
///
/// Acquisitions and releases on different CPUs share no cache line and use no locked instruction.
/// In return, a rundown waits for a grace period of RCU, which takes milliseconds; the reference
/// needs an allocation (`size_of::<usize>()` per possible CPU and about 200 bytes); and beginning a
/// rundown needs process context. There is none on 32-bit architectures, where the sum of the
/// counters could wrap around.
///
/// With `C`, a callback is called at the end of a rundown, which completes when it has returned, see
/// [`Drained`].
///
/// # Drop
///
/// Dropping this does not sleep, and is allowed in any context. If a rundown is in progress, the
/// kernel still uses the counters: they are freed later, by a worker in process context, which also
/// drops the callback. So it is where the caller cannot be preempted, and in functions of wakers of
/// [futures](crate::rcu::GracePeriod). So it is as well while the reference is live by a
/// [resurrection](Self::resurrect). Otherwise both are dropped at once.
///
/// When the module that created the reference is unloaded, the callbacks of references that were
/// dropped have been dropped. Those of references that were leaked, or are owned by another module,
/// are no longer called.
///
/// # Invariants
///
/// `core` points to a core that this owns, allocated together with a `C`. `counters` is its pointer
/// to the counters while it is live, and has the mark of a dead one otherwise.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::PerCpuRundownRef;
///
/// let users = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
/// {
///     let _guard = users.try_acquire()?;
/// }
/// users.wait_for_rundown();
/// # Ok::<(), Error>(())
/// ```
#[repr(C)]
pub struct PerCpuRundownRef<C: Drained + 'static = ()> {
    counters: Counters,
    core: NonNull<PerCpuCore>,
    dep: Dep,
    _callback: PhantomData<C>,
}

// SAFETY: The core can be used and freed by any task, and `C`, which is `Send`, may be dropped by
// another one.
unsafe impl<C: Drained> Send for PerCpuRundownRef<C> {}

// SAFETY: Shared references access the core by atomics, a mutex and a `percpu_ref`, and the
// callback, which is `Sync`.
unsafe impl<C: Drained> Sync for PerCpuRundownRef<C> {}

/// A core and its callback.
#[pin_data]
#[repr(C)]
struct WithCallback<C> {
    #[pin]
    core: PerCpuCore,
    callback: C,
}

impl PerCpuRundownRef {
    /// Initialises a live reference without holders. Context: process, may sleep, as it allocates
    /// the counters of the CPUs.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new() -> impl PinInit<Self, Error> {
        Self::init((), true, None, Dep::new())
    }

    /// Initialises a reference that is run down, to be made live by
    /// [`re_init`](Self::re_init).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new_rundown() -> impl PinInit<Self, Error> {
        Self::init((), false, None, Dep::new())
    }

    pub(super) fn with_dep(dep: Dep) -> impl PinInit<Self, Error> {
        Self::init((), true, None, dep)
    }
}

impl<C: Drained> PerCpuRundownRef<C> {
    const OPERATIONS: CallbackOperations = CallbackOperations {
        drained: Self::call,
        drop: Self::drop_callback,
    };

    /// Initialises a live reference that calls `callback` when a rundown has completed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn with_callback(callback: C) -> impl PinInit<Self, Error> {
        Self::init(callback, true, Some(&Self::OPERATIONS), Dep::new())
    }

    /// Initialises a reference that is run down and calls `callback` when a later rundown has
    /// completed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn new_rundown_with_callback(callback: C) -> impl PinInit<Self, Error> {
        Self::init(callback, false, Some(&Self::OPERATIONS), Dep::new())
    }

    fn init(
        callback: C,
        live: bool,
        operations: Option<&'static CallbackOperations>,
        dep: Dep,
    ) -> impl PinInit<Self, Error> {
        let init = move |slot: *mut Self| {
            let core = KBox::pin_init(
                try_pin_init!(WithCallback {
                    core <- PerCpuCore::new(live, Callback::new(operations)),
                    callback,
                }? Error),
                GFP_KERNEL,
            )?;
            // SAFETY: The box is converted into a pointer, and the core stays at that address until
            // `free_core()` frees it.
            let core = KBox::into_raw(unsafe { Pin::into_inner_unchecked(core) });
            // SAFETY: A pointer from a box is not null. The core is the first field.
            let core = unsafe { NonNull::new_unchecked(core) }.cast::<PerCpuCore>();
            // SAFETY: `core` was created above; if it has a callback, it is freed only after
            // `callbacks::unlist()` has removed it from the list.
            unsafe { callbacks::list(core) };
            // SAFETY: The core was made above, and is not shared yet.
            let counters = Counters::new(unsafe { core.as_ref() }.counters());
            // INVARIANT: The core and `counters` are as the type's invariants say.
            let this = Self {
                counters,
                core,
                dep,
                _callback: PhantomData,
            };
            // SAFETY: `pin_init_from_closure()` passes a slot that is valid for writes.
            unsafe { slot.write(this) };
            Ok(())
        };
        // SAFETY: The closure initialises the slot, or fails without having written to it.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Calls the callback of a core.
    ///
    /// # Safety
    ///
    /// `core` is the one of a `WithCallback<C>` that is alive.
    unsafe fn call(core: *mut PerCpuCore) {
        // SAFETY: These functions are stored in cores of type `WithCallback<C>` alone, whose first
        // field is the core.
        let this = unsafe { &(*core.cast::<WithCallback<C>>()).callback };
        this.drained();
    }

    /// Drops the callback of a core.
    ///
    /// # Safety
    ///
    /// `core` is the one of a `WithCallback<C>`, whose callback was not dropped and is not used.
    unsafe fn drop_callback(core: *mut PerCpuCore) {
        // SAFETY: These functions are stored in cores of type `WithCallback<C>` alone, whose first
        // field is the core.
        unsafe { core::ptr::drop_in_place(&raw mut (*core.cast::<WithCallback<C>>()).callback) };
    }

    /// Adds holders on this CPU, for tests of the limits.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub fn add_holders_for_test(&self, holders: usize) {
        self.core().acquire_more(holders);
    }

    fn core(&self) -> &PerCpuCore {
        // SAFETY: By the type invariants `core` points to a core that is freed only by the
        // destructor of `self`.
        unsafe { self.core.as_ref() }
    }

    /// Returns a reference to the callback that was passed to the constructor.
    pub fn callback(&self) -> &C {
        // SAFETY: By the type invariants the core is the first field of a `WithCallback<C>`.
        unsafe { &self.core.cast::<WithCallback<C>>().as_ref().callback }
    }

    inherent_methods!();
}

impl<C: Drained> Drop for PerCpuRundownRef<C> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is the owner, which does not use the core afterwards.
        if unsafe { PerCpuCore::disown(self.core) } {
            // SAFETY: `disown` found no other user, so that the callback is dropped once, here,
            // after it was removed from the list; and the core is freed once.
            unsafe {
                callbacks::unlist(self.core);
                Self::drop_callback(self.core.as_ptr());
                PerCpuCore::free_core(self.core);
            }
        }
    }
}

// SAFETY: The core's count has a reference for each acquisition, so that the release callback, which
// alone makes the phase `RUN_DOWN`, is not called before they are released, or it has saturated, and the
// callback does not do that any more; `claim` needs that phase. Releases come before the callback: by the grace period, or as the count's atomic operations
// are fully ordered. An object that is not live gives out no references.
unsafe impl<C: Drained> RawRundown for PerCpuRundownRef<C> {
    #[inline(always)]
    fn acquire_one(&self, _: Internal) -> Result<(), RundownError> {
        // SAFETY: By the type invariants `counters` are those of the core's `percpu_ref`, and the
        // core is alive while `self` is borrowed.
        if unsafe { percpu_count::tryget_live(&self.counters, || self.core().count.get()) } {
            Ok(())
        } else {
            Err(RundownError::RundownInProgress)
        }
    }

    fn acquire_many(&self, n: usize, _: Internal) -> Result<(), RundownError> {
        self.core().acquire_many(n)
    }

    unsafe fn acquire_more(&self, _: Internal) {
        self.core().acquire_more(1);
    }

    #[inline(always)]
    unsafe fn release_one(&self, _: Internal) {
        // SAFETY: By the type invariants `counters` belongs to the core, whose count has a reference
        // for the acquisition of the caller.
        unsafe { percpu_count::put(&self.counters, || self.core().count.get()) };
    }

    unsafe fn release_many(&self, n: usize, _: Internal) {
        // SAFETY: The count has a reference for each acquisition of the caller.
        unsafe { helpers::quiesce_helper_percpu_ref_put_many(self.core().count.get(), n) };
    }

    fn claim(&self, _: Internal) -> Result<(), RundownError> {
        self.core().claim()
    }

    unsafe fn unclaim(&self, live: bool, _: Internal) {
        if !live
            || self
                .core()
                .arm(CLAIMED, &|at| self.counters.set(at))
                .is_err()
        {
            self.core().unclaim();
        }
    }

    fn wait_raw(&self, how: Wait, claim: bool, _: Internal) -> Result<(), RundownError> {
        how.announce(&self.dep);
        self.core()
            .wait(how, claim, None, &|| self.counters.set_dead())
    }

    unsafe fn release_and_wait(&self, how: Wait, token: Internal) -> Result<(), RundownError> {
        // SAFETY: This function requires an acquisition of the caller. One of the two calls below uses it
        // up: that of a wait that begins, or that in front of an error.
        let release = || unsafe { self.release_one(token) };
        if let Err(err) = how.check_may_sleep() {
            release();
            return Err(err);
        }
        how.announce(&self.dep);
        self.core()
            .wait(how, false, Some(&release), &|| self.counters.set_dead())
    }

    #[inline(always)]
    fn dep(&self, _: Internal) -> &Dep {
        &self.dep
    }

    #[inline(always)]
    fn key(&self, _: Internal) -> usize {
        self.core.addr().get()
    }
}

impl<C: Drained> RundownProtect for PerCpuRundownRef<C> {
    fn begin_rundown(&self) -> bool {
        if !wait::may_sleep() {
            return false;
        }
        let (begun, mutex) = self.core().begin(&|| self.counters.set_dead());
        drop(mutex);
        if begun {
            listeners::notify(self.core().key());
        }
        begun
    }

    fn is_rundown_requested(&self) -> bool {
        self.core().is_begun()
    }

    fn rundown_completed(&self) -> bool {
        self.core().is_run_down()
    }

    fn re_init(&self) -> Result<(), RundownError> {
        if !wait::may_sleep() {
            return Err(RundownError::WouldSleep);
        }
        self.core().arm(RUN_DOWN, &|at| self.counters.set(at))
    }

    fn resurrect(&self) -> Result<(), RundownError> {
        if !wait::may_sleep() {
            return Err(RundownError::WouldSleep);
        }
        self.core().resurrect(&|at| self.counters.set(at))
    }

    fn holders(&self) -> usize {
        self.core().holders()
    }
}

// SAFETY: `rundown()` returns the object itself, so both have the same lifetime and each object has
// exactly one.
unsafe impl<C: Drained> HasRundown for PerCpuRundownRef<C> {
    type Ref = Self;

    #[inline(always)]
    unsafe fn rundown(&self) -> &Self {
        self
    }
}

impl<C: Drained> fmt::Debug for PerCpuRundownRef<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::traits::debug(f, "PerCpuRundownRef", self)
    }
}
