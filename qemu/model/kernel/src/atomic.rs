// SPDX-License-Identifier: GPL-2.0

//! `kernel::sync::atomic`.
//!
//! The kernel's `Atomic::new` is const and loom's is not, so that loom's atomic is found by the address
//! of the kernel's. loom takes the creation for a store by the thread that makes the first access.

use core::{cell::UnsafeCell, ptr::null_mut};

pub struct Acquire;
pub struct Release;
pub struct Relaxed;
pub struct Full;

/// Orderings, as far as C11 has them. A full one is a fence before and after.
pub trait Order {
    #[cfg(feature = "loom")]
    const LOAD: loom::sync::atomic::Ordering;
    #[cfg(feature = "loom")]
    const STORE: loom::sync::atomic::Ordering;
    #[cfg(feature = "loom")]
    const RMW: loom::sync::atomic::Ordering;
    const FULL: bool;
}

macro_rules! orders {
    ($($name:ident $load:ident $store:ident $rmw:ident $full:literal)*) => {$(
        impl Order for $name {
            #[cfg(feature = "loom")]
            const LOAD: loom::sync::atomic::Ordering = loom::sync::atomic::Ordering::$load;
            #[cfg(feature = "loom")]
            const STORE: loom::sync::atomic::Ordering = loom::sync::atomic::Ordering::$store;
            #[cfg(feature = "loom")]
            const RMW: loom::sync::atomic::Ordering = loom::sync::atomic::Ordering::$rmw;
            const FULL: bool = $full;
        }
    )*};
}

orders! {
    Acquire Acquire Relaxed Acquire false
    Release Relaxed Release Release false
    Relaxed Relaxed Relaxed Relaxed false
    Full Acquire Release AcqRel true
}

/// What an atomic can hold.
pub trait AtomicType: Copy {
    fn to(self) -> u64;
    fn of(x: u64) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus_self(self) -> Self;
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl AtomicType for $t {
            fn to(self) -> u64 { self as u64 }
            fn of(x: u64) -> Self { x as Self }
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            fn minus_self(self) -> Self { self.wrapping_neg() }
        }
    )*};
}

integers! { i32 u32 i64 u64 isize usize u8 u16 }

impl AtomicType for bool {
    fn to(self) -> u64 {
        self.into()
    }
    fn of(x: u64) -> Self {
        x != 0
    }
    fn plus(self, _: Self) -> Self {
        unreachable!()
    }
    fn minus_self(self) -> Self {
        unreachable!()
    }
}

impl<T> AtomicType for *mut T {
    fn to(self) -> u64 {
        self.expose_provenance() as u64
    }
    fn of(x: u64) -> Self {
        if x == 0 {
            null_mut()
        } else {
            core::ptr::with_exposed_provenance_mut(x as usize)
        }
    }
    fn plus(self, _: Self) -> Self {
        unreachable!()
    }
    fn minus_self(self) -> Self {
        unreachable!()
    }
}

#[repr(transparent)]
pub struct Atomic<T>(UnsafeCell<T>);

// SAFETY: Accessed by loom's atomic, or by one thread.
unsafe impl<T> Sync for Atomic<T> {}
// SAFETY: `T` is an integer or a pointer, which any thread may have.
unsafe impl<T> Send for Atomic<T> {}

impl<T: AtomicType> Atomic<T> {
    pub const fn new(x: T) -> Self {
        Self(UnsafeCell::new(x))
    }
    pub const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
    pub fn load<M: Order>(&self, m: M) -> T {
        // SAFETY: `self` is borrowed, so the pointer is valid for atomic accesses.
        unsafe { atomic_load(self.0.get(), m) }
    }
    pub fn store<M: Order>(&self, x: T, m: M) {
        // SAFETY: `self` is borrowed, so the pointer is valid for atomic accesses.
        unsafe { atomic_store(self.0.get(), x, m) }
    }
    pub fn get_mut(&mut self) -> &mut T {
        #[cfg(feature = "loom")]
        self.settle();
        self.0.get_mut()
    }
    pub fn add<M: Order>(&self, x: T, m: M) {
        self.fetch_add(x, m);
    }
    pub fn xchg<M: Order>(&self, x: T, m: M) -> T {
        self.swap(x, m)
    }
    pub fn fetch_sub<M: Order>(&self, x: T, m: M) -> T {
        self.fetch_add(x.minus_self(), m)
    }
}

#[cfg(not(feature = "loom"))]
mod imp {
    use super::*;

    impl<T: AtomicType> Atomic<T> {
        pub(super) fn swap<M: Order>(&self, x: T, _: M) -> T {
            // SAFETY: The explorer is one thread, so nothing else accesses the value.
            unsafe { self.0.get().replace(x) }
        }
        pub fn fetch_add<M: Order>(&self, x: T, m: M) -> T {
            let old = self.load(Relaxed);
            self.swap(old.plus(x), m)
        }
        pub fn cmpxchg<M: Order>(&self, old: T, new: T, m: M) -> Result<T, T> {
            let now = self.load(Relaxed);
            if now.to() == old.to() {
                Ok(self.swap(new, m))
            } else {
                Err(now)
            }
        }
    }
    pub unsafe fn atomic_load<T: AtomicType, M: Order>(at: *mut T, _: M) -> T {
        // SAFETY: The explorer is one thread, so nothing else accesses the value.
        unsafe { *at }
    }
    pub unsafe fn atomic_store<T: AtomicType, M: Order>(at: *mut T, x: T, _: M) {
        // SAFETY: The explorer is one thread, so nothing else accesses the value.
        unsafe { *at = x }
    }
}

#[cfg(feature = "loom")]
mod imp {
    use super::*;
    use crate::registry;
    use loom::sync::atomic::{fence, AtomicU64, Ordering};
    use std::sync::Arc;

    fn find<T: AtomicType>(at: *mut T) -> Arc<AtomicU64> {
        // SAFETY: This function requires a pointer to an initialised value, which nobody stores to
        // before its atomic is registered.
        registry::at(at.addr(), || AtomicU64::new(unsafe { *at }.to()))
    }

    impl<T: AtomicType> Atomic<T> {
        pub(super) fn settle(&mut self) {
            if let Some(atomic) = registry::remove::<AtomicU64>(self.0.get().addr()) {
                *self.0.get_mut() = T::of(atomic.load(Ordering::Relaxed));
            }
        }
        fn full<M: Order, R>(&self, f: impl FnOnce(&AtomicU64) -> R) -> R {
            let atomic = find(self.0.get());
            if M::FULL {
                fence(Ordering::SeqCst);
            }
            let ret = f(&atomic);
            if M::FULL {
                fence(Ordering::SeqCst);
            }
            ret
        }
        pub(super) fn swap<M: Order>(&self, x: T, _: M) -> T {
            T::of(self.full::<M, _>(|atomic| atomic.swap(x.to(), M::RMW)))
        }
        /// Types of less than 64 bits must not wrap.
        pub fn fetch_add<M: Order>(&self, x: T, _: M) -> T {
            let negative = x.minus_self().to() < x.to();
            let old = self.full::<M, _>(|atomic| {
                if negative {
                    atomic.fetch_sub(x.minus_self().to(), M::RMW)
                } else {
                    atomic.fetch_add(x.to(), M::RMW)
                }
            });
            T::of(old)
        }
        pub fn cmpxchg<M: Order>(&self, old: T, new: T, _: M) -> Result<T, T> {
            // A failed one orders nothing, as in the LKMM, but for the fences.
            self.full::<M, _>(|atomic| {
                atomic.compare_exchange(old.to(), new.to(), M::RMW, Ordering::Relaxed)
            })
            .map(T::of)
            .map_err(T::of)
        }
    }
    pub unsafe fn atomic_load<T: AtomicType, M: Order>(at: *mut T, _: M) -> T {
        T::of(find(at).load(M::LOAD))
    }
    pub unsafe fn atomic_store<T: AtomicType, M: Order>(at: *mut T, x: T, _: M) {
        find(at).store(x.to(), M::STORE);
    }
}

pub use imp::{atomic_load, atomic_store};
