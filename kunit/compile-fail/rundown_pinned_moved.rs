// SPDX-License-Identifier: GPL-2.0

//! A value that must not be moved is initialized in place, and cannot be taken out.

//~ ERROR cannot be unpinned

use core::marker::PhantomPinned;
use kernel::prelude::*;
use quiesce::rundown::{Rundown, RundownRef};

pub struct Pinned(PhantomPinned);

pub fn f(object: &Rundown<Pinned>) {
    let Ok(mut value) = object.wait_for_rundown() else {
        return;
    };
    let _ = value.as_pin_mut();
    #[cfg(not(fixed))]
    drop(value.take());
    #[cfg(fixed)]
    drop(value.clear());
}

pub fn new() -> Result<Pin<KBox<Rundown<Pinned>>>> {
    KBox::pin_init(
        Rundown::pin_init(RundownRef::new(), Pinned(PhantomPinned)),
        GFP_KERNEL,
    )
}
