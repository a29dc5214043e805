// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! `quiesce serve` and `quiesce join`: parties that are not relatives, over a UNIX socket.
//!
//! A client sends one byte and receives an error number, 0 with the descriptor of its party. The
//! permissions of the socket's file are the access control.

use crate::{
    args,
    failure::{self, Failure},
    json::Object,
    run::{with_party, Break},
    signals::Signals,
};
use lexopt::{Arg::*, Parser};
use quiesce_barrier::{Device, Endpoint, Error, Group, GroupOptions, Party};
use rustix::{
    cmsg_space,
    event::{poll, PollFd, PollFlags},
    io::Errno,
    net::{
        connect_unix, recvmsg, sendmsg, socket_with,
        sockopt::{set_socket_timeout, Timeout},
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
};
use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What a client sends to get a party; a stray connection does not take a seat.
const REQUEST: u8 = b'J';

/// Number of connections without a request that are kept.
const PENDING: usize = 64;

/// The name of a socket, removed when the server ends.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Makes the socket with permissions `mode`, from the beginning.
    fn listen(path: &Path, mode: u32) -> Result<(UnixListener, Self), Failure> {
        // SAFETY: The call has no memory arguments, and the program has one thread.
        let umask = unsafe { libc::umask(!mode & 0o777) };
        let listener = UnixListener::bind(path);
        // SAFETY: The call has no memory arguments, and the program has one thread.
        unsafe {
            libc::umask(umask);
        }
        let listener = listener.map_err(|e| match e.kind() {
            io::ErrorKind::AddrInUse => Failure::other(format!(
                "{}: exists; another server uses it, or was killed and left it",
                path.display()
            )),
            io::ErrorKind::PermissionDenied => {
                Failure::Text(failure::UNAVAILABLE, format!("{}: {e}", path.display()))
            }
            _ => Failure::other(format!("{}: {e}", path.display())),
        })?;
        listener.set_nonblocking(true)?;
        let stat = fs::symlink_metadata(path)?;
        Ok((
            listener,
            Self {
                path: path.into(),
                inode: (stat.dev(), stat.ino()),
            },
        ))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have replaced it.
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|stat| (stat.dev(), stat.ino()) == self.inode);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub fn serve(mut parser: Parser) -> Result<u8, Failure> {
    let (mut path, mut parties, mut mode) = (None, None, 0o600);
    let (mut shrink, mut json) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('n') | Long("parties") => parties = Some(args::parties(&mut parser)?),
            Long("mode") => {
                let value = args::text(&mut parser)?;
                mode = u32::from_str_radix(&value, 8)
                    .ok()
                    .filter(|mode| mode & !0o777 == 0)
                    .ok_or_else(|| Failure::usage(format!("'{value}' is no mode, such as 660")))?;
            }
            Long("shrink") => shrink = true,
            Long("json") => json = true,
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let path = path.ok_or_else(|| Failure::usage("serve: PATH is missing"))?;
    let parties = parties.ok_or_else(|| Failure::usage("serve: -n N is missing"))?;
    let mut options = GroupOptions::new(parties);
    if shrink {
        options = options.shrink();
    }
    let group = options.create(&Device::open()?)?;
    let signals = Signals::block(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    let (listener, file) = SocketFile::listen(&path, mode)?;
    let mut server = Server {
        group,
        listener,
        pending: Vec::new(),
        joined: 0,
    };
    let end = server.run(&signals)?;
    drop(file);
    let broken = match end {
        End::Signal(signal) => return Ok(128 + signal as u8),
        End::Broken(broken) => Some(broken),
        End::NoSeat => None,
    };
    if let Some(broken) = broken.as_ref().filter(|broken| broken.is_failure()) {
        broken.report();
    }
    if json {
        let status = server.group.status()?;
        Object::new()
            .with("joined", server.joined)
            .with("phases", status.phase - 1)
            .maybe("broken", broken.as_ref().map(Break::json))
            .print()?;
    }
    Ok(match broken {
        Some(broken) if broken.is_failure() => failure::BROKEN,
        _ => 0,
    })
}

/// Why the server ends.
enum End {
    Signal(i32),
    Broken(Break),
    /// The last party has left or, with --shrink, ended.
    NoSeat,
}

struct Server {
    group: Group,
    listener: UnixListener,
    /// Connections that have not sent a request, the oldest first.
    pending: Vec<UnixStream>,
    joined: u32,
}

impl Server {
    fn run(&mut self, signals: &Signals) -> Result<End, Failure> {
        let mut paused = false;
        loop {
            let mut fds = vec![
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(&self.group, PollFlags::PRI),
                PollFd::new(
                    &self.listener,
                    if paused {
                        PollFlags::empty()
                    } else {
                        PollFlags::IN
                    },
                ),
            ];
            fds.extend(self.pending.iter().map(|c| PollFd::new(c, PollFlags::IN)));
            match poll(&mut fds, if paused { 100 } else { -1 }) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if let Some(signal) = signals.read() {
                return Ok(End::Signal(signal.number));
            }
            if ready[1] {
                return Ok(Break::of(&self.group)?.map_or(End::NoSeat, End::Broken));
            }
            let mut index = 3;
            let mut pending = std::mem::take(&mut self.pending);
            pending.retain(|connection| {
                index += 1;
                !ready[index - 1] || !self.answer(connection)
            });
            self.pending = pending;
            paused = ready[2] && !self.accept()?;
        }
    }

    /// Accepts connections that wait, as many as there is room for, and at least one: signals and
    /// requests are read before the next ones. Returns false if there are no descriptors for them
    /// now.
    fn accept(&mut self) -> Result<bool, Failure> {
        for _ in 0..room(self.pending.len()) {
            let connection = match self.listener.accept() {
                Ok((connection, _)) => connection,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) =>
                {
                    continue
                }
                Err(_) => return Ok(false),
            };
            connection.set_nonblocking(true)?;
            if self.pending.len() >= PENDING {
                // Its request may have arrived meanwhile.
                let oldest = self.pending.remove(0);
                self.answer(&oldest);
            }
            self.pending.push(connection);
        }
        Ok(true)
    }

    /// Answers a request. Returns whether the connection is done with.
    fn answer(&mut self, mut connection: &UnixStream) -> bool {
        let mut byte = [0; 2];
        match connection.read(&mut byte) {
            Ok(1) if byte[0] == REQUEST => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            _ => return true,
        }
        // A client that is gone already takes no seat.
        if matches!(connection.read(&mut byte), Ok(0)) {
            return true;
        }
        let (errno, party) = match self.group.join() {
            Ok(party) => (0, Some(party)),
            Err(Error::Full) => (Errno::NOSPC.raw_os_error(), None),
            Err(Error::Broken(_)) => (Errno::OWNERDEAD.raw_os_error(), None),
            Err(Error::Os(e)) => (e.raw_os_error().unwrap_or(libc::EIO), None),
            Err(_) => (libc::EIO, None),
        };
        // If the client is gone by now, its party ends as if it had received it.
        if send(connection, errno, party.as_ref()).is_ok() && errno == 0 {
            self.joined += 1;
        }
        true
    }
}

/// Returns how many connections are accepted at once while `pending` have not sent a request.
fn room(pending: usize) -> usize {
    PENDING.saturating_sub(pending).max(1)
}

fn send(connection: &UnixStream, errno: i32, party: Option<&Party>) -> Result<(), Errno> {
    let data = errno.to_ne_bytes();
    let mut space = [0; cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = party.iter().map(|party| party.as_fd()).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(
        connection,
        &[IoSlice::new(&data)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )
    .map(|_| ())
}

pub fn join(mut parser: Parser) -> Result<u8, Failure> {
    let (mut path, mut limit, mut words) = (None, None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Short('t') | Long("timeout") => {
                limit = Some(Instant::now() + args::time(&mut parser)?);
            }
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            Value(first) => {
                words = args::command(&mut parser, first)?;
                break;
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let path = path.ok_or_else(|| Failure::usage("join: PATH is missing"))?;
    if words.is_empty() {
        return Err(Failure::usage("join: the command is missing"));
    }
    let connection = connect(&path, limit)?;
    let party = receive(&connection, limit).map_err(|failure| match failure {
        Failure::Text(status, text) => Failure::Text(status, format!("{}: {text}", path.display())),
        other => other,
    })?;
    drop(connection);
    let status = party.status()?;
    let number = status.party.unwrap_or(0);
    let error = with_party(&words, party, number, status.parties).exec();
    Err(Failure::exec(&words[0], &error))
}

/// Connects, with a limit also to a server that is about to start, or that accepts nobody.
fn connect(path: &Path, limit: Option<Instant>) -> Result<UnixStream, Failure> {
    let failed = |status, text: &str| Failure::Text(status, format!("{}: {text}", path.display()));
    let address = SocketAddrUnix::new(path).map_err(|e| failed(failure::OTHER, &text_of(e)))?;
    loop {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_timeout(&socket, Timeout::Send, limit)?;
        let error = match connect_unix(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(error) => error,
        };
        let over = limit.is_some_and(|limit| Instant::now() >= limit);
        match (error, limit) {
            // A process that was stopped, and continues.
            (Errno::INTR, _) if !over => {}
            (Errno::NOENT | Errno::CONNREFUSED, Some(_)) if !over => {
                thread::sleep(Duration::from_millis(20));
            }
            (Errno::NOENT | Errno::CONNREFUSED, Some(_)) => {
                return Err(failed(failure::TIMED_OUT, "no server has started"));
            }
            (Errno::AGAIN | Errno::INTR, Some(_)) => {
                return Err(failed(failure::TIMED_OUT, "the server accepts nobody"));
            }
            (Errno::ACCESS | Errno::PERM, _) => {
                return Err(failed(failure::UNAVAILABLE, &text_of(error)));
            }
            _ => return Err(failed(failure::OTHER, &text_of(error))),
        }
    }
}

fn text_of(error: Errno) -> String {
    io::Error::from(error).to_string()
}

/// Makes calls that wait for the other side of `socket` end at `limit`.
fn set_timeout(socket: impl AsFd, which: Timeout, limit: Option<Instant>) -> Result<(), Errno> {
    let left = limit.map(|limit| {
        // 0 would be no limit.
        limit
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    });
    set_socket_timeout(socket, which, left)
}

/// Requests a party and receives it.
fn receive(connection: &UnixStream, limit: Option<Instant>) -> Result<Party, Failure> {
    let closed = || Failure::other("the server has closed the connection");
    match rustix::net::send(connection, &[REQUEST], SendFlags::NOSIGNAL) {
        Ok(_) => {}
        Err(Errno::PIPE | Errno::CONNRESET) => return Err(closed()),
        Err(e) => return Err(e.into()),
    }
    let mut data = [0; 4];
    let mut space = [0; cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let bytes = loop {
        set_timeout(connection, Timeout::Recv, limit)?;
        let message = recvmsg(
            connection,
            &mut [IoSliceMut::new(&mut data)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        match message {
            Ok(message) => break message.bytes,
            // A process that was stopped, and continues.
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                return Err(Failure::Text(
                    failure::TIMED_OUT,
                    "the server does not answer".into(),
                ))
            }
            Err(Errno::CONNRESET) => return Err(closed()),
            Err(e) => return Err(e.into()),
        }
    };
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    match (bytes, i32::from_ne_bytes(data)) {
        (4, 0) => {}
        (4, libc::ENOSPC) => {
            return Err(Failure::Text(
                failure::BROKEN,
                "the barrier has no seat left".into(),
            ))
        }
        (4, libc::EOWNERDEAD) => {
            return Err(Failure::Text(
                failure::BROKEN,
                "the barrier is broken".into(),
            ))
        }
        (4, errno) => return Err(io::Error::from_raw_os_error(errno).into()),
        (0, _) => return Err(closed()),
        _ => return Err(Failure::other("this is not a server of parties")),
    }
    match fds.pop().map(Endpoint::new) {
        Some(Ok(Endpoint::Party(party))) if fds.is_empty() => Ok(party),
        _ => Err(Failure::other(
            "the server sent something else than a party",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server closes the connection before it has read the request.
    #[test]
    fn closed_connection() {
        // The action that main() sets, which would end the process.
        crate::signals::default_pipe();
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let error = receive(&here, None).unwrap_err();
        assert!(error.to_string().contains("closed the connection"));
    }
}
