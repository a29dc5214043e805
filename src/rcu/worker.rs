// SPDX-License-Identifier: GPL-2.0

//! The workqueue on which destructors run that may sleep.

use super::domain_state::Reclaim;
use crate::bindings as helpers;
use core::ptr::null_mut;
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// Objects whose grace period is over, and the work that reclaims them.
///
/// # Invariants
///
/// - `list` is a list, linked by `next`, of heads that nobody else uses, each with the function
///   that is to be called with it in `func`.
/// - While `queue` is not null it is a workqueue and `work` is initialised.
struct Worker {
    list: Atomic<*mut bindings::callback_head>,
    queue: Atomic<*mut bindings::workqueue_struct>,
    work: Opaque<bindings::work_struct>,
}

// SAFETY: The atomics are, and a work item may be queued from everywhere.
unsafe impl Sync for Worker {}

// INVARIANT: An empty list and no queue.
static WORKER: Worker = Worker {
    list: Atomic::new(null_mut()),
    queue: Atomic::new(null_mut()),
    work: Opaque::uninit(),
};

/// Makes the workqueue.
///
/// # Safety
///
/// There is none, and nobody uses this module meanwhile.
pub(super) unsafe fn create() -> Result {
    // SAFETY: The work is static and not in use.
    let queue = unsafe { helpers::quiesce_helper_rcu_workqueue(WORKER.work.get(), Some(run)) };
    if queue.is_null() {
        return Err(ENOMEM);
    }
    // INVARIANT: The helper has initialised the work.
    WORKER.queue.store(queue, Relaxed);
    Ok(())
}

/// Ends the workqueue, after what is on it has run.
///
/// # Safety
///
/// [`create`] was called, and nobody pushes any more.
pub(super) unsafe fn destroy() {
    let queue = WORKER.queue.xchg(null_mut(), Relaxed);
    // SAFETY: By the type invariants, and nobody else ends it by the safety requirements.
    unsafe { bindings::destroy_workqueue(queue) };
}

/// Has `func` called with `head` on the workqueue. Any context but NMI.
///
/// # Safety
///
/// `head` and what it is in are valid and not used by others until `func` is called, which may be
/// on any task.
pub(super) unsafe fn push(head: *mut bindings::callback_head, func: Reclaim) {
    // SAFETY: The head is ours by the safety requirements.
    unsafe { (*head).func = Some(func) };
    let mut first = WORKER.list.load(Relaxed);
    loop {
        // SAFETY: The head is still ours.
        unsafe { (*head).next = first };
        // INVARIANT: The head is filled in, and nobody else's by the safety requirements.
        match WORKER.list.cmpxchg(first, head, Full) {
            Ok(_) => break,
            Err(now) => first = now,
        }
    }
    let queue = WORKER.queue.load(Relaxed);
    // SAFETY: The work is initialised. Queueing what is queued does nothing.
    unsafe {
        bindings::queue_work_on(
            bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
            queue,
            WORKER.work.get(),
        )
    };
}

/// Whether the caller is a destructor that runs on the workqueue.
pub(super) fn is_current() -> bool {
    // SAFETY: Callable from process context and all others.
    unsafe { bindings::current_work() == WORKER.work.get() }
}

/// Waits until everything pushed before has been reclaimed. Process context.
pub(super) fn flush() {
    loop {
        // What is no longer on the list is in the hands of a work that runs, and is waited for.
        let empty = WORKER.list.load(Relaxed).is_null();
        kernel::sync::barrier::smp_mb(Full);
        // SAFETY: The queue is there by the type invariants.
        unsafe { bindings::__flush_workqueue(WORKER.queue.load(Relaxed)) };
        if empty {
            break;
        }
    }
}

/// The work: takes the list and reclaims its objects, oldest first.
///
/// # Safety
///
/// Called by the workqueue.
unsafe extern "C" fn run(_work: *mut bindings::work_struct) {
    // INVARIANT: The list is empty and ours, linked newest first.
    let mut newest = WORKER.list.xchg(null_mut(), Full);
    let mut list = null_mut();
    while !newest.is_null() {
        let head = newest;
        // SAFETY: By the type invariants the heads are valid and nobody else uses them.
        unsafe {
            newest = (*head).next;
            (*head).next = list;
        }
        list = head;
    }
    while !list.is_null() {
        let head = list;
        // SAFETY: As above; the function takes its head, which is read before.
        unsafe {
            list = (*head).next;
            if let Some(func) = (*head).func {
                func(head);
            }
        }
        // SAFETY: Process context.
        unsafe { helpers::quiesce_helper_rcu_cond_resched() };
    }
}
