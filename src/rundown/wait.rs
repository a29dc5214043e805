// SPDX-License-Identifier: GPL-2.0

//! Waiting for a rundown.
//!
//! A wait links a node on the task's stack into the table of waiters and sleeps until the object is
//! run down, or until what [`Wait`] names ends it: a signal or a timeout. With each wake-up the
//! state is read again with the bucket's lock held. A monitor, one delayed work item, reports
//! rundowns that are waited for too long.

pub(super) use super::waiters::{
    settle,
    wake,
    Report, //
};

use super::{
    lockdep::Dep,
    trace,
    track,
    waiters::{
        bucket,
        for_each,
        for_each_overdue,
        Node,
        Running,
        Waiting, //
    },
    RundownError, //
};
use crate::{
    bindings as helpers,
    rcu::posting::is_in_global_section, //
};
use core::panic::Location;
use kernel::{
    bindings,
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    time::{
        msecs_to_jiffies,
        Jiffies,
        Msecs, //
    },
    types::Opaque, //
};

/// The conditions that end a wait before the rundown completes.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::{RundownRef, Wait};
///
/// let busy = RundownRef::new();
/// // Until a fatal signal is pending, and for at most a second.
/// busy.wait_with(Wait::killable().timeout(kernel::time::msecs_to_jiffies(1000)))?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "this only describes a wait"]
pub struct Wait {
    signals: Signals,
    timeout: Option<Jiffies>,
    /// The place of the wait in the source, for reports.
    place: Option<&'static Location<'static>>,
    /// Whether the wait sleeps also where that is not allowed, because its caller cannot handle an
    /// error.
    insists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signals {
    None,
    Fatal,
    All,
}

impl Wait {
    const fn new(signals: Signals) -> Self {
        Self {
            signals,
            timeout: None,
            place: None,
            insists: false,
        }
    }

    /// A wait that only ends with the rundown.
    pub const fn uninterruptible() -> Self {
        Self::new(Signals::None)
    }

    /// A wait that also ends when a signal is pending.
    pub const fn interruptible() -> Self {
        Self::new(Signals::All)
    }

    /// A wait that also ends when a fatal signal is pending.
    pub const fn killable() -> Self {
        Self::new(Signals::Fatal)
    }

    /// Limits the wait to `timeout` jiffies.
    ///
    /// With a timeout of zero, the wait begins the rundown and polls the state once; lockdep does not
    /// take it for a wait. Only a [`RundownRef`](super::RundownRef) can be polled where the caller may not
    /// sleep: the others lock a mutex to begin the rundown.
    pub const fn timeout(self, timeout: Jiffies) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Notes the place of the wait, for reports.
    pub(super) fn at(self, place: &'static Location<'static>) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// Sleeps also where that is not allowed, as the caller cannot handle an error.
    pub(super) const fn insist(self) -> Self {
        Self {
            insists: true,
            ..self
        }
    }

    /// Announces the wait to lockdep, unless it only polls.
    pub(super) fn announce(&self, dep: &Dep) {
        if self.timeout != Some(0) {
            dep.may_wait();
        }
    }

    /// Fails, with a warning, if the wait would sleep in a context where that is not allowed.
    pub(super) fn check_context(&self) -> Result<(), RundownError> {
        if self.timeout == Some(0) {
            Ok(())
        } else {
            self.check_may_sleep()
        }
    }

    /// Fails, with a warning, where the caller may not sleep, also if the wait only polls: for those
    /// that lock a mutex or call the scheduler.
    pub(super) fn check_may_sleep(&self) -> Result<(), RundownError> {
        if may_sleep() || self.insists {
            Ok(())
        } else {
            Err(RundownError::WouldSleep)
        }
    }
}

/// Returns whether the caller may sleep; warns once if not.
pub(super) fn may_sleep() -> bool {
    // SAFETY: The helper only reads the preemption and interrupt state of this task.
    unsafe { helpers::quiesce_helper_rundown_may_sleep(is_in_global_section()) }
}

/// The condition and the object of a wait.
pub(super) trait Subject {
    /// Returns the object, for reports. It stays until the wait returns.
    fn object(&self) -> *const dyn Report;

    /// Returns whether the wait takes exclusive ownership.
    fn claims(&self) -> bool;

    /// Returns the result of the wait if it is over. Called with the lock held.
    fn poll(&mut self) -> Option<Result<(), RundownError>>;

    /// Maps the outcome recorded by a re-initialization or resurrection to the result of this wait.
    fn outcome(&self, outcome: Result<(), RundownError>) -> Result<(), RundownError> {
        if self.claims() {
            // Somebody else claimed and re-initialized the object: begin again.
            outcome.and(Err(RundownError::NotDrained))
        } else {
            outcome
        }
    }

    /// Returns whether the caller is a holder until [`unlocked`](Self::unlocked) is called: the rundown
    /// does not complete before.
    fn holds(&self) -> bool {
        false
    }

    /// Called after each poll, without the lock.
    fn unlocked(&mut self) {}
}

/// Waits for the `subject` with the key `key`; the rest of the timeout stays in `how`.
///
/// Process context, unless `how` only polls.
pub(super) fn wait(
    key: usize,
    how: &mut Wait,
    subject: &mut dyn Subject,
) -> Result<(), RundownError> {
    let bucket = bucket(key);
    let mut node = Node::new(key, subject.object(), subject.claims(), how.place);
    // From here on the node is used by this pointer only, and is not moved.
    let node = &raw mut node;
    let mut gave_up = None;

    // SAFETY: `node` points to a local of this function, which is linked into the table only below,
    // so no other task accesses it.
    unsafe { bindings::init_completion((*node).wake.get()) };

    loop {
        let held = subject.holds();
        if how.timeout == Some(0) && !held {
            gave_up = Some(RundownError::TimedOut);
        }

        let mut locked = bucket.lock();
        // SAFETY: The node is not known to others, or protected by the lock. It lives until this
        // function returns, which it does only with the node not linked.
        let (end, linked) = unsafe {
            let linked = locked.is_linked(node);
            let (end, wake_next) = if let Some(outcome) = (*node).outcome {
                (Some(subject.outcome(outcome)), false)
            } else if let Some(ret) = subject.poll() {
                // Of those that claim the object, no second one can return.
                (Some(ret), !(subject.claims() && ret.is_ok()))
            } else if let Some(err) = gave_up {
                let outcome = linked.then(|| locked.outcome(node)).flatten();
                (
                    Some(outcome.map_or(Err(err), |outcome| subject.outcome(outcome))),
                    false,
                )
            } else {
                (None, false)
            };
            match (end.is_some(), linked) {
                (true, true) => locked.unlink(node, wake_next),
                (false, false) => locked.link(node),
                _ => {}
            }
            (end, linked)
        };
        drop(locked);
        subject.unlocked();
        if let Some(ret) = end {
            return ret;
        }
        if !linked {
            // SAFETY: The helper only queues a delayed work item of this module, which any context
            // may do.
            unsafe { helpers::quiesce_helper_rundown_monitor_start(false) };
        }
        if held {
            // The release was perhaps the last one, and a wait that only polls does not sleep.
            continue;
        }

        // SAFETY: `init_completion()` above initialised the completion, which is a local of this
        // function and stays in place.
        match unsafe { sleep((*node).wake.get(), how.signals, how.timeout) } {
            Err(err) => gave_up = Some(err),
            Ok(left) => how.timeout = how.timeout.map(|timeout| timeout.min(left)),
        }
    }
}

/// Sleeps until woken, or for `timeout`; returns the rest of it.
///
/// Without a timeout this does not wake up in between, so that the hung task detector sees it if it is
/// uninterruptible.
///
/// # Safety
///
/// `wake` is an initialised completion.
unsafe fn sleep(
    wake: *mut bindings::completion,
    signals: Signals,
    timeout: Option<Jiffies>,
) -> Result<Jiffies, RundownError> {
    /// The timeout of a wait without a time limit, `MAX_SCHEDULE_TIMEOUT`.
    const INDEFINITELY: Jiffies = isize::MAX as Jiffies;

    let timeout = timeout.unwrap_or(INDEFINITELY).min(INDEFINITELY);
    // SAFETY: The completion is initialised by the requirements of this function.
    let ret = unsafe {
        match signals {
            Signals::None => return Ok(bindings::wait_for_completion_timeout(wake, timeout)),
            Signals::Fatal => bindings::wait_for_completion_killable_timeout(wake, timeout),
            Signals::All => bindings::wait_for_completion_interruptible_timeout(wake, timeout),
        }
    };
    Jiffies::try_from(ret).map_err(|_| RundownError::Interrupted)
}

/// Sleeps as `how` says, until `requested` returns `true`. It is called when the closure that is passed
/// to `listen` was called.
///
/// Process context, also with a timeout of zero.
pub(super) fn until_notified(
    how: Wait,
    requested: impl Fn() -> bool,
    listen: impl FnOnce(
        &(dyn Fn() + Sync),
        &mut dyn FnMut() -> Result<(), RundownError>,
    ) -> Result<(), RundownError>,
) -> Result<(), RundownError> {
    /// A completion that other tasks complete.
    struct Shared(Opaque<bindings::completion>);

    // SAFETY: The only field is a completion, whose functions may be called by several tasks at
    // once.
    unsafe impl Sync for Shared {}

    // What sleeps with a timeout of zero calls the scheduler, too.
    how.check_may_sleep()?;
    let shared = Shared(Opaque::uninit());
    // SAFETY: The completion is not moved from here on, and not used yet.
    unsafe { bindings::init_completion(shared.0.get()) };
    let shared = &shared;
    listen(
        // SAFETY: The completion was initialised above, and stays until `listen` returns.
        &|| unsafe { bindings::complete(shared.0.get()) },
        &mut || {
            let mut timeout = how.timeout;
            loop {
                // SAFETY: `init_completion()` above initialised the completion, which is a local of
                // this function and stays in place.
                let left = unsafe { sleep(shared.0.get(), how.signals, timeout) }?;
                // The notification may be that of a rundown that is over.
                if requested() {
                    return Ok(());
                }
                timeout = timeout.map(|timeout| timeout.min(left));
                if timeout == Some(0) {
                    return Err(RundownError::TimedOut);
                }
            }
        },
    )
}

/// Never returns: the object is saturated and will not be run down.
#[cold]
pub(super) fn forever() -> ! {
    loop {
        // SAFETY: Only waits call this function, after they have found process context in which
        // sleeping is allowed.
        unsafe { helpers::quiesce_helper_rundown_forever() };
    }
}

/// Sets the interval, in milliseconds, after which a rundown that is waited for is reported in the log,
/// and is reported again; zero disables reports. Returns the previous interval.
///
/// This is the module parameter `rundown_stall_ms`, with a default of 30 seconds. There is one report
/// for each reference, with up to four waiters, the owner of the exclusive ownership, and the holders
/// if they are recorded. The hung task detector (`CONFIG_DETECT_HUNG_TASK`) reports uninterruptible
/// waits without timeout as well.
pub fn set_stall_report_ms(ms: Msecs) -> Msecs {
    // SAFETY: The function only computes from a number or stores one.
    unsafe { helpers::quiesce_helper_set_rundown_stall_ms(ms) }
}

/// Reports rundowns that take long; returns whether there are waiters left.
///
/// # Safety
///
/// Called by the monitor's work item.
pub(super) unsafe extern "C" fn monitor(ms: Msecs) -> bool {
    for_each_overdue(msecs_to_jiffies(ms).max(1) as u64, report)
}

/// Lists the rundowns that are waited for in a file of debugfs.
///
/// # Safety
///
/// `m` is a file that can be written to.
pub(super) unsafe extern "C" fn list(m: *mut bindings::seq_file) {
    // SAFETY: The file can be written to by the requirements of this function.
    let m = unsafe { SeqFile::from_raw(m) };
    for_each(|running| describe(running, &|line| seq_print!(m, "{}\n", line)));
}

#[cold]
#[inline(never)]
fn report(running: &Running) {
    // SAFETY: The function only computes from a number or stores one.
    let ms = unsafe { bindings::jiffies64_to_msecs(running.waited) };
    trace::stall(
        running.key,
        u32::try_from(ms).unwrap_or(u32::MAX),
        running.waiters,
        running.holders,
    );
    describe(running, &|line| pr_warn!("{}\n", line));
    if running.claimed {
        track::report_claims(running.key);
    }
    track::report(running.key);
}

/// Prints a line of a report.
type Print<'a> = dyn Fn(fmt::Arguments<'_>) + 'a;

/// Calls `print` with the lines that describe a rundown and its waiters.
fn describe(running: &Running, print: &Print<'_>) {
    describe_rundown(running, print);
    for waiting in running.tasks() {
        describe_waiter(waiting, print);
    }
}

#[inline(never)]
fn describe_rundown(running: &Running, print: &Print<'_>) {
    let mut name = [0u8; 32];
    // SAFETY: The function writes a string of at most this size.
    unsafe {
        helpers::quiesce_helper_format_pointer(
            name.as_mut_ptr().cast(),
            name.len(),
            running.key as *const core::ffi::c_void,
        )
    };
    print(fmt!(
        "rundown of {} has been waited for {} s by {} tasks: {} holders{}",
        track::str_of(&name),
        track::Jiffies64(running.waited),
        running.waiters,
        running.holders,
        if running.claimed {
            ", owned exclusively"
        } else {
            ""
        }
    ));
}

#[inline(never)]
fn describe_waiter(waiting: &Waiting, print: &Print<'_>) {
    let file = match waiting.line {
        0 => "C code",
        _ => track::str_of(&waiting.file),
    };
    print(fmt!(
        "  {}/{} waits at {}:{}{}",
        track::str_of(&waiting.task.comm),
        waiting.task.pid,
        file,
        waiting.line,
        if waiting.claim { " to own it" } else { "" }
    ));
}
