// SPDX-License-Identifier: GPL-2.0

//! A value that was read cannot be stored in a variable outside the closure.

//~ ERROR borrowed data escapes outside of closure

use kernel::prelude::*;
use quiesce::rcu::{self, Domain, Object, RcuCell};

pub fn f(cell: &'static RcuCell<KBox<Object<u32>>>) -> u32 {
    #[cfg(not(fixed))]
    let mut kept: &u32 = &0;
    #[cfg(not(fixed))]
    rcu::global().run(|t| kept = cell.read(t));
    #[cfg(fixed)]
    let mut kept: u32 = 0;
    #[cfg(fixed)]
    let kept = &{
        rcu::global().run(|t| kept = *cell.read(t));
        kept
    };
    *kept
}
