// SPDX-License-Identifier: GPL-2.0

//! The two kinds of sequence locks: over the kernel's `seqlock_t`, whose spin lock sleeps on
//! PREEMPT_RT, and over a `raw_spinlock_t`, which spins everywhere.

use core::mem::offset_of;
use kernel::{
    bindings,
    ffi::c_char, //
};

use super::{
    sequence,
    spinlock::Lock, //
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

    #[doc(hidden)]
    fn sequence(raw: *mut Self::Raw) -> *mut bindings::seqcount_t;
    #[doc(hidden)]
    fn lock(raw: *mut Self::Raw) -> *mut Self::Lock;

    /// Initialises a lock.
    ///
    /// # Safety
    ///
    /// `raw` is valid for writes, the rest is static.
    #[doc(hidden)]
    unsafe fn init(
        raw: *mut Self::Raw,
        name: *const c_char,
        lock_key: *mut bindings::lock_class_key,
        seq_key: *mut bindings::lock_class_key,
    );

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

impl Kind for Spin {
    type Raw = bindings::seqlock_t;
    type Lock = bindings::spinlock_t;

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

    unsafe fn init(
        raw: *mut Self::Raw,
        name: *const c_char,
        lock_key: *mut bindings::lock_class_key,
        seq_key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: As the caller promises.
        unsafe { helpers::quiesce_helper_seqlock_init(raw, name, lock_key, seq_key) }
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
    // SAFETY: As the caller promises.
    unsafe { helpers::quiesce_helper_seqcount_spinlock_begin(&raw const (*raw).seqcount) }
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

    unsafe fn init(
        raw: *mut Self::Raw,
        name: *const c_char,
        lock_key: *mut bindings::lock_class_key,
        seq_key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: As the caller promises; these are the two parts of the lock.
        unsafe {
            helpers::quiesce_helper_raw_seqlock_init(
                &raw mut (*raw).seqcount,
                &raw mut (*raw).lock,
                name,
                lock_key,
                seq_key,
            )
        }
    }

    #[inline(always)]
    unsafe fn begin(raw: *mut Self::Raw) -> u32 {
        // SAFETY: As the caller promises; a raw spin lock's holder does not sleep.
        unsafe { sequence::begin(Self::sequence(raw)) }
    }
}
