// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::rundown`.
//!
//! A test that both forms of a reference must pass is a function here, generic over the form; the
//! suites call it for each.

use crate::support;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Instant,
        Monotonic, //
    }, //
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    RundownError,
    RundownProtect,
    RundownRef, //
};

/// Fails with the line if a condition does not hold. For functions that are not tests themselves,
/// where `assert!` would be core's; and values are dropped on the way out, unlike in KUnit's.
macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            pr_err!(
                "{}:{}: is false: {}\n",
                file!(),
                line!(),
                stringify!($condition)
            );
            return Err(EINVAL);
        }
    };
}

/// As [`ensure!`], for two values that should be the same.
macro_rules! ensure_eq {
    ($left:expr, $right:expr) => {
        match ($left, $right) {
            (left, right) => {
                if left != right {
                    pr_err!(
                        "{}:{}: {:?} is not {:?}: {}\n",
                        file!(),
                        line!(),
                        left,
                        right,
                        stringify!($left)
                    );
                    return Err(EINVAL);
                }
            }
        }
    };
}

/// Runs a part of a test in which the kernel must print a warning that matches `regex`, and
/// announces it to the checker.
fn complaining<R>(regex: &str, f: impl FnOnce() -> R) -> R {
    pr_info!("quiesce: expect-begin {}\n", regex);
    let ret = f();
    pr_info!("quiesce: expect-end\n");
    ret
}

mod awaited;
mod capi;
mod contexts;
mod data;
mod drops;
mod guards;
mod lockdep;
mod requests;
mod run_down;
mod saturation;
mod waits;

/// Either form of a reference.
trait Form: RundownProtect + HasRundown<Ref = Self> + Send + Sync + Sized + 'static {
    fn live() -> Result<Arc<Self>>;
    fn run_down() -> Result<Arc<Self>>;
}

impl Form for RundownRef {
    fn live() -> Result<Arc<Self>> {
        Ok(Arc::new(RundownRef::new(), GFP_KERNEL)?)
    }

    fn run_down() -> Result<Arc<Self>> {
        Ok(Arc::new(RundownRef::new_rundown(), GFP_KERNEL)?)
    }
}

impl Form for PerCpuRundownRef {
    fn live() -> Result<Arc<Self>> {
        Arc::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)
    }

    fn run_down() -> Result<Arc<Self>> {
        Arc::pin_init(PerCpuRundownRef::new_rundown(), GFP_KERNEL)
    }
}

fn acquire_until_rundown<R: Form>() -> Result {
    let r = R::live()?;
    {
        let guard = r.try_acquire()?;
        ensure!(!guard.is_rundown_requested());
        ensure_eq!(r.holders(), 1);
    }
    ensure_eq!(r.holders(), 0);
    ensure!(!r.rundown_completed());
    ensure!(!r.is_rundown_requested());
    r.wait_for_rundown();
    ensure!(r.rundown_completed());
    ensure!(r.is_rundown_requested());
    ensure_eq!(r.try_acquire().err(), Some(RundownError::RundownInProgress));
    ensure_eq!(
        r.try_acquire_many(3).err(),
        Some(RundownError::RundownInProgress)
    );
    r.re_init()?;
    ensure!(r.try_acquire().is_ok());
    Ok(())
}

fn successive_waits<R: Form>() -> Result {
    let r = R::live()?;
    r.wait_for_rundown();
    for _ in 0..10 {
        r.wait_for_rundown();
        r.wait_for_rundown_interruptible()?;
        r.wait_for_rundown_killable()?;
        r.wait_for_rundown_timeout(0)?;
    }
    ensure!(r.rundown_completed());
    Ok(())
}

fn re_init_needs_a_rundown<R: Form>() -> Result {
    let r = R::live()?;
    ensure_eq!(r.re_init(), Err(RundownError::NotDrained));
    let guard = r.try_acquire()?;
    ensure_eq!(r.re_init(), Err(RundownError::NotDrained));
    ensure!(r.begin_rundown());
    ensure_eq!(r.re_init(), Err(RundownError::NotDrained));
    drop(guard);
    r.wait_for_rundown();
    r.re_init()?;
    ensure_eq!(r.re_init(), Err(RundownError::NotDrained));
    ensure!(r.try_acquire().is_ok());
    Ok(())
}

fn born_run_down<R: Form>() -> Result {
    let r = R::run_down()?;
    ensure!(r.rundown_completed());
    ensure!(!r.begin_rundown());
    ensure_eq!(r.try_acquire().err(), Some(RundownError::RundownInProgress));
    r.wait_for_rundown();
    r.re_init()?;
    let guard = r.try_acquire()?;
    ensure!(r.begin_rundown());
    ensure!(!r.begin_rundown());
    ensure!(!r.rundown_completed());
    drop(guard);
    r.wait_for_rundown();
    ensure!(r.rundown_completed());
    Ok(())
}

fn timeout_expires_then_succeeds<R: Form>() -> Result {
    let r = R::live()?;
    let guard = r.try_acquire()?.unbind();
    for ms in [0, 1, 20] {
        ensure_eq!(
            r.wait_for_rundown_timeout(msecs_to_jiffies(ms)),
            Err(RundownError::TimedOut)
        );
        ensure!(guard.is_rundown_requested());
        ensure!(!r.rundown_completed());
    }
    drop(guard);
    ensure_eq!(r.wait_for_rundown_timeout(msecs_to_jiffies(10_000)), Ok(()));
    ensure_eq!(r.wait_for_rundown_timeout(0), Ok(()));
    Ok(())
}

/// Whether `f` comes true, within ten seconds.
fn comes_true(f: impl Fn() -> bool) -> bool {
    let begin = Instant::<Monotonic>::now();
    while !f() {
        if begin.elapsed().as_nanos() > 10_000_000_000 {
            return f();
        }
        support::msleep(1);
    }
    true
}

/// Whether the number of holders becomes `n`. The one that a collection of the CPUs' counters may
/// add is put by its RCU callback, however late that runs.
fn comes_to_hold<R: Form>(r: &R, n: usize) -> bool {
    for _ in 0..10_000 {
        if r.holders() == n {
            return true;
        }
        support::msleep(1);
    }
    false
}

fn resurrect<R: Form>() -> Result {
    let r = R::live()?;
    ensure_eq!(r.resurrect(), Err(RundownError::NotInProgress));
    let guard = r.try_acquire()?.unbind();
    for _ in 0..3 {
        ensure!(r.begin_rundown());
        ensure!(comes_to_hold(&*r, 1));
        ensure!(r.try_acquire().is_err());
        r.resurrect()?;
        ensure!(comes_to_hold(&*r, 1));
        ensure!(!guard.is_rundown_requested());
        drop(r.try_acquire()?);
    }
    ensure!(r.begin_rundown());
    drop(guard);
    r.wait_for_rundown();
    ensure_eq!(r.resurrect(), Err(RundownError::NotInProgress));
    ensure!(r.rundown_completed());
    Ok(())
}

#[kunit_tests(quiesce_rundown)]
mod tests {
    use super::*;

    #[test]
    fn acquire_until_rundown_word() -> Result {
        acquire_until_rundown::<RundownRef>()
    }

    #[test]
    fn acquire_until_rundown_percpu() -> Result {
        acquire_until_rundown::<PerCpuRundownRef>()
    }

    #[test]
    fn successive_waits_word() -> Result {
        successive_waits::<RundownRef>()
    }

    #[test]
    fn successive_waits_percpu() -> Result {
        successive_waits::<PerCpuRundownRef>()
    }

    #[test]
    fn re_init_needs_a_rundown_word() -> Result {
        re_init_needs_a_rundown::<RundownRef>()
    }

    #[test]
    fn re_init_needs_a_rundown_percpu() -> Result {
        re_init_needs_a_rundown::<PerCpuRundownRef>()
    }

    #[test]
    fn born_run_down_word() -> Result {
        born_run_down::<RundownRef>()
    }

    #[test]
    fn born_run_down_percpu() -> Result {
        born_run_down::<PerCpuRundownRef>()
    }

    #[test]
    fn timeout_expires_then_succeeds_word() -> Result {
        timeout_expires_then_succeeds::<RundownRef>()
    }

    #[test]
    fn timeout_expires_then_succeeds_percpu() -> Result {
        timeout_expires_then_succeeds::<PerCpuRundownRef>()
    }

    #[test]
    fn resurrect_word() -> Result {
        resurrect::<RundownRef>()
    }

    #[test]
    fn resurrect_percpu() -> Result {
        resurrect::<PerCpuRundownRef>()
    }

    #[test]
    fn a_static_is_one_word() -> Result {
        static USERS: RundownRef = RundownRef::new();

        if !cfg!(CONFIG_LOCKDEP) {
            assert_eq!(size_of::<RundownRef>(), size_of::<usize>());
        }
        // The suite may run again, and finds it as it was left.
        let left = USERS.re_init();
        let guard = USERS.try_acquire();
        let got = guard.is_ok();
        drop(guard);
        assert!(got);
        assert!(left.is_ok() || left == Err(RundownError::NotDrained));
        USERS.wait_for_rundown();
        assert!(USERS.rundown_completed());
        Ok(())
    }

    #[test]
    fn errors_are_errnos() -> Result {
        assert!(Error::from(RundownError::RundownInProgress) == ENODEV);
        assert!(Error::from(RundownError::TimedOut) == ETIMEDOUT);
        assert!(Error::from(RundownError::Interrupted) == EINTR);
        assert!(Error::from(RundownError::NotDrained) == EBUSY);
        assert!(Error::from(RundownError::ZeroCount) == EINVAL);
        assert!(Error::from(RundownError::Overflow) == EOVERFLOW);
        assert!(Error::from(RundownError::Resurrected) == ECANCELED);
        assert!(Error::from(RundownError::Vacant) == ENODATA);
        assert!(Error::from(RundownError::Occupied) == EEXIST);
        assert!(Error::from(RundownError::NotInProgress) == EINVAL);
        assert!(Error::from(RundownError::Saturated) == EOVERFLOW);
        assert!(Error::from(RundownError::WouldSleep) == EAGAIN);
        Ok(())
    }
}
