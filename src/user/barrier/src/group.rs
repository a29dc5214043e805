// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Barriers of N parties.

use crate::{ioctl, sys::*, Deadline, Device, Error, Result};
use rustix::{
    fd::{AsFd, FromRawFd, OwnedFd},
    io::Errno,
};

/// What a group is made with.
///
/// ```no_run
/// use quiesce_barrier::{Device, GroupOptions};
///
/// let device = Device::open()?;
/// let group = GroupOptions::new(4).shrink().create(&device)?;
/// # Ok::<(), quiesce_barrier::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GroupOptions(quiesce_group);

impl GroupOptions {
    /// `parties` seats, all open.
    pub fn new(parties: u32) -> Self {
        Self(quiesce_group {
            parties,
            ..Default::default()
        })
    }

    /// Lets [`Group::join`] add seats, up to `max` in all.
    #[must_use]
    pub fn max_parties(mut self, max: u32) -> Self {
        self.0.max_parties = max;
        self
    }

    /// Removes the seat of a party that ends without having arrived, instead of breaking the
    /// group.
    #[must_use]
    pub fn shrink(mut self) -> Self {
        self.0.flags |= QUIESCE_GROUP_SHRINK;
        self
    }

    /// Lets the leader end each phase: the last party to arrive executes a step, of
    /// [`Party::arrive_and_wait_with`], and the others are released after it.
    #[must_use]
    pub fn completion(mut self) -> Self {
        self.0.flags |= QUIESCE_GROUP_COMPLETION;
        self
    }

    /// Makes the group.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINVAL` if a number of seats is out of range, `EDQUOT`, `EMFILE`,
    /// `ENFILE`, `ENOMEM`.
    pub fn create(self, device: &Device) -> Result<Group> {
        let mut args = self.0;
        ioctl::group(device.as_fd(), &mut args)?;
        // SAFETY: The command succeeded, so the descriptor is new and belongs to the caller.
        Ok(Group(unsafe { OwnedFd::from_raw_fd(args.fd) }))
    }
}

/// A barrier of N parties that synchronize in phases, and the right to join it.
///
/// When its last descriptor is closed nobody can join any more, and open seats end.
///
/// ```no_run
/// use quiesce_barrier::{Deadline, Group};
/// use std::thread;
///
/// let group = Group::new(3)?;
/// for _ in 0..3 {
///     let party = group.join()?;
///     thread::spawn(move || party.arrive_and_wait(Deadline::NEVER));
/// }
/// # Ok::<(), quiesce_barrier::Error>(())
/// ```
#[derive(Debug)]
pub struct Group(pub(crate) OwnedFd);

impl Group {
    /// Opens the device and makes a group of `parties` seats.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`]; as [`GroupOptions::create`].
    pub fn new(parties: u32) -> Result<Self> {
        GroupOptions::new(parties).create(&Device::open()?)
    }

    /// Takes a seat.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::Broken`]; [`Error::Os`] with `EMFILE`, `ENFILE`, `ENOMEM`,
    /// `EDQUOT`, and with `EBUSY` while a leader executes its step.
    pub fn join(&self) -> Result<Party> {
        let mut args = quiesce_join::default();
        match ioctl::join(self.as_fd(), &mut args) {
            // SAFETY: The command succeeded, so the descriptor is new and belongs to the caller.
            Ok(()) => Ok(Party(unsafe { OwnedFd::from_raw_fd(args.fd) })),
            Err(e @ (Errno::CONNABORTED | Errno::OWNERDEAD)) => {
                match self.status()?.cause {
                    Some(cause) => Err(Error::Broken(cause)),
                    // Another task has reset the group meanwhile.
                    None => Err(Error::Os(e.into())),
                }
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Starts a new phase, in which the remaining parties have to arrive, and returns its number.
    /// Seats of ended parties are open again or, with [`GroupOptions::shrink`], are removed.
    ///
    /// # Errors
    ///
    /// None are expected.
    pub fn reset(&self) -> Result<u64> {
        let mut args = quiesce_reset::default();
        ioctl::reset(self.as_fd(), &mut args)?;
        Ok(args.phase)
    }
}

/// A party's arrival in a phase, which [`Party::wait`] takes.
///
/// It is a number, and valid in any process that has the party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "the end of the phase is waited for with the ticket"]
pub struct Ticket(u64);

impl Ticket {
    /// The number of the phase.
    pub const fn phase(self) -> u64 {
        self.0
    }
}

impl From<u64> for Ticket {
    fn from(phase: u64) -> Self {
        Self(phase)
    }
}

/// The end of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phase {
    /// Whether this party leads: true for at most one party of each phase, and only for the last
    /// four arrivals of a party.
    pub leader: bool,
    /// Number of parties that arrived before this one; 0 for an arrival that is older than the last
    /// four.
    pub index: u32,
    /// The ticket for [`Party::complete`], if the others wait for this party to call it: it leads
    /// a group with [`GroupOptions::completion`], and the phase is not over.
    pub completes: Option<Ticket>,
}

/// A seat of a group.
///
/// The party ends when its last descriptor is closed, in whichever process, or with the process
/// that it is bound to. If it has not arrived then, the group breaks or, with
/// [`GroupOptions::shrink`], loses the seat.
#[derive(Debug)]
pub struct Party(pub(crate) OwnedFd);

impl Party {
    /// Arrives. Never sleeps.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::AlreadyArrived`], [`Error::Left`].
    pub fn arrive(&self) -> Result<Ticket> {
        self.arrive_with(0)
    }

    /// Arrives, and leaves before the next phase.
    ///
    /// # Errors
    ///
    /// As [`arrive`](Self::arrive).
    pub fn arrive_and_leave(&self) -> Result<Ticket> {
        self.arrive_with(QUIESCE_ARRIVE_DROP)
    }

    fn arrive_with(&self, flags: u32) -> Result<Ticket> {
        let mut args = quiesce_arrive {
            flags,
            count: 1,
            ..Default::default()
        };
        match ioctl::arrive(self.as_fd(), &mut args) {
            Ok(()) => Ok(Ticket(args.ticket)),
            Err(e) => Err(Error::new(e, &args.cause)),
        }
    }

    /// Waits for the end of the ticket's phase.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Reset`], [`Error::Stale`], [`Error::Left`],
    /// [`Error::TimedOut`], [`Error::Interrupted`], [`Error::WouldBlock`]; [`Error::Os`] with
    /// `EINVAL` for a phase that is not over and in which this party has not arrived.
    pub fn wait(&self, ticket: Ticket, deadline: impl Into<Deadline>) -> Result<Phase> {
        let deadline = deadline.into();
        let mut args = quiesce_wait {
            kind: QUIESCE_WAIT_PHASE,
            ticket: ticket.0,
            deadline: deadline.ns,
            flags: deadline.flags,
            ..Default::default()
        };
        let result = ioctl::wait(self.as_fd(), &mut args);
        Self::phase(result, &args)
    }

    /// Arrives and waits for the end of the phase, in one system call.
    ///
    /// After [`Error::TimedOut`], [`Error::Interrupted`] and [`Error::WouldBlock`] the arrival
    /// stands: [`wait`](Self::wait) with [`last_arrival`](Self::last_arrival) continues, where the
    /// same call would fail with [`Error::AlreadyArrived`] or arrive in the next phase.
    ///
    /// # Errors
    ///
    /// As [`arrive`](Self::arrive) and [`wait`](Self::wait).
    pub fn arrive_and_wait(&self, deadline: impl Into<Deadline>) -> Result<Phase> {
        let deadline = deadline.into();
        let mut args = quiesce_wait {
            kind: QUIESCE_WAIT_PHASE,
            count: 1,
            deadline: deadline.ns,
            flags: deadline.flags,
            ..Default::default()
        };
        let result = ioctl::arrive_wait(self.as_fd(), &mut args);
        Self::phase(result, &args)
    }

    fn phase(result: Result<(), Errno>, args: &quiesce_wait) -> Result<Phase> {
        match result {
            Ok(()) => Ok(Phase {
                leader: args.result & QUIESCE_RESULT_LEADER != 0,
                index: args.index,
                completes: (args.result & QUIESCE_RESULT_DONE == 0).then_some(Ticket(args.ticket)),
            }),
            Err(e) => Err(Error::new(e, &args.cause)),
        }
    }

    /// Like [`arrive_and_wait`](Self::arrive_and_wait), and if this party has to end the phase,
    /// calls `step` first. The other parties see what it did.
    ///
    /// `step` is called only in a group with [`GroupOptions::completion`]. If it panics, the group
    /// is aborted. A step that fails calls [`abort`](Self::abort), whose code all parties get.
    /// [`wait_with`](Self::wait_with) continues after a timeout.
    ///
    /// ```no_run
    /// use quiesce_barrier::{Deadline, Device, GroupOptions};
    ///
    /// # fn merge() {}
    /// let group = GroupOptions::new(4).completion().create(&Device::open()?)?;
    /// let party = group.join()?;
    /// party.arrive_and_wait_with(Deadline::NEVER, || merge())?;
    /// # Ok::<(), quiesce_barrier::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`arrive_and_wait`](Self::arrive_and_wait) and [`complete`](Self::complete).
    pub fn arrive_and_wait_with(
        &self,
        deadline: impl Into<Deadline>,
        step: impl FnOnce(),
    ) -> Result<Phase> {
        let phase = self.arrive_and_wait(deadline)?;
        self.lead(phase, step)
    }

    /// Like [`wait`](Self::wait), with the step of
    /// [`arrive_and_wait_with`](Self::arrive_and_wait_with).
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait) and [`complete`](Self::complete).
    pub fn wait_with(
        &self,
        ticket: Ticket,
        deadline: impl Into<Deadline>,
        step: impl FnOnce(),
    ) -> Result<Phase> {
        let phase = self.wait(ticket, deadline)?;
        self.lead(phase, step)
    }

    /// Executes the step and ends the phase, if this party has to.
    fn lead(&self, phase: Phase, step: impl FnOnce()) -> Result<Phase> {
        /// Aborts the group if the step panics: nobody else would end the phase.
        struct Unwinding<'a>(&'a Party);

        impl Drop for Unwinding<'_> {
            fn drop(&mut self) {
                // It fails if the party has left, and then another leads.
                let _ = self.0.abort(0);
            }
        }

        let Some(ticket) = phase.completes else {
            return Ok(phase);
        };
        let unwinding = Unwinding(self);
        step();
        std::mem::forget(unwinding);
        self.complete(ticket)?;
        Ok(Phase {
            completes: None,
            ..phase
        })
    }

    /// Ends the phase that this party leads, in a group with [`GroupOptions::completion`]: the
    /// waits of the others return. `ticket` is that of [`Phase::completes`]. Returns the number of
    /// the phase that begins.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Reset`] if the phase was broken or reset meanwhile;
    /// [`Error::Left`], [`Error::Stale`]; [`Error::Os`] with `EINVAL` if this party does not have
    /// to complete that phase, for example because it has left.
    pub fn complete(&self, ticket: Ticket) -> Result<u64> {
        let mut args = quiesce_complete {
            ticket: ticket.0,
            ..Default::default()
        };
        match ioctl::complete(self.as_fd(), &mut args) {
            Ok(()) => Ok(args.phase),
            Err(e @ (Errno::CONNABORTED | Errno::OWNERDEAD)) => {
                // A wait has the cause, also after a reset.
                self.wait(ticket, Deadline::NOW)
                    .and(Err(Error::Os(e.into())))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Returns the ticket of the party's last arrival, if it has arrived at all.
    ///
    /// # Errors
    ///
    /// None are expected.
    pub fn last_arrival(&self) -> Result<Option<Ticket>> {
        let Some(party) = self.status()?.party else {
            return Ok(None);
        };
        let last = self.member(party)?.count;
        Ok((last != 0).then_some(Ticket(last)))
    }

    /// Gives the seat up. An arrival in the current phase stands.
    ///
    /// # Errors
    ///
    /// [`Error::Left`].
    pub fn leave(&self) -> Result<()> {
        Ok(ioctl::leave(self.as_fd())?)
    }
}
