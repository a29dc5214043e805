// SPDX-License-Identifier: GPL-2.0

//! The functions for C, which `include/quiesce_rundown.h` declares and documents.
//!
//! A C object may be freed as soon as a wait for it has returned, while the last release is still
//! under way. [`RundownRef`] without a callback is made for that: after the count has reached zero
//! nothing of it is looked at. `PerCpuRundownRef` keeps `percpu_ref`'s promise of the same.

use super::{
    guard::check_count,
    lockdep::Dep,
    traits::raw::{
        Internal,
        RawRundown, //
    },
    PerCpuRundownRef,
    RundownError,
    RundownRef,
    Wait, //
};
use core::ptr;
use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*,
    time::Jiffies,
    warn_on, //
};

// `RundownRef` is `struct ex_rundown_ref` of the header: a word, and a map if there is lockdep.
const _: () = assert!(
    size_of::<RundownRef>() == size_of::<usize>() + size_of::<bindings::lockdep_map>()
        && align_of::<RundownRef>() == align_of::<usize>()
);

/// The functions of one form.
///
/// # Safety
///
/// Of all of them: the reference is initialised and not freed; what is released was acquired.
macro_rules! functions {
    ($ref:ty, $acquire:ident, $acquire_many:ident, $release:ident, $release_many:ident,
     $wait:ident, $wait_timeout:ident, $completed:ident, $re_init:ident) => {
        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $acquire(this: *mut $ref) -> bool {
            // SAFETY: C gives a reference that is initialised.
            unsafe { (*this).acquire_one(Internal::new()) }.is_ok()
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $acquire_many(this: *mut $ref, count: usize) -> bool {
            if check_count(count).is_err() {
                return false;
            }
            // SAFETY: C gives a reference that is initialised.
            unsafe { (*this).acquire_many(count, Internal::new()) }.is_ok()
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $release(this: *mut $ref) {
            // SAFETY: As above, and what is released was acquired.
            unsafe { (*this).release_one(Internal::new()) };
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $release_many(this: *mut $ref, count: usize) {
            if count != 0 {
                // SAFETY: As above, `count` times.
                unsafe { (*this).release_many(count, Internal::new()) };
            }
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $wait(this: *mut $ref) -> c_int {
            // SAFETY: As above.
            to_errno(unsafe { (*this).wait_with(Wait::uninterruptible()) })
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $wait_timeout(this: *mut $ref, timeout: Jiffies) -> c_int {
            // SAFETY: As above.
            to_errno(unsafe { (*this).wait_for_rundown_timeout(timeout) })
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $completed(this: *mut $ref) {
            // SAFETY: As above.
            warn_on!(!unsafe { (*this).rundown_completed() });
        }

        /// # Safety
        ///
        /// That of all functions of a form.
        #[no_mangle]
        unsafe extern "C" fn $re_init(this: *mut $ref) {
            // SAFETY: As above.
            warn_on!(unsafe { (*this).re_init() }.is_err());
        }
    };
}

fn to_errno(ret: Result<(), RundownError>) -> c_int {
    match ret {
        Ok(()) => 0,
        Err(err) => Error::from(err).to_errno(),
    }
}

functions! {
    RundownRef,
    ex_acquire_rundown_protection,
    ex_acquire_rundown_protection_ex,
    ex_release_rundown_protection,
    ex_release_rundown_protection_ex,
    ex_wait_for_rundown_protection_release,
    ex_wait_for_rundown_protection_release_timeout,
    ex_rundown_completed,
    ex_re_initialize_rundown_protection
}

functions! {
    PerCpuRundownRef,
    ex_acquire_rundown_protection_cache_aware,
    ex_acquire_rundown_protection_cache_aware_ex,
    ex_release_rundown_protection_cache_aware,
    ex_release_rundown_protection_cache_aware_ex,
    ex_wait_for_rundown_protection_release_cache_aware,
    ex_wait_for_rundown_protection_release_cache_aware_timeout,
    ex_rundown_completed_cache_aware,
    ex_re_initialize_rundown_protection_cache_aware
}

/// # Safety
///
/// `this` is room for a reference; `name` and `key` are static.
#[no_mangle]
unsafe extern "C" fn __ex_initialize_rundown_protection(
    this: *mut RundownRef,
    name: *const c_char,
    key: *mut bindings::lock_class_key,
) {
    // SAFETY: By the requirements.
    unsafe { this.write(RundownRef::with_dep(Dep::from_raw(name, key))) };
}

/// # Safety
///
/// `name` and `key` are static.
#[no_mangle]
unsafe extern "C" fn __ex_allocate_cache_aware_rundown_protection(
    name: *const c_char,
    key: *mut bindings::lock_class_key,
) -> *mut PerCpuRundownRef {
    // SAFETY: By the requirements.
    let dep = unsafe { Dep::from_raw(name, key) };
    match KBox::pin_init(PerCpuRundownRef::with_dep(dep), GFP_KERNEL) {
        // SAFETY: Nobody moves it: C does not know its size.
        Ok(this) => KBox::into_raw(unsafe { Pin::into_inner_unchecked(this) }),
        Err(_) => ptr::null_mut(),
    }
}

/// # Safety
///
/// `this` is null or was allocated above, and nobody uses it any more.
#[no_mangle]
unsafe extern "C" fn ex_free_cache_aware_rundown_protection(this: *mut PerCpuRundownRef) {
    if !this.is_null() {
        // SAFETY: By the requirements.
        drop(unsafe { KBox::from_raw(this) });
    }
}

#[no_mangle]
extern "C" fn ex_size_of_rundown_protection_cache_aware() -> usize {
    size_of::<PerCpuRundownRef>()
}

/// # Safety
///
/// `buffer` has room for `size` bytes and stays in its place; `name` and `key` are static.
#[no_mangle]
unsafe extern "C" fn __ex_initialize_rundown_protection_cache_aware(
    buffer: *mut c_void,
    size: usize,
    name: *const c_char,
    key: *mut bindings::lock_class_key,
) -> *mut PerCpuRundownRef {
    let this: *mut PerCpuRundownRef = buffer.cast();
    if size < size_of::<PerCpuRundownRef>() || !this.is_aligned() {
        return ptr::null_mut();
    }
    // SAFETY: By the requirements.
    let dep = unsafe { Dep::from_raw(name, key) };
    // SAFETY: There is room, and C does not move it.
    match unsafe { pin_init::raw_try_init(this, PerCpuRundownRef::with_dep(dep)) } {
        Ok(()) => this,
        Err(_) => ptr::null_mut(),
    }
}

/// # Safety
///
/// `this` was initialised above, and nobody uses it any more.
#[no_mangle]
unsafe extern "C" fn ex_uninitialize_rundown_protection_cache_aware(this: *mut PerCpuRundownRef) {
    // SAFETY: By the requirements.
    unsafe { ptr::drop_in_place(this) };
}
