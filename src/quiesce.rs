// SPDX-License-Identifier: GPL-2.0

//! Ways to wait until others are out of the way.
//!
//! The crate gives other Rust kernel modules [`rundown`] references, [`seqlock`]s whose modes are
//! tied to disabled preemption, bottom halves and interrupts, and an [`rcu`] wrapper. The module
//! also registers `/dev/quiesce`, a barrier between processes.

#![allow(internal_features)]

use kernel::prelude::*;

pub(crate) mod arch;
pub(crate) mod bindings;

pub mod rcu;
pub mod rundown;
pub mod seqlock;

mod barrier;
mod device;

module! {
    type: Quiesce,
    name: "quiesce",
    authors: ["The quiesce developers"],
    description: "Rundown references, sequence locks, RCU and a process barrier",
    license: "GPL",
}

struct Quiesce {
    _rundown: rundown::Waiters,
}

impl kernel::Module for Quiesce {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            // SAFETY: A module's start runs once, and before those of modules that need it.
            _rundown: unsafe { rundown::Waiters::start() },
        })
    }
}
