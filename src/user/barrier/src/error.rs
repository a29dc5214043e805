// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Errors, and the causes of a barrier's end.

use crate::sys::*;
use rustix::io::Errno;
use std::{fmt, io};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a call. The call has changed nothing, except a wait: its arrival stands, and so does
/// what it read of the other side of a pair.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The group is broken, or the other side of the pair aborted or ended.
    Broken(Cause),
    /// The deadline has passed. An arrival that the call made stands; a deadline with
    /// [`or_break`](crate::Deadline::or_break) has broken the group.
    TimedOut,
    /// The descriptor has `O_NONBLOCK` and the call would sleep. An arrival that it made stands.
    WouldBlock,
    /// A signal handler without `SA_RESTART` ran. An arrival that the call made stands.
    Interrupted,
    /// This side of the pair called `abort`.
    Aborted,
    /// The phase of the ticket was ended by [`Group::reset`](crate::Group::reset).
    Reset,
    /// The outcome of the ticket's phase is not kept any more.
    Stale,
    /// The party has already arrived in this phase.
    AlreadyArrived,
    /// The party has left, or the process that it was bound to is dead.
    Left,
    /// The group has no open seat, and as many seats as it can have.
    Full,
    /// `/dev/quiesce` cannot be opened.
    NoDevice(io::Error),
    /// Another error of the system call.
    Os(io::Error),
}

/// Who ended a barrier, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The reason.
    pub why: Why,
    /// The party, unless it was the group as a whole or nobody.
    pub party: Option<u32>,
    /// The process, if there is one that is visible in the caller's pid namespace.
    ///
    /// The number may belong to another process once this one was waited for.
    pub pid: Option<u32>,
}

/// Why a party or a barrier ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A call to `abort`, with the caller's code.
    Aborted(u64),
    /// A wait whose deadline had [`or_break`](crate::Deadline::or_break).
    TimedOut,
    /// The last copy of the party's descriptor was closed.
    Closed,
    /// The last copy of the party's descriptor was closed by `execve()`.
    Exec,
    /// The process exited with this status.
    Exited(i32),
    /// The process was killed by this signal.
    Killed(i32),
    /// There were open seats, and the last descriptor to join by was closed.
    Unclaimed,
    /// A reason that this crate does not know.
    Unknown(u32),
}

impl Cause {
    pub(crate) fn new(c: &quiesce_cause) -> Option<Self> {
        let why = match c.cause {
            QUIESCE_CAUSE_NONE => return None,
            QUIESCE_CAUSE_ABORT => Why::Aborted(c.code),
            QUIESCE_CAUSE_TIMEOUT => Why::TimedOut,
            QUIESCE_CAUSE_CLOSE => Why::Closed,
            QUIESCE_CAUSE_EXEC => Why::Exec,
            QUIESCE_CAUSE_EXIT => Why::Exited(c.status),
            QUIESCE_CAUSE_SIGNAL => Why::Killed(c.status),
            QUIESCE_CAUSE_UNCLAIMED => Why::Unclaimed,
            other => Why::Unknown(other),
        };
        Some(Self {
            why,
            party: (c.party != QUIESCE_NOBODY).then_some(c.party),
            pid: u32::try_from(c.pid).ok().filter(|&pid| pid != 0),
        })
    }
}

impl Error {
    pub(crate) fn new(errno: Errno, cause: &quiesce_cause) -> Self {
        match errno {
            Errno::CONNABORTED | Errno::OWNERDEAD => match Cause::new(cause) {
                Some(cause) => Self::Broken(cause),
                None => Self::Os(errno.into()),
            },
            errno => errno.into(),
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::AGAIN => Self::WouldBlock,
            Errno::INTR => Self::Interrupted,
            Errno::SHUTDOWN => Self::Aborted,
            Errno::CANCELED => Self::Reset,
            Errno::STALE => Self::Stale,
            Errno::ALREADY => Self::AlreadyArrived,
            Errno::NOTCONN => Self::Left,
            Errno::NOSPC => Self::Full,
            errno => Self::Os(errno.into()),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(code) => write!(f, "aborted with code {code}"),
            Self::TimedOut => f.write_str("would not wait any longer"),
            Self::Closed => f.write_str("closed its descriptor"),
            Self::Exec => f.write_str("executed another program"),
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => {
                write!(
                    f,
                    "was killed by signal {signal} ({})",
                    signal_text(*signal)
                )
            }
            Self::Unclaimed => f.write_str("nobody can join any more"),
            Self::Unknown(cause) => write!(f, "ended for reason {cause}"),
        }
    }
}

/// Returns the C library's text for a signal of Linux' generic numbering.
fn signal_text(signal: i32) -> &'static str {
    const TEXTS: [&str; 32] = [
        "Unknown signal",
        "Hangup",
        "Interrupt",
        "Quit",
        "Illegal instruction",
        "Trace/breakpoint trap",
        "Aborted",
        "Bus error",
        "Floating point exception",
        "Killed",
        "User defined signal 1",
        "Segmentation fault",
        "User defined signal 2",
        "Broken pipe",
        "Alarm clock",
        "Terminated",
        "Stack fault",
        "Child exited",
        "Continued",
        "Stopped (signal)",
        "Stopped",
        "Stopped (tty input)",
        "Stopped (tty output)",
        "Urgent I/O condition",
        "CPU time limit exceeded",
        "File size limit exceeded",
        "Virtual timer expired",
        "Profiling timer expired",
        "Window changed",
        "I/O possible",
        "Power failure",
        "Bad system call",
    ];
    match usize::try_from(signal).ok().and_then(|n| TEXTS.get(n)) {
        Some(text) => text,
        None if (34..=64).contains(&signal) => "Real-time signal",
        None => TEXTS[0],
    }
}

/// The words of libquiesce's `quiesce_cause_text()`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.why == Why::Unclaimed {
            return self.why.fmt(f);
        }
        match (self.pid, self.party) {
            (Some(pid), _) => write!(f, "process {pid} {}", self.why),
            (None, Some(party)) => write!(f, "party {party} {}", self.why),
            (None, None) => write!(f, "somebody {}", self.why),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(cause) => write!(f, "the barrier is broken: {cause}"),
            Self::TimedOut => f.write_str("the deadline has passed"),
            Self::WouldBlock => f.write_str("the call would block"),
            Self::Interrupted => f.write_str("interrupted by a signal"),
            Self::Aborted => f.write_str("this side has aborted"),
            Self::Reset => f.write_str("the group was reset"),
            Self::Stale => f.write_str("the outcome of this phase is not kept any more"),
            Self::AlreadyArrived => f.write_str("the party has already arrived in this phase"),
            Self::Left => f.write_str("the party has left, or its process is dead"),
            Self::Full => f.write_str("the group has no seat left"),
            Self::NoDevice(e) => {
                write!(f, "/dev/quiesce: {e}")?;
                match e.raw_os_error().map(Errno::from_raw_os_error) {
                    // A file of that name, whose driver is not there.
                    Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => f.write_str(
                        "; load the module (modprobe quiesce) or install it (package quiesce-dkms)",
                    ),
                    Some(Errno::ACCESS | Errno::PERM) => f.write_str(
                        "; the module's parameter `mode` and udev rules decide who may open it",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Os(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoDevice(e) | Self::Os(e) => Some(e),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Broken(_) | Error::Aborted | Error::Reset => io::ErrorKind::ConnectionAborted,
            Error::TimedOut => io::ErrorKind::TimedOut,
            Error::WouldBlock => io::ErrorKind::WouldBlock,
            Error::Interrupted => io::ErrorKind::Interrupted,
            Error::Left => io::ErrorKind::NotConnected,
            Error::NoDevice(e) | Error::Os(e) => e.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
