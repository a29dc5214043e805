// SPDX-License-Identifier: GPL-2.0

//! A value read with the token of a section does not outlive the closure.

//~ ERROR lifetime may not live long enough

use kernel::prelude::*;
use quiesce::rcu::{self, Object, OwnedSection, RcuCell, Srcu};

rcu::define_domain! {
    /// The case's own.
    pub Buffers: up_down
}

type Cell = RcuCell<KBox<Object<u32>>, Srcu<Buffers>>;

#[cfg(not(fixed))]
pub fn f<'a>(section: &'a OwnedSection<Buffers>, cell: &'a Cell) -> &'a u32 {
    section.run(|t| cell.read(t))
}
#[cfg(fixed)]
pub fn f<'a>(section: &'a OwnedSection<Buffers>, cell: &'a Cell) -> u32 {
    section.run(|t| *cell.read(t))
}
