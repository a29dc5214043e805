// SPDX-License-Identifier: GPL-2.0

//! A destructor runs in a softirq only if its type says that it may.

//~ ERROR the trait bound `Sleeps: AtomicDrop` is not satisfied

use quiesce::rcu::Object;

pub struct Sleeps;

impl Drop for Sleeps {
    fn drop(&mut self) {}
}

#[cfg(not(fixed))]
pub fn f() {
    drop(Object::new_atomic(Sleeps));
}
#[cfg(fixed)]
pub fn f() {
    drop(Object::new(Sleeps));
}
