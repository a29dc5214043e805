// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Barriers of two parties.

use crate::{ioctl, sys::*, Deadline, Device, Error, Result};
use rustix::fd::{AsFd, FromRawFd, OwnedFd};

/// One side of a barrier of two, with the semantics of systemd's `Barrier`.
///
/// The side ends when its last descriptor is closed, in whichever process, or with the process
/// that it is bound to. Its view of the other side advances in waits only: until then
/// [`place`](Self::place) succeeds, whatever the other side has done.
///
/// ```no_run
/// use quiesce_barrier::{Deadline, Pair};
/// use std::{thread, time::Duration};
///
/// let (a, b) = Pair::new()?;
/// thread::spawn(move || b.place_and_sync(Deadline::NEVER));
/// a.place_and_sync(Deadline::after(Duration::from_secs(5)))?;
/// # Ok::<(), quiesce_barrier::Error>(())
/// ```
#[derive(Debug)]
pub struct Pair(pub(crate) OwnedFd);

impl Pair {
    /// Opens the device and makes a pair.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`]; [`Error::Os`] with `EDQUOT`, `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<(Self, Self)> {
        Device::open()?.pair()
    }

    pub(crate) fn create(device: &Device) -> Result<(Self, Self)> {
        let mut args = quiesce_pair::default();
        ioctl::pair(device.as_fd(), &mut args)?;
        // SAFETY: The command succeeded, so both descriptors are new and belong to the caller.
        let [a, b] = args.fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok((Self(a), Self(b)))
    }

    /// Arrives once. Never sleeps.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] and [`Error::Aborted`] if the view has the end of a side;
    /// [`Error::Left`]; [`Error::Os`] with `EOVERFLOW` after `i64::MAX` arrivals.
    pub fn place(&self) -> Result<()> {
        let mut args = quiesce_arrive {
            count: 1,
            ..Default::default()
        };
        ioctl::arrive(self.as_fd(), &mut args).map_err(|e| Error::new(e, &args.cause))
    }

    /// Waits for an arrival of the other side that was not read before, and reads all.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Aborted`], [`Error::Left`], [`Error::TimedOut`],
    /// [`Error::Interrupted`], [`Error::WouldBlock`].
    pub fn wait_next(&self, deadline: impl Into<Deadline>) -> Result<()> {
        self.wait(QUIESCE_WAIT_NEXT, deadline.into())
    }

    /// Like [`wait_next`](Self::wait_next), unless the other side has arrived as often as this
    /// one: then it returns at once.
    ///
    /// # Errors
    ///
    /// As [`wait_next`](Self::wait_next).
    pub fn sync_next(&self, deadline: impl Into<Deadline>) -> Result<()> {
        self.wait(QUIESCE_WAIT_SYNC_NEXT, deadline.into())
    }

    /// Waits until the other side has arrived as often as this one.
    ///
    /// # Errors
    ///
    /// As [`wait_next`](Self::wait_next).
    pub fn sync(&self, deadline: impl Into<Deadline>) -> Result<()> {
        self.wait(QUIESCE_WAIT_SYNC, deadline.into())
    }

    /// Arrives and waits as [`sync`](Self::sync) does, in one system call.
    ///
    /// After [`Error::TimedOut`], [`Error::Interrupted`] and [`Error::WouldBlock`] the arrival
    /// stands; [`sync`](Self::sync) continues the wait, where the same call would arrive again.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place) and [`wait_next`](Self::wait_next).
    pub fn place_and_sync(&self, deadline: impl Into<Deadline>) -> Result<()> {
        let deadline = deadline.into();
        let mut args = quiesce_wait {
            kind: QUIESCE_WAIT_SYNC,
            count: 1,
            deadline: deadline.ns,
            flags: deadline.flags,
            ..Default::default()
        };
        ioctl::arrive_wait(self.as_fd(), &mut args).map_err(|e| Error::new(e, &args.cause))
    }

    /// Waits until the other side has aborted or ended, and returns how.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if both sides have aborted; [`Error::Left`], [`Error::TimedOut`],
    /// [`Error::Interrupted`], [`Error::WouldBlock`].
    pub fn wait_abortion(&self, deadline: impl Into<Deadline>) -> Result<crate::Cause> {
        let args = self.wait_for(QUIESCE_WAIT_ABORTION, deadline.into())?;
        crate::Cause::new(&args.cause).ok_or(Error::Aborted)
    }

    fn wait(&self, kind: u32, deadline: Deadline) -> Result<()> {
        self.wait_for(kind, deadline).map(|_| ())
    }

    fn wait_for(&self, kind: u32, deadline: Deadline) -> Result<quiesce_wait> {
        let mut args = quiesce_wait {
            kind,
            deadline: deadline.ns,
            flags: deadline.flags,
            ..Default::default()
        };
        match ioctl::wait(self.as_fd(), &mut args) {
            Ok(()) => Ok(args),
            Err(e) => Err(Error::new(e, &args.cause)),
        }
    }
}
