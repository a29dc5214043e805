// SPDX-License-Identifier: GPL-2.0

//! The cause of the end of a party or a group: the reason and the process.
//!
//! A cause is recorded when the end happens, by the task that brings it about, and refers to the
//! process by its `struct pid`, which outlives it. Its numbers are computed when it is reported, in
//! the pid namespace of the task that asks.

use crate::bindings::{
    self,
    uapi, //
};
use core::ptr::NonNull;
use kernel::{
    error::code::*,
    error::Error,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

/// A process, as a `struct pid` that outlives it.
#[repr(transparent)]
pub struct Pid(Opaque<kernel::bindings::pid>);

// SAFETY: A `struct pid` belongs to no task; its reference count is atomic.
unsafe impl Send for Pid {}
// SAFETY: The functions that the methods below call may be called by any task at any time.
unsafe impl Sync for Pid {}

// SAFETY: `get_pid()` and `put_pid()` are the counterpart of each other, and a `struct pid` stays
// while its count is not zero.
unsafe impl AlwaysRefCounted for Pid {
    fn inc_ref(&self) {
        // SAFETY: `self` is a valid `struct pid`, so its count is not zero.
        unsafe { bindings::quiesce_helper_get_pid(self.as_ptr()) }
    }

    unsafe fn dec_ref(pid: NonNull<Self>) {
        // SAFETY: `dec_ref()` requires that the caller owns a reference and does not use it again;
        // `put_pid()` puts that one.
        unsafe { kernel::bindings::put_pid(pid.cast().as_ptr()) }
    }
}

impl Pid {
    /// The calling task's process.
    ///
    /// Any context.
    pub fn current() -> ARef<Self> {
        // SAFETY: The helper returns a reference to a `struct pid`, which `current` always has.
        unsafe {
            ARef::from_raw(NonNull::new_unchecked(
                bindings::quiesce_helper_current_pid().cast(),
            ))
        }
    }

    /// Whether it is the calling task's process.
    ///
    /// Any context.
    pub fn is_current(&self) -> bool {
        // SAFETY: `self` is a valid `struct pid`; the helper compares its address with those of the
        // calling task.
        unsafe { bindings::quiesce_helper_is_current_pid(self.as_ptr()) }
    }

    /// The number of the process in the pid namespace of the calling task, or 0 where it has
    /// none.
    ///
    /// Process context.
    pub fn number(&self) -> i32 {
        // SAFETY: `self` is a valid `struct pid`, on which the reference that is borrowed holds a
        // count.
        unsafe { kernel::bindings::pid_vnr(self.as_ptr()) }
    }

    /// The inode number of the process's pidfds, which no other process has.
    ///
    /// Any context.
    pub fn inode(&self) -> u64 {
        // SAFETY: `self` is a valid `struct pid`, on which the reference that is borrowed holds a
        // count.
        unsafe { bindings::quiesce_helper_pid_ino(self.as_ptr()) }
    }

    /// Returns how the process ended, or `None` as long as a thread of it lives.
    ///
    /// Any context that may take a spin lock.
    pub fn ended(&self) -> Option<Why> {
        let mut code = 0;
        // SAFETY: `self` is a valid `struct pid` and `code` is writable.
        unsafe { bindings::quiesce_helper_pid_ended(self.as_ptr(), &mut code) }
            .then(|| Why::exited(code))
    }

    pub(crate) fn as_ptr(&self) -> *mut kernel::bindings::pid {
        self.0.get()
    }
}

/// The reason why a party, or a group, ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// No end: the party or the group goes on.
    #[default]
    Nothing,
    /// An explicit abort, with the code that was given to it.
    Abort(u64),
    /// A wait with `QUIESCE_WAIT_BREAK` timed out.
    Timeout,
    /// The last descriptor was closed.
    Close,
    /// The last descriptor was closed by `execve()`.
    Exec,
    /// The process exited with this code.
    Exit(i32),
    /// The process was killed by this signal.
    Signal(i32),
    /// The last copy of the group's descriptor was closed, so that nobody can join any more.
    Unclaimed,
}

impl Why {
    /// Decodes what a process exits with, as `wait(2)` does.
    pub const fn exited(code: i32) -> Self {
        match code & 0x7f {
            0 => Self::Exit((code >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }

    /// Returns why the calling task closes a descriptor.
    ///
    /// The exit of a thread is [`Why::Close`] as long as others of its process live.
    ///
    /// Process context.
    pub fn closing() -> Self {
        let mut code = 0;
        // SAFETY: `code` is a local variable that the helper may write during the call.
        if unsafe { bindings::quiesce_helper_in_exit(&mut code) } {
            return Self::exited(code);
        }
        // SAFETY: The helper only reads flags of `current`, which exists as long as it runs.
        if unsafe { bindings::quiesce_helper_in_exec() } {
            return Self::Exec;
        }
        Self::Close
    }

    /// Returns its number, the exit status or signal, and the abort code, as in the interface.
    pub(crate) const fn encode(self) -> (u32, i32, u64) {
        match self {
            Self::Nothing => (uapi::QUIESCE_CAUSE_NONE, 0, 0),
            Self::Abort(code) => (uapi::QUIESCE_CAUSE_ABORT, 0, code),
            Self::Timeout => (uapi::QUIESCE_CAUSE_TIMEOUT, 0, 0),
            Self::Close => (uapi::QUIESCE_CAUSE_CLOSE, 0, 0),
            Self::Exec => (uapi::QUIESCE_CAUSE_EXEC, 0, 0),
            Self::Exit(status) => (uapi::QUIESCE_CAUSE_EXIT, status, 0),
            Self::Signal(signal) => (uapi::QUIESCE_CAUSE_SIGNAL, signal, 0),
            Self::Unclaimed => (uapi::QUIESCE_CAUSE_UNCLAIMED, 0, 0),
        }
    }

    /// Whether the process exited or was killed.
    const fn is_exit(self) -> bool {
        matches!(self, Self::Exit(_) | Self::Signal(_))
    }

    /// The error that others get: `ECONNABORTED` if somebody wanted it, `EOWNERDEAD` if somebody
    /// died.
    pub const fn error(self) -> Error {
        match self {
            Self::Nothing | Self::Abort(_) | Self::Timeout => ECONNABORTED,
            _ => EOWNERDEAD,
        }
    }
}

/// The end or the abort of one party: the reason and the process.
#[derive(Clone, Default)]
pub struct End {
    /// The reason.
    pub why: Why,
    /// The process that ended or aborted it, if it was one.
    pub pid: Option<ARef<Pid>>,
}

impl End {
    /// Returns whether this is the death of the process `owner`.
    pub(super) fn is_death_of(&self, owner: Option<&ARef<Pid>>) -> bool {
        match (&self.pid, owner) {
            (Some(pid), Some(owner)) => self.why.is_exit() && pid.as_ptr() == owner.as_ptr(),
            _ => false,
        }
    }

    /// The calling task's doing.
    ///
    /// Process context.
    pub fn new(why: Why) -> Self {
        Self {
            why,
            pid: Some(Pid::current()),
        }
    }

    /// Describes the close of a descriptor by the calling task: an exit, a signal, `execve()` or
    /// `close()`.
    ///
    /// Process context.
    pub fn closing() -> Self {
        Self::new(Why::closing())
    }

    /// The last reference to a file is released in the calling task; `noted` is what the last
    /// close of a descriptor noted.
    ///
    /// These are not always the same process: the last reference may have been a message on a
    /// socket, or a table of io_uring's. Where it was neither `noted`'s nor that of a process,
    /// nobody is named. `owner` is the process that the party ends with, if there is one: it is
    /// exiting if that is noted, whoever has the last reference.
    ///
    /// Process context.
    pub fn released(noted: &Self, owner: Option<&ARef<Pid>>) -> Self {
        if noted.is_death_of(owner) {
            return noted.clone();
        }
        let now = Why::closing();
        match &noted.pid {
            _ if noted.why == Why::Nothing => (),
            None => return noted.clone(),
            // This is the cause of the close, unless a later exit released the last reference.
            Some(pid) if pid.is_current() && !now.is_exit() => return noted.clone(),
            Some(_) => (),
        }
        // SAFETY: The helper only reads flags of `current`, which exists as long as it runs.
        if unsafe { bindings::quiesce_helper_is_kthread() } {
            return Self {
                why: Why::Close,
                pid: None,
            };
        }
        Self::new(now)
    }
}

/// The end of a party that broke a group, or of a pair's side.
#[derive(Clone, Default)]
pub struct Cause {
    /// The number of the party; [`None`] if nobody's party broke the group.
    pub party: Option<u32>,
    /// The reason and the process.
    pub end: End,
}
