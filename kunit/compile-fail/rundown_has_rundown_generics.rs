// SPDX-License-Identifier: GPL-2.0

//! The macro's parameters are parameters: they cannot end the list and begin another implementation,
//! which would be `unsafe` by the macro's keyword.

//~ ERROR expected one of

use quiesce::{
    impl_has_rundown,
    rundown::{HasRundown, RundownRef},
};

/// Not `Send`.
pub struct Raw(pub *mut u8);

pub struct Device<'a, T: Sync, const N: usize> {
    users: RundownRef,
    pub value: &'a [T; N],
}

#[cfg(not(fixed))]
impl_has_rundown! {
    impl {> Send for Raw {} #[cfg(any())] impl<} HasRundown for u8 { self.x: RundownRef }
}

#[cfg(fixed)]
impl_has_rundown! {
    impl {'a, T: Sync, const N: usize} HasRundown for Device<'a, T, N> { self.users: RundownRef }
}

#[cfg(fixed)]
pub fn f(device: &Device<'_, u8, 3>) -> bool {
    device.try_acquire().is_ok()
}
