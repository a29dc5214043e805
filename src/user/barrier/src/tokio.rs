// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Waits that do not block a thread, with tokio's [`AsyncFd`].
//!
//! All are cancel-safe: of a future that is dropped before it is ready, an arrival that it made
//! stands, and arrivals that it read of the other side of a pair stay read.

use crate::{Deadline, Error, Pair, Party, Phase, Result, Ticket};
use std::os::fd::AsRawFd;
use tokio::io::{unix::AsyncFd, Interest};

/// Registers a descriptor. A break is reported as `EPOLLPRI | EPOLLERR`.
fn register<T: AsRawFd>(inner: T) -> Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest()).map_err(Error::Os)
}

fn interest() -> Interest {
    Interest::READABLE | Interest::PRIORITY | Interest::ERROR
}

/// Polls with `call` until it returns something else than a timeout.
async fn wait<T: AsRawFd, R>(fd: &AsyncFd<T>, call: impl Fn(&T) -> Result<R>) -> Result<R> {
    // The result may be there although the descriptor is not ready: a phase that was reported.
    let mut result = call(fd.get_ref());
    while let Err(Error::TimedOut | Error::WouldBlock) = result {
        let mut ready = fd.ready(interest()).await.map_err(Error::Os)?;
        result = call(fd.get_ref());
        if let Err(Error::TimedOut | Error::WouldBlock) = result {
            ready.clear_ready();
        }
    }
    result
}

/// A [`Party`] in tokio's reactor.
#[derive(Debug)]
pub struct AsyncParty(AsyncFd<Party>);

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
        self.0.get_ref()
    }

    /// Takes the party out of the reactor.
    pub fn into_inner(self) -> Party {
        self.0.into_inner()
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
pub struct AsyncPair(AsyncFd<Pair>);

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
        self.0.get_ref()
    }

    /// Takes the side out of the reactor.
    pub fn into_inner(self) -> Pair {
        self.0.into_inner()
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
