// SPDX-License-Identifier: GPL-2.0

//! The table of those who wait.
//!
//! A waiter is a node on its own stack, in a table hashed by the address of what it waits for. So a
//! reference needs no room for waiters, there can be any number of them, and each can give up.
//!
//! The kernel has such a table, `wait_var_event()`. Its locks sleep on PREEMPT_RT, and the last
//! release may be in a hardirq there; the locks of this one do not.
//!
//! # Who wakes whom
//!
//! - The last release [`poke`]s: waiters look again. It knows the address and does not look at what
//!   is there, as the object may be gone. A poke may also come late, in the midst of the next
//!   rundown. Therefore it proves nothing: a waiter goes only when it has itself seen, under the
//!   lock, that the object is run down, or
//! - when whoever re-arms the object or resurrects it settles, under the lock, what all who waited
//!   until then are told. So nobody misses a rundown that was over for a short time only.
//!
//! A release has changed the word before it takes the lock, and a waiter looks at the word with the
//! lock held: one of both sees the other.

use crate::{
    arch::context::in_nmi,
    bindings as helpers,
    rundown::RundownError, //
};
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Release, //
    },
    types::Opaque, //
};

const BUCKETS: usize = 64;

pub(super) struct Bucket {
    lock: Opaque<bindings::raw_spinlock_t>,
    /// The first waiter; protected by `lock`.
    first: UnsafeCell<*mut Node>,
    /// An NMI was here and left its work to [`late_poke`].
    late: Atomic<bool>,
}

// SAFETY: What is not atomic is protected by the lock.
unsafe impl Sync for Bucket {}

/// A waiter, on the stack of its task.
///
/// # Invariants
///
/// If `linked`, the node is in the list of its key's bucket, alive and where it was. All fields are
/// protected by the bucket's lock, except that `wake` synchronises itself.
pub(super) struct Node {
    key: usize,
    pub(super) linked: bool,
    prev: *mut Node,
    next: *mut Node,
    pub(super) told: Option<Result<(), RundownError>>,
    pub(super) wake: Opaque<bindings::completion>,
}

impl Node {
    /// A waiter for what is at `key`. Its completion is to be initialised in its place.
    pub(super) fn new(key: usize) -> Self {
        // INVARIANT: It is not linked.
        Self {
            key,
            linked: false,
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
            told: None,
            wake: Opaque::uninit(),
        }
    }
}

static TABLE: [Bucket; BUCKETS] = [const {
    Bucket {
        lock: Opaque::uninit(),
        first: UnsafeCell::new(ptr::null_mut()),
        late: Atomic::new(false),
    }
}; BUCKETS];

struct LateWork(Opaque<bindings::irq_work>);

// SAFETY: `irq_work` is made for being queued from anywhere.
unsafe impl Sync for LateWork {}

static LATE: LateWork = LateWork(Opaque::uninit());

/// The table is there as long as this is. Only the module's start makes one.
pub(crate) struct Waiters(());

impl Waiters {
    /// Sets up the table of waiters.
    ///
    /// # Safety
    ///
    /// This is called once, before anything else of this file.
    pub(crate) unsafe fn start() -> Self {
        for bucket in &TABLE {
            // SAFETY: By the function's requirements nobody uses the lock yet.
            unsafe { helpers::quiesce_helper_raw_spin_lock_init(bucket.lock.get()) };
        }
        // SAFETY: As above; `late_poke` needs nothing of its argument.
        unsafe { helpers::quiesce_helper_init_irq_work_hard(LATE.0.get(), Some(late_poke)) };
        Self(())
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        // The users of the module are gone, but the work of their last NMI may not be.
        //
        // SAFETY: `start` initialised it.
        unsafe { bindings::irq_work_sync(LATE.0.get()) };
    }
}

pub(super) fn bucket(key: usize) -> &'static Bucket {
    // Fibonacci hashing, as the kernel's `hash_64()`.
    let hash = (key as u64).wrapping_mul(0x61c8_8646_80b5_83eb) >> (64 - BUCKETS.ilog2());
    &TABLE[hash as usize]
}

/// A bucket whose lock is held.
pub(super) struct Locked {
    bucket: &'static Bucket,
    flags: usize,
}

impl Bucket {
    pub(super) fn lock(&'static self) -> Locked {
        // SAFETY: `Waiters::start` initialised the lock.
        let flags = unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) };
        Locked {
            bucket: self,
            flags,
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: The lock is held, and was taken with these flags.
        unsafe {
            helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.bucket.lock.get(), self.flags)
        };
    }
}

impl Locked {
    /// # Safety
    ///
    /// `node` is of this bucket, not linked, and stays where it is until it is unlinked.
    pub(super) unsafe fn link(&mut self, node: *mut Node) {
        let first = self.bucket.first.get();
        // SAFETY: The lock is held. Linked nodes are alive by their invariants, `node` by the
        // requirements.
        unsafe {
            (*node).prev = ptr::null_mut();
            (*node).next = *first;
            if !(*first).is_null() {
                (**first).prev = node;
            }
            // INVARIANT: The list begins with the node from here on.
            *first = node;
            (*node).linked = true;
        }
    }

    /// # Safety
    ///
    /// `node` is of this bucket and linked.
    pub(super) unsafe fn unlink(&mut self, node: *mut Node) {
        // SAFETY: The lock is held, and `node` and its neighbours are alive as they are linked.
        unsafe {
            if (*node).prev.is_null() {
                *self.bucket.first.get() = (*node).next;
            } else {
                (*(*node).prev).next = (*node).next;
            }
            if !(*node).next.is_null() {
                (*(*node).next).prev = (*node).prev;
            }
            // INVARIANT: Nothing in the list points at the node any more.
            (*node).linked = false;
        }
    }

    /// Wakes the waiters for `key`, or all; if they are told something, they need not look.
    fn wake(&mut self, key: Option<usize>, told: Option<Result<(), RundownError>>) {
        // SAFETY: The lock is held.
        let mut node = unsafe { *self.bucket.first.get() };
        while !node.is_null() {
            // SAFETY: Linked nodes are alive while the lock is held; their tasks return only after
            // they have taken it.
            unsafe {
                let next = (*node).next;
                if key.is_none() || key == Some((*node).key) {
                    if told.is_some() {
                        (*node).told = told;
                        self.unlink(node);
                    }
                    bindings::complete((*node).wake.get());
                }
                node = next;
            }
        }
    }
}

/// Lets the waiters for `key` look again.
///
/// From any context, NMI included, except under locks that waking a task takes. Nothing is read at
/// the address `key`.
pub(super) fn poke(key: usize) {
    let bucket = bucket(key);

    if in_nmi() {
        bucket.late.store(true, Release);
        // SAFETY: `Waiters::start` initialised it. If it is queued already, it has not begun.
        unsafe { bindings::irq_work_queue(LATE.0.get()) };
        return;
    }
    bucket.lock().wake(Some(key), None);
}

extern "C" fn late_poke(_work: *mut bindings::irq_work) {
    for bucket in &TABLE {
        if bucket.late.xchg(false, Full) {
            bucket.lock().wake(None, None);
        }
    }
}

/// Changes what is at `key` by `f`; if it does, all that have waited until now are told `told`.
pub(super) fn settle(
    key: usize,
    told: Result<(), RundownError>,
    f: impl FnOnce() -> Result<(), RundownError>,
) -> Result<(), RundownError> {
    let mut locked = bucket(key).lock();
    f()?;
    locked.wake(Some(key), Some(told));
    Ok(())
}
