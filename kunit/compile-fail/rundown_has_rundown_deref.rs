// SPDX-License-Identifier: GPL-2.0

//! The reference must be a field of the type itself: a `Deref` on the path could return another one
//! each time.

//~ ERROR mismatched types

use kernel::prelude::*;
use quiesce::{impl_has_rundown, rundown::RundownRef};

pub struct Device {
    #[cfg(not(fixed))]
    users: KBox<RundownRef>,
    #[cfg(fixed)]
    users: RundownRef,
}

impl_has_rundown! {
    impl HasRundown for Device { self.users: RundownRef }
}

pub fn f(device: KBox<Device>) -> bool {
    use quiesce::rundown::HasRundown;
    device.try_acquire().is_ok()
}
