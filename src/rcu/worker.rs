// SPDX-License-Identifier: GPL-2.0

//! Work items that run the destructors that may sleep.
//!
//! Each SRCU domain has one, and each module has one for the objects that it defers in the kernel's
//! RCU, so that a slow destructor delays only those of its own domain or module.

use super::{
    account::{
        of_caller,
        Account,
        Counts,
        Reclaim, //
    },
    disposal, //
};
use crate::bindings as helpers;
use core::{
    mem::offset_of,
    ptr::null_mut, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    types::Opaque, //
};

/// A workqueue.
pub(super) struct Queue(Atomic<*mut bindings::workqueue_struct>);

/// The workqueue of the workers and of the work items that wake futures.
pub(super) static WORK: Queue = Queue(Atomic::new(null_mut()));

/// The workqueue of work items that wait for workers. Separate, so that workers are not queued
/// behind them when the kernel has no memory for another thread.
pub(super) static WAIT: Queue = Queue(Atomic::new(null_mut()));

/// Creates the workqueues.
///
/// # Safety
///
/// There are none.
pub(super) unsafe fn create_queues() -> Result {
    for (queue, reclaims) in [(&WORK, true), (&WAIT, false)] {
        // SAFETY: The helper creates a workqueue, in process context: the module's init calls this.
        let new = unsafe { helpers::quiesce_helper_rcu_workqueue(reclaims) };
        if new.is_null() {
            // SAFETY: The queues are not used before this function has returned, so nothing is
            // queued.
            unsafe { destroy_queues() };
            return Err(ENOMEM);
        }
        queue.0.store(new, Relaxed);
    }
    Ok(())
}

/// Destroys the workqueues, after what is on them has run.
///
/// # Safety
///
/// Nothing is queued any more.
pub(super) unsafe fn destroy_queues() {
    for queue in [&WAIT, &WORK] {
        let old = queue.0.xchg(null_mut(), Relaxed);
        if !old.is_null() {
            // SAFETY: `old` came from `quiesce_helper_rcu_workqueue()`, and nothing is queued any
            // more, as this function requires.
            unsafe { bindings::destroy_workqueue(old) };
        }
    }
}

impl Queue {
    /// Waits until everything that was queued before has run.
    ///
    /// # Safety
    ///
    /// Process context, not in a work item of the queue, and the workqueue is there.
    pub(super) unsafe fn flush(&self) {
        // SAFETY: The workqueue is there and does not run the caller, as this function requires.
        unsafe { bindings::__flush_workqueue(self.0.load(Relaxed)) };
    }

    /// Queues a work item; does nothing if it is queued already. Any context but NMI.
    ///
    /// # Safety
    ///
    /// The work item is initialised and stays until its function has run, and the workqueue is there.
    pub(super) unsafe fn queue(&self, work: *mut bindings::work_struct) {
        // SAFETY: The work item is initialised and stays until its function has run, and the
        // workqueue is there, as this function requires.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.0.load(Relaxed),
                work,
            )
        };
    }
}

/// Returns whether the caller is a destructor that a worker runs.
pub(super) fn is_current() -> bool {
    // SAFETY: The reference is not kept.
    unsafe { current() }.is_some()
}

/// Returns the worker that runs the caller, which is a destructor then. None in an interrupt that
/// comes while a destructor runs.
///
/// # Safety
///
/// The destructor does not return during `'a`.
pub(super) unsafe fn current<'a>() -> Option<&'a Worker> {
    // SAFETY: The helper only compares the current task with those of the records, in any context.
    let record = unsafe { helpers::quiesce_helper_rcu_current_run() };
    if record.is_null() {
        return None;
    }
    // SAFETY: Only `run` enters a record, that of its worker, which stays until its work item has run.
    // The task that it names is the current one, which runs the work item and does not return from the
    // destructor during `'a`, as this function requires.
    Some(unsafe { &*record.byte_sub(offset_of!(Worker, record)).cast::<Worker>() })
}

/// The worker that a work item is of.
///
/// # Safety
///
/// `work` is the work item of a worker, which stays during `'a`.
unsafe fn of_work<'a>(work: *mut bindings::work_struct) -> &'a Worker {
    // SAFETY: `work` is the field of a worker, which stays, as this function requires.
    unsafe { &*work.byte_sub(offset_of!(Worker, work)).cast::<Worker>() }
}

/// Objects whose grace period has elapsed, and the work item that reclaims them.
///
/// # Invariants
///
/// - `list` is a list of heads that nobody else uses. Each is one of an object, with the function
///   that is to be called with it in `func`, and counted by `counts` and for the module of that
///   function; or it is the head of a [`Marker`], without a function.
/// - Once `counts` is not null, `work` is initialised.
/// - While `work` runs, and only then, `record` is in the table of what runs, with the task.
pub(super) struct Worker {
    list: Opaque<bindings::llist_head>,
    work: Opaque<bindings::work_struct>,
    record: Opaque<helpers::quiesce_rcu_run>,
    counts: Atomic<*mut Counts>,
    home: Atomic<*mut bindings::module>,
    /// For the task that runs the work item, which thus has one in any case.
    queue: disposal::Queue,
}

// SAFETY: The list is lock-free, and a work item may be queued from everywhere.
unsafe impl Send for Worker {}
// SAFETY: The list is lock-free, a work item may be queued concurrently, `record` belongs to the task
// that runs the work item and to the lock of the table, the queue may be used by several tasks, and the
// other fields are atomic.
unsafe impl Sync for Worker {}

impl Worker {
    /// Creates a worker that is not in use.
    pub(super) const fn new() -> Self {
        // INVARIANT: The list is empty, `counts` is null, and the work item does not run.
        Self {
            list: Opaque::zeroed(),
            work: Opaque::uninit(),
            record: Opaque::zeroed(),
            counts: Atomic::new(null_mut()),
            home: Atomic::new(null_mut()),
            queue: disposal::Queue::new(),
        }
    }

    /// The queue of what the destructors dispose of.
    pub(super) fn queue(&self) -> &disposal::Queue {
        &self.queue
    }

    /// Initialises the worker, for objects that `counts` count, mostly of the module `home`.
    ///
    /// # Safety
    ///
    /// It is not in use and does not move any more. The counts are allocated, and stay so, as does
    /// the module, until [`stop`](Self::stop).
    pub(super) unsafe fn init(&self, counts: *const Counts, home: *mut bindings::module) {
        // SAFETY: This function requires that the work item is not in use and does not move.
        unsafe { helpers::quiesce_helper_rcu_init_work(self.work.get(), Some(run), false) };
        self.home.store(home, Relaxed);
        // INVARIANT: The work item has been initialised.
        self.counts.store(counts.cast_mut(), Relaxed);
    }

    /// Waits until the work item has run.
    ///
    /// # Safety
    ///
    /// It is initialised, its list is empty, and nothing is pushed any more.
    pub(super) unsafe fn stop(&self) {
        // SAFETY: This function requires an initialised worker that nobody queues any more.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
    }

    /// Queues `func` to be called with `head` by the worker. Any context but NMI.
    ///
    /// # Safety
    ///
    /// The worker is initialised. `head` and what it is in are valid and not used by others until
    /// `func` is called, which may be on any task. Both are counted, as the type invariants say.
    pub(super) unsafe fn push(&self, head: *mut bindings::callback_head, func: Reclaim) {
        // SAFETY: The head is the caller's, and given to the list.
        unsafe {
            (*head).func = Some(func);
            self.add(head);
        }
    }

    /// # Safety
    ///
    /// The worker is initialised; `head` is as the type invariants say, and the caller's.
    unsafe fn add(&self, head: *mut bindings::callback_head) {
        // SAFETY: A head begins with its link, and is the caller's.
        unsafe { helpers::quiesce_helper_llist_add(head.cast(), self.list.get()) };
        // SAFETY: This function requires an initialised worker, so its work item may be queued.
        unsafe { WORK.queue(self.work.get()) };
    }

    /// Takes the list, oldest first.
    fn take(&self) -> *mut bindings::callback_head {
        // SAFETY: The list is one; what comes off it is the caller's.
        unsafe {
            bindings::llist_reverse_order(helpers::quiesce_helper_llist_del_all(self.list.get()))
        }
        .cast()
    }
}

/// A marker that is pushed behind other heads, to wait until those have been reclaimed.
///
/// # Invariants
///
/// `done` is initialised once the marker was pushed.
#[repr(C)]
pub(super) struct Marker {
    head: Opaque<bindings::callback_head>,
    done: Opaque<bindings::completion>,
}

impl Marker {
    /// Creates a marker.
    pub(super) const fn new() -> Self {
        Self {
            head: Opaque::zeroed(),
            done: Opaque::uninit(),
        }
    }

    /// Pushes the marker.
    ///
    /// # Safety
    ///
    /// The worker is initialised. The marker stays where it is until [`wait`](Self::wait) has
    /// returned, and was not pushed before.
    pub(super) unsafe fn push(&self, worker: &Worker) {
        // SAFETY: The marker is not in use, and the work item is initialised. The head has no
        // function, and is not used by others before it is passed.
        unsafe {
            helpers::quiesce_helper_rcu_init_completion(self.done.get());
            helpers::quiesce_helper_rcu_will_wait(worker.work.get());
            worker.add(self.head.get());
        }
    }

    /// Waits until everything that was pushed before the marker has been reclaimed.
    ///
    /// # Safety
    ///
    /// It was pushed. Process context, and the caller is no destructor that a worker runs.
    pub(super) unsafe fn wait(&self) {
        // SAFETY: By the type invariants the completion is initialised, and the waiter stays on the
        // stack until it is completed.
        unsafe { bindings::wait_for_completion(self.done.get()) };
    }
}

/// The work item: reclaims what is on the list, in the order in which it was pushed.
///
/// # Safety
///
/// Called by the workqueue with the work item of a worker.
unsafe extern "C" fn run(work: *mut bindings::work_struct) {
    // SAFETY: The workqueue calls this function with the work item of a worker, which stays until
    // its work item has run.
    let worker = unsafe { of_work(work) };
    // INVARIANT: The work item runs.
    // SAFETY: The record is that of a worker whose work item runs, which the workqueue runs once at a
    // time, so it is not in the table. It is taken out below, before the worker can be freed.
    unsafe { helpers::quiesce_helper_rcu_run_begin(worker.record.get()) };
    let counts = worker.counts.load(Relaxed);
    let mut list = worker.take();
    while !list.is_null() {
        let head = list;
        // SAFETY: By the type invariants of the worker the head is ours.
        let func = unsafe {
            list = (*head).next;
            (*head).func
        };
        match func {
            // SAFETY: By the type invariants the head may be given to its function, and both are
            // counted. This is the work item of the worker.
            Some(func) => unsafe { reclaim(worker, counts, head, func) },
            // SAFETY: A head without a function is that of a marker, whose `done` is initialised.
            // The waiter may return and free the marker as soon as the completion is done.
            None => unsafe { bindings::complete((*head.cast::<Marker>()).done.get()) },
        }
        // SAFETY: The workqueue runs this function, in process context without locks held.
        unsafe { helpers::quiesce_helper_rcu_cond_resched() };
    }
    // INVARIANT: The work item has nothing more to do.
    // SAFETY: The record was entered above, by this task.
    unsafe { helpers::quiesce_helper_rcu_run_end(worker.record.get()) };
}

/// Calls `func` and counts that.
///
/// # Safety
///
/// `func` may be called with `head`, once, and is counted by `counts` and for its module. The caller
/// is the work item of `worker`.
unsafe fn reclaim(
    worker: &Worker,
    counts: *const Counts,
    head: *mut bindings::callback_head,
    func: Reclaim,
) {
    // The home module has not deferred it, so that its account does not record that it is served.
    // SAFETY: The module of the function stays, with its account, until the function is counted as
    // done below, and the home module until the worker is stopped.
    let account: &Account =
        unsafe { of_caller(worker.home.load(Relaxed)).or_of_function(func as *const _) };
    // SAFETY: `func` may be called with `head`, as this function requires, and a work item runs in
    // process context, where it may sleep.
    unsafe { disposal::with_queue(&worker.queue, account, || func(head)) };
    let _section = rcu::read_lock();
    // SAFETY: The counts stay as long as something is in flight.
    unsafe { (*counts).done() };
    account.done();
}
