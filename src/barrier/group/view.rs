// SPDX-License-Identifier: GPL-2.0

//! What there is to be seen of a group's parties.

use super::{
    Group,
    Place,
    Seat, //
};
use crate::barrier::{
    End,
    Pid, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// The truth about one party.
#[derive(Clone)]
pub struct Member {
    /// Nobody has the seat.
    pub open: bool,
    /// It has arrived in this phase.
    pub arrived: bool,
    /// It has given its seat up.
    pub left: bool,
    /// Its descriptor is closed everywhere, or its process is dead.
    pub ended: bool,
    /// It ends with its process.
    pub bound: bool,
    /// Tasks that sleep in a wait of it.
    pub waiting: u32,
    /// The phase of its last arrival.
    pub last: u64,
    /// Its process.
    pub owner: Option<ARef<Pid>>,
    /// How it ended.
    pub end: End,
}

/// What `poll()` sees of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// The phase of its last arrival is over, and no wait has told it.
    pub done: bool,
    /// An arrival would succeed.
    pub arrivable: bool,
    /// The group is broken.
    pub broken: bool,
    /// The party has left or ended.
    pub gone: bool,
}

impl Group {
    /// The events of `poll()` for the party.
    pub fn events(&mut self, seat: Seat) -> Events {
        let (phase, broken) = (self.phase, self.broken.is_some());
        let arrived = self.arrived.contains(seat.number);
        let (done, gone) = match self.place(seat) {
            Some(place) => (
                place.last != 0 && place.last < phase && place.told < place.last,
                place.gone(),
            ),
            None => (false, true),
        };
        Events {
            done: done && !gone,
            arrivable: !gone && !broken && !arrived,
            broken,
            gone,
        }
    }

    /// The party that the caller holds, even if it has left or ended.
    pub fn own(&self, seat: Seat) -> Member {
        match self.places.get(seat.number as usize) {
            Some(place) if place.tenancy == seat.tenancy => self.describe(seat.number, place),
            // The seat is another's by now.
            _ => Member {
                open: false,
                arrived: false,
                left: true,
                ended: false,
                bound: false,
                waiting: 0,
                last: 0,
                owner: None,
                end: End::default(),
            },
        }
    }

    /// The party of seat `number`, or the last one that had it.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such seat and no party was ever there.
    pub fn member(&self, number: u32) -> Result<Member> {
        let place = self.places.get(number as usize).ok_or(ESRCH)?;
        if place.tenancy == 0 && !self.seats.contains(number) {
            return Err(ESRCH);
        }
        Ok(self.describe(number, place))
    }

    fn describe(&self, number: u32, place: &Place) -> Member {
        Member {
            open: self.open.contains(number),
            arrived: self.arrived.contains(number),
            left: place.left,
            ended: place.ended,
            bound: place.bound,
            waiting: place.waiting,
            last: place.last,
            owner: place.owner.clone(),
            end: if place.ended {
                place.end.clone()
            } else {
                End::default()
            },
        }
    }
}
