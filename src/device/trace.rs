// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the device; see `src/trace.h`.

use super::args;
use crate::{
    barrier::End,
    bindings, //
};

/// A barrier was placed, or a party arrived. `ticket` is what it was given.
pub(super) fn place(id: u64, party: u32, count: u64, ticket: u64) {
    // SAFETY: The tracepoint only takes numbers.
    unsafe { bindings::quiesce_helper_trace_place(id, party, count, ticket) }
}

/// A wait begins.
pub(super) fn wait_begin(id: u64, party: u32, kind: u32, ticket: u64) {
    // SAFETY: The tracepoint only takes numbers.
    unsafe { bindings::quiesce_helper_trace_wait_begin(id, party, kind, ticket) }
}

/// A wait ends.
pub(super) fn wait_end(id: u64, party: u32, result: &kernel::error::Result) {
    // SAFETY: The tracepoint only takes numbers.
    unsafe { bindings::quiesce_helper_trace_wait_end(id, party, args::errno(result)) }
}

/// A party, or nobody, aborted.
pub(super) fn abort(id: u64, party: u32, code: u64) {
    // SAFETY: The tracepoint only takes numbers.
    unsafe { bindings::quiesce_helper_trace_abort(id, party, code) }
}

/// A party ended, or the open seats did.
pub(super) fn death(id: u64, party: u32, end: &End) {
    let (cause, status, _) = args::why(end.why);
    let pid = end
        .pid
        .as_ref()
        .map_or(core::ptr::null_mut(), |pid| pid.as_ptr());
    // SAFETY: `pid` is null or has a reference in `end`.
    unsafe { bindings::quiesce_helper_trace_death(id, party, cause, status, pid) }
}
