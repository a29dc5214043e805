// SPDX-License-Identifier: GPL-2.0

//! Waits: many at a time, signals, and what others do to the object meanwhile.

use super::{
    comes_true,
    complaining,
    Form, //
};
use crate::support::{
    self,
    Thread, //
};
use core::{
    mem::forget,
    slice::from_ref, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        UniqueArc, //
    },
    time::{
        msecs_to_jiffies,
        ClockSource,
        Instant,
        Monotonic, //
    }, //
};
use quiesce::rundown::{
    for_each_overdue_for_test,
    set_stall_report_ms,
    ArcGuard,
    HasRundown,
    PerCpuRundownRef,
    Rundown,
    RundownError,
    RundownProtect,
    RundownRef,
    Wait, //
};

/// The results of a number of waits.
struct Told {
    ok: Atomic<u32>,
    resurrected: Atomic<u32>,
    other: Atomic<u32>,
    started: Atomic<u32>,
}

impl Told {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                ok: Atomic::new(0),
                resurrected: Atomic::new(0),
                other: Atomic::new(0),
                started: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    fn all(&self) -> (u32, u32, u32) {
        (
            self.ok.load(Acquire),
            self.resurrected.load(Acquire),
            self.other.load(Acquire),
        )
    }

    fn waiter<R: Form>(this: &Arc<Self>, r: &Arc<R>, how: Wait) -> Result<Thread> {
        let (this, r) = (this.clone(), r.clone());
        support::spawn(c"rundown_waiter", move || {
            this.started.fetch_add(1, Full);
            this.note(r.wait_with(how));
        })
    }

    /// Counts the result of a wait.
    fn note(&self, ret: Result<(), RundownError>) {
        match ret {
            Ok(()) => &self.ok,
            Err(RundownError::Resurrected) => &self.resurrected,
            Err(_) => &self.other,
        }
        .fetch_add(1, Full);
    }

    /// Until the threads, which are all that use this, wait.
    fn await_waits(&self, threads: &[Thread]) {
        await_waits(&self.started, threads);
    }
}

/// Until the threads, each of which counts in `started` before it waits, wait.
fn await_waits(started: &Atomic<u32>, threads: &[Thread]) {
    while (started.load(Acquire) as usize) < threads.len() {
        support::msleep(1);
    }
    support::await_asleep(threads);
}

const WAITERS: u32 = 4;

fn waiters<R: Form>(r: &Arc<R>, told: &Arc<Told>) -> Result<KVec<Thread>> {
    let mut threads = KVec::new();
    for i in 0..WAITERS {
        let how = if i % 2 == 0 {
            Wait::uninterruptible()
        } else {
            Wait::interruptible().timeout(msecs_to_jiffies(60_000))
        };
        threads.push(Told::waiter(told, r, how)?, GFP_KERNEL)?;
    }
    told.await_waits(&threads);
    Ok(threads)
}

fn many_waiters<R: Form>() -> Result {
    let r = R::live()?;
    let told = Told::new()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let threads = waiters(&r, &told)?;
    let before = told.all();
    drop(guard);
    drop(threads);
    ensure_eq!(before, (0, 0, 0));
    ensure_eq!(told.all(), (WAITERS, 0, 0));
    Ok(())
}

/// Waiters miss no rundown though the object is live again before they run.
fn re_armed_at_once<R: Form>() -> Result {
    for _ in 0..10 {
        let r = R::live()?;
        let told = Told::new()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let threads = waiters(&r, &told)?;
        drop(guard);
        while r.re_init().is_err() {
            support::cpu_relax();
        }
        let after = r.try_acquire().is_ok();
        drop(threads);
        ensure!(after);
        ensure_eq!(told.all(), (WAITERS, 0, 0));
    }
    Ok(())
}

fn resurrected_under_waiters<R: Form>() -> Result {
    let r = R::live()?;
    let told = Told::new()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let threads = waiters(&r, &told)?;
    let ret = r.resurrect();
    drop(threads);
    drop(guard);
    ensure_eq!(ret, Ok(()));
    ensure_eq!(told.all(), (0, WAITERS, 0));
    // It can be run down as if nothing had been.
    r.wait_for_rundown();
    Ok(())
}

/// `wait_for_rundown()` does not return for a resurrection: there are holders, and it begins the
/// rundown again.
fn resurrected_under_who_cannot_fail<R: Form>() -> Result {
    let r = R::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let over = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let (theirs, told) = (r.clone(), over.clone());
    let waiter = support::spawn(c"rundown_waiter", move || {
        theirs.wait_for_rundown();
        told.store(1, Release);
    })?;
    let mut rounds = 0;
    for _ in 0..3 {
        let goes_on = comes_true(|| r.is_rundown_requested() || over.load(Acquire) != 0);
        if !goes_on || r.resurrect().is_err() {
            break;
        }
        rounds += 1;
    }
    let again = comes_true(|| r.is_rundown_requested() || over.load(Acquire) != 0);
    let early = over.load(Acquire);
    drop(guard);
    waiter.join();
    ensure_eq!((rounds, again, early), (3, true, 0));
    Ok(())
}

/// A resurrection ends the waits for exclusive ownership, too.
fn resurrected_under_owners<R: Form>(object: Arc<Rundown<u32, R>>) -> Result {
    let guard = HasRundown::try_acquire_arc(object.clone())?;
    let told = Told::new()?;
    let mut threads = KVec::new();
    for _ in 0..WAITERS {
        let (theirs, this) = (object.clone(), told.clone());
        threads.push(
            support::spawn(c"rundown_owner", move || {
                this.started.fetch_add(1, Full);
                let ret = theirs.wait_for_rundown_timeout(msecs_to_jiffies(20_000));
                this.note(ret.map(|_| ()));
            })?,
            GFP_KERNEL,
        )?;
    }
    told.await_waits(&threads);
    let ret = object.resurrect();
    drop(threads);
    drop(guard);
    ensure_eq!(ret, Ok(()));
    ensure_eq!(told.all(), (0, WAITERS, 0));
    drop(object.wait_for_rundown()?);
    Ok(())
}

/// A last release and a resurrection: either wins, and the waiter learns who. Of three rounds one has
/// the release first, one the resurrection, and one both at the same time.
fn resurrect_races_with_wait<R: Form>(rounds: u32) -> Result {
    let r = R::live()?;
    let told = Told::new()?;
    let mut resurrected = 0;
    for round in 0..rounds {
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let waiter = Told::waiter(&told, &r, Wait::uninterruptible())?;
        while !r.is_rundown_requested() {
            support::cond_resched();
        }
        let release = Arc::new(Atomic::new(i32::from(round % 3 != 1)), GFP_KERNEL)?;
        let theirs = release.clone();
        let releaser = support::spawn(c"rundown_releaser", move || {
            while theirs.load(Acquire) == 0 {
                support::msleep(1);
            }
            support::udelay(round % 50);
            drop(guard);
        })?;
        let mut threads = Some((releaser, waiter));
        if round % 3 == 2 {
            // Waits for both.
            threads = None;
        }
        let won = r.resurrect().is_ok();
        release.store(1, Release);
        drop(threads);
        match round % 3 {
            1 => ensure!(won),
            2 => ensure!(!won),
            _ => (),
        }
        resurrected += u32::from(won);
        ensure_eq!(told.all(), (round + 1 - resurrected, resurrected, 0));
        if won {
            ensure!(!r.is_rundown_requested());
        } else {
            r.re_init()?;
        }
    }
    pr_info!("{} of {} were resurrected\n", resurrected, rounds);
    Ok(())
}

/// A waiter whose time is over while the outcome of its wait is on the way to it returns that
/// outcome.
fn outcome_before_timeout() -> Result {
    let cpu = support::next_cpu(0);
    if cpu == 0 {
        // The waiter that passes the outcome on has to be kept from running.
        return Ok(());
    }
    for ms in [100, 400, 1600] {
        let r = RundownRef::live()?;
        let told = Told::new()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let times = Arc::new([const { Atomic::new(0i64) }; 2], GFP_KERNEL)?;
        let (theirs, this, begun) = (r.clone(), told.clone(), times.clone());
        let limited = support::spawn_on(0, c"rundown_limited", move || {
            begun[0].store(Monotonic::ktime_get(), Relaxed);
            this.started.fetch_add(1, Full);
            let timeout = msecs_to_jiffies(ms);
            this.note(theirs.wait_with(Wait::uninterruptible().timeout(timeout)));
        })?;
        told.await_waits(from_ref(&limited));
        // The waiter that came last is the first to have the outcome.
        let (theirs, first) = (r.clone(), Told::new()?);
        let this = first.clone();
        let passes_on = support::spawn_on(cpu, c"rundown_waiter", move || {
            this.started.fetch_add(1, Full);
            this.note(theirs.wait_with(Wait::uninterruptible()));
        })?;
        first.await_waits(from_ref(&passes_on));
        let (theirs, this, resurrected) = (r.clone(), told.clone(), times.clone());
        support::spawn_on(cpu, c"rundown_resurrect", move || {
            support::preempt_disabled(|| {
                let ret = theirs.resurrect();
                let now = Monotonic::ktime_get();
                if ret.is_ok() {
                    resurrected[1].store(now, Relaxed);
                }
                let end = now + i64::from(ms + 1000) * 1_000_000;
                while this.all() == (0, 0, 0) && Monotonic::ktime_get() < end {
                    support::cpu_relax();
                }
            });
        })?
        .join();
        passes_on.join();
        limited.join();
        drop(guard);
        let [begun, resurrected] = [&times[0], &times[1]].map(|time| time.load(Relaxed));
        ensure!(resurrected != 0);
        ensure_eq!(first.all(), (0, 1, 0));
        if resurrected < begun + i64::from(ms) * 1_000_000 {
            ensure_eq!(told.all(), (0, 1, 0));
            break;
        }
        // Its time may have been over before.
    }
    Ok(())
}

/// Wake-ups that do not end a wait do not prolong it.
fn woken_in_vain() -> Result {
    const MS: u32 = 100;

    let object = Arc::new(Rundown::new(0u32), GFP_KERNEL)?;
    let told = Told::new()?;
    let this = told.clone();
    support::spawn_on(0, c"rundown_owner", move || {
        let Ok(mut owner) = object.wait_for_rundown() else {
            return;
        };
        let (theirs, waits) = (object.clone(), this.clone());
        let second = support::spawn_on(0, c"rundown_second", move || {
            let ret = theirs.wait_for_rundown_timeout(msecs_to_jiffies(MS));
            waits.note(ret.map(|_| ()));
        });
        // For twenty times as long as that.
        for _ in 0..MS {
            if this.all() != (0, 0, 0) {
                break;
            }
            support::msleep(MS / 5);
            // Wakes the waiter, which does not run before it is owned again.
            let again = support::preempt_disabled(|| {
                drop(owner);
                object.wait_for_rundown_timeout(0)
            });
            owner = match again {
                Ok(owner) => owner,
                Err(_) => return,
            };
        }
        this.started.store(this.other.load(Acquire), Release);
        drop(owner);
        drop(second);
    })?
    .join();
    // It had returned before the object was given back, by its timeout.
    ensure_eq!((told.started.load(Acquire), told.all()), (1, (0, 0, 1)));
    Ok(())
}

/// Runs `f` in a thread that has the signal `signal` pending, or gets it after a while.
pub(super) fn with_signal<R, F>(signal: u32, pending: bool, f: F) -> Result<R>
where
    R: Copy + Send + Sync + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    struct Shared<R> {
        task: Atomic<*mut bindings::task_struct>,
        over: Atomic<bool>,
        ret: kernel::sync::SetOnce<R>,
    }

    let shared = Arc::new(
        Shared {
            task: Atomic::new(core::ptr::null_mut()),
            over: Atomic::new(false),
            ret: kernel::sync::SetOnce::new(),
        },
        GFP_KERNEL,
    )?;
    let theirs = shared.clone();
    let send = move |task| {
        // SAFETY: The task is alive: it is this one, or waits for `over`.
        unsafe { bindings::send_sig(signal as i32, task, 1) };
    };
    let thread = support::spawn(c"rundown_signal", move || {
        // SAFETY: A thread may allow itself signals, and knows itself.
        let task = unsafe {
            bindings::kernel_sigaction(
                signal as i32,
                // `SIG_KTHREAD`, a macro with a cast: a kthread may have the signal.
                Some(core::mem::transmute::<usize, unsafe extern "C" fn(i32)>(2)),
            );
            bindings::get_current()
        };
        if pending {
            send(task);
        }
        theirs.task.store(task, Release);
        theirs.ret.populate(f());
        while !theirs.over.load(Acquire) {
            support::msleep(1);
        }
    })?;
    while shared.task.load(Acquire).is_null() {
        support::msleep(1);
    }
    if !pending {
        support::msleep(20);
        send(shared.task.load(Relaxed));
    }
    shared.over.store(true, Release);
    thread.join();
    shared.ret.copy().ok_or(EINVAL)
}

fn signals<R: Form>() -> Result {
    for pending in [true, false] {
        let r = R::live()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let theirs = r.clone();
        let ret = with_signal(bindings::SIGUSR1, pending, move || {
            theirs.wait_for_rundown_interruptible()
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));

        let theirs = r.clone();
        let ret = with_signal(bindings::SIGKILL, pending, move || {
            theirs.wait_for_rundown_killable()
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));

        // Of another signal, and of any, these take no notice.
        let theirs = r.clone();
        let ret = with_signal(bindings::SIGUSR1, pending, move || {
            theirs.wait_with(Wait::killable().timeout(msecs_to_jiffies(40)))
        });
        ensure_eq!(ret, Ok(Err(RundownError::TimedOut)));
        let theirs = r.clone();
        let ret = with_signal(bindings::SIGKILL, pending, move || {
            theirs.wait_for_rundown_timeout(msecs_to_jiffies(40))
        });
        ensure_eq!(ret, Ok(Err(RundownError::TimedOut)));

        drop(guard);
        // What is over is over, whatever is pending.
        let theirs = r.clone();
        r.wait_for_rundown();
        let ret = with_signal(bindings::SIGUSR1, true, move || {
            theirs.wait_for_rundown_interruptible()
        });
        ensure_eq!(ret, Ok(Ok(())));
    }
    Ok(())
}

/// As [`signals`], of the waits for a value.
fn signals_of_a_value() -> Result {
    for pending in [true, false] {
        let object = Arc::new(Rundown::new(5u64), GFP_KERNEL)?;
        let guard = HasRundown::try_acquire_arc(object.clone())?;
        let theirs = object.clone();
        let ret = with_signal(bindings::SIGUSR1, pending, move || {
            theirs.wait_for_rundown_interruptible().map(drop)
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));
        let theirs = object.clone();
        let ret = with_signal(bindings::SIGKILL, pending, move || {
            theirs.wait_for_rundown_killable().map(drop)
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));
        drop(guard);
    }
    Ok(())
}

/// A signal ends the wait for a request.
fn signals_of_holders<R: Form>() -> Result {
    for pending in [true, false] {
        let r = R::live()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let holder = guard.clone();
        let timeout = msecs_to_jiffies(20_000);
        let ret = with_signal(bindings::SIGUSR1, pending, move || {
            holder.wait_until_requested(Wait::interruptible().timeout(timeout))
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));
        let ret = with_signal(bindings::SIGKILL, pending, move || {
            guard.wait_until_requested(Wait::killable().timeout(timeout))
        });
        ensure_eq!(ret, Ok(Err(RundownError::Interrupted)));
        ensure!(!r.is_rundown_requested());
    }
    Ok(())
}

/// Guards are listed with their places, in a kernel where those are known.
fn holders_are_known<R: Form>() -> Result {
    if cfg!(CONFIG_LOCKDEP) {
        complaining(" held by ", holders_are_listed::<R>)
    } else {
        holders_are_listed::<R>()
    }
}

fn holders_are_listed<R: Form>() -> Result {
    let known = |n| if cfg!(CONFIG_LOCKDEP) { n } else { 0 };
    let (r, other) = (R::live()?, R::live()?);
    let stranger = other.try_acquire()?;
    ensure_eq!(r.report_holders(), 0);
    let one = r.try_acquire()?;
    let mut many = r.try_acquire_many(4)?;
    let owned = HasRundown::try_acquire_arc(r.clone())?;
    ensure_eq!(r.report_holders(), known(3));
    let split = many.split(2)?;
    let clone = one.clone();
    ensure_eq!(r.report_holders(), known(5));
    ensure!(many.merge(split).is_ok());
    drop(one);
    ensure_eq!(r.report_holders(), known(3));
    let sent = clone.unbind();
    ensure_eq!(r.report_holders(), known(3));
    drop((many, owned, sent));
    ensure_eq!(r.report_holders(), 0);
    ensure_eq!(other.report_holders(), known(1));
    drop(stranger);
    Ok(())
}

fn reports<R: Form>() -> Result {
    let r = R::live()?;
    let guards = r.try_acquire_many(3)?.unbind();
    let before = set_stall_report_ms(20);
    let ret = complaining(
        // A collection of the CPUs' counters may hold one for a moment.
        "rundown of .* has been waited for .* by 1 tasks: [34] holders",
        || r.wait_for_rundown_timeout(msecs_to_jiffies(1500)),
    );
    set_stall_report_ms(before);
    drop(guards);
    ensure_eq!(ret, Err(RundownError::TimedOut));
    Ok(())
}

/// A wait that begins long after the interval was set is reported, again and again.
fn reports_go_on() -> Result {
    let r = RundownRef::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let before = set_stall_report_ms(20);
    // The monitor finds no waiter, and stops. If it is late, it finds the one below, and the test does
    // not see whether that starts it.
    support::msleep(200);
    let ret = complaining("rundown of .* has been waited for", || {
        let old = support::logged(c"rundown_reports/");
        let waiter = support::spawn(c"rundown_reports", move || {
            let _ = r.wait_for_rundown_timeout(msecs_to_jiffies(20_000));
        })?;
        let reported = comes_true(|| support::logged(c"rundown_reports/").saturating_sub(old) >= 3);
        set_stall_report_ms(before);
        drop(guard);
        waiter.join();
        // A report in progress ends before the expectation does.
        support::msleep(20);
        Ok::<_, Error>(reported)
    });
    set_stall_report_ms(before);
    ensure!(ret?);
    Ok(())
}

/// A pass of the monitor reports each wait once, though a report takes longer than the interval; the
/// two are of one bucket.
fn reported_once_in_a_pass() -> Result {
    let mut all = three_of_one_bucket()?;
    all.truncate(2);
    let told = Told::new()?;
    let mut guards = KVec::new();
    let mut threads = KVec::new();
    for r in &all {
        guards.push(HasRundown::try_acquire_arc(r.clone())?, GFP_KERNEL)?;
        let how = Wait::interruptible().timeout(msecs_to_jiffies(20_000));
        threads.push(Told::waiter(&told, r, how)?, GFP_KERNEL)?;
    }
    told.await_waits(&threads);
    let mut passes = [[0u32; 2]; 2];
    for reports in &mut passes {
        // Longer than the interval.
        support::msleep(20);
        for_each_overdue_for_test(msecs_to_jiffies(1) as u64, |address| {
            for (r, n) in all.iter().zip(reports.iter_mut()) {
                if core::ptr::from_ref::<RundownRef>(r).addr() == address {
                    *n += 1;
                    // As a slow console. Not again and again, so that a pass ends.
                    if *n < 4 {
                        support::msleep(20);
                    }
                }
            }
        });
    }
    drop(guards);
    drop(threads);
    ensure_eq!(passes, [[1; 2]; 2]);
    ensure_eq!(told.all(), (2, 0, 0));
    Ok(())
}

/// Waits with a timeout beyond what the scheduler can count, with reports that interrupt the sleep,
/// end with the rundown and not before.
fn long_timeouts<R: Form>() -> Result {
    const LONGEST: usize = isize::MAX as usize;
    const TIMEOUTS: [usize; 5] = [
        LONGEST / 2,
        LONGEST,
        LONGEST + 1,
        usize::MAX - 1,
        usize::MAX,
    ];

    let r = R::live()?;
    let told = Told::new()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let before = set_stall_report_ms(1);
    let ret = complaining(
        "rundown of .* has been waited for .* by [0-9]+ tasks: [0-2] holders",
        || {
            let mut threads = KVec::new();
            for timeout in TIMEOUTS {
                let how = Wait::interruptible().timeout(timeout);
                threads.push(Told::waiter(&told, &r, how)?, GFP_KERNEL)?;
            }
            told.await_waits(&threads);
            // Reports end before the expectation does, also those of waiters that return.
            set_stall_report_ms(before);
            drop(guard);
            drop(threads);
            support::msleep(20);
            Ok::<_, Error>(())
        },
    );
    set_stall_report_ms(before);
    ret?;
    ensure_eq!(told.all(), (TIMEOUTS.len() as u32, 0, 0));
    Ok(())
}

/// Many waiters of all kinds, some of which give up: all that do not are woken, one by another, by
/// one release in an interrupt.
fn chain<R: Form>() -> Result {
    const WAITERS: u32 = 60;

    let r = R::live()?;
    let told = Told::new()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let mut threads = KVec::new();
    for i in 0..WAITERS {
        let how = match i % 3 {
            0 => Wait::uninterruptible(),
            1 => Wait::killable(),
            // Some of these give up at about the time of the release.
            _ => Wait::interruptible().timeout(msecs_to_jiffies(20 + 2 * i)),
        };
        threads.push(Told::waiter(&told, &r, how)?, GFP_KERNEL)?;
    }
    told.await_waits(&threads);
    let before = told.ok.load(Acquire);
    let mut guard = Some(guard);
    let ran = support::in_hardirq(|| drop(guard.take()));
    drop(threads);
    ensure!(ran.is_some());
    ensure_eq!(before, 0);
    let (ok, resurrected, gave_up) = told.all();
    ensure_eq!((ok + gave_up, resurrected), (WAITERS, 0));
    ensure!(gave_up <= WAITERS / 3);

    // The same with a re-initialization and a resurrection, each of which ends all waits at once.
    for resurrect in [false, true] {
        r.wait_for_rundown();
        r.re_init()?;
        let told = Told::new()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let mut threads = KVec::new();
        for i in 0..WAITERS {
            let how = match i % 2 {
                0 => Wait::uninterruptible(),
                _ => Wait::interruptible().timeout(msecs_to_jiffies(60_000)),
            };
            threads.push(Told::waiter(&told, &r, how)?, GFP_KERNEL)?;
        }
        told.await_waits(&threads);
        if resurrect {
            r.resurrect()?;
            drop(threads);
            drop(guard);
            ensure_eq!(told.all(), (0, WAITERS, 0));
        } else {
            drop(guard);
            while r.re_init().is_err() {
                support::cpu_relax();
            }
            drop(threads);
            ensure_eq!(told.all(), (WAITERS, 0, 0));
        }
    }
    Ok(())
}

/// The last release, in an interrupt, wakes one waiter, so that its time does not depend on their
/// number. The times are printed: of the release, and until the last waiter has returned.
fn many_waiters_of_an_interrupt<R: Form>() -> Result {
    for n in [1, 100, 1000] {
        let r = R::live()?;
        let told = Told::new()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        // A per-CPU reference counts at one place from here on.
        r.begin_rundown();
        let mut threads = KVec::new();
        for _ in 0..n {
            threads.push(Told::waiter(&told, &r, Wait::killable())?, GFP_KERNEL)?;
        }
        told.await_waits(&threads);
        let before = told.ok.load(Acquire);
        let mut guard = Some(guard);
        let begin = Instant::<Monotonic>::now();
        let ran = support::in_hardirq(|| {
            let begin = Instant::<Monotonic>::now();
            drop(guard.take());
            begin.elapsed()
        });
        drop(threads);
        let all = begin.elapsed();
        let Some(release) = ran else {
            return Err(ENODEV);
        };
        pr_info!(
            "figures rundown: waiters={} release_us={} all_us={}\n",
            n,
            release.as_micros_ceil(),
            all.as_micros_ceil()
        );
        ensure_eq!(before, 0);
        ensure_eq!(told.all(), (n, 0, 0));
    }
    Ok(())
}

/// Waiters that own the object one after the other, among others that only wait.
fn owners_in_turn<R: Form>(object: Arc<Rundown<u32, R>>) -> Result {
    let guard = HasRundown::try_acquire_arc(object.clone())?;
    let started = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for i in 0..20 {
        let (theirs, started) = (object.clone(), started.clone());
        let other = (i % 4 == 0).then(|| guard.clone());
        threads.push(
            support::spawn(c"rundown_owner", move || {
                started.fetch_add(1, Full);
                if let Some(guard) = other {
                    // Only waits.
                    let _ = guard.into_rundown();
                } else if let Ok(mut value) = theirs.wait_for_rundown() {
                    *value += 1;
                }
            })?,
            GFP_KERNEL,
        )?;
    }
    await_waits(&started, &threads);
    drop(guard);
    drop(threads);
    let value = *object.wait_for_rundown()?;
    ensure_eq!(value, 15);
    Ok(())
}

/// Who only waits returns before an owner that waited longer gives the object back.
fn waiters_return_before_owners() -> Result {
    let object = Arc::new(Rundown::new(0u32), GFP_KERNEL)?;
    let guard = HasRundown::try_acquire_arc(object.clone())?;
    let (started, returned) = (
        Arc::new(Atomic::new(0u32), GFP_KERNEL)?,
        Arc::new(Atomic::new(0u32), GFP_KERNEL)?,
    );
    let (theirs, begun, done) = (object.clone(), started.clone(), returned.clone());
    let owner = support::spawn(c"rundown_owner", move || {
        begun.fetch_add(1, Full);
        if let Ok(_value) = theirs.wait_for_rundown() {
            while done.load(Acquire) == 0 {
                support::msleep(1);
            }
        }
    })?;
    await_waits(&started, from_ref(&owner));
    let (theirs, begun, done) = (guard.clone(), started.clone(), returned.clone());
    let waiter = support::spawn(c"rundown_waiter", move || {
        begun.fetch_add(1, Full);
        let _ = theirs.into_rundown();
        done.store(1, Release);
    })?;
    let threads = [owner, waiter];
    await_waits(&started, &threads);
    drop(guard);
    drop(threads);
    Ok(())
}

/// The report of a wait for an object that is owned exclusively says so, with a line for the owner. That
/// this is the right one is shown by `qemu/tests/rundown.splats`.
fn owner_is_reported() -> Result {
    let object = Arc::new(Rundown::new(0u32), GFP_KERNEL)?;
    let owner = object.wait_for_rundown()?;
    let listed = support::logged(c"owned exclusively by ");
    let ret = owner_is_waited_for(&object);
    drop(owner);
    ensure!(support::logged(c"owned exclusively by ") > listed);
    ret
}

/// Waits for `object`, which somebody owns exclusively, until that has been reported.
fn owner_is_waited_for(object: &Arc<Rundown<u32>>) -> Result {
    let theirs = object.clone();
    let before = set_stall_report_ms(20);
    let ret = complaining("rundown of .*: 0 holders, owned exclusively", || {
        support::spawn(c"rundown_second", move || {
            let _ = theirs.wait_for_rundown_timeout(msecs_to_jiffies(1500));
        })
        .map(|thread| thread.join())
    });
    set_stall_report_ms(before);
    ret
}

/// A report names a task that has ended: the tables have a copy of its name. With lockdep a task must not
/// end as an exclusive owner, but holders are known.
fn ended_tasks_are_reported() -> Result {
    if cfg!(CONFIG_LOCKDEP) {
        let r = PerCpuRundownRef::live()?;
        let theirs = r.clone();
        support::spawn(c"rundown_ended", move || {
            forget(theirs.try_acquire().map(|guard| guard.unbind()));
        })?
        .join();
        let listed = support::logged(c"held by rundown_ended/");
        let n = complaining(" held by ", || RundownProtect::report_holders(&*r));
        ensure_eq!(n, 1);
        ensure!(support::logged(c"held by rundown_ended/") > listed);
        return Ok(());
    }
    let object = Arc::new(Rundown::new(0u32), GFP_KERNEL)?;
    let theirs = object.clone();
    support::spawn(c"rundown_ended", move || forget(theirs.wait_for_rundown()))?.join();
    let listed = support::logged(c"owned exclusively by rundown_ended/");
    owner_is_waited_for(&object)?;
    ensure!(support::logged(c"owned exclusively by rundown_ended/") > listed);
    Ok(())
}

/// An owner that was leaked is not listed for the next object at its address. With lockdep it would hold
/// the one that was there before.
fn owner_is_listed_once() -> Result {
    if cfg!(CONFIG_LOCKDEP) {
        return Ok(());
    }
    let mut place = UniqueArc::new(Rundown::new(0u32), GFP_KERNEL)?;
    forget(place.wait_for_rundown()?);
    *place = Rundown::new(1);
    let object: Arc<_> = place.into();
    let owner = object.wait_for_rundown()?;
    let count = || [c"owned exclusively by ", c"has been waited for"].map(support::logged);
    let old = count();
    let ret = owner_is_waited_for(&object);
    drop(owner);
    let new = count();
    ensure!(new[0] > old[0]);
    // Each report has one line for the one owner.
    ensure_eq!(new[0] - old[0], new[1] - old[1]);
    ret
}

/// Three references whose waiters share a bucket of the table.
fn three_of_one_bucket() -> Result<KVec<Arc<RundownRef>>> {
    // Two of each of 256 buckets, and one more.
    let mut all = KVec::new();
    for _ in 0..=2 * 256 {
        all.push(RundownRef::live()?, GFP_KERNEL)?;
    }
    for one in &all {
        let mut same = KVec::new();
        for other in &all {
            if other.bucket_for_test() == one.bucket_for_test() && same.len() < 3 {
                same.push(other.clone(), GFP_KERNEL)?;
            }
        }
        if same.len() == 3 {
            return Ok(same);
        }
    }
    Err(EINVAL)
}

/// A reference, its holder and its waiters.
struct Waited {
    r: Arc<RundownRef>,
    told: Arc<Told>,
    guard: Option<ArcGuard<RundownRef>>,
    threads: KVec<Thread>,
}

/// What ends the waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Release,
    Resurrection,
    Nmi,
}

/// The end of the waits for one reference neither ends nor loses those for another one of its bucket.
fn references_of_one_bucket(end: End) -> Result {
    const EACH: u32 = 2;

    let mut all = KVec::new();
    for r in three_of_one_bucket()? {
        let guard = Some(HasRundown::try_acquire_arc(r.clone())?);
        let (told, threads) = (Told::new()?, KVec::new());
        all.push(
            Waited {
                r,
                told,
                guard,
                threads,
            },
            GFP_KERNEL,
        )?;
    }
    // The second waiter of each becomes its first one when the others are in the list.
    for _ in 0..EACH {
        for one in all.iter_mut() {
            let how = Wait::interruptible().timeout(msecs_to_jiffies(20_000));
            let thread = Told::waiter(&one.told, &one.r, how)?;
            one.threads.push(thread, GFP_KERNEL)?;
            one.told.await_waits(&one.threads);
        }
    }
    let over = match end {
        End::Resurrection => (0, EACH, 0),
        _ => (EACH, 0, 0),
    };
    if end == End::Nmi {
        // All at once, after which each bucket is checked once.
        let _ = support::in_nmi(|| all.iter_mut().for_each(|one| drop(one.guard.take())));
    }
    let mut right = true;
    for i in 0..all.len() {
        let one = &mut all[i];
        match end {
            End::Resurrection => right &= one.r.resurrect().is_ok(),
            // If there is no NMI, here.
            _ => drop(one.guard.take()),
        }
        // And not by their timeouts, when they check the state once more.
        right = right && comes_true(|| all[i].told.all() == over);
        right &= end == End::Nmi || all[i + 1..].iter().all(|one| one.told.all() == (0, 0, 0));
    }
    // Holders release before the threads are waited for.
    all.iter_mut().for_each(|one| drop(one.guard.take()));
    drop(all);
    ensure!(right);
    Ok(())
}

#[kunit_tests(quiesce_rundown_waits)]
mod tests {
    use super::*;

    #[test]
    fn many_waiters_word() -> Result {
        many_waiters::<RundownRef>()
    }

    #[test]
    fn many_waiters_percpu() -> Result {
        many_waiters::<PerCpuRundownRef>()
    }

    #[test]
    fn long_timeouts_word() -> Result {
        long_timeouts::<RundownRef>()
    }

    #[test]
    fn long_timeouts_percpu() -> Result {
        long_timeouts::<PerCpuRundownRef>()
    }

    #[test]
    fn chain_word() -> Result {
        chain::<RundownRef>()
    }

    #[test]
    fn chain_percpu() -> Result {
        chain::<PerCpuRundownRef>()
    }

    #[test]
    fn many_waiters_of_an_interrupt_word() -> Result {
        many_waiters_of_an_interrupt::<RundownRef>()
    }

    #[test]
    fn many_waiters_of_an_interrupt_percpu() -> Result {
        many_waiters_of_an_interrupt::<PerCpuRundownRef>()
    }

    #[test]
    fn owners_in_turn_word() -> Result {
        owners_in_turn(Arc::new(Rundown::new(0u32), GFP_KERNEL)?)
    }

    #[test]
    fn owners_in_turn_percpu() -> Result {
        owners_in_turn(Arc::pin_init(
            Rundown::pin_init(PerCpuRundownRef::new(), 0u32),
            GFP_KERNEL,
        )?)
    }

    #[test]
    fn waiters_return_before_owners() -> Result {
        super::waiters_return_before_owners()
    }

    #[test]
    fn owner_is_reported() -> Result {
        super::owner_is_reported()
    }

    #[test]
    fn ended_tasks_are_reported() -> Result {
        super::ended_tasks_are_reported()
    }

    #[test]
    fn owner_is_listed_once() -> Result {
        super::owner_is_listed_once()
    }

    #[test]
    fn re_armed_at_once_word() -> Result {
        re_armed_at_once::<RundownRef>()
    }

    #[test]
    fn re_armed_at_once_percpu() -> Result {
        re_armed_at_once::<PerCpuRundownRef>()
    }

    #[test]
    fn resurrected_under_waiters_word() -> Result {
        resurrected_under_waiters::<RundownRef>()
    }

    #[test]
    fn resurrected_under_waiters_percpu() -> Result {
        resurrected_under_waiters::<PerCpuRundownRef>()
    }

    #[test]
    fn references_of_one_bucket() -> Result {
        for end in [End::Release, End::Resurrection, End::Nmi] {
            super::references_of_one_bucket(end)?;
        }
        Ok(())
    }

    #[test]
    fn resurrected_under_who_cannot_fail_word() -> Result {
        resurrected_under_who_cannot_fail::<RundownRef>()
    }

    #[test]
    fn resurrected_under_who_cannot_fail_percpu() -> Result {
        resurrected_under_who_cannot_fail::<PerCpuRundownRef>()
    }

    #[test]
    fn resurrected_under_owners_word() -> Result {
        resurrected_under_owners(Arc::new(Rundown::new(0u32), GFP_KERNEL)?)
    }

    #[test]
    fn resurrected_under_owners_percpu() -> Result {
        resurrected_under_owners(Arc::pin_init(
            Rundown::pin_init(PerCpuRundownRef::new(), 0u32),
            GFP_KERNEL,
        )?)
    }

    #[test]
    fn resurrect_races_with_wait_word() -> Result {
        resurrect_races_with_wait::<RundownRef>(200)
    }

    #[test]
    fn resurrect_races_with_wait_percpu() -> Result {
        resurrect_races_with_wait::<PerCpuRundownRef>(30)
    }

    #[test]
    fn outcome_before_timeout() -> Result {
        super::outcome_before_timeout()
    }

    #[test]
    fn woken_in_vain() -> Result {
        super::woken_in_vain()
    }

    #[test]
    fn signals_word() -> Result {
        signals::<RundownRef>()
    }

    #[test]
    fn signals_percpu() -> Result {
        signals::<PerCpuRundownRef>()
    }

    #[test]
    fn signals_of_a_value() -> Result {
        super::signals_of_a_value()
    }

    #[test]
    fn signals_of_holders_word() -> Result {
        signals_of_holders::<RundownRef>()
    }

    #[test]
    fn signals_of_holders_percpu() -> Result {
        signals_of_holders::<PerCpuRundownRef>()
    }

    #[test]
    fn holders_are_known_word() -> Result {
        holders_are_known::<RundownRef>()
    }

    #[test]
    fn holders_are_known_percpu() -> Result {
        holders_are_known::<PerCpuRundownRef>()
    }

    #[test]
    fn reports_word() -> Result {
        reports::<RundownRef>()
    }

    #[test]
    fn reports_percpu() -> Result {
        reports::<PerCpuRundownRef>()
    }

    #[test]
    fn reported_once_in_a_pass() -> Result {
        super::reported_once_in_a_pass()
    }

    #[test]
    fn reports_go_on() -> Result {
        super::reports_go_on()
    }
}
