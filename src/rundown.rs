// SPDX-License-Identifier: GPL-2.0

//! Rundown protection: use a thing while it lasts; wait until everybody has let go of it.
//!
//! Whoever wants to use the thing acquires a guard, which fails from the moment the rundown has
//! begun. Whoever wants the thing gone begins the rundown and waits: once that is over, no guard is
//! left and none can be had until the reference is armed again.
//!
//! - [`RundownRef`] is one word, which any number of guards change. For most things.
//! - [`PerCpuRundownRef`] is a counter per CPU: guards of different CPUs share no cache line, and a
//!   rundown takes a grace period of RCU. For what every packet or request acquires.
//! - [`Rundown<T, R>`](Rundown) puts either in front of data: a guard dereferences to it, and who
//!   has waited has it alone.
//!
//! [`RundownProtect`] is what the two references have in common, [`HasRundown`] is for objects of
//! one's own that hold one.
//!
//! # Guards
//!
//! A guard may sleep and may be held for as long as one likes; it stands for a count, not for a
//! section. [`RundownGuard`] stays in its task, so that lockdep knows who holds it; a
//! [`SendGuard`] or an [`ArcGuard`] moves, see [`Guard::unbind`] and [`Guard::bind`].
//!
//! A guard that is leaked, by [`core::mem::forget`] for instance, is never released: waiting
//! without a timeout never ends then. With lockdep, the lock that a leaked [`RundownGuard`] stands
//! for is held by its task from then on, which lockdep reports when the object is freed.
//!
//! # Contexts
//!
//! | | process | softirq | hardirq | NMI | PREEMPT_RT |
//! |---|---|---|---|---|---|
//! | [`RundownRef`]: acquire, release, the last release too | yes | yes | yes | where cmpxchg is NMI-safe (x86_64, arm64) | as elsewhere, raw locks only |
//! | [`RundownRef`]: begin, resurrect, re-init | yes | yes | yes | no | as elsewhere |
//! | [`PerCpuRundownRef`]: acquire, release, the last release too | yes | yes | yes | where per-CPU operations are NMI-safe (x86_64, arm64) | as elsewhere |
//! | [`PerCpuRundownRef`]: begin, resurrect, re-init | yes | no | no | no | yes |
//! | drop of a reference, of a [`Rundown`], of the last [`ArcGuard`] | yes | yes | yes | as release | as elsewhere |
//! | wait | yes | no | no | no | yes |
//! | [`Drained::drained`] | the context of the last release; an RCU callback for [`PerCpuRundownRef`] | | | | |
//! | destructor of a [`Drained`] and of an object whose last owner is an [`ArcGuard`] | the caller of the drop if it can be preempted, otherwise a worker in process context | | | | |
//!
//! # Limits
//!
//! A word counts up to 2^62 holders (2^30 on 32-bit architectures). Beyond that it saturates: it is
//! never run down, as with `refcount_t`, and a warning is printed. [`RundownRef::try_acquire`] does
//! not check this, but the next release does. So the count is wrong only if 2^63 guards are leaked
//! without a single release in the upper half of that range; on 32-bit architectures the acquisition
//! checks. The counters of a [`PerCpuRundownRef`] are checked by acquisitions of several at once, which
//! fail when the counter of their CPU has reached 2^62 divided by the number of CPUs, but not by those
//! of one, nor by clones: 2^63 guards that are leaked make their sum wrap around. There is no
//! [`PerCpuRundownRef`] on 32-bit architectures, where that is possible.
//!
//! # Modules
//!
//! A reference has no pointer into the module that created it, with two exceptions. The callback of a
//! [`PerCpuRundownRef`] is revoked when that module is unloaded. With lockdep, the key is an address in
//! that module: a reference that outlives it, and is used, makes lockdep report that and turn itself
//! off.
//!
//!
//! # Memory ordering
//!
//! An acquisition has acquire ordering and a release release ordering. All that was done under a
//! guard happens before the return of a wait, and all that was done before a re-init happens
//! before what a later guard protects.
//!
//! # Where it comes from
//!
//! Windows NT's `EX_RUNDOWN_REF`, by way of the Rust crate `run_down`; the encoding from tokio's
//! `TaskTracker`, saturation from `refcount_t`, the lockdep scheme from kernfs, the per-CPU form
//! from `percpu_ref`, holders that run down their own object from remove locks.

#[cfg(CONFIG_64BIT)]
mod callbacks;
mod capi;
mod data;
mod error;
mod guard;
mod lockdep;
#[cfg(CONFIG_64BIT)]
mod percpu_core;
#[cfg(CONFIG_64BIT)]
mod percpu_rundown_ref;
mod reaper;
mod rundown_ref;
mod track;
mod traits;
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
    wait::{
        set_report_interval,
        Wait, //
    }, //
};

use kernel::prelude::*;

/// The parts of this module that exist as long as the kernel module is loaded.
pub(crate) struct Runtime {
    // Fields are dropped in this order.
    #[cfg(CONFIG_64BIT)]
    _revoker: callbacks::Revoker,
    _reaper: reaper::Reaper,
    _waiters: waiters::Waiters,
}

impl Runtime {
    /// Initialises the table of waiters, the worker and the module notifier.
    ///
    /// # Safety
    ///
    /// Called once, before anybody uses this module.
    pub(crate) unsafe fn new() -> Result<Self> {
        // SAFETY: This function is called once, before anybody uses the table of waiters.
        let waiters = unsafe { waiters::Waiters::start() };
        // SAFETY: This function is called once, before anybody uses the worker.
        let reaper = unsafe { reaper::Reaper::new() };
        Ok(Self {
            // SAFETY: This function is called once, before anybody creates a reference.
            #[cfg(CONFIG_64BIT)]
            _revoker: unsafe { callbacks::Revoker::new()? },
            _reaper: reaper,
            _waiters: waiters,
        })
    }
}
