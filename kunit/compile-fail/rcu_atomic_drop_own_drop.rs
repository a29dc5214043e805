// SPDX-License-Identifier: GPL-2.0

//! A destructor of the type's own cannot be checked, so the macro does not take it.

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
