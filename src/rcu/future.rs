// SPDX-License-Identifier: GPL-2.0

//! Futures that wait for a grace period.
//!
//! A domain has one callback for all futures that wait. The first to wait posts it; the callback
//! wakes those whose grace period is over and posts itself again if others wait. This is how
//! liburcu's polled grace periods work.

use super::{
    domain_state::DomainState,
    pointer::RcuPointer,
    Cookie,
    Domain,
    Global,
    Retired, //
};
use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    future::Future,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    pin::Pin,
    ptr::null_mut,
    task::{
        Context,
        Poll,
        Waker, //
    },
};
use kernel::{
    bindings,
    types::Opaque, //
};

/// The lock of all lists of waiting futures, held.
struct Lock(usize);

impl Lock {
    fn take() -> Self {
        // SAFETY: `Drop` is the other half.
        Self(unsafe { helpers::quiesce_helper_rcu_lock() })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: It was taken, with these flags.
        unsafe { helpers::quiesce_helper_rcu_unlock(self.0) };
    }
}

/// A future that waits, in the list of its domain.
///
/// # Invariants
///
/// All fields belong to the lock. While `waits` is true the node is in the list of its domain and
/// does not move, `waker` is there, and `prev` and `next` are nodes of that list or null.
struct Node {
    waits: bool,
    seq: bindings::rcu_gp_seq,
    waker: Option<Waker>,
    prev: *mut Node,
    next: *mut Node,
}

/// The futures that wait for grace periods of a domain.
///
/// # Invariants
///
/// - All of `list` belongs to the lock.
/// - While `armed`, `head` is posted, or its callback runs, or somebody is about to post it.
pub(super) struct Waiters {
    head: Opaque<bindings::callback_head>,
    list: UnsafeCell<List>,
}

struct List {
    first: *mut Node,
    last: *mut Node,
    armed: bool,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        // INVARIANT: Nobody waits.
        Self {
            head: Opaque::uninit(),
            list: UnsafeCell::new(List {
                first: null_mut(),
                last: null_mut(),
                armed: false,
            }),
        }
    }
}

impl List {
    /// # Safety
    ///
    /// The lock is held, and `node` is valid and in no list.
    unsafe fn append(&mut self, node: *mut Node) {
        // SAFETY: By the safety requirements and the type invariants.
        unsafe {
            (*node).prev = self.last;
            (*node).next = null_mut();
            match self.last.as_mut() {
                Some(last) => last.next = node,
                None => self.first = node,
            }
            (*node).waits = true;
        }
        self.last = node;
    }

    /// # Safety
    ///
    /// The lock is held, and `node` is in this list.
    unsafe fn remove(&mut self, node: *mut Node) {
        // SAFETY: By the safety requirements and the type invariants.
        unsafe {
            let (prev, next) = ((*node).prev, (*node).next);
            match prev.as_mut() {
                Some(prev) => prev.next = next,
                None => self.first = next,
            }
            match next.as_mut() {
                Some(next) => next.prev = prev,
                None => self.last = prev,
            }
            (*node).waits = false;
        }
    }
}

/// Posts the domain's callback.
///
/// # Safety
///
/// The domain is ready, and the caller has set `armed`.
unsafe fn post(state: &'static DomainState) {
    // SAFETY: The head is static, the domain is ready, and by the type invariants it is not posted.
    unsafe { state.post_soon(state.waiters.head.get(), grace_period_over) };
}

/// The callback. It serves the futures of all modules, so it must not be generic: an instance would
/// be in the text of one of them.
///
/// # Safety
///
/// Called by RCU with the head of a domain's waiters.
unsafe extern "C" fn grace_period_over(head: *mut bindings::callback_head) {
    let head = Opaque::cast_from(head);
    // SAFETY: By the safety requirements.
    let state =
        unsafe { DomainState::of_waiters(kernel::container_of!(head, Waiters, head).cast_mut()) };
    if wake(state) {
        // SAFETY: The domain has callbacks, so it is ready; it is still armed.
        unsafe { post(state) };
    }
}

/// Wakes the futures whose grace period is over; true if others wait.
fn wake(state: &'static DomainState) -> bool {
    loop {
        let lock = Lock::take();
        // SAFETY: The lock is held.
        let list = unsafe { &mut *state.waiters.list.get() };
        let node = list.first;
        if node.is_null() {
            // INVARIANT: The callback ends without being posted.
            list.armed = false;
            return false;
        }
        // Who came later waits for a later grace period, by and large, and at worst for one more.
        // SAFETY: The node is in the list, and the lock is held.
        if !state.is_over(unsafe { &(*node).seq }) {
            return true;
        }
        // SAFETY: As above.
        let waker = unsafe {
            list.remove(node);
            (*node).waker.take()
        };
        // From here on the future may be gone.
        drop(lock);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A future that is ready when a grace period of the domain `D` is over.
///
/// [`Domain::synchronize`] makes one; the grace period begins after that call, not after the first
/// poll. It is fused: polled again it is ready again.
///
/// # Context
///
/// Poll and drop it in any context but NMI. Its waker is cloned and dropped there, and woken with
/// softirqs disabled, so it must do all three without sleeping, as wakers that wake a task or
/// queue a work do.
///
/// # Leaks
///
/// A leaked future costs its memory and one spurious wake-up. That wake-up comes before the module
/// of the waker is gone.
///
/// # Invariants
///
/// `node.waits` only after `D` was found ready and `self` was pinned.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain};
///
/// async fn replace_and_wait() {
///     // ... take something out of a cell ...
///     rcu::global().synchronize().await;
///     // ... nobody reads it any more ...
/// }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct GracePeriod<D: Domain = Global> {
    cookie: Cookie<D>,
    node: UnsafeCell<Node>,
    _pin: PhantomPinned,
}

// SAFETY: The node belongs to a lock, and wakers may go anywhere.
unsafe impl<D: Domain> Send for GracePeriod<D> {}
// SAFETY: A shared reference leads nowhere.
unsafe impl<D: Domain> Sync for GracePeriod<D> {}

impl<D: Domain> GracePeriod<D> {
    pub(super) fn new() -> Self {
        let seq = D::state().snapshot();
        // INVARIANT: It does not wait.
        Self {
            cookie: Cookie::new(seq),
            node: UnsafeCell::new(Node {
                waits: false,
                seq,
                waker: None,
                prev: null_mut(),
                next: null_mut(),
            }),
            _pin: PhantomPinned,
        }
    }

    /// Takes the node off the list, if it is there; returns the waker, to be dropped without lock.
    fn cancel(&self) -> Option<Waker> {
        let _lock = Lock::take();
        let node = self.node.get();
        // SAFETY: The lock is held.
        unsafe {
            if (*node).waits {
                (*D::state().waiters.list.get()).remove(node);
            }
            (*node).waker.take()
        }
    }
}

impl<D: Domain> Future for GracePeriod<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.cookie.is_over() {
            drop(self.cancel());
            return Poll::Ready(());
        }
        let state = D::state();
        let waker = cx.waker().clone();
        let lock = Lock::take();
        let node = self.node.get();
        // SAFETY: The lock is held.
        let list = unsafe { &mut *state.waiters.list.get() };
        // SAFETY: As above. The future is pinned, so the node stays until it is cancelled, which
        // dropping the future does. The grace period is not over, so the domain is ready.
        let old = unsafe {
            if !(*node).waits {
                list.append(node);
            }
            (*node).waker.replace(waker)
        };
        // INVARIANT: If it was not armed, it is posted below.
        let post_it = !core::mem::replace(&mut list.armed, true);
        drop(lock);
        drop(old);
        if post_it {
            // SAFETY: The domain is ready, and this call has armed it.
            unsafe { post(state) };
        }
        // The grace period may have ended before the node was in the list: then the callback, which
        // is posted by now, finds it.
        Poll::Pending
    }
}

impl<D: Domain> Drop for GracePeriod<D> {
    fn drop(&mut self) {
        drop(self.cancel());
    }
}

/// A future that waits for a grace period and returns the pointer that was retired.
///
/// [`Retired::reclaimed`] makes one. Dropped before the end it defers. The rest is as for
/// [`GracePeriod`].
///
/// # Panics
///
/// Never; polled after it was ready, it is pending for ever.
///
/// # Invariants
///
/// `grace_period` was made after `retired`.
#[must_use = "futures do nothing unless polled"]
pub struct Reclaim<P: RcuPointer<D>, D: Domain = Global> {
    grace_period: GracePeriod<D>,
    retired: Option<Retired<P, D>>,
}

impl<P: RcuPointer<D>, D: Domain> Reclaim<P, D> {
    pub(super) fn new(retired: Retired<P, D>) -> Self {
        // INVARIANT: In this order.
        Self {
            grace_period: GracePeriod::new(),
            retired: Some(retired),
        }
    }
}

impl<P: RcuPointer<D>, D: Domain> Future for Reclaim<P, D> {
    type Output = P;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P> {
        // SAFETY: The grace period is pinned below, and `retired` is never treated as pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: It is not moved after this; the type is `!Unpin` as its field is.
        let grace_period = unsafe { Pin::new_unchecked(&mut this.grace_period) };
        if this.retired.is_none() || grace_period.poll(cx).is_pending() {
            return Poll::Pending;
        }
        match this.retired.take() {
            // SAFETY: By the type invariants.
            Some(retired) => Poll::Ready(unsafe { retired.reclaim() }),
            None => Poll::Pending,
        }
    }
}

/// A future that tells RCU of a quiescent state after each poll of another one.
///
/// [`Domain::quiesce_on_pending`] makes one.
#[must_use = "futures do nothing unless polled"]
pub struct QuiesceOnPending<F> {
    future: F,
    _pinned: PhantomData<()>,
}

impl<F: Future> QuiesceOnPending<F> {
    pub(super) fn new(future: F) -> Self {
        Self {
            future,
            _pinned: PhantomData,
        }
    }
}

impl<F: Future> Future for QuiesceOnPending<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: The future is not moved: it is pinned here as the wrapper is, and the wrapper has
        // no `Drop` of its own.
        let ret = unsafe { self.map_unchecked_mut(|this| &mut this.future) }.poll(cx);
        super::quiesce();
        ret
    }
}
