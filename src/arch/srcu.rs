// SPDX-License-Identifier: GPL-2.0

//! Entering and leaving read-side critical sections of SRCU-fast.

use core::ffi::c_void;
use kernel::bindings;

/// Enters a section: C's `srcu_read_lock_fast()`, or `srcu_read_lock_fast_updown()` if `up_down`.
///
/// Returns what [`exit`] takes.
///
/// The counter is this CPU's, and the increment is one instruction, which an interrupt cannot split
/// and which is a section of the kernel's RCU for that reason: the grace period of SRCU-fast waits
/// for one of RCU instead of relying on a barrier here. See the comment of `__srcu_read_lock_fast()`
/// in `include/linux/srcutree.h`; the two are the same but for what lockdep adds.
///
/// # Safety
///
/// `srcu` was initialised for the flavor that `up_down` selects, and stays so until [`exit`] is called.
#[inline(always)]
pub(crate) unsafe fn enter(srcu: *mut bindings::srcu_struct, up_down: bool) -> *mut c_void {
    #[cfg(all(quiesce_asm, CONFIG_SMP, not(CONFIG_DEBUG_LOCK_ALLOC)))]
    {
        let _ = up_down;
        // SAFETY: By the safety requirements; volatile as `READ_ONCE()`.
        let counter = unsafe { (&raw const (*srcu).srcu_ctrp).read_volatile() };
        // SAFETY: The pointer is one to per-CPU memory, which GS turns into this CPU's. Not `nomem`:
        // the compiler moves no access of the section before the instruction.
        unsafe {
            core::arch::asm!(
                "inc qword ptr gs:[{counter} + {locks}]",
                counter = in(reg) counter,
                locks = const core::mem::offset_of!(bindings::srcu_ctr, srcu_locks),
                options(nostack),
            )
        };
        counter.cast()
    }
    #[cfg(not(all(quiesce_asm, CONFIG_SMP, not(CONFIG_DEBUG_LOCK_ALLOC))))]
    // SAFETY: By the safety requirements.
    unsafe {
        crate::bindings::quiesce_helper_srcu_enter(srcu, up_down)
    }
}

/// Leaves a section: C's `srcu_read_unlock_fast()`, or its up-down form.
///
/// # Safety
///
/// `counter` came from [`enter`] with the same arguments, and this is called once for it: by the
/// same task or interrupt, except if `up_down`.
#[inline(always)]
pub(crate) unsafe fn exit(srcu: *mut bindings::srcu_struct, up_down: bool, counter: *mut c_void) {
    #[cfg(all(quiesce_asm, CONFIG_SMP, not(CONFIG_DEBUG_LOCK_ALLOC)))]
    {
        let _ = (srcu, up_down);
        // SAFETY: As in `enter`: the pointer is one to per-CPU memory. Not `nomem`: the compiler moves
        // no access of the section behind the instruction.
        unsafe {
            core::arch::asm!(
                "inc qword ptr gs:[{counter} + {unlocks}]",
                counter = in(reg) counter,
                unlocks = const core::mem::offset_of!(bindings::srcu_ctr, srcu_unlocks),
                options(nostack),
            )
        };
    }
    #[cfg(not(all(quiesce_asm, CONFIG_SMP, not(CONFIG_DEBUG_LOCK_ALLOC))))]
    // SAFETY: By the safety requirements.
    unsafe {
        crate::bindings::quiesce_helper_srcu_exit(srcu, up_down, counter)
    }
}
