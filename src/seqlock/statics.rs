// SPDX-License-Identifier: GPL-2.0

//! Sequence locks as statics.
//!
//! What the kernel's static initialisers do, `__SEQLOCK_UNLOCKED()` and `__RAW_SPIN_LOCK_UNLOCKED()`
//! beside `SEQCNT_RAW_SPINLOCK_ZERO()`. A static's lockdep class is its own address, which lockdep
//! finds out when it first sees the lock; that is why there is no `const fn new` for other places.

use core::{
    cell::UnsafeCell,
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::MaybeUninit, //
};
use kernel::{
    bindings,
    str::CStr, //
};

use super::{
    backend::RawSeqlock,
    data::WordCell,
    Body,
    Context,
    Raw,
    SeqData,
    SeqLock,
    Spin, //
};

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
const fn dep_map(name: &'static CStr, wait_type: u32) -> bindings::lockdep_map {
    // SAFETY: A C structure of pointers and integers.
    let mut map: bindings::lockdep_map = unsafe { MaybeUninit::zeroed().assume_init() };
    map.name = name.to_bytes_with_nul().as_ptr().cast();
    map.wait_type_inner = wait_type as u8;
    map
}

/// `SEQCNT_ZERO()`, over zeroes.
///
/// # Safety
///
/// `seq` is valid for writes.
const unsafe fn init_seqcount(seq: *mut bindings::seqcount_t, name: &'static CStr) {
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    // SAFETY: As the caller promises.
    unsafe {
        (*seq).dep_map = dep_map(name, 0);
    }
    let _ = (seq, name);
}

/// `__RAW_SPIN_LOCK_INITIALIZER()`, over zeroes.
///
/// # Safety
///
/// `lock` is valid for writes.
const unsafe fn init_raw_spinlock(
    lock: *mut bindings::raw_spinlock_t,
    name: &'static CStr,
    wait_type: u32,
) {
    #[cfg(CONFIG_DEBUG_SPINLOCK)]
    // SAFETY: As the caller promises.
    unsafe {
        (*lock).magic = bindings::SPINLOCK_MAGIC;
        (*lock).owner_cpu = u32::MAX;
        (*lock).owner = core::ptr::without_provenance_mut(usize::MAX);
    }
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    // SAFETY: As the caller promises.
    unsafe {
        (*lock).dep_map = dep_map(name, wait_type);
    }
    let _ = (lock, name, wait_type);
}

/// `__SPIN_LOCK_UNLOCKED()`, over zeroes: not on PREEMPT_RT a raw spin lock begins it.
///
/// # Safety
///
/// `lock` is valid for writes.
#[cfg(not(CONFIG_PREEMPT_RT))]
const unsafe fn init_spinlock(lock: *mut bindings::spinlock_t, name: &'static CStr) {
    // SAFETY: As the caller promises.
    unsafe {
        init_raw_spinlock(
            lock.cast(),
            name,
            bindings::lockdep_wait_type_LD_WAIT_CONFIG,
        )
    }
}

/// `__SPIN_LOCK_UNLOCKED()`, over zeroes: on PREEMPT_RT a `struct rt_mutex_base` begins it.
///
/// # Safety
///
/// `lock` is valid for writes.
#[cfg(CONFIG_PREEMPT_RT)]
const unsafe fn init_spinlock(lock: *mut bindings::spinlock_t, name: &'static CStr) {
    #[repr(C)]
    struct RtSpinlock {
        lock: bindings::rt_mutex_base,
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        dep_map: bindings::lockdep_map,
    }
    const _: () = assert!(size_of::<RtSpinlock>() == size_of::<bindings::spinlock_t>());

    let lock: *mut RtSpinlock = lock.cast();
    // SAFETY: As the caller promises.
    unsafe {
        init_raw_spinlock(
            &raw mut (*lock).lock.wait_lock,
            name,
            bindings::lockdep_wait_type_LD_WAIT_SPIN,
        );
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        {
            (*lock).dep_map = dep_map(name, bindings::lockdep_wait_type_LD_WAIT_CONFIG);
        }
    }
}

/// # Safety
///
/// The result becomes a part of a static, at `this`.
pub(super) const unsafe fn raw_seqlock(
    this: *const RawSeqlock,
    name: &'static CStr,
) -> MaybeUninit<RawSeqlock> {
    let mut raw = MaybeUninit::<RawSeqlock>::zeroed();
    let lock = raw.as_mut_ptr();
    // SAFETY: `lock` is valid for writes.
    unsafe {
        init_seqcount(&raw mut (*lock).seqcount.seqcount, name);
        init_raw_spinlock(
            &raw mut (*lock).lock,
            name,
            bindings::lockdep_wait_type_LD_WAIT_SPIN,
        );
    }
    #[cfg(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT))]
    // SAFETY: `lock` is valid for writes. The address is not used before the static is there.
    unsafe {
        (*lock).seqcount.lock = this
            .cast::<bindings::raw_spinlock_t>()
            .wrapping_byte_add(core::mem::offset_of!(RawSeqlock, lock))
            .cast_mut();
    }
    let _ = this;
    raw
}

impl<T: SeqData, C: Context> SeqLock<T, C, Spin> {
    /// Used by [`seqlock_static!`](crate::seqlock_static) alone.
    ///
    /// # Safety
    ///
    /// The lock becomes the value of the static at `this`.
    #[doc(hidden)]
    pub const unsafe fn new_static(this: *const Self, value: T, name: &'static CStr) -> Self {
        let mut raw = MaybeUninit::<bindings::seqlock_t>::zeroed();
        let lock = raw.as_mut_ptr();
        // SAFETY: `lock` is valid for writes.
        unsafe {
            init_seqcount(&raw mut (*lock).seqcount.seqcount, name);
            init_spinlock(&raw mut (*lock).lock, name);
        }
        #[cfg(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT))]
        // SAFETY: `lock` is valid for writes. The counter's lock is the static's, whose first field
        // is the `seqlock_t`; its address is not used before the static is there.
        unsafe {
            (*lock).seqcount.lock = this
                .cast::<bindings::spinlock_t>()
                .wrapping_byte_add(core::mem::offset_of!(bindings::seqlock, lock))
                .cast_mut();
        }
        let _ = this;
        // INVARIANT: The lock is initialised.
        Self {
            body: Body {
                raw: UnsafeCell::new(raw),
                data: WordCell::new(value),
            },
            _context: PhantomData,
            _pin: PhantomPinned,
        }
    }
}

impl<T: SeqData, C: Context> SeqLock<T, C, Raw> {
    /// Used by [`seqlock_static!`](crate::seqlock_static) alone.
    ///
    /// # Safety
    ///
    /// The lock becomes the value of the static at `this`.
    #[doc(hidden)]
    pub const unsafe fn new_static(this: *const Self, value: T, name: &'static CStr) -> Self {
        // INVARIANT: The lock is initialised.
        Self {
            body: Body {
                // SAFETY: It becomes the first field of the static.
                raw: UnsafeCell::new(unsafe { raw_seqlock(this.cast(), name) }),
                data: WordCell::new(value),
            },
            _context: PhantomData,
            _pin: PhantomPinned,
        }
    }
}

/// Defines a [`SeqLock`](crate::seqlock::SeqLock) or
/// [`RawSeqLock`](crate::seqlock::RawSeqLock) as a static, with no initialisation at run time.
///
/// # Examples
///
/// ```
/// use quiesce::{seqlock_static, seqlock::{Irq, SeqLock}};
///
/// seqlock_static! {
///     /// Ticks since the module was loaded.
///     pub static TICKS: SeqLock<u64, Irq> = 0;
/// }
///
/// fn tick() {
///     TICKS.write_irq().update(|ticks| *ticks += 1);
/// }
/// ```
#[macro_export]
macro_rules! seqlock_static {
    ($($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $value:expr;)+) => {$(
        $(#[$attr])*
        $vis static $name: $t =
            // SAFETY: It is the value of this static.
            unsafe {
                <$t>::new_static(
                    &raw const $name,
                    $value,
                    ::kernel::c_str!(::core::stringify!($name)),
                )
            };
    )+};
}
