// SPDX-License-Identifier: GPL-2.0

//! A module whose last destructor, which runs after the exit function has returned, starts work
//! that outlasts it: grace periods and leaked futures. The kernel must neither crash nor warn.
//!
//! The exit function retires the first of a chain of `depth` objects, each of which retires the next
//! one in its destructor. `how` says what the last destructor does. With `how=4` the objects of the
//! chain are of all kinds in turn: each way of being deferred is posted by each other one. With `how=5` another
//! module calls a function of this one, by way of `quiesce_gate`, which drops a cell.

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
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Domain,
    Global,
    InSoftirq,
    Object,
    RcuCell,
    Shared,
    Srcu, //
};

#[path = "rcu/executor.rs"]
#[allow(dead_code, reason = "this module needs wakers only")]
mod executor;

module! {
    type: Late,
    name: "quiesce_rcu_late",
    authors: ["The quiesce developers"],
    description: "Does in its last destructor what outlasts it",
    license: "GPL",
    params: {
        how: u32 {
            default: 0,
            description: "0 starts, 1 expedites a grace period, 2 leaks futures of its own domain, 3 of RCU, 4 is as the others, 5 drops a cell in a call",
        },
        depth: u32 {
            default: 3,
            description: "Objects in the chain",
        },
    },
}

rcu::define_domain! {
    /// This module's own.
    Own
}

/// The number of calls of the module's functions, in memory that is freed with the module.
static CALLS: Atomic<usize> = Atomic::new(0);

struct Woken;

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        CALLS.add(1usize, Relaxed);
    }
}

/// Leaks futures that wait, and whose wakers are in this module.
fn leak<D: Domain>(domain: D) -> Result {
    let waker = waker(Arc::new(Woken, GFP_KERNEL)?);
    for _ in 0..500 {
        let mut future = KBox::pin(domain.synchronize_async(), GFP_KERNEL)?;
        let _ = future.as_mut().poll(&mut Context::from_waker(&waker));
        core::mem::forget(future);
    }
    Ok(())
}

fn outlast() -> Result {
    let own = Srcu::<Own>::init()?;
    match module_parameters::how.value() {
        0 => {
            own.start();
        }
        1 => {
            own.start_expedited();
        }
        2 => leak(own)?,
        4 | 5 => (),
        _ => leak(rcu::global())?,
    }
    Ok(())
}

struct Link {
    next: RcuCell<Option<KBox<Object<Link>>>>,
    last: bool,
}

impl Drop for Link {
    fn drop(&mut self) {
        CALLS.add(1usize, Relaxed);
        self.next.publish(None);
        if self.last {
            let _ = outlast();
        }
    }
}

/// The next object of a chain of all kinds.
enum Next {
    Nothing,
    Softirq(KBox<Object<Mixed, InSoftirq>>),
    Process(KBox<Object<Mixed>>),
    OwnSoftirq(KBox<Object<Mixed, InSoftirq>>),
    OwnProcess(KBox<Object<Mixed>>),
    Shared(Arc<Shared<Mixed>>),
}

impl Next {
    /// Wraps a chain whose first object is of the kind that `i` selects.
    fn new(i: u32, next: Self) -> Result<Self> {
        let mixed = Mixed { next };
        Ok(match i % 6 {
            0 | 1 => Self::Softirq(Object::new_atomic(mixed).boxed(GFP_KERNEL)?),
            2 => Self::Process(Object::new(mixed).boxed(GFP_KERNEL)?),
            3 => Self::OwnSoftirq(Object::new_atomic(mixed).boxed(GFP_KERNEL)?),
            4 => Self::OwnProcess(Object::new(mixed).boxed(GFP_KERNEL)?),
            _ => Self::Shared(Arc::new(Shared::new(mixed), GFP_KERNEL)?),
        })
    }

    /// Defers the first object.
    fn defer(self) {
        match self {
            Self::Nothing => (),
            Self::Softirq(object) => RcuCell::<_, Global>::new(Some(object)).publish(None),
            Self::Process(object) => RcuCell::<_, Global>::new(Some(object)).publish(None),
            Self::OwnSoftirq(object) => RcuCell::<_, Srcu<Own>>::new(Some(object)).publish(None),
            Self::OwnProcess(object) => RcuCell::<_, Srcu<Own>>::new(Some(object)).publish(None),
            Self::Shared(object) => RcuCell::<_, Global>::new(Some(object)).publish(None),
        }
    }
}

struct Mixed {
    next: Next,
}

// SAFETY: The destructor adds to an atomic and defers an object.
unsafe impl AtomicDrop for Mixed {}

impl Drop for Mixed {
    fn drop(&mut self) {
        CALLS.add(1usize, Relaxed);
        core::mem::replace(&mut self.next, Next::Nothing).defer();
    }
}

extern "C" {
    fn quiesce_gate_set_callee(func: Option<extern "C" fn()>);
}

/// Called by a destructor of another module; drops a cell whose object has a destructor of this one.
extern "C" fn callee() {
    let link = Link {
        next: RcuCell::none(),
        last: false,
    };
    if let Ok(object) = Object::new(link).boxed(GFP_KERNEL) {
        drop(RcuCell::<_, Global>::new(object));
    }
}

struct Late {
    first: RcuCell<Option<KBox<Object<Link>>>>,
    mixed: Next,
}

impl kernel::Module for Late {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Srcu::<Own>::init()?;
        let mut mixed = Next::Nothing;
        if module_parameters::how.value() == 4 {
            for i in 0..module_parameters::depth.value() {
                mixed = Next::new(i, mixed)?;
            }
        }
        let mut next = None;
        for i in 0..module_parameters::depth.value() {
            let link = Link {
                next: RcuCell::new(next),
                last: i == 0,
            };
            next = Some(KBox::new(Object::new(link), GFP_KERNEL)?);
        }
        if module_parameters::how.value() == 5 {
            // SAFETY: The function is removed by `drop()` below, before this module is freed.
            unsafe { quiesce_gate_set_callee(Some(callee)) };
        }
        Ok(Self {
            first: RcuCell::new(next),
            mixed,
        })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if module_parameters::how.value() == 5 {
            // SAFETY: No function is kept after this call, which waits for a call that is under way.
            unsafe { quiesce_gate_set_callee(None) };
        }
        self.first.publish(None);
        core::mem::replace(&mut self.mixed, Next::Nothing).defer();
    }
}
