// SPDX-License-Identifier: GPL-2.0

//! The group's state machine.

use super::random::Random;
use kernel::{
    bindings::{
        POLLHUP,
        POLLIN,
        POLLOUT,
        POLLRDNORM,
        POLLWRNORM, //
    },
    prelude::*, //
};
use quiesce::barrier::{
    group::{
        Group,
        NewSeat,
        Outcome,
        Policy,
        Refusal,
        Seat, //
    },
    queue::{
        Machine,
        Wakes, //
    },
    set::Set,
    End,
    Id,
    Pid,
    Why, //
};

fn end(why: Why) -> End {
    End { why, pid: None }
}

fn join(group: &mut Group) -> Result<Seat> {
    group.join(NewSeat::new()?, Pid::current(), false)
}

/// A group of `parties` open seats that can have `max`.
fn new_group(parties: u32, max: u32, shrink: bool) -> Result<KBox<Group>> {
    let policy = Policy {
        shrink,
        completion: false,
    };
    KBox::init(Group::new(Id::next(), parties, max, policy)?, GFP_KERNEL)
}

/// A group of `n` parties, all joined.
fn full(n: u32, shrink: bool) -> Result<(KBox<Group>, KVec<Seat>)> {
    all_join(new_group(n, n, shrink)?, n)
}

/// The same, whose leader completes each phase.
fn full_with_completion(n: u32, shrink: bool) -> Result<(KBox<Group>, KVec<Seat>)> {
    let policy = Policy {
        shrink,
        completion: true,
    };
    let group = KBox::init(Group::new(Id::next(), n, n, policy)?, GFP_KERNEL)?;
    all_join(group, n)
}

fn all_join(mut group: KBox<Group>, n: u32) -> Result<(KBox<Group>, KVec<Seat>)> {
    let mut seats = KVec::new();
    for _ in 0..n {
        seats.push(join(&mut group)?, GFP_KERNEL)?;
    }
    Ok((group, seats))
}

/// Returns the result of a wait for `ticket`, if there is one.
fn outcome(group: &Group, seat: &Seat, ticket: u64) -> Option<Result<(bool, u32)>> {
    Some(match group.outcome(seat, ticket)? {
        Ok(Outcome { leader, index, .. }) => Ok((leader, index)),
        Err(Refusal { error, .. }) => Err(error),
    })
}

/// Why the phase of `ticket` was broken.
fn cause(group: &Group, seat: &Seat, ticket: u64) -> Option<Why> {
    group
        .outcome(seat, ticket)?
        .err()?
        .cause
        .map(|cause| cause.end.why)
}

/// The model's state of one party.
struct Party {
    seat: Seat,
    arrived: bool,
    left: bool,
    ended: bool,
}

/// A second, naive implementation of the group's rules: it counts everything anew after each step.
struct Model {
    parties: KVec<Party>,
    open: u32,
    phase: u64,
    broken: bool,
    shrink: bool,
    /// A mistake that must be noticed: a party that died after arriving does not count.
    mistaken: bool,
}

impl Model {
    fn seats(&self) -> u32 {
        self.open + self.parties.len() as u32
    }

    fn arrived(&self) -> u32 {
        self.parties.iter().filter(|party| party.arrived).count() as u32
    }

    fn next_phase(&mut self) {
        self.phase += 1;
        for party in &mut self.parties {
            party.arrived = false;
        }
        self.parties.retain(|party| !party.left);
    }

    fn settle(&mut self) {
        if self.mistaken {
            self.parties.retain(|party| !(party.arrived && party.ended));
        }
        if !self.broken && self.arrived() > 0 && self.arrived() == self.seats() {
            self.next_phase();
            if self.shrink {
                self.parties.retain(|party| !party.ended);
            } else {
                self.broken = self.parties.iter().any(|party| party.ended);
            }
        }
    }

    fn join(&mut self, seat: Seat) -> Result {
        self.open = self.open.saturating_sub(1);
        self.parties.push(
            Party {
                seat,
                arrived: false,
                left: false,
                ended: false,
            },
            GFP_KERNEL,
        )?;
        Ok(())
    }

    fn leave(&mut self, at: usize) {
        if self.broken || !self.parties[at].arrived {
            let _ = self.parties.remove(at);
        } else {
            self.parties[at].left = true;
        }
        self.settle();
    }

    fn end(&mut self, at: usize) {
        self.parties[at].ended = true;
        if !self.broken && !self.parties[at].arrived {
            if self.shrink {
                self.parties.retain(|party| !party.ended || party.arrived);
            } else {
                self.broken = true;
            }
        }
        self.settle();
    }

    fn reset(&mut self) {
        self.next_phase();
        if !self.shrink {
            self.open += self.parties.iter().filter(|party| party.ended).count() as u32;
        }
        self.parties.retain(|party| !party.ended);
        self.broken = false;
    }

    /// Returns whether `group` is in the same state.
    fn agrees(&self, group: &Group) -> bool {
        let late = group.late();
        let same = self
            .parties
            .iter()
            .all(|party| late.contains(party.seat.party()) != party.arrived);
        same && group.phase() == self.phase
            && group.parties() == self.seats()
            && group.arrived() == self.arrived()
            && group.open() == self.open
            && group.broken().is_some() == self.broken
            && late.len() == self.seats() - self.arrived()
    }
}

/// Runs `steps` random steps on a group and the model; returns the number of the first step after
/// which they differ, or `None`.
fn differ(seed: u64, steps: u32, shrink: bool, mistaken: bool) -> Result<Option<u32>> {
    const SEATS: u32 = 5;
    let mut random = Random::new(seed);
    let open = random.below(SEATS + 1);
    let mut group = new_group(open, SEATS, shrink)?;
    let mut model = Model {
        parties: KVec::new(),
        open,
        phase: 1,
        broken: false,
        shrink,
        mistaken,
    };

    for step in 0..steps {
        let at = random.below(SEATS) as usize;
        let live = model
            .parties
            .get(at)
            .filter(|party| !party.left && !party.ended)
            .map(|party| (party.seat.clone(), party.arrived));
        match (random.below(16), live) {
            // As if no descriptor had been left.
            (0..=2, _) if random.below(4) == 0 => {
                let _ = group.preview_join();
            }
            (0..=2, _) => {
                let preview = group.preview_join();
                let joined = join(&mut group);
                if preview != joined.as_ref().map(Seat::party).map_err(|e| *e) {
                    return Ok(Some(step));
                }
                match joined {
                    Ok(seat) => model.join(seat)?,
                    Err(e) => {
                        let full = model.open == 0 && model.seats() == SEATS;
                        if !(model.broken || (full && e == ENOSPC)) {
                            return Ok(Some(step));
                        }
                    }
                }
            }
            (3, Some((seat, _))) => {
                if group.leave(&seat).is_err() {
                    return Ok(Some(step));
                }
                model.leave(at);
            }
            (4, Some((seat, _))) => {
                group.end(&seat, end(Why::Exit(0)));
                model.end(at);
            }
            (5, _) if random.below(3) == 0 => {
                group.reset();
                model.reset();
            }
            (n, Some((seat, arrived))) => {
                let drop = n == 15;
                let result = group.arrive(&seat, drop);
                if result.is_ok() == (arrived || model.broken) {
                    return Ok(Some(step));
                }
                if result.is_ok() {
                    model.parties[at].arrived = true;
                    model.parties[at].left = drop;
                    model.settle();
                }
            }
            _ => (),
        }
        if !model.agrees(&group) {
            return Ok(Some(step));
        }
    }
    Ok(None)
}

/// Returns the number of random sequences after which the model and the group differ.
fn differing(seeds: u64, shrink: bool, mistaken: bool) -> Result<u32> {
    let mut n = 0;
    for seed in 0..seeds {
        if differ(seed, 60, shrink, mistaken)?.is_some() {
            n += 1;
        }
    }
    Ok(n)
}

#[kunit_tests(quiesce_barrier_group)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_model_when_it_breaks() -> Result {
        assert_eq!(differing(300, false, false)?, 0);
        Ok(())
    }

    #[test]
    fn follows_the_model_when_it_shrinks() -> Result {
        assert_eq!(differing(300, true, false)?, 0);
        Ok(())
    }

    #[test]
    fn a_model_with_a_mistake_is_noticed() -> Result {
        assert!(differing(300, false, true)? > 0);
        assert!(differing(300, true, true)? > 0);
        Ok(())
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(new_group(0, 0, false).err(), Some(EINVAL));
        assert_eq!(new_group(3, 2, false).err(), Some(EINVAL));
        assert_eq!(new_group(1, 1025, false).err(), Some(EINVAL));
        assert!(new_group(1024, 1024, false).is_ok());
        assert!(new_group(0, 1, false).is_ok());
    }

    #[test]
    fn the_last_to_arrive_leads() -> Result {
        let (mut group, seats) = full(3, false)?;
        for phase in 1..4u64 {
            for n in 0..3 {
                let at = (n + phase as usize) % 3;
                let arrival = group.arrive(&seats[at], false)?;
                assert_eq!(arrival.ticket, phase);
                assert_eq!(arrival.index, n as u32);
                assert_eq!(arrival.done, n == 2);
            }
            for n in 0..3 {
                let at = (n + phase as usize) % 3;
                let result = outcome(&group, &seats[at], phase);
                assert_eq!(result, Some(Ok((n == 2, n as u32))));
            }
        }
        Ok(())
    }

    #[test]
    fn one_of_the_living_leads_when_the_last_seat_goes() -> Result {
        let (mut group, seats) = full(4, true)?;
        for n in [2, 0, 1] {
            group.arrive(&seats[n], false)?;
        }
        // The last that arrived is dead when the phase ends.
        assert!(group.end(&seats[1], end(Why::Signal(9))));
        assert!(group.end(&seats[3], end(Why::Signal(9))));
        assert_eq!(group.phase(), 2);
        assert_eq!(group.parties(), 2);
        assert_eq!(outcome(&group, &seats[0], 1), Some(Ok((true, 1))));
        assert_eq!(outcome(&group, &seats[2], 1), Some(Ok((false, 0))));
        Ok(())
    }

    #[test]
    fn the_dead_count_where_they_arrived() -> Result {
        let (mut group, seats) = full(2, false)?;
        group.arrive(&seats[0], false)?;
        assert!(group.end(&seats[0], end(Why::Exit(1))));
        assert!(group.broken().is_none());
        let arrival = group.arrive(&seats[1], false)?;
        assert!(arrival.done);
        // The phase is over, and the next cannot be.
        assert_eq!(outcome(&group, &seats[1], 1), Some(Ok((true, 1))));
        let cause = group.broken().cloned().ok_or(EINVAL)?;
        assert_eq!(cause.party, Some(0));
        assert_eq!(cause.end.why, Why::Exit(1));
        assert_eq!(group.arrive(&seats[1], false), Err(EOWNERDEAD));
        assert!(group.late().contains(0) && group.late().contains(1));
        Ok(())
    }

    #[test]
    fn the_first_break_counts() -> Result {
        let (mut group, seats) = full(3, false)?;
        group.arrive(&seats[0], false)?;
        assert_eq!(group.abort(Some(&seats[1]), end(Why::Abort(42))), Ok(true));
        assert_eq!(group.abort(None, end(Why::Abort(43))), Ok(false));
        assert!(!group.timeout(&seats[0]));
        assert!(group.release(&seats[2]));
        let cause = group.broken().cloned().ok_or(EINVAL)?;
        assert_eq!((cause.party, cause.end.why), (Some(1), Why::Abort(42)));
        assert_eq!(outcome(&group, &seats[0], 1), Some(Err(ECONNABORTED)));
        assert_eq!(join(&mut group).err(), Some(ECONNABORTED));
        Ok(())
    }

    /// Its process is exiting, and another one closes the last copy before it is dead.
    #[test]
    fn the_death_of_a_bound_process_is_to_blame() -> Result {
        for bound in [false, true] {
            let (mut group, seats) = full(2, false)?;
            group.bind(&seats[0], Pid::current(), bound)?;
            group.closing(&seats[0], End::new(Why::Signal(9)));
            group.closing(&seats[0], end(Why::Close));
            assert!(group.release(&seats[0]));
            let why = group.broken().ok_or(EINVAL)?.end.why;
            assert!(why == if bound { Why::Signal(9) } else { Why::Close });
        }
        Ok(())
    }

    #[test]
    fn reset_opens_the_seats_of_the_dead() -> Result {
        let (mut group, seats) = full(2, false)?;
        group.arrive(&seats[0], false)?;
        assert!(group.end(&seats[1], end(Why::Close)));
        assert_eq!(group.reset(), 2);
        assert_eq!(group.open(), 1);
        assert!(group.broken().is_none());
        assert_eq!(outcome(&group, &seats[0], 1), Some(Err(EOWNERDEAD)));
        assert_eq!(cause(&group, &seats[0], 1), Some(Why::Close));
        // The seat is another party's now.
        let new = join(&mut group)?;
        assert_eq!(new.party(), seats[1].party());
        assert_eq!(group.arrive(&seats[1], false), Err(ENOTCONN));
        assert!(!group.release(&seats[1]));
        group.arrive(&seats[0], false)?;
        assert!(group.arrive(&new, false)?.done);
        assert_eq!(group.reset(), 4);
        // That phase had ended before.
        assert_eq!(outcome(&group, &seats[0], 2), Some(Ok((false, 0))));
        assert_eq!(outcome(&group, &new, 2), Some(Ok((true, 1))));
        // These had no part in it.
        assert_eq!(outcome(&group, &new, 1), Some(Err(ESTALE)));
        assert_eq!(outcome(&group, &new, 3), Some(Err(ECANCELED)));
        Ok(())
    }

    #[test]
    fn tickets_are_checked() -> Result {
        let (mut group, seats) = full(2, false)?;
        for ticket in [0, 1, 2, u64::MAX] {
            assert_eq!(outcome(&group, &seats[0], ticket), Some(Err(EINVAL)));
        }
        group.arrive(&seats[0], false)?;
        assert_eq!(group.arrive(&seats[0], false), Err(EALREADY));
        assert_eq!(outcome(&group, &seats[0], 1), None);
        assert_eq!(outcome(&group, &seats[1], 1), Some(Err(EINVAL)));
        assert_eq!(outcome(&group, &seats[0], 2), Some(Err(EINVAL)));
        Ok(())
    }

    #[test]
    fn open_seats_end_with_the_group() -> Result {
        for shrink in [false, true] {
            let mut group = new_group(3, 3, shrink)?;
            let seat = join(&mut group)?;
            let arrival = group.arrive(&seat, false)?;
            assert!(group.close().is_some());
            assert!(group.close().is_none());
            let result = outcome(&group, &seat, arrival.ticket);
            assert_eq!(
                result,
                Some(if shrink {
                    Ok((true, 0))
                } else {
                    Err(EOWNERDEAD)
                })
            );
        }
        Ok(())
    }

    #[test]
    fn dropping_lowers_the_next_phase() -> Result {
        let (mut group, seats) = full(3, false)?;
        assert!(!group.arrive(&seats[0], true)?.done);
        assert_eq!(group.arrive(&seats[0], false), Err(ENOTCONN));
        group.arrive(&seats[1], false)?;
        assert_eq!(group.parties(), 3);
        assert!(group.arrive(&seats[2], false)?.done);
        assert_eq!(group.parties(), 2);
        assert!(!group.release(&seats[0]));
        assert!(group.broken().is_none());
        Ok(())
    }

    #[test]
    fn a_preview_of_a_join_leaves_no_trace() -> Result {
        let mut group = new_group(1, 2, false)?;
        let first = join(&mut group)?;
        group.arrive(&first, false)?;
        // That ended phase 1. In phase 2 a second is about to join, and the first ends the phase.
        let seen = group.seen();
        assert_eq!(group.preview_join(), Ok(1));
        assert_eq!(group.wakes(&seen), Wakes::default());
        assert!(group.arrive(&first, false)?.done);
        assert_eq!(group.phase(), 3);
        assert_eq!(group.parties(), 1);
        assert_eq!(group.party(1).err(), Some(ESRCH));
        // Nor does it take away what is known of the last one that had the seat.
        let second = join(&mut group)?;
        assert_eq!(second.party(), 1);
        assert_eq!(group.preview_join(), Err(ENOSPC));
        group.arrive(&second, false)?;
        group.leave(&second)?;
        group.arrive(&first, false)?;
        assert_eq!(group.preview_join(), Ok(1));
        assert_eq!(group.party(1).map(|party| party.last).ok(), Some(3));
        let third = join(&mut group)?;
        assert_eq!(group.party(1).map(|party| party.last).ok(), Some(0));
        assert_eq!(group.own(&second).last, 3);
        assert!(!group.release(&second));
        assert!(group.release(&third));
        assert_eq!(group.preview_join(), Err(EOWNERDEAD));
        Ok(())
    }

    /// The outcome of a phase is its parties' own: whatever happens afterwards leaves it alone.
    #[test]
    fn outcomes_stay() -> Result {
        for shrink in [false, true] {
            let (mut group, seats) = full(3, shrink)?;
            for seat in &seats {
                group.arrive(seat, false)?;
            }
            group.reset();
            group.leave(&seats[0])?;
            assert!(group.end(&seats[1], end(Why::Exit(1))));
            group.reset();
            // Others take their seats.
            let _new = [join(&mut group)?, join(&mut group)?];
            for (n, seat) in seats.iter().enumerate() {
                let expected = Some(Ok((n == 2, n as u32)));
                assert_eq!(outcome(&group, seat, 1), expected);
            }
        }
        Ok(())
    }

    #[test]
    fn a_reset_leaves_the_cause_to_those_who_waited() -> Result {
        let (mut group, seats) = full(3, false)?;
        group.arrive(&seats[0], false)?;
        group.arrive(&seats[1], false)?;
        group.abort(Some(&seats[2]), end(Why::Abort(7)))?;
        // Who leaves the broken group has arrived all the same.
        group.leave(&seats[1])?;
        group.reset();
        for seat in &seats[..2] {
            assert_eq!(outcome(&group, seat, 1), Some(Err(ECONNABORTED)));
            assert_eq!(cause(&group, seat, 1), Some(Why::Abort(7)));
        }
        // Who did not come to have that ticket learns of the reset.
        assert_eq!(outcome(&group, &seats[2], 1), Some(Err(ECANCELED)));
        group.arrive(&seats[0], false)?;
        group.reset();
        assert_eq!(outcome(&group, &seats[0], 2), Some(Err(ECANCELED)));
        assert_eq!(cause(&group, &seats[0], 2), None);
        Ok(())
    }

    #[test]
    fn so_many_outcomes_are_known() -> Result {
        let mut group = new_group(1, 1, false)?;
        let seat = join(&mut group)?;
        for _ in 0..5 {
            group.arrive(&seat, false)?;
        }
        for ticket in 2..6 {
            assert_eq!(outcome(&group, &seat, ticket), Some(Ok((true, 0))));
        }
        // Not a reset phase, so it ended well; who led it is forgotten.
        assert_eq!(outcome(&group, &seat, 1), Some(Ok((false, 0))));
        group.reset();
        assert_eq!(outcome(&group, &seat, 2), Some(Ok((true, 0))));
        assert_eq!(outcome(&group, &seat, 1), Some(Err(ESTALE)));
        Ok(())
    }

    #[test]
    fn the_ticket_of_who_drops_can_be_waited_for() -> Result {
        let (mut group, seats) = full(2, false)?;
        group.arrive(&seats[0], true)?;
        assert_eq!(outcome(&group, &seats[0], 1), None);
        assert_eq!(outcome(&group, &seats[0], 2), Some(Err(ENOTCONN)));
        assert_eq!(group.poll(&seats[0]), POLLHUP);
        // It has given its seat up, so its timeout breaks nothing.
        assert!(!group.timeout(&seats[0]));
        assert!(group.broken().is_none());
        group.arrive(&seats[1], false)?;
        assert_eq!(outcome(&group, &seats[0], 1), Some(Ok((false, 0))));
        assert_eq!(group.poll(&seats[0]), POLLIN | POLLRDNORM | POLLHUP);
        group.report(&seats[0], 1);
        assert_eq!(group.poll(&seats[0]), POLLHUP);
        Ok(())
    }

    #[test]
    fn a_wait_that_arrived_is_resumed_once() -> Result {
        let (mut group, seats) = full(2, false)?;
        group.arrive(&seats[0], false)?;
        assert_eq!(group.resume(&seats[0], 1), Err(EINVAL));
        group.suspend(&seats[0], 1);
        assert_eq!(group.resume(&seats[1], 1), Err(EINVAL));
        assert_eq!(group.resume(&seats[0], 1), Ok(()));
        assert_eq!(group.resume(&seats[0], 1), Err(EINVAL));
        // Of an earlier phase, in which the party did not arrive.
        group.reset();
        assert_eq!(group.resume(&seats[1], 1), Err(EINVAL));
        Ok(())
    }

    /// Nobody is released until the leader has completed the phase.
    #[test]
    fn the_leader_completes() -> Result {
        let (mut group, seats) = full_with_completion(3, false)?;
        assert_eq!(group.complete_phase(&seats[0], 1), Err(EINVAL));
        group.arrive(&seats[0], false)?;
        group.arrive(&seats[1], false)?;
        let before = group.seen();
        let last = group.arrive(&seats[2], false)?;
        assert!(last.leader && !last.done);
        // The others sleep on; whoever polls the leader's descriptor does not.
        let wakes = group.wakes(&before);
        assert_eq!((wakes.waiters, wakes.pollers), (false, [Some(0), None]));
        assert_eq!(group.phase(), 1);
        assert_eq!(outcome(&group, &seats[0], 1), None);
        assert!(matches!(
            group.outcome(&seats[2], 1),
            Some(Ok(Outcome {
                done: false,
                leader: true,
                index: 2
            }))
        ));
        assert_eq!(group.poll(&seats[0]), 0);
        assert_eq!(group.poll(&seats[2]), POLLIN | POLLRDNORM);
        assert_eq!(group.preview_join(), Err(EBUSY));
        assert_eq!(join(&mut group).err(), Some(EBUSY));
        assert_eq!(group.complete_phase(&seats[0], 1), Err(EINVAL));
        assert_eq!(group.complete_phase(&seats[2], 2), Err(EINVAL));
        assert_eq!(group.complete_phase(&seats[2], 0), Err(EINVAL));
        let before = group.seen();
        assert_eq!(group.complete_phase(&seats[2], 1), Ok(2));
        // Whoever polls the leader's descriptor is not given POLLIN, which is off.
        let wakes = group.wakes(&before);
        assert_eq!((wakes.waiters, wakes.pollers), (true, [Some(0); 2]));
        assert_eq!(group.complete_phase(&seats[2], 1), Err(EINVAL));
        assert_eq!(group.poll(&seats[2]), POLLOUT | POLLWRNORM);
        assert_eq!(outcome(&group, &seats[0], 1), Some(Ok((false, 0))));
        assert_eq!(outcome(&group, &seats[2], 1), Some(Ok((true, 2))));
        Ok(())
    }

    /// A leader that leaves is replaced; one that dies breaks the group unless that shrinks.
    #[test]
    fn leaders_are_replaced() -> Result {
        for shrink in [false, true] {
            let (mut group, seats) = full_with_completion(3, shrink)?;
            for seat in &seats {
                group.arrive(seat, false)?;
            }
            let seen = group.seen();
            group.leave(&seats[2])?;
            assert!(group.wakes(&seen).waiters);
            assert_eq!(outcome(&group, &seats[1], 1), Some(Ok((true, 1))));
            assert_eq!(outcome(&group, &seats[2], 1), None);
            let seen = group.seen();
            assert!(group.end(&seats[1], end(Why::Signal(9))));
            group.elect();
            assert!(group.wakes(&seen).waiters);
            if shrink {
                assert_eq!(group.complete_phase(&seats[0], 1), Ok(2));
                assert_eq!(outcome(&group, &seats[2], 1), Some(Ok((false, 2))));
                assert_eq!(group.parties(), 1);
            } else {
                assert_eq!(outcome(&group, &seats[0], 1), Some(Err(EOWNERDEAD)));
                assert_eq!(group.complete_phase(&seats[0], 1), Err(EOWNERDEAD));
            }
        }
        // A party that leaves as it arrives leads only if nobody else can.
        let (mut group, seats) = full_with_completion(3, true)?;
        group.arrive(&seats[0], false)?;
        group.arrive(&seats[1], true)?;
        let last = group.arrive(&seats[2], true)?;
        assert!(!last.leader && !last.done);
        assert_eq!(group.complete_phase(&seats[0], 1), Ok(2));
        assert_eq!(group.parties(), 1);
        let (mut group, seats) = full_with_completion(2, true)?;
        group.arrive(&seats[0], true)?;
        let last = group.arrive(&seats[1], true)?;
        assert!(last.leader && last.done);
        assert_eq!(group.phase(), 2);
        Ok(())
    }

    /// What an old leader does has no effect on a phase that it does not mean.
    #[test]
    fn a_leader_completes_its_own_phase() -> Result {
        let (mut group, seats) = full_with_completion(1, false)?;
        group.arrive(&seats[0], false)?;
        group.reset();
        assert_eq!(group.complete_phase(&seats[0], 1), Err(ECANCELED));
        group.arrive(&seats[0], false)?;
        assert_eq!(group.complete_phase(&seats[0], 1), Err(ECANCELED));
        assert_eq!(group.phase(), 2);
        assert_eq!(group.complete_phase(&seats[0], 2), Ok(3));
        // A timeout of another party's wait breaks the group during the step.
        group.arrive(&seats[0], false)?;
        assert!(group.timeout(&seats[0]));
        assert_eq!(group.complete_phase(&seats[0], 3), Err(ECONNABORTED));
        Ok(())
    }

    /// A party of one group has no seat in another.
    #[test]
    fn parties_are_of_one_group() -> Result {
        let (_group, seats) = full(1, false)?;
        let (mut other, _theirs) = full(1, false)?;
        assert_eq!(other.arrive(&seats[0], false), Err(ENOTCONN));
        assert_eq!(other.leave(&seats[0]), Err(ENOTCONN));
        assert_eq!(outcome(&other, &seats[0], 1), Some(Err(ENOTCONN)));
        assert!(!other.release(&seats[0]));
        Ok(())
    }

    /// The party that had a seat before is not the one that has it.
    #[test]
    fn who_had_the_seat_before_is_another_party() -> Result {
        let (mut group, seats) = full(2, false)?;
        assert!(group.end(&seats[1], end(Why::Close)));
        group.reset();
        let tenant = join(&mut group)?;
        group.arrive(&tenant, false)?;
        let (old, new) = (group.own(&seats[1]), group.own(&tenant));
        assert_eq!(tenant.party(), seats[1].party());
        assert_eq!((old.arrived, old.ended), (false, true));
        assert_eq!((new.arrived, new.ended), (true, false));
        Ok(())
    }

    #[test]
    fn large_numbers_are_in_no_set() {
        let mut set = Set::first_n(2);
        let before = set;
        for n in [1024, 1024 + 64, u32::MAX] {
            set.insert(n);
            assert!(!set.contains(n));
            set.remove(n);
        }
        assert!(set == before);
    }

    /// Who polls is woken without a key, so that io_uring asks for the events.
    #[test]
    fn pollers_are_woken_without_a_key() -> Result {
        const ALL: Option<u32> = Some(0);
        let (mut group, seats) = full(3, false)?;
        let mut seen = group.seen();
        group.arrive(&seats[0], false)?;
        assert_eq!(group.wakes(&seen), Wakes::default());
        group.arrive(&seats[1], false)?;
        group.arrive(&seats[2], false)?;
        let ended = group.wakes(&seen);
        assert_eq!(ended.pollers, [ALL; 2]);
        assert!(ended.waiters);
        seen = group.seen();
        // A report wakes nobody.
        group.report(&seats[1], 1);
        assert_eq!(group.wakes(&seen), Wakes::default());
        group.arrive(&seats[0], false)?;
        group.reset();
        assert_eq!(group.wakes(&seen).pollers, [ALL; 2]);
        seen = group.seen();
        group.leave(&seats[0])?;
        assert_eq!(group.wakes(&seen).pollers, [ALL, None]);
        group.release(&seats[0]);
        seen = group.seen();
        group.abort(None, end(Why::Abort(0)))?;
        assert_eq!(group.wakes(&seen).pollers, [ALL; 2]);
        seen = group.seen();
        group.leave(&seats[1])?;
        group.leave(&seats[2])?;
        assert_eq!(group.wakes(&seen).pollers, [ALL; 2]);
        Ok(())
    }
}
