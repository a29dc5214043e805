// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! `quiesce run`: N commands that are the parties of one group.

use crate::{
    args,
    failure::{self, describe, note, Failure},
    json::{self, Object},
    signals::{self, Signals},
};
use lexopt::{Arg::*, Parser};
use quiesce_barrier::{Cause, Device, Group, GroupOptions, Party, Why};
use rustix::{
    event::{poll, PollFd, PollFlags},
    io::Errno,
};
use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// The environment variable that has the number of the party.
pub const ENV_PARTY: &str = "QUIESCE_PARTY";
/// The environment variable that has the number of parties.
pub const ENV_PARTIES: &str = "QUIESCE_PARTIES";

/// Returns the command, which inherits `party` and ends it when its process dies.
pub fn with_party(words: &[OsString], party: Party, number: u32, parties: u32) -> Command {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env(ENV_PARTY, number.to_string())
        .env(ENV_PARTIES, parties.to_string());
    party.pass_to(&mut command);
    command
}

/// How the group broke.
pub struct Break {
    pub cause: Cause,
    pub phase: u64,
    pub arrived: u32,
    pub parties: u32,
}

impl Break {
    /// Returns the break of the group, if it is broken.
    pub fn of(group: &Group) -> Result<Option<Self>, Failure> {
        let status = group.status()?;
        Ok(status.cause.map(|cause| Self {
            cause,
            phase: status.phase,
            arrived: status.arrived,
            parties: status.parties,
        }))
    }

    /// Whether the break failed a phase: somebody had arrived in it, or it was an abort. It is none
    /// if a party exits with status 0 while nobody has arrived; whoever arrives later fails.
    pub fn is_failure(&self) -> bool {
        self.arrived != 0 || !matches!(self.cause.why, Why::Closed | Why::Exec | Why::Exited(0))
    }

    /// Reports the break on the standard error.
    pub fn report(&self) {
        note(format!(
            "phase {} is broken, {} of {} parties had arrived: {}",
            self.phase,
            self.arrived,
            self.parties,
            describe(&self.cause)
        ));
    }

    pub fn json(&self) -> Object {
        Object::new()
            .with("phase", self.phase)
            .with("arrived", self.arrived)
            .with("parties", self.parties)
            .with("cause", json::cause(&self.cause))
    }
}

/// A party and the process that runs its command.
struct Member {
    party: u32,
    child: Child,
    end: Option<ExitStatus>,
}

impl Member {
    fn failed(&self) -> bool {
        self.end.is_some_and(|end| !end.success())
    }

    fn json(&self) -> Object {
        let object = Object::new()
            .with("party", self.party)
            .with("pid", self.child.id());
        match self.end {
            Some(end) => object
                .maybe("status", end.code())
                .maybe("signal", end.signal()),
            None => object,
        }
    }

    fn report(&self) {
        let why = match self.end.map(|end| (end.code(), end.signal())) {
            Some((Some(code), _)) => Why::Exited(code),
            Some((_, Some(signal))) => Why::Killed(signal),
            _ => return,
        };
        note(format!(
            "party {} (pid {}) {why}",
            self.party,
            self.child.id()
        ));
    }
}

/// The limit to how long a phase may last after the first party has arrived.
struct Limit {
    time: Duration,
    /// The phase that some party has arrived in, and since when.
    begun: Option<(u64, Instant)>,
    /// When the late parties are killed that were asked to terminate.
    kill: Option<(Instant, Vec<u32>)>,
}

impl Limit {
    /// Returns the time between two checks: an arrival does not wake this process.
    fn interval(&self) -> Duration {
        (self.time / 20).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }

    /// Aborts the group and terminates the late parties when the time is over. Returns whether
    /// that was so.
    fn check(&mut self, group: &Group, members: &[Member]) -> Result<bool, Failure> {
        let now = Instant::now();
        if let Some((at, late)) = &self.kill {
            if now >= *at {
                send(members, libc::SIGKILL, |party| late.contains(&party));
                self.kill = None;
            }
            return Ok(false);
        }
        let status = group.status()?;
        if status.cause.is_some() || status.arrived == 0 {
            self.begun = None;
            return Ok(false);
        }
        match self.begun {
            Some((phase, since)) if phase == status.phase => {
                if now - since < self.time {
                    return Ok(false);
                }
            }
            _ => {
                self.begun = Some((status.phase, now));
                return Ok(false);
            }
        }
        group.abort(libc::ETIMEDOUT as u64)?;
        // Those that are late now: some may have arrived since the status was read.
        let after = group.status()?;
        let (text, late) = verdict(status.phase, self.time, after.phase, after.late);
        note(text);
        send(members, libc::SIGTERM, |party| late.contains(&party));
        self.kill = Some((now + self.time, late));
        Ok(true)
    }
}

/// Returns the report on `phase`, whose `time` was over, and the parties that are late in it. The
/// abort has broken the phase `broken`, in which the parties `late` had not arrived.
fn verdict(phase: u64, time: Duration, broken: u64, late: Vec<u32>) -> (String, Vec<u32>) {
    if broken != phase {
        let text = format!("phase {phase} has ended more than {time:?} after the first arrival");
        return (text, Vec::new());
    }
    let names: Vec<_> = late.iter().map(u32::to_string).collect();
    let names = names.join(", ");
    let text =
        format!("phase {phase} has not ended {time:?} after the first arrival; late: {names}");
    (text, late)
}

/// Sends a signal to the parties that `chosen` is true for and that have not ended.
fn send(members: &[Member], signal: i32, chosen: impl Fn(u32) -> bool) {
    for member in members {
        // The process was not waited for, so the number is still its own.
        if member.end.is_none() && chosen(member.party) {
            signals::send(member.child.id(), signal);
        }
    }
}

pub fn run(mut parser: Parser) -> Result<u8, Failure> {
    let (mut parties, mut limit, mut json) = (None, None, false);
    let (mut shrink, mut words) = (false, Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Short('n') | Long("parties") => parties = Some(args::parties(&mut parser)?),
            Short('t') | Long("timeout") => {
                limit = Some(Limit {
                    time: args::time(&mut parser)?,
                    begun: None,
                    kill: None,
                });
            }
            Long("shrink") => shrink = true,
            Long("json") => json = true,
            Value(first) => {
                words = args::command(&mut parser, first)?;
                break;
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let parties = parties.ok_or_else(|| Failure::usage("run: -n N is missing"))?;
    if words.is_empty() {
        return Err(Failure::usage("run: the command is missing"));
    }
    let mut options = GroupOptions::new(parties);
    if shrink {
        options = options.shrink();
    }
    let group = options.create(&Device::open()?)?;
    let signals = Signals::block(&[
        libc::SIGCHLD,
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
    ])?;
    let former = raise_descriptor_limit()?;
    let mut members = start(&group, parties, &words, &signals, former)?;
    let (broken, timed_out) = supervise(&group, &signals, &mut members, limit)?;
    let status = group.status()?;
    let failed = members.iter().any(Member::failed);
    if json {
        Object::new()
            .with("parties", json::array(members.iter().map(Member::json)))
            .with("phases", status.phase - 1)
            .with("timed_out", timed_out)
            .maybe("broken", broken.as_ref().map(Break::json))
            .print()?;
    }
    Ok(if timed_out {
        failure::TIMED_OUT
    } else if failed || broken.is_some_and(|broken| broken.is_failure()) {
        failure::BROKEN
    } else {
        0
    })
}

/// Raises the limit to the number of descriptors as far as it may be raised, since each party is
/// one, and returns the former limit.
fn raise_descriptor_limit() -> io::Result<libc::rlimit> {
    let mut former = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: Both arguments are references to local structs that the calls read or write before
    // they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut former) != 0 {
            return Err(io::Error::last_os_error());
        }
        let raised = libc::rlimit {
            rlim_cur: former.rlim_max,
            ..former
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raised) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(former)
}

/// Starts the commands, whose limit to descriptors is `limit`. All seats are taken before the
/// first one runs.
fn start(
    group: &Group,
    parties: u32,
    words: &[OsString],
    signals: &Signals,
    limit: libc::rlimit,
) -> Result<Vec<Member>, Failure> {
    let seats: Result<Vec<_>, _> = (0..parties).map(|_| group.join()).collect();
    let mut members: Vec<Member> = Vec::new();
    for (number, party) in (0..).zip(seats?) {
        let mut command = with_party(words, party, number, parties);
        // SAFETY: The closures make async-signal-safe system calls and allocate nothing; the
        // limit is valid.
        unsafe {
            command.pre_exec(signals.unblock());
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        match command.spawn() {
            Ok(child) => members.push(Member {
                party: number,
                child,
                end: None,
            }),
            Err(e) => {
                // Those that run already get an error; nobody else can join them.
                group.abort(e.raw_os_error().unwrap_or(0) as u64)?;
                send(&members, libc::SIGTERM, |_| true);
                supervise(group, signals, &mut members, None)?;
                return Err(Failure::exec(&words[0], &e));
            }
        }
    }
    Ok(members)
}

/// Waits for all commands and reports on the standard error which failed and how the group broke.
/// Returns the break, and whether the limit was reached.
fn supervise(
    group: &Group,
    signals: &Signals,
    members: &mut [Member],
    mut limit: Option<Limit>,
) -> Result<(Option<Break>, bool), Failure> {
    let (mut broken, mut timed_out) = (None, false);
    // Whether there is still something to learn from the group's descriptor.
    let mut watched = true;
    while members.iter().any(|member| member.end.is_none()) {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        if watched {
            fds.push(PollFd::new(group, PollFlags::PRI));
        }
        let interval = limit
            .as_ref()
            .map_or(-1, |l| l.interval().as_millis() as i32);
        match poll(&mut fds, interval) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let event = watched && !fds[1].revents().is_empty();
        if event {
            watched = false;
            note_break(group, &mut broken)?;
        }
        while let Some(signal) = signals.read() {
            if signal.number == libc::SIGCHLD {
                reap(members)?;
            } else if signal.is_passed_on {
                send(members, signal.number, |_| true);
            }
        }
        if let Some(limit) = &mut limit {
            timed_out |= limit.check(group, members)?;
        }
    }
    note_break(group, &mut broken)?;
    Ok((broken, timed_out))
}

/// Reports the break when it is seen first.
fn note_break(group: &Group, broken: &mut Option<Break>) -> Result<(), Failure> {
    if broken.is_none() {
        *broken = Break::of(group)?;
        if let Some(broken) = broken.as_ref().filter(|broken| broken.is_failure()) {
            broken.report();
        }
    }
    Ok(())
}

/// Takes the exit statuses of commands that have ended.
fn reap(members: &mut [Member]) -> Result<(), Failure> {
    for member in members {
        if member.end.is_none() {
            member.end = member.child.try_wait()?;
            if member.failed() {
                member.report();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_late_in_a_phase_that_has_ended() {
        let time = Duration::from_secs(2);
        let (text, late) = verdict(7, time, 7, vec![1, 3]);
        assert!(text.ends_with("phase 7 has not ended 2s after the first arrival; late: 1, 3"));
        assert_eq!(late, [1, 3]);
        let (text, late) = verdict(7, time, 8, vec![0, 1, 2, 3]);
        assert_eq!(
            text,
            "phase 7 has ended more than 2s after the first arrival"
        );
        assert!(late.is_empty());
    }
}
