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

/// `true` if C's functions contain checks that these do not.
pub(super) const CHECKED: bool = cfg!(any(CONFIG_DEBUG_LOCK_ALLOC, CONFIG_KCSAN));

/// Begins a read. Waits until the counter is even and returns it.
///
/// # Safety
///
/// The counter is initialised, and its writer does not sleep.
#[inline(always)]
pub(super) unsafe fn begin(seq: *mut bindings::seqcount_t) -> u32 {
    if CHECKED {
        // SAFETY: This function requires an initialised counter, which C's function reads.
        return unsafe { begin_in_c(seq) };
    }
    // SAFETY: This function requires an initialised counter, and counters are only written by
    // marked accesses.
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
    // SAFETY: This function requires an initialised counter, which C's function reads.
    unsafe { helpers::quiesce_helper_seqcount_begin(seq) }
}

/// Begins a read without waiting. Returns the counter, which may be odd.
///
/// # Safety
///
/// The counter is initialised.
#[inline(always)]
pub(super) unsafe fn peek(seq: *mut bindings::seqcount_t) -> u32 {
    // SAFETY: This function requires an initialised counter, and counters are only written by
    // marked accesses.
    // ORDERING: The acquire keeps the copy after this load, so that it cannot be older.
    unsafe { arch::load_acquire_u32(counter(seq)) }
}

/// Returns whether the counter has changed since it had the value `start`.
///
/// # Safety
///
/// The counter is initialised.
#[inline(always)]
pub(super) unsafe fn retry(seq: *const bindings::seqcount_t, start: u32) -> bool {
    if cfg!(CONFIG_KCSAN) {
        // SAFETY: This function requires an initialised counter, which C's function reads.
        return unsafe { helpers::quiesce_helper_seqcount_retry(seq, start) };
    }
    // ORDERING: Keeps the copy before the load below; pairs with the barrier in `write_begin`. A
    // copy that saw a store of a section sees the increment that began it.
    arch::read_barrier();
    // SAFETY: This function requires an initialised counter, and counters are only written by
    // marked accesses.
    unsafe { arch::load_u32(counter(seq.cast_mut())) != start }
}

/// The beginning of a read during which code of the caller runs.
///
/// The counter has 32 bits, so it has the same value again after 2^31 writes or invalidations. The
/// caller can make that many, or wait for them, while it holds a copy; so such a read also ends after
/// a fixed time. Each of them reads and writes the counter's memory at least once, without a bus lock
/// where the caller's lock is held all the time ([`SeqCount`](super::SeqCount), whose other reads use a
/// [`LongCount`](super::long_count::LongCount)), and depends on the one before: so 2^31 in the time below
/// would take more than eight in a nanosecond.
#[derive(Clone, Copy)]
pub(super) struct Start {
    sequence: u32,
    ns: u64,
}

impl Start {
    /// The time after which a read is not valid any more.
    const LIMIT_NS: i64 = 250_000_000;

    /// The time of a read without a limit. It is in the future: the clock counts from the boot on.
    const NO_LIMIT: u64 = i64::MAX as u64;

    /// Begins a read of the counter, of which the caller has read the value `sequence`.
    ///
    /// # Safety
    ///
    /// The counter is initialised.
    #[inline]
    pub(super) unsafe fn new(seq: *const bindings::seqcount_t, sequence: u32) -> Self {
        // SAFETY: The helper reads `ktime_get_mono_fast_ns()`, which may be called from any
        // context, NMI included.
        let ns = unsafe { helpers::quiesce_helper_seqcount_clock() };
        // Time that passed before is not part of the limit, so the read begins with this value.
        // SAFETY: This function requires an initialised counter.
        if unsafe { peek(seq.cast_mut()) } == sequence {
            return Self { sequence, ns };
        }
        Self {
            sequence,
            ns: ns.wrapping_sub(Self::LIMIT_NS as u64 + 1),
        }
    }

    /// As [`new`](Self::new), for a caller that excludes writers as long as it uses the value, so that
    /// there is no limit.
    #[inline]
    pub(super) fn without_limit(sequence: u32) -> Self {
        Self {
            sequence,
            ns: Self::NO_LIMIT,
        }
    }

    /// Whether a writer may have been active since then.
    ///
    /// # Safety
    ///
    /// The counter is initialised.
    #[inline]
    pub(super) unsafe fn retry(self, seq: *const bindings::seqcount_t) -> bool {
        // SAFETY: This function requires an initialised counter, as the other `retry()` does.
        if unsafe { retry(seq, self.sequence) } {
            return true;
        }
        // After the counter was read: time that passes in between does no harm.
        // SAFETY: The helper reads `ktime_get_mono_fast_ns()`, which may be called from any
        // context, NMI included.
        let now = unsafe { helpers::quiesce_helper_seqcount_clock() };
        now.wrapping_sub(self.ns) as i64 > Self::LIMIT_NS
    }
}

/// Begins a write.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes until [`write_end`].
#[inline(always)]
pub(super) unsafe fn write_begin(seq: *mut bindings::seqcount_t) {
    // SAFETY: This function requires an initialised counter and that nobody else writes until
    // `write_end`, as `write_begin_nested()` does.
    unsafe { write_begin_nested(seq, 0) }
}

/// Begins a write of a counter of whose class the caller may hold another one, in lockdep's
/// subclass `subclass`.
///
/// # Safety
///
/// As for [`write_begin`].
#[inline(always)]
pub(super) unsafe fn write_begin_nested(seq: *mut bindings::seqcount_t, subclass: u32) {
    if CHECKED {
        // SAFETY: This function requires an initialised counter and that nobody else writes until
        // `write_end`.
        return unsafe { helpers::quiesce_helper_seqcount_write_begin(seq, subclass) };
    }
    // SAFETY: This function requires an initialised counter and that nobody else writes until
    // `write_end`.
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
        // SAFETY: This function requires that the caller began the write of this counter, by
        // `write_begin` or `write_begin_nested`.
        return unsafe { helpers::quiesce_helper_seqcount_write_end(seq) };
    }
    // ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.
    arch::write_barrier();
    // SAFETY: This function requires that a write of this counter was begun, so the counter is
    // initialised and nobody else writes to it.
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
    // SAFETY: This function requires an initialised counter that nobody else writes during the
    // call.
    unsafe { arch::add_u32(counter(seq), 2) };
}

/// Orders stores of before and after for readers; `raw_write_seqcount_barrier()`.
///
/// # Safety
///
/// The counter is initialised, and nobody else writes it during the call.
#[inline(always)]
pub(super) unsafe fn write_barrier(seq: *mut bindings::seqcount_t) {
    // SAFETY: This function requires an initialised counter that nobody else writes during the
    // call.
    unsafe { arch::increment_u32(counter(seq)) };
    // ORDERING: Keeps the stores of before the call, and the increment above, before the increment
    // below and the stores after the call. A reader that began before the call and sees one of those
    // sees the first increment as well; one that began after sees the stores of before.
    arch::write_barrier();
    // SAFETY: This function requires an initialised counter that nobody else writes during the
    // call.
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
    // SAFETY: This function requires an initialised counter that nobody else writes during the
    // call.
    unsafe { arch::increment_u32(counter(seq)) };
    // ORDERING: Keeps the increment before the stores to the other copy; pairs with the barrier in
    // `retry`.
    arch::write_barrier();
}
