// SPDX-License-Identifier: GPL-2.0

//! Tests of the crate quiesce-barrier.

use quiesce_barrier::{
    tokio::{AsyncPair, AsyncParty},
    Cause, Deadline, Device, Endpoint, Error, Group, GroupOptions, Pair, Party, Ticket, Why,
    ENV_FD,
};
use quiesce_tests::{this_program, until};
use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// A time that is long enough for everything that has to happen.
fn long() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A time that is over soon.
fn short() -> Deadline {
    Deadline::after(Duration::from_millis(20))
}

fn broken<T: std::fmt::Debug>(result: Result<T, Error>) -> Cause {
    match result {
        Err(Error::Broken(cause)) => cause,
        other => panic!("not broken: {other:?}"),
    }
}

macro_rules! fails {
    ($call:expr, $error:pat) => {
        match $call {
            Err($error) => {}
            other => panic!("{}: {other:?}", stringify!($call)),
        }
    };
}

/// Passes `fd` to `command`, which inherits it.
fn inherit(command: &mut Command, fd: &impl AsRawFd) {
    let fd = fd.as_raw_fd();
    command.env(ENV_FD, fd.to_string());
    // SAFETY: The closure makes one async-signal-safe call.
    unsafe {
        command.pre_exec(move || {
            libc::fcntl(fd, libc::F_SETFD, 0);
            Ok(())
        });
    }
}

fn inherited() -> Endpoint {
    // SAFETY: Nothing else takes the descriptor, and the function is called once a process.
    unsafe { Endpoint::inherited() }.unwrap()
}

// Pairs.

fn pair_meets() {
    let (a, b) = Pair::new().unwrap();
    let other = thread::spawn(move || {
        for _ in 0..100 {
            b.place_and_sync(long()).unwrap();
        }
        b
    });
    for _ in 0..100 {
        a.place_and_sync(long()).unwrap();
    }
    let b = other.join().unwrap();
    assert_eq!(
        (a.status().unwrap().balance, b.status().unwrap().unread),
        (0, 0)
    );
}

fn pair_wait_next_reads_all() {
    let (a, b) = Pair::new().unwrap();
    b.place().unwrap();
    b.place().unwrap();
    a.wait_next(long()).unwrap();
    fails!(a.wait_next(short()), Error::TimedOut);
}

fn pair_sync_next() {
    let (a, b) = Pair::new().unwrap();
    // Level, so nothing is waited for.
    a.sync_next(long()).unwrap();
    a.place().unwrap();
    a.place().unwrap();
    fails!(a.sync_next(short()), Error::TimedOut);
    // One place is enough, although the other side is late by one more.
    b.place().unwrap();
    a.sync_next(long()).unwrap();
    assert_eq!(a.status().unwrap().balance, 1);
}

fn pair_status_advances_nothing() {
    let (a, b) = Pair::new().unwrap();
    b.place().unwrap();
    b.abort(4).unwrap();
    for _ in 0..2 {
        let status = a.status().unwrap();
        assert_eq!(
            (status.unread, status.balance, status.party),
            (1, 0, Some(0))
        );
        assert_eq!(status.cause.unwrap().why, Why::Aborted(4));
        assert!(a.member(1).unwrap().state.has_aborted());
    }
    a.place().unwrap();
    assert_eq!(broken(a.sync(long())).why, Why::Aborted(4));
}

/// One place ends the waits of all threads that share a side.
fn pair_two_waits() {
    let (a, b) = Pair::new().unwrap();
    let a = std::sync::Arc::new(a);
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let a = a.clone();
            thread::spawn(move || a.wait_next(long()))
        })
        .collect();
    until("both wait", || a.status().unwrap().waiting == 2);
    b.place().unwrap();
    for waiter in waiters {
        waiter.join().unwrap().unwrap();
    }
}

fn pair_view_is_lazy() {
    let (a, b) = Pair::new().unwrap();
    b.abort(7).unwrap();
    a.place().unwrap();
    assert_eq!(broken(a.sync(long())).why, Why::Aborted(7));
    assert_eq!(broken(a.place()).why, Why::Aborted(7));
}

fn pair_end_queues_behind_arrivals() {
    let (a, b) = Pair::new().unwrap();
    b.place().unwrap();
    drop(b);
    a.wait_next(long()).unwrap();
    let cause = broken(a.wait_next(long()));
    assert_eq!((cause.why, cause.party), (Why::Closed, Some(1)));
    assert_eq!(cause.pid, Some(std::process::id()));
}

fn pair_abort_supersedes_arrivals() {
    let (a, b) = Pair::new().unwrap();
    b.place().unwrap();
    b.abort(0).unwrap();
    assert_eq!(broken(a.wait_next(long())).why, Why::Aborted(0));
    fails!(b.place(), Error::Aborted);
    fails!(b.sync(long()), Error::Aborted);
}

fn pair_wait_abortion() {
    let (a, b) = Pair::new().unwrap();
    fails!(a.wait_abortion(short()), Error::TimedOut);
    b.abort(3).unwrap();
    assert_eq!(a.wait_abortion(long()).unwrap().why, Why::Aborted(3));
    let (c, _d) = Pair::new().unwrap();
    c.abort(0).unwrap();
    fails!(c.wait_abortion(short()), Error::TimedOut);
    a.abort(0).unwrap();
    fails!(a.wait_abortion(long()), Error::Aborted);
}

fn pair_deadlines() {
    let (a, b) = Pair::new().unwrap();
    let past = Instant::now() - Duration::from_millis(1);
    fails!(a.place_and_sync(past), Error::TimedOut);
    fails!(
        a.sync(SystemTime::now() + Duration::from_millis(10)),
        Error::TimedOut
    );
    fails!(
        a.sync(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        Error::TimedOut
    );
    fails!(a.sync(Deadline::NOW), Error::TimedOut);
    let begin = Instant::now();
    fails!(a.sync(begin + Duration::from_millis(30)), Error::TimedOut);
    assert!(begin.elapsed() >= Duration::from_millis(30));
    // The arrival of the first call stands, and none of the others made one.
    assert_eq!(b.status().unwrap().unread, 1);
    b.place().unwrap();
    a.sync(SystemTime::now() + Duration::from_secs(60)).unwrap();
    // A deadline that has passed is no error if the condition holds.
    a.sync(past).unwrap();
    fails!(a.sync(long().or_break()), Error::Os(_));
}

fn waits_until_killed() {
    match inherited() {
        Endpoint::Pair(pair) => pair.wait_next(Deadline::NEVER).unwrap(),
        Endpoint::Party(party) => drop(party.arrive_and_wait(Deadline::NEVER)),
        Endpoint::Group(_) => {}
    }
    loop {
        thread::park();
    }
}

fn pair_names_who_was_killed() {
    let (a, b) = Pair::new().unwrap();
    let mut command = this_program("waits_until_killed");
    inherit(&mut command, &b);
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    drop(b);
    child.kill().unwrap();
    let cause = broken(a.place_and_sync(long()));
    assert_eq!(
        (cause.why, cause.pid),
        (Why::Killed(libc::SIGKILL), Some(pid))
    );
    child.wait().unwrap();
}

/// Keeps the descriptor until its standard input ends, and exits.
fn exits_with_7() {
    let _kept = std::mem::ManuallyDrop::new(inherited());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    std::process::exit(7);
}

extern "C" fn nothing(_: i32) {}

/// Installs a handler without SA_RESTART.
fn handle(signal: i32) {
    // SAFETY: The action is valid, and its function does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as libc::sighandler_t;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Sends the signal to the calling thread until the guard is dropped.
fn pester(signal: i32) -> impl Drop {
    struct Guard(std::sync::Arc<AtomicU32>, Option<thread::JoinHandle<()>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(1, Ordering::SeqCst);
            self.1.take().unwrap().join().unwrap();
        }
    }
    // SAFETY: The call has no arguments.
    let target = unsafe { libc::pthread_self() } as usize;
    let stop = std::sync::Arc::new(AtomicU32::new(0));
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        while stopped.load(Ordering::SeqCst) == 0 {
            // SAFETY: The target joins this thread before it ends.
            unsafe {
                libc::pthread_kill(target as libc::pthread_t, signal);
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    Guard(stop, Some(thread))
}

fn interrupted_waits() {
    handle(libc::SIGUSR1);
    let (a, b) = Pair::new().unwrap();
    let group = Group::new(2).unwrap();
    let (one, two) = (group.join().unwrap(), group.join().unwrap());
    let guard = pester(libc::SIGUSR1);
    fails!(a.place_and_sync(long()), Error::Interrupted);
    fails!(one.arrive_and_wait(long()), Error::Interrupted);
    drop(guard);
    // The arrivals stand, and the waits continue without a second one.
    assert_eq!(b.status().unwrap().unread, 1);
    b.place().unwrap();
    a.sync(long()).unwrap();
    let ticket = one.last_arrival().unwrap().unwrap();
    assert_eq!(ticket.phase(), 1);
    two.arrive_and_wait(long()).unwrap();
    assert_eq!(one.wait(ticket, long()).unwrap().index, 0);
}

fn other_descriptors() {
    let file = File::open("/proc/self/exe").unwrap();
    let party = Party::from(OwnedFd::from(file.try_clone().unwrap()));
    fails!(party.arrive(), Error::Os(_));
    fails!(Endpoint::new(file.into()), Error::Os(_));
    // A party is no side of a pair, and the other way round.
    let group = Group::new(1).unwrap();
    let pair = Pair::from(OwnedFd::from(group.join().unwrap()));
    fails!(pair.sync(long()), Error::Os(_));
    let (a, _b) = Pair::new().unwrap();
    let party = Party::from(OwnedFd::from(a));
    fails!(party.leave(), Error::Os(_));
    fails!(party.wait(Ticket::from(1), short()), Error::Os(_));
    assert!(matches!(
        Endpoint::new(group.into()),
        Ok(Endpoint::Group(_))
    ));
}

fn inherited_by_name() {
    // SAFETY: No variable or one that names no descriptor of this process's own.
    let fails = |value: Option<&str>| unsafe {
        match value {
            Some(value) => std::env::set_var(ENV_FD, value),
            None => std::env::remove_var(ENV_FD),
        }
        Endpoint::inherited().expect_err("no party")
    };
    for value in [
        None,
        Some(""),
        Some("x"),
        Some("-1"),
        Some("999999"),
        Some("99999999999"),
    ] {
        assert!(matches!(fails(value), Error::Os(_)), "{value:?}");
    }
    // What is no party is not closed.
    let file = File::open("/proc/self/exe").unwrap();
    fails(Some(&file.as_raw_fd().to_string()));
    file.metadata().unwrap();
    let (a, b) = Pair::new().unwrap();
    let number = OwnedFd::from(a).into_raw_fd();
    std::env::set_var(ENV_FD, number.to_string());
    let Endpoint::Pair(a) = inherited() else {
        panic!("a pair");
    };
    // SAFETY: The descriptor is open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    assert_eq!(flags, libc::FD_CLOEXEC);
    drop(a);
    assert_eq!(
        broken(b.sync_next(long()).and_then(|()| b.wait_next(long()))).why,
        Why::Closed
    );
}

// Groups.

fn group_phases() {
    const N: u32 = 4;
    const PHASES: u32 = 50;
    static LEADERS: AtomicU32 = AtomicU32::new(0);
    static INDEXES: AtomicU32 = AtomicU32::new(0);
    let group = Group::new(N).unwrap();
    let threads: Vec<_> = (0..N)
        .map(|_| {
            let party = group.join().unwrap();
            thread::spawn(move || {
                for _ in 0..PHASES {
                    let phase = party.arrive_and_wait(long()).unwrap();
                    LEADERS.fetch_add(phase.leader.into(), Ordering::SeqCst);
                    INDEXES.fetch_add(1 << (8 * phase.index), Ordering::SeqCst);
                }
                party
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // One leader a phase, and each index once.
    assert_eq!(LEADERS.load(Ordering::SeqCst), PHASES);
    assert_eq!(
        INDEXES.load(Ordering::SeqCst).to_le_bytes(),
        [PHASES as u8; N as usize]
    );
    assert_eq!(group.status().unwrap().phase, u64::from(PHASES) + 1);
}

/// The events of a descriptor now.
fn events(fd: &impl AsFd) -> i16 {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: It is one structure, and is there during the call.
    assert!(unsafe { libc::poll(&mut poll, 1, 0) } >= 0);
    poll.revents
}

fn every_type_is_polled() {
    let (a, b) = Pair::new().unwrap();
    assert_eq!((events(&a), events(&b)), (0, 0));
    b.place().unwrap();
    assert_eq!((events(&a), events(&b)), (libc::POLLIN, 0));

    let group = Group::new(2).unwrap();
    let (first, second) = (group.join().unwrap(), group.join().unwrap());
    group.status().unwrap();
    assert_eq!((events(&group), events(&first)), (0, 0));
    let ticket = first.arrive().unwrap();
    assert_eq!((events(&group), events(&first)), (0, 0));
    second.arrive_and_wait(long()).unwrap();
    assert_eq!(
        (events(&group), events(&first)),
        (libc::POLLIN, libc::POLLIN)
    );
    first.wait(ticket, long()).unwrap();
    group.status().unwrap();
    assert_eq!((events(&group), events(&first)), (0, 0));
    first.leave().unwrap();
    second.leave().unwrap();
    assert_ne!(events(&group) & libc::POLLHUP, 0);
}

fn tickets() {
    let group = Group::new(2).unwrap();
    let (a, b) = (group.join().unwrap(), group.join().unwrap());
    assert_eq!(a.last_arrival().unwrap(), None);
    let ticket = a.arrive().unwrap();
    fails!(a.arrive(), Error::AlreadyArrived);
    fails!(a.arrive_and_wait(long()), Error::AlreadyArrived);
    fails!(a.wait(ticket, short()), Error::TimedOut);
    fails!(a.wait(Ticket::from(2), long()), Error::Os(_));
    b.arrive_and_wait(long()).unwrap();
    // Both before and after it was reported.
    for _ in 0..2 {
        assert!(!a.wait(ticket, long()).unwrap().leader);
    }
    for _ in 0..5 {
        let _ = a.arrive().unwrap();
        b.arrive_and_wait(long()).unwrap();
    }
    // It is over, but who led it is not kept.
    a.wait(ticket, long()).unwrap();
}

/// How often the calling thread has slept.
fn sleeps() -> i64 {
    // SAFETY: The structure is valid, and is there during the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_nvcsw
    }
}

/// An arrival waits for nobody, although the others have not arrived.
fn arrivals_do_not_sleep() {
    const TIMES: i64 = 50;
    let (a, _b) = Pair::new().unwrap();
    let group = Group::new(2).unwrap();
    let (one, two) = (group.join().unwrap(), group.join().unwrap());
    let (mut sides, mut parties) = (0, 0);
    for _ in 0..TIMES {
        let begin = sleeps();
        a.place().unwrap();
        sides += sleeps() - begin;
        let begin = sleeps();
        let _ = one.arrive().unwrap();
        parties += sleeps() - begin;
        let _ = two.arrive().unwrap();
    }
    // Now and then a call may sleep for another reason.
    assert!(
        sides < TIMES && parties < TIMES,
        "{sides} and {parties} of {TIMES}"
    );
}

fn outcomes_that_are_not_kept() {
    let group = Group::new(1).unwrap();
    let party = group.join().unwrap();
    let ticket = party.arrive().unwrap();
    party.wait(ticket, long()).unwrap();
    let other = group.status().unwrap().phase;
    assert_eq!(other, 2);
    group.reset().unwrap();
    for _ in 0..5 {
        party.arrive_and_wait(long()).unwrap();
    }
    fails!(party.wait(ticket, long()), Error::Stale);
}

fn leaving() {
    let group = GroupOptions::new(3)
        .create(&Device::open().unwrap())
        .unwrap();
    let [a, b, c] = [(); 3].map(|()| group.join().unwrap());
    a.leave().unwrap();
    fails!(a.arrive(), Error::Left);
    fails!(a.leave(), Error::Left);
    let dropped = b.arrive_and_leave().unwrap();
    c.arrive_and_wait(long()).unwrap();
    b.wait(dropped, long()).unwrap();
    assert_eq!(group.status().unwrap().parties, 1);
    c.arrive_and_wait(long()).unwrap();
    drop((a, b));
    c.arrive_and_wait(long()).unwrap();
}

fn shrinking() {
    let group = GroupOptions::new(3)
        .shrink()
        .create(&Device::open().unwrap())
        .unwrap();
    let [a, b, c] = [(); 3].map(|()| group.join().unwrap());
    let ticket = a.arrive().unwrap();
    drop(b);
    c.arrive_and_wait(long()).unwrap();
    a.wait(ticket, long()).unwrap();
    assert_eq!(group.status().unwrap().parties, 2);
}

fn group_names_who_died() {
    let group = Group::new(3).unwrap();
    let a = group.join().unwrap();
    let b = group.join().unwrap();
    let mut command = this_program("exits_with_7");
    inherit(&mut command, &b);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let ticket = a.arrive().unwrap();
    drop(b);
    drop(child.stdin.take());
    let cause = broken(a.wait(ticket, long()));
    assert_eq!((cause.why, cause.party), (Why::Exited(7), Some(1)));
    assert_eq!(cause.pid, Some(child.id()));
    child.wait().unwrap();
    let status = group.status().unwrap();
    assert_eq!((status.late, status.arrived), (vec![1, 2], 1));
    assert_eq!(status.cause, Some(cause));
    assert_eq!(broken(group.join()), cause);
    assert_eq!(broken(a.arrive()), cause);
}

fn bound_to_a_process() {
    let group = Group::new(2).unwrap();
    let a = group.join().unwrap();
    let b = group.join().unwrap();
    // The descriptor stays open here, but the child that it is bound to exits.
    let kept = b.as_raw_fd();
    let mut command = this_program("exits_with_7");
    inherit(&mut command, &b);
    // SAFETY: `bind_process` is async-signal-safe, and `kept` is open until `b` is dropped.
    unsafe {
        command.pre_exec(move || {
            let party = std::mem::ManuallyDrop::new(Party::from(OwnedFd::from_raw_fd(kept)));
            party.bind_process().map_err(std::io::Error::from)
        });
    }
    let mut child = command.spawn().unwrap();
    let cause = broken(a.arrive_and_wait(long()));
    assert_eq!((cause.why, cause.pid), (Why::Exited(7), Some(child.id())));
    child.wait().unwrap();
    fails!(b.arrive(), Error::Left);
    let member = group.member(1).unwrap();
    assert!(member.state.has_ended() && member.state.is_bound());
    assert_eq!(member.cause.unwrap().why, Why::Exited(7));
}

fn group_abort() {
    let group = Group::new(2).unwrap();
    let (a, b) = (group.join().unwrap(), group.join().unwrap());
    let ticket = a.arrive().unwrap();
    b.abort(17).unwrap();
    // The first counts.
    group.abort(18).unwrap();
    let cause = broken(a.wait(ticket, long()));
    assert_eq!((cause.why, cause.party), (Why::Aborted(17), Some(1)));
}

fn death_after_the_arrival() {
    let group = Group::new(2).unwrap();
    let (a, b) = (group.join().unwrap(), group.join().unwrap());
    let _ = b.arrive().unwrap();
    drop(b);
    a.arrive_and_wait(long()).unwrap();
    // It is missed in the next phase.
    assert_eq!(broken(a.arrive_and_wait(long())).party, Some(1));
}

fn descriptors_are_returned() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..20 {
        let (a, b) = Pair::new().unwrap();
        let group = Group::new(2).unwrap();
        let party = group.join().unwrap();
        a.place().unwrap();
        drop(OwnedFd::from(b));
        fails!(party.arrive_and_wait(Deadline::NOW), Error::TimedOut);
        fails!(
            GroupOptions::new(0).create(&Device::open().unwrap()),
            Error::Os(_)
        );
    }
    assert_eq!(open(), before);
}

/// Returns a group of `parties` whose leaders end the phases, and its parties.
fn completing<const N: usize>() -> (Group, [Party; N]) {
    let group = GroupOptions::new(N as u32)
        .completion()
        .create(&Device::open().unwrap())
        .unwrap();
    let parties = [(); N].map(|()| group.join().unwrap());
    (group, parties)
}

/// One party executes the step, in each phase, and the others are released after it.
fn step_before_the_release() {
    let (_group, parties) = completing::<4>();
    let steps = std::sync::Arc::new(AtomicU32::new(0));
    let threads = parties.map(|party| {
        let steps = steps.clone();
        thread::spawn(move || {
            let mut led = 0;
            for number in 1..=50 {
                let step = || {
                    thread::yield_now();
                    steps.fetch_add(1, Ordering::Relaxed);
                };
                let phase = party.arrive_and_wait_with(long(), step).unwrap();
                assert_eq!(phase.completes, None);
                // The next step comes after this party's next arrival.
                assert_eq!(steps.load(Ordering::Relaxed), number);
                led += u32::from(phase.leader);
            }
            led
        })
    });
    let led: u32 = threads.map(|thread| thread.join().unwrap()).iter().sum();
    assert_eq!((led, steps.load(Ordering::Relaxed)), (50, 50));
}

/// The calls of which `arrive_and_wait_with` consists.
fn complete_by_hand() {
    let (group, [a, b]) = completing::<2>();
    let ticket = a.arrive().unwrap();
    fails!(a.complete(ticket), Error::Os(_));
    let phase = b.arrive_and_wait(long()).unwrap();
    assert!(phase.leader);
    let mine = phase.completes.unwrap();
    assert_eq!(mine, ticket);
    assert!(b.status().unwrap().state.has_to_complete());
    assert!(!a.status().unwrap().state.has_to_complete());
    fails!(a.wait(ticket, short()), Error::TimedOut);
    fails!(a.complete(ticket), Error::Os(_));
    assert_eq!(b.complete(mine).unwrap(), 2);
    fails!(b.complete(mine), Error::Os(_));
    let phase = a.wait(ticket, long()).unwrap();
    assert_eq!((phase.leader, phase.completes), (false, None));
    // A wait that timed out continues, and its party leads.
    fails!(a.arrive_and_wait(Deadline::NOW), Error::TimedOut);
    let ticket = b.arrive().unwrap();
    b.wait_with(ticket, long(), || ()).unwrap();
    a.wait_with(a.last_arrival().unwrap().unwrap(), long(), || {
        panic!("b led")
    })
    .unwrap();
    // In a group without it nobody has to complete.
    let group_of_one = Group::new(1).unwrap();
    let phase = group_of_one
        .join()
        .unwrap()
        .arrive_and_wait_with(long(), || panic!("nobody waits for a step"))
        .unwrap();
    assert!(phase.leader);
    drop(group);
}

/// A step that panics, aborts, or whose phase is broken or reset meanwhile.
fn steps_that_fail() {
    let (group, [a, b]) = completing::<2>();
    let ticket = a.arrive().unwrap();
    let panicked = std::panic::catch_unwind(|| b.arrive_and_wait_with(long(), || panic!("step")));
    assert!(panicked.is_err());
    let cause = broken(a.wait(ticket, long()));
    assert_eq!((cause.why, cause.party), (Why::Aborted(0), Some(1)));
    group.reset().unwrap();

    let ticket = a.arrive().unwrap();
    let result = b.arrive_and_wait_with(long(), || b.abort(7).unwrap());
    assert_eq!(broken(result).why, Why::Aborted(7));
    assert_eq!(broken(a.wait(ticket, long())).why, Why::Aborted(7));
    group.reset().unwrap();

    let ticket = a.arrive().unwrap();
    let step = || fails!(a.wait(ticket, short().or_break()), Error::TimedOut);
    let cause = broken(b.arrive_and_wait_with(long(), step));
    assert_eq!((cause.why, cause.party), (Why::TimedOut, Some(0)));
    group.reset().unwrap();

    let ticket = a.arrive().unwrap();
    let step = || {
        group.reset().unwrap();
    };
    fails!(b.arrive_and_wait_with(long(), step), Error::Reset);
    fails!(a.wait(ticket, long()), Error::Reset);

    // The cause of the break is known also after a reset.
    let ticket = a.arrive().unwrap();
    let step = || {
        a.abort(9).unwrap();
        group.reset().unwrap();
    };
    assert_eq!(
        broken(b.arrive_and_wait_with(long(), step)).why,
        Why::Aborted(9)
    );
    assert_eq!(broken(a.wait(ticket, long())).why, Why::Aborted(9));

    // Nobody joins during a step.
    let (group, [a]) = completing::<1>();
    let step = || fails!(group.join(), Error::Os(_));
    a.arrive_and_wait_with(long(), step).unwrap();
    // Another leads when the leader leaves.
    let (_group, [a, b]) = completing::<2>();
    let ticket = a.arrive().unwrap();
    let step = || b.leave().unwrap();
    fails!(b.arrive_and_wait_with(long(), step), Error::Os(_));
    assert!(a.wait(ticket, long()).unwrap().completes.is_some());
    a.wait_with(ticket, long(), || ()).unwrap();
}

/// A leader that dies in its step.
fn leader_that_dies() {
    let (_group, [a, b]) = completing::<2>();
    let mut command = this_program("dies_in_its_step");
    inherit(&mut command, &b);
    let mut child = command.spawn().unwrap();
    drop(b);
    let cause = broken(a.arrive_and_wait(long()));
    assert_eq!((cause.why, cause.pid), (Why::Killed(9), Some(child.id())));
    child.wait().unwrap();
}

fn dies_in_its_step() {
    let Endpoint::Party(party) = inherited() else {
        panic!("not a party");
    };
    until("the other has arrived", || {
        party.status().unwrap().arrived == 1
    });
    // SAFETY: The call has no memory arguments.
    let _ = party.arrive_and_wait_with(long(), || unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    });
}

fn deadlines_of_other_clocks() {
    let (a, _b) = Pair::new().unwrap();
    let wait = Duration::from_millis(30);
    let begin = Instant::now();
    fails!(a.wait_next(Deadline::after_boottime(wait)), Error::TimedOut);
    assert!(begin.elapsed() >= wait);
    fails!(
        a.wait_next(Deadline::boottime(Duration::ZERO)),
        Error::TimedOut
    );
    let begin = SystemTime::now();
    fails!(a.wait_next(begin + wait), Error::TimedOut);
    assert!(SystemTime::now() >= begin + wait);
    let group = Group::new(2).unwrap();
    let party = group.join().unwrap();
    let begin = Instant::now();
    let deadline = Deadline::after_boottime(wait).or_break();
    fails!(party.arrive_and_wait(deadline), Error::TimedOut);
    assert!(begin.elapsed() >= wait);
    assert_eq!(group.status().unwrap().cause.unwrap().why, Why::TimedOut);
    // Longer than any clock runs.
    let (c, d) = Pair::new().unwrap();
    let placer = thread::spawn(move || {
        until("a side waits", || d.status().unwrap().waiting == 1);
        d.place().unwrap();
        d
    });
    c.wait_next(Deadline::after_boottime(Duration::MAX))
        .unwrap();
    placer.join().unwrap();
    // The two clocks have the same time in a machine that was not suspended.
    assert_ne!(Deadline::NOW, Deadline::boottime(Duration::ZERO));
}

fn timeout_that_breaks() {
    let group = Group::new(3).unwrap();
    let (a, b) = (group.join().unwrap(), group.join().unwrap());
    fails!(a.arrive_and_wait(short().or_break()), Error::TimedOut);
    let cause = broken(b.arrive());
    assert_eq!((cause.why, cause.party), (Why::TimedOut, Some(0)));
}

fn reset() {
    let group = Group::new(2).unwrap();
    let (a, b) = (group.join().unwrap(), group.join().unwrap());
    let ticket = a.arrive().unwrap();
    let waiter = thread::spawn(move || (a.wait(ticket, long()).unwrap_err(), a));
    until("a party waits", || group.status().unwrap().waiting == 1);
    assert_eq!(group.reset().unwrap(), 2);
    let (error, a) = waiter.join().unwrap();
    assert!(matches!(error, Error::Reset), "{error:?}");
    let ticket = a.arrive().unwrap();
    drop(b);
    assert_eq!(broken(a.wait(ticket, long())).why, Why::Closed);
    assert_eq!(group.reset().unwrap(), 3);
    let b = group.join().unwrap();
    let ticket = a.arrive().unwrap();
    b.arrive_and_wait(long()).unwrap();
    a.wait(ticket, long()).unwrap();
}

fn seats() {
    let device = Device::open().unwrap();
    let group = GroupOptions::new(1).max_parties(2).create(&device).unwrap();
    let [_a, _b] = [(); 2].map(|()| group.join().unwrap());
    fails!(group.join(), Error::Full);
    let max = device.features().unwrap().max_parties;
    fails!(GroupOptions::new(0).create(&device), Error::Os(_));
    fails!(GroupOptions::new(max + 1).create(&device), Error::Os(_));
    fails!(
        GroupOptions::new(2).max_parties(1).create(&device),
        Error::Os(_)
    );
    let large = GroupOptions::new(max).create(&device).unwrap();
    let status = large.status().unwrap();
    assert_eq!((status.open, status.late.len()), (max, max as usize));
    fails!(large.member(max), Error::Os(_));
    assert!(large.member(0).unwrap().state.is_open());
    assert!(!group.member(0).unwrap().state.is_open());
}

fn unclaimed() {
    let group = Group::new(2).unwrap();
    let a = group.join().unwrap();
    let ticket = a.arrive().unwrap();
    drop(group);
    let cause = broken(a.wait(ticket, long()));
    assert_eq!((cause.why, cause.party), (Why::Unclaimed, None));
}

fn nonblocking() {
    let group = Group::new(2).unwrap();
    let a = group.join().unwrap();
    // SAFETY: The descriptor is open.
    unsafe {
        libc::fcntl(
            a.as_raw_fd(),
            libc::F_SETFL,
            libc::O_RDWR | libc::O_NONBLOCK,
        );
    }
    fails!(a.arrive_and_wait(Deadline::NEVER), Error::WouldBlock);
    assert_eq!(group.status().unwrap().arrived, 1);
}

// tokio.

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn limited<F: std::future::Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("in time")
}

fn async_parties() {
    let group = Group::new(2).unwrap();
    let (one, two) = (group.join().unwrap(), group.join().unwrap());
    let other = thread::spawn(move || {
        for _ in 0..50 {
            two.arrive_and_wait(long()).unwrap();
        }
        two
    });
    runtime().block_on(limited(async {
        let party = AsyncParty::new(one).unwrap();
        for _ in 0..50 {
            party.arrive_and_wait().await.unwrap();
        }
        // The other one ends while it is waited for.
        let ticket = party.get_ref().arrive().unwrap();
        drop(other.join().unwrap());
        assert_eq!(broken(party.wait(ticket).await).why, Why::Closed);
    }));
}

fn async_leader() {
    let (_group, [one, two]) = completing::<2>();
    runtime().block_on(limited(async {
        let (one, two) = (AsyncParty::new(one).unwrap(), AsyncParty::new(two).unwrap());
        let ticket = one.get_ref().arrive().unwrap();
        let phase = two.arrive_and_wait().await.unwrap();
        let wait = one.wait(ticket);
        assert!(tokio::time::timeout(Duration::from_millis(20), wait)
            .await
            .is_err());
        two.get_ref().complete(phase.completes.unwrap()).unwrap();
        assert!(!one.wait(ticket).await.unwrap().leader);
    }));
}

/// CPU time that this process has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The call fills in the struct before it returns.
    unsafe {
        assert_eq!(
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time),
            0
        );
    }
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A party that has left, or that leaves meanwhile, sleeps until the phase is over: other tasks of
/// its thread run.
fn async_leaving() {
    for before in [true, false] {
        let group = Group::new(2).unwrap();
        let (one, late) = (group.join().unwrap(), group.join().unwrap());
        let ran = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // A wait that does not sleep uses all of the time.
                let limit = cpu_time() + Duration::from_secs(5);
                while !ran.load(Ordering::Relaxed) && cpu_time() < limit {
                    thread::sleep(Duration::from_millis(2));
                }
                let _ = late.arrive().unwrap();
            });
            runtime().block_on(limited(async {
                let one = AsyncParty::new(one).unwrap();
                let ticket = if before {
                    one.get_ref().arrive_and_leave().unwrap()
                } else {
                    one.get_ref().arrive().unwrap()
                };
                let mut wait = std::pin::pin!(one.wait(ticket));
                for n in 0..3 {
                    let time = tokio::time::timeout(Duration::from_millis(20), &mut wait);
                    assert!(time.await.is_err(), "it did not sleep");
                    if n == 0 && !before {
                        one.get_ref().leave().unwrap();
                    }
                }
                ran.store(true, Ordering::Relaxed);
                wait.await.unwrap();
            }));
        });
    }
}

fn async_tasks() {
    let group = Group::new(8).unwrap();
    runtime().block_on(limited(async {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let party = AsyncParty::new(group.join().unwrap()).unwrap();
                tokio::spawn(async move {
                    let mut leader = 0;
                    for _ in 0..20 {
                        leader += u32::from(party.arrive_and_wait().await.unwrap().leader);
                    }
                    (leader, party)
                })
            })
            .collect();
        let (mut leaders, mut parties) = (0, Vec::new());
        for task in tasks {
            let (leader, party) = task.await.unwrap();
            leaders += leader;
            parties.push(party);
        }
        assert_eq!(leaders, 20);
    }));
}

fn async_pair() {
    let (a, b) = Pair::new().unwrap();
    runtime().block_on(limited(async {
        let a = AsyncPair::new(a).unwrap();
        let b = AsyncPair::new(b).unwrap();
        let other = tokio::spawn(async move {
            for _ in 0..20 {
                b.place_and_sync().await.unwrap();
            }
            b
        });
        for _ in 0..20 {
            a.place_and_sync().await.unwrap();
        }
        let b = other.await.unwrap();
        a.get_ref().place().unwrap();
        b.wait_next().await.unwrap();
        drop(b);
        assert_eq!(broken(a.sync().await).why, Why::Closed);
    }));
}

fn async_cancellation() {
    let group = Group::new(2).unwrap();
    let (one, two) = (group.join().unwrap(), group.join().unwrap());
    runtime().block_on(limited(async {
        let party = AsyncParty::new(one).unwrap();
        let wait = party.arrive_and_wait();
        assert!(tokio::time::timeout(Duration::from_millis(20), wait)
            .await
            .is_err());
        // The arrival stands.
        let ticket = party.get_ref().last_arrival().unwrap().unwrap();
        assert!(two.arrive_and_wait(long()).unwrap().leader);
        party.wait(ticket).await.unwrap();
        // And a second time, when the descriptor is not ready any more.
        party.wait(ticket).await.unwrap();
        let party = party.into_inner();
        fails!(party.wait(Ticket::from(9), long()), Error::Os(_));
    }));
}

/// The words are those of libquiesce.
fn texts_of_causes() {
    let text = |why, party, pid| Cause { why, party, pid }.to_string();
    let process = |why| text(why, Some(2), Some(12));
    assert_eq!(process(Why::Aborted(5)), "process 12 aborted with code 5");
    assert_eq!(
        text(Why::Aborted(5), Some(1), None),
        "party 1 aborted with code 5"
    );
    assert_eq!(
        text(Why::Aborted(0), None, None),
        "somebody aborted with code 0"
    );
    assert_eq!(
        process(Why::TimedOut),
        "process 12 would not wait any longer"
    );
    assert_eq!(process(Why::Closed), "process 12 closed its descriptor");
    assert_eq!(process(Why::Exec), "process 12 executed another program");
    assert_eq!(process(Why::Exited(3)), "process 12 exited with status 3");
    assert_eq!(text(Why::Unclaimed, None, None), "nobody can join any more");
    assert_eq!(process(Why::Unknown(99)), "process 12 ended for reason 99");
    for signal in 1..32 {
        // SAFETY: The string is read before the next call.
        let name = unsafe { std::ffi::CStr::from_ptr(libc::strsignal(signal)) };
        let expected = format!(
            "process 12 was killed by signal {signal} ({})",
            name.to_str().unwrap()
        );
        assert_eq!(process(Why::Killed(signal)), expected);
    }
}

// Without the device.

#[path = "../../../../src/user/barrier/examples/phases.rs"]
mod phases;

/// The main function of the example.
fn phases_main() {
    phases::main().unwrap();
}

/// The crate's example.
fn example() {
    let output = this_program("phases").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for phase in 0..2 {
        let line = format!("phase {phase}: all are here\n");
        assert_eq!(text.matches(&line).count(), 1, "{text}");
    }
    let broken = text.lines().last().unwrap();
    assert!(broken.starts_with("broken: process "), "{text}");
    assert!(
        broken.ends_with(" was killed by signal 6 (Aborted)"),
        "{text}"
    );
}

fn no_device() {
    // SAFETY: The strings are terminated, and the mount is seen by this process only.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let (dev, tmpfs) = (c"/dev".as_ptr(), c"tmpfs".as_ptr());
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(
            tmpfs,
            c"/".as_ptr(),
            std::ptr::null(),
            private,
            std::ptr::null(),
        );
        assert_eq!(libc::mount(tmpfs, dev, tmpfs, 0, std::ptr::null()), 0);
    }
    for error in [
        Device::open().unwrap_err(),
        Pair::new().unwrap_err(),
        Group::new(2).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoDevice(_)), "{error:?}");
        assert!(error.to_string().contains("modprobe quiesce"), "{error}");
        assert_eq!(
            std::io::Error::from(error).kind(),
            std::io::ErrorKind::NotFound
        );
    }
}

macro_rules! table {
    ($($name:ident)*) => { &[$((stringify!($name), $name as quiesce_tests::Function)),*] };
}

fn main() {
    // The example starts this program again.
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return phases_main();
    }
    quiesce_tests::main(
        table! {
            pair_meets
            pair_wait_next_reads_all
            pair_sync_next
            pair_status_advances_nothing
            pair_two_waits
            pair_view_is_lazy
            pair_end_queues_behind_arrivals
            pair_abort_supersedes_arrivals
            pair_wait_abortion
            pair_deadlines
            pair_names_who_was_killed
            interrupted_waits
            other_descriptors
            inherited_by_name
            group_phases
            every_type_is_polled
            tickets
            arrivals_do_not_sleep
            outcomes_that_are_not_kept
            leaving
            shrinking
            group_names_who_died
            bound_to_a_process
            group_abort
            death_after_the_arrival
            descriptors_are_returned
            timeout_that_breaks
            step_before_the_release
            complete_by_hand
            steps_that_fail
            leader_that_dies
            deadlines_of_other_clocks
            reset
            seats
            unclaimed
            nonblocking
            async_parties
            async_leader
            async_leaving
            async_tasks
            async_pair
            async_cancellation
            texts_of_causes
            example
            no_device
        },
        &[
            (
                "waits_until_killed",
                waits_until_killed as quiesce_tests::Function,
            ),
            ("exits_with_7", exits_with_7),
            ("dies_in_its_step", dies_in_its_step),
            ("phases", phases_main),
        ],
    );
}
