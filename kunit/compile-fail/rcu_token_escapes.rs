// SPDX-License-Identifier: GPL-2.0

//! The token cannot leave its closure.

//~ ERROR lifetime may not live long enough

use quiesce::rcu::{self, Domain};

#[cfg(not(fixed))]
pub fn f() {
    let _token = rcu::global().run(|t| t);
}
#[cfg(fixed)]
pub fn f() {
    rcu::global().run(|_t| ());
}
