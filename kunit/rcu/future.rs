// SPDX-License-Identifier: GPL-2.0

//! Futures: any executor, any number, dropped at any time.

use super::{
    domain::Sleepy,
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
            Relaxed, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    Domain,
    GracePeriod,
    Object,
    RcuCell,
    Srcu, //
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
        block_on(global.synchronize())?;
        let sleepy = Srcu::<Sleepy>::init()?;
        let other = sleepy.cookie();
        block_on(sleepy.synchronize())?;
        assert!(cookie.is_over());
        assert!(other.is_over());
        Ok(())
    }

    #[test]
    fn not_ready_while_a_reader_is_there() -> Result {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let early = rcu::global().run(|_| {
            let mut future = pin!(rcu::global().synchronize());
            let mut early = false;
            for _ in 0..20 {
                early |= future.as_mut().poll(&mut cx).is_ready();
                support::udelay(1000);
            }
            early
        });
        assert!(!early);
        assert_eq!(woken.0.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn dropped_while_it_waits_it_is_not_woken() -> Result {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        rcu::global().run(|_| {
            for _ in 0..10 {
                let mut future = pin!(rcu::global().synchronize());
                let _ = future.as_mut().poll(&mut cx);
            }
        });
        rcu::global().synchronize_blocking()?;
        rcu::global().barrier()?;
        assert_eq!(woken.0.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn many_wait_for_one_grace_period() -> Result {
        const N: usize = 200;
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut futures = KVec::<Pin<KBox<GracePeriod>>>::with_capacity(N, GFP_KERNEL)?;
        let mut early = 0;
        rcu::global().run(|_| {
            for _ in 0..N {
                futures.push(
                    KBox::pin(rcu::global().synchronize(), GFP_ATOMIC)?,
                    GFP_ATOMIC,
                )?;
            }
            // Later ones first; each twice.
            for future in futures.iter_mut().rev() {
                early += usize::from(future.as_mut().poll(&mut cx).is_ready());
                early += usize::from(future.as_mut().poll(&mut cx).is_ready());
            }
            Ok::<_, Error>(())
        })?;
        // The odd ones go without having been woken.
        let mut kept = KVec::new();
        let mut i = 0;
        while let Some(future) = futures.pop() {
            if i % 2 == 0 {
                kept.push(future, GFP_KERNEL)?;
            }
            i += 1;
        }
        for _ in 0..2000 {
            if woken.0.load(Relaxed) >= N / 2 {
                break;
            }
            support::msleep(5);
        }
        rcu::global().barrier()?;
        let mut ready = 0;
        for future in &mut kept {
            ready += usize::from(future.as_mut().poll(&mut cx).is_ready());
            // Fused.
            ready += usize::from(future.as_mut().poll(&mut cx).is_ready());
        }
        let times = woken.0.load(Relaxed);
        assert_eq!(early, 0);
        assert_eq!(ready, N);
        // Some of the dropped ones may have been woken before they were.
        assert!((N / 2..=N).contains(&times));
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
                global: KBox::pin(rcu::global().synchronize(), GFP_KERNEL)?,
                sleepy: KBox::pin(sleepy.synchronize(), GFP_KERNEL)?,
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
        let one = block_on(cell.replace(new(2)?).reclaimed())?;
        let woken = woken()?;
        let waker = waker(woken.clone());
        {
            let mut future = pin!(cell.replace(new(3)?).reclaimed());
            let _ = future.as_mut().poll(&mut Context::from_waker(&waker));
        }
        rcu::global().barrier()?;
        assert_eq!(**one, 1);
        assert_eq!(**cell.into_inner(), 3);
        Ok(())
    }

    #[test]
    fn polled_in_every_context() -> Result {
        let woken = woken()?;
        let waker = waker(woken.clone());
        let mut future = KBox::pin(rcu::global().synchronize(), GFP_KERNEL)?;
        let at = &mut future;
        let w = &waker;
        let hardirq =
            support::in_hardirq(move || at.as_mut().poll(&mut Context::from_waker(w)).is_ready());
        let at = &mut future;
        let softirq =
            support::in_softirq(move || at.as_mut().poll(&mut Context::from_waker(w)).is_ready());
        rcu::global().synchronize_blocking()?;
        let ready = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        rcu::global().barrier()?;
        assert!(hardirq.is_some() && softirq.is_some());
        assert!(ready);
        Ok(())
    }

    #[test]
    fn quiesce_on_pending_passes_the_output_on() -> Result {
        let output = block_on(rcu::global().quiesce_on_pending(async {
            for _ in 0..10 {
                Yield(false).await;
                rcu::global().run(|_| ());
            }
            rcu::global().synchronize().await;
            7
        }))?;
        assert_eq!(output, 7);
        Ok(())
    }
}
