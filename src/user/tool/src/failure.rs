// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Failures, and the exit statuses that quiesce(1) documents.

use quiesce_barrier::{Cause, Error, Why};
use std::{
    fmt,
    io::{self, Write},
};

/// A party failed, or the barrier is broken.
pub const BROKEN: u8 = 1;
/// Wrong arguments or environment.
pub const USAGE: u8 = 2;
/// A time limit was reached.
pub const TIMED_OUT: u8 = 3;
/// The device, or the kernel's tracing, cannot be used.
pub const UNAVAILABLE: u8 = 4;
/// With --leader: another party leads.
pub const NOT_LEADER: u8 = 5;
/// Another error of the tool itself.
pub const OTHER: u8 = 125;
/// The command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// What is reported on the standard error before the program exits.
#[derive(Debug)]
pub enum Failure {
    /// A status and a text.
    Text(u8, String),
    /// An error of the barrier.
    Barrier(Error),
}

impl Failure {
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Text(USAGE, text.into())
    }

    pub fn other(text: impl Into<String>) -> Self {
        Self::Text(OTHER, text.into())
    }

    /// Returns the failure to execute `command`.
    pub fn exec(command: &std::ffi::OsStr, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        };
        Self::Text(status, format!("{}: {error}", command.to_string_lossy()))
    }

    pub fn status(&self) -> u8 {
        match self {
            Self::Text(status, _) => *status,
            Self::Barrier(Error::Broken(_) | Error::Aborted | Error::Reset) => BROKEN,
            Self::Barrier(Error::TimedOut) => TIMED_OUT,
            Self::Barrier(Error::NoDevice(_)) => UNAVAILABLE,
            Self::Barrier(_) => OTHER,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_, text) => f.write_str(text),
            Self::Barrier(Error::Broken(cause)) => {
                write!(f, "the barrier is broken: {}", describe(cause))
            }
            Self::Barrier(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Barrier(error)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::other(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::other(error.to_string())
    }
}

/// Writes a line to the standard error, in one piece: parties write there, too.
pub fn note(text: impl fmt::Display) {
    let line = format!("quiesce: {text}\n");
    // There is nowhere to report an error of this.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Returns the cause in words, with both the party and its process.
pub fn describe(cause: &Cause) -> String {
    match (cause.why, cause.party, cause.pid) {
        (Why::Aborted(code), None, _) if code == libc::ETIMEDOUT as u64 => {
            "a time limit was reached".into()
        }
        (Why::Unclaimed, ..) | (_, None, _) | (_, _, None) => cause.to_string(),
        (why, Some(party), Some(pid)) => format!("party {party} (pid {pid}) {why}"),
    }
}
