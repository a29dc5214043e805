// SPDX-License-Identifier: GPL-2.0

//! The property itself: no guard is live after a wait has returned.
//!
//! One stress, for both forms and for two that are wrong on purpose, which it has to catch.

use super::Form;
use crate::support;
use core::cell::UnsafeCell;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    PerCpuRundownRef,
    RundownProtect,
    RundownRef, //
};

/// The subject of the stress test.
trait Subject: Send + Sync + 'static {
    /// Acquires, does `work` and then `last`, which is the last use of the object, and releases; or
    /// does nothing if it is refused.
    fn hold(&self, work: impl FnOnce(), last: impl FnOnce()) -> bool;

    /// Begins a rundown and waits; `false` if that takes too long.
    fn wait(&self) -> bool;

    /// Re-initializes it.
    fn re_init(&self) -> bool;
}

impl<R: Form> Subject for Arc<R> {
    fn hold(&self, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        match self.try_acquire() {
            Ok(_guard) => {
                work();
                last();
                true
            }
            Err(_) => false,
        }
    }

    fn wait(&self) -> bool {
        self.wait_for_rundown_timeout(msecs_to_jiffies(60_000))
            .is_ok()
    }

    fn re_init(&self) -> bool {
        RundownProtect::re_init(&**self).is_ok()
    }
}

/// The fault of a mutant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// None: it is as slow as the others, and right.
    None,
    /// The last holder wakes the waiter before its last store.
    EarlyWake,
    /// The release is not ordered after the last store: as a weakly ordered CPU may have it, the
    /// count goes down first.
    PlainRelease,
    /// The waiter takes any wake-up for the one it waits for, also one of the rundown before.
    StaleWake,
}

/// A rundown reference as one would write it down, with a fault and with delays where the fault
/// shows.
struct Twin {
    fault: Fault,
    /// Bit 0 is set once the rundown has begun, as usual.
    word: Atomic<u32>,
    event: Atomic<bool>,
}

impl Twin {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            word: Atomic::new(0),
            event: Atomic::new(false),
        }
    }
}

impl Subject for Twin {
    fn hold(&self, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        let mut old = self.word.load(Relaxed);
        loop {
            if old & 1 != 0 {
                return false;
            }
            match self.word.cmpxchg(old, old + 2, Acquire) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        work();
        if self.fault != Fault::None {
            support::udelay(20);
        }
        match self.fault {
            Fault::EarlyWake if self.word.load(Relaxed) == 3 => {
                self.event.store(true, Release);
                support::udelay(20);
                last();
                self.word.fetch_sub(2, Release);
            }
            Fault::PlainRelease => {
                let old = self.word.fetch_sub(2, Relaxed);
                support::udelay(20);
                last();
                if old == 3 {
                    self.event.store(true, Relaxed);
                }
            }
            _ => {
                last();
                if self.word.fetch_sub(2, Release) == 3 {
                    if self.fault == Fault::StaleWake {
                        support::udelay(20);
                    }
                    self.event.store(true, Release);
                }
            }
        }
        true
    }

    fn wait(&self) -> bool {
        self.word.fetch_add(1, Full);
        let mut patience = 1_000_000;
        while self.word.load(Acquire) != 1 && patience > 0 {
            let woken = self.event.load(Acquire);
            if woken && matches!(self.fault, Fault::EarlyWake | Fault::StaleWake) {
                return true;
            }
            support::udelay(1);
            support::cond_resched();
            patience -= 1;
        }
        patience > 0
    }

    fn re_init(&self) -> bool {
        self.event.store(false, Release);
        self.word.fetch_sub(1, Full);
        if self.fault != Fault::None {
            // Somebody is to acquire before the next rundown.
            support::udelay(20);
        }
        true
    }
}

/// A place that holders write without synchronisation, and that a waiter reads after its wait.
struct Plain(UnsafeCell<[u64; 2]>);

// SAFETY: That it is used by one task at a time is what is under test.
unsafe impl Sync for Plain {}

const HOLDERS: usize = 2;

struct Shared<S> {
    subject: S,
    /// For each holder, whether it is between acquisition and last use.
    inside: [Atomic<u32>; HOLDERS],
    /// Nobody may use the object.
    gone: Atomic<bool>,
    plain: [Plain; HOLDERS],
    acquired: Atomic<u64>,
    refused: Atomic<u64>,
    wrong: Atomic<u32>,
    stop: Atomic<bool>,
}

/// The result of a run.
#[derive(Debug)]
struct Outcome {
    acquired: u64,
    wrong: u32,
    hung: bool,
}

impl<S: Subject> Shared<S> {
    /// One acquisition, by the holder number `i`.
    fn hold(&self, i: usize, turn: u64) {
        let inside = &self.inside[i];
        let work = || {
            inside.store(1, Relaxed);
            if self.gone.load(Acquire) {
                self.wrong.fetch_add(1, Relaxed);
            }
            // SAFETY: Only this holder writes `plain[i]`, and `run_down()` reads it after a wait,
            // which does not return while the object is acquired. (Mutants break that on purpose.)
            unsafe { (*self.plain[i].0.get())[0] = turn };
        };
        let last = || {
            // SAFETY: The place is this holder's, and the object is acquired.
            unsafe { (*self.plain[i].0.get())[1] = turn };
            inside.store(0, Relaxed);
        };
        if self.subject.hold(work, last) {
            self.acquired.fetch_add(1, Relaxed);
        } else {
            self.refused.fetch_add(1, Relaxed);
        }
    }

    /// One rundown; `false` if it did not end.
    fn run_down(&self) -> bool {
        if !self.subject.wait() {
            return false;
        }
        self.gone.store(true, Release);
        for (inside, plain) in self.inside.iter().zip(&self.plain) {
            // SAFETY: The wait is over, so that nobody writes it.
            let [first, second] = unsafe { *plain.0.get() };
            if inside.load(Relaxed) != 0 || first != second {
                self.wrong.fetch_add(1, Relaxed);
            }
        }
        self.gone.xchg(false, Full);
        self.subject.re_init()
    }
}

/// Runs `cycles` rundowns against holders on all CPUs; with `until_wrong`, no more than it takes.
fn stress<S: Subject>(subject: S, cycles: u32, until_wrong: bool) -> Result<Outcome> {
    let shared = Arc::new(
        Shared {
            subject,
            inside: [const { Atomic::new(0) }; HOLDERS],
            gone: Atomic::new(false),
            plain: [const { Plain(UnsafeCell::new([0; 2])) }; HOLDERS],
            acquired: Atomic::new(0),
            refused: Atomic::new(0),
            wrong: Atomic::new(0),
            stop: Atomic::new(false),
        },
        GFP_KERNEL,
    )?;
    let mut threads = KVec::new();
    let mut cpu = -1;
    for i in 0..HOLDERS {
        let s = shared.clone();
        cpu = support::next_cpu(cpu);
        threads.push(
            support::spawn_on(cpu, c"rundown_stress", move || {
                let mut turn = 0;
                while !s.stop.load(Relaxed) {
                    turn += 1;
                    s.hold(i, turn);
                    if turn % 16 == 0 {
                        support::cond_resched();
                    }
                }
            })?,
            GFP_KERNEL,
        )?;
    }
    // The holders of a machine that is busy otherwise may start late.
    while shared.acquired.load(Relaxed) == 0 {
        support::msleep(1);
    }
    let mut hung = false;
    for cycle in 0..cycles {
        if !shared.run_down() {
            hung = true;
            break;
        }
        if until_wrong && shared.wrong.load(Relaxed) != 0 {
            break;
        }
        if cycle % 64 == 0 {
            support::cond_resched();
        }
    }
    shared.stop.store(true, Release);
    drop(threads);
    Ok(Outcome {
        acquired: shared.acquired.load(Acquire),
        wrong: shared.wrong.load(Acquire),
        hung,
    })
}

fn right<S: Subject>(subject: S, cycles: u32) -> Result {
    let outcome = stress(subject, cycles, false)?;
    pr_info!("{} rundowns: {:?}\n", cycles, outcome);
    ensure_eq!(outcome.wrong, 0);
    ensure!(!outcome.hung);
    ensure!(outcome.acquired > 0);
    Ok(())
}

fn wrong(fault: Fault) -> Result {
    let outcome = stress(Twin::new(fault), 1_000_000, true)?;
    pr_info!("{:?}\n", outcome);
    ensure!(outcome.wrong > 0);
    Ok(())
}

/// Number of rundowns of a word. A per-CPU rundown takes a grace period, so fewer are run.
fn cycles() -> u32 {
    crate::module_parameters::rundown_cycles.value()
}

#[kunit_tests(quiesce_rundown_stress)]
mod tests {
    use super::*;

    #[test]
    fn word() -> Result {
        right(RundownRef::live()?, cycles())
    }

    #[test]
    fn percpu() -> Result {
        right(PerCpuRundownRef::live()?, cycles() / 2000)
    }

    #[test]
    fn twin_without_fault() -> Result {
        right(Twin::new(Fault::None), 1000)
    }

    #[test]
    fn early_wake_is_caught() -> Result {
        wrong(Fault::EarlyWake)
    }

    #[test]
    fn plain_release_is_caught() -> Result {
        wrong(Fault::PlainRelease)
    }

    #[test]
    fn stale_wake_is_caught() -> Result {
        wrong(Fault::StaleWake)
    }
}
