// SPDX-License-Identifier: GPL-2.0

//! Those who wait for a rundown.
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
    bindings as helpers,
    rundown::{
        lockdep::Dep,
        track,
        RundownError, //
    }, //
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
    task::might_sleep,
    time::{
        msecs_to_jiffies,
        Jiffies,
        Msecs, //
    },
    types::Opaque,
};

/// How to wait: what ends a wait before the rundown is over.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::{RundownProtect, RundownRef, Wait};
///
/// let busy = RundownRef::new();
/// // Until a fatal signal, and for a second at most.
/// busy.wait_with(Wait::killable().timeout(kernel::time::msecs_to_jiffies(1000)))?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "this says how to wait, and does not wait"]
pub struct Wait {
    signals: Signals,
    timeout: Option<Jiffies>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signals {
    None,
    Fatal,
    All,
}

impl Wait {
    /// Until the rundown is over, whatever comes.
    pub const fn uninterruptible() -> Self {
        Self {
            signals: Signals::None,
            timeout: None,
        }
    }

    /// Until a signal comes.
    pub const fn interruptible() -> Self {
        Self {
            signals: Signals::All,
            timeout: None,
        }
    }

    /// Until a signal comes that kills the task.
    pub const fn killable() -> Self {
        Self {
            signals: Signals::Fatal,
            timeout: None,
        }
    }

    /// And for `timeout` at most; with zero, only look, which lockdep does not take for waiting.
    pub const fn timeout(self, timeout: Jiffies) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }
}

impl Wait {
    /// Tells lockdep, unless this only looks.
    pub(super) fn tell(&self, dep: &Dep) {
        if self.timeout != Some(0) {
            dep.may_wait();
        }
    }
}

const BUCKETS: usize = 64;

struct Bucket {
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
struct Node {
    key: usize,
    linked: bool,
    prev: *mut Node,
    next: *mut Node,
    told: Option<Result<(), RundownError>>,
    wake: Opaque<bindings::completion>,
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

fn bucket(key: usize) -> &'static Bucket {
    // Fibonacci hashing, as the kernel's `hash_64()`.
    let hash = (key as u64).wrapping_mul(0x61c8_8646_80b5_83eb) >> (64 - BUCKETS.ilog2());
    &TABLE[hash as usize]
}

/// A bucket whose lock is held.
struct Locked {
    bucket: &'static Bucket,
    flags: usize,
}

impl Bucket {
    fn lock(&'static self) -> Locked {
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
    unsafe fn link(&mut self, node: *mut Node) {
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
    unsafe fn unlink(&mut self, node: *mut Node) {
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

    // SAFETY: No requirements.
    if unsafe { helpers::quiesce_helper_in_nmi() } {
        bucket.late.store(true, Release);
        // SAFETY: `Waiters::start` initialised it. If it is queued already, it has not begun.
        unsafe { bindings::irq_work_queue(LATE.0.get()) };
        return;
    }
    bucket.lock().wake(Some(key), None);
}

unsafe extern "C" fn late_poke(_work: *mut bindings::irq_work) {
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

/// What is waited for.
pub(super) trait Subject {
    /// Looks, with the lock held, whether the wait is over.
    fn look(&mut self) -> Option<Result<(), RundownError>>;

    /// What to make of it that whoever armed or resurrected the object told `told`.
    fn told(&self, told: Result<(), RundownError>) -> Result<(), RundownError> {
        told
    }

    /// Is called after each look, without the lock.
    fn unlocked(&mut self) {}

    /// The number of holders, for the report of a wait that takes long.
    fn holders(&self) -> usize;
}

/// Waits for the `subject`, which is at `key`; what is left of the timeout stays in `how`.
///
/// Process context.
pub(super) fn wait(
    key: usize,
    how: &mut Wait,
    subject: &mut dyn Subject,
) -> Result<(), RundownError> {
    let bucket = bucket(key);
    // INVARIANT: It is not linked.
    let mut node = Node {
        key,
        linked: false,
        prev: ptr::null_mut(),
        next: ptr::null_mut(),
        told: None,
        wake: Opaque::uninit(),
    };
    // From here on the node is used by this pointer alone, and does not move.
    let node = &raw mut node;
    let mut waited: Jiffies = 0;
    let mut gave_up = None;

    might_sleep();
    // SAFETY: Nobody else knows the node yet.
    unsafe { bindings::init_completion((*node).wake.get()) };

    loop {
        if how.timeout == Some(0) {
            gave_up = Some(RundownError::TimedOut);
        }

        let mut locked = bucket.lock();
        // SAFETY: The node is ours, or protected by the lock. It lives until this function returns,
        // which it does only with the node not linked.
        let end = unsafe {
            let end = (*node)
                .told
                .map(|told| subject.told(told))
                .or_else(|| subject.look())
                .or(gave_up.map(Err));
            match (end.is_some(), (*node).linked) {
                (true, true) => locked.unlink(node),
                (false, false) => locked.link(node),
                _ => {}
            }
            end
        };
        drop(locked);
        subject.unlocked();
        if let Some(ret) = end {
            return ret;
        }

        let interval = report_interval();
        let slice = match (how.timeout, interval) {
            (Some(timeout), Some(interval)) => timeout.min(interval),
            (Some(slice), None) | (None, Some(slice)) => slice,
            (None, None) => Jiffies::MAX / 2,
        }
        .min(Jiffies::MAX / 2);
        // SAFETY: The completion was initialised above.
        match unsafe { sleep((*node).wake.get(), how.signals, slice) } {
            Err(err) => gave_up = Some(err),
            Ok(left) => {
                let slept = slice.saturating_sub(left);
                waited = waited.saturating_add(slept);
                how.timeout = how.timeout.map(|timeout| timeout.saturating_sub(slept));
                if left == 0 && how.timeout != Some(0) {
                    report(key, waited, subject.holders());
                }
            }
        }
    }
}

/// Sleeps until woken, for `slice` at most; says how much of that is left.
///
/// # Safety
///
/// `wake` is an initialised completion.
unsafe fn sleep(
    wake: *mut bindings::completion,
    signals: Signals,
    slice: Jiffies,
) -> Result<Jiffies, RundownError> {
    // SAFETY: By the requirements.
    let ret = unsafe {
        match signals {
            Signals::None => return Ok(bindings::wait_for_completion_timeout(wake, slice)),
            Signals::Fatal => bindings::wait_for_completion_killable_timeout(wake, slice),
            Signals::All => bindings::wait_for_completion_interruptible_timeout(wake, slice),
        }
    };
    Jiffies::try_from(ret).map_err(|_| RundownError::Interrupted)
}

/// Sets after how many milliseconds a wait is reported in the log, and again after as many more;
/// zero for never. Returns what was set before.
///
/// This is the module's parameter `rundown_report_ms`, which is 30 seconds at first.
pub fn set_report_interval(ms: Msecs) -> Msecs {
    // SAFETY: No requirements.
    unsafe { helpers::quiesce_helper_set_rundown_report_ms(ms) }
}

fn report_interval() -> Option<Jiffies> {
    // SAFETY: No requirements.
    match unsafe { helpers::quiesce_helper_rundown_report_ms() } {
        0 => None,
        ms => Some(msecs_to_jiffies(ms).max(1)),
    }
}

#[cold]
fn report(key: usize, waited: Jiffies, holders: usize) {
    // SAFETY: No requirements.
    let ms = unsafe { bindings::jiffies64_to_msecs(waited as u64) };
    pr_warn!(
        "rundown of {:p} has been waited for {}.{:03} s: {} holders\n",
        key as *const u8,
        ms / 1000,
        ms % 1000,
        holders
    );
    track::report(key);
}
