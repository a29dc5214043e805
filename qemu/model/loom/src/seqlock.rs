// SPDX-License-Identifier: GPL-2.0

//! Models of sequence locks, of counters beside a lock of the caller's, and of latches.

use crate::{
    arch::seq::add_u32,
    bindings::before_clock,
    models::{Model, ANY},
    seqlock::{Latch, Preempt, RawSeqLock, SeqCount},
};
use kernel::sync::atomic::{Atomic, Relaxed};
use loom::thread;
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model("seqlock-store-read", 3, store_read),
    Model("seqlock-read", ANY, read),
    Model("seqlock-writers", 2, writers),
    Model("seqlock-count", 3, count),
    Model("seqlock-section", 3, section),
    Model("seqlock-late-clock", ANY, late_clock),
    Model("seqlock-barrier", ANY, barrier),
    Model("seqlock-latch", ANY, latch),
];

type Value = [usize; 2];

/// A lock; the accesses before its threads begin make loom's objects.
fn lock() -> Arc<RawSeqLock<Value>> {
    let lock = Arc::new(RawSeqLock::new([0; 2]));
    lock.try_read();
    drop(lock.read_exclusive());
    lock
}

/// A counter, and what stands for the data of the lock that it is bound to. One thread has these.
fn counter() -> (Arc<SeqCount<Value, u64, Preempt>>, Box<u64>) {
    let (count, owner) = (Arc::new(SeqCount::new([0; 2])), Box::new(0));
    count.bind(&*owner).unwrap();
    count.try_read();
    (count, owner)
}

fn whole(value: Value) -> usize {
    let [a, b] = value;
    assert_eq!(a, b, "a torn value");
    a
}

/// No reader gets a mixture of two values, nor an older one than it has seen.
fn in_order(read: impl Fn() -> Option<Value>) {
    let mut last = 0;
    for value in [(); 2].into_iter().filter_map(|()| read()).map(whole) {
        assert!(value >= last, "an older value");
        last = value;
    }
}

fn store_read() {
    let lock = lock();
    let reader = {
        let lock = lock.clone();
        thread::spawn(move || in_order(|| lock.try_read()))
    };
    lock.write().set([1; 2]);
    lock.write().set([2; 2]);
    reader.join().unwrap();
    assert_eq!(lock.try_read(), Some([2; 2]), "a store was lost");
}

/// A reader that waits for writers gets a value, and not a mixture.
fn read() {
    let lock = lock();
    let reader = {
        let lock = lock.clone();
        thread::spawn(move || in_order(|| Some(lock.read())))
    };
    lock.write().set([1; 2]);
    reader.join().unwrap();
}

/// Writers exclude each other, and readers that hold the lock.
fn writers() {
    let lock = lock();
    let writer = {
        let lock = lock.clone();
        thread::spawn(move || {
            lock.write()
                .update(|value| value.iter_mut().for_each(|n| *n += 1))
        })
    };
    let reader = {
        let lock = lock.clone();
        thread::spawn(move || drop(whole(lock.read_or_lock::<1>())))
    };
    lock.write()
        .update(|value| value.iter_mut().for_each(|n| *n += 1));
    writer.join().unwrap();
    reader.join().unwrap();
    assert_eq!(lock.try_read(), Some([2; 2]), "a store was lost");
}

fn count() {
    let (count, mut owner) = counter();
    let reader = {
        let count = count.clone();
        thread::spawn(move || {
            in_order(|| count.try_read());
            whole(count.read());
        })
    };
    count.store(&mut owner, [1; 2]).unwrap();
    count.update(&mut owner, |value| *value = [2; 2]).unwrap();
    reader.join().unwrap();
    assert_eq!(count.try_read(), Some([2; 2]), "a store was lost");
}

/// What is stored in one section is seen as a whole, by who validates a copy and by who has that done.
fn section() {
    let (count, mut owner) = counter();
    let reader = {
        let count = count.clone();
        thread::spawn(move || {
            if let Ok(value) = count.begin().load().validate() {
                whole(value);
            }
            let value = count.read_section(|section| Ok(section.load().into_inner()));
            // SAFETY: All bytes of a copy are initialised, and of integers each is a value.
            whole(unsafe { value.assume_init() });
        })
    };
    count
        .write_section(&mut owner, |value| {
            value.set([1, 0]);
            value.set([1; 2]);
        })
        .unwrap();
    reader.join().unwrap();
}

/// Nobody writes 2^31 times in the time that a read lasts, but perhaps between the load of the counter and
/// the beginning of that time.
fn late_clock() {
    for tried in [false, true] {
        let lock: &'static RawSeqLock<Value> = Box::leak(Box::new(RawSeqLock::new([0; 2])));
        let counter = lock.as_raw().cast::<u32>();
        // As 2^31 - 1 writes leave it.
        // SAFETY: It is the counter of `lock`, which is never freed.
        before_clock(move || unsafe { add_u32(counter, 2_u32.wrapping_neg()) });
        let section = if tried {
            lock.try_begin().unwrap()
        } else {
            lock.begin()
        };
        let copy = section.load();
        lock.write().set([1; 2]);
        assert!(
            copy.validate().is_err(),
            "a copy is valid after 2^31 writes"
        );
        assert!(
            lock.begin().load().validate().is_ok(),
            "a copy is not valid"
        );
    }
}

/// A reader that began before the barrier and saw a store of after is invalid; one that began after sees all
/// stores of before.
fn barrier() {
    let (count, mut owner) = counter();
    let data = Arc::new([Atomic::new(0u64), Atomic::new(0)]);
    let load = |data: &[Atomic<u64>; 2]| [data[0].load(Relaxed), data[1].load(Relaxed)];
    load(&data);
    let reader = {
        let (count, data) = (count.clone(), data.clone());
        thread::spawn(move || {
            let section = count.begin();
            let [a, b] = load(&data);
            if !section.retry() {
                assert!(a >= b, "a store of after without the store of before");
            }
        })
    };
    data[0].store(1, Relaxed);
    count.write_barrier(&mut owner).unwrap();
    data[1].store(1, Relaxed);
    reader.join().unwrap();
}

/// A latch can be read at any moment, and by whoever interrupts the writer.
fn latch() {
    let latch = Arc::new(Latch::new([0usize; 2]));
    latch.read();
    latch.update(|_| ());
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || drop(whole(latch.read())))
    };
    latch.store([1; 2]);
    reader.join().unwrap();
    assert_eq!(latch.read(), [1; 2], "a store was lost");
}
