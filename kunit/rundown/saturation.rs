// SPDX-License-Identifier: GPL-2.0

//! The edges of the count: what cannot be counted is leaked, with a warning.

use super::{
    comes_true,
    complaining,
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
            Relaxed, //
        },
        Arc, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    Freezable,
    HasRundown,
    PerCpuRundownRef,
    Rundown,
    RundownError,
    RundownGuards,
    RundownRef,
    Wait, //
};

/// The largest number of holders that the word can hold.
const EDGE: usize = usize::MAX >> 2;

const TOO_MANY: &str = "WARNING: .*rundown_too_many_holders";

fn at(holders: usize) -> RundownRef {
    let mut r = RundownRef::new();
    r.set_holders_for_test(holders);
    r
}

/// A saturated object is as good as leaked: it never ends, and says so at once.
fn is_saturated<R: Form>(r: &R) -> Result {
    ensure_eq!(r.holders(), usize::MAX);
    ensure_eq!(
        r.wait_with(Wait::uninterruptible()),
        Err(RundownError::Saturated)
    );
    ensure_eq!(r.re_init(), Err(RundownError::Saturated));
    ensure_eq!(r.resurrect(), Err(RundownError::NotInProgress));
    ensure!(!r.rundown_completed());
    ensure!(r.try_acquire().is_err());
    Ok(())
}

fn clone_over_the_edge() -> Result {
    let r = at(EDGE - 1);
    let guard = r.try_acquire()?;
    ensure_eq!(r.holders(), EDGE);
    let second = complaining(TOO_MANY, || guard.clone());
    // Once is enough.
    let third = second.clone();
    drop(guard);
    drop(second);
    drop(third);
    is_saturated(&r)
}

/// A saturated object stays frozen, and who waits for its thaw learns that.
fn frozen_for_good() -> Result {
    let queue = KBox::pin_init(Freezable::new(at(EDGE - 1)), GFP_KERNEL)?;
    let guard = queue.try_acquire()?;
    let second = complaining(TOO_MANY, || guard.clone());
    drop((guard, second));
    let frozen = queue.freeze(Wait::uninterruptible()).map(drop);
    ensure_eq!(frozen, Err(RundownError::Saturated));
    let acquired = queue.acquire_or_wait().map(drop);
    ensure_eq!(acquired, Err(RundownError::RundownInProgress));
    ensure!(queue.is_frozen());
    Ok(())
}

/// What a clone saturated stays so, though the count alone would fit again.
fn one_clone_over_the_edge() -> Result {
    let r = at(EDGE - 1);
    let guard = r.try_acquire()?;
    let second = complaining(TOO_MANY, || guard.clone());
    drop(second);
    let holders = r.holders();
    drop(guard);
    ensure_eq!(holders, usize::MAX);
    is_saturated(&r)
}

/// A saturated object that is live gives out no more at once: so many would lead out of the range.
fn many_of_a_saturated_object() -> Result {
    let r = at(EDGE - 1);
    let guard = r.try_acquire()?;
    let second = complaining(TOO_MANY, || guard.clone());
    let few = r.try_acquire_many(1).err();
    let many = r
        .try_acquire_many(RundownGuards::<'_, RundownRef>::MAX)
        .err();
    drop(second);
    drop(guard);
    ensure_eq!(few, Some(RundownError::Overflow));
    ensure_eq!(many, Some(RundownError::Overflow));
    is_saturated(&r)
}

/// Who sleeps in a wait is woken, as it would wait without end.
fn a_sleeping_waiter_is_woken() -> Result {
    let r = Arc::new(at(EDGE - 1), GFP_KERNEL)?;
    let (theirs, guard) = (r.clone(), r.try_acquire()?);
    let outcome = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let seen = outcome.clone();
    let waiter = support::spawn(c"rundown-waiter", move || {
        if theirs.wait_with(Wait::uninterruptible()) == Err(RundownError::Saturated) {
            seen.store(1, Relaxed);
        }
    })?;
    // The waiter begins the rundown, and queues itself before the lock is released that a wake-up
    // acquires.
    while !r.is_rundown_requested() {
        support::cond_resched();
    }
    let second = complaining(TOO_MANY, || guard.clone());
    waiter.join();
    drop(second);
    drop(guard);
    ensure_eq!(outcome.load(Relaxed), 1);
    is_saturated(&*r)
}

/// All who sleep in a wait are woken, one by another, those too that want to own the value.
fn all_sleeping_waiters_are_woken() -> Result {
    const WAITERS: u32 = 3;

    let object = Arc::pin_init(Rundown::pin_init(at(EDGE - 1), 0u32), GFP_KERNEL)?;
    let guard = HasRundown::try_acquire_arc(object.clone())?;
    let started = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let saturated = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let mut threads = KVec::new();
    for _ in 0..WAITERS {
        let (theirs, begun, told) = (object.clone(), started.clone(), saturated.clone());
        threads.push(
            support::spawn(c"rundown-owner", move || {
                begun.fetch_add(1, Full);
                let ret = theirs
                    .wait_for_rundown_timeout(msecs_to_jiffies(20_000))
                    .err();
                told.fetch_add(u32::from(ret == Some(RundownError::Saturated)), Full);
            })?,
            GFP_KERNEL,
        )?;
    }
    while started.load(Acquire) < WAITERS {
        support::msleep(1);
    }
    support::await_asleep(&threads);
    let second = complaining(TOO_MANY, || guard.clone());
    // And not by their timeouts, when they check the state once more.
    let woken = comes_true(|| saturated.load(Acquire) == WAITERS);
    drop(threads);
    drop((second, guard));
    ensure!(woken);
    Ok(())
}

/// The fast acquisition does not look; the next release does.
fn acquire_over_the_edge() -> Result {
    let r = at(EDGE - 1);
    let last = r.try_acquire()?;
    let over = r.try_acquire()?;
    let more = r.try_acquire()?;
    complaining(TOO_MANY, || drop(more));
    drop(over);
    drop(last);
    is_saturated(&r)
}

/// No count that the fast acquisitions may have reached is taken for that of no holder.
fn begun_over_the_edge() -> Result {
    let max = usize::MAX >> 1;
    // The second one would be the word of an object that is owned exclusively.
    for holders in [EDGE + 1, max - (max >> 3), max] {
        let r = at(holders);
        complaining("WARNING: .*rundown_too_many", || r.begin_rundown());
        is_saturated(&r)?;
        let r = at(holders);
        let ret = complaining("WARNING: .*rundown_too_many", || {
            r.wait_with(Wait::uninterruptible())
        });
        ensure_eq!(ret, Err(RundownError::Saturated));
        is_saturated(&r)?;
    }
    Ok(())
}

/// Many at once are refused long before, and nothing is lost.
fn many_over_the_edge<R: Form>() -> Result {
    let r = R::live()?;
    let step = usize::MAX >> 10;
    let mut all = KVec::new();
    loop {
        match r.try_acquire_many(step) {
            Ok(guards) => all.push(guards.unbind(), GFP_KERNEL)?,
            Err(err) => {
                ensure_eq!(err, RundownError::Overflow);
                break;
            }
        }
    }
    ensure!(all.len() >= 2);
    ensure_eq!(r.holders(), step * all.len());
    drop(r.try_acquire()?);
    ensure_eq!(
        r.wait_for_rundown_timeout(msecs_to_jiffies(50)),
        Err(RundownError::TimedOut)
    );
    let half = all.len() / 2;
    all.truncate(half);
    ensure_eq!(r.wait_for_rundown_timeout(0), Err(RundownError::TimedOut));
    drop(all);
    r.wait_for_rundown();
    ensure_eq!(r.holders(), 0);
    // Armed again, it has room for as many again.
    r.re_init()?;
    drop(r.try_acquire_many(step)?);
    Ok(())
}

/// Leaks as many acquisitions as this CPU's share allows, and returns how many.
fn leak_the_share<R: Form>(r: &R) -> Result<usize> {
    let (mut leaked, mut n) = (0, 1 << (usize::BITS - 4));
    while n != 0 {
        match r.try_acquire_many(n) {
            Ok(guards) => {
                core::mem::forget(guards.unbind());
                leaked += n;
            }
            Err(err) => {
                ensure_eq!(err, RundownError::Overflow);
                n /= 2;
            }
        }
    }
    Ok(leaked)
}

/// A rundown that is cancelled gives no new share: what was leaked before stays counted, so that a
/// holder is never alone with it.
fn cancelled_rundowns_add_no_room<R: Form>() -> Result {
    let r = R::live()?;
    let guard = r.try_acquire()?.unbind();
    let mut leaked = 0;
    let mut refused = false;
    // Each round fills the share of at least one CPU, and all shares together are the limit of what a
    // resurrection may leave.
    for _ in 0..kernel::cpu::nr_cpu_ids() + 2 {
        let now = leak_the_share(&*r)?;
        refused = now == 0;
        leaked += now;
        ensure!(super::comes_to_hold(&*r, leaked + 1));
        ensure!(leaked <= usize::MAX >> 2);
        ensure!(r.begin_rundown());
        ensure!(r.holders() > leaked);
        r.resurrect()?;
        ensure!(super::comes_to_hold(&*r, leaked + 1));
    }
    ensure!(refused);
    ensure_eq!(r.try_acquire_many(1).err(), Some(RundownError::Overflow));
    // One at a time there is room still, and the holder keeps the object.
    drop(r.try_acquire()?);
    ensure_eq!(
        r.wait_for_rundown_timeout(msecs_to_jiffies(50)),
        Err(RundownError::TimedOut)
    );
    drop(guard);
    ensure!(super::comes_to_hold(&*r, leaked));
    Ok(())
}

/// The number of holders is right while the CPUs' counters are being collected, also if many are
/// released then.
fn many_released_during_the_collection<R: Form>() -> Result {
    const MANY: usize = usize::MAX >> 14;
    for _ in 0..20 {
        let r = R::live()?;
        let mut many = r.try_acquire_many(MANY)?.unbind();
        r.begin_rundown();
        drop(many.split(MANY / 2)?);
        ensure!(r.holders() <= MANY - MANY / 2 + 1);
        drop(many);
        ensure!(r.holders() <= 1);
        r.wait_for_rundown();
        ensure_eq!(r.holders(), 0);
    }
    Ok(())
}

/// Holders on two CPUs whose sum, with what a resurrection has left, wraps around to that of none.
fn sum_over_the_range() -> Result {
    const MOST: usize = usize::MAX >> 1;
    let r = PerCpuRundownRef::live()?;
    let guard = r.try_acquire()?.unbind();
    let first = support::next_cpu(0);
    let second = support::next_cpu(first);
    if first == second {
        r.add_holders_for_test(MOST - MOST / 8);
    } else {
        r.add_holders_for_test(3);
        ensure!(r.begin_rundown());
        r.resurrect()?;
        for cpu in [first, second] {
            let theirs = r.clone();
            support::spawn_on(cpu, c"rundown_many", move || {
                theirs.add_holders_for_test(MOST - 1);
            })?
            .join();
        }
        ensure!(super::comes_to_hold(&*r, 0));
    }
    let ret = complaining(TOO_MANY, || {
        r.wait_with(Wait::uninterruptible().timeout(msecs_to_jiffies(60_000)))
    });
    ensure_eq!(ret, Err(RundownError::Saturated));
    is_saturated(&*r)?;
    ensure_eq!(r.resurrect(), Err(RundownError::NotInProgress));
    drop(guard);
    is_saturated(&*r)
}

/// What resurrections have left is a part of the sum, also where the CPUs' counters alone are in the
/// range.
fn sum_with_what_is_left() -> Result {
    const MANY: usize = (usize::MAX >> 2) + 1;

    let r = PerCpuRundownRef::live()?;
    let guard = r.try_acquire()?.unbind();
    r.add_holders_for_test(MANY);
    ensure!(r.begin_rundown());
    // So many are allowed: less than three quarters of the positive range.
    r.resurrect()?;
    // Together more, and no negative number, of which `percpu_ref` would warn.
    r.add_holders_for_test(MANY / 2 + MANY / 4);
    let ret = complaining(TOO_MANY, || {
        r.wait_with(Wait::uninterruptible().timeout(msecs_to_jiffies(20_000)))
    });
    ensure_eq!(ret, Err(RundownError::Saturated));
    is_saturated(&*r)?;
    drop(guard);
    is_saturated(&*r)
}

/// Powers of two of acquisitions, given back in another order.
fn powers_of_two() -> Result {
    let r = at(0);
    let mut all = KVec::new();
    let mut sum = 0;
    for k in 0..usize::BITS - 4 {
        all.push(r.try_acquire_many(1 << k)?.unbind(), GFP_KERNEL)?;
        sum += 1 << k;
    }
    ensure_eq!(r.holders(), sum);
    let mut merged = all.pop().ok_or(EINVAL)?;
    for guards in all {
        ensure!(merged.merge(guards).is_ok());
    }
    ensure_eq!(merged.count(), sum);
    while merged.count() > 1 {
        drop(merged.split(merged.count() / 2)?);
    }
    ensure_eq!(r.holders(), 1);
    drop(merged);
    r.wait_for_rundown();
    Ok(())
}

#[kunit_tests(quiesce_rundown_saturation)]
mod tests {
    use super::*;

    #[test]
    fn clone_over_the_edge() -> Result {
        super::clone_over_the_edge()
    }

    #[test]
    fn frozen_for_good() -> Result {
        super::frozen_for_good()
    }

    #[test]
    fn one_clone_over_the_edge() -> Result {
        super::one_clone_over_the_edge()
    }

    #[test]
    fn many_of_a_saturated_object() -> Result {
        super::many_of_a_saturated_object()
    }

    #[test]
    fn a_sleeping_waiter_is_woken() -> Result {
        super::a_sleeping_waiter_is_woken()
    }

    #[test]
    fn all_sleeping_waiters_are_woken() -> Result {
        super::all_sleeping_waiters_are_woken()
    }

    #[test]
    fn acquire_over_the_edge() -> Result {
        super::acquire_over_the_edge()
    }

    #[test]
    fn begun_over_the_edge() -> Result {
        super::begun_over_the_edge()
    }

    #[test]
    fn many_over_the_edge_word() -> Result {
        super::many_over_the_edge::<RundownRef>()
    }

    #[test]
    fn many_over_the_edge_percpu() -> Result {
        super::many_over_the_edge::<PerCpuRundownRef>()
    }

    #[test]
    fn cancelled_rundowns_add_no_room_word() -> Result {
        super::cancelled_rundowns_add_no_room::<RundownRef>()
    }

    #[test]
    fn cancelled_rundowns_add_no_room_percpu() -> Result {
        super::cancelled_rundowns_add_no_room::<PerCpuRundownRef>()
    }

    #[test]
    fn many_released_during_the_collection_word() -> Result {
        super::many_released_during_the_collection::<RundownRef>()
    }

    #[test]
    fn many_released_during_the_collection_percpu() -> Result {
        super::many_released_during_the_collection::<PerCpuRundownRef>()
    }

    #[test]
    fn sum_over_the_range() -> Result {
        super::sum_over_the_range()
    }

    #[test]
    fn sum_with_what_is_left() -> Result {
        super::sum_with_what_is_left()
    }

    #[test]
    fn powers_of_two() -> Result {
        super::powers_of_two()
    }
}
