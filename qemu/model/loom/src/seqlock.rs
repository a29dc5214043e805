// SPDX-License-Identifier: GPL-2.0

// Models of sequence counters, included into their module.

use super::{data::WordCell, sequence, Latch};
use crate::{models::Model, seqlock::SeqData};
use kernel::bindings::seqcount_t;
use loom::thread;
use std::{cell::UnsafeCell, sync::Arc};

pub(crate) const MODELS: &[Model] = &[
    Model("seqlock-store-read", 3, store_read),
    Model("seqlock-barrier", 3, barrier),
    Model("seqlock-latch", 3, latch),
];

/// A counter and its value, as `seqcount.rs` and `read.rs` use them.
struct Counted<T> {
    sequence: UnsafeCell<seqcount_t>,
    data: WordCell<T>,
}
// SAFETY: Accessed as a sequence lock is.
unsafe impl<T: SeqData> Sync for Counted<T> {}
// SAFETY: Accessed as a sequence lock is.
unsafe impl<T: SeqData> Send for Counted<T> {}

impl<T: SeqData> Counted<T> {
    fn new(value: T) -> Arc<Self> {
        let this = Arc::new(Self {
            sequence: UnsafeCell::new(seqcount_t { sequence: 0 }),
            data: WordCell::new(value),
        });
        // The accesses that make loom's objects.
        this.try_read();
        this
    }
    fn sequence(&self) -> *mut seqcount_t {
        self.sequence.get()
    }
    fn store(&self, value: T) {
        // SAFETY: One thread writes.
        unsafe {
            sequence::write_begin(self.sequence());
            self.data.store(value);
            sequence::write_end(self.sequence());
        }
    }
    fn try_read(&self) -> Option<T> {
        // SAFETY: The counter is initialised.
        unsafe {
            let start = sequence::peek(self.sequence());
            if start & 1 != 0 {
                return None;
            }
            let copy = self.data.load();
            if sequence::retry(self.sequence(), start) {
                return None;
            }
            Some(copy.assume_whole())
        }
    }
}

/// No reader gets a mixture of two values, nor an older one than it has seen.
fn store_read() {
    let cell = Counted::new([0usize; 2]);
    let reader = {
        let cell = cell.clone();
        thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                if let Some([a, b]) = cell.try_read() {
                    assert_eq!(a, b, "a torn value");
                    assert!(a >= last, "an older value");
                    last = a;
                }
            }
        })
    };
    cell.store([1; 2]);
    cell.store([2; 2]);
    reader.join().unwrap();
    assert_eq!(cell.try_read(), Some([2; 2]));
}

/// A reader that began before the barrier and saw a store of after is invalid; one that began after sees all
/// stores of before.
fn barrier() {
    let cell = Counted::new([0usize; 2]);
    let reader = {
        let cell = cell.clone();
        thread::spawn(move || {
            if let Some([a, b]) = cell.try_read() {
                assert!(a >= b, "a store of after without the store of before");
            }
        })
    };
    let [a, b] = [0, 1].map(|n| {
        // SAFETY: The words of the value.
        unsafe { cell.data.get().cast::<usize>().add(n) }
    });
    // SAFETY: One thread writes.
    unsafe {
        crate::arch::seq::store_word(a, core::mem::MaybeUninit::new(1));
        sequence::write_barrier(cell.sequence());
        crate::arch::seq::store_word(b, core::mem::MaybeUninit::new(1));
    }
    reader.join().unwrap();
}

/// A latch can be read at any moment, and by whoever interrupts the writer.
fn latch() {
    let latch = Arc::new(Latch::new([0usize; 2]));
    latch.read();
    latch.update(|_| ());
    let reader = {
        let latch = latch.clone();
        thread::spawn(move || {
            let [a, b] = latch.read();
            assert_eq!(a, b, "a torn value");
        })
    };
    latch.store([1; 2]);
    reader.join().unwrap();
    assert_eq!(latch.read(), [1; 2]);
}
