// SPDX-License-Identifier: GPL-2.0

//! The group: a model of what `uapi/quiesce.h` says of it, and its calls.

use crate::{
    bindings::{self, uapi::*},
    explore::{same, same_result, same_struct, Model, World},
    world::{self, Hash},
};
use kernel::{bindings::*, error::code::*};
use std::collections::{BTreeMap, BTreeSet};

const SHRINK: u32 = QUIESCE_GROUP_SHRINK;
/// In `World::flags`: the group has three seats at the beginning, and all have joined.
const JOINED: u32 = 1 << 8;
/// In `World::flags`: JOIN can make a fourth seat.
const MORE: u32 = 1 << 9;
/// In `World::flags`: the first party that joins at the beginning is not bound to its process.
const UNBOUND: u32 = 1 << 10;
const COMPLETION: u32 = QUIESCE_GROUP_COMPLETION;

/// The process that has the group's descriptor. Party number n of those that ever joined is n + 1.
const OWNER: usize = 0;
fn process(party: usize) -> usize {
    party + 1
}
/// How many may join in all.
const JOINS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Join {
        bound: bool,
    },
    Arrive {
        party: usize,
        drop: bool,
    },
    ArriveWait {
        party: usize,
        end: i32,
    },
    Continue {
        party: usize,
        ticket: u64,
    },
    Wait {
        party: usize,
        ticket: u64,
        breaks: bool,
    },
    Leave {
        party: usize,
    },
    Abort {
        party: usize,
    },
    Exit {
        party: usize,
    },
    Close {
        party: usize,
    },
    Complete {
        party: usize,
        ticket: u64,
    },
    GroupAbort,
    GroupReset,
    GroupStatus,
    GroupClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cause {
    cause: u32,
    party: u32,
    pid: i32,
    status: i32,
    code: u64,
}

impl Cause {
    fn error(&self) -> i32 {
        match self.cause {
            QUIESCE_CAUSE_ABORT | QUIESCE_CAUSE_TIMEOUT => ECONNABORTED.0,
            _ => EOWNERDEAD.0,
        }
    }
    fn args(&self) -> quiesce_cause {
        quiesce_cause {
            cause: self.cause,
            party: self.party,
            pid: self.pid,
            status: self.status,
            code: self.code,
        }
    }
}

/// How a phase ended for a party that arrived in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    NotYet,
    Well { leads: bool },
    Reset,
    Broken(Cause),
}

#[derive(Clone, Copy, Debug, Hash)]
struct Arrival {
    ticket: u64,
    index: u32,
    end: End,
    reported: bool,
    /// ARRIVE_WAIT wrote the ticket, and it was not used.
    suspended: bool,
}

#[derive(Clone, Debug, Hash)]
struct Party {
    seat: u32,
    fd: usize,
    bound: bool,
    left: bool,
    ended: Option<Cause>,
    closed: bool,
    dead: bool,
    arrivals: Vec<Arrival>,
}

impl Party {
    fn gone(&self) -> bool {
        self.left || self.ended.is_some()
    }
}

#[derive(Clone, Hash)]
pub(crate) struct Group {
    shrink: bool,
    completion: bool,
    /// The party that has to COMPLETE the phase.
    completing: Option<usize>,
    max: u32,
    phase: u64,
    /// The party that has each seat, by the order of their joins; none in an open one.
    seats: BTreeMap<u32, Option<usize>>,
    /// The party that had each seat last.
    last: BTreeMap<u32, usize>,
    parties: Vec<Party>,
    /// Who has arrived in this phase, in order.
    arrived: Vec<usize>,
    broken: Option<Cause>,
    /// The last phase that RESET ended.
    reset: u64,
    /// The phase when STATUS was last called on the group's descriptor.
    seen: u64,
    closed: bool,
}

/// The group's descriptor.
const GROUP: usize = 0;

pub(crate) fn worlds() -> Vec<World<Group>> {
    let world = |name: &str, flags, made| World {
        name: name.into(),
        begin,
        flags,
        made,
    };
    vec![
        world("group that breaks, three joined", JOINED, 0),
        world("group that shrinks, three joined", JOINED | SHRINK, 0),
        world(
            "group that breaks, three open seats and room for one",
            MORE,
            0,
        ),
        world(
            "group that shrinks, three open seats and room for one",
            SHRINK | MORE,
            0,
        ),
        world(
            "group that breaks, three joined, one of them not bound",
            JOINED | UNBOUND,
            0,
        ),
        world(
            "group that shrinks, three joined, one of them not bound",
            JOINED | SHRINK | UNBOUND,
            0,
        ),
        world(
            "group that breaks, three joined, with completion",
            JOINED | COMPLETION,
            0,
        ),
        world(
            "group that shrinks, three joined, with completion",
            JOINED | SHRINK | COMPLETION,
            0,
        ),
        world(
            "group that breaks, three joined and two arrived, with completion",
            JOINED | COMPLETION,
            2,
        ),
        world(
            "group that shrinks, three joined and two arrived, with completion",
            JOINED | SHRINK | COMPLETION,
            2,
        ),
    ]
}

fn begin(world: &World<Group>) -> Group {
    let max = if world.flags & MORE != 0 { 4 } else { 3 };
    let mut args = quiesce_group {
        flags: world.flags & (SHRINK | COMPLETION),
        parties: 3,
        max_parties: max,
        ..Default::default()
    };
    assert_eq!(
        world::ioctl(OWNER, None, QUIESCE_NR_GROUP, &mut args, false),
        0
    );
    assert_eq!(args.fd, GROUP as i32);
    let mut group = Group {
        shrink: world.flags & SHRINK != 0,
        completion: world.flags & COMPLETION != 0,
        completing: None,
        max,
        phase: 1,
        seats: (0..3).map(|n| (n, None)).collect(),
        last: BTreeMap::new(),
        parties: Vec::new(),
        arrived: Vec::new(),
        broken: None,
        reset: 0,
        seen: 1,
        closed: false,
    };
    if world.flags & JOINED != 0 {
        for party in 0..3 {
            let bound = party != 0 || world.flags & UNBOUND == 0;
            group.step(Call::Join { bound }, true).unwrap();
        }
        for party in 0..world.made {
            let call = Call::ArriveWait {
                party,
                end: ETIMEDOUT.0,
            };
            group.step(call, true).unwrap();
        }
    }
    group
}

/// A struct of a call.
#[derive(Debug)]
enum Struct {
    Join(quiesce_join),
    Arrive(quiesce_arrive),
    Wait(quiesce_wait),
    Abort(quiesce_abort),
    Reset(quiesce_reset),
    Complete(quiesce_complete),
    Status(quiesce_status),
    None,
}

impl Struct {
    fn same(&self, should: &Self) -> Result<(), String> {
        match (self, should) {
            (Self::Join(is), Self::Join(should)) => same_struct("the struct", is, should),
            (Self::Arrive(is), Self::Arrive(should)) => same_struct("the struct", is, should),
            (Self::Wait(is), Self::Wait(should)) => same_struct("the struct", is, should),
            (Self::Abort(is), Self::Abort(should)) => same_struct("the struct", is, should),
            (Self::Reset(is), Self::Reset(should)) => same_struct("the struct", is, should),
            (Self::Complete(is), Self::Complete(should)) => same_struct("the struct", is, should),
            (Self::Status(is), Self::Status(should)) => same_struct("the struct", is, should),
            _ => Ok(()),
        }
    }
}

fn arrive_args(drop: bool) -> quiesce_arrive {
    quiesce_arrive {
        flags: if drop { QUIESCE_ARRIVE_DROP } else { 0 },
        count: 1,
        ticket: 77,
        index: 77,
        result: 77,
        ..Default::default()
    }
}

fn wait_args(call: Call) -> quiesce_wait {
    let args = quiesce_wait {
        kind: QUIESCE_WAIT_PHASE,
        deadline: u64::MAX,
        balance: 77,
        view: 77,
        result: 77,
        index: 77,
        ..Default::default()
    };
    match call {
        Call::ArriveWait { end, .. } => quiesce_wait {
            count: 1,
            deadline: if end == ETIMEDOUT.0 { 0 } else { u64::MAX },
            ..args
        },
        Call::Continue { ticket, .. } => quiesce_wait {
            count: 1,
            ticket,
            deadline: 0,
            ..args
        },
        Call::Wait { ticket, breaks, .. } => quiesce_wait {
            ticket,
            deadline: 0,
            flags: if breaks { QUIESCE_WAIT_BREAK } else { 0 },
            ..args
        },
        _ => unreachable!(),
    }
}

impl Group {
    /// Makes the call; returns its result and the struct after it.
    fn call(&self, call: Call) -> (i32, Struct) {
        let fd = |party: usize| Some(self.parties[party].fd);
        // A process that is dead has left a copy of its descriptor to another.
        let by = |party: usize| {
            if self.parties[party].dead {
                OWNER
            } else {
                process(party)
            }
        };
        match call {
            Call::Join { bound } => {
                let flags = if bound { QUIESCE_BIND_PROCESS } else { 0 };
                let mut args = quiesce_join {
                    flags,
                    fd: -77,
                    party: 77,
                    phase: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(
                    process(self.parties.len()),
                    Some(GROUP),
                    QUIESCE_NR_JOIN,
                    &mut args,
                    false,
                );
                (ret, Struct::Join(args))
            }
            Call::Arrive { party, drop } => {
                let mut args = arrive_args(drop);
                let ret = world::ioctl(by(party), fd(party), QUIESCE_NR_ARRIVE, &mut args, false);
                (ret, Struct::Arrive(args))
            }
            Call::ArriveWait { party, end } => {
                let mut args = wait_args(call);
                bindings::set_sleep(ERESTARTSYS.0);
                let ret = world::ioctl(
                    by(party),
                    fd(party),
                    QUIESCE_NR_ARRIVE_WAIT,
                    &mut args,
                    end == EAGAIN.0,
                );
                (ret, Struct::Wait(args))
            }
            Call::Continue { party, .. } => {
                let mut args = wait_args(call);
                let ret = world::ioctl(
                    by(party),
                    fd(party),
                    QUIESCE_NR_ARRIVE_WAIT,
                    &mut args,
                    false,
                );
                (ret, Struct::Wait(args))
            }
            Call::Wait { party, .. } => {
                let mut args = wait_args(call);
                let ret = world::ioctl(by(party), fd(party), QUIESCE_NR_WAIT, &mut args, false);
                (ret, Struct::Wait(args))
            }
            Call::Leave { party } => (
                world::ioctl(by(party), fd(party), QUIESCE_NR_LEAVE, &mut (), false),
                Struct::None,
            ),
            Call::Abort { party } => {
                let mut args = quiesce_abort {
                    code: 40 + party as u64,
                    view: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(by(party), fd(party), QUIESCE_NR_ABORT, &mut args, false);
                (ret, Struct::Abort(args))
            }
            Call::Exit { party } => {
                world::exit(process(party), 9);
                (0, Struct::None)
            }
            Call::Close { party } => {
                world::close(by(party), self.parties[party].fd);
                (0, Struct::None)
            }
            Call::Complete { party, ticket } => {
                let mut args = quiesce_complete {
                    ticket,
                    phase: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(by(party), fd(party), QUIESCE_NR_COMPLETE, &mut args, false);
                (ret, Struct::Complete(args))
            }
            Call::GroupAbort => {
                let mut args = quiesce_abort {
                    code: 50,
                    view: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(OWNER, Some(GROUP), QUIESCE_NR_ABORT, &mut args, false);
                (ret, Struct::Abort(args))
            }
            Call::GroupReset => {
                let mut args = quiesce_reset {
                    phase: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(OWNER, Some(GROUP), QUIESCE_NR_RESET, &mut args, false);
                (ret, Struct::Reset(args))
            }
            Call::GroupStatus => {
                let mut args = quiesce_status::default();
                let ret = world::ioctl(OWNER, Some(GROUP), QUIESCE_NR_STATUS, &mut args, false);
                (ret, Struct::Status(args))
            }
            Call::GroupClose => {
                world::close(OWNER, GROUP);
                (0, Struct::None)
            }
        }
    }

    fn has_arrived(&self, party: usize) -> bool {
        self.arrived.contains(&party)
    }

    /// "A broken group stays broken, with the cause of the first break, until RESET."
    fn break_by(&mut self, cause: Cause) {
        self.broken.get_or_insert(cause);
        self.completing = None;
    }

    fn pid(party: usize) -> i32 {
        bindings::PROCESSES[process(party)].number
    }

    /// "A phase is over when every seat has arrived, open seats included."
    fn maybe_over(&mut self, by: Option<usize>) {
        if self.broken.is_some()
            || self.completing.is_some()
            || self.arrived.is_empty()
            || self.arrived.len() < self.seats.len()
        {
            return;
        }
        // "This party leads: true for at most one party at a time, the last to arrive."
        let remains = self
            .arrived
            .iter()
            .rev()
            .copied()
            .find(|&party| !self.parties[party].gone());
        if self.completion && remains.is_some() {
            // "With QUIESCE_ARRIVE_DROP a party leads only if no other can."
            self.completing = by.filter(|&by| !self.parties[by].gone()).or(remains);
            return;
        }
        self.over(by.or(remains));
    }

    /// The phase is over.
    fn over(&mut self, leader: Option<usize>) {
        self.completing = None;
        for party in core::mem::take(&mut self.arrived) {
            self.parties[party].arrivals.last_mut().unwrap().end = End::Well {
                leads: leader == Some(party),
            };
        }
        self.phase += 1;
        let seats: Vec<_> = self
            .seats
            .iter()
            .map(|(&seat, &party)| (seat, party))
            .collect();
        for (seat, party) in seats {
            let Some(party) = party else { continue };
            if self.parties[party].left {
                self.seats.remove(&seat);
            } else if let Some(cause) = self.parties[party].ended {
                // "A party that ends without having arrived, in this phase or the next, breaks the group
                // or, with QUIESCE_GROUP_SHRINK, removes its seat."
                if self.shrink {
                    self.seats.remove(&seat);
                } else {
                    self.break_by(cause);
                }
            }
        }
    }

    fn can_arrive(&self, party: usize) -> i32 {
        if self.parties[party].gone() {
            ENOTCONN.0
        } else if let Some(cause) = self.broken {
            cause.error()
        } else if self.has_arrived(party) {
            EALREADY.0
        } else {
            0
        }
    }

    /// Arrives; returns ticket, index, and the result.
    fn arrive(&mut self, party: usize, drop: bool) -> (u64, u32, u32) {
        let (ticket, index) = (self.phase, self.arrived.len() as u32);
        self.parties[party].arrivals.push(Arrival {
            ticket,
            index,
            end: End::NotYet,
            reported: false,
            suspended: false,
        });
        self.parties[party].left = drop;
        self.arrived.push(party);
        self.maybe_over(Some(party));
        let result = if self.phase != ticket {
            QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER
        } else if self.completing == Some(party) {
            QUIESCE_RESULT_LEADER
        } else {
            0
        };
        (ticket, index, result)
    }

    /// How the phase of the ticket ended: the arrival if it is one of the party's last ones, the
    /// result, or nothing if it has not.
    fn outcome(
        &self,
        party: usize,
        ticket: u64,
    ) -> Option<Result<(u32, u32), (i32, Option<Cause>)>> {
        let it = &self.parties[party];
        let kept = it
            .arrivals
            .iter()
            .rev()
            .take(QUIESCE_OUTCOMES as usize)
            .find(|arrival| arrival.ticket == ticket);
        let Some(arrival) = kept else {
            return Some(if it.gone() {
                Err((ENOTCONN.0, None))
            } else if ticket == 0 || ticket >= self.phase {
                Err((EINVAL.0, None))
            } else if ticket < self.reset {
                Err((ESTALE.0, None))
            } else if ticket == self.reset {
                Err((ECANCELED.0, None))
            } else {
                Ok((QUIESCE_RESULT_DONE, 0))
            });
        };
        match arrival.end {
            End::Well { leads } => Some(Ok((
                QUIESCE_RESULT_DONE | if leads { QUIESCE_RESULT_LEADER } else { 0 },
                arrival.index,
            ))),
            End::Reset => Some(Err((ECANCELED.0, None))),
            End::Broken(cause) => Some(Err((cause.error(), Some(cause)))),
            End::NotYet => match self.broken {
                Some(cause) => Some(Err((cause.error(), Some(cause)))),
                None if it.ended.is_some() => Some(Err((ENOTCONN.0, None))),
                None if self.completing == Some(party) => {
                    Some(Ok((QUIESCE_RESULT_LEADER, arrival.index)))
                }
                None => None,
            },
        }
    }

    /// A wait for the ticket, which ends with `end` if it has to sleep.
    fn wait(
        &mut self,
        party: usize,
        ticket: u64,
        mut args: quiesce_wait,
        end: i32,
        arrived: bool,
    ) -> (i32, Struct) {
        let outcome = self.outcome(party, ticket);
        let (ret, written) = match outcome {
            None => (end, true),
            Some(Ok(_)) => (0, true),
            Some(Err((e, _))) => (e, [ECONNABORTED.0, EOWNERDEAD.0, ECANCELED.0].contains(&e)),
        };
        if written {
            args.balance = 0;
            args.view = 0;
            args.result = 0;
            args.index = 0;
            args.ticket = 0;
        }
        let arrival = self.parties[party]
            .arrivals
            .iter_mut()
            .rev()
            .take(QUIESCE_OUTCOMES as usize)
            .find(|arrival| arrival.ticket == ticket);
        match outcome {
            None => {
                args.ticket = ticket;
                if arrived {
                    arrival.unwrap().suspended = true;
                }
                // "A timeout of this wait breaks the group, unless this party has left."
                if args.flags & QUIESCE_WAIT_BREAK != 0
                    && end == ETIMEDOUT.0
                    && !self.parties[party].left
                {
                    let seat = self.parties[party].seat;
                    let pid = if self.parties[party].dead {
                        bindings::PROCESSES[OWNER].number
                    } else {
                        Self::pid(party)
                    };
                    self.break_by(Cause {
                        cause: QUIESCE_CAUSE_TIMEOUT,
                        party: seat,
                        pid,
                        status: 0,
                        code: 0,
                    });
                }
            }
            Some(result) => {
                if arrived && ret == ENOTCONN.0 {
                    // The ticket was not written back as used.
                    arrival.unwrap().suspended = true;
                } else if written
                    && result
                        != Ok((
                            QUIESCE_RESULT_LEADER,
                            arrival.as_ref().map_or(0, |a| a.index),
                        ))
                {
                    if let Some(arrival) = arrival {
                        arrival.reported = true;
                    }
                }
                match result {
                    Ok((result, index)) => {
                        if result & QUIESCE_RESULT_DONE == 0 {
                            // "A leader that has to call COMPLETE gets its ticket for that call."
                            args.ticket = ticket;
                        }
                        args.result = result;
                        args.index = index;
                    }
                    Err((_, Some(cause))) => args.cause = cause.args(),
                    Err((_, None)) => (),
                }
            }
        }
        (ret, Struct::Wait(args))
    }

    /// The party ends, by its process or because its last descriptor is closed.
    fn end(&mut self, party: usize, cause: Cause) {
        if self.parties[party].gone() {
            return;
        }
        self.parties[party].ended = Some(cause);
        // "A leader that leaves, or that ends in a group with QUIESCE_GROUP_SHRINK, is replaced by the
        // last to arrive of the parties that remain; one that ends otherwise breaks the group."
        if self.completing == Some(party) {
            if self.shrink {
                self.completing = None;
                self.maybe_over(None);
            } else {
                self.break_by(cause);
            }
            return;
        }
        if self.broken.is_some() || self.has_arrived(party) {
            return;
        }
        if self.shrink {
            self.seats.remove(&self.parties[party].seat);
            self.maybe_over(None);
        } else {
            self.break_by(cause);
        }
    }

    /// What the header says of the call: its result and the struct after it.
    fn model(&mut self, call: Call) -> (i32, Struct) {
        match call {
            Call::Join { bound } => {
                let flags = if bound { QUIESCE_BIND_PROCESS } else { 0 };
                let mut args = quiesce_join {
                    flags,
                    fd: -77,
                    party: 77,
                    phase: 77,
                    ..Default::default()
                };
                if let Some(cause) = self.broken {
                    return (cause.error(), Struct::Join(args));
                }
                if self.completing.is_some() {
                    return (EBUSY.0, Struct::Join(args));
                }
                let open = self
                    .seats
                    .iter()
                    .find(|(_, party)| party.is_none())
                    .map(|(&seat, _)| seat);
                let added = (0..self.max).find(|seat| !self.seats.contains_key(seat));
                let Some(seat) = open.or(added) else {
                    return (ENOSPC.0, Struct::Join(args));
                };
                let number = self.parties.len();
                let fd = (0..).find(|&fd| {
                    (fd != GROUP || self.closed)
                        && self
                            .parties
                            .iter()
                            .all(|party| party.closed || party.fd != fd)
                });
                self.seats.insert(seat, Some(number));
                self.last.insert(seat, number);
                self.parties.push(Party {
                    seat,
                    fd: fd.unwrap(),
                    bound,
                    left: false,
                    ended: None,
                    closed: false,
                    dead: false,
                    arrivals: Vec::new(),
                });
                args.fd = fd.unwrap() as i32;
                args.party = seat;
                args.phase = self.phase;
                (0, Struct::Join(args))
            }
            Call::Arrive { party, drop } => {
                let mut args = arrive_args(drop);
                let ret = self.can_arrive(party);
                if ret == 0 {
                    let (ticket, index, result) = self.arrive(party, drop);
                    args.ticket = ticket;
                    args.index = index;
                    args.result = result;
                } else if ret == ECONNABORTED.0 || ret == EOWNERDEAD.0 {
                    args.ticket = 0;
                    args.index = 0;
                    args.result = 0;
                    args.cause = self.broken.unwrap().args();
                }
                (ret, Struct::Arrive(args))
            }
            Call::ArriveWait { party, end } => {
                let mut args = wait_args(call);
                let ret = self.can_arrive(party);
                if ret == 0 {
                    let (ticket, _, _) = self.arrive(party, false);
                    return self.wait(party, ticket, args, end, true);
                }
                if ret == ECONNABORTED.0 || ret == EOWNERDEAD.0 {
                    args.balance = 0;
                    args.view = 0;
                    args.result = 0;
                    args.index = 0;
                    args.cause = self.broken.unwrap().args();
                }
                (ret, Struct::Wait(args))
            }
            Call::Continue { party, ticket } => {
                let args = wait_args(call);
                let gone = self.parties[party].gone();
                let forgotten = match self.parties[party].arrivals[..] {
                    [.., oldest, _, _, _] => ticket < oldest.ticket,
                    _ => false,
                };
                let arrivals = &mut self.parties[party].arrivals;
                let kept = arrivals
                    .iter_mut()
                    .rev()
                    .take(QUIESCE_OUTCOMES as usize)
                    .find(|arrival| arrival.ticket == ticket);
                let ret = match kept {
                    Some(arrival) if arrival.suspended => {
                        arrival.suspended = false;
                        0
                    }
                    // "A ticket that was not written so, or was used, is EINVAL."
                    Some(_) => EINVAL.0,
                    None if gone => ENOTCONN.0,
                    None if forgotten => ESTALE.0,
                    None => EINVAL.0,
                };
                if ret != 0 {
                    return (ret, Struct::Wait(args));
                }
                self.wait(party, ticket, args, ETIMEDOUT.0, true)
            }
            Call::Wait { party, ticket, .. } => {
                self.wait(party, ticket, wait_args(call), ETIMEDOUT.0, false)
            }
            Call::Leave { party } => {
                if self.parties[party].gone() {
                    return (ENOTCONN.0, Struct::None);
                }
                self.parties[party].left = true;
                let seat = self.parties[party].seat;
                if let Some(cause) = self.broken {
                    if self.has_arrived(party) {
                        self.arrived.retain(|&other| other != party);
                        self.parties[party].arrivals.last_mut().unwrap().end = End::Broken(cause);
                    }
                    self.seats.remove(&seat);
                } else if !self.has_arrived(party) {
                    self.seats.remove(&seat);
                    self.maybe_over(None);
                } else if self.completing == Some(party) {
                    self.completing = None;
                    self.maybe_over(None);
                }
                (0, Struct::None)
            }
            Call::Abort { party } => {
                let mut args = quiesce_abort {
                    code: 40 + party as u64,
                    view: 77,
                    ..Default::default()
                };
                if self.parties[party].gone() {
                    return (ENOTCONN.0, Struct::Abort(args));
                }
                args.view = 0;
                let seat = self.parties[party].seat;
                let pid = if self.parties[party].dead {
                    bindings::PROCESSES[OWNER].number
                } else {
                    Self::pid(party)
                };
                self.break_by(Cause {
                    cause: QUIESCE_CAUSE_ABORT,
                    party: seat,
                    pid,
                    status: 0,
                    code: args.code,
                });
                (0, Struct::Abort(args))
            }
            Call::Exit { party } => {
                self.parties[party].dead = true;
                if self.parties[party].bound && !self.parties[party].closed {
                    let seat = self.parties[party].seat;
                    self.end(
                        party,
                        Cause {
                            cause: QUIESCE_CAUSE_SIGNAL,
                            party: seat,
                            pid: Self::pid(party),
                            status: 9,
                            code: 0,
                        },
                    );
                }
                (0, Struct::None)
            }
            Call::Close { party } => {
                let it = &self.parties[party];
                let pid = if it.dead {
                    bindings::PROCESSES[OWNER].number
                } else {
                    Self::pid(party)
                };
                self.end(
                    party,
                    Cause {
                        cause: QUIESCE_CAUSE_CLOSE,
                        party: self.parties[party].seat,
                        pid,
                        status: 0,
                        code: 0,
                    },
                );
                self.parties[party].closed = true;
                (0, Struct::None)
            }
            Call::Complete { party, ticket } => {
                let mut args = quiesce_complete {
                    ticket,
                    phase: 77,
                    ..Default::default()
                };
                let ret = match self.outcome(party, ticket) {
                    Some(Ok((QUIESCE_RESULT_LEADER, _))) => 0,
                    Some(Err((e, _))) => e,
                    _ => EINVAL.0,
                };
                if ret == 0 {
                    self.over(Some(party));
                    self.parties[party].arrivals.last_mut().unwrap().reported = true;
                    args.phase = self.phase;
                }
                (ret, Struct::Complete(args))
            }
            Call::GroupAbort => {
                let pid = bindings::PROCESSES[OWNER].number;
                self.break_by(Cause {
                    cause: QUIESCE_CAUSE_ABORT,
                    party: QUIESCE_NOBODY,
                    pid,
                    status: 0,
                    code: 50,
                });
                (
                    0,
                    Struct::Abort(quiesce_abort {
                        code: 50,
                        ..Default::default()
                    }),
                )
            }
            Call::GroupReset => {
                // "Waits for the current one fail with ECANCELED or, if it was broken, as before the reset."
                let end = self.broken.take().map_or(End::Reset, End::Broken);
                for party in core::mem::take(&mut self.arrived) {
                    self.parties[party].arrivals.last_mut().unwrap().end = end;
                }
                self.reset = self.phase;
                self.completing = None;
                self.phase += 1;
                let seats: Vec<_> = self
                    .seats
                    .iter()
                    .map(|(&seat, &party)| (seat, party))
                    .collect();
                for (seat, party) in seats {
                    let Some(party) = party else { continue };
                    if self.parties[party].left {
                        self.seats.remove(&seat);
                    } else if self.parties[party].ended.is_some() {
                        if self.shrink {
                            self.seats.remove(&seat);
                        } else {
                            // "seats of ended parties are open again"
                            self.seats.insert(seat, None);
                            self.last.remove(&seat);
                        }
                    }
                }
                (
                    0,
                    Struct::Reset(quiesce_reset {
                        phase: self.phase,
                        ..Default::default()
                    }),
                )
            }
            Call::GroupStatus => {
                self.seen = self.phase;
                (0, Struct::Status(self.status(None)))
            }
            Call::GroupClose => {
                self.closed = true;
                let open: Vec<_> = self
                    .seats
                    .iter()
                    .filter(|(_, party)| party.is_none())
                    .map(|(&seat, _)| seat)
                    .collect();
                if self.broken.is_none() && !open.is_empty() {
                    if self.shrink {
                        for seat in open {
                            self.seats.remove(&seat);
                        }
                        self.maybe_over(None);
                    } else {
                        let pid = bindings::PROCESSES[OWNER].number;
                        self.break_by(Cause {
                            cause: QUIESCE_CAUSE_UNCLAIMED,
                            party: QUIESCE_NOBODY,
                            pid,
                            status: 0,
                            code: 0,
                        });
                    }
                }
                (0, Struct::None)
            }
        }
    }

    fn state(&self, party: usize) -> u32 {
        let it = &self.parties[party];
        (if self.has_arrived(party) {
            QUIESCE_STATE_ARRIVED
        } else {
            0
        }) | (if it.left { QUIESCE_STATE_LEFT } else { 0 })
            | (if self.completing == Some(party) {
                QUIESCE_STATE_LEADS
            } else {
                0
            })
            | (if it.ended.is_some() {
                QUIESCE_STATE_ENDED
            } else {
                0
            })
            | if it.bound { QUIESCE_STATE_BOUND } else { 0 }
    }

    fn status(&self, party: Option<usize>) -> quiesce_status {
        quiesce_status {
            kind: if party.is_some() {
                QUIESCE_KIND_PARTY
            } else {
                QUIESCE_KIND_GROUP
            },
            party: party.map_or(QUIESCE_NOBODY, |party| self.parties[party].seat),
            state: (if self.broken.is_some() {
                QUIESCE_STATE_BROKEN
            } else {
                0
            }) | party.map_or(0, |party| self.state(party)),
            parties: self.seats.len() as u32,
            arrived: self.arrived.len() as u32,
            open: self.seats.values().filter(|party| party.is_none()).count() as u32,
            late_words: 1,
            phase: self.phase,
            cause: self
                .broken
                .map_or(quiesce_cause::default(), |cause| cause.args()),
            ..Default::default()
        }
    }

    fn late(&self) -> u64 {
        let late = |party: &Option<usize>| party.is_none_or(|party| !self.has_arrived(party));
        self.seats
            .iter()
            .filter(|(_, party)| late(party))
            .map(|(seat, _)| 1 << seat)
            .sum()
    }

    fn poll_broken(&self) -> u32 {
        if self.broken.is_some() {
            POLLPRI | POLLERR
        } else {
            0
        }
    }

    fn poll(&self, party: usize) -> u32 {
        let mut mask = self.poll_broken();
        let it = &self.parties[party];
        if it.arrivals.last().is_some_and(|arrival| {
            arrival.end != End::NotYet && arrival.ticket < self.phase && !arrival.reported
        }) || self.completing == Some(party)
        {
            mask |= POLLIN | POLLRDNORM;
        }
        if self.can_arrive(party) == 0 {
            mask |= POLLOUT | POLLWRNORM;
        }
        if it.gone() {
            mask |= POLLHUP;
        }
        mask
    }

    fn poll_group(&self) -> u32 {
        let mut mask = self.poll_broken();
        if self.seen < self.phase {
            mask |= POLLIN | POLLRDNORM;
        }
        if self.seats.is_empty() {
            mask |= POLLHUP;
        }
        mask
    }

    /// The descriptors that are open: what each polls.
    fn levels(&self) -> Vec<(usize, u32)> {
        let group = (!self.closed).then(|| (GROUP, self.poll_group()));
        let open = (0..self.parties.len()).filter(|&party| !self.parties[party].closed);
        group
            .into_iter()
            .chain(open.map(|party| (self.parties[party].fd, self.poll(party))))
            .collect()
    }

    /// Compares all that can be seen.
    fn compare(&self) -> Result<(), String> {
        for (fd, level) in self.levels() {
            same("poll", world::poll(fd), level)?;
        }
        let mut members = false;
        for party in (0..self.parties.len()).filter(|&party| !self.parties[party].closed) {
            let fd = Some(self.parties[party].fd);
            let mut late = 77u64;
            let mut args = quiesce_status {
                late_words: 1,
                late: (&raw mut late).expose_provenance() as u64,
                ..Default::default()
            };
            let should = quiesce_status {
                late: args.late,
                ..self.status(Some(party))
            };
            same_result(
                world::ioctl(OWNER, fd, QUIESCE_NR_STATUS, &mut args, false),
                0,
            )?;
            same_struct("STATUS", &args, &should)?;
            same("late", late, self.late())?;
            if core::mem::replace(&mut members, true) {
                // These are the same to each party.
                continue;
            }
            for seat in 0..=self.max {
                let mut args = quiesce_member {
                    party: seat,
                    ..Default::default()
                };
                let ret = world::ioctl(OWNER, fd, QUIESCE_NR_MEMBER, &mut args, false);
                let should = match (self.last.get(&seat), self.seats.get(&seat)) {
                    (Some(&it), _) => quiesce_member {
                        party: seat,
                        state: self.state(it),
                        pid: Self::pid(it),
                        count: self.parties[it]
                            .arrivals
                            .last()
                            .map_or(0, |arrival| arrival.ticket),
                        cause: self.parties[it]
                            .ended
                            .map_or(quiesce_cause::default(), |cause| cause.args()),
                        ..Default::default()
                    },
                    (None, Some(_)) => quiesce_member {
                        party: seat,
                        state: QUIESCE_STATE_OPEN,
                        ..Default::default()
                    },
                    (None, None) => {
                        same_result(ret, ESRCH.0)?;
                        continue;
                    }
                };
                let should = quiesce_member {
                    pid_ino: bindings::inode(should.pid),
                    cause_ino: bindings::inode(should.cause.pid),
                    ..should
                };
                same_result(ret, 0)?;
                same_struct("MEMBER", &args, &should)?;
            }
        }
        Ok(())
    }

    /// "A change that sets a level wakes the tasks that poll for it." And a wait that has become over
    /// has to be woken.
    fn woken(&self, before: &Self) -> Result<(), String> {
        let wakes = bindings::take_wakes();
        let was = before.levels();
        let now = self.levels();
        for &(fd, level) in &now {
            let mine = world::queue(fd);
            let Some(&(_, old)) = was.iter().find(|&&(other, _)| other == fd) else {
                continue;
            };
            for bit in (0..32)
                .map(|n| 1 << n)
                .filter(|bit| level & !old & bit != 0)
            {
                if !wakes
                    .iter()
                    .any(|&(queue, events)| queue == mine && (events == 0 || events & bit != 0))
                {
                    return Err(format!(
                        "a poller of descriptor {fd} for {bit:#x} is not woken"
                    ));
                }
            }
            for &(queue, events) in &wakes {
                // Each of them may be off before a poller is woken.
                if queue == mine && events != 0 {
                    return Err(format!(
                        "a poller of descriptor {fd} is given the events {events:#x}, and does not ask"
                    ));
                }
            }
        }
        let queues: Vec<_> = now.iter().map(|&(fd, _)| world::queue(fd)).collect();
        for party in 0..before.parties.len() {
            if before.parties[party].closed || self.parties[party].closed {
                continue;
            }
            for arrival in &before.parties[party].arrivals {
                if before.outcome(party, arrival.ticket).is_none()
                    && self.outcome(party, arrival.ticket).is_some()
                    && !wakes.iter().any(|(queue, _)| !queues.contains(queue))
                {
                    return Err(format!(
                        "a wait of party {party} for {} is over and not woken",
                        arrival.ticket
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Model for Group {
    type Call = Call;

    fn calls(&self, all: bool) -> Vec<Call> {
        let mut calls = Vec::new();
        if !self.closed {
            if self.parties.len() < JOINS {
                calls.push(Call::Join { bound: true });
                if self.max > 3 {
                    calls.push(Call::Join { bound: false });
                }
            }
            calls.extend([
                Call::GroupAbort,
                Call::GroupReset,
                Call::GroupStatus,
                Call::GroupClose,
            ]);
        }
        let mut idles = [false; 2];
        for party in 0..self.parties.len() {
            let it = &self.parties[party];
            if it.closed {
                continue;
            }
            let idle = it.arrivals.is_empty()
                && !it.gone()
                && !it.dead
                && self.broken.is_none_or(|cause| cause.party != it.seat);
            if idle && !all {
                let before = &mut idles[usize::from(it.bound)];
                if core::mem::replace(before, true) {
                    continue;
                }
            }
            if !it.dead {
                calls.push(Call::Exit { party });
            }
            calls.extend([
                Call::Arrive { party, drop: false },
                Call::Arrive { party, drop: true },
                Call::ArriveWait {
                    party,
                    end: ETIMEDOUT.0,
                },
                Call::Leave { party },
                Call::Abort { party },
                Call::Close { party },
            ]);
            let last = it.arrivals.last().map_or(0, |arrival| arrival.ticket);
            let tickets = BTreeSet::from([last, 0, 1, self.phase]);
            calls.extend([
                Call::ArriveWait {
                    party,
                    end: ERESTARTSYS.0,
                },
                Call::ArriveWait {
                    party,
                    end: EAGAIN.0,
                },
                Call::Wait {
                    party,
                    ticket: last,
                    breaks: true,
                },
            ]);
            for ticket in tickets {
                if self.completion {
                    calls.push(Call::Complete { party, ticket });
                }
                calls.push(Call::Wait {
                    party,
                    ticket,
                    breaks: false,
                });
                if ticket != 0 {
                    calls.push(Call::Continue { party, ticket });
                }
            }
        }
        calls
    }

    fn step(&mut self, call: Call, check: bool) -> Result<(), String> {
        let before = self.clone();
        if check {
            let (ret, _) = self.clone().model(call);
            if !matches!(
                call,
                Call::Exit { .. } | Call::Close { .. } | Call::Leave { .. } | Call::GroupClose
            ) {
                let quiet = [ENOTCONN, EINVAL, EALREADY, ESTALE, ENOSPC];
                let writes = !quiet.iter().any(|e| e.0 == ret)
                    && (ret == 0 || !matches!(call, Call::Join { .. } | Call::Complete { .. }));
                let saved = world::with_faults(ret, writes, || self.call(call).0)?;
                world::is_unchanged(&saved)?;
            }
        }
        bindings::take_wakes();
        let (ret, args) = self.call(call);
        let (should, should_args) = self.model(call);
        if check {
            same_result(ret, should)?;
            args.same(&should_args)?;
            self.woken(&before)?;
            self.compare()?;
        }
        Ok(())
    }

    fn hash(&self, hash: &mut Hash) {
        std::hash::Hash::hash(self, hash);
    }
}
