// SPDX-License-Identifier: GPL-2.0

//! A cell of one domain cannot be read with the token of another.

//~ ERROR mismatched types

use kernel::prelude::*;
use quiesce::rcu::{self, Domain, Object, RcuCell, Srcu};

rcu::define_domain! {
    /// One domain.
    pub One
}
rcu::define_domain! {
    /// Another domain.
    pub Two
}

pub fn f(one: Srcu<One>, two: Srcu<Two>, cell: &RcuCell<KBox<Object<u32>>, Srcu<One>>) -> u32 {
    #[cfg(not(fixed))]
    let value = two.run(|t| *cell.read(t));
    #[cfg(fixed)]
    let value = two.run(|_| one.run(|t| *cell.read(t)));
    let _ = (one, two);
    value
}
