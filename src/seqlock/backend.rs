// SPDX-License-Identifier: GPL-2.0

//! The two kinds of sequence locks: over the kernel's `seqlock_t`, whose spin lock sleeps on
//! PREEMPT_RT, and over a `raw_spinlock_t`, which spins everywhere.

use core::mem::{
    offset_of,
    MaybeUninit, //
};
use kernel::bindings;

use super::{
    sequence,
    spinlock::Lock,
    statics, //
};
use crate::bindings as helpers;

mod sealed {
    pub trait Sealed {}
}

/// What a sequence lock is made of: [`Spin`] or [`Raw`].
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
    /// Where its lockdep maps are.
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

    /// Begins a read: the counter, once no writer is active.
    ///
    /// # Safety
    ///
    /// The lock is initialised.
    #[doc(hidden)]
    unsafe fn begin(raw: *mut Self::Raw) -> u32;
}

/// The kernel's `seqlock_t`.
///
/// On PREEMPT_RT its spin lock is a lock that sleeps: writers stay preemptible, a reader that meets
/// one waits for it by sleeping, and neither may be in a hardware interrupt, nor anywhere else where
/// sleeping is forbidden.
pub enum Spin {}

/// A `seqcount_raw_spinlock_t` beside its `raw_spinlock_t`, as the kernel's `jiffies` have it.
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

impl Kind for Spin {
    type Raw = bindings::seqlock_t;
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
        // SAFETY: As the caller promises, for all of these; only on PREEMPT_RT a writer sleeps.
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

/// Begins a read where the writer may be asleep: lends it priority and waits.
///
/// # Safety
///
/// The lock is initialised.
#[cold]
#[inline(never)]
unsafe fn wait_for_sleeper(raw: *mut bindings::seqlock_t) -> u32 {
    // SAFETY: By the safety contract the lock is initialised; the helper finds it by its own address.
    unsafe { helpers::quiesce_helper_seqlock_begin(raw) }
}

/// The C type of a [`Raw`] lock.
#[doc(hidden)]
#[repr(C)]
pub struct RawSeqlock {
    pub(super) seqcount: bindings::seqcount_raw_spinlock_t,
    pub(super) lock: bindings::raw_spinlock_t,
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
        // SAFETY: As the caller promises; a raw spin lock's holder does not sleep.
        unsafe { sequence::begin(Self::sequence(raw)) }
    }
}
