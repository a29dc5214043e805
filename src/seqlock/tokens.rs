// SPDX-License-Identifier: GPL-2.0

//! Tokens: proofs that something is disabled on this CPU.
//!
//! A token is created by disabling preemption or bottom halves, or is the kernel crate's own for
//! interrupts. While it is borrowed, a lock can be acquired without disabling that again: several
//! locks then share one section. Tokens are counted like guards and may be dropped in any order.

use kernel::{
    bindings,
    interrupt::{
        local_interrupt_disable,
        LocalInterruptDisabled, //
    },
    prelude::*,
    types::NotThreadSafe, //
};

use super::{
    spinlock::{
        disable_bh,
        enable_bh,
        sealed::Sealed,
        BhState, //
    },
    Bh,
    Context,
    Irq,
    Preempt, //
};
use crate::arch::preempt;

/// A proof that preemption is disabled; enables it on drop.
///
/// A leaked token leaves preemption disabled: the task can never sleep again. C counts sections in
/// eight bits, those of spin locks too, without a check: the 256th at a time clears the count. So this
/// crate's accesses to memory do not rely on the count.
///
/// # Invariants
///
/// Preemption is disabled on this CPU as long as the object exists.
#[must_use = "preemption is enabled again when this is dropped"]
pub struct PreemptDisabled(NotThreadSafe);

/// Disables preemption.
///
/// May be called from any context. Sections nest and may end in any order.
///
/// # Examples
///
/// ```
/// use quiesce::seqlock::{preempt_disable, RawSeqLock};
///
/// fn add(a: &RawSeqLock<u64>, b: &RawSeqLock<u64>, n: u64) {
///     let preempt = preempt_disable();
///     a.write_with(&preempt).update(|v| *v += n);
///     b.write_with(&preempt).update(|v| *v += n);
/// }
/// ```
#[inline]
pub fn preempt_disable() -> PreemptDisabled {
    preempt::disable();
    // INVARIANT: The call above disabled preemption.
    PreemptDisabled(NotThreadSafe)
}

impl Drop for PreemptDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant preemption is disabled, by the call in `preempt_disable()`.
        unsafe { preempt::enable() }
    }
}

/// A proof that bottom halves are disabled; enables them on drop.
///
/// A leaked token leaves them disabled: this CPU, on PREEMPT_RT this task, runs no softirq any
/// more.
///
/// # Invariants
///
/// Bottom halves are disabled on this CPU, on PREEMPT_RT for this task, as long as the object
/// exists.
#[must_use = "bottom halves are enabled again when this is dropped"]
pub struct BhDisabled(BhState, NotThreadSafe);

/// Disables bottom halves.
///
/// For process and softirq context. Sections nest, and may end in any order with each other and
/// with those that disable preemption or interrupts.
///
/// # Errors
///
/// [`EPERM`] on PREEMPT_RT where bottom halves are enabled and the task is not preemptible, as it
/// disabled preemption or interrupts, and in hardware interrupts: they cannot be disabled there.
/// [`EOVERFLOW`] if 64 sections have begun and not ended, which is half of what C can count.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use quiesce::seqlock::{bh_disable, Bh, SeqLock};
///
/// fn add(a: &SeqLock<u64, Bh>, b: &SeqLock<u64, Bh>, n: u64) -> Result {
///     let bh = bh_disable()?;
///     a.write_with(&bh).update(|v| *v += n);
///     b.write_with(&bh).update(|v| *v += n);
///     Ok(())
/// }
/// ```
#[inline]
pub fn bh_disable() -> Result<BhDisabled> {
    // INVARIANT: `disable_bh()` disabled bottom halves, until `enable_bh()`.
    Ok(BhDisabled(disable_bh()?, NotThreadSafe))
}

impl Drop for BhDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The state is from `disable_bh()`, in this context as the type is `!Send`.
        unsafe { enable_bh(self.0) }
    }
}

/// A proof that what [`Token::Context`] disables is disabled, so that a section of a lock of type
/// `L` need not do it.
///
/// # Safety
///
/// As long as an object of the type exists, everything that the context disables for a lock of type
/// `L` is disabled on this CPU.
pub unsafe trait Token<L>: Sealed {
    /// The context that the token proves.
    type Context: Context;
}

impl Sealed for PreemptDisabled {}
impl Sealed for BhDisabled {}
impl Sealed for LocalInterruptDisabled {}

// No token of a context in which a task cannot sleep is one for a lock that sleeps.
#[cfg(not(CONFIG_PREEMPT_RT))]
// SAFETY: By the invariant of `PreemptDisabled` preemption is disabled on this CPU while the token
// exists.
unsafe impl Token<bindings::spinlock_t> for PreemptDisabled {
    type Context = Preempt;
}

// SAFETY: By its invariant bottom halves are disabled. On PREEMPT_RT sections of a `spinlock_t` do
// not disable preemption; elsewhere disabling bottom halves disables it too.
unsafe impl Token<bindings::spinlock_t> for BhDisabled {
    type Context = Bh;
}

#[cfg(not(CONFIG_PREEMPT_RT))]
// SAFETY: By its invariant interrupts are disabled, and with them preemption.
unsafe impl Token<bindings::spinlock_t> for LocalInterruptDisabled {
    type Context = Irq;
}

// SAFETY: By the invariant of `PreemptDisabled` preemption is disabled on this CPU while the token
// exists.
unsafe impl Token<bindings::raw_spinlock_t> for PreemptDisabled {
    type Context = Preempt;
}

// SAFETY: By its invariant bottom halves are disabled; acquiring the lock disables preemption.
unsafe impl Token<bindings::raw_spinlock_t> for BhDisabled {
    type Context = Bh;
}

// SAFETY: By its invariant interrupts are disabled, and with them preemption.
unsafe impl Token<bindings::raw_spinlock_t> for LocalInterruptDisabled {
    type Context = Irq;
}

/// Runs `f`, code of a user of this crate, with everything disabled on this CPU that `C` disables.
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
