// SPDX-License-Identifier: GPL-2.0

//! A retired object is reclaimed once, after a grace period, in the right context.

use super::{
    complaining,
    domain::{
        stop_later,
        with_reader,
        Sleepy, //
    },
    MISUSE, //
};
use crate::support;
use core::mem::ManuallyDrop;
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
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Batch,
    Domain,
    Global,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    Retired,
    Shared,
    Srcu, //
};

/// The destructors' counters of a test.
struct Tally {
    dropped: Atomic<usize>,
    preemptible: Atomic<usize>,
}

impl Tally {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                dropped: Atomic::new(0),
                preemptible: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    fn get(&self) -> (usize, usize) {
        (self.dropped.load(Relaxed), self.preemptible.load(Relaxed))
    }
}

/// Counts its destructor, and whether that could be preempted.
struct Counted(Arc<Tally>);

// SAFETY: The destructor adds to atomics and drops an [`Arc`] of atomics.
unsafe impl AtomicDrop for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dropped.add(1usize, Relaxed);
        if support::preemptible() && !support::in_softirq_disabled() {
            self.0.preemptible.add(1usize, Relaxed);
        }
    }
}

/// Retires itself one level deeper when it is dropped.
struct Chain {
    tally: Arc<Tally>,
    next: RcuCell<Option<KBox<Object<Chain, InProcess>>>>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.tally.dropped.add(1usize, Relaxed);
        self.next.publish(None);
    }
}

/// Does in its destructor what a destructor must not do.
struct Waits(Arc<Atomic<i32>>);

impl Drop for Waits {
    fn drop(&mut self) {
        let global = rcu::global();
        let refused = global.barrier() == Err(EDEADLK)
            && global.throttle() == Err(EDEADLK)
            && rcu::barrier() == Err(EDEADLK);
        // Waiting for readers is another thing.
        let waited = global.synchronize().is_ok();
        self.0.store(if refused && waited { 1 } else { 2 }, Relaxed);
    }
}

rcu::define_domain! {
    /// Nothing but one test's objects is deferred here.
    Emptied
}

rcu::define_domain! {
    /// A section of it is dropped in an NMI.
    Interrupted: up_down
}

const N: usize = 100;

/// Defers `N` boxes in `domain` by way of `retire`; returns how many were dropped while a reader
/// was there, and what the tally said after the barrier.
fn defer_boxes<D: Domain>(domain: D, in_softirq: bool) -> Result<(usize, (usize, usize))> {
    let tally = Tally::new()?;
    let in_process = RcuCell::<Option<KBox<Object<Counted, InProcess>>>, D>::none();
    let atomic = RcuCell::<Option<KBox<Object<Counted, InSoftirq>>>, D>::none();
    for _ in 0..N {
        let counted = Counted(tally.clone());
        if in_softirq {
            atomic.publish(Some(KBox::new(Object::new_atomic(counted), GFP_KERNEL)?));
        } else {
            in_process.publish(Some(KBox::new(Object::new(counted), GFP_KERNEL)?));
        }
    }
    in_process.publish(None);
    atomic.publish(None);
    let pending = domain.pending();
    domain.barrier()?;
    Ok((pending, tally.get()))
}

#[kunit_tests(quiesce_rcu_retire)]
mod tests {
    use super::*;

    #[test]
    fn deferred_boxes_drop_where_they_should() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let global_process = defer_boxes(rcu::global(), false)?;
        let global_softirq = defer_boxes(rcu::global(), true)?;
        let sleepy_process = defer_boxes(sleepy, false)?;
        let sleepy_softirq = defer_boxes(sleepy, true)?;
        assert_eq!(global_process.1, (N, N));
        assert_eq!(global_softirq.1, (N, 0));
        assert_eq!(sleepy_process.1, (N, N));
        assert_eq!(sleepy_softirq.1, (N, 0));
        Ok(())
    }

    #[test]
    fn nothing_is_pending_after_a_barrier() -> Result {
        let domain = Srcu::<Emptied>::init()?;
        defer_boxes(domain, true)?;
        let after_softirq = domain.pending();
        defer_boxes(domain, false)?;
        let after_process = domain.pending();
        assert_eq!((after_softirq, after_process), (0, 0));
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_while_a_reader_is_there() -> Result {
        let tally = Tally::new()?;
        let new = || {
            let counted = Counted(tally.clone());
            Ok::<_, Error>(KBox::new(Object::new_atomic(counted), GFP_ATOMIC)?)
        };
        let cell = RcuCell::<KBox<Object<Counted, InSoftirq>>>::new(new()?);
        let next = new()?;
        let during = rcu::global().run(|t| {
            let old = cell.read(t);
            cell.publish(next);
            for _ in 0..20 {
                support::udelay(1000);
            }
            old.0.get().0
        });
        rcu::global().barrier()?;
        let after = tally.get().0;
        assert_eq!(during, 0);
        assert_eq!(after, 1);
        Ok(())
    }

    /// What is retired in an NMI, and what a cell owns that is dropped there, is leaked. So is a section
    /// of an SRCU domain.
    #[test]
    fn leaked_in_an_nmi() -> Result {
        if support::in_nmi(|| ()).is_none() {
            return Ok(());
        }
        let tally = Tally::new()?;
        let new = || {
            let object = KBox::new(Object::new_atomic(Counted(tally.clone())), GFP_KERNEL)?;
            support::leak(&*object);
            Ok::<_, Error>(object)
        };
        let retired = RcuCell::<Option<KBox<Object<Counted, InSoftirq>>>>::new(Some(new()?));
        let owned = RcuCell::<KBox<Object<Counted, InSoftirq>>>::new(new()?);
        type Counter = Arc<Shared<Counted, Global, InSoftirq>>;
        let kept: Counter = Arc::new(Shared::new_atomic(Counted(tally.clone())), GFP_KERNEL)?;
        let shared = RcuCell::<Counter>::new(kept.clone());
        let domain = Srcu::<Interrupted>::init()?;
        let section = ManuallyDrop::new(domain.down()?);
        // SAFETY: The section does not end where the copy is dropped. If it does, the test does nothing
        // more with the original.
        let copy = unsafe { core::ptr::read(&section) };
        let ran = complaining("deferred in an NMI", || {
            support::in_nmi(|| {
                retired.publish(None);
                drop(owned);
                drop(shared);
                drop(ManuallyDrop::into_inner(copy));
            })
        });
        let cookie = domain.start();
        let mut ended = false;
        for _ in 0..20 {
            support::msleep(5);
            ended |= cookie.is_over();
        }
        if !ended {
            drop(ManuallyDrop::into_inner(section));
        }
        domain.synchronize()?;
        rcu::global().barrier()?;
        let dropped = tally.get().0;
        let raw = Arc::into_raw(kept);
        // SAFETY: `raw` comes from `Arc::into_raw()`.
        let leaked = Arc::into_unique_or_drop(unsafe { Arc::from_raw(raw) }).is_none();
        if leaked {
            // The cell's reference is dropped here, or kmemleak would rightly complain.
            // SAFETY: `raw` comes from `Arc::into_raw()`, and the reference above was not the last one.
            drop(unsafe { Arc::from_raw(raw) });
        }
        assert!(ran.is_some());
        assert!(!ended);
        assert_eq!(dropped, 0);
        assert!(leaked);
        assert_eq!(tally.get().0, 1);
        Ok(())
    }

    /// What returns a pointer has waited for its readers.
    #[test]
    fn every_way_of_waiting_waits_for_readers() -> Result {
        type Number = KBox<Object<u32>>;

        fn waited<D: Domain>(
            domain: D,
            pause: fn(),
            wait: fn(D, Retired<Number, D>) -> bool,
        ) -> Result<bool> {
            let new = |n: u32| Ok::<_, Error>(Object::new(n).boxed(GFP_KERNEL)?);
            let cell = RcuCell::<Number, D>::new(new(1)?);
            let next = new(2)?;
            with_reader(domain, pause, |state| {
                let stopper = stop_later(state, 20)?;
                let reclaimed = wait(domain, cell.replace(next));
                let seen = state.load(Acquire);
                stopper.join();
                Ok(reclaimed && seen == 3)
            })?
        }

        fn all<D: Domain>(domain: D, pause: fn()) -> Result<[bool; 6]> {
            let both = |domain: D, old| {
                let none = None::<Retired<Number, D>>;
                domain.reclaim((Some(old), none)).is_ok()
            };
            Ok([
                waited(domain, pause, |domain, old| domain.reclaim(old).is_ok())?,
                waited(domain, pause, both)?,
                waited(domain, pause, |_, old| old.start().wait().is_ok())?,
                waited(domain, pause, |_, old| {
                    old.start_expedited().wait_expedited().is_ok()
                })?,
                waited(domain, pause, |_, old| {
                    old.cookie().wait_expedited().is_ok()
                })?,
                waited(domain, pause, |_, old| old.synchronize_expedited().is_ok())?,
            ])
        }
        let global = all(rcu::global(), support::cpu_relax)?;
        let sleepy = all(Srcu::<Sleepy>::init()?, || support::msleep(1))?;
        assert_eq!((global, sleepy), ([true; 6], [true; 6]));
        Ok(())
    }

    #[test]
    fn objects_without_destructor() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let cell = RcuCell::<Option<KBox<Object<[u8; 100]>>>, Global>::none();
        let other = RcuCell::<Option<KBox<Object<[u8; 100]>>>, Srcu<Sleepy>>::none();
        for _ in 0..N {
            cell.publish(Some(KBox::new(Object::new([1; 100]), GFP_KERNEL)?));
            other.publish(Some(KBox::new(Object::new([2; 100]), GFP_KERNEL)?));
        }
        cell.publish(None);
        other.publish(None);
        rcu::global().barrier()?;
        sleepy.barrier()?;
        assert_eq!(sleepy.pending(), 0);
        Ok(())
    }

    #[test]
    fn every_way_of_waiting_returns_the_pointer() -> Result {
        fn all<D: Domain>() -> Result<usize> {
            let new = |n| Ok::<_, Error>(KBox::new(Object::new(n), GFP_KERNEL)?);
            let cell = RcuCell::<KBox<Object<usize>>, D>::new(new(1)?);
            let mut sum = 0;
            sum += **cell.replace(new(2)?).synchronize()?;
            sum += **cell.replace(new(4)?).synchronize_expedited()?;
            sum += **cell.replace(new(8)?).start().wait()?;
            sum += **cell.replace(new(16)?).start_expedited().wait_expedited()?;
            sum += **cell.replace(new(32)?).cookie().wait()?;
            let mut polled = cell.replace(new(64)?).start();
            for _ in 0..2000 {
                match polled.try_reclaim() {
                    Ok(boxed) => {
                        sum += **boxed;
                        break;
                    }
                    Err(again) => polled = again,
                }
                support::msleep(5);
            }
            sum +=
                **super::super::executor::block_on(cell.replace(new(128)?).synchronize_async())??;
            Ok(sum)
        }
        let global = all::<Global>()?;
        Srcu::<Sleepy>::init()?;
        let sleepy = all::<Srcu<Sleepy>>()?;
        assert_eq!(global, 127);
        assert_eq!(sleepy, 127);
        Ok(())
    }

    #[test]
    fn refused_waits_keep_the_object() -> Result {
        let tally = Tally::new()?;
        let new = || {
            let counted = Counted(tally.clone());
            Ok::<_, Error>(KBox::new(Object::new(counted), GFP_KERNEL)?)
        };
        let cell = RcuCell::<_, Global>::new(new()?);
        let (a, b) = (cell.replace(new()?), cell.replace(new()?));
        let mut batch = Batch::new();
        batch.push(cell.replace(new()?));
        let (a, b, batch) = complaining(MISUSE, || {
            rcu::global().run(|_| {
                (
                    a.synchronize().err(),
                    b.start().wait().err(),
                    batch.synchronize().err(),
                )
            })
        });
        let refused = a.is_some() && b.is_some() && batch.is_some();
        let errors = [
            a.as_ref().map(|r| r.error),
            b.as_ref().map(|r| r.error),
            batch.as_ref().map(|r| r.error),
        ];
        let before = tally.get().0;
        // Dropping what was given back defers it.
        drop((a, b, batch));
        rcu::global().barrier()?;
        let after = tally.get().0;
        assert!(refused);
        for e in errors {
            assert!(e == Some(EDEADLK));
        }
        assert_eq!(before, 0);
        assert_eq!(after, 3);
        Ok(())
    }

    #[test]
    fn deferring_from_every_context() -> Result {
        let tally = Tally::new()?;
        let new = || {
            let counted = Counted(tally.clone());
            Ok::<_, Error>(KBox::new(Object::new(counted), GFP_KERNEL)?)
        };
        let cell = RcuCell::<_, Global>::new(new()?);
        let (one, two, three) = (new()?, new()?, new()?);
        let cell = &cell;
        let softirq = support::in_softirq(move || cell.publish(one)).is_some();
        let hardirq = support::in_hardirq(move || cell.publish(two)).is_some();
        support::preempt_disabled(move || cell.publish(three));
        rcu::global().barrier()?;
        let dropped = tally.get();
        assert!(softirq && hardirq);
        assert_eq!(dropped, (3, 3));
        Ok(())
    }

    /// Nor does anything else wait that is documented not to: all of it returns while the reader is there.
    #[test]
    fn deferring_waits_for_no_reader() -> Result {
        fn returned_first<D: Domain>(domain: D, pause: fn()) -> Result<bool> {
            let tally = Tally::new()?;
            let new = || {
                let counted = Counted(tally.clone());
                Ok::<_, Error>(Object::new_atomic(counted).boxed(GFP_KERNEL)?)
            };
            let cell = RcuCell::<_, D>::new(new()?);
            let fill = || {
                let mut batch = Batch::new();
                for _ in 0..3 {
                    batch.push(cell.replace(new()?));
                }
                Ok::<_, Error>(batch)
            };
            let all = || {
                drop(cell.replace(new()?));
                cell.replace(new()?).defer();
                // As many as throttle() waits for.
                for _ in 0..=rcu::FLOOD {
                    cell.publish(new()?);
                }
                drop(fill()?);
                fill()?.defer();
                drop(fill()?.start());
                drop(fill()?.start().try_reclaim());
                drop(cell.replace(new()?).start().try_reclaim());
                drop(cell.replace(new()?).synchronize_async());
                Ok::<_, Error>(())
            };
            let first = with_reader(domain, pause, |state| {
                let theirs = state.clone();
                // Who waits for the reader is to return in the end.
                let stopper = support::spawn(c"rcu_stopper", move || {
                    for _ in 0..1000 {
                        if theirs.load(Acquire) != 1 {
                            return;
                        }
                        support::msleep(5);
                    }
                    let _ = theirs.cmpxchg(1, 2, Full);
                })?;
                let done = all();
                let first = state.load(Acquire) == 1;
                let _ = state.cmpxchg(1, 2, Full);
                stopper.join();
                done.map(|()| first)
            })?;
            domain.barrier()?;
            first
        }
        let global = returned_first(rcu::global(), support::cpu_relax)?;
        let sleepy = returned_first(Srcu::<Sleepy>::init()?, || support::msleep(1))?;
        assert!(global && sleepy);
        Ok(())
    }

    #[test]
    fn one_shared_object_retired_many_times_at_once() -> Result {
        fn all<D: Domain>(domain: D) -> Result<(usize, usize)> {
            let tally = Tally::new()?;
            let shared = Arc::new(
                Shared::<_, D, InProcess>::new(Counted(tally.clone())),
                GFP_KERNEL,
            )?;
            let mut cells = KVec::new();
            for _ in 0..N {
                let cell = RcuCell::<Option<Arc<Shared<Counted, D>>>, D>::new(Some(shared.clone()));
                cells.push(cell, GFP_KERNEL)?;
            }
            // Some before and some while the callback is under way.
            for (i, cell) in cells.iter().enumerate() {
                cell.publish(None);
                if i % 16 == 0 {
                    support::msleep(1);
                }
            }
            domain.barrier()?;
            let before = tally.get().0;
            drop(shared);
            Ok((before, tally.get().0))
        }
        let global = all(rcu::global())?;
        let sleepy = all(Srcu::<Sleepy>::init()?)?;
        assert_eq!(global, (0, 1));
        assert_eq!(sleepy, (0, 1));
        Ok(())
    }

    #[test]
    fn the_last_reference_may_be_a_retired_one() -> Result {
        let tally = Tally::new()?;
        let shared = Shared::<_, Global, InSoftirq>::new_atomic(Counted(tally.clone()));
        let cell: RcuCell<Option<Arc<Shared<Counted, Global, InSoftirq>>>> =
            RcuCell::new(Some(Arc::new(shared, GFP_KERNEL)?));
        cell.publish(None);
        rcu::global().barrier()?;
        assert_eq!(tally.get(), (1, 0));
        Ok(())
    }

    #[test]
    fn destructors_may_retire_more() -> Result {
        let tally = Tally::new()?;
        let mut next = None;
        for _ in 0..5 {
            let chain = Chain {
                tally: tally.clone(),
                next: RcuCell::new(next),
            };
            next = Some(KBox::new(Object::new(chain), GFP_KERNEL)?);
        }
        let cell: RcuCell<Option<KBox<Object<Chain>>>> = RcuCell::new(next);
        cell.publish(None);
        for _ in 0..5 {
            rcu::global().barrier()?;
        }
        assert_eq!(tally.get().0, 5);
        Ok(())
    }

    #[test]
    fn destructors_cannot_wait_for_themselves() -> Result {
        let seen = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let object = KBox::new(Object::new(Waits(seen.clone())), GFP_KERNEL)?;
        let cell: RcuCell<Option<KBox<Object<Waits>>>> = RcuCell::new(Some(object));
        complaining(MISUSE, || {
            cell.publish(None);
            rcu::global().barrier()
        })?;
        assert_eq!(seen.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn a_batch_shares_one_grace_period() -> Result {
        let tally = Tally::new()?;
        let new = || {
            let counted = Counted(tally.clone());
            Ok::<_, Error>(KBox::new(Object::new(counted), GFP_KERNEL)?)
        };
        let cell = RcuCell::<_, Global>::new(new()?);
        let fill = || {
            let mut batch = Batch::new();
            for _ in 0..N {
                batch.push(cell.replace(new()?));
            }
            Ok::<_, Error>(batch)
        };
        let batch = fill()?;
        let len = batch.len();
        let mut reclaimed = batch.synchronize()?;
        let one = reclaimed.next().is_some();
        drop(reclaimed);
        let synchronized = tally.get().0;

        let batch = fill()?;
        let early = rcu::global().run(|_| batch.start().try_reclaim());
        let mut polled = early.err().ok_or(EBUSY)?;
        let mut over = false;
        for _ in 0..2000 {
            match polled.try_reclaim() {
                Ok(reclaimed) => {
                    over = reclaimed.count() == N;
                    break;
                }
                Err(again) => polled = again,
            }
            support::msleep(5);
        }
        let after_poll = tally.get().0;

        fill()?.defer();
        rcu::global().barrier()?;
        let after_defer = tally.get().0;
        drop(fill()?);
        drop(fill()?.start());
        rcu::global().barrier()?;
        let after_drops = tally.get().0;
        let expedited = fill()?.synchronize_expedited()?.count();
        let empty = Batch::<KBox<Object<u8>>>::new().synchronize()?.count();
        assert_eq!(len, N);
        assert!(one && over);
        assert_eq!(synchronized, N);
        assert_eq!(after_poll, 2 * N);
        assert_eq!(after_defer, 3 * N);
        assert_eq!(after_drops, 5 * N);
        assert_eq!(expedited, N);
        assert_eq!(empty, 0);
        Ok(())
    }

    #[test]
    fn pointers_of_several_types_share_one_grace_period() -> Result {
        let tally = Tally::new()?;
        let new = || Ok::<_, Error>(Object::new(Counted(tally.clone())).boxed(GFP_KERNEL)?);
        let counted = RcuCell::<_, Global>::new(new()?);
        let number =
            RcuCell::<Option<KBox<Object<u32>>>>::new(Some(Object::new(7).boxed(GFP_KERNEL)?));
        let empty = RcuCell::<Option<KBox<Object<u8>>>>::none();
        let shared = RcuCell::<Arc<Shared<u64>>>::new(Arc::new(Shared::new(1), GFP_KERNEL)?);
        let mut batch = Batch::new();
        batch.push(counted.replace(new()?));
        batch.push(counted.replace(new()?));
        let all = (
            batch,
            number.replace(None),
            empty.replace(None),
            shared.replace(Arc::new(Shared::new(2), GFP_KERNEL)?),
        );
        // Refused, everything comes back.
        let reclaim = || rcu::global().run(|_| rcu::global().reclaim(all).err());
        let refused = complaining(MISUSE, reclaim);
        let (error, all) = refused.map(|r| (r.error, r.retired)).ok_or(EINVAL)?;
        let (batch, number, empty, shared) = rcu::global().reclaim(all)?;
        let before = tally.get().0;
        let n = batch.count();
        assert_eq!(error, EDEADLK);
        assert_eq!((before, n, tally.get().0), (0, 2, 2));
        assert_eq!(number.map(|n| **n), Some(7));
        assert!(empty.is_none());
        assert_eq!(**shared, 1);
        Ok(())
    }

    #[test]
    fn floods_are_throttled() -> Result {
        let tally = Tally::new()?;
        let cell = RcuCell::<Option<KBox<Object<Counted, InSoftirq>>>>::none();
        let total = 2 * rcu::FLOOD;
        let mut most = 0;
        for i in 0..total {
            let counted = Counted(tally.clone());
            cell.publish(Some(KBox::new(Object::new_atomic(counted), GFP_KERNEL)?));
            if i % 1000 == 0 {
                rcu::global().throttle()?;
                most = core::cmp::max(most, rcu::global().pending());
            }
        }
        cell.publish(None);
        rcu::global().barrier()?;
        let dropped = tally.get().0;
        // What decides is exact to within a few dozen for each CPU.
        assert!(most <= rcu::FLOOD + 1000);
        assert_eq!(dropped, total);
        Ok(())
    }

    #[test]
    fn leaks_are_only_leaks() -> Result {
        let tally = Tally::new()?;
        let new = || {
            let counted = Counted(tally.clone());
            Ok::<_, Error>(KBox::new(Object::new(counted), GFP_KERNEL)?)
        };
        let cell = RcuCell::<_, Global>::new(new()?);
        // Not forgotten for good: kmemleak would rightly complain.
        let retired = core::mem::ManuallyDrop::new(cell.replace(new()?));
        rcu::global().barrier()?;
        let none = tally.get().0;
        drop(core::mem::ManuallyDrop::into_inner(retired));
        rcu::global().barrier()?;
        let one = tally.get().0;
        assert_eq!(none, 0);
        assert_eq!(one, 1);
        Ok(())
    }
}
