// SPDX-License-Identifier: GPL-2.0

//! The kernel's spin locks, in each mode.

use kernel::bindings;

use super::context::sealed::Sealed;
use crate::bindings as helpers;

/// Whether bottom halves were disabled; see the module's text on PREEMPT_RT.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct BhState(bool);

#[inline(always)]
pub(super) fn disable_bh() -> BhState {
    // SAFETY: Bottom halves may be disabled anywhere.
    BhState(unsafe { helpers::quiesce_helper_bh_disable() })
}

#[inline(always)]
fn disable_bh_if(condition: bool) -> BhState {
    if condition {
        disable_bh()
    } else {
        BhState(false)
    }
}

/// # Safety
///
/// This context got `state` from [`disable_bh`], and gives it back once.
#[inline(always)]
pub(super) unsafe fn enable_bh(state: BhState) {
    if state.0 {
        // SAFETY: As the caller promises; the order is of no importance.
        unsafe { helpers::quiesce_helper_bh_enable() }
    }
}

/// One of the kernel's spin locks, with each mode's functions.
///
/// All functions want an initialised lock that stays where it is while it is held. Between `lock*`
/// or a successful `try_lock*` and the `unlock*` of the same mode nobody else has the lock.
///
/// # Safety
///
/// The functions do what their names say, so that the lock excludes.
#[doc(hidden)]
#[allow(
    missing_docs,
    clippy::missing_safety_doc,
    reason = "the trait's text is that of all functions"
)]
pub unsafe trait Lock: Sealed {
    /// Whether waiting for the lock sleeps, so that it must be taken with interrupts enabled.
    const SLEEPS: bool;

    /// Whether bottom halves have to be disabled to hold them off.
    ///
    /// On PREEMPT_RT they run in threads, so a lock that disables preemption does that alone.
    const BH_RUN: bool = !cfg!(CONFIG_PREEMPT_RT) || Self::SLEEPS;

    unsafe fn lock(this: *mut Self);
    unsafe fn try_lock(this: *mut Self) -> bool;
    unsafe fn unlock(this: *mut Self);

    #[inline(always)]
    unsafe fn lock_irq(this: *mut Self) {
        if !Self::SLEEPS {
            // SAFETY: The unlock enables them.
            unsafe { bindings::local_interrupt_disable() };
        }
        // SAFETY: As the caller promises.
        unsafe { Self::lock(this) }
    }

    #[inline(always)]
    unsafe fn try_lock_irq(this: *mut Self) -> bool {
        if !Self::SLEEPS {
            // SAFETY: The unlock enables them, or it is done below.
            unsafe { bindings::local_interrupt_disable() };
        }
        // SAFETY: As the caller promises.
        if unsafe { Self::try_lock(this) } {
            return true;
        }
        if !Self::SLEEPS {
            // SAFETY: They were disabled above.
            unsafe { bindings::local_interrupt_enable() };
        }
        false
    }

    #[inline(always)]
    unsafe fn unlock_irq(this: *mut Self) {
        // SAFETY: As the caller promises.
        unsafe { Self::unlock(this) };
        if !Self::SLEEPS {
            // SAFETY: They were disabled when the lock was taken.
            unsafe { bindings::local_interrupt_enable() };
        }
    }

    #[inline(always)]
    unsafe fn lock_bh(this: *mut Self) -> BhState {
        let state = disable_bh_if(Self::BH_RUN);
        // SAFETY: As the caller promises.
        unsafe { Self::lock(this) };
        state
    }

    #[inline(always)]
    unsafe fn try_lock_bh(this: *mut Self) -> Option<BhState> {
        let state = disable_bh_if(Self::BH_RUN);
        // SAFETY: As the caller promises.
        if unsafe { Self::try_lock(this) } {
            return Some(state);
        }
        // SAFETY: It comes from above.
        unsafe { enable_bh(state) };
        None
    }

    #[inline(always)]
    unsafe fn unlock_bh(this: *mut Self, state: BhState) {
        // SAFETY: As the caller promises.
        unsafe { Self::unlock(this) };
        // SAFETY: As the caller promises it comes from `lock_bh` or `try_lock_bh`.
        unsafe { enable_bh(state) };
    }
}

/// The functions that C calls, where they are functions; not on PREEMPT_RT a `spinlock_t` is a
/// `raw_spinlock_t`.
#[cfg(all(
    CONFIG_X86_64,
    CONFIG_SMP,
    CONFIG_UNINLINE_SPIN_UNLOCK,
    not(CONFIG_PREEMPT_RT)
))]
macro_rules! impl_lock {
    ($t:ty, $lock:path, $try_lock:path, $unlock:path) => {
        impl Sealed for $t {}

        // SAFETY: These are the kernel's functions of those names.
        unsafe impl Lock for $t {
            const SLEEPS: bool = false;

            #[inline(always)]
            unsafe fn lock(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_lock(this.cast()) }
            }

            #[inline(always)]
            unsafe fn try_lock(this: *mut Self) -> bool {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_trylock(this.cast()) != 0 }
            }

            #[inline(always)]
            unsafe fn unlock(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_unlock(this.cast()) }
            }

            #[inline(always)]
            unsafe fn lock_irq(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_lock_irq_disable(this.cast()) }
            }

            #[inline(always)]
            unsafe fn unlock_irq(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_unlock_irq_enable(this.cast()) }
            }

            #[inline(always)]
            unsafe fn lock_bh(this: *mut Self) -> BhState {
                // SAFETY: As the caller promises.
                unsafe { bindings::_raw_spin_lock_bh(this.cast()) };
                BhState(true)
            }

            #[inline(always)]
            unsafe fn unlock_bh(this: *mut Self, _: BhState) {
                // SAFETY: As the caller promises.
                unsafe { helpers::quiesce_helper_raw_spin_unlock_bh(this.cast()) }
            }
        }
    };
}

#[cfg(not(all(
    CONFIG_X86_64,
    CONFIG_SMP,
    CONFIG_UNINLINE_SPIN_UNLOCK,
    not(CONFIG_PREEMPT_RT)
)))]
macro_rules! impl_lock {
    ($t:ty, $lock:path, $try_lock:path, $unlock:path) => {
        impl Sealed for $t {}

        // SAFETY: These are the kernel's functions of those names.
        unsafe impl Lock for $t {
            const SLEEPS: bool = <$t as Sleeps>::SLEEPS;

            #[inline(always)]
            unsafe fn lock(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { $lock(this) }
            }

            #[inline(always)]
            unsafe fn try_lock(this: *mut Self) -> bool {
                // SAFETY: As the caller promises.
                unsafe { i32::from($try_lock(this)) != 0 }
            }

            #[inline(always)]
            unsafe fn unlock(this: *mut Self) {
                // SAFETY: As the caller promises.
                unsafe { $unlock(this) }
            }
        }
    };
}

#[cfg_attr(
    all(
        CONFIG_X86_64,
        CONFIG_SMP,
        CONFIG_UNINLINE_SPIN_UNLOCK,
        not(CONFIG_PREEMPT_RT)
    ),
    expect(dead_code, reason = "no lock sleeps there")
)]
trait Sleeps {
    const SLEEPS: bool;
}

impl Sleeps for bindings::spinlock_t {
    const SLEEPS: bool = cfg!(CONFIG_PREEMPT_RT);
}

impl Sleeps for bindings::raw_spinlock_t {
    const SLEEPS: bool = false;
}

impl_lock!(
    bindings::spinlock_t,
    bindings::spin_lock,
    bindings::spin_trylock,
    bindings::spin_unlock
);
impl_lock!(
    bindings::raw_spinlock_t,
    helpers::quiesce_helper_raw_spin_lock,
    helpers::quiesce_helper_raw_spin_trylock,
    helpers::quiesce_helper_raw_spin_unlock
);
