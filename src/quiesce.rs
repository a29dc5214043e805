// SPDX-License-Identifier: GPL-2.0

//! Synchronization primitives for kernel modules: rundown protection, sequence locks and RCU.
//!
//! Other Rust modules use three modules of this crate. [`rundown`] protects an object that is used
//! by some and removed by others: holders acquire it, and the remover waits until the last one has
//! released it. [`seqlock`] protects a small value that is read without a lock, with the context of
//! its writers in the lock's type. [`rcu`] is a typed interface to the kernel's RCU and SRCU:
//! pointers, lists and hash tables whose old values are reclaimed after a grace period.
//!
//! The module also registers `/dev/quiesce`, a barrier between processes, which
//! `src/uapi/quiesce.h` documents.

#![allow(internal_features)]

use kernel::prelude::*;

/// For the macros of this crate: a crate that uses them may give another one the name `core`.
#[doc(hidden)]
pub use ::core as __core;

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
