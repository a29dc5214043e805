// SPDX-License-Identifier: GPL-2.0

//! Holders that are notified of a rundown, and objects that are frozen for a while.

use super::{
    comes_true,
    waits::with_signal,
    Form, //
};
use crate::support;
use core::slice::from_ref;
use kernel::{
    bindings,
    new_condvar,
    new_spinlock,
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
use quiesce::rundown::{
    Drained,
    Freezable,
    HasRundown,
    PerCpuRundownRef,
    RundownError,
    RundownRef,
    Wait, //
};

/// A holder that would keep the object indefinitely stops when a rundown begins.
fn holder_stops<R: Form>() -> Result {
    for _ in 0..20 {
        let r = R::live()?;
        let guard = HasRundown::try_acquire_arc(r.clone())?;
        let reader = support::spawn(c"rundown_reader", move || {
            let waits = KBox::pin_init(new_spinlock!(()), GFP_KERNEL);
            let arrived = KBox::pin_init(new_condvar!(), GFP_KERNEL);
            let (Ok(waits), Ok(arrived)) = (waits, arrived) else {
                return;
            };
            guard.on_rundown(
                || {
                    let _locked = waits.lock();
                    arrived.notify_all();
                },
                || {
                    let mut locked = waits.lock();
                    while !guard.is_rundown_requested() {
                        arrived.wait(&mut locked);
                    }
                },
            );
        })?;
        r.wait_for_rundown();
        reader.join();
    }
    Ok(())
}

fn notified<R: Form>() -> Result {
    let r = R::live()?;
    let count = Atomic::new(0u32);
    let other = Atomic::new(0u32);
    let guard = r.try_acquire()?.unbind();
    let counts = guard.on_rundown(
        || {
            count.fetch_add(1, Full);
        },
        || {
            guard.on_rundown(
                || {
                    other.fetch_add(1, Full);
                },
                || {
                    let before = (count.load(Acquire), other.load(Acquire));
                    r.begin_rundown();
                    let begun = (count.load(Acquire), other.load(Acquire));
                    let _ = r.resurrect();
                    // Another rundown, begun by a wait.
                    let waited = r.wait_for_rundown_timeout(msecs_to_jiffies(1));
                    let again = (count.load(Acquire), other.load(Acquire));
                    (before, begun, again, waited)
                },
            )
        },
    );
    let after = count.load(Acquire);
    ensure_eq!(
        counts,
        ((0, 0), (1, 1), (2, 2), Err(RundownError::TimedOut))
    );
    // Not any more, but at once if it has begun.
    let late = guard.on_rundown(
        || {
            other.fetch_add(1, Full);
        },
        || other.load(Acquire),
    );
    ensure_eq!((after, late), (2, 3));
    drop(guard);
    r.wait_for_rundown();
    ensure_eq!((count.load(Acquire), other.load(Acquire)), (2, 3));
    Ok(())
}

/// What is called when a rundown begins has returned when the holder stops listening.
fn notified_to_the_end() -> Result {
    let r = RundownRef::live()?;
    let guard = r.try_acquire()?.unbind();
    let begun = Atomic::new(0u32);
    let ended = Atomic::new(0u32);
    let theirs = r.clone();
    let thread = guard.on_rundown(
        || {
            begun.store(1, Release);
            for _ in 0..20 {
                support::udelay(1000);
            }
            ended.store(1, Release);
        },
        || {
            let thread = support::spawn(c"rundown_beginner", move || {
                theirs.begin_rundown();
            })?;
            while begun.load(Acquire) == 0 {
                support::cond_resched();
            }
            Ok::<_, Error>(thread)
        },
    )?;
    let ended_before = ended.load(Acquire);
    thread.join();
    drop(guard);
    ensure_eq!(ended_before, 1);
    Ok(())
}

fn wait_until_requested<R: Form>() -> Result {
    let r = R::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    ensure_eq!(
        guard.wait_until_requested(Wait::killable().timeout(1)),
        Err(RundownError::TimedOut)
    );
    let told = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let tell = told.clone();
    let holder = support::spawn(c"rundown_holder", move || {
        let ret = guard.wait_until_requested(Wait::uninterruptible());
        let again = guard.wait_until_requested(Wait::uninterruptible());
        tell.store(1 + u32::from(ret.is_ok() && again.is_ok()), Release);
    })?;
    support::msleep(5);
    r.wait_for_rundown();
    holder.join();
    ensure_eq!(told.load(Acquire), 2);
    Ok(())
}

/// A callback that makes its reference live again, and returns when it may.
struct Rearms(Atomic<u32>);

/// The callback will make the reference live.
const REARM: u32 = 1;
/// The callback has done so.
const REARMED: u32 = 2;
/// The callback may return.
const RETURN: u32 = 3;

static REARMS: RundownRef<Rearms> = RundownRef::with_callback(Rearms(Atomic::new(0)));

impl Drained for Rearms {
    fn drained(&self) {
        if self.0.load(Acquire) != REARM {
            return;
        }
        let _ = REARMS.re_init();
        self.0.store(REARMED, Release);
        while self.0.load(Acquire) != RETURN {
            support::cond_resched();
        }
    }
}

/// A holder is not notified of a rundown that had completed before it was one.
fn not_notified_of_an_earlier_rundown() -> Result {
    let state = &REARMS.callback().0;
    let count = Atomic::new(0u32);
    state.store(REARM, Release);
    let beginner = support::spawn(c"rundown_beginner", || {
        REARMS.begin_rundown();
    })?;
    // The task that has begun the rundown is still in the callback.
    let live = comes_true(|| state.load(Acquire) == REARMED);
    let guard = REARMS.try_acquire();
    if guard.is_err() {
        state.store(RETURN, Release);
    }
    let held = guard.map(|guard| {
        let guard = guard.unbind();
        guard.on_rundown(
            || {
                count.fetch_add(1, Full);
            },
            || {
                state.store(RETURN, Release);
                beginner.join();
                guard.is_rundown_requested()
            },
        )
    });
    ensure_eq!((live, held, count.load(Acquire)), (true, Ok(false), 0));
    Ok(())
}

/// A holder that is notified of a rundown that another one has cancelled by then waits on.
fn not_requested_any_more() -> Result {
    let r = RundownRef::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    // Of the holder: 1 when it waits, 2 when its time is over, 3 when it was requested to stop.
    let told = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let tell = told.clone();
    let holder = support::spawn(c"rundown_holder", move || {
        tell.store(1, Release);
        let how = Wait::uninterruptible().timeout(msecs_to_jiffies(1000));
        let early = guard.wait_until_requested(how);
        tell.store(2 + u32::from(early != Err(RundownError::TimedOut)), Release);
        let _ = guard.wait_until_requested(Wait::uninterruptible());
    })?;
    while told.load(Acquire) == 0 {
        support::msleep(1);
    }
    support::await_asleep(from_ref(&holder));
    let canceller = r.try_acquire()?.unbind();
    // Who began to listen last is the first that is notified.
    let begun = canceller.on_rundown(
        || {
            let _ = r.resurrect();
        },
        || r.begin_rundown(),
    );
    let live = !r.is_rundown_requested();
    drop(canceller);
    comes_true(|| told.load(Acquire) > 1);
    let early = told.load(Acquire);
    r.wait_for_rundown();
    holder.join();
    ensure_eq!((begun, live, early), (true, true, 2));
    Ok(())
}

/// A word is begun in a hardirq, also with a listener.
fn notified_in_hardirq() -> Result {
    let r = RundownRef::new();
    let count = Atomic::new(0u32);
    let guard = r.try_acquire()?.unbind();
    let begun = guard.on_rundown(
        || {
            count.fetch_add(1, Full);
        },
        || support::in_hardirq(|| r.begin_rundown()),
    );
    drop(guard);
    ensure_eq!((begun, count.load(Acquire)), (Some(true), 1));
    Ok(())
}

fn freeze<R: Form>(queue: Arc<Freezable<R>>) -> Result {
    struct Shared<R: Form> {
        queue: Arc<Freezable<R>>,
        frozen: Atomic<bool>,
        inside: Atomic<u32>,
        wrong: Atomic<u32>,
        acquired: Atomic<u32>,
        refused: Atomic<u32>,
    }
    let shared = Arc::new(
        Shared {
            queue: queue.clone(),
            frozen: Atomic::new(false),
            inside: Atomic::new(0),
            wrong: Atomic::new(0),
            acquired: Atomic::new(0),
            refused: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let mut users = KVec::new();
    for i in 0..3 {
        let s = shared.clone();
        users.push(
            support::spawn(c"rundown_user", move || loop {
                let guard = if i == 0 {
                    s.queue.acquire_or_wait_interruptible()
                } else {
                    s.queue.acquire_or_wait()
                };
                let Ok(guard) = guard else {
                    s.refused.fetch_add(1, Full);
                    return;
                };
                s.inside.fetch_add(1, Full);
                if s.frozen.load(Acquire) {
                    s.wrong.fetch_add(1, Full);
                }
                support::cond_resched();
                s.inside.fetch_sub(1, Full);
                drop(guard);
                s.acquired.fetch_add(1, Full);
            })?,
            GFP_KERNEL,
        )?;
    }
    let mut ret = Ok(());
    for round in 0..20u32 {
        let seen = shared.acquired.load(Acquire);
        // They go on after each thaw.
        while shared.acquired.load(Acquire) == seen {
            support::msleep(1);
        }
        // Nested, and dropped in either order.
        let outer = queue.freeze(Wait::killable());
        let inner = queue.freeze(Wait::uninterruptible());
        shared.frozen.xchg(true, Full);
        if shared.inside.load(Acquire) != 0 || !queue.is_frozen() || queue.try_acquire().is_ok() {
            shared.wrong.fetch_add(1, Full);
        }
        ret = outer.as_ref().map(|_| ()).map_err(|err| *err);
        if round % 2 == 0 {
            drop(inner);
            support::msleep(1);
            shared.frozen.xchg(false, Full);
            drop(outer);
        } else {
            drop(outer);
            support::msleep(1);
            shared.frozen.xchg(false, Full);
            drop(inner);
        }
    }
    // A freeze that fails leaves the object as it was.
    let guard = queue.acquire_or_wait()?.unbind();
    let failed = queue.freeze(Wait::uninterruptible().timeout(1)).map(drop);
    let live = queue.try_acquire().is_ok();
    drop(guard);
    let (removed, refused) = {
        let _frozen = queue.freeze(Wait::uninterruptible())?;
        let removed = queue.remove(Wait::uninterruptible());
        // None of them waits any longer, although it is frozen.
        for _ in 0..60_000 {
            if shared.refused.load(Acquire) == 3 {
                break;
            }
            support::msleep(1);
        }
        (removed, shared.refused.load(Acquire))
    };
    drop(users);
    ensure_eq!(ret, Ok(()));
    ensure_eq!(shared.wrong.load(Acquire), 0);
    ensure_eq!((failed, live), (Err(RundownError::TimedOut), true));
    ensure_eq!(removed, Ok(()));
    ensure_eq!(refused, 3);
    ensure_eq!(
        queue.acquire_or_wait().err(),
        Some(RundownError::RundownInProgress)
    );
    Ok(())
}

/// A freeze that fails while a holder runs the object down does not end that rundown.
fn run_down_by_a_holder_as_a_freeze_fails<R: Form>(queue: Arc<Freezable<R>>) -> Result {
    let keeper = HasRundown::try_acquire_arc(queue.clone())?;
    let holder = HasRundown::try_acquire_arc(queue.clone())?;
    let told = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let tell = told.clone();
    let runs_down = support::spawn(c"rundown_holder", move || {
        tell.store(1, Release);
        let ret = holder.into_rundown().map(drop);
        tell.store(2 + u32::from(ret.is_ok()), Release);
    })?;
    while told.load(Acquire) == 0 {
        support::msleep(1);
    }
    support::await_asleep(from_ref(&runs_down));
    let how = Wait::uninterruptible().timeout(1);
    let frozen = queue.freeze(how).map(drop);
    let live = queue.try_acquire().is_ok();
    let early = told.load(Acquire);
    drop(keeper);
    runs_down.join();
    let acquired = queue.acquire_or_wait().map(drop);
    ensure_eq!(frozen, Err(RundownError::TimedOut));
    ensure_eq!((live, early, told.load(Acquire)), (false, 1, 3));
    ensure_eq!(acquired, Err(RundownError::RundownInProgress));
    Ok(())
}

/// Nor does the end of a freeze that had begun before.
fn run_down_by_a_holder_as_it_freezes<R: Form>(queue: Arc<Freezable<R>>) -> Result {
    let holder = HasRundown::try_acquire_arc(queue.clone())?;
    let begun = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let (theirs, tell) = (queue.clone(), begun.clone());
    let freezer = support::spawn(c"rundown_freezer", move || {
        tell.store(1, Release);
        let frozen = theirs.freeze(Wait::uninterruptible());
        tell.store(2 + u32::from(frozen.is_ok()), Release);
    })?;
    while begun.load(Acquire) == 0 {
        support::msleep(1);
    }
    support::await_asleep(from_ref(&freezer));
    let done = holder.into_rundown().map(drop);
    freezer.join();
    let acquired = queue.acquire_or_wait().map(drop);
    ensure_eq!((done, begun.load(Acquire)), (Ok(()), 3));
    ensure_eq!(acquired, Err(RundownError::RundownInProgress));
    Ok(())
}

/// A signal ends the wait for a thaw.
fn signal_ends_the_wait_for_a_thaw() -> Result {
    let queue = Arc::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
    let phase = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let (theirs, frozen) = (queue.clone(), phase.clone());
    let freezer = support::spawn(c"rundown_freezer", move || {
        let held = theirs.freeze(Wait::uninterruptible());
        frozen.store(1 + u32::from(held.is_ok()), Release);
        // Who does not return for the signal does so for the thaw.
        comes_true(|| frozen.load(Acquire) == 0);
    })?;
    while phase.load(Acquire) == 0 {
        support::msleep(1);
    }
    let rets = [true, false].map(|pending| {
        let theirs = queue.clone();
        with_signal(bindings::SIGUSR1, pending, move || {
            theirs.acquire_or_wait_interruptible().map(drop)
        })
    });
    let held = phase.xchg(0, Full);
    freezer.join();
    ensure_eq!(held, 2);
    ensure_eq!(rets, [Ok(Err(RundownError::Interrupted)); 2]);
    ensure!(queue.try_acquire().is_ok());
    Ok(())
}

/// A thaw wakes all who wait for it.
fn all_go_on_after_a_thaw() -> Result {
    const WAITERS: u32 = 3;

    let queue = Arc::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
    let started = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let acquired = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
    let frozen = queue.freeze(Wait::uninterruptible())?;
    let mut threads = KVec::new();
    for _ in 0..WAITERS {
        let (theirs, begun, told) = (queue.clone(), started.clone(), acquired.clone());
        threads.push(
            support::spawn(c"rundown_user", move || {
                begun.fetch_add(1, Full);
                if theirs.acquire_or_wait().is_ok() {
                    told.fetch_add(1, Full);
                }
            })?,
            GFP_KERNEL,
        )?;
    }
    while started.load(Acquire) < WAITERS {
        support::msleep(1);
    }
    support::await_asleep(&threads);
    let early = acquired.load(Acquire);
    drop(frozen);
    let all = comes_true(|| acquired.load(Acquire) == WAITERS);
    // Nobody waits any longer.
    let removed = queue.remove(Wait::uninterruptible());
    drop(threads);
    ensure_eq!((early, all, removed), (0, true, Ok(())));
    Ok(())
}

/// Holders stop to listen in any order, and those that are left are notified, and nobody else.
fn listeners_leave_in_any_order<R: Form>() -> Result {
    for leaves in 0..3 {
        let r = R::live()?;
        // Of each: how often it was notified; 1 when it listens, 2 to leave, 3 to end; whether it has
        // left.
        let shared = Arc::new([const { [const { Atomic::new(0u32) }; 3] }; 3], GFP_KERNEL)?;
        let mut threads = KVec::new();
        for i in 0..3 {
            let (theirs, guard) = (shared.clone(), HasRundown::try_acquire_arc(r.clone())?);
            threads.push(
                support::spawn(c"rundown_listener", move || {
                    let [count, state, left] = &theirs[i];
                    guard.on_rundown(
                        || {
                            count.fetch_add(1, Full);
                        },
                        || {
                            state.store(1, Release);
                            while state.load(Acquire) < 2 {
                                support::msleep(1);
                            }
                        },
                    );
                    left.store(1, Release);
                    // Its stack stays until the others were notified.
                    while state.load(Acquire) < 3 {
                        support::msleep(1);
                    }
                })?,
                GFP_KERNEL,
            )?;
            // The listeners are in the list in this order.
            while shared[i][1].load(Acquire) == 0 {
                support::msleep(1);
            }
        }
        shared[leaves][1].store(2, Release);
        while shared[leaves][2].load(Acquire) == 0 {
            support::msleep(1);
        }
        r.begin_rundown();
        let counts = [0, 1, 2].map(|i| shared[i][0].load(Acquire));
        for listener in shared.iter() {
            listener[1].store(3, Release);
        }
        drop(threads);
        ensure_eq!(counts, [0, 1, 2].map(|i| u32::from(i != leaves)));
        r.wait_for_rundown();
    }
    Ok(())
}

#[kunit_tests(quiesce_rundown_requests)]
mod tests {
    use super::*;

    #[test]
    fn holder_stops_word() -> Result {
        holder_stops::<RundownRef>()
    }

    #[test]
    fn holder_stops_percpu() -> Result {
        holder_stops::<PerCpuRundownRef>()
    }

    #[test]
    fn notified_word() -> Result {
        notified::<RundownRef>()
    }

    #[test]
    fn notified_percpu() -> Result {
        notified::<PerCpuRundownRef>()
    }

    #[test]
    fn notified_to_the_end() -> Result {
        super::notified_to_the_end()
    }

    #[test]
    fn not_notified_of_an_earlier_rundown() -> Result {
        super::not_notified_of_an_earlier_rundown()
    }

    #[test]
    fn not_requested_any_more() -> Result {
        super::not_requested_any_more()
    }

    #[test]
    fn notified_in_hardirq() -> Result {
        super::notified_in_hardirq()
    }

    #[test]
    fn wait_until_requested_word() -> Result {
        wait_until_requested::<RundownRef>()
    }

    #[test]
    fn wait_until_requested_percpu() -> Result {
        wait_until_requested::<PerCpuRundownRef>()
    }

    /// A removal that times out has removed the object.
    #[test]
    fn removed_while_it_is_held() -> Result {
        let queue = KBox::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
        let guard = queue.acquire_or_wait()?.unbind();
        let early = queue.remove(Wait::uninterruptible().timeout(1));
        let refused = queue.acquire_or_wait().err();
        drop(guard);
        let late = queue.remove(Wait::uninterruptible());
        assert_eq!(early, Err(RundownError::TimedOut));
        assert_eq!(refused, Some(RundownError::RundownInProgress));
        assert_eq!(late, Ok(()));
        Ok(())
    }

    #[test]
    fn signal_ends_the_wait_for_a_thaw() -> Result {
        super::signal_ends_the_wait_for_a_thaw()
    }

    #[test]
    fn all_go_on_after_a_thaw() -> Result {
        super::all_go_on_after_a_thaw()
    }

    #[test]
    fn listeners_leave_in_any_order_word() -> Result {
        listeners_leave_in_any_order::<RundownRef>()
    }

    #[test]
    fn listeners_leave_in_any_order_percpu() -> Result {
        listeners_leave_in_any_order::<PerCpuRundownRef>()
    }

    #[test]
    fn freeze_word() -> Result {
        freeze(Arc::pin_init(
            Freezable::new(RundownRef::new()),
            GFP_KERNEL,
        )?)
    }

    /// A holder can run the object down by itself. Nobody waits for a thaw then that does not come.
    #[test]
    fn run_down_by_a_holder() -> Result {
        let queue = KBox::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
        let done = queue.try_acquire()?.into_rundown().map(drop);
        let acquired = queue.acquire_or_wait().map(drop);
        assert_eq!(done, Ok(()));
        assert_eq!(acquired, Err(RundownError::RundownInProgress));
        // The end of a later freeze does not make it live again.
        let frozen = queue.freeze(Wait::uninterruptible()).map(drop);
        let acquired = queue.acquire_or_wait().map(drop);
        let refused = Err(RundownError::RundownInProgress);
        assert_eq!((frozen, acquired), (Ok(()), refused));
        Ok(())
    }

    #[test]
    fn run_down_by_a_holder_as_a_freeze_fails_word() -> Result {
        let queue = Arc::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
        run_down_by_a_holder_as_a_freeze_fails(queue)
    }

    #[test]
    fn run_down_by_a_holder_as_a_freeze_fails_percpu() -> Result {
        let queue = Arc::pin_init(Freezable::new(PerCpuRundownRef::new()), GFP_KERNEL)?;
        run_down_by_a_holder_as_a_freeze_fails(queue)
    }

    #[test]
    fn run_down_by_a_holder_as_it_freezes_word() -> Result {
        let queue = Arc::pin_init(Freezable::new(RundownRef::new()), GFP_KERNEL)?;
        run_down_by_a_holder_as_it_freezes(queue)
    }

    #[test]
    fn run_down_by_a_holder_as_it_freezes_percpu() -> Result {
        let queue = Arc::pin_init(Freezable::new(PerCpuRundownRef::new()), GFP_KERNEL)?;
        run_down_by_a_holder_as_it_freezes(queue)
    }

    #[test]
    fn frozen_from_the_start() -> Result {
        let word = KBox::pin_init(Freezable::new(RundownRef::new_rundown()), GFP_KERNEL).err();
        let percpu = PerCpuRundownRef::new_rundown();
        let percpu = KBox::pin_init(Freezable::new(percpu), GFP_KERNEL).err();
        assert_eq!(word, Some(EINVAL));
        assert_eq!(percpu, Some(EINVAL));
        Ok(())
    }

    #[test]
    fn freeze_percpu() -> Result {
        freeze(Arc::pin_init(
            Freezable::new(PerCpuRundownRef::new()),
            GFP_KERNEL,
        )?)
    }
}
