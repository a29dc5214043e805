// SPDX-License-Identifier: GPL-2.0

//! A cell contains pointers to objects, which have space for the callback.

//~ ERROR RcuPointer

use kernel::prelude::*;
use quiesce::rcu::{Object, RcuCell};

#[cfg(not(fixed))]
type Pointer = KBox<u32>;
#[cfg(fixed)]
type Pointer = KBox<Object<u32>>;

pub fn f(pointer: Pointer) -> RcuCell<Pointer> {
    RcuCell::new(pointer)
}
