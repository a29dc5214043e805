// SPDX-License-Identifier: GPL-2.0

//! The trait that the type must not implement is `core`'s, also where the caller's crate has that name.

//~ ERROR conflicting implementations of trait `MustNotImplementDrop`

extern crate core as the_core;
extern crate self as core;

/// Stands for `core::ops`.
pub mod ops {
    /// A trait that nothing implements.
    pub trait Drop {}
}

pub use the_core::marker;

use quiesce::rcu;

pub struct Route {
    pub hop: u32,
}

#[cfg(not(fixed))]
impl the_core::ops::Drop for Route {
    fn drop(&mut self) {}
}

rcu::impl_atomic_drop! { Route { hop } }
