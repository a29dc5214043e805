// SPDX-License-Identifier: GPL-2.0

//! N parties that arrive in phases.
//!
//! A group has seats. A party has a seat, arrives once in each phase, and gets the number of the
//! phase as its ticket. The phase ends when the parties of all seats have arrived, or, with a
//! completion step, when the leader completes it; the next one begins in the same moment. A party
//! that ends before it has arrived breaks the group for the others or, if the group shrinks,
//! removes its seat. Each party keeps how its last arrivals ended, so that a wait can come later
//! than the end of its phase.
//!
//! This file has the phases, `group/ends.rs` how parties and groups end, `group/seat.rs` the state
//! of a party, and `group/view.rs` what STATUS and MEMBER return.

mod ends;
mod seat;
mod view;

pub use self::{
    seat::{
        NewSeat,
        Seat, //
    },
    view::PartyInfo, //
};

use self::seat::{
    Arrived,
    Failure,
    SeatState,
    Tenants, //
};
use super::{
    cause::{
        Cause,
        End,
        Pid, //
    },
    queue::{
        Machine,
        Wakes, //
    },
    set::Set,
    Id, //
};
use crate::{
    bindings,
    trace, //
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// The host's `CLOCK_BOOTTIME` in nanoseconds, as of the last tick.
fn now() -> u64 {
    // SAFETY: The helper only reads the boot-time clock, in any context.
    unsafe { bindings::quiesce_helper_boottime() }
}

/// The rules by which the phases of a group end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// The end of a party that has not arrived removes its seat, and does not break the group.
    pub shrink: bool,
    /// A phase whose seats have all arrived ends when its leader completes it. If no party is left that
    /// could lead, it ends at once.
    pub completion: bool,
}

/// The result of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The phase of the arrival.
    pub ticket: u64,
    /// Number of parties that arrived before in this phase.
    pub index: u32,
    /// Whether this arrival ended the phase.
    pub done: bool,
    /// The party leads the phase. If it is not over, the party has to complete it.
    pub leader: bool,
}

/// The result of a wait whose phase ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the phase has ended; if not, this party has to complete it.
    pub done: bool,
    /// Whether this party leads or led the phase.
    pub leader: bool,
    /// Number of parties that arrived before it, if the ticket is one of its last arrivals.
    pub index: u32,
}

/// The result of a wait whose phase did not end well, or of a call that was refused.
#[derive(Clone, Copy)]
pub struct Refusal<'a> {
    /// The error that the call returns.
    pub error: Error,
    /// The cause, if the ticket's phase was broken.
    pub cause: Option<&'a Cause>,
}

impl From<Error> for Refusal<'_> {
    fn from(error: Error) -> Self {
        Self { error, cause: None }
    }
}

impl<'a> From<&'a Cause> for Refusal<'a> {
    fn from(cause: &'a Cause) -> Self {
        Self {
            error: cause.end.why.error(),
            cause: Some(cause),
        }
    }
}

/// N parties and their phases.
///
/// # Invariants
///
/// - `id` is no other group's.
/// - `open` and `arrived` are disjoint subsets of `seats`; `leaving` is one of `arrived`, `dead`
///   one of `seats` without `open`.
/// - `parties` and `count` are the sizes of `seats` and `arrived`.
/// - While the group is not broken, `dead` is a subset of `arrived`, and `count` is 0, less than
///   `parties`, or equal to it with `completing` set.
/// - `completing` is set only while the group is not broken and all seats have arrived; its seat
///   is one, and its tenant has neither left nor ended.
/// - `void` is less than `phase`.
/// - The tenant of a number in `arrived` arrived last in the current phase.
pub struct Group {
    id: Id,
    tenants: Tenants,
    /// Maximum number of seats.
    max: u32,
    seats: Set,
    open: Set,
    arrived: Set,
    /// Parties that have left; their seats are removed when the phase ends.
    leaving: Set,
    /// Parties that have ended and still count.
    dead: Set,
    parties: u32,
    count: u32,
    waiting: u32,
    /// Parties that have left or ended and whose descriptor is open.
    hung_up: u32,
    /// The current phase, from 1.
    phase: u64,
    /// The time at which the phase began; see [`Group::since`].
    since: u64,
    /// The last phase that a reset ended, or 0.
    void: u64,
    /// The phase that the group's descriptor reported last.
    reported: u64,
    policy: Policy,
    /// The seat whose party has to complete the phase.
    completing: Option<u32>,
    /// Number of times that a party became the leader otherwise than by its own arrival.
    handovers: u32,
    broken: Option<Cause>,
    /// The process that closed a copy of the group's descriptor last.
    closer: Option<ARef<Pid>>,
}

impl Group {
    /// Initialises a group of `parties` open seats that can have `max` seats in all.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are more seats than `max`, or `max` is 0 or too large.
    pub fn new(id: Id, parties: u32, max: u32, policy: Policy) -> Result<impl Init<Self>> {
        if max == 0 || parties > max || max as usize > Set::EMPTY.words().len() * 64 {
            return Err(EINVAL);
        }
        // INVARIANT: All seats are open, and nobody has arrived.
        Ok(init!(Self {
            id,
            tenants <- Tenants::new(),
            max,
            seats: Set::first_n(parties),
            open: *seats,
            arrived: Set::EMPTY,
            leaving: Set::EMPTY,
            dead: Set::EMPTY,
            parties,
            count: 0,
            waiting: 0,
            hung_up: 0,
            phase: 1,
            since: now(),
            void: 0,
            reported: 1,
            policy,
            completing: None,
            handovers: 0,
            broken: None,
            closer: None,
        }))
    }

    /// Returns the current phase.
    pub fn phase(&self) -> u64 {
        self.phase
    }

    /// Returns when the current phase began, in nanoseconds of the host's `CLOCK_BOOTTIME` as of
    /// the last tick.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns how many seats there can be.
    pub fn capacity(&self) -> u32 {
        self.max
    }

    /// Returns how many seats this phase has.
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// Returns how many have arrived in this phase.
    pub fn arrived(&self) -> u32 {
        self.count
    }

    /// Returns how many seats are open.
    pub fn open(&self) -> u32 {
        self.open.len()
    }

    /// Returns how many tasks sleep in a wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Returns those that have not arrived in this phase, or had not when the group broke.
    pub fn late(&self) -> Set {
        self.seats.without(&self.arrived)
    }

    /// Returns why the group is broken, if it is.
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

    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    fn live<'a>(&'a self, seat: &'a Seat) -> Result<&'a SeatState> {
        // A party of another group has no seat here, either.
        match self.state(seat) {
            Some(state) if !state.hung_up() => Ok(state),
            _ => Err(ENOTCONN),
        }
    }

    /// The same as [`Group::live`], for changing the state.
    fn live_mut<'a>(&'a mut self, seat: &'a Seat) -> Result<&'a mut SeatState> {
        match self.state_mut(seat) {
            Some(state) if !state.hung_up() => Ok(state),
            _ => Err(ENOTCONN),
        }
    }

    /// Returns the number of the party that [`Group::join`] would make, and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Group::join`].
    pub fn preview_join(&self) -> Result<u32> {
        self.check()?;
        if self.completing.is_some() {
            return Err(EBUSY);
        }
        match self.open.first() {
            Some(n) => Ok(n),
            None => self
                .seats
                .first_missing()
                .filter(|&n| n < self.max)
                .ok_or(ENOSPC),
        }
    }

    /// Takes an open seat, or adds one, and returns it; `bound` if the party ends with `owner`.
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` or `EOWNERDEAD` if the group is broken; `EBUSY` while a phase is being
    /// completed; `ENOSPC` if there is no seat.
    pub fn join(&mut self, new: NewSeat, owner: ARef<Pid>, bound: bool) -> Result<Seat> {
        let number = self.preview_join()?;
        if self.open.contains(number) {
            self.open.remove(number);
        } else {
            // INVARIANT: One seat more, which has not arrived: `count` stays less.
            self.seats.insert(number);
            self.parties = self.parties.wrapping_add(1);
        }
        let id = self.id.number();
        Ok(new.take(id, number, &mut self.tenants, owner, bound))
    }

    /// Removes the seat with this number from the current phase.
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
        // INVARIANT: The group is broken.
        self.completing = None;
        true
    }

    /// Ends the phase, or leaves that to a leader, if all remaining seats have arrived and there
    /// is no leader.
    fn try_complete_phase(&mut self) {
        if self.broken.is_some()
            || self.completing.is_some()
            || self.count == 0
            || self.count < self.parties
        {
            return;
        }
        // The phase did not end by an arrival, so the last to arrive of the remaining parties
        // leads.
        self.lead_by_rest();
    }

    /// All seats have arrived: lets the last to arrive of the remaining parties lead.
    fn lead_by_rest(&mut self) {
        let leader = self.last_of_the_rest();
        if leader.is_some() {
            self.handovers = self.handovers.wrapping_add(1);
        }
        self.all_arrived(leader);
    }

    /// The seats of the parties that have arrived, and have not left or ended.
    fn rest(&self) -> Set {
        self.arrived.without(&self.dead).without(&self.leaving)
    }

    /// The seat of the last to arrive of the rest. A process's parties end one after the other:
    /// those that it has yet to end count as ended here.
    fn last_of_the_rest(&self) -> Option<u32> {
        let mut rest = self.rest();
        let mut leader = None;
        while let Some(n) = rest.pop() {
            let Some(state) = self.tenant(n) else {
                continue;
            };
            let index = state.newest().index;
            if leader.is_none_or(|(best, _)| index >= best) && !state.owner_ended() {
                leader = Some((index, n));
            }
        }
        leader.map(|(_, n)| n)
    }

    /// All seats have arrived: ends the phase, or leaves that to the leader.
    fn all_arrived(&mut self, leader: Option<u32>) {
        if self.policy.completion && leader.is_some() {
            // INVARIANT: The caller has chosen one that has neither left nor ended.
            self.completing = leader;
        } else {
            self.complete(leader);
        }
    }

    /// The party of seat `number` has left or ended: if it had to complete the phase, [`elect`]
    /// has to find another one.
    ///
    /// [`elect`]: Group::elect
    fn leader_left(&mut self, number: u32) {
        if self.completing == Some(number) {
            // INVARIANT: No party has to complete the phase.
            self.completing = None;
        }
    }

    /// Chooses another party to complete the phase if the one that had to has left or ended.
    ///
    /// This takes time for each party, so that it is called once after the ends of several.
    pub fn elect(&mut self) {
        self.try_complete_phase();
    }

    /// Sets the number of the phase that begins.
    fn begin(&mut self, phase: u64) {
        self.phase = phase;
        self.since = now();
    }

    /// Ends the phase: records the outcome for the parties that arrived and begins the next phase.
    fn complete(&mut self, leader: Option<u32>) {
        if let Some(state) = leader.and_then(|n| self.tenant_mut(n)) {
            state.newest_mut().led = true;
        }
        self.begin(self.phase.wrapping_add(1));
        // INVARIANT: Nobody has arrived, so nobody leads or is leaving either; what is dead is
        // removed below, or the group is broken.
        self.completing = None;
        self.arrived = Set::EMPTY;
        self.count = 0;
        while let Some(n) = self.leaving.pop() {
            self.vacate(n);
        }
        if self.policy.shrink {
            while let Some(n) = self.dead.pop() {
                self.vacate(n);
            }
        } else if let Some(n) = self.dead.first() {
            // It cannot arrive in the phase that begins.
            let end = self.tenant(n).map(|state| state.end.clone());
            self.break_by(Some(n), end.unwrap_or_default());
        }
    }

    /// Returns what [`Group::arrive`] would return, and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Group::arrive`].
    pub fn preview_arrive(&self, seat: &Seat, drop: bool) -> Result<Arrival> {
        self.live(seat)?;
        self.check()?;
        if self.arrived.contains(seat.party()) {
            return Err(EALREADY);
        }
        let last = self.count.wrapping_add(1) == self.parties;
        let (done, leader) = match (last, self.policy.completion) {
            (false, _) => (false, false),
            (true, false) => (true, true),
            (true, true) if !drop => (false, true),
            // A party that leaves completes the phase only if no other can.
            (true, true) => {
                let alone = self.rest().is_empty();
                (alone, alone)
            }
        };
        Ok(Arrival {
            ticket: self.phase,
            index: self.count,
            done,
            leader,
        })
    }

    /// Returns the phase that [`Group::complete_phase`] would start, and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Group::complete_phase`].
    pub fn preview_complete(&self, seat: &Seat, ticket: u64) -> Result<u64> {
        match self.outcome(seat, ticket) {
            Some(Ok(outcome)) if !outcome.done => Ok(self.phase.wrapping_add(1)),
            Some(Err(refusal)) => Err(refusal.error),
            _ => Err(EINVAL),
        }
    }

    /// Ends the phase of `ticket`, which the party leads. Returns the new phase.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the party does not have to complete that phase, or has; else those of
    /// [`Group::outcome`].
    pub fn complete_phase(&mut self, seat: &Seat, ticket: u64) -> Result<u64> {
        let phase = self.preview_complete(seat, ticket)?;
        self.complete(Some(seat.party()));
        self.report(seat, ticket);
        Ok(phase)
    }

    /// Arrives in the current phase, and with `drop` leaves it as it ends.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended; `ECONNABORTED` or `EOWNERDEAD` if the group is
    /// broken; `EALREADY` if it has arrived.
    pub fn arrive(&mut self, seat: &Seat, drop: bool) -> Result<Arrival> {
        let arrival = self.preview_arrive(seat, drop)?;
        let state = self.live_mut(seat)?;
        state.push(Arrived::new(arrival.ticket, arrival.index));
        state.left = drop;
        // INVARIANT: The seat is the party's, so it is one and not open. If all have arrived
        // the phase ends here.
        self.arrived.insert(seat.party());
        self.count = self.count.wrapping_add(1);
        if drop {
            self.leaving.insert(seat.party());
            self.hung_up = self.hung_up.wrapping_add(1);
        }
        if arrival.done {
            self.complete(Some(seat.party()));
        } else if arrival.leader {
            self.all_arrived(Some(seat.party()));
        } else if self.count == self.parties {
            self.lead_by_rest();
        }
        Ok(arrival)
    }

    /// Returns how the phase of `ticket` ended for the party, or `None` if it has not.
    ///
    /// The outcomes of a party's last arrivals are the party's own: neither a reset nor its end
    /// takes them away.
    ///
    /// # Errors
    ///
    /// `ECONNABORTED` or `EOWNERDEAD`, with a cause, if the group broke in that phase; `ECANCELED`
    /// if a reset ended it; `ENOTCONN` if the party has left or ended without that ticket, or has
    /// ended and the phase goes on; `EINVAL` if that ticket does not exist yet, or is for the
    /// current phase and the party has not arrived; `ESTALE` if the outcome is not known any more.
    pub fn outcome<'a>(
        &'a self,
        seat: &'a Seat,
        ticket: u64,
    ) -> Option<core::result::Result<Outcome, Refusal<'a>>> {
        let Some(state) = self.state(seat) else {
            return Some(Err(ENOTCONN.into()));
        };
        let Some(arrived) = state.find(ticket) else {
            return Some(if state.hung_up() {
                Err(ENOTCONN.into())
            } else if ticket == 0 || ticket >= self.phase {
                Err(EINVAL.into())
            } else if ticket < self.void {
                Err(ESTALE.into())
            } else if ticket == self.void {
                Err(ECANCELED.into())
            } else {
                Ok(Outcome {
                    done: true,
                    ..Outcome::default()
                })
            });
        };
        Some(match (&arrived.failed, &self.broken) {
            (Some(Failure::Broken(cause)), _) => Err(cause.into()),
            (Some(Failure::Reset), _) => Err(ECANCELED.into()),
            (None, _) if ticket < self.phase => Ok(Outcome {
                done: true,
                leader: arrived.led,
                index: arrived.index,
            }),
            (None, Some(cause)) => Err(cause.into()),
            (None, None) if state.ended => Err(ENOTCONN.into()),
            (None, None) if self.completing == Some(seat.party()) => Ok(Outcome {
                done: false,
                leader: true,
                index: arrived.index,
            }),
            (None, None) => return None,
        })
    }

    /// Notes that a wait has reported the outcome of `ticket`.
    pub fn report(&mut self, seat: &Seat, ticket: u64) {
        if let Some(arrived) = self
            .state_mut(seat)
            .and_then(|state| state.find_mut(ticket))
        {
            arrived.reported = true;
        }
    }

    /// Notes that a wait that arrived with `ticket` has ended before the phase did.
    pub fn suspend(&mut self, seat: &Seat, ticket: u64) {
        if let Some(arrived) = self
            .state_mut(seat)
            .and_then(|state| state.find_mut(ticket))
        {
            arrived.suspended = true;
        }
    }

    /// Resumes the wait that arrived with `ticket`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such wait, or it was resumed already; `ESTALE` if the ticket is older
    /// than the arrivals that are known; `ENOTCONN` if the party has left or ended and the ticket is unknown.
    pub fn resume(&mut self, seat: &Seat, ticket: u64) -> Result {
        let state = self.state_mut(seat).ok_or(ENOTCONN)?;
        let (hung_up, oldest) = (state.hung_up(), state.oldest().ticket);
        match state.find_mut(ticket) {
            Some(arrived) if arrived.suspended => {
                arrived.suspended = false;
                Ok(())
            }
            Some(_) => Err(EINVAL),
            None if hung_up => Err(ENOTCONN),
            None if ticket < oldest => Err(ESTALE),
            None => Err(EINVAL),
        }
    }

    /// Counts a task that starts to sleep in a wait of the party, or has woken.
    pub fn asleep(&mut self, seat: &Seat, asleep: bool) {
        let count = |n: u32| {
            if asleep {
                n.wrapping_add(1)
            } else {
                n.wrapping_sub(1)
            }
        };
        self.waiting = count(self.waiting);
        if let Some(state) = self.state_mut(seat) {
            state.waiting = count(state.waiting);
        }
    }

    /// Sets the process that the party belongs to, and whether it ends with that process.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if the party has left or ended.
    pub fn bind(&mut self, seat: &Seat, owner: ARef<Pid>, bound: bool) -> Result {
        let state = self.live_mut(seat)?;
        state.owner = Some(owner);
        state.bound = bound;
        Ok(())
    }

    /// Returns whether the party ends with the process `pid`.
    pub fn ends_with(&self, seat: &Seat, pid: &Pid) -> bool {
        self.state(seat)
            .and_then(|state| state.bound_owner())
            .is_some_and(|owner| owner.as_ptr() == pid.as_ptr())
    }

    // Out of line: users of the crate do not see the tracepoints.
    #[inline(never)]
    fn trace_changes(&self, before: &Seen) {
        if self.void != before.void {
            trace::reset(self.id.number(), self.phase);
        } else if self.phase != before.phase {
            trace::phase_end(self.id.number(), before.phase);
        }
        if let Some(cause) = self.broken.as_ref().filter(|_| !before.broken) {
            trace::group_break(self.id.number(), cause);
        }
    }
}

/// The state on which the waits and `poll()` of all parties depend.
#[derive(Clone, Copy)]
pub struct Seen {
    phase: u64,
    void: u64,
    hung_up: u32,
    completing: Option<u32>,
    handovers: u32,
    broken: bool,
    empty: bool,
}

/// Pollers number 0 are those of the parties, number 1 those of the group's descriptor.
impl Machine for Group {
    type Seen = Seen;

    fn seen(&self) -> Seen {
        Seen {
            phase: self.phase,
            void: self.void,
            hung_up: self.hung_up,
            completing: self.completing,
            handovers: self.handovers,
            broken: self.broken.is_some(),
            empty: self.parties == 0,
        }
    }

    fn trace(&self, before: &Seen) {
        if self.phase != before.phase || self.broken.is_some() != before.broken {
            self.trace_changes(before);
        }
    }

    fn wakes(&self, before: &Seen) -> Wakes {
        let now = self.seen();
        let phase = now.phase != before.phase;
        let broken = now.broken && !before.broken;
        let hung_up = now.hung_up > before.hung_up;
        let leads = now.completing.is_some() && now.completing != before.completing;
        let empty = now.empty && !before.empty;
        // Each event of a party or of the group's descriptor can be turned off, by a wait, STATUS,
        // RESET or JOIN, and a party's need not be another one's.
        let unkeyed = |wakes: bool| wakes.then_some(0);
        Wakes {
            // A party that leads by its own arrival does not wait for that phase yet.
            waiters: phase || broken || hung_up || now.handovers != before.handovers,
            pollers: [
                unkeyed(phase || broken || hung_up || leads),
                unkeyed(phase || broken || empty),
            ],
        }
    }
}
