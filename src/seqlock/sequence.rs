// SPDX-License-Identifier: GPL-2.0

//! The sequence counter: even, or odd while a writer is active.
//!
//! These are `read_seqcount_begin()` and its family, inline as they are in C. Where C checks more,
//! under lockdep and KCSAN, C's own functions are called.

use core::mem::offset_of;
use kernel::bindings;

use crate::{
    arch::seq as arch,
    bindings as helpers, //
};

#[inline(always)]
fn counter(seq: *mut bindings::seqcount_t) -> *mut u32 {
    seq.wrapping_byte_add(offset_of!(bindings::seqcount, sequence))
        .cast()
}

/// Whether C's functions check more than these do.
pub(super) const CHECKED: bool = cfg!(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN));

/// Begins a read: the counter once it is even.
///
/// # Safety
///
/// The counter is initialised, and its writer does not sleep.
#[inline(always)]
pub(super) unsafe fn begin(seq: *mut bindings::seqcount_t) -> u32 {
    if CHECKED {
        // SAFETY: As the caller promises.
        return unsafe { begin_in_c(seq) };
    }
    // SAFETY: The counter is initialised and written by marked accesses.
    // ORDERING: The acquire keeps the copy after this load, so that it cannot be older.
    unsafe { arch::load_acquire_even_u32(counter(seq)) }
}

/// Begins a read as C does it, with all of C's checks.
///
/// # Safety
///
/// The counter is initialised.
#[cold]
#[inline(never)]
pub(super) unsafe fn begin_in_c(seq: *mut bindings::seqcount_t) -> u32 {
    // SAFETY: As the caller promises.
    unsafe { helpers::quiesce_helper_seqcount_begin(seq) }
}

/// Begins a read without waiting: the counter, be it odd.
///
/// # Safety
///
/// The counter is initialised.
#[inline(always)]
pub(super) unsafe fn peek(seq: *mut bindings::seqcount_t) -> u32 {
    // SAFETY: The counter is initialised and written by marked accesses.
    // ORDERING: The acquire keeps the copy after this load, so that it cannot be older.
    unsafe { arch::load_acquire_u32(counter(seq)) }
}

/// Whether a writer came since the counter was `start`.
///
/// # Safety
///
/// The counter is initialised.
#[inline(always)]
pub(super) unsafe fn retry(seq: *const bindings::seqcount_t, start: u32) -> bool {
    if cfg!(CONFIG_KCSAN) {
        // SAFETY: As the caller promises.
        return unsafe { helpers::quiesce_helper_seqcount_retry(seq, start) };
    }
    // ORDERING: Keeps the copy before the load below; pairs with the barrier in `write_begin`. A
    // copy that saw a store of a section sees the increment that began it.
    arch::read_barrier();
    // SAFETY: The counter is initialised and written by marked accesses.
    unsafe { arch::load_u32(counter(seq.cast_mut())) != start }
}

/// Begins a write.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes until [`write_end`].
#[inline(always)]
pub(super) unsafe fn write_begin(seq: *mut bindings::seqcount_t) {
    if CHECKED {
        // SAFETY: As the caller promises.
        return unsafe { helpers::quiesce_helper_seqcount_write_begin(seq) };
    }
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::increment_u32(counter(seq)) };
    // ORDERING: Keeps the increment before the stores; pairs with the barrier in `retry`.
    arch::write_barrier();
}

/// Ends a write.
///
/// # Safety
///
/// The caller began it.
#[inline(always)]
pub(super) unsafe fn write_end(seq: *mut bindings::seqcount_t) {
    if CHECKED {
        // SAFETY: As the caller promises.
        return unsafe { helpers::quiesce_helper_seqcount_write_end(seq) };
    }
    // ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.
    arch::write_barrier();
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::increment_u32(counter(seq)) };
}

/// Makes reads that began before invalid, without a write; `write_seqcount_invalidate()`.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes it during the call.
#[inline(always)]
pub(super) unsafe fn write_invalidate(seq: *mut bindings::seqcount_t) {
    // ORDERING: Keeps the caller's stores before the increment.
    arch::write_barrier();
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::add_u32(counter(seq), 2) };
}

/// Orders stores of before and after for readers; `raw_write_seqcount_barrier()`.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes it during the call.
#[inline(always)]
pub(super) unsafe fn write_barrier(seq: *mut bindings::seqcount_t) {
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::increment_u32(counter(seq)) };
    // ORDERING: Keeps the stores of before the call, and the increment above, before the increment
    // below and the stores after the call. A reader that began before the call and sees one of those
    // sees the first increment as well; one that began after sees the stores of before.
    arch::write_barrier();
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::increment_u32(counter(seq)) };
}

/// Sends a latch's readers to the other copy.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes it during the call.
#[inline(always)]
pub(super) unsafe fn latch(seq: *mut bindings::seqcount_t) {
    // ORDERING: Keeps the stores to the copy that readers are sent to before the increment; pairs
    // with the acquire in `peek`.
    arch::write_barrier();
    // SAFETY: The counter is initialised and nobody else writes it.
    unsafe { arch::increment_u32(counter(seq)) };
    // ORDERING: Keeps the increment before the stores to the other copy; pairs with the barrier in
    // `retry`.
    arch::write_barrier();
}
