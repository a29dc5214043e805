// SPDX-License-Identifier: GPL-2.0

//! A value that was read cannot leave the closure.

//~ ERROR lifetime may not live long enough

use kernel::prelude::*;
use quiesce::rcu::{self, Domain, Object, RcuCell};

#[cfg(not(fixed))]
pub fn f(cell: &RcuCell<KBox<Object<u32>>>) -> &u32 {
    rcu::global().run(|t| cell.read(t))
}
#[cfg(fixed)]
pub fn f(cell: &RcuCell<KBox<Object<u32>>>) -> u32 {
    rcu::global().run(|t| *cell.read(t))
}
