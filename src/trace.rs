// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the device; see `src/trace.h`. One that is off costs a `nop`.

use crate::{
    barrier::{
        Cause,
        End, //
    },
    bindings::uapi,
    tracepoint::declare_trace, //
};
use kernel::error::Result;

declare_trace! {
    unsafe fn quiesce_arrive(id: u64, party: u32, count: u64, ticket: u64);
    unsafe fn quiesce_wait_begin(id: u64, party: u32, kind: u32, ticket: u64);
    unsafe fn quiesce_wait_end(id: u64, party: u32, ret: i32);
    unsafe fn quiesce_abort(id: u64, party: u32, code: u64);
    unsafe fn quiesce_party_end(
        id: u64,
        party: u32,
        cause: u32,
        status: i32,
        pid: *mut kernel::bindings::pid
    );
    unsafe fn quiesce_join(id: u64, party: u32, phase: u64);
    unsafe fn quiesce_leave(id: u64, party: u32);
    unsafe fn quiesce_phase_end(id: u64, phase: u64);
    unsafe fn quiesce_break(
        id: u64,
        party: u32,
        cause: u32,
        status: i32,
        pid: *mut kernel::bindings::pid
    );
    unsafe fn quiesce_reset(id: u64, phase: u64);
}

fn pid(end: &End) -> *mut kernel::bindings::pid {
    end.pid
        .as_ref()
        .map_or(core::ptr::null_mut(), |pid| pid.as_ptr())
}

/// Traces `count` arrivals of a party, which got `ticket`.
pub(crate) fn arrive(id: u64, party: u32, count: u64, ticket: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_arrive(id, party, count, ticket) }
}

/// Traces the beginning of a wait.
pub(crate) fn wait_begin(id: u64, party: u32, kind: u32, ticket: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_wait_begin(id, party, kind, ticket) }
}

/// Traces the end of a wait and its result.
pub(crate) fn wait_end(id: u64, party: u32, result: &Result) {
    let ret = result.map_or_else(|e| e.to_errno(), |()| 0);
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_wait_end(id, party, ret) }
}

/// Traces an abort, by a party or on the group's own descriptor.
pub(crate) fn abort(id: u64, party: u32, code: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_abort(id, party, code) }
}

/// Traces the end of a party, or of the open seats.
pub(crate) fn party_end(id: u64, party: u32, end: &End) {
    let (cause, status, _) = end.why.encode();
    // SAFETY: The pid is null or has a reference in `end`.
    unsafe { quiesce_party_end(id, party, cause, status, pid(end)) }
}

/// Traces that a party joined a group in `phase`.
pub(crate) fn join(id: u64, party: u32, phase: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_join(id, party, phase) }
}

/// Traces that a party left its group.
pub(crate) fn leave(id: u64, party: u32) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_leave(id, party) }
}

/// Traces the end of `phase`.
pub(crate) fn phase_end(id: u64, phase: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_phase_end(id, phase) }
}

/// Traces that a group broke, and the cause.
pub(crate) fn group_break(id: u64, cause: &Cause) {
    let (number, status, _) = cause.end.why.encode();
    let party = cause.party.unwrap_or(uapi::QUIESCE_NOBODY);
    // SAFETY: The pid is null or has a reference in `cause`.
    unsafe { quiesce_break(id, party, number, status, pid(&cause.end)) }
}

/// Traces that a reset started `phase`.
pub(crate) fn reset(id: u64, phase: u64) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_reset(id, phase) }
}
