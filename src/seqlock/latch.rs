// SPDX-License-Identifier: GPL-2.0

//! Latches: two copies of a value, of which one can always be read.
//!
//! This is C's `seqcount_latch_t`. A writer sends the readers to one copy while it stores to the
//! other, and then the other way round. A reader copies the one that the counter's lowest bit
//! selects, and repeats that only if the counter has changed meanwhile. So a reader that interrupts
//! a writer on its own CPU, an NMI for instance, finds a whole value. Writers exclude each other by
//! a raw spin lock with interrupts disabled.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    panic::Location, //
};
use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::LockClassKey, //
};

use super::{
    backend::RawSeqlock,
    context::Held,
    data::{
        assert_by_value,
        WordCell, //
    },
    sequence,
    statics::{
        unlocked,
        Class, //
    },
    Irq,
    Kind,
    Raw,
    SeqData, //
};

type Writer<'a> = Held<'a, bindings::raw_spinlock_t, Irq>;

/// A value that can be read while it is written, even by what interrupts the writer.
///
/// The counter sends readers to one copy while a writer stores to the other, and then the other way
/// round. So a reader never waits for a writer, and an NMI that interrupts a writer reads the value
/// of before or the new one. A reader copies again only if a writer has gone on to the next copy
/// meanwhile.
///
/// Writers exclude each other by a spin lock, which is held with interrupts disabled for the two
/// stores. There is no guard, and so none to leak.
///
/// # Context
///
/// [`Latch::read`]: any, including NMI and PREEMPT_RT. [`Latch::store`]: any but NMI, including
/// PREEMPT_RT.
///
/// # Memory ordering
///
/// A read that returns a value saw all stores that its writer made before. As for
/// [`SeqLock`](super::SeqLock), a read begins with an acquire operation. A store orders the writer's
/// earlier stores before its own, as C's `write_seqcount_latch()`; a load of the writer may be ordered
/// after it.
///
/// # Invariants
///
/// `lock` is initialised; the lowest bit of its counter names the copy that is not being stored to.
/// Only the holder of the lock stores and changes the counter.
///
/// # Examples
///
/// ```
/// use kernel::prelude::*;
/// use quiesce::{new_latch, seqlock::Latch};
///
/// fn example() -> Result {
///     let rate = KBox::pin_init(new_latch!(Latch<(u64, u32)>, (1, 1)), GFP_KERNEL)?;
///     rate.store((3, 5));
///     assert_eq!(rate.read(), (3, 5));
///     Ok(())
/// }
/// ```
#[repr(C)]
pub struct Latch<T: SeqData> {
    lock: UnsafeCell<MaybeUninit<RawSeqlock>>,
    copies: [WordCell<T>; 2],
}

// SAFETY: The value is `Send`, and the lock belongs to no task while it is not held.
unsafe impl<T: SeqData> Send for Latch<T> {}

// SAFETY: Readers get copies of the value, which is `Send`, and nobody gets a reference to it.
unsafe impl<T: SeqData> Sync for Latch<T> {}

impl<T: SeqData> Latch<T> {
    const fn of_class(value: T, class: Class) -> Self {
        // INVARIANT: The lock is initialised, and so are both copies.
        Self {
            lock: UnsafeCell::new(unlocked::<Raw>(class)),
            copies: [WordCell::new(value), WordCell::new(value)],
        }
    }

    /// Makes a latch, for any place; lockdep's class is as for
    /// [`SeqLock::new`](super::SeqLock::new).
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        const { assert_by_value::<T>() };
        Self::of_class(value, Class::of_place(Location::caller()))
    }

    /// Initialises a latch in place, both copies as `value` initialises one.
    ///
    /// The value may be larger than [`MAX_BY_VALUE`](super::MAX_BY_VALUE). lockdep's class is as for
    /// [`SeqLock::new`](super::SeqLock::new).
    ///
    /// # Errors
    ///
    /// Those of `value`.
    #[inline]
    #[track_caller]
    pub fn init<E>(value: impl Init<T, E>) -> impl Init<Self, E> {
        Self::init_in(value, Class::of_place(Location::caller()))
    }

    /// Used by [`new_latch!`](crate::new_latch) alone.
    #[doc(hidden)]
    #[inline]
    pub fn init_named(
        value: T,
        name: &'static CStr,
        lock: Pin<&'static LockClassKey>,
        seq: Pin<&'static LockClassKey>,
    ) -> impl Init<Self> {
        const { assert_by_value::<T>() };
        Self::init_in(value, Class::of_keys(name, lock, seq))
    }

    #[inline(always)]
    fn init_in<E>(value: impl Init<T, E>, class: Class) -> impl Init<Self, E> {
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes; the first copy is initialised when it is read.
            // INVARIANT: The lock is initialised, and so are both copies.
            unsafe {
                (&raw mut (*slot).lock)
                    .cast::<MaybeUninit<RawSeqlock>>()
                    .write(unlocked::<Raw>(class));
                let copies = (&raw mut (*slot).copies).cast::<WordCell<T>>();
                value.__init(WordCell::raw_get(copies))?;
                WordCell::raw_get(copies.add(1))
                    .copy_from_nonoverlapping(WordCell::raw_get(copies), 1);
            }
            Ok(())
        };
        // SAFETY: All fields with a size are initialised if the value is; what was initialised
        // before has no destructor.
        unsafe { pin_init::init_from_closure(init) }
    }

    /// Used by [`latch_static!`](crate::latch_static) alone; see `SeqLock::new_static`.
    #[doc(hidden)]
    pub const fn new_static(value: T, name: &'static CStr) -> Self {
        Self::of_class(value, Class::of_static(name))
    }

    #[inline(always)]
    fn sequence(&self) -> *mut bindings::seqcount_t {
        Raw::sequence(self.lock.get().cast())
    }

    /// Copies the value out, without waiting for a writer. Context: any, including NMI.
    ///
    /// The copy is repeated if the counter has changed meanwhile.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            // SAFETY: By the type invariants the counter is initialised, and it stays in place
            // while `self` is borrowed.
            let start = unsafe { sequence::peek(self.sequence()) };
            let copy = self.copies[(start & 1) as usize].load();
            // SAFETY: By the type invariants the counter is initialised, and it stays in place
            // while `self` is borrowed.
            if !unsafe { sequence::retry(self.sequence(), start) } {
                // SAFETY: By the type invariants nobody stored to this copy while the counter was
                // `start`, and it still is.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies the value to the caller's memory, for values of any size.
    #[inline]
    pub fn read_into<'a>(&self, to: &'a mut MaybeUninit<T>) -> &'a mut T {
        loop {
            // SAFETY: By the type invariants the counter is initialised, and it stays in place
            // while `self` is borrowed.
            let start = unsafe { sequence::peek(self.sequence()) };
            self.copies[(start & 1) as usize].load_into(to);
            // SAFETY: By the type invariants the counter is initialised, and it stays in place
            // while `self` is borrowed.
            if !unsafe { sequence::retry(self.sequence(), start) } {
                // SAFETY: By the type invariants nobody stored to this copy while the counter was
                // `start`, and it still is.
                return unsafe { to.assume_init_mut() };
            }
        }
    }

    #[inline(always)]
    fn writer(&self) -> Writer<'_> {
        // SAFETY: By the type invariants the lock is initialised, and it is borrowed.
        unsafe { Writer::lock(Raw::lock(self.lock.get().cast())) }
    }

    /// Waits until no other writer is active, and stores `value`. Context: any but NMI; interrupts
    /// are disabled meanwhile.
    #[inline]
    pub fn store(&self, value: T) {
        const { assert_by_value::<T>() };
        self.store_from(&value);
    }

    /// Stores `*value`, for values of any size; see [`Latch::store`].
    pub fn store_from(&self, value: &T) {
        self.store_both(&self.writer(), value);
    }

    /// Stores `value` unless another writer is active.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if one is.
    pub fn try_store(&self, value: T) -> Result {
        const { assert_by_value::<T>() };
        // SAFETY: By the type invariants the lock is initialised, and it is borrowed.
        let writer = unsafe { Writer::try_lock(Raw::lock(self.lock.get().cast())) };
        self.store_both(&writer.ok_or(EAGAIN)?, &value);
        Ok(())
    }

    /// Changes a copy of the value and stores that.
    ///
    /// `f` runs with interrupts disabled and other writers excluded. It must not write this latch.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let writer = self.writer();
        // SAFETY: `writer` holds the latch's lock, which all writers acquire, so nobody stores
        // during the copy and it is whole.
        let mut value = unsafe { self.copies[0].load().assume_whole() };
        let ret = f(&mut value);
        self.store_both(&writer, &value);
        ret
    }

    #[inline(always)]
    fn store_both(&self, _writer: &Writer<'_>, value: &T) {
        for copy in &self.copies {
            // SAFETY: By the type invariants the counter is initialised; the lock is held.
            // INVARIANT: The counter sends readers to the other copy; it is odd while the first one
            // is stored to.
            unsafe { sequence::latch(self.sequence()) };
            // SAFETY: `_writer` holds the latch's lock, which all writers acquire, so nobody else
            // stores to the copy.
            unsafe { copy.store_from(value) };
        }
    }
}

impl<T: SeqData> From<T> for Latch<T> {
    #[inline]
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: SeqData + Default> Default for Latch<T> {
    #[inline]
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Initialises a [`Latch`] in place, with lockdep classes of its own and a name:
/// `new_latch!(value[, "name"])`, as [`new_seqlock!`](crate::new_seqlock).
#[macro_export]
macro_rules! new_latch {
    (Latch < $($rest:tt)+) => {
        $crate::new_seqlock!(@typed Latch < $($rest)+)
    };
    (< $t:ty > , $($rest:tt)+) => {
        $crate::new_seqlock!(@typed $t, $($rest)+)
    };
    ($value:expr $(, $name:literal)? $(,)?) => {
        $crate::new_seqlock!(@typed $crate::seqlock::Latch<_>, $value $(, $name)?)
    };
}

/// Defines a [`Latch`] as a static, with no initialisation at run time.
///
/// # Examples
///
/// ```
/// use quiesce::{latch_static, seqlock::Latch};
///
/// latch_static! {
///     static CYCLES_TO_NS: Latch<(u32, u32)> = (1, 0);
/// }
/// ```
#[macro_export]
macro_rules! latch_static {
    ($($tokens:tt)+) => {
        $crate::seqlock_static! { $($tokens)+ }
    };
}
