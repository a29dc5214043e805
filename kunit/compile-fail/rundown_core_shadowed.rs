// SPDX-License-Identifier: GPL-2.0

//! The macro's check that the field is one of the type itself is `core`'s, also where the caller's crate
//! has that name: a `Deref` could return another reference each time.

//~ ERROR no field `users` on type `Outer`

extern crate core as the_core;
extern crate self as core;

/// Stands for `core::mem`.
pub mod mem {
    /// Checks nothing.
    #[macro_export]
    macro_rules! unchecked {
        ($($t:tt)*) => {
            0usize
        };
    }
    pub use unchecked as offset_of;
}

use quiesce::{
    impl_has_rundown,
    rundown::{HasRundown, RundownRef},
};

pub struct Inner {
    pub users: RundownRef,
}

pub struct Outer {
    #[cfg(not(fixed))]
    pub inner: Inner,
    #[cfg(fixed)]
    pub users: RundownRef,
}

#[cfg(not(fixed))]
impl the_core::ops::Deref for Outer {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl_has_rundown! {
    impl HasRundown for Outer { self.users: RundownRef }
}

pub fn f(outer: &Outer) -> bool {
    outer.try_acquire().is_ok()
}
