// SPDX-License-Identifier: GPL-2.0

//! Rundown protection: use an object while it exists, and wait until nobody uses it any more.
#![doc = include_str!("rundown/README.md")]

#[cfg(CONFIG_64BIT)]
mod callbacks;
mod capi;
mod data;
mod error;
mod freezable;
mod guard;
mod listeners;
mod lockdep;
#[cfg(CONFIG_64BIT)]
mod percpu_core;
#[cfg(CONFIG_64BIT)]
mod percpu_rundown_ref;
mod reaper;
mod rundown_ref;
mod trace;
mod track;
mod traits;
mod unload;
mod unpluggable;
mod wait;
mod waiters;
mod word;

#[cfg(CONFIG_64BIT)]
pub use self::percpu_rundown_ref::PerCpuRundownRef;

pub use self::{
    data::{
        Exclusive,
        Rundown,
        Vacant, //
    },
    error::RundownError,
    freezable::{
        Freezable,
        Frozen, //
    },
    guard::{
        ArcGuard,
        ArcGuards,
        Guard,
        GuardMobility,
        GuardPointer,
        Guards,
        Movable,
        RundownGuard,
        RundownGuards,
        SendGuard,
        SendGuards,
        TaskBound, //
    },
    rundown_ref::RundownRef,
    traits::{
        Drained,
        HasRundown,
        RundownProtect, //
    },
    unpluggable::{
        DeviceGuard,
        UnpluggableDevice,
        UnpluggableRegistration, //
    },
    wait::{
        set_stall_report_ms,
        Wait, //
    }, //
};

#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub use self::reaper::idle_slots_for_test;
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
#[doc(hidden)]
pub use self::unload::callbacks_for_test;
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub use self::waiters::for_each_overdue_for_test;

use kernel::prelude::*;

pub(crate) use self::unload::Callbacks;

/// The parts of this module that exist as long as the kernel module is loaded.
pub(crate) struct Runtime {
    // Fields are dropped in this order.
    _reaper: reaper::Reaper,
    _waiters: waiters::WaiterTable,
}

impl Runtime {
    /// Initialises the table of waiters and the worker.
    ///
    /// # Safety
    ///
    /// Called once, before anybody uses this module.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: This function is called once, before anybody uses the table of listeners.
        unsafe { listeners::init() };
        #[cfg(CONFIG_64BIT)]
        // SAFETY: This function is called once, before anybody creates a reference.
        unsafe {
            callbacks::init()
        };
        // SAFETY: This function is called once, before anybody uses the table of waiters.
        let waiters = unsafe { waiters::WaiterTable::new(wait::monitor, wait::list) };
        // SAFETY: This function is called once, before anybody uses the worker.
        let reaper = unsafe { reaper::Reaper::new()? };
        Ok(Self {
            _reaper: reaper,
            _waiters: waiters,
        })
    }
}
