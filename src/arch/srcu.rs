// SPDX-License-Identifier: GPL-2.0

//! Entry to and exit from read-side critical sections of SRCU-fast, inline as in C.

use core::ffi::c_void;
use kernel::bindings;

/// Enters a read-side critical section: C's `srcu_read_lock_fast()`, or
/// `srcu_read_lock_fast_updown()` if `up_down`.
///
/// Returns the counter to pass to [`exit`].
///
/// The counter is per-CPU, and the increment is one instruction. An interrupt cannot split it,
/// which makes it a read-side critical section of the kernel's RCU: a grace period of SRCU-fast
/// waits for one of RCU instead of relying on a barrier here. See the comment of
/// `__srcu_read_lock_fast()` in `include/linux/srcutree.h`; apart from the lockdep annotations the
/// two are the same.
///
/// # Safety
///
/// `srcu` was initialised for the flavor that `up_down` selects, and stays so until [`exit`] is called.
#[inline(always)]
pub(crate) unsafe fn enter(srcu: *mut bindings::srcu_struct, up_down: bool) -> *mut c_void {
    #[cfg(all(quiesce_asm, CONFIG_SMP, not(CONFIG_DEBUG_LOCK_ALLOC)))]
    {
        let _ = up_down;
        // SAFETY: `srcu` points to an initialised `srcu_struct`, as required of the caller, so
        // `srcu_ctrp` can be read. Volatile as `READ_ONCE()`.
        let counter = unsafe { (&raw const (*srcu).srcu_ctrp).read_volatile() };
        // SAFETY: `counter` is a per-CPU pointer, which GS resolves to this CPU's counter. Without
        // `nomem` the compiler moves no access of the critical section before the instruction.
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
    // SAFETY: `srcu` is initialised for the flavor that `up_down` selects, as required of the
    // caller.
    unsafe {
        crate::bindings::quiesce_helper_srcu_enter(srcu, up_down)
    }
}

/// Leaves a read-side critical section: C's `srcu_read_unlock_fast()`, or its up-down form.
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
        // SAFETY: `counter` is the per-CPU pointer that `enter` returned, which GS resolves to this
        // CPU's counter. Without `nomem` the compiler moves no access of the critical section
        // behind the instruction.
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
    // SAFETY: `enter` returned `counter` for the same `srcu` and flavor, and this is the one call
    // that ends the critical section, as required of the caller.
    unsafe {
        crate::bindings::quiesce_helper_srcu_exit(srcu, up_down, counter)
    }
}
