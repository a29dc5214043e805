// SPDX-License-Identifier: GPL-2.0

//! Rundown: threads and interrupts hold an object that a writer runs down, takes for itself and
//! arms again.

use crate::{
    frame::{
        self,
        How,
        Part,
        Tally,
        Violation,
        Worker, //
    },
    rundown_data,
    support, //
};
use core::pin::Pin;
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
    /// Runs `f` with a guard held, unless the object is being run down.
    fn hold(&self, me: &Worker<'_>, f: impl FnOnce()) -> bool;

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
    fn rearm(&self) -> bool;
}

impl<R: RundownProtect + HasRundown<Ref = R> + Send + 'static> Protocol for R {
    fn hold(&self, me: &Worker<'_>, f: impl FnOnce()) -> bool {
        let Ok(guard) = self.try_acquire() else {
            return false;
        };
        f();
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
            let _ = self.re_init();
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

    fn rearm(&self) -> bool {
        self.re_init().is_ok()
    }
}

/// The guard is released before the object is used.
struct ReleasedEarly(RundownRef);

impl Protocol for ReleasedEarly {
    fn hold(&self, _me: &Worker<'_>, f: impl FnOnce()) -> bool {
        let held = self.0.try_acquire().is_ok();
        if held {
            f();
        }
        held
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        Protocol::wait(&self.0, timeout)
    }

    fn resurrect(&self) -> bool {
        Protocol::resurrect(&self.0)
    }

    fn rearm(&self) -> bool {
        self.0.rearm()
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
    fn hold(&self, me: &Worker<'_>, f: impl FnOnce()) -> bool {
        let held = self.acquire(me);
        if held {
            f();
            if self.word.fetch_sub(HOLDER, Full) == HOLDER | BEGUN {
                self.wake();
            }
        }
        held
    }

    fn wait(&self, timeout: Jiffies) -> Waited {
        if self.add(BEGUN) && self.word.load(Acquire) == BEGUN {
            self.woken.store(1, Release);
        }
        if self.broken == Broken::Wait {
            return Waited::Over;
        }
        for _ in 0..timeout {
            // The flag may be a late one, of the rundown before.
            if self.woken.load(Acquire) != 0 && self.word.load(Acquire) == BEGUN {
                return Waited::Over;
            }
            support::msleep(1);
        }
        Waited::TimedOut
    }

    fn resurrect(&self) -> bool {
        false
    }

    fn rearm(&self) -> bool {
        self.woken.store(0, Relaxed);
        // A broken one may have holders.
        self.word.fetch_sub(BEGUN, Full);
        true
    }
}

/// A reference that must not move.
struct Boxed<R>(Pin<KBox<R>>);

impl<R: Protocol> Protocol for Boxed<R> {
    fn hold(&self, me: &Worker<'_>, f: impl FnOnce()) -> bool {
        self.0.hold(me, f)
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

    fn rearm(&self) -> bool {
        self.0.rearm()
    }
}

/// The object that is protected.
struct Torture<P> {
    protocol: P,
    /// As long as nobody has it for himself.
    there: Atomic<u32>,
    /// Those that use it, counted under their guards.
    users: Atomic<i32>,
    /// In milliseconds; who waits so long without a user was not woken.
    patience: u32,
}

impl<P: Protocol> Torture<P> {
    fn new(protocol: P, patience: u32) -> Self {
        Self {
            protocol,
            there: Atomic::new(1),
            users: Atomic::new(0),
            patience,
        }
    }

    fn use_it(&self, me: &Worker<'_>, window: impl Fn()) {
        let held = self.protocol.hold(me, || {
            self.users.fetch_add(1, Full);
            me.tally
                .must(self.there.load(Acquire) == 1, Violation::GoneUnderGuard);
            window();
            me.tally
                .must(self.there.load(Acquire) == 1, Violation::GoneUnderGuard);
            self.users.fetch_sub(1, Full);
        });
        if held {
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
        // Now and then not long enough, and the rundown is taken back.
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
        me.sleeping_window();
        me.tally
            .must(self.users.load(Acquire) == 0, Violation::HeldAfterWait);
        self.there.store(1, Release);
        me.tally.must(self.protocol.rearm(), Violation::CannotRearm);
        me.tally.writes.inc();
        // The others get it for a while.
        for _ in 0..me.rng.below(20) {
            support::udelay(50);
            support::cond_resched();
        }
    }

    fn finish(&self, tally: &Tally) {
        tally.must(self.users.load(Acquire) == 0, Violation::HeldAfterWait);
        tally.must(
            self.protocol.wait(msecs_to_jiffies(1000)) == Waited::Over,
            Violation::NotWoken,
        );
    }
}

/// Runs the part or one of its mutants.
pub(crate) fn run(how: &How<'_>) -> Result {
    match how.twin.to_bytes() {
        b"none" => frame::run(how, Torture::new(RundownRef::new(), 5000)),
        b"percpu" => {
            let percpu = Boxed(KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?);
            frame::run(how, Torture::new(percpu, 5000))
        }
        b"data" => rundown_data::run(how),
        b"control" => frame::run(how, Torture::new(Counter::new(Broken::Nothing), 5000)),
        b"released-early" => frame::run(how, Torture::new(ReleasedEarly(RundownRef::new()), 5000)),
        b"not-waited" => frame::run(how, Torture::new(Counter::new(Broken::Wait), 500)),
        b"wake-lost" => frame::run(how, Torture::new(Counter::new(Broken::Wake), 200)),
        b"checked-then-counted" => {
            frame::run(how, Torture::new(Counter::new(Broken::Acquire), 500))
        }
        _ => Err(EINVAL),
    }
}
