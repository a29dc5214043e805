// SPDX-License-Identifier: GPL-2.0

//! Futures that wait for a grace period.

use super::{
    domain_state::DomainState,
    pointer::RcuPointer,
    waiters::Node,
    Cookie,
    Domain,
    Global,
    Retired, //
    SynchronizeError,
};
use core::{
    cell::UnsafeCell,
    future::Future,
    marker::PhantomPinned,
    pin::Pin,
    task::{
        Context,
        Poll, //
    },
};
use kernel::prelude::*;

/// A future that is ready when a grace period of the domain `D` has elapsed.
///
/// [`Domain::synchronize_async`] creates one; the grace period begins after that call, not after the first
/// poll. Once it has returned [`Ok`], it is ready again if it is polled again. After an error it waits
/// again, for the same grace period.
///
/// # Errors
///
/// [`EDEADLK`] if it is polled inside a read-side critical section of `D` of the same task, unless
/// the grace period has elapsed: the section would hold up the grace period that the task waits for.
/// As for [`Domain::synchronize`], such a section of [`Global`] need not be one of
/// [`Domain::run`]; a task that has a spin lock or disabled bottom halves is in one on PREEMPT_RT.
///
/// # Context
///
/// Poll and drop it in any context but NMI. Its waker is cloned and dropped there, and woken with
/// bottom halves disabled or by a kernel thread (on PREEMPT_RT by the latter), so it must do all three
/// without sleeping, as wakers that wake a task or queue a work do. The unload of the waker's module
/// drops it as well. In a function of a waker, what it disposes of is left to a worker, and a barrier fails
/// with [`EDEADLK`].
///
/// # Leaks
///
/// A leaked future costs its memory and one spurious wake-up. When a module is unloaded, its wakers are
/// dropped, and futures in its memory, such as a static, wait no longer. A task that dies by an oops
/// leaves the futures on its stack in the list, as it does with a wait queue of the kernel's.
///
/// # Invariants
///
/// `node` is passed to the domain only after `D` was found ready and `self` was pinned.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain};
///
/// async fn replace_and_wait() -> Result {
///     // ... take something out of a cell ...
///     rcu::global().synchronize_async().await?;
///     // ... nobody reads it any more ...
///     Ok(())
/// }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct GracePeriod<D: Domain = Global> {
    cookie: Cookie<D>,
    node: UnsafeCell<Node>,
    _pin: PhantomPinned,
}

// SAFETY: The node belongs to a lock, and wakers may be sent to other tasks.
unsafe impl<D: Domain> Send for GracePeriod<D> {}
// SAFETY: No method takes a shared reference, so one gives access to nothing.
unsafe impl<D: Domain> Sync for GracePeriod<D> {}

impl<D: Domain> GracePeriod<D> {
    pub(super) fn new() -> Self {
        let seq = D::state().snapshot();
        // INVARIANT: The node is not passed on.
        Self {
            cookie: Cookie::new(seq),
            node: UnsafeCell::new(Node::new(seq)),
            _pin: PhantomPinned,
        }
    }

    /// Waits no longer, and drops the waker.
    fn cancel(&self) {
        // SAFETY: By the type invariants the node is passed to this domain alone.
        unsafe { D::state().cancel(self.node.get()) };
    }
}

impl<D: Domain> Future for GracePeriod<D> {
    type Output = Result;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result> {
        if self.cookie.is_over() {
            self.cancel();
            return Poll::Ready(Ok(()));
        }
        let state: &'static DomainState = D::state();
        if let Err(e) = state.may_poll() {
            self.cancel();
            return Poll::Ready(Err(e));
        }
        // The grace period may have elapsed before the node is in the list: then the callback, which
        // is posted by then, finds it.
        // SAFETY: The future is pinned, so the node stays until it is cancelled, which dropping the
        // future does. The grace period was not over, so the domain is ready.
        unsafe { state.wait(self.node.get(), cx.waker().clone()) };
        Poll::Pending
    }
}

impl<D: Domain> Drop for GracePeriod<D> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A future that waits for a grace period and returns the pointer that was retired.
///
/// [`Retired::synchronize_async`] creates one. Dropped before the end it defers. The rest is as for
/// [`GracePeriod`]; with an error it returns what was retired.
///
/// # Panics
///
/// Never; polled after it was ready, it stays pending.
///
/// # Invariants
///
/// `grace_period` was created after `retired`.
#[must_use = "futures do nothing unless polled"]
pub struct ReclaimFuture<P: RcuPointer<D>, D: Domain = Global> {
    grace_period: GracePeriod<D>,
    retired: Option<Retired<P, D>>,
}

impl<P: RcuPointer<D>, D: Domain> ReclaimFuture<P, D> {
    pub(super) fn new(retired: Retired<P, D>) -> Self {
        // INVARIANT: The caller created `retired` before `grace_period` is created here.
        Self {
            grace_period: GracePeriod::new(),
            retired: Some(retired),
        }
    }
}

impl<P: RcuPointer<D>, D: Domain> Future for ReclaimFuture<P, D> {
    type Output = Result<P, SynchronizeError<Retired<P, D>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: The grace period is pinned below, and `retired` is never treated as pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: It is not moved after this; the type is `!Unpin` as its field is.
        let grace_period = unsafe { Pin::new_unchecked(&mut this.grace_period) };
        if this.retired.is_none() {
            return Poll::Pending;
        }
        let Poll::Ready(result) = grace_period.poll(cx) else {
            return Poll::Pending;
        };
        match (result, this.retired.take()) {
            // SAFETY: By the type invariants a grace period has elapsed since it was retired.
            (Ok(()), Some(retired)) => Poll::Ready(Ok(unsafe { retired.reclaim() })),
            (Err(error), Some(retired)) => Poll::Ready(Err(SynchronizeError { retired, error })),
            (_, None) => Poll::Pending,
        }
    }
}

/// A future that reports a quiescent state to RCU after each poll of the wrapped future.
///
/// [`Domain::quiesce_on_pending`] makes one.
#[must_use = "futures do nothing unless polled"]
pub struct QuiesceOnPending<F> {
    future: F,
}

impl<F: Future> QuiesceOnPending<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future }
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
