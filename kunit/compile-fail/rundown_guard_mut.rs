// SPDX-License-Identifier: GPL-2.0

//! A guard gives shared access only; exclusive access requires a wait.

//~ ERROR cannot assign to data in dereference of

use quiesce::rundown::Rundown;

static VALUE: Rundown<u32> = Rundown::new(1);

pub fn f() {
    #[cfg(not(fixed))]
    if let Ok(mut value) = VALUE.try_acquire() {
        *value = 2;
    }
    #[cfg(fixed)]
    if let Ok(mut value) = VALUE.wait_for_rundown() {
        *value = 2;
        value.re_init();
    }
}
