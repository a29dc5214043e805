// SPDX-License-Identifier: GPL-2.0

//! Waiting for a rundown.

pub(super) use super::waiters::{
    poke,
    settle, //
};

use super::waiters::{
    bucket,
    Node, //
};
use crate::{
    bindings as helpers,
    rundown::{
        lockdep::Dep,
        track,
        RundownError, //
    }, //
};
use kernel::{
    bindings,
    prelude::*,
    task::might_sleep,
    time::{
        msecs_to_jiffies,
        Jiffies,
        Msecs, //
    }, //
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
    let mut node = Node::new(key);
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

/// Never returns: the object is saturated and will not be run down.
#[cold]
pub(super) fn forever() -> ! {
    loop {
        // SAFETY: No requirements; process context, as this follows a wait.
        unsafe { helpers::quiesce_helper_rundown_forever() };
    }
}
