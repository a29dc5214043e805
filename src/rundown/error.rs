// SPDX-License-Identifier: GPL-2.0

//! What can go wrong.

use kernel::{
    error::code,
    fmt,
    prelude::*, //
};

/// Why a rundown reference did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RundownError {
    /// The rundown has begun: the object must be treated as gone. `ENODEV` as an [`Error`].
    RundownInProgress,
    /// No hold was asked for. `EINVAL`.
    ZeroCount,
    /// There would be more holders than can be counted. `EOVERFLOW`.
    Overflow,
    /// The time was up before everybody had let go. The rundown goes on. `ETIMEDOUT`.
    TimedOut,
    /// A signal came before everybody had let go. The rundown goes on. `EINTR`.
    Interrupted,
    /// Somebody resurrected the object while this caller waited. `ECANCELED`.
    Resurrected,
    /// The rundown is not over, or has not begun. `EBUSY`.
    NotDrained,
    /// There is no rundown that could be undone: none has begun, or it is over. `EINVAL`.
    NotInProgress,
    /// The count is saturated: the object is leaked and will never be run down. `EOVERFLOW`.
    Saturated,
    /// There is no value to be had: somebody took it. `ENODATA`.
    Vacant,
    /// There is a value already. `EEXIST`.
    Occupied,
}

impl From<RundownError> for Error {
    fn from(err: RundownError) -> Self {
        match err {
            RundownError::RundownInProgress => code::ENODEV,
            RundownError::ZeroCount | RundownError::NotInProgress => code::EINVAL,
            RundownError::Overflow | RundownError::Saturated => code::EOVERFLOW,
            RundownError::TimedOut => code::ETIMEDOUT,
            RundownError::Interrupted => code::EINTR,
            RundownError::Resurrected => code::ECANCELED,
            RundownError::NotDrained => code::EBUSY,
            RundownError::Vacant => code::ENODATA,
            RundownError::Occupied => code::EEXIST,
        }
    }
}

impl fmt::Display for RundownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RundownInProgress => "the rundown has begun",
            Self::ZeroCount => "a hold of nothing",
            Self::Overflow => "more holders than can be counted",
            Self::TimedOut => "still held when the time was up",
            Self::Interrupted => "still held when a signal came",
            Self::Resurrected => "resurrected while waiting",
            Self::NotDrained => "not run down",
            Self::NotInProgress => "no rundown is in progress",
            Self::Saturated => "the count is saturated",
            Self::Vacant => "no value",
            Self::Occupied => "a value is there already",
        })
    }
}
