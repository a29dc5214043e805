// SPDX-License-Identifier: GPL-2.0

//! A type that gives write access to a value is invariant in the value's type.

//~ ERROR lifetime may not live long enough

use quiesce::rundown::{Exclusive, Rundown, RundownGuard, Vacant};

#[cfg(not(fixed))]
pub mod shortened {
    use super::*;

    pub fn object<'a>(r: &'a Rundown<&'static str>) -> &'a Rundown<&'a str> {
        r
    }

    pub fn guard<'a>(
        r: RundownGuard<'a, Rundown<&'static str>>,
    ) -> RundownGuard<'a, Rundown<&'a str>> {
        r
    }

    pub fn exclusive<'a>(r: Exclusive<'a, &'static str>) -> Exclusive<'a, &'a str> {
        r
    }

    pub fn vacant<'a>(r: Vacant<'a, &'static str>) -> Vacant<'a, &'a str> {
        r
    }
}

#[cfg(fixed)]
pub fn same<'a>(r: Exclusive<'a, &'static str>) -> Exclusive<'a, &'static str> {
    r
}

#[cfg(fixed)]
pub fn object<'a>(r: &'a Rundown<&'static str>) -> Option<RundownGuard<'a, Rundown<&'static str>>> {
    r.try_acquire().ok()
}

#[cfg(fixed)]
pub type Unused = Vacant<'static, u32>;
