// SPDX-License-Identifier: GPL-2.0

//! Rundown protection: use an object while it exists; wait until nobody uses it any more.
//!
//! A task or an interrupt that uses the object acquires a guard, which fails from the moment the
//! rundown has begun. The owner begins the rundown and waits: when that returns, no guard is left and
//! none can be acquired until the reference is re-initialized.
//!
//! - [`RundownRef`] is one word, which all guards change. For most objects.
//! - [`PerCpuRundownRef`] is a counter per CPU: guards on different CPUs share no cache line, and a
//!   rundown takes a grace period of RCU. For objects that every packet or request acquires.
//! - [`Rundown<T, R>`](Rundown) is either of them in front of a value: a guard dereferences to it, and
//!   a task that has waited owns it exclusively.
//! - [`Freezable`] is run down for a while, during which acquirers wait.
//! - [`UnpluggableDevice`] is a character device whose files outlive it.
//!
//! [`RundownProtect`] is the common interface of the two references, [`HasRundown`] is for types that
//! contain one.
//!
//! # When to use this
//!
//! | | holder may sleep | removal | wait ends by signal or timeout | use when |
//! |---|---|---|---|---|
//! | [`RundownRef`], [`Rundown`] | yes | waits for holders | yes | users of a device, a connection or a table sleep while they use it, and it is removed or replaced while there are users |
//! | [`PerCpuRundownRef`] | yes | waits for holders and a grace period | yes | the same, acquired so often on several CPUs that the word's cache line is the bottleneck |
//! | `kernel::revocable::Revocable` | no: the guard is an RCU read-side critical section | waits for a grace period | no | short accesses to a resource that disappears with the device, in code that must not sleep anyway |
//! | `percpu_ref` | yes | asynchronous: a callback | no | C code; there is no safe interface, and killing twice, or freeing during the collection of the counters, are errors of the caller |
//! | `Completion` | - | - | yes | waiting for one event, without a count of users |
//! | `Arc` | yes | by the last user, whenever that is | - | nobody has to know when the last user is done |
//! | RCU ([`rcu`](crate::rcu)) | SRCU only | waits for a grace period | no | data that is read much more often than replaced, where the old version may be read for a while |
//!
//! # A driver
//!
//! ```
//! use kernel::sync::Arc;
//! use quiesce::rundown::{Rundown, RundownRef};
//!
//! /// The state of a device, as long as its driver is bound.
//! struct Device {
//!     registers: u32,
//! }
//!
//! fn probe() -> Result<Arc<Rundown<Device>>> {
//!     Ok(Arc::new(Rundown::new(Device { registers: 0x1000 }), GFP_KERNEL)?)
//! }
//!
//! /// Called by any number of open files, which may outlive the device.
//! fn ioctl(device: &Rundown<Device>) -> Result<u32> {
//!     // ENODEV after the removal. The device stays until the end of the function, also if it sleeps.
//!     let device = device.try_acquire()?;
//!     Ok(device.registers)
//! }
//!
//! fn remove(device: &Rundown<Device>) -> Result {
//!     // No ioctl runs afterwards, and none will: the device can be shut down.
//!     let (device, _vacant) = device.wait_for_rundown()?.take();
//!     drop(device);
//!     Ok(())
//! }
//!
//! let device = probe()?;
//! assert_eq!(ioctl(&device), Ok(0x1000));
//! remove(&device)?;
//! assert_eq!(ioctl(&device), Err(ENODEV));
//! # Ok::<(), Error>(())
//! ```
//!
//! # Guards
//!
//! A holder may sleep and may keep a guard for any time; it stands for a count, not for a critical
//! section. [`RundownGuard`] stays in its task, so that lockdep knows its holder; a [`SendGuard`] or an
//! [`ArcGuard`] can be sent to another task, see [`Guard::unbind`] and [`Guard::bind`].
//!
//! A guard that is leaked, by [`core::mem::forget`] for instance, is never released: waiting
//! without a timeout never ends then. With lockdep, the lock that a leaked [`RundownGuard`] stands
//! for is held by its task from then on, which lockdep reports when the object is freed.
//!
//! A holder that keeps a guard for long can be notified of a rundown, see [`Guard::on_rundown`] and
//! [`Guard::wait_until_requested`].
//!
//! # Contexts
//!
//! | | process | softirq | hardirq | NMI | PREEMPT_RT |
//! |---|---|---|---|---|---|
//! | [`RundownRef`]: acquire, release, also the last release | yes | yes | yes | where cmpxchg is NMI-safe (x86_64, arm64) | as elsewhere, raw locks only |
//! | [`RundownRef`]: begin, resurrect, re-init | yes | yes | yes | no | as elsewhere |
//! | [`PerCpuRundownRef`]: acquire, release, also the last release | yes | yes | yes | where per-CPU operations are NMI-safe (x86_64, arm64) | as elsewhere |
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
//! A guard protects an object, not code: the last release executes the end of the guard's drop after
//! a waiter has returned. A module that gives guards to its own threads, timers or callbacks stops them
//! before it is unloaded, as without guards. Files hold a reference to their module (`fops.owner`).
//!
//! A reference has no pointer into the module that created it, with two exceptions. The callback of a
//! [`PerCpuRundownRef`] is revoked when that module is unloaded. With lockdep, the key is an address in
//! that module: a reference that outlives it, and is used, makes lockdep report that and turn itself
//! off.
//!
//! # Memory ordering
//!
//! An acquisition has acquire ordering and a release release ordering. Everything done under a guard
//! happens before the return of a wait, and everything done before a re-initialization happens before
//! what a later guard protects.
//!
//! # Reports
//!
//! A rundown that is waited for longer than the module parameter `rundown_report_ms` is reported in the
//! log: the waiters, the exclusive owner if there is one, and the holders if they are recorded (with
//! lockdep, or `make QUIESCE_TRACK=1`). There is one report for each reference and interval. Waits
//! without a timeout are also seen by the hung task detector. `/sys/kernel/debug/quiesce_rundowns` lists
//! the rundowns that are waited for.
//!
//! # Origin
//!
//! Windows NT's `EX_RUNDOWN_REF`, by way of the Rust crate `run_down`; the encoding is that of tokio's
//! `TaskTracker`, saturation that of `refcount_t`, the lockdep scheme that of kernfs, freezing that of
//! blk-mq; the per-CPU reference uses `percpu_ref`, and holders can run down their own object as with
//! NT's remove locks.

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
mod track;
mod traits;
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
        // SAFETY: This function is called once, before anybody uses the table of listeners.
        unsafe { listeners::init() };
        // SAFETY: This function is called once, before anybody uses the table of waiters.
        let waiters = unsafe { waiters::Waiters::new() };
        // SAFETY: This function is called once, before anybody uses the worker.
        let reaper = unsafe { reaper::Reaper::new() };
        #[cfg(CONFIG_64BIT)]
        // SAFETY: This function is called once, before anybody creates a reference.
        let revoker = unsafe { callbacks::Revoker::new()? };
        Ok(Self {
            #[cfg(CONFIG_64BIT)]
            _revoker: revoker,
            _reaper: reaper,
            _waiters: waiters,
        })
    }
}
