// SPDX-License-Identifier: GPL-2.0

//! Annotations for lockdep.
//!
//! As in kernfs, a guard that stays in its task is a lock that was acquired for reading by a trylock,
//! as an acquisition never blocks; a wait acquires it for writing and releases it; exclusive ownership
//! holds it for writing. With that, lockdep reports a wait by a task that holds a guard of the same
//! class, and cycles such as "a holder needs a mutex under which another task waits".
//!
//! Each place in the source that creates a reference is a class. Its key is an address in the
//! [`Location`], which is static as lockdep demands: so `const` constructors need no key. The beginning
//! of the location is left to the keys of a sequence lock that is created there.
//!
//! lockdep keeps the address of the map of a held lock until the task releases it. A task may leak its
//! guard, and the reference may be freed. So lockdep gets no map of a reference, but one of this module
//! for each class.
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
        types::Opaque, //
    };

    /// The lockdep class of a reference: the key and the name of a map.
    ///
    /// # Invariants
    ///
    /// The map's key and name are static.
    #[repr(transparent)]
    pub struct Dep(Opaque<bindings::lockdep_map>);

    // SAFETY: The map is not changed.
    unsafe impl Send for Dep {}

    // SAFETY: The map is not changed.
    unsafe impl Sync for Dep {}

    impl Dep {
        const fn with(name: *const c_char, key: *mut bindings::lock_class_key) -> Self {
            // SAFETY: A `lockdep_map` consists of integers, pointers and arrays of them, for which
            // zero is a valid value.
            let mut map: bindings::lockdep_map = unsafe { MaybeUninit::zeroed().assume_init() };
            map.key = key;
            map.name = name;
            // INVARIANT: The callers pass static keys and names.
            Self(Opaque::new(map))
        }

        #[track_caller]
        pub(crate) const fn new() -> Self {
            // lockdep uses only the address of the key. The helpers set the name, which is then in
            // this module's memory, unlike a literal here.
            let place: *const Location<'_> = Location::caller();
            // Only the first subclass is used, and lockdep takes each byte for another one.
            let key = size_of::<Location<'_>>() - 4;
            Self::with(
                core::ptr::null(),
                place.cast_mut().wrapping_byte_add(key).cast(),
            )
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

        /// Announces that the caller may wait here for the holders.
        pub(crate) fn may_wait(&self) {
            // SAFETY: By the type invariants of `Dep` the map has a static key.
            unsafe { helpers::quiesce_helper_dep_sync(self.0.get()) }
        }

        /// Returns whether lockdep knows that this task holds a guard of this class.
        pub(crate) fn is_held(&self) -> bool {
            // SAFETY: By the type invariants of `Dep` the map has a static key.
            unsafe { helpers::quiesce_helper_dep_is_held(self.0.get()) }
        }
    }

    /// Whether lockdep counts a guard as held by its task: the number of the map, or zero.
    #[derive(Clone, Copy)]
    pub(crate) struct DepHold(u32);

    impl DepHold {
        pub(crate) const NO: Self = Self(0);

        #[inline]
        pub(crate) fn hold(dep: &Dep) -> Self {
            // SAFETY: By the type invariants of `Dep` the map has a static key.
            Self(unsafe { helpers::quiesce_helper_dep_hold(dep.0.get()) })
        }

        /// Holds the lock for writing, if there is room for it.
        pub(crate) fn hold_exclusive(dep: &Dep) -> Self {
            // SAFETY: By the type invariants of `Dep` the map has a static key.
            Self(unsafe { helpers::quiesce_helper_dep_hold_exclusive(dep.0.get()) })
        }

        /// Ends the hold.
        #[inline]
        pub(crate) fn release(self) {
            if self.0 != 0 {
                // SAFETY: `hold()` or `hold_exclusive()` got the number from the helper.
                unsafe { helpers::quiesce_helper_dep_let_go(self.0) }
            }
        }
    }
}

#[cfg(not(CONFIG_LOCKDEP))]
mod imp {
    use kernel::{
        bindings,
        ffi::c_char, //
    };

    /// The lockdep map of a reference, which is empty.
    pub struct Dep;

    impl Dep {
        #[inline]
        pub(crate) const fn new() -> Self {
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

    /// No hold is tracked.
    #[derive(Clone, Copy)]
    pub(crate) struct DepHold;

    impl DepHold {
        pub(crate) const NO: Self = Self;

        #[inline(always)]
        pub(crate) fn hold(_dep: &Dep) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn hold_exclusive(_dep: &Dep) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn release(self) {}
    }
}

pub(crate) use imp::{
    Dep,
    DepHold, //
};
