// SPDX-License-Identifier: GPL-2.0

//! Process barriers, without files or user pointers.
//!
//! [`pair::Pair`] and [`group::Group`] are plain state machines: they take no lock, wake nobody
//! and never sleep. [`queue::Queue`] puts a lock and a wait queue round one of them, and
//! `/dev/quiesce` puts descriptors in front. What each operation means is told once, in
//! `uapi/quiesce.h`; the errors here are those that it lists.
//!
//! A state machine's operations that return `bool` say whether others may now have something to
//! look at, so that the caller wakes them.
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

pub use self::cause::{
    Cause,
    End,
    Pid,
    Why, //
};
