// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! `quiesce trace`: a timeline from the module's tracepoints.

use crate::{
    args,
    failure::{note, Failure, OTHER, UNAVAILABLE},
    print,
    signals::{self, Signals},
    svg, text,
    timeline::{Event, Timeline, NAME},
};
use lexopt::{Arg::*, Parser};
use rustix::{
    event::{poll, PollFd, PollFlags},
    fs::{open, Mode, OFlags},
    io::Errno,
};
use std::{
    fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// Number of events that are recorded at most.
const EVENTS: usize = 1_000_000;

/// An instance of the kernel's tracer of this process's own, removed when dropped. Other users of
/// the tracer are not affected.
struct Instance(PathBuf);

impl Instance {
    fn new() -> Result<Self, Failure> {
        let root = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.join("instances").exists())
            .ok_or_else(|| {
                Failure::Text(
                    UNAVAILABLE,
                    "/sys/kernel/tracing cannot be read: it needs root, and tracefs to be mounted"
                        .into(),
                )
            })?;
        if !root.join("events/quiesce").exists() {
            return Err(Failure::Text(
                UNAVAILABLE,
                "the kernel has no events of quiesce: load the module (modprobe quiesce) or \
                 install it (package quiesce-dkms)"
                    .into(),
            ));
        }
        let path = root
            .join("instances")
            .join(format!("quiesce-{}", process::id()));
        // One of this number was left by a tracer that was killed.
        let _ = fs::remove_dir(&path);
        fs::create_dir(&path).map_err(|e| Self::failure(&path, &e))?;
        let instance = Self(path);
        instance.write("trace_clock", "mono")?;
        instance.write("events/quiesce/enable", "1")?;
        instance.write("tracing_on", "1")?;
        Ok(instance)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Failure> {
        let path = self.0.join(file);
        fs::write(&path, value).map_err(|e| Self::failure(&path, &e))
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => UNAVAILABLE,
            _ => OTHER,
        };
        Failure::Text(status, format!("{}: {error}", path.display()))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The events that were read so far.
#[derive(Default)]
struct Recording {
    pipe_rest: Vec<u8>,
    events: Vec<Event>,
    lost: bool,
}

impl Recording {
    /// Reads a part of what the pipe has, and returns whether it had anything. Events may be added
    /// as fast as they are read.
    fn read(&mut self, mut pipe: &fs::File) -> Result<bool, Failure> {
        let mut buffer = [0; 65536];
        match pipe.read(&mut buffer) {
            Ok(n) => {
                self.add(&buffer[..n]);
                Ok(n != 0)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether no further event is recorded.
    fn is_full(&self) -> bool {
        self.events.len() >= EVENTS
    }

    fn add(&mut self, bytes: &[u8]) {
        self.pipe_rest.extend_from_slice(bytes);
        // Events are read whole, so that the last line feed is none of a name.
        let Some(end) = self.pipe_rest.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let rest = self.pipe_rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.pipe_rest, rest);
        let mut lines = &lines[..];
        while !lines.is_empty() {
            // The first characters are the name of a task, which may have any.
            let name = lines.len().min(NAME);
            let end = lines[name..].iter().position(|&byte| byte == b'\n');
            let (line, rest) = lines.split_at(end.map_or(lines.len(), |end| name + end));
            lines = rest.get(1..).unwrap_or_default();
            match Event::parse(line) {
                Some(event) if !self.is_full() => self.events.push(event),
                Some(_) => self.lost = true,
                None => self.lost |= line.starts_with(b"CPU:") && line.ends_with(b"EVENTS]"),
            }
        }
    }
}

pub fn trace(mut parser: Parser) -> Result<u8, Failure> {
    let (mut output, mut time, mut words) = (None, None, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Short('o') | Long("output") => output = Some(PathBuf::from(parser.value()?)),
            Short('d') | Long("duration") => time = Some(args::time(&mut parser)?),
            Value(first) => {
                words = args::command(&mut parser, first)?;
                break;
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    // Errors of the file are better reported before the command runs.
    let output = match output {
        Some(path) => {
            let file = fs::File::create(&path)
                .map_err(|e| Failure::other(format!("{}: {e}", path.display())))?;
            Some((path, file))
        }
        None => None,
    };
    let signals = Signals::block(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    let instance = Instance::new()?;
    let (recording, status) = record(&instance, &signals, &words, time)?;
    drop(instance);
    if recording.lost {
        note("the trace is incomplete: events were lost");
    }
    let timelines = Timeline::all(recording.events);
    match output {
        Some((path, mut file)) => {
            io::Write::write_all(&mut file, svg::render(&timelines).as_bytes())
                .map_err(|e| Failure::other(format!("{}: {e}", path.display())))?
        }
        None => print(text::render(&timelines))?,
    }
    Ok(status)
}

/// Records until the command ends, the time is over, or a signal is received. Returns the events
/// and the command's status.
fn record(
    instance: &Instance,
    signals: &Signals,
    words: &[std::ffi::OsString],
    time: Option<Duration>,
) -> Result<(Recording, u8), Failure> {
    let pipe = instance.0.join("trace_pipe");
    let pipe: fs::File = open(
        &pipe,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| Instance::failure(&pipe, &e.into()))?
    .into();
    let mut child = match words {
        [] => None,
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            // SAFETY: The closure that `unblock()` returns only makes async-signal-safe calls and
            // does not allocate.
            unsafe {
                command.args(rest).pre_exec(signals.unblock());
            }
            Some(command.spawn().map_err(|e| Failure::exec(program, &e))?)
        }
    };
    let limit = time.map(|time| Instant::now() + time);
    let mut recording = Recording::default();
    let (mut end, mut more, mut enabled) = (None, false, true);
    loop {
        // The pipe reports only a share of its buffer as readable, so it is read in between.
        let mut wait = Duration::from_millis(if more { 0 } else { 100 });
        if let Some(limit) = limit {
            wait = wait.min(limit.saturating_duration_since(Instant::now()));
        }
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, wait.as_millis() as i32) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        more = recording.read(&pipe)?;
        let mut stop = limit.is_some_and(|limit| Instant::now() >= limit);
        if recording.is_full() && enabled {
            // The command goes on.
            instance.write("events/quiesce/enable", "0")?;
            (enabled, recording.lost) = (false, true);
            stop |= child.is_none();
        }
        while let Some(signal) = signals.read() {
            match (&mut child, signal.number) {
                (Some(child), libc::SIGCHLD) => end = end.or(child.try_wait()?),
                (None, libc::SIGCHLD) => {}
                (Some(child), number) if signal.is_passed_on => signals::send(child.id(), number),
                // The command gets the terminal's signal itself, and the trace ends with it.
                (Some(_), _) => {}
                (None, _) => stop = true,
            }
        }
        if stop || end.is_some() {
            break;
        }
    }
    instance.write("events/quiesce/enable", "0")?;
    // What is left ends, as no event is added.
    while recording.read(&pipe)? {}
    Ok((recording, status(child, end, signals)?))
}

/// Returns the status of the command, as a shell reports it; 0 without a command. A command that
/// is still running when the time is over is terminated. Until it has ended, signals are passed
/// to it.
fn status(child: Option<Child>, end: Option<ExitStatus>, signals: &Signals) -> Result<u8, Failure> {
    let end = match (child, end) {
        (None, _) => return Ok(0),
        (Some(_), Some(end)) => end,
        (Some(mut child), None) => {
            signals::send(child.id(), libc::SIGTERM);
            loop {
                if let Some(end) = child.try_wait()? {
                    break end;
                }
                match poll(&mut [PollFd::new(signals, PollFlags::IN)], -1) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
                while let Some(signal) = signals.read() {
                    if signal.is_passed_on && signal.number != libc::SIGCHLD {
                        signals::send(child.id(), signal.number);
                    }
                }
            }
        }
    };
    Ok(match (end.code(), end.signal()) {
        (Some(code), _) => code as u8,
        (_, signal) => 128 + signal.unwrap_or(0) as u8,
    })
}
