// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Deadlines of waits.

use crate::sys::{QUIESCE_WAIT_BOOTTIME, QUIESCE_WAIT_BREAK, QUIESCE_WAIT_REALTIME};
use rustix::time::{clock_gettime, ClockId};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The absolute time at which a wait fails with [`Error::TimedOut`](crate::Error::TimedOut).
///
/// Made from an [`Instant`] or a [`SystemTime`]; all waits take either. A wait whose deadline has
/// passed still succeeds if its condition holds.
///
/// ```
/// use quiesce_barrier::Deadline;
/// use std::time::{Duration, Instant, SystemTime};
///
/// let a = Deadline::from(Instant::now() + Duration::from_secs(1));
/// let b = Deadline::from(SystemTime::now() + Duration::from_secs(1));
/// let c = Deadline::after(Duration::from_secs(1)).or_break();
/// let d = Deadline::after_boottime(Duration::from_secs(1));
/// # let _ = (a, b, c, d);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub(crate) ns: u64,
    pub(crate) flags: u32,
}

/// Returns the nanoseconds of `time`, saturated at the interface's "no deadline".
fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self {
        ns: u64::MAX,
        flags: 0,
    };

    /// Polls the condition and does not sleep.
    pub const NOW: Self = Self { ns: 0, flags: 0 };

    /// Returns the time `timeout` from now. While the machine is suspended it does not pass.
    pub fn after(timeout: Duration) -> Self {
        Self {
            ns: now(ClockId::Monotonic).saturating_add(nanoseconds(timeout)),
            flags: 0,
        }
    }

    /// Returns the time `timeout` from now, by a clock that counts while the machine is suspended.
    pub fn after_boottime(timeout: Duration) -> Self {
        Self::boottime(Duration::from_nanos(
            now(ClockId::Boottime).saturating_add(nanoseconds(timeout)),
        ))
    }

    /// Returns the time `at` of `CLOCK_BOOTTIME`, for which the standard library has no type.
    pub fn boottime(at: Duration) -> Self {
        Self {
            ns: nanoseconds(at),
            flags: QUIESCE_WAIT_BOOTTIME,
        }
    }

    /// Breaks the group when the deadline passes: its other parties fail with
    /// [`Why::TimedOut`](crate::Why::TimedOut). Waits of a pair fail with `EINVAL`. On a descriptor
    /// with `O_NONBLOCK` a wait fails with [`Error::WouldBlock`](crate::Error::WouldBlock), also after
    /// the deadline, and breaks nothing.
    #[must_use]
    pub const fn or_break(self) -> Self {
        Self {
            ns: self.ns,
            flags: self.flags | QUIESCE_WAIT_BREAK,
        }
    }
}

/// Returns the current time of `clock`. `Instant` has the monotonic one on Linux.
fn now(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // These clocks are not negative, and their nanoseconds are below 10^9.
    nanoseconds(Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        let (now, clock) = (Instant::now(), now(ClockId::Monotonic));
        let ns = match at.checked_duration_since(now) {
            Some(left) => clock.saturating_add(nanoseconds(left)),
            None => clock.saturating_sub(nanoseconds(now.duration_since(at))),
        };
        Self { ns, flags: 0 }
    }
}

impl From<SystemTime> for Deadline {
    fn from(at: SystemTime) -> Self {
        Self {
            ns: at.duration_since(UNIX_EPOCH).map_or(0, nanoseconds),
            flags: QUIESCE_WAIT_REALTIME,
        }
    }
}
