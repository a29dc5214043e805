// SPDX-License-Identifier: GPL-2.0

//! The pair: a model of what `uapi/quiesce.h` says of it, and its calls.

use crate::{
    bindings::{self, uapi::*},
    explore::{same, same_result, same_struct, Model, World},
    world::{self, Hash},
};
use kernel::{bindings::*, error::code::*};

/// A wait's kinds.
const KINDS: [u32; 4] = [
    QUIESCE_WAIT_NEXT,
    QUIESCE_WAIT_SYNC_NEXT,
    QUIESCE_WAIT_SYNC,
    QUIESCE_WAIT_ABORTION,
];
const NOW: u64 = 0;
const FOREVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Arrive {
        side: usize,
        count: u64,
    },
    /// Ends with ETIMEDOUT, EAGAIN or EINTR if it has to sleep.
    Wait {
        side: usize,
        kind: u32,
        end: i32,
    },
    ArriveWait {
        side: usize,
        kind: u32,
        end: i32,
    },
    /// With a ticket of any arrival, or one that was not given out yet.
    Continue {
        side: usize,
        kind: u32,
        ticket: u64,
    },
    Abort {
        side: usize,
    },
    Bind {
        side: usize,
    },
    /// The process that the side was bound to exits.
    Exit {
        side: usize,
    },
    Close {
        side: usize,
    },
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Cause {
    cause: u32,
    pid: i32,
    status: i32,
    code: u64,
}

#[derive(Clone, Default)]
struct Side {
    arrivals: u64,
    read: u64,
    i: bool,
    they: bool,
    aborted: bool,
    ended: bool,
    closed: bool,
    bound: bool,
    dead: bool,
    /// How it ended or aborted; the first.
    cause: Cause,
    /// Waits that ended before they were over, and were not continued.
    suspended: u64,
}

#[derive(Clone)]
pub(crate) struct Pair {
    sides: [Side; 2],
}

/// The process of a side, and what it gives to ABORT.
fn process(side: usize) -> usize {
    side + 1
}
const CREATOR: usize = 0;

pub(crate) fn worlds() -> [World<Pair>; 1] {
    [World {
        name: "pair".into(),
        begin,
        flags: 0,
        made: 0,
    }]
}

fn begin(_: &World<Pair>) -> Pair {
    let mut args = quiesce_pair::default();
    assert_eq!(
        world::ioctl(CREATOR, None, QUIESCE_NR_PAIR, &mut args, false),
        0
    );
    assert_eq!(args.fd, [0, 1]);
    Pair {
        sides: Default::default(),
    }
}

/// What a wait does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    No,
    Ok,
    Err(i32),
}

impl Pair {
    fn unread(&self, side: usize) -> u64 {
        self.sides[1 - side].arrivals - self.sides[side].read
    }
    fn balance(&self, side: usize) -> i64 {
        self.sides[side].arrivals as i64 - self.sides[side].read as i64
    }
    fn view(&self, side: usize) -> u32 {
        let me = &self.sides[side];
        (if me.i { QUIESCE_I_ABORTED } else { 0 }) | if me.they { QUIESCE_THEY_ABORTED } else { 0 }
    }
    /// The error of an aborted view.
    fn aborted(&self, side: usize) -> i32 {
        if self.sides[side].i {
            ESHUTDOWN.0
        } else if self.sides[1 - side].aborted {
            ECONNABORTED.0
        } else {
            EOWNERDEAD.0
        }
    }

    /// ARRIVE; with a count of 0, whether it would succeed.
    fn arrive(&mut self, side: usize, count: u64) -> i32 {
        let me = &self.sides[side];
        if me.ended {
            return ENOTCONN.0;
        }
        if me.i || me.they {
            return self.aborted(side);
        }
        if me.arrivals + count.max(1) > i64::MAX as u64 {
            return EOVERFLOW.0;
        }
        self.sides[side].arrivals += count;
        0
    }

    /// "If its condition already holds, a wait returns without reading anything. Otherwise it reads all
    /// unread arrivals at once, until the condition holds."
    fn wait(&mut self, side: usize, kind: u32) -> Over {
        let begun = self.sides[side].read;
        loop {
            let me = &self.sides[side];
            if me.ended {
                return Over::Err(ENOTCONN.0);
            }
            if kind == QUIESCE_WAIT_ABORTION {
                if me.they {
                    return if me.i {
                        Over::Err(ESHUTDOWN.0)
                    } else {
                        Over::Ok
                    };
                }
            } else if me.i || me.they {
                return Over::Err(self.aborted(side));
            }
            let next = me.read != begun;
            let sync = self.balance(side) <= 0;
            if match kind {
                QUIESCE_WAIT_NEXT => next,
                QUIESCE_WAIT_SYNC_NEXT => next || sync,
                QUIESCE_WAIT_SYNC => sync,
                _ => false,
            } {
                return Over::Ok;
            }
            // "The other side's ABORT supersedes its unread arrivals; its end queues behind them."
            if self.sides[1 - side].aborted {
                self.sides[side].they = true;
            } else if self.unread(side) != 0 {
                self.sides[side].read = self.sides[1 - side].arrivals;
            } else if self.sides[1 - side].ended {
                self.sides[side].they = true;
            } else {
                return Over::No;
            }
        }
    }

    /// What a wait would do that begins now.
    fn would(&self, side: usize, kind: u32) -> Over {
        self.clone().wait(side, kind)
    }

    fn poll(&self, side: usize) -> u32 {
        let other = &self.sides[1 - side];
        let mut then = self.clone();
        let readable = then.wait(side, QUIESCE_WAIT_NEXT) == Over::Ok
            && then.sides[side].read != self.sides[side].read;
        let mut mask = 0;
        if readable {
            mask |= POLLIN | POLLRDNORM;
        }
        if self.clone().arrive(side, 0) == 0 {
            mask |= POLLOUT | POLLWRNORM;
        }
        if other.aborted {
            mask |= POLLPRI | POLLERR;
        }
        if other.ended {
            mask |= POLLRDHUP;
        }
        if (other.ended && !readable) || self.sides[side].ended {
            mask |= POLLHUP;
        }
        mask
    }

    fn cause(&self, side: usize) -> quiesce_cause {
        let it = &self.sides[side];
        if it.cause.cause == QUIESCE_CAUSE_NONE {
            return quiesce_cause::default();
        }
        quiesce_cause {
            cause: it.cause.cause,
            party: side as u32,
            pid: it.cause.pid,
            status: it.cause.status,
            code: it.cause.code,
        }
    }

    fn end(&mut self, side: usize, cause: Cause) {
        let it = &mut self.sides[side];
        if !it.ended {
            it.ended = true;
            if !it.aborted {
                it.cause = cause;
            }
        }
    }

    /// Makes the call; returns its result and the struct after it.
    fn call(&self, call: Call) -> (i32, Struct) {
        match call {
            Call::Arrive { side, count } => {
                let mut args = quiesce_arrive {
                    count,
                    balance: -77,
                    ticket: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(
                    process(side),
                    Some(side),
                    QUIESCE_NR_ARRIVE,
                    &mut args,
                    false,
                );
                (ret, Struct::Arrive(args))
            }
            Call::Wait { side, kind, end } => self.waits(side, kind, end, QUIESCE_NR_WAIT, 0),
            Call::ArriveWait { side, kind, end } => {
                self.waits(side, kind, end, QUIESCE_NR_ARRIVE_WAIT, 0)
            }
            Call::Continue { side, kind, ticket } => {
                self.waits(side, kind, ETIMEDOUT.0, QUIESCE_NR_ARRIVE_WAIT, ticket)
            }
            Call::Abort { side } => {
                let mut args = quiesce_abort {
                    code: 40 + side as u64,
                    view: 77,
                    ..Default::default()
                };
                let ret = world::ioctl(
                    process(side),
                    Some(side),
                    QUIESCE_NR_ABORT,
                    &mut args,
                    false,
                );
                (ret, Struct::Abort(args))
            }
            Call::Bind { side } => {
                let mut args = quiesce_bind {
                    flags: QUIESCE_BIND_PROCESS,
                    ..Default::default()
                };
                (
                    world::ioctl(process(side), Some(side), QUIESCE_NR_BIND, &mut args, false),
                    Struct::None,
                )
            }
            Call::Exit { side } => {
                world::exit(process(side), 3 << 8);
                (0, Struct::None)
            }
            Call::Close { side } => {
                world::close(
                    if self.sides[side].dead {
                        CREATOR
                    } else {
                        process(side)
                    },
                    side,
                );
                (0, Struct::None)
            }
        }
    }

    fn waits(&self, side: usize, kind: u32, end: i32, nr: u32, ticket: u64) -> (i32, Struct) {
        let mut args = quiesce_wait {
            kind,
            deadline: if end == ETIMEDOUT.0 { NOW } else { FOREVER },
            count: u64::from(nr == QUIESCE_NR_ARRIVE_WAIT),
            ticket,
            balance: -77,
            view: 77,
            result: 77,
            index: 77,
            ..Default::default()
        };
        bindings::set_sleep(ERESTARTSYS.0);
        let ret = world::ioctl(process(side), Some(side), nr, &mut args, end == EAGAIN.0);
        (ret, Struct::Wait(args))
    }

    /// What the header says of the call: its result and the struct after it.
    fn model(&mut self, call: Call) -> (i32, Struct) {
        match call {
            Call::Arrive { side, count } => {
                let ret = self.arrive(side, count);
                let mut args = quiesce_arrive {
                    count,
                    balance: -77,
                    ticket: 77,
                    ..Default::default()
                };
                if ret == 0 || ret == ECONNABORTED.0 || ret == EOWNERDEAD.0 || ret == ESHUTDOWN.0 {
                    args.ticket = self.sides[side].arrivals;
                    args.balance = self.balance(side);
                    args.view = self.view(side);
                    if ret != 0 && ret != ESHUTDOWN.0 {
                        args.cause = self.cause(1 - side);
                    }
                }
                (ret, Struct::Arrive(args))
            }
            Call::Wait { side, kind, end } => self.wait_model(side, kind, end, 0, 0),
            Call::ArriveWait { side, kind, end } => {
                let mut args = quiesce_wait {
                    kind,
                    deadline: if end == ETIMEDOUT.0 { NOW } else { FOREVER },
                    count: 1,
                    balance: -77,
                    view: 77,
                    result: 77,
                    index: 77,
                    ..Default::default()
                };
                match self.arrive(side, 1) {
                    0 => self.wait_model(side, kind, end, 1, self.sides[side].arrivals),
                    e if e == ENOTCONN.0 => {
                        args.ticket = 0;
                        (e, Struct::Wait(args))
                    }
                    // "ARRIVE_WAIT of a pair whose view is aborted does not arrive and fails with the
                    // error of the wait."
                    _ => {
                        let (ret, args) = self.wait_model(side, kind, end, 1, 0);
                        (ret, args)
                    }
                }
            }
            Call::Continue { side, kind, ticket } => {
                let args = quiesce_wait {
                    kind,
                    count: 1,
                    ticket,
                    balance: -77,
                    view: 77,
                    result: 77,
                    index: 77,
                    ..Default::default()
                };
                if self.sides[side].ended {
                    return (ENOTCONN.0, Struct::Wait(args));
                }
                let me = &mut self.sides[side];
                if ticket > me.arrivals || me.suspended == 0 {
                    return (EINVAL.0, Struct::Wait(args));
                }
                me.suspended -= 1;
                self.wait_model(side, kind, ETIMEDOUT.0, 1, ticket)
            }
            Call::Abort { side } => {
                let me = &mut self.sides[side];
                let mut args = quiesce_abort {
                    code: 40 + side as u64,
                    view: 77,
                    ..Default::default()
                };
                if me.ended {
                    return (ENOTCONN.0, Struct::Abort(args));
                }
                if !me.aborted {
                    me.aborted = true;
                    me.i = true;
                    me.cause = Cause {
                        cause: QUIESCE_CAUSE_ABORT,
                        pid: bindings::PROCESSES[process(side)].number,
                        status: 0,
                        code: args.code,
                    };
                }
                args.view = self.view(side);
                (0, Struct::Abort(args))
            }
            Call::Bind { side } => {
                let me = &mut self.sides[side];
                if me.ended {
                    return (ENOTCONN.0, Struct::None);
                }
                me.bound = true;
                (0, Struct::None)
            }
            Call::Exit { side } => {
                self.sides[side].dead = true;
                if self.sides[side].bound && !self.sides[side].closed {
                    let pid = bindings::PROCESSES[process(side)].number;
                    self.end(
                        side,
                        Cause {
                            cause: QUIESCE_CAUSE_EXIT,
                            pid,
                            status: 3,
                            code: 0,
                        },
                    );
                }
                (0, Struct::None)
            }
            Call::Close { side } => {
                let by = if self.sides[side].dead {
                    CREATOR
                } else {
                    process(side)
                };
                let pid = bindings::PROCESSES[by].number;
                self.end(
                    side,
                    Cause {
                        cause: QUIESCE_CAUSE_CLOSE,
                        pid,
                        status: 0,
                        code: 0,
                    },
                );
                self.sides[side].closed = true;
                (0, Struct::None)
            }
        }
    }

    fn wait_model(
        &mut self,
        side: usize,
        kind: u32,
        end: i32,
        count: u64,
        ticket: u64,
    ) -> (i32, Struct) {
        let over = self.wait(side, kind);
        let mut args = quiesce_wait {
            kind,
            deadline: if end == ETIMEDOUT.0 { NOW } else { FOREVER },
            count,
            balance: -77,
            view: 77,
            result: 77,
            index: 77,
            ..Default::default()
        };
        let ret = match over {
            Over::Ok => 0,
            Over::Err(e) => e,
            Over::No => end,
        };
        if over == Over::Err(ENOTCONN.0) {
            return (ret, Struct::Wait(args));
        }
        args.balance = self.balance(side);
        args.view = self.view(side);
        args.result = 0;
        args.index = 0;
        args.ticket = 0;
        if over == Over::No {
            args.ticket = ticket;
            if ticket != 0 {
                self.sides[side].suspended += 1;
            }
        } else if ret == ECONNABORTED.0
            || ret == EOWNERDEAD.0
            || (ret == 0 && kind == QUIESCE_WAIT_ABORTION)
        {
            args.cause = self.cause(1 - side);
        }
        (ret, Struct::Wait(args))
    }

    /// Compares all that can be seen.
    fn compare(&self) -> Result<(), String> {
        for side in 0..2 {
            let me = &self.sides[side];
            if me.closed {
                continue;
            }
            same("poll", world::poll(side), self.poll(side))?;
            let mut late = 77u64;
            let mut args = quiesce_status {
                late_words: 1,
                late: (&raw mut late).expose_provenance() as u64,
                ..Default::default()
            };
            let should = quiesce_status {
                kind: QUIESCE_KIND_PAIR,
                party: side as u32,
                view: self.view(side),
                state: self.state(side),
                parties: 2,
                late_words: 1,
                late: args.late,
                balance: self.balance(side),
                unread: self.unread(side),
                sent: self.unread(1 - side),
                cause: self.cause(1 - side),
                ..Default::default()
            };
            same(
                "STATUS",
                world::ioctl(CREATOR, Some(side), QUIESCE_NR_STATUS, &mut args, false),
                0,
            )?;
            same_struct("STATUS", &args, &should)?;
            let arrivals = [self.sides[0].arrivals, self.sides[1].arrivals];
            let bits =
                u64::from(arrivals[0] < arrivals[1]) | u64::from(arrivals[1] < arrivals[0]) << 1;
            same("late", late, bits)?;
            for party in 0..2 {
                let mut args = quiesce_member {
                    party: party as u32,
                    ..Default::default()
                };
                let it = &self.sides[party];
                let should = quiesce_member {
                    party: party as u32,
                    state: self.state(party),
                    pid: bindings::PROCESSES[if it.bound { process(party) } else { CREATOR }]
                        .number,
                    waiting: 0,
                    count: it.arrivals,
                    cause: self.cause(party),
                    ..Default::default()
                };
                let should = quiesce_member {
                    pid_ino: bindings::inode(should.pid),
                    cause_ino: bindings::inode(should.cause.pid),
                    ..should
                };
                same(
                    "MEMBER",
                    world::ioctl(CREATOR, Some(side), QUIESCE_NR_MEMBER, &mut args, false),
                    0,
                )?;
                same_struct("MEMBER", &args, &should)?;
            }
        }
        Ok(())
    }

    fn state(&self, side: usize) -> u32 {
        let it = &self.sides[side];
        (if it.aborted { QUIESCE_STATE_ABORTED } else { 0 })
            | (if it.ended { QUIESCE_STATE_ENDED } else { 0 })
            | if it.bound { QUIESCE_STATE_BOUND } else { 0 }
    }

    /// "A change that sets a level wakes the tasks that poll for it [...] Each arrival of the other side
    /// of a pair is an edge." And a wait that has become over has to be woken.
    fn woken(&self, before: &Self) -> Result<(), String> {
        let wakes = bindings::take_wakes();
        let queues = [0, 1].map(|side| {
            if self.sides[side].closed {
                0
            } else {
                world::queue(side)
            }
        });
        for side in 0..2 {
            if self.sides[side].closed || before.sides[side].closed {
                continue;
            }
            let now = self.poll(side);
            let mut turned = now & !before.poll(side);
            if self.sides[1 - side].arrivals != before.sides[1 - side].arrivals {
                turned |= now & (POLLIN | POLLRDNORM);
            }
            for bit in (0..32).map(|n| 1 << n).filter(|bit| turned & bit != 0) {
                if !wakes.iter().any(|&(queue, events)| {
                    queue == queues[side] && (events == 0 || events & bit != 0)
                }) {
                    return Err(format!("a poller of side {side} for {bit:#x} is not woken"));
                }
            }
            for &(queue, events) in &wakes {
                if queue == queues[side] && events & !now != 0 {
                    return Err(format!("a poller of side {side} is given the events {events:#x}, and {now:#x} are on"));
                }
                // A wait may read the arrival before a poller is woken.
                if queue == queues[side] && events & (POLLIN | POLLRDNORM) != 0 {
                    return Err(format!(
                        "a poller of side {side} is given the events {events:#x}, and does not ask"
                    ));
                }
            }
            for kind in KINDS {
                if before.would(side, kind) == Over::No
                    && self.would(side, kind) != Over::No
                    && !wakes.iter().any(|&(queue, _)| !queues.contains(&queue))
                {
                    return Err(format!(
                        "a wait of side {side} of kind {kind} is over and not woken"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A struct of a call.
#[derive(Debug)]
enum Struct {
    Arrive(quiesce_arrive),
    Wait(quiesce_wait),
    Abort(quiesce_abort),
    None,
}

impl Struct {
    fn same(&self, should: &Self) -> Result<(), String> {
        match (self, should) {
            (Self::Arrive(is), Self::Arrive(should)) => same_struct("the struct", is, should),
            (Self::Wait(is), Self::Wait(should)) => same_struct("the struct", is, should),
            (Self::Abort(is), Self::Abort(should)) => same_struct("the struct", is, should),
            _ => Ok(()),
        }
    }
}

impl Model for Pair {
    type Call = Call;

    fn calls(&self, _: bool) -> Vec<Call> {
        let mut calls = Vec::new();
        for side in 0..2 {
            let me = &self.sides[side];
            if !me.dead && me.bound {
                calls.push(Call::Exit { side });
            }
            if me.closed {
                continue;
            }
            calls.push(Call::Arrive { side, count: 1 });
            calls.push(Call::Arrive { side, count: 2 });
            for kind in KINDS {
                calls.push(Call::Wait {
                    side,
                    kind,
                    end: ETIMEDOUT.0,
                });
                calls.push(Call::ArriveWait {
                    side,
                    kind,
                    end: ETIMEDOUT.0,
                });
            }
            calls.push(Call::Wait {
                side,
                kind: QUIESCE_WAIT_NEXT,
                end: ERESTARTSYS.0,
            });
            calls.push(Call::ArriveWait {
                side,
                kind: QUIESCE_WAIT_SYNC,
                end: ERESTARTSYS.0,
            });
            calls.push(Call::ArriveWait {
                side,
                kind: QUIESCE_WAIT_NEXT,
                end: EAGAIN.0,
            });
            let next = me.arrivals + 1;
            for (kind, ticket) in [
                (QUIESCE_WAIT_NEXT, 1),
                (QUIESCE_WAIT_SYNC, next - 1),
                (QUIESCE_WAIT_SYNC, next),
            ] {
                if ticket != 0 {
                    calls.push(Call::Continue { side, kind, ticket });
                }
            }
            calls.push(Call::Abort { side });
            if !me.bound && !me.dead {
                calls.push(Call::Bind { side });
            }
            calls.push(Call::Close { side });
        }
        calls
    }

    fn step(&mut self, call: Call, check: bool) -> Result<(), String> {
        let before = self.clone();
        if check {
            let (ret, _) = self.clone().model(call);
            if !matches!(
                call,
                Call::Bind { .. } | Call::Exit { .. } | Call::Close { .. }
            ) {
                let writes = ret != ENOTCONN.0 && ret != EINVAL.0 && ret != EOVERFLOW.0;
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
        for side in &self.sides {
            hash.add(side.suspended);
        }
    }
}
