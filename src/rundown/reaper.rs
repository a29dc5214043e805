// SPDX-License-Identifier: GPL-2.0

//! Work items that free in process context what is dropped where that is not possible.
//!
//! A guard can be dropped in any context, and may be the last owner of its object; so may a callback
//! that runs in an interrupt. A destructor may not be able to run there, and memory cannot be freed in
//! an NMI, under a raw spin lock, nor on PREEMPT_RT anywhere where the caller cannot be preempted. And
//! a per-CPU reference has to wait for an RCU callback, which a destructor does not do.
//!
//! The dispatcher, a work item that an `irq_work` queues, runs no code of other modules. It queues a
//! work item for each destructor, so that a slow one delays no other.
//!
//! A destructor that waits is counted in the account of its module, as objects that [`rcu`](crate::rcu)
//! reclaims are: the module is not freed before it has returned.

#[cfg(CONFIG_64BIT)]
use super::percpu_core::PerCpuCore;
use crate::{
    bindings as helpers,
    rcu::posting::{
        is_in_global_section,
        is_in_waker,
        this_module,
        Posting, //
    },
};
use core::{
    ffi::c_void,
    mem::offset_of,
    ptr, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
    types::Opaque, //
};

/// An object to be dropped.
///
/// # Invariants
///
/// If `state` is `FULL` or `QUEUED`, `object` and `drop` are set and not dropped, or being dropped by
/// the work item, and `posting` is the [`Posting`] of `drop`. While it is `QUEUED`, `work` is queued or
/// runs. A slot that is not in the table is `QUEUED` as soon as it is used.
struct ReaperSlot {
    state: Atomic<u32>,
    object: Atomic<*mut c_void>,
    drop: Atomic<*mut c_void>,
    posting: Atomic<*mut c_void>,
    work: Opaque<bindings::work_struct>,
}

// SAFETY: `work` is used by the workqueue, and by the dispatcher while it is not queued; the other
// fields are atomic.
unsafe impl Sync for ReaperSlot {}

const FREE: u32 = 0;
const BUSY: u32 = 1;
const FULL: u32 = 2;
const QUEUED: u32 = 3;

/// Objects are dropped as soon as possible, so that few slots are in use. An object that finds none gets
/// memory for one if the caller can be preempted, as in functions of wakers. Otherwise, and if there is
/// none, it is leaked, with a warning.
const SLOTS: usize = 512;

static TABLE: [ReaperSlot; SLOTS] = [const { ReaperSlot::new() }; SLOTS];

/// Whether this is a context in which any destructor can run.
///
/// A kernel without `CONFIG_PREEMPT_COUNT` does not know that, and takes each for one in which none
/// can. It is false in functions of wakers, for which unloads of modules wait.
pub(super) fn may_drop_here() -> bool {
    is_preemptible() && !is_in_waker() && !is_in_global_section()
}

fn is_preemptible() -> bool {
    // SAFETY: The helper reads the preemption and interrupt state of this CPU, and may be called in
    // any context.
    unsafe { helpers::quiesce_helper_preemptible() }
}

/// Drops an `Arc` in any context. The last one is dropped by a work item where the caller cannot be
/// preempted, or is a function of a waker, which may be after the caller has returned: hence the bounds.
pub(super) fn drop_arc<T: Send + Sync + 'static>(this: Arc<T>) {
    /// Drops a raw `Arc`.
    ///
    /// # Safety
    ///
    /// `object` comes from `Arc::into_raw`, and is dropped once.
    unsafe fn drop_raw<T: Send + Sync + 'static>(object: *mut c_void) {
        // SAFETY: `defer()` gets a pointer from `Arc::into_raw()` together with this function of
        // the same type, and a work item calls it once.
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
    // SAFETY: The work item drops the object once; nobody else has an `Arc` of it. Its task may do so as
    // `T` is `Send`, and at any later time as `T` is `'static`. The function is instantiated where this
    // one is, in the module that `this_module()` returns here, or in one that it depends on.
    if unsafe { defer(object, drop_raw::<T>, this_module()) } {
        return;
    }
    // SAFETY: No requirements. The object is leaked, because its destructor may sleep.
    unsafe { helpers::quiesce_helper_rundown_leaked() };
}

impl ReaperSlot {
    const fn new() -> Self {
        // INVARIANT: It is free.
        Self {
            state: Atomic::new(FREE),
            object: Atomic::new(ptr::null_mut()),
            drop: Atomic::new(ptr::null_mut()),
            posting: Atomic::new(ptr::null_mut()),
            work: Opaque::zeroed(),
        }
    }

    /// Stores what is to be dropped.
    ///
    /// # Safety
    ///
    /// As for [`defer`], and nobody else uses the slot.
    unsafe fn fill(
        &self,
        object: *mut c_void,
        drop: unsafe fn(*mut c_void),
        module: *mut bindings::module,
    ) {
        self.object.store(object, Relaxed);
        self.drop.store(drop as *mut c_void, Relaxed);
        // Counted before the caller can return, which may itself be a function that is counted.
        //
        // SAFETY: `module` was returned by `this_module()` in code that runs, and `drop` is in it
        // or in a module that it depends on, as this function requires.
        let posting = unsafe { Posting::of_function(module, drop as *const c_void) };
        self.posting.store(posting.into_raw(), Relaxed);
    }

    /// Drops the object of a slot whose work item runs.
    ///
    /// # Safety
    ///
    /// [`fill`](Self::fill) was called, and this is called once after that.
    unsafe fn drop_object(&self) -> Posting {
        // SAFETY: The slot holds the address of a function of this type, stored by `fill`.
        let drop: unsafe fn(*mut c_void) = unsafe { core::mem::transmute(self.drop.load(Relaxed)) };
        // SAFETY: `fill` stored both, and this function is called once after that.
        unsafe { drop(self.object.load(Relaxed)) };
        // SAFETY: `fill` stored the pointer of a posting, which is restored once for each object.
        unsafe { Posting::from_raw(self.posting.load(Relaxed)) }
    }
}

/// Calls `drop` with `object` in process context; returns `false` if that finds neither a slot nor memory.
///
/// # Safety
///
/// `drop` may be called with `object`, once, by another task, after the caller has returned. `module` is what [`this_module`] returned
/// in code that runs, and `drop` is a function of that module or of one that it depends on.
unsafe fn defer(
    object: *mut c_void,
    drop: unsafe fn(*mut c_void),
    module: *mut bindings::module,
) -> bool {
    for slot in &TABLE {
        if slot.state.load(Relaxed) == FREE && slot.state.cmpxchg(FREE, BUSY, Acquire).is_ok() {
            // SAFETY: This function has the other requirements, and the slot was free.
            unsafe { slot.fill(object, drop, module) };
            // INVARIANT: The slot was free, and all three are set.
            slot.state.store(FULL, Release);
            kick();
            return true;
        }
    }
    if !is_preemptible() {
        return false;
    }
    let Ok(slot) = KBox::new(ReaperSlot::new(), GFP_NOWAIT) else {
        return false;
    };
    // SAFETY: This function has the other requirements, and the slot is new.
    unsafe { slot.fill(object, drop, module) };
    // INVARIANT: All three are set, and the work item is queued next.
    slot.state.store(QUEUED, Relaxed);
    // SAFETY: The work item is not queued, and its function frees the slot.
    unsafe {
        let slot = KBox::into_raw(slot);
        helpers::quiesce_helper_rundown_queue((*slot).work.get(), Some(drop_and_free));
    }
    true
}

/// Returns the slot that a work item is of.
fn slot_of(work: *mut bindings::work_struct) -> *mut ReaperSlot {
    work.wrapping_byte_sub(offset_of!(ReaperSlot, work)).cast()
}

/// The work item of a slot of the table.
///
/// # Safety
///
/// Called by the workqueue with the work item of a slot in the table.
unsafe extern "C" fn drop_object(work: *mut bindings::work_struct) {
    // SAFETY: The workqueue calls this function with the work item of a slot, which is static, and which
    // `defer` has filled. Only this work item empties it.
    let (slot, posting) = unsafe {
        let slot = &*slot_of(work);
        (slot, slot.drop_object())
    };
    // INVARIANT: Dropped above.
    slot.state.store(FREE, Release);
    // Last, when the destructor has returned: its module may be freed from here on.
    posting.done();
}

/// The work item of a slot that is not in the table.
///
/// # Safety
///
/// Called by the workqueue with the work item of a slot that `defer` has allocated.
unsafe extern "C" fn drop_and_free(work: *mut bindings::work_struct) {
    // SAFETY: The workqueue calls this function with the work item of a slot that `defer` has allocated and
    // filled, once. Nobody else uses the slot.
    let (slot, posting) = unsafe {
        let slot = KBox::from_raw(slot_of(work));
        let posting = slot.drop_object();
        (slot, posting)
    };
    drop(slot);
    posting.done();
}

/// Returns the number of slots if each is free and the dispatcher is not in progress.
///
/// # Safety
///
/// Process context, not in the dispatcher.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub unsafe fn idle_slots_for_test() -> Option<usize> {
    // SAFETY: This function has the requirements of `flush()`.
    unsafe { flush() };
    TABLE
        .iter()
        .all(|slot| slot.state.load(Acquire) == FREE)
        .then_some(SLOTS)
}

fn kick() {
    // SAFETY: The helper only queues an `irq_work`, which any context may do.
    unsafe { helpers::quiesce_helper_rundown_reaper_kick() };
}

/// Waits until the dispatcher has handled everything that was passed to it before.
///
/// # Safety
///
/// Process context, not in the dispatcher.
pub(super) unsafe fn flush() {
    // SAFETY: This function requires process context and not to be called by the dispatcher, so the
    // wait for the dispatcher can end.
    unsafe { helpers::quiesce_helper_rundown_reaper_flush() };
}

/// The dispatcher.
///
/// # Safety
///
/// Called by its work item only.
unsafe extern "C" fn dispatch() {
    for slot in &TABLE {
        // INVARIANT: The work item is queued next.
        if slot.state.load(Relaxed) == FULL && slot.state.cmpxchg(FULL, QUEUED, Acquire).is_ok() {
            // SAFETY: The work item is static. It is not queued, and ran to the end before the slot
            // became free.
            unsafe { helpers::quiesce_helper_rundown_queue(slot.work.get(), Some(drop_object)) };
        }
    }
    #[cfg(CONFIG_64BIT)]
    cores::dispatch();
}

#[cfg(CONFIG_64BIT)]
pub(super) use cores::push;

/// The part of the reaper that frees the cores of per-CPU references.
#[cfg(CONFIG_64BIT)]
mod cores {
    use super::*;
    use core::ptr::NonNull;
    use kernel::sync::atomic::Full;

    /// Cores to be freed, linked by their `next`.
    static CORES: Atomic<*mut PerCpuCore> = Atomic::new(ptr::null_mut());

    /// Passes a core to the dispatcher, which has [`PerCpuCore::reap`] called.
    ///
    /// # Safety
    ///
    /// The caller has the owner's reference of the core, and gives it away.
    pub(in crate::rundown) unsafe fn push(core: NonNull<PerCpuCore>) {
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

    pub(super) fn dispatch() {
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
            // SAFETY: The batch has the cores' owner references, and each RCU callback that was
            // pending when they were pushed has run. Without a callback of its creator a core is
            // freed by code of this module alone. The work item is not in use: the core was not
            // pushed before, or its last work item has passed it on.
            unsafe {
                if core.as_ref().has_callback() {
                    let work = core.as_ref().work.get();
                    helpers::quiesce_helper_rundown_queue(work, Some(reap));
                } else {
                    PerCpuCore::reap(core);
                }
            }
        });
    }

    /// The work item of a core that has a callback.
    ///
    /// # Safety
    ///
    /// Called by the workqueue with the work item of a core, whose owner's reference is this one's.
    unsafe extern "C" fn reap(work: *mut bindings::work_struct) {
        // SAFETY: The workqueue calls this function with the work item of a core that was queued by
        // the dispatcher, which gave away the owner's reference and has waited for RCU callbacks.
        unsafe {
            let core = work
                .byte_sub(offset_of!(PerCpuCore, work))
                .cast::<PerCpuCore>();
            PerCpuCore::reap(NonNull::new_unchecked(core));
        }
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
}

/// The work items can run as long as this exists.
pub(super) struct Reaper(());

impl Reaper {
    /// Creates the workqueue.
    ///
    /// # Safety
    ///
    /// Called once, before anybody creates a reference.
    pub(super) unsafe fn new() -> Result<Self> {
        // SAFETY: `dispatch()` is a function of this module, which calls
        // `quiesce_helper_rundown_reaper_exit()` before it is unloaded.
        to_result(unsafe { helpers::quiesce_helper_rundown_reaper_init(Some(dispatch)) })?;
        Ok(Self(()))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // The crate's users are unloaded. References that they leaked may have a pending RCU
        // callback, which calls this module and may pass a core to the dispatcher.
        rcu::rcu_barrier();
        // SAFETY: `new` created the workqueue, and nobody uses it any more.
        unsafe { helpers::quiesce_helper_rundown_reaper_exit() };
    }
}
