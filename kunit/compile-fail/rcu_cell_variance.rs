// SPDX-License-Identifier: GPL-2.0

//! A cell cannot be used as a cell of a supertype: what is published is read as the cell's type.

//~ ERROR mismatched types

use kernel::prelude::*;
use quiesce::rcu::{Object, RcuCell};

type Any = for<'a> fn(&'a u32);
type Static = fn(&'static u32);

#[cfg(not(fixed))]
pub fn f(cell: &RcuCell<KBox<Object<Any>>>) -> &RcuCell<KBox<Object<Static>>> {
    cell
}
#[cfg(fixed)]
pub fn f(cell: &RcuCell<KBox<Object<Any>>>) -> &RcuCell<KBox<Object<Any>>> {
    let _: Option<Static> = None;
    cell
}
