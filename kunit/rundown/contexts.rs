// SPDX-License-Identifier: GPL-2.0

//! Acquiring and releasing in each context, the last release too.

use super::Form;
use crate::support::{
    self,
    Timer,
    TimerContext, //
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
        Arc, //
    },
};
use quiesce::{
    rcu::{
        self,
        Domain, //
    },
    rundown::{
        Freezable,
        HasRundown,
        PerCpuRundownRef,
        RundownError,
        RundownRef,
        Wait, //
    }, //
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Preempt,
    BhOff,
    Softirq,
    Hardirq,
    Nmi,
}

/// Runs `f` in a context; `None` if this machine has no such.
pub(super) fn run<T: Send>(context: Context, f: impl FnOnce() -> T + Send) -> Option<T> {
    match context {
        Context::Preempt => Some(support::preempt_disabled(f)),
        Context::BhOff => Some(support::bh_disabled(f)),
        Context::Softirq => support::in_softirq(f),
        Context::Hardirq => support::in_hardirq(f),
        Context::Nmi => support::in_nmi(f),
    }
}

/// Acquires one and several guards in `context`, and is refused after the rundown has begun.
fn acquire_in<R: Form>(context: Context) -> Result {
    let r = R::live()?;
    let ret = run(context, || {
        let Ok(guard) = r.try_acquire() else {
            return (false, 0, None);
        };
        let Ok(many) = r.try_acquire_many(3) else {
            return (false, 0, None);
        };
        let clone = guard.clone();
        let holders = r.holders();
        drop(guard);
        drop(clone);
        drop(many);
        (true, holders, None)
    });
    if context == Context::Nmi && ret.is_none() {
        pr_info!("no NMI can be sent here\n");
        return Ok(());
    }
    ensure_eq!(ret, Some((true, 5, None::<RundownError>)));
    ensure_eq!(r.holders(), 0);
    r.wait_for_rundown();
    let ret = run(context, || r.try_acquire().err());
    ensure_eq!(ret, Some(Some(RundownError::RundownInProgress)));
    Ok(())
}

/// The last release is there, and a waiter is woken.
fn last_release_in<R: Form>(context: Context) -> Result {
    for _ in 0..5 {
        let r = R::live()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let theirs = r.clone();
        let over = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let told = over.clone();
        let waiter = support::spawn(c"rundown_waiter", move || {
            theirs.wait_for_rundown();
            told.store(1, kernel::sync::atomic::Release);
        })?;
        while !guard.is_rundown_requested() {
            support::msleep(1);
        }
        // A per-CPU form's counters are collected meanwhile.
        support::msleep(30);
        let early = over.load(Acquire);
        let mut guard = Some(guard);
        let ran = run(context, || drop(guard.take()));
        // If there is no such context.
        drop(guard);
        waiter.join();
        ensure_eq!(early, 0);
        ensure_eq!(over.load(Acquire), 1);
        ensure!(ran.is_some() || context == Context::Nmi);
    }
    Ok(())
}

/// A word is also run down, polled, taken back and armed there.
fn run_down_in(context: Context) -> Result {
    let r = RundownRef::new();
    let guard = r.try_acquire()?.unbind();
    let ret = run(context, || {
        (
            r.begin_rundown(),
            r.resurrect(),
            r.begin_rundown(),
            r.re_init(),
            r.wait_for_rundown_timeout(0),
        )
    });
    drop(guard);
    let over = run(context, || {
        (
            r.wait_for_rundown_timeout(0),
            r.rundown_completed(),
            r.re_init(),
        )
    });
    ensure_eq!(
        ret,
        Some((
            true,
            Ok(()),
            true,
            Err(RundownError::NotDrained),
            Err(RundownError::TimedOut)
        ))
    );
    ensure_eq!(over, Some((Ok(()), true, Ok(()))));
    ensure!(r.try_acquire().is_ok());
    Ok(())
}

/// What may sleep fails, and does nothing, where that is not allowed. The kernel warns once, and the
/// caller has announced it.
pub(super) fn no_waits_in_atomic_context() -> Result {
    if !cfg!(CONFIG_PREEMPT_COUNT) {
        return Ok(());
    }
    begins_not()?;
    resurrects_not()?;
    listens_not()?;
    waits_in_no_reader()?;
    runs_down_not()?;
    insists()?;
    acquires_not()
}

// Functions of their own: all of it in one takes the compiler very long.
#[inline(never)]
fn begins_not() -> Result {
    let percpu = PerCpuRundownRef::live()?;
    let begun = support::preempt_disabled(|| percpu.begin_rundown());
    ensure_eq!((begun, percpu.is_rundown_requested()), (false, false));
    // Nor does a wait that only polls begin it: that locks a mutex.
    ensure_eq!(polls(&percpu), Err(RundownError::WouldSleep));
    ensure!(!percpu.is_rundown_requested());
    Ok(())
}

#[inline(never)]
fn polls(percpu: &PerCpuRundownRef) -> Result<(), RundownError> {
    support::preempt_disabled(|| percpu.wait_for_rundown_timeout(0))
}

#[inline(never)]
fn resurrects_not() -> Result {
    let percpu = PerCpuRundownRef::live()?;
    let ret = support::preempt_disabled(|| percpu.resurrect());
    // With the mutex locked it would be `NotInProgress`.
    ensure_eq!(ret, Err(RundownError::WouldSleep));
    Ok(())
}

/// The wait for a request calls the scheduler also with a timeout of zero.
#[inline(never)]
fn listens_not() -> Result {
    let r = RundownRef::new();
    let guard = r.try_acquire()?.unbind();
    let rets = [
        Wait::uninterruptible().timeout(0),
        Wait::killable().timeout(0),
        Wait::interruptible().timeout(0),
        Wait::uninterruptible().timeout(1),
    ]
    .map(|how| support::preempt_disabled(|| guard.wait_until_requested(how)));
    drop(guard);
    ensure_eq!(rets, [Err(RundownError::WouldSleep); 4]);
    Ok(())
}

/// A task may be preempted in a read-side critical section of RCU, and must not sleep there.
#[inline(never)]
fn waits_in_no_reader() -> Result {
    if cfg!(CONFIG_PREEMPT_RCU) {
        waits_not_in(|wait| {
            let _section = kernel::sync::rcu::read_lock();
            wait()
        })?;
    }
    // Without preemptible RCU that is one of an SRCU domain.
    waits_not_in(|wait| rcu::global().run(|_| wait()))
}

fn waits_not_in(
    section: impl FnOnce(&dyn Fn() -> Result<(), RundownError>) -> Result<(), RundownError>,
) -> Result {
    let r = RundownRef::new();
    let guard = r.try_acquire()?.unbind();
    let ret = section(&|| r.wait_for_rundown_timeout(1));
    let begun = r.is_rundown_requested();
    drop(guard);
    ensure_eq!((ret, begun), (Err(RundownError::WouldSleep), false));
    Ok(())
}

/// A holder that cannot wait begins the rundown of a word, and holds it no more.
#[inline(never)]
fn runs_down_not() -> Result {
    let r = RundownRef::new();
    let guard = r.try_acquire()?;
    let ret = support::preempt_disabled(|| guard.into_rundown().map(drop));
    ensure_eq!(ret, Err(RundownError::WouldSleep));
    ensure_eq!((r.is_rundown_requested(), r.holders()), (true, 0));
    Ok(())
}

/// The wait that cannot fail runs down what nobody holds, with the warning alone.
#[inline(never)]
fn insists() -> Result {
    let r = RundownRef::new();
    support::preempt_disabled(|| r.wait_for_rundown());
    ensure!(r.rundown_completed());
    Ok(())
}

#[inline(never)]
fn freezes(object: &Freezable<RundownRef>) -> bool {
    support::preempt_disabled(|| {
        !matches!(
            object.freeze(Wait::uninterruptible().timeout(0)),
            Err(RundownError::WouldSleep)
        ) || object.remove(Wait::uninterruptible().timeout(0)) != Err(RundownError::WouldSleep)
    })
}

#[inline(never)]
fn acquires_not() -> Result {
    let object = KBox::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
    ensure!(!freezes(&object) && !object.is_frozen());
    let frozen = object.freeze(Wait::uninterruptible())?;
    let acquired = would_sleep(&object);
    drop(frozen);
    ensure!(acquired);
    Ok(())
}

#[inline(never)]
fn would_sleep(object: &Freezable<RundownRef>) -> bool {
    support::preempt_disabled(|| matches!(object.acquire_or_wait(), Err(RundownError::WouldSleep)))
}

/// A timer's interrupts acquire while a task runs the object down and arms it again.
fn timer<R: Form>(context: TimerContext, rounds: u32) -> Result {
    struct Shared<R> {
        r: Arc<R>,
        inside: Atomic<u32>,
        gone: Atomic<bool>,
        acquired: Atomic<u32>,
        refused: Atomic<u32>,
        wrong: Atomic<u32>,
    }

    let shared = Arc::new(
        Shared {
            r: R::live()?,
            inside: Atomic::new(0),
            gone: Atomic::new(false),
            acquired: Atomic::new(0),
            refused: Atomic::new(0),
            wrong: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let s = shared.clone();
    let timer = Timer::start(context, 20, None, move || match s.r.try_acquire() {
        Ok(_guard) => {
            s.inside.fetch_add(1, Full);
            if s.gone.load(Acquire) {
                s.wrong.fetch_add(1, Full);
            }
            s.acquired.fetch_add(1, Full);
            s.inside.fetch_sub(1, Full);
        }
        Err(_) => {
            s.refused.fetch_add(1, Full);
        }
    })?;
    let mut ret = Ok(());
    for _ in 0..rounds {
        shared.r.wait_for_rundown();
        shared.gone.xchg(true, Full);
        if shared.inside.load(Acquire) != 0 {
            shared.wrong.fetch_add(1, Full);
        }
        support::udelay(30);
        shared.gone.xchg(false, Full);
        ret = shared.r.re_init();
        if ret.is_err() {
            break;
        }
        support::udelay(30);
    }
    // A slow machine may need more for one of each.
    let mut patience = 2000;
    while shared.acquired.load(Acquire) == 0 && patience > 0 {
        support::msleep(1);
        patience -= 1;
    }
    drop(timer);
    ensure_eq!(ret, Ok(()));
    ensure_eq!(shared.wrong.load(Acquire), 0);
    ensure!(shared.acquired.load(Acquire) > 0);
    Ok(())
}

/// The number of holders is exact while the CPUs' counters are collected, which takes as long as
/// a reader that began before.
fn holders_under_collection() -> Result {
    if support::num_online_cpus() < 2 {
        // The reader would not be preempted where RCU is not.
        return Ok(());
    }
    let r = PerCpuRundownRef::live()?;
    let guards = r.try_acquire_many(3)?;
    let phase = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let theirs = phase.clone();
    let reader = support::spawn(c"rundown_reader", move || {
        let _section = kernel::sync::rcu::read_lock();
        theirs.store(1, Release);
        while theirs.load(Acquire) == 1 {
            support::cpu_relax();
        }
    })?;
    while phase.load(Acquire) == 0 {
        support::msleep(1);
    }
    let before = r.holders();
    let begun = r.begin_rundown();
    let during = r.holders();
    phase.store(2, Release);
    reader.join();
    drop(guards);
    r.wait_for_rundown();
    ensure!(begun);
    ensure_eq!((before, during, r.holders()), (3, 3, 0));
    Ok(())
}

/// Interrupts of a task that only acquires.
struct Interrupted {
    all: Atomic<u32>,
    in_reader: Atomic<u32>,
    over: Atomic<bool>,
}

/// The fast acquisition or release of the per-CPU form is in an RCU read-side critical section: a part
/// of the interrupts of a task that does little else finds it in one.
fn counted_in_a_reader(release: bool) -> Result {
    const ENOUGH: u32 = 200;

    if !cfg!(CONFIG_PREEMPT_RCU) {
        // A section is not counted there.
        return Ok(());
    }
    let seen = Arc::new(
        Interrupted {
            all: Atomic::new(0),
            in_reader: Atomic::new(0),
            over: Atomic::new(false),
        },
        GFP_KERNEL,
    )?;
    let cpu = 0;
    let theirs = seen.clone();
    let task = support::spawn_on(cpu, c"rundown_acquirer", move || {
        let acquire = || -> Result {
            let r = PerCpuRundownRef::live()?;
            let mut all = r.try_acquire_many(1)?;
            // SAFETY: `get_current()` only reads this CPU's pointer to the running task, in any
            // context.
            let me = unsafe { bindings::get_current() } as usize;
            let counted = theirs.clone();
            let timer = Timer::start(TimerContext::Hardirq, 200, Some(cpu), move || {
                // SAFETY: `get_current()` only reads this CPU's pointer to the running task, in any
                // context.
                let current = unsafe { bindings::get_current() } as usize;
                if current == me && !counted.over.load(Acquire) {
                    counted.all.fetch_add(1, Full);
                    if support::counts().rcu != 0 {
                        counted.in_reader.fetch_add(1, Full);
                    }
                }
            })?;
            let mut merged = true;
            while theirs.all.load(Relaxed) < ENOUGH && merged {
                merged = if !release {
                    all.merge(r.try_acquire()?.into()).is_ok()
                } else if let Some(one) = all.split_one() {
                    // A release alone.
                    drop(one);
                    true
                } else {
                    all.merge(r.try_acquire_many(1 << 20)?).is_ok()
                };
            }
            theirs.over.store(true, Release);
            drop(timer);
            ensure!(merged);
            Ok(())
        };
        if acquire().is_err() {
            theirs.all.store(0, Release);
        }
    })?;
    task.join();
    let (all, in_reader) = (seen.all.load(Acquire), seen.in_reader.load(Acquire));
    pr_info!("{} of {} interrupts were in a reader\n", in_reader, all);
    ensure!(all >= ENOUGH);
    ensure!(in_reader >= all / 50);
    Ok(())
}

#[kunit_tests(quiesce_rundown_contexts)]
mod tests {
    use super::*;

    #[test]
    fn holders_under_collection() -> Result {
        super::holders_under_collection()
    }

    #[test]
    fn acquisition_is_in_a_reader() -> Result {
        counted_in_a_reader(false)
    }

    #[test]
    fn release_is_in_a_reader() -> Result {
        counted_in_a_reader(true)
    }

    #[test]
    fn preempt_off() -> Result {
        acquire_in::<RundownRef>(Context::Preempt)?;
        acquire_in::<PerCpuRundownRef>(Context::Preempt)?;
        last_release_in::<RundownRef>(Context::Preempt)?;
        last_release_in::<PerCpuRundownRef>(Context::Preempt)
    }

    #[test]
    fn bh_off() -> Result {
        acquire_in::<RundownRef>(Context::BhOff)?;
        acquire_in::<PerCpuRundownRef>(Context::BhOff)?;
        last_release_in::<RundownRef>(Context::BhOff)?;
        last_release_in::<PerCpuRundownRef>(Context::BhOff)
    }

    #[test]
    fn run_down_anywhere_word() -> Result {
        run_down_in(Context::Preempt)?;
        run_down_in(Context::BhOff)?;
        run_down_in(Context::Softirq)?;
        run_down_in(Context::Hardirq)
    }

    #[test]
    fn softirq_word() -> Result {
        acquire_in::<RundownRef>(Context::Softirq)?;
        last_release_in::<RundownRef>(Context::Softirq)?;
        timer::<RundownRef>(TimerContext::Softirq, 300)
    }

    #[test]
    fn softirq_percpu() -> Result {
        acquire_in::<PerCpuRundownRef>(Context::Softirq)?;
        last_release_in::<PerCpuRundownRef>(Context::Softirq)?;
        timer::<PerCpuRundownRef>(TimerContext::Softirq, 10)
    }

    #[test]
    fn hardirq_word() -> Result {
        acquire_in::<RundownRef>(Context::Hardirq)?;
        last_release_in::<RundownRef>(Context::Hardirq)?;
        timer::<RundownRef>(TimerContext::Hardirq, 300)
    }

    #[test]
    fn hardirq_percpu() -> Result {
        acquire_in::<PerCpuRundownRef>(Context::Hardirq)?;
        last_release_in::<PerCpuRundownRef>(Context::Hardirq)?;
        timer::<PerCpuRundownRef>(TimerContext::Hardirq, 10)
    }

    #[test]
    fn nmi_word() -> Result {
        acquire_in::<RundownRef>(Context::Nmi)?;
        last_release_in::<RundownRef>(Context::Nmi)
    }

    #[test]
    fn nmi_percpu() -> Result {
        acquire_in::<PerCpuRundownRef>(Context::Nmi)?;
        last_release_in::<PerCpuRundownRef>(Context::Nmi)
    }
}
