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
    protect::{
        raw::RawRundown,
        Drained,
        HasRundown,
        RundownProtect, //
    },
    wait,
    RundownError,
    RundownGuard,
    Wait, //
};
use crate::{
    arch,
    bindings as helpers, //
};
use core::marker::PhantomPinned;
use kernel::{
    bindings,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Mutex,
        MutexGuard, //
    },
    types::Opaque,
};

/// The percpu_ref has its initial reference; acquisitions succeed.
const LIVE: u32 = 0;
/// It was killed and its release callback has not been called.
const BEGUN: u32 = 1;
/// The release callback was called.
const RUN_DOWN: u32 = 2;
/// As `RUN_DOWN`, and somebody has the object alone.
const CLAIMED: u32 = 3;

/// What of the reference is not generic.
///
/// # Invariants
///
/// - `count` was initialised by `percpu_ref_init()`, with `released` as its release callback.
/// - `phase` is one of the constants above, which say what `count` is in. It is changed with `mutex`
///   held, except from `BEGUN` to `RUN_DOWN` by the callback, and between `RUN_DOWN` and `CLAIMED`.
/// - While an acquisition exists, `count` holds a reference for it.
#[pin_data(PinnedDrop)]
#[repr(C)]
struct Core {
    /// First, so that the address of the object is at hand as the count's.
    #[pin]
    count: Opaque<bindings::percpu_ref>,
    phase: Atomic<u32>,
    /// The CPUs' counters may be under collection, by a callback of RCU.
    #[pin]
    collecting: Mutex<bool>,
    /// Is called with the core.
    drained: unsafe fn(*const Core),
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A percpu_ref may be freed by any task.
unsafe impl Send for Core {}

// SAFETY: A percpu_ref is made for concurrent use; the rest synchronises itself.
unsafe impl Sync for Core {}

impl Core {
    fn new(live: bool, drained: unsafe fn(*const Core)) -> impl PinInit<Self, Error> {
        let phase = if live { LIVE } else { RUN_DOWN };
        // INVARIANT: `phase` goes with how the count begins.
        try_pin_init!(Self {
            count <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The slot can be written, and is pinned.
                to_result(unsafe {
                    helpers::quiesce_helper_percpu_ref_init(slot, Some(released), live)
                })
            }),
            phase: Atomic::new(phase),
            collecting <- new_mutex!(false, "quiesce_percpu_rundown"),
            drained,
            _pin: PhantomPinned,
        }? Error)
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    fn acquire_more(&self, n: usize) {
        // SAFETY: `count` is initialised.
        unsafe { helpers::quiesce_helper_percpu_ref_get_many(self.count.get(), n) };
    }

    /// Begins the rundown if the object is live, and keeps it from being armed until the guard is
    /// dropped.
    fn begin(&self) -> (bool, MutexGuard<'_, bool>) {
        let mut collecting = self.collecting.lock();
        if self.phase.load(Relaxed) != LIVE {
            return (false, collecting);
        }
        *collecting = true;
        // INVARIANT: It is killed next; the callback is not called before.
        self.phase.store(BEGUN, Relaxed);
        // SAFETY: `count` is live, and the mutex is held, so that it is killed once.
        unsafe { bindings::percpu_ref_kill_and_confirm(self.count.get(), None) };
        (true, collecting)
    }

    /// Arms what is in the phase `from`, which must stay in it unless the caller changes it.
    fn arm(&self, from: u32) -> Result<(), RundownError> {
        let mut collecting = self.collecting.lock();
        // Full: what was done to the object comes before `percpu_ref_reinit()` lets others in.
        //
        // INVARIANT: `count` is at zero and gets its initial reference next, with the mutex held.
        wait::settle(self.key(), Ok(()), || {
            match self.phase.cmpxchg(from, LIVE, Full) {
                Ok(_) => Ok(()),
                Err(_) => Err(RundownError::NotDrained),
            }
        })?;
        // The callback was called, so that the collection had ended.
        *collecting = false;
        // SAFETY: `count` was killed and has reached zero, and may be initialised again.
        unsafe { bindings::percpu_ref_reinit(self.count.get()) };
        Ok(())
    }

    fn resurrect(&self) -> Result<(), RundownError> {
        let _mutex = self.collecting.lock();
        // The reference keeps the callback from being called.
        //
        // SAFETY: `count` is initialised.
        if self.phase.load(Relaxed) != BEGUN
            || !unsafe { helpers::quiesce_helper_percpu_ref_tryget(self.count.get()) }
        {
            return Err(RundownError::NotInProgress);
        }
        // INVARIANT: `count` gets its initial reference next, with the mutex held.
        let ret = wait::settle(self.key(), Err(RundownError::Resurrected), || {
            self.phase.store(LIVE, Relaxed);
            Ok(())
        });
        // SAFETY: `count` was killed and is not at zero. The reference was got above.
        unsafe {
            bindings::percpu_ref_resurrect(self.count.get());
            helpers::quiesce_helper_percpu_ref_put(self.count.get());
        }
        ret
    }

    fn claim(&self) -> Result<(), RundownError> {
        // INVARIANT: Nobody else has claimed it.
        match self.phase.cmpxchg(RUN_DOWN, CLAIMED, Full) {
            Ok(_) => Ok(()),
            Err(_) => Err(RundownError::NotDrained),
        }
    }

    /// Gives up the caller's claim, without arming the object.
    fn unclaim(&self) {
        // INVARIANT: It is run down, and no longer claimed.
        self.phase.store(RUN_DOWN, Release);
        wait::poke(self.key());
    }

    fn is_run_down(&self) -> bool {
        matches!(self.phase.load(Acquire), RUN_DOWN | CLAIMED)
    }

    fn wait(&self, mut how: Wait, claim: bool) -> Result<(), RundownError> {
        loop {
            let (_, collecting) = self.begin();
            let mut look = Look {
                core: self,
                claim,
                unarmed: Some(collecting),
            };
            match wait::wait(self.key(), &mut how, &mut look) {
                Err(RundownError::NotDrained) => {}
                ret => return ret,
            }
        }
    }

    fn holders(&self) -> usize {
        // SAFETY: `count` is initialised.
        unsafe { helpers::quiesce_helper_percpu_ref_holders(self.count.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for Core {
    fn drop(self: Pin<&mut Self>) {
        // Guards are gone or leaked. If counters may be under collection, RCU's callback has to end
        // first: it uses the reference, and is not waited for by `percpu_ref_exit()`. When the
        // rundown is over, so is the collection.
        if *self.collecting.lock() && !self.is_run_down() {
            // SAFETY: No requirements.
            unsafe { bindings::rcu_barrier() };
        }
        // SAFETY: `count` is initialised, and nobody uses it any more.
        unsafe { bindings::percpu_ref_exit(self.count.get()) };
    }
}

/// The last reference of a killed `percpu_ref` was put.
///
/// # Safety
///
/// `count` is the one of a [`Core`].
unsafe extern "C" fn released(count: *mut bindings::percpu_ref) {
    // SAFETY: By the requirements. `Opaque` has the layout of what it holds.
    let core: *const Core = unsafe { kernel::container_of!(Opaque::cast_from(count), Core, count) };
    // SAFETY: The core stays alive until its phase is changed below: its drop waits for that if
    // there was a rundown.
    let (key, phase) = unsafe {
        ((*core).drained)(core);
        ((*core).key(), &(*core).phase)
    };
    // INVARIANT: The phase was `BEGUN`, as the count was killed. Release: guards' uses come before.
    phase.store(RUN_DOWN, Release);
    // The core may be gone.
    wait::poke(key);
}

/// A waiter's view of a core.
struct Look<'a> {
    core: &'a Core,
    claim: bool,
    /// Until the waiter is known, nobody may arm or resurrect the object.
    unarmed: Option<MutexGuard<'a, bool>>,
}

impl wait::Subject for Look<'_> {
    fn look(&mut self) -> Option<Result<(), RundownError>> {
        let over = if self.claim {
            self.core.claim().is_ok()
        } else {
            self.core.is_run_down()
        };
        over.then_some(Ok(()))
    }

    fn told(&self, told: Result<(), RundownError>) -> Result<(), RundownError> {
        if self.claim {
            // Somebody else claimed the object and armed it: begin anew.
            told.and(Err(RundownError::NotDrained))
        } else {
            told
        }
    }

    fn unlocked(&mut self) {
        self.unarmed = None;
    }

    fn holders(&self) -> usize {
        self.core.holders()
    }
}

/// A rundown reference with a counter per CPU.
///
/// Acquisitions and releases of different CPUs share no cache line and use no locked instruction.
/// For that, a rundown waits for a grace period of RCU, which takes milliseconds; the reference needs
/// an allocation (`size_of::<usize>()` per possible CPU) and must be pinned; and beginning a rundown
/// needs process context. The count is not checked: overflow and underflow cannot be by safe code
/// in the time there is.
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
        if n > 1 {
            self.core.acquire_more(n - 1);
        }
        Ok(())
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
        self.core.phase.load(Relaxed) != LIVE
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
