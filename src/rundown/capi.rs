// SPDX-License-Identifier: GPL-2.0

//! The functions for C, which `include/quiesce_rundown.h` declares and documents.
//!
//! A C object may be freed when every wait for it has returned, while the last release is still in
//! progress. [`RundownRef`] without a callback allows that: the release does not access it after the
//! count has reached zero. The `percpu_ref` of a `PerCpuRundownRef` promises the same.

use super::{
    guard::check_count,
    lockdep::Dep,
    traits::raw::{
        Internal,
        RawRundown, //
    },
    RundownError,
    RundownRef,
    Wait, //
};
use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int, //
    },
    time::Jiffies,
    warn_on, //
};

// `RundownRef` is `struct ex_rundown_ref` of the header: a word, and a map if there is lockdep.
const _: () = assert!(
    size_of::<RundownRef>() == size_of::<usize>() + size_of::<bindings::lockdep_map>()
        && align_of::<RundownRef>() == align_of::<usize>()
);

/// Defines the functions of one variant.
macro_rules! functions {
    ($ref:ty, $acquire:ident, $acquire_many:ident, $release:ident, $release_many:ident,
     $wait:ident, $wait_timeout:ident, $wait_interruptible:ident, $wait_killable:ident,
     $completed:ident, $re_init:ident) => {
        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed.
        #[no_mangle]
        unsafe extern "C" fn $acquire(this: *mut $ref) -> bool {
            // SAFETY: `this` is a reference by the requirements of this function.
            unsafe { (*this).acquire_one(Internal::new()) }.is_ok()
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed.
        #[no_mangle]
        unsafe extern "C" fn $acquire_many(this: *mut $ref, count: usize) -> bool {
            if check_count(count).is_err() {
                return false;
            }
            // SAFETY: `this` is a reference by the requirements of this function.
            unsafe { (*this).acquire_many(count, Internal::new()) }.is_ok()
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed, and that the caller has acquired.
        #[no_mangle]
        unsafe extern "C" fn $release(this: *mut $ref) {
            // SAFETY: `this` is a reference with an acquisition by the requirements of this
            // function.
            unsafe { (*this).release_one(Internal::new()) };
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed, and that the caller has acquired
        /// `count` times.
        #[no_mangle]
        unsafe extern "C" fn $release_many(this: *mut $ref, count: usize) {
            if !warn_on!(check_count(count).is_err()) {
                // SAFETY: `this` is a reference with `count` acquisitions by the requirements of
                // this function.
                unsafe { (*this).release_many(count, Internal::new()) };
            }
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed before this returns.
        #[no_mangle]
        unsafe extern "C" fn $wait(this: *mut $ref) -> c_int {
            // SAFETY: `this` is a reference by the requirements of this function.
            to_errno(unsafe { (*this).wait_raw(Wait::uninterruptible(), false, Internal::new()) })
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed before this returns.
        #[no_mangle]
        unsafe extern "C" fn $wait_timeout(this: *mut $ref, timeout: Jiffies) -> c_int {
            let how = Wait::uninterruptible().timeout(timeout);
            // SAFETY: `this` is a reference by the requirements of this function.
            to_errno(unsafe { (*this).wait_raw(how, false, Internal::new()) })
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed before this returns.
        #[no_mangle]
        unsafe extern "C" fn $wait_interruptible(this: *mut $ref) -> c_int {
            // SAFETY: `this` is a reference by the requirements of this function.
            to_errno(unsafe { (*this).wait_raw(Wait::interruptible(), false, Internal::new()) })
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed before this returns.
        #[no_mangle]
        unsafe extern "C" fn $wait_killable(this: *mut $ref) -> c_int {
            // SAFETY: `this` is a reference by the requirements of this function.
            to_errno(unsafe { (*this).wait_raw(Wait::killable(), false, Internal::new()) })
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed.
        #[no_mangle]
        unsafe extern "C" fn $completed(this: *mut $ref) {
            // SAFETY: `this` is a reference by the requirements of this function.
            warn_on!(!unsafe { (*this).rundown_completed() });
        }

        /// # Safety
        ///
        /// `this` is an initialised reference that is not freed.
        #[no_mangle]
        unsafe extern "C" fn $re_init(this: *mut $ref) -> c_int {
            // SAFETY: `this` is a reference by the requirements of this function.
            let ret = unsafe { (*this).re_init() };
            // A call where sleeping is not allowed has already caused a warning.
            warn_on!(ret.is_err_and(|err| err != RundownError::WouldSleep));
            to_errno(ret)
        }
    };
}

fn to_errno(ret: Result<(), RundownError>) -> c_int {
    match ret {
        Ok(()) => 0,
        Err(err) => err.restartable().to_errno(),
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
    ex_wait_for_rundown_protection_release_interruptible,
    ex_wait_for_rundown_protection_release_killable,
    ex_rundown_completed,
    ex_re_initialize_rundown_protection
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
    // SAFETY: `this` can be written, and `name` and `key` are static, by the requirements of this
    // function.
    unsafe { this.write(RundownRef::with_dep(Dep::from_raw(name, key))) };
}

#[cfg(CONFIG_64BIT)]
mod cache_aware {
    use super::*;
    use crate::rundown::PerCpuRundownRef;
    use core::ptr;
    use kernel::{
        ffi::c_void,
        prelude::*, //
    };

    functions! {
        PerCpuRundownRef,
        ex_acquire_rundown_protection_cache_aware,
        ex_acquire_rundown_protection_cache_aware_ex,
        ex_release_rundown_protection_cache_aware,
        ex_release_rundown_protection_cache_aware_ex,
        ex_wait_for_rundown_protection_release_cache_aware,
        ex_wait_for_rundown_protection_release_cache_aware_timeout,
        ex_wait_for_rundown_protection_release_cache_aware_interruptible,
        ex_wait_for_rundown_protection_release_cache_aware_killable,
        ex_rundown_completed_cache_aware,
        ex_re_initialize_rundown_protection_cache_aware
    }

    /// # Safety
    ///
    /// `name` and `key` are static.
    #[no_mangle]
    unsafe extern "C" fn __ex_allocate_cache_aware_rundown_protection(
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    ) -> *mut PerCpuRundownRef {
        // SAFETY: `name` and `key` are static by the requirements of this function.
        let dep = unsafe { Dep::from_raw(name, key) };
        match KBox::pin_init(PerCpuRundownRef::with_dep(dep), GFP_KERNEL) {
            // SAFETY: The box stays in place until it is freed: C code only gets its address, and
            // the type is opaque there.
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
            // SAFETY: This function requires a pointer from
            // `__ex_allocate_cache_aware_rundown_protection()`, which is that of a box, and that
            // nobody uses it again.
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
        // SAFETY: `name` and `key` are static by the requirements of this function.
        let dep = unsafe { Dep::from_raw(name, key) };
        // SAFETY: The buffer has room and is not moved, by the requirements of this function.
        match unsafe { pin_init::raw_try_init(this, PerCpuRundownRef::with_dep(dep)) } {
            Ok(()) => this,
            Err(_) => ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// `this` was initialised above, and nobody uses it any more.
    #[no_mangle]
    unsafe extern "C" fn ex_uninitialize_rundown_protection_cache_aware(
        this: *mut PerCpuRundownRef,
    ) {
        // SAFETY: The reference is initialised and not used afterwards, by the requirements of this
        // function.
        unsafe { ptr::drop_in_place(this) };
    }
}
