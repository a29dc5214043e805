// SPDX-License-Identifier: GPL-2.0

//! The kernel's spin locks, acquired and released in each mode.
//!
//! # Interrupts
//!
//! Interrupt sections nest with each other and with the kernel's counted
//! `local_interrupt_disable()`, and end in any order; interrupts are enabled when the last one ends.
//! The count of `local_interrupt_disable()` is the only state that sections share.
//!
//! On x86_64 a section costs what C's `irqsave` form costs plus one test at each end. The section
//! that found interrupts enabled keeps the flags and counts nothing; every other section is counted.
//! So a section that ends with the count at zero is the last one, and found interrupts enabled. One
//! that found interrupts enabled and ends with the count above zero hands its flags over to
//! `local_interrupt_disable_state`, from which the last counted section restores them.
//!
//! Elsewhere sections are counted, unless they find interrupts disabled without any count: then a
//! hardware interrupt or a C section disabled them, which enables them again itself. Whether they
//! are disabled is not in arm64's flags alone, if interrupts have priorities; C reads it, in the same
//! call that acquires the lock.
//!
//! C counts in eight bits, without a check. A section that finds half as many is not counted: it
//! relies on the others, and does not change the count.
//!
//! # Bottom halves
//!
//! `local_bh_enable()` runs pending softirqs, for which it enables interrupts. A bottom-half section
//! that ends with interrupts disabled must not: an interrupt that is raised for the purpose runs the
//! softirqs as soon as interrupts are enabled.
//!
//! On PREEMPT_RT the first `local_bh_disable()` of a task also begins an RCU read-side critical
//! section and disables migration if it finds the task preemptible, and the last
//! `local_bh_enable()` undoes both if it finds the task preemptible. Here the first one is refused
//! where the task is not preemptible, and the last one does what C leaves undone there. So the
//! counts of both are balanced in each order.

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use crate::bindings as helpers;

#[cfg(quiesce_x86_spin)]
use crate::arch::context as arch;

/// Keeps other crates from implementing the traits of locks, contexts and tokens.
pub(super) mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// Whether a bottom-half section disabled bottom halves.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct BhState(bool);

/// The state that is needed to end an interrupt section: on x86_64 the flags that it found,
/// elsewhere whether it is counted.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct IrqState(usize);

/// Disables bottom halves. [`EPERM`] on PREEMPT_RT where the task is not preemptible and bottom
/// halves are enabled, and [`EOVERFLOW`] where half as many sections have begun as C can count.
#[inline(always)]
pub(super) fn disable_bh() -> Result<BhState> {
    // SAFETY: The helper disables bottom halves by count where that is possible, and fails
    // elsewhere without a change.
    to_result(unsafe { helpers::quiesce_helper_bh_disable() })?;
    Ok(BhState(true))
}

/// Ends a bottom-half section.
///
/// # Safety
///
/// `state` is from [`disable_bh`] in this context, which has not ended that section yet.
#[inline(always)]
pub(super) unsafe fn enable_bh(state: BhState) {
    if state.0 {
        // SAFETY: This function requires that this context disabled bottom halves by the call that
        // returned `state`; the helper may be called in any order with other sections.
        unsafe { helpers::quiesce_helper_bh_enable() }
    }
}

/// One of the kernel's spin lock types.
///
/// `lock*()` and a `try_lock*()` that succeeds acquire the lock in a mode; the `unlock*()` of the
/// same mode releases it. In between nobody else acquires it. `subclass` is lockdep's.
///
/// # Safety
///
/// Implementations provide that mutual exclusion.
///
/// For all functions: the lock is initialised, is the lock of a [`Kind`](super::Kind), and stays in
/// place while it is held. For `unlock*()`: the calling context acquired the lock in that mode, by
/// the call that returned `state`, and has not released it.
#[doc(hidden)]
#[allow(
    missing_docs,
    clippy::missing_safety_doc,
    reason = "the trait documents all functions together"
)]
pub unsafe trait Lock: Sealed {
    /// Whether waiting for the lock sleeps: then its sections do not disable interrupts.
    const SLEEPS: bool;

    /// Whether a bottom-half section of the lock disables bottom halves.
    ///
    /// On PREEMPT_RT they run in threads, which a lock that disables preemption keeps away by that.
    const DISABLES_BH: bool = !cfg!(CONFIG_PREEMPT_RT) || Self::SLEEPS;

    unsafe fn lock(this: *mut Self, subclass: u32);
    unsafe fn try_lock(this: *mut Self) -> bool;
    unsafe fn unlock(this: *mut Self);

    unsafe fn lock_irq(this: *mut Self, subclass: u32) -> IrqState;
    unsafe fn try_lock_irq(this: *mut Self) -> Option<IrqState>;
    unsafe fn unlock_irq(this: *mut Self, state: IrqState);

    #[inline(always)]
    unsafe fn lock_bh(this: *mut Self, subclass: u32) -> BhState {
        let state = if Self::DISABLES_BH {
            disable_bh().unwrap_or_else(|_| {
                // SAFETY: The helper only prints a warning, the first time, in any context.
                unsafe { helpers::quiesce_helper_bh_warn() };
                BhState(false)
            })
        } else {
            BhState(false)
        };
        // SAFETY: These functions of `Lock` require an initialised lock of a backend that stays in
        // place while it is held, and so does the one that is called.
        unsafe { Self::lock(this, subclass) };
        state
    }

    #[inline(always)]
    unsafe fn try_lock_bh(this: *mut Self) -> Option<BhState> {
        let state = if Self::DISABLES_BH {
            disable_bh().ok()?
        } else {
            BhState(false)
        };
        // SAFETY: These functions of `Lock` require an initialised lock of a backend that stays in
        // place while it is held, and so does the one that is called.
        if unsafe { Self::try_lock(this) } {
            return Some(state);
        }
        // SAFETY: `disable_bh()` in this function returned `state`, and that section has not ended.
        unsafe { enable_bh(state) };
        None
    }

    #[inline(always)]
    unsafe fn unlock_bh(this: *mut Self, state: BhState) {
        // SAFETY: `unlock_bh()` requires that this context acquired the lock in this mode and has
        // not released it.
        unsafe { Self::unlock(this) };
        // SAFETY: `unlock_bh()` requires the `state` that `lock_bh()` or `try_lock_bh()` returned,
        // which is that of `disable_bh()`.
        unsafe { enable_bh(state) };
    }
}

/// Interrupt sections where they are counted.
#[cfg(not(quiesce_x86_spin))]
mod counted {
    use super::*;

    #[inline(always)]
    pub(super) fn disable_irq<L: Lock + ?Sized>() -> IrqState {
        if L::SLEEPS {
            return IrqState(0);
        }
        // SAFETY: The helper disables interrupts by count; in an NMI it warns.
        IrqState(usize::from(unsafe {
            helpers::quiesce_helper_interrupt_disable()
        }))
    }

    /// # Safety
    ///
    /// `state` is from [`disable_irq`] on this CPU, and the section has not ended yet.
    #[inline(always)]
    pub(super) unsafe fn enable_irq(state: IrqState) {
        if state.0 != 0 {
            // SAFETY: This function requires a `state` of `disable_irq()`, which is not zero if the
            // section is counted on this CPU.
            unsafe { bindings::local_interrupt_enable() }
        }
    }
}

/// Interrupt sections of a `raw_spinlock_t` on x86_64.
///
/// `local_irq_restore()` never disables interrupts there, so that a section that found them
/// disabled by C code leaves them as that code did.
#[cfg(quiesce_x86_spin)]
mod x86 {
    use super::*;

    /// `X86_EFLAGS_IF`: interrupts are enabled.
    const IF: usize = 0x200;

    /// # Safety
    ///
    /// This context has just disabled interrupts and saved `flags`.
    #[inline(always)]
    unsafe fn begin(flags: usize) -> IrqState {
        IrqState(if flags & IF != 0 {
            flags
        } else {
            begin_counted(flags)
        })
    }

    /// The state of a section that finds as many others that it is not counted; no flag of x86.
    const UNCOUNTED: usize = 1 << 63;

    /// Begins a section that is counted. Returns its argument, which saves the caller of the fast path
    /// a register, or [`UNCOUNTED`].
    #[cold]
    #[inline(never)]
    fn begin_counted(flags: usize) -> usize {
        // SAFETY: Interrupts are disabled and may be disabled again by count; `unlock_not_last()`
        // ends the section.
        if unsafe { helpers::quiesce_helper_interrupt_count() } {
            flags
        } else {
            UNCOUNTED
        }
    }

    /// # Safety
    ///
    /// As for [`Lock::lock_irq`].
    #[inline(always)]
    pub(super) unsafe fn lock_irq(lock: *mut bindings::raw_spinlock_t, subclass: u32) -> IrqState {
        // SAFETY: The lock is initialised. Both functions disable interrupts and return the flags.
        unsafe {
            begin(if cfg!(CONFIG_DEBUG_LOCK_ALLOC) {
                bindings::_raw_spin_lock_irqsave_nested(lock, subclass as kernel::ffi::c_int)
                    as usize
            } else {
                bindings::_raw_spin_lock_irqsave(lock) as usize
            })
        }
    }

    /// # Safety
    ///
    /// As for [`Lock::try_lock_irq`].
    #[inline(always)]
    pub(super) unsafe fn try_lock_irq(lock: *mut bindings::raw_spinlock_t) -> Option<IrqState> {
        // SAFETY: The lock is initialised. The flags are restored unless the section begins.
        unsafe {
            let flags = helpers::quiesce_helper_irq_save();
            if bindings::_raw_spin_trylock(lock) != 0 {
                return Some(begin(flags as usize));
            }
            helpers::quiesce_helper_irq_restore(flags);
        }
        None
    }

    /// # Safety
    ///
    /// As for [`Lock::unlock_irq`].
    #[inline(always)]
    pub(super) unsafe fn unlock_irq(lock: *mut bindings::raw_spinlock_t, state: IrqState) {
        // SAFETY: The caller holds the lock, with interrupts disabled. If no section is counted,
        // then this one is not: it found interrupts enabled, and no other section is left, or it
        // found too many to be counted, which have to end after it.
        unsafe {
            if arch::interrupt_sections_are_counted() {
                return unlock_not_last(lock, state);
            }
            bindings::_raw_spin_unlock_irq(lock)
        }
    }

    /// Ends a section that is counted or has counted ones beside it.
    ///
    /// # Safety
    ///
    /// As for [`Lock::unlock_irq`].
    #[cold]
    #[inline(never)]
    unsafe fn unlock_not_last(lock: *mut bindings::raw_spinlock_t, state: IrqState) {
        if state.0 & IF != 0 {
            // SAFETY: Interrupts are disabled, so this CPU's state is not in use, and the caller
            // holds the lock. The counted sections found interrupts disabled; the last of them
            // restores these flags instead.
            unsafe {
                bindings::_local_interrupt_save_state(state.0 as kernel::ffi::c_ulong);
                bindings::_raw_spin_unlock(lock)
            }
        } else if state.0 == UNCOUNTED {
            // SAFETY: `lock` is held, as `unlock_irq()` requires. Interrupts stay as they are:
            // `begin_counted()` changed no count for a section with `UNCOUNTED`.
            unsafe { bindings::_raw_spin_unlock(lock) }
        } else {
            // SAFETY: The caller holds the lock, and the section is counted.
            unsafe { bindings::_raw_spin_unlock_irq_enable(lock) }
        }
    }

    /// # Safety
    ///
    /// As for [`Lock::unlock_bh`].
    #[inline(always)]
    pub(super) unsafe fn unlock_bh(lock: *mut bindings::raw_spinlock_t) {
        // SAFETY: The caller holds the lock with bottom halves disabled. If no softirq is pending,
        // C's function runs none, nor does one become pending if interrupts are disabled: so it
        // works then too. `CONFIG_TRACE_IRQFLAGS` makes it enable interrupts.
        unsafe {
            if cfg!(CONFIG_TRACE_IRQFLAGS) || arch::softirqs_are_pending() {
                return helpers::quiesce_helper_raw_spin_unlock_bh(lock);
            }
            bindings::_raw_spin_unlock_bh(lock)
        }
    }
}

/// A flag that excludes where the kernel's spin locks do not.
///
/// Without SMP they only disable preemption, bottom halves or interrupts, so that nothing keeps a
/// context from acquiring the lock that it holds. The flag follows the lock in memory; see
/// `backend.rs`.
#[cfg(not(CONFIG_SMP))]
mod uniprocessor {
    use super::*;
    use kernel::sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    };

    /// # Safety
    ///
    /// `lock` is followed by its flag, and lives for `'a`.
    unsafe fn flag<'a, L>(lock: *mut L) -> &'a Atomic<u32> {
        // SAFETY: The flag follows the lock at the next multiple of its alignment, is initialised,
        // and only accessed through this function.
        unsafe { &*lock.byte_add(size_of::<L>().next_multiple_of(4)).cast() }
    }

    /// Sets the flag if it is not set.
    ///
    /// # Safety
    ///
    /// As for [`flag`].
    pub(super) unsafe fn try_acquire<L>(lock: *mut L) -> bool {
        // SAFETY: This function requires, as `flag()` does, that `lock` is followed by its flag and
        // stays in place.
        unsafe { flag(lock) }.xchg(1, Full) == 0
    }

    /// Sets the flag; if it is set, reports that and never returns, as a lock with SMP.
    ///
    /// # Safety
    ///
    /// As for [`flag`]; preemption is disabled.
    pub(super) unsafe fn acquire<L>(lock: *mut L) {
        // SAFETY: This function requires, as `flag()` does, that `lock` is followed by its flag and
        // stays in place.
        while !unsafe { try_acquire(lock) } {
            // The lock is held by this context, or by one that this context interrupted.
            // SAFETY: The helper only prints a warning, the first time, in any context.
            unsafe { helpers::quiesce_helper_warn_deadlock() };
            // SAFETY: `lock` is followed by its flag, as required of the caller.
            while unsafe { flag(lock) }.load(Acquire) != 0 {
                kernel::processor::cpu_relax();
            }
        }
    }

    /// Clears the flag.
    ///
    /// # Safety
    ///
    /// As for [`flag`]; the caller set it.
    pub(super) unsafe fn release<L>(lock: *mut L) {
        // SAFETY: This function requires, as `flag()` does, that `lock` is followed by its flag and
        // stays in place.
        unsafe { flag(lock) }.store(0, Release)
    }
}

/// Implements [`Lock`] by C's functions.
macro_rules! impl_lock {
    ($t:ty, sleeps: $sleeps:expr, $lock:path, $try_lock:path, $unlock:path) => {
        impl Sealed for $t {}

        // SAFETY: With SMP, or if waiting sleeps, the kernel's lock excludes; else the flag does.
        unsafe impl Lock for $t {
            const SLEEPS: bool = $sleeps;

            #[inline(always)]
            unsafe fn lock(this: *mut Self, subclass: u32) {
                #[cfg(quiesce_x86_spin)]
                if !cfg!(CONFIG_DEBUG_LOCK_ALLOC) {
                    // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                    return unsafe { bindings::_raw_spin_lock(this.cast()) };
                }
                // SAFETY: The contract of `Lock` requires an initialised lock that stays in place
                // while it is held.
                unsafe { $lock(this, subclass) }
                #[cfg(not(CONFIG_SMP))]
                if !Self::SLEEPS {
                    // SAFETY: The lock is a backend's; C's function disabled preemption.
                    unsafe { uniprocessor::acquire(this) }
                }
            }

            #[inline(always)]
            unsafe fn try_lock(this: *mut Self) -> bool {
                #[cfg(quiesce_x86_spin)]
                // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                let locked = unsafe { bindings::_raw_spin_trylock(this.cast()) } != 0;
                #[cfg(not(quiesce_x86_spin))]
                // SAFETY: The contract of `Lock` requires an initialised lock that stays in place
                // while it is held.
                let locked = unsafe { $try_lock(this) };
                #[cfg(not(CONFIG_SMP))]
                // SAFETY: The lock is a backend's; it is released if the flag is set.
                unsafe {
                    if locked && !Self::SLEEPS && !uniprocessor::try_acquire(this) {
                        $unlock(this);
                        return false;
                    }
                }
                locked
            }

            #[inline(always)]
            unsafe fn unlock(this: *mut Self) {
                #[cfg(not(CONFIG_SMP))]
                if !Self::SLEEPS {
                    // SAFETY: The lock is a backend's; the caller acquired it and with it the flag.
                    unsafe { uniprocessor::release(this) }
                }
                #[cfg(quiesce_x86_spin)]
                // SAFETY: By the contract of `Lock`, the lock is held. It is a `raw_spinlock_t` at its
                // beginning.
                unsafe {
                    bindings::_raw_spin_unlock(this.cast())
                }
                #[cfg(not(quiesce_x86_spin))]
                // SAFETY: The contract of `Lock` requires that this context acquired the lock and
                // has not released it.
                unsafe {
                    $unlock(this)
                }
            }

            #[inline(always)]
            unsafe fn lock_irq(this: *mut Self, subclass: u32) -> IrqState {
                #[cfg(quiesce_x86_spin)]
                // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                unsafe {
                    x86::lock_irq(this.cast(), subclass)
                }
                #[cfg(not(quiesce_x86_spin))]
                {
                    if cfg!(CONFIG_SMP) && !Self::SLEEPS {
                        // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                        return IrqState(usize::from(unsafe {
                            helpers::quiesce_helper_raw_spin_lock_irq(this.cast(), subclass)
                        }));
                    }
                    let state = counted::disable_irq::<Self>();
                    // SAFETY: These functions of `Lock` require an initialised lock of a backend
                    // that stays in place while it is held, and so does the one that is called.
                    unsafe { Self::lock(this, subclass) };
                    state
                }
            }

            #[inline(always)]
            unsafe fn try_lock_irq(this: *mut Self) -> Option<IrqState> {
                #[cfg(quiesce_x86_spin)]
                // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                unsafe {
                    x86::try_lock_irq(this.cast())
                }
                #[cfg(not(quiesce_x86_spin))]
                {
                    let state = counted::disable_irq::<Self>();
                    // SAFETY: These functions of `Lock` require an initialised lock of a backend
                    // that stays in place while it is held, and so does the one that is called.
                    if unsafe { Self::try_lock(this) } {
                        return Some(state);
                    }
                    // SAFETY: `counted::disable_irq()` in this function returned `state`, and that
                    // section has not ended.
                    unsafe { counted::enable_irq(state) };
                    None
                }
            }

            #[inline(always)]
            unsafe fn unlock_irq(this: *mut Self, state: IrqState) {
                #[cfg(quiesce_x86_spin)]
                // SAFETY: By the contract of `Lock`, the lock is held, and its acquisition returned
                // `state`. It is a `raw_spinlock_t` at its beginning.
                unsafe {
                    x86::unlock_irq(this.cast(), state)
                }
                #[cfg(not(quiesce_x86_spin))]
                // SAFETY: By the contract of `Lock`, the lock is held, and its acquisition returned
                // `state`. If its waiters do not sleep, it is a `raw_spinlock_t` at its beginning.
                unsafe {
                    if cfg!(CONFIG_SMP) && !Self::SLEEPS {
                        return helpers::quiesce_helper_raw_spin_unlock_irq(
                            this.cast(),
                            state.0 != 0,
                        );
                    }
                    Self::unlock(this);
                    counted::enable_irq(state)
                }
            }

            #[cfg(quiesce_x86_spin)]
            #[inline(always)]
            unsafe fn lock_bh(this: *mut Self, subclass: u32) -> BhState {
                // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                unsafe {
                    if cfg!(CONFIG_DEBUG_LOCK_ALLOC) {
                        helpers::quiesce_helper_raw_spin_lock_bh(this.cast(), subclass);
                    } else {
                        bindings::_raw_spin_lock_bh(this.cast());
                    }
                }
                BhState(true)
            }

            #[cfg(all(not(quiesce_x86_spin), CONFIG_SMP, not(CONFIG_PREEMPT_RT)))]
            #[inline(always)]
            unsafe fn lock_bh(this: *mut Self, subclass: u32) -> BhState {
                // SAFETY: The lock is initialised, and a `raw_spinlock_t` at its beginning.
                unsafe { helpers::quiesce_helper_raw_spin_lock_bh(this.cast(), subclass) };
                BhState(true)
            }

            #[cfg(all(not(quiesce_x86_spin), CONFIG_SMP, not(CONFIG_PREEMPT_RT)))]
            #[inline(always)]
            unsafe fn unlock_bh(this: *mut Self, _: BhState) {
                // SAFETY: By the contract of `Lock`, the lock is held. It is a `raw_spinlock_t` at its
                // beginning.
                unsafe { helpers::quiesce_helper_raw_spin_unlock_bh(this.cast()) }
            }

            #[cfg(quiesce_x86_spin)]
            #[inline(always)]
            unsafe fn unlock_bh(this: *mut Self, _: BhState) {
                // SAFETY: By the contract of `Lock`, the lock is held. It is a `raw_spinlock_t` at its
                // beginning.
                unsafe { x86::unlock_bh(this.cast()) }
            }
        }
    };
}

impl_lock!(
    bindings::spinlock_t,
    sleeps: cfg!(CONFIG_PREEMPT_RT),
    helpers::quiesce_helper_spin_lock,
    helpers::quiesce_helper_spin_trylock,
    helpers::quiesce_helper_spin_unlock
);
impl_lock!(
    bindings::raw_spinlock_t,
    sleeps: false,
    helpers::quiesce_helper_raw_spin_lock,
    helpers::quiesce_helper_raw_spin_trylock,
    helpers::quiesce_helper_raw_spin_unlock
);
