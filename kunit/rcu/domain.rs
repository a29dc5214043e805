// SPDX-License-Identifier: GPL-2.0

//! Domains: sections, waiting, cookies.

use super::{
    complaining,
    MISUSE,
    STALL, //
};
use crate::support;
use core::{
    future::{
        ready,
        Future, //
    },
    pin::pin,
    slice,
    task::{
        Context,
        Waker, //
    }, //
};
use kernel::{
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        delay::udelay,
        Delta, //
    }, //
};
use quiesce::rcu::{
    self,
    Domain,
    Srcu, //
};

rcu::define_domain! {
    /// A domain for the tests.
    pub(super) Sleepy
}

rcu::define_domain! {
    /// Another one.
    pub(super) Other
}

/// Stores one when it is dropped.
struct Noted(Arc<Atomic<i32>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(1, Release);
    }
}

/// Calls `f` while a thread is in a read-side critical section of `domain`. `f` ends the section
/// early by storing 2 to its argument.
pub(super) fn with_reader<D: Domain, R>(
    domain: D,
    pause: impl Fn() + Send + 'static,
    f: impl FnOnce(&Arc<Atomic<i32>>) -> R,
) -> Result<R> {
    // 0: not yet, 1: reads, 2: shall stop, 3: has stopped.
    let state = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
    let theirs = state.clone();
    let thread = support::spawn(c"rcu_reader", move || {
        domain.run(|_| {
            theirs.store(1, Release);
            while theirs.load(Acquire) == 1 {
                pause();
            }
            theirs.store(3, Release);
        })
    })?;
    while state.load(Acquire) == 0 {
        support::msleep(1);
    }
    let ret = f(&state);
    let _ = state.cmpxchg(1, 2, kernel::sync::atomic::Full);
    thread.join();
    Ok(ret)
}

/// Stops the reader of `with_reader` after a while, unless it has stopped before.
pub(super) fn stop_later(state: &Arc<Atomic<i32>>, ms: u32) -> Result<support::Thread> {
    let state = state.clone();
    support::spawn(c"rcu_stopper", move || {
        for _ in 0..ms / 10 {
            if state.load(Acquire) == 3 {
                return;
            }
            support::msleep(10);
        }
        state.store(2, Release);
    })
}

#[kunit_tests(quiesce_rcu_domain)]
mod tests {
    use super::*;

    #[test]
    fn in_reader_knows_its_domain() -> Result {
        let (global, sleepy, other) = (
            rcu::global(),
            Srcu::<Sleepy>::init()?,
            Srcu::<Other>::init()?,
        );
        let seen = || (global.in_reader(), sleepy.in_reader(), other.in_reader());
        let outside = seen();
        let in_global = global.run(|_| seen());
        let in_sleepy = sleepy.run(|_| seen());
        let nested = sleepy.run(|_| sleepy.run(|_| seen()));
        let after_inner = sleepy.run(|_| {
            sleepy.run(|_| ());
            seen()
        });
        let both = sleepy.run(|_| global.run(|_| other.run(|_| seen())));
        let after = seen();
        assert_eq!(outside, (false, false, false));
        assert_eq!(in_global, (true, false, false));
        assert_eq!(in_sleepy, (false, true, false));
        assert_eq!(nested, (false, true, false));
        assert_eq!(after_inner, (false, true, false));
        assert_eq!(both, (true, true, true));
        assert_eq!(after, (false, false, false));
        Ok(())
    }

    /// The end of an inner section ends nothing.
    #[test]
    fn nested_sections_end_with_the_outer_one() -> Result {
        fn all<D: Domain>(domain: D) -> (bool, bool) {
            domain.run(|_| {
                domain.run(|_| ());
                let cookie = domain.start_expedited();
                for _ in 0..20 {
                    support::udelay(1000);
                }
                (domain.in_reader(), cookie.is_over())
            })
        }
        let global = all(rcu::global());
        let sleepy = all(Srcu::<Sleepy>::init()?);
        assert_eq!((global, sleepy), ((true, false), (true, false)));
        Ok(())
    }

    #[test]
    fn in_reader_in_every_context() -> Result {
        let (global, sleepy) = (rcu::global(), Srcu::<Sleepy>::init()?);
        let seen = move || sleepy.run(|_| global.run(|_| (global.in_reader(), sleepy.in_reader())));
        let softirq = support::in_softirq(seen);
        let hardirq = sleepy.run(|_| support::in_hardirq(seen));
        let preempt = support::preempt_disabled(seen);
        // Where an SRCU domain stands in for `Global`, as for that.
        let in_interrupt = (cfg!(CONFIG_PREEMPT_RCU), false);
        assert_eq!(softirq, Some(in_interrupt));
        assert_eq!(hardirq, Some(in_interrupt));
        assert_eq!(preempt, (true, true));
        Ok(())
    }

    #[test]
    fn another_tasks_section_is_not_ours() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let seen = with_reader(sleepy, || support::msleep(1), |_| sleepy.in_reader())?;
        assert!(!seen);
        Ok(())
    }

    #[test]
    fn waiting_inside_a_reader_is_an_error() -> Result {
        let (global, sleepy, other) = (
            rcu::global(),
            Srcu::<Sleepy>::init()?,
            Srcu::<Other>::init()?,
        );
        let in_global = || {
            global.run(|_| {
                [
                    global.synchronize(),
                    global.synchronize_expedited(),
                    global.barrier(),
                    global.throttle(),
                    global.start().wait(),
                    global.synchronize_blocking(),
                    sleepy.synchronize(),
                    sleepy.barrier(),
                    sleepy.throttle(),
                    sleepy.start().wait(),
                ]
            })
        };
        let in_global = complaining(MISUSE, in_global);
        let in_sleepy = || {
            sleepy.run(|_| {
                [
                    sleepy.synchronize(),
                    sleepy.synchronize_expedited(),
                    sleepy.barrier(),
                    sleepy.throttle(),
                    sleepy.start().wait(),
                    sleepy.start_expedited().wait_expedited(),
                ]
            })
        };
        let in_sleepy = complaining(MISUSE, in_sleepy);
        let across = sleepy.run(|_| [global.synchronize(), other.synchronize()]);
        for (i, ret) in in_global.iter().enumerate() {
            assert!(*ret == Err(if i < 6 { EDEADLK } else { EAGAIN }));
        }
        for ret in &in_sleepy {
            assert!(*ret == Err(EDEADLK));
        }
        for ret in &across {
            assert!(ret.is_ok());
        }
        assert!(global.synchronize().is_ok());
        assert!(sleepy.synchronize().is_ok());
        Ok(())
    }

    #[test]
    fn waiting_in_atomic_context_is_an_error() -> Result {
        let (global, sleepy) = (rcu::global(), Srcu::<Sleepy>::init()?);
        let all = move || (global.synchronize(), sleepy.synchronize());
        let again = (Err(EAGAIN), Err(EAGAIN));
        let (preempt, bh, softirq, hardirq) = complaining(MISUSE, || {
            (
                support::preempt_disabled(all),
                support::bh_disabled(all),
                support::in_softirq(all),
                support::in_hardirq(all),
            )
        });
        assert!(preempt == again);
        assert!(softirq == Some(again));
        assert!(hardirq == Some(again));
        // Disabled bottom halves are a read-side critical section on PREEMPT_RT and atomic context elsewhere.
        assert!(bh.0.is_err() && bh.1.is_err());
        Ok(())
    }

    /// Interrupts that C disabled without a count are atomic context, too.
    #[test]
    fn waiting_with_interrupts_disabled_is_an_error() -> Result {
        let (global, sleepy) = (rcu::global(), Srcu::<Sleepy>::init()?);
        let ret = complaining(MISUSE, || {
            let flags = support::irq_save();
            let ret = [
                global.synchronize(),
                global.barrier(),
                sleepy.synchronize(),
                sleepy.throttle(),
            ];
            support::irq_restore(flags);
            ret
        });
        for ret in &ret {
            assert!(*ret == Err(EAGAIN));
        }
        Ok(())
    }

    #[test]
    fn synchronize_waits_for_readers() -> Result {
        let late = with_reader(rcu::global(), support::cpu_relax, |state| {
            let stopper = stop_later(state, 20)?;
            rcu::global().synchronize()?;
            let seen = state.load(Acquire);
            stopper.join();
            Ok::<_, Error>(seen)
        })??;
        assert_eq!(late, 3);
        let late = with_reader(rcu::global(), support::cpu_relax, |state| {
            let stopper = stop_later(state, 20)?;
            rcu::global().synchronize_expedited()?;
            let seen = state.load(Acquire);
            stopper.join();
            Ok::<_, Error>(seen)
        })??;
        assert_eq!(late, 3);
        let late = with_reader(rcu::global(), support::cpu_relax, |state| {
            let stopper = stop_later(state, 20)?;
            rcu::global().synchronize_blocking()?;
            let seen = state.load(Acquire);
            stopper.join();
            Ok::<_, Error>(seen)
        })??;
        assert_eq!(late, 3);
        Ok(())
    }

    #[test]
    fn readers_of_srcu_domains_may_sleep() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        for expedited in [false, true] {
            let late = with_reader(
                sleepy,
                || support::msleep(5),
                |state| {
                    let stopper = stop_later(state, 20)?;
                    if expedited {
                        sleepy.synchronize_expedited()?;
                    } else {
                        sleepy.synchronize()?;
                    }
                    let seen = state.load(Acquire);
                    stopper.join();
                    Ok::<_, Error>(seen)
                },
            )??;
            assert_eq!(late, 3);
        }
        Ok(())
    }

    /// Reads a value that is replaced, and whose destructor sleeps as the reader does.
    fn sleep_at_what_is_replaced<D: Domain>(domain: D) -> Result<(bool, bool)> {
        let dropped = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let cell = rcu::RcuCell::<Option<KBox<rcu::Object<Noted>>>, D>::new(Some(
            rcu::Object::new(Noted(dropped.clone())).boxed(GFP_KERNEL)?,
        ));
        let kept = domain.run(|t| {
            let value = cell.read(t);
            cell.publish(None);
            // A grace period elapses for whoever is not a reader.
            for _ in 0..20 {
                support::msleep(5);
            }
            value.is_some_and(|value| value.0.load(Acquire) == 0)
        });
        domain.barrier()?;
        Ok((kept, dropped.load(Acquire) == 1))
    }

    #[test]
    fn what_a_sleeping_reader_reads_stays() -> Result {
        let srcu = sleep_at_what_is_replaced(Srcu::<Sleepy>::init()?)?;
        assert_eq!(srcu, (true, true));
        // Where the kernel's RCU is preemptible, it complains about such a reader.
        if cfg!(not(CONFIG_PREEMPT_RCU)) {
            let global = sleep_at_what_is_replaced(rcu::global())?;
            assert_eq!(global, (true, true));
        }
        Ok(())
    }

    #[test]
    fn domains_do_not_wait_for_each_others_readers() -> Result {
        let (sleepy, other) = (Srcu::<Sleepy>::init()?, Srcu::<Other>::init()?);
        let seen = with_reader(
            sleepy,
            || support::msleep(5),
            |state| {
                rcu::global().synchronize()?;
                other.synchronize()?;
                Ok::<_, Error>(state.load(Acquire))
            },
        )??;
        assert_eq!(seen, 1);
        Ok(())
    }

    #[test]
    fn cookies() -> Result {
        fn all<D: Domain>(domain: D, pause: fn()) -> Result<[bool; 7]> {
            let (during, cookies) = with_reader(domain, pause, |_| {
                let cookies = [domain.cookie(), domain.start(), domain.start_expedited()];
                support::msleep(20);
                (cookies.iter().any(|cookie| cookie.is_over()), cookies)
            })?;
            cookies[1].wait()?;
            let started = cookies[1].is_over();
            cookies[2].wait_expedited()?;
            let expedited = cookies[2].is_over();
            cookies[0].wait()?;
            let snapshot = cookies[0].is_over();
            let mut polled = domain.start();
            let mut late = false;
            for _ in 0..2000 {
                if polled.is_over() {
                    late = true;
                    break;
                }
                support::msleep(5);
            }
            // One that is over need not be waited for, so not even a reader is refused.
            let over = domain.run(|_| polled.wait().is_ok());
            polled = domain.cookie();
            domain.synchronize()?;
            Ok([
                during,
                started,
                expedited,
                snapshot,
                late,
                over,
                polled.is_over(),
            ])
        }
        let global = all(rcu::global(), support::cpu_relax)?;
        let sleepy = all(Srcu::<Sleepy>::init()?, || support::msleep(1))?;
        assert_eq!(global, [false, true, true, true, true, true, true]);
        assert_eq!(sleepy, [false, true, true, true, true, true, true]);
        Ok(())
    }

    #[test]
    fn sections_in_every_context() -> Result {
        let (global, sleepy) = (rcu::global(), Srcu::<Sleepy>::init()?);
        let both = move || (global.run(|_| 1), sleepy.run(|_| 2));
        let softirq = support::in_softirq(both);
        let hardirq = support::in_hardirq(both);
        let nmi = support::in_nmi(move || (global.run(|_| 1), global.cookie().is_over()));
        assert_eq!(softirq, Some((1, 2)));
        assert_eq!(hardirq, Some((1, 2)));
        assert!(matches!(nmi, None | Some((1, _))));
        Ok(())
    }

    #[test]
    fn long_waits_are_reported() -> Result {
        rcu::define_domain! {
            /// One reader is in it.
            Stalled
        }
        const READER: &CStr = c"] is in a read-side critical section of Stalled";
        let stalled = Srcu::<Stalled>::init()?;
        let before = rcu::stall_reports();
        let named = support::logged(READER);
        let was = rcu::set_stall_report_ms(10);
        let (line, ret) = complaining(STALL, || {
            with_reader(
                stalled,
                || support::msleep(5),
                |state| {
                    // Until it was reported again, but for ten seconds at most.
                    let state = state.clone();
                    let stopper = support::spawn(c"rcu_stopper", move || {
                        for _ in 0..10_000 {
                            // This task alone calls `logged` meanwhile.
                            if rcu::stall_reports().wrapping_sub(before) >= 2
                                && support::logged(READER) != named
                            {
                                break;
                            }
                            support::msleep(1);
                        }
                        state.store(2, Release);
                    })?;
                    let (line, ret) = (line!(), stalled.synchronize());
                    stopper.join();
                    Ok::<_, Error>((line, ret))
                },
            )
        })??;
        rcu::set_stall_report_ms(was);
        let reports = rcu::stall_reports().wrapping_sub(before);
        let place = CString::try_from_fmt(fmt!("/domain.rs:{line})"))?;
        assert!(ret.is_ok());
        assert!(reports >= 2);
        assert!(support::logged(READER) > named);
        assert!(support::logged(&place) >= 1);
        Ok(())
    }

    /// Keeps all CPUs for so long: timers expire, and no work item begins.
    fn keep_busy(ms: u32) -> Result {
        let mut threads = KVec::new();
        for cpu in 0..i32::try_from(support::num_online_cpus())? {
            let busy = move || {
                support::preempt_disabled(|| (0..ms).for_each(|_| udelay(Delta::from_millis(1))))
            };
            threads.push(support::spawn_on(cpu, c"rcu_busy", busy)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The readers of two domains are named; one work item searches for both.
    #[test]
    fn two_stalls_are_reported() -> Result {
        rcu::define_domain! {
            /// Stalls with [`Second`].
            First
        }
        rcu::define_domain! {
            /// Stalls with [`First`].
            Second
        }
        const NAMES: [&CStr; 2] = [
            c"] is in a read-side critical section of First",
            c"] is in a read-side critical section of Second",
        ];
        let (first, second) = (Srcu::<First>::init()?, Srcu::<Second>::init()?);
        let named = NAMES.map(support::logged);
        let was = rcu::set_stall_report_ms(200);
        let ret = complaining(STALL, || {
            with_reader(
                first,
                || support::msleep(5),
                |one| {
                    with_reader(
                        second,
                        || support::msleep(5),
                        |two| {
                            let waiters = [
                                support::spawn(c"rcu_waiter", move || {
                                    let _ = first.synchronize();
                                }),
                                support::spawn(c"rcu_waiter", move || {
                                    let _ = second.synchronize();
                                }),
                            ];
                            for waiter in waiters.iter().flatten() {
                                support::await_asleep(slice::from_ref(waiter));
                            }
                            let kept = keep_busy(400);
                            // For ten seconds at most.
                            let mut now = named;
                            for _ in 0..1000 {
                                support::msleep(10);
                                now = NAMES.map(support::logged);
                                if now[0] != named[0] && now[1] != named[1] {
                                    break;
                                }
                            }
                            one.store(2, Release);
                            two.store(2, Release);
                            for waiter in waiters {
                                waiter?.join();
                            }
                            kept?;
                            Ok::<_, Error>(now)
                        },
                    )?
                },
            )
        });
        rcu::set_stall_report_ms(was);
        let now = ret??;
        assert!(now[0] != named[0] && now[1] != named[1]);
        Ok(())
    }

    #[test]
    fn quiesce_from_anywhere() -> Result {
        let global = rcu::global();
        global.quiesce();
        global.run(|_| global.quiesce());
        support::preempt_disabled(|| global.quiesce());
        let still_reader = global.run(|_| {
            global.quiesce();
            global.in_reader()
        });
        assert!(still_reader);
        Ok(())
    }

    /// The difference between the numbers of extended quiescent states that RCU has seen on a busy
    /// CPU.
    fn quiescent_states(f: impl FnOnce() + Send + 'static) -> Result<u32> {
        let states = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let theirs = states.clone();
        // The thread stays on one CPU, which is not idle between the two calls.
        support::spawn_on(0, c"rcu_busy", move || {
            let before = support::rcu_watching();
            f();
            theirs.store(support::rcu_watching().wrapping_sub(before), Relaxed);
        })?
        .join();
        Ok(states.load(Relaxed))
    }

    #[test]
    fn quiesce_reports_a_quiescent_state() -> Result {
        let global = rcu::global();
        let without = quiescent_states(|| ())?;
        let inside = quiescent_states(move || global.run(|_| global.quiesce()))? != 0;
        let atomic = quiescent_states(move || support::preempt_disabled(|| global.quiesce()))?;
        let reported = quiescent_states(move || global.quiesce())? != 0;
        assert_eq!((without, atomic), (0, 0));
        // A section of `Global` is none of the kernel's RCU where that is not preemptible.
        let srcu = cfg!(not(any(CONFIG_PREEMPT_RCU, CONFIG_TINY_RCU)));
        assert_eq!(inside, srcu);
        // Tiny RCU has no such states: one CPU that reschedules has passed through one.
        assert_eq!(reported, cfg!(not(CONFIG_TINY_RCU)));
        Ok(())
    }

    #[test]
    fn quiesce_on_pending_reports_a_quiescent_state() -> Result {
        let global = rcu::global();
        let reported = quiescent_states(move || {
            let future = pin!(global.quiesce_on_pending(ready(())));
            let _ = future.poll(&mut Context::from_waker(Waker::noop()));
        })? != 0;
        // As above.
        assert_eq!(reported, cfg!(not(CONFIG_TINY_RCU)));
        Ok(())
    }

    #[test]
    fn init_of_a_domain_again_is_the_same_domain() -> Result {
        let (one, two) = (Srcu::<Sleepy>::init()?, Srcu::<Sleepy>::init()?);
        let seen = complaining(MISUSE, || one.run(|_| (two.in_reader(), two.synchronize())));
        assert!(seen == (true, Err(EDEADLK)));
        assert_eq!(one.pending(), 0);
        Ok(())
    }

    #[test]
    fn a_misuse_is_logged_once_for_each_place() -> Result {
        fn one(domain: Srcu<Sleepy>) -> (u32, Result) {
            (line!(), domain.synchronize())
        }
        fn other(domain: Srcu<Sleepy>) -> (u32, Result) {
            (line!(), domain.synchronize())
        }
        let sleepy = Srcu::<Sleepy>::init()?;
        for misuse in [one, other] {
            let mut refused = 0;
            let mut line = 0;
            complaining(MISUSE, || {
                for _ in 0..10 {
                    let (at, ret) = sleepy.run(|_| misuse(sleepy));
                    line = at;
                    refused += i32::from(ret == Err(EDEADLK));
                }
            });
            let text = CString::try_from_fmt(fmt!("/domain.rs:{line} waits for the readers"))?;
            let logged = support::logged(&text);
            assert_eq!(refused, 10);
            assert_eq!(logged, 1);
        }
        Ok(())
    }

    #[test]
    fn no_stale_marks() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let never = Atomic::new(0i32);
        for _ in 0..1000 {
            sleepy.run(|_| ());
            if sleepy.in_reader() {
                never.store(1, Relaxed);
            }
        }
        assert_eq!(never.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_cookie_of_a_domain_that_was_not_there_stays_over() -> Result {
        rcu::define_domain! {
            /// Initialised after its cookies were made.
            Late
        }
        let cell = rcu::RcuCell::<_, Srcu<Late>>::new(rcu::Object::new(1u64).boxed(GFP_KERNEL)?);
        let next = || Ok::<_, Error>(rcu::Object::new(2u64).boxed(GFP_KERNEL)?);
        let (started, snapshot) = (
            cell.replace(next()?).start(),
            cell.replace(next()?).cookie(),
        );
        let before = started.is_over() && snapshot.is_over();
        let domain = Srcu::<Late>::init()?;
        // SRCU begins to count 100 grace periods before its counter wraps.
        let mut not_over = 0;
        for _ in 0..120 {
            if !started.is_over() || !snapshot.is_over() {
                not_over += 1;
            }
            domain.synchronize_expedited()?;
        }
        let reclaimed = started.try_reclaim().is_ok() && snapshot.try_reclaim().is_ok();
        assert!(before && reclaimed);
        assert_eq!(not_over, 0);
        Ok(())
    }
}
