// SPDX-License-Identifier: GPL-2.0

//! An object cannot be dropped while a guard borrows it.

//~ ERROR cannot move out of `users` because it is borrowed

use kernel::prelude::*;
use quiesce::rundown::RundownRef;

pub fn f(users: KBox<RundownRef>) {
    let guard = users.try_acquire();
    #[cfg(not(fixed))]
    drop(users);
    drop(guard);
    #[cfg(fixed)]
    drop(users);
}
