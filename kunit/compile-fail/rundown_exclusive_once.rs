// SPDX-License-Identifier: GPL-2.0

//! Exclusive ownership ends when the object is re-initialized.

//~ ERROR borrow of moved value: `value`

use quiesce::rundown::Rundown;

static VALUE: Rundown<u32> = Rundown::new(1);

pub fn f() -> u32 {
    let Ok(value) = VALUE.wait_for_rundown() else {
        return 0;
    };
    #[cfg(fixed)]
    let seen = *value;
    value.re_init();
    #[cfg(not(fixed))]
    return *value;
    #[cfg(fixed)]
    return seen;
}
