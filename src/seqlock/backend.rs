// SPDX-License-Identifier: GPL-2.0

//! The two backends of a sequence lock: the kernel's `seqlock_t`, whose spin lock sleeps on
//! PREEMPT_RT, and a `raw_spinlock_t`, which spins everywhere.
//!
//! Without SMP a flag follows the spin lock, because the spin lock itself excludes nobody there; see
//! `spinlock.rs`. It is zero while the lock is free.

use core::mem::{
    offset_of,
    MaybeUninit, //
};
use kernel::bindings;

use super::{
    sequence,
    spinlock::Lock,
    statics,
    Bh,
    Context,
    Preempt,
    ThreadedIrq, //
};
use crate::bindings as helpers;

mod sealed {
    pub trait Sealed {}
}

/// The backend of a sequence lock: [`Spin`] or [`Raw`].
#[allow(missing_docs, reason = "the hidden items are for this crate alone")]
pub trait Kind: sealed::Sealed + 'static {
    /// The lock's C type.
    #[doc(hidden)]
    type Raw;
    /// Its spin lock's C type.
    #[doc(hidden)]
    type Lock: Lock;

    /// An unlocked lock without a lockdep class.
    #[doc(hidden)]
    const UNLOCKED: MaybeUninit<Self::Raw>;
    /// The offsets of the lockdep maps in the C type.
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    #[doc(hidden)]
    const MAPS: statics::Maps;

    /// Stores the counter's pointer to its lock, which only C follows.
    ///
    /// # Safety
    ///
    /// The lock is initialised.
    #[doc(hidden)]
    unsafe fn tie(raw: *mut Self::Raw);

    #[doc(hidden)]
    fn sequence(raw: *mut Self::Raw) -> *mut bindings::seqcount_t;
    #[doc(hidden)]
    fn lock(raw: *mut Self::Raw) -> *mut Self::Lock;

    /// Begins a read: waits until no writer is active, and returns the counter.
    ///
    /// # Safety
    ///
    /// The lock is initialised.
    #[doc(hidden)]
    unsafe fn begin(raw: *mut Self::Raw) -> u32;
}

/// The kernel's `seqlock_t`.
///
/// On PREEMPT_RT its spin lock sleeps: writers stay preemptible, and a reader that meets a writer
/// sleeps until the write ends. Neither may be in a hardware interrupt, nor in any other context
/// that must not sleep.
pub enum Spin {}

/// A `seqcount_raw_spinlock_t` and its `raw_spinlock_t`, as the kernel's `jiffies` have it.
///
/// It spins on PREEMPT_RT too, and can be used in hardware interrupts there.
pub enum Raw {}

impl sealed::Sealed for Spin {}
impl sealed::Sealed for Raw {}

/// Stores the counter's pointer to its lock, where there is one.
macro_rules! tie {
    ($raw:expr) => {{
        let raw = $raw;
        #[cfg(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT))]
        // SAFETY: The lock is initialised. Others may store the same pointer at the same time, by
        // the same access; C reads it by accesses that the LKMM calls marked, or under the lock.
        unsafe {
            (&raw mut (*raw).seqcount.lock).write_volatile(&raw mut (*raw).lock)
        };
        let _ = raw;
    }};
}

/// A backend whose locks can be used in context `C` on every kernel.
///
/// [`Raw`] can in all of them, [`Spin`] in all but [`Irq`](super::Irq). A lock is only made for a
/// context that its backend serves.
#[diagnostic::on_unimplemented(
    message = "a `SeqLock` cannot be used in hardware interrupts: it sleeps on PREEMPT_RT",
    label = "`{Self}` does not serve readers in `{C}` context",
    note = "use a `RawSeqLock<T, Irq>`, which spins everywhere",
    note = "or a `SeqLock<T, ThreadedIrq>`, if on PREEMPT_RT all the interrupt handlers that use it \
            are threads"
)]
pub trait Serves<C: Context>: Kind {}

impl Serves<Preempt> for Spin {}
impl Serves<Bh> for Spin {}
impl Serves<ThreadedIrq> for Spin {}
impl<C: Context> Serves<C> for Raw {}

/// The C type of a [`Spin`] lock.
#[cfg(CONFIG_SMP)]
pub(super) type SpinSeqlock = bindings::seqlock_t;

/// The C type of a [`Spin`] lock, `seqlock_t`, and the flag of its spin lock.
#[cfg(not(CONFIG_SMP))]
#[doc(hidden)]
#[repr(C)]
#[allow(missing_docs, reason = "the names are those of C's type")]
pub struct SpinSeqlock {
    pub seqcount: bindings::seqcount_spinlock_t,
    pub lock: bindings::spinlock_t,
    held: u32,
}

#[cfg(not(CONFIG_SMP))]
const _: () = {
    // `SpinSeqlock` begins as `seqlock_t`, and each flag is where `spinlock.rs` expects it.
    const fn flag<L>(lock: usize) -> usize {
        lock + size_of::<L>().next_multiple_of(align_of::<u32>())
    }
    assert!(offset_of!(SpinSeqlock, lock) == offset_of!(bindings::seqlock, lock));
    assert!(
        offset_of!(SpinSeqlock, held)
            == flag::<bindings::spinlock_t>(offset_of!(SpinSeqlock, lock))
    );
    assert!(
        offset_of!(RawSeqlock, held)
            == flag::<bindings::raw_spinlock_t>(offset_of!(RawSeqlock, lock))
    );
    assert!(offset_of!(SpinSeqlock, held) % 4 == 0 && offset_of!(RawSeqlock, held) % 4 == 0);
};

impl Kind for Spin {
    type Raw = SpinSeqlock;
    type Lock = bindings::spinlock_t;

    const UNLOCKED: MaybeUninit<Self::Raw> = statics::SPIN;
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    const MAPS: statics::Maps = statics::SPIN_MAPS;

    unsafe fn tie(raw: *mut Self::Raw) {
        tie!(raw)
    }

    #[inline(always)]
    fn sequence(raw: *mut Self::Raw) -> *mut bindings::seqcount_t {
        raw.wrapping_byte_add(
            offset_of!(bindings::seqlock, seqcount)
                + offset_of!(bindings::seqcount_spinlock, seqcount),
        )
        .cast()
    }

    #[inline(always)]
    fn lock(raw: *mut Self::Raw) -> *mut Self::Lock {
        raw.wrapping_byte_add(offset_of!(bindings::seqlock, lock))
            .cast()
    }

    #[inline(always)]
    unsafe fn begin(raw: *mut Self::Raw) -> u32 {
        // SAFETY: The lock is initialised. Writers only sleep on PREEMPT_RT.
        unsafe {
            if !cfg!(CONFIG_PREEMPT_RT) {
                return sequence::begin(Self::sequence(raw));
            }
            let start = sequence::peek(Self::sequence(raw));
            if start & 1 == 0 && !sequence::CHECKED {
                start
            } else {
                wait_for_sleeper(raw)
            }
        }
    }
}

/// Begins a read where a writer may sleep: boosts the writer's priority and waits.
///
/// # Safety
///
/// The lock is initialised.
#[cold]
#[inline(never)]
unsafe fn wait_for_sleeper(raw: *mut SpinSeqlock) -> u32 {
    // SAFETY: The lock is initialised and begins with a `seqlock_t`; the helper finds the spin lock
    // by the address of that.
    unsafe { helpers::quiesce_helper_seqlock_begin(raw.cast()) }
}

/// The C type of a [`Raw`] lock.
#[doc(hidden)]
#[repr(C)]
pub struct RawSeqlock {
    pub(super) seqcount: bindings::seqcount_raw_spinlock_t,
    pub(super) lock: bindings::raw_spinlock_t,
    #[cfg(not(CONFIG_SMP))]
    held: u32,
}

impl Kind for Raw {
    type Raw = RawSeqlock;
    type Lock = bindings::raw_spinlock_t;

    const UNLOCKED: MaybeUninit<Self::Raw> = statics::RAW;
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    const MAPS: statics::Maps = statics::RAW_MAPS;

    unsafe fn tie(raw: *mut Self::Raw) {
        tie!(raw)
    }

    #[inline(always)]
    fn sequence(raw: *mut Self::Raw) -> *mut bindings::seqcount_t {
        raw.wrapping_byte_add(
            offset_of!(RawSeqlock, seqcount)
                + offset_of!(bindings::seqcount_raw_spinlock, seqcount),
        )
        .cast()
    }

    #[inline(always)]
    fn lock(raw: *mut Self::Raw) -> *mut Self::Lock {
        raw.wrapping_byte_add(offset_of!(RawSeqlock, lock)).cast()
    }

    #[inline(always)]
    unsafe fn begin(raw: *mut Self::Raw) -> u32 {
        // SAFETY: The lock is initialised, and the holder of a raw spin lock does not sleep.
        unsafe { sequence::begin(Self::sequence(raw)) }
    }
}
