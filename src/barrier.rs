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

/// The number of a barrier, by which traces and `fdinfo` name it. No other barrier has it.
pub struct Id(u64);

impl Id {
    /// Returns the next number.
    pub fn next() -> Self {
        static NEXT: Atomic<u64> = Atomic::new(1);

        // At one barrier a nanosecond, the numbers last for 500 years.
        Self(NEXT.fetch_add(1, Relaxed))
    }

    /// Returns the number itself.
    pub fn number(&self) -> u64 {
        self.0
    }
}
