// SPDX-License-Identifier: GPL-2.0

//! The state of a barrier, its lock, and the wait queues of its waiters and pollers.
//!
//! As in `eventfd`, the lock of the wait queue also protects the state, so that changing the state
//! and waking the waiters take one lock, and no waiter misses a change between its check and its
//! sleep. Pollers have two queues of their own, so that a wake-up can carry the events that turned
//! on: `poll()` and `epoll` filter by them, and `io_uring` returns them to its caller; see
//! [`Wakes::pollers`].
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::spin::SpinWindow;
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
    static_lock_class,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use pin_init::Wrapper;

/// A state machine behind the lock of a [`Queue`].
///
/// The machine wakes nobody. The queue compares the state before and after each critical section,
/// so that no operation can forget a wake-up.
pub trait Machine {
    /// The part of the state that waiters and pollers depend on.
    type Seen: Copy;

    /// Returns the part of the state that waiters and pollers depend on.
    fn seen(&self) -> Self::Seen;

    /// Returns whom the changes since `before` concern.
    fn wakes(&self, before: &Self::Seen) -> Wakes;

    /// Returns whether the changes since `before` concern the tasks that sleep in a wait: the
    /// `waiters` of [`Machine::wakes`], where nobody polls.
    fn wakes_waiters(&self, before: &Self::Seen) -> bool {
        self.wakes(before).waiters
    }

    /// Traces the changes since `before`.
    fn trace(&self, _before: &Self::Seen) {}
}

/// The waiters and pollers that a change has to wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    /// The tasks that sleep in a wait.
    pub waiters: bool,
    /// The pollers of each queue that poll for one of these events. `Some(0)` wakes all of them
    /// without a key, and each of them reads its events.
    ///
    /// They are woken after the lock is released, and `io_uring` returns the events of a key to its
    /// caller without asking for them. So the events of a key are those that stay on.
    pub pollers: [Option<u32>; 2],
}

impl Wakes {
    /// Returns whom `self` or `other` has to wake.
    fn or(self, other: Self) -> Self {
        let mut pollers = other.pollers;
        for (events, more) in pollers.iter_mut().zip(self.pollers) {
            *events = match (*events, more) {
                // All of them, without a key.
                (Some(0), _) | (_, Some(0)) => Some(0),
                (Some(events), Some(more)) => Some(events | more),
                (events, more) => events.or(more),
            };
        }
        Self {
            waiters: self.waiters || other.waiters,
            pollers,
        }
    }
}

/// The time at which a wait ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The wait does not sleep, and fails with `ETIMEDOUT`.
    Now,
    /// The wait does not sleep, and fails with `EAGAIN`.
    Nonblocking,
    /// A time in nanoseconds of `CLOCK_MONOTONIC`.
    Monotonic(i64),
    /// A time in nanoseconds of `CLOCK_REALTIME`.
    Realtime(i64),
    /// A time in nanoseconds of `CLOCK_BOOTTIME`.
    Boottime(i64),
    /// No deadline: the wait has no time limit.
    Never,
}

/// A value behind the lock of a wait queue.
///
/// The lock is a `spinlock_t` that is taken with interrupts off, so it may be taken in any
/// context but NMI and, on PREEMPT_RT, hard interrupts.
///
/// # Invariants
///
/// `head` and both of `pollers` are initialised; `data` and `spin` are accessed, and `changes` is
/// written, only while `head.lock` is held.
#[pin_data]
pub struct Queue<T> {
    #[pin]
    head: Opaque<kernel::bindings::wait_queue_head>,
    #[pin]
    pollers: [Opaque<kernel::bindings::wait_queue_head>; 2],
    /// Number of wake-ups, for waits that busy-poll without the lock.
    changes: UnsafeCell<u32>,
    spin: UnsafeCell<SpinWindow>,
    #[pin]
    data: UnsafeCell<T>,
}

// SAFETY: The wait queue can be used on any task, and the lock passes the rest from one to another.
unsafe impl<T: Send> Send for Queue<T> {}
// SAFETY: The wait queues can be used on any task at any time, and with a shared `Queue` only the
// holder of the lock reaches `T`.
unsafe impl<T: Send> Sync for Queue<T> {}

impl<T: Machine> Queue<T> {
    /// Creates a queue with its own lock class.
    pub fn new(
        data: impl Init<T>,
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
            pollers <- pin_init::pin_init_array_from_fn(|_| Opaque::ffi_init(|head| {
                // SAFETY: `head` is writable and pinned, the name and the key are static.
                unsafe {
                    kernel::bindings::__init_waitqueue_head(
                        head,
                        c"quiesce_pollers".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            })),
            changes: UnsafeCell::new(0),
            spin: UnsafeCell::new(SpinWindow::new()),
            data <- UnsafeCell::pin_init(data),
        })
    }

    /// Acquires the lock of the queue.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: By the type invariants `head` is an initialised wait queue, which stays in place
        // while `self` is borrowed.
        let flags = unsafe { bindings::quiesce_helper_queue_lock(self.head.get()) };
        // SAFETY: The lock was just taken, so nobody else has a reference.
        let before = unsafe { &*self.data.get() }.seen();
        // INVARIANT: The lock was just taken.
        Guard {
            queue: self,
            flags,
            before,
            owed: Wakes::default(),
            _not_send: NotThreadSafe,
        }
    }

    /// Calls `f` with the lock held. Nothing changes, so that nobody is to be woken.
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        let head = self.head.get();
        // SAFETY: By the type invariants `head` is an initialised wait queue, which stays in place
        // while `self` is borrowed.
        let flags = unsafe { bindings::quiesce_helper_queue_lock(head) };
        // SAFETY: The lock was just taken, so nobody else has a reference.
        let result = f(unsafe { &*self.data.get() });
        // SAFETY: The lock is held with `flags`, and the reference is gone.
        unsafe { bindings::quiesce_helper_queue_unlock(head, flags) };
        result
    }

    /// Returns the wait queue of pollers number `which`, 0 or 1, for `poll_wait()`.
    pub fn pollers(&self, which: usize) -> *mut kernel::bindings::wait_queue_head {
        self.pollers[which].get()
    }

    /// Returns whether there is a poller of queue `which`. The caller holds the lock.
    ///
    /// A poller that queues itself later than this asks for its events, under the lock, later than
    /// this too, and finds them.
    #[inline]
    fn has_pollers(&self, which: usize) -> bool {
        // SAFETY: The head is initialised by the type invariants of `Queue`; its first pointer is
        // only compared, and read at once as by READ_ONCE().
        unsafe {
            let list = &raw mut (*self.pollers(which)).head;
            ptr::read_volatile(&raw const (*list).next) != list
        }
    }

    /// Wakes the pollers of queue `which` that poll for one of `events`; see [`Wakes::pollers`].
    ///
    /// Process context, without the lock.
    fn wake_pollers(&self, which: usize, events: u32) {
        let head = self.pollers(which);
        // SAFETY: By the type invariants `head` is an initialised wait queue, which stays in place
        // while `self` is borrowed.
        unsafe {
            let mut flags = bindings::quiesce_helper_queue_lock(head);
            bindings::quiesce_helper_queue_wake(head, &mut flags, events);
            bindings::quiesce_helper_queue_unlock(head, flags);
        }
    }
}

/// The lock of a [`Queue`], held. Dropped, it wakes those whom the changes concern.
///
/// A leaked guard leaves the lock taken: the next to take it spins without end.
///
/// # Invariants
///
/// The lock is held by this task, with interrupt flags `flags` saved.
#[must_use = "the lock is released when this is dropped"]
pub struct Guard<'a, T: Machine> {
    queue: &'a Queue<T>,
    flags: usize,
    /// The state when the lock was last acquired, or when waiters and pollers were last woken.
    before: T::Seen,
    /// The waiters and pollers that earlier changes concern and that were not woken yet.
    owed: Wakes,
    _not_send: NotThreadSafe,
}

impl<T: Machine> Guard<'_, T> {
    /// Wakes the waiters if `wakes` says so. May release the lock and take it again.
    fn wake_waiters(&mut self, wakes: &Wakes) {
        if !wakes.waiters {
            return;
        }
        // SAFETY: By the type invariants the lock is held, so nobody else writes the counter;
        // readers without the lock use READ_ONCE().
        unsafe { seq::increment_u32(self.queue.changes.get()) };
        // INVARIANT: The helper returns with the lock held, and `flags` saved by its last hold.
        // SAFETY: The queue is initialised and, by the type invariants, its lock is held with
        // `flags`; `&mut self` shows that nobody borrows what the lock protects.
        unsafe { bindings::quiesce_helper_queue_wake(self.queue.head.get(), &mut self.flags, 0) }
    }

    /// Leaves of `wakes` only the pollers that there are.
    fn present(&self, wakes: &Wakes) -> [Option<u32>; 2] {
        let mut pollers = wakes.pollers;
        for (which, events) in pollers.iter_mut().enumerate() {
            if !self.queue.has_pollers(which) {
                *events = None;
            }
        }
        pollers
    }

    /// Wakes those whom the changes so far concern. Returns whether there were any: the lock may
    /// then have been released in between.
    fn publish(&mut self) -> bool {
        let wakes = self.due();
        if wakes == Wakes::default() {
            return false;
        }
        self.trace(&self.before);
        let pollers = self.present(&wakes);
        self.wake_waiters(&wakes);
        if pollers != [None; 2] {
            // SAFETY: By the type invariants the lock is held with `flags`.
            unsafe { bindings::quiesce_helper_queue_unlock(self.queue.head.get(), self.flags) };
            for (which, events) in pollers.into_iter().enumerate() {
                if let Some(events) = events {
                    self.queue.wake_pollers(which, events);
                }
            }
            // INVARIANT: The lock is taken again.
            // SAFETY: By the type invariants `head` is an initialised wait queue, which stays in
            // place while `self` is borrowed.
            self.flags = unsafe { bindings::quiesce_helper_queue_lock(self.queue.head.get()) };
        }
        self.take_note();
        true
    }

    /// Returns whom the changes so far concern.
    ///
    /// Another task may undo a change while [`Guard::relax`] has released the lock, so that the
    /// state before the first of several critical sections does not show all of them.
    #[inline]
    fn due(&self) -> Wakes {
        if (0..2).any(|which| self.queue.has_pollers(which)) {
            return self.wakes(&self.before).or(self.owed);
        }
        Wakes {
            waiters: self.wakes_waiters(&self.before) || self.owed.waiters,
            pollers: [None; 2],
        }
    }

    /// Notes the state: what led to it has been traced, and has woken those whom it concerns.
    fn take_note(&mut self) {
        self.before = self.seen();
        self.owed = Wakes::default();
    }

    /// Releases the lock and acquires it again, so that interrupts are not disabled for long.
    ///
    /// The state may be another one then. Whom the changes so far concern is woken later.
    pub fn relax(&mut self) {
        self.trace(&self.before);
        self.owed = self.due();
        let head = self.queue.head.get();
        // INVARIANT: The lock is taken again, with `flags` saved anew.
        // SAFETY: By the type invariants the lock is held with `flags`, and `head` is initialised.
        self.flags = unsafe {
            bindings::quiesce_helper_queue_unlock(head, self.flags);
            bindings::quiesce_helper_queue_lock(head)
        };
        self.before = self.seen();
    }

    /// Waits, with the lock released, until `ready` returns something.
    ///
    /// `ready` is called with the lock held, at the start and after every wake-up, and once more
    /// when a signal or the deadline ends the wait: what it returns then comes first. `asleep`
    /// is called before and after each sleep, with `true` and `false`, and `refresh` after
    /// it, to bring the state up to date before `ready` judges it. The lock is held on return.
    ///
    /// With [`Deadline::Now`] and [`Deadline::Nonblocking`] `ready` is called once, and the lock is
    /// not released.
    ///
    /// Process context; the caller holds no other lock. The wait is interruptible. Before it sleeps
    /// it busy-polls for a while, if nothing else wants the CPU: see [`spin`](super::spin).
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` when the deadline has passed, `EAGAIN` if the wait may not block, `ERESTARTSYS`
    /// when a signal is pending.
    pub fn wait<R>(
        &mut self,
        deadline: Deadline,
        mut ready: impl FnMut(&mut T) -> Option<R>,
        mut asleep: impl FnMut(&mut T, bool),
        refresh: impl Fn(&mut Self),
    ) -> Result<R> {
        loop {
            if let Some(ret) = ready(self) {
                return Ok(ret);
            }
            // What does not sleep is one critical section.
            match deadline {
                Deadline::Now => return Err(ETIMEDOUT),
                Deadline::Nonblocking => return Err(EAGAIN),
                _ => (),
            }
            if self.publish() {
                continue;
            }
            asleep(self, true);
            let slept = self.sleep(deadline);
            asleep(self, false);
            // A task that changed the state during the sleep has woken the others for it.
            self.take_note();
            refresh(self);
            if let Err(e) = slept {
                return ready(self).ok_or(e);
            }
        }
    }

    /// Waits for a wake-up, by busy-polling or asleep, until `deadline` at the latest.
    fn sleep(&mut self, deadline: Deadline) -> Result {
        let (mut ns, clock) = match deadline {
            Deadline::Now => return Err(ETIMEDOUT),
            Deadline::Nonblocking => return Err(EAGAIN),
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

        // SAFETY: `until` is null or points to `ns`, a local variable that outlives the call.
        let limit = unsafe { bindings::quiesce_helper_spin_limit(until, clock) };
        if limit == 0 {
            // INVARIANT: The helper returns with the lock held again and `flags` saved anew.
            // SAFETY: By the type invariants the lock is held with `flags`, and `until` is null or
            // points to `ns`.
            return to_result(unsafe {
                bindings::quiesce_helper_queue_sleep(head, &mut self.flags, until, clock)
            });
        }

        // SAFETY: The helper only reads a clock of this CPU, in any context.
        let begin = unsafe { bindings::quiesce_helper_spin_clock() };
        // SAFETY: By the type invariants this guard holds the queue's lock, which protects `spin`.
        let time = unsafe { *self.queue.spin.get() }.time(limit);
        if time != 0 {
            // INVARIANT: The helper returns with the lock held again and `flags` saved anew.
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
        // INVARIANT: The helper returns with the lock held again and `flags` saved anew.
        // SAFETY: By the type invariants the lock is held with `flags`, and `until` is null or
        // points to `ns`.
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

impl<T: Machine> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants the lock is held, so nobody else has a reference.
        unsafe { &*self.queue.data.get() }
    }
}

impl<T: Machine> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants the lock is held, so nobody else has a reference, and this
        // borrows the guard exclusively.
        unsafe { &mut *self.queue.data.get() }
    }
}

impl<T: Machine> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.trace(&self.before);
        let wakes = self.due();
        let pollers = self.present(&wakes);
        self.wake_waiters(&wakes);
        // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone.
        unsafe { bindings::quiesce_helper_queue_unlock(self.queue.head.get(), self.flags) };
        for (which, events) in pollers.into_iter().enumerate() {
            if let Some(events) = events {
                self.queue.wake_pollers(which, events);
            }
        }
    }
}
