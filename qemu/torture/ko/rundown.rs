// SPDX-License-Identifier: GPL-2.0

//! Rundown: threads and interrupts hold an object that a writer runs down, uses alone and
//! re-initializes.

use crate::{
    frame::{
        self,
        How,
        Part,
        Tally,
        Violation,
        Worker,
        READERS, //
    },
    rundown_data,
    support, //
};
use core::{
    cell::UnsafeCell,
    pin::Pin, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    RundownError,
    RundownProtect,
    RundownRef, //
};

/// The result of a wait.
#[derive(PartialEq, Eq)]
enum Waited {
    Over,
    TimedOut,
}

/// The protocol under test, which a mutant breaks.
trait Protocol: Send + Sync + 'static {
    /// Runs `work` and then `last`, the last use of the object, with a guard held, unless the
    /// object is being run down.
    fn hold(&self, me: &Worker<'_>, work: impl FnOnce(), last: impl FnOnce()) -> bool;

    /// Begins the rundown, if that is a separate step; returns whether the caller began it.
    fn begin(&self) -> bool {
        true
    }

    /// Begins a rundown and resurrects the object, unless another caller has begun one. May be
    /// called in any context.
    fn flick(&self) {}

    /// Begins the rundown unless it has begun, and waits for it.
    fn wait(&self, timeout: Jiffies) -> Waited;

    /// Cancels a rundown that has begun.
    fn resurrect(&self) -> bool;

    /// Re-initializes the object.
    fn re_init(&self) -> bool;
}

impl<R: RundownProtect + HasRundown<Ref = R> + Send + 'static> Protocol for R {
    fn hold(&self, me: &Worker<'_>, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        let Ok(guard) = self.try_acquire() else {
            return false;
        };
        work();
        last();
        // Each way to release a guard.
        match me.rng.below(3) {
            0 => drop(guard),
            1 => drop(guard.unbind()),
            _ => {
                let second = guard.clone();
                drop(guard);
                drop(second);
            }
        }
        true
    }

    fn begin(&self) -> bool {
        self.begin_rundown()
    }

    fn flick(&self) {
        // Only the caller that began the rundown resurrects or re-initializes the object.
        if self.begin_rundown() && RundownProtect::resurrect(self).is_err() {
            let _ = RundownProtect::re_init(self);
        }
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        match self.wait_for_rundown_timeout(timeout) {
            Err(RundownError::TimedOut) => Waited::TimedOut,
            _ => Waited::Over,
        }
    }

    fn resurrect(&self) -> bool {
        RundownProtect::resurrect(self).is_ok()
    }

    fn re_init(&self) -> bool {
        RundownProtect::re_init(self).is_ok()
    }
}

/// The guard is released before the object is used.
struct ReleasedEarly(RundownRef);

impl Protocol for ReleasedEarly {
    fn hold(&self, _me: &Worker<'_>, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        let held = self.0.try_acquire().is_ok();
        if held {
            work();
            last();
        }
        held
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        Protocol::wait(&self.0, timeout)
    }

    fn resurrect(&self) -> bool {
        Protocol::resurrect(&self.0)
    }

    fn re_init(&self) -> bool {
        Protocol::re_init(&self.0)
    }
}

/// As [`RundownRef`] in principle, with the step that `broken` names missing.
///
/// Bit 0 of the word is set when the rundown has begun; the count is in the bits above it.
struct Counter {
    broken: Broken,
    word: Atomic<i64>,
    /// Set by the last release and checked by the wait.
    woken: Atomic<u32>,
    wakes: Atomic<u32>,
}

const BEGUN: i64 = 1;
const HOLDER: i64 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nothing: the control.
    Nothing,
    /// The wait does not wait.
    Wait,
    /// One wake in four is lost.
    Wake,
    /// The flag is checked first and the holder is counted later, not in one atomic step.
    Acquire,
    /// The last holder wakes the waiter before its last use of the object.
    EarlyWake,
    /// The release is not ordered after the last use: the count is decremented first, as a weakly
    /// ordered CPU may do it.
    EarlyRelease,
    /// The waiter takes any wake-up as completion, also one of an earlier rundown.
    StaleWake,
}

impl Counter {
    fn new(broken: Broken) -> Self {
        Self {
            broken,
            word: Atomic::new(0),
            woken: Atomic::new(0),
            wakes: Atomic::new(0),
        }
    }

    /// Adds `n` unless the rundown has begun.
    fn add(&self, n: i64) -> bool {
        let mut old = self.word.load(Relaxed);
        while old & BEGUN == 0 {
            match self.word.cmpxchg(old, old + n, Full) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
        false
    }

    fn acquire(&self, me: &Worker<'_>) -> bool {
        if self.broken != Broken::Acquire {
            return self.add(HOLDER);
        }
        let armed = self.word.load(Acquire) & BEGUN == 0;
        if armed {
            if me.rng.one_in(4) {
                support::udelay(200);
            }
            self.word.fetch_add(HOLDER, Full);
        }
        armed
    }

    fn wake(&self) {
        let n = self.wakes.fetch_add(1, Relaxed);
        if self.broken != Broken::Wake || n % 4 != 0 {
            self.woken.store(1, Release);
        }
    }
}

impl Protocol for Counter {
    fn hold(&self, me: &Worker<'_>, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        if !self.acquire(me) {
            return false;
        }
        work();
        let release = || self.word.fetch_sub(HOLDER, Full) == HOLDER | BEGUN;
        let is_last = match self.broken {
            Broken::EarlyWake if self.word.load(Relaxed) == HOLDER | BEGUN => {
                self.wake();
                support::udelay(200);
                last();
                release()
            }
            Broken::EarlyRelease => {
                let is_last = release();
                support::udelay(200);
                last();
                is_last
            }
            _ => {
                last();
                release()
            }
        };
        if is_last {
            if self.broken == Broken::StaleWake {
                support::udelay(200);
            }
            self.wake();
        }
        true
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        if self.add(BEGUN) && self.word.load(Acquire) == BEGUN {
            self.woken.store(1, Release);
        }
        if self.broken == Broken::Wait {
            return Waited::Over;
        }
        for _ in 0..timeout {
            let woken = self.woken.load(Acquire) != 0;
            let completed = self.word.load(Acquire) == BEGUN;
            let over = match self.broken {
                Broken::EarlyWake | Broken::StaleWake => woken || completed,
                // The wake-up may be a late one, of an earlier rundown.
                _ => woken && completed,
            };
            if over {
                return Waited::Over;
            }
            support::msleep(1);
        }
        Waited::TimedOut
    }

    fn resurrect(&self) -> bool {
        false
    }

    fn re_init(&self) -> bool {
        self.woken.store(0, Relaxed);
        // A broken one may have holders.
        self.word.fetch_sub(BEGUN, Full);
        true
    }
}

/// A reference that must not move.
struct Boxed<R>(Pin<KBox<R>>);

impl<R: Protocol> Protocol for Boxed<R> {
    fn hold(&self, me: &Worker<'_>, work: impl FnOnce(), last: impl FnOnce()) -> bool {
        self.0.hold(me, work, last)
    }

    // No `flick`: the per-CPU form begins in process context alone.
    fn begin(&self) -> bool {
        self.0.begin()
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        Protocol::wait(&*self.0, timeout)
    }

    fn resurrect(&self) -> bool {
        Protocol::resurrect(&*self.0)
    }

    fn re_init(&self) -> bool {
        Protocol::re_init(&*self.0)
    }
}

/// Two words that one reader writes with plain stores, one after its acquisition and one before its
/// release, and that a writer reads after its wait.
struct Plain(UnsafeCell<[u64; 2]>);

// SAFETY: A reader has its element of `Torture::plain` to itself, and writers read it after a wait,
// which does not return while the object is held; this is what the run tests. Mutants break it on
// purpose, on words that have no invalid values.
unsafe impl Sync for Plain {}

/// The object that is protected.
struct Torture<P> {
    protocol: P,
    /// One unless a writer uses the object alone.
    there: Atomic<u32>,
    /// Number of those that use it, counted under their guards.
    users: Atomic<i32>,
    plain: [Plain; READERS],
    /// In milliseconds; a wait that takes longer without a user was not woken.
    patience: u32,
}

impl<P: Protocol> Torture<P> {
    fn new(protocol: P, patience: u32) -> Self {
        Self {
            protocol,
            there: Atomic::new(1),
            users: Atomic::new(0),
            plain: [const { Plain(UnsafeCell::new([0; 2])) }; READERS],
            patience,
        }
    }

    /// Writes one of the reader's words; interrupts have none.
    fn store(&self, me: &Worker<'_>, which: usize) {
        if let Some(i) = me.reader {
            // SAFETY: Each reading thread has a number of its own, and the object is acquired, so
            // that no writer reads the word; the pointer is to an element of `self.plain`.
            unsafe { (*self.plain[i].0.get())[which] = me.last.get() };
        }
    }

    /// Whether both words of each reader are those of the same use.
    fn stores_are_visible(&self) -> bool {
        self.plain.iter().all(|plain| {
            // SAFETY: The wait returned, so no reader is between its two stores; the pointer is to
            // an element of `self.plain`.
            let [first, second] = unsafe { plain.0.get().read() };
            first == second
        })
    }

    fn use_it(&self, me: &Worker<'_>, window: impl Fn()) {
        me.last.set(me.last.get() + 1);
        let work = || {
            self.users.fetch_add(1, Full);
            self.store(me, 0);
            me.tally
                .must(self.there.load(Acquire) == 1, Violation::GoneUnderGuard);
            window();
        };
        let last = || {
            me.tally
                .must(self.there.load(Acquire) == 1, Violation::GoneUnderGuard);
            self.store(me, 1);
            self.users.fetch_sub(1, Full);
        };
        if self.protocol.hold(me, work, last) {
            me.tally.reads.inc();
        } else {
            me.tally.refused.inc();
            support::cpu_relax();
        }
    }
}

impl<P: Protocol> Part for Torture<P> {
    fn read(&self, me: &Worker<'_>) {
        self.use_it(me, || me.sleeping_window());
    }

    fn interrupt(&self, me: &Worker<'_>, _hard: bool) {
        self.use_it(me, || me.window());
        if me.rng.one_in(4) {
            self.protocol.flick();
        }
    }

    fn write(&self, me: &Worker<'_>) {
        if !self.protocol.begin() {
            return;
        }
        // Now and then the timeout is too short, and the rundown is cancelled.
        if me.rng.one_in(4)
            && self.protocol.wait(1) == Waited::TimedOut
            && self.protocol.resurrect()
        {
            me.window();
            return;
        }
        let mut waited = 0;
        while self.protocol.wait(msecs_to_jiffies(self.patience)) == Waited::TimedOut {
            waited += 1;
            if self.users.load(Acquire) == 0 || waited > 20 {
                me.tally.violated(Violation::NotWoken);
                break;
            }
        }
        let mine = self.there.xchg(0, Full) == 1;
        me.tally.must(
            mine && self.users.load(Acquire) == 0,
            Violation::HeldAfterWait,
        );
        me.tally
            .must(self.stores_are_visible(), Violation::StoreMissing);
        me.sleeping_window();
        me.tally
            .must(self.users.load(Acquire) == 0, Violation::HeldAfterWait);
        self.there.store(1, Release);
        me.tally
            .must(self.protocol.re_init(), Violation::NotReInitialized);
        me.tally.writes.inc();
        // Now and then the readers have it for a while, else the next rundown follows at once.
        if me.rng.one_in(2) {
            for _ in 0..me.rng.below(20) {
                support::udelay(50);
                support::cond_resched();
            }
        }
    }

    fn finish(&self, tally: &Tally) {
        tally.must(self.users.load(Acquire) == 0, Violation::HeldAfterWait);
        tally.must(
            self.protocol
                .wait(msecs_to_jiffies(self.patience.max(10_000)))
                == Waited::Over,
            Violation::NotWoken,
        );
    }
}

/// Runs the part or one of its mutants.
pub(crate) fn run(how: &How<'_>) -> Result {
    match how.mutant.to_bytes() {
        b"none" => frame::run(how, Torture::new(RundownRef::new(), 30_000)),
        b"percpu" => {
            let percpu = Boxed(KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?);
            frame::run(how, Torture::new(percpu, 30_000))
        }
        b"data" => rundown_data::run(how),
        b"control" => frame::run(how, Torture::new(Counter::new(Broken::Nothing), 30_000)),
        b"released-early" => {
            frame::run(how, Torture::new(ReleasedEarly(RundownRef::new()), 30_000))
        }
        b"not-waited" => frame::run(how, Torture::new(Counter::new(Broken::Wait), 500)),
        b"wake-lost" => frame::run(how, Torture::new(Counter::new(Broken::Wake), 200)),
        b"checked-then-counted" => {
            frame::run(how, Torture::new(Counter::new(Broken::Acquire), 500))
        }
        b"early-wake" => frame::run(how, Torture::new(Counter::new(Broken::EarlyWake), 500)),
        b"early-release" => frame::run(how, Torture::new(Counter::new(Broken::EarlyRelease), 500)),
        b"stale-wake" => frame::run(how, Torture::new(Counter::new(Broken::StaleWake), 500)),
        _ => Err(EINVAL),
    }
}
