// SPDX-License-Identifier: GPL-2.0

//! What kind of context this is.

use crate::bindings as helpers;

/// Whether this is an NMI; C's `in_nmi()`.
#[inline(always)]
pub(crate) fn in_nmi() -> bool {
    #[cfg(all(quiesce_asm, CONFIG_SMP))]
    {
        extern "C" {
            /// The CPU's own.
            static __preempt_count: core::ffi::c_int;
        }
        let count: u32;
        // SAFETY: The instruction reads this CPU's count, as `preempt_count()` does; an interrupt
        // leaves it as it was, and so does moving to another CPU, except in its lower bits.
        unsafe {
            core::arch::asm!(
                "mov {count:e}, dword ptr gs:[rip + {preempt_count}]",
                count = out(reg) count,
                preempt_count = sym __preempt_count,
                options(nostack, preserves_flags, readonly),
            )
        }
        count & helpers::QUIESCE_NMI_MASK != 0
    }
    // Without SMP there is nothing behind GS.
    #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
    // SAFETY: No requirements.
    unsafe {
        helpers::quiesce_helper_in_nmi()
    }
}
