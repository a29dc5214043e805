// SPDX-License-Identifier: GPL-2.0

//! A type's own destructor cannot be checked, so the macro rejects a type that has one.

//~ ERROR conflicting implementations of trait `MustNotImplementDrop`

use quiesce::rcu;

pub struct Route {
    pub hop: u32,
}

#[cfg(not(fixed))]
impl Drop for Route {
    fn drop(&mut self) {}
}

rcu::impl_atomic_drop! { Route { hop } }
