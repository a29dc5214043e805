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

#[doc(hidden)]
pub mod barrier;
mod device;
mod trace;
mod tracepoint;

module! {
    type: Quiesce,
    name: "quiesce",
    authors: ["The quiesce developers"],
    description: "Rundown references, sequence locks, RCU and a process barrier",
    license: "GPL",
    params: {
        mode: u16 {
            default: 0o666,
            description: "Mode of /dev/quiesce",
        },
    },
}

#[pin_data]
struct Quiesce {
    // Fields are dropped in this order: the device first, then what it may use.
    #[pin]
    _device: device::Registration,
    _rcu: rcu::Runtime,
    _rundown: rundown::Runtime,
}

impl kernel::InPlaceModule for Quiesce {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: A module's start runs once, and before those of modules that need it.
            _rundown: unsafe { rundown::Runtime::new()? },
            _rcu: rcu::Runtime::new()?,
            _device <- device::Registration::new(module_parameters::mode.value()),
        })
    }
}
