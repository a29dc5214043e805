// SPDX-License-Identifier: GPL-2.0

//! The wait queues of `src/helpers/queue.c`, and the calling task.

use bindings::wait_queue_head;

/// The address of the calling task.
pub fn current() -> usize {
    #[cfg(feature = "loom")]
    return imp::thread() * 0x40 + 0x1000;
    #[cfg(not(feature = "loom"))]
    0x1000
}

pub fn relax() {
    #[cfg(feature = "loom")]
    loom::thread::yield_now();
}

pub mod bindings {
    use crate::sync::bindings::list_head;

    #[repr(C)]
    pub struct wait_queue_head {
        pub head: list_head,
    }
    pub struct wait_queue_entry(u8);
    pub struct workqueue_struct(u8);
    pub unsafe fn destroy_workqueue(_: *mut workqueue_struct) {}
    pub unsafe fn __init_waitqueue_head(
        head: *mut wait_queue_head,
        _: *const u8,
        _: *mut super::super::sync::bindings::lock_class_key,
    ) {
        // SAFETY: The function requires a queue head that is valid for writes, as C's does.
        unsafe {
            let list = &raw mut (*head).head;
            list.write(list_head {
                next: list,
                prev: list,
            });
        }
    }
}

/// Lets the queue look as if there were an entry, or none.
unsafe fn mark(head: *mut wait_queue_head, any: bool) {
    // SAFETY: `__init_waitqueue_head()` initialised the head; other code reads only whether its
    // list is empty.
    unsafe {
        let list = &raw mut (*head).head;
        (*list).next = if any {
            core::ptr::without_provenance_mut(8)
        } else {
            list
        };
    }
}

#[cfg(not(feature = "loom"))]
mod imp {
    use super::*;
    use core::cell::{Cell, RefCell};

    /// A wake-up of a queue: its address and the events, 0 without a key.
    pub type Wake = (usize, u32);
    thread_local! {
        static WAKES: RefCell<Vec<Wake>> = RefCell::default();
        static SLEEP: Cell<i32> = const { Cell::new(0) };
    }

    /// The wake-ups since the last call.
    pub fn take_wakes() -> Vec<Wake> {
        WAKES.take()
    }
    /// What ends each sleep.
    pub fn set_sleep(errno: i32) {
        SLEEP.set(errno);
    }
    /// Adds a poller that stays.
    pub unsafe fn add_poller(head: *mut wait_queue_head) {
        // SAFETY: `__init_waitqueue_head()` initialised the head before it was used.
        unsafe { mark(head, true) }
    }
    pub unsafe fn quiesce_helper_queue_lock(head: *mut wait_queue_head) -> usize {
        crate::sync::bindings::lock(head.addr());
        0
    }
    pub unsafe fn quiesce_helper_queue_unlock(head: *mut wait_queue_head, _: usize) {
        crate::sync::bindings::unlock(head.addr());
    }
    pub unsafe fn quiesce_helper_queue_wake(
        head: *mut wait_queue_head,
        _: *mut usize,
        events: u32,
    ) {
        WAKES.with_borrow_mut(|wakes| wakes.push((head.addr(), events)));
    }
    pub unsafe fn quiesce_helper_queue_sleep(
        _: *mut wait_queue_head,
        _: *mut usize,
        _: *mut i64,
        _: i32,
    ) -> i32 {
        SLEEP.get()
    }
}

#[cfg(feature = "loom")]
mod imp {
    use super::*;
    use crate::registry::at;
    use loom::sync::Notify;
    use std::{
        cell::{Cell, RefCell},
        sync::Arc,
    };

    loom::thread_local!(static THREAD: usize = NEXT.with(|next| next.replace(next.get() + 1)));
    thread_local!(static NEXT: Cell<usize> = const { Cell::new(1) });
    pub fn thread() -> usize {
        THREAD.with(|n| *n)
    }
    pub fn reset() {
        NEXT.set(1);
    }

    struct Entry {
        /// 0 for a waiter, which any wake-up wakes.
        events: u32,
        woken: Cell<bool>,
        notify: Notify,
    }
    #[derive(Default)]
    struct Entries(RefCell<Vec<Arc<Entry>>>);
    // SAFETY: loom runs one thread at a time, and on one thread of the system.
    unsafe impl Sync for Entries {}
    // SAFETY: loom runs one thread at a time, and on one thread of the system.
    unsafe impl Send for Entries {}

    fn entries(head: *mut wait_queue_head) -> Arc<Entries> {
        at(head.addr() + 1, Entries::default)
    }
    /// With the lock held.
    unsafe fn add(head: *mut wait_queue_head, events: u32) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            events,
            woken: Cell::new(false),
            notify: Notify::new(),
        });
        entries(head).0.borrow_mut().push(entry.clone());
        // SAFETY: `__init_waitqueue_head()` initialised the head before it was used.
        unsafe { mark(head, true) };
        entry
    }
    /// With the lock held.
    unsafe fn remove(head: *mut wait_queue_head, entry: &Arc<Entry>) {
        let entries = entries(head);
        let mut list = entries.0.borrow_mut();
        list.retain(|other| !Arc::ptr_eq(other, entry));
        // SAFETY: `__init_waitqueue_head()` initialised the head before it was used.
        unsafe { mark(head, !list.is_empty()) };
    }
    pub unsafe fn quiesce_helper_queue_lock(head: *mut wait_queue_head) -> usize {
        crate::sync::bindings::lock(head.addr());
        0
    }
    pub unsafe fn quiesce_helper_queue_unlock(head: *mut wait_queue_head, _: usize) {
        crate::sync::bindings::unlock(head.addr());
    }
    pub unsafe fn quiesce_helper_queue_wake(
        head: *mut wait_queue_head,
        _: *mut usize,
        events: u32,
    ) {
        let list = entries(head).0.borrow().clone();
        for entry in list {
            if entry.events == 0 || events == 0 || entry.events & events != 0 {
                entry.woken.set(true);
                entry.notify.notify();
            }
        }
    }
    /// With a deadline it does not sleep: see `wait_for_completion_timeout`.
    pub unsafe fn quiesce_helper_queue_sleep(
        head: *mut wait_queue_head,
        flags: *mut usize,
        deadline: *mut i64,
        _: i32,
    ) -> i32 {
        // SAFETY: The function requires that the caller holds the queue's lock, with these flags,
        // as C's does.
        unsafe {
            let entry = add(head, 0);
            quiesce_helper_queue_unlock(head, *flags);
            if deadline.is_null() {
                while !entry.woken.get() {
                    entry.notify.wait();
                }
            }
            // The deadline may have passed, and a wake-up come before the lock is taken.
            let woken = entry.woken.get();
            *flags = quiesce_helper_queue_lock(head);
            remove(head, &entry);
            if woken {
                0
            } else {
                -110
            }
        }
    }
    /// `poll(2)`: sleeps until `level` returns one of `events`. Returns what it returned.
    pub unsafe fn poll(head: *mut wait_queue_head, events: u32, level: impl Fn() -> u32) -> u32 {
        // SAFETY: `head` points to an initialised queue, as this function requires.
        unsafe {
            let mut flags = quiesce_helper_queue_lock(head);
            let entry = add(head, events);
            quiesce_helper_queue_unlock(head, flags);
            let ret = loop {
                entry.woken.set(false);
                let now = level() & events;
                if now != 0 {
                    break now;
                }
                while !entry.woken.get() {
                    entry.notify.wait();
                }
            };
            flags = quiesce_helper_queue_lock(head);
            remove(head, &entry);
            quiesce_helper_queue_unlock(head, flags);
            ret
        }
    }
}
pub use imp::*;
