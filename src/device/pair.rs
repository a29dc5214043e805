// SPDX-License-Identifier: GPL-2.0

//! Parties of a pair.

use super::{
    args::{
        self,
        Command, //
    },
    exit::{
        Binding,
        ExitListener,
        Exits, //
    },
    file::{
        Endpoint,
        NewFile, //
    },
    trace,
    Control,
    Slot, //
};
use crate::{
    barrier::{
        pair::{
            Goal,
            Member,
            Pair,
            Side,
            View, //
        },
        queue::{
            Guard,
            Queue, //
        },
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
    static_lock_class,
    sync::Arc,
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

// What a pair costs, its own part of two files included: the barrier with the count of its `Arc`,
// and the files. Only where locks do not carry what debugging needs.
#[cfg(not(any(CONFIG_DEBUG_SPINLOCK, CONFIG_DEBUG_LOCK_ALLOC)))]
const _: () = {
    use core::mem::size_of;
    assert!(size_of::<usize>() + size_of::<Barrier>() + 2 * size_of::<PartyFile>() <= 512);
};

#[pin_data]
struct Barrier {
    id: u64,
    #[pin]
    queue: Queue<Pair>,
    exits: Exits<Side>,
    #[pin]
    work: Work<Self>,
    _slot: Slot,
}

impl_has_work! {
    impl HasWork<Self> for Barrier { self.work }
}

impl WorkItem for Barrier {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.handle_exits();
    }
}

impl ExitListener for Barrier {
    type Party = Side;

    fn exits(&self) -> &Exits<Side> {
        &self.exits
    }

    fn handle_exits(&self) {
        drop(self.lock());
    }
}

impl Barrier {
    /// Takes the lock, and ends the parties whose processes have exited.
    pub(super) fn lock(&self) -> Guard<'_, Pair> {
        let mut lock = self.queue.lock();
        if self.exits.is_empty() {
            return lock;
        }
        let mut ended = false;
        self.exits.take(|party, end| {
            if lock.end(party, Some(end.clone())) {
                ended = true;
                trace::death(self.id, party.party(), &end);
            }
        });
        if ended {
            lock.wake();
        }
        lock
    }
}

/// One side of a barrier.
#[derive(Clone)]
struct Party {
    barrier: Arc<Barrier>,
    side: Side,
}

/// The file of a party.
#[pin_data(PinnedDrop)]
struct PartyFile {
    party: Party,
    #[pin]
    binding: Binding<Barrier>,
}

/// PAIR.
pub(super) fn create(control: &Arc<Control>, command: &Command) -> Result {
    let mut args: uapi::quiesce_pair = command.read()?;
    args::check_flags(args.flags, uapi::QUIESCE_FD_INHERIT)?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    let right = Slot::new(control)?;
    let barrier = Arc::pin_init(
        pin_init!(Barrier {
            id: super::next_id(),
            queue <- Queue::new(
                Pair::new(Some(Pid::current())),
                c_str!("quiesce_pair"),
                static_lock_class!(),
            ),
            exits: Exits::new(),
            work <- new_work!("quiesce_pair"),
            _slot: right,
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    let file = |side| {
        let party = Party {
            barrier: barrier.clone(),
            side,
        };
        NewFile::new(
            args.flags & uapi::QUIESCE_FD_INHERIT != 0,
            try_pin_init!(PartyFile {
                party,
                binding <- Binding::new(None),
            }),
        )
    };
    let files = [file(Side::Zero)?, file(Side::One)?];
    args.fd = [files[0].fd(), files[1].fd()];
    command.write(&args)?;
    for file in files {
        file.install();
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

fn state(member: &Member) -> u32 {
    [
        (member.aborted, uapi::QUIESCE_STATE_ABORTED),
        (member.ended, uapi::QUIESCE_STATE_ENDED),
        (member.bound, uapi::QUIESCE_STATE_BOUND),
    ]
    .iter()
    .fold(0, |bits, &(set, bit)| if set { bits | bit } else { bits })
}

impl Party {
    fn id(&self) -> u64 {
        self.barrier.id
    }

    fn number(&self) -> u32 {
        self.side.party()
    }

    /// How the other side ended or aborted, if `result` tells of that.
    fn cause(&self, tells: bool) -> uapi::quiesce_cause {
        if !tells {
            return uapi::quiesce_cause::default();
        }
        let other = self.side.other();
        let member = self.barrier.lock().member(other);
        args::end(Some(other.party()), &member.end)
    }

    fn end(&self, end: Option<End>) {
        let mut pair = self.barrier.lock();
        if pair.end(self.side, end) {
            pair.wake();
            let member = pair.member(self.side);
            drop(pair);
            trace::death(self.id(), self.number(), &member.end);
        }
    }

    fn arrive(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_arrive = command.read()?;
        args::check_flags(args.flags, 0)?;
        if args.count == 0 {
            return Err(EINVAL);
        }
        let mut pair = self.barrier.lock();
        let placed = pair.place(self.side, args.count);
        if placed.is_ok() {
            pair.wake();
        }
        args.ticket = pair.placed(self.side);
        args.balance = pair.balance(self.side);
        args.view = view(pair.view(self.side));
        drop(pair);

        let result = placed.map(|ticket| {
            trace::place(self.id(), self.number(), args.count, ticket);
        });
        if args::writes_out(&result) {
            args.index = 0;
            args.result = 0;
            args.cause = self.cause(matches!(result, Err(ECONNABORTED | EOWNERDEAD)));
            command.write(&args)?;
        }
        result
    }

    fn wait(&self, command: &Command, arrives: bool) -> Result {
        let mut args: uapi::quiesce_wait = command.read()?;
        args::check_flags(
            args.flags,
            uapi::QUIESCE_WAIT_REALTIME | uapi::QUIESCE_WAIT_BOOTTIME,
        )?;
        let goal = match args.kind {
            uapi::QUIESCE_WAIT_NEXT => Goal::Next,
            uapi::QUIESCE_WAIT_SYNC_NEXT => Goal::SyncNext,
            uapi::QUIESCE_WAIT_SYNC => Goal::Sync,
            uapi::QUIESCE_WAIT_ABORTION => Goal::Abortion,
            _ => return Err(EINVAL),
        };
        if args.reserved != 0 || (args.count != 0) != arrives || (args.ticket != 0 && !arrives) {
            return Err(EINVAL);
        }
        let deadline = args::deadline(args.deadline, args.flags)?;
        let ticket_at = offset_of!(uapi::quiesce_wait, ticket);
        let places = arrives && args.ticket == 0;
        if places {
            // Memory that cannot take the ticket must fail before anything is placed.
            command.write_u64(ticket_at, 0)?;
        }

        let side = self.side;
        let mut pair = self.barrier.lock();
        let wait = pair.begin(side, goal);
        if places {
            match pair.place(side, args.count) {
                Ok(ticket) => {
                    args.ticket = ticket;
                    pair.wake();
                    trace::place(self.id(), self.number(), args.count, ticket);
                }
                Err(e @ (EOVERFLOW | ENOTCONN)) => return Err(e),
                // The view is aborted, and the wait tells how.
                Err(_) => (),
            }
        }
        trace::wait_begin(self.id(), self.number(), args.kind, args.ticket);
        let result = pair
            .wait(
                deadline,
                |pair| pair.step(side, &wait),
                |pair, asleep| pair.asleep(side, asleep),
            )
            .and_then(|result| result);
        args.balance = pair.balance(side);
        args.view = view(pair.view(side));
        drop(pair);

        trace::wait_end(self.id(), self.number(), &result);
        if places && result == Err(ERESTARTSYS) {
            // The call starts over, or the caller calls again, and must not place again.
            command.write_u64(ticket_at, args.ticket)?;
        }
        if args::writes_out(&result) {
            args.result = 0;
            args.index = 0;
            args.cause = self.cause(match result {
                Ok(()) => goal == Goal::Abortion,
                Err(e) => e == ECONNABORTED || e == EOWNERDEAD,
            });
            command.write(&args)?;
        }
        result
    }

    fn abort(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_abort = command.read()?;
        args::check_flags(args.flags, 0)?;
        let end = End::new(Why::Abort(args.code));
        let mut pair = self.barrier.lock();
        let first = pair.abort(self.side, end)?;
        if first {
            pair.wake();
        }
        args.view = view(pair.view(self.side));
        drop(pair);
        if first {
            trace::abort(self.id(), self.number(), args.code);
        }
        command.write(&args)
    }

    fn status(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_status = command.read()?;
        args::check_flags(args.flags, 0)?;
        let room = args.late_words;
        let pair = self.barrier.lock();
        let (me, other) = (pair.member(self.side), pair.member(self.side.other()));
        args = uapi::quiesce_status {
            flags: 0,
            kind: uapi::QUIESCE_KIND_PAIR,
            party: self.number(),
            view: view(pair.view(self.side)),
            state: state(&me),
            parties: 2,
            arrived: 0,
            open: 0,
            waiting: pair.waiting(),
            late_words: 1,
            late: args.late,
            phase: 0,
            balance: pair.balance(self.side),
            unread: pair.unread(self.side),
            sent: pair.unread(self.side.other()),
            cause: Default::default(),
        };
        drop(pair);
        args.cause = args::end(Some(self.side.other().party()), &other.end);
        if args.late != 0 && room != 0 {
            let late = match me.placed.cmp(&other.placed) {
                core::cmp::Ordering::Less => 1 << self.number(),
                core::cmp::Ordering::Equal => 0,
                core::cmp::Ordering::Greater => 1 << self.side.other().party(),
            };
            args::write_words(args.late as usize, &[late])?;
        }
        command.write(&args)
    }

    fn member(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_member = command.read()?;
        let side = match args.party {
            0 => Side::Zero,
            1 => Side::One,
            _ => return Err(ESRCH),
        };
        let member = self.barrier.lock().member(side);
        args.state = state(&member);
        args.pid = args::pid_number(&member.owner);
        args.waiting = member.waiting;
        args.count = member.placed;
        args.cause = args::end(Some(args.party), &member.end);
        command.write(&args)
    }
}

impl PartyFile {
    fn bind(&self, command: &Command) -> Result {
        let side = self.party.side;
        let barrier = &self.party.barrier;
        self.binding.bind(command, barrier, side, |owner, bound| {
            barrier.lock().bind(side, owner, bound)
        })
    }
}

impl Endpoint for PartyFile {
    const NAME: &'static CStr = c_str!("[quiesce_pair]");

    fn ioctl(&self, command: &Command) -> Result<isize> {
        match command.nr() {
            uapi::QUIESCE_NR_ARRIVE => self.party.arrive(command),
            uapi::QUIESCE_NR_WAIT => self.party.wait(command, false),
            uapi::QUIESCE_NR_ARRIVE_WAIT => self.party.wait(command, true),
            uapi::QUIESCE_NR_ABORT => self.party.abort(command),
            uapi::QUIESCE_NR_BIND => self.bind(command),
            uapi::QUIESCE_NR_STATUS => self.party.status(command),
            uapi::QUIESCE_NR_MEMBER => self.party.member(command),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn queue(&self) -> *mut bindings::wait_queue_head {
        self.party.barrier.queue.head()
    }

    fn events(&self) -> u32 {
        let events = self.party.barrier.lock().events(self.party.side);
        let mut mask = 0;
        if events.unread {
            mask |= bindings::POLLIN | bindings::POLLRDNORM;
        }
        if events.placeable {
            mask |= bindings::POLLOUT | bindings::POLLWRNORM;
        }
        if events.aborted {
            mask |= bindings::POLLPRI | bindings::POLLERR;
        }
        if events.ended {
            mask |= bindings::POLLRDHUP;
        }
        if events.gone || (events.ended && !events.unread) {
            mask |= bindings::POLLHUP;
        }
        mask
    }

    fn closing(&self) {
        let end = End::closing();
        self.party.barrier.lock().closing(self.party.side, end);
    }

    fn show(&self, m: &SeqFile) {
        let side = self.party.side;
        let pair = self.party.barrier.lock();
        let view = view(pair.view(side));
        let (balance, unread) = (pair.balance(side), pair.unread(side));
        let members = [pair.member(Side::Zero), pair.member(Side::One)];
        drop(pair);
        seq_print!(m, "quiesce:\tpair {}\n", self.party.id());
        seq_print!(m, "party:\t{}\n", side.party());
        seq_print!(m, "view:\t{}\n", view);
        seq_print!(m, "balance:\t{}\n", balance);
        seq_print!(m, "unread:\t{}\n", unread);
        for (n, member) in members.iter().enumerate() {
            let cause = args::end(Some(n as u32), &member.end);
            seq_print!(
                m,
                "party-{}:\tpid {} state {:#x} placed {} waiting {} cause {} by {} status {} code {}\n",
                n,
                args::pid_in_proc(m, &member.owner),
                state(member),
                member.placed,
                member.waiting,
                cause.cause,
                args::pid_in_proc(m, &member.end.pid),
                cause.status,
                cause.code
            );
        }
    }
}

#[pinned_drop]
impl PinnedDrop for PartyFile {
    fn drop(self: Pin<&mut Self>) {
        self.binding.end();
        self.party.end(None);
    }
}
