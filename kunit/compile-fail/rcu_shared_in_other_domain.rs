// SPDX-License-Identifier: GPL-2.0

//! References to a shared object are released after grace periods of one domain only.

//~ ERROR is not satisfied

use kernel::{prelude::*, sync::Arc};
use quiesce::rcu::{self, RcuCell, Shared, Srcu};

rcu::define_domain! {
    /// A domain.
    pub Mine
}

#[cfg(not(fixed))]
pub type Cell = RcuCell<Arc<Shared<u32>>, Srcu<Mine>>;
#[cfg(fixed)]
pub type Cell = RcuCell<Arc<Shared<u32, Srcu<Mine>>>, Srcu<Mine>>;

pub fn f(shared: Arc<Shared<u32, Srcu<Mine>>>) -> Cell {
    RcuCell::new(shared)
}
