// SPDX-License-Identifier: GPL-2.0

//! The frame of a run: its threads and timers, its duration and its result.

use crate::support::{
    self,
    Thread,
    Timer,
    TimerContext, //
};
use core::cell::Cell;
use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

extern "C" {
    fn quiesce_torture_migrate(cpu: c_int);
    fn quiesce_torture_fifo();
    fn quiesce_torture_result(text: *const c_char);
}

/// The parameters of a run.
pub(crate) struct How<'a> {
    pub(crate) seconds: u32,
    pub(crate) workers: u32,
    pub(crate) part: &'a CStr,
    pub(crate) mutant: &'a CStr,
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A violated invariant.
        #[derive(Clone, Copy)]
        pub(crate) enum Violation {
            $($(#[$doc])* $name,)*
        }

        const TEXTS: &[&str] = &[$($text,)*];
    };
}

violations! {
    /// Rundown.
    GoneUnderGuard = "an object is gone while a guard of it is held",
    HeldAfterWait = "a wait is over and a guard is held",
    StoreMissing = "a wait is over and a holder's store is not visible",
    NotWoken = "a wait does not return although nobody holds the object",
    NotReInitialized = "an object that is run down cannot be re-initialized",
    /// Seqlock.
    Torn = "a reader gets a value that nobody wrote",
    Backwards = "a reader gets a value older than its last one",
    LostUpdate = "a write is lost",
    /// RCU.
    FreedInSection = "an object is reclaimed in a read-side critical section that sees it",
    NotReclaimed = "an object that was deferred is not reclaimed",
    Refused = "a wait is refused where it must not be",
}

macro_rules! counts {
    ($($name:ident,)*) => {
        /// Figures, and the verdict.
        #[derive(Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Count,)*
            violations: Count,
            /// The first violation's number, and one.
            first: Count,
        }
    };
}

counts! {
    reads,
    writes,
    refused,
    hardirqs,
    softirqs,
    delays,
    migrations,
    storms,
}

/// A number that only grows.
pub(crate) struct Count(Atomic<u64>);

impl Default for Count {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Count {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Tally {
    /// Notes a violation; from any context.
    pub(crate) fn violated(&self, what: Violation) {
        self.violations.inc();
        let _ = self.first.0.cmpxchg(0, what as u64 + 1, Relaxed);
    }

    /// Notes a violation unless `right`.
    pub(crate) fn must(&self, right: bool, what: Violation) {
        if !right {
            self.violated(what);
        }
    }
}

/// Random numbers of one thread or interrupt.
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(2).wrapping_add(1)))
    }

    pub(crate) fn below(&self, n: u32) -> u32 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        // No division, which can panic.
        ((x >> 32).wrapping_mul(n.into()) >> 32) as u32
    }

    pub(crate) fn one_in(&self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// Maximum number of threads that read.
pub(crate) const READERS: usize = 64;

/// One worker's view of the run.
pub(crate) struct Worker<'a> {
    pub(crate) tally: &'a Tally,
    pub(crate) rng: Rng,
    /// The largest number that it has seen; see the parts.
    pub(crate) last: Cell<u64>,
    /// Number of the reading thread, below [`READERS`]; [`None`] for writers and interrupts.
    pub(crate) reader: Option<usize>,
}

impl Worker<'_> {
    /// A critical window: now and then the worker stays in it. For any context.
    pub(crate) fn window(&self) {
        if self.rng.one_in(8) {
            self.tally.delays.inc();
            support::udelay(1 + self.rng.below(60));
        }
    }

    /// A critical window in which the worker may sleep.
    pub(crate) fn sleeping_window(&self) {
        match self.rng.below(64) {
            0 => {
                self.tally.delays.inc();
                support::msleep(1 + self.rng.below(3));
            }
            1..=4 => {
                self.tally.delays.inc();
                support::cond_resched();
            }
            _ => self.window(),
        }
    }
}

/// A part: an object under test and the operations on it.
pub(crate) trait Part: Send + Sync + 'static {
    /// One step of a reader, in a thread.
    fn read(&self, me: &Worker<'_>);

    /// One step of a writer, in a thread.
    fn write(&self, me: &Worker<'_>);

    /// One step in a hardware interrupt, or in a softirq.
    fn interrupt(&self, _me: &Worker<'_>, _hard: bool) {}

    /// Number of writers that may run at the same time.
    fn writers(&self) -> u32 {
        1
    }

    /// All have stopped: what has to be so now?
    fn finish(&self, _tally: &Tally) {}
}

struct Run<P> {
    part: P,
    tally: Tally,
    stop: Atomic<u32>,
    seeds: Atomic<u64>,
}

impl<P: Part> Run<P> {
    fn stopped(&self) -> bool {
        self.stop.load(Relaxed) != 0
    }

    fn worker(&self, reader: Option<usize>) -> Worker<'_> {
        Worker {
            tally: &self.tally,
            rng: Rng::new(self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15_u64, Relaxed)),
            last: Cell::new(0),
            reader,
        }
    }

    /// A thread that does `step` until the end; writers and every second reader change the CPU now
    /// and then.
    fn work(&self, reader: Option<usize>, step: impl Fn(&P, &Worker<'_>)) {
        let me = self.worker(reader);
        let roves = reader.is_none_or(|i| i % 2 == 1);
        let mut cpu = -1;
        while !self.stopped() {
            step(&self.part, &me);
            if roves && me.rng.one_in(128) {
                cpu = support::next_cpu(cpu);
                // SAFETY: `work()` runs in a kthread that this module has spawned, so changing the
                // affinity of `current` affects no other code; the thread holds no lock here.
                unsafe { quiesce_torture_migrate(cpu) };
                self.tally.migrations.inc();
            }
            support::cond_resched();
        }
    }

    /// A thread of real-time priority that takes one CPU after the other away from the others.
    fn storm(&self) {
        let me = self.worker(None);
        let mut cpu = -1;
        // SAFETY: `storm()` runs in a kthread that this module has spawned, so changing the
        // scheduling policy of `current` affects no other code.
        unsafe { quiesce_torture_fifo() };
        while !self.stopped() {
            cpu = support::next_cpu(cpu);
            // SAFETY: `storm()` runs in a kthread that this module has spawned, so changing the
            // affinity of `current` affects no other code; the thread holds no lock here.
            unsafe { quiesce_torture_migrate(cpu) };
            support::udelay(50 + me.rng.below(400));
            self.tally.storms.inc();
            support::msleep(1);
        }
    }
}

/// Starts a thread that does `f`.
fn thread<P: Part>(
    run: &Arc<Run<P>>,
    name: &CStr,
    f: impl FnOnce(&Run<P>) + Send + 'static,
) -> Result<Thread> {
    let run = run.clone();
    support::spawn(name, move || f(&run))
}

/// Timers in hardware interrupts and softirqs on each CPU.
fn timers<P: Part>(run: &Arc<Run<P>>) -> Result<KVec<Timer<impl Fn() + Send + Sync + 'static>>> {
    let mut timers = KVec::new();
    let mut cpu = -1;
    for i in 0..2 * support::num_online_cpus() {
        let context = if i % 2 == 0 {
            cpu = support::next_cpu(cpu);
            TimerContext::Hardirq
        } else {
            TimerContext::Softirq
        };
        let period = 700 + 300 * (i % 3);
        let run = run.clone();
        let timer = Timer::start(context, period, Some(cpu), move || {
            let hard = context == TimerContext::Hardirq;
            run.part.interrupt(&run.worker(None), hard);
            if hard {
                run.tally.hardirqs.inc();
            } else {
                run.tally.softirqs.inc();
            }
        });
        match timer {
            Ok(timer) => timers.push(timer, GFP_KERNEL)?,
            // The CPU has gone offline since it was chosen.
            Err(e) if e == ENXIO => (),
            Err(e) => return Err(e),
        }
    }
    Ok(timers)
}

/// Runs `part` and publishes the result.
///
/// A mutant's run ends at the first violation that is noticed.
pub(crate) fn run<P: Part>(how: &How<'_>, part: P) -> Result {
    // These names are not of mutants: `percpu` and `data` are other forms of the primitive, and
    // `control` is the correct protocol that the mutants are derived from.
    let mutant = !matches!(
        how.mutant.to_bytes(),
        b"none" | b"control" | b"percpu" | b"data"
    );
    let run = Arc::new(
        Run {
            part,
            tally: Tally::default(),
            stop: Atomic::new(0),
            seeds: Atomic::new(u64::from(how.seconds) + 1),
        },
        GFP_KERNEL,
    )?;
    let mut threads = KVec::new();
    let started = start(&run, how, &mut threads);
    let timers = timers(&run);
    if started.is_ok() && timers.is_ok() {
        for _ in 0..how.seconds.saturating_mul(20) {
            support::msleep(50);
            if mutant && run.tally.violations.get() != 0 {
                break;
            }
        }
    }
    run.stop.store(1, Relaxed);
    drop(timers?);
    drop(threads);
    started?;
    run.part.finish(&run.tally);
    publish(how, &run.tally, mutant)
}

fn start<P: Part>(run: &Arc<Run<P>>, how: &How<'_>, threads: &mut KVec<Thread>) -> Result {
    for i in 0..(how.workers as usize).clamp(1, READERS) {
        threads.push(
            thread(run, c"torture/read", move |run| {
                run.work(Some(i), |part, me| {
                    part.read(me);
                })
            })?,
            GFP_KERNEL,
        )?;
    }
    for _ in 0..run.part.writers() {
        threads.push(
            thread(run, c"torture/write", |run| {
                run.work(None, |part, me| {
                    part.write(me);
                })
            })?,
            GFP_KERNEL,
        )?;
    }
    threads.push(
        thread(run, c"torture/storm", |run| run.storm())?,
        GFP_KERNEL,
    )?;
    Ok(())
}

fn publish(how: &How<'_>, tally: &Tally, mutant: bool) -> Result {
    let violations = tally.violations.get();
    let idle = tally.reads.get() == 0 || tally.writes.get() == 0;
    let verdict = match (violations, mutant) {
        (0, true) => "missed",
        (_, true) => "caught",
        (0, false) if idle => "idle",
        (0, false) => "ok",
        (_, false) => "violated",
    };
    let first = match tally.first.get() {
        0 => "nothing",
        n => TEXTS[n as usize - 1],
    };
    let text = CString::try_from_fmt(fmt!(
        "verdict={} part={} mutant={} violations={} reads={} writes={} refused={} hardirqs={} \
         softirqs={} delays={} migrations={} storms={} first={}",
        verdict,
        how.part,
        how.mutant,
        violations,
        tally.reads.get(),
        tally.writes.get(),
        tally.refused.get(),
        tally.hardirqs.get(),
        tally.softirqs.get(),
        tally.delays.get(),
        tally.migrations.get(),
        tally.storms.get(),
        first,
    ))?;
    // SAFETY: `text` is a NUL-terminated string that outlives the call, which copies it.
    unsafe { quiesce_torture_result(text.as_char_ptr()) };
    Ok(())
}
