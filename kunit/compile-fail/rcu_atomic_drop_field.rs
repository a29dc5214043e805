// SPDX-License-Identifier: GPL-2.0

//! The type of every field is checked.

//~ ERROR the trait bound `Sleeps: AtomicDrop` is not satisfied

#![forbid(unsafe_code)]

use kernel::prelude::*;
use quiesce::rcu;

pub struct Sleeps;

impl Drop for Sleeps {
    fn drop(&mut self) {}
}

#[cfg(not(fixed))]
type Field = KVec<Sleeps>;
#[cfg(fixed)]
type Field = KVec<u8>;

pub struct Route {
    pub name: KVec<u8>,
    pub sleeps: Field,
}

rcu::impl_atomic_drop! { Route { name, sleeps } }
