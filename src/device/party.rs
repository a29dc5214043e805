// SPDX-License-Identifier: GPL-2.0

//! Parties of a group.

use super::{
    args::{
        self,
        Command, //
    },
    exit::{
        Binding,
        Watch, //
    },
    file::{
        Endpoint,
        NewFile, //
    },
    group::{
        self,
        Barrier, //
    },
    trace, //
};
use crate::{
    barrier::{
        group::{
            Group,
            Outcome,
            Seat, //
        },
        Cause,
        End,
        Pid,
        Why, //
    },
    bindings::uapi, //
};
use core::{
    mem::offset_of,
    pin::Pin, //
};
use kernel::{
    bindings,
    c_str,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// One party of a group.
#[derive(Clone)]
struct Party {
    barrier: Arc<Barrier>,
    seat: Seat,
}

/// The file of a party.
#[pin_data(PinnedDrop)]
struct PartyFile {
    party: Party,
    #[pin]
    binding: Binding<Barrier>,
}

/// JOIN.
pub(super) fn join(barrier: &Arc<Barrier>, command: &Command) -> Result {
    let mut args: uapi::quiesce_join = command.read()?;
    args::check_flags(
        args.flags,
        uapi::QUIESCE_FD_INHERIT | uapi::QUIESCE_BIND_PROCESS,
    )?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    let bound = args.flags & uapi::QUIESCE_BIND_PROCESS != 0;
    let owner = Pid::current();
    let mut lock = barrier.lock();
    let seat = lock.group.join(owner, bound)?;
    args.party = seat.party();
    args.phase = lock.group.phase();
    drop(lock);

    let party = Party {
        barrier: barrier.clone(),
        seat,
    };
    let _undo = Unconfirmed(party.clone());
    let watch = if bound {
        Some(Watch::current(barrier.clone(), seat)?)
    } else {
        None
    };
    let file = NewFile::new(
        args.flags & uapi::QUIESCE_FD_INHERIT != 0,
        try_pin_init!(PartyFile {
            party,
            binding <- Binding::new(watch),
        }),
    )?;
    args.fd = file.fd();
    command.write(&args)?;
    barrier.lock().group.confirm(seat);
    file.install();
    Ok(())
}

/// A party that user space does not have yet; dropped before it has, the join is undone.
struct Unconfirmed(Party);

impl Drop for Unconfirmed {
    fn drop(&mut self) {
        let mut lock = self.0.barrier.lock();
        if lock.group.unjoin(self.0.seat) == Some(true) {
            lock.wake();
        }
    }
}

/// Why the group is broken, if `result` tells of that: asked under the lock that gave `result`,
/// for a reset mends the group.
fn cause(group: &Group, result: &Result) -> Cause {
    match result {
        Err(ECONNABORTED | EOWNERDEAD) => group.broken().cloned().unwrap_or_default(),
        _ => Cause::default(),
    }
}

impl Party {
    fn id(&self) -> u64 {
        self.barrier.id()
    }

    fn number(&self) -> u32 {
        self.seat.party()
    }

    fn end(&self, end: Option<End>) {
        let mut lock = self.barrier.lock();
        if lock.group.end(self.seat, end) {
            lock.wake();
            let member = lock.group.own(self.seat);
            drop(lock);
            trace::death(self.id(), self.number(), &member.end);
        }
    }

    fn arrive(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_arrive = command.read()?;
        args::check_flags(args.flags, uapi::QUIESCE_ARRIVE_DROP)?;
        if args.count != 1 {
            return Err(EINVAL);
        }
        args = uapi::quiesce_arrive {
            flags: args.flags,
            count: args.count,
            ..Default::default()
        };
        let mut lock = self.barrier.lock();
        let drops = args.flags & uapi::QUIESCE_ARRIVE_DROP != 0;
        let arrival = lock.group.arrive(self.seat, drops);
        if let Ok(arrival) = &arrival {
            args.ticket = arrival.ticket;
            args.index = arrival.index;
            if arrival.done {
                args.result = uapi::QUIESCE_RESULT_DONE | uapi::QUIESCE_RESULT_LEADER;
                lock.wake();
            }
            trace::place(self.id(), self.number(), 1, arrival.ticket);
        }
        let result = arrival.map(drop);
        let cause = cause(&lock.group, &result);
        drop(lock);

        if args::writes_out(&result) {
            args.cause = args::cause(&cause);
            command.write(&args)?;
        }
        result
    }

    fn wait(&self, command: &Command, arrives: bool) -> Result {
        let mut args: uapi::quiesce_wait = command.read()?;
        args::check_flags(
            args.flags,
            uapi::QUIESCE_WAIT_REALTIME | uapi::QUIESCE_WAIT_BOOTTIME | uapi::QUIESCE_WAIT_BREAK,
        )?;
        if args.kind != uapi::QUIESCE_WAIT_PHASE
            || args.reserved != 0
            || args.count != u64::from(arrives)
        {
            return Err(EINVAL);
        }
        let deadline = args::deadline(args.deadline, args.flags)?;
        let ticket_at = offset_of!(uapi::quiesce_wait, ticket);
        let places = arrives && args.ticket == 0;
        if places {
            // Memory that cannot take the ticket must fail before the party has arrived.
            command.write_u64(ticket_at, 0)?;
        }

        let seat = self.seat;
        let mut lock = self.barrier.lock();
        if places {
            match lock.group.arrive(seat, false) {
                Ok(arrival) => {
                    args.ticket = arrival.ticket;
                    if arrival.done {
                        lock.wake();
                    }
                    trace::place(self.id(), self.number(), 1, arrival.ticket);
                }
                Err(e) => {
                    let cause = cause(&lock.group, &Err(e));
                    drop(lock);
                    return self.refuse(command, args, e, &cause);
                }
            }
        }
        trace::wait_begin(self.id(), self.number(), args.kind, args.ticket);
        let outcome = lock
            .wait(
                deadline,
                |state| state.group.poll(seat, args.ticket),
                |state, asleep| state.group.asleep(seat, asleep),
            )
            .and_then(|outcome| outcome);
        if args.flags & uapi::QUIESCE_WAIT_BREAK != 0
            && outcome == Err(ETIMEDOUT)
            && lock.group.timeout(seat)
        {
            lock.wake();
        }
        let result = outcome.map(drop);
        let cause = cause(&lock.group, &result);
        drop(lock);

        trace::wait_end(self.id(), self.number(), &result);
        if places && result == Err(ERESTARTSYS) {
            // The call starts over, or the caller calls again, and must not arrive again.
            command.write_u64(ticket_at, args.ticket)?;
        }
        if args::writes_out(&result) {
            args.fill(outcome.unwrap_or_default(), result.is_ok());
            args.cause = args::cause(&cause);
            command.write(&args)?;
        }
        result
    }

    /// ARRIVE_WAIT of a party that may not arrive.
    fn refuse(
        &self,
        command: &Command,
        mut args: uapi::quiesce_wait,
        e: Error,
        cause: &Cause,
    ) -> Result {
        let result = Err(e);
        if args::writes_out(&result) {
            args.fill(Outcome::default(), false);
            args.cause = args::cause(cause);
            command.write(&args)?;
        }
        result
    }

    fn abort(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_abort = command.read()?;
        args::check_flags(args.flags, 0)?;
        let end = End::new(Why::Abort(args.code));
        let mut lock = self.barrier.lock();
        let first = lock.group.abort(Some(self.seat), end)?;
        if first {
            lock.wake();
        }
        drop(lock);
        if first {
            trace::abort(self.id(), self.number(), args.code);
        }
        args.view = 0;
        command.write(&args)
    }

    fn leave(&self, command: &Command) -> Result {
        command.read_nothing()?;
        let mut lock = self.barrier.lock();
        lock.group.leave(self.seat)?;
        lock.wake();
        Ok(())
    }
}

impl uapi::quiesce_wait {
    /// Fills in what a group's wait tells.
    fn fill(&mut self, outcome: Outcome, done: bool) {
        self.balance = 0;
        self.view = 0;
        self.index = outcome.index;
        self.result = 0;
        if done {
            self.result |= uapi::QUIESCE_RESULT_DONE;
        }
        if outcome.leader {
            self.result |= uapi::QUIESCE_RESULT_LEADER;
        }
    }
}

impl PartyFile {
    fn bind(&self, command: &Command) -> Result {
        let seat = self.party.seat;
        let barrier = &self.party.barrier;
        self.binding.bind(command, barrier, seat, |owner, bound| {
            barrier.lock().group.bind(seat, owner, bound)
        })
    }

    fn status(&self, command: &Command) -> Result {
        let member = self.party.barrier.lock().group.own(self.party.seat);
        let party = (self.party.number(), member);
        self.party.barrier.status(command, Some(party))
    }
}

impl Endpoint for PartyFile {
    const NAME: &'static CStr = c_str!("[quiesce_party]");

    fn ioctl(&self, command: &Command) -> Result<isize> {
        match command.nr() {
            uapi::QUIESCE_NR_ARRIVE => self.party.arrive(command),
            uapi::QUIESCE_NR_WAIT => self.party.wait(command, false),
            uapi::QUIESCE_NR_ARRIVE_WAIT => self.party.wait(command, true),
            uapi::QUIESCE_NR_ABORT => self.party.abort(command),
            uapi::QUIESCE_NR_BIND => self.bind(command),
            uapi::QUIESCE_NR_STATUS => self.status(command),
            uapi::QUIESCE_NR_MEMBER => self.party.barrier.member(command),
            uapi::QUIESCE_NR_LEAVE => self.party.leave(command),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn queue(&self) -> *mut bindings::wait_queue_head {
        self.party.barrier.queue.head()
    }

    fn events(&self) -> u32 {
        let events = self.party.barrier.lock().group.events(self.party.seat);
        let mut mask = 0;
        if events.done {
            mask |= bindings::POLLIN | bindings::POLLRDNORM;
        }
        if events.arrivable {
            mask |= bindings::POLLOUT | bindings::POLLWRNORM;
        }
        if events.broken {
            mask |= bindings::POLLPRI | bindings::POLLERR;
        }
        if events.gone {
            mask |= bindings::POLLHUP;
        }
        mask
    }

    fn closing(&self) {
        let end = End::closing();
        let mut lock = self.party.barrier.lock();
        lock.group.closing(self.party.seat, end);
    }

    fn show(&self, m: &SeqFile) {
        let member = self.party.barrier.lock().group.own(self.party.seat);
        self.party.barrier.show(m);
        seq_print!(
            m,
            "party:	{} pid {} state {:#x} last {} waiting {}\n",
            self.party.number(),
            args::pid_in_proc(m, &member.owner),
            group::state(&member),
            member.last,
            member.waiting
        );
    }
}

#[pinned_drop]
impl PinnedDrop for PartyFile {
    fn drop(self: Pin<&mut Self>) {
        self.binding.end();
        let mut lock = self.party.barrier.lock();
        match lock.group.unjoin(self.party.seat) {
            None => {
                drop(lock);
                self.party.end(None);
            }
            Some(true) => lock.wake(),
            Some(false) => (),
        }
    }
}
