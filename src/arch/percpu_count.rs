// SPDX-License-Identifier: GPL-2.0

//! `percpu_ref_tryget_live()` and `percpu_ref_put()`, inline as they are in C.
//!
//! The fast path is one instruction on the counter of the current CPU, which interrupts cannot
//! divide, in an RCU read-side critical section, whose two calls C has too. It reads the pointer to
//! the counters from a copy beside the reference, as the `percpu_ref` itself is elsewhere. The copy
//! is changed before the `percpu_ref` is killed and after it was revived, so that while the copy says
//! that counters are per CPU, they are. Otherwise C does the rest.

use crate::bindings as helpers;
use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed,
        Release, //
    },
};

/// `__PERCPU_REF_ATOMIC_DEAD`: the count is atomic, and acquisitions fail.
const DEAD: usize = 3;

/// A copy of `percpu_ref::percpu_count_ptr`.
#[repr(transparent)]
pub(crate) struct Counters(Atomic<usize>);

impl Counters {
    /// Creates the copy.
    #[inline]
    pub(crate) fn new(at: usize) -> Self {
        Self(Atomic::new(at))
    }

    /// Sets the copy after the reference was revived. Release ordering.
    #[inline]
    pub(crate) fn set(&self, at: usize) {
        self.0.store(at, Release);
    }

    /// Marks the copy before the reference is killed.
    ///
    /// No ordering: the grace period that the kill waits for gives it.
    #[inline]
    pub(crate) fn set_dead(&self) {
        self.0.store(DEAD, Relaxed);
    }
}

/// Adds one to, or subtracts one from, this CPU's counter; ends the caller with `$atomic` if the
/// reference is counted by an atomic, or dead.
#[cfg(quiesce_asm_percpu)]
macro_rules! count {
    ($instruction:literal, $counters:expr, $atomic:block) => {{
        // The two low bits of the pointer say so (`__PERCPU_REF_FLAG_MASK`); the load is that of
        // READ_ONCE(). Not `nomem`: later accesses stay after the addition, which is sufficient for
        // acquire ordering on x86, and earlier ones before a subtraction.
        core::arch::asm!(
            "mov {ptr}, qword ptr [{counters}]",
            "test {ptr:l}, 3",
            "jne {atomic}",
            concat!($instruction, " qword ptr gs:[{ptr}]"),
            ptr = out(reg) _,
            counters = in(reg) $counters.0.as_ptr(),
            atomic = label $atomic,
            options(nostack),
        )
    }};
}

/// Ends an acquisition that is refused. Out of line: merged with the end of one that succeeds, it
/// costs that one two registers.
///
/// # Safety
///
/// The caller entered a read-side critical section, which this leaves.
#[cfg(quiesce_asm_percpu)]
#[cold]
#[inline(never)]
pub(crate) unsafe fn refuse() -> bool {
    // SAFETY: The section was entered by the safety requirements of this function.
    unsafe { bindings::__rcu_read_unlock() };
    false
}

/// Gets a reference unless it was killed. Acquire ordering if it does.
///
/// # Safety
///
/// `counters` is the copy of `count()`, which is initialised.
#[inline(always)]
pub(crate) unsafe fn tryget_live(
    counters: &Counters,
    count: impl FnOnce() -> *mut bindings::percpu_ref,
) -> bool {
    #[cfg(quiesce_asm_percpu)]
    // SAFETY: While the copy has no mark, and until a grace period after it was marked, the CPUs'
    // counters are in use. Both ways leave the read-side critical section.
    unsafe {
        let _ = count;
        bindings::__rcu_read_lock();
        count!("inc", counters, {
            // SAFETY: The read-side critical section was entered above, and is left once.
            return unsafe { refuse() };
        });
        bindings::__rcu_read_unlock();
        true
    }
    #[cfg(not(quiesce_asm_percpu))]
    {
        let _ = counters;
        // SAFETY: The count is initialised by the requirements of this function.
        unsafe { helpers::quiesce_helper_percpu_ref_tryget_live(count()) }
    }
}

/// Puts a reference. Release ordering.
///
/// # Safety
///
/// `counters` is the copy of `count()`, which is initialised and has a reference of the caller, which
/// is used up.
#[inline(always)]
pub(crate) unsafe fn put(counters: &Counters, count: impl FnOnce() -> *mut bindings::percpu_ref) {
    #[cfg(quiesce_asm_percpu)]
    // SAFETY: While the copy has no mark, and until a grace period after it was marked, the CPUs'
    // counters are in use. `__rcu_read_unlock()` accesses the task only, so that the count may be
    // freed by then.
    unsafe {
        bindings::__rcu_read_lock();
        count!("dec", counters, {
            // SAFETY: The read-side critical section was entered above, and is left once. The count
            // is there as long as the caller's reference.
            unsafe {
                bindings::__rcu_read_unlock();
                return helpers::quiesce_helper_percpu_ref_put(count());
            }
        });
        bindings::__rcu_read_unlock();
    }
    #[cfg(not(quiesce_asm_percpu))]
    {
        let _ = counters;
        // SAFETY: The count is initialised and has a reference by the requirements of this function.
        unsafe { helpers::quiesce_helper_percpu_ref_put(count()) };
    }
}
