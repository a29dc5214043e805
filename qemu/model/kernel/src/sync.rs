// SPDX-License-Identifier: GPL-2.0

//! `kernel::sync`: locks and completions.

use crate::str::CStr;
pub use crate::{
    alloc::{Arc, ArcBorrow, UniqueArc},
    atomic, barrier, new_mutex, rcu,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    pin::Pin,
};

pub struct LockClassKey(u8);
impl LockClassKey {
    pub fn as_ptr(&self) -> *mut bindings::lock_class_key {
        core::ptr::null_mut()
    }
}
pub static CLASS: LockClassKey = LockClassKey(0);

pub mod lock {
    use core::marker::PhantomData;
    pub trait Backend {}
    /// Only named.
    pub struct Lock<T, B: Backend>(PhantomData<(T, B)>);
    impl<T, B: Backend> Lock<T, B> {
        pub fn lock(&self) -> super::MutexGuard<'_, T> {
            unreachable!()
        }
    }
}

pub mod aref {
    use core::{mem::ManuallyDrop, ops::Deref, ptr::NonNull};

    pub unsafe trait AlwaysRefCounted {
        fn inc_ref(&self);
        unsafe fn dec_ref(this: NonNull<Self>);
    }
    pub struct ARef<T: AlwaysRefCounted>(NonNull<T>);
    // SAFETY: The object is `Send` and `Sync`, and any thread may put the last reference, as for
    // the kernel's `ARef`.
    unsafe impl<T: AlwaysRefCounted + Sync + Send> Send for ARef<T> {}
    // SAFETY: The object is `Send` and `Sync`, and any thread may put the last reference, as for
    // the kernel's `ARef`.
    unsafe impl<T: AlwaysRefCounted + Sync + Send> Sync for ARef<T> {}
    impl<T: AlwaysRefCounted> ARef<T> {
        pub unsafe fn from_raw(raw: NonNull<T>) -> Self {
            Self(raw)
        }
        pub fn into_raw(this: Self) -> NonNull<T> {
            ManuallyDrop::new(this).0
        }
    }
    impl<T: AlwaysRefCounted> Clone for ARef<T> {
        fn clone(&self) -> Self {
            self.inc_ref();
            Self(self.0)
        }
    }
    impl<T: AlwaysRefCounted> Deref for ARef<T> {
        type Target = T;
        fn deref(&self) -> &T {
            // SAFETY: `self` holds a reference, so the object is not freed during the borrow.
            unsafe { self.0.as_ref() }
        }
    }
    impl<T: AlwaysRefCounted> Drop for ARef<T> {
        fn drop(&mut self) {
            // SAFETY: `self` holds one reference, which is put here once.
            unsafe { T::dec_ref(self.0) }
        }
    }
}

/// A lock that sleeps.
pub struct Mutex<T> {
    raw: bindings::raw_spinlock_t,
    data: UnsafeCell<T>,
}
// SAFETY: The mutex gives its value to one thread at a time, and the value is `Send`.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: The mutex gives its value to one thread at a time, and the value is `Send`.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub fn new(data: T, _: &'static CStr, _: Pin<&'static LockClassKey>) -> Self {
        Self {
            raw: bindings::raw_spinlock_t(0),
            data: UnsafeCell::new(data),
        }
    }
    pub fn lock(&self) -> MutexGuard<'_, T> {
        bindings::lock((&raw const self.raw).addr());
        MutexGuard {
            mutex: self,
            _not_send: PhantomData,
        }
    }
}
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    _not_send: PhantomData<*mut ()>,
}
impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: The guard holds the mutex, so no other thread accesses the value.
        unsafe { &*self.mutex.data.get() }
    }
}
impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The guard holds the mutex, so no other thread accesses the value.
        unsafe { &mut *self.mutex.data.get() }
    }
}
impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        bindings::unlock((&raw const self.mutex.raw).addr());
    }
}

#[macro_export]
macro_rules! new_mutex {
    ($value:expr $(, $name:literal)?) => {
        $crate::sync::Mutex::new($value, c"mutex", $crate::static_lock_class!())
    };
}

pub mod bindings {
    #[repr(C, align(4))]
    pub struct raw_spinlock_t(pub u8);
    #[repr(C, align(8))]
    pub struct completion(pub u64);
    #[repr(C)]
    pub struct seqcount {
        pub sequence: u32,
    }
    pub type seqcount_t = seqcount;
    #[repr(C, align(4))]
    pub struct spinlock_t(pub u8);
    #[repr(C)]
    pub struct seqcount_spinlock {
        pub seqcount: seqcount_t,
    }
    pub type seqcount_spinlock_t = seqcount_spinlock;
    #[repr(C)]
    pub struct seqcount_raw_spinlock {
        pub seqcount: seqcount_t,
    }
    pub type seqcount_raw_spinlock_t = seqcount_raw_spinlock;
    #[repr(C)]
    pub struct seqlock {
        pub seqcount: seqcount_spinlock_t,
        pub lock: spinlock_t,
    }
    pub type seqlock_t = seqlock;
    pub const MAX_LOCKDEP_SUBCLASSES: u32 = 8;
    pub const lockdep_wait_type_LD_WAIT_SPIN: u32 = 2;
    pub const lockdep_wait_type_LD_WAIT_CONFIG: u32 = 3;
    pub unsafe fn local_interrupt_enable() {}
    pub struct irq_work(u8);
    pub struct lock_class_key(u8);
    #[derive(Clone, Copy)]
    pub struct list_head {
        pub next: *mut list_head,
        pub prev: *mut list_head,
    }

    #[cfg(not(feature = "loom"))]
    mod imp {
        use std::cell::RefCell;
        thread_local!(static HELD: RefCell<Vec<usize>> = RefCell::default());
        pub fn lock(at: usize) {
            HELD.with(|held| {
                assert!(!held.borrow().contains(&at), "a lock is taken twice");
                held.borrow_mut().push(at);
            })
        }
        pub fn unlock(at: usize) {
            HELD.with(|held| {
                let mut held = held.borrow_mut();
                let n = held
                    .iter()
                    .position(|&other| other == at)
                    .expect("a lock is released that is not held");
                held.remove(n);
            })
        }
        /// How many locks are held.
        pub fn held() -> usize {
            HELD.with(|held| held.borrow().len())
        }
    }

    #[cfg(feature = "loom")]
    mod imp {
        use super::completion;
        use crate::registry::at;
        use loom::sync::{Condvar, Mutex, MutexGuard};
        use std::{cell::RefCell, sync::Arc};

        struct Lock {
            mutex: Mutex<()>,
            guard: RefCell<Option<MutexGuard<'static, ()>>>,
        }
        // SAFETY: loom runs one thread at a time, and on one thread of the system.
        unsafe impl Sync for Lock {}
        // SAFETY: loom runs one thread at a time, and on one thread of the system.
        unsafe impl Send for Lock {}

        fn find(address: usize) -> Arc<Lock> {
            at(address, || Lock {
                mutex: Mutex::new(()),
                guard: RefCell::new(None),
            })
        }
        pub fn lock(address: usize) {
            let lock = find(address);
            let guard = lock.mutex.lock().unwrap();
            // SAFETY: The lock stays in the registry as long as it is held.
            *lock.guard.borrow_mut() = Some(unsafe {
                core::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard)
            });
        }
        pub fn unlock(address: usize) {
            let lock = find(address);
            let guard = lock.guard.borrow_mut().take();
            drop(guard.expect("a lock is released that is not held"));
        }

        struct Done(Mutex<u32>, Condvar);
        fn done(c: *mut completion) -> Arc<Done> {
            at(c as usize, || Done(Mutex::new(0), Condvar::new()))
        }
        pub unsafe fn init_completion(c: *mut completion) {
            *done(c).0.lock().unwrap() = 0;
        }
        pub unsafe fn complete(c: *mut completion) {
            let done = done(c);
            *done.0.lock().unwrap() += 1;
            done.1.notify_one();
        }
        pub unsafe fn completion_done(c: *mut completion) -> bool {
            *done(c).0.lock().unwrap() != 0
        }
        pub unsafe fn wait_for_completion(c: *mut completion) {
            // SAFETY: `c` points to an initialised completion, as this function requires.
            unsafe { wait_for_completion_timeout(c, isize::MAX) };
        }
        /// A timeout may pass at any moment, so that a wait with one does not sleep: the moments at
        /// which the thread runs are all that there are.
        pub unsafe fn wait_for_completion_timeout(c: *mut completion, slice: isize) -> isize {
            let done = done(c);
            let mut count = done.0.lock().unwrap();
            while *count == 0 {
                if slice != isize::MAX {
                    return 0;
                }
                count = done.1.wait(count).unwrap();
            }
            *count -= 1;
            slice
        }
        /// The signal comes as a timeout does.
        pub unsafe fn wait_for_completion_killable_timeout(
            c: *mut completion,
            slice: isize,
        ) -> isize {
            // SAFETY: `c` points to an initialised completion, as this function requires.
            match unsafe { wait_for_completion_timeout(c, slice.min(isize::MAX - 1)) } {
                0 => -512,
                _ => slice,
            }
        }
        pub unsafe fn wait_for_completion_interruptible_timeout(
            c: *mut completion,
            slice: isize,
        ) -> isize {
            // SAFETY: `c` points to an initialised completion, as this function requires.
            unsafe { wait_for_completion_killable_timeout(c, slice) }
        }
        pub unsafe fn irq_work_queue(_: *mut super::irq_work) {
            unreachable!("no model has an NMI")
        }
        pub unsafe fn irq_work_sync(_: *mut super::irq_work) {}
        pub unsafe fn schedule_timeout_uninterruptible(_: isize) -> isize {
            loom::thread::yield_now();
            0
        }
    }
    pub use imp::*;
}
