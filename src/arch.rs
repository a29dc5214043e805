// SPDX-License-Identifier: GPL-2.0

//! The few atomic operations of the fast paths, inline.

use kernel::sync::atomic::Atomic;
#[allow(unused_imports, reason = "not every architecture's part needs it")]
use kernel::sync::atomic::Relaxed;

/// Loads a pointer whose target the caller then reads through it (`rcu_dereference`).
///
/// The LKMM orders a marked load before what depends on its address, so all that is needed is one
/// load of the whole word that the compiler can neither drop, repeat nor take from an earlier one.
/// x86's `mov` is that, and `asm!` without `pure` is volatile. KASAN builds take the kernel's own
/// load, which is instrumented.
#[inline(always)]
pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    #[cfg(all(
        target_arch = "x86_64",
        not(CONFIG_KASAN),
        not(CONFIG_RUST_INLINE_HELPERS)
    ))]
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
    #[cfg(not(all(
        target_arch = "x86_64",
        not(CONFIG_KASAN),
        not(CONFIG_RUST_INLINE_HELPERS)
    )))]
    ptr.load(Relaxed)
}
