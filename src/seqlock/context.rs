// SPDX-License-Identifier: GPL-2.0

//! Preemption, bottom halves and interrupts: with its submodules the only file that switches them.
//!
//! A writer that is interrupted by a reader on its own CPU makes that reader spin for ever. So a
//! writer switches off what the readers may run in: that is the context of a lock, the parameter
//! `C` of [`SeqLock`](super::SeqLock), and of a section, the mode in which it was entered.
//!
//! # Guards dropped in any order
//!
//! - Preemption is counted by the kernel.
//! - Interrupts are disabled by the kernel's counted `local_interrupt_disable()` and by nothing else
//!   here, so that the state of before comes back with the last guard, whichever that is. The form
//!   that saves flags would enable interrupts under a guard that is still there.
//! - Bottom halves are counted too, but enabling them runs softirqs, with interrupts enabled. A
//!   bottom-half guard that is dropped while interrupts are disabled, because an interrupt guard was
//!   taken after it and is still there, leaves the softirqs to an interrupt that comes right when
//!   interrupts are enabled. It does no harm in any order, and no order has to be proved.
//! - On PREEMPT_RT a task's first disabling of bottom halves enters an RCU section, and the last
//!   enabling leaves it, but both only in preemptible context. There a bottom-half section begun
//!   where preemption is disabled does not disable bottom halves (they cannot run anyway), and one
//!   ended where preemption is disabled leaves them disabled for ever; both are reported by a
//!   warning, once. A [`Raw`](super::Raw) lock disables preemption and nothing else for its
//!   bottom-half mode there, as they run in threads, and has no such limit.

use core::marker::PhantomData;
use kernel::{
    interrupt::local_interrupt_disable,
    types::NotThreadSafe, //
};

use crate::{
    arch::preempt,
    bindings as helpers, //
};

use super::{
    spinlock::{
        BhState,
        Lock, //
    },
    tokens::preempt_disable, //
};

pub(super) mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// What a writer switches off, and thereby what readers may run in.
///
/// [`Preempt`], [`Bh`] or [`Irq`], each stronger than the one before.
pub trait Context: Sealed + AtLeast<Self> + Sized + 'static {
    /// The context's place in the order of them.
    #[doc(hidden)]
    const LEVEL: u8;

    /// What has to be known to leave the section.
    #[doc(hidden)]
    type State: Copy;

    /// Takes a lock in this mode.
    ///
    /// # Safety
    ///
    /// The lock is initialised, and stays where it is until it is unlocked, by [`Context::unlock`].
    #[doc(hidden)]
    unsafe fn lock<L: Lock>(lock: *mut L) -> Self::State;

    /// Takes a lock in this mode if it is free.
    ///
    /// # Safety
    ///
    /// As for [`Context::lock`].
    #[doc(hidden)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<Self::State>;

    /// Gives a lock back.
    ///
    /// # Safety
    ///
    /// This context took the lock in this mode and got `state`.
    #[doc(hidden)]
    unsafe fn unlock<L: Lock>(lock: *mut L, state: Self::State);
}

/// Preemption is disabled: for readers in process context.
pub enum Preempt {}

/// Preemption and bottom halves are disabled: for readers in softirqs too.
pub enum Bh {}

/// Preemption and interrupts are disabled: for readers in hardware interrupts too.
pub enum Irq {}

impl Sealed for Preempt {}
impl Sealed for Bh {}
impl Sealed for Irq {}

/// A context that switches off at least what `C` does.
#[diagnostic::on_unimplemented(
    message = "a section in mode `{Self}` is too weak for a lock with readers in `{C}` context",
    label = "this mode does not disable what `{C}` asks for",
    note = "a reader that interrupts the writer on its CPU would spin for ever",
    note = "use a stronger mode: `Preempt` < `Bh` < `Irq`"
)]
pub trait AtLeast<C>: Sealed {}

impl AtLeast<Preempt> for Preempt {}
impl AtLeast<Preempt> for Bh {}
impl AtLeast<Bh> for Bh {}
impl<C: Context> AtLeast<C> for Irq {}

impl Context for Preempt {
    const LEVEL: u8 = 0;
    type State = ();

    #[inline(always)]
    unsafe fn lock<L: Lock>(lock: *mut L) {
        // SAFETY: As the caller promises.
        unsafe { L::lock(lock) }
    }

    #[inline(always)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<()> {
        // SAFETY: As the caller promises.
        unsafe { L::try_lock(lock) }.then_some(())
    }

    #[inline(always)]
    unsafe fn unlock<L: Lock>(lock: *mut L, (): ()) {
        // SAFETY: As the caller promises.
        unsafe { L::unlock(lock) }
    }
}

impl Context for Bh {
    const LEVEL: u8 = 1;
    type State = BhState;

    #[inline(always)]
    unsafe fn lock<L: Lock>(lock: *mut L) -> BhState {
        // SAFETY: As the caller promises.
        unsafe { L::lock_bh(lock) }
    }

    #[inline(always)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<BhState> {
        // SAFETY: As the caller promises.
        unsafe { L::try_lock_bh(lock) }
    }

    #[inline(always)]
    unsafe fn unlock<L: Lock>(lock: *mut L, state: BhState) {
        // SAFETY: As the caller promises.
        unsafe { L::unlock_bh(lock, state) }
    }
}

impl Context for Irq {
    const LEVEL: u8 = 2;
    type State = ();

    #[inline(always)]
    unsafe fn lock<L: Lock>(lock: *mut L) {
        // SAFETY: As the caller promises.
        unsafe { L::lock_irq(lock) }
    }

    #[inline(always)]
    unsafe fn try_lock<L: Lock>(lock: *mut L) -> Option<()> {
        // SAFETY: As the caller promises.
        unsafe { L::try_lock_irq(lock) }.then_some(())
    }

    #[inline(always)]
    unsafe fn unlock<L: Lock>(lock: *mut L, (): ()) {
        // SAFETY: As the caller promises.
        unsafe { L::unlock_irq(lock) }
    }
}

/// A lock held in mode `M`; dropping it unlocks.
///
/// # Invariants
///
/// The lock is held, was taken in mode `M` by this context, and was initialised before `'a`.
pub(super) struct Held<'a, L: Lock, M: Context> {
    lock: *mut L,
    state: M::State,
    _lock: PhantomData<&'a L>,
    _not_send: NotThreadSafe,
}

impl<'a, L: Lock, M: Context> Held<'a, L, M> {
    /// # Safety
    ///
    /// The lock is initialised and stays where it is for `'a`.
    #[inline(always)]
    pub(super) unsafe fn lock(lock: *mut L) -> Self {
        // INVARIANT: It was just taken.
        Self {
            lock,
            // SAFETY: As the caller promises.
            state: unsafe { M::lock(lock) },
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// # Safety
    ///
    /// As for [`Held::lock`].
    #[inline(always)]
    pub(super) unsafe fn try_lock(lock: *mut L) -> Option<Self> {
        // INVARIANT: It was just taken.
        Some(Self {
            lock,
            // SAFETY: As the caller promises.
            state: unsafe { M::try_lock(lock) }?,
            _lock: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl<L: Lock, M: Context> Drop for Held<'_, L, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants; it is `!Send`, so this is the context that took it.
        unsafe { M::unlock(self.lock, self.state) }
    }
}

/// Runs `f` where nothing of this CPU that `C` switches off can come in between.
///
/// `f` is code of this crate, which neither sleeps nor drops a guard; so interrupts are disabled for
/// bottom halves too, which is cheaper, and the flags can be saved.
#[inline(always)]
pub(super) fn exclusively<C: Context, R>(f: impl FnOnce() -> R) -> R {
    if C::LEVEL > Preempt::LEVEL {
        // SAFETY: They are restored below.
        let flags = unsafe { helpers::quiesce_helper_irq_save() };
        let ret = f();
        // SAFETY: They were saved above, and nothing else switched them in between.
        unsafe { helpers::quiesce_helper_irq_restore(flags) };
        ret
    } else {
        preempt::disable();
        let ret = f();
        // SAFETY: It was disabled above.
        unsafe { preempt::enable() };
        ret
    }
}

/// Runs `f`, code of the caller's, where nothing of this CPU that `C` switches off can come in
/// between.
///
/// Interrupts are disabled by count, because `f` may leave guards behind that enable them later.
#[inline(always)]
pub(super) fn section<C: Context, R>(f: impl FnOnce() -> R) -> R {
    if C::LEVEL > Preempt::LEVEL {
        let _interrupts = local_interrupt_disable();
        f()
    } else {
        let _preempt = preempt_disable();
        f()
    }
}
