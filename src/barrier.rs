// SPDX-License-Identifier: GPL-2.0

//! Process barriers, without files or user pointers.
//!
//! [`pair::Pair`] and [`group::Group`] are plain state machines: they take no lock, wake nobody
//! and never sleep. [`queue::Queue`] adds a lock and wait queues, and wakes whomever a change of
//! the state concerns; `/dev/quiesce` adds descriptors. `uapi/quiesce.h` defines each operation;
//! the errors here are those that it lists.
//!
//! Where an operation has a result that user space has to be given, a `preview_*()` method returns
//! it without changing anything, so that the device can write it first.
//!
//! The pair's semantics are those of systemd's `Barrier`. In the group, tickets come from C++'s
//! `std::barrier`, joining and leaving from Java's `Phaser`, breaking from its `CyclicBarrier`,
//! and that a dead party's arrival counts from PMIx.

pub mod cause;
pub mod group;
pub mod pair;
pub mod queue;
pub mod set;
pub mod spin;

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

pub use self::cause::{
    Cause,
    End,
    Pid,
    Why, //
};

/// Returns a number that no other barrier has, by which traces and `fdinfo` name it.
pub(crate) fn next_id() -> u64 {
    static NEXT: Atomic<u64> = Atomic::new(1);

    // At one barrier a nanosecond, the numbers last for 500 years.
    NEXT.fetch_add(1, Relaxed)
}
