// SPDX-License-Identifier: GPL-2.0

//! Generic code cannot count without guards either.

//~ ERROR this method takes 1 argument but 0 arguments were supplied
//~ ERROR Internal: Default` is not satisfied

use quiesce::rundown::{HasRundown, RundownProtect};

pub fn forge<R: RundownProtect + HasRundown>(users: &R) -> bool {
    #[cfg(not(fixed))]
    return users.acquire_one().is_ok();
    #[cfg(fixed)]
    return users.try_acquire().is_ok();
}

#[cfg(not(fixed))]
pub fn forge_the_token<R: RundownProtect>(users: &R) -> bool {
    users.acquire_one(Default::default()).is_ok()
}
