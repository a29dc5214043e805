// SPDX-License-Identifier: GPL-2.0

//! Guards: many at once, owned, cloned, sent and leaked.

use super::{
    comes_to_hold,
    Form, //
};
use crate::support;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::{
    impl_has_rundown,
    rundown::{
        ArcGuard,
        Drained,
        HasRundown,
        PerCpuRundownRef,
        RundownError,
        RundownGuards,
        RundownProtect,
        RundownRef,
        Wait, //
    }, //
};

fn many_split_and_merge<R: Form>() -> Result {
    let r = R::live()?;
    let other = R::live()?;
    let mut guards = r.try_acquire_many(5)?;
    ensure_eq!(guards.count(), 5);
    ensure_eq!(r.holders(), 5);

    let two = guards.split(2)?;
    ensure_eq!((guards.count(), two.count()), (3, 2));
    ensure_eq!(guards.split(0).err(), Some(RundownError::ZeroCount));
    ensure_eq!(guards.split(3).err(), Some(RundownError::ZeroCount));
    ensure_eq!(guards.split(4).err(), Some(RundownError::Overflow));
    let one = guards.split_one().ok_or(EINVAL)?;
    ensure_eq!(r.holders(), 5);
    drop(one);
    ensure_eq!(r.holders(), 4);

    let stranger = other.try_acquire()?;
    let stranger = match guards.merge(stranger.into()) {
        Ok(()) => return Err(EINVAL),
        Err(stranger) => stranger,
    };
    ensure_eq!((guards.count(), other.holders()), (2, 1));
    drop(stranger);
    ensure!(guards.merge(two).is_ok());
    ensure!(guards.merge(r.try_acquire()?.into()).is_ok());
    ensure_eq!((guards.count(), r.holders()), (5, 5));

    let mut alone: RundownGuards<'_, R> = r.try_acquire()?.into();
    ensure_eq!(alone.count(), 1);
    ensure!(alone.split_one().is_none());
    drop(alone);

    r.begin_rundown();
    // What is acquired can be shared out also afterwards.
    let rest = guards.split(4)?;
    drop(guards);
    ensure_eq!(r.wait_for_rundown_timeout(0), Err(RundownError::TimedOut));
    drop(rest);
    r.wait_for_rundown();
    Ok(())
}

/// Two CPUs acquire and release at the same time, and each holder is counted.
fn two_cpus_at_once() -> Result {
    const TIMES: u32 = 300_000;

    let r = RundownRef::live()?;
    let mut threads = KVec::new();
    for cpu in [0, support::next_cpu(0)] {
        let theirs = r.clone();
        threads.push(
            support::spawn_on(cpu, c"rundown_holder", move || {
                for i in 0..TIMES {
                    drop(theirs.try_acquire());
                    if i % 1024 == 0 {
                        support::cond_resched();
                    }
                }
            })?,
            GFP_KERNEL,
        )?;
    }
    drop(threads);
    ensure_eq!(r.holders(), 0);
    ensure_eq!(r.wait_for_rundown_timeout(0), Ok(()));
    Ok(())
}

fn not_as_many<R: Form>() -> Result {
    let r = R::live()?;
    ensure_eq!(r.try_acquire_many(0).err(), Some(RundownError::ZeroCount));
    ensure_eq!(
        r.try_acquire_many(usize::MAX).err(),
        Some(RundownError::Overflow)
    );
    ensure_eq!(
        r.try_acquire_many(RundownGuards::<'_, R>::MAX + 1).err(),
        Some(RundownError::Overflow)
    );
    ensure_eq!(r.holders(), 0);
    // As many as a guard can have, and two more.
    let two = r.try_acquire_many(2)?;
    ensure_eq!(
        r.try_acquire_many(RundownGuards::<'_, R>::MAX).err(),
        Some(RundownError::Overflow)
    );
    ensure_eq!(r.holders(), 2);
    drop(two);
    ensure_eq!(r.holders(), 0);
    let r = R::run_down()?;
    ensure_eq!(r.try_acquire_many(0).err(), Some(RundownError::ZeroCount));
    Ok(())
}

fn clone_after_begin<R: Form>() -> Result {
    let r = R::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    ensure!(r.begin_rundown());
    let second = guard.clone();
    ensure!(second.is_rundown_requested());
    ensure_eq!(r.try_acquire().err(), Some(RundownError::RundownInProgress));
    drop(guard);
    ensure_eq!(
        r.wait_for_rundown_timeout(msecs_to_jiffies(5)),
        Err(RundownError::TimedOut)
    );
    drop(second);
    r.wait_for_rundown();
    Ok(())
}

/// An owned guard moves to another task and outlives all other owners of the object.
fn owned<R: Form>() -> Result {
    let r = R::live()?;
    let guard: ArcGuard<R> = HasRundown::try_acquire_arc(r.clone())?;
    let waiter = support::spawn(c"rundown_owned", move || {
        support::msleep(10);
        // Here lockdep sees it again.
        let guard = guard.bind();
        support::msleep(1);
        drop(guard);
    })?;
    r.wait_for_rundown();
    waiter.join();

    let last = R::live()?;
    let guard = HasRundown::try_acquire_arc_many(last.clone(), 2)?;
    drop(last);
    ensure_eq!(guard.object().holders(), 2);
    Ok(())
}

fn holder_runs_down<R: Form>() -> Result {
    let r = R::live()?;
    let other = HasRundown::try_acquire_arc(r.clone())?;
    let thread = support::spawn(c"rundown_other", move || {
        while !other.is_rundown_requested() {
            support::msleep(1);
        }
        drop(other);
    })?;
    let ret = r
        .try_acquire()?
        .into_rundown()
        .map(|r| r.rundown_completed());
    thread.join();
    ensure_eq!(ret, Ok(true));

    // Two of them at once: each releases its own before it waits.
    r.re_init()?;
    let first = HasRundown::try_acquire_arc(r.clone())?;
    let second = HasRundown::try_acquire_arc(r.clone())?;
    let succeeded = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let theirs = succeeded.clone();
    let thread = support::spawn(c"rundown_second", move || {
        theirs.fetch_add(u32::from(second.into_rundown().is_ok()), Full);
    })?;
    let ret = first.into_rundown().map(drop);
    thread.join();
    ensure_eq!((ret, succeeded.load(Acquire)), (Ok(()), 1));

    r.re_init()?;
    let blocker = HasRundown::try_acquire_arc(r.clone())?;
    let ret = r
        .try_acquire()?
        .into_rundown_with(Wait::killable().timeout(1))
        .err();
    drop(blocker);
    ensure_eq!(ret, Some(RundownError::TimedOut));
    // The guard was released all the same.
    ensure!(comes_to_hold(&*r, 0));
    r.wait_for_rundown();
    Ok(())
}

/// A callback that makes its reference live again, and acquires it.
struct Renews {
    own: Atomic<*mut RundownRef<Renews>>,
    kept: Atomic<*mut RundownRef<Renews>>,
}

impl Drained for Renews {
    fn drained(&self) {
        let own = self.own.xchg(core::ptr::null_mut(), Full);
        if own.is_null() {
            return;
        }
        // SAFETY: The pointer comes from `Arc::into_raw`, and is used once.
        let own = unsafe { Arc::from_raw(own.cast_const()) };
        let _ = own.re_init();
        if let Ok(guard) = HasRundown::try_acquire_arc(own) {
            self.kept.store(guard.into_raw().cast_mut(), Release);
        }
    }
}

/// A holder that runs the object down does not miss the end of that rundown, though the object is
/// acquired again at once.
fn holder_runs_down_once() -> Result {
    for timeout in [0, msecs_to_jiffies(100)] {
        let r = Arc::new(
            RundownRef::with_callback(Renews {
                own: Atomic::new(core::ptr::null_mut()),
                kept: Atomic::new(core::ptr::null_mut()),
            }),
            GFP_KERNEL,
        )?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let own = Arc::into_raw(r.clone()).cast_mut();
        r.callback().own.store(own, Release);
        let ret = guard
            .into_rundown_with(Wait::uninterruptible().timeout(timeout))
            .map(drop);
        let live = !r.is_rundown_requested();
        let kept = r.callback().kept.load(Acquire);
        ensure!(!kept.is_null());
        // SAFETY: The pointer comes from `into_raw`, and is used once.
        drop(unsafe { ArcGuard::from_raw(kept.cast_const()) });
        ensure_eq!((ret, live), (Ok(()), true));
    }
    Ok(())
}

/// A leaked guard makes a wait hang, or time out, and breaks nothing.
fn leaked<R: Form>() -> Result {
    let r = R::live()?;
    core::mem::forget(r.try_acquire()?.unbind());
    ensure_eq!(
        r.wait_for_rundown_timeout(msecs_to_jiffies(20)),
        Err(RundownError::TimedOut)
    );
    ensure_eq!(r.re_init(), Err(RundownError::NotDrained));
    ensure!(comes_to_hold(&*r, 1));
    r.resurrect()?;
    drop(r.try_acquire()?);
    // Also dropping it while a rundown is in progress that never ends.
    r.begin_rundown();
    ensure_eq!(
        r.wait_for_rundown_timeout(msecs_to_jiffies(20)),
        Err(RundownError::TimedOut)
    );
    Ok(())
}

struct Device {
    users: RundownRef,
    id: u32,
}

impl_has_rundown! {
    impl HasRundown for Device { self.users: RundownRef }
}

/// Counts the rundowns that ended.
struct Ended(Atomic<u32>);

impl Ended {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    fn get(&self) -> u32 {
        self.0.load(Acquire)
    }
}

impl Drained for Ended {
    fn drained(&self) {
        self.0.fetch_add(1, Full);
    }
}

fn callback<R>(r: &R, ended: &Ended) -> Result
where
    R: RundownProtect + HasRundown<Ref = R>,
{
    // Without a waiter: each rundown calls once.
    for rundown in 1..=3 {
        let guard = r.try_acquire()?;
        let more = r.try_acquire_many(2)?;
        r.begin_rundown();
        drop(guard);
        ensure_eq!(ended.get(), rundown - 1);
        drop(more);
        let mut patience = 10_000;
        while !r.rundown_completed() && patience > 0 {
            support::msleep(1);
            patience -= 1;
        }
        ensure_eq!(ended.get(), rundown);
        r.re_init()?;
    }
    // Without a holder, too: by begin, and by a wait.
    r.begin_rundown();
    r.wait_for_rundown();
    ensure_eq!(ended.get(), 4);
    r.re_init()?;
    r.wait_for_rundown();
    ensure_eq!(ended.get(), 5);
    // A rundown that is over ends no second time.
    r.begin_rundown();
    r.wait_for_rundown();
    ensure_eq!(ended.get(), 5);
    Ok(())
}

#[kunit_tests(quiesce_rundown_guards)]
mod tests {
    use super::*;

    #[test]
    fn two_cpus_at_once() -> Result {
        super::two_cpus_at_once()
    }

    #[test]
    fn many_split_and_merge_word() -> Result {
        many_split_and_merge::<RundownRef>()
    }

    #[test]
    fn many_split_and_merge_percpu() -> Result {
        many_split_and_merge::<PerCpuRundownRef>()
    }

    #[test]
    fn not_as_many_word() -> Result {
        not_as_many::<RundownRef>()
    }

    #[test]
    fn not_as_many_percpu() -> Result {
        not_as_many::<PerCpuRundownRef>()
    }

    #[test]
    fn clone_after_begin_word() -> Result {
        clone_after_begin::<RundownRef>()
    }

    #[test]
    fn clone_after_begin_percpu() -> Result {
        clone_after_begin::<PerCpuRundownRef>()
    }

    #[test]
    fn owned_word() -> Result {
        owned::<RundownRef>()
    }

    #[test]
    fn owned_percpu() -> Result {
        owned::<PerCpuRundownRef>()
    }

    #[test]
    fn holder_runs_down_word() -> Result {
        holder_runs_down::<RundownRef>()
    }

    #[test]
    fn holder_runs_down_percpu() -> Result {
        holder_runs_down::<PerCpuRundownRef>()
    }

    #[test]
    fn holder_runs_down_once() -> Result {
        super::holder_runs_down_once()
    }

    #[test]
    fn leaked_word() -> Result {
        leaked::<RundownRef>()
    }

    #[test]
    fn leaked_percpu() -> Result {
        leaked::<PerCpuRundownRef>()
    }

    #[test]
    fn callback_word() -> Result {
        let r = RundownRef::with_callback(Ended::new());
        callback(&r, r.callback())
    }

    #[test]
    fn callback_percpu() -> Result {
        let r = KBox::pin_init(PerCpuRundownRef::with_callback(Ended::new()), GFP_KERNEL)?;
        callback(&*r, r.callback())
    }

    #[test]
    fn callback_of_what_is_born_run_down() -> Result {
        let r = RundownRef::new_rundown_with_callback(Ended::new());
        r.begin_rundown();
        assert_eq!(r.callback().get(), 0);
        assert!(r.re_init().is_ok());
        r.begin_rundown();
        assert_eq!(r.callback().get(), 1);
        Ok(())
    }

    #[test]
    fn callback_of_what_is_born_run_down_percpu() -> Result {
        let r = PerCpuRundownRef::new_rundown_with_callback(Ended::new());
        let r = KBox::pin_init(r, GFP_KERNEL)?;
        let refused = r.try_acquire().is_err();
        let begun = r.begin_rundown();
        assert!(refused && !begun);
        assert_eq!(r.callback().get(), 0);
        assert!(r.re_init().is_ok());
        r.wait_for_rundown();
        assert_eq!(r.callback().get(), 1);
        Ok(())
    }

    #[test]
    fn object_of_ones_own() -> Result {
        let device = Arc::new(
            Device {
                users: RundownRef::new(),
                id: 7,
            },
            GFP_KERNEL,
        )?;
        let id = device.try_acquire()?.object().id;
        let guard = HasRundown::try_acquire_arc(device.clone())?;
        let owned = guard.object().id;
        let blocked = device.users.wait_for_rundown_timeout(0);
        drop(guard);
        assert_eq!((id, owned), (7, 7));
        assert_eq!(blocked, Err(RundownError::TimedOut));
        device.users.wait_for_rundown();
        assert!(device.try_acquire().is_err());
        Ok(())
    }
}
