// SPDX-License-Identifier: GPL-2.0

//! The heap part of a per-CPU reference: a `percpu_ref`, its phase, and the count of its users.
//!
//! An RCU callback of the `percpu_ref` may run after the reference was dropped, so what it uses is
//! in an allocation of its own, the core. The owner and the callback each count as a user, and the
//! last user frees the core. In contexts that must not free memory, and while the callback is
//! pending, that is left to the reaper.

use super::{
    callbacks::{
        self,
        Callback, //
    },
    listeners,
    reaper,
    trace,
    track,
    wait,
    RundownError,
    Wait, //
};
use crate::bindings as helpers;
use core::{
    marker::PhantomPinned,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    static_lock_class,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        LockClassKey,
        Mutex,
        MutexGuard, //
    },
    types::Opaque,
};

/// The percpu_ref has its initial reference; acquisitions succeed.
const LIVE: u32 = 0;
/// The `percpu_ref` was killed, and its release callback was not called yet.
const BEGUN: u32 = 1;
/// The release callback is running.
const ENDING: u32 = 2;
/// The release callback has reported the end.
pub(super) const RUN_DOWN: u32 = 3;
/// Run down, and owned exclusively by the caller of a wait.
pub(super) const CLAIMED: u32 = 4;

/// The CPUs' counters are being collected: a rundown has begun.
const COLLECTING: u32 = 0;
/// The last collection has found as many acquisitions as there are.
const COLLECTED: u32 = 1;
/// A collection has found more acquisitions than the count can hold: no rundown ends.
const SATURATED: u32 = 2;

/// The state that a per-CPU reference shares with the kernel's pending callbacks.
///
/// It is allocated by itself, as an RCU callback of `percpu_ref` uses it after a rundown has begun,
/// whatever becomes of the reference. `refs` counts its users: the owner and each rundown that has
/// begun and not ended. The last user frees it, in process context where the last one may not.
///
/// # Invariants
///
/// - `count` was initialised by `percpu_ref_init()`, with `released` as its release callback.
/// - `phase` is one of the constants above and describes `count`. It is changed with `mutex` held,
///   except from `BEGUN` to `RUN_DOWN` by the callback, and between `RUN_DOWN` and `CLAIMED`.
/// - While an acquisition exists, `count` holds a reference for it, unless `collection` is `SATURATED`,
///   which it stays. Otherwise it is `COLLECTING` from each begin to the end of the collection, and the
///   phase does not become `RUN_DOWN` meanwhile.
/// - `refs` is one for the owner, plus one from each begin to the end of `released`, or to the
///   resurrection.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct PerCpuCore {
    #[pin]
    pub(super) count: Opaque<bindings::percpu_ref>,
    phase: Atomic<u32>,
    collection: Atomic<u32>,
    refs: Atomic<u32>,
    /// A resurrection has ended, and the RCU callback of the begin may still run.
    resurrected: Atomic<bool>,
    /// Whether the owner has dropped the reference.
    orphan: Atomic<bool>,
    #[pin]
    mutex: Mutex<()>,
    /// The next core in the reaper's list.
    pub(super) next: Atomic<*mut PerCpuCore>,
    /// Frees the core if it has a callback; belongs to the reaper.
    pub(super) work: Opaque<bindings::work_struct>,
    pub(super) callback: Callback,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `percpu_ref_exit()` may be called by any task, and no other field belongs to the task
// that created the core.
unsafe impl Send for PerCpuCore {}

// SAFETY: A percpu_ref is made for concurrent use; the other fields are atomics, a mutex, and the
// callback, which has a lock.
unsafe impl Sync for PerCpuCore {}

impl PerCpuCore {
    pub(super) fn new(live: bool, callback: Callback) -> impl PinInit<Self, Error> {
        let phase = if live { LIVE } else { RUN_DOWN };
        let (name, key) = class();
        // INVARIANT: `phase` describes how `count` is initialised; the owner is the only user.
        try_pin_init!(Self {
            count <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The closure gets a slot that is valid for writes and pinned, and
                // `released` is a function of this crate.
                to_result(unsafe {
                    helpers::quiesce_helper_percpu_ref_init(slot, Some(released), live)
                })
            }),
            phase: Atomic::new(phase),
            collection: Atomic::new(COLLECTED),
            refs: Atomic::new(1),
            resurrected: Atomic::new(false),
            orphan: Atomic::new(false),
            mutex <- Mutex::new((), name, key),
            next: Atomic::new(core::ptr::null_mut()),
            work: Opaque::zeroed(),
            callback,
            _pin: PhantomPinned,
        }? Error)
    }

    pub(super) fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// The tagged pointer to the CPUs' counters, for the copy that the fast paths read.
    pub(super) fn counters(&self) -> usize {
        // SAFETY: `count` is initialised by the type invariants. The field changes under the mutex,
        // which the callers hold, or before the core is shared.
        unsafe { (*self.count.get()).percpu_count_ptr }
    }

    pub(super) fn acquire_many(&self, n: usize) -> Result<(), RundownError> {
        // SAFETY: By the type invariants `count` is initialised, and it is freed only when the core
        // is.
        match unsafe { helpers::quiesce_helper_percpu_ref_tryget_live_many(self.count.get(), n) } {
            0 => Ok(()),
            err if Error::from_errno(err) == EOVERFLOW => Err(RundownError::Overflow),
            _ => Err(RundownError::RundownInProgress),
        }
    }

    pub(super) fn acquire_more(&self, n: usize) {
        // SAFETY: By the type invariants `count` is initialised; the caller has a guard, so the
        // count is not zero.
        unsafe { helpers::quiesce_helper_percpu_ref_get_many(self.count.get(), n) };
    }

    /// Begins the rundown if the object is live, and keeps it from being re-initialized until the
    /// guard is dropped. `dead` is called before the begin.
    pub(super) fn begin(&self, dead: &dyn Fn()) -> (bool, MutexGuard<'_, ()>) {
        let mutex = self.mutex.lock();
        if self.phase.load(Relaxed) != LIVE {
            return (false, mutex);
        }
        // No acquisition succeeds from here on, also by a copy of the pointer to the counters. An
        // acquisition that has read an earlier value is in an RCU read-side critical section, which
        // the collection of the counters waits for.
        dead();
        trace::begin(self.key());
        // INVARIANT: The reference is for the rundown that begins; the callback was not called.
        self.refs.fetch_add(1, Relaxed);
        self.phase.store(BEGUN, Relaxed);
        if !self.is_saturated() {
            // INVARIANT: No collection is in progress: the resurrection waited for the last one.
            self.collection.store(COLLECTING, Relaxed);
        }
        // SAFETY: `count` is live, and the mutex is held, so that it is killed once.
        unsafe { bindings::percpu_ref_kill_and_confirm(self.count.get(), Some(collected)) };
        (true, mutex)
    }

    /// Makes the object live that is in the phase `from`. `live` is called with the pointer to the
    /// counters, last.
    pub(super) fn arm(&self, from: u32, live: &dyn Fn(usize)) -> Result<(), RundownError> {
        let _mutex = self.mutex.lock();
        // Full: what was done to the object comes before `percpu_ref_reinit()` lets others in.
        //
        // INVARIANT: `count` is at zero and gets its initial reference next, with the mutex held.
        wait::settle(self.key(), Ok(()), || {
            match self.phase.cmpxchg(from, LIVE, Full) {
                Ok(_) => Ok(()),
                Err(_) => Err(self.not_drained()),
            }
        })?;
        // The collection of the counters held a reference, which it put last.
        self.resurrected.store(false, Relaxed);
        // SAFETY: `count` was killed and has reached zero, and may be initialised again.
        unsafe { bindings::percpu_ref_reinit(self.count.get()) };
        live(self.counters());
        Ok(())
    }

    pub(super) fn resurrect(&self, live: &dyn Fn(usize)) -> Result<(), RundownError> {
        let _mutex = self.mutex.lock();
        if self.phase.load(Relaxed) != BEGUN || self.is_saturated() {
            return Err(RundownError::NotInProgress);
        }
        // The reference keeps the callback from being called.
        //
        // SAFETY: By the type invariants `count` is initialised, and it is freed only when the core
        // is.
        if !unsafe { helpers::quiesce_helper_percpu_ref_tryget(self.count.get()) } {
            return Err(RundownError::NotInProgress);
        }
        // INVARIANT: `count` gets its initial reference next, with the mutex held.
        let ret = wait::settle(self.key(), Err(RundownError::Resurrected), || {
            self.phase.store(LIVE, Relaxed);
            Ok(())
        });
        self.resurrected.store(true, Relaxed);
        // SAFETY: `count` was killed and is not at zero. The reference was got above.
        unsafe {
            bindings::percpu_ref_resurrect(self.count.get());
            helpers::quiesce_helper_percpu_ref_put(self.count.get());
        }
        // INVARIANT: The rundown was cancelled. The owner's reference is left.
        self.refs.fetch_sub(1, Release);
        live(self.counters());
        ret
    }

    pub(super) fn claim(&self) -> Result<(), RundownError> {
        // INVARIANT: The phase was `RUN_DOWN`, so that nobody else has claimed it.
        match self.phase.cmpxchg(RUN_DOWN, CLAIMED, Full) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.not_drained()),
        }
    }

    /// Gives up the caller's claim. The object stays run down.
    pub(super) fn unclaim(&self) {
        // INVARIANT: The object is run down, and no longer claimed.
        self.phase.store(RUN_DOWN, Release);
        wait::wake(self.key());
    }

    pub(super) fn is_begun(&self) -> bool {
        self.phase.load(Relaxed) != LIVE
    }

    fn is_saturated(&self) -> bool {
        self.collection.load(Relaxed) == SATURATED
    }

    /// Returns the error of a call that needs an object that is run down.
    fn not_drained(&self) -> RundownError {
        if self.is_saturated() {
            RundownError::Saturated
        } else {
            RundownError::NotDrained
        }
    }

    pub(super) fn is_run_down(&self) -> bool {
        matches!(self.phase.load(Acquire), RUN_DOWN | CLAIMED)
    }

    /// Begins the rundown and waits for it to complete, or for exclusive ownership.
    ///
    /// A caller that has acquired the object passes `release`, which releases it: called without locks,
    /// when the wait cannot miss the end of the rundown.
    pub(super) fn wait(
        &self,
        mut how: Wait,
        claim: bool,
        mut release: Option<&dyn Fn()>,
        dead: &dyn Fn(),
    ) -> Result<(), RundownError> {
        // `begin()` locks a mutex.
        how.check_may_sleep()?;
        loop {
            let (begun, mutex) = self.begin(dead);
            let mut condition = Condition {
                core: self,
                claim,
                notify: begun,
                unarmed: Some(mutex),
                release: release.take(),
            };
            match wait::wait(self.key(), &mut how, &mut condition) {
                Err(RundownError::NotDrained) => {}
                ret => return ret,
            }
        }
    }

    pub(super) fn holders(&self) -> usize {
        if self.is_saturated() {
            return usize::MAX;
        }
        // SAFETY: By the type invariants `count` is initialised, and it is freed only when the core
        // is.
        unsafe { helpers::quiesce_helper_percpu_ref_holders(self.count.get()) }
    }

    /// Ends the owner's use. If this returns `true`, there is no other user and the caller frees the
    /// core; otherwise another one does.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and does not use the core afterwards unless it frees it.
    pub(super) unsafe fn disown(this: NonNull<Self>) -> bool {
        // SAFETY: This function requires the owner's reference, which is not put before the end of
        // this function and keeps the core alive.
        let core = unsafe { this.as_ref() };
        callbacks::will_drop(&core.callback);
        core.orphan.store(true, Relaxed);
        if core.callback_pending() || !reaper::may_drop_here() {
            // SAFETY: The reference is the owner's, as this function requires, and is given to the
            // reaper: `false` is returned, so the owner does not free the core.
            unsafe { reaper::push(this) };
            return false;
        }
        core.refs.fetch_sub(1, Full) == 1
    }

    /// Whether the core was created with a callback.
    pub(super) fn has_callback(&self) -> bool {
        self.callback.is_listed()
    }

    /// Whether there is no owner any more: the core will be freed soon.
    pub(super) fn is_orphan(&self) -> bool {
        self.orphan.load(Relaxed)
    }

    /// Whether an RCU callback of the `percpu_ref` may be pending or running.
    pub(super) fn callback_pending(&self) -> bool {
        match self.phase.load(Acquire) {
            LIVE => self.resurrected.load(Relaxed),
            BEGUN | ENDING => true,
            _ => false,
        }
    }

    /// Ends the use of a core that was pushed to the reaper; the last user frees it.
    ///
    /// # Safety
    ///
    /// The reaper has the owner's reference, there is no owner, and no RCU callback of the
    /// `percpu_ref` is pending or running that was so when the core was pushed.
    pub(super) unsafe fn reap(this: NonNull<Self>) {
        // SAFETY: This function requires the owner's reference, which is not put before the end of
        // this function and keeps the core alive.
        let core = unsafe { this.as_ref() };
        // In the phase `BEGUN`, what is left are leaked guards: a guard in use owns or borrows the
        // reference, so that there would be an owner. Nobody will put their references, and
        // `released` will not be called. So it is if the core is saturated.
        if core.phase.load(Acquire) == BEGUN || core.refs.fetch_sub(1, Full) == 1 {
            // SAFETY: Either this was the last reference, or in the phase `BEGUN` only leaked
            // guards are left, which nobody uses; so nobody else uses the core.
            unsafe { Self::free(this) };
        }
    }

    /// Drops the callback and frees the core. Process context.
    ///
    /// # Safety
    ///
    /// Nobody else uses the core.
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: This function requires that nobody else uses the core, so nobody else frees it
        // during the call.
        if unsafe { this.as_ref() }.has_callback() {
            // SAFETY: The core was entered into the list when it was created, as it has a callback.
            // Nobody else uses it, and this is process context.
            unsafe { callbacks::drop_callback(this) };
        }
        // SAFETY: The callback was dropped in the line above, or has no destructor.
        unsafe { Self::free_core(this) };
    }

    /// Frees the core, and not its callback.
    ///
    /// # Safety
    ///
    /// Nobody else uses the core, which was allocated by `KBox`.
    pub(super) unsafe fn free_core(this: NonNull<Self>) {
        // SAFETY: This function requires that nobody else uses the core and that a `KBox` allocated
        // it, which is memory of `kmalloc()`.
        unsafe {
            core::ptr::drop_in_place(this.as_ptr());
            bindings::kfree(this.as_ptr().cast());
        }
    }
}

#[pinned_drop]
impl PinnedDrop for PerCpuCore {
    fn drop(self: Pin<&mut Self>) {
        // Guards that were leaked.
        track::forget(self.key());
        // SAFETY: `count` is initialised by the type invariants, and no callback of it is pending:
        // `free_core` is called without users, of which each pending callback is one.
        unsafe { bindings::percpu_ref_exit(self.count.get()) };
    }
}

/// Returns the lockdep class of the mutexes.
///
/// Not inlined: the initialiser is compiled into each module that creates a reference, and the key
/// and the name must be in this one, as a core may outlive its creator.
#[inline(never)]
fn class() -> (&'static CStr, Pin<&'static LockClassKey>) {
    (c"quiesce_percpu_rundown", static_lock_class!())
}

/// Returns the core of a `percpu_ref`.
///
/// # Safety
///
/// `count` is the one of a [`PerCpuCore`].
unsafe fn core_of(count: *mut bindings::percpu_ref) -> *mut PerCpuCore {
    let count: *mut Opaque<bindings::percpu_ref> = Opaque::cast_from(count).cast_mut();
    // SAFETY: This function requires that `count` is in a core. `Opaque` has the layout of what it
    // holds.
    unsafe { kernel::container_of!(count, PerCpuCore, count) }
}

/// The end of a collection of the CPUs' counters, whose own reference is not put yet.
///
/// # Safety
///
/// `count` is the one of a [`PerCpuCore`], of which the rundown that has begun has a reference.
unsafe extern "C" fn collected(count: *mut bindings::percpu_ref) {
    // SAFETY: `count` is in a core, which the reference of the rundown keeps alive.
    let this = unsafe { &*core_of(count) };
    // SAFETY: `percpu_ref` calls this function when the CPUs' counters are collected.
    if unsafe { helpers::quiesce_helper_percpu_ref_is_saturated(count) } {
        // SAFETY: The helper only prints a warning, which it may do in any context.
        unsafe { helpers::quiesce_helper_rundown_too_many_holders() };
        // INVARIANT: Saturated, before the reference of the collection is put.
        this.collection.store(SATURATED, Relaxed);
        // Waits fail, as they would never end.
        wait::wake(this.key());
    } else if !this.is_saturated() {
        // INVARIANT: The count has a reference for each acquisition. The collection's is put next,
        // which is fully ordered, so that who puts the last one sees this.
        this.collection.store(COLLECTED, Relaxed);
    }
}

/// The release callback: the last reference of a killed `percpu_ref` was put.
///
/// # Safety
///
/// `count` is the one of a [`PerCpuCore`], of which the rundown that ends has a reference.
unsafe extern "C" fn released(count: *mut bindings::percpu_ref) {
    // SAFETY: `count` is in a core.
    let core = unsafe { core_of(count) };
    // SAFETY: The reference of the rundown keeps the core alive until it is given up below.
    let this = unsafe { &*core };
    if this.collection.load(Relaxed) != COLLECTED {
        // The count has wrapped around: there are holders.
        return;
    }
    // A callback is revoked, and waited for by a grace period, when its module is unloaded.
    let section = rcu::read_lock();
    // INVARIANT: The phase was `BEGUN`, as the count was killed.
    this.phase.store(ENDING, Relaxed);
    // SAFETY: The core is alive and this is an RCU read-side critical section.
    unsafe { callbacks::call(core) };
    // INVARIANT: The count is at zero. Release: uses under guards come before.
    this.phase.store(RUN_DOWN, Release);
    trace::end(this.key());
    wait::wake(this.key());
    if this.refs.fetch_sub(1, Full) == 1 {
        // The owner is gone. The context is that of the last release, in which nothing is freed.
        //
        // INVARIANT: The reference is the reaper's.
        this.refs.store(1, Relaxed);
        // SAFETY: The reference was the last one, and is given to the reaper.
        unsafe { reaper::push(NonNull::new_unchecked(core)) };
    }
    drop(section);
}

/// The condition of a wait for a core, and what reports need.
struct Condition<'a> {
    core: &'a PerCpuCore,
    claim: bool,
    /// This wait began the rundown, and has to notify the listeners.
    notify: bool,
    /// Until the waiter is linked, nobody may re-initialize or resurrect the object.
    unarmed: Option<MutexGuard<'a, ()>>,
    /// Releases the acquisition of the caller, which has one until the waiter is linked.
    release: Option<&'a dyn Fn()>,
}

impl wait::Subject for Condition<'_> {
    fn object(&self) -> *const dyn wait::Report {
        self.core
    }

    fn claims(&self) -> bool {
        self.claim
    }

    fn holds(&self) -> bool {
        self.release.is_some()
    }

    fn poll(&mut self) -> Option<Result<(), RundownError>> {
        if self.core.is_saturated() {
            return Some(Err(RundownError::Saturated));
        }
        let over = if self.claim {
            self.core.claim().is_ok()
        } else {
            self.core.is_run_down()
        };
        over.then_some(Ok(()))
    }

    fn unlocked(&mut self) {
        self.unarmed = None;
        if self.notify {
            self.notify = false;
            listeners::notify(self.core.key());
        }
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl wait::Report for PerCpuCore {
    fn holders(&self) -> usize {
        PerCpuCore::holders(self)
    }

    fn is_claimed(&self) -> bool {
        self.phase.load(Relaxed) == CLAIMED
    }
}
