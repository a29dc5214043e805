// SPDX-License-Identifier: GPL-2.0

//! A cell of a type is not a cell of its supertype: what is published is read as the type.

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
