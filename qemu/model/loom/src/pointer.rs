// SPDX-License-Identifier: GPL-2.0

use core::ffi::c_void;
use kernel::sync::atomic::{Acquire, Atomic, Full};

pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    ptr.load(Acquire)
}
pub(crate) fn swap_pointer(ptr: &Atomic<*mut c_void>, new: *mut c_void) -> *mut c_void {
    ptr.xchg(new, Full)
}

/// For comparing alone, so that one relaxed load is enough.
macro_rules! pointer_is {
    ($base:expr, $t:ty, $field:ident, $value:expr) => {{
        let (base, value): (&$t, *const _) = ($base, $value);
        core::ptr::eq(base.$field.load(kernel::sync::atomic::Relaxed), value)
    }};
}
pub(crate) use pointer_is;
