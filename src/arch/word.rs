// SPDX-License-Identifier: GPL-2.0

//! Acquisition and release of a rundown reference.
//!
//! A word holds twice the number of holders, plus one while it is live. See `rundown/word.rs`.
//!
//! On x86_64 these are the instructions that C gets from `arch_atomic_long_try_cmpxchg()` and
//! `arch_atomic_long_sub_and_test()`. The LKMM asks acquire ordering of the one and release
//! ordering of the other; a `lock`ed instruction is a full barrier on x86, which is stronger
//! than both, and neither block is `nomem`, so that the compiler moves no access across. The
//! plain `mov` is what `READ_ONCE()` of an aligned word is.
//!
//! arm64 has its own (`arch/arm64.rs`). Elsewhere the kernel's atomics do the same.

#[cfg(quiesce_asm_arm64)]
pub(crate) use super::arm64::{
    add_one_if_live,
    sub_one, //
};
#[cfg(not(quiesce_asm_arm64))]
use kernel::sync::atomic::Atomic;

/// The amount that is added for a holder.
pub(crate) const ONE: isize = 2;
/// Set while the word is live.
pub(crate) const LIVE: isize = 1;

/// The result of a release.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// Other holders are left, or the word is live.
    Shared,
    /// The last holder of a word that is not live was removed. The word must not be accessed any
    /// more.
    Drained,
    /// The word is negative: it is saturated, or has to be.
    Negative,
}

/// Adds a holder if the word is live; returns whether it was.
///
/// Acquire ordering if it was, none if not.
#[cfg(quiesce_asm)]
#[inline(always)]
pub(crate) fn add_one_if_live(word: &Atomic<isize>) -> bool {
    // SAFETY: The instructions read the word and change it atomically, which a reference to
    // the atomic allows; they touch no stack.
    unsafe {
        core::arch::asm!(
            "mov rax, qword ptr [{word}]",
            "2:",
            "test al, {live}",
            "je {dead}",
            "lea {new}, [rax + {one}]",
            "lock cmpxchg qword ptr [{word}], {new}",
            "jne 2b",
            word = in(reg) word.as_ptr(),
            new = out(reg) _,
            out("rax") _,
            live = const LIVE,
            one = const ONE,
            dead = label { return false },
            options(nostack),
        )
    }
    true
}

/// Removes a holder.
///
/// Release ordering; a full barrier on x86_64.
#[cfg(quiesce_asm)]
#[inline(always)]
pub(crate) fn sub_one(word: &Atomic<isize>) -> Released {
    // The common path executes two instructions. The flags are those of the subtraction: after it
    // the word may have been freed, so that it cannot be read again.
    //
    // SAFETY: The instruction changes the word atomically, which a reference to the atomic
    // allows; it touches no stack.
    unsafe {
        core::arch::asm!(
            "lock sub qword ptr [{word}], {one}",
            "jg 2f",
            "je {drained}",
            "jmp {negative}",
            "2:",
            word = in(reg) word.as_ptr(),
            one = const ONE,
            drained = label { return Released::Drained },
            negative = label { return Released::Negative },
            options(nostack),
        )
    }
    Released::Shared
}

/// Adds a holder if the word is live; returns whether it was.
///
/// Acquire ordering if it was, none if not.
#[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
#[inline(always)]
pub(crate) fn add_one_if_live(word: &Atomic<isize>) -> bool {
    use kernel::sync::atomic::{Acquire, Relaxed};

    let mut old = word.load(Relaxed);
    while old & LIVE != 0 {
        // With 32 bits, that number can be reached. Saturated words do not count any more.
        if cfg!(not(CONFIG_64BIT)) && old < 0 {
            // Pairs with what made the word live again; `old` was read without ordering.
            word.load(Acquire);
            return true;
        }
        match word.cmpxchg(old, old.wrapping_add(ONE), Acquire) {
            Ok(_) => return true,
            Err(now) => old = now,
        }
    }
    false
}

/// Removes a holder.
///
/// Release ordering; a full barrier on x86_64.
#[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
#[inline(always)]
pub(crate) fn sub_one(word: &Atomic<isize>) -> Released {
    use kernel::sync::atomic::Release;

    match word.fetch_sub(ONE, Release).wrapping_sub(ONE) {
        0 => Released::Drained,
        1.. => Released::Shared,
        _ => Released::Negative,
    }
}
