// SPDX-License-Identifier: GPL-2.0

//! Only domains defined for it have critical sections that are not bound to a task.

//~ ERROR the method `down` exists for struct `Srcu<Routes>`, but its trait bounds were not satisfied

use kernel::prelude::*;
use quiesce::rcu::{self, Srcu};

#[cfg(not(fixed))]
rcu::define_domain! {
    /// Sections end where they began.
    pub Routes
}
#[cfg(fixed)]
rcu::define_domain! {
    /// Sections end anywhere.
    pub Routes: up_down
}

pub fn f() -> Result {
    let section = Srcu::<Routes>::init()?.down()?;
    drop(section);
    Ok(())
}
