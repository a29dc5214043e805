// SPDX-License-Identifier: GPL-2.0

//! How parties and groups end, and how a reset makes a broken group usable again.
//!
//! A party ends when its descriptor is closed for the last time, when the process that it is bound
//! to exits, or when it leaves. Its arrival in the current phase stands. What follows for the phase
//! depends on whether it had arrived and on the group's policy.

use super::{
    Failure,
    Group,
    Seat, //
};
use crate::barrier::{
    set::Set,
    End,
    Pid,
    Why, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

impl Group {
    /// A wait that breaks on timeout has timed out. Returns whether that broke the group: a party
    /// that has left breaks nothing.
    pub fn timeout(&mut self, seat: &Seat) -> bool {
        self.live(seat).is_ok() && self.break_by(Some(seat.party()), End::new(Why::Timeout))
    }

    /// Whether [`Group::abort`] would succeed.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn preview_abort(&self, seat: Option<&Seat>) -> Result {
        seat.map_or(Ok(()), |seat| self.live(seat).map(drop))
    }

    /// Breaks the group, on behalf of a party or of nobody. Returns whether it was not broken.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn abort(&mut self, seat: Option<&Seat>, end: End) -> Result<bool> {
        self.preview_abort(seat)?;
        Ok(self.break_by(seat.map(Seat::party), end))
    }

    /// Gives the seat up; an arrival stands.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn leave(&mut self, seat: &Seat) -> Result {
        self.live_mut(seat)?.left = true;
        self.hung_up = self.hung_up.wrapping_add(1);
        let arrived = self.arrived.contains(seat.party());
        match self.broken.clone() {
            None if arrived => {
                self.leaving.insert(seat.party());
                self.leader_left(seat.party());
                self.elect();
                return Ok(());
            }
            // No reset will find it among those that arrived.
            Some(cause) if arrived => {
                if let Some(state) = self.state_mut(seat) {
                    state.newest_mut().failed = Some(Failure::Broken(cause));
                }
            }
            _ => (),
        }
        self.vacate(seat.party());
        self.try_complete_phase();
        Ok(())
    }

    /// Notes who closed a copy of the party's descriptor, in case it was the last. A process that the
    /// party ends with and that is exiting stays noted, whoever closes a copy before it is dead.
    pub fn closing(&mut self, seat: &Seat, end: End) {
        if let Ok(state) = self.live_mut(seat) {
            if !state.end.is_death_of(state.bound_owner()) {
                state.end = end;
            }
        }
    }

    /// Ends the party, whose process has died. Returns whether it had neither left nor ended.
    ///
    /// The caller calls [`Group::elect`] before it releases the lock.
    pub fn end(&mut self, seat: &Seat, end: End) -> bool {
        let ended = self.end_as(seat, Some(end));
        if ended {
            self.hung_up = self.hung_up.wrapping_add(1);
        }
        ended
    }

    /// The last copy of the party's descriptor is closed: ends it, as [`Group::closing`] noted
    /// last. Returns whether it had neither left nor ended.
    pub fn release(&mut self, seat: &Seat) -> bool {
        let ended = self.end_as(seat, None);
        self.elect();
        if !ended && self.state(seat).is_some() {
            self.hung_up = self.hung_up.wrapping_sub(1);
        }
        ended
    }

    fn end_as(&mut self, seat: &Seat, end: Option<End>) -> bool {
        let Ok(state) = self.live_mut(seat) else {
            return false;
        };
        state.ended = true;
        state.end = end.unwrap_or_else(|| End::released(&state.end, state.bound_owner()));
        let end = state.end.clone();

        let number = seat.party();
        if !self.policy.shrink && self.completing == Some(number) {
            // What it did of the completion step is not known.
            self.dead.insert(number);
            self.break_by(Some(number), end);
        } else if self.broken.is_some() || self.arrived.contains(number) {
            self.dead.insert(number);
            self.leader_left(number);
        } else if self.policy.shrink {
            self.vacate(number);
            self.try_complete_phase();
        } else {
            self.dead.insert(number);
            self.break_by(Some(number), end);
        }
        true
    }

    /// Notes who closed a copy of the group's descriptor.
    pub fn closing_group(&mut self, closer: ARef<Pid>) {
        self.closer = Some(closer);
    }

    /// The last copy of the group's descriptor is closed, so nobody can join any more: the open
    /// seats end. Returns how, if there were any.
    pub fn close(&mut self) -> Option<End> {
        let pid = End::released(
            &End {
                why: Why::Close,
                pid: self.closer.take(),
            },
            None,
        )
        .pid;
        if self.broken.is_some() || self.open.is_empty() {
            return None;
        }
        let end = End {
            why: Why::Unclaimed,
            pid,
        };
        if self.policy.shrink {
            while let Some(n) = self.open.pop() {
                self.vacate(n);
            }
            self.try_complete_phase();
        } else {
            self.break_by(None, end.clone());
        }
        Some(end)
    }

    /// Returns the phase that a reset would start.
    pub fn preview_reset(&self) -> u64 {
        self.phase.wrapping_add(1)
    }

    /// Starts a new phase, mends the group and opens the seats of ended parties. Returns the new
    /// phase.
    pub fn reset(&mut self) -> u64 {
        let failure = self.broken.take().map_or(Failure::Reset, Failure::Broken);
        while let Some(n) = self.arrived.pop() {
            if let Some(state) = self.tenant_mut(n) {
                state.newest_mut().failed = Some(failure.clone());
            }
        }
        self.void = self.phase;
        // INVARIANT: Nobody has arrived, so nobody is leaving either; what is dead is open or
        // removed below.
        self.begin(self.preview_reset());
        self.completing = None;
        self.arrived = Set::EMPTY;
        self.count = 0;
        while let Some(n) = self.leaving.pop() {
            self.vacate(n);
        }
        while let Some(n) = self.dead.pop() {
            if self.policy.shrink {
                self.vacate(n);
            } else {
                self.open.insert(n);
            }
        }
        self.phase
    }
}
