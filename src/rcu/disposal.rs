// SPDX-License-Identifier: GPL-2.0

//! Dropping objects that own cells, with bounded stack and without sleeping where that is
//! forbidden.
//!
//! A cell may be dropped in any context. Its object may have a destructor that sleeps, or it may
//! own further cells, which own further ones: a list. Dropping the object in [`Drop`] of its cell
//! would sleep in atomic context in the first case, and recurse once per element of the list in the
//! second.
//!
//! Where the caller may sleep, the first cell to be dropped claims a [`Queue`] for the current
//! task. Cells that are dropped from within add their objects to that queue and return, and the
//! first one drops the objects one after the other: a list is freed in the call that dropped its
//! head, with the stack of one element. Elsewhere, and if other tasks have claimed the queues that the
//! task may use, the object is handed to process context. A worker has a queue that no other task
//! claims, so that a barrier waits for what the objects own that were deferred. What a destructor on a
//! worker disposes of where it may not sleep, in a section or under a spin lock, also goes to that
//! queue, and is dropped when the destructor has returned: handed to the worker, it would be behind
//! the marker of a barrier that waits for the object.
//!
//! What is in a queue outlasts the call that dropped its cell, and no account counts it. So a queue
//! takes destructors of one module only: that of the destructor which the queue was claimed for, and
//! which returns to code that keeps the module loaded. An object of another module is handed to
//! process context, where the module's account counts it: a destructor may have called a function of
//! a module that may be unloaded as soon as the function has returned.

use super::{
    account::{
        of_function,
        Account,
        Reclaim, //
    },
    domain_state::{
        in_global_section,
        DomainState, //
    },
    waiters,
    worker::{
        self,
        Worker, //
    },
};
use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    ptr::{
        from_ref,
        null,
        null_mut, //
    },
};
use kernel::{
    bindings,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
};

type Head = bindings::callback_head;

/// The objects that a task has still to drop.
///
/// # Invariants
///
/// - While `owner` is the address of a task, only that task, in process context, accesses `first` and
///   `account`. Those of a worker's queue are only accessed by the task that runs the worker.
/// - `first` is a list, linked by `next`, of heads that the owner of the queue owns. `func` of each
///   may be called with the head, and is in the module of `account`, which is not freed before the
///   queue is given back. `account` is only compared.
/// - While `owner` is zero, `first` is null.
/// - While a worker calls a destructor, `account` of its queue is that of the destructor's module,
///   also if `owner` is zero; what is in the queue when the destructor returns is dropped before the
///   destructor is counted as done. Otherwise, `account` of such a queue is null.
pub(super) struct Queue {
    owner: Atomic<usize>,
    account: UnsafeCell<*const Account>,
    first: UnsafeCell<*mut Head>,
}

// SAFETY: `first` and `account` are accessed by the owner alone, or by the task that runs the worker,
// by the type invariants.
unsafe impl Sync for Queue {}

/// The number of sets of queues.
const SETS: usize = 32;

/// The number of queues in a set: so many of the tasks that hash to it can have one at a time.
const WAYS: usize = 4;

static QUEUES: [[Queue; WAYS]; SETS] = [const { [const { Queue::new() }; WAYS] }; SETS];

/// Drops an object that no reader can reach, in this call where the caller may sleep.
///
/// Otherwise, and for an object of another module than that of the destructor that disposes of it,
/// the object is dropped in process context, before [`Domain::barrier`] returns to a caller that calls
/// it afterwards. Where a destructor that a worker runs may not sleep, the worker drops an object of
/// the destructor's module before it counts the destructor as done. Not for NMIs.
///
/// # Safety
///
/// - The caller owns `head` and what it is in, and gives both away. No reader of `domain` can reach
///   them now or later.
/// - `func` may be called with `head`, on any task and in process context, and is called once. It is
///   a function of `module`, or of one that it depends on.
/// - `module` is what `this_module` returned in code that runs.
///
/// [`Domain::barrier`]: super::Domain::barrier
pub(super) unsafe fn dispose(
    domain: &'static DomainState,
    module: *mut bindings::module,
    head: *mut Head,
    func: Reclaim,
) {
    // SAFETY: Reads the state of the current task and CPU only.
    let context = unsafe { helpers::quiesce_helper_rcu_context() } as u32;
    let task = kernel::current!().as_ptr().addr();
    // SAFETY: The queue is used in this call only, which the destructor makes, if it is one.
    let own = unsafe { worker::current() }.map(Worker::queue);
    let account = || {
        // SAFETY: `module` is what `this_module` returned in code that runs, and `func` is a function
        // of that module or of one that it depends on, as this function requires.
        from_ref(unsafe { of_function(module, func as *const _) })
    };
    // Unloads of modules wait for functions of wakers, in which therefore no destructor runs.
    if context == helpers::QUIESCE_RCU_MAY_WAIT && !waiters::is_called() {
        let account = account();
        let queues = || own.into_iter().chain(set_of(task));
        if let Some(queue) = queues().find(|q| q.owner.load(Relaxed) == task) {
            // SAFETY: By the type invariants this task alone accesses `account`.
            if unsafe { *queue.account.get() } == account {
                // SAFETY: The queue is this task's, and this is process context. The caller gives
                // `head` away, and `func` may be called with it, as this function requires, and is in
                // the module of the queue's account.
                return unsafe { queue.add(head, func) };
            }
        } else if cfg!(CONFIG_PREEMPT_COUNT) && !in_global_section() {
            // Without a preemption count, "may wait" is a guess, on which no destructor runs. Without
            // preemptible RCU, the context does not show a section of `Global`.
            if let Some(queue) = claim(queues(), task) {
                // SAFETY: `claim` returned a queue that belongs to the current task, and the
                // context is `QUIESCE_RCU_MAY_WAIT`, in which the task may sleep. `func` may be
                // called once with `head`, as this function requires. The task returns to code of
                // `module`, which is loaded until then, as is the module of `func`.
                return unsafe { queue.run(account, || func(head)) };
            }
        }
    }
    if let Some(queue) = own {
        // SAFETY: The queue is that of the worker whose work item this task runs, in process context,
        // so by the type invariants this task alone accesses `account`.
        if unsafe { queue.account.get().read() } == account() {
            // INVARIANT: The account is that of the destructor that the worker calls, which counts it
            // until what is in the queue was dropped.
            queue.owner.store(task, Relaxed);
            // SAFETY: The queue is this task's since the store above, if it was not before, and this is
            // process context. The caller gives `head` away, and `func` may be called with it, as this
            // function requires, and is in the module of the queue's account.
            return unsafe { queue.add(head, func) };
        }
    }
    // SAFETY: The caller gives `head` away and no reader can reach it, `module` is what
    // `this_module` returned in code that runs, and `func` is a function of that module or of one
    // that it depends on, as this function requires.
    unsafe { domain.push(module, head, func) };
}

/// Runs `f`, a destructor that a worker calls, and drops what it disposes of and leaves in the
/// worker's queue.
///
/// # Safety
///
/// Process context; the caller may sleep, and is the work item of the worker that `queue` is of.
/// `account` counts `f` until this function has returned.
#[inline]
pub(super) unsafe fn with_queue(queue: &Queue, account: &Account, f: impl FnOnce()) {
    if !cfg!(CONFIG_PREEMPT_COUNT) {
        // `dispose` does not claim it. No other task does, and no destructor runs.
        let _ = claim(core::iter::once(queue), kernel::current!().as_ptr().addr());
    }
    // SAFETY: The queue is that of the worker whose work item the current task runs, which is in
    // process context and may sleep, as this function requires. `account` counts `f` until this
    // function has returned, so its module is not freed before.
    unsafe { queue.run(account, f) }
}

/// The queues that a task may use.
fn set_of(task: usize) -> &'static [Queue; WAYS] {
    // Tasks are a few kilobytes each.
    &QUEUES[(task >> 6 ^ task >> 13) % SETS]
}

/// Claims a queue for a task that has none.
fn claim<'a>(mut queues: impl Iterator<Item = &'a Queue>, task: usize) -> Option<&'a Queue> {
    // ORDERING: Pairs with the release in `run`: this owner finds the list empty.
    queues.find(|q| q.owner.load(Relaxed) == 0 && q.owner.cmpxchg(0, task, Acquire).is_ok())
}

impl Queue {
    /// Creates a queue that no task owns.
    pub(super) const fn new() -> Self {
        // INVARIANT: No owner, an empty list.
        Self {
            owner: Atomic::new(0),
            account: UnsafeCell::new(null()),
            first: UnsafeCell::new(null_mut()),
        }
    }

    /// Adds an object.
    ///
    /// # Safety
    ///
    /// The queue belongs to the current task, which is in process context. The caller owns `head` and
    /// gives it away; `func` may be called with it, and is in the module of `account`.
    unsafe fn add(&self, head: *mut Head, func: Reclaim) {
        // SAFETY: `head` is given away to this function, so nobody else has it.
        unsafe { (*head).func = Some(func) };
        // INVARIANT: The caller gives `head` away, and `func` may be called with it and is in the
        // module of `account`, as this function requires.
        // SAFETY: The queue is this task's, so by the type invariants this task alone accesses `first`.
        unsafe { (*head).next = self.first.get().replace(head) };
    }

    /// Runs `f`, then drops the objects that were added meanwhile, and gives the queue back.
    ///
    /// # Safety
    ///
    /// The queue was claimed for the current task, or is that of the worker whose work item the current
    /// task runs, and no object is in it. The task is in process context and may sleep. The module of
    /// `account` is not freed before this function has returned.
    unsafe fn run(&self, account: *const Account, f: impl FnOnce()) {
        // INVARIANT: The list is empty, and the module is not freed before the queue is given back.
        // SAFETY: The queue is this task's, so only this task, in process context, accesses `account`.
        let outer = unsafe { self.account.get().replace(account) };
        f();
        loop {
            // SAFETY: The queue is this task's, so only this task, which is in process context, accesses
            // `first`. It is null if nobody has claimed the worker's queue.
            let head = unsafe { *self.first.get() };
            if head.is_null() {
                break;
            }
            // SAFETY: By the type invariants the head is ours and its function may be called. The
            // function frees the head, which is therefore read before.
            unsafe {
                *self.first.get() = (*head).next;
                if let Some(func) = (*head).func {
                    func(head);
                }
            }
            // SAFETY: The task may sleep, as this function requires, unless a destructor has left
            // preemption disabled: then this reports it and does not sleep.
            unsafe { helpers::quiesce_helper_rcu_cond_resched() };
        }
        // INVARIANT: The list is empty. A worker that is in another destructor continues with that.
        // SAFETY: The queue is still this task's, which therefore alone accesses `account`.
        unsafe { *self.account.get() = outer };
        self.owner.store(0, Release);
    }
}
