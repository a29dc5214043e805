// SPDX-License-Identifier: GPL-2.0

//! Reports of waits that take long.
//!
//! A report names the domain, and the task and the place of the wait; for an SRCU domain a second
//! one names the tasks that are in its read-side critical sections, with their stacks.

use crate::bindings as helpers;
use core::panic::Location;
use kernel::{
    prelude::*,
    str::CStr,
    types::Opaque, //
};

/// A description of a wait, for the report.
pub(super) struct Wait<'a> {
    /// As in "waits for WHAT of DOMAIN".
    pub(super) what: &'a CStr,
    /// The domain, or the module.
    pub(super) domain: *const c_char,
    /// The value that marks the stacks of its readers; zero if there is none.
    pub(super) mark: usize,
}

impl Wait<'_> {
    fn stall(&self) -> helpers::quiesce_rcu_stall {
        // SAFETY: A timer and others of C's fields that are zero are not in use.
        let zeroed: helpers::quiesce_rcu_stall = unsafe { core::mem::zeroed() };
        helpers::quiesce_rcu_stall {
            what: self.what.as_char_ptr(),
            domain: self.domain,
            mark: self.mark,
            ..zeroed
        }
    }

    /// Calls `wait`, and reports the caller if that takes long. Process context.
    pub(super) fn watched<R>(&self, caller: &Location<'_>, wait: impl FnOnce() -> R) -> R {
        let file = caller.file();
        let stall = Opaque::new(helpers::quiesce_rcu_stall {
            file: file.as_ptr().cast(),
            file_len: file.len(),
            line: caller.line(),
            ..self.stall()
        });
        // SAFETY: It stays where it is, and the strings live, until it has ended below.
        unsafe { helpers::quiesce_helper_rcu_stall_begin(stall.get()) };
        let ret = wait();
        // SAFETY: `quiesce_helper_rcu_stall_begin()` was called with `stall` above.
        unsafe { helpers::quiesce_helper_rcu_stall_end(stall.get()) };
        ret
    }
}

/// Reports a wait that no task is in.
///
/// # Invariants
///
/// It is initialised, but for statics before [`init`](Self::init).
pub(super) struct Stall(Opaque<helpers::quiesce_rcu_stall>);

// SAFETY: A timer and the other fields are not tied to the task that initialised them.
unsafe impl Send for Stall {}
// SAFETY: The timer has a lock of its own, C reads and writes `period` in single accesses, a
// `since` that is read while the wait is restarted affects only the reported time, `reported`
// belongs to the timer's function, and the other fields are written by `init` alone.
unsafe impl Sync for Stall {}

impl Stall {
    /// Creates a report that is not in use.
    pub(super) const fn new() -> Self {
        Self(Opaque::zeroed())
    }

    /// Initialises the report.
    ///
    /// # Safety
    ///
    /// It is not in use, does not move any more, and the strings live until
    /// [`destroy`](Self::destroy).
    pub(super) unsafe fn init(&self, wait: &Wait<'_>) {
        // SAFETY: The report is not in use and does not move any more, as this function requires.
        unsafe {
            self.0.get().write(wait.stall());
            helpers::quiesce_helper_rcu_stall_init(self.0.get());
        }
    }

    /// Begins a wait. Any context but NMI.
    pub(super) fn start(&self) {
        // SAFETY: By the type invariants the timer is initialised, and it is stopped before it is
        // freed.
        unsafe { helpers::quiesce_helper_rcu_stall_start(self.0.get()) };
    }

    /// Ends the wait. Any context but NMI.
    pub(super) fn stop(&self) {
        // SAFETY: By the type invariants the timer is initialised, and it is stopped before it is
        // freed.
        unsafe { helpers::quiesce_helper_rcu_stall_stop(self.0.get()) };
    }

    /// Waits for a report that is under way, and prevents further ones.
    ///
    /// # Safety
    ///
    /// It is initialised, and not used any more but by `init`.
    pub(super) unsafe fn destroy(&self) {
        // SAFETY: The report is initialised and not used any more but by `init`, as this function
        // requires.
        unsafe { helpers::quiesce_helper_rcu_stall_destroy(self.0.get()) };
    }
}
