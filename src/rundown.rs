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
//! without a timeout never ends then. It breaks nothing else.
//!
//! # Contexts
//!
//! | | process | softirq | hardirq | NMI | PREEMPT_RT |
//! |---|---|---|---|---|---|
//! | [`RundownRef`]: acquire, release, the last release too | yes | yes | yes | where cmpxchg is NMI-safe (x86_64, arm64) | as elsewhere, raw locks only |
//! | [`RundownRef`]: begin, resurrect, re-init | yes | yes | yes | no | as elsewhere |
//! | [`PerCpuRundownRef`]: acquire, release, the last release too | yes | yes | yes | where per-CPU operations are NMI-safe (x86_64, arm64) | as elsewhere |
//! | [`PerCpuRundownRef`]: begin, resurrect, re-init, drop | yes | no | no | no | yes |
//! | wait | yes | no | no | no | yes |
//! | [`Drained::drained`] | from where the last release was | | | | |
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

mod capi;
mod data;
mod error;
mod guard;
mod lockdep;
mod percpu_core;
mod percpu_rundown_ref;
mod rundown_ref;
mod track;
mod traits;
mod wait;
mod waiters;
mod word;

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
        Bound,
        Count,
        Guard,
        Many,
        Mobility,
        Movable,
        One,
        Pointer,
        RundownGuard,
        RundownGuards,
        SendGuard,
        SendGuards, //
    },
    percpu_rundown_ref::PerCpuRundownRef,
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

pub(crate) use self::waiters::Waiters;
