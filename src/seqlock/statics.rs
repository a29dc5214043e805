// SPDX-License-Identifier: GPL-2.0

//! The initial state of a sequence lock, as a constant.
//!
//! This is what the kernel's static initialisers do, `__SEQLOCK_UNLOCKED()` and
//! `__RAW_SPIN_LOCK_UNLOCKED()` beside `SEQCNT_RAW_SPINLOCK_ZERO()`, with two differences, so that
//! the same constant serves for locks of any storage duration:
//!
//! - lockdep gets its class keys from [`Class`]: dynamically allocated locks have no address that
//!   could be the key.
//! - The counter's pointer to its own lock is null. C follows it only on PREEMPT_RT, and
//!   `as_raw()`, by which C gets at the lock, stores it.

#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use core::mem::offset_of;
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        size_of,
        MaybeUninit, //
    },
    panic::Location,
    ptr, //
};
use kernel::{
    bindings,
    ffi::c_char,
    prelude::*,
    str::CStr,
    sync::LockClassKey, //
};

use super::{
    backend::{
        RawSeqlock,
        SpinSeqlock, //
    },
    data::{
        assert_by_value,
        WordCell, //
    },
    Body,
    Context,
    Kind,
    SeqData,
    SeqLock,
    Serves, //
};

/// lockdep's class of a lock: the name, and the keys of the lock and of its counter.
///
/// lockdep compares keys by address, of which each uses up `MAX_LOCKDEP_SUBCLASSES`, and does not
/// access what is there. Keys and name are dropped from lockdep's tables when the module is unloaded
/// that they lie in.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(CONFIG_DEBUG_LOCK_ALLOC),
    expect(dead_code, reason = "lockdep alone reads them")
)]
pub(super) struct Class {
    name: *const c_char,
    lock: *mut bindings::lock_class_key,
    seq: *mut bindings::lock_class_key,
}

/// The name of locks that were given none. A static of this crate, whose module stays loaded as long
/// as those that use it.
static NAME: [u8; 17] = *b"quiesce::seqlock\0";

/// The text of a string literal, `"…"` or `c"…"`, followed by at least one zero.
///
/// Used by [`new_seqlock!`](crate::new_seqlock) alone, whose names may be of both types.
#[doc(hidden)]
pub const fn literal_name<const N: usize>(literal: &str) -> [u8; N] {
    let literal = literal.as_bytes();
    let mut name = [0; N];
    let mut start = 0;
    while literal[start] != b'"' {
        start += 1;
    }
    let mut i = start + 1;
    while literal[i] != b'"' {
        name[i - start - 1] = literal[i];
        i += 1;
    }
    name
}

impl Class {
    /// The class of all locks that are made at this place of the source.
    pub(super) const fn of_place(place: &'static Location<'static>) -> Self {
        const SUBCLASSES: usize = bindings::MAX_LOCKDEP_SUBCLASSES as usize;
        const _: () = assert!(size_of::<Location<'static>>() >= 2 * SUBCLASSES);

        let key = (&raw const *place)
            .cast::<bindings::lock_class_key>()
            .cast_mut();
        Self {
            name: (&raw const NAME).cast(),
            lock: key,
            seq: key.wrapping_byte_add(SUBCLASSES),
        }
    }

    /// The class of one static, whose address lockdep uses as the key.
    pub(super) const fn of_static(name: &'static CStr) -> Self {
        Self {
            name: name.to_bytes_with_nul().as_ptr().cast(),
            lock: ptr::null_mut(),
            seq: ptr::null_mut(),
        }
    }

    /// A class with a name and keys.
    pub(super) fn of_keys(
        name: &'static CStr,
        lock: Pin<&'static LockClassKey>,
        seq: Pin<&'static LockClassKey>,
    ) -> Self {
        Self {
            name: name.as_char_ptr(),
            lock: lock.as_ptr(),
            seq: seq.as_ptr(),
        }
    }
}

/// The offsets of the lockdep maps in a lock's C type.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
#[doc(hidden)]
pub struct Maps {
    lock: usize,
    seq: usize,
}

/// `LOCKDEP_INIT_MAP()`, without the name and the key.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
const fn dep_map(wait_type: u32) -> bindings::lockdep_map {
    // SAFETY: A C structure of pointers and integers may be all zeroes.
    let mut map: bindings::lockdep_map = unsafe { MaybeUninit::zeroed().assume_init() };
    map.wait_type_inner = wait_type as u8;
    map
}

/// `__RAW_SPIN_LOCK_INITIALIZER()`, over zeroes.
///
/// # Safety
///
/// `lock` is valid for writes.
const unsafe fn init_raw_spinlock(lock: *mut bindings::raw_spinlock_t, wait_type: u32) {
    #[cfg(CONFIG_DEBUG_SPINLOCK)]
    // SAFETY: `lock` is valid for writes, as required of the caller.
    unsafe {
        (*lock).magic = bindings::SPINLOCK_MAGIC;
        (*lock).owner_cpu = u32::MAX;
        (*lock).owner = ptr::without_provenance_mut(usize::MAX);
    }
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    // SAFETY: `lock` is valid for writes, as required of the caller.
    unsafe {
        (*lock).dep_map = dep_map(wait_type);
    }
    let _ = (lock, wait_type);
}

/// The C type of a spin lock that sleeps.
#[cfg(CONFIG_PREEMPT_RT)]
#[repr(C)]
struct RtSpinlock {
    lock: bindings::rt_mutex_base,
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    dep_map: bindings::lockdep_map,
}

#[cfg(CONFIG_PREEMPT_RT)]
const _: () = assert!(size_of::<RtSpinlock>() == size_of::<bindings::spinlock_t>());

/// `__SPIN_LOCK_UNLOCKED()`, over zeroes: without PREEMPT_RT a raw spin lock begins it, with it a
/// `struct rt_mutex_base`.
///
/// # Safety
///
/// `lock` is valid for writes.
const unsafe fn init_spinlock(lock: *mut bindings::spinlock_t) {
    #[cfg(not(CONFIG_PREEMPT_RT))]
    // SAFETY: `lock` is valid for writes, as required of the caller; without PREEMPT_RT a
    // `spinlock_t` begins with its raw spin lock.
    unsafe {
        init_raw_spinlock(lock.cast(), bindings::lockdep_wait_type_LD_WAIT_CONFIG)
    }
    #[cfg(CONFIG_PREEMPT_RT)]
    {
        let lock: *mut RtSpinlock = lock.cast();
        // SAFETY: `lock` is valid for writes, as required of the caller; with PREEMPT_RT
        // `RtSpinlock` is the layout of `spinlock_t`.
        unsafe {
            init_raw_spinlock(
                &raw mut (*lock).lock.wait_lock,
                bindings::lockdep_wait_type_LD_WAIT_SPIN,
            )
        };
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        {
            /// One class for all, as where `rt_mutex_base_init()` is called.
            static WAIT_LOCK: MaybeUninit<bindings::lock_class_key> = MaybeUninit::zeroed();
            // SAFETY: `lock` is valid for writes, as required of the caller; `RtSpinlock` is the
            // layout of `spinlock_t`.
            unsafe {
                (*lock).lock.wait_lock.dep_map.name = (&raw const NAME).cast();
                (*lock).lock.wait_lock.dep_map.key = (&raw const WAIT_LOCK).cast_mut().cast();
                (*lock).dep_map = dep_map(bindings::lockdep_wait_type_LD_WAIT_CONFIG);
            }
        }
    }
}

/// The offset of the lockdep map in a `spinlock_t`.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
const SPINLOCK_MAP: usize = {
    #[cfg(not(CONFIG_PREEMPT_RT))]
    {
        offset_of!(bindings::raw_spinlock, dep_map)
    }
    #[cfg(CONFIG_PREEMPT_RT)]
    {
        offset_of!(RtSpinlock, dep_map)
    }
};

/// An unlocked `seqlock_t` without a class.
pub(super) const SPIN: MaybeUninit<SpinSeqlock> = {
    let mut raw = MaybeUninit::<SpinSeqlock>::zeroed();
    // SAFETY: The pointer is to a field of `raw`, a local variable whose bytes are all initialised
    // by zero.
    unsafe { init_spinlock(&raw mut (*raw.as_mut_ptr()).lock) };
    raw
};

/// The maps of [`SPIN`].
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
pub(super) const SPIN_MAPS: Maps = Maps {
    lock: offset_of!(bindings::seqlock, lock) + SPINLOCK_MAP,
    seq: offset_of!(bindings::seqlock, seqcount)
        + offset_of!(bindings::seqcount_spinlock, seqcount)
        + offset_of!(bindings::seqcount, dep_map),
};

/// An unlocked raw lock without a class.
pub(super) const RAW: MaybeUninit<RawSeqlock> = {
    let mut raw = MaybeUninit::<RawSeqlock>::zeroed();
    // SAFETY: The pointer is to a field of `raw`, a local variable whose bytes are all initialised
    // by zero.
    unsafe {
        init_raw_spinlock(
            &raw mut (*raw.as_mut_ptr()).lock,
            bindings::lockdep_wait_type_LD_WAIT_SPIN,
        )
    };
    raw
};

/// The maps of [`RAW`].
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
pub(super) const RAW_MAPS: Maps = Maps {
    lock: offset_of!(RawSeqlock, lock) + offset_of!(bindings::raw_spinlock, dep_map),
    seq: offset_of!(RawSeqlock, seqcount)
        + offset_of!(bindings::seqcount_raw_spinlock, seqcount)
        + offset_of!(bindings::seqcount, dep_map),
};

/// An unlocked lock of `K` in `class`.
pub(super) const fn unlocked<K: Kind>(class: Class) -> MaybeUninit<K::Raw> {
    #[allow(unused_mut, reason = "written with lockdep alone")]
    let mut raw = K::UNLOCKED;
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    // SAFETY: `K` names the places of two lockdep maps within the local.
    unsafe {
        let raw = raw.as_mut_ptr();
        let lock = raw.byte_add(K::MAPS.lock).cast::<bindings::lockdep_map>();
        (*lock).name = class.name;
        (*lock).key = class.lock;
        let seq = raw.byte_add(K::MAPS.seq).cast::<bindings::lockdep_map>();
        (*seq).name = class.name;
        (*seq).key = class.seq;
    }
    let _ = class;
    raw
}

/// `SEQCNT_ZERO()` in `class`.
pub(super) const fn seqcount(class: Class) -> MaybeUninit<bindings::seqcount_t> {
    #[allow(unused_mut, reason = "written with lockdep alone")]
    let mut raw = MaybeUninit::<bindings::seqcount_t>::zeroed();
    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    // SAFETY: The pointer is to a field of `raw`, a local variable whose bytes are all initialised
    // by zero.
    unsafe {
        let map = &raw mut (*raw.as_mut_ptr()).dep_map;
        (*map).name = class.name;
        (*map).key = class.seq;
    }
    let _ = class;
    raw
}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    const fn of_class(value: T, class: Class) -> Self {
        // INVARIANT: The lock is initialised.
        Self {
            body: Body {
                raw: UnsafeCell::new(unlocked::<K>(class)),
                data: WordCell::new(value),
            },
            _context: PhantomData,
        }
    }

    /// Makes a lock, for any place: a static, a part of one, an `Arc`.
    ///
    /// All locks that are made by the same call in the source are of one lockdep class, which is
    /// identified by the address of that call's [`Location`], in the module that calls. With
    /// `#[derive(Default)]` all fields of the type are made by one call.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{prelude::*, sync::Arc};
    /// use quiesce::seqlock::{Irq, RawSeqLock, SeqLock};
    ///
    /// static GLOBAL: SeqLock<u32> = SeqLock::new(0);
    /// static MANY: [RawSeqLock<(u64, bool), Irq>; 3] = [const { RawSeqLock::new((0, true)) }; 3];
    ///
    /// fn example() -> Result {
    ///     let lock: Arc<SeqLock<u32>> = Arc::new(SeqLock::new(0), GFP_KERNEL)?;
    ///     lock.write().set(1);
    ///     GLOBAL.write().set(lock.read());
    ///     MANY[1].write_irq().set((7, false));
    ///     Ok(())
    /// }
    /// ```
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self
    where
        K: Serves<C>,
    {
        const { assert_by_value::<T>() };
        Self::of_class(value, Class::of_place(Location::caller()))
    }

    /// Initialises a lock in place, the value by `value`, which may be larger than
    /// [`MAX_BY_VALUE`](super::MAX_BY_VALUE).
    ///
    /// lockdep's class is as for [`SeqLock::new`].
    ///
    /// # Errors
    ///
    /// Those of `value`.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::prelude::*;
    /// use quiesce::seqlock::SeqLock;
    ///
    /// fn example() -> Result<KBox<SeqLock<[u64; 512]>>> {
    ///     KBox::init(SeqLock::init(pin_init::init_zeroed()), GFP_KERNEL)
    /// }
    /// ```
    #[inline]
    #[track_caller]
    pub fn init<E>(value: impl Init<T, E>) -> impl Init<Self, E>
    where
        K: Serves<C>,
    {
        Self::init_in(value, Class::of_place(Location::caller()))
    }

    /// Used by [`new_seqlock!`](crate::new_seqlock) alone.
    #[doc(hidden)]
    #[inline]
    pub fn init_named(
        value: T,
        name: &'static CStr,
        lock: Pin<&'static LockClassKey>,
        seq: Pin<&'static LockClassKey>,
    ) -> impl Init<Self>
    where
        K: Serves<C>,
    {
        const { assert_by_value::<T>() };
        Self::init_in(value, Class::of_keys(name, lock, seq))
    }

    #[inline(always)]
    fn init_in<E>(value: impl Init<T, E>, class: Class) -> impl Init<Self, E> {
        let init = move |slot: *mut Self| {
            // SAFETY: `init_from_closure()` passes a slot that is valid for writes of all fields.
            // INVARIANT: The lock is initialised.
            unsafe {
                (&raw mut (*slot).body.raw)
                    .cast::<MaybeUninit<K::Raw>>()
                    .write(unlocked::<K>(class));
                value.__init(WordCell::raw_get(&raw mut (*slot).body.data))
            }
        };
        // SAFETY: All fields with a size are initialised if the value is; what was initialised
        // before has no destructor.
        unsafe { pin_init::init_from_closure(init) }
    }

    /// Used by [`seqlock_static!`](crate::seqlock_static) alone.
    ///
    /// Not for other places than a static: lockdep would turn itself off. A static is evaluated by
    /// the compiler, so that the value may be of any size.
    #[doc(hidden)]
    pub const fn new_static(value: T, name: &'static CStr) -> Self
    where
        K: Serves<C>,
    {
        Self::of_class(value, Class::of_static(name))
    }
}

impl<T: SeqData, C: Context, K: Serves<C>> From<T> for SeqLock<T, C, K> {
    #[inline]
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: SeqData + Default, C: Context, K: Serves<C>> Default for SeqLock<T, C, K> {
    #[inline]
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Defines a [`SeqLock`], a [`RawSeqLock`](crate::seqlock::RawSeqLock) or a
/// [`Latch`](crate::seqlock::Latch) as a static with a lockdep class of its own, which has the
/// static's name.
///
/// [`SeqLock::new`] can initialise statics too. Use this macro for the name in lockdep's reports,
/// and for values larger than [`MAX_BY_VALUE`](crate::seqlock::MAX_BY_VALUE).
///
/// # Examples
///
/// ```
/// use quiesce::{seqlock_static, seqlock::{Irq, RawSeqLock}};
///
/// seqlock_static! {
///     /// Ticks since the module was loaded.
///     pub static TICKS: RawSeqLock<u64, Irq> = 0;
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
            <$t>::new_static($value, ::kernel::c_str!(::core::stringify!($name)));
    )+};
}
