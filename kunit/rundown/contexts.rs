// SPDX-License-Identifier: GPL-2.0

//! Acquiring and releasing in each context, the last release too.

use super::Form;
use crate::support::{
    self,
    Timer,
    TimerContext, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc, //
    },
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    RundownError,
    RundownRef, //
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

/// A word is also run down, taken back and armed there.
fn run_down_in(context: Context) -> Result {
    let r = RundownRef::new();
    let guard = r.try_acquire()?.unbind();
    let ret = run(context, || {
        (
            r.begin_rundown(),
            r.resurrect(),
            r.begin_rundown(),
            r.re_init(),
        )
    });
    drop(guard);
    let over = run(context, || (r.rundown_completed(), r.re_init()));
    ensure_eq!(
        ret,
        Some((true, Ok(()), true, Err(RundownError::NotDrained)))
    );
    ensure_eq!(over, Some((true, Ok(()))));
    ensure!(r.try_acquire().is_ok());
    Ok(())
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

#[kunit_tests(quiesce_rundown_contexts)]
mod tests {
    use super::*;

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
