// SPDX-License-Identifier: GPL-2.0

//! `percpu_ref_tryget_live()` and `percpu_ref_put()`, inline as they are in C.
//!
//! What counts is one instruction on the CPU's own counter, which interrupts cannot divide, in a
//! read section of RCU, whose two calls C has too. Once the reference is counted by an atomic,
//! C does the rest.

use crate::bindings as helpers;
use kernel::bindings;

/// Adds one to, or subtracts one from, this CPU's counter; ends the caller with `$atomic` if
/// the reference is counted by an atomic, or dead.
#[cfg(quiesce_asm_percpu)]
macro_rules! count {
    ($instruction:literal, $count:expr, $atomic:block) => {{
        // The two low bits of the pointer say so (`__PERCPU_REF_FLAG_MASK`); the load is what
        // READ_ONCE() is. Not `nomem`: what comes after the addition stays after it, which is
        // all that acquire ordering takes on x86, and what comes before a subtraction before.
        core::arch::asm!(
            "mov {ptr}, qword ptr [{count} + {offset}]",
            "test {ptr:l}, 3",
            "jne {atomic}",
            concat!($instruction, " qword ptr gs:[{ptr}]"),
            ptr = out(reg) _,
            count = in(reg) $count,
            offset = const core::mem::offset_of!(bindings::percpu_ref, percpu_count_ptr),
            atomic = label $atomic,
            options(nostack),
        )
    }};
}

/// Gets a reference unless it was killed; acquire ordering if so.
///
/// # Safety
///
/// `count` is initialised.
#[inline(always)]
pub(crate) unsafe fn tryget_live(count: *mut bindings::percpu_ref) -> bool {
    #[cfg(quiesce_asm_percpu)]
    // SAFETY: The count is initialised, and the CPUs' counters are there while it is not
    // atomic, until a grace period after that. The section is left on both ways.
    unsafe {
        bindings::__rcu_read_lock();
        count!("inc", count, {
            // SAFETY: The section is left; the count is initialised.
            unsafe {
                bindings::__rcu_read_unlock();
                return helpers::quiesce_helper_percpu_ref_tryget_live(count);
            }
        });
        bindings::__rcu_read_unlock();
        true
    }
    #[cfg(not(quiesce_asm_percpu))]
    // SAFETY: As the caller promises.
    unsafe {
        helpers::quiesce_helper_percpu_ref_tryget_live(count)
    }
}

/// Puts a reference; release ordering.
///
/// # Safety
///
/// `count` is initialised and has a reference of the caller's, which is used up.
#[inline(always)]
pub(crate) unsafe fn put(count: *mut bindings::percpu_ref) {
    #[cfg(quiesce_asm_percpu)]
    // SAFETY: As in `tryget_live`. `__rcu_read_unlock()` looks at the task alone, so that the
    // count may be gone by then.
    unsafe {
        bindings::__rcu_read_lock();
        count!("dec", count, {
            // SAFETY: The section is left; the count is there as long as the reference.
            unsafe {
                bindings::__rcu_read_unlock();
                return helpers::quiesce_helper_percpu_ref_put(count);
            }
        });
        bindings::__rcu_read_unlock();
    }
    #[cfg(not(quiesce_asm_percpu))]
    // SAFETY: As the caller promises.
    unsafe {
        helpers::quiesce_helper_percpu_ref_put(count)
    };
}
