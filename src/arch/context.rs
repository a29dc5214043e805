// SPDX-License-Identifier: GPL-2.0

//! The state of the current context, read from counters of its CPU, inline as in C.

#[cfg(not(quiesce_asm_arm64))]
use crate::bindings as helpers;

#[cfg(any(quiesce_x86_spin, all(quiesce_asm, CONFIG_SMP)))]
extern "C" {
    /// The preemption count, a per-CPU variable of the kernel.
    static __preempt_count: core::ffi::c_int;
    /// The mask of pending softirqs, a per-CPU variable of the kernel of two bytes.
    #[cfg(quiesce_x86_spin)]
    static __softirq_pending: u16;
}

/// Whether a section of `local_interrupt_disable()` has not ended on this CPU; for a caller that
/// runs with interrupts disabled.
#[cfg(quiesce_x86_spin)]
#[inline(always)]
pub(crate) fn interrupt_sections_are_counted() -> bool {
    const _: () = assert!(helpers::QUIESCE_HARDIRQ_DISABLE_MASK == 0xff_0000);
    // SAFETY: The instructions read this CPU's counter, whose third byte is the count of sections
    // (`HARDIRQ_DISABLE_MASK`); the caller stays on the CPU, as interrupts are disabled.
    unsafe {
        core::arch::asm!(
            "cmp byte ptr gs:[rip + {preempt_count} + 2], 0",
            "jne {counted}",
            preempt_count = sym __preempt_count,
            counted = label { return true },
            options(nostack, readonly),
        )
    }
    false
}

/// Whether softirqs are pending on this CPU, as `local_softirq_pending()`; for a caller that runs
/// with preemption disabled.
#[cfg(quiesce_x86_spin)]
#[inline(always)]
pub(crate) fn softirqs_are_pending() -> bool {
    // SAFETY: The instructions read this CPU's variable; the caller stays on the CPU, as preemption
    // is disabled.
    unsafe {
        core::arch::asm!(
            "cmp word ptr gs:[rip + {pending}], 0",
            "jne {some}",
            pending = sym __softirq_pending,
            some = label { return true },
            options(nostack, readonly),
        )
    }
    false
}

/// Whether this is an NMI; C's `in_nmi()`.
#[inline(always)]
pub(crate) fn in_nmi() -> bool {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    {
        // SAFETY: The instructions read this CPU's count, as `preempt_count()` does; an interrupt
        // leaves it as it was, and so does moving to another CPU, except in its lower bits.
        unsafe {
            core::arch::asm!(
                "test dword ptr gs:[rip + {preempt_count}], {mask}",
                "jnz {nmi}",
                preempt_count = sym __preempt_count,
                mask = const helpers::QUIESCE_NMI_MASK,
                nmi = label { return true },
                options(nostack, readonly),
            )
        }
        false
    }
    #[cfg(quiesce_asm_arm64)]
    {
        super::arm64::in_nmi()
    }
    // Without SMP there is nothing behind GS.
    #[cfg(not(any(all(quiesce_asm, CONFIG_SMP), quiesce_asm_arm64)))]
    // SAFETY: The helper only reads the preemption count of the current context.
    unsafe {
        helpers::quiesce_helper_in_nmi()
    }
}
