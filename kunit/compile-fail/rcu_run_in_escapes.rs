// SPDX-License-Identifier: GPL-2.0

//! A guard of the kernel crate can be leaked, so a value read with it stays in the closure as well.

//~ ERROR lifetime may not live long enough

use kernel::{prelude::*, sync::rcu::Guard};
use quiesce::rcu::{self, Object, RcuCell};

#[cfg(not(fixed))]
pub fn f<'a>(guard: &'a Guard, cell: &'a RcuCell<KBox<Object<u32>>>) -> &'a u32 {
    rcu::global().run_in(guard, |t| cell.read(t))
}
#[cfg(fixed)]
pub fn f<'a>(guard: &'a Guard, cell: &'a RcuCell<KBox<Object<u32>>>) -> u32 {
    rcu::global().run_in(guard, |t| *cell.read(t))
}
