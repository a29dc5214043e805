// SPDX-License-Identifier: GPL-2.0

//! A separate module that misuses rundown references in ways that lockdep must report, one per
//! load. See `qemu/tests/rundown.splats`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    set_stall_report_ms,
    HasRundown,
    PerCpuRundownRef,
    Rundown,
    RundownProtect,
    RundownRef, //
};

#[path = "../support.rs"]
mod support;

module! {
    type: Splats,
    name: "rundown_splats",
    authors: ["The quiesce developers"],
    description: "Misuses rundown references, for lockdep to see",
    license: "GPL",
    params: {
        case: u32 {
            default: 0,
            description: "What to do wrong",
        },
    },
}

struct Splats;

/// A wait without timeout that does not end.
fn stall() -> Result {
    static USERS: RundownRef = RundownRef::new();

    core::mem::forget(USERS.try_acquire()?.unbind());
    let waiter = support::spawn(c"rundown_stuck", || USERS.wait_for_rundown())?;
    core::mem::forget(waiter);
    Ok(())
}

/// Waits for an object that this task owns exclusively.
fn own_exclusive() -> Result {
    static OBJECT: Rundown<u32> = Rundown::new(1);

    let owner = OBJECT.wait_for_rundown()?;
    let _ = OBJECT.wait_for_rundown_timeout(1);
    drop(owner);
    Ok(())
}

/// Waits for an object that another task owns exclusively, until that is reported.
fn report_owner() -> Result {
    static OBJECT: Rundown<u32> = Rundown::new(1);

    let before = set_stall_report_ms(20);
    let owner = OBJECT.wait_for_rundown()?;
    support::spawn(c"rundown_second", || {
        let _ = OBJECT.wait_for_rundown_timeout(msecs_to_jiffies(2000));
    })?
    .join();
    drop(owner);
    set_stall_report_ms(before);
    Ok(())
}

/// Waits while this very task holds a guard.
fn own_guard<R: RundownProtect + HasRundown<Ref = R>>(r: &R) -> Result {
    let guard = r.try_acquire()?;
    let _ = r.wait_for_rundown_timeout(1);
    drop(guard);
    Ok(())
}

/// Leaks a guard, of which only lockdep keeps something.
#[inline(never)]
fn leak_guard_of_local() -> usize {
    let users = RundownRef::new();
    if let Ok(guard) = users.try_acquire() {
        core::mem::forget(guard);
    }
    users.holders()
}

/// Uses the stack that the function before has used.
#[inline(never)]
fn overwrite_stack() {
    core::hint::black_box([usize::MAX / 3; 128]);
}

/// Releases a mutex after a guard was leaked under it, whose reference is gone: lockdep reads what it
/// knows about the guard then. Afterwards the task holds the guard still, and exits.
fn leaked_under_mutex() -> Result {
    let mutex = Arc::pin_init(new_mutex!((), "rundown_splats_mutex"), GFP_KERNEL)?;
    support::spawn(c"rundown_leak", move || {
        let locked = mutex.lock();
        if leak_guard_of_local() != 1 {
            pr_err!("BUG: the guard is not counted\n");
        }
        overwrite_stack();
        drop(locked);
    })?
    .join();
    Ok(())
}

/// Waits under a mutex for an object that nobody holds: lockdep records the order.
fn wait_below<R: RundownProtect + HasRundown<Ref = R>>(mutex: &Mutex<()>, r: &R) {
    let _locked = mutex.lock();
    r.wait_for_rundown();
}

/// Waits for an object under a mutex that a holder of the object takes. `moved` holders got their
/// guard from another task.
fn cycle<R>(r: Arc<R>, moved: bool) -> Result
where
    R: RundownProtect + HasRundown<Ref = R> + Send + 'static,
{
    let mutex = Arc::pin_init(new_mutex!((), "rundown_splats_mutex"), GFP_KERNEL)?;

    let guard = HasRundown::try_acquire_arc(r.clone())?;
    let (theirs, object): (Arc<Mutex<()>>, Arc<R>) = (mutex.clone(), r.clone());
    support::spawn(c"rundown_holder", move || {
        if moved {
            let bound = guard.bind();
            drop(theirs.lock());
            drop(bound);
        } else {
            drop(guard);
            let bound = object.try_acquire();
            drop(theirs.lock());
            drop(bound);
        }
    })?
    .join();

    let _locked = mutex.lock();
    let _ = r.wait_for_rundown_timeout(msecs_to_jiffies(1));
    Ok(())
}

impl kernel::Module for Splats {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let word = || Arc::new(RundownRef::new(), GFP_KERNEL);
        let percpu = || Arc::pin_init(PerCpuRundownRef::new(), GFP_KERNEL);
        match module_parameters::case.value() {
            1 => own_guard(&*word()?)?,
            2 => own_guard(&*percpu()?)?,
            3 => cycle(word()?, false)?,
            4 => cycle(percpu()?, false)?,
            5 => cycle(word()?, true)?,
            6 => cycle(percpu()?, true)?,
            // What is right, so that the others are not right by accident.
            7 => {
                cycle_free(word()?)?;
                cycle_free(percpu()?)?;
            }
            8 => stall()?,
            9 => own_exclusive()?,
            10 => report_owner()?,
            11 => leaked_under_mutex()?,
            12 => {
                let below_word = Arc::pin_init(new_mutex!((), "rundown_waits_word"), GFP_KERNEL)?;
                let below_percpu =
                    Arc::pin_init(new_mutex!((), "rundown_waits_percpu"), GFP_KERNEL)?;
                wait_below(&below_word, &*word()?);
                wait_below(&below_percpu, &*percpu()?);
            }
            _ => return Err(EINVAL),
        }
        Ok(Self)
    }
}

/// As [`cycle`], with the wait outside of the mutex, and with a guard that was sent away.
fn cycle_free<R>(r: Arc<R>) -> Result
where
    R: RundownProtect + HasRundown<Ref = R> + Send + 'static,
{
    let mutex = Arc::pin_init(new_mutex!((), "rundown_splats_mutex"), GFP_KERNEL)?;
    let guard = r.try_acquire()?;
    drop(mutex.lock());
    drop(guard);
    let sent = HasRundown::try_acquire_arc(r.clone())?;
    let thread = support::spawn(c"rundown_holder", move || drop(sent.bind()))?;
    let waited = r.wait_for_rundown_timeout(msecs_to_jiffies(60_000));
    thread.join();
    Ok(waited?)
}
