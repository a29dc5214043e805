// SPDX-License-Identifier: GPL-2.0

//! Disabling preemption, inline as it is in C.
//!
//! On x86_64 these are the instructions of `__preempt_count_add()` and of
//! `__preempt_count_dec_and_test()` (arch/x86/include/asm/preempt.h), where the bit that asks for
//! rescheduling is the counter's highest, inverted. Neither block is `nomem`, so that both are
//! compiler barriers, as C's are. `Kbuild` sets `quiesce_asm_preempt` where C has no more than that,
//! and `quiesce_asm_arm64_preempt` for arm64's own (`arch/arm64.rs`).

#[cfg(not(quiesce_asm_arm64_preempt))]
use crate::bindings as helpers;

#[cfg(quiesce_asm_preempt)]
extern "C" {
    /// The preemption count, a per-CPU variable of the kernel.
    static __preempt_count: core::ffi::c_ulong;
}

/// Disables preemption; `preempt_disable()`.
#[inline(always)]
pub(crate) fn disable() {
    #[cfg(quiesce_asm_preempt)]
    // SAFETY: The instruction increments this CPU's counter; a task that is preempted before it
    // resumes with the counter of the CPU that it resumes on.
    unsafe {
        core::arch::asm!(
            "inc qword ptr gs:[rip + {preempt_count}]",
            preempt_count = sym __preempt_count,
            options(nostack),
        )
    }
    #[cfg(quiesce_asm_arm64_preempt)]
    {
        super::arm64::preempt_disable()
    }
    #[cfg(not(any(quiesce_asm_preempt, quiesce_asm_arm64_preempt)))]
    // SAFETY: The helper increments the preemption count, which is allowed in any context;
    // `enable()` decrements it.
    unsafe {
        helpers::quiesce_helper_preempt_disable()
    }
}

/// Enables preemption; `preempt_enable()`.
///
/// # Safety
///
/// The caller disabled it by [`disable`], and enables it once for each time.
#[inline(always)]
pub(crate) unsafe fn enable() {
    #[cfg(quiesce_asm_preempt)]
    // SAFETY: The instruction decrements this CPU's counter, which the caller incremented. Where it
    // becomes zero, rescheduling is due and allowed.
    unsafe {
        core::arch::asm!(
            "dec qword ptr gs:[rip + {preempt_count}]",
            "je {resched}",
            preempt_count = sym __preempt_count,
            // SAFETY: The count has become zero above, so preemption is enabled, and the helper
            // reschedules as `preempt_enable()` does.
            resched = label { unsafe { helpers::quiesce_helper_preempt_schedule() } },
            options(nostack),
        )
    }
    #[cfg(quiesce_asm_arm64_preempt)]
    // SAFETY: Both functions require that this context disabled preemption and has not enabled it
    // since.
    unsafe {
        super::arm64::preempt_enable()
    }
    #[cfg(not(any(quiesce_asm_preempt, quiesce_asm_arm64_preempt)))]
    // SAFETY: This function requires that this context disabled preemption, by `disable()`, and has
    // not enabled it since.
    unsafe {
        helpers::quiesce_helper_preempt_enable()
    }
}
