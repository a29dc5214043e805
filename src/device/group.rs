// SPDX-License-Identifier: GPL-2.0

//! The commands of groups: decoding and filling in the structs of `uapi/quiesce.h`, and the group's
//! own descriptor.

use super::{
    args::{
        self,
        Command, //
    },
    exit::NewWatch,
    file::{
        Endpoint,
        NewFile, //
    },
    party::{
        Barrier,
        BarrierKind,
        Party,
        PartyFile,
        PartyWait, //
    },
    quota::Charge,
    BarrierQuota,
    Control, //
};
use crate::{
    barrier::{
        group::{
            Group,
            NewSeat,
            PartyInfo,
            Policy,
            Seat, //
        },
        set::Set,
        Cause,
        End,
        Id,
        Pid,
        Why, //
    },
    bindings::uapi,
    trace, //
};
use kernel::{
    bindings,
    c_str,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    static_lock_class,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

/// The pollers of a group's descriptor; those of parties are number 0.
const GROUP_POLLERS: usize = 1;

/// Handles GROUP: creates a group, and a descriptor of it.
#[inline(never)]
pub(super) fn create(control: ArcBorrow<'_, Control>, command: &Command) -> Result {
    let mut args: uapi::quiesce_group = command.read()?;
    args::check_flags(
        args.flags,
        uapi::QUIESCE_FD_INHERIT | uapi::QUIESCE_GROUP_SHRINK | uapi::QUIESCE_GROUP_COMPLETION,
    )?;
    let max = match args.max_parties {
        0 => args.parties,
        max => max,
    };
    let quota = BarrierQuota::new(control)?;
    let id = Id::next();
    let number = id.number();
    let group = Group::new(
        id,
        args.parties,
        max,
        Policy {
            shrink: args.flags & uapi::QUIESCE_GROUP_SHRINK != 0,
            completion: args.flags & uapi::QUIESCE_GROUP_COMPLETION != 0,
        },
    )?;
    let barrier = Barrier::new(
        number,
        group,
        quota,
        c_str!("quiesce_group"),
        static_lock_class!(),
    )?;
    let file = NewFile::<GroupFile>::new(
        args.flags & uapi::QUIESCE_FD_INHERIT != 0,
        Some(Charge::file()?),
    )?;
    args.fd = file.fd();
    command.write(&args)?;
    file.install(GroupFile { barrier });
    Ok(())
}

/// Handles JOIN: creates a party of the group, and a descriptor of it.
#[inline(never)]
fn join(barrier: &Arc<Barrier<Group>>, command: &Command) -> Result {
    let mut args: uapi::quiesce_join = command.read()?;
    args::check_flags(
        args.flags,
        uapi::QUIESCE_FD_INHERIT | uapi::QUIESCE_BIND_PROCESS,
    )?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    // All that can fail or take long comes before the party is there, so that a call that fails has
    // kept no phase from its end.
    let (mut new, owner) = (NewSeat::new()?, Pid::current());
    new.charge(Charge::file()?);
    let bound = args.flags & uapi::QUIESCE_BIND_PROCESS != 0;
    let watch = if bound { Some(NewWatch::new()?) } else { None };
    let inherit = args.flags & uapi::QUIESCE_FD_INHERIT != 0;
    let file = NewFile::<PartyFile<Group>>::new(inherit, None)?;
    args.fd = file.fd();
    let mut group = command.retry::<uapi::quiesce_join, _>(|| {
        let group = barrier.lock();
        args.party = group.preview_join()?;
        args.phase = group.phase();
        command.put(&args)?;
        Ok(group)
    })?;
    // Succeeds, as it was previewed under this lock.
    let seat = group.join(new, owner, bound)?;
    drop(group);
    trace::join(barrier.id, args.party, args.phase);

    let watch = watch.map(|watch| watch.start(barrier.clone(), seat.clone()));
    let party = Party {
        barrier: barrier.clone(),
        seat,
    };
    file.install(PartyFile::new(party, watch));
    Ok(())
}

/// The state bits of `party`.
fn state(party: &PartyInfo) -> u32 {
    [
        (party.open, uapi::QUIESCE_STATE_OPEN),
        (party.arrived, uapi::QUIESCE_STATE_ARRIVED),
        (party.leads, uapi::QUIESCE_STATE_LEADS),
        (party.left, uapi::QUIESCE_STATE_LEFT),
        (party.ended, uapi::QUIESCE_STATE_ENDED),
        (party.bound, uapi::QUIESCE_STATE_BOUND),
    ]
    .iter()
    .fold(0, |bits, &(set, bit)| if set { bits | bit } else { bits })
}

/// Returns the bits `QUIESCE_RESULT_*` of a wait or an arrival.
fn result(done: bool, leader: bool) -> u32 {
    let done = if done { uapi::QUIESCE_RESULT_DONE } else { 0 };
    let leader = if leader {
        uapi::QUIESCE_RESULT_LEADER
    } else {
        0
    };
    done | leader
}

fn cause(cause: Option<&Cause>) -> uapi::quiesce_cause {
    cause.map_or_else(Default::default, args::cause)
}

impl Group {
    /// Returns the cause of the break if `error` is that of a broken group.
    fn cause_of(&self, error: Error) -> uapi::quiesce_cause {
        cause(
            self.broken()
                .filter(|_| matches!(error, ECONNABORTED | EOWNERDEAD)),
        )
    }
}

/// Fills in what a wait writes, the ticket included: an attempt whose result could not be written
/// may have left other values.
fn fill(
    args: &mut uapi::quiesce_wait,
    ticket: u64,
    result: u32,
    index: u32,
    cause: uapi::quiesce_cause,
) {
    args.ticket = ticket;
    args.balance = 0;
    args.view = 0;
    args.result = result;
    args.index = index;
    args.cause = cause;
}

impl BarrierKind for Group {
    type Seat = Seat;
    type Goal = ();

    const NAME: &'static CStr = c_str!("[quiesce_party]");
    const HAS_PHASES: bool = true;
    const ARRIVE_FLAGS: u32 = uapi::QUIESCE_ARRIVE_DROP;
    const WAIT_FLAGS: u32 = uapi::QUIESCE_WAIT_BREAK;

    fn number(seat: &Seat) -> u32 {
        seat.party()
    }

    fn pollers(_seat: &Seat) -> usize {
        0
    }

    fn is_count(count: u64) -> bool {
        count == 1
    }

    fn goal(args: &uapi::quiesce_wait, arrives: bool) -> Result {
        if args.kind != uapi::QUIESCE_WAIT_PHASE || args.count != u64::from(arrives) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn preview_arrive(&self, seat: &Seat, args: &mut uapi::quiesce_arrive) -> Result {
        let drop = args.flags & uapi::QUIESCE_ARRIVE_DROP != 0;
        let arrival = Group::preview_arrive(self, seat, drop);
        *args = uapi::quiesce_arrive {
            flags: args.flags,
            count: args.count,
            ..Default::default()
        };
        match arrival {
            Ok(arrival) => {
                args.ticket = arrival.ticket;
                args.index = arrival.index;
                args.result = result(arrival.done, arrival.leader);
                Ok(())
            }
            Err(e) => {
                args.cause = self.cause_of(e);
                Err(e)
            }
        }
    }

    fn arrive(&mut self, seat: &Seat, args: &uapi::quiesce_arrive) {
        // Succeeds, as it was previewed under this lock.
        let _ = Group::arrive(self, seat, args.flags & uapi::QUIESCE_ARRIVE_DROP != 0);
    }

    fn resume(&mut self, seat: &Seat, ticket: u64) -> Result {
        Group::resume(self, seat, ticket)
    }

    fn suspend(&mut self, seat: &Seat, ticket: u64) {
        Group::suspend(self, seat, ticket);
    }

    fn try_wait(
        &mut self,
        seat: &Seat,
        wait: &mut PartyWait<()>,
        args: &mut uapi::quiesce_wait,
        put: impl FnOnce(&uapi::quiesce_wait) -> Result,
    ) -> Result<Option<Result>> {
        if wait.arrives {
            let mut done = false;
            let over = match Group::preview_arrive(self, seat, false) {
                Ok(arrival) => {
                    wait.ticket = arrival.ticket;
                    done = arrival.done;
                    let ticket = if done { 0 } else { arrival.ticket };
                    if arrival.leader {
                        let result = result(done, true);
                        fill(args, ticket, result, arrival.index, Default::default());
                    } else {
                        fill(args, ticket, 0, 0, Default::default());
                    }
                    arrival.leader.then_some(Ok(()))
                }
                Err(e) => {
                    fill(args, 0, 0, 0, self.cause_of(e));
                    Some(Err(e))
                }
            };
            if over.as_ref().is_none_or(args::writes_out) {
                put(args)?;
            }
            if !matches!(over, Some(Err(_))) {
                // Succeeds, as it was previewed under this lock.
                let _ = Group::arrive(self, seat, false);
                wait.arrives = false;
                wait.first = false;
            }
            if done {
                self.report(seat, wait.ticket);
            }
            return Ok(over);
        }

        let mut leads = false;
        let over = match self.outcome(seat, wait.ticket) {
            None => None,
            Some(Ok(outcome)) => {
                leads = !outcome.done;
                let ticket = if leads { wait.ticket } else { 0 };
                let result = result(outcome.done, outcome.leader);
                fill(args, ticket, result, outcome.index, Default::default());
                Some(Ok(()))
            }
            Some(Err(refusal)) => {
                fill(args, 0, 0, 0, cause(refusal.cause));
                Some(Err(refusal.error))
            }
        };
        match &over {
            None if wait.first => {
                fill(args, wait.ticket, 0, 0, Default::default());
                put(args)?;
            }
            Some(result) if args::writes_out(result) => {
                put(args)?;
                if !leads {
                    self.report(seat, wait.ticket);
                }
            }
            _ => (),
        }
        wait.first = false;
        Ok(over)
    }

    fn fill_pending(&self, _seat: &Seat, args: &mut uapi::quiesce_wait) {
        let ticket = args.ticket;
        fill(args, ticket, 0, 0, Default::default());
    }

    fn expire(&mut self, seat: &Seat, flags: u32) {
        if flags & uapi::QUIESCE_WAIT_BREAK != 0 {
            self.timeout(seat);
        }
    }

    fn asleep(&mut self, seat: &Seat, asleep: bool) {
        Group::asleep(self, seat, asleep);
    }

    fn preview_abort(&self, seat: &Seat) -> Result<u32> {
        Group::preview_abort(self, Some(seat)).map(|()| 0)
    }

    fn abort(&mut self, seat: &Seat, end: End) -> bool {
        Group::abort(self, Some(seat), end) == Ok(true)
    }

    fn leave(&mut self, seat: &Seat) -> Result {
        Group::leave(self, seat)
    }

    fn preview_complete(&self, seat: &Seat, ticket: u64) -> Result<u64> {
        Group::preview_complete(self, seat, ticket)
    }

    fn complete(&mut self, seat: &Seat, ticket: u64) {
        // Succeeds, as it was previewed under this lock.
        let _ = self.complete_phase(seat, ticket);
    }

    fn bind(&mut self, seat: &Seat, owner: ARef<Pid>, bound: bool) -> Result {
        Group::bind(self, seat, owner, bound)
    }

    fn ends_with(&self, seat: &Seat, pid: &Pid) -> bool {
        Group::ends_with(self, seat, pid)
    }

    fn closing(&mut self, seat: &Seat, end: End) {
        Group::closing(self, seat, end);
    }

    fn end(&mut self, seat: &Seat, end: End) -> Option<End> {
        Group::end(self, seat, end).then(|| self.own(seat).end)
    }

    fn all_ended(&mut self) {
        self.elect();
    }

    fn release(&mut self, seat: &Seat) -> Option<End> {
        Group::release(self, seat).then(|| self.own(seat).end)
    }

    fn poll(&self, seat: &Seat) -> u32 {
        Group::poll(self, seat)
    }

    fn status(&self, seat: Option<&Seat>, args: &mut uapi::quiesce_status) -> Set {
        if self.broken().is_some() {
            args.state = uapi::QUIESCE_STATE_BROKEN;
        }
        match seat {
            Some(seat) => {
                args.kind = uapi::QUIESCE_KIND_PARTY;
                args.party = seat.party();
                args.state |= state(&self.own(seat));
            }
            None => {
                args.kind = uapi::QUIESCE_KIND_GROUP;
                args.party = uapi::QUIESCE_NOBODY;
            }
        }
        args.parties = self.parties();
        args.arrived = self.arrived();
        args.open = self.open();
        args.waiting = self.waiting();
        args.late_words = self.capacity().div_ceil(64);
        args.phase = self.phase();
        args.cause = cause(self.broken());
        self.late()
    }

    fn member(&self, args: &mut uapi::quiesce_member) -> Result<(Option<ARef<Pid>>, End)> {
        let party = self.party(args.party)?;
        args.state = state(&party);
        args.waiting = party.waiting;
        args.count = party.last;
        Ok((party.owner, party.end))
    }

    fn show(barrier: &Barrier<Self>, seat: Option<&Seat>, m: &SeqFile) {
        let capacity = barrier.lock().capacity() as usize;
        // Without memory nothing is shown.
        let Ok(late) = KVec::with_capacity(capacity, GFP_KERNEL_ACCOUNT) else {
            return;
        };
        let snapshot = Snapshot::take(barrier, seat, late, m);
        snapshot.show_counts(barrier.id, m);
        snapshot.show_break(m);
        snapshot.show_late(m);
        if let Some(seat) = seat {
            snapshot.show_party(seat, m);
        }
    }
}

/// The state of a group that `fdinfo` shows, copied under one acquisition of the lock.
struct Snapshot {
    phase: u64,
    since: u64,
    parties: u32,
    arrived: u32,
    open: u32,
    waiting: u32,
    broken: Option<Cause>,
    /// The late parties and the numbers of their processes.
    late: KVec<(u32, i32)>,
    /// The party of the descriptor.
    own: PartyInfo,
}

// Each part of `fdinfo` has a frame of its own: formatting takes many of them.
impl Snapshot {
    /// Takes it, with `late` for the late parties, which has room for all parties.
    #[inline(never)]
    fn take(
        barrier: &Barrier<Group>,
        seat: Option<&Seat>,
        mut late: KVec<(u32, i32)>,
        m: &SeqFile,
    ) -> Self {
        let group = barrier.lock();
        let mut numbers = group.late();
        while let Some(n) = numbers.pop() {
            let _ = late.push_within_capacity((n, args::pid_in_proc(m, group.owner(n))));
        }
        Self {
            phase: group.phase(),
            since: group.since(),
            parties: group.parties(),
            arrived: group.arrived(),
            open: group.open(),
            waiting: group.waiting(),
            broken: group.broken().cloned(),
            late,
            own: seat.map_or_else(PartyInfo::default, |seat| group.own(seat)),
        }
    }

    #[inline(never)]
    fn show_counts(&self, id: u64, m: &SeqFile) {
        // SAFETY: The helper only computes from a number and reads the time namespace of `current`.
        let since = unsafe { crate::bindings::quiesce_helper_boottime_of_reader(self.since) };
        seq_print!(m, "quiesce:\tgroup {}\nphase:\t{}\n", id, self.phase);
        seq_print!(m, "phase-since:\t{}\n", since);
        seq_print!(
            m,
            "parties:\t{}\narrived:\t{}\nopen:\t{}\nwaiting:\t{}\n",
            self.parties,
            self.arrived,
            self.open,
            self.waiting
        );
    }

    #[inline(never)]
    fn show_break(&self, m: &SeqFile) {
        let none = Cause::default();
        let broken = self.broken.as_ref().unwrap_or(&none);
        let (cause, status, code) = broken.end.why.encode();
        let by = match broken.end.why {
            Why::Nothing => 0,
            _ => broken.party.unwrap_or(uapi::QUIESCE_NOBODY) as i32,
        };
        seq_print!(
            m,
            "broken:\tcause {} by {} pid {} status {} code {}\n",
            cause,
            by,
            args::pid_in_proc(m, broken.end.pid.as_deref()),
            status,
            code
        );
    }

    #[inline(never)]
    fn show_late(&self, m: &SeqFile) {
        seq_print!(m, "late:\t");
        for (party, pid) in self.late.iter() {
            seq_print!(m, "{}:{} ", party, pid);
        }
        seq_print!(m, "\n");
    }

    #[inline(never)]
    fn show_party(&self, seat: &Seat, m: &SeqFile) {
        let pid = args::pid_in_proc(m, self.own.owner.as_deref());
        seq_print!(m, "party:\t{} pid {} ", seat.party(), pid);
        args::show_state(m, state(&self.own));
        seq_print!(m, "last {} waiting {}\n", self.own.last, self.own.waiting);
    }
}

/// The file of a group.
struct GroupFile {
    barrier: Arc<Barrier<Group>>,
}

impl Drop for GroupFile {
    fn drop(&mut self) {
        let ended = self.barrier.lock().close();
        if let Some(end) = ended {
            trace::party_end(self.barrier.id, uapi::QUIESCE_NOBODY, &end);
        }
    }
}

impl GroupFile {
    #[inline(never)]
    fn abort(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_abort = command.read()?;
        args::check_flags(args.flags, 0)?;
        args.view = 0;
        let first = self
            .barrier
            .update::<uapi::quiesce_abort, _>(command, |group| {
                command.put(&args)?;
                group.abort(None, End::new(Why::Abort(args.code)))
            })?;
        if first {
            trace::abort(self.barrier.id, uapi::QUIESCE_NOBODY, args.code);
        }
        Ok(())
    }

    #[inline(never)]
    fn reset(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_reset = command.read()?;
        args::check_flags(args.flags, 0)?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        self.barrier
            .update::<uapi::quiesce_reset, _>(command, |group| {
                args.phase = group.preview_reset();
                command.put(&args)?;
                group.reset();
                Ok(())
            })
    }

    #[inline(never)]
    fn status(&self, command: &Command) -> Result {
        let status = self.barrier.status(command, None)?;
        self.barrier.lock().report_phase(status.phase);
        Ok(())
    }
}

impl Endpoint for GroupFile {
    const NAME: &'static CStr = c_str!("[quiesce_group]");

    fn ioctl(&self, command: &Command) -> Result<isize> {
        match command.nr() {
            uapi::QUIESCE_NR_JOIN => join(&self.barrier, command),
            uapi::QUIESCE_NR_ABORT => self.abort(command),
            uapi::QUIESCE_NR_RESET => self.reset(command),
            uapi::QUIESCE_NR_STATUS => self.status(command),
            uapi::QUIESCE_NR_MEMBER => self.barrier.member(command),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn queue(&self) -> *mut bindings::wait_queue_head {
        self.barrier.pollers(GROUP_POLLERS)
    }

    fn events(&self) -> u32 {
        self.barrier.read(Group::poll_group)
    }

    fn closing(&self) {
        let pid = Pid::current();
        self.barrier.lock().closing_group(pid);
    }

    fn show(&self, m: &SeqFile) {
        Group::show(&self.barrier, None, m);
    }
}
