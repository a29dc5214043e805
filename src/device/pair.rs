// SPDX-License-Identifier: GPL-2.0

//! The commands of pairs: decoding and filling in the structs of `uapi/quiesce.h`.

use super::{
    args::{
        self,
        Command, //
    },
    file::NewFile,
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
        pair::{
            Goal,
            Pair,
            PartyInfo,
            Side,
            Step,
            View,
            Wait, //
        },
        set::Set,
        End,
        Id,
        Pid, //
    },
    bindings::uapi, //
};
use kernel::{
    c_str,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    static_lock_class,
    sync::{
        aref::ARef,
        ArcBorrow, //
    }, //
};

// The memory that a pair takes, including the private data of its two files: the barrier with the
// count of its `Arc`, and the files. Only checked if locks contain no debugging state.
#[cfg(not(any(CONFIG_DEBUG_SPINLOCK, CONFIG_DEBUG_LOCK_ALLOC)))]
const _: () = {
    use core::mem::size_of;
    assert!(
        size_of::<usize>() + size_of::<Barrier<Pair>>() + 2 * size_of::<PartyFile<Pair>>() <= 512
    );
};

/// Handles PAIR: creates a pair, and the descriptors of its two parties.
#[inline(never)]
pub(super) fn create(control: ArcBorrow<'_, Control>, command: &Command) -> Result {
    let mut args: uapi::quiesce_pair = command.read()?;
    args::check_flags(args.flags, uapi::QUIESCE_FD_INHERIT)?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    let barrier = Barrier::new(
        Id::next().number(),
        Pair::new(Some(Pid::current())),
        BarrierQuota::new(control)?,
        c_str!("quiesce_pair"),
        static_lock_class!(),
    )?;
    let inherit = args.flags & uapi::QUIESCE_FD_INHERIT != 0;
    let file = || NewFile::<PartyFile<Pair>>::new(inherit, Some(Charge::file()?));
    let files = [file()?, file()?];
    args.fd = [files[0].fd(), files[1].fd()];
    command.write(&args)?;
    for (file, seat) in files.into_iter().zip(Side::BOTH) {
        let party = Party {
            barrier: barrier.clone(),
            seat,
        };
        file.install(PartyFile::new(party, None));
    }
    Ok(())
}

fn view(view: View) -> u32 {
    let i = if view.i { uapi::QUIESCE_I_ABORTED } else { 0 };
    let they = if view.they {
        uapi::QUIESCE_THEY_ABORTED
    } else {
        0
    };
    i | they
}

fn state(party: &PartyInfo) -> u32 {
    [
        (party.aborted, uapi::QUIESCE_STATE_ABORTED),
        (party.ended, uapi::QUIESCE_STATE_ENDED),
        (party.bound, uapi::QUIESCE_STATE_BOUND),
    ]
    .iter()
    .fold(0, |bits, &(set, bit)| if set { bits | bit } else { bits })
}

impl Pair {
    /// Returns the end or the abort of the other side, if `reports` says that the call reports it.
    fn cause(&self, side: Side, reports: bool) -> uapi::quiesce_cause {
        match self.end_of(side.other()) {
            Some(end) if reports => args::end(Some(side.other().party()), end),
            _ => Default::default(),
        }
    }

    /// Fills in what a wait writes after `step`.
    fn fill(&self, side: Side, goal: Option<Goal>, step: &Step, args: &mut uapi::quiesce_wait) {
        args.balance = self.balance_of(side, step);
        args.view = view(step.view);
        args.result = 0;
        args.index = 0;
        args.cause = self.cause(
            side,
            match step.result {
                None => false,
                Some(Ok(())) => goal == Some(Goal::Abortion),
                Some(Err(e)) => e == ECONNABORTED || e == EOWNERDEAD,
            },
        );
    }
}

impl BarrierKind for Pair {
    type Seat = Side;
    type Goal = (Goal, Option<Wait>);

    const NAME: &'static CStr = c_str!("[quiesce_pair]");
    const HAS_PHASES: bool = false;
    const ARRIVE_FLAGS: u32 = 0;
    const WAIT_FLAGS: u32 = 0;

    fn number(side: &Side) -> u32 {
        side.party()
    }

    fn pollers(side: &Side) -> usize {
        *side as usize
    }

    fn is_count(count: u64) -> bool {
        count != 0
    }

    fn goal(args: &uapi::quiesce_wait, arrives: bool) -> Result<Self::Goal> {
        if (args.count != 0) != arrives || (args.ticket != 0 && !arrives) {
            return Err(EINVAL);
        }
        let goal = match args.kind {
            uapi::QUIESCE_WAIT_NEXT => Goal::Next,
            uapi::QUIESCE_WAIT_SYNC_NEXT => Goal::SyncNext,
            uapi::QUIESCE_WAIT_SYNC => Goal::Sync,
            uapi::QUIESCE_WAIT_ABORTION => Goal::Abortion,
            _ => return Err(EINVAL),
        };
        Ok((goal, None))
    }

    fn preview_arrive(&self, &side: &Side, args: &mut uapi::quiesce_arrive) -> Result {
        let arrival = Pair::preview_arrive(self, side, args.count);
        args.ticket = *arrival.as_ref().unwrap_or(&self.arrivals(side));
        let ahead = args.ticket.wrapping_sub(self.arrivals(side));
        args.balance = self.balance(side).wrapping_add(ahead as i64);
        args.view = view(self.view(side));
        args.index = 0;
        args.result = 0;
        args.cause = self.cause(side, matches!(arrival, Err(ECONNABORTED | EOWNERDEAD)));
        arrival.map(drop)
    }

    fn arrive(&mut self, &side: &Side, args: &uapi::quiesce_arrive) {
        // Succeeds, as it was previewed under this lock.
        let _ = Pair::arrive(self, side, args.count);
    }

    fn resume(&mut self, &side: &Side, ticket: u64) -> Result {
        Pair::resume(self, side, ticket)
    }

    fn suspend(&mut self, &side: &Side, _ticket: u64) {
        Pair::suspend(self, side);
    }

    fn try_wait(
        &mut self,
        &side: &Side,
        wait: &mut PartyWait<Self::Goal>,
        args: &mut uapi::quiesce_wait,
        put: impl FnOnce(&uapi::quiesce_wait) -> Result,
    ) -> Result<Option<Result>> {
        let (goal, begun) = wait.goal;
        let begun = begun.unwrap_or_else(|| self.begin(side, goal));
        // If `put` fails, another task may read arrivals until it is tried again.
        wait.goal = (goal, Some(begun));
        let mut ticket = wait.ticket;
        let mut arrived = 0;
        if wait.arrives {
            match Pair::arrive(self, side, args.count) {
                Ok(arrivals) => {
                    ticket = arrivals;
                    arrived = args.count;
                }
                Err(e @ (EOVERFLOW | ENOTCONN)) => return Ok(Some(Err(e))),
                // The view is aborted, and the wait returns how.
                Err(_) => (),
            }
        }
        let step = self.preview_step(side, &begun);
        if wait.first || step.result.is_some() {
            self.fill(side, Some(goal), &step, args);
            args.ticket = if step.result.is_some() { 0 } else { ticket };
            if step.result.as_ref().is_none_or(args::writes_out) {
                put(args).inspect_err(|_| self.undo_arrive(side, arrived))?;
            }
        }
        self.apply(side, &step);
        wait.ticket = ticket;
        wait.arrives = false;
        wait.first = false;
        Ok(step.result)
    }

    fn fill_pending(&self, &side: &Side, args: &mut uapi::quiesce_wait) {
        let step = Step::unchanged(self, side);
        self.fill(side, None, &step, args);
    }

    fn expire(&mut self, _side: &Side, _flags: u32) {}

    fn asleep(&mut self, &side: &Side, asleep: bool) {
        Pair::asleep(self, side, asleep);
    }

    fn preview_abort(&self, &side: &Side) -> Result<u32> {
        Pair::preview_abort(self, side).map(view)
    }

    fn abort(&mut self, &side: &Side, end: End) -> bool {
        Pair::abort(self, side, end) == Ok(true)
    }

    fn leave(&mut self, _side: &Side) -> Result {
        Err(ENOTTY)
    }

    fn preview_complete(&self, _side: &Side, _ticket: u64) -> Result<u64> {
        Err(ENOTTY)
    }

    fn complete(&mut self, _side: &Side, _ticket: u64) {}

    fn bind(&mut self, &side: &Side, owner: ARef<Pid>, bound: bool) -> Result {
        Pair::bind(self, side, owner, bound)
    }

    fn ends_with(&self, &side: &Side, pid: &Pid) -> bool {
        Pair::ends_with(self, side, pid)
    }

    fn closing(&mut self, &side: &Side, end: End) {
        Pair::closing(self, side, end);
    }

    fn end(&mut self, &side: &Side, end: End) -> Option<End> {
        Pair::end(self, side, Some(end)).then(|| self.party(side).end)
    }

    fn release(&mut self, &side: &Side) -> Option<End> {
        Pair::end(self, side, None).then(|| self.party(side).end)
    }

    fn poll(&self, &side: &Side) -> u32 {
        Pair::poll(self, side)
    }

    fn status(&self, side: Option<&Side>, args: &mut uapi::quiesce_status) -> Set {
        let mut late = Set::EMPTY;
        let Some(&side) = side else {
            return late;
        };
        let other = side.other();
        args.kind = uapi::QUIESCE_KIND_PAIR;
        args.party = side.party();
        args.view = view(self.view(side));
        args.state = state(&self.party(side));
        args.parties = 2;
        args.waiting = self.waiting();
        args.late_words = 1;
        args.balance = self.balance(side);
        args.unread = self.unread(side);
        args.sent = self.unread(other);
        args.cause = self.cause(side, true);
        for side in Side::BOTH {
            if self.arrivals(side) < self.arrivals(side.other()) {
                late.insert(side.party());
            }
        }
        late
    }

    fn member(&self, args: &mut uapi::quiesce_member) -> Result<(Option<ARef<Pid>>, End)> {
        let side = *Side::BOTH.get(args.party as usize).ok_or(ESRCH)?;
        let party = self.party(side);
        args.state = state(&party);
        args.waiting = party.waiting;
        args.count = party.arrivals;
        Ok((party.owner, party.end))
    }

    fn show(barrier: &Barrier<Self>, side: Option<&Side>, m: &SeqFile) {
        if let Some(&side) = side {
            let shown = shown(barrier, side);
            show_view(barrier.id, side, &shown, m);
            for (side, party) in Side::BOTH.iter().zip(&shown.parties) {
                show_party(*side, party, m);
            }
        }
    }
}

/// What `fdinfo` of one side shows, read under the lock at once.
struct Shown {
    view: u32,
    balance: i64,
    unread: u64,
    parties: [PartyInfo; 2],
}

// Each part of `fdinfo` has a frame of its own: reading the parties and formatting take much of it.

#[inline(never)]
fn shown(barrier: &Barrier<Pair>, side: Side) -> Shown {
    let pair = barrier.lock();
    Shown {
        view: view(pair.view(side)),
        balance: pair.balance(side),
        unread: pair.unread(side),
        parties: Side::BOTH.map(|side| pair.party(side)),
    }
}

#[inline(never)]
fn show_view(id: u64, side: Side, shown: &Shown, m: &SeqFile) {
    seq_print!(
        m,
        "quiesce:\tpair {}\nparty:\t{}\nview:\t{}\nbalance:\t{}\nunread:\t{}\n",
        id,
        side.party(),
        shown.view,
        shown.balance,
        shown.unread
    );
}

#[inline(never)]
fn show_party(side: Side, party: &PartyInfo, m: &SeqFile) {
    let pid = args::pid_in_proc(m, party.owner.as_deref());
    seq_print!(m, "party-{}:\tpid {} ", side.party(), pid);
    args::show_state(m, state(party));
    seq_print!(m, "placed {} waiting {} ", party.arrivals, party.waiting);
    show_end(&party.end, m);
}

#[inline(never)]
fn show_end(end: &End, m: &SeqFile) {
    let (cause, status, code) = end.why.encode();
    let pid = args::pid_in_proc(m, end.pid.as_deref());
    seq_print!(
        m,
        "cause {} by {} status {} code {}\n",
        cause,
        pid,
        status,
        code
    );
}
