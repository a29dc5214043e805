// SPDX-License-Identifier: GPL-2.0

//! The operations of `arch` for arm64, in assembly.
//!
//! They are the instructions of C's own inline functions. The read-modify-write operations have two
//! forms, as C's have: those of the Large System Extensions (LSE), and load-exclusive and
//! store-exclusive (LL/SC) for CPUs without them. The kernel patches the branch between the two when
//! it loads the module ([`has_lse`]).
//!
//! # Ordering
//!
//! arm64 reorders what nothing orders, so each function names the instruction that orders it. The
//! LKMM's operations are those that `arch/arm64/include/asm/{barrier,cmpxchg,atomic_lse,atomic_ll_sc}.h`
//! map to the same instructions; the litmus tests named below use the LKMM's operations.
//!
//! | here | LKMM | instruction | litmus |
//! |---|---|---|---|
//! | [`load_acquire_u32`], [`load_acquire_u64`] | `smp_load_acquire()` | `ldar` | seqlock-store-validate |
//! | [`read_barrier`] | `smp_rmb()` | `dmb ishld` | seqlock-store-validate, seqlock-latch, rundown-release-callback |
//! | [`write_barrier`] | `smp_wmb()` | `dmb ishst` | seqlock-store-validate, seqlock-latch |
//! | [`load_pointer`] | `rcu_dereference()` | `ldr`, then the address dependency | rcu-publish-read |
//! | [`swap_pointer`] | `xchg()` | `swpal`; `ldxr`, `stlxr`, `dmb ish` | rcu-retire-free |
//! | [`add_one_if_live`] | `atomic_long_cmpxchg_acquire()` | `casa`; `ldaxr`, `stxr` | rundown-begin-acquire |
//! | [`sub_one`] | `atomic_long_fetch_sub_release()` | `ldaddl`; `ldxr`, `stlxr` | rundown-release-free |
//!
//! No block but those that only read a register is `nomem`, so that the compiler moves no memory
//! access across.

use super::word::{
    Released,
    LIVE,
    ONE, //
};
use crate::bindings as helpers;
use core::{
    arch::asm,
    ffi::c_void, //
};
use kernel::sync::atomic::Atomic;

// `tbz` tests bit 0.
const _: () = assert!(LIVE == 1);

/// Whether the CPUs have the atomic instructions of LSE; C's
/// `alternative_has_cap_likely(ARM64_HAS_LSE_ATOMICS)`.
///
/// A branch that is patched to a `nop` if they have, when the module is loaded.
#[inline(always)]
fn has_lse() -> bool {
    // SAFETY: The entry in `.altinstructions` is that of `ALTERNATIVE_CB()`, which describes the one
    // instruction between the labels. Whether it is the branch or a `nop`, it accesses no memory.
    unsafe {
        asm!(
            "661:",
            "b {without}",
            "662:",
            ".pushsection .altinstructions,\"a\"",
            ".word 661b - .",
            ".word alt_cb_patch_nops - .",
            ".hword {capability}",
            ".byte 662b-661b",
            ".byte 0",
            ".popsection",
            capability = const helpers::QUIESCE_ARM64_LSE_CALLBACK,
            without = label { return false },
            options(nomem, nostack, preserves_flags),
        )
    }
    true
}

/// Loads a pointer as `rcu_dereference()` does; the address dependency orders what is read through
/// it. See `super::pointer`.
#[inline(always)]
pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    let value: *mut T;
    // SAFETY: `ptr` is valid for reads, aligned as an atomic is, and nothing is written.
    unsafe {
        asm!(
            "ldr {value}, [{ptr}]",
            value = lateout(reg) value,
            ptr = in(reg) ptr.as_ptr(),
            options(nostack, preserves_flags, readonly),
        )
    }
    value
}

/// Replaces a pointer and returns the former one, as `xchg()`: a full barrier.
#[inline(always)]
pub(crate) fn swap_pointer(ptr: &Atomic<*mut c_void>, new: *mut c_void) -> *mut c_void {
    let old: *mut c_void;
    if has_lse() {
        // SAFETY: The instruction exchanges the pointer atomically, which a reference to the atomic
        // allows; the CPU has it, as `has_lse()` returned true.
        unsafe {
            asm!(
                ".arch_extension lse",
                "swpal {new}, {old}, [{ptr}]",
                new = in(reg) new,
                old = lateout(reg) old,
                ptr = in(reg) ptr.as_ptr(),
                options(nostack, preserves_flags),
            )
        }
    } else {
        // SAFETY: The instructions exchange the pointer atomically, which a reference to the atomic
        // allows.
        unsafe {
            asm!(
                "prfm pstl1strm, [{ptr}]",
                "2:",
                "ldxr {old}, [{ptr}]",
                "stlxr {failed:w}, {new}, [{ptr}]",
                "cbnz {failed:w}, 2b",
                "dmb ish",
                new = in(reg) new,
                old = out(reg) old,
                failed = out(reg) _,
                ptr = in(reg) ptr.as_ptr(),
                options(nostack, preserves_flags),
            )
        }
    }
    old
}

/// `smp_load_acquire()` of a `u32`.
///
/// # Safety
///
/// `ptr` is valid for reads and aligned, and concurrent writers use marked accesses (in the sense
/// of the LKMM) of four bytes, or of the eight that contain them.
#[inline(always)]
pub(crate) unsafe fn load_acquire_u32(ptr: *const u32) -> u32 {
    let value: u32;
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller; the instruction reads
    // four bytes in one access.
    unsafe {
        asm!(
            "ldar {value:w}, [{ptr}]",
            value = lateout(reg) value,
            ptr = in(reg) ptr,
            options(nostack, preserves_flags),
        )
    }
    value
}

/// `smp_load_acquire()` of a `u64`.
///
/// # Safety
///
/// As for [`load_acquire_u32`], with accesses of eight bytes.
#[inline(always)]
pub(crate) unsafe fn load_acquire_u64(ptr: *const u64) -> u64 {
    let value: u64;
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller; the instruction reads
    // eight bytes in one access.
    unsafe {
        asm!(
            "ldar {value}, [{ptr}]",
            value = lateout(reg) value,
            ptr = in(reg) ptr,
            options(nostack, preserves_flags),
        )
    }
    value
}

/// `smp_load_acquire()` of a `u32`, repeated until it is even.
///
/// # Safety
///
/// As for [`load_acquire_u32`].
#[inline(always)]
pub(crate) unsafe fn load_acquire_even_u32(ptr: *const u32) -> u32 {
    let value: u32;
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller; the instructions read
    // four bytes in one access each time.
    unsafe {
        asm!(
            "2:",
            "ldar {value:w}, [{ptr}]",
            "tbz {value:w}, #0, 3f",
            "yield",
            "b 2b",
            "3:",
            value = out(reg) value,
            ptr = in(reg) ptr,
            options(nostack, preserves_flags),
        )
    }
    value
}

/// `smp_load_acquire()` of a `u64`, repeated until it is even.
///
/// # Safety
///
/// As for [`load_acquire_u64`].
#[inline(always)]
pub(crate) unsafe fn load_acquire_even_u64(ptr: *const u64) -> u64 {
    let value: u64;
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller; the instructions read
    // eight bytes in one access each time.
    unsafe {
        asm!(
            "2:",
            "ldar {value}, [{ptr}]",
            "tbz {value:w}, #0, 3f",
            "yield",
            "b 2b",
            "3:",
            value = out(reg) value,
            ptr = in(reg) ptr,
            options(nostack, preserves_flags),
        )
    }
    value
}

/// Keeps loads before the call ahead of loads after it, as `smp_rmb()`.
#[inline(always)]
pub(crate) fn read_barrier() {
    // SAFETY: The instruction is a memory barrier: it accesses no memory and changes no register or
    // flag.
    unsafe { asm!("dmb ishld", options(nostack, preserves_flags)) }
}

/// Keeps stores before the call ahead of stores after it, as `smp_wmb()`.
#[inline(always)]
pub(crate) fn write_barrier() {
    // SAFETY: The instruction is a memory barrier: it accesses no memory and changes no register or
    // flag.
    unsafe { asm!("dmb ishst", options(nostack, preserves_flags)) }
}

/// Adds a holder if the word is live; returns whether it was.
///
/// Acquire ordering if it was, none if not.
#[inline(always)]
pub(crate) fn add_one_if_live(word: &Atomic<isize>) -> bool {
    if has_lse() {
        // SAFETY: The instructions read the word and change it atomically, which a reference to the
        // atomic allows; the CPU has them, as `has_lse()` returned true.
        unsafe {
            asm!(
                ".arch_extension lse",
                "ldr {old}, [{word}]",
                "2:",
                "tbz {old}, #0, {dead}",
                "add {new}, {old}, #{one}",
                "mov {expected}, {old}",
                "casa {old}, {new}, [{word}]",
                "cmp {old}, {expected}",
                "b.ne 2b",
                word = in(reg) word.as_ptr(),
                old = out(reg) _,
                new = out(reg) _,
                expected = out(reg) _,
                one = const ONE,
                dead = label { return false },
                options(nostack),
            )
        }
    } else {
        // SAFETY: The instructions read the word and change it atomically, which a reference to the
        // atomic allows.
        unsafe {
            asm!(
                "prfm pstl1strm, [{word}]",
                "2:",
                "ldaxr {old}, [{word}]",
                "tbz {old}, #0, {dead}",
                "add {old}, {old}, #{one}",
                "stxr {failed:w}, {old}, [{word}]",
                "cbnz {failed:w}, 2b",
                word = in(reg) word.as_ptr(),
                old = out(reg) _,
                failed = out(reg) _,
                one = const ONE,
                dead = label { return false },
                options(nostack, preserves_flags),
            )
        }
    }
    true
}

/// Removes a holder. Release ordering.
#[inline(always)]
pub(crate) fn sub_one(word: &Atomic<isize>) -> Released {
    // The flags are those of the subtraction: after it the word may have been freed, so that it
    // cannot be read again.
    if has_lse() {
        // SAFETY: The instruction changes the word atomically, which a reference to the atomic
        // allows; the CPU has it, as `has_lse()` returned true.
        unsafe {
            asm!(
                ".arch_extension lse",
                "ldaddl {less}, {old}, [{word}]",
                "subs {old}, {old}, #{one}",
                "b.gt 2f",
                "b.eq {drained}",
                "b {negative}",
                "2:",
                less = in(reg) -ONE,
                old = out(reg) _,
                word = in(reg) word.as_ptr(),
                one = const ONE,
                drained = label { return Released::Drained },
                negative = label { return Released::Negative },
                options(nostack),
            )
        }
    } else {
        // SAFETY: The instructions change the word atomically, which a reference to the atomic
        // allows.
        unsafe {
            asm!(
                "prfm pstl1strm, [{word}]",
                "2:",
                "ldxr {old}, [{word}]",
                "subs {old}, {old}, #{one}",
                "stlxr {failed:w}, {old}, [{word}]",
                "cbnz {failed:w}, 2b",
                "b.gt 3f",
                "b.eq {drained}",
                "b {negative}",
                "3:",
                old = out(reg) _,
                failed = out(reg) _,
                word = in(reg) word.as_ptr(),
                one = const ONE,
                drained = label { return Released::Drained },
                negative = label { return Released::Negative },
                options(nostack),
            )
        }
    }
    Released::Shared
}

/// Whether this is an NMI; C's `in_nmi()`.
#[inline(always)]
pub(crate) fn in_nmi() -> bool {
    let count: u64;
    // SAFETY: `sp_el0` is the current task, whose first member is its `thread_info`
    // (`CONFIG_THREAD_INFO_IN_TASK`, which arm64 selects). The load reads the task's own count, which
    // an interrupt leaves as it was.
    unsafe {
        asm!(
            "mrs {count}, sp_el0",
            "ldr {count:w}, [{count}, #{offset}]",
            count = lateout(reg) count,
            offset = const helpers::QUIESCE_ARM64_PREEMPT_COUNT,
            options(nostack, preserves_flags, readonly),
        )
    }
    count & u64::from(helpers::QUIESCE_NMI_MASK) != 0
}

/// Disables preemption, as `preempt_disable()`.
#[cfg(quiesce_asm_arm64_preempt)]
#[inline(always)]
pub(crate) fn preempt_disable() {
    // SAFETY: `sp_el0` is the current task, whose first member is its `thread_info`. The count is the
    // task's own: whoever interrupts the instructions leaves it as it was.
    unsafe {
        asm!(
            "mrs {task}, sp_el0",
            "ldr {count:w}, [{task}, #{offset}]",
            "add {count:w}, {count:w}, #1",
            "str {count:w}, [{task}, #{offset}]",
            task = out(reg) _,
            count = out(reg) _,
            offset = const helpers::QUIESCE_ARM64_PREEMPT_COUNT,
            options(nostack, preserves_flags),
        )
    }
}

/// `preempt_enable()`.
///
/// The count's upper half is zero while rescheduling is due. If an interrupt clears it between load
/// and store, the store does not restore it, as only the lower half is stored, and the second load
/// reads it (`__preempt_count_dec_and_test()` in `arch/arm64/include/asm/preempt.h`).
///
/// # Safety
///
/// The caller disabled preemption by [`preempt_disable`], and enables it once for each time.
#[cfg(quiesce_asm_arm64_preempt)]
#[inline(always)]
pub(crate) unsafe fn preempt_enable() {
    // SAFETY: `sp_el0` is the current task, whose first member is its `thread_info`. The count is the
    // task's own, and the caller incremented it.
    unsafe {
        asm!(
            "mrs {task}, sp_el0",
            "ldr {count}, [{task}, #{offset}]",
            "sub {count}, {count}, #1",
            "str {count:w}, [{task}, #{offset}]",
            "cbz {count}, 2f",
            "ldr {count}, [{task}, #{offset}]",
            "cbnz {count}, 3f",
            "2:",
            "b {resched}",
            "3:",
            task = out(reg) _,
            count = out(reg) _,
            offset = const helpers::QUIESCE_ARM64_PREEMPT_COUNT,
            // SAFETY: The count has become zero above, so preemption is enabled, and the helper
            // reschedules as `preempt_enable()` does.
            resched = label { unsafe { helpers::quiesce_helper_preempt_schedule() } },
            options(nostack, preserves_flags),
        )
    }
}
