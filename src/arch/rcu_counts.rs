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

/// Counts a callback for its module and its domain, and posts it in an SRCU domain.
///
/// # Safety
///
/// - `module` and `domain` came from `quiesce_helper_rcu_counts_alloc()` and were not freed.
/// - `srcu` is initialised.
/// - `head` and `func` are what `call_srcu()` requires, in its contexts.
#[inline(always)]
pub(crate) unsafe fn post_srcu(
    module: *mut c_void,
    domain: *mut c_void,
    srcu: *mut bindings::srcu_struct,
    head: *mut bindings::callback_head,
    func: unsafe extern "C" fn(*mut bindings::callback_head),
) {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    // SAFETY: `module` and `domain` are per-CPU pointers to allocated counts, which GS resolves to
    // those of this CPU; `srcu` is initialised, and `head` and `func` may be posted, as required of
    // the caller.
    unsafe {
        increment!(module, posted);
        increment!(domain, posted);
        bindings::call_srcu(srcu, head, Some(func));
    }
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: The requirements are those of this function.
    unsafe {
        helpers::quiesce_helper_srcu_post(module, domain, srcu, head, Some(func))
    };
}

/// Counts a callback for its module, and posts it in the kernel's RCU.
///
/// # Safety
///
/// - `counts` came from `quiesce_helper_rcu_counts_alloc()` and were not freed.
/// - `head` and `func` are what `call_rcu()` requires, in its contexts.
#[inline(always)]
pub(crate) unsafe fn post_rcu(
    counts: *mut c_void,
    head: *mut bindings::callback_head,
    func: unsafe extern "C" fn(*mut bindings::callback_head),
) {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    // SAFETY: `counts` is a per-CPU pointer to allocated counts, which GS resolves to those of this
    // CPU; `head` and `func` may be posted, as required of the caller.
    unsafe {
        increment!(counts, rcu_posted);
        bindings::call_rcu(head, Some(func));
    }
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: The requirements are those of this function.
    unsafe {
        helpers::quiesce_helper_rcu_post(counts, head, Some(func))
    };
}

/// Counts a callback of the kernel's RCU that is done, after everything that it has counted itself.
///
/// # Safety
///
/// `counts` came from `quiesce_helper_rcu_counts_alloc()` and were not freed.
#[inline(always)]
pub(crate) unsafe fn callback_done(counts: *mut c_void) {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    // SAFETY: `counts` is a per-CPU pointer to allocated counts, as required of the caller, which GS
    // resolves to those of this CPU.
    unsafe {
        increment!(counts, rcu_done)
    };
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: `counts` are allocated, as required of the caller.
    unsafe {
        helpers::quiesce_helper_rcu_callback_done(counts)
    };
}

/// Loads a word that belongs to the function `$func`, or with "lea" its address.
///
/// Each object file has one such word for each function, null at first. A macro with assembly,
/// because the instances of a generic function share its statics.
///
/// # Safety
///
/// `$instruction` is "mov" or "lea".
#[cfg(all(quiesce_asm, CONFIG_SMP))]
macro_rules! word_of {
    ($instruction:literal, $func:path) => {{
        let value: *mut ::core::ffi::c_void;
        #[allow(named_asm_labels, reason = "an object file defines it once")]
        {
            ::core::arch::asm!(
                ".ifndef .Lquiesce_word_{func}",
                ".pushsection .data, \"aw\"",
                ".balign 8",
                ".Lquiesce_word_{func}:",
                ".quad 0",
                ".popsection",
                ".endif",
                concat!($instruction, " {value}, [rip + .Lquiesce_word_{func}]"),
                value = lateout(reg) value,
                func = sym $func,
                options(nostack, preserves_flags, readonly),
            )
        };
        value
    }};
}

#[cfg(all(quiesce_asm, CONFIG_SMP))]
pub(crate) use word_of;
