// SPDX-License-Identifier: GPL-2.0

//! Lists and hash tables: what is inserted is found, what is removed is reclaimed after its readers.

#[cfg(not(CONFIG_SMP))]
use super::complaining;
use super::domain::Sleepy;
use crate::support;
use kernel::{
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            spinlock::SpinLockBackend, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Batch,
    Domain,
    Entry,
    Global,
    InProcess,
    InSoftirq,
    RcuHashMap,
    RcuList,
    Srcu, //
};

type Numbers = RcuList<u32>;

fn numbers() -> Result<Pin<KBox<Numbers>>> {
    KBox::pin_init(
        RcuList::new(c"kunit numbers", static_lock_class!()),
        GFP_KERNEL,
    )
}

fn seen(list: &Numbers) -> Result<KVec<u32>> {
    let mut all = KVec::new();
    for n in list.lock().iter() {
        all.push(*n, GFP_KERNEL)?;
    }
    let read = rcu::global().run(|t| list.iter(t).eq(all.iter()));
    assert!(read);
    Ok(all)
}

/// The counters of a torture run.
struct Books {
    stop: Atomic<i32>,
    reads: [Atomic<usize>; 3],
    dead: Atomic<usize>,
    made: Atomic<usize>,
    dropped: Atomic<usize>,
}

/// A value that knows whether it may still be read.
struct Item {
    id: usize,
    dead: Atomic<i32>,
    books: Arc<Books>,
}

impl Item {
    fn new(id: usize, books: &Arc<Books>) -> Self {
        books.made.add(1usize, Relaxed);
        Self {
            id,
            dead: Atomic::new(0),
            books: books.clone(),
        }
    }

    /// A reader's check that the value is not dropped.
    fn check(&self) {
        let before = self.dead.load(Relaxed);
        support::cpu_relax();
        if before | self.dead.load(Relaxed) != 0 {
            self.books.dead.add(1usize, Relaxed);
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.dead.store(1, Relaxed);
        self.books.dropped.add(1usize, Relaxed);
    }
}

// SAFETY: The destructor stores to atomics and drops an `Arc` of atomics.
unsafe impl AtomicDrop for Item {}

const IDS: usize = 16;

/// A list and a table that are tortured. Both are locked by tasks only.
#[pin_data]
struct Tortured<D: Domain> {
    #[pin]
    list: RcuList<Item, D, SpinLockBackend, InSoftirq>,
    #[pin]
    map: RcuHashMap<usize, Item, D, MutexBackend, InProcess>,
    domain: D,
    books: Arc<Books>,
    mutant: bool,
}

impl<D: Domain> Tortured<D> {
    fn new(domain: D, mutant: bool) -> Result<Arc<Self>> {
        let books = Arc::new(
            Books {
                stop: Atomic::new(0),
                reads: core::array::from_fn(|_| Atomic::new(0)),
                dead: Atomic::new(0),
                made: Atomic::new(0),
                dropped: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        Arc::pin_init(
            try_pin_init!(Self {
                list <- RcuList::new(c"kunit list", static_lock_class!()),
                // Few buckets, so that there are chains.
                map <- RcuHashMap::new(4, c"kunit map", static_lock_class!()),
                domain,
                books,
                mutant,
            }? Error),
            GFP_KERNEL,
        )
    }

    fn read(&self, which: usize) {
        self.domain.run(|t| {
            for item in self.list.iter(t) {
                item.check();
            }
            for id in 0..IDS {
                if let Some(item) = self.map.get(t, &id) {
                    item.check();
                    if item.id != id {
                        self.books.dead.add(1usize, Relaxed);
                    }
                }
            }
            for (id, item) in self.map.iter(t) {
                item.check();
                if item.id != *id {
                    self.books.dead.add(1usize, Relaxed);
                }
            }
        });
        self.books.reads[which].add(1usize, Relaxed);
    }

    /// In the mutant nobody waits for readers before an item is dead.
    fn bury(&self, item: &Item) {
        if self.mutant {
            item.dead.store(1, Relaxed);
        }
    }

    fn write(&self, n: usize) -> Result {
        let id = n % IDS;
        let listed = Entry::new_atomic(Item::new(id, &self.books), GFP_KERNEL)?;
        let mapped = Entry::new((id, Item::new(id, &self.books)), GFP_KERNEL)?;
        let old = {
            let mut list = self.list.lock();
            let old = list.remove_if(|item| {
                if item.id == id {
                    self.bury(item);
                }
                item.id == id
            });
            list.push_front(listed);
            old
        };
        let replaced = {
            let mut map = self.map.lock();
            if let Some(item) = map.get(&id) {
                self.bury(item);
            }
            if n % 3 == 0 {
                let removed = map.remove(&id);
                drop(map.insert(mapped));
                removed
            } else {
                map.insert(mapped)
            }
        };
        match n % 64 {
            0 => drop(old.map(|old| old.synchronize()).transpose()?),
            _ => drop(old),
        }
        drop(replaced);
        if n % 256 == 0 {
            self.domain.throttle()?;
        }
        Ok(())
    }
}

/// Tortures; returns the reads of each kind, the dead items seen, and the items made and dropped.
fn torture<D: Domain>(
    domain: D,
    mutant: bool,
    writes: usize,
) -> Result<([usize; 3], usize, usize, usize)> {
    let tortured = Tortured::new(domain, mutant)?;
    let books = tortured.books.clone();
    let mut readers = KVec::new();
    for _ in 0..2 {
        let tortured = tortured.clone();
        let thread = support::spawn(c"rcu_list_rd", move || {
            while tortured.books.stop.load(Relaxed) == 0 {
                tortured.read(0);
                support::cond_resched();
            }
        })?;
        readers.push(thread, GFP_KERNEL)?;
    }
    let timer = |context, which: usize| {
        let tortured = tortured.clone();
        support::Timer::start(context, 500, None, move || tortured.read(which))
    };
    let softirq = timer(support::TimerContext::Softirq, 1)?;
    let hardirq = timer(support::TimerContext::Hardirq, 2)?;
    let mut writers = KVec::new();
    let failed = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
    for k in 0..2 {
        let (tortured, failed) = (tortured.clone(), failed.clone());
        let thread = support::spawn(c"rcu_list_wr", move || {
            for n in 0..writes {
                if tortured.write(n * 7 + k).is_err() {
                    failed.store(1, Relaxed);
                }
            }
        })?;
        writers.push(thread, GFP_KERNEL)?;
    }
    drop(writers);
    // The timers may have been late on a loaded machine.
    while books.reads.iter().any(|n| n.load(Relaxed) < 10) {
        support::msleep(1);
    }
    books.stop.store(1, Relaxed);
    drop(readers);
    drop((softirq, hardirq));
    drop(tortured);
    domain.barrier()?;
    if failed.load(Relaxed) != 0 {
        return Err(ENOMEM);
    }
    Ok((
        core::array::from_fn(|i| books.reads[i].load(Relaxed)),
        books.dead.load(Relaxed),
        books.made.load(Relaxed),
        books.dropped.load(Relaxed),
    ))
}

#[kunit_tests(quiesce_rcu_list)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_any_number_of_buckets() -> Result {
        let new = |n| RcuHashMap::<u32, u32>::new(n, c"kunit map", static_lock_class!());
        let refused = KBox::pin_init(new(usize::MAX), GFP_KERNEL).err();
        let one = KBox::pin_init(new(0), GFP_KERNEL)?;
        for n in 0..10 {
            drop(one.lock().insert(Entry::new((n, n), GFP_KERNEL)?));
        }
        assert!(refused == Some(EINVAL));
        assert_eq!(rcu::global().run(|t| one.iter(t).count()), 10);
        Ok(())
    }

    /// Without SMP a spin lock excludes nobody; the list excludes its holder, too.
    #[cfg(not(CONFIG_SMP))]
    #[test]
    fn the_holder_of_the_lock_waits_for_it() -> Result {
        type Spun = RcuList<u32, Global, SpinLockBackend>;

        let list = Arc::pin_init(Spun::new(c"kunit spun", static_lock_class!()), GFP_KERNEL)?;
        list.lock().push_front(Entry::new(1, GFP_KERNEL)?);
        let released = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let timer = {
            let (list, released) = (list.clone(), released.clone());
            support::Timer::start(support::TimerContext::Hardirq, 500_000, None, move || {
                released.store(1, Relaxed);
                // SAFETY: The test drops the first guard and does nothing else with it.
                unsafe { list.clear_flag_for_test() };
            })?
        };
        let first = list.lock();
        let second = complaining("WARNING: .*warn_deadlock", || list.lock());
        let waited = released.load(Relaxed) != 0;
        drop(second);
        drop(first);
        drop(timer);
        let again = list.lock().remove_if(|_| true).is_some();
        assert!(waited && again);
        Ok(())
    }

    #[test]
    fn insert_and_remove() -> Result {
        let list = numbers()?;
        let empty = seen(&list)?;
        for n in [3, 2, 1] {
            list.lock().push_front(Entry::new(n, GFP_KERNEL)?);
        }
        let all = seen(&list)?;
        let none = list.lock().remove_if(|n| *n == 7).is_none();
        let middle = list.lock().remove_if(|n| *n == 2);
        let two = seen(&list)?;
        let middle = middle.ok_or(EINVAL)?.synchronize()?;
        let value = ***middle;
        // The entry goes back, allocated once.
        list.lock().push_front(middle);
        let back = seen(&list)?;
        assert!(empty.is_empty() && none);
        assert_eq!(&all[..], &[1, 2, 3]);
        assert_eq!(&two[..], &[1, 3]);
        assert_eq!(value, 2);
        assert_eq!(&back[..], &[2, 1, 3]);
        Ok(())
    }

    #[test]
    fn cursors() -> Result {
        let list = numbers()?;
        {
            let mut guard = list.lock();
            let mut at = guard.cursor();
            assert!(at.value().is_none() && !at.move_next() && at.remove().is_none());
            for n in [5, 4, 2] {
                at.insert(Entry::new(n, GFP_KERNEL)?);
            }
            assert!(at.move_next());
            at.insert(Entry::new(3, GFP_KERNEL)?);
            // 2 3 4 5, at 3.
            let old = at.replace(Entry::new(30, GFP_KERNEL)?);
            assert!(old.is_ok() && at.value() == Some(&30));
            while at.move_next() {}
            at.insert(Entry::new(6, GFP_KERNEL)?);
            assert!(at.value() == Some(&6) && at.remove().is_some() && at.value().is_none());
            let refused = at.replace(Entry::new(9, GFP_KERNEL)?);
            assert!(refused.is_err());
        }
        let all = seen(&list)?;
        let mut batch = Batch::new();
        {
            let mut guard = list.lock();
            let mut at = guard.cursor();
            while let Some(n) = at.value() {
                if n % 2 == 0 {
                    if let Some(old) = at.remove() {
                        batch.push(old);
                    }
                } else {
                    at.move_next();
                }
            }
        }
        let odd = seen(&list)?;
        let reclaimed: u32 = batch.synchronize()?.map(|entry| ***entry).sum();
        assert_eq!(&all[..], &[2, 30, 4, 5]);
        assert_eq!(&odd[..], &[5]);
        assert_eq!(reclaimed, 36);
        Ok(())
    }

    #[test]
    fn a_reader_at_a_removed_entry_gets_on() -> Result {
        let list = KBox::pin_init(
            RcuList::<u32, Srcu<Sleepy>>::new(c"kunit sleepy", static_lock_class!()),
            GFP_KERNEL,
        )?;
        let sleepy = Srcu::<Sleepy>::init()?;
        for n in [4, 3, 2, 1] {
            list.lock().push_front(Entry::new(n, GFP_KERNEL)?);
        }
        let (found, cookie_over) = sleepy.run(|t| {
            let mut values = list.iter(t);
            let mut found = [0; 3];
            for n in &mut found[..2] {
                *n = values.next().map_or(0, |n| *n);
            }
            // The reader is at 2, from where it gets to 3 and on, though all of them are removed.
            for n in [2, 3] {
                drop(list.lock().remove_if(|m| *m == n));
            }
            let cookie = sleepy.start();
            support::msleep(20);
            found[2] = values.next().map_or(0, |n| *n);
            (found, cookie.is_over())
        });
        let rest: u32 = sleepy.run(|t| list.iter(t).sum());
        assert_eq!(found, [1, 2, 3]);
        assert!(!cookie_over);
        assert_eq!(rest, 1 + 4);
        Ok(())
    }

    /// With `fuse()`, too, which relies on an iterator that says it is fused.
    #[test]
    fn an_iterator_that_has_ended_stays_there() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        let list = KBox::pin_init(
            RcuList::<u32, Srcu<Sleepy>>::new(c"kunit sleepy", static_lock_class!()),
            GFP_KERNEL,
        )?;
        let map = KBox::pin_init(
            RcuHashMap::<u32, u32, Srcu<Sleepy>>::new(1, c"kunit map", static_lock_class!()),
            GFP_KERNEL,
        )?;
        let (first, second) = (Entry::new(1, GFP_KERNEL)?, Entry::new(2, GFP_KERNEL)?);
        let pair = Entry::new((1, 1), GFP_KERNEL)?;
        let (empty, one, pairs) = sleepy.run(|t| {
            let (mut plain, mut fused) = (list.iter(t), list.iter(t).fuse());
            let mut pairs = map.iter(t);
            let ended = [plain.next(), fused.next()] == [None; 2] && pairs.next().is_none();
            list.lock().push_front(first);
            drop(map.lock().insert(pair));
            let empty = (ended, plain.next().copied(), fused.next().copied());
            let pairs = pairs.next().is_none() && map.iter(t).count() == 1;
            // At the entry that was the last one.
            let (mut plain, mut fused) = (list.iter(t), list.iter(t).fuse());
            let ended = plain.by_ref().count() == 1 && fused.by_ref().count() == 1;
            {
                let mut guard = list.lock();
                let mut at = guard.cursor();
                while at.move_next() {}
                at.insert(second);
            }
            let one = (ended, plain.next().copied(), fused.next().copied());
            (empty, one, pairs)
        });
        let sum: u32 = sleepy.run(|t| list.iter(t).sum());
        assert_eq!(empty, (true, None, None));
        assert_eq!(one, (true, None, None));
        assert_eq!((sum, pairs), (3, true));
        Ok(())
    }

    #[test]
    fn maps() -> Result {
        let map = RcuHashMap::<u32, u32>::new(3, c"kunit map", static_lock_class!());
        let map = KBox::pin_init(map, GFP_KERNEL)?;
        let get = |n: u32| rcu::global().run(|t| map.get(t, &n).copied());
        for n in 0..100 {
            let old = map.lock().insert(Entry::new((n, n * n), GFP_KERNEL)?);
            assert!(old.is_none());
        }
        let (first, last, none) = (get(0), get(99), get(100));
        let old = map.lock().insert(Entry::new((7, 1), GFP_KERNEL)?);
        let old = old.ok_or(EINVAL)?.synchronize()?;
        let (old, new) = (old.1, get(7));
        let removed = map.lock().remove(&8).is_some() && map.lock().remove(&8).is_none();
        let count = || rcu::global().run(|t| map.iter(t).count());
        let all = count();
        let mut batch = Batch::new();
        map.lock().retain(|n, _| n % 2 == 0, |old| batch.push(old));
        let gone = batch.len();
        batch.defer();
        let sum: u32 = rcu::global().run(|t| map.iter(t).map(|(n, _)| *n).sum());
        assert_eq!((first, last, none), (Some(0), Some(99 * 99), None));
        assert_eq!((old, new), (49, Some(1)));
        assert!(removed && get(8).is_none() && map.lock().get(&10) == Some(&100));
        assert_eq!((all, gone, count()), (99, 50, 49));
        assert_eq!(sum, (0..100).filter(|n| n % 2 == 0).sum::<u32>() - 8);
        Ok(())
    }

    #[test]
    fn keys_are_looked_up_by_what_they_borrow() -> Result {
        let map = RcuHashMap::<&'static str, u32>::new(8, c"kunit map", static_lock_class!());
        let map = KBox::pin_init(map, GFP_KERNEL)?;
        drop(map.lock().insert(Entry::new(("one", 1), GFP_KERNEL)?));
        let found = rcu::global().run(|t| map.get(t, "one").copied());
        let missing = rcu::global().run(|t| map.get(t, "two").copied());
        assert_eq!((found, missing), (Some(1), None));
        Ok(())
    }

    #[test]
    fn what_is_in_a_list_goes_with_it() -> Result {
        let tortured = Tortured::new(rcu::global(), false)?;
        let books = tortured.books.clone();
        for n in 0..100 {
            tortured.write(n)?;
        }
        drop(tortured);
        rcu::global().barrier()?;
        let (made, dropped) = (books.made.load(Relaxed), books.dropped.load(Relaxed));
        assert_eq!(made, 200);
        assert_eq!(dropped, 200);
        Ok(())
    }

    #[test]
    fn tortured_in_rcu() -> Result {
        let (_, dead, made, dropped) = torture::<Global>(rcu::global(), false, 3000)?;
        assert_eq!(dead, 0);
        assert_eq!(made, 2 * 2 * 3000);
        assert_eq!(dropped, made);
        Ok(())
    }

    #[test]
    fn tortured_in_srcu() -> Result {
        let (_, dead, made, dropped) = torture(Srcu::<Sleepy>::init()?, false, 1000)?;
        assert_eq!(dead, 0);
        assert_eq!(made, 2 * 2 * 1000);
        assert_eq!(dropped, made);
        Ok(())
    }

    #[test]
    fn without_grace_periods_it_is_noticed() -> Result {
        let mut dead = 0;
        for _ in 0..20 {
            dead += torture::<Global>(rcu::global(), true, 1000)?.1;
            if dead != 0 {
                break;
            }
        }
        assert!(dead > 0);
        Ok(())
    }
}
