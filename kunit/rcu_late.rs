// SPDX-License-Identifier: GPL-2.0

//! A module whose last destructor, which runs after the exit function has returned, starts work
//! that outlasts it: grace periods and leaked futures. The kernel must neither crash nor warn.
//!
//! The exit function retires the first of a chain of `depth` objects, each of which retires the next
//! one in its destructor. `how` says what the last destructor does.

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
    Domain,
    Object,
    RcuCell,
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
            description: "0 starts, 1 expedites a grace period, 2 leaks futures of its own domain, 3 of RCU",
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

struct Late {
    first: RcuCell<Option<KBox<Object<Link>>>>,
}

impl kernel::Module for Late {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Srcu::<Own>::init()?;
        let mut next = None;
        for i in 0..module_parameters::depth.value() {
            let link = Link {
                next: RcuCell::new(next),
                last: i == 0,
            };
            next = Some(KBox::new(Object::new(link), GFP_KERNEL)?);
        }
        Ok(Self {
            first: RcuCell::new(next),
        })
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.first.publish(None);
    }
}
