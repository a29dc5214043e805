// SPDX-License-Identifier: GPL-2.0

//! Proofs that a context is entered.

use kernel::{
    bindings,
    interrupt::LocalInterruptDisabled,
    types::NotThreadSafe, //
};

use super::{
    context::sealed::Sealed,
    spinlock::{
        disable_bh,
        enable_bh,
        BhState, //
    },
    Bh,
    Context,
    Irq,
    Preempt, //
};
use crate::bindings as helpers;

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
