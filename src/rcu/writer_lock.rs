// SPDX-License-Identifier: GPL-2.0

//! [`WriterLock`]: the lock of a list or a table, which excludes its holder too.
//!
//! Without SMP the kernel's spin locks disable preemption and exclude nobody: a context can acquire one
//! that it holds, and would have two guards of one list. So a flag behind the lock is set while there is
//! a guard, as in `seqlock/spinlock.rs`. With SMP it is an empty type.

#[cfg(CONFIG_SMP)]
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        lock::{
            Backend,
            Guard,
            Lock, //
        },
        LockClassKey, //
    },
};

/// A lock without data of its own.
#[pin_data]
pub(super) struct WriterLock<B: Backend> {
    flag: Flag,
    #[pin]
    lock: Lock<(), B>,
}

impl<B: Backend> WriterLock<B> {
    pub(super) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            flag: Flag::new(),
            lock <- Lock::new((), name, key),
        })
    }

    /// Acquires the lock.
    ///
    /// Without SMP, a context that holds it reports that and never returns, as with SMP.
    #[inline]
    pub(super) fn lock(&self) -> WriterGuard<'_, B> {
        let lock = self.lock.lock();
        WriterGuard {
            _flag: self.flag.set(),
            _lock: lock,
        }
    }
}

#[cfg(all(CONFIG_KUNIT, not(CONFIG_SMP)))]
impl<B: Backend> WriterLock<B> {
    /// Clears the flag, as if the guard that set it were dropped.
    pub(super) fn clear_flag_for_test(&self) {
        drop(SetFlag { flag: &self.flag });
    }
}

/// A [`WriterLock`], held.
///
/// # Invariants
///
/// There is no other guard of the same lock.
pub(super) struct WriterGuard<'a, B: Backend> {
    // First: the flag is cleared before the lock is released.
    _flag: SetFlag<'a>,
    _lock: Guard<'a, (), B>,
}

/// Whether there is a guard.
struct Flag {
    #[cfg(not(CONFIG_SMP))]
    set: kernel::sync::atomic::Atomic<i32>,
}

/// A flag that is set, and cleared on drop.
struct SetFlag<'a> {
    #[cfg(CONFIG_SMP)]
    _flag: PhantomData<&'a Flag>,
    #[cfg(not(CONFIG_SMP))]
    flag: &'a Flag,
}

#[cfg(CONFIG_SMP)]
impl Flag {
    const fn new() -> Self {
        Self {}
    }

    #[inline(always)]
    fn set(&self) -> SetFlag<'_> {
        SetFlag { _flag: PhantomData }
    }
}

#[cfg(not(CONFIG_SMP))]
mod uniprocessor {
    use super::{
        Flag,
        SetFlag, //
    };
    use crate::bindings as helpers;
    use kernel::sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    };

    impl Flag {
        pub(super) const fn new() -> Self {
            Self {
                set: Atomic::new(0),
            }
        }

        /// Sets the flag, for the holder of the lock.
        pub(super) fn set(&self) -> SetFlag<'_> {
            while self.set.xchg(1, Full) != 0 {
                // The lock is held by this context, or by one that this context interrupted.
                // SAFETY: The helper only prints a warning, the first time, in any context.
                unsafe { helpers::quiesce_helper_warn_deadlock() };
                while self.set.load(Acquire) != 0 {
                    kernel::processor::cpu_relax();
                }
            }
            SetFlag { flag: self }
        }
    }

    impl Drop for SetFlag<'_> {
        fn drop(&mut self) {
            self.flag.set.store(0, Release);
        }
    }
}
