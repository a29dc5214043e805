// SPDX-License-Identifier: GPL-2.0

//! Safe code cannot re-initialize the reference in front of a value: without a value, acquisitions
//! would succeed with nothing to use.

//~ ERROR call to unsafe function

use quiesce::rundown::{HasRundown, Rundown, RundownProtect};

pub fn f(value: &Rundown<u32>) {
    #[cfg(not(fixed))]
    let _ = value.rundown().re_init();
    #[cfg(fixed)]
    if let Ok(vacant) = value.vacancy() {
        vacant.fill(1);
    }
    fn _needs<R: RundownProtect, O: HasRundown>() {}
}
