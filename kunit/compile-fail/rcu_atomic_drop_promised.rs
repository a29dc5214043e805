// SPDX-License-Identifier: GPL-2.0

//! Safe code cannot promise that a destructor does not sleep.

//~ ERROR the trait `AtomicDrop` requires an `unsafe impl` declaration

use quiesce::rcu::AtomicDrop;

pub struct Route {
    pub hop: u32,
}

#[cfg(not(fixed))]
impl AtomicDrop for Route {}
#[cfg(fixed)]
quiesce::rcu::impl_atomic_drop! { Route { hop } }

pub fn f(route: Route) -> impl AtomicDrop {
    route
}
