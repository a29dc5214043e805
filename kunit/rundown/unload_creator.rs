// SPDX-License-Identifier: GPL-2.0

//! A module that creates references, gives guards of them to another module, begins their rundowns
//! and is unloaded. The last releases must not call into it: see `qemu/tests/rundown_unload.steps`.
//!
//! It also drops and leaks references with callbacks whose rundown has begun, and an object whose
//! destructor takes long.
//!
//! With `late=1` it creates the first references when the unload drops the waker of a future that it has
//! leaked, and its exit function does nothing but defer an object. The future waits for the domain that
//! `quiesce_rcu_holder lend=1` reads.

use core::{
    future::Future,
    task::Context, //
};
use executor::{
    waker,
    Wake, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::{
    rcu::{
        AtomicDrop,
        Domain,
        Global,
        Object,
        RcuCell,
        Srcu, //
    },
    rundown::{
        Drained,
        HasRundown,
        PerCpuRundownRef,
        Rundown,
        RundownRef, //
    }, //
};

#[path = "../rcu/executor.rs"]
#[allow(dead_code, reason = "this module needs a waker only")]
mod executor;
#[path = "../rcu/lent.rs"]
mod lent;

#[path = "unload_types.rs"]
#[allow(dead_code, reason = "the other module drops the fields")]
mod types;

#[path = "../support.rs"]
mod support;

use types::{
    Callback,
    Held, //
};

module! {
    type: Creator,
    name: "rundown_unload_creator",
    authors: ["The quiesce developers"],
    description: "Creates references for another module, and is unloaded",
    license: "GPL",
    params: {
        late: u32 {
            default: 0,
            description: "Create them when a waker is dropped",
        },
    },
}

extern "C" {
    // As in `unload.h`.
    fn quiesce_kunit_unload_hold(held: *mut c_void);
}

/// As [`Callback`], and may be called.
struct Quiet;

impl Drained for Quiet {
    #[inline(never)]
    fn drained(&self) {
        core::hint::black_box(self);
    }
}

/// A callback that says that it is dropped.
struct Dropped;

impl Drained for Dropped {
    #[inline(never)]
    fn drained(&self) {
        core::hint::black_box(self);
    }
}

impl Drop for Dropped {
    #[inline(never)]
    fn drop(&mut self) {
        pr_info!("the callback of a dropped reference is dropped\n");
    }
}

/// A value whose destructor takes long.
struct Slow;

impl Drop for Slow {
    #[inline(never)]
    fn drop(&mut self) {
        support::msleep(200);
        pr_info!("the slow destructor returns\n");
    }
}

/// Creates references, gives guards of them to the other module, and begins their rundowns.
fn give() -> Result {
    let plain = Arc::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
    let callback = Arc::pin_init(PerCpuRundownRef::with_callback(Callback), GFP_KERNEL)?;
    let value = Arc::pin_init(Rundown::pin_init(PerCpuRundownRef::new(), 5), GFP_KERNEL)?;
    let word = Arc::new(RundownRef::new(), GFP_KERNEL)?;
    let held = KBox::new(
        Held {
            plain: HasRundown::try_acquire_arc(plain.clone())?,
            callback: HasRundown::try_acquire_arc(callback.clone())?,
            value: HasRundown::try_acquire_arc(value.clone())?,
            word: HasRundown::try_acquire_arc(word.clone())?,
        },
        GFP_KERNEL,
    )?;
    // SAFETY: `quiesce_kunit_unload_hold()` takes ownership of a box of this type, and
    // `into_raw()` gives it away.
    unsafe { quiesce_kunit_unload_hold(KBox::into_raw(held).cast()) };
    plain.begin_rundown();
    callback.begin_rundown();
    value.begin_rundown();
    word.begin_rundown();
    Ok(())
}

/// A waker that is dropped by the unload of this module: in process context.
struct Late;

impl Wake for Late {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Late {
    fn drop(&mut self) {
        let given = give().is_ok();
        pr_info!("a waker that is dropped gives guards away: {given}\n");
    }
}

/// A value that RCU's callback drops: nothing is posted after it.
struct Quick;

// SAFETY: The destructor does nothing.
unsafe impl AtomicDrop for Quick {}

impl Drop for Quick {
    #[inline(never)]
    fn drop(&mut self) {
        core::hint::black_box(self);
    }
}

/// Leaks a future that waits.
fn leak_waiting() -> Result {
    let mut future = KBox::pin(Srcu::<lent::Lent>::init()?.synchronize_async(), GFP_KERNEL)?;
    let waker = waker(Arc::new(Late, GFP_KERNEL)?);
    let pending = future
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending();
    core::mem::forget(future);
    if pending {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

struct Creator;

impl kernel::Module for Creator {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if module_parameters::late.value() != 0 {
            leak_waiting()?;
        } else {
            give()?;
        }
        Ok(Self)
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        if module_parameters::late.value() != 0 {
            if let Ok(object) = Object::new_atomic(Quick).boxed(GFP_KERNEL) {
                RcuCell::<_, Global>::new(Some(object)).publish(None);
            }
            return;
        }
        if let Ok(dropped) = KBox::pin_init(PerCpuRundownRef::with_callback(Dropped), GFP_KERNEL) {
            dropped.begin_rundown();
        }
        for _ in 0..50 {
            // Dropped with its rundown in progress, and with a leaked guard.
            if let Ok(dropped) = KBox::pin_init(PerCpuRundownRef::with_callback(Quiet), GFP_KERNEL)
            {
                let guard = dropped.try_acquire().map(|guard| guard.unbind());
                dropped.begin_rundown();
                core::mem::forget(guard);
            }
            // Not dropped: the counters are collected when this module's text has been freed.
            let leaked = KBox::pin_init(PerCpuRundownRef::with_callback(Quiet), GFP_KERNEL);
            if let Ok(leaked) = leaked {
                leaked.begin_rundown();
                support::leak(&*leaked);
                core::mem::forget(leaked);
            }
        }
        // The last owner is dropped where the destructor cannot run: a work item runs it.
        if let Ok(object) = Arc::new(Rundown::new(Slow), GFP_KERNEL) {
            let guard = HasRundown::try_acquire_arc(object);
            support::preempt_disabled(|| drop(guard));
        }
        pr_info!("unloaded\n");
    }
}
