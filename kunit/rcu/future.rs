// SPDX-License-Identifier: GPL-2.0

//! Futures: any executor, any number, dropped at any time.

use super::{
    domain::{
        with_reader,
        Sleepy, //
    },
    executor::{
        block_on,
        spawn,
        waker,
        Wake, //
    },
};
use crate::support;
use core::{
    future::Future,
    pin::{
        pin,
        Pin, //
    },
    task::{
        Context,
        Poll, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
};
use quiesce::{
    impl_has_rundown,
    rcu::{
        self,
        Domain,
        GracePeriod,
        Object,
        RcuCell,
        Srcu, //
    },
    rundown::{
        ArcGuard,
        HasRundown,
        RundownRef, //
    },
};

/// Counts how often it is woken.
struct Woken(Atomic<usize>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.add(1usize, Relaxed);
    }
}

fn woken() -> Result<Arc<Woken>> {
    Ok(Arc::new(Woken(Atomic::new(0)), GFP_KERNEL)?)
}

/// Has objects whose destructors may sleep, and note who drops them.
struct Owner {
    _cell: RcuCell<KBox<Object<Noted>>>,
    _guard: ArcGuard<Guarded>,
    /// The result of a barrier in the waker's destructor.
    barrier: Arc<Atomic<i32>>,
}

struct Noted(Arc<Atomic<i32>>);

struct Guarded {
    users: RundownRef,
    _noted: Noted,
}

impl_has_rundown! {
    impl HasRundown for Guarded { self.users: RundownRef }
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

/// Has more objects that a worker drops than the workers have room for.
struct Many {
    _guards: KVec<ArcGuard<Gated>>,
}

impl Wake for Many {
    fn wake(self: Arc<Self>) {}
}

/// Is dropped when the gate opens, and counted.
struct Gated {
    users: RundownRef,
    gate: Arc<Atomic<i32>>,
    dropped: Arc<Atomic<i32>>,
}

impl_has_rundown! {
    impl HasRundown for Gated { self.users: RundownRef }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // There are hundreds of these at a time.
        while self.gate.load(Relaxed) == 0 {
            support::msleep(20);
        }
        self.dropped.add(1, Relaxed);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let result = rcu::global()
            .barrier()
            .map_or_else(|e| e.to_errno(), |()| 1);
        self.barrier.store(result, Relaxed);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(kernel::current!().pid(), Relaxed);
    }
}

/// Polls a future when it is woken, and notes the result.
struct Polls {
    other: core::task::Waker,
    result: Atomic<i32>,
}

impl Wake for Polls {
    fn wake(self: Arc<Self>) {
        let mut future = pin!(rcu::global().synchronize_async());
        let result = match future.as_mut().poll(&mut Context::from_waker(&self.other)) {
            Poll::Pending => 1,
            Poll::Ready(Ok(())) => 2,
            Poll::Ready(Err(e)) => e.to_errno(),
        };
        self.result.store(result, Relaxed);
    }
}

/// Is pending once, and wakes at once.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One grace period in each domain, and a count when both are over.
///
/// Written by hand: objtool does not know the function that an `async` block calls when it is
/// polled too often, and takes its end for a missing return.
struct Both {
    global: Pin<KBox<GracePeriod>>,
    sleepy: Pin<KBox<GracePeriod<Srcu<Sleepy>>>>,
    done: &'static Atomic<usize>,
}

impl Future for Both {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.global.as_mut().poll(cx).is_pending() || self.sleepy.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.done.fetch_add(1usize, Full);
        Poll::Ready(())
    }
}

#[kunit_tests(quiesce_rcu_future)]
mod tests {
    use super::*;

    #[test]
    fn block_on_a_grace_period() -> Result {
        let global = rcu::global();
        let cookie = global.cookie();
        block_on(global.synchronize_async())??;
        let sleepy = Srcu::<Sleepy>::init()?;
        let other = sleepy.cookie();
        block_on(sleepy.synchronize_async())??;
        assert!(cookie.is_over());
        assert!(other.is_over());
        Ok(())
    }

    /// Modules that are unloaded wait for the functions of wakers.
    #[test]
    fn wakers_run_no_destructor() -> Result {
        let new = || Ok::<_, Error>(Arc::new(Atomic::new(0i32), GFP_KERNEL)?);
        let (dropped_by, guarded_by, barrier) = (new()?, new()?, new()?);
        let object = Object::new(Noted(dropped_by.clone())).boxed(GFP_KERNEL)?;
        let guarded = Guarded {
            users: RundownRef::new(),
            _noted: Noted(guarded_by.clone()),
        };
        let first = Arc::new(
            Owner {
                _cell: RcuCell::new(object),
                _guard: HasRundown::try_acquire_arc(Arc::new(guarded, GFP_KERNEL)?)?,
                barrier: barrier.clone(),
            },
            GFP_KERNEL,
        )?;
        let (first, second) = (waker(first), waker(woken()?));
        let sleepy = Srcu::<Sleepy>::init()?;
        // The message is of the barrier.
        crate::rcu::complaining(crate::rcu::MISUSE, || {
            with_reader(
                sleepy,
                || support::msleep(1),
                |_| {
                    let mut future = pin!(sleepy.synchronize_async());
                    let first_poll = future.as_mut().poll(&mut Context::from_waker(&first));
                    drop(first);
                    // This drops the first waker.
                    let next_poll = future.as_mut().poll(&mut Context::from_waker(&second));
                    assert!(first_poll.is_pending() && next_poll.is_pending());
                },
            )
        })?;
        rcu::barrier()?;
        assert_eq!(barrier.load(Relaxed), EDEADLK.to_errno());
        for by in [dropped_by, guarded_by] {
            // A work item that no barrier waits for drops the second.
            for _ in 0..10_000 {
                if by.load(Relaxed) != 0 {
                    break;
                }
                support::msleep(1);
            }
            let who = by.load(Relaxed);
            assert!(who != 0 && who != kernel::current!().pid());
        }
        Ok(())
    }

    #[test]
    fn wakers_can_drop_many_guards() -> Result {
        const MANY: i32 = 700;

        let new = || Ok::<_, Error>(Arc::new(Atomic::new(0i32), GFP_KERNEL)?);
        let (gate, dropped) = (new()?, new()?);
        let mut guards = KVec::new();
        for _ in 0..MANY {
            let gated = Gated {
                users: RundownRef::new(),
                gate: gate.clone(),
                dropped: dropped.clone(),
            };
            let gated = Arc::new(gated, GFP_KERNEL)?;
            guards.push(HasRundown::try_acquire_arc(gated)?, GFP_KERNEL)?;
        }
        let waker = waker(Arc::new(Many { _guards: guards }, GFP_KERNEL)?);
        let sleepy = Srcu::<Sleepy>::init()?;
        let begun = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                let mut future = pin!(sleepy.synchronize_async());
                let begun = future.as_mut().poll(&mut Context::from_waker(&waker));
                drop(waker);
                begun
                // The future is dropped, and its waker with it.
            },
        );
        gate.store(1, Relaxed);
        assert!(begun?.is_pending());
        for _ in 0..60_000 {
            if dropped.load(Relaxed) == MANY {
                break;
            }
            support::msleep(1);
        }
        assert_eq!(dropped.load(Relaxed), MANY);
        Ok(())
    }

    #[test]
    fn wakers_can_poll_futures() -> Result {
        let polls = Arc::new(
            Polls {
                other: waker(woken()?),
                result: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let waker = waker(polls.clone());
        // The reader holds up the grace period until the future waits.
        let (_future, begun) = with_reader(
            rcu::global(),
            || support::udelay(10),
            |_| {
                let mut future = KBox::pin(rcu::global().synchronize_async(), GFP_KERNEL)?;
                let begun = future.as_mut().poll(&mut Context::from_waker(&waker));
                Ok::<_, Error>((future, begun))
            },
        )??;
        assert!(begun.is_pending());
        for _ in 0..10_000 {
            if polls.result.load(Relaxed) != 0 {
                break;
            }
            support::msleep(1);
        }
        assert!(matches!(polls.result.load(Relaxed), 1 | 2));
        Ok(())
    }

    #[test]
    fn not_ready_while_a_reader_is_there() -> Result {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let sleepy = Srcu::<Sleepy>::init()?;
        let (early, early_wakes) = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                let mut future = pin!(sleepy.synchronize_async());
                let mut early = false;
                for _ in 0..20 {
                    early |= future.as_mut().poll(&mut cx).is_ready();
                    support::msleep(1);
                }
                (early, woken.0.load(Relaxed))
            },
        )?;
        assert!(!early);
        assert_eq!(early_wakes, 0);
        Ok(())
    }

    /// Polls a future of `domain` inside a section of it, and outside of it again.
    fn poll_inside<D: Domain>(domain: D) -> Result<(bool, bool, bool)> {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = KBox::pin(domain.synchronize_async(), GFP_KERNEL)?;
        let (inside, again) = domain.run(|_| {
            let inside = future.as_mut().poll(&mut cx);
            (inside, future.as_mut().poll(&mut cx))
        });
        let wakes = woken.0.load(Relaxed);
        let outside = future.as_mut().poll(&mut cx);
        domain.synchronize()?;
        let over = domain.run(|_| [(); 2].map(|()| future.as_mut().poll(&mut cx)));
        Ok((
            [inside, again] == [Poll::Ready(Err(EDEADLK)); 2] && wakes == 0,
            outside == Poll::Pending || outside == Poll::Ready(Ok(())),
            over == [Poll::Ready(Ok(())); 2],
        ))
    }

    #[test]
    fn polled_inside_a_section_it_is_refused() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let in_global = poll_inside(rcu::global())?;
        let in_sleepy = poll_inside(sleepy)?;
        // A section of another domain is none of this one.
        let mut future = KBox::pin(rcu::global().synchronize_async(), GFP_KERNEL)?;
        let across = sleepy.run(|_| {
            let waker = core::task::Waker::noop();
            future.as_mut().poll(&mut Context::from_waker(waker))
        });
        let new = |n: u32| Ok::<_, Error>(KBox::new(Object::new(n), GFP_KERNEL)?);
        let cell = RcuCell::<KBox<Object<u32>>>::new(new(1)?);
        let mut reclaim = KBox::pin(cell.replace(new(2)?).synchronize_async(), GFP_KERNEL)?;
        let refused = rcu::global().run(|_| {
            let waker = core::task::Waker::noop();
            reclaim.as_mut().poll(&mut Context::from_waker(waker))
        });
        let back = match refused {
            Poll::Ready(Err(refused)) => Some((refused.error, **refused.retired.synchronize()?)),
            _ => None,
        };
        assert!(in_global == (true, true, true));
        assert!(in_sleepy == (true, true, true));
        assert!(across != Poll::Ready(Err(EDEADLK)));
        assert!(back == Some((EDEADLK, 1)));
        Ok(())
    }

    #[test]
    fn dropped_while_it_waits_it_is_not_woken() -> Result {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let sleepy = Srcu::<Sleepy>::init()?;
        with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                for _ in 0..10 {
                    let mut future = pin!(sleepy.synchronize_async());
                    let _ = future.as_mut().poll(&mut cx);
                }
            },
        )?;
        sleepy.synchronize()?;
        sleepy.barrier()?;
        assert_eq!(woken.0.load(Relaxed), 0);
        Ok(())
    }

    /// Has `n` futures wait for one grace period; returns how many were ready too early, were woken,
    /// and were ready in the end.
    fn many(n: usize) -> Result<(usize, usize, usize)> {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let sleepy = Srcu::<Sleepy>::init()?;
        let mut futures =
            KVVec::<Pin<KBox<GracePeriod<Srcu<Sleepy>>>>>::with_capacity(n, GFP_KERNEL)?;
        for _ in 0..n {
            futures.push(
                KBox::pin(sleepy.synchronize_async(), GFP_KERNEL)?,
                GFP_KERNEL,
            )?;
        }
        let early = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                let mut early = 0;
                // Later ones first; each twice.
                for future in futures.iter_mut().rev() {
                    early += usize::from(future.as_mut().poll(&mut cx).is_ready());
                    early += usize::from(future.as_mut().poll(&mut cx).is_ready());
                }
                // The odd ones go without having been woken.
                let mut i = 0;
                let mut kept = KVVec::with_capacity(n, GFP_KERNEL)?;
                while let Some(future) = futures.pop() {
                    if i % 2 == 0 {
                        kept.push(future, GFP_KERNEL)?;
                    }
                    i += 1;
                }
                futures = kept;
                Ok::<_, Error>(early)
            },
        )??;
        // Those that were ready are not woken.
        while early == 0 && woken.0.load(Relaxed) < n / 2 {
            support::msleep(5);
        }
        sleepy.barrier()?;
        let mut ready = 0;
        for future in &mut futures {
            ready += usize::from(future.as_mut().poll(&mut cx).is_ready());
            // Fused.
            ready += usize::from(future.as_mut().poll(&mut cx).is_ready());
        }
        Ok((early, woken.0.load(Relaxed), ready))
    }

    #[test]
    fn many_wait_for_one_grace_period() -> Result {
        // Few that the callback wakes, and many that the work item does.
        for n in [20, 2000] {
            let (early, times, ready) = many(n)?;
            assert_eq!(early, 0);
            assert_eq!(times, n / 2);
            assert_eq!(ready, n);
        }
        Ok(())
    }

    #[test]
    fn without_a_timeout_nothing_is_reported() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let woken = woken()?;
        let waker = waker(woken.clone());
        let before = rcu::stall_reports();
        let was = rcu::set_stall_report_ms(0);
        let ready = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                let mut future = KBox::pin(sleepy.synchronize_async(), GFP_KERNEL)?;
                let first = future.as_mut().poll(&mut Context::from_waker(&waker));
                // Longer than the shortest timeout, a jiffy.
                support::msleep(50);
                Ok::<_, Error>(first.is_ready())
            },
        );
        let now = rcu::set_stall_report_ms(was);
        sleepy.synchronize()?;
        let reports = rcu::stall_reports().wrapping_sub(before);
        assert!(!ready??);
        assert_eq!(now, 0);
        assert_eq!(reports, 0);
        Ok(())
    }

    #[test]
    fn long_waits_are_reported() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let woken = woken()?;
        let waker = waker(woken.clone());
        let before = rcu::stall_reports();
        let was = rcu::set_stall_report_ms(10);
        let ready = crate::rcu::complaining(crate::rcu::STALL, || {
            let ready = with_reader(
                sleepy,
                || support::msleep(1),
                |_| {
                    let mut future = KBox::pin(sleepy.synchronize_async(), GFP_KERNEL)?;
                    let first = future.as_mut().poll(&mut Context::from_waker(&waker));
                    while first.is_pending() && rcu::stall_reports() == before {
                        support::msleep(5);
                    }
                    Ok::<_, Error>(first.is_ready())
                },
            );
            // The grace period may be reported once more before it ends.
            sleepy.synchronize()?;
            // The end of a wait that was reported waits for the reports that are being printed.
            with_reader(
                sleepy,
                || support::msleep(1),
                |state| {
                    let (state, settled) = (state.clone(), rcu::stall_reports());
                    let stopper = support::spawn(c"rcu_stopper", move || {
                        while rcu::stall_reports() == settled {
                            support::msleep(1);
                        }
                        state.store(2, Release);
                    })?;
                    sleepy.synchronize()?;
                    stopper.join();
                    Ok::<_, Error>(())
                },
            )??;
            rcu::set_stall_report_ms(was);
            ready
        })??;
        assert!(!ready);
        // Nothing of the domain waits any more.
        let after = rcu::stall_reports();
        support::msleep(500);
        assert_eq!(rcu::stall_reports(), after);
        Ok(())
    }

    #[test]
    fn on_a_workqueue() -> Result {
        const N: usize = 50;
        static DONE: Atomic<usize> = Atomic::new(0);
        DONE.store(0, Relaxed);
        let sleepy = Srcu::<Sleepy>::init()?;
        for _ in 0..N {
            spawn(Both {
                global: KBox::pin(rcu::global().synchronize_async(), GFP_KERNEL)?,
                sleepy: KBox::pin(sleepy.synchronize_async(), GFP_KERNEL)?,
                done: &DONE,
            })?;
        }
        for _ in 0..4000 {
            if DONE.load(Relaxed) == N {
                break;
            }
            support::msleep(5);
        }
        assert_eq!(DONE.load(Relaxed), N);
        // The last task's own reference goes with its work item.
        support::msleep(20);
        Ok(())
    }

    #[test]
    fn reclaimed_returns_the_pointer_and_defers_when_dropped() -> Result {
        let new = |n: u32| Ok::<_, Error>(KBox::new(Object::new(n), GFP_KERNEL)?);
        let cell = RcuCell::<KBox<Object<u32>>>::new(new(1)?);
        let one = block_on(cell.replace(new(2)?).synchronize_async())??;
        let woken = woken()?;
        let waker = waker(woken.clone());
        {
            let mut future = pin!(cell.replace(new(3)?).synchronize_async());
            let _ = future.as_mut().poll(&mut Context::from_waker(&waker));
        }
        rcu::global().barrier()?;
        assert_eq!(**one, 1);
        assert_eq!(**cell.into_inner(), 3);
        Ok(())
    }

    #[test]
    fn polled_after_it_was_ready_it_stays_pending() -> Result {
        let new = |n: u32| Ok::<_, Error>(KBox::new(Object::new(n), GFP_KERNEL)?);
        let cell = RcuCell::<KBox<Object<u32>>>::new(new(1)?);
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(cell.replace(new(2)?).synchronize_async());
        rcu::global().synchronize()?;
        let Poll::Ready(Ok(object)) = future.as_mut().poll(&mut cx) else {
            return Err(EBUSY);
        };
        let mut again = 0;
        for _ in 0..3 {
            again += u32::from(future.as_mut().poll(&mut cx).is_pending());
        }
        rcu::global().barrier()?;
        assert_eq!(**object, 1);
        assert_eq!((again, woken.0.load(Relaxed)), (3, 0));
        Ok(())
    }

    #[test]
    fn polled_in_every_context() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let woken = woken()?;
        let waker = waker(woken.clone());
        let (polled, mut future) = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                let mut future = KBox::pin(sleepy.synchronize_async(), GFP_KERNEL)?;
                let mut poll = || {
                    let mut cx = Context::from_waker(&waker);
                    future.as_mut().poll(&mut cx).is_ready()
                };
                let polled = (
                    support::in_hardirq(&mut poll),
                    support::in_softirq(&mut poll),
                );
                Ok::<_, Error>((polled, future))
            },
        )??;
        let was_woken = (0..1000).any(|_| {
            support::msleep(10);
            woken.0.load(Relaxed) != 0
        });
        let ready = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        sleepy.barrier()?;
        assert_eq!(polled, (Some(false), Some(false)));
        assert!(was_woken && ready);
        assert_eq!(woken.0.load(Relaxed), 1);
        Ok(())
    }

    /// The task that is interrupted may be a reader: it is not the one that polls.
    #[test]
    fn polled_in_an_interrupt_of_a_reader() -> Result {
        fn polled<D: Domain>(domain: D) -> Result<Option<Poll<Result>>> {
            let waker = waker(woken()?);
            let mut future = KBox::pin(domain.synchronize_async(), GFP_KERNEL)?;
            let (at, w) = (&mut future, &waker);
            let polled = domain.run(|_| {
                support::in_hardirq(move || at.as_mut().poll(&mut Context::from_waker(w)))
            });
            drop(future);
            domain.barrier()?;
            Ok(polled)
        }
        let global = polled(rcu::global())?;
        let sleepy = polled(Srcu::<Sleepy>::init()?)?;
        assert!(global.is_some() && global != Some(Poll::Ready(Err(EDEADLK))));
        assert!(sleepy.is_some() && sleepy != Some(Poll::Ready(Err(EDEADLK))));
        Ok(())
    }

    /// The task that polled last is woken, and it alone.
    #[test]
    fn polled_with_another_waker_it_wakes_that() -> Result {
        let (first, second) = (woken()?, woken()?);
        let sleepy = Srcu::<Sleepy>::init()?;
        let mut future = pin!(sleepy.synchronize_async());
        let pending = with_reader(
            sleepy,
            || support::msleep(1),
            |_| {
                [&first, &second].map(|woken| {
                    let waker = waker(woken.clone());
                    let mut cx = Context::from_waker(&waker);
                    future.as_mut().poll(&mut cx).is_pending()
                })
            },
        )?;
        assert_eq!(pending, [true, true]);
        sleepy.barrier()?;
        for _ in 0..60_000 {
            if first.0.load(Relaxed) + second.0.load(Relaxed) != 0 {
                break;
            }
            support::msleep(1);
        }
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (0, 1));
        Ok(())
    }

    #[test]
    fn quiesce_on_pending_passes_the_output_on() -> Result {
        let output = block_on(rcu::global().quiesce_on_pending(async {
            for _ in 0..10 {
                Yield(false).await;
                rcu::global().run(|_| ());
            }
            rcu::global().synchronize_async().await?;
            Ok::<_, Error>(7)
        }))?;
        assert!(output == Ok(7));
        Ok(())
    }
}
