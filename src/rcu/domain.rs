// SPDX-License-Identifier: GPL-2.0

//! [`Domain`], the trait of all RCU domains, [`Global`], the kernel's own one, and [`ReadToken`].

use super::{
    domain_state::{
        DomainState,
        GLOBAL, //
    },
    retired::{
        Retire, //
        SynchronizeError,
    },
    Cookie,
    GracePeriod,
    QuiesceOnPending, //
};
use core::{
    future::Future,
    marker::PhantomData,
    panic::Location, //
};
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

/// The number of pending objects above which [`Domain::throttle`] waits.
pub const FLOOD: usize = 10_000;

pub(super) mod sealed {
    /// Implemented by types of this crate only.
    pub trait Sealed {}
}

/// Proof that the caller is inside a read-side critical section of the domain `D`.
///
/// [`Domain::run`] passes one to its closure, for a lifetime `'r` that the closure does not choose,
/// so neither the token nor anything read with it can leave the closure: there is no guard that
/// could be leaked. A token is neither [`Send`] nor [`Sync`], because the section is the task's, and
/// has no size.
///
/// # Invariants
///
/// The current task or interrupt is inside a read-side critical section of `D` for all of `'r`.
pub struct ReadToken<'r, D: Domain> {
    _section: PhantomData<&'r ()>,
    _domain: PhantomData<fn(D) -> D>,
    _not_send: NotThreadSafe,
}

impl<D: Domain> Clone for ReadToken<'_, D> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Domain> Copy for ReadToken<'_, D> {}

impl<D: Domain> ReadToken<'_, D> {
    /// Creates a token.
    ///
    /// # Safety
    ///
    /// The caller is inside a read-side critical section of `D`, and stays there for the token's
    /// lifetime.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // INVARIANT: The caller stays inside a read-side critical section of `D` for the token's
        // lifetime, as this function requires.
        Self {
            _section: PhantomData,
            _domain: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

/// A set of read-side critical sections that grace periods wait for.
///
/// There are two kinds: [`Global`], the kernel's own RCU, and [`Srcu`](super::Srcu) domains, whose
/// readers may sleep. A handle of a domain is a zero-sized [`Copy`] type. The trait is sealed.
///
/// Unless stated otherwise a function may be called from any context but NMI, and does not sleep.
/// Names follow the kernel's and those of OpenVMM's `minircu`.
pub trait Domain: sealed::Sealed + Copy + Send + Sync + 'static {
    /// True if the domain is the kernel's RCU, and false if it is an SRCU domain.
    #[doc(hidden)]
    const IS_RCU: bool;

    /// Returns the domain's state.
    #[doc(hidden)]
    fn state() -> &'static DomainState;

    /// Calls `f` inside a read-side critical section.
    ///
    /// What was readable when the section began is not reclaimed before it ends. Sections nest, and
    /// cost what they cost in C: for [`Global`] `rcu_read_lock()` and `rcu_read_unlock()`, for
    /// [`Srcu`](super::Srcu) `srcu_read_lock_fast()` and `srcu_read_unlock_fast()` and two stores.
    ///
    /// # Context
    ///
    /// Process, softirq, hardirq and NMI, also on PREEMPT_RT. The closure of [`Global`] must not
    /// sleep; if it does, the kernel warns, and memory safety is kept, because the grace period waits
    /// for sleeping readers too. The closure of an [`Srcu`](super::Srcu) domain may sleep.
    ///
    /// # Ordering
    ///
    /// None against other CPUs, except that of address dependencies: accesses through a pointer that
    /// was read in the section see what was stored before it was published. A grace period that
    /// begins after the section began ends after it.
    fn run<R>(self, f: impl for<'r> FnOnce(ReadToken<'r, Self>) -> R) -> R;

    /// Returns whether the current task is inside a read-side critical section of this domain.
    ///
    /// Does not need lockdep. On kernels with preemptible RCU, [`Global`] includes sections that were
    /// entered by other means than [`run`](Self::run), and in a softirq or hardirq those of the task
    /// that was interrupted. Otherwise, and for [`Srcu`](super::Srcu), interrupts return `false`.
    fn in_reader(self) -> bool {
        Self::state().in_reader()
    }

    /// Waits for a grace period: until all read-side critical sections that had begun have ended.
    ///
    /// # Errors
    ///
    /// [`EDEADLK`] inside a read-side critical section of this domain and [`EAGAIN`] where sleeping
    /// is not allowed: in interrupt context, with preemption or interrupts disabled, in a section of
    /// [`Global`]. The call has not waited then. The first 64 call sites are logged, each once; those of
    /// modules that were unloaded count, and a site at the address of such a one is not logged. Kernels
    /// without `CONFIG_PREEMPT_COUNT` do not know that preemption is disabled.
    ///
    /// # Context
    ///
    /// Process; sleeps uninterruptibly. The caller must not hold a lock that a reader of the domain
    /// waits for.
    ///
    /// # Ordering
    ///
    /// Sections that begin after the call returns see everything stored before the call, and the
    /// caller sees afterwards everything stored in the sections that it has waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{self, Domain};
    ///
    /// # fn f() -> Result {
    /// rcu::global().synchronize()?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    fn synchronize(self) -> Result {
        Self::state().synchronize(false, Location::caller())
    }

    /// As [`synchronize`](Self::synchronize), with an expedited grace period.
    ///
    /// It is shorter, and interrupts the CPUs that are not idle. PREEMPT_RT uses normal grace periods
    /// instead, unless `rcupdate.rcu_normal_after_boot` is zero.
    #[track_caller]
    fn synchronize_expedited(self) -> Result {
        Self::state().synchronize(true, Location::caller())
    }

    /// Waits for one grace period and returns everything that `retired` consists of.
    ///
    /// # Errors
    ///
    /// As [`synchronize`](Self::synchronize), together with `retired`.
    ///
    /// # Context
    ///
    /// As [`synchronize`](Self::synchronize).
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{self, Domain, Object, RcuCell};
    ///
    /// # fn f(
    /// #     number: &RcuCell<Option<KBox<Object<u64>>>>,
    /// #     name: &RcuCell<Option<KBox<Object<[u8; 8]>>>>,
    /// # ) -> Result {
    /// let (number, name) = rcu::global().reclaim((number.replace(None), name.replace(None)))?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    fn reclaim<R: Retire<Self>>(self, retired: R) -> Result<R::Reclaimed, SynchronizeError<R>> {
        match Self::state().synchronize(false, Location::caller()) {
            // SAFETY: `synchronize` succeeded, so a grace period has elapsed since `retired` was made.
            Ok(()) => Ok(unsafe { retired.reclaim() }),
            Err(error) => Err(SynchronizeError { retired, error }),
        }
    }

    /// The name of [`synchronize`](Self::synchronize) in OpenVMM's `minircu`.
    #[track_caller]
    fn synchronize_blocking(self) -> Result {
        self.synchronize()
    }

    /// Returns a future that is ready when a grace period has elapsed: waits for nothing by itself.
    ///
    /// The grace period begins after this call. The future allocates nothing, needs no timer and no
    /// executor of its own, and can be dropped at any time. One grace period serves all that wait.
    /// See [`GracePeriod`].
    #[must_use = "the call does not wait, the future does"]
    fn synchronize_async(self) -> GracePeriod<Self> {
        GracePeriod::new()
    }

    /// Returns a cookie of the next grace period, without starting one.
    ///
    /// Callable from any context, NMI too.
    fn cookie(self) -> Cookie<Self> {
        Cookie::new(Self::state().snapshot())
    }

    /// Starts a grace period, unless one is needed by others anyhow, and returns its cookie.
    ///
    /// In an NMI it starts none, as [`cookie`](Self::cookie).
    fn start(self) -> Cookie<Self> {
        Cookie::new(Self::state().start(false))
    }

    /// As [`start`](Self::start), for an expedited grace period.
    fn start_expedited(self) -> Cookie<Self> {
        Cookie::new(Self::state().start(true))
    }

    /// Waits until everything that was deferred before the call has been reclaimed.
    ///
    /// Includes objects that were retired from several cells, and chains of cells with the object that
    /// owns the chain, wherever its destructor drops them: in a section or with a spin lock held, too.
    /// What cells of another domain own is for the barrier of that one to wait for, also if a callback
    /// of this one drops the cells. What a destructor drops on the worker of this domain belongs to the
    /// chain of its object, though, whatever the domain of the cells is, and the barrier of that one
    /// does not wait for it. If a destructor calls a function of another module, and
    /// that drops a cell with content of its own module, then this content is no part of a chain: only
    /// calls that begin after the drop wait for it. The call does not wait for what is deferred later,
    /// for what the destructors defer themselves, nor for memory without destructor, which the kernel
    /// frees. [`barrier()`](super::barrier) is the same for what one module has deferred, in its
    /// domains.
    ///
    /// # Errors
    ///
    /// As [`synchronize`](Self::synchronize), and [`EDEADLK`] in a deferred destructor, which would
    /// wait for itself.
    ///
    /// # Context
    ///
    /// Process; sleeps. The caller must not hold a lock that a deferred destructor acquires, nor be in
    /// a read-side critical section of another domain whose readers one waits for: the report of the
    /// stall names both tasks.
    #[track_caller]
    fn barrier(self) -> Result {
        Self::state().barrier(Location::caller())
    }

    /// Returns the number of deferred objects that have not been reclaimed.
    ///
    /// Objects of [`Global`] without destructor, which the kernel frees, are not included. Exact if none
    /// is deferred or reclaimed during the call, which sums up the counts of all CPUs. An object of a
    /// domain that was not initialised counts as one of [`Global`] from when a workqueue has its
    /// destructor, because the domain has no worker then.
    fn pending(self) -> usize {
        Self::state().pending()
    }

    /// Waits until what was deferred has been reclaimed, if more than [`FLOOD`] objects are pending.
    ///
    /// Objects without destructor count until a call has waited for a grace period. A task that retires
    /// faster than grace periods elapse and destructors run calls this regularly, where it holds no
    /// locks. Deferring itself never waits, because its caller may hold a lock that a destructor
    /// acquires.
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

    /// Reports a quiescent state of this CPU to RCU.
    ///
    /// For long loops in the kernel that neither sleep nor return to user space. The kernel detects
    /// user mode, idling and context switches without it, and at a timer tick a task that is in no
    /// section and has preemption and bottom halves enabled. Also reschedules if another task needs the
    /// CPU. Does nothing in read-side critical sections of the kernel's RCU, and where the caller may
    /// not sleep. Kernels without `CONFIG_PREEMPT_COUNT` do not know of either, except in interrupts and
    /// where bottom halves or interrupts are disabled.
    ///
    /// What this gains depends on the tick. Medians of [`synchronize`](Self::synchronize) while a loop
    /// occupies one of two CPUs, with 250 ticks a second (`cond_resched()` gains nothing in these loops):
    ///
    /// | the loop | without | with |
    /// |---|---|---|
    /// | can be preempted at most ticks | 8 ms | 8 ms |
    /// | disables preemption for 0.9 ms at a time | 114 ms | 16 ms |
    /// | has a CPU without ticks (`nohz_full`) | 312 ms | 16 ms |
    /// | each of these, and the grace period is expedited | 0.1 to 1 ms | the same |
    ///
    /// # Context
    ///
    /// Any.
    fn quiesce(self) {
        super::quiesce()
    }

    /// Returns a future that polls `future` and calls [`quiesce`](Self::quiesce) after each poll.
    fn quiesce_on_pending<F: Future>(self, future: F) -> QuiesceOnPending<F> {
        QuiesceOnPending::new(future)
    }
}

/// The kernel's own RCU; [`global()`] returns it.
///
/// Readers may not sleep.
///
/// # Kernels without preemptible RCU
///
/// Where `CONFIG_PREEMPT_RCU` is off, a reader that sleeps would end its section by doing so, and
/// safe code would read freed memory. There, `Global` is an SRCU domain that is always initialised:
/// a reader that sleeps by mistake delays grace periods and breaks nothing. Everything else is as
/// elsewhere, but for this: only where it is on do regions with preemption, bottom halves or
/// interrupts disabled and sections of C's `rcu_read_lock()` hold up grace periods of `Global`.
#[derive(Clone, Copy, Debug)]
pub struct Global(PhantomData<()>);

/// Returns the handle of the kernel's own RCU.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Object, RcuCell};
///
/// # fn f() -> Result {
/// let cell = RcuCell::<_, rcu::Global>::new(Object::new(1u32).boxed(GFP_KERNEL)?);
/// let seen = rcu::global().run(|t| *cell.read(t));
///
/// // The old value is freed after a grace period; the call does not wait.
/// cell.publish(Object::new(seen + 1).boxed(GFP_KERNEL)?);
/// # Ok(()) }
/// ```
#[inline(always)]
pub const fn global() -> Global {
    Global(PhantomData)
}

mod section {
    /// Implemented by this crate only.
    pub trait Sealed {}
}

/// A value whose owner is in a section that the kernel's RCU waits for. Sealed.
///
/// The kernel crate's guard of `rcu_read_lock()` is one. So is a token of
/// [`seqlock`](crate::seqlock) that preemption or bottom halves are disabled, and the kernel crate's
/// that interrupts are. RCU waits for the end of those sections too, but code in them can end them: a
/// wait enables interrupts, and the scheduler preemption. So with a token
/// [`run_in`](Global::run_in) enters a section of its own.
///
/// # Safety
///
/// If `IS_READ_LOCK`, the task or interrupt that made a value is in a section of `rcu_read_lock()` as
/// long as there is the value, and no other one has a reference to it.
pub unsafe trait KernelSection: section::Sealed {
    /// True for a guard of `rcu_read_lock()`, which only `rcu_read_unlock()` ends.
    #[doc(hidden)]
    const IS_READ_LOCK: bool;
}

macro_rules! kernel_section {
    ($($type:ty: $is_read_lock:literal;)*) => {
        $(
            impl section::Sealed for $type {}

            // SAFETY: `IS_READ_LOCK` is true for the kernel crate's guard alone, which calls
            // `rcu_read_unlock()` on drop, and is neither `Send` nor `Sync`.
            unsafe impl KernelSection for $type {
                const IS_READ_LOCK: bool = $is_read_lock;
            }
        )*
    };
}

kernel_section! {
    kernel::sync::rcu::Guard: true;
    kernel::interrupt::LocalInterruptDisabled: false;
    crate::seqlock::PreemptDisabled: false;
    crate::seqlock::BhDisabled: false;
}

impl Global {
    /// Calls `f` with a token of a section that the caller is in already.
    ///
    /// With a guard of `rcu_read_lock()` this costs nothing on kernels with preemptible RCU. With a
    /// token that preemption, bottom halves or interrupts are disabled it costs what
    /// [`run`](Domain::run) costs, and like that keeps memory safe if `f` sleeps by mistake.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::{prelude::*, sync::rcu::read_lock};
    /// use quiesce::rcu::{self, Object, RcuCell};
    ///
    /// # fn f(cell: &RcuCell<KBox<Object<u32>>>) -> u32 {
    /// let guard = read_lock();
    /// rcu::global().run_in(&guard, |t| *cell.read(t))
    /// # }
    /// ```
    #[inline(always)]
    pub fn run_in<S: KernelSection, R>(
        self,
        _section: &S,
        f: impl for<'r> FnOnce(ReadToken<'r, Self>) -> R,
    ) -> R {
        #[cfg(CONFIG_PREEMPT_RCU)]
        if S::IS_READ_LOCK {
            // SAFETY: The guard is borrowed until this function returns, so that the caller, which
            // alone has a reference to it, is in a section of `rcu_read_lock()`. `f` cannot keep the
            // token.
            return f(unsafe { ReadToken::new() });
        }
        // A context switch ends the caller's section, or it is not one of the domain.
        self.run(f)
    }
}

impl sealed::Sealed for Global {}

/// A read-side critical section of the kernel's RCU.
///
/// # Invariants
///
/// `rcu_read_lock()` was called for it and `rcu_read_unlock()` was not.
#[cfg(CONFIG_PREEMPT_RCU)]
struct Section;

#[cfg(CONFIG_PREEMPT_RCU)]
impl Section {
    #[inline(always)]
    fn enter() -> Self {
        // SAFETY: Callable from every context; `Drop` calls the counterpart. Without lockdep this is
        // all that C's `rcu_read_lock()` does, and no call through a helper.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        unsafe {
            kernel::bindings::__rcu_read_lock()
        };
        // SAFETY: Callable from every context; `Drop` calls the counterpart.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            kernel::bindings::rcu_read_lock()
        };
        // INVARIANT: `rcu_read_lock()` was called above.
        Self
    }
}

#[cfg(CONFIG_PREEMPT_RCU)]
impl Drop for Section {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants `rcu_read_lock()` was called for this section.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        unsafe {
            kernel::bindings::__rcu_read_unlock()
        };
        // SAFETY: By the type invariants `rcu_read_lock()` was called for this section.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            kernel::bindings::rcu_read_unlock()
        };
    }
}

impl Domain for Global {
    const IS_RCU: bool = cfg!(CONFIG_PREEMPT_RCU);

    #[inline]
    fn state() -> &'static DomainState {
        &GLOBAL
    }

    #[inline(always)]
    fn run<R>(self, f: impl for<'r> FnOnce(ReadToken<'r, Self>) -> R) -> R {
        #[cfg(CONFIG_PREEMPT_RCU)]
        {
            let _section = Section::enter();
            // SAFETY: The section lasts until this function returns, and `f` cannot keep the token.
            f(unsafe { ReadToken::new() })
        }
        #[cfg(not(CONFIG_PREEMPT_RCU))]
        // SAFETY: The domain is of the flavor SRCU-fast, is initialised before this module's users can
        // call this, and stays so as long as they are there.
        unsafe {
            super::srcu::run::<Self, R>(false, f)
        }
    }
}
