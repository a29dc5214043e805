// SPDX-License-Identifier: GPL-2.0

//! A worker that frees in process context what is dropped where that is not possible.
//!
//! A guard can be dropped in any context, and may be the last owner of its object; so may a callback
//! that runs in an interrupt. A destructor may not be able to run there, and memory cannot be freed in
//! an NMI, under a raw spin lock, nor on PREEMPT_RT anywhere where the caller cannot be preempted. And
//! a per-CPU reference has to wait for an RCU callback, which a destructor does not do. The worker
//! does both.

use super::{
    callbacks::is_within,
    percpu_core::PerCpuCore, //
};
use crate::bindings as helpers;
use core::{
    ffi::c_void,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
};

/// Cores to be freed, linked by their `next`.
static CORES: Atomic<*mut PerCpuCore> = Atomic::new(ptr::null_mut());

/// An object to be dropped.
///
/// # Invariants
///
/// If `state` is `FULL`, `object` and `drop` are set and not dropped, or being dropped by the worker.
struct Slot {
    state: Atomic<u32>,
    object: Atomic<*mut c_void>,
    drop: Atomic<*mut c_void>,
}

const FREE: u32 = 0;
const BUSY: u32 = 1;
const FULL: u32 = 2;

/// The worker runs as soon as it can, so that few slots are in use. An object that finds none is
/// leaked, with a warning.
const SLOTS: usize = 512;

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        state: Atomic::new(FREE),
        object: Atomic::new(ptr::null_mut()),
        drop: Atomic::new(ptr::null_mut()),
    }
}; SLOTS];

/// Whether this is a context in which any destructor can run.
///
/// A kernel without `CONFIG_PREEMPT_COUNT` does not know that, and takes each for one in which none
/// can.
pub(super) fn may_drop_here() -> bool {
    // SAFETY: No requirements.
    unsafe { helpers::quiesce_helper_preemptible() }
}

/// Drops an `Arc` in any context. The last one is dropped by the worker where the caller cannot be
/// preempted.
pub(super) fn drop_arc<T: Sync>(this: Arc<T>) {
    /// Drops a raw `Arc`.
    ///
    /// # Safety
    ///
    /// `object` comes from `Arc::into_raw`, and is dropped once.
    unsafe fn drop_raw<T>(object: *mut c_void) {
        // SAFETY: `object` comes from `Arc::into_raw`, and is dropped once.
        drop(unsafe { Arc::from_raw(object.cast::<T>().cast_const()) });
    }

    let Some(last) = Arc::into_unique_or_drop(this) else {
        return;
    };
    if may_drop_here() {
        drop(last);
        return;
    }
    let object = Arc::into_raw(Arc::from(last)).cast_mut().cast();
    // SAFETY: The worker drops the object once; nobody else has an `Arc` of it.
    if unsafe { defer(object, drop_raw::<T>) } {
        return;
    }
    // SAFETY: No requirements. The object is leaked, because its destructor may sleep.
    unsafe { helpers::quiesce_helper_rundown_leaked() };
}

/// Calls `drop` with `object` in process context; returns `false` if there is no free slot.
///
/// # Safety
///
/// `drop` may be called with `object`, once, by another task.
unsafe fn defer(object: *mut c_void, drop: unsafe fn(*mut c_void)) -> bool {
    for slot in &TABLE {
        if slot.state.load(Relaxed) == FREE && slot.state.cmpxchg(FREE, BUSY, Acquire).is_ok() {
            slot.object.store(object, Relaxed);
            slot.drop.store(drop as *mut c_void, Relaxed);
            // INVARIANT: The slot was free, and both are set.
            slot.state.store(FULL, Release);
            kick();
            return true;
        }
    }
    false
}

/// Passes a core to the worker, which calls [`PerCpuCore::reap`].
///
/// # Safety
///
/// The caller has the owner's reference of the core, and gives it away.
pub(super) unsafe fn push(core: NonNull<PerCpuCore>) {
    let mut first = CORES.load(Relaxed);
    loop {
        // SAFETY: The owner's reference keeps the core alive, and it is in no list.
        unsafe { core.as_ref() }.next.store(first, Relaxed);
        match CORES.cmpxchg(first, core.as_ptr(), Release) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    kick();
}

fn kick() {
    // SAFETY: No requirements; any context.
    unsafe { helpers::quiesce_helper_rundown_reaper_kick() };
}

/// Waits until everything that was passed to the worker before has been handled.
///
/// Process context.
pub(super) fn flush() {
    // SAFETY: The callers are in process context, and hold no lock.
    unsafe { helpers::quiesce_helper_rundown_reaper_flush() };
}

/// Whether an object waits whose destructor is in `module`, or is being dropped.
pub(super) fn has_code_of(module: *mut bindings::module) -> bool {
    TABLE
        .iter()
        .any(|slot| slot.state.load(Acquire) == FULL && is_within(slot.drop.load(Relaxed), module))
}

/// The worker.
///
/// # Safety
///
/// Called by the work item only.
unsafe extern "C" fn reap() {
    for slot in &TABLE {
        if slot.state.load(Acquire) != FULL {
            continue;
        }
        // SAFETY: By the type invariants of `Slot`, a full one holds the address of a function of
        // this type, stored by `defer`.
        let drop: unsafe fn(*mut c_void) = unsafe { core::mem::transmute(slot.drop.load(Relaxed)) };
        // SAFETY: `defer` was called with both, and only this work item empties slots.
        unsafe { drop(slot.object.load(Relaxed)) };
        // INVARIANT: Dropped in the line above. The slot stays full until then, so that the module
        // of the destructor is not freed.
        slot.state.store(FREE, Release);
    }

    let batch = CORES.xchg(ptr::null_mut(), Full);
    let mut pending = false;
    for_each(batch, |core| {
        // SAFETY: The cores in the batch are alive until they are reaped below.
        pending |= unsafe { core.as_ref() }.callback_pending();
    });
    if pending {
        // The callbacks of `percpu_ref` cannot be waited for one by one.
        rcu::rcu_barrier();
    }
    for_each(batch, |core| {
        // SAFETY: The batch has the cores' owner references, and each callback that was pending when
        // they were pushed has run.
        unsafe { PerCpuCore::reap(core) };
    });
}

/// Calls `f` with each core of a batch, which may free it.
fn for_each(batch: *mut PerCpuCore, mut f: impl FnMut(NonNull<PerCpuCore>)) {
    let mut next = NonNull::new(batch);
    while let Some(core) = next {
        // SAFETY: The cores in a batch are alive until `f` frees them.
        next = NonNull::new(unsafe { core.as_ref() }.next.load(Relaxed));
        f(core);
    }
}

/// The worker runs as long as this exists.
pub(super) struct Reaper(());

impl Reaper {
    /// Prepares the worker.
    ///
    /// # Safety
    ///
    /// Called once, before anybody creates a reference.
    pub(super) unsafe fn new() -> Self {
        // SAFETY: The function is static.
        unsafe { helpers::quiesce_helper_rundown_reaper_init(Some(reap)) };
        Self(())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // The crate's users are unloaded. References that they leaked may have a pending RCU
        // callback, which calls this module and may pass a core to the worker.
        rcu::rcu_barrier();
        flush();
    }
}
