// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of rundowns, which `src/trace.h` defines. They name a reference by its address.

use crate::tracepoint::declare_trace;

declare_trace! {
    unsafe fn quiesce_rundown_begin(key: usize);
    unsafe fn quiesce_rundown_end(key: usize);
    unsafe fn quiesce_rundown_stall(key: usize, ms: u32, waiters: usize, holders: usize);
}

/// A rundown of the reference with this key begins.
pub(super) fn begin(key: usize) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_rundown_begin(key) }
}

/// A rundown ended: there is no holder. The reference may have been freed.
pub(super) fn end(key: usize) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_rundown_end(key) }
}

/// A rundown is waited for since `ms` milliseconds.
pub(super) fn stall(key: usize, ms: u32, waiters: usize, holders: usize) {
    // SAFETY: The tracepoint's arguments are numbers, which it records without dereferencing them.
    unsafe { quiesce_rundown_stall(key, ms, waiters, holders) }
}
