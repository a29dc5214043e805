// SPDX-License-Identifier: GPL-2.0

//! The counts per CPU of posted callbacks, incremented inline as `this_cpu_inc()` is in C.
//!
//! They let the unloading of a module wait for its own callbacks: the sums of posted and done ones
//! over the CPUs are compared.

use crate::bindings as helpers;
use core::ffi::c_void;
use kernel::bindings;

/// Increments a field of this CPU's counts with one instruction, so that interrupts stay enabled.
///
/// Not `nomem`: the compiler moves no access across it, which is sufficient for `smp_wmb()` on x86.
#[cfg(all(quiesce_asm, CONFIG_SMP))]
macro_rules! increment {
    ($counts:expr, $field:ident) => {
        core::arch::asm!(
            "inc qword ptr gs:[{counts} + {field}]",
            counts = in(reg) $counts,
            field = const core::mem::offset_of!(helpers::quiesce_rcu_counts, $field),
            options(nostack),
        )
    };
}

/// Counts a callback that is done, after everything that it has counted itself.
///
/// # Safety
///
/// `counts` came from `quiesce_helper_rcu_counts_alloc()` and was not freed.
#[inline(always)]
pub(crate) unsafe fn done(counts: *mut c_void) {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    // SAFETY: `counts` is a per-CPU pointer to allocated counts, as required of the caller, which GS
    // resolves to those of this CPU.
    unsafe {
        increment!(counts, done)
    };
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: `counts` are allocated, as required of the caller.
    unsafe {
        helpers::quiesce_helper_rcu_done(counts)
    };
}

/// Counts a callback for its module and its domain, and posts it: to the kernel's RCU if `srcu` is
/// null.
///
/// # Safety
///
/// - `module` and `domain` came from `quiesce_helper_rcu_counts_alloc()` and were not freed.
/// - `srcu` is null or initialised.
/// - `head` and `func` are what `call_rcu()` requires, in its contexts.
#[inline(always)]
pub(crate) unsafe fn post(
    module: *mut c_void,
    domain: *mut c_void,
    srcu: *mut bindings::srcu_struct,
    head: *mut bindings::callback_head,
    func: unsafe extern "C" fn(*mut bindings::callback_head),
) {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    // SAFETY: `module` and `domain` are per-CPU pointers to allocated counts, which GS resolves to
    // those of this CPU; `srcu` is initialised if it is not null, and `head` and `func` may be
    // posted, as required of the caller.
    unsafe {
        increment!(module, posted);
        increment!(domain, posted);
        if srcu.is_null() {
            bindings::call_rcu(head, Some(func));
        } else {
            bindings::call_srcu(srcu, head, Some(func));
        }
    }
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: The requirements are those of this function.
    unsafe {
        helpers::quiesce_helper_rcu_post(module, domain, srcu, head, Some(func))
    };
}
