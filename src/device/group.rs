// SPDX-License-Identifier: GPL-2.0

//! A group's own descriptor.

use super::{
    args::{
        self,
        Command, //
    },
    exit::{
        ExitListener,
        Exits, //
    },
    file::{
        Endpoint,
        NewFile, //
    },
    party,
    trace,
    Control,
    Slot, //
};
use crate::{
    barrier::{
        group::{
            Group,
            Member,
            Seat, //
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
use kernel::{
    bindings,
    c_str,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    static_lock_class,
    sync::{
        aref::ARef,
        Arc, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

/// A group, and what its own descriptor has seen.
pub(super) struct State {
    pub(super) group: Group,
    /// The phase that the group's descriptor was told last.
    told: u64,
    /// Who closed a copy of the group's descriptor last.
    closer: Option<ARef<Pid>>,
}

#[pin_data]
pub(super) struct Barrier {
    id: u64,
    #[pin]
    pub(super) queue: Queue<State>,
    exits: Exits<Seat>,
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
    type Party = Seat;

    fn exits(&self) -> &Exits<Seat> {
        &self.exits
    }

    fn handle_exits(&self) {
        drop(self.lock());
    }
}

impl Barrier {
    /// Takes the lock, and ends the parties whose processes have exited.
    pub(super) fn lock(&self) -> Guard<'_, State> {
        let mut lock = self.queue.lock();
        if self.exits.is_empty() {
            return lock;
        }
        let mut ended = false;
        self.exits.take(|party, end| {
            if lock.group.end(party, Some(end.clone())) {
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

/// The file of a group.
struct GroupFile {
    barrier: Arc<Barrier>,
}

impl Drop for GroupFile {
    fn drop(&mut self) {
        let mut lock = self.barrier.lock();
        let closer = End::released(&End {
            why: Why::Close,
            pid: lock.closer.take(),
        })
        .pid;
        if !lock.group.close(closer.clone()) {
            return;
        }
        lock.wake();
        drop(lock);
        let end = End {
            why: Why::Unclaimed,
            pid: closer,
        };
        trace::death(self.barrier.id, uapi::QUIESCE_NOBODY, &end);
    }
}

/// GROUP.
pub(super) fn create(control: &Arc<Control>, command: &Command) -> Result {
    let mut args: uapi::quiesce_group = command.read()?;
    args::check_flags(
        args.flags,
        uapi::QUIESCE_FD_INHERIT | uapi::QUIESCE_GROUP_SHRINK,
    )?;
    let max = match args.max_parties {
        0 => args.parties,
        max => max,
    };
    let right = Slot::new(control)?;
    let state = State {
        group: Group::new(
            args.parties,
            max,
            args.flags & uapi::QUIESCE_GROUP_SHRINK != 0,
        )?,
        told: 1,
        closer: None,
    };
    let barrier = Arc::pin_init(
        pin_init!(Barrier {
            id: super::next_id(),
            queue <- Queue::new(state, c_str!("quiesce_group"), static_lock_class!()),
            exits: Exits::new(),
            work <- new_work!("quiesce_group"),
            _slot: right,
        }),
        GFP_KERNEL_ACCOUNT,
    )?;
    let file = NewFile::new(
        args.flags & uapi::QUIESCE_FD_INHERIT != 0,
        try_init!(GroupFile { barrier }),
    )?;
    args.fd = file.fd();
    command.write(&args)?;
    file.install();
    Ok(())
}

/// The state bits of `member`.
pub(super) fn state(member: &Member) -> u32 {
    [
        (member.open, uapi::QUIESCE_STATE_OPEN),
        (member.arrived, uapi::QUIESCE_STATE_ARRIVED),
        (member.left, uapi::QUIESCE_STATE_LEFT),
        (member.ended, uapi::QUIESCE_STATE_ENDED),
        (member.bound, uapi::QUIESCE_STATE_BOUND),
    ]
    .iter()
    .fold(0, |bits, &(set, bit)| if set { bits | bit } else { bits })
}

impl Barrier {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// STATUS, of a party or of the group's descriptor.
    pub(super) fn status(&self, command: &Command, party: Option<(u32, Member)>) -> Result {
        let mut args: uapi::quiesce_status = command.read()?;
        args::check_flags(args.flags, 0)?;
        let room = args.late_words as usize;
        let mut lock = self.lock();
        let group = &lock.group;
        let late = group.late();
        let cause = group.broken().cloned();
        let broken = if cause.is_some() {
            uapi::QUIESCE_STATE_BROKEN
        } else {
            0
        };
        args = uapi::quiesce_status {
            flags: 0,
            kind: uapi::QUIESCE_KIND_GROUP,
            party: uapi::QUIESCE_NOBODY,
            view: 0,
            state: broken,
            parties: group.parties(),
            arrived: group.arrived(),
            open: group.open(),
            waiting: group.waiting(),
            late_words: group.capacity().div_ceil(64),
            late: args.late,
            phase: group.phase(),
            balance: 0,
            unread: 0,
            sent: 0,
            cause: Default::default(),
        };
        match party {
            Some((number, member)) => {
                args.kind = uapi::QUIESCE_KIND_PARTY;
                args.party = number;
                args.state |= state(&member);
            }
            None => lock.told = args.phase,
        }
        drop(lock);
        args.cause = args::cause(&cause.unwrap_or_default());
        if args.late != 0 {
            let words = room.min(args.late_words as usize);
            args::write_words(args.late as usize, &late.words()[..words])?;
        }
        command.write(&args)
    }

    /// MEMBER.
    pub(super) fn member(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_member = command.read()?;
        let member = self.lock().group.member(args.party)?;
        args.state = state(&member);
        args.pid = args::pid_number(&member.owner);
        args.waiting = member.waiting;
        args.count = member.last;
        args.cause = args::end(Some(args.party), &member.end);
        command.write(&args)
    }

    /// What party and group show of the group.
    pub(super) fn show(&self, m: &SeqFile) {
        let lock = self.lock();
        let group = &lock.group;
        let (phase, parties, arrived) = (group.phase(), group.parties(), group.arrived());
        let (open, waiting, mut late) = (group.open(), group.waiting(), group.late());
        let cause = group.broken().cloned().unwrap_or_default();
        drop(lock);
        let broken = args::cause(&cause);
        seq_print!(m, "quiesce:\tgroup {}\n", self.id);
        seq_print!(m, "phase:\t{}\n", phase);
        seq_print!(m, "parties:\t{}\n", parties);
        seq_print!(m, "arrived:\t{}\n", arrived);
        seq_print!(m, "open:\t{}\n", open);
        seq_print!(m, "waiting:\t{}\n", waiting);
        seq_print!(
            m,
            "broken:\tcause {} by {} pid {} status {} code {}\n",
            broken.cause,
            broken.party as i32,
            args::pid_in_proc(m, &cause.end.pid),
            broken.status,
            broken.code
        );
        seq_print!(m, "late:\t");
        while let Some(n) = late.pop() {
            let member = self.lock().group.member(n);
            let owner = member.map_or(None, |member| member.owner);
            seq_print!(m, "{}:{} ", n, args::pid_in_proc(m, &owner));
        }
        seq_print!(m, "\n");
    }
}

impl GroupFile {
    fn abort(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_abort = command.read()?;
        args::check_flags(args.flags, 0)?;
        let end = End::new(Why::Abort(args.code));
        let mut lock = self.barrier.lock();
        let first = lock.group.abort(None, end)?;
        if first {
            lock.wake();
        }
        drop(lock);
        if first {
            trace::abort(self.barrier.id, uapi::QUIESCE_NOBODY, args.code);
        }
        args.view = 0;
        command.write(&args)
    }

    fn reset(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_reset = command.read()?;
        args::check_flags(args.flags, 0)?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        let mut lock = self.barrier.lock();
        args.phase = lock.group.reset();
        lock.wake();
        drop(lock);
        command.write(&args)
    }
}

impl Endpoint for GroupFile {
    const NAME: &'static CStr = c_str!("[quiesce_group]");

    fn ioctl(&self, command: &Command) -> Result<isize> {
        match command.nr() {
            uapi::QUIESCE_NR_JOIN => party::join(&self.barrier, command),
            uapi::QUIESCE_NR_ABORT => self.abort(command),
            uapi::QUIESCE_NR_RESET => self.reset(command),
            uapi::QUIESCE_NR_STATUS => self.barrier.status(command, None),
            uapi::QUIESCE_NR_MEMBER => self.barrier.member(command),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn queue(&self) -> *mut bindings::wait_queue_head {
        self.barrier.queue.head()
    }

    fn events(&self) -> u32 {
        let lock = self.barrier.lock();
        let mut mask = 0;
        if lock.told < lock.group.phase() {
            mask |= bindings::POLLIN | bindings::POLLRDNORM;
        }
        if lock.group.broken().is_some() {
            mask |= bindings::POLLPRI | bindings::POLLERR;
        }
        if lock.group.parties() == 0 {
            mask |= bindings::POLLHUP;
        }
        mask
    }

    fn closing(&self) {
        let pid = Some(Pid::current());
        self.barrier.lock().closer = pid;
    }

    fn show(&self, m: &SeqFile) {
        self.barrier.show(m);
    }
}
