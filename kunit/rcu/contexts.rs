// SPDX-License-Identifier: GPL-2.0

//! Calls in interrupts: those that are allowed there work, and the others are refused.

use super::{
    complaining,
    domain::{
        with_reader,
        Sleepy, //
    },
    executor::{
        waker,
        Wake, //
    },
    MISUSE, //
};
use crate::support;
use core::{
    future::Future,
    task::Context, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::rcu::{
    self,
    Cookie,
    Domain,
    Global,
    Object,
    PolledRetired,
    RcuCell,
    Srcu, //
};

type Number = KBox<Object<u32>>;

fn number(n: u32) -> Result<Number> {
    Ok(Object::new(n).boxed(GFP_KERNEL)?)
}

fn numbers(n: u32) -> Result<KVec<Number>> {
    let mut numbers = KVec::new();
    for i in 1..=n {
        numbers.push(number(i)?, GFP_KERNEL)?;
    }
    Ok(numbers)
}

/// Calls `f` in a softirq, in a hardware interrupt and, if this machine can send one, in an NMI.
fn in_interrupts<T: Send>(mut f: impl FnMut() -> T + Send) -> Result<KVec<T>> {
    let mut seen = KVec::with_capacity(3, GFP_KERNEL)?;
    seen.push(support::in_softirq(&mut f).ok_or(EIO)?, GFP_KERNEL)?;
    seen.push(support::in_hardirq(&mut f).ok_or(EIO)?, GFP_KERNEL)?;
    if let Some(in_nmi) = support::in_nmi(&mut f) {
        seen.push(in_nmi, GFP_KERNEL)?;
    }
    Ok(seen)
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

#[kunit_tests(quiesce_rcu_contexts)]
mod tests {
    use super::*;

    /// What a writer takes out in an interrupt is returned to process context, which defers it: an
    /// NMI would leak it.
    #[test]
    fn cells_are_written_in_interrupts() -> Result {
        let cell = RcuCell::<_, Global>::new(number(0)?);
        let mut spare = numbers(9)?;
        let seen = in_interrupts(|| {
            let (one, two, three) = (spare.pop()?, spare.pop()?, spare.pop()?);
            let replaced = cell.replace(one);
            let exchanged =
                rcu::global().run(|t| cell.compare_exchange(t, cell.read(t), two).ok())?;
            let mut three = Some(three);
            let updated = cell
                .update(rcu::global(), |_| three.take().ok_or(EBUSY))
                .ok()?;
            let now = rcu::global().run(|t| *cell.read(t));
            Some((replaced, exchanged, updated, now))
        })?;
        let written = seen
            .iter()
            .all(|seen| seen.as_ref().is_some_and(|seen| seen.3 != 0));
        drop(seen);
        assert!(written);
        Ok(())
    }

    #[test]
    fn grace_periods_are_polled_in_interrupts() -> Result {
        type Polled<D> = core::result::Result<Number, PolledRetired<Number, D>>;
        type Seen<D> = KVec<Option<(Polled<D>, [Cookie<D>; 3], [bool; 3])>>;

        fn all<D: Domain>(domain: D) -> Result<Seen<D>> {
            let cell = RcuCell::<_, D>::new(number(0)?);
            let mut retired = KVec::new();
            for n in 1..=3 {
                retired.push(cell.replace(number(n)?), GFP_KERNEL)?;
            }
            let seen = in_interrupts(|| {
                let polled = retired.pop()?.start();
                let cookies = [domain.cookie(), domain.start(), domain.start_expedited()];
                let over = cookies.map(|cookie| cookie.is_over());
                // Neither is freed here: the pointer, or what still waits, is returned.
                Some((polled.try_reclaim(), cookies, over))
            })?;
            Ok(seen)
        }
        /// Whether the grace periods that were started, but in an NMI, elapse by themselves.
        fn elapse<D: Domain>(seen: Seen<D>) -> bool {
            let started = seen.iter().take(2).flatten();
            let mut cookies = started.flat_map(|(_, cookies, _)| &cookies[1..]);
            cookies.all(|cookie| {
                (0..1000).any(|_| {
                    support::msleep(10);
                    cookie.is_over()
                })
            })
        }
        let sleepy = Srcu::<Sleepy>::init()?;
        let global = all(rcu::global())?;
        let behind_a_reader = with_reader(sleepy, || support::msleep(1), |_| all(sleepy))??;
        let refused = behind_a_reader.iter().flatten();
        assert!(refused
            .clone()
            .all(|(polled, _, over)| polled.is_err() && *over == [false; 3]));
        assert!(global.iter().all(Option::is_some) && behind_a_reader.iter().all(Option::is_some));
        assert!(elapse(global) && elapse(behind_a_reader));
        rcu::global().barrier()?;
        sleepy.barrier()?;
        Ok(())
    }

    #[test]
    fn waits_are_refused_in_interrupts() -> Result {
        fn all<D: Domain>(domain: D) -> Result<KVec<[Result; 6]>> {
            in_interrupts(|| {
                [
                    domain.synchronize(),
                    domain.synchronize_expedited(),
                    domain.start().wait(),
                    domain.start_expedited().wait_expedited(),
                    domain.barrier(),
                    domain.throttle(),
                ]
            })
        }
        let sleepy = Srcu::<Sleepy>::init()?;
        let (global, sleepy) = complaining(MISUSE, || (all(rcu::global()), all(sleepy)));
        let (global, sleepy) = (global?, sleepy?);
        assert!(global.iter().flatten().all(|ret| *ret == Err(EAGAIN)));
        assert!(sleepy.iter().flatten().all(|ret| *ret == Err(EAGAIN)));
        Ok(())
    }

    /// A future that was polled is dropped in place: memory is not freed in interrupts.
    #[test]
    fn futures_are_dropped_in_interrupts() -> Result {
        let waker = waker(Arc::new(Nobody, GFP_KERNEL)?);
        for hard in [false, true] {
            let mut future = KBox::pin(Some(rcu::global().synchronize_async()), GFP_KERNEL)?;
            if let Some(future) = future.as_mut().as_pin_mut() {
                let _ = future.poll(&mut Context::from_waker(&waker));
            }
            let at = &mut future;
            let end = move || at.as_mut().set(None);
            let ran = if hard {
                support::in_hardirq(end)
            } else {
                support::in_softirq(end)
            };
            assert!(ran.is_some());
        }
        rcu::global().barrier()
    }

    #[test]
    fn quiesce_in_interrupts() -> Result {
        let states = in_interrupts(|| {
            let before = support::rcu_watching();
            rcu::global().quiesce();
            support::rcu_watching().wrapping_sub(before)
        })?;
        assert!(states.iter().all(|states| *states == 0));
        Ok(())
    }
}
