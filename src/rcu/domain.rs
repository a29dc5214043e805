// SPDX-License-Identifier: GPL-2.0

//! What can be asked of every domain, and the kernel's own one.

use super::{
    domain_state::{
        DomainState,
        GLOBAL, //
    },
    Cookie,
    GracePeriod,
    QuiesceOnPending,
    Token, //
};
use core::{
    future::Future,
    marker::PhantomData,
    panic::Location, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// A domain has more callbacks pending than this when it is flooded; see [`Domain::throttle`].
pub const FLOOD: usize = 10_000;

pub(super) mod sealed {
    /// What only this crate can do.
    pub trait Sealed {}
}

/// A set of read sections and of those who wait for them.
///
/// There are two kinds: [`Global`], the kernel's own RCU, and [`Srcu`](super::Srcu), whose readers
/// may sleep. A handle of a domain is a zero-sized [`Copy`] type. The trait is sealed.
///
/// Where not said otherwise a function may be called from any context but NMI, and does not sleep.
///
/// The names follow OpenVMM's `minircu`.
pub trait Domain: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The domain's state.
    #[doc(hidden)]
    fn state() -> &'static DomainState;

    /// Runs `f` inside a read section.
    ///
    /// What was readable when the section began is not reclaimed before it ends. Sections nest, and
    /// cost what they cost in C: for [`Global`] `rcu_read_lock()` and `rcu_read_unlock()`, for
    /// [`Srcu`](super::Srcu) `srcu_read_lock()` and `srcu_read_unlock()`.
    ///
    /// # Context
    ///
    /// Process, softirq and hardirq, also on PREEMPT_RT; NMI for [`Global`] alone. The closure of
    /// [`Global`] must not sleep; if it does the kernel warns, and memory stays whole, because the
    /// grace period waits for sleeping readers too. The closure of an [`Srcu`](super::Srcu) domain
    /// may sleep.
    ///
    /// # Ordering
    ///
    /// None against other CPUs, but for the order that a load of a pointer gives to reads through
    /// it. A grace period that begins after the section began ends after it.
    fn run<R>(self, f: impl for<'r> FnOnce(Token<'r, Self>) -> R) -> R;

    /// Whether the current task is inside a read section of this domain.
    ///
    /// Works without lockdep. [`Global`] also counts sections entered by other means than
    /// [`run`](Self::run). In a softirq or hardirq [`Global`] tells of the task that was
    /// interrupted too, and an [`Srcu`](super::Srcu) domain says no.
    fn in_reader(self) -> bool {
        Self::state().in_reader()
    }

    /// Waits until all read sections that there were at the call are over.
    ///
    /// # Errors
    ///
    /// [`EDEADLK`] inside a read section of this domain and [`EAGAIN`] where sleeping is not
    /// allowed: interrupt context, preemption or interrupts disabled, a read section of [`Global`].
    /// Nobody was waited for then, and the first such call is logged with its place.
    ///
    /// # Context
    ///
    /// Process; sleeps uninterruptibly. The caller must not hold a lock that a reader of the domain
    /// waits for.
    ///
    /// # Ordering
    ///
    /// Everything before the call is seen by all sections that begin after it returns, and
    /// everything in the sections waited for is seen after it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{self, Domain};
    ///
    /// # fn f() -> Result {
    /// rcu::global().synchronize_blocking()?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    fn synchronize_blocking(self) -> Result {
        Self::state().synchronize(false, Location::caller())
    }

    /// As [`synchronize_blocking`](Self::synchronize_blocking), sooner and at a higher price.
    ///
    /// The price is interrupts to all CPUs. PREEMPT_RT does it the normal way, unless told
    /// otherwise by `rcupdate.rcu_normal_after_boot`.
    #[track_caller]
    fn synchronize_expedited(self) -> Result {
        Self::state().synchronize(true, Location::caller())
    }

    /// A future that is ready when all read sections that there are now are over.
    ///
    /// It allocates nothing, needs no timer and no executor of its own, and can be dropped at any
    /// time. One grace period serves all that wait. See [`GracePeriod`].
    fn synchronize(self) -> GracePeriod<Self> {
        GracePeriod::new()
    }

    /// A cookie for the next grace period, which this call does not ask for.
    ///
    /// Callable from any context, NMI too.
    fn cookie(self) -> Cookie<Self> {
        Cookie::new(Self::state().snapshot())
    }

    /// Asks for a grace period and returns its cookie.
    ///
    /// In an NMI it asks for nothing, as [`cookie`](Self::cookie).
    fn start(self) -> Cookie<Self> {
        Cookie::new(Self::state().start(false))
    }

    /// As [`start`](Self::start), for an expedited grace period.
    fn start_expedited(self) -> Cookie<Self> {
        Cookie::new(Self::state().start(true))
    }

    /// Waits until everything deferred before the call has been reclaimed, on the workqueue too.
    ///
    /// Includes objects that were retired from several cells. What is deferred later is not waited for,
    /// nor is what the destructors defer in turn, nor is memory that has no destructor and that the
    /// kernel frees by itself. [`barrier()`](super::barrier) is the same for what one module has
    /// deferred.
    ///
    /// # Errors
    ///
    /// As [`synchronize_blocking`](Self::synchronize_blocking), and [`EDEADLK`] in a destructor
    /// that was deferred, which would wait for itself.
    ///
    /// # Context
    ///
    /// Process; sleeps. The caller must not hold a lock that a destructor that was deferred takes.
    #[track_caller]
    fn barrier(self) -> Result {
        Self::state().barrier(Location::caller())
    }

    /// Returns the number of deferred objects that have not been reclaimed.
    ///
    /// Objects without destructor that the kernel frees by itself, those of [`Global`], are not
    /// included. Exact if none is deferred or reclaimed during the call, which adds up the counts of all
    /// CPUs.
    fn pending(self) -> usize {
        Self::state().pending()
    }

    /// Waits, if the domain is flooded, for what was deferred before.
    ///
    /// A domain with more than [`FLOOD`] objects pending is flooded, those without destructor included:
    /// they count until a call has waited for a grace period. Code that retires objects faster than
    /// they are reclaimed has to call this now and then. Deferring itself never waits: its caller may
    /// hold a lock that a destructor takes.
    ///
    /// # Errors
    ///
    /// As [`barrier`](Self::barrier), also if there is nothing to wait for.
    ///
    /// # Context
    ///
    /// As [`barrier`](Self::barrier).
    #[track_caller]
    fn throttle(self) -> Result {
        Self::state().throttle(Location::caller())
    }

    /// Tells RCU that this CPU is not reading now.
    ///
    /// For long loops in the kernel that neither sleep nor return to user space; others need not
    /// call it, for the kernel sees user mode, idling and context switches by itself. Also gives up
    /// the CPU if another task wants it. Does nothing where the caller is a reader or cannot sleep.
    ///
    /// # Context
    ///
    /// Any.
    fn quiesce(self) {
        super::quiesce()
    }

    /// A future that does what `future` does and calls [`quiesce`](Self::quiesce) after each poll.
    fn quiesce_on_pending<F: Future>(self, future: F) -> QuiesceOnPending<F> {
        QuiesceOnPending::new(future)
    }
}

/// The kernel's own RCU; [`global()`] returns it.
///
/// Readers may not sleep. Disabled preemption, bottom halves and interrupts are read sections too.
#[derive(Clone, Copy, Debug)]
pub struct Global(PhantomData<()>);

/// The kernel's own RCU as a domain.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Object, RcuCell};
///
/// # fn f() -> Result {
/// let cell = RcuCell::<_, rcu::Global>::new(KBox::new(Object::new(1u32), GFP_KERNEL)?);
/// let seen = rcu::global().run(|t| *cell.read(t));
///
/// // The old value is freed after a grace period; nobody waits.
/// cell.publish(KBox::new(Object::new(seen + 1), GFP_KERNEL)?);
/// # Ok(()) }
/// ```
#[inline(always)]
pub const fn global() -> Global {
    Global(PhantomData)
}

impl sealed::Sealed for Global {}

/// A read section of [`Global`].
///
/// # Invariants
///
/// `rcu_read_lock()` was called for it and `rcu_read_unlock()` was not.
struct Section;

impl Section {
    #[inline(always)]
    fn enter() -> Self {
        // SAFETY: Callable from everywhere; `Drop` is the other half. What C's `rcu_read_lock()`
        // is without lockdep, and no call through a helper.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        unsafe {
            bindings::__rcu_read_lock()
        };
        // SAFETY: As above.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            bindings::rcu_read_lock()
        };
        // INVARIANT: Just called.
        Self
    }
}

impl Drop for Section {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the section is there to be left.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        unsafe {
            bindings::__rcu_read_unlock()
        };
        // SAFETY: As above.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            bindings::rcu_read_unlock()
        };
    }
}

impl Domain for Global {
    #[inline]
    fn state() -> &'static DomainState {
        &GLOBAL
    }

    #[inline(always)]
    fn run<R>(self, f: impl for<'r> FnOnce(Token<'r, Self>) -> R) -> R {
        let _section = Section::enter();
        // SAFETY: The section lasts until this function returns, and `f` cannot keep the token.
        f(unsafe { Token::new() })
    }
}
