// SPDX-License-Identifier: GPL-2.0

//! A lock and a wait queue in one: the state of a barrier and those who wait for it.
//!
//! As in `eventfd`, the wait queue's own lock protects the state, so that changing the state and
//! waking cost one lock, and nobody can miss a change between looking and sleeping.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::spin::Spin;
use crate::{
    arch::seq,
    bindings, //
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
    pin::Pin,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// When a wait ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Only look.
    Now,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    Monotonic(i64),
    /// Nanoseconds of `CLOCK_REALTIME`.
    Realtime(i64),
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    Boottime(i64),
    /// Not at all.
    Never,
}

/// A value behind the lock of a wait queue.
///
/// The lock is a `spinlock_t` that is taken with interrupts off, so it may be taken in any
/// context but NMI and, on PREEMPT_RT, hard interrupts.
///
/// # Invariants
///
/// `head` is initialised; `data` and `spin` are accessed, and `changes` is written, only while
/// `head.lock` is held.
#[pin_data]
pub struct Queue<T> {
    #[pin]
    head: Opaque<kernel::bindings::wait_queue_head>,
    /// Counts the wake-ups, for who looks without the lock.
    changes: UnsafeCell<u32>,
    spin: UnsafeCell<Spin>,
    data: UnsafeCell<T>,
}

// SAFETY: The wait queue can be used on any task, and the lock passes the rest from one to another.
unsafe impl<T: Send> Send for Queue<T> {}
// SAFETY: As above; with a shared `Queue` only the holder of the lock reaches `T`.
unsafe impl<T: Send> Sync for Queue<T> {}

impl<T> Queue<T> {
    /// Creates a queue with its own lock class.
    pub fn new(
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        // INVARIANT: The C function initialises `head`, and nobody else can have the value yet.
        pin_init!(Self {
            head <- Opaque::ffi_init(|head| {
                // SAFETY: `head` is writable and pinned, `name` and `key` are static.
                unsafe {
                    kernel::bindings::__init_waitqueue_head(head, name.as_char_ptr(), key.as_ptr())
                }
            }),
            changes: UnsafeCell::new(0),
            spin: UnsafeCell::new(Spin::new()),
            data: UnsafeCell::new(data),
        })
    }

    /// Takes the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: By the type invariants `head` is initialised.
        let flags = unsafe { bindings::quiesce_helper_queue_lock(self.head.get()) };
        // INVARIANT: The lock was just taken.
        Guard {
            queue: self,
            flags,
            _not_send: NotThreadSafe,
        }
    }

    /// The wait queue, for `poll_wait()`.
    pub fn head(&self) -> *mut kernel::bindings::wait_queue_head {
        self.head.get()
    }
}

/// The lock of a [`Queue`], held.
///
/// If it is leaked the lock stays taken and whoever wants it spins forever.
///
/// # Invariants
///
/// The lock is held by this task, with interrupt flags `flags` saved.
#[must_use = "the lock is released when this is dropped"]
pub struct Guard<'a, T> {
    queue: &'a Queue<T>,
    flags: usize,
    _not_send: NotThreadSafe,
}

impl<T> Guard<'_, T> {
    /// Wakes all who sleep on the queue, and has all who poll it ask again.
    ///
    /// Process context. If there are many, the lock is released and taken again between them, so
    /// the state may have changed on return.
    ///
    /// No events go with it: parties share the queue, and what one can do now is not what another
    /// can, while io_uring takes such events for the answer.
    pub fn wake(&mut self) {
        // SAFETY: By the type invariants the lock is held, so nobody else writes it; who reads it
        // without the lock does so by READ_ONCE().
        unsafe { seq::increment_u32(self.queue.changes.get()) };
        // INVARIANT: The helper returns with the lock held, and `flags` saved by its last hold.
        // SAFETY: The queue is initialised and, by the type invariants, its lock is held with
        // `flags`; `&mut self` shows that nobody borrows what the lock protects.
        unsafe { bindings::quiesce_helper_queue_wake(self.queue.head.get(), &mut self.flags, 0) }
    }

    /// Waits, with the lock released, until `ready` returns something.
    ///
    /// `ready` is called with the lock held, at the start and after every wake-up, and once more
    /// when a signal or the deadline ends the wait: what it returns then comes first. `asleep`
    /// is called before and after each sleep, with `true` and `false`. The lock is held on
    /// return.
    ///
    /// Process context; the caller holds no other lock. The wait is interruptible. Before it sleeps
    /// it looks for a while, if nothing else wants the CPU: see [`spin`](super::spin).
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when the deadline has passed, `ERESTARTSYS` when a signal is pending.
    pub fn wait<R>(
        &mut self,
        deadline: Deadline,
        mut ready: impl FnMut(&mut T) -> Option<R>,
        mut asleep: impl FnMut(&mut T, bool),
    ) -> Result<R> {
        loop {
            if let Some(ret) = ready(self) {
                return Ok(ret);
            }
            asleep(self, true);
            let slept = self.sleep(deadline);
            asleep(self, false);
            if let Err(e) = slept {
                return ready(self).ok_or(e);
            }
        }
    }

    /// Waits for a wake-up, looking or asleep, but not longer than until `deadline`.
    fn sleep(&mut self, deadline: Deadline) -> Result {
        let (mut ns, clock) = match deadline {
            Deadline::Now => return Err(ETIMEDOUT),
            Deadline::Monotonic(ns) => (ns, kernel::bindings::CLOCK_MONOTONIC),
            Deadline::Realtime(ns) => (ns, kernel::bindings::CLOCK_REALTIME),
            Deadline::Boottime(ns) => (ns, kernel::bindings::CLOCK_BOOTTIME),
            Deadline::Never => (0, kernel::bindings::CLOCK_MONOTONIC),
        };
        let clock = clock as c_int;
        let until = if deadline == Deadline::Never {
            ptr::null_mut()
        } else {
            &raw mut ns
        };
        let head = self.queue.head.get();

        // SAFETY: `until` is null or points to `ns`.
        let limit = unsafe { bindings::quiesce_helper_spin_limit(until, clock) };
        if limit == 0 {
            // INVARIANT: The helper returns with the lock held again and `flags` saved anew.
            // SAFETY: By the type invariants the lock is held with `flags`, and `until` is as
            // above.
            return to_result(unsafe {
                bindings::quiesce_helper_queue_sleep(head, &mut self.flags, until, clock)
            });
        }

        // SAFETY: No requirements.
        let begin = unsafe { bindings::quiesce_helper_spin_clock() };
        // SAFETY: By the type invariants the lock is held.
        let time = unsafe { *self.queue.spin.get() }.time(limit);
        if time != 0 {
            // INVARIANT: As above.
            // SAFETY: By the type invariants the lock is held with `flags`. `changes` is written
            // with the lock held, and by WRITE_ONCE().
            let changed = unsafe {
                bindings::quiesce_helper_queue_spin(
                    head,
                    &mut self.flags,
                    self.queue.changes.get(),
                    time,
                )
            };
            if changed {
                return Ok(());
            }
        }
        // INVARIANT: As above.
        // SAFETY: As above.
        let slept = to_result(unsafe {
            bindings::quiesce_helper_queue_sleep(head, &mut self.flags, until, clock)
        });
        // SAFETY: No requirements of the first; by the type invariants the lock is held.
        unsafe {
            let waited = bindings::quiesce_helper_spin_clock().wrapping_sub(begin);
            (*self.queue.spin.get()).slept(waited, limit);
        }
        slept
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the lock is held, so nobody else has a reference.
        unsafe { &*self.queue.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above, and this borrows the guard exclusively.
        unsafe { &mut *self.queue.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone.
        unsafe { bindings::quiesce_helper_queue_unlock(self.queue.head.get(), self.flags) }
    }
}
