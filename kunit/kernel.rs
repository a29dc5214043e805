// SPDX-License-Identifier: GPL-2.0

//! The kernel crate with its module `kunit`, for the suites in a kernel without KUnit.
//!
//! That module is not compiled into the kernel crate there. The suites get this crate in its
//! place, which has all that the kernel crate has, and the kernel's own `kunit.rs`. What the code
//! of `#[kunit_tests]` calls then, `runner.c` has.

pub use kernel::*;

#[allow(clippy::all, missing_docs)]
pub mod kunit {
    include!(concat!(env!("QUIESCE_OBJ"), "/kunit/kunit_generated.rs"));
}
