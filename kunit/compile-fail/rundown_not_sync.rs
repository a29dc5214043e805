// SPDX-License-Identifier: GPL-2.0

//! A value that is not `Sync` cannot be put behind a `Rundown`, whose guards share it.

//~ ERROR due to unsatisfied trait bounds

use quiesce::rundown::Rundown;

#[cfg(not(fixed))]
type Value = core::cell::Cell<u32>;
#[cfg(fixed)]
type Value = u32;

pub fn f(value: &Rundown<Value>) -> bool {
    value.try_acquire().is_ok()
}
