// SPDX-License-Identifier: GPL-2.0

//! Tests of quiesce(1), which is in the guest's PATH.

use quiesce_barrier::{Deadline, Device, Group, GroupOptions, Pair, Party, Why, ENV_FD};
use quiesce_tests::{signal, until};
use std::{
    ffi::CStr,
    fs,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The output of a command line and its status.
struct Ran {
    out: String,
    err: String,
    status: Option<i32>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn status(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn out(self, text: &str) -> Self {
        assert!(
            self.out.contains(text),
            "no {text:?} in {}{}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    fn err(self, text: &str) -> Self {
        assert!(
            self.err.contains(text),
            "no {text:?} in {}{}",
            self.err,
            self.out
        );
        self
    }

    #[track_caller]
    fn quiet(self) -> Self {
        assert_eq!(self.err, "");
        self
    }

    fn count(&self, text: &str) -> usize {
        self.out.matches(text).count()
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    // Not /dev/null opened anew: a test takes it away.
    command.args(["-c", line]).stdin(Stdio::inherit());
    command
}

/// Runs a command line.
fn sh(line: &str) -> Ran {
    shell(line).output().unwrap().into()
}

/// Starts a command line, whose output is read by `end`.
fn start(line: &str) -> Child {
    shell(&format!("exec {line}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

fn kill(child: &Child, number: i32) {
    // SAFETY: The call has no memory arguments; the child was not waited for.
    unsafe {
        libc::kill(child.id() as i32, number);
    }
}

/// Runs `line` as another user.
fn as_user(line: &str) -> Ran {
    shell(line).uid(1000).gid(1000).output().unwrap().into()
}

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// Runs `line` with a descriptor that it inherits.
fn with_fd(line: &str, fd: &impl AsRawFd) -> Ran {
    inheriting(line, fd).output().unwrap().into()
}

fn inheriting(line: &str, fd: &impl AsRawFd) -> Command {
    let fd = fd.as_raw_fd();
    let mut command = shell(line);
    command.env(ENV_FD, fd.to_string());
    // SAFETY: The closure makes one async-signal-safe call.
    unsafe {
        command.pre_exec(move || {
            libc::fcntl(fd, libc::F_SETFD, 0);
            Ok(())
        });
    }
    command
}

// run.

fn run_meets() {
    let ran = sh("quiesce run -n 4 -- sh -c 'quiesce sync --json && quiesce sync --json'")
        .status(0)
        .quiet();
    assert_eq!(ran.count("\"phase\":1,"), 4);
    assert_eq!(ran.count("\"phase\":2,"), 4);
    assert_eq!(ran.count("\"leader\":true"), 2);
    for index in 0..4 {
        assert_eq!(ran.count(&format!("\"index\":{index}}}")), 2);
    }
}

fn run_sets_the_environment() {
    let ran = sh("quiesce run -n 3 sh -c 'echo $QUIESCE_PARTY/$QUIESCE_PARTIES'").status(0);
    for party in 0..3 {
        assert_eq!(ran.count(&format!("{party}/3\n")), 1);
    }
    // A party has its own descriptor only.
    let ran = sh("quiesce run -n 3 -- sh -c 'ls -l /proc/self/fd | grep -c quiesce'").status(0);
    assert_eq!(ran.out, "1\n1\n1\n");
}

fn run_names_who_was_killed() {
    let line = "if [ $QUIESCE_PARTY = 1 ]; then kill -9 $$; fi; quiesce sync --json";
    let ran = sh(&format!("quiesce run --json -n 3 -- sh -c '{line}'"))
        .status(1)
        .err("party 1 (pid ")
        .err("was killed by signal 9 (Killed)")
        .err("the barrier is broken")
        .out("\"signal\":9")
        .out("\"timed_out\":false")
        .out("\"why\":\"signal\"");
    assert_eq!(ran.count("\"status\":1"), 2);
    assert_eq!(ran.count("\"error\":\"broken\""), 2);
}

fn run_names_who_exited_early() {
    // A clean exit fails the others if they wait, and nobody else does.
    let line = "[ $QUIESCE_PARTY = 1 ] && exec sleep 0.2; quiesce sync";
    sh(&format!("quiesce run -n 3 -- sh -c '{line}'"))
        .status(1)
        .err("party 1 (pid ")
        .err("exited with status 0");
    sh("quiesce run -n 3 true").status(0).quiet();
    // One that arrives later fails, and with it the run, if its command does.
    let line = "[ $QUIESCE_PARTY = 1 ] && exit 0; \
        while ! quiesce ls | grep -q broken; do sleep 0.05; done; quiesce sync";
    sh(&format!("quiesce run -n 2 -- sh -c '{line}'"))
        .status(1)
        .err("the barrier is broken: party 1 (pid ")
        .err("exited with status 0");
    sh(&format!("quiesce run -n 2 -- sh -c '{line}; exit 0'"))
        .status(0)
        .err("the barrier is broken: party 1 (pid ");
    sh("quiesce run -n 3 -- sh -c 'quiesce sync; exit 0'")
        .status(0)
        .quiet();
    sh("quiesce run -n 2 -- sh -c 'quiesce sync; exit $QUIESCE_PARTY'")
        .status(1)
        .err("party 1 (pid ")
        .err("exited with status 1");
}

fn run_time_limit() {
    let begin = Instant::now();
    let line = "if [ $QUIESCE_PARTY = 1 ]; then exec sleep 1000; fi; quiesce sync";
    sh(&format!("quiesce run -t 5s -n 3 -- sh -c '{line}'"))
        .status(3)
        .err("late: 1\n")
        .err("a time limit was reached");
    // One that ignores SIGTERM is killed.
    let line = "if [ $QUIESCE_PARTY = 0 ]; then trap \"\" TERM; while :; do sleep 1; done; fi";
    sh(&format!(
        "quiesce run -t 200ms -n 2 -- sh -c '{line}; quiesce sync'"
    ))
    .status(3)
    .err("late: 0\n")
    .err("signal 9");
    // A stopped one, too.
    let line = "[ $QUIESCE_PARTY = 1 ] && kill -STOP $$; quiesce sync";
    sh(&format!("quiesce run -t 200ms -n 2 -- sh -c '{line}'"))
        .status(3)
        .err("signal 9");
    assert!(begin.elapsed() < Duration::from_secs(100));
    // The limit is about phases, not about the time between them.
    sh("quiesce run -t 60 -n 2 -- sh -c 'quiesce sync; sleep 0.1; quiesce sync'")
        .status(0)
        .quiet();
}

fn run_shrink() {
    let line = "[ $QUIESCE_PARTY = 2 ] && exit 9; quiesce sync --json; quiesce sync --json";
    let ran = sh(&format!("quiesce run --shrink -n 3 -- sh -c '{line}'"))
        .status(1)
        .err("party 2 (pid ")
        .err("exited with status 9");
    assert_eq!(ran.count("\"phase\":2,"), 2);
    assert_eq!(ran.count("error"), 0);
}

/// The command starts in some parties only.
fn run_cannot_start_all() {
    let mut command = shell("exec quiesce run -n 50 sleep 1000");
    command.uid(1000).gid(1000);
    let limit = libc::rlimit {
        rlim_cur: 20,
        rlim_max: 20,
    };
    // SAFETY: The closure makes one async-signal-safe call, and the limit is valid.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NPROC, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    Ran::from(command.output().unwrap())
        .status(126)
        .err("was killed by signal 15")
        .err("sleep: Resource temporarily unavailable");
}

fn run_cannot_execute() {
    sh("quiesce run -n 3 /nonexistent")
        .status(127)
        .err("/nonexistent: ");
    sh("quiesce run -n 3 /proc").status(126).err("/proc: ");
}

fn run_many() {
    let ran = sh("quiesce run -n 100 -- sh -c 'quiesce sync && echo met'")
        .status(0)
        .quiet();
    assert_eq!(ran.count("met"), 100);
    // More descriptors than the process has, if it may have more; not so the commands.
    let ran = sh("ulimit -S -n 20; quiesce run -n 100 -- sh -c 'ulimit -S -n; quiesce sync'")
        .status(0)
        .quiet();
    assert_eq!(ran.count("20\n"), 100);
    // More than it may have: all seats are taken before the first command runs.
    let ran = sh("ulimit -n 20; quiesce run -n 100 echo ran")
        .status(125)
        .err("Too many open files");
    assert_eq!(ran.count("ran"), 0);
}

fn run_forwards_signals() {
    let child = start("quiesce run -n 2 -- sh -c 'quiesce sync; echo >>./forward; exec sleep 100'");
    until("both have met", || {
        fs::read("./forward").is_ok_and(|text| text.len() == 2)
    });
    kill(&child, libc::SIGTERM);
    end(child).status(1).err("was killed by signal 15");
}

fn run_does_not_pass_its_mask() {
    sh("quiesce run -n 1 -- sh -c 'grep SigBlk /proc/self/status'")
        .status(0)
        .out("0000000000000000");
    let ignored = "grep SigIgn /proc/self/status";
    sh(&format!("quiesce run -n 1 -- sh -c '{ignored}'"))
        .status(0)
        .out(&sh(ignored).out);
}

/// Returns the command with the signal ignored.
fn ignoring(number: i32, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    // SAFETY: The closure makes one async-signal-safe call.
    unsafe {
        command.pre_exec(move || {
            libc::signal(number, libc::SIG_IGN);
            Ok(())
        });
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ignored_signals() {
    // Children are waited for, and have the action that the tool was started with.
    let show = ["grep", "SigIgn", "/proc/self/status"];
    let run = ["quiesce", "run", "-n", "2"];
    let ran: Ran = ignoring(libc::SIGCHLD, &[&run[..], &show].concat())
        .output()
        .unwrap()
        .into();
    let expected: Ran = ignoring(libc::SIGCHLD, &show).output().unwrap().into();
    assert_ne!(
        expected.out,
        Ran::from(Command::new("grep").args(&show[1..]).output().unwrap()).out
    );
    assert_eq!(ran.status(0).quiet().count(&expected.out), 2);
    // After nohup(1), the end of the terminal does not end the server.
    let server = ignoring(libc::SIGHUP, &["quiesce", "serve", "-n", "2", "./socket"])
        .spawn()
        .unwrap();
    until("the socket is there", || exists("./socket"));
    kill(&server, libc::SIGHUP);
    kill(&server, libc::SIGTERM);
    end(server).status(128 + libc::SIGTERM);
}

/// Starts the words as the leader of a session, whose terminal is returned.
fn in_a_terminal(words: &[&str]) -> (OwnedFd, Child) {
    let (mut terminal, mut its_side) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: The call stores two descriptors, which are new, and the null pointers are allowed.
    let (terminal, its_side) = unsafe {
        let made = libc::openpty(&mut terminal, &mut its_side, null, null.cast(), null.cast());
        assert_eq!(made, 0);
        libc::fcntl(terminal, libc::F_SETFD, libc::FD_CLOEXEC);
        (
            OwnedFd::from_raw_fd(terminal),
            OwnedFd::from_raw_fd(its_side),
        )
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(its_side);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: The closure makes two async-signal-safe calls.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    (terminal, command.spawn().unwrap())
}

/// The terminal's hang-up reaches the session's leader alone, which passes it on.
fn hang_up_of_the_leader() {
    let command = ["sh", "-c", ": >./on; exec sleep 1000"];
    let run = ["quiesce", "run", "-n", "1", "--"];
    let trace = ["quiesce", "trace", "--"];
    for (words, status) in [(&run[..], 1), (&trace[..], 128 + libc::SIGHUP)] {
        let (terminal, child) = in_a_terminal(&[words, &command].concat());
        until("the command runs", || exists("./on"));
        fs::remove_file("./on").unwrap();
        drop(terminal);
        until("it ends", || state(&child) == Some('Z'));
        end(child).status(status);
    }
}

fn state(child: &Child) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit(')').next().unwrap().trim().chars().next()
}

fn stop(child: &Child) {
    kill(child, libc::SIGSTOP);
    until("it is stopped", || state(child) == Some('T'));
}

/// Stops a process and continues it.
fn stop_and_continue(child: &Child) {
    stop(child);
    kill(child, libc::SIGCONT);
    until("it waits again", || state(child) == Some('S'));
}

fn stopped_and_continued() {
    let (group, [a, b]) = completing_or_not(false);
    let mut command = inheriting("exec quiesce sync -t 60", &b);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    until("it waits", || group.status().unwrap().waiting == 1);
    stop_and_continue(&child);
    a.arrive_and_wait(Deadline::NEVER).unwrap();
    end(child).status(0).quiet();
    // Waits with a time limit for a socket are interrupted by that.
    let listener = UnixListener::bind("./slow").unwrap();
    let child = start("quiesce join -t 60 ./slow true");
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stop_and_continue(&child);
    stream.write_all(&libc::ENOSPC.to_ne_bytes()).unwrap();
    end(child).status(1).err("no seat left");
}

/// Output that cannot be written, and standard descriptors that are closed.
fn output_that_fails() {
    for line in [
        "--help",
        "ls",
        "ls --json",
        "top -n 1",
        "run --json -n 1 true",
    ] {
        sh(&format!("quiesce {line} >/dev/full"))
            .status(125)
            .err("standard output: No space left on device");
    }
    for line in ["ls", "run --json -n 2 quiesce sync --json"] {
        sh(&format!("quiesce {line} <&- >&- 2>&-")).status(0);
    }
    // A reader that has enough ends the program.
    sh("quiesce top -d 10ms | head -n 1").status(0).quiet();
}

/// A background process that keeps the descriptor does not keep the party.
fn run_ends_with_the_command() {
    let line = "if [ $QUIESCE_PARTY = 1 ]; then sleep 30 & exit 5; fi; quiesce sync -t 20";
    sh(&format!(
        "quiesce run -n 2 -- sh -c '{line}' >/dev/null 2>./ends"
    ))
    .status(1);
    let text = fs::read_to_string("./ends").unwrap();
    assert!(text.contains("exited with status 5"), "{text}");
    assert!(!text.contains("deadline"), "{text}");
}

// arrive, wait, sync, abort, leave.

fn arrive_and_wait() {
    let line = "quiesce arrive --json && quiesce wait --json && quiesce wait --ticket 1";
    let ran = sh(&format!("quiesce run -n 2 -- sh -c '{line}'"))
        .status(0)
        .quiet();
    assert_eq!(ran.count("{\"ticket\":1}"), 2);
    assert_eq!(ran.count("\"leader\":true"), 1);
    sh("quiesce run -n 1 -- quiesce wait")
        .status(1)
        .err("has not arrived");
    sh("quiesce run -n 1 -- sh -c 'quiesce sync; quiesce wait --ticket 2; echo $?'")
        .out("2\n")
        .err("has not arrived in that phase");
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce arrive; quiesce arrive; echo $?; \
        : >./arrived; else while ! [ -e ./arrived ]; do sleep 0.05; done; fi; \
        quiesce wait || quiesce sync";
    sh(&format!("quiesce run -n 2 -- sh -c '{line}'"))
        .status(0)
        .out("125\n")
        .err("already arrived");
}

fn exactly_one_leads() {
    let ran = sh("quiesce run -n 5 -- sh -c 'quiesce sync --leader; echo $?'").status(0);
    assert_eq!((ran.count("0\n"), ran.count("5\n")), (1, 4));
}

fn timeouts_of_waits() {
    // The arrival stands, and a later wait continues.
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce sync -t 50ms --json; echo $?; \
        : >./timed_out; quiesce wait; echo $?; \
        else while ! [ -e ./timed_out ]; do sleep 0.05; done; quiesce sync; fi";
    sh(&format!("quiesce run -n 2 -- sh -c '{line}'"))
        .status(0)
        .out("{\"error\":\"timeout\"}\n3\n0\n");
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce sync -t 50ms --break; echo $?; \
        : >./broken; else while ! [ -e ./broken ]; do sleep 0.05; done; \
        quiesce sync --json; echo $?; fi";
    sh(&format!("quiesce run -n 2 -- sh -c '{line}'"))
        .status(1)
        .out("3\n")
        .out("\"why\":\"timeout\"}}\n1\n")
        .err("party 0 (pid ")
        .err("would not wait any longer");
}

fn abort_reaches_all() {
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce abort 42; else quiesce sync --json; fi";
    let ran = sh(&format!("quiesce run -n 3 -- sh -c '{line}'"))
        .status(1)
        .err("party 0 (pid ")
        .err("aborted with code 42");
    assert_eq!(ran.count("\"why\":\"abort\",\"code\":42"), 2);
}

fn leaving_breaks_nothing() {
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce leave; quiesce leave; exit 0; fi; \
        quiesce sync; quiesce sync";
    sh(&format!("quiesce run -n 3 -- sh -c '{line}'"))
        .status(0)
        .err("has left");
    let line = "if [ $QUIESCE_PARTY = 0 ]; then quiesce arrive --leave; exit 0; fi; \
        quiesce sync; quiesce sync";
    sh(&format!("quiesce run -n 3 -- sh -c '{line}'"))
        .status(0)
        .quiet();
}

/// Returns a group of two, whose leaders have to end the phases or not, and its parties.
fn completing_or_not(completion: bool) -> (Group, [Party; 2]) {
    let mut options = GroupOptions::new(2);
    if completion {
        options = options.completion();
    }
    let group = options.create(&Device::open().unwrap()).unwrap();
    let parties = [(); 2].map(|()| group.join().unwrap());
    (group, parties)
}

/// In a group whose leader has to end the phase, the tool does.
fn sync_ends_the_phase() {
    let (_group, [a, b]) = completing_or_not(true);
    let ticket = a.arrive().unwrap();
    with_fd("quiesce sync --json", &b)
        .status(0)
        .quiet()
        .out("\"leader\":true");
    assert!(!a.wait(ticket, Deadline::NEVER).unwrap().leader);
    let ticket = a.arrive().unwrap();
    with_fd("quiesce arrive; quiesce wait --leader", &b)
        .status(0)
        .quiet();
    a.wait(ticket, Deadline::NEVER).unwrap();
}

fn pairs_in_scripts() {
    let (a, b) = Pair::new().unwrap();
    a.place().unwrap();
    with_fd("quiesce sync", &b).status(0).quiet();
    with_fd("quiesce arrive", &b).status(0).quiet();
    with_fd("quiesce wait -t 20ms", &b).status(3);
    a.sync_next(Deadline::NEVER).unwrap();
    a.place().unwrap();
    with_fd("quiesce wait --json", &b).status(0).out("{}");
    for line in [
        "quiesce leave",
        "quiesce arrive --leave",
        "quiesce sync --leader",
        "quiesce sync --break",
    ] {
        with_fd(line, &b).status(2).err("pair");
    }
    with_fd("quiesce abort 9", &b).status(0);
    let cause = a.wait_abortion(Deadline::NEVER).unwrap();
    assert_eq!(cause.why, Why::Aborted(9));
    with_fd("quiesce sync", &b)
        .status(1)
        .err("this side has aborted");
}

fn wrong_descriptors() {
    for command in ["arrive", "wait", "sync", "abort", "leave"] {
        sh(&format!("unset QUIESCE_FD; quiesce {command}"))
            .status(2)
            .err("QUIESCE_FD is not set");
        for fd in ["x", "", "-1", "1000000", "99999999999", "17", "0"] {
            sh(&format!("QUIESCE_FD={fd} quiesce {command} </dev/null"))
                .status(2)
                .err("QUIESCE_FD is not the descriptor of a party");
        }
        let group = Group::new(1).unwrap();
        with_fd(&format!("quiesce {command}"), &group)
            .status(2)
            .err("of a group");
    }
    // A script that closes it leaves the barrier to the others.
    let line = "eval \"exec $QUIESCE_FD>&-\"; quiesce sync";
    sh(&format!("quiesce run -n 1 -- sh -c '{line}'"))
        .status(1)
        .err("QUIESCE_FD is not");
}

fn wrong_arguments() {
    for line in [
        "",
        "nonsense",
        "run",
        "run true",
        "run -n 2",
        "run -n 0 true",
        "run -n 1025 true",
        "run -n -1 true",
        "run -n x true",
        "run -n 99999999999 true",
        "run -n 2 -t 5x true",
        "run -n 2 -t -1 true",
        "run -n",
        "run --frobnicate -n 2 true",
        "sync -t",
        "sync --ticket 1",
        "sync extra",
        "wait --ticket x",
        "abort -1",
        "abort x",
        "abort 1 2",
        "abort 18446744073709551616",
        "leave now",
        "serve",
        "serve ./x",
        "serve -n 2",
        "serve -n 2 --mode 1777 ./x",
        "serve -n 2 --mode rw ./x",
        "join",
        "join ./x",
        "ls all",
        "top -d x",
        "top -n x",
        "trace -d",
    ] {
        sh(&format!("quiesce {line}")).status(2).err("quiesce: ");
    }
    assert!(!exists("./x"));
    sh("quiesce --help")
        .status(0)
        .quiet()
        .out("quiesce run -n N");
    sh("quiesce --version").status(0).quiet().out("quiesce ");
    // A time may be longer than any clock runs.
    let century = "999999999999999h";
    sh(&format!(
        "quiesce run -t {century} -n 2 quiesce sync -t {century}"
    ))
    .status(0)
    .quiet();
    sh(&format!("quiesce trace -d {century} true"))
        .status(0)
        .quiet();
    // Options of the command are not the tool's.
    sh("quiesce run -n 1 echo -n --json").status(0).quiet();
}

// serve, join.

fn serve(options: &str) -> Child {
    let child = start(&format!("quiesce serve {options}"));
    // The name is there before connections are accepted.
    until("the server listens", || {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        sockets
            .lines()
            .any(|line| line.contains(" 00010000 ") && line.ends_with(" ./socket"))
    });
    child
}

fn strangers_meet() {
    let server = serve("--json -n 2 ./socket");
    let mode = fs::metadata("./socket").unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = "quiesce join ./socket -- sh -c 'quiesce sync --json; quiesce leave'";
    let (a, b) = (start(line), start(line));
    let ran = [end(a).status(0).quiet(), end(b).status(0).quiet()];
    assert_eq!(
        ran.iter()
            .map(|ran| ran.count("\"leader\":true"))
            .sum::<usize>(),
        1
    );
    end(server)
        .status(0)
        .quiet()
        .out("{\"joined\":2,\"phases\":1}");
    assert!(!exists("./socket"));
}

fn server_may_start_later() {
    let line = "quiesce join -t 60 ./socket sh -c 'echo $QUIESCE_PARTIES; quiesce sync'";
    let (a, b) = (start(line), start(line));
    let server = serve("-n 2 ./socket");
    end(a).status(0).out("2\n");
    end(b).status(0).out("2\n");
    end(server).status(0).quiet();
    sh("quiesce join -t 100ms ./socket true")
        .status(3)
        .err("no server has started");
    sh("quiesce join ./socket true")
        .status(125)
        .err("No such file");
}

fn permissions_of_the_socket() {
    let server = serve("-n 1 ./socket");
    as_user("quiesce join -t 1 ./socket true")
        .status(4)
        .err("ermission denied");
    kill(&server, libc::SIGTERM);
    end(server).status(128 + libc::SIGTERM);
    assert!(!exists("./socket"));
    as_user("quiesce serve -n 1 /socket")
        .status(4)
        .err("/socket: ");
    let server = serve("-n 1 --mode 666 ./socket");
    as_user("quiesce join ./socket quiesce sync")
        .status(0)
        .quiet();
    end(server).status(0).quiet();
}

fn stray_connections_take_no_seat() {
    let server = serve("--json -n 1 ./socket");
    let mut kept = Vec::new();
    for n in 0..200 {
        let mut stream = UnixStream::connect("./socket").unwrap();
        match n % 3 {
            0 => kept.push(stream),
            1 => stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap(),
            _ => {}
        }
    }
    sh("quiesce join ./socket quiesce sync").status(0).quiet();
    end(server).status(0).quiet().out("\"joined\":1,");
    // The server has closed all of them.
    for mut stream in kept {
        assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    }
}

/// A request that has arrived is answered, however many connect after it.
fn strays_supersede_no_request() {
    let server = serve("-n 1 ./socket");
    stop(&server);
    let mut client = UnixStream::connect("./socket").unwrap();
    client.write_all(b"J").unwrap();
    let _strays: Vec<_> = (0..100)
        .map(|_| UnixStream::connect("./socket").unwrap())
        .collect();
    kill(&server, libc::SIGCONT);
    let mut errno = [0xff; 4];
    client.read_exact(&mut errno).unwrap();
    assert_eq!(i32::from_ne_bytes(errno), 0);
    kill(&server, libc::SIGTERM);
    end(server);
}

fn no_seat_left() {
    let server = serve("-n 1 ./socket");
    let line = "sh -c ': >./joined; while ! [ -e ./go ]; do sleep 0.05; done'";
    let first = start(&format!("quiesce join ./socket {line}"));
    until("the first has joined", || exists("./joined"));
    sh("quiesce join ./socket true")
        .status(1)
        .err("no seat left");
    fs::write("./go", "").unwrap();
    end(first).status(0);
    end(server).status(0).quiet();
}

fn server_names_who_died() {
    let server = serve("--json -n 2 ./socket");
    let waiter = start("quiesce join ./socket quiesce sync");
    let line = "sh -c 'while ! quiesce ls | grep -q \" 1/2 \"; do sleep 0.05; done; kill -9 $$'";
    let ran: Ran = shell(&format!("exec quiesce join ./socket {line}"))
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.status, None);
    end(waiter).status(1).err("was killed by signal 9 (Killed)");
    end(server)
        .status(1)
        .err("1 of 2 parties had arrived")
        .err("was killed by signal 9 (Killed)")
        .out("\"signal\":9");
}

fn end_of_the_server_breaks_open_seats() {
    let server = serve("-n 2 ./socket");
    let waiter = start("quiesce join ./socket quiesce sync");
    until("a party waits", || sh("quiesce ls").out.contains(" 1/2 "));
    kill(&server, libc::SIGINT);
    end(server).status(128 + libc::SIGINT);
    end(waiter).status(1).err("nobody can join any more");
}

fn sockets_in_the_way() {
    fs::write("./socket", "mine").unwrap();
    sh("quiesce serve -n 2 ./socket").status(125).err("exists");
    assert_eq!(fs::read("./socket").unwrap(), b"mine");
    sh("quiesce join ./socket true").status(125);
    fs::remove_file("./socket").unwrap();
    let server = serve("-n 2 ./socket");
    sh("quiesce serve -n 2 ./socket").status(125).err("exists");
    // A server that was killed leaves the name, which then leads nowhere.
    kill(&server, libc::SIGKILL);
    assert_eq!(
        signal(server.wait_with_output().unwrap().status),
        Some(libc::SIGKILL)
    );
    sh("quiesce join ./socket true").status(125).err("refused");
    sh("quiesce serve -n 2 ./socket")
        .status(125)
        .err("was killed");
    fs::remove_file("./socket").unwrap();
    let long = "x".repeat(200);
    sh(&format!("quiesce serve -n 2 ./{long}")).status(125);
    sh("quiesce serve -n 2 /nonexistent/socket").status(125);
}

fn links_in_the_way() {
    // A link that leads nowhere is not followed.
    std::os::unix::fs::symlink("elsewhere", "./socket").unwrap();
    sh("quiesce serve -n 2 ./socket").status(125).err("exists");
    assert!(!exists("./elsewhere"));
    sh("quiesce join -t 100ms ./socket true").status(3);
    fs::remove_file("./socket").unwrap();
    let server = serve("-n 1 ./socket");
    std::os::unix::fs::symlink("socket", "./link").unwrap();
    sh("quiesce join ./link quiesce sync").status(0).quiet();
    end(server).status(0).quiet();
    // Sockets of other types, and files that are none.
    let _datagrams = std::os::unix::net::UnixDatagram::bind("./datagrams").unwrap();
    sh("quiesce join ./datagrams true")
        .status(125)
        .err("./datagrams: ");
    for path in ["/", "''", "/dev/null", "./none/socket"] {
        sh(&format!("quiesce join {path} true")).status(125);
    }
}

/// A server whose queue is full, since it is stopped or has too few descriptors.
fn server_that_accepts_nobody() {
    let listener = UnixListener::bind("./full").unwrap();
    // SAFETY: The call has no memory arguments.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _first = UnixStream::connect("./full").unwrap();
    sh("quiesce join -t 200ms ./full true")
        .status(3)
        .err("./full: the server accepts nobody");
}

/// Sends `data` with `fds` to whoever connects next.
fn send_once(listener: &UnixListener, data: &[u8], fds: &[i32]) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0]).unwrap();
    send(&stream, data, fds);
}

fn send(stream: &UnixStream, data: &[u8], fds: &[i32]) {
    let mut space = [0u64; 512];
    let size = size_of_val(fds) as u32;
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: The message points to memory that is valid during the call, and the control
    // message and its data are inside of `space`.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let control = libc::CMSG_FIRSTHDR(&message);
        (*control).cmsg_level = libc::SOL_SOCKET;
        (*control).cmsg_type = libc::SCM_RIGHTS;
        (*control).cmsg_len = libc::CMSG_LEN(size) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(control).cast(), fds.len());
        let sent = libc::sendmsg(stream.as_raw_fd(), &message, 0);
        assert_eq!(sent, data.len() as isize);
    }
}

/// Clients that send descriptors.
fn requests_with_descriptors() {
    let server = serve("--json -n 3 ./socket");
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", server.id()))
            .unwrap()
            .count()
    };
    let before = descriptors();
    let file = fs::File::open("/dev/null").unwrap();
    for data in [&b"X"[..], b"JJ"] {
        let mut stream = UnixStream::connect("./socket").unwrap();
        send(&stream, data, &[file.as_raw_fd(); 100]);
        // The server closes the connection.
        assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    }
    until("the server has kept none", || descriptors() == before);
    kill(&server, libc::SIGTERM);
    end(server).status(128 + libc::SIGTERM);
}

/// A server that sends descriptors of something else, or more than one.
fn servers_of_something_else() {
    let listener = UnixListener::bind("./false").unwrap();
    let (group, [a, b]) = completing_or_not(false);
    let (one, _two) = Pair::new().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let [a, b] = [a.as_raw_fd(), b.as_raw_fd()];
    for fds in [
        &[group.as_raw_fd()][..],
        &[one.as_raw_fd()],
        &[file.as_raw_fd()],
        &[a, b],
        &[a; 253],
    ] {
        let child = start("quiesce join ./false true");
        send_once(&listener, &0i32.to_ne_bytes(), fds);
        end(child).status(125).err("something else than a party");
    }
    for (data, fds) in [
        (&b"XY"[..], &[a][..]),
        (b"HTTP/1.0 400 Bad Request", &[a; 3]),
    ] {
        let child = start("quiesce join ./false true");
        send_once(&listener, data, fds);
        end(child).status(125).err("./false: ");
    }
    // None of them has joined or ended a party.
    assert_eq!(group.status().unwrap().cause, None);
}

/// A server that sends something else, or nothing.
fn false_servers() {
    let listener = UnixListener::bind("./false").unwrap();
    let server = thread::spawn(move || {
        for n in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            let _ = stream.read(&mut byte);
            match n {
                0 => drop(stream),
                1 => stream.write_all(&[0; 4]).unwrap(),
                _ => {
                    let _ = stream.read(&mut byte);
                }
            }
        }
    });
    sh("quiesce join ./false true")
        .status(125)
        .err("closed the connection");
    sh("quiesce join ./false true")
        .status(125)
        .err("something else than a party");
    sh("quiesce join -t 200ms ./false true")
        .status(3)
        .err("does not answer");
    server.join().unwrap();
}

// ls, top.

/// Returns a group of three in which one has arrived and one seat is open.
fn late_group() -> (Group, [Party; 2]) {
    let group = Group::new(3).unwrap();
    let parties = [group.join().unwrap(), group.join().unwrap()];
    let _ = parties[0].arrive().unwrap();
    (group, parties)
}

fn ls_names_who_is_late() {
    let (group, parties) = late_group();
    let me = std::process::id();
    sh("quiesce ls")
        .status(0)
        .quiet()
        .out(" 1/3 ")
        .out(&format!("1 (tool {me}), 2 (open)"));
    let ran = sh("quiesce ls --json")
        .status(0)
        .out("\"phase\":1,\"parties\":3,\"arrived\":1,\"open\":1,\"waiting\":0")
        .out(&format!(
            "\"late\":[{{\"party\":1,\"pid\":{me}}},{{\"party\":2}}]"
        ))
        .out(&format!(
            "{{\"pid\":{me},\"name\":\"tool\",\"fd\":{}}}",
            group.as_raw_fd()
        ));
    assert_eq!(ran.count("\"name\":\"tool\""), 3);
    parties[1].abort(5).unwrap();
    sh("quiesce ls").out(&format!("broken: party 1 (pid {me}) aborted with code 5"));
    drop((group, parties));
    let (a, b) = Pair::new().unwrap();
    a.place().unwrap();
    sh("quiesce ls").out(" 1:0 ").out(&format!("1 (tool {me})"));
    b.abort(0).unwrap();
    sh("quiesce ls --json")
        .out("\"kind\":\"pair\"")
        .out("\"end\":{\"party\":1,");
    drop((a, b));
    let ran = sh("quiesce ls").status(0);
    assert_eq!(ran.out.lines().count(), 1);
    assert_eq!(sh("quiesce ls --json").out, "[]\n");
}

/// How long the phase has lasted.
fn ls_knows_since_when() {
    let begin = Instant::now();
    let (group, [a, b]) = completing_or_not(false);
    let age = || {
        let ran = sh("quiesce ls --json").status(0);
        let rest = ran
            .out
            .split("\"phase_seconds\":")
            .nth(1)
            .expect("it is there");
        let number = rest.split(|c: char| c != '.' && !c.is_ascii_digit());
        number.into_iter().next().unwrap().parse::<f64>().unwrap()
    };
    thread::sleep(Duration::from_secs(2));
    // The clock of the module is that of the last tick, which may be late in a guest.
    let (first, limit) = (age(), begin.elapsed().as_secs_f64());
    assert!(first >= 1.999 && first <= limit + 1.0, "{first} {limit}");
    let begin = Instant::now();
    let _ = a.arrive().unwrap();
    b.arrive_and_wait(Deadline::NEVER).unwrap();
    let _ = a.arrive().unwrap();
    // Another phase.
    let (second, limit) = (age(), begin.elapsed().as_secs_f64());
    assert!(second <= limit + 1.0, "{second} {limit}");
    let ran = sh("quiesce ls").status(0).out(" 1/2 ").out("SINCE");
    assert!(
        ran.out.lines().nth(1).unwrap().contains("s 1 (tool "),
        "{}",
        ran.out
    );
    group.abort(0).unwrap();
    let ran = sh("quiesce ls").out("broken: ");
    assert!(ran.out.contains(" - broken"), "{}", ran.out);
}

/// The barriers of all processes, and each process that has one of them.
fn ls_lists_all_processes() {
    let line = "quiesce arrive; echo >>./arrived; exec sleep 1000";
    let runs = [(); 2].map(|()| start(&format!("quiesce run -n 2 -- sh -c '{line}'")));
    until("all have arrived", || {
        fs::read("./arrived").is_ok_and(|text| text.len() == 4)
    });
    let ran = sh("quiesce ls").status(0).quiet();
    assert_eq!(ran.count(" group "), 2, "{}", ran.out);
    let ran = sh("quiesce ls --json").status(0);
    // Each run has its group, and each command its party.
    assert_eq!(ran.count("\"fd\":"), 6, "{}", ran.out);
    for run in runs {
        kill(&run, libc::SIGTERM);
        end(run).status(1);
    }
}

fn ls_shows_what_one_may_see() {
    let _group = late_group();
    let ran = as_user("quiesce ls").status(0).quiet();
    assert_eq!(ran.out.lines().count(), 1);
}

fn names_do_not_reach_the_terminal() {
    let _group = late_group();
    fs::write("/proc/self/comm", "a\x1b[31m\n\"b").unwrap();
    let ran = sh("quiesce ls").status(0).out("a?[31m?\"b");
    assert!(!ran.out.contains('\x1b'));
    sh("quiesce ls --json").out("\"a?[31m?\\\"b\"");
}

/// Processes that begin and end while the list is made.
fn processes_that_vanish() {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                sh("quiesce run -n 3 -- sh -c 'kill -9 $$'").status(1);
            }
        });
        for _ in 0..30 {
            sh("quiesce ls && quiesce ls --json").status(0).quiet();
        }
        ends.store(true, Ordering::Relaxed);
    });
}

fn ls_of_many() {
    let group = Group::new(1000).unwrap();
    let party = group.join().unwrap();
    let _ = party.arrive().unwrap();
    sh("quiesce ls")
        .status(0)
        .out(" 1/1000 ")
        .out("8 (open), 991 more\n");
    let ran = sh("quiesce ls --json").status(0);
    assert_eq!(ran.count("{\"party\":"), 999);
}

fn top_observes() {
    let (a, _b) = Pair::new().unwrap();
    a.place().unwrap();
    let ran = sh("quiesce top -n 2 -d 200ms").status(0).quiet();
    assert_eq!(ran.count("BARRIER"), 2);
    assert_eq!(ran.count(">"), 2, "{}", ran.out);
    let (_group, parties) = late_group();
    assert!(!ran.out.contains('\x1b'));
    sh("quiesce top -n 1 --json").out("\"late_seconds\":");
    parties[0].abort(0).unwrap();
    sh("quiesce top -n 1").out("broken: ");
}

// trace.

fn trace_of_a_death() {
    let line = "quiesce sync; if [ $QUIESCE_PARTY = 1 ]; then kill -9 $$; fi; quiesce sync";
    let run = format!("quiesce run -n 3 -- sh -c '{line}'");
    let ran = sh(&format!("quiesce trace -- {run}"))
        .status(1)
        .out(", 3 parties\n")
        .out("party 1 was killed by signal 9 (Killed)")
        .out("party 0 arrives (1)")
        .out("o arrives");
    assert_eq!(ran.count("joins"), 3);
    assert_eq!(ran.count("phase 1 is over"), 1);
    assert_eq!(ran.count("broken: "), 1);
    sh(&format!("quiesce trace -o ./t.svg {run}")).status(1);
    let svg = fs::read_to_string("./t.svg").unwrap();
    for text in [
        "<svg xmlns=",
        ">party 2",
        "was killed by signal 9 (Killed)",
        "phase 1",
        "</svg>\n",
    ] {
        assert!(svg.contains(text), "no {text} in {svg}");
    }
    // Every element is closed.
    let opened = svg.matches('<').count() - svg.matches("</").count();
    let closed = svg.matches("/>").count() + svg.matches("</").count();
    assert_eq!(opened, closed, "{svg}");
    // What a tracer that was killed has left is not in the way.
    let stale = "mkdir /sys/kernel/tracing/instances/quiesce-$$";
    sh(&format!("{stale}; exec quiesce trace true"))
        .status(0)
        .quiet();
    let left = fs::read_dir("/sys/kernel/tracing/instances")
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

fn trace_passes_the_status() {
    sh("quiesce trace -- sh -c 'exit 42'").status(42);
    sh("quiesce trace -- sh -c 'kill -9 $$'").status(137);
    sh("quiesce trace /nonexistent").status(127);
    sh("quiesce trace -o /nonexistent/file true")
        .status(125)
        .err("/nonexistent/file");
    let ran = sh("quiesce trace true").status(0);
    assert_eq!(ran.out, "");
}

/// Starts `line`, and returns when it records.
fn tracer(line: &str) -> Child {
    let tracer = start(line);
    until("it records", || {
        fs::read_dir("/sys/kernel/tracing/instances")
            .unwrap()
            .flatten()
            .any(|entry| {
                fs::read_to_string(entry.path().join("events/quiesce/enable"))
                    .is_ok_and(|s| s == "1\n")
            })
    });
    tracer
}

fn trace_until_a_signal() {
    let (a, b) = Pair::new().unwrap();
    let tracer = tracer("quiesce trace");
    a.place().unwrap();
    b.abort(12).unwrap();
    kill(&tracer, libc::SIGINT);
    end(tracer)
        .status(0)
        .out("party 0 arrives (1)")
        .out("party 1 aborts with code 12");
    sh("quiesce trace -d 50ms").status(0);
    sh("quiesce trace -d 50ms sleep 100").status(143);
}

/// Events of others that are recorded as fast as they are read delay no end.
fn trace_of_a_flood() {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (a, _b) = Pair::new().unwrap();
                while !ends.load(Ordering::Relaxed) {
                    a.place().unwrap();
                }
            });
        }
        let ran = sh("timeout -s KILL 60 quiesce trace -d 1s -o ./t.svg");
        ends.store(true, Ordering::Relaxed);
        ran.status(0);
    });
    fs::remove_file("./t.svg").unwrap();
}

/// Names that would end a line, or begin an event.
fn trace_of_hostile_names() {
    let (a, _b) = Pair::new().unwrap();
    let tracer = tracer("quiesce trace");
    // The kernel keeps the last name of a task.
    for name in ["a\nb\x1b", "\n\n", "CPU:0 [LOST", "x-1 [0] 1.0: q"] {
        thread::scope(|scope| {
            scope.spawn(|| {
                fs::write("/proc/thread-self/comm", name).unwrap();
                a.place().unwrap();
            });
        });
    }
    kill(&tracer, libc::SIGTERM);
    let ran = end(tracer)
        .status(0)
        .quiet()
        .out("[a?b? ")
        .out("[CPU:0 [LOST ");
    assert_eq!(ran.count("party 0 arrives"), 4, "{}", ran.out);
    assert!(!ran.out.contains('\x1b'));
}

/// A command that does not end with the time reacts to signals to the tool.
fn trace_of_a_stubborn_command() {
    let line = "trap \"\" TERM; : >./on; while :; do sleep 1; done";
    let tracer = start(&format!("quiesce trace -d 2s -- sh -c '{line}'"));
    until("the command runs", || exists("./on"));
    until("the time is over", || {
        let instances = fs::read_dir("/sys/kernel/tracing/instances").unwrap();
        instances.flatten().any(|instance| {
            fs::read_to_string(instance.path().join("events/quiesce/enable"))
                .is_ok_and(|enabled| enabled == "0\n")
        })
    });
    kill(&tracer, libc::SIGINT);
    end(tracer).status(128 + libc::SIGINT);
}

fn trace_needs_root() {
    as_user("quiesce trace true").status(4).err("needs root");
}

/// The README's lines.
fn sample() {
    let ran = sh(include_str!("../../../../samples/shell.sh")).status(0);
    assert_eq!(
        (ran.count(" prepares\n"), ran.count("all are ready\n")),
        (4, 4),
        "{}",
        ran.err
    );
}

// Without the device.

/// Mounts `what` at `at`, for this process only.
fn mount(what: &CStr, at: &CStr, flags: libc::c_ulong) {
    let (what, null) = (what.as_ptr(), std::ptr::null());
    // SAFETY: The strings are terminated.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(what, c"/".as_ptr(), null, private, null.cast());
        assert_eq!(libc::mount(what, at.as_ptr(), what, flags, null.cast()), 0);
    }
}

fn ls_without_proc() {
    mount(c"tmpfs", c"/proc", 0);
    sh("quiesce ls").status(4).err("/proc is not mounted");
}

fn tool_without_the_device() {
    mount(c"/dev/null", c"/dev/quiesce", libc::MS_BIND);
    // Something else by that name.
    sh("quiesce run -n 2 true").status(125).err("quiesce: ");
    mount(c"tmpfs", c"/dev", 0);
    for line in ["run -n 2 true", "serve -n 2 ./none"] {
        sh(&format!("quiesce {line}"))
            .status(4)
            .err("modprobe quiesce")
            .err("quiesce-dkms");
    }
    assert!(!exists("./none"));
    // There are no barriers, and why is said.
    sh("quiesce ls --json")
        .status(0)
        .out("[]")
        .err("modprobe quiesce");
}

fn device_that_may_not_be_opened() {
    let mode = fs::metadata("/dev/quiesce").unwrap().permissions();
    fs::set_permissions("/dev/quiesce", PermissionsExt::from_mode(0o600)).unwrap();
    let ran = as_user("quiesce run -n 2 true");
    fs::set_permissions("/dev/quiesce", mode).unwrap();
    ran.status(4).err("ermission denied").err("`mode`");
    as_user("quiesce run -n 2 quiesce sync").status(0).quiet();
}

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), $name as quiesce_tests::Function)),*] };
}

fn main() {
    quiesce_tests::main(
        table! {
            run_meets
            run_sets_the_environment
            run_names_who_was_killed
            run_names_who_exited_early
            run_time_limit
            run_shrink
            run_cannot_execute
            run_cannot_start_all
            run_many
            run_forwards_signals
            run_does_not_pass_its_mask
            run_ends_with_the_command
            ignored_signals
            stopped_and_continued
            output_that_fails
            arrive_and_wait
            exactly_one_leads
            timeouts_of_waits
            abort_reaches_all
            leaving_breaks_nothing
            sync_ends_the_phase
            pairs_in_scripts
            wrong_descriptors
            wrong_arguments
            strangers_meet
            server_may_start_later
            permissions_of_the_socket
            stray_connections_take_no_seat
            strays_supersede_no_request
            no_seat_left
            server_names_who_died
            end_of_the_server_breaks_open_seats
            sockets_in_the_way
            links_in_the_way
            server_that_accepts_nobody
            false_servers
            requests_with_descriptors
            servers_of_something_else
            hang_up_of_the_leader
            ls_names_who_is_late
            ls_knows_since_when
            ls_lists_all_processes
            ls_shows_what_one_may_see
            names_do_not_reach_the_terminal
            processes_that_vanish
            ls_of_many
            top_observes
            trace_of_a_death
            trace_passes_the_status
            trace_until_a_signal
            trace_of_a_flood
            trace_of_hostile_names
            trace_of_a_stubborn_command
            trace_needs_root
            sample
            device_that_may_not_be_opened
            ls_without_proc
            tool_without_the_device
        },
        &[],
    );
}
