// SPDX-License-Identifier: GPL-2.0

// Models of RCU cells and of what is retired, included into their module.

use super::{
    batch::Batch,
    cell::RcuCell,
    domain::{global, Domain, Global},
    domain_state::GLOBAL,
    object::{AtomicDrop, InSoftirq, Object, Shared},
};
use crate::models::{Model, Plain, ANY};
use core::{
    future::Future,
    pin::{pin, Pin},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};
use kernel::{
    alloc::{blocks, KBox, GFP_ATOMIC, GFP_KERNEL},
    rcu as grace_periods, registry,
    sync::Arc as KernelArc,
};
use loom::{sync::Notify, thread};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model("rcu-publish", ANY, publish),
    Model("rcu-synchronize", ANY, synchronize),
    Model("rcu-cookie", ANY, cookie),
    Model("rcu-compare-exchange", 3, compare_exchange),
    Model("rcu-batch", ANY, batch),
    Model("rcu-shared", 2, shared),
    Model("rcu-future", 2, futures),
];

/// What a reader finds: whole, and not freed. Its accesses are checked by loom, by the number, so that a
/// payload that was freed is known as one.
struct Payload {
    magic: usize,
    number: usize,
}
const MAGIC: usize = 0x7175_6965_7363_6500;
const FREED: usize = 77;

// SAFETY: The destructor only writes to the model's data, so it may run in any context.
unsafe impl AtomicDrop for Payload {}

impl Payload {
    fn new(number: usize) -> Self {
        let this = Self {
            magic: MAGIC + number,
            number,
        };
        this.data().set(number);
        this
    }
    fn data(&self) -> Arc<Plain> {
        assert_eq!(self.magic, MAGIC + self.number, "used after it was freed");
        registry::at(0x100 + self.number, || Plain::new(0))
    }
    /// What a reader does.
    fn check(&self) {
        assert_eq!(
            self.data().get(),
            self.number,
            "used after its destructor ran"
        );
    }
    fn object(number: usize) -> KBox<Object<Self, InSoftirq>> {
        Object::new_atomic(Self::new(number))
            .boxed(GFP_KERNEL)
            .unwrap()
    }
}
impl Drop for Payload {
    fn drop(&mut self) {
        let data = self.data();
        assert_ne!(data.get(), FREED, "dropped twice");
        data.set(FREED);
    }
}

type Cell = RcuCell<Option<KBox<Object<Payload, InSoftirq>>>>;

/// Makes the domain ready, as the module's init does.
fn begin() {
    // SAFETY: The model has started no other thread yet, so nobody uses the domain.
    unsafe {
        GLOBAL.prepare(kernel::static_lock_class!()).unwrap();
        GLOBAL.set_ready();
    }
    crate::rcu::touch();
}
/// Lets the thread of the callbacks end; all that was deferred is freed then.
fn end(softirq: thread::JoinHandle<()>) {
    grace_periods::stop();
    softirq.join().unwrap();
    assert_eq!(blocks(), 0, "something was leaked");
}
fn read(cell: &Cell) -> usize {
    global().run(|t| {
        cell.read(t).map_or(0, |payload| {
            payload.check();
            thread::yield_now();
            payload.check();
            payload.number
        })
    })
}

/// A reader finds what was published whole, and it is freed after the reader.
fn publish() {
    begin();
    let cell: Arc<Cell> = Arc::new(Cell::new(Some(Payload::object(1))));
    cell.touch();
    let softirq = thread::spawn(grace_periods::softirq);
    let reader = {
        let cell = cell.clone();
        thread::spawn(move || drop(read(&cell)))
    };
    cell.publish(Some(Payload::object(2)));
    reader.join().unwrap();
    // In place: what is moved has another address, by which its atomics are known.
    drop(cell);
    end(softirq);
}

/// After a grace period what was replaced belongs to the writer alone.
fn synchronize() {
    begin();
    let cell: Arc<Cell> = Arc::new(Cell::new(Some(Payload::object(1))));
    cell.touch();
    let reader = {
        let cell = cell.clone();
        thread::spawn(move || drop(read(&cell)))
    };
    let old = cell
        .replace(None)
        .unwrap()
        .synchronize()
        .map_err(|refused| refused.error)
        .unwrap();
    old.data().set(1);
    drop(old);
    reader.join().unwrap();
    assert_eq!(blocks(), 0, "something was leaked");
}

/// The grace period of a cookie began after what was retired before.
fn cookie() {
    begin();
    let cell: Arc<Cell> = Arc::new(Cell::new(Some(Payload::object(1))));
    cell.touch();
    let softirq = thread::spawn(grace_periods::softirq);
    let reader = {
        let cell = cell.clone();
        thread::spawn(move || drop(read(&cell)))
    };
    let polled = cell.replace(None).unwrap().start();
    match polled.try_reclaim() {
        Ok(old) => old.data().set(1),
        Err(polled) => drop(polled.wait().map_err(|refused| refused.error).unwrap()),
    }
    reader.join().unwrap();
    end(softirq);
}

/// Of two writers, each replaces what the other has put there, or what was there.
fn compare_exchange() {
    begin();
    let cell: Arc<RcuCell<KBox<Object<Payload, InSoftirq>>>> =
        Arc::new(RcuCell::new(Payload::object(1)));
    global().run(|t| cell.read(t).check());
    let increment = |cell: &RcuCell<KBox<Object<Payload, InSoftirq>>>, step: usize| {
        cell.update(global(), |old| {
            old.check();
            let number = old.number + step;
            // The numbers of attempts that fail are used again.
            let payload = Payload {
                magic: MAGIC + number,
                number,
            };
            payload.data().set(number);
            Object::new_atomic(payload).boxed(GFP_ATOMIC)
        })
        .unwrap()
        .defer();
    };
    let softirq = thread::spawn(grace_periods::softirq);
    let other = {
        let cell = cell.clone();
        thread::spawn(move || increment(&cell, 0x10))
    };
    increment(&cell, 0x20);
    other.join().unwrap();
    let number = global().run(|t| cell.read(t).number);
    assert_eq!(number, 0x31, "an update was lost");
    // In place: what is moved has another address, by which its atomics are known.
    drop(cell);
    end(softirq);
}

/// One grace period serves all of a batch.
fn batch() {
    begin();
    let cells: Arc<[Cell; 2]> =
        Arc::new([1, 2].map(|number| Cell::new(Some(Payload::object(number)))));
    cells.iter().for_each(Cell::touch);
    let reader = {
        let cells = cells.clone();
        thread::spawn(move || drop(read(&cells[1])))
    };
    let mut batch = Batch::new();
    for cell in cells.iter() {
        batch.push(cell.replace(None).unwrap());
    }
    for object in batch
        .synchronize()
        .map_err(|refused| refused.error)
        .unwrap()
    {
        object.data().set(object.number);
    }
    reader.join().unwrap();
    assert_eq!(blocks(), 0, "something was leaked");
}

type SharedCell = RcuCell<Option<KernelArc<Shared<Payload, Global, InSoftirq>>>>;

/// An object that is retired from two cells at once is dropped once, after the readers of both.
fn shared() {
    begin();
    let object = KernelArc::new(Shared::new_atomic(Payload::new(1)), GFP_KERNEL).unwrap();
    let cells: Arc<[SharedCell; 2]> = Arc::new([
        SharedCell::new(Some(object.clone())),
        SharedCell::new(Some(object)),
    ]);
    for cell in cells.iter() {
        global().run(|t| cell.read(t).is_some());
    }
    let softirq = thread::spawn(grace_periods::softirq);
    let other = {
        let cells = cells.clone();
        thread::spawn(move || {
            cells[1].publish(None);
            global().run(|t| {
                if let Some(object) = cells[0].read(t) {
                    object.check();
                }
            });
        })
    };
    cells[0].publish(None);
    other.join().unwrap();
    end(softirq);
}

/// Runs a future to its end.
fn block_on<F: Future>(future: F) -> F::Output {
    const TABLE: RawWakerVTable = RawWakerVTable::new(
        // SAFETY: Of all, the data is an `Arc`.
        |data| unsafe {
            Arc::increment_strong_count(data.cast::<Notify>());
            RawWaker::new(data, &TABLE)
        },
        // SAFETY: The reference is given up.
        |data| unsafe { Arc::from_raw(data.cast::<Notify>()).notify() },
        // SAFETY: The reference stays.
        |data| unsafe { (*data.cast::<Notify>()).notify() },
        // SAFETY: The reference is given up.
        |data| unsafe { drop(Arc::from_raw(data.cast::<Notify>())) },
    );
    let notify = Arc::new(Notify::new());
    // SAFETY: The table is that of an `Arc`.
    let waker =
        unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(notify.clone()).cast(), &TABLE)) };
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        notify.wait();
    }
}

/// Futures of grace periods are woken, each after its own, and those that are dropped are not.
fn futures() {
    begin();
    let cell: Arc<Cell> = Arc::new(Cell::new(Some(Payload::object(1))));
    cell.touch();
    let softirq = thread::spawn(grace_periods::softirq);
    let other = {
        let cell = cell.clone();
        thread::spawn(move || {
            drop(read(&cell));
            block_on(global().synchronize_async()).unwrap();
        })
    };
    let old = cell.replace(None).unwrap();
    let old = block_on(old.synchronize_async())
        .map_err(|refused| refused.error)
        .unwrap();
    old.data().set(1);
    drop(old);
    other.join().unwrap();
    end(softirq);
}

impl Cell {
    /// The access that makes loom's object.
    fn touch(&self) {
        global().run(|t| drop(self.read(t).is_some()));
    }
}
