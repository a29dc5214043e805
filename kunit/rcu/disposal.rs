// SPDX-License-Identifier: GPL-2.0

//! Destructors run in the right context, with bounded stack, however a cell loses its content.

use super::{
    complaining,
    domain::{
        stop_later,
        Other,
        Sleepy, //
    }, //
};
use crate::support;
use core::mem::MaybeUninit;
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Domain,
    Global,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    RcuHashMap,
    Shared,
    Srcu, //
};

/// The length of the chains: with recursion, far beyond any stack.
const LONG: usize = 5000;

/// The contexts in which the destructors of a test ran.
struct Seen {
    dropped: Atomic<usize>,
    could_sleep: Atomic<usize>,
    in_reader: Atomic<usize>,
}

impl Seen {
    fn new() -> Result<Arc<Self>> {
        let zero = || Atomic::new(0);
        let seen = Self {
            dropped: zero(),
            could_sleep: zero(),
            in_reader: zero(),
        };
        Ok(Arc::new(seen, GFP_KERNEL)?)
    }

    /// Returns how many were dropped, how many of those where sleeping is allowed, and how many in a
    /// read-side critical section of `Global`.
    fn get(&self) -> (usize, usize, usize) {
        (
            self.dropped.load(Relaxed),
            self.could_sleep.load(Relaxed),
            self.in_reader.load(Relaxed),
        )
    }
}

/// Reports where its destructor runs.
struct Witness(Arc<Seen>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.dropped.add(1usize, Relaxed);
        let in_reader = rcu::global().in_reader();
        if in_reader {
            self.0.in_reader.add(1usize, Relaxed);
        }
        if support::preemptible() && !support::in_softirq_disabled() && !in_reader {
            self.0.could_sleep.add(1usize, Relaxed);
        }
    }
}

// SAFETY: The destructor adds to atomics and drops an `Arc` of atomics.
unsafe impl AtomicDrop for Witness {}

/// An element of a chain whose destructors may sleep.
struct Link {
    _next: RcuCell<Option<KBox<Object<Link>>>>,
    _witness: Witness,
}

/// An element of a chain whose destructors may run in softirqs.
struct SoftLink {
    next: RcuCell<Option<SoftPointer>>,
    witness: Witness,
}

rcu::impl_atomic_drop! { SoftLink { next, witness } }

/// An element of a chain of shared objects.
struct SharedLink<D: Domain> {
    _next: RcuCell<Option<SharedPointer<D>>, D>,
    _witness: Witness,
}

type SharedPointer<D> = Arc<Shared<SharedLink<D>, D>>;
type SoftPointer = KBox<Object<SoftLink, InSoftirq>>;

/// May be dropped in softirqs; what its cell holds must not.
struct Outer {
    inner: RcuCell<Option<KBox<Object<Witness, InProcess>>>>,
}

rcu::impl_atomic_drop! { Outer { inner } }

fn chain(seen: &Arc<Seen>) -> Result<RcuCell<Option<KBox<Object<Link>>>>> {
    let mut first = None;
    for _ in 0..LONG {
        let link = Link {
            _next: RcuCell::new(first),
            _witness: Witness(seen.clone()),
        };
        first = Some(Object::new(link).boxed(GFP_KERNEL)?);
    }
    Ok(RcuCell::new(first))
}

fn soft_chain(seen: &Arc<Seen>) -> Result<RcuCell<Option<SoftPointer>>> {
    let mut first = None;
    for _ in 0..LONG {
        let link = SoftLink {
            next: RcuCell::new(first),
            witness: Witness(seen.clone()),
        };
        first = Some(Object::new_atomic(link).boxed(GFP_KERNEL)?);
    }
    Ok(RcuCell::new(first))
}

fn shared_chain<D: Domain>(seen: &Arc<Seen>) -> Result<RcuCell<Option<SharedPointer<D>>, D>> {
    let mut first = None;
    for _ in 0..LONG {
        let link = SharedLink {
            _next: RcuCell::new(first),
            _witness: Witness(seen.clone()),
        };
        first = Some(Arc::new(Shared::new(link), GFP_KERNEL)?);
    }
    Ok(RcuCell::new(first))
}

/// Drops a cell in a destructor, after a while in which a barrier can get in line behind it.
struct Owner(#[allow(dead_code)] RcuCell<Option<KBox<Object<Slow>>>, Srcu<Sleepy>>);

impl Drop for Owner {
    fn drop(&mut self) {
        support::msleep(300);
    }
}

/// Counts its destructor, which takes a while.
struct Slow(Arc<Atomic<usize>>);

impl Drop for Slow {
    fn drop(&mut self) {
        support::msleep(100);
        self.0.add(1usize, Relaxed);
    }
}

/// Counts its destructor, which does not return before a flag is set.
struct Blocker {
    here: Arc<Atomic<usize>>,
    open: Arc<Atomic<i32>>,
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.here.add(1usize, Relaxed);
        while self.open.load(Relaxed) == 0 {
            support::msleep(5);
        }
    }
}

/// Drops cells in its destructor where it may not sleep.
struct Atomically<D: Domain> {
    in_section: Option<RcuCell<KBox<Object<Slow>>, D>>,
    not_preemptible: Option<RcuCell<KBox<Object<Slow>>, D>>,
    uninterrupted: Option<RcuCell<KBox<Object<Slow>>, D>>,
}

impl<D: Domain> Drop for Atomically<D> {
    fn drop(&mut self) {
        rcu::global().run(|_| drop(self.in_section.take()));
        support::preempt_disabled(|| drop(self.not_preemptible.take()));
        let flags = support::irq_save();
        drop(self.uninterrupted.take());
        support::irq_restore(flags);
    }
}

/// Calls `f` while a destructor that was deferred in `domain` occupies the worker, for some time
/// more.
fn beside_a_blocked_worker<D: Domain, R>(domain: D, f: impl FnOnce() -> R) -> Result<R> {
    domain.barrier()?;
    let here = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let open = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let blocker = Object::new(Blocker {
        here: here.clone(),
        open: open.clone(),
    });
    let blocker = blocker.boxed(GFP_KERNEL)?;
    RcuCell::<Option<KBox<Object<Blocker>>>, D>::new(Some(blocker)).publish(None);
    while here.load(Relaxed) == 0 {
        let _ = domain.start_expedited().wait_expedited();
        support::msleep(1);
    }
    let opener = stop_later(&open, 500).inspect_err(|_| open.store(1, Relaxed))?;
    let ret = f();
    opener.join();
    domain.barrier()?;
    Ok(ret)
}

/// Tasks that are in the destructors of [`Blocker`]s, until this is dropped.
struct Blocked {
    here: Arc<Atomic<usize>>,
    open: Arc<Atomic<i32>>,
    threads: KVec<support::Thread>,
}

impl Blocked {
    fn new() -> Result<Self> {
        Ok(Self {
            here: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            open: Arc::new(Atomic::new(0), GFP_KERNEL)?,
            threads: KVec::new(),
        })
    }

    /// Has one more task drop a cell with a [`Blocker`].
    fn add(&mut self) -> Result {
        let blocker = Blocker {
            here: self.here.clone(),
            open: self.open.clone(),
        };
        let blocker = Object::new(blocker).boxed(GFP_KERNEL)?;
        let cell = RcuCell::<_, Srcu<Other>>::new(blocker);
        let theirs = self.here.clone();
        self.threads.reserve(1, GFP_KERNEL)?;
        let thread = support::spawn(c"rcu_blocker", move || {
            drop(cell);
            theirs.add(1usize, Relaxed);
        })?;
        Ok(self.threads.push(thread, GFP_KERNEL)?)
    }

    /// Waits until each task is in a destructor or has handed its object over, and one of those is
    /// with the worker.
    fn wait(&self) {
        while self.here.load(Relaxed) <= self.threads.len() {
            support::msleep(1);
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.open.store(1, Relaxed);
    }
}

/// What a work item does when it has freed the memory that it is in.
struct Rest {
    cell: RcuCell<KBox<Object<Witness>>>,
    done: Arc<Atomic<i32>>,
}

impl Rest {
    fn run(self) {
        drop(self.cell);
        let waited = rcu::global().barrier().is_ok();
        self.done.store(if waited { 1 } else { 2 }, Release);
    }
}

/// A work item that drops the only reference to itself.
#[pin_data]
struct Counting {
    #[pin]
    rest: Mutex<Option<Rest>>,
    #[pin]
    work: Work<Self>,
}

/// A work item that drops the box that it is in.
#[pin_data]
struct Boxed {
    rest: Option<Rest>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Counting { self.work }
    impl HasWork<Self> for Boxed { self.work }
}

impl WorkItem for Counting {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let rest = this.rest.lock().take();
        drop(this);
        if let Some(rest) = rest {
            rest.run();
        }
    }
}

impl WorkItem for Boxed {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>) {
        let rest = this.as_mut().project().rest.take();
        drop(this);
        if let Some(rest) = rest {
            rest.run();
        }
    }
}

fn witness(seen: &Arc<Seen>) -> Result<KBox<Object<Witness>>> {
    Ok(Object::new(Witness(seen.clone())).boxed(GFP_KERNEL)?)
}

#[kunit_tests(quiesce_rcu_disposal)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_are_deferred_with_bounded_stack() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let (process, softirq, shared, in_srcu) =
            (Seen::new()?, Seen::new()?, Seen::new()?, Seen::new()?);
        chain(&process)?.publish(None);
        soft_chain(&softirq)?.publish(None);
        shared_chain::<Global>(&shared)?.publish(None);
        shared_chain::<Srcu<Sleepy>>(&in_srcu)?.publish(None);
        // What a chain owns is part of what was deferred: one barrier waits for all of it.
        rcu::global().barrier()?;
        sleepy.barrier()?;
        assert_eq!(process.get(), (LONG, LONG, 0));
        assert_eq!(softirq.get().0, LONG);
        assert_eq!(shared.get(), (LONG, LONG, 0));
        assert_eq!(in_srcu.get(), (LONG, LONG, 0));
        Ok(())
    }

    #[test]
    fn long_chains_are_dropped_in_the_call_that_may_sleep() -> Result {
        let (process, softirq, shared) = (Seen::new()?, Seen::new()?, Seen::new()?);
        drop(chain(&process)?);
        drop(soft_chain(&softirq)?);
        drop(shared_chain::<Global>(&shared)?);
        assert_eq!(process.get(), (LONG, LONG, 0));
        assert_eq!(softirq.get(), (LONG, LONG, 0));
        assert_eq!(shared.get(), (LONG, LONG, 0));
        Ok(())
    }

    #[test]
    fn two_chains_in_one_object() -> Result {
        struct Two {
            _a: RcuCell<Option<KBox<Object<Link>>>>,
            _b: RcuCell<Option<KBox<Object<Link>>>>,
        }
        let seen = Seen::new()?;
        let two = Two {
            _a: chain(&seen)?,
            _b: chain(&seen)?,
        };
        drop(RcuCell::<_, Global>::new(
            Object::new(two).boxed(GFP_KERNEL)?,
        ));
        assert_eq!(seen.get(), (2 * LONG, 2 * LONG, 0));
        Ok(())
    }

    #[test]
    fn dropped_in_atomic_context_they_wait_for_process_context() -> Result {
        let (seen, alone, uninterrupted) = (Seen::new()?, Seen::new()?, Seen::new()?);
        let (one, two, four) = (chain(&seen)?, chain(&seen)?, chain(&seen)?);
        // Another CPU may be dropping the others.
        let three = chain(&alone)?;
        let five = chain(&uninterrupted)?;
        let during = || alone.get().0;
        let in_softirq = support::in_softirq(move || drop(one)).is_some();
        let in_hardirq = support::in_hardirq(move || drop(two)).is_some();
        let not_preemptible = support::preempt_disabled(|| {
            let before = during();
            drop(three);
            during() - before
        });
        rcu::global().run(|_| drop(four));
        // No counter shows this.
        let flags = support::irq_save();
        drop(five);
        support::irq_restore(flags);
        rcu::global().barrier()?;
        assert!(in_softirq && in_hardirq);
        assert_eq!(not_preemptible, 0);
        assert_eq!(seen.get(), (3 * LONG, 3 * LONG, 0));
        assert_eq!(alone.get(), (LONG, LONG, 0));
        assert_eq!(uninterrupted.get(), (LONG, LONG, 0));
        Ok(())
    }

    #[test]
    fn a_cell_may_be_in_what_is_dropped_in_a_softirq() -> Result {
        let seen = Seen::new()?;
        let outer = Outer {
            inner: RcuCell::new(Some(witness(&seen)?)),
        };
        let cell: RcuCell<Option<KBox<Object<Outer, InSoftirq>>>> =
            RcuCell::new(Some(Object::new_atomic(outer).boxed(GFP_KERNEL)?));
        cell.publish(None);
        rcu::global().barrier()?;
        assert_eq!(seen.get(), (1, 1, 0));
        Ok(())
    }

    #[test]
    fn an_update_drops_its_losers_outside_of_the_section() -> Result {
        let seen = Seen::new()?;
        let mut spare = KVec::new();
        for _ in 0..7 {
            spare.push(witness(&seen)?, GFP_KERNEL)?;
        }
        let cell = RcuCell::<_, Global>::new(witness(&seen)?);
        let mut calls = 0;
        let old = cell.update(rcu::global(), |_| {
            calls += 1;
            if calls <= 3 {
                // Another writer is faster.
                cell.publish(spare.pop().ok_or(EINVAL)?);
            }
            spare.pop().ok_or(EINVAL)
        })?;
        let lost = seen.get();
        drop(old);
        drop(cell);
        rcu::global().barrier()?;
        assert_eq!(calls, 4);
        // Those that lost; what was published and replaced is deferred.
        assert_eq!(lost, (3, 3, 0));
        assert_eq!(seen.get(), (8, 8, 0));
        Ok(())
    }

    #[test]
    fn an_update_inside_of_another_section_drops_its_losers_later() -> Result {
        let seen = Seen::new()?;
        let mut spare = [
            Some(witness(&seen)?),
            Some(witness(&seen)?),
            Some(witness(&seen)?),
        ]
        .into_iter()
        .flatten();
        let cell = RcuCell::<_, Global>::new(witness(&seen)?);
        let mut calls = 0;
        let replaced = rcu::global().run(|_| {
            cell.update(rcu::global(), |_| {
                calls += 1;
                if calls == 1 {
                    cell.publish(spare.next().ok_or(EINVAL)?);
                }
                spare.next().ok_or(EINVAL)
            })
            .is_ok()
        });
        drop(cell);
        rcu::global().barrier()?;
        assert!(replaced);
        assert_eq!(seen.get(), (4, 4, 0));
        Ok(())
    }

    #[test]
    fn tasks_that_drop_at_the_same_time_have_queues_of_their_own() -> Result {
        struct Slow(#[allow(dead_code)] RcuCell<Option<KBox<Object<Link>>>>);

        impl Drop for Slow {
            fn drop(&mut self) {
                // Others claim and release queues meanwhile.
                support::msleep(2);
            }
        }

        const TASKS: usize = 200;
        let seen = Seen::new()?;
        let mut threads = KVec::new();
        for _ in 0..TASKS {
            let mut first = None;
            for _ in 0..20 {
                let link = Link {
                    _next: RcuCell::new(first),
                    _witness: Witness(seen.clone()),
                };
                first = Some(Object::new(link).boxed(GFP_KERNEL)?);
            }
            let slow = Object::new(Slow(RcuCell::new(first))).boxed(GFP_KERNEL)?;
            let cell = RcuCell::<_, Global>::new(slow);
            let thread = support::spawn(c"rcu_dropper", move || drop(cell))?;
            threads.push(thread, GFP_KERNEL)?;
        }
        drop(threads);
        // Those that found no queue have handed their objects over.
        rcu::global().barrier()?;
        assert_eq!(seen.get(), (20 * TASKS, 20 * TASKS, 0));
        Ok(())
    }

    #[test]
    fn barrier_waits_for_chains_though_all_queues_are_taken() -> Result {
        // A dozen for each set of queues.
        const TASKS: usize = 400;
        let (sleepy, other) = (Srcu::<Sleepy>::init()?, Srcu::<Other>::init()?);
        let dropped = Arc::new(Atomic::new(0usize), GFP_KERNEL)?;
        let mut blocked = Blocked::new()?;
        for _ in 0..TASKS {
            blocked.add()?;
        }
        blocked.wait();
        let slow = Object::new(Slow(dropped.clone())).boxed(GFP_KERNEL)?;
        let owner = Object::new(Owner(RcuCell::new(Some(slow)))).boxed(GFP_KERNEL)?;
        RcuCell::<Option<KBox<Object<Owner>>>, Srcu<Sleepy>>::new(Some(owner)).publish(None);
        let ret = sleepy.barrier();
        let now = dropped.load(Relaxed);
        drop(blocked);
        sleepy.barrier()?;
        other.barrier()?;
        assert!(ret.is_ok());
        assert_eq!((now, dropped.load(Relaxed)), (1, 1));
        Ok(())
    }

    /// The marker of the barrier is right behind the object whose destructor drops them.
    #[test]
    fn barrier_waits_for_what_a_destructor_drops_in_atomic_context() -> Result {
        fn dropped<D: Domain>(domain: D) -> Result<usize> {
            let dropped = Arc::new(Atomic::new(0usize), GFP_KERNEL)?;
            let cell = || {
                let slow = Object::new(Slow(dropped.clone())).boxed(GFP_KERNEL)?;
                Ok::<_, Error>(Some(RcuCell::new(slow)))
            };
            let owner = Object::new(Atomically::<D> {
                in_section: cell()?,
                not_preemptible: cell()?,
                uninterrupted: cell()?,
            });
            let owner = owner.boxed(GFP_KERNEL)?;
            let now = beside_a_blocked_worker(domain, || {
                RcuCell::<Option<KBox<Object<Atomically<D>>>>, D>::new(Some(owner)).publish(None);
                domain.barrier().map(|()| dropped.load(Relaxed))
            })??;
            assert_eq!(dropped.load(Relaxed), 3);
            Ok(now)
        }
        let global = dropped(rcu::global())?;
        let sleepy = dropped(Srcu::<Sleepy>::init()?)?;
        assert_eq!((global, sleepy), (3, 3));
        Ok(())
    }

    /// Also memory without a destructor: on PREEMPT_RT `kfree()` sleeps, and `vfree()` everywhere.
    #[test]
    fn memory_is_freed_where_that_may_sleep() -> Result {
        type Map = RcuHashMap<u32, u32>;
        let cell = RcuCell::<_, Global>::new(Object::new(1u64).boxed(GFP_KERNEL)?);
        let shared = Arc::new(Shared::<u64>::new(1), GFP_KERNEL)?;
        let shared = RcuCell::<_, Global>::new(shared);
        let map = KBox::pin_init(Map::new(1, c"kunit map", static_lock_class!()), GFP_KERNEL)?;
        // SAFETY: The map is dropped in its place.
        let map = KBox::into_raw(unsafe { Pin::into_inner_unchecked(map) });
        let address = map.expose_provenance();
        let pending = || rcu::global().pending();
        let seen = beside_a_blocked_worker(rcu::global(), || {
            let before = pending();
            let ran = support::in_hardirq(move || {
                drop(cell);
                let one = pending();
                drop(shared);
                let two = pending();
                // SAFETY: The map is valid and not used afterwards. Its memory is freed below.
                unsafe {
                    core::ptr::with_exposed_provenance_mut::<Map>(address).drop_in_place();
                }
                [one, two, pending()]
            });
            ran.map(|after| after.map(|n| n.wrapping_sub(before)))
        });
        // SAFETY: The memory came from a box, and the map in it was dropped above, if the closure ran,
        // or is leaked.
        drop(unsafe { KBox::from_raw(map.cast::<MaybeUninit<Map>>()) });
        // Lockdep checks the rules of PREEMPT_RT, if it is asked to.
        let expected = if cfg!(any(CONFIG_PREEMPT_RT, CONFIG_PROVE_RAW_LOCK_NESTING)) {
            [1, 2, 3]
        } else {
            [0, 0, 1]
        };
        assert_eq!(seen?, Some(expected));
        Ok(())
    }

    /// Also where the caller may not sleep: `vfree()` does, and 2^20 buckets are memory of `vmalloc()`.
    #[test]
    fn the_buckets_of_a_map_are_freed_where_that_may_sleep() -> Result {
        type Map = RcuHashMap<u32, u32>;
        type Call<'a> = &'a mut (dyn FnMut() + Send);

        /// Drops a map in the context in which `call` calls; returns how much more is pending then.
        fn drop_in(buckets: usize, call: impl FnOnce(Call<'_>)) -> Result<Option<usize>> {
            let map = Map::new(buckets, c"kunit map", static_lock_class!());
            let map = KBox::pin_init(map, GFP_KERNEL)?;
            // SAFETY: The map is dropped in its place.
            let map = KBox::into_raw(unsafe { Pin::into_inner_unchecked(map) });
            let address = map.expose_provenance();
            let seen = beside_a_blocked_worker(rcu::global(), || {
                let before = rcu::global().pending();
                let mut after = None;
                call(&mut || {
                    // SAFETY: `call` calls once. The map is valid and not used afterwards. Its memory is
                    // freed below.
                    unsafe {
                        core::ptr::with_exposed_provenance_mut::<Map>(address).drop_in_place();
                    }
                    after = Some(rcu::global().pending().wrapping_sub(before));
                });
                after
            });
            // SAFETY: The memory came from a box, and the map in it was dropped above, if the closure
            // ran, or is leaked.
            drop(unsafe { KBox::from_raw(map.cast::<MaybeUninit<Map>>()) });
            seen
        }
        let not_preemptible = drop_in(1 << 20, |f| support::preempt_disabled(f))?;
        let uninterrupted = drop_in(1 << 20, |f| {
            let flags = support::irq_save();
            f();
            support::irq_restore(flags);
        })?;
        let in_section = drop_in(1 << 20, |f| rcu::global().run(|_| f()))?;
        let in_softirq = drop_in(1, |f| _ = support::in_softirq(f))?;
        let in_hardirq = drop_in(1, |f| _ = support::in_hardirq(f))?;
        assert_eq!([not_preemptible, uninterrupted, in_section], [Some(1); 3]);
        assert_eq!([in_softirq, in_hardirq], [Some(1); 2]);
        Ok(())
    }

    /// A callback has bottom halves disabled, so it drops a few references and leaves many to a worker.
    #[test]
    fn many_references_to_one_object_are_dropped_in_process_context() -> Result {
        /// Retires `n` references, which one grace period covers, after another one; returns how many
        /// objects were dropped, and how many where sleeping is allowed.
        fn retire<D: Domain>(domain: D, n: usize) -> Result<(usize, usize)> {
            let seen = Seen::new()?;
            let shared = Shared::<_, D, InSoftirq>::new_atomic(Witness(seen.clone()));
            let shared = Arc::new(shared, GFP_KERNEL)?;
            let cell = RcuCell::<Option<Arc<Shared<Witness, D, InSoftirq>>>, D>::none();
            domain.run(|_| {
                for _ in 0..=n {
                    cell.publish(Some(shared.clone()));
                }
                cell.publish(None);
                // Not the last one.
                drop(shared);
            });
            domain.barrier()?;
            let (dropped, could_sleep, _) = seen.get();
            Ok((dropped, could_sleep))
        }
        let sleepy = Srcu::<Sleepy>::init()?;
        let few = [retire(rcu::global(), 1024)?, retire(sleepy, 1024)?];
        let many = [retire(rcu::global(), 1025)?, retire(sleepy, 1025)?];
        let more = [retire(rcu::global(), 5000)?, retire(sleepy, 5000)?];
        assert_eq!(few, [(1, 0); 2]);
        assert_eq!(many, [(1, 1); 2]);
        assert_eq!(more, [(1, 1); 2]);
        Ok(())
    }

    /// The work item that the workqueue runs is freed when its task drops a cell and calls `barrier()`.
    #[test]
    fn a_work_item_drops_cells_when_it_has_freed_itself() -> Result {
        let seen = Seen::new()?;
        let mut done = KVec::new();
        for boxed in [false, true] {
            let state = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
            let rest = Rest {
                cell: RcuCell::new(witness(&seen)?),
                done: state.clone(),
            };
            done.push(state, GFP_KERNEL)?;
            if boxed {
                let item = KBox::pin_init(
                    pin_init!(Boxed {
                        rest: Some(rest),
                        work <- new_work!(),
                    }),
                    GFP_KERNEL,
                )?;
                workqueue::system().enqueue(item);
            } else {
                let item = Arc::pin_init(
                    pin_init!(Counting {
                        rest <- new_mutex!(Some(rest)),
                        work <- new_work!(),
                    }),
                    GFP_KERNEL,
                )?;
                let _ = workqueue::system().enqueue(item);
            }
        }
        while done.iter().any(|done| done.load(Acquire) == 0) {
            support::msleep(1);
        }
        assert!(done.iter().all(|done| done.load(Acquire) == 1));
        assert_eq!(seen.get(), (2, 2, 0));
        Ok(())
    }

    #[test]
    fn a_saturated_count_leaks_and_corrupts_nothing() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let seen = Seen::new()?;
        type Pointer = Arc<Shared<Witness, Srcu<Sleepy>>>;
        let shared: Pointer = Arc::new(Shared::new(Witness(seen.clone())), GFP_KERNEL)?;
        let cell: RcuCell<Option<Pointer>, Srcu<Sleepy>> = RcuCell::none();
        let retire = || {
            cell.publish(Some(shared.clone()));
            cell.publish(None);
        };
        let counts = complaining("quiesce: rcu: too many references", || {
            sleepy.run(|_| {
                retire();
                // SAFETY: One reference was retired, and the grace period waits for this section. The
                // references that are leaked by that are dropped below.
                unsafe { shared.set_retired_for_test(u32::MAX / 2 - 1) };
                let mut counts = [0; 8];
                for count in &mut counts {
                    retire();
                    *count = shared.retired_for_test();
                }
                counts
            })
        });
        sleepy.barrier()?;
        sleepy.synchronize()?;
        sleepy.barrier()?;
        retire();
        sleepy.barrier()?;
        let after = shared.retired_for_test();
        let dropped = seen.get().0;
        let pending = sleepy.pending();
        // The references that were leaked are dropped here, or kmemleak would rightly complain.
        let raw = Arc::into_raw(shared);
        loop {
            // SAFETY: `raw` comes from `Arc::into_raw()`. There is another leaked reference as long
            // as the one before was not the last, and nothing is pending that would drop it.
            let one = unsafe { Arc::from_raw(raw) };
            if Arc::into_unique_or_drop(one).is_some() {
                break;
            }
        }
        assert_eq!(seen.get().0, 1);
        let saturated = 1u32 << 31;
        assert_eq!(counts[0], saturated - 1);
        // As far as can be from both ends of the range.
        assert!(counts[1..].iter().all(|n| *n == saturated + saturated / 2));
        assert!(after >= saturated);
        assert_eq!(dropped, 0);
        assert_eq!(pending, 0);
        Ok(())
    }
}
