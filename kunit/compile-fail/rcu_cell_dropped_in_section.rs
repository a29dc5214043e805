// SPDX-License-Identifier: GPL-2.0

//! A cell cannot be dropped while a value that was read from it is in use.

//~ ERROR cannot move out of `cell` because it is borrowed

use kernel::prelude::*;
use quiesce::rcu::{self, Domain, Object, RcuCell};

pub fn f(cell: RcuCell<KBox<Object<u32>>>) -> u32 {
    rcu::global().run(|t| {
        #[cfg(not(fixed))]
        {
            let value = cell.read(t);
            drop(cell);
            *value
        }
        #[cfg(fixed)]
        {
            let value = *cell.read(t);
            drop(cell);
            value
        }
    })
}
