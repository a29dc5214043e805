// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Waits that do not block a thread, with tokio's [`AsyncFd`]. Each party, and each side of a pair,
//! has an epoll descriptor besides its own.
//!
//! All are cancel-safe: of a future that is dropped before it is ready, an arrival that it made
//! stands, and arrivals that it read of the other side of a pair stay read.

use crate::{Deadline, Error, Pair, Party, Phase, Result, Ticket};
use rustix::{event::epoll, io::Errno};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use tokio::io::{unix::AsyncFd, Interest};

/// An endpoint, and the epoll descriptor that the reactor has in its place.
///
/// `EPOLLHUP` is up from when a party leaves, and does not say that its wait is over. From the
/// descriptor itself, tokio would take it for the end of a stream and report it until the last
/// reader is gone, so that a wait would not sleep any more. An epoll descriptor has nothing but
/// `EPOLLIN`. Each wake-up of the endpoint is an edge of it, also while it is readable, so that
/// nobody has to read it.
#[derive(Debug)]
struct Source<T> {
    endpoint: T,
    epoll: OwnedFd,
}

impl<T> AsRawFd for Source<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// Registers an endpoint. A break is reported as `EPOLLPRI | EPOLLERR`.
fn register<T: AsFd>(endpoint: T) -> Result<AsyncFd<Source<T>>> {
    let events = epoll::EventFlags::IN | epoll::EventFlags::PRI | epoll::EventFlags::RDHUP;
    let os = |e: Errno| Error::Os(e.into());
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(os)?;
    epoll::add(&epoll, &endpoint, epoll::EventData::new_u64(0), events).map_err(os)?;
    AsyncFd::with_interest(Source { endpoint, epoll }, Interest::READABLE).map_err(Error::Os)
}

/// Polls with `call` until it returns something else than a timeout.
async fn wait<T, R>(fd: &AsyncFd<Source<T>>, call: impl Fn(&T) -> Result<R>) -> Result<R> {
    let endpoint = &fd.get_ref().endpoint;
    // The result may be there although the descriptor is not ready: a phase that was reported.
    let mut result = call(endpoint);
    while let Err(Error::TimedOut | Error::WouldBlock) = result {
        let mut ready = fd.readable().await.map_err(Error::Os)?;
        result = call(endpoint);
        if let Err(Error::TimedOut | Error::WouldBlock) = result {
            ready.clear_ready();
        }
    }
    result
}

/// A [`Party`] in tokio's reactor.
#[derive(Debug)]
pub struct AsyncParty(AsyncFd<Source<Party>>);

impl AsyncParty {
    /// Registers the party with the current runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Panics
    ///
    /// Without a runtime that has I/O enabled.
    pub fn new(party: Party) -> Result<Self> {
        register(party).map(Self)
    }

    /// Returns the party, for calls that do not wait.
    pub fn get_ref(&self) -> &Party {
        &self.0.get_ref().endpoint
    }

    /// Takes the party out of the reactor.
    pub fn into_inner(self) -> Party {
        self.0.into_inner().endpoint
    }

    /// Waits for the end of the ticket's phase.
    ///
    /// # Errors
    ///
    /// As [`Party::wait`], except for the deadline.
    pub async fn wait(&self, ticket: Ticket) -> Result<Phase> {
        wait(&self.0, |party| party.wait(ticket, Deadline::NOW)).await
    }

    /// Arrives and waits for the end of the phase. A party that has to end it, by
    /// [`Phase::completes`], executes its step and calls [`Party::complete`].
    ///
    /// # Errors
    ///
    /// As [`Party::arrive`] and [`wait`](Self::wait).
    pub async fn arrive_and_wait(&self) -> Result<Phase> {
        let ticket = self.get_ref().arrive()?;
        self.wait(ticket).await
    }
}

/// A [`Pair`] in tokio's reactor.
#[derive(Debug)]
pub struct AsyncPair(AsyncFd<Source<Pair>>);

impl AsyncPair {
    /// Registers the side with the current runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Os`].
    ///
    /// # Panics
    ///
    /// Without a runtime that has I/O enabled.
    pub fn new(pair: Pair) -> Result<Self> {
        register(pair).map(Self)
    }

    /// Returns the side, for calls that do not wait.
    pub fn get_ref(&self) -> &Pair {
        &self.0.get_ref().endpoint
    }

    /// Takes the side out of the reactor.
    pub fn into_inner(self) -> Pair {
        self.0.into_inner().endpoint
    }

    /// Waits for an arrival of the other side.
    ///
    /// # Errors
    ///
    /// As [`Pair::wait_next`], except for the deadline.
    pub async fn wait_next(&self) -> Result<()> {
        wait(&self.0, |pair| pair.wait_next(Deadline::NOW)).await
    }

    /// Waits until the other side has arrived as often as this one.
    ///
    /// # Errors
    ///
    /// As [`Pair::sync`], except for the deadline.
    pub async fn sync(&self) -> Result<()> {
        wait(&self.0, |pair| pair.sync(Deadline::NOW)).await
    }

    /// Arrives and waits as [`sync`](Self::sync) does.
    ///
    /// # Errors
    ///
    /// As [`Pair::place`] and [`sync`](Self::sync).
    pub async fn place_and_sync(&self) -> Result<()> {
        self.get_ref().place()?;
        self.sync().await
    }
}
