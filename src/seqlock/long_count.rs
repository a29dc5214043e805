// SPDX-License-Identifier: GPL-2.0

//! [`LongCount`]: the counter of a [`SeqCount`](super::SeqCount), which does not wrap.
//!
//! C's counter has 32 bits, and the same value again after 2^31 writes or invalidations. Under a lock
//! that is held all the time these take a second, and a reader can be preempted or interrupted for
//! longer: a copy that is a mixture would be taken for a value. 2^63 take centuries.
//!
//! Where C's functions check more, under lockdep and KCSAN, they are called for a counter of C's beside
//! this one, which changes with it.

use core::cell::UnsafeCell;
use kernel::bindings;

use super::{
    sequence,
    statics::{
        seqcount,
        Class, //
    },
};
use crate::arch::seq as arch;

/// A sequence counter of 64 bits: even, or odd while a writer is active.
///
/// # Invariants
///
/// `checked` is initialised. One writer at a time changes both counters, and nobody else does.
#[repr(C)]
pub(super) struct LongCount {
    count: UnsafeCell<u64>,
    #[cfg(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN))]
    checked: UnsafeCell<core::mem::MaybeUninit<bindings::seqcount_t>>,
}

impl LongCount {
    pub(super) const fn new(class: Class) -> Self {
        // INVARIANT: C's counter is initialised by `seqcount()`.
        let checked = UnsafeCell::new(seqcount(class));
        #[cfg(not(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN)))]
        let _ = checked;
        Self {
            count: UnsafeCell::new(0),
            #[cfg(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN))]
            checked,
        }
    }

    /// Returns a counter of C's that changes with this one: the lower half, or the one that is checked.
    #[inline(always)]
    pub(super) fn short(&self) -> *mut bindings::seqcount_t {
        #[cfg(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN))]
        {
            self.checked.get().cast()
        }
        #[cfg(not(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN)))]
        {
            const _: () = assert!(size_of::<bindings::seqcount_t>() == size_of::<u32>());
            const OFFSET: usize = if cfg!(target_endian = "big") { 4 } else { 0 };
            self.count.get().wrapping_byte_add(OFFSET).cast()
        }
    }

    /// Begins a read. Waits until the counter is even and returns it.
    #[inline(always)]
    pub(super) fn begin(&self) -> u64 {
        if sequence::CHECKED {
            // SAFETY: By the type invariants C's counter is initialised.
            let _ = unsafe { sequence::begin_in_c(self.short()) };
        }
        // SAFETY: The counter is valid for reads and aligned, and only written by marked accesses.
        // ORDERING: The acquire keeps the copy after this load, so that it cannot be older.
        unsafe { arch::load_acquire_even_u64(self.count.get()) }
    }

    /// Begins a read without waiting. Returns the counter, which may be odd.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        // SAFETY: The counter is valid for reads and aligned, and only written by marked accesses.
        // ORDERING: The acquire keeps the copy after this load, so that it cannot be older.
        unsafe { arch::load_acquire_u64(self.count.get()) }
    }

    /// Returns whether the counter has changed since it had the value `start`.
    #[inline(always)]
    pub(super) fn retry(&self, start: u64) -> bool {
        if cfg!(CONFIG_KCSAN) {
            // SAFETY: By the type invariants C's counter is initialised. KCSAN's state is what counts.
            let _ = unsafe { sequence::retry(self.short(), 0) };
        }
        // ORDERING: Keeps the copy before the load below; pairs with the barrier in `write_begin`. A
        // copy that saw a store of a section sees the increment that began it.
        arch::read_barrier();
        // SAFETY: The counter is valid for reads and aligned, and only written by marked accesses.
        unsafe { arch::load_u64(self.count.get()) != start }
    }

    /// Begins a write.
    ///
    /// # Safety
    ///
    /// Nobody else writes until [`write_end`](Self::write_end).
    #[inline(always)]
    pub(super) unsafe fn write_begin(&self) {
        if sequence::CHECKED {
            // SAFETY: By the type invariants C's counter is initialised, and nobody else writes, as
            // this function requires.
            unsafe { sequence::write_begin(self.short()) };
        }
        // SAFETY: Nobody else writes the counter, as this function requires.
        unsafe { arch::add_u64(self.count.get(), 1) };
        // ORDERING: Keeps the increment before the stores; pairs with the barrier in `retry`.
        arch::write_barrier();
    }

    /// Ends a write.
    ///
    /// # Safety
    ///
    /// The caller began it.
    #[inline(always)]
    pub(super) unsafe fn write_end(&self) {
        // ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.
        arch::write_barrier();
        // SAFETY: `count` is valid and aligned. `write_begin()`, which this function requires to have been
        // called, excludes other writers until this call.
        unsafe { arch::add_u64(self.count.get(), 1) };
        if sequence::CHECKED {
            // SAFETY: By the type invariants `checked` is initialised; `write_begin()` called
            // `sequence::write_begin()` with it, and nobody else writes it until this call.
            unsafe { sequence::write_end(self.short()) };
        }
    }

    /// Makes reads that began before invalid, without a write; `write_seqcount_invalidate()`.
    ///
    /// # Safety
    ///
    /// Nobody else writes during the call.
    #[inline(always)]
    pub(super) unsafe fn write_invalidate(&self) {
        // ORDERING: Keeps the caller's stores before the increment.
        arch::write_barrier();
        // SAFETY: Nobody else writes the counter during the call, as this function requires.
        unsafe { arch::add_u64(self.count.get(), 2) };
        if sequence::CHECKED {
            // SAFETY: By the type invariants C's counter is initialised, and nobody else writes it.
            unsafe { sequence::write_invalidate(self.short()) };
        }
    }

    /// Orders stores of before and after for readers; `raw_write_seqcount_barrier()`.
    ///
    /// # Safety
    ///
    /// Nobody else writes during the call.
    #[inline(always)]
    pub(super) unsafe fn write_barrier(&self) {
        if sequence::CHECKED {
            // SAFETY: By the type invariants C's counter is initialised, and nobody else writes it.
            unsafe { sequence::write_barrier(self.short()) };
        }
        // SAFETY: Nobody else writes the counter during the call, as this function requires.
        unsafe { arch::add_u64(self.count.get(), 1) };
        // ORDERING: Keeps the stores of before the call, and the increment above, before the increment
        // below and the stores after the call. A reader that began before the call and sees one of
        // those sees the first increment as well; one that began after sees the stores of before.
        arch::write_barrier();
        // SAFETY: Nobody else writes the counter during the call, as this function requires.
        unsafe { arch::add_u64(self.count.get(), 1) };
    }
}
