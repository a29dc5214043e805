// SPDX-License-Identifier: GPL-2.0

//! Preemption, bottom halves and interrupts: the only file that switches them.
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
    bindings,
    interrupt::LocalInterruptDisabled,
    types::NotThreadSafe, //
};

use crate::bindings as helpers;

mod sealed {
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

/// Whether bottom halves were disabled; see the module's text on PREEMPT_RT.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct BhState(bool);

#[inline(always)]
fn disable_bh() -> BhState {
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
unsafe fn enable_bh(state: BhState) {
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

/// Proof that preemption is disabled, until it is dropped.
///
/// Leaked, it leaves preemption disabled: the task can never sleep again.
///
/// # Invariants
///
/// Preemption is disabled on this CPU as long as the object exists.
#[must_use = "preemption is enabled again when this is dropped"]
pub struct PreemptDisabled(NotThreadSafe);

/// Disables preemption.
///
/// From any context. The sections nest, and may end in any order.
///
/// # Examples
///
/// ```
/// use quiesce::seqlock::{preempt_disable, SeqLock};
///
/// fn add(a: &SeqLock<u64>, b: &SeqLock<u64>, n: u64) {
///     let preempt = preempt_disable();
///     a.write_with(&preempt).update(|v| *v += n);
///     b.write_with(&preempt).update(|v| *v += n);
/// }
/// ```
#[inline]
pub fn preempt_disable() -> PreemptDisabled {
    // SAFETY: Preemption may be disabled anywhere.
    unsafe { helpers::quiesce_helper_preempt_disable() };
    // INVARIANT: It was just disabled.
    PreemptDisabled(NotThreadSafe)
}

impl Drop for PreemptDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this context disabled it.
        unsafe { helpers::quiesce_helper_preempt_enable() }
    }
}

/// Proof that bottom halves are disabled, until it is dropped.
///
/// May be dropped in any order with other sections, see [`bh_disable`]. Leaked, it leaves them
/// disabled: this CPU serves no softirq any more.
///
/// # Invariants
///
/// Bottom halves do not run on this CPU as long as the object exists.
#[must_use = "bottom halves are enabled again when this is dropped"]
pub struct BhDisabled(BhState, NotThreadSafe);

/// Disables bottom halves.
///
/// From process and softirq context. The sections nest, and may end in any order with those that
/// disable preemption or interrupts. On PREEMPT_RT begin and end it where preemption is enabled: one
/// that begins elsewhere disables nothing, since softirqs cannot run there, and one that ends
/// elsewhere leaves them disabled; both warn once.
#[inline]
pub fn bh_disable() -> BhDisabled {
    // INVARIANT: They were just disabled, or preemption is, on PREEMPT_RT.
    BhDisabled(disable_bh(), NotThreadSafe)
}

impl Drop for BhDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this context disabled them.
        unsafe { enable_bh(self.0) }
    }
}

/// Proof that what [`Token::Context`] switches off is switched off, so that a lock need not do it.
///
/// # Safety
///
/// As long as an object of the type exists, what the context switches off is off on this CPU.
pub unsafe trait Token<L>: Sealed {
    /// The context that the token proves.
    type Context: Context;
}

impl Sealed for PreemptDisabled {}
impl Sealed for BhDisabled {}
impl Sealed for LocalInterruptDisabled {}

#[cfg(not(CONFIG_PREEMPT_RT))]
// SAFETY: By the type's invariant.
unsafe impl Token<bindings::spinlock_t> for PreemptDisabled {
    type Context = Preempt;
}

// SAFETY: By the type's invariant; what a `spinlock_t` disables on PREEMPT_RT is no preemption.
unsafe impl Token<bindings::spinlock_t> for BhDisabled {
    type Context = Bh;
}

#[cfg(not(CONFIG_PREEMPT_RT))]
// SAFETY: By the type's invariant.
unsafe impl Token<bindings::spinlock_t> for LocalInterruptDisabled {
    type Context = Irq;
}

// SAFETY: By the type's invariant.
unsafe impl Token<bindings::raw_spinlock_t> for PreemptDisabled {
    type Context = Preempt;
}

// SAFETY: By the type's invariant.
unsafe impl Token<bindings::raw_spinlock_t> for BhDisabled {
    type Context = Bh;
}

// SAFETY: By the type's invariant.
unsafe impl Token<bindings::raw_spinlock_t> for LocalInterruptDisabled {
    type Context = Irq;
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
        let _preempt = preempt_disable();
        f()
    }
}
