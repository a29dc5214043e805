// SPDX-License-Identifier: GPL-2.0

//! A reference to a field of a packed struct may be misaligned.

//~ ERROR reference to packed field is unaligned

use quiesce::{impl_has_rundown, rundown::RundownRef};

#[cfg_attr(not(fixed), repr(C, packed))]
#[cfg_attr(fixed, repr(C))]
pub struct Device {
    flag: u8,
    users: RundownRef,
}

impl_has_rundown! {
    impl HasRundown for Device { self.users: RundownRef }
}

pub fn f(device: &Device) -> bool {
    use quiesce::rundown::HasRundown;
    device.try_acquire().is_ok()
}
