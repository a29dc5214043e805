// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Barriers between processes, from `/dev/quiesce`.
//!
//! Parties are file descriptors: they pass to other processes by fork, exec and `SCM_RIGHTS`, and
//! end with their last copy. Everybody who waits for a party that ended gets the cause: which
//! process it was, and its exit status or signal.
//!
//! - [`Pair`]: two parties, with the semantics of systemd's `Barrier`.
//! - [`Group`] and [`Party`]: N parties that synchronize in phases.
//!
//! All types implement [`AsFd`] and can be polled; the interface's header,
//! `quiesce.h`, lists the events. With the feature `tokio`, [`AsyncPair`](tokio::AsyncPair) and
//! [`AsyncParty`](tokio::AsyncParty) wait without blocking a thread.
//!
//! The calls need the kernel module `quiesce`. Without it, [`Device::open`] fails with
//! [`Error::NoDevice`], whose text says how to get it.
//!
//! ```no_run
//! use quiesce_barrier::{Deadline, Error, Group};
//! use std::time::Duration;
//!
//! # fn main() -> quiesce_barrier::Result<()> {
//! let group = Group::new(2)?;
//! let party = group.join()?;
//! let mut child = std::process::Command::new("./worker");
//! group.join()?.pass_to(&mut child);
//! child.spawn().map_err(Error::Os)?;
//! match party.arrive_and_wait(Deadline::after(Duration::from_secs(5))) {
//!     Ok(phase) if phase.leader => println!("all have arrived, and this party leads"),
//!     Ok(_) => println!("all have arrived"),
//!     Err(Error::Broken(cause)) => println!("{cause}"),
//!     Err(e) => return Err(e),
//! }
//! # Ok(())
//! # }
//! ```

mod deadline;
mod error;
mod group;
mod ioctl;
mod pair;
mod status;
#[allow(non_camel_case_types, dead_code, missing_docs)]
#[rustfmt::skip]
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use deadline::Deadline;
pub use error::{Cause, Error, Result, Why};
pub use group::{Group, GroupOptions, Party, Phase, Ticket};
pub use pair::Pair;
pub use status::{Kind, Member, State, Status};

use std::{
    env,
    fs::OpenOptions,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// The name of the environment variable that has the number of an inherited descriptor.
pub const ENV_FD: &str = "QUIESCE_FD";

/// An open file of `/dev/quiesce`, which makes barriers.
#[derive(Debug)]
pub struct Device(OwnedFd);

/// Properties of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The version of the interface.
    pub version: u32,
    /// Number of seats that a group can have.
    pub max_parties: u32,
    /// Number of barriers that one open file can have.
    pub max_objects: u32,
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`].
    pub fn open() -> Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/quiesce")
            .map(|file| Self(file.into()))
            .map_err(Error::NoDevice)
    }

    /// Returns the properties of the device.
    ///
    /// # Errors
    ///
    /// None are expected.
    pub fn features(&self) -> Result<Features> {
        let mut args = sys::quiesce_features::default();
        ioctl::features(self.as_fd(), &mut args)?;
        Ok(Features {
            version: args.version,
            max_parties: args.max_parties,
            max_objects: args.max_objects,
        })
    }

    /// Makes a pair.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EDQUOT`, `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn pair(&self) -> Result<(Pair, Pair)> {
        Pair::create(self)
    }
}

/// A descriptor whose type was read from the kernel.
#[derive(Debug)]
pub enum Endpoint {
    /// A party of a pair.
    Pair(Pair),
    /// A party of a group.
    Party(Party),
    /// A group.
    Group(Group),
}

impl Endpoint {
    /// Returns the endpoint that `fd` is a descriptor of.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ENOTTY` if it is none.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        match Status::of(fd.as_fd())?.kind {
            Kind::Pair => Ok(Self::Pair(Pair(fd))),
            Kind::Party => Ok(Self::Party(Party(fd))),
            Kind::Group => Ok(Self::Group(Group(fd))),
            Kind::Unknown(_) => Err(Error::Os(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Returns the endpoint that the process inherited: the descriptor that the environment
    /// variable [`ENV_FD`] names, as `quiesce run` and `quiesce join` set it.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] of kind `NotFound` if the variable is not set, `InvalidInput` if it is not a
    /// number, and with `EBADF` or `ENOTTY` if the descriptor is not open or is something else.
    ///
    /// # Safety
    ///
    /// Nothing else in the process owns the descriptor: the function may be called once, and
    /// before code that takes it from the environment by itself.
    pub unsafe fn inherited() -> Result<Self> {
        let invalid = |kind, text: &str| Error::Os(io::Error::new(kind, text));
        let value = env::var(ENV_FD)
            .map_err(|_| invalid(io::ErrorKind::NotFound, "QUIESCE_FD is not set"))?;
        let fd: RawFd =
            value.parse().ok().filter(|&fd| fd >= 0).ok_or_else(|| {
                invalid(io::ErrorKind::InvalidInput, "QUIESCE_FD is not a number")
            })?;
        // SAFETY: `fd` is not -1. If it is open, nothing else owns it, by this function's
        // requirement; if not, the first call fails with EBADF.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        Status::of(borrowed)?;
        rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC)?;
        // SAFETY: The descriptor is open, since the calls above succeeded, and nothing else owns
        // it, by this function's requirement.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

macro_rules! descriptor {
    ($($name:ident)*) => { $(
        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_raw_fd()
            }
        }

        impl From<$name> for OwnedFd {
            fn from(owner: $name) -> OwnedFd {
                owner.0
            }
        }

        /// The descriptor is not checked: if it is of another type, calls fail with
        /// [`Error::Os`]. [`Endpoint::new`] checks.
        impl From<OwnedFd> for $name {
            fn from(fd: OwnedFd) -> Self {
                Self(fd)
            }
        }
    )* };
}

descriptor!(Device Pair Group Party);

macro_rules! common {
    ($($name:ident)*) => { $(
        impl $name {
            /// Aborts with `code`, which the others get as [`Why::Aborted`]. The first abort
            /// counts.
            ///
            /// # Errors
            ///
            /// [`Error::Left`].
            pub fn abort(&self, code: u64) -> Result<()> {
                let mut args = sys::quiesce_abort { code, ..Default::default() };
                Ok(ioctl::abort(self.as_fd(), &mut args)?)
            }

            /// Returns the current state.
            ///
            /// # Errors
            ///
            /// None are expected.
            pub fn status(&self) -> Result<Status> {
                Status::of(self.as_fd())
            }

            /// Returns the current state of the party with number `party`.
            ///
            /// # Errors
            ///
            /// [`Error::Os`] with `ESRCH` if there is no such party.
            pub fn member(&self, party: u32) -> Result<Member> {
                Member::of(self.as_fd(), party)
            }
        }
    )* };
}

common!(Pair Group Party);

macro_rules! bindable {
    ($($name:ident)*) => { $(
        impl $name {
            /// Makes the party end with the calling process, even if copies of its descriptor
            /// remain open elsewhere. Async-signal-safe: it may be called between fork and exec.
            ///
            /// # Errors
            ///
            /// [`Error::Left`]; [`Error::Os`] with `EDQUOT`, `ENOMEM`.
            pub fn bind_process(&self) -> Result<()> {
                let flags = sys::QUIESCE_BIND_PROCESS;
                Ok(ioctl::bind(self.as_fd(), sys::quiesce_bind { flags, reserved: 0 })?)
            }

            /// Passes the party to the process of `command`, with which it ends. There the
            /// environment variable [`ENV_FD`] has the number of the descriptor, which
            /// [`Endpoint::inherited`] takes. This process closes it when `command` is dropped.
            ///
            /// A command that is started a second time takes the party from the first process.
            pub fn pass_to(self, command: &mut Command) {
                command.env(ENV_FD, self.as_raw_fd().to_string());
                // SAFETY: The closure makes two system calls, and allocates nothing, with errors
                // neither.
                unsafe {
                    command.pre_exec(move || {
                        rustix::io::fcntl_setfd(&self, rustix::io::FdFlags::empty())?;
                        let flags = sys::QUIESCE_BIND_PROCESS;
                        ioctl::bind(self.as_fd(), sys::quiesce_bind { flags, reserved: 0 })
                            .map_err(io::Error::from)
                    });
                }
            }
        }
    )* };
}

bindable!(Pair Party);
