// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! The current state of barriers and parties.

use crate::{ioctl, sys::*, Cause, Result};
use rustix::fd::BorrowedFd;

/// The type of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A party of a pair.
    Pair,
    /// A party of a group.
    Party,
    /// A group's own descriptor.
    Group,
    /// A type that this crate does not know.
    Unknown(u32),
}

/// The state of a party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(u32);

macro_rules! states {
    ($($(#[$attr:meta])* $name:ident = $bit:ident;)*) => { $(
        $(#[$attr])*
        pub const fn $name(self) -> bool {
            self.0 & $bit != 0
        }
    )* };
}

impl State {
    states! {
        /// Group: a seat that nobody took.
        is_open = QUIESCE_STATE_OPEN;
        /// Group: arrived in the current phase.
        has_arrived = QUIESCE_STATE_ARRIVED;
        /// Group: gave the seat up.
        has_left = QUIESCE_STATE_LEFT;
        /// Pair: called `abort`.
        has_aborted = QUIESCE_STATE_ABORTED;
        /// Closed, or its process is dead.
        has_ended = QUIESCE_STATE_ENDED;
        /// Ends with its process.
        is_bound = QUIESCE_STATE_BOUND;
        /// Group: the group is broken; in the state of a [`Status`] only.
        is_broken = QUIESCE_STATE_BROKEN;
        /// Group: has to call [`Party::complete`](crate::Party::complete).
        has_to_complete = QUIESCE_STATE_LEADS;
    }
}

/// The state of a barrier. Reading it does not advance a pair's view of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The type of the descriptor.
    pub kind: Kind,
    /// The number of this party; `None` for a group's descriptor.
    pub party: Option<u32>,
    /// The state of this party.
    pub state: State,
    /// Number of seats in this phase, 2 for a pair.
    pub parties: u32,
    /// Group: number of parties that have arrived.
    pub arrived: u32,
    /// Group: number of open seats.
    pub open: u32,
    /// Number of tasks in a wait on the barrier.
    pub waiting: u32,
    /// Numbers of the parties that are late. Group: those that have not arrived in this phase, or
    /// had not when the group broke. Pair: the party that has arrived less often.
    pub late: Vec<u32>,
    /// Group: the current phase, from 1.
    pub phase: u64,
    /// Pair: arrivals of this side, less arrivals that it read.
    pub balance: i64,
    /// Pair: arrivals of the other side that this side has not read.
    pub unread: u64,
    /// Pair: arrivals of this side that the other side has not read.
    pub sent: u64,
    /// Pair: how the other side ended or aborted; group: the break.
    pub cause: Option<Cause>,
}

impl Status {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let mut words = [0; QUIESCE_MAX_PARTIES as usize / 64];
        let s = ioctl::status(fd, &mut words)?;
        let late = (0..QUIESCE_MAX_PARTIES)
            .filter(|&n| (words[n as usize / 64] >> (n % 64)) & 1 != 0)
            .collect();
        Ok(Self {
            kind: match s.kind {
                QUIESCE_KIND_PAIR => Kind::Pair,
                QUIESCE_KIND_PARTY => Kind::Party,
                QUIESCE_KIND_GROUP => Kind::Group,
                kind => Kind::Unknown(kind),
            },
            party: (s.party != QUIESCE_NOBODY).then_some(s.party),
            state: State(s.state),
            parties: s.parties,
            arrived: s.arrived,
            open: s.open,
            waiting: s.waiting,
            late,
            phase: s.phase,
            balance: s.balance,
            unread: s.unread,
            sent: s.sent,
            cause: Cause::new(&s.cause),
        })
    }
}

/// The state of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its state.
    pub state: State,
    /// Its process: the one that created it, or was bound to it last.
    pub pid: Option<u32>,
    /// Number of tasks in a wait of this party.
    pub waiting: u32,
    /// Pair: its arrivals. Group: the phase of its last arrival, 0 before the first.
    pub count: u64,
    /// How it ended or aborted.
    pub cause: Option<Cause>,
}

impl Member {
    pub(crate) fn of(fd: BorrowedFd<'_>, party: u32) -> Result<Self> {
        let mut m = quiesce_member {
            party,
            ..Default::default()
        };
        ioctl::member(fd, &mut m)?;
        Ok(Self {
            state: State(m.state),
            pid: u32::try_from(m.pid).ok().filter(|&pid| pid != 0),
            waiting: m.waiting,
            count: m.count,
            cause: Cause::new(&m.cause),
        })
    }
}
