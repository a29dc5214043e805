// SPDX-License-Identifier: GPL-2.0

//! Contexts: what a writer disables, and in which contexts readers may therefore run.
//!
//! A reader that interrupts a writer on the writer's CPU spins indefinitely, because the writer
//! cannot continue. So a writer disables what its lock's readers run in. That is the context of a
//! lock, the parameter `C` of [`SeqLock`](super::SeqLock); a section's context, its mode, is at
//! least as strong.

use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

use super::spinlock::{
    sealed::Sealed,
    BhState,
    IrqState,
    Lock, //
};
use crate::{
    arch::preempt,
    bindings as helpers, //
};

/// The contexts that a writer disables, and in which readers may therefore run.
///
/// [`Preempt`], [`Bh`], [`ThreadedIrq`] or [`Irq`], each stronger than the one before.
///
/// # Guards dropped in any order
///
/// Guards and tokens of all modes nest, and may be dropped in any order:
///
/// - Preemption and interrupts are disabled by count; each is enabled by the last guard or token
///   that disabled it, and by the kernel's [`LocalInterruptDisabled`] and `SpinLockIrq` alike.
/// - Bottom halves are disabled by count. If the last guard is dropped while interrupts are
///   disabled, pending softirqs run as soon as interrupts are enabled.
/// - On PREEMPT_RT bottom halves can only be disabled where the task is preemptible, or where they
///   are disabled already. Elsewhere [`bh_disable`](super::bh_disable) and `try_write_bh` fail, and
///   `write_bh`, which must not be called there as it sleeps, warns once and does not disable them.
///   They can be enabled anywhere; lockdep reports it if interrupts are disabled then. Kernels with
///   `CONFIG_PREEMPT_RT_NEEDS_BH_LOCK` cannot enable them where the task is not preemptible: there
///   they stay disabled, with a warning.
///
/// C code that runs a caller's closure between `local_irq_save()` and `local_irq_restore()` must not
/// let guards and tokens cross either end of its section, as for C's own locks: a guard that is
/// acquired before the section and dropped inside enables interrupts there. Only `unsafe` code can
/// be such a wrapper. A guard that is acquired inside and dropped after the section leaves
/// interrupts as the section did.
///
/// [`LocalInterruptDisabled`]: kernel::interrupt::LocalInterruptDisabled
pub trait Context: Sealed + AtLeast<Self> + Sized + 'static {
    /// The context's position in their order.
    #[doc(hidden)]
    const LEVEL: u8;

    /// The state that is needed to end a section.
    #[doc(hidden)]
    type State: Copy;

    /// Acquires a lock in this mode, in lockdep's subclass `subclass`.
    ///
    /// # Safety
    ///
    /// The lock is an initialised lock of a backend, and stays in place until it is released by
    /// [`Context::unlock`].
    #[doc(hidden)]
    unsafe fn lock<L: Lock>(lock: *mut L, subclass: u32) -> Self::State;

    /// Acquires a lock in this mode if it is free.
    ///
    /// # Safety
    ///
    /// As for [`Context::lock`].
    #[doc(hidden)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<Self::State>;

    /// Releases a lock.
    ///
    /// # Safety
    ///
    /// The calling context acquired the lock in this mode, by the call that returned `state`.
    #[doc(hidden)]
    unsafe fn unlock<L: Lock>(lock: *mut L, state: Self::State);
}

/// Disables preemption: for locks that only tasks use.
pub enum Preempt {}

/// Disables preemption and bottom halves: for locks that softirqs, tasklets or softirq timers read.
pub enum Bh {}

/// Disables preemption and interrupts: for locks that interrupt handlers read which are threads on
/// PREEMPT_RT.
///
/// That is what `request_irq()` makes of a handler there unless it is requested otherwise
/// (`IRQF_NO_THREAD`, `IRQF_PERCPU`), and of an hrtimer without a `HARD` mode. On other kernels it
/// is the same as [`Irq`]; on PREEMPT_RT sections of a [`Spin`](super::Spin) lock disable neither.
///
/// A lock of this context must not be used in hardware interrupts on PREEMPT_RT: a
/// [`Spin`](super::Spin) lock's reader sleeps there, or hangs if it interrupts a writer. Lockdep
/// reports it.
pub enum ThreadedIrq {}

/// Disables preemption and interrupts: for locks that hardware interrupts read, also on PREEMPT_RT.
///
/// Such a lock is [`Raw`](super::Raw), because a [`Spin`](super::Spin) lock sleeps on PREEMPT_RT;
/// see [`ThreadedIrq`] for the exception.
pub enum Irq {}

impl Sealed for Preempt {}
impl Sealed for Bh {}
impl Sealed for ThreadedIrq {}
impl Sealed for Irq {}

/// A context that disables at least what `C` does.
#[diagnostic::on_unimplemented(
    message = "a section in mode `{Self}` is too weak for a lock with readers in `{C}` context",
    label = "this mode does not disable what `{C}` asks for",
    note = "a reader that interrupts the writer on its CPU would spin indefinitely",
    note = "use a stronger mode: `Preempt` < `Bh` < `ThreadedIrq` < `Irq`"
)]
pub trait AtLeast<C>: Sealed {}

impl AtLeast<Preempt> for Preempt {}
impl AtLeast<Preempt> for Bh {}
impl AtLeast<Bh> for Bh {}
impl AtLeast<Preempt> for ThreadedIrq {}
impl AtLeast<Bh> for ThreadedIrq {}
impl AtLeast<ThreadedIrq> for ThreadedIrq {}
impl<C: Context> AtLeast<C> for Irq {}

/// Implements [`Context`] by functions of [`Lock`].
macro_rules! impl_context {
    ($t:ty, $level:literal, $state:ty, $lock:ident, $try_lock:ident, $unlock:ident) => {
        impl Context for $t {
            const LEVEL: u8 = $level;
            type State = $state;

            #[inline(always)]
            unsafe fn lock<L: Lock>(lock: *mut L, subclass: u32) -> $state {
                // SAFETY: `Context::lock()` and `Context::try_lock()` have the requirements of
                // `Lock`: an initialised lock of a backend, which stays in place until it is
                // released.
                unsafe { L::$lock(lock, subclass) }
            }

            #[inline(always)]
            unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<$state> {
                // SAFETY: `Context::lock()` and `Context::try_lock()` have the requirements of
                // `Lock`: an initialised lock of a backend, which stays in place until it is
                // released.
                unsafe { L::$try_lock(lock) }
            }

            #[inline(always)]
            unsafe fn unlock<L: Lock>(lock: *mut L, state: $state) {
                // SAFETY: `Context::unlock()` requires that this context acquired the lock in this
                // mode, by the call that returned `state`.
                unsafe { L::$unlock(lock, state) }
            }
        }
    };
}

impl_context!(Bh, 1, BhState, lock_bh, try_lock_bh, unlock_bh);
impl_context!(ThreadedIrq, 2, IrqState, lock_irq, try_lock_irq, unlock_irq);
impl_context!(Irq, 3, IrqState, lock_irq, try_lock_irq, unlock_irq);

impl Context for Preempt {
    const LEVEL: u8 = 0;
    type State = ();

    #[inline(always)]
    unsafe fn lock<L: Lock>(lock: *mut L, subclass: u32) {
        // SAFETY: `Context::lock()` and `Context::try_lock()` have the requirements of `Lock`: an
        // initialised lock of a backend, which stays in place until it is released.
        unsafe { L::lock(lock, subclass) }
    }

    #[inline(always)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<()> {
        // SAFETY: `Context::lock()` and `Context::try_lock()` have the requirements of `Lock`: an
        // initialised lock of a backend, which stays in place until it is released.
        unsafe { L::try_lock(lock) }.then_some(())
    }

    #[inline(always)]
    unsafe fn unlock<L: Lock>(lock: *mut L, (): ()) {
        // SAFETY: `Context::unlock()` requires that this context acquired the lock in this mode, by
        // the call that returned `state`.
        unsafe { L::unlock(lock) }
    }
}

/// A lock held in mode `M`, released on drop.
///
/// # Invariants
///
/// The lock is held; this context acquired it in mode `M` by the call that returned `state`. It is
/// a backend's, and stays in place for `'a`.
pub(super) struct Held<'a, L: Lock, M: Context> {
    lock: *mut L,
    state: M::State,
    _lock: PhantomData<&'a L>,
    _not_send: NotThreadSafe,
}

impl<'a, L: Lock, M: Context> Held<'a, L, M> {
    /// Acquires the lock.
    ///
    /// # Safety
    ///
    /// The lock is an initialised lock of a backend and stays in place for `'a`.
    #[inline(always)]
    pub(super) unsafe fn lock(lock: *mut L) -> Self {
        // SAFETY: This function requires an initialised lock of a backend that stays in place for
        // `'a`, as `lock_nested()` does.
        unsafe { Self::lock_nested(lock, 0) }
    }

    /// Acquires the lock in lockdep's subclass `subclass`.
    ///
    /// # Safety
    ///
    /// As for [`Held::lock`].
    #[inline(always)]
    pub(super) unsafe fn lock_nested(lock: *mut L, subclass: u32) -> Self {
        // INVARIANT: The call acquires the lock in mode `M`.
        Self {
            lock,
            // SAFETY: This function requires an initialised lock of a backend that stays in place
            // for `'a`, and the guard, which releases it, does not outlive `'a`.
            state: unsafe { M::lock(lock, subclass) },
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Acquires the lock if it is free.
    ///
    /// # Safety
    ///
    /// As for [`Held::lock`].
    #[inline(always)]
    pub(super) unsafe fn try_lock(lock: *mut L) -> Option<Self> {
        // INVARIANT: The call acquires the lock in mode `M`.
        Some(Self {
            lock,
            // SAFETY: This function requires an initialised lock of a backend that stays in place
            // for `'a`, and the guard, which releases it, does not outlive `'a`.
            state: unsafe { M::try_lock(lock) }?,
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl<L: Lock, M: Context> Drop for Held<'_, L, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this context acquired the lock by the call that returned
        // `state`; the type is `!Send`, so the context is the same.
        unsafe { M::unlock(self.lock, self.state) }
    }
}

/// Runs `f` with everything disabled on this CPU that `C` disables.
///
/// `f` is code of this crate that neither sleeps nor drops a guard. So interrupts may be disabled
/// for bottom halves too, which costs less, and the flags may be saved.
#[inline(always)]
pub(super) fn exclusively<C: Context, R>(f: impl FnOnce() -> R) -> R {
    if C::LEVEL > Preempt::LEVEL {
        // SAFETY: Interrupts may be disabled in any context, and the flags are restored below, in
        // this function.
        let flags = unsafe { helpers::quiesce_helper_irq_save() };
        let ret = f();
        // SAFETY: `flags` were saved above, and `f` begins and ends no section.
        unsafe { helpers::quiesce_helper_irq_restore(flags) };
        ret
    } else {
        preempt::disable();
        let ret = f();
        // SAFETY: `preempt::disable()` above disabled preemption in this context, and `f` begins
        // and ends no section.
        unsafe { preempt::enable() };
        ret
    }
}
