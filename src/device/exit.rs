// SPDX-License-Identifier: GPL-2.0

//! Parties that end with a process.
//!
//! A [`Watch`] is on the wait queue that pidfds are polled on, as KVM's irqfd is on an eventfd's.
//! The kernel wakes it when the last thread of the process has exited, before its parent can have
//! waited for it, before those who sleep on a pidfd, and with `tasklist_lock` held and interrupts
//! disabled. So what runs there takes constant time and acquires no lock of a barrier: it adds the
//! party to the barrier's [`Exits`] and queues one work item per barrier. The next task that
//! acquires the barrier's lock ends the parties on that list, so that no call sees the party of a
//! process alive of whose death its caller was notified, and wakes the waiters once.

use super::{
    args::{
        self,
        Command, //
    },
    quota::Charge, //
};
use crate::{
    arch::pointer::load_pointer,
    barrier::{
        End,
        Pid, //
    },
    bindings::{
        self,
        uapi, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    pin::Pin,
    ptr, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex, //
    },
    types::Opaque,
    workqueue::{
        HasWork,
        WorkItem, //
    }, //
};

/// A barrier whose parties can end with a process.
pub(super) trait ExitListener:
    WorkItem<Pointer = Arc<Self>> + HasWork<Self> + Send + Sync + Sized + 'static
{
    /// The type that identifies a party.
    type Party: Clone + Send + Sync;

    /// The exits that the barrier has not handled.
    fn exits(&self) -> &Exits<Self::Party>;

    /// Ends the parties whose processes have exited, and wakes the waiters. Process context.
    fn handle_exits(&self);
}

/// The exit of one party's process.
struct Exit<P> {
    next: *mut Exit<P>,
    party: P,
    end: End,
}

/// Exits that a barrier has not handled yet.
///
/// # Invariants
///
/// All are lists, linked by `next`, of exits that are valid and that nobody else accesses. `turning`
/// and `taken` are changed with the barrier's lock held.
pub(super) struct Exits<P> {
    /// The last exit comes first.
    new: Atomic<*mut Exit<P>>,
    /// What was in `new`: older than that, and newer than `taken`.
    turning: Atomic<*mut Exit<P>>,
    /// The first exit comes first.
    taken: Atomic<*mut Exit<P>>,
    _exits: PhantomData<Exit<P>>,
}

// SAFETY: Taking the list moves its entries to the task that takes it, and `P` is `Send`.
unsafe impl<P: Send> Send for Exits<P> {}
// SAFETY: The list is changed atomically, and taking it moves its entries, whose `P` is `Send`, to
// the task that takes it.
unsafe impl<P: Send> Sync for Exits<P> {}

impl<P: Clone> Exits<P> {
    pub(super) fn new() -> Self {
        // INVARIANT: The lists are empty.
        Self {
            new: Atomic::new(ptr::null_mut()),
            turning: Atomic::new(ptr::null_mut()),
            taken: Atomic::new(ptr::null_mut()),
            _exits: PhantomData,
        }
    }

    /// Returns whether no exit is left to handle.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        load_pointer(&self.new).is_null()
            && load_pointer(&self.turning).is_null()
            && load_pointer(&self.taken).is_null()
    }

    /// Takes some exits off the lists and calls `f` for each, in the order in which they were added.
    ///
    /// The caller holds the barrier's lock, and calls this until [`Exits::is_empty`] before it judges
    /// the state.
    pub(super) fn take(&self, mut f: impl FnMut(P, End)) {
        /// Number of exits that are turned or handled at a time with interrupts disabled.
        const AT_ONCE: usize = 32;

        let mut turning = self.turning.load(Relaxed);
        let mut exit = self.taken.load(Relaxed);
        for _ in 0..AT_ONCE {
            if turning.is_null() && exit.is_null() {
                turning = self.new.xchg(ptr::null_mut(), Acquire);
            }
            if !turning.is_null() {
                // SAFETY: By the type invariants, as below.
                let next = unsafe { core::mem::replace(&mut (*turning).next, exit) };
                exit = core::mem::replace(&mut turning, next);
                continue;
            }
            if exit.is_null() {
                break;
            }
            // SAFETY: By the type invariants; `Watch` keeps it until it has found all lists empty
            // with the barrier's lock held, which the caller holds.
            let (next, party, end) =
                unsafe { ((*exit).next, (*exit).party.clone(), (*exit).end.clone()) };
            f(party, end);
            exit = next;
        }
        // INVARIANT: Those that are left are still linked, and the lock is held.
        self.turning.store(turning, Relaxed);
        self.taken.store(exit, Relaxed);
    }

    /// Adds `exit`. Any context.
    ///
    /// # Safety
    ///
    /// `exit` is valid, and nobody else accesses it, until it was taken.
    unsafe fn add(&self, exit: *mut Exit<P>) {
        let mut first = self.new.load(Relaxed);
        loop {
            // SAFETY: This function requires that `exit` is valid and that nobody else accesses it
            // before it is in the list.
            unsafe { (*exit).next = first };
            // INVARIANT: `exit` is valid, and links to the rest.
            match self.new.cmpxchg(first, exit, Full) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }
}

/// Ends a party when a process exits, until dropped.
///
/// # Invariants
///
/// `entry` is on the wait queue of `pid`. `exit` and `reported` are accessed with the lock of
/// that queue held, and `exit`, once `reported` is set, by the task that takes it off the
/// barrier's list.
#[pin_data(PinnedDrop)]
pub(super) struct Watch<B: ExitListener> {
    barrier: Arc<B>,
    // Before `pid`, whose address it is charged to.
    _charge: Charge,
    pid: ARef<Pid>,
    exit: UnsafeCell<Exit<B::Party>>,
    reported: UnsafeCell<bool>,
    #[pin]
    entry: Opaque<kernel::bindings::wait_queue_entry>,
}

// SAFETY: `entry` is used under the lock of its wait queue only, the cells as the type invariants
// say, and the rest is `Send`.
unsafe impl<B: ExitListener> Send for Watch<B> {}
// SAFETY: A shared reference gives access to nothing but `barrier` and `pid`, which are `Sync`.
unsafe impl<B: ExitListener> Sync for Watch<B> {}

/// What a [`Watch`] of the calling task's process needs.
pub(super) struct NewWatch<B: ExitListener> {
    // Before `pid`, whose address it is charged to.
    charge: Charge,
    pid: ARef<Pid>,
    memory: KBox<MaybeUninit<Watch<B>>>,
}

impl<B: ExitListener> NewWatch<B> {
    /// # Errors
    ///
    /// `EDQUOT` if too many parties are bound to the process; `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        let pid = Pid::current();
        Ok(Self {
            charge: Charge::binding(&pid)?,
            pid,
            memory: KBox::new_uninit(GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// Watches the process. The task that made this calls it: the process is alive, so its exit
    /// cannot have been missed.
    pub(super) fn start(self, barrier: Arc<B>, party: B::Party) -> Pin<KBox<Watch<B>>> {
        let Self {
            charge,
            pid,
            memory,
        } = self;
        let raw = pid.as_ptr();
        // INVARIANT: `entry` is put on the queue when the rest is there.
        let Ok(watch) = memory.write_pin_init(pin_init!(Watch {
            barrier,
            _charge: charge,
            pid,
            exit: UnsafeCell::new(Exit {
                next: ptr::null_mut(),
                party,
                end: End::default(),
            }),
            reported: UnsafeCell::new(false),
            entry <- Opaque::ffi_init(|entry| {
                // SAFETY: `raw` has a reference in `pid`; `entry` is writable, pinned, and taken
                // off the queue by `drop`.
                unsafe { bindings::quiesce_helper_pid_watch(raw, entry, Some(Watch::<B>::wake)) }
            }),
        }));
        watch
    }
}

impl<B: ExitListener> Watch<B> {
    /// # Safety
    ///
    /// Called by the wait queue on the `entry` of a `Self`, with the queue's lock held.
    unsafe extern "C" fn wake(
        entry: *mut kernel::bindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        _key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is on the queue, so by the type invariants the watch is there, and it
        // cannot go while the queue's lock is held.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(entry), Self, entry) };
        // SAFETY: `wake()` is called with the lock of the pid's wait queue held, which protects
        // `reported`.
        if unsafe { *this.reported.get() } {
            return 0;
        }
        let Some(why) = this.pid.ended() else {
            return 0;
        };
        // SAFETY: The queue's lock is held, and `exit` was not reported; `drop` keeps it until
        // the barrier has handled it.
        unsafe {
            *this.reported.get() = true;
            (*this.exit.get()).end = End {
                why,
                pid: Some(this.pid.clone()),
            };
            this.barrier.exits().add(this.exit.get());
        }
        // If the work item is already pending, it has not read the list yet.
        let _ = workqueue().enqueue(this.barrier.clone());
        0
    }
}

#[pinned_drop]
impl<B: ExitListener> PinnedDrop for Watch<B> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the entry is on the queue of `pid`. Afterwards nobody
        // runs `wake` any more, as that takes the queue's lock.
        unsafe { bindings::quiesce_helper_pid_unwatch(self.pid.as_ptr(), self.entry.get()) }
        // If the exit was reported, it is now removed from the list and no longer used.
        self.barrier.handle_exits();
    }
}

/// The workqueue on which barriers handle exits.
static WORKQUEUE: Atomic<*mut kernel::bindings::workqueue_struct> = Atomic::new(ptr::null_mut());

fn workqueue() -> &'static kernel::workqueue::Queue {
    // SAFETY: `Workqueue` made it before there was a file, and ends it after the last one; what
    // gets here is a watch, which a file owns.
    unsafe { kernel::workqueue::Queue::from_raw(WORKQUEUE.load(Relaxed)) }
}

/// The workqueue, as long as this lives.
pub(super) struct Workqueue(());

impl Workqueue {
    /// Creates the workqueue. Called once, before the device is registered.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: The helper creates a workqueue, in process context: the module's init calls this.
        let queue = unsafe { bindings::quiesce_helper_exit_workqueue() };
        if queue.is_null() {
            return Err(ENOMEM);
        }
        WORKQUEUE.store(queue, Relaxed);
        Ok(Self(()))
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        let queue = WORKQUEUE.xchg(ptr::null_mut(), Relaxed);
        // SAFETY: `new` made it. No file is left that could queue anything; what is queued runs
        // before this returns.
        unsafe { kernel::bindings::destroy_workqueue(queue) };
    }
}

/// The process that a file's party ends with, if it is bound to one.
#[pin_data]
pub(super) struct Binding<B: ExitListener> {
    #[pin]
    watch: Mutex<Option<Pin<KBox<Watch<B>>>>>,
}

impl<B: ExitListener> Binding<B> {
    /// Initialises it with `watch`, or empty.
    pub(super) fn new(watch: Option<Pin<KBox<Watch<B>>>>) -> impl PinInit<Self> {
        pin_init!(Self {
            watch <- new_mutex!(watch, "quiesce_binding"),
        })
    }

    /// BIND: makes the party the calling process's. `set` says so to the barrier.
    pub(super) fn bind(
        &self,
        command: &Command,
        barrier: &Arc<B>,
        party: B::Party,
        set: impl FnOnce(ARef<Pid>, bool) -> Result,
    ) -> Result {
        let args: uapi::quiesce_bind = command.read()?;
        args::check_flags(args.flags, uapi::QUIESCE_BIND_PROCESS)?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        let bound = args.flags & uapi::QUIESCE_BIND_PROCESS != 0;
        let current = Pid::current();
        {
            let watch = self.watch.lock();
            let is_current = |watch: &Pin<KBox<Watch<B>>>| watch.pid.as_ptr() == current.as_ptr();
            // The party stays bound to the process, which needs no room for another binding.
            if bound && watch.as_ref().is_some_and(is_current) {
                return set(current, bound);
            }
        }
        let new = if bound {
            Some(NewWatch::new()?.start(barrier.clone(), party))
        } else {
            None
        };
        let mut watch = self.watch.lock();
        set(current, bound)?;
        // The exit of the former owner ends the party no more, also if it comes before this.
        let old = core::mem::replace(&mut *watch, new);
        drop(old);
        Ok(())
    }

    /// The exit of the process is no news any more.
    pub(super) fn end(&self) {
        let watch = self.watch.lock().take();
        drop(watch);
    }
}
