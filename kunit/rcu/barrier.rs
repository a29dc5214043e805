// SPDX-License-Identifier: GPL-2.0

//! A wait for destructors waits for those that were deferred before it, and for no others.

use super::domain::{
    stop_later,
    with_reader,
    Sleepy, //
};
use crate::support;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    workqueue::Queue, //
};
use quiesce::rcu::{
    self,
    Domain,
    Global,
    InProcess,
    Object,
    RcuCell,
    RcuPointer,
    Shared,
    Srcu, //
};

/// Counts its destructor.
struct Counted(Arc<Atomic<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(1usize, Relaxed);
    }
}

/// Has a destructor that takes a while.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        support::msleep(2);
    }
}

/// Has a destructor that waits until a flag is set, and says that it does.
struct Gate(Arc<Atomic<i32>>);

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.0.cmpxchg(0, 1, Release);
        while self.0.load(Acquire) != 2 {
            support::msleep(1);
        }
    }
}

fn counter() -> Result<Arc<Atomic<usize>>> {
    Ok(Arc::new(Atomic::new(0usize), GFP_KERNEL)?)
}

fn defer<P: RcuPointer<D> + Send, D: Domain>(pointer: P) {
    RcuCell::<Option<P>, D>::new(Some(pointer)).publish(None);
}

fn boxed<T>(value: T) -> Result<KBox<Object<T>>> {
    Ok(KBox::new(Object::new(value), GFP_KERNEL)?)
}

/// Defers the next one of a chain when it is dropped, on a worker.
struct Hop {
    left: usize,
    over: Arc<Atomic<i32>>,
}

impl Drop for Hop {
    fn drop(&mut self) {
        let over = self.over.clone();
        let next = match self.left.checked_sub(1) {
            Some(left) => boxed(Hop { left, over }).map(defer::<_, Global>),
            None => Err(ENOENT),
        };
        if next.is_err() {
            self.over.store(1, Release);
        }
    }
}

/// Waits in its destructor, as [`Gate`], and then defers another object and says so.
struct HandsOn {
    next: Option<KBox<Object<Counted>>>,
    state: Arc<Atomic<i32>>,
}

impl Drop for HandsOn {
    fn drop(&mut self) {
        drop(Gate(self.state.clone()));
        RcuCell::<_, Global>::new(self.next.take()).publish(None);
        self.state.store(3, Release);
    }
}

/// Defers references to one shared object, `n` times; returns how often it was dropped, and how many
/// objects were pending, after one barrier.
fn shared<D: Domain>(domain: D, n: usize) -> Result<(usize, usize)> {
    let dropped = counter()?;
    let shared = Arc::new(
        Shared::<Counted, D, InProcess>::new(Counted(dropped.clone())),
        GFP_KERNEL,
    )?;
    for _ in 0..n {
        defer::<_, D>(shared.clone());
    }
    drop(shared);
    domain.barrier()?;
    Ok((dropped.load(Relaxed), domain.pending()))
}

/// Defers an object in `D` whose callback drops a cell of `E`, and returns the state of the gate that
/// the content of the cell has waited at, after one barrier of the module.
fn across<D: Domain, E: Domain>() -> Result<i32> {
    let gate = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
    let cell = RcuCell::<_, E>::new(boxed(Gate(gate.clone()))?);
    defer::<_, D>(Object::new_atomic(cell).boxed(GFP_KERNEL)?);
    let opener = stop_later(&gate, 300)?;
    let ret = rcu::barrier();
    let state = gate.load(Acquire);
    opener.join();
    ret?;
    rcu::barrier()?;
    Ok(state)
}

/// Has a thread of its own defer slow objects, faster than they are dropped, until `f` has returned.
fn beside_a_producer<D: Domain, R>(_domain: D, f: impl FnOnce() -> R) -> Result<R> {
    let state = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
    let theirs = state.clone();
    let producer = support::spawn(c"rcu_producer", move || {
        let mut n = 0;
        while theirs.load(Acquire) != 2 {
            if let Ok(slow) = boxed(Slow) {
                defer::<_, D>(slow);
            }
            n += 1;
            // A few are under way at any time from here on.
            if n == 20 {
                let _ = theirs.cmpxchg(0, 1, Release);
            }
            support::msleep(1);
        }
    })?;
    while state.load(Acquire) == 0 {
        support::msleep(1);
    }
    let ret = f();
    state.store(2, Release);
    producer.join();
    Ok(ret)
}

#[kunit_tests(quiesce_rcu_barrier)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_what_was_retired_several_times() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        for n in [1, 2, 3, 100] {
            let in_global = shared(rcu::global(), n)?;
            let in_sleepy = shared(sleepy, n)?;
            assert_eq!(in_global, (1, 0));
            assert_eq!(in_sleepy, (1, 0));
        }
        Ok(())
    }

    /// However long after the first reference was retired the call begins.
    #[test]
    fn waits_for_what_is_being_posted_again() -> Result {
        fn all<D: Domain>(domain: D) -> Result<usize> {
            let mut waited = 0;
            for ms in (0..80).step_by(4) {
                let dropped = counter()?;
                let shared = Arc::new(
                    Shared::<Counted, D, InProcess>::new(Counted(dropped.clone())),
                    GFP_KERNEL,
                )?;
                defer::<_, D>(shared.clone());
                defer::<_, D>(shared);
                support::msleep(ms);
                domain.barrier()?;
                waited += dropped.load(Relaxed);
                domain.barrier()?;
            }
            Ok(waited)
        }
        let global = all(rcu::global())?;
        let sleepy = all(Srcu::<Sleepy>::init()?)?;
        assert_eq!((global, sleepy), (20, 20));
        Ok(())
    }

    /// Another task has retired the first reference, and may not have posted the callback yet.
    #[test]
    fn waits_for_what_another_task_is_posting() -> Result {
        for _ in 0..10 {
            let (dropped, begun) = (counter()?, Arc::new(Atomic::new(0i32), GFP_KERNEL)?);
            let shared = Arc::new(
                Shared::<Counted, Global, InProcess>::new(Counted(dropped.clone())),
                GFP_KERNEL,
            )?;
            let (theirs, told) = (shared.clone(), begun.clone());
            let other = support::spawn(c"rcu_other", move || {
                defer::<_, Global>(theirs);
                told.store(1, Release);
            })?;
            while begun.load(Acquire) == 0 && shared.retired_for_test() == 0 {
                support::cpu_relax();
                support::cond_resched();
            }
            defer::<_, Global>(shared);
            let ret = rcu::global().barrier();
            let now = dropped.load(Relaxed);
            other.join();
            rcu::global().barrier()?;
            assert!(ret.is_ok());
            assert_eq!(now, 1);
        }
        Ok(())
    }

    /// What is deferred before a domain is initialised goes to the kernel's RCU and its worker.
    #[test]
    fn waits_for_what_was_deferred_before_init() -> Result {
        rcu::define_domain! {
            /// Initialised after something was deferred in it.
            Early
        }
        let gate = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        defer::<_, Srcu<Early>>(boxed(Gate(gate.clone()))?);
        // The callback is over, and the destructor has begun, before the domain is ready.
        while gate.load(Acquire) == 0 {
            support::msleep(1);
        }
        let early = Srcu::<Early>::init()?;
        // The callback may not have returned yet.
        for _ in 0..10_000 {
            if early.pending() == 0 {
                break;
            }
            support::msleep(1);
        }
        let pending = (early.pending(), rcu::global().pending() != 0);
        let opener = stop_later(&gate, 300)?;
        let ret = early.barrier();
        let state = gate.load(Acquire);
        opener.join();
        early.barrier()?;
        assert!(ret.is_ok());
        assert_eq!(state, 2);
        assert_eq!(pending, (0, true));
        assert_eq!(early.pending(), 0);
        Ok(())
    }

    #[test]
    fn what_was_deferred_before_init_is_pending() -> Result {
        rcu::define_domain! {
            /// Initialised while something is deferred in it.
            Meanwhile
        }
        // Elsewhere no test can hold up the kernel's RCU.
        if !Global::IS_RCU {
            return Ok(());
        }
        let dropped = counter()?;
        let (domain, pending) = with_reader(rcu::global(), support::cpu_relax, |_| {
            defer::<_, Srcu<Meanwhile>>(boxed(Counted(dropped.clone()))?);
            let domain = Srcu::<Meanwhile>::init()?;
            Ok::<_, Error>((domain, domain.pending()))
        })??;
        domain.barrier()?;
        assert_eq!(pending, 1);
        assert_eq!(dropped.load(Relaxed), 1);
        assert_eq!(domain.pending(), 0);
        Ok(())
    }

    /// The kernel's RCU has what is deferred in a domain that is never initialised.
    #[test]
    fn of_a_module_waits_in_domains_that_are_not_initialised() -> Result {
        rcu::define_domain! {
            /// Never initialised.
            Never
        }
        for n in [0, 1, 2, 3, 100] {
            let dropped = counter()?;
            if n == 0 {
                defer::<_, Srcu<Never>>(boxed(Counted(dropped.clone()))?);
            } else {
                let shared = Arc::new(
                    Shared::<Counted, Srcu<Never>, InProcess>::new(Counted(dropped.clone())),
                    GFP_KERNEL,
                )?;
                for _ in 0..n {
                    defer::<_, Srcu<Never>>(shared.clone());
                }
            }
            rcu::barrier()?;
            let after = dropped.load(Relaxed);
            rcu::barrier()?;
            assert_eq!(after, 1);
            assert_eq!(dropped.load(Relaxed), 1);
        }
        Ok(())
    }

    /// A callback of one domain hands what a cell of another one owns to the worker of that one.
    #[test]
    fn of_a_module_waits_for_chains_across_domains() -> Result {
        rcu::define_domain! {
            /// Has owners of cells of all domains.
            Left
        }
        rcu::define_domain! {
            /// As the other one.
            Right
        }
        rcu::define_domain! {
            /// Nothing but the content of cells is deferred in it.
            Inner
        }
        Srcu::<Left>::init()?;
        Srcu::<Right>::init()?;
        Srcu::<Inner>::init()?;
        let states = [
            across::<Srcu<Left>, Srcu<Inner>>()?,
            across::<Srcu<Left>, Global>()?,
            across::<Global, Srcu<Left>>()?,
            across::<Srcu<Left>, Srcu<Right>>()?,
            across::<Srcu<Right>, Srcu<Left>>()?,
        ];
        assert_eq!(states, [2; 5]);
        Ok(())
    }

    /// What a cell owns that is dropped in atomic context is deferred, too.
    #[test]
    fn waits_for_what_cells_owned() -> Result {
        rcu::define_domain! {
            /// Initialised after a cell was dropped.
            CellsEarly
        }
        rcu::define_domain! {
            /// Nothing but the content of a dropped cell is deferred in it.
            Cells
        }
        // Before the domain is initialised, by the domain's barrier.
        let gate = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let cell = RcuCell::<_, Srcu<CellsEarly>>::new(boxed(Gate(gate.clone()))?);
        support::preempt_disabled(|| drop(cell));
        let early = Srcu::<CellsEarly>::init()?;
        let opener = stop_later(&gate, 300)?;
        early.barrier()?;
        let of_domain = gate.load(Acquire);
        opener.join();
        // Afterwards, by that of the module.
        let gate = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let domain = Srcu::<Cells>::init()?;
        let cell = RcuCell::<_, Srcu<Cells>>::new(boxed(Gate(gate.clone()))?);
        support::preempt_disabled(|| drop(cell));
        let opener = stop_later(&gate, 300)?;
        rcu::barrier()?;
        let of_module = gate.load(Acquire);
        opener.join();
        early.barrier()?;
        domain.barrier()?;
        assert_eq!((of_domain, of_module), (2, 2));
        Ok(())
    }

    /// A call that is refused has not waited: not for another domain's destructors either.
    #[test]
    fn of_a_module_is_refused_before_it_waits() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        // From here on the module uses the domain.
        defer::<_, Srcu<Sleepy>>(boxed(Counted(counter()?))?);
        sleepy.barrier()?;
        let gate = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let returned = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        defer::<_, Global>(boxed(Gate(gate.clone()))?);
        while gate.load(Acquire) == 0 {
            let _ = rcu::global().start_expedited().wait_expedited();
            support::msleep(1);
        }
        let (theirs, told) = (gate.clone(), returned.clone());
        let opener = support::spawn(c"rcu_opener", move || {
            for _ in 0..10_000 {
                if told.load(Acquire) != 0 {
                    break;
                }
                support::msleep(1);
            }
            theirs.store(2, Release);
        });
        if opener.is_err() {
            gate.store(2, Release);
        }
        let opener = opener?;
        let ret = crate::rcu::complaining(crate::rcu::MISUSE, || sleepy.run(|_| rcu::barrier()));
        let state = gate.load(Acquire);
        returned.store(1, Release);
        opener.join();
        rcu::global().barrier()?;
        assert!(ret == Err(EDEADLK));
        assert_eq!(state, 1);
        Ok(())
    }

    /// Nor has it waited for callbacks of the kernel's RCU.
    #[test]
    fn of_a_module_is_refused_beside_a_reader() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        // From here on the module uses the domain.
        defer::<_, Srcu<Sleepy>>(boxed(Counted(counter()?))?);
        sleepy.barrier()?;
        let (ret, state) = with_reader(rcu::global(), support::cpu_relax, |state| {
            let stopper = stop_later(state, 10_000)?;
            defer::<_, Global>(boxed(Counted(counter()?))?);
            let ret =
                crate::rcu::complaining(crate::rcu::MISUSE, || sleepy.run(|_| rcu::barrier()));
            let now = state.load(Acquire);
            let _ = state.cmpxchg(1, 2, Relaxed);
            stopper.join();
            Ok::<_, Error>((ret, now))
        })??;
        rcu::global().barrier()?;
        assert!(ret == Err(EDEADLK));
        assert_eq!(state, 1);
        Ok(())
    }

    #[test]
    fn returns_beside_a_producer() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let global = beside_a_producer(rcu::global(), || rcu::global().barrier())?;
        let srcu = beside_a_producer(sleepy, || sleepy.barrier())?;
        let module = beside_a_producer(rcu::global(), || rcu::barrier())?;
        rcu::global().barrier()?;
        sleepy.barrier()?;
        assert!(global == Ok(()));
        assert!(srcu == Ok(()));
        assert!(module == Ok(()));
        Ok(())
    }

    #[test]
    fn a_slow_destructor_delays_no_other_domain() -> Result {
        let (gate, dropped) = (Arc::new(Atomic::new(0i32), GFP_KERNEL)?, counter()?);
        let sleepy = Srcu::<Sleepy>::init()?;
        defer::<_, Global>(boxed(Gate(gate.clone()))?);
        // A barrier that waits for the destructor ends all the same.
        let opener = stop_later(&gate, 10_000)?;
        while gate.load(Acquire) == 0 {
            let _ = rcu::global().start_expedited().wait_expedited();
            support::msleep(1);
        }
        defer::<_, Srcu<Sleepy>>(boxed(Counted(dropped.clone()))?);
        let ret = sleepy.barrier();
        let meanwhile = (dropped.load(Relaxed), rcu::global().pending() != 0);
        gate.store(2, Release);
        let opened = rcu::global().barrier();
        gate.store(3, Release);
        opener.join();
        assert!(ret.is_ok() && opened.is_ok());
        assert_eq!(meanwhile, (1, true));
        assert_eq!(rcu::global().pending(), 0);
        Ok(())
    }

    #[test]
    fn of_a_module_waits_in_all_domains() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let dropped = counter()?;
        for _ in 0..100 {
            defer::<_, Global>(boxed(Counted(dropped.clone()))?);
            defer::<_, Srcu<Sleepy>>(boxed(Counted(dropped.clone()))?);
        }
        rcu::barrier()?;
        let after = dropped.load(Relaxed);
        let inside = crate::rcu::complaining(crate::rcu::MISUSE, || {
            [
                rcu::global().run(|_| rcu::barrier()),
                sleepy.run(|_| rcu::barrier()),
            ]
        });
        assert_eq!(after, 200);
        assert!(inside == [Err(EDEADLK), Err(EDEADLK)]);
        Ok(())
    }

    #[test]
    fn on_a_workqueue_that_frees_memory() -> Result {
        let dropped = counter()?;
        let result = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        for _ in 0..4 {
            defer::<_, Global>(boxed(Counted(dropped.clone()))?);
        }
        // SAFETY: The name has no conversions.
        let wq = unsafe {
            bindings::alloc_workqueue_noprof(
                c"rcu_kunit".as_char_ptr(),
                bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_UNBOUND,
                1,
            )
        };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        let theirs = result.clone();
        // SAFETY: The queue is there until it is destroyed below.
        let spawned = unsafe { Queue::from_raw(wq) }.try_spawn(GFP_KERNEL, move || {
            let ok = rcu::global().barrier().is_ok();
            theirs.store(if ok { 1 } else { 2 }, Release);
        });
        // SAFETY: Waits for the work item; nobody else uses the queue.
        unsafe { bindings::destroy_workqueue(wq) };
        spawned?;
        assert_eq!(result.load(Acquire), 1);
        assert_eq!(dropped.load(Relaxed), 4);
        Ok(())
    }

    /// Lockdep reports it if domains are initialised with a lock held that a barrier acquires.
    #[test]
    fn needs_no_memory_where_memory_is_freed() -> Result {
        rcu::define_domain! {
            /// Initialised after the list was read.
            Allocated
        }
        let before = support::in_reclaim(rcu::domains_for_test);
        Srcu::<Allocated>::init()?;
        Srcu::<Allocated>::init()?;
        let after = support::in_reclaim(rcu::domains_for_test);
        assert_eq!(after, before + 1);
        Ok(())
    }

    #[test]
    fn a_flood_waits_for_the_readers() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        for ms in [100, 1_000, 10_000] {
            let dropped = counter()?;
            let (ret, state, after) = with_reader(
                sleepy,
                || support::msleep(1),
                |state| {
                    for _ in 0..=rcu::FLOOD {
                        defer::<_, Srcu<Sleepy>>(boxed(Counted(dropped.clone()))?);
                    }
                    let stopper = stop_later(state, ms)?;
                    let ret = sleepy.throttle();
                    let now = (state.load(Acquire), dropped.load(Relaxed));
                    stopper.join();
                    Ok::<_, Error>((ret, now.0, now.1))
                },
            )??;
            assert!(ret.is_ok());
            // The reader's section has ended.
            assert_eq!(state, 3);
            if after == rcu::FLOOD + 1 {
                return Ok(());
            }
            // The section ended before this task called throttle().
            sleepy.barrier()?;
        }
        Err(EBUSY)
    }

    #[test]
    fn objects_without_destructor_are_throttled() -> Result {
        let cell = RcuCell::<Option<KBox<Object<u64>>>>::none();
        let dropped = counter()?;
        for _ in 0..2 {
            let flood = || {
                for _ in 0..=rcu::FLOOD {
                    cell.publish(Some(boxed(1)?));
                }
                cell.publish(None);
                Ok::<_, Error>(())
            };
            // What the kernel frees counts until a call has waited; elsewhere, until it is freed.
            if cfg!(CONFIG_PREEMPT_RCU) {
                flood()?;
            }
            let state = with_reader(rcu::global(), support::cpu_relax, |state| {
                if !cfg!(CONFIG_PREEMPT_RCU) {
                    flood()?;
                }
                let stopper = stop_later(state, 100)?;
                rcu::global().throttle()?;
                let now = state.load(Acquire);
                stopper.join();
                Ok::<_, Error>(now)
            })??;
            // The reader's section has ended.
            assert_eq!(state, 3);
        }
        // Those objects are no flood any more: a call returns beside a reader.
        let state = with_reader(rcu::global(), support::cpu_relax, |state| {
            let stopper = stop_later(state, 60_000)?;
            defer::<_, Global>(boxed(Counted(dropped.clone()))?);
            rcu::global().throttle()?;
            let now = state.load(Acquire);
            let _ = state.cmpxchg(1, 2, Relaxed);
            stopper.join();
            Ok::<_, Error>(now)
        })??;
        rcu::global().barrier()?;
        assert_eq!(state, 1);
        assert_eq!(dropped.load(Relaxed), 1);
        Ok(())
    }

    /// Each object of a chain is with RCU, then with a worker, and then the next one is with RCU.
    #[test]
    fn nothing_pending_is_the_truth() -> Result {
        let over = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        rcu::global().barrier()?;
        defer::<_, Global>(boxed(Hop {
            left: 200,
            over: over.clone(),
        })?);
        let mut wrong = 0u32;
        while over.load(Acquire) == 0 {
            let none = rcu::global().pending() == 0;
            if none && over.load(Acquire) == 0 {
                wrong = wrong.wrapping_add(1);
            }
            if wrong != 0 || !none {
                rcu::global().quiesce();
            }
        }
        rcu::global().barrier()?;
        assert_eq!(wrong, 0);
        assert_eq!(rcu::global().pending(), 0);
        Ok(())
    }

    /// A destructor defers an object, whose grace period does not elapse, while its own is counted.
    #[test]
    fn what_is_handed_on_while_it_is_counted_is_pending() -> Result {
        // Elsewhere one sum counts both.
        if !Global::IS_RCU {
            return Ok(());
        }
        let global = rcu::global();
        let state = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let dropped = Arc::new(Atomic::new(0usize), GFP_KERNEL)?;
        while global.pending() != 0 {
            global.barrier()?;
        }
        defer::<_, Global>(boxed(HandsOn {
            next: Some(boxed(Counted(dropped.clone()))?),
            state: state.clone(),
        })?);
        // The worker has it, and the callback is over.
        while state.load(Acquire) == 0 || global.pending() != 1 {
            support::msleep(1);
        }
        let mut handed_on = false;
        let pending = global.run(|_| {
            Global::state().pending_for_test(|| {
                state.store(2, Release);
                // The next object is with RCU, and the destructor is done.
                while state.load(Acquire) != 3 || global.pending() != 1 {
                    core::hint::spin_loop();
                }
                handed_on = true;
            })
        });
        let early = dropped.load(Relaxed);
        while global.pending() != 0 {
            global.barrier()?;
        }
        assert!(handed_on);
        assert_eq!(early, 0);
        assert_eq!(pending, 1);
        assert_eq!(dropped.load(Relaxed), 1);
        Ok(())
    }
}
