// SPDX-License-Identifier: GPL-2.0

//! Holders that are notified when a rundown begins.
//!
//! A listener is a node on the stack of its task, in a table hashed by the key of the reference. It is
//! there while a closure of the task runs, so that neither a leak nor the order of drops leaves a
//! dangling node. It is called without a lock, and its task waits for that before it returns. A task that
//! dies in the closure by an oops, as a Rust panic is one, leaves its node behind, as it does in the
//! kernel's own wait queues.

use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings,
    types::Opaque, //
};

const BUCKETS: usize = 64;

struct Bucket {
    lock: Opaque<bindings::raw_spinlock_t>,
    first: UnsafeCell<*mut Listener>,
}

// SAFETY: `first` is only accessed by `locked()`, with the bucket's lock held.
unsafe impl Sync for Bucket {}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        lock: Opaque::uninit(),
        first: UnsafeCell::new(ptr::null_mut()),
    }
}; BUCKETS];

/// A listener, on the stack of its task.
///
/// # Invariants
///
/// It is in the list of its bucket, alive, and not moved. The links and `running` are protected by
/// the lock of the bucket. While `running` is not zero, it stays in the list, and so many calls of
/// `notify` are in progress.
struct Listener {
    key: usize,
    running: usize,
    prev: *mut Listener,
    next: *mut Listener,
    notify: *const (dyn Fn() + Sync),
}

fn bucket(key: usize) -> &'static Bucket {
    // Fibonacci hashing, as the kernel's `hash_64()`.
    let hash = (key as u64).wrapping_mul(0x61c8_8646_80b5_83eb) >> (64 - BUCKETS.ilog2());
    &TABLE[hash as usize]
}

impl Bucket {
    /// Runs `f` with the lock held.
    fn locked<R>(&self, f: impl FnOnce(*mut *mut Listener) -> R) -> R {
        // SAFETY: `init()` initialised the lock before the module's first reference was created.
        let flags = unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) };
        let ret = f(self.first.get());
        // SAFETY: `quiesce_helper_raw_spin_lock_irqsave()` above acquired the lock in this context
        // and returned `flags`.
        unsafe { helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.lock.get(), flags) };
        ret
    }
}

/// Initialises the table.
///
/// # Safety
///
/// Called once, before anybody uses a reference.
pub(super) unsafe fn init() {
    for bucket in &TABLE {
        // SAFETY: This function requires to be called before the first reference is created, so no
        // context uses the lock yet.
        unsafe { helpers::quiesce_helper_raw_spin_lock_init(bucket.lock.get()) };
    }
}

/// Runs `body`, during which `notify` is called when a rundown of the object with the key `key` begins.
///
/// Process context.
pub(super) fn listen<R>(key: usize, notify: &(dyn Fn() + Sync), body: impl FnOnce() -> R) -> R {
    let bucket = bucket(key);
    let notify: *const (dyn Fn() + Sync + '_) = notify;
    let mut listener = Listener {
        key,
        running: 0,
        prev: ptr::null_mut(),
        next: ptr::null_mut(),
        // SAFETY: Only the lifetime changes. The listener is removed from the table before this
        // function returns, and the closure is borrowed until then.
        notify: unsafe {
            core::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(notify)
        },
    };
    // From here on the listener is used by this pointer only, and is not moved.
    let listener = &raw mut listener;
    bucket.locked(|first| {
        // SAFETY: The lock is held, and listeners in the list are alive.
        unsafe {
            (*listener).next = *first;
            if let Some(next) = (*first).as_mut() {
                next.prev = listener;
            }
            // INVARIANT: The listener is in the list from here on.
            *first = listener;
        }
    });

    // The kernel does not unwind, so that this returns, or never ends.
    let ret = body();

    // SAFETY: The lock is held, and the listener and its neighbours are alive as they are in the list.
    while !bucket.locked(|first| unsafe {
        if (*listener).running != 0 {
            return false;
        }
        match (*listener).prev.as_mut() {
            Some(prev) => prev.next = (*listener).next,
            None => *first = (*listener).next,
        }
        if let Some(next) = (*listener).next.as_mut() {
            next.prev = (*listener).prev;
        }
        true
    }) {
        // A call is in progress, which may have been preempted.
        //
        // SAFETY: `listen()` requires process context, and the lock of the bucket is not held here.
        unsafe { bindings::schedule_timeout_uninterruptible(1) };
    }
    ret
}

/// Notifies the listeners of the object with the key `key`: a rundown has begun.
///
/// Any context but NMI. Nothing is read at the address `key`.
pub(super) fn notify(key: usize) {
    let bucket = bucket(key);
    let mut last: *mut Listener = ptr::null_mut();
    loop {
        // SAFETY: The lock is held, and listeners in the list are alive. `last` is in the list, as its
        // `running` is not zero.
        let next = bucket.locked(|first| unsafe {
            let mut next = if last.is_null() {
                *first
            } else {
                (*last).running -= 1;
                (*last).next
            };
            while !next.is_null() && (*next).key != key {
                next = (*next).next;
            }
            if let Some(next) = next.as_mut() {
                next.running += 1;
            }
            next
        });
        if next.is_null() {
            return;
        }
        // SAFETY: The listener stays until `running` is decremented, and so does the closure.
        unsafe { (*(*next).notify)() };
        last = next;
    }
}
