// SPDX-License-Identifier: GPL-2.0

//! The state that lockdep has of rundowns. Its warnings are tested by `qemu/tests/rundown.splats`.

use super::Form;
use crate::support;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    RundownRef, //
};

/// A guard that stays in its task is held by it; one that moves is not, until it is bound again.
fn held<R: Form>() -> Result {
    let r = R::live()?;
    let known = cfg!(CONFIG_LOCKDEP);
    ensure!(!r.is_held_by_current());
    let guard = r.try_acquire()?;
    ensure_eq!(r.is_held_by_current(), known);
    let second = guard.clone();
    drop(guard);
    ensure_eq!(r.is_held_by_current(), known);
    let moving = second.unbind();
    ensure!(!r.is_held_by_current());
    let back = moving.bind();
    ensure_eq!(r.is_held_by_current(), known);
    drop(back);
    ensure!(!r.is_held_by_current());

    let owned = HasRundown::try_acquire_arc(r.clone())?;
    ensure!(!r.is_held_by_current());
    let theirs = r.clone();
    let seen = Arc::new(kernel::sync::atomic::Atomic::new(false), GFP_KERNEL)?;
    let tell = seen.clone();
    support::spawn(c"rundown_held", move || {
        let bound = owned.bind();
        tell.store(
            theirs.is_held_by_current() == cfg!(CONFIG_LOCKDEP) && !bound.is_rundown_requested(),
            kernel::sync::atomic::Release,
        );
    })?
    .join();
    ensure!(seen.load(kernel::sync::atomic::Acquire));
    ensure!(!r.is_held_by_current());
    r.might_wait();
    r.wait_for_rundown();
    Ok(())
}

/// More guards than lockdep has room for in a task.
fn more_than_lockdep_can_hold<R: Form>() -> Result {
    let r = R::live()?;
    let mut guards = KVec::new();
    for _ in 0..100 {
        guards.push(r.try_acquire()?, GFP_KERNEL)?;
    }
    ensure_eq!(r.holders(), 100);
    drop(guards);
    ensure!(!r.is_held_by_current());
    r.wait_for_rundown();
    Ok(())
}

/// A task may wait for one object with a guard of another: their classes differ.
fn one_in_another<R: Form>() -> Result {
    let outer = R::live()?;
    let inner = Arc::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
    let word = RundownRef::new();
    let guard = outer.try_acquire()?;
    inner.wait_for_rundown();
    word.wait_for_rundown();
    drop(guard);
    Ok(())
}

#[kunit_tests(quiesce_rundown_lockdep)]
mod tests {
    use super::*;

    #[test]
    fn held_word() -> Result {
        held::<RundownRef>()
    }

    #[test]
    fn held_percpu() -> Result {
        held::<PerCpuRundownRef>()
    }

    #[test]
    fn more_than_lockdep_can_hold_word() -> Result {
        more_than_lockdep_can_hold::<RundownRef>()
    }

    #[test]
    fn more_than_lockdep_can_hold_percpu() -> Result {
        more_than_lockdep_can_hold::<PerCpuRundownRef>()
    }

    #[test]
    fn one_in_another_word() -> Result {
        one_in_another::<RundownRef>()
    }

    #[test]
    fn one_in_another_percpu() -> Result {
        one_in_another::<PerCpuRundownRef>()
    }
}
