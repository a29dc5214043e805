// SPDX-License-Identifier: GPL-2.0

//! N parties that arrive in phases.

mod ends;
mod view;

pub use self::view::{
    Events,
    Member, //
};

use super::{
    cause::{
        Cause,
        End,
        Pid, //
    },
    set::Set,
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// A party of a group: the number of its seat, and which of those who sat there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    number: u32,
    /// Joining made the seat.
    added: bool,
    tenancy: u64,
}

impl Seat {
    /// The number of the party.
    pub const fn party(self) -> u32 {
        self.number
    }
}

/// What an arrival is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The phase.
    pub ticket: u64,
    /// How many arrived before.
    pub index: u32,
    /// The phase is over with it.
    pub done: bool,
}

/// What a wait is told when its phase is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// This party leads that phase.
    pub leader: bool,
    /// How many arrived before it, if that was its last arrival.
    pub index: u32,
}

/// What is known of the party of one seat, or of the last one that had it.
#[derive(Default)]
struct Place {
    /// Which party it is; 0 is none.
    tenancy: u64,
    /// The phase of its last arrival.
    last: u64,
    /// How many arrived before it in that phase.
    index: u32,
    /// The last phase that it led.
    led: u64,
    /// The last phase whose end a wait has told it.
    told: u64,
    waiting: u32,
    confirmed: bool,
    left: bool,
    ended: bool,
    bound: bool,
    /// How it ended; before that, who closed a copy of its descriptor last.
    end: End,
    owner: Option<ARef<Pid>>,
}

impl Place {
    fn gone(&self) -> bool {
        self.left || self.ended
    }
}

/// N parties and their phases.
///
/// # Invariants
///
/// - `open` and `arrived` are disjoint subsets of `seats`; `leaving` is one of `arrived`, `dead`
///   one of `seats` without `open`.
/// - `parties` and `count` are the sizes of `seats` and `arrived`.
/// - While the group is not broken, `dead` is a subset of `arrived`, and `count` is 0 or less
///   than `parties`.
/// - `void` is less than `phase`.
pub struct Group {
    places: KVVec<Place>,
    seats: Set,
    open: Set,
    arrived: Set,
    /// Parties that have left; their seats go with the phase.
    leaving: Set,
    /// Parties that have ended and still count.
    dead: Set,
    parties: u32,
    count: u32,
    waiting: u32,
    tenancies: u64,
    /// The current phase, from 1.
    phase: u64,
    /// The last phase that a reset ended, or 0.
    void: u64,
    shrink: bool,
    broken: Option<Cause>,
}

impl Group {
    /// Creates a group of `parties` open seats that can have `max` seats in all.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are more seats than `max`, or `max` is 0 or too large; `ENOMEM`.
    pub fn new(parties: u32, max: u32, shrink: bool) -> Result<Self> {
        if max == 0 || parties > max || max as usize > Set::EMPTY.words().len() * 64 {
            return Err(EINVAL);
        }
        let mut places = KVVec::with_capacity(max as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..max {
            places.push(Place::default(), GFP_KERNEL_ACCOUNT)?;
        }
        let mut seats = Set::EMPTY;
        for n in 0..parties {
            seats.insert(n);
        }
        // INVARIANT: All seats are open, and nobody has arrived.
        Ok(Self {
            places,
            seats,
            open: seats,
            arrived: Set::EMPTY,
            leaving: Set::EMPTY,
            dead: Set::EMPTY,
            parties,
            count: 0,
            waiting: 0,
            tenancies: 0,
            phase: 1,
            void: 0,
            shrink,
            broken: None,
        })
    }

    /// The current phase.
    pub fn phase(&self) -> u64 {
        self.phase
    }

    /// Seats that there can be.
    pub fn capacity(&self) -> u32 {
        self.places.len() as u32
    }

    /// Seats in this phase.
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// How many have arrived in this phase.
    pub fn arrived(&self) -> u32 {
        self.count
    }

    /// How many seats nobody has.
    pub fn open(&self) -> u32 {
        self.open.len()
    }

    /// Tasks that sleep in a wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Those that have not arrived in this phase, or had not when the group broke.
    pub fn late(&self) -> Set {
        self.seats.without(&self.arrived)
    }

    /// Why the group is broken, if it is.
    pub fn broken(&self) -> Option<&Cause> {
        self.broken.as_ref()
    }

    /// # Errors
    ///
    /// `ECONNABORTED` or `EOWNERDEAD` if the group is broken.
    fn check(&self) -> Result {
        match &self.broken {
            Some(cause) => Err(cause.end.why.error()),
            None => Ok(()),
        }
    }

    /// What `seat` has, if it is still the party's.
    fn place(&mut self, seat: Seat) -> Option<&mut Place> {
        self.places
            .get_mut(seat.number as usize)
            .filter(|place| place.tenancy == seat.tenancy)
    }

    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    fn live(&mut self, seat: Seat) -> Result<&mut Place> {
        self.place(seat)
            .filter(|place| !place.gone())
            .ok_or(ENOTCONN)
    }

    /// Takes an open seat, or adds one, and returns it; `bound` if the party ends with `owner`.
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` or `EOWNERDEAD` if the group is broken; `ENOSPC` if there is no seat.
    pub fn join(&mut self, owner: ARef<Pid>, bound: bool) -> Result<Seat> {
        self.check()?;
        let number = match self.open.first() {
            Some(n) => n,
            None => self
                .seats
                .first_missing()
                .filter(|&n| (n as usize) < self.places.len())
                .ok_or(ENOSPC)?,
        };
        let added = !self.open.contains(number);
        self.open.remove(number);
        if added {
            // INVARIANT: One seat more, which has not arrived: `count` stays less.
            self.seats.insert(number);
            self.parties = self.parties.wrapping_add(1);
        }
        self.tenancies = self.tenancies.wrapping_add(1);
        let seat = Seat {
            number,
            added,
            tenancy: self.tenancies,
        };
        self.places[number as usize] = Place {
            tenancy: seat.tenancy,
            bound,
            owner: Some(owner),
            ..Place::default()
        };
        Ok(seat)
    }

    /// User space is about to have the party: what happens to it counts from now on.
    pub fn confirm(&mut self, seat: Seat) {
        if let Some(place) = self.place(seat) {
            place.confirmed = true;
        }
    }

    /// Undoes a join that was not confirmed. Returns `None` if it was, or else whether others
    /// have something to look at.
    pub fn unjoin(&mut self, seat: Seat) -> Option<bool> {
        let place = self.place(seat).filter(|place| !place.confirmed)?;
        *place = Place::default();
        if seat.added {
            self.vacate(seat.number);
            return Some(self.settle());
        }
        self.open.insert(seat.number);
        Some(false)
    }

    /// Takes the seat away.
    fn vacate(&mut self, number: u32) {
        // INVARIANT: It is in none of the sets any more, and the sizes follow.
        if self.seats.contains(number) {
            self.seats.remove(number);
            self.parties = self.parties.wrapping_sub(1);
        }
        if self.arrived.contains(number) {
            self.arrived.remove(number);
            self.count = self.count.wrapping_sub(1);
        }
        self.open.remove(number);
        self.leaving.remove(number);
        self.dead.remove(number);
    }

    fn break_by(&mut self, party: Option<u32>, end: End) -> bool {
        if self.broken.is_some() {
            return false;
        }
        self.broken = Some(Cause { party, end });
        true
    }

    /// Ends the phase if a seat that went was the last one missing.
    fn settle(&mut self) -> bool {
        if self.broken.is_some() || self.count == 0 || self.count < self.parties {
            return false;
        }
        // Nobody arrived last just now, so whoever arrived last of those that are left leads.
        let mut rest = self.arrived.without(&self.dead).without(&self.leaving);
        let mut leader = None;
        while let Some(n) = rest.pop() {
            let index = self.places[n as usize].index;
            if leader.is_none_or(|(best, _)| index >= best) {
                leader = Some((index, n));
            }
        }
        self.complete(leader.map(|(_, n)| n));
        true
    }

    /// Ends the phase.
    fn complete(&mut self, leader: Option<u32>) {
        if let Some(n) = leader {
            self.places[n as usize].led = self.phase;
        }
        self.phase = self.phase.wrapping_add(1);
        // INVARIANT: Nobody has arrived, so nobody is leaving either; what is dead goes below,
        // or the group is broken.
        self.arrived = Set::EMPTY;
        self.count = 0;
        while let Some(n) = self.leaving.pop() {
            self.vacate(n);
        }
        if self.shrink {
            while let Some(n) = self.dead.pop() {
                self.vacate(n);
            }
        } else if let Some(n) = self.dead.first() {
            // It cannot arrive in the phase that begins.
            let end = self.places[n as usize].end.clone();
            self.break_by(Some(n), end);
        }
    }

    /// Arrives in the current phase, and with `drop` leaves it as it ends.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended; `ECONNABORTED` or `EOWNERDEAD` if the group is
    /// broken; `EALREADY` if it has arrived.
    pub fn arrive(&mut self, seat: Seat, drop: bool) -> Result<Arrival> {
        self.live(seat)?;
        self.check()?;
        if self.arrived.contains(seat.number) {
            return Err(EALREADY);
        }
        let (ticket, index) = (self.phase, self.count);
        let place = self.live(seat)?;
        place.last = ticket;
        place.index = index;
        place.left = drop;
        // INVARIANT: The seat is the party's, so it is one and not open. If all have arrived
        // the phase ends here.
        self.arrived.insert(seat.number);
        self.count = self.count.wrapping_add(1);
        if drop {
            self.leaving.insert(seat.number);
        }
        let done = self.count == self.parties;
        if done {
            self.complete(Some(seat.number));
        }
        Ok(Arrival {
            ticket,
            index,
            done,
        })
    }

    /// Tells whether the phase of `ticket` is over.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended; `EINVAL` if that ticket does not exist yet, or
    /// is for the current phase and the party has not arrived;
    /// `ECONNABORTED` or `EOWNERDEAD` if the group broke in that phase; `ECANCELED` if a reset
    /// ended it; `ESTALE` if that cannot be told any more.
    pub fn poll(&mut self, seat: Seat, ticket: u64) -> Option<Result<Outcome>> {
        let (phase, void, check) = (self.phase, self.void, self.check());
        let place = match self.live(seat) {
            Ok(place) => place,
            Err(e) => return Some(Err(e)),
        };
        if ticket == 0 || ticket > phase || (ticket == phase && ticket != place.last) {
            return Some(Err(EINVAL));
        }
        if ticket == phase {
            return check.err().map(Err);
        }
        place.told = place.told.max(ticket);
        Some(match ticket {
            _ if ticket < void => Err(ESTALE),
            _ if ticket == void => Err(ECANCELED),
            _ => Ok(Outcome {
                leader: place.led == ticket,
                index: if place.last == ticket { place.index } else { 0 },
            }),
        })
    }

    /// Counts a task that goes to sleep in a wait of the party, or has woken.
    pub fn asleep(&mut self, seat: Seat, asleep: bool) {
        let count = |n: u32| {
            if asleep {
                n.wrapping_add(1)
            } else {
                n.wrapping_sub(1)
            }
        };
        self.waiting = count(self.waiting);
        if let Some(place) = self.place(seat) {
            place.waiting = count(place.waiting);
        }
    }

    /// Says whose the party is, and whether it ends with that process.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn bind(&mut self, seat: Seat, owner: ARef<Pid>, bound: bool) -> Result {
        let place = self.live(seat)?;
        place.owner = Some(owner);
        place.bound = bound;
        Ok(())
    }
}
