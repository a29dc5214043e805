// SPDX-License-Identifier: GPL-2.0

//! The visible state of a group and its parties, for STATUS, MEMBER, `poll()` and `fdinfo`.

use super::{
    Group,
    Seat,
    SeatState, //
};
use crate::barrier::{
    End,
    Pid, //
};
use kernel::{
    bindings::{
        POLLERR,
        POLLHUP,
        POLLIN,
        POLLOUT,
        POLLPRI,
        POLLRDNORM,
        POLLWRNORM, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// The current state of one party, as MEMBER returns it.
#[derive(Clone, Default)]
pub struct PartyInfo {
    /// Whether the seat is open: no party has it.
    pub open: bool,
    /// Whether it has arrived in the current phase.
    pub arrived: bool,
    /// Whether it has left.
    pub left: bool,
    /// Its descriptor is closed everywhere, or its process is dead.
    pub ended: bool,
    /// Whether it leads the current phase and has to complete it.
    pub leads: bool,
    /// Whether it ends with the process that it is bound to.
    pub bound: bool,
    /// Tasks that sleep in a wait of it.
    pub waiting: u32,
    /// The phase of its last arrival.
    pub last: u64,
    /// The process that owns it.
    pub owner: Option<ARef<Pid>>,
    /// The end of the party.
    pub end: End,
}

impl Group {
    fn poll_broken(&self) -> u32 {
        if self.broken.is_some() {
            POLLPRI | POLLERR
        } else {
            0
        }
    }

    /// Returns the events of `poll()` for the party.
    pub fn poll(&self, seat: &Seat) -> u32 {
        let mut mask = self.poll_broken();
        let Some(state) = self.state(seat) else {
            return mask | POLLHUP;
        };
        let newest = state.newest();
        let over = newest.ticket != 0 && newest.ticket < self.phase && !newest.reported;
        if over || (self.completing == Some(seat.party()) && !state.hung_up()) {
            mask |= POLLIN | POLLRDNORM;
        }
        if self.preview_arrive(seat, false).is_ok() {
            mask |= POLLOUT | POLLWRNORM;
        }
        if state.hung_up() {
            mask |= POLLHUP;
        }
        mask
    }

    /// Returns the events of `poll()` for the group's descriptor.
    pub fn poll_group(&self) -> u32 {
        let mut mask = self.poll_broken();
        if self.reported < self.phase {
            mask |= POLLIN | POLLRDNORM;
        }
        if self.parties == 0 {
            mask |= POLLHUP;
        }
        mask
    }

    /// Notes that the group's descriptor has reported `phase`.
    pub fn report_phase(&mut self, phase: u64) {
        self.reported = self.reported.max(phase);
    }

    /// Returns the truth about the party that the caller holds, even if it has left or ended.
    pub fn own(&self, seat: &Seat) -> PartyInfo {
        match self.state(seat) {
            Some(state) => self.describe(self.is_tenant(seat).then_some(seat.party()), state),
            None => PartyInfo::default(),
        }
    }

    /// Returns the truth about the party of seat `number`, or the last one that had it unless the
    /// seat is open.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such seat and no party was ever there.
    pub fn party(&self, number: u32) -> Result<PartyInfo> {
        if self.open.contains(number) {
            return Ok(PartyInfo {
                open: true,
                ..PartyInfo::default()
            });
        }
        let state = self.tenant(number).ok_or(ESRCH)?;
        Ok(self.describe(Some(number), state))
    }

    /// Returns the process of the party that has seat `number`.
    pub fn owner(&self, number: u32) -> Option<&Pid> {
        if self.open.contains(number) {
            return None;
        }
        self.tenant(number)?.owner.as_deref()
    }

    /// Describes a party that is the tenant of seat `number`, or of none.
    fn describe(&self, number: Option<u32>, state: &SeatState) -> PartyInfo {
        PartyInfo {
            open: false,
            arrived: number.is_some_and(|n| self.arrived.contains(n)),
            leads: number.is_some() && number == self.completing,
            left: state.left,
            ended: state.ended,
            bound: state.bound,
            waiting: state.waiting,
            last: state.newest().ticket,
            owner: state.owner.clone(),
            end: if state.ended {
                state.end.clone()
            } else {
                End::default()
            },
        }
    }
}
