// SPDX-License-Identifier: GPL-2.0

//! What lockdep is told.
//!
//! After kernfs: a guard that stays in its task is a lock taken for reading, by trying, as an
//! acquisition never blocks; a wait is the lock taken for writing, for a moment. With that,
//! lockdep reports a wait by a task that holds a guard of the same class, and cycles such as "a
//! holder needs a mutex under which somebody else waits".
//!
//! Each place in the source that makes a reference is a class of its own. Its key is the address of
//! the [`Location`], which is static as lockdep demands: so `const` constructors need no key.
//!
//! Without `CONFIG_LOCKDEP` the types are empty.

#[cfg(CONFIG_LOCKDEP)]
mod imp {
    use crate::bindings as helpers;
    use core::{
        mem::MaybeUninit,
        panic::Location, //
    };
    use kernel::{
        bindings,
        ffi::c_char,
        prelude::*,
        str::CStr,
        sync::LockClassKey,
        types::Opaque, //
    };

    /// The lock that lockdep sees in a reference.
    ///
    /// # Invariants
    ///
    /// The map's key and name are static.
    #[repr(transparent)]
    pub struct Dep(Opaque<bindings::lockdep_map>);

    // SAFETY: lockdep serialises what it does with a map.
    unsafe impl Send for Dep {}

    // SAFETY: As above.
    unsafe impl Sync for Dep {}

    impl Dep {
        const fn with(name: *const c_char, key: *mut bindings::lock_class_key) -> Self {
            // SAFETY: All of a map's fields may be zero: they are integers and pointers.
            let mut map: bindings::lockdep_map = unsafe { MaybeUninit::zeroed().assume_init() };
            map.key = key;
            map.name = name;
            // INVARIANT: The callers give static keys.
            Self(Opaque::new(map))
        }

        #[track_caller]
        pub(crate) const fn new() -> Self {
            // lockdep uses only the address of the key. The helpers set the name, which is then in
            // this module's memory, unlike a literal here.
            Self::with(
                core::ptr::null(),
                core::ptr::from_ref(Location::caller()).cast_mut().cast(),
            )
        }

        pub(crate) fn with_class(name: &'static CStr, key: Pin<&'static LockClassKey>) -> Self {
            Self::with(name.as_char_ptr(), key.as_ptr())
        }

        /// # Safety
        ///
        /// `name` and `key` are static.
        pub(crate) unsafe fn from_raw(
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) -> Self {
            Self::with(name, key)
        }

        /// Says that the caller may wait here for the holders.
        pub(crate) fn may_wait(&self) {
            // SAFETY: By the type invariants, this is a map that lockdep can use.
            unsafe { helpers::quiesce_helper_dep_sync(self.0.get()) }
        }

        /// Whether this task holds a guard, as far as lockdep knows.
        pub(crate) fn is_held(&self) -> bool {
            // SAFETY: As above.
            unsafe { helpers::quiesce_helper_dep_is_held(self.0.get()) }
        }
    }

    /// Whether lockdep counts a guard as held by its task.
    #[derive(Clone, Copy)]
    pub(crate) struct Held(bool);

    impl Held {
        pub(crate) const NO: Self = Self(false);

        #[inline]
        pub(crate) fn hold(dep: &Dep) -> Self {
            // SAFETY: By the type invariants, this is a map that lockdep can use.
            Self(unsafe { helpers::quiesce_helper_dep_hold(dep.0.get()) })
        }

        /// `dep` is what the hold is of.
        #[inline]
        pub(crate) fn release(self, dep: &Dep) {
            if self.0 {
                // SAFETY: As above.
                unsafe { helpers::quiesce_helper_dep_let_go(dep.0.get()) }
            }
        }
    }
}

#[cfg(not(CONFIG_LOCKDEP))]
mod imp {
    use kernel::{
        bindings,
        ffi::c_char,
        prelude::*,
        str::CStr,
        sync::LockClassKey, //
    };

    /// The lock that lockdep would see in a reference.
    pub struct Dep;

    impl Dep {
        #[inline]
        pub(crate) const fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn with_class(_name: &'static CStr, _key: Pin<&'static LockClassKey>) -> Self {
            Self
        }

        /// # Safety
        ///
        /// None here.
        #[inline]
        pub(crate) unsafe fn from_raw(
            _name: *const c_char,
            _key: *mut bindings::lock_class_key,
        ) -> Self {
            Self
        }

        #[inline]
        pub(crate) fn may_wait(&self) {}

        #[inline]
        pub(crate) fn is_held(&self) -> bool {
            false
        }
    }

    /// Nobody counts.
    #[derive(Clone, Copy)]
    pub(crate) struct Held;

    impl Held {
        pub(crate) const NO: Self = Self;

        #[inline(always)]
        pub(crate) fn hold(_dep: &Dep) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn release(self, _dep: &Dep) {}
    }
}

pub(crate) use imp::{
    Dep,
    Held, //
};
