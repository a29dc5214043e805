// SPDX-License-Identifier: GPL-2.0

//! How parties and groups end, and how a group is mended.

use super::{
    Group,
    Place,
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
    /// A wait that breaks on timeout has timed out. Returns whether that broke the group.
    pub fn timeout(&mut self, seat: Seat) -> bool {
        self.live(seat).is_ok() && self.break_by(Some(seat.number), End::new(Why::Timeout))
    }

    /// Breaks the group, on behalf of a party or of nobody. Returns whether it was not broken.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn abort(&mut self, seat: Option<Seat>, end: End) -> Result<bool> {
        if let Some(seat) = seat {
            self.live(seat)?;
        }
        Ok(self.break_by(seat.map(Seat::party), end))
    }

    /// Gives the seat up; an arrival stands. Returns whether others have something to look at.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn leave(&mut self, seat: Seat) -> Result<bool> {
        self.live(seat)?.left = true;
        if self.arrived.contains(seat.number) && self.broken.is_none() {
            self.leaving.insert(seat.number);
            return Ok(true);
        }
        self.vacate(seat.number);
        self.settle();
        Ok(true)
    }

    /// Notes who closed a copy of the party's descriptor, in case it was the last.
    pub fn closing(&mut self, seat: Seat, end: End) {
        if let Ok(place) = self.live(seat) {
            place.end = end;
        }
    }

    /// Ends the party, as `end` says or else as [`Group::closing`] noted last. Returns whether it
    /// had neither left nor ended before.
    pub fn end(&mut self, seat: Seat, end: Option<End>) -> bool {
        let Ok(place) = self.live(seat) else {
            return false;
        };
        place.ended = true;
        place.end = end.unwrap_or_else(|| End::released(&place.end));
        let end = place.end.clone();

        let number = seat.number;
        if self.broken.is_some() || self.arrived.contains(number) {
            self.dead.insert(number);
        } else if self.shrink {
            self.vacate(number);
            self.settle();
        } else {
            self.dead.insert(number);
            self.break_by(Some(number), end);
        }
        true
    }

    /// Nobody can join any more: the open seats end. Returns whether there were any.
    pub fn close(&mut self, closer: Option<ARef<Pid>>) -> bool {
        if self.broken.is_some() || self.open.is_empty() {
            return false;
        }
        if self.shrink {
            while let Some(n) = self.open.pop() {
                self.vacate(n);
            }
            self.settle();
            true
        } else {
            self.break_by(
                None,
                End {
                    why: Why::Unclaimed,
                    pid: closer,
                },
            )
        }
    }

    /// Starts a new phase, mends the group and opens the seats of ended parties. Returns the new
    /// phase.
    pub fn reset(&mut self) -> u64 {
        self.void = self.phase;
        // INVARIANT: As in `complete`; what is dead is open or gone below.
        self.phase = self.phase.wrapping_add(1);
        self.arrived = Set::EMPTY;
        self.count = 0;
        while let Some(n) = self.leaving.pop() {
            self.vacate(n);
        }
        while let Some(n) = self.dead.pop() {
            if self.shrink {
                self.vacate(n);
            } else {
                self.places[n as usize] = Place::default();
                self.open.insert(n);
            }
        }
        self.broken = None;
        self.phase
    }
}
