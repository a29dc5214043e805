// SPDX-License-Identifier: GPL-2.0

//! The errors of rundown references, their texts, and the errnos that they become.

use kernel::{
    error::code,
    fmt,
    prelude::*, //
};

/// An error of a rundown reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RundownError {
    /// The rundown has begun: the object must be treated as gone. `ENODEV` as an [`Error`].
    RundownInProgress,
    /// The count is zero. `EINVAL`.
    ZeroCount,
    /// The count would overflow: no more holders can be counted. `EOVERFLOW`.
    Overflow,
    /// The timeout elapsed before the rundown completed. The rundown goes on. `ETIMEDOUT`.
    TimedOut,
    /// A signal is pending and the rundown has not completed. The rundown goes on. `EINTR`; see
    /// [`restartable`](Self::restartable).
    Interrupted,
    /// The object was resurrected during the wait. `ECANCELED`.
    Resurrected,
    /// The rundown has not completed, or has not begun. `EBUSY`.
    NotDrained,
    /// The caller may not sleep, which the call would do. Nothing was changed, except by
    /// [`Guard::into_rundown`](super::Guard::into_rundown), which releases its guard. `EAGAIN`.
    WouldSleep,
    /// No rundown can be cancelled: none has begun, it has completed, or the count is saturated.
    /// `EINVAL`.
    NotInProgress,
    /// The count is saturated: the object is leaked and will never be run down. `EOVERFLOW`.
    Saturated,
    /// The object has no value. `ENODATA`.
    Vacant,
    /// The object has a value. `EEXIST`.
    Occupied,
}

impl RundownError {
    /// Converts to the error that a system call returns, so that it is restarted after a signal:
    /// [`Interrupted`](Self::Interrupted) becomes `ERESTARTSYS`.
    pub fn restartable(self) -> Error {
        match self {
            Self::Interrupted => code::ERESTARTSYS,
            err => err.into(),
        }
    }
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
            RundownError::WouldSleep => code::EAGAIN,
            RundownError::Vacant => code::ENODATA,
            RundownError::Occupied => code::EEXIST,
        }
    }
}

impl fmt::Display for RundownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RundownInProgress => "the rundown has begun",
            Self::ZeroCount => "the count is zero",
            Self::Overflow => "more holders than can be counted",
            Self::TimedOut => "the timeout elapsed before the rundown completed",
            Self::Interrupted => "a signal is pending",
            Self::Resurrected => "resurrected while waiting",
            Self::NotDrained => "not run down",
            Self::WouldSleep => "the caller may not sleep",
            Self::NotInProgress => "no rundown is in progress",
            Self::Saturated => "the count is saturated",
            Self::Vacant => "no value",
            Self::Occupied => "there is a value",
        })
    }
}
