// SPDX-License-Identifier: GPL-2.0

//! The descriptors of parties, of pairs and groups alike.
//!
//! [`BarrierKind`] is what the two state machines differ in. The commands that both have, polling, the end
//! of a descriptor and waiting are here once, generic over it. A wait holds the barrier's lock
//! while it checks its condition and releases it to sleep.

use super::{
    args::{
        self,
        Args,
        Command, //
    },
    exit::{
        Binding,
        ExitListener,
        Exits,
        Watch, //
    },
    file::Endpoint,
    BarrierQuota, //
};
use crate::{
    barrier::{
        queue::{
            Deadline,
            Guard,
            Machine,
            Queue, //
        },
        set::Set,
        End,
        Pid,
        Why, //
    },
    bindings::uapi,
    trace, //
};
use core::pin::Pin;
use kernel::{
    bindings,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        Arc,
        LockClassKey, //
    },
    workqueue::{
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

/// A kind of barrier: its state machine, in terms of the interface's structs.
///
/// Results are written to user space before the state changes: methods that return results take a
/// closure `put` that writes them, and change nothing if it fails.
pub(super) trait BarrierKind: Machine + Send + Sized + 'static {
    /// The type that identifies a party in the state machine.
    type Seat: Clone + Send + Sync + 'static;
    /// The condition of a wait.
    type Goal: Copy;

    /// The name that `/proc/PID/fd` shows for a party.
    const NAME: &'static CStr;
    /// Whether the barrier has phases, as a group does.
    const HAS_PHASES: bool;
    /// The flags of ARRIVE.
    const ARRIVE_FLAGS: u32;
    /// The flags of WAIT and ARRIVE_WAIT that only this kind has.
    const WAIT_FLAGS: u32;

    /// The number of the party.
    fn number(seat: &Self::Seat) -> u32;

    /// Returns the number of the party's queue of pollers.
    fn pollers(seat: &Self::Seat) -> usize;

    /// Whether ARRIVE can arrive so often at once.
    fn is_count(count: u64) -> bool;

    /// Decodes the condition of a wait.
    ///
    /// # Errors
    ///
    /// `EINVAL`.
    fn goal(args: &uapi::quiesce_wait, arrives: bool) -> Result<Self::Goal>;

    /// Fills in what ARRIVE writes, and returns its result.
    ///
    /// # Errors
    ///
    /// Those of ARRIVE.
    fn preview_arrive(&self, seat: &Self::Seat, args: &mut uapi::quiesce_arrive) -> Result;

    /// Arrives, with the result that [`BarrierKind::preview_arrive`] returned.
    fn arrive(&mut self, seat: &Self::Seat, args: &uapi::quiesce_arrive);

    /// Resumes a wait that arrived with `ticket` and was interrupted.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENOTCONN`, `ESTALE`.
    fn resume(&mut self, seat: &Self::Seat, ticket: u64) -> Result;

    /// The wait that arrived with `ticket` has ended before its goal was reached.
    fn suspend(&mut self, seat: &Self::Seat, ticket: u64);

    /// Arrives if that is still to be done, and returns the wait's result if it is over.
    ///
    /// # Errors
    ///
    /// Those of `put`; then nothing has changed but that the wait has begun.
    fn try_wait(
        &mut self,
        seat: &Self::Seat,
        wait: &mut PartyWait<Self::Goal>,
        args: &mut uapi::quiesce_wait,
        put: impl FnOnce(&uapi::quiesce_wait) -> Result,
    ) -> Result<Option<Result>>;

    /// Fills in what a wait whose goal is not reached writes.
    fn fill_pending(&self, seat: &Self::Seat, args: &mut uapi::quiesce_wait);

    /// The deadline of a wait with these flags has passed.
    fn expire(&mut self, seat: &Self::Seat, flags: u32);

    /// Counts a task that starts to sleep in a wait, or has woken.
    fn asleep(&mut self, seat: &Self::Seat, asleep: bool);

    /// Returns the view that ABORT writes.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`.
    fn preview_abort(&self, seat: &Self::Seat) -> Result<u32>;

    /// Aborts; returns whether that changed anything.
    fn abort(&mut self, seat: &Self::Seat, end: End) -> bool;

    /// LEAVE.
    ///
    /// # Errors
    ///
    /// `ENOTTY` where there are no phases; `ENOTCONN`.
    fn leave(&mut self, seat: &Self::Seat) -> Result;

    /// Returns the phase that COMPLETE of `ticket` would start.
    ///
    /// # Errors
    ///
    /// `ENOTTY` where there are no phases; those of COMPLETE.
    fn preview_complete(&self, seat: &Self::Seat, ticket: u64) -> Result<u64>;

    /// Completes the phase, with the result that [`BarrierKind::preview_complete`] returned.
    fn complete(&mut self, seat: &Self::Seat, ticket: u64);

    /// Handles BIND: makes `owner` the process of the party, which ends with it if `bound`.
    ///
    /// # Errors
    ///
    /// `ENOTCONN`.
    fn bind(&mut self, seat: &Self::Seat, owner: ARef<Pid>, bound: bool) -> Result;

    /// Whether the party ends with the process `pid`.
    fn ends_with(&self, seat: &Self::Seat, pid: &Pid) -> bool;

    /// A copy of the party's descriptor is closed, as `end` says.
    fn closing(&mut self, seat: &Self::Seat, end: End);

    /// The process that the party ends with is dead. Returns how the party ended, if it did now.
    fn end(&mut self, seat: &Self::Seat, end: End) -> Option<End>;

    /// [`BarrierKind::end`] was called for all parties whose processes are dead.
    fn all_ended(&mut self) {}

    /// The last copy of the descriptor is closed. Returns how the party ended, if it did now.
    fn release(&mut self, seat: &Self::Seat) -> Option<End>;

    /// The events of `poll()`.
    fn poll(&self, seat: &Self::Seat) -> u32;

    /// Fills in STATUS, of a party or of the barrier's own descriptor; returns who is late.
    fn status(&self, seat: Option<&Self::Seat>, args: &mut uapi::quiesce_status) -> Set;

    /// Fills in MEMBER, but for what the reader's namespace decides, which is returned: the
    /// process and how it ended.
    ///
    /// # Errors
    ///
    /// `ESRCH`.
    fn member(&self, args: &mut uapi::quiesce_member) -> Result<(Option<ARef<Pid>>, End)>;

    /// Fills in `/proc/PID/fdinfo`.
    fn show(barrier: &Barrier<Self>, seat: Option<&Self::Seat>, m: &SeqFile);
}

/// The state of a wait that has begun.
pub(super) struct PartyWait<G> {
    pub(super) goal: G,
    /// An arrival is still to be made.
    pub(super) arrives: bool,
    /// Whether nothing was written to user space yet.
    pub(super) first: bool,
    /// The ticket of the arrival, or that of the phase waited for.
    pub(super) ticket: u64,
}

impl<G> PartyWait<G> {
    /// Whether the wait is one that arrives, and has.
    fn arrived(&self, arrives: bool) -> bool {
        arrives && !self.arrives && self.ticket != 0
    }
}

/// A barrier, which its files share.
#[pin_data]
pub(super) struct Barrier<K: BarrierKind> {
    pub(super) id: u64,
    #[pin]
    queue: Queue<K>,
    exits: Exits<K::Seat>,
    #[pin]
    work: Work<Self>,
    _quota: BarrierQuota,
}

impl_has_work! {
    impl{K: BarrierKind} HasWork<Self> for Barrier<K> { self.work }
}

impl<K: BarrierKind> WorkItem for Barrier<K> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.handle_exits();
    }
}

impl<K: BarrierKind> ExitListener for Barrier<K> {
    type Party = K::Seat;

    fn exits(&self) -> &Exits<K::Seat> {
        &self.exits
    }

    fn handle_exits(&self) {
        drop(self.lock());
    }
}

impl<K: BarrierKind> Barrier<K> {
    /// Makes a barrier of `machine`, with number `id`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        id: u64,
        machine: impl Init<K>,
        quota: BarrierQuota,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                id,
                queue <- Queue::new(machine, name, key),
                exits: Exits::new(),
                work <- new_work!("quiesce_barrier"),
                _quota: quota,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes the lock, and ends the parties whose processes have exited.
    pub(super) fn lock(&self) -> Guard<'_, K> {
        let mut barrier = self.queue.lock();
        self.settle(&mut barrier);
        barrier
    }

    /// Ends the parties whose processes have exited.
    #[inline]
    fn settle(&self, barrier: &mut Guard<'_, K>) {
        if !self.exits.is_empty() {
            self.end_exited(barrier);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_exited(&self, barrier: &mut Guard<'_, K>) {
        while !self.exits.is_empty() {
            self.exits.take(|seat, end| {
                // BIND has replaced that process, and its watch is still there.
                let is_bound = |pid: &ARef<Pid>| barrier.ends_with(&seat, pid);
                if !end.pid.as_ref().is_some_and(is_bound) {
                    return;
                }
                if let Some(end) = barrier.end(&seat, end) {
                    trace::party_end(self.id, K::number(&seat), &end);
                }
            });
            barrier.all_ended();
            barrier.relax();
        }
    }

    /// Calls `f` with the lock held, as with [`Barrier::lock`], but without what a change costs.
    pub(super) fn read<R>(&self, f: impl Fn(&K) -> R) -> R {
        let read = self
            .queue
            .read(|barrier| self.exits.is_empty().then(|| f(barrier)));
        match read {
            Some(read) => read,
            None => f(&self.lock()),
        }
    }

    /// Calls `act` with the lock held, and again if it could not write a `T` to user space; see
    /// [`Command::retry`].
    ///
    /// # Errors
    ///
    /// `EFAULT`; what `act` returns.
    pub(super) fn update<T: Args, R>(
        &self,
        command: &Command,
        mut act: impl FnMut(&mut Guard<'_, K>) -> Result<R>,
    ) -> Result<R> {
        command.retry::<T, R>(|| act(&mut self.lock()))
    }

    /// Returns the wait queue of the pollers number `which`.
    pub(super) fn pollers(&self, which: usize) -> *mut bindings::wait_queue_head {
        self.queue.pollers(which)
    }

    /// STATUS, of a party or of the barrier's own descriptor. Returns what was written.
    #[inline(never)]
    pub(super) fn status(
        &self,
        command: &Command,
        seat: Option<&K::Seat>,
    ) -> Result<uapi::quiesce_status> {
        let mut args: uapi::quiesce_status = command.read()?;
        args::check_flags(args.flags, 0)?;
        let room = args.late_words as usize;
        args = uapi::quiesce_status {
            late: args.late,
            ..Default::default()
        };
        let late = self.lock().status(seat, &mut args);
        if args.late != 0 {
            let words = room.min(args.late_words as usize);
            // Without the struct the words are not written, either.
            command.check_writable()?;
            args::write_words(args.late as usize, &late.words()[..words])?;
        }
        command.write(&args)?;
        Ok(args)
    }

    /// Handles MEMBER: returns the state of one party.
    #[inline(never)]
    pub(super) fn member(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_member = command.read()?;
        let (owner, end) = self.lock().member(&mut args)?;
        args.pid = args::pid_number(&owner);
        args.cause = args::end(Some(args.party), &end);
        args.pid_ino = args::pid_inode(&owner);
        args.cause_ino = args::pid_inode(&end.pid);
        command.write(&args)
    }
}

/// A party of a barrier.
pub(super) struct Party<K: BarrierKind> {
    pub(super) barrier: Arc<Barrier<K>>,
    pub(super) seat: K::Seat,
}

impl<K: BarrierKind> Clone for Party<K> {
    fn clone(&self) -> Self {
        Self {
            barrier: self.barrier.clone(),
            seat: self.seat.clone(),
        }
    }
}

impl<K: BarrierKind> Party<K> {
    fn id(&self) -> u64 {
        self.barrier.id
    }

    fn number(&self) -> u32 {
        K::number(&self.seat)
    }

    fn arrive(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_arrive = command.read()?;
        args::check_flags(args.flags, K::ARRIVE_FLAGS)?;
        if !K::is_count(args.count) {
            return Err(EINVAL);
        }
        self.barrier
            .update::<uapi::quiesce_arrive, _>(command, |barrier| {
                let result = barrier.preview_arrive(&self.seat, &mut args);
                if args::writes_out(&result) {
                    command.put(&args)?;
                }
                result?;
                barrier.arrive(&self.seat, &args);
                trace::arrive(self.id(), self.number(), args.count, args.ticket);
                if args.flags & uapi::QUIESCE_ARRIVE_DROP != 0 {
                    trace::leave(self.id(), self.number());
                }
                Ok(())
            })
    }

    fn wait(&self, command: &Command, arrives: bool) -> Result {
        let mut args: uapi::quiesce_wait = command.read()?;
        args::check_flags(
            args.flags,
            uapi::QUIESCE_WAIT_REALTIME | uapi::QUIESCE_WAIT_BOOTTIME | K::WAIT_FLAGS,
        )?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        let mut wait = PartyWait {
            goal: K::goal(&args, arrives)?,
            arrives: arrives && args.ticket == 0,
            first: true,
            ticket: args.ticket,
        };
        let deadline = command.deadline(args.deadline, args.flags)?;
        if arrives && !wait.arrives {
            self.barrier.lock().resume(&self.seat, args.ticket)?;
        }

        let result = self
            .barrier
            .update::<uapi::quiesce_wait, _>(command, |barrier| {
                let waited = barrier.wait(
                    deadline,
                    |barrier| {
                        let (arriving, first) = (wait.arrives, wait.first);
                        let over = barrier
                            .try_wait(&self.seat, &mut wait, &mut args, |args| command.put(args))
                            .unwrap_or_else(|e| Some(Err(e)));
                        if arriving && !wait.arrives && wait.ticket != 0 {
                            trace::arrive(self.id(), self.number(), args.count, wait.ticket);
                        }
                        if first && !wait.first {
                            trace::wait_begin(self.id(), self.number(), args.kind, wait.ticket);
                        }
                        over
                    },
                    |barrier, asleep| barrier.asleep(&self.seat, asleep),
                    // An exit comes before the signal or the deadline that ended the sleep after
                    // it.
                    |barrier| self.barrier.settle(barrier),
                );
                // `try_wait` has written this already if the wait did not sleep. During the sleep
                // this call, or another one of the party, may have read arrivals.
                if matches!(waited, Err(ETIMEDOUT | ERESTARTSYS)) && deadline != Deadline::Now {
                    args.ticket = wait.ticket;
                    barrier.fill_pending(&self.seat, &mut args);
                    command.put(&args)?;
                }
                if waited == Err(ETIMEDOUT) {
                    barrier.expire(&self.seat, args.flags);
                }
                if wait.arrived(arrives) && waited.is_err() {
                    barrier.suspend(&self.seat, wait.ticket);
                }
                waited.and_then(|result| result)
            });
        trace::wait_end(self.id(), self.number(), &result);
        if matches!(result, Err(EFAULT | ENOTCONN)) && wait.arrived(arrives) {
            // The arrival stands, and the ticket was not written back as used: the memory was taken
            // away, or the party has ended.
            self.barrier.lock().suspend(&self.seat, wait.ticket);
        }
        result
    }

    fn abort(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_abort = command.read()?;
        args::check_flags(args.flags, 0)?;
        let first = self
            .barrier
            .update::<uapi::quiesce_abort, _>(command, |barrier| {
                args.view = barrier.preview_abort(&self.seat)?;
                command.put(&args)?;
                Ok(barrier.abort(&self.seat, End::new(Why::Abort(args.code))))
            })?;
        if first {
            trace::abort(self.id(), self.number(), args.code);
        }
        Ok(())
    }

    fn complete(&self, command: &Command) -> Result {
        let mut args: uapi::quiesce_complete = command.read()?;
        args::check_flags(args.flags, 0)?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        self.barrier
            .update::<uapi::quiesce_complete, _>(command, |barrier| {
                args.phase = barrier.preview_complete(&self.seat, args.ticket)?;
                command.put(&args)?;
                barrier.complete(&self.seat, args.ticket);
                Ok(())
            })
    }

    fn leave(&self, command: &Command) -> Result {
        command.read_nothing()?;
        self.barrier.lock().leave(&self.seat)?;
        trace::leave(self.id(), self.number());
        Ok(())
    }
}

/// The file of a party.
#[pin_data(PinnedDrop)]
pub(super) struct PartyFile<K: BarrierKind> {
    party: Party<K>,
    #[pin]
    binding: Binding<Barrier<K>>,
}

impl<K: BarrierKind> PartyFile<K> {
    /// A party that ends with the process of `watch`, if there is one.
    pub(super) fn new(
        party: Party<K>,
        watch: Option<Pin<KBox<Watch<Barrier<K>>>>>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            party,
            binding <- Binding::new(watch),
        })
    }

    fn bind(&self, command: &Command) -> Result {
        let Party { barrier, seat } = &self.party;
        self.binding
            .bind(command, barrier, seat.clone(), |owner, bound| {
                barrier.lock().bind(seat, owner, bound)
            })
    }
}

impl<K: BarrierKind> Endpoint for PartyFile<K> {
    const NAME: &'static CStr = K::NAME;

    fn ioctl(&self, command: &Command) -> Result<isize> {
        let party = &self.party;
        match command.nr() {
            uapi::QUIESCE_NR_ARRIVE => party.arrive(command),
            uapi::QUIESCE_NR_WAIT => party.wait(command, false),
            uapi::QUIESCE_NR_ARRIVE_WAIT => party.wait(command, true),
            uapi::QUIESCE_NR_ABORT => party.abort(command),
            uapi::QUIESCE_NR_BIND => self.bind(command),
            uapi::QUIESCE_NR_LEAVE if K::HAS_PHASES => party.leave(command),
            uapi::QUIESCE_NR_COMPLETE if K::HAS_PHASES => party.complete(command),
            uapi::QUIESCE_NR_STATUS => party.barrier.status(command, Some(&party.seat)).map(drop),
            uapi::QUIESCE_NR_MEMBER => party.barrier.member(command),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    fn queue(&self) -> *mut bindings::wait_queue_head {
        let Party { barrier, seat } = &self.party;
        barrier.pollers(K::pollers(seat))
    }

    fn events(&self) -> u32 {
        let Party { barrier, seat } = &self.party;
        barrier.read(|barrier| barrier.poll(seat))
    }

    fn closing(&self) {
        let end = End::closing();
        let Party { barrier, seat } = &self.party;
        barrier.lock().closing(seat, end);
    }

    fn show(&self, m: &SeqFile) {
        K::show(&self.party.barrier, Some(&self.party.seat), m);
    }
}

#[pinned_drop]
impl<K: BarrierKind> PinnedDrop for PartyFile<K> {
    fn drop(self: Pin<&mut Self>) {
        self.binding.end();
        let Party { barrier, seat } = &self.party;
        let ended = barrier.lock().release(seat);
        if let Some(end) = ended {
            trace::party_end(barrier.id, K::number(seat), &end);
        }
    }
}
