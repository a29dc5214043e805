// SPDX-License-Identifier: GPL-2.0

//! The table of waiters.
//!
//! A waiter is a node on the stack of its task, in a table hashed by the address of the reference. So
//! a reference needs no room for waiters, there can be any number of them, and each can give up.
//!
//! The kernel has such a table, `wait_var_event()`. Its locks sleep on PREEMPT_RT, where the last
//! release may be in a hardirq; the locks of this one do not. And `wake_up_var()` wakes all waiters
//! in the context of the release.
//!
//! # The list
//!
//! A bucket has a list of keys, and for each key a circle of waiters. The first waiter of a circle
//! represents it in the list. Waiters that claim the object are at the end of a circle, as only one
//! of them succeeds.
//!
//! # Order of wake-ups
//!
//! The last release wakes the first waiter of its key, and each waiter that returns wakes the next one,
//! in process context: so the time that a release takes in an interrupt does not depend on the number
//! of waiters. Two kinds of wake-up end a wait:
//!
//! - [`wake`]: the object may be run down, and the waiter re-checks its state. The last release knows
//!   the address only, because the object may already have been freed if nobody waits. The wake-up may
//!   also arrive late, during a later rundown. So it is never taken as completion: a waiter returns
//!   only after it has seen, with the bucket lock held, that the object is run down.
//! - [`settle`]: the object was re-initialized or resurrected. The whole circle is detached from the
//!   bucket with an outcome, which its waiters pass on. So nobody misses a rundown that had completed
//!   for a short time only.
//!
//! No wake-up is lost: a release changes the word before it takes the lock, and a waiter checks the
//! word with the lock held before it sleeps. While the object is run down and a circle has a waiter
//! that can return, its first one was woken and has not run yet. If it gives up meanwhile, it
//! re-checks first.

use super::RundownError;
use crate::{
    arch::context::in_nmi,
    bindings as helpers, //
};
use core::{
    cell::UnsafeCell,
    panic::Location,
    ptr, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    time::Msecs,
    types::Opaque, //
};

const BUCKETS: usize = 256;

pub(super) struct Bucket {
    lock: Opaque<bindings::raw_spinlock_t>,
    /// The first waiters of the circles, linked by `next_key`; protected by `lock`.
    first: UnsafeCell<*mut Node>,
    /// The number of circles that were detached; protected by `lock`.
    settled: UnsafeCell<usize>,
    /// An NMI left its wake-up to [`late_wake`].
    late: Atomic<bool>,
}

// SAFETY: Fields that are not atomic are protected by the lock.
unsafe impl Sync for Bucket {}

/// The outcome of a wait that was ended by a re-initialization or a resurrection.
pub(super) type WaitOutcome = Result<(), RundownError>;

/// The state of an object, for reports of long waits.
pub(super) trait Report {
    /// Returns the number of holders.
    fn holders(&self) -> usize;

    /// Returns whether the object is owned exclusively.
    fn is_claimed(&self) -> bool;
}

/// The pid and the name of a task, for reports.
#[derive(Clone, Copy)]
pub(super) struct Task {
    pub(super) pid: i32,
    pub(super) comm: [u8; COMM],
}

/// The size of `task_struct::comm`.
pub(super) const COMM: usize = 16;

impl Task {
    const NONE: Self = Self {
        pid: 0,
        comm: [0; COMM],
    };

    pub(super) fn current() -> Self {
        let mut task = Self::NONE;
        // SAFETY: The function writes a string of at most this size.
        task.pid = unsafe { helpers::quiesce_helper_current_comm(task.comm.as_mut_ptr().cast()) };
        task
    }
}

/// A waiter, as it is printed in a report.
///
/// The name of the file is a copy of its end: the original is in the waiter's module, which may be
/// unloaded before the report is printed.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) task: Task,
    pub(super) file: [u8; FILE],
    /// Zero if the place is not known.
    pub(super) line: u32,
    pub(super) claim: bool,
}

const FILE: usize = 40;

impl Waiting {
    const NONE: Self = Self {
        task: Task::NONE,
        file: [0; FILE],
        line: 0,
        claim: false,
    };

    /// Describes the waiter that a linked node is of.
    fn set(&mut self, node: &Node) {
        *self = Self::NONE;
        self.task = node.task;
        self.claim = node.claim;
        if let Some(place) = node.place {
            let name = place.file().as_bytes();
            let end = &name[name.len().saturating_sub(FILE)..];
            self.file[..end.len()].copy_from_slice(end);
            self.line = place.line();
        }
    }
}

/// A waiter, on the stack of its task.
///
/// # Invariants
///
/// If `linked`, the node is in a circle, alive, and not moved. All fields but `wake` are protected by
/// the lock of the key's bucket. A circle that is not detached has its first waiter in the list of
/// the bucket; in one that is detached, exactly one waiter has an `outcome`.
pub(super) struct Node {
    key: usize,
    linked: bool,
    prev: *mut Node,
    next: *mut Node,
    /// The first waiter of the next key; of first waiters only.
    next_key: *mut Node,
    /// Of first waiters only: since when the circle is not empty, and its last report.
    since: u64,
    reported: u64,
    /// The number of waiters in the circle; of first waiters only.
    waiters: usize,
    /// `Bucket::settled` when the node was linked.
    settled: usize,
    pub(super) outcome: Option<WaitOutcome>,
    object: *const dyn Report,
    /// Set when the node is linked.
    task: Task,
    claim: bool,
    place: Option<&'static Location<'static>>,
    pub(super) wake: Opaque<bindings::completion>,
}

impl Node {
    /// Creates a waiter for the object with the key `key`. Its completion is initialised in place.
    pub(super) fn new(
        key: usize,
        object: *const dyn Report,
        claim: bool,
        place: Option<&'static Location<'static>>,
    ) -> Self {
        // INVARIANT: The node is not linked.
        Self {
            key,
            linked: false,
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
            next_key: ptr::null_mut(),
            since: 0,
            reported: 0,
            waiters: 0,
            settled: 0,
            outcome: None,
            object,
            task: Task::NONE,
            claim,
            place,
            wake: Opaque::uninit(),
        }
    }
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        lock: Opaque::uninit(),
        first: UnsafeCell::new(ptr::null_mut()),
        settled: UnsafeCell::new(0),
        late: Atomic::new(false),
    }
}; BUCKETS];

/// The number of linked waiters.
static LINKED: Atomic<usize> = Atomic::new(0);

struct LateWork(Opaque<bindings::irq_work>);

// SAFETY: The only field is an `irq_work`, which any context may queue at any time.
unsafe impl Sync for LateWork {}

static LATE: LateWork = LateWork(Opaque::uninit());

/// The table of waiters is usable as long as this exists.
pub(super) struct WaiterTable(());

impl WaiterTable {
    /// Initialises the table of waiters. A work item calls `monitor` with the interval of reports, as
    /// long as it returns `true` and whenever a wait begins; a read of the file in debugfs calls
    /// `list`.
    ///
    /// # Safety
    ///
    /// Called once, before anybody uses a reference. Both are functions of this module.
    pub(super) unsafe fn new(
        monitor: unsafe extern "C" fn(Msecs) -> bool,
        list: unsafe extern "C" fn(*mut bindings::seq_file),
    ) -> Self {
        for bucket in &TABLE {
            // SAFETY: This function requires to be called once, before the first wait, so no
            // context uses the lock yet.
            unsafe { helpers::quiesce_helper_raw_spin_lock_init(bucket.lock.get()) };
        }
        // SAFETY: This function requires to be called once, before the first wait, so the work item
        // is not queued; `late_wake()` does not use its argument.
        unsafe { helpers::quiesce_helper_init_irq_work_hard(LATE.0.get(), Some(late_wake)) };
        // SAFETY: Both functions are this module's, and `drop()` stops the monitor before it is
        // unloaded.
        unsafe { helpers::quiesce_helper_rundown_monitor_init(Some(monitor), Some(list)) };
        Self(())
    }
}

impl Drop for WaiterTable {
    fn drop(&mut self) {
        // The users of the module are unloaded, but the work of their last NMI may not have run.
        //
        // SAFETY: `new()` initialised the work item and the monitor, and no wait is left when the
        // module is unloaded.
        unsafe {
            bindings::irq_work_sync(LATE.0.get());
            helpers::quiesce_helper_rundown_monitor_exit();
        }
    }
}

pub(super) fn bucket(key: usize) -> &'static Bucket {
    // Fibonacci hashing, as the kernel's `hash_64()`.
    let hash = (key as u64).wrapping_mul(0x61c8_8646_80b5_83eb) >> (64 - BUCKETS.ilog2());
    &TABLE[hash as usize]
}

/// A bucket whose lock is held.
pub(super) struct Locked {
    bucket: &'static Bucket,
    flags: usize,
}

impl Bucket {
    pub(super) fn lock(&'static self) -> Locked {
        // SAFETY: `WaiterTable::new()` initialised the lock before the first wait, and the table is
        // static.
        let flags = unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) };
        Locked {
            bucket: self,
            flags,
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: The lock is held, and was taken with these flags.
        unsafe {
            helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.bucket.lock.get(), self.flags)
        };
    }
}

impl Locked {
    /// Returns the place in the list where the first waiter for `key` is linked, or the end of the
    /// list.
    fn find(&mut self, key: usize) -> *mut *mut Node {
        let mut slot = self.bucket.first.get();
        // SAFETY: `self` holds the bucket's lock, which protects the links, and a node is unlinked
        // before its wait returns.
        unsafe {
            while !(*slot).is_null() && (**slot).key != key {
                slot = &raw mut (**slot).next_key;
            }
        }
        slot
    }

    /// Returns whether the node is linked.
    ///
    /// # Safety
    ///
    /// `node` is of this bucket and alive.
    pub(super) unsafe fn is_linked(&self, node: *const Node) -> bool {
        // SAFETY: `self` holds the bucket's lock, which protects `linked`, and this function
        // requires that the node is alive.
        unsafe { (*node).linked }
    }

    /// # Safety
    ///
    /// `node` is of this bucket, not linked, and not moved until it is unlinked. Its object stays
    /// until then.
    pub(super) unsafe fn link(&mut self, node: *mut Node) {
        // SAFETY: The lock is held. Linked nodes are alive by their invariants, `node` by the
        // requirements of this function.
        unsafe {
            (*node).task = Task::current();
            let slot = self.find((*node).key);
            let first = *slot;
            (*node).settled = *self.bucket.settled.get();
            if first.is_null() {
                (*node).prev = node;
                (*node).next = node;
                (*node).next_key = ptr::null_mut();
                (*node).since = helpers::quiesce_helper_jiffies_64();
                (*node).reported = (*node).since;
                (*node).waiters = 1;
                *slot = node;
            } else {
                let last = (*first).prev;
                (*node).prev = last;
                (*node).next = first;
                (*last).next = node;
                (*first).prev = node;
                (*first).waiters += 1;
                if !(*node).claim {
                    // In front of those that claim the object.
                    Self::replace_first(slot, node);
                }
            }
            // INVARIANT: The node is in the circle of its key, which is in the list.
            (*node).linked = true;
        }
        LINKED.fetch_add(1, Relaxed);
    }

    /// Makes `node` the first waiter of the circle at `slot`.
    ///
    /// # Safety
    ///
    /// The lock is held, and `node` is in the circle.
    unsafe fn replace_first(slot: *mut *mut Node, node: *mut Node) {
        // SAFETY: The lock is held, and both are linked or about to be, hence alive.
        unsafe {
            let first = *slot;
            (*node).next_key = (*first).next_key;
            (*node).since = (*first).since;
            (*node).reported = (*first).reported;
            (*node).waiters = (*first).waiters;
            *slot = node;
        }
    }

    /// Unlinks a waiter that returns. With `wake_next`, wakes the next one, which may return, too.
    ///
    /// # Safety
    ///
    /// `node` is of this bucket and linked.
    pub(super) unsafe fn unlink(&mut self, node: *mut Node, wake_next: bool) {
        // SAFETY: The lock is held, and `node` and its neighbours are alive as they are linked.
        unsafe {
            let slot = self.find((*node).key);
            let alone = (*node).next == node;
            let next = (*node).next;
            if let Some(outcome) = (*node).outcome {
                // The circle is detached, and the outcome is passed on.
                if !alone {
                    (*next).outcome = Some(outcome);
                    bindings::complete((*next).wake.get());
                }
            } else if *slot == node {
                if alone {
                    *slot = (*node).next_key;
                } else {
                    Self::replace_first(slot, next);
                    (*next).waiters = (*next).waiters.saturating_sub(1);
                }
            } else if !(*slot).is_null() && !self.is_detached(node) {
                (**slot).waiters = (**slot).waiters.saturating_sub(1);
            }
            (*(*node).prev).next = next;
            (*next).prev = (*node).prev;
            // INVARIANT: No node points to this one any more.
            (*node).linked = false;
            if wake_next && (*node).outcome.is_none() {
                self.wake((*node).key);
            }
        }
        LINKED.fetch_sub(1, Relaxed);
    }

    /// Returns the outcome of a linked waiter that gives up, if its circle was detached and the
    /// outcome has not reached it yet.
    ///
    /// # Safety
    ///
    /// `node` is of this bucket and linked.
    pub(super) unsafe fn outcome(&self, node: *const Node) -> Option<WaitOutcome> {
        // SAFETY: `self` holds the bucket's lock, which protects the settled counts and the links;
        // `node` is linked, as this function requires, and linked nodes are alive.
        unsafe {
            if (*node).settled == *self.bucket.settled.get() {
                // None of this bucket was detached since the waiter was linked.
                return None;
            }
            let mut other: *const Node = node;
            loop {
                if (*other).outcome.is_some() {
                    return (*other).outcome;
                }
                other = (*other).next;
                if other == node {
                    return None;
                }
            }
        }
    }

    /// # Safety
    ///
    /// `node` is of this bucket and linked.
    unsafe fn is_detached(&self, node: *const Node) -> bool {
        // SAFETY: The node is linked by the requirements of this function.
        unsafe { self.outcome(node) }.is_some()
    }

    /// Wakes the first waiter for `key`.
    fn wake(&mut self, key: usize) {
        let slot = self.find(key);
        // SAFETY: The lock is held, and linked nodes are alive; their tasks return only after they
        // have taken the lock.
        unsafe {
            if !(*slot).is_null() {
                bindings::complete((**slot).wake.get());
            }
        }
    }

    /// Wakes the first waiter for each key.
    fn wake_all(&mut self) {
        // SAFETY: The lock is held, and linked nodes are alive; their tasks return only after they
        // have taken the lock.
        unsafe {
            let mut first = *self.bucket.first.get();
            while !first.is_null() {
                bindings::complete((*first).wake.get());
                first = (*first).next_key;
            }
        }
    }

    /// Detaches the waiters for `key`, which return with `outcome` one after the other.
    fn detach(&mut self, key: usize, outcome: WaitOutcome) {
        let slot = self.find(key);
        // SAFETY: The lock is held, and linked nodes are alive; their tasks return only after they
        // have taken the lock.
        unsafe {
            let first = *slot;
            if first.is_null() {
                return;
            }
            *slot = (*first).next_key;
            *self.bucket.settled.get() = (*self.bucket.settled.get()).wrapping_add(1);
            // INVARIANT: The circle is detached, and its first waiter has the outcome.
            (*first).outcome = Some(outcome);
            bindings::complete((*first).wake.get());
        }
    }
}

/// Wakes the first waiter for `key`, which re-checks its object and wakes the next one.
///
/// Any context, NMI included, except under locks that waking a task takes. Nothing is read at the
/// address `key`.
pub(super) fn wake(key: usize) {
    let bucket = bucket(key);

    if in_nmi() {
        bucket.late.store(true, Release);
        // SAFETY: `WaiterTable::new` initialised it. If it is queued already, it has not begun.
        unsafe { bindings::irq_work_queue(LATE.0.get()) };
        return;
    }
    bucket.lock().wake(key);
}

extern "C" fn late_wake(_work: *mut bindings::irq_work) {
    for bucket in &TABLE {
        if bucket.late.xchg(false, Full) {
            bucket.lock().wake_all();
        }
    }
}

/// Changes the object with the key `key` by `f`; if it does, the waits that have begun return
/// `outcome`.
pub(super) fn settle(
    key: usize,
    outcome: WaitOutcome,
    f: impl FnOnce() -> Result<(), RundownError>,
) -> Result<(), RundownError> {
    let mut locked = bucket(key).lock();
    f()?;
    locked.detach(key, outcome);
    Ok(())
}

/// A rundown that at least one task waits for, as reports describe it.
pub(super) struct Running {
    pub(super) key: usize,
    pub(super) waited: u64,
    pub(super) waiters: usize,
    pub(super) holders: usize,
    pub(super) claimed: bool,
    named: usize,
    tasks: [Waiting; NAMED],
}

/// The number of waiters that a report names.
const NAMED: usize = 4;

impl Running {
    const NONE: Self = Self {
        key: 0,
        waited: 0,
        waiters: 0,
        holders: 0,
        claimed: false,
        named: 0,
        tasks: [Waiting::NONE; NAMED],
    };

    /// Returns some of the waiters.
    pub(super) fn tasks(&self) -> &[Waiting] {
        &self.tasks[..self.named]
    }

    /// Describes the rundown that a circle of waiters waits for.
    ///
    /// # Safety
    ///
    /// The lock of the bucket is held, and `first` is the first waiter of a circle in its list.
    unsafe fn set(&mut self, first: *const Node, now: u64) {
        // SAFETY: The lock is held, and linked nodes are alive, as are the objects that they wait for.
        unsafe {
            self.key = (*first).key;
            self.waited = now.wrapping_sub((*first).since);
            self.waiters = (*first).waiters;
            self.holders = (*(*first).object).holders();
            self.claimed = (*(*first).object).is_claimed();
            self.named = 0;
            let mut node = first;
            for waiting in &mut self.tasks {
                waiting.set(&*node);
                self.named += 1;
                node = (*node).next;
                if ptr::eq(node, first) {
                    break;
                }
            }
        }
    }
}

/// Calls `f` with the rundowns that have been waited for longer than `interval` since the last report,
/// one at a time and without the lock; returns whether there are any waiters.
///
/// Once with each: those that become overdue meanwhile, as `f` may take longer than that, are left to
/// the next call.
pub(super) fn for_each_overdue(interval: u64, mut f: impl FnMut(&Running)) -> bool {
    // SAFETY: The helper only reads the time.
    let now = unsafe { helpers::quiesce_helper_jiffies_64() };
    let mut running = Running::NONE;
    for bucket in &TABLE {
        while bucket.lock().take_overdue(interval, now, &mut running) {
            f(&running);
        }
    }
    LINKED.load(Relaxed) != 0
}

/// Calls `f` with the addresses of the references whose waiters a pass of the monitor reports.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub fn for_each_overdue_for_test(interval: u64, mut f: impl FnMut(usize)) {
    for_each_overdue(interval, |running| f(running.key));
}

/// Calls `f` with all rundowns that are waited for, one at a time and without the lock. Those that
/// begin or end meanwhile may be missed.
pub(super) fn for_each(mut f: impl FnMut(&Running)) {
    let mut running = Running::NONE;
    for bucket in &TABLE {
        let mut n = 0;
        while bucket.lock().nth(n, &mut running) {
            f(&running);
            n += 1;
        }
    }
}

impl Locked {
    /// Describes a rundown that is overdue for a report at the time `now`, and takes note of the report;
    /// returns `false` if there is none.
    fn take_overdue(&mut self, interval: u64, now: u64, running: &mut Running) -> bool {
        // SAFETY: The lock is held, and linked nodes are alive, as are the objects that they wait for.
        unsafe {
            let mut first = *self.bucket.first.get();
            // A wait may have begun after `now`.
            while !first.is_null() && now.saturating_sub((*first).reported) < interval {
                first = (*first).next_key;
            }
            if first.is_null() {
                return false;
            }
            (*first).reported = now;
            running.set(first, now);
            true
        }
    }

    /// Describes the rundown at a position of the list; returns `false` behind its end.
    fn nth(&self, n: usize, running: &mut Running) -> bool {
        // SAFETY: The lock is held, and linked nodes are alive, as are the objects that they wait for.
        unsafe {
            let mut first = *self.bucket.first.get();
            for _ in 0..n {
                if first.is_null() {
                    break;
                }
                first = (*first).next_key;
            }
            if first.is_null() {
                return false;
            }
            running.set(first, helpers::quiesce_helper_jiffies_64());
            true
        }
    }
}
