// SPDX-License-Identifier: GPL-2.0

use core::ffi::c_void;
use kernel::sync::atomic::{Acquire, Atomic, Full};

pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    ptr.load(Acquire)
}
pub(crate) fn swap_pointer(ptr: &Atomic<*mut c_void>, new: *mut c_void) -> *mut c_void {
    ptr.xchg(new, Full)
}
