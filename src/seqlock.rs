// SPDX-License-Identifier: GPL-2.0

//! Sequence locks: read a small value without a lock, write it from a stated context.
#![doc = include_str!("seqlock/README.md")]

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::bindings;

mod backend;
pub mod compat;
mod context;
mod data;
mod exclusive;
mod latch;
mod long_count;
mod read;
mod seqcount;
mod sequence;
mod spinlock;
mod statics;
mod tokens;
mod write;

pub use backend::{
    Kind,
    Raw,
    Serves,
    Spin, //
};
pub use compat::{
    SeqLockError,
    SeqLockGuard,
    SeqLockMode,
    SeqLockReadGuard,
    SIZEOF_SEQLOCK, //
};
pub use context::{
    AtLeast,
    Bh,
    Context,
    Irq,
    Preempt,
    ThreadedIrq, //
};
pub use data::{
    Field,
    SeqData,
    MAX_BY_VALUE, //
};
pub use exclusive::ExclusiveGuard;
pub use latch::Latch;
pub use read::{
    ReadSection,
    Retry,
    Unvalidated, //
};
pub use seqcount::{
    SeqCount,
    SeqCountWriter, //
};
pub use statics::literal_name;
pub use tokens::{
    bh_disable,
    preempt_disable,
    BhDisabled,
    PreemptDisabled,
    Token, //
};
pub use write::WriteGuard;

use data::WordCell;

/// A lock and its value, without the context.
///
/// # Invariants
///
/// `raw` is an initialised lock, and only its holder stores to `data`, between
/// `sequence::write_begin` and `sequence::write_end`.
#[repr(C)]
struct Body<T: SeqData, K: Kind> {
    raw: UnsafeCell<MaybeUninit<K::Raw>>,
    data: WordCell<T>,
}

impl<T: SeqData, K: Kind> Body<T, K> {
    #[inline(always)]
    fn raw(&self) -> *mut K::Raw {
        self.raw.get().cast()
    }

    #[inline(always)]
    fn sequence(&self) -> *mut bindings::seqcount_t {
        K::sequence(self.raw())
    }

    #[inline(always)]
    fn lock(&self) -> *mut K::Lock {
        K::lock(self.raw())
    }
}

/// A value under a sequence lock; see the [module's text](self).
///
/// Made by [`SeqLock::new`] for any place, by [`SeqLock::init`] in place, and with a name for lockdep
/// by [`new_seqlock!`](crate::new_seqlock) and [`seqlock_static!`](crate::seqlock_static).
///
/// With SMP, one of [`Spin`] is laid out as C's `struct { seqlock_t lock; T data __aligned(8); }`.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use quiesce::seqlock::{Bh, SeqLock};
///
/// #[derive(Clone, Copy, Default)]
/// struct Clock {
///     seconds: u64,
///     nanos: u32,
/// }
///
/// fn example() -> Result {
///     let clock = KBox::new(SeqLock::<Clock, Bh>::default(), GFP_KERNEL)?;
///     clock.write_bh().set(Clock { seconds: 1, nanos: 500 });
///     let now = clock.read();
///     assert_eq!((now.seconds, now.nanos), (1, 500));
///     Ok(())
/// }
/// ```
#[repr(C)]
pub struct SeqLock<T: SeqData, C: Context = Preempt, K: Kind = Spin> {
    body: Body<T, K>,
    _context: PhantomData<fn() -> C>,
}

/// A [`SeqLock`] that spins on PREEMPT_RT too, for hardware interrupts there.
///
/// Everywhere else the two are the same.
pub type RawSeqLock<T, C = Preempt> = SeqLock<T, C, Raw>;

// SAFETY: The value is `Send`, and the kernel's lock belongs to no task while it is not held.
unsafe impl<T: SeqData, C: Context, K: Kind> Send for SeqLock<T, C, K> {}

// SAFETY: Optimistic readers get copies of the value, which is `Send`; only the holder of the lock
// gets a reference to the value, and there is one holder at a time.
unsafe impl<T: SeqData, C: Context, K: Kind> Sync for SeqLock<T, C, K> {}

impl<T: SeqData, C: Context, K: Kind> SeqLock<T, C, K> {
    /// Returns a pointer to the underlying C lock, to share it with C code.
    ///
    /// C code that acquires the lock has to release it again before it returns. The pointer is valid
    /// as long as the lock is not moved or dropped.
    pub fn as_raw(&self) -> *mut K::Raw {
        // SAFETY: By the type invariants of `Body` the lock is initialised, and it stays in place
        // while `self` is borrowed.
        unsafe { K::tie(self.body.raw()) };
        self.body.raw()
    }

    /// Returns a pointer to the value, to share it with C code, which reads and writes it under the
    /// lock of [`SeqLock::as_raw`].
    pub fn data_ptr(&self) -> *mut T {
        self.body.data.get()
    }

    /// Returns the value by reference, without the lock: the caller alone has it.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: The reference to the lock is exclusive, so that there is no guard and no reader.
        unsafe { &mut *self.body.data.get() }
    }
}

impl<T: SeqData, C: Context> SeqLock<T, C, Spin>
where
    Spin: Serves<C>,
{
    /// Borrows a lock that C code initialised.
    ///
    /// # Safety
    ///
    /// `raw` is the first member of a C structure that lives for `'a` and is aligned as `Self` is;
    /// the second is a valid `T`, aligned to 8 bytes and with room for its size rounded up to that.
    /// Without SMP a `u32` that is zero stands between the two. The lock is initialised. C code
    /// writes the value only under the lock as a writer, and in a mode at least as strong as `C`.
    pub unsafe fn from_raw<'a>(raw: *mut bindings::seqlock_t) -> &'a Self {
        // SAFETY: This function requires that `raw` begins a C structure with the layout of `Self`,
        // that its lock and value are initialised, and that it lives for `'a`.
        unsafe { &*raw.cast() }
    }
}

/// Initialises a [`SeqLock`] in place, with lockdep classes of its own and a name:
/// `new_seqlock!(value[, "name"])`.
///
/// The name is that of file and line if none is given. The lock is a `SeqLock<_>`; any other type
/// comes first, spelt as `SeqLock<…>` or `RawSeqLock<…>`, or in angle brackets.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use quiesce::{new_seqlock, seqlock::{Irq, RawSeqLock, SeqLock, ThreadedIrq}};
///
/// type Clock = RawSeqLock<(u64, u32), Irq>;
///
/// #[pin_data]
/// struct Device {
///     #[pin]
///     state: SeqLock<u32>,
///     #[pin]
///     packets: SeqLock<[u64; 2], ThreadedIrq>,
///     #[pin]
///     clock: Clock,
/// }
///
/// fn device() -> impl PinInit<Device> {
///     pin_init!(Device {
///         state <- new_seqlock!(0),
///         packets <- new_seqlock!(SeqLock<_, ThreadedIrq>, [0; 2], "packets"),
///         clock <- new_seqlock!(<Clock>, (0, 0), "clock"),
///     })
/// }
/// ```
#[macro_export]
macro_rules! new_seqlock {
    (SeqLock < $($rest:tt)+) => {
        $crate::new_seqlock!(@typed SeqLock < $($rest)+)
    };
    (RawSeqLock < $($rest:tt)+) => {
        $crate::new_seqlock!(@typed RawSeqLock < $($rest)+)
    };
    (< $t:ty > , $($rest:tt)+) => {
        $crate::new_seqlock!(@typed $t, $($rest)+)
    };
    (@typed $t:ty, $value:expr $(, $name:literal)? $(,)?) => {
        <$t>::init_named(
            $value,
            $crate::new_seqlock!(@name $($name)?),
            ::kernel::static_lock_class!(),
            ::kernel::static_lock_class!(),
        )
    };
    (@name) => {
        ::kernel::optional_name!()
    };
    (@name $name:literal) => {{
        const TEXT: &str = ::core::stringify!($name);
        const BYTES: [u8; TEXT.len()] = $crate::seqlock::literal_name(TEXT);
        const NAME: &::core::ffi::CStr = match ::core::ffi::CStr::from_bytes_until_nul(&BYTES) {
            Ok(name) => name,
            Err(_) => ::core::panic!("the name is not a string"),
        };
        NAME
    }};
    ($value:expr $(, $name:literal)? $(,)?) => {
        $crate::new_seqlock!(@typed $crate::seqlock::SeqLock<_>, $value $(, $name)?)
    };
}
