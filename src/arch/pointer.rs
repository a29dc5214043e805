// SPDX-License-Identifier: GPL-2.0

//! Reads and replacements of a pointer that is published by RCU.
//!
//! The read is `rcu_dereference()`: one load, whose address dependency orders what the caller reads
//! through the pointer. The replacement is `xchg()`, a full barrier, which orders the new object's
//! initialisation before its publication.

use core::ffi::c_void;
use kernel::sync::atomic::Atomic;

/// Loads a pointer whose target the caller then reads through it (`rcu_dereference`).
///
/// The LKMM orders a marked load before what depends on its address, so all that is needed is one
/// load of the whole word that the compiler can neither drop, repeat nor take from an earlier one.
/// x86's `mov` is that, and `asm!` without `pure` is volatile. KASAN builds take the kernel's own
/// load, which is instrumented.
#[inline(always)]
pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    #[cfg(quiesce_asm)]
    {
        let value: *mut T;
        // SAFETY: `ptr` is valid for reads, aligned as an atomic is, and nothing is written.
        unsafe {
            core::arch::asm!(
                "mov {value}, [{ptr}]",
                value = lateout(reg) value,
                ptr = in(reg) ptr.as_ptr(),
                options(nostack, preserves_flags, readonly),
            );
        }
        value
    }
    #[cfg(quiesce_asm_arm64)]
    {
        super::arm64::load_pointer(ptr)
    }
    #[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
    ptr.load(kernel::sync::atomic::Relaxed)
}

/// Whether the pointer `$base.$field` is `$value`; for comparing alone, so that one relaxed load is
/// enough. A macro, because the field's place is a part of the instruction.
#[cfg(quiesce_asm)]
macro_rules! pointer_is {
    ($base:expr, $t:ty, $field:ident, $value:expr) => {{
        let (base, value): (&$t, *const _) = ($base, $value);
        'compare: {
            // SAFETY: The field is valid for reads, aligned as an atomic is, and nothing is written.
            unsafe {
                core::arch::asm!(
                    "cmp qword ptr [{base} + {offset}], {value}",
                    "jne {other}",
                    base = in(reg) base,
                    offset = const core::mem::offset_of!($t, $field),
                    value = in(reg) value,
                    other = label { break 'compare false },
                    options(nostack, readonly),
                );
            }
            true
        }
    }};
}

/// Whether the pointer `$base.$field` is `$value`; for comparing alone, so that one relaxed load is
/// enough.
#[cfg(not(quiesce_asm))]
macro_rules! pointer_is {
    ($base:expr, $t:ty, $field:ident, $value:expr) => {{
        let (base, value): (&$t, *const _) = ($base, $value);
        core::ptr::eq($crate::arch::pointer::load_pointer(&base.$field), value)
    }};
}

pub(crate) use pointer_is;

/// Replaces a pointer and returns the former one; a full barrier, as `xchg()`.
#[inline(always)]
pub(crate) fn swap_pointer(ptr: &Atomic<*mut c_void>, new: *mut c_void) -> *mut c_void {
    #[cfg(quiesce_asm)]
    {
        let old: *mut c_void;
        // SAFETY: `xchg` with memory is atomic and a full barrier by itself, which a reference to
        // the atomic allows; not `nomem`, so the compiler moves no access across either.
        unsafe {
            core::arch::asm!(
                "xchg qword ptr [{ptr}], {value}",
                value = inout(reg) new => old,
                ptr = in(reg) ptr.as_ptr(),
                options(nostack, preserves_flags),
            )
        }
        old
    }
    #[cfg(quiesce_asm_arm64)]
    {
        super::arm64::swap_pointer(ptr, new)
    }
    #[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
    ptr.xchg(new, kernel::sync::atomic::Full)
}
