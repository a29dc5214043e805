// SPDX-License-Identifier: GPL-2.0

//! No field can be left out.

//~ ERROR pattern requires `..` due to inaccessible fields
//~ ERROR rcu::impl_atomic_drop! { Route { hop } }
//~ ERROR rcu::impl_atomic_drop! { Pair { 0 } }

use quiesce::rcu;

pub struct Sleeps;

impl Drop for Sleeps {
    fn drop(&mut self) {}
}

pub struct Route {
    pub hop: u32,
    #[cfg(not(fixed))]
    pub sleeps: Sleeps,
}

pub struct Pair(pub u32, #[cfg(not(fixed))] pub Sleeps);

rcu::impl_atomic_drop! { Route { hop } }
rcu::impl_atomic_drop! { Pair { 0 } }
