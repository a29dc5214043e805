// SPDX-License-Identifier: GPL-2.0

//! The futures that wait for grace periods of a domain.
//!
//! A domain has one callback for all of them. The first future to wait posts it; the callback wakes
//! those whose grace period has elapsed and is posted again if others wait. liburcu's polled grace
//! periods work the same way.

use super::mark::Mark;
use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ptr::{
        from_ref,
        null_mut, //
    },
    task::Waker, //
};
use kernel::{
    bindings,
    ffi::c_int,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// The number of futures that are woken with the lock released once.
const BATCH: usize = 8;

/// The number of futures that [`Waiters::forget`] searches with the lock acquired once.
const SEARCHED: usize = 32;

/// A future that waits, in the list of its domain.
///
/// # Invariants
///
/// - All fields belong to the lock of the domain's waiters.
/// - While `waits`, the node is in a list of the domain and does not move. `waker` is there; or it is
///   not, and the node is the place that [`Waiters::forget`] has reached.
/// - `number` is not smaller than that of the nodes before it in the list.
pub(super) struct Node {
    links: bindings::list_head,
    waits: bool,
    number: u64,
    seq: bindings::rcu_gp_seq,
    waker: Option<Waker>,
}

impl Node {
    /// Creates the node of a future that does not wait.
    pub(super) const fn new(seq: bindings::rcu_gp_seq) -> Self {
        // INVARIANT: It does not wait.
        Self {
            links: bindings::list_head {
                next: null_mut(),
                prev: null_mut(),
            },
            waits: false,
            number: 0,
            seq,
            waker: None,
        }
    }
}

/// Whether a future has ever waited.
static USED: Atomic<bool> = Atomic::new(false);

/// The module whose wakers are being dropped, or null.
static LEAVING: Atomic<*mut bindings::module> = Atomic::new(null_mut());

/// Whether a future of that module, or with one of its wakers, has begun to wait; see [`watch`].
static SEEN: Atomic<bool> = Atomic::new(false);

/// The number of wakers that are being called or dropped.
static CALLED: Atomic<usize> = Atomic::new(0);

/// A time in which wakers are taken from nodes and called.
///
/// A module is freed after [`synchronize`], so the functions of its wakers stay meanwhile.
struct Calling(c_int);

impl Calling {
    fn new() -> Self {
        // SAFETY: The helper enters a section of an SRCU domain of this module; this is no NMI.
        Self(unsafe { helpers::quiesce_helper_rcu_wakers_enter() })
    }

    /// Calls `f` with a waker that was taken from a node in this time.
    ///
    /// Its function is marked on the stack, as a section of an SRCU domain is: see [`is_called`].
    fn finish(&self, waker: Option<Waker>, f: impl FnOnce(Waker)) {
        let Some(waker) = waker else { return };
        let mark = Mark::new();
        mark.set(mark_of_calls());
        CALLED.fetch_add(1usize, Relaxed);
        f(waker);
        CALLED.fetch_sub(1usize, Relaxed);
    }
}

/// The value that marks calls of wakers on the stack, see [`Mark::set`].
fn mark_of_calls() -> usize {
    (&raw const CALLED).addr().wrapping_add(1)
}

/// Returns whether the current task is in a function of a waker that this module calls.
///
/// Such a function must not sleep, and modules that are unloaded wait for it.
pub(super) fn is_called() -> bool {
    // SAFETY: The helper only reads words of the current task's stack.
    CALLED.load(Relaxed) != 0 && unsafe { helpers::quiesce_helper_rcu_marked(mark_of_calls()) }
}

impl Drop for Calling {
    fn drop(&mut self) {
        // SAFETY: `new` has entered the section.
        unsafe { helpers::quiesce_helper_rcu_wakers_exit(self.0) };
    }
}

/// Returns whether a future has ever waited.
pub(super) fn are_used() -> bool {
    USED.load(Relaxed)
}

/// Watches for futures of `module`, and for those with wakers of it, that begin to wait; for none if it is
/// null.
///
/// Called with other calls excluded, by the notifier of the module or before that is freed. A future
/// that still reads the module is in a read-side critical section of RCU, which `free_module()` waits for.
pub(super) fn watch(module: *mut bindings::module) {
    // ORDERING: A future that is seen before this store is in its list, which is searched later.
    SEEN.store(false, Relaxed);
    LEAVING.store(module, Relaxed);
}

/// Returns whether one has begun to wait since the call of [`watch`].
pub(super) fn were_seen() -> bool {
    SEEN.load(Relaxed)
}

/// Waits until no waker is called that was taken from its node before. Process context.
pub(super) fn synchronize() {
    // SAFETY: This is process context, and not in a [`Calling`].
    unsafe { helpers::quiesce_helper_rcu_wakers_synchronize() };
}

/// The futures that are left after a call of [`Waiters::wake`].
pub(super) enum Left {
    /// The list is empty.
    Nobody,
    /// The futures that wait do so for a later grace period.
    Later,
    /// There are more whose grace period has elapsed.
    More,
}

/// The futures that wait for grace periods of a domain.
///
/// # Invariants
///
/// - `list` is initialised once the domain is ready, as is `lock`, to which all of `list`, `last` and
///   `armed` belong.
/// - `last` is the largest number that a node of this domain was given.
/// - While `armed`, `head` is posted, or its callback or the work item runs or is queued, or a task
///   is about to post it.
pub(super) struct Waiters {
    pub(super) head: Opaque<bindings::callback_head>,
    /// Wakes futures when there are too many for a callback.
    pub(super) work: Opaque<bindings::work_struct>,
    lock: Opaque<bindings::raw_spinlock_t>,
    list: UnsafeCell<bindings::list_head>,
    last: UnsafeCell<u64>,
    armed: UnsafeCell<bool>,
}

/// The lock of the futures that wait, held.
struct Guard<'a> {
    waiters: &'a Waiters,
    flags: usize,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: `Waiters::lock` has acquired it, with these flags.
        unsafe {
            helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.waiters.lock.get(), self.flags)
        };
    }
}

/// Returns whether a future is in `module`, or its waker's functions are.
///
/// # Safety
///
/// `module` is not freed during the call.
unsafe fn is_of(module: *mut bindings::module, node: *const Node, waker: &Waker) -> bool {
    let is_in = |address| {
        // SAFETY: Reads the address ranges of the module, which is not freed, as this function requires.
        unsafe { helpers::quiesce_helper_within_module(address, module) }
    };
    is_in(from_ref(waker.vtable()).cast()) || is_in(node.cast())
}

impl Guard<'_> {
    /// Records that a future begins to wait, if its module or its waker's is being unloaded.
    fn note(&self, node: *const Node, waker: &Waker) {
        // ORDERING: Who stores it acquires this lock then, and finds a future that did not see it.
        let module = LEAVING.load(Relaxed);
        // SAFETY: The lock disables preemption, or interrupts: this is a read-side critical section of
        // RCU, and the module is freed a grace period after it was stored.
        if !module.is_null() && unsafe { is_of(module, node, waker) } {
            SEEN.store(true, Relaxed);
        }
    }

    fn armed(&mut self) -> &mut bool {
        // SAFETY: `self` is the guard of the waiters' lock, which protects `armed`.
        unsafe { &mut *self.waiters.armed.get() }
    }

    /// Returns the node that follows `links`; none at the end of the list.
    ///
    /// # Safety
    ///
    /// `links` is the list, or that of a node that waits.
    unsafe fn after(&self, links: *mut bindings::list_head) -> Option<*mut Node> {
        // SAFETY: The lock is held, and the list is initialised.
        let next = unsafe { (*links).next };
        if next == self.waiters.list.get() {
            return None;
        }
        // SAFETY: `insert` links no other entries into the list than the `links` of nodes.
        Some(unsafe { next.byte_sub(offset_of!(Node, links)).cast() })
    }

    /// Inserts a node before `next`.
    ///
    /// # Safety
    ///
    /// `node` is valid, does not wait, and does not move until it is removed. `next` is the list, or
    /// that of a node that waits.
    unsafe fn insert(&mut self, node: *mut Node, next: *mut bindings::list_head) {
        // SAFETY: The lock is held, and the list is initialised.
        unsafe {
            let links = &raw mut (*node).links;
            let prev = (*next).prev;
            *links = bindings::list_head { next, prev };
            (*prev).next = links;
            (*next).prev = links;
            (*node).waits = true;
        }
    }

    /// Returns the number of the node that was inserted last.
    fn last(&mut self) -> &mut u64 {
        // SAFETY: `self` is the guard of the waiters' lock, which protects `last`.
        unsafe { &mut *self.waiters.last.get() }
    }

    /// Searches some nodes for one that is in `module`, or whose waker's table is, and takes that off, if
    /// there is one and `may_take` returns true; if it does not, this returns [`None`].
    ///
    /// From `place` on, or from the beginning if that is not in the list: those who wake futures take
    /// them off from the front, so then all before `place` have been taken off, too. Returns true with
    /// `place` in the list if there are more nodes with numbers up to `last`.
    ///
    /// # Safety
    ///
    /// `place` is valid and was passed to no other list; if this returns true, it does not move until
    /// the next call. `module` is not freed during the call.
    unsafe fn search(
        &mut self,
        place: *mut Node,
        module: *mut bindings::module,
        last: u64,
        may_take: &impl Fn() -> bool,
    ) -> Option<(Option<Waker>, bool)> {
        let mut found = None;
        // SAFETY: The lock is held, so that the nodes in the list are valid, and `place` and `module`
        // are, as this function requires.
        unsafe {
            let mut at = self.waiters.list.get();
            if (*place).waits {
                at = (*place).links.prev;
                self.remove(place);
            }
            for _ in 0..SEARCHED {
                let Some(node) = self.after(at).filter(|node| (**node).number <= last) else {
                    return Some((found, false));
                };
                // Only a place has none.
                if (*node)
                    .waker
                    .as_ref()
                    .is_some_and(|waker| is_of(module, node, waker))
                {
                    if !may_take() {
                        return None;
                    }
                    found = self.remove(node);
                    break;
                }
                at = &raw mut (*node).links;
            }
            let Some(next) = self.after(at).filter(|next| (**next).number <= last) else {
                return Some((found, false));
            };
            (*place).seq = (*next).seq;
            (*place).number = (*next).number;
            self.insert(place, &raw mut (*next).links);
        }
        Some((found, true))
    }

    /// # Safety
    ///
    /// `node` waits.
    unsafe fn remove(&mut self, node: *mut Node) -> Option<Waker> {
        // SAFETY: The lock is held, and the node is in the list.
        unsafe {
            let links = (*node).links;
            (*links.prev).next = links.next;
            (*links.next).prev = links.prev;
            (*node).waits = false;
            (*node).waker.take()
        }
    }
}

impl Waiters {
    /// Creates the waiters of a domain that is not ready.
    pub(super) const fn new() -> Self {
        // INVARIANT: Not armed.
        Self {
            head: Opaque::zeroed(),
            work: Opaque::zeroed(),
            lock: Opaque::zeroed(),
            list: UnsafeCell::new(bindings::list_head {
                next: null_mut(),
                prev: null_mut(),
            }),
            last: UnsafeCell::new(0),
            armed: UnsafeCell::new(false),
        }
    }

    /// Initialises them; `work` becomes the function of the work item.
    ///
    /// # Safety
    ///
    /// The domain is not ready, and nobody else calls this.
    pub(super) unsafe fn init(&self, work: unsafe extern "C" fn(*mut bindings::work_struct)) {
        let list = self.list.get();
        // SAFETY: The domain is not ready and nobody else calls this, as this function requires, so
        // no field is in use.
        unsafe {
            *list = bindings::list_head {
                next: list,
                prev: list,
            };
            helpers::quiesce_helper_raw_spin_lock_init(self.lock.get());
            helpers::quiesce_helper_rcu_init_work(self.work.get(), Some(work), false);
        }
    }

    fn lock(&self) -> Guard<'_> {
        Guard {
            waiters: self,
            // SAFETY: The domain is ready, so the lock is initialised; the guard releases it.
            flags: unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) },
        }
    }

    /// Registers `waker` to be woken after the node's grace period. Returns true if the caller has
    /// to post the callback.
    ///
    /// The domain is ready.
    ///
    /// # Safety
    ///
    /// `node` is valid, is one of a future that waits for this domain alone, and does not move
    /// until [`cancel`](Self::cancel) was called.
    pub(super) unsafe fn wait(&self, node: *mut Node, waker: Waker) -> bool {
        if !USED.load(Relaxed) {
            USED.store(true, Relaxed);
        }
        let section = Calling::new();
        let mut guard = self.lock();
        guard.note(node, &waker);
        // SAFETY: `node` is valid, as this function requires, and `guard` holds the lock of the
        // list.
        let old = unsafe {
            if !(*node).waits {
                // INVARIANT: It is the largest so far, and the node is the last in the list.
                *guard.last() = guard.last().wrapping_add(1);
                (*node).number = *guard.last();
                guard.insert(node, self.list.get());
            }
            (*node).waker.replace(waker)
        };
        // INVARIANT: If it was not armed, the caller posts the callback.
        let post = !core::mem::replace(guard.armed(), true);
        drop(guard);
        section.finish(old, drop);
        post
    }

    /// Takes the node off the list, if it is there, and drops its waker.
    ///
    /// The domain is ready.
    ///
    /// # Safety
    ///
    /// `node` is valid and was passed to no other domain.
    pub(super) unsafe fn cancel(&self, node: *mut Node) {
        let section = Calling::new();
        let mut guard = self.lock();
        // SAFETY: `node` is valid, as this function requires, and `guard` holds the lock of the
        // list.
        let woken = unsafe { (*node).waits.then(|| guard.remove(node)).flatten() };
        drop(guard);
        section.finish(woken, drop);
    }

    /// Takes off the futures that are in a module that is unloaded, and those with wakers of the module,
    /// and drops the wakers: they wait no longer.
    ///
    /// A future is in the module if it was pinned in a static, which is never dropped. `may_take` is
    /// called with a lock held when there is one: if it returns false, the future stays, and this returns
    /// false.
    ///
    /// The domain is ready, and the module is freed after [`synchronize`]. Process context.
    pub(super) fn forget(
        &self,
        module: *mut bindings::module,
        may_take: &impl Fn() -> bool,
    ) -> bool {
        let mut place = Node::new(bindings::rcu_gp_seq::default());
        let place = &raw mut place;
        let last = *self.lock().last();
        loop {
            let section = Calling::new();
            let mut guard = self.lock();
            // SAFETY: `place` is used here only, and this returns when it is not in the list. `module`
            // is not freed before this has returned.
            let Some((woken, more)) = (unsafe { guard.search(place, module, last, may_take) })
            else {
                return false;
            };
            drop(guard);
            section.finish(woken, drop);
            drop(section);
            if !more {
                return true;
            }
            // SAFETY: This is process context, and no lock of this file is held.
            unsafe { helpers::quiesce_helper_rcu_cond_resched() };
        }
    }

    /// Returns whether the callback is posted or runs. The domain is ready.
    pub(super) fn are_armed(&self) -> bool {
        *self.lock().armed()
    }

    /// Wakes futures whose grace period has elapsed, `batches` of them at most.
    ///
    /// `armed` is true, and the caller acts on behalf of the callback.
    pub(super) fn wake(
        &self,
        batches: usize,
        is_over: impl Fn(&bindings::rcu_gp_seq) -> bool,
    ) -> Left {
        for _ in 0..batches {
            let mut batch = [const { None::<Waker> }; BATCH];
            let mut left = Left::More;
            let section = Calling::new();
            let mut guard = self.lock();
            for place in &mut batch {
                // SAFETY: It is the list.
                let Some(node) = (unsafe { guard.after(self.list.get()) }) else {
                    // INVARIANT: The callback ends without being posted.
                    *guard.armed() = false;
                    left = Left::Nobody;
                    break;
                };
                // Nodes are queued in order, so later nodes normally wait for later grace periods.
                // In the worst case a node is woken one grace period late.
                // SAFETY: The node is in the list, and the lock is held.
                if !is_over(unsafe { &(*node).seq }) {
                    left = Left::Later;
                    break;
                }
                // SAFETY: `node` is in the list, so it waits, and `guard` holds the lock of the
                // list.
                *place = unsafe { guard.remove(node) };
            }
            // From here on the futures may be gone.
            drop(guard);
            for woken in &mut batch {
                section.finish(woken.take(), Waker::wake);
            }
            if !matches!(left, Left::More) {
                return left;
            }
        }
        Left::More
    }
}
