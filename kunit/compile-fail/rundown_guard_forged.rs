// SPDX-License-Identifier: GPL-2.0

//! Guards can only be made by acquiring, and released by dropping.

//~ ERROR no method named `release_one` found
//~ ERROR associated function `from_acquired` is private

use quiesce::rundown::{RundownGuard, RundownRef};

pub fn f(users: &RundownRef) {
    #[cfg(not(fixed))]
    {
        // SAFETY: There is none, which is why this must not compile.
        unsafe { users.release_one() };
        let _ = RundownGuard::<RundownRef>::from_acquired;
    }
    #[cfg(fixed)]
    drop(users.try_acquire());
}
