// SPDX-License-Identifier: GPL-2.0

//! Sequence locks.
//!
//! A sequence lock protects a small value that is read often and written seldom. A reader takes no
//! lock and writes nothing: it copies the value, and reads a counter before and after. If the counter
//! was odd or has changed, a writer interfered, and the reader copies again. Writers exclude each
//! other by a spin lock and never wait for readers.
//!
//! | type | is |
//! |---|---|
//! | [`SeqLock<T, C>`](SeqLock) | a value and its lock, over `seqlock_t`; writers sleep on PREEMPT_RT |
//! | [`RawSeqLock<T, C>`](RawSeqLock) | the same with a lock that spins everywhere, for hardware interrupts |
//! | [`SeqCount<T, L>`](SeqCount) | a value beside a lock of the caller's, of whatever type |
//! | [`Latch<T>`](Latch) | two copies of a value, whose readers never wait and may be NMIs |
//!
//! `C` is the weakest context that a writer must be in. A reader that interrupts a writer on the
//! writer's CPU spins indefinitely, so a writer disables what the lock's readers run in:
//! [`Preempt`] `<` [`Bh`] `<` [`ThreadedIrq`] `<` [`Irq`]. A writer in a weaker mode does not compile.
//!
//! No copy with which a writer interfered becomes a `T`, and no reference to the shared value reaches
//! an optimistic reader.
//!
//! # Which call makes a lock
//!
//! | call | choose it for |
//! |---|---|
//! | [`SeqLock::new`], a constant | any place: statics, their fields, arrays, `Arc`, the stack |
//! | [`SeqLock::init`] | a value above [`MAX_BY_VALUE`], or one that an initialiser makes in place |
//! | [`new_seqlock!`](crate::new_seqlock) | a field or an allocation, with a name for lockdep |
//! | [`seqlock_static!`](crate::seqlock_static) | a static with a name, or above [`MAX_BY_VALUE`] |
//!
//! # Which call reads
//!
//! | call | choose it where | waits for |
//! |---|---|---|
//! | [`read`], [`read_field`](SeqLock::read_field) | nothing speaks against it | writers, without a bound |
//! | [`read_into`](SeqLock::read_into) | the value is above [`MAX_BY_VALUE`] | the same |
//! | [`try_read`] | nothing may wait, also in NMIs | nobody |
//! | [`read_or_lock::<N>`](SeqLock::read_or_lock) | the wait must have a bound | the lock, after `N` copies |
//! | [`read_section`](SeqLock::read_section) | the copies are some of the fields, or data beside the lock | writers, without a bound |
//! | [`read_section_or_lock::<N, _>`](SeqLock::read_section_or_lock) | the same, and the wait must have a bound | the lock, after `N` calls |
//! | [`begin`], [`try_begin`](SeqLock::try_begin) | the loop is the caller's | writers; nobody |
//! | [`read_exclusive`] and its forms | the value is used by reference | the lock |
//! | [`read_begin`](SeqLock::read_begin) | the code was written for XWOS | writers, without a bound |
//!
//! # Which call writes
//!
//! | mode | write | exclusive read | disables | choose it if the lock is used by |
//! |---|---|---|---|---|
//! | [`Preempt`] | [`write`], [`try_write`] | [`read_exclusive`], [`try_read_exclusive`] | preemption | tasks alone |
//! | [`Bh`] | `write_bh`, `try_write_bh` | `read_exclusive_bh`, … | bottom halves | softirqs, tasklets, timers too |
//! | [`ThreadedIrq`] | `write_irq`, `try_write_irq` | `read_exclusive_irq`, … | interrupts | interrupt handlers too, all of them threads on PREEMPT_RT |
//! | [`Irq`], of a [`RawSeqLock`] | `write_irq`, `try_write_irq` | `read_exclusive_irq`, … | interrupts | hardware interrupts too, also on PREEMPT_RT |
//!
//! Interrupts are enabled again by the last guard that disabled them, in whichever order guards are
//! dropped, and not if they were disabled before: so `write_irqsave` is `write_irq` under C's other
//! name. Where a context has been entered already, [`write_with`](SeqLock::write_with) takes a token
//! that proves it.
//!
//! # Context
//!
//! | call | process | softirq | hardirq | NMI | PREEMPT_RT |
//! |---|---|---|---|---|---|
//! | [`try_read`] | y | y | y | y | as left |
//! | [`read`], [`begin`] | y | `C` is [`Bh`] or stronger | `C` is [`ThreadedIrq`] or [`Irq`] | n | not hardirq, may sleep |
//! | [`write`], [`read_exclusive`] | y | see text | n | n | sleeps |
//! | `write_bh`, `read_exclusive_bh` | y | y | n | n | sleeps |
//! | `write_irq`, `read_exclusive_irq` | y | y | y | n | sleeps, not in hardirq |
//! | [`RawSeqLock`], all calls | as above | as above | as above | as above | as left |
//! | [`Latch::read`] | y | y | y | y | as left |
//!
//! A plain writer or exclusive reader may run in a softirq or hardirq too if no other of the same
//! lock can interrupt it, which lockdep checks. A reader must not run within its own write section:
//! it would wait for itself.
//!
//! # Memory ordering
//!
//! A read that returned a value saw all stores of the writer that stored it and none of the next
//! writer's. Beginning a read is an acquire operation, ending a write a release operation.
//!
//! # Leaks
//!
//! A leaked guard leaves the lock held and what its mode disables disabled: writers and exclusive
//! readers wait indefinitely, and after a leaked write guard so do optimistic readers, except
//! [`try_read`]. No memory is at risk.
//!
//! # Uniprocessor kernels
//!
//! Without SMP the kernel's spin locks exclude nobody, and a flag behind the lock does: a `try_` form
//! fails as with SMP, and a context that acquires a lock which it holds is warned of and spins.
//!
//! # Modules
//!
//! A lock holds no pointer into the module that made it, except for lockdep: the keys of its class,
//! which are compared by address alone, and a name that a macro gave it, as with C's locks. When that
//! module is unloaded lockdep forgets the class; a lock that stays in use is not checked any more,
//! and one with a name must not stay in use.
//!
//! After XWOS's `Seqlock`, whose names are in [`compat`], and Linux's `seqlock_t`.
//!
//! C header: [`include/linux/seqlock.h`](srctree/include/linux/seqlock.h)
//!
//! [`write`]: SeqLock::write
//! [`try_write`]: SeqLock::try_write
//! [`read`]: SeqLock::read
//! [`begin`]: SeqLock::begin
//! [`try_read`]: SeqLock::try_read
//! [`read_exclusive`]: SeqLock::read_exclusive
//! [`try_read_exclusive`]: SeqLock::try_read_exclusive

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
/// It is laid out as C's `struct { seqlock_t lock; T data __aligned(8); }`.
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
    /// The lock's C type, to share it with C code.
    ///
    /// C code returns without the lock held. While it uses the lock, the lock is not moved.
    pub fn as_raw(&self) -> *mut K::Raw {
        // SAFETY: By the type invariants the lock is initialised.
        unsafe { K::tie(self.body.raw()) };
        self.body.raw()
    }

    /// The value's address, to share it with C code, which reads and writes it under the lock of
    /// [`SeqLock::as_raw`].
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
        // SAFETY: The caller guarantees the layout of `Self` and an initialised lock and value.
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
