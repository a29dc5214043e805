// SPDX-License-Identifier: GPL-2.0

//! A sequence counter beside a lock that the caller has already; C's `seqcount_LOCKNAME_t`.
//!
//! The counter is bound to its lock by the address of the data that the lock protects: writing
//! takes an exclusive reference to these data, which only the lock's holder has. So the type of the
//! lock does not matter, and a writer acquires that lock alone. Readers are those of a
//! [`SeqLock`].

use core::{
    marker::PhantomData,
    mem::{
        size_of,
        MaybeUninit, //
    },
    ops::Deref,
    panic::Location,
    ptr, //
};
use kernel::{
    prelude::*,
    processor::cpu_relax,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            Backend,
            Lock, //
        },
        LockClassKey, //
    },
};

use super::{
    context::exclusively,
    data::{
        assert_by_value,
        WordCell, //
    },
    long_count::LongCount,
    read::{
        ReadSection,
        Retry, //
    },
    sequence,
    statics::Class,
    tokens::section,
    Context,
    Field,
    Preempt,
    SeqData, //
};
use crate::arch::pointer::pointer_is;

/// A value that is read without a lock and written under a lock of the caller's, whatever that is.
///
/// The lock's data, of type `L`, is the counter's owner: a writer passes `&mut L`, which only the
/// lock's holder has, and the counter compares its address with the one that it was bound to, as
/// [`LockedBy`](kernel::sync::LockedBy) does.
///
/// A store takes no longer than to copy the value: meanwhile preemption is disabled, and interrupts
/// too if `C` is [`Bh`](super::Bh) or stronger, so that a reader of that context never
/// interrupts a writer on its CPU. That holds for any lock, also for one that sleeps, and on
/// PREEMPT_RT.
///
/// # Context
///
/// Writers: where the lock can be held. Readers: process context, and softirqs and hardware
/// interrupts as `C` says, also on PREEMPT_RT; not NMI, except [`SeqCount::try_read`].
///
/// # Memory ordering
///
/// As for [`SeqLock`](super::SeqLock).
///
/// # Invariants
///
/// `owner` does not change once it is not null. `data` is only stored to by a caller that has a
/// `&mut L` of that address, between `write_begin` and `write_end` of `sequence`.
///
/// # Examples
///
/// ```
/// use kernel::{new_mutex, prelude::*, sync::Mutex};
/// use quiesce::{new_seqcount, seqlock::SeqCount};
///
/// struct Queue { /* … */ jobs: u32 }
///
/// fn example(queue: &Mutex<Queue>) -> Result {
///     let mut queue = queue.lock();
///     let load = KBox::pin_init(new_seqcount!(SeqCount<u64, Queue>, 0, &*queue), GFP_KERNEL)?;
///     queue.jobs += 1;
///     let jobs = u64::from(queue.jobs);
///     load.store(&mut queue, jobs)?;
///     assert_eq!(load.read(), 1);
///     Ok(())
/// }
/// ```
///
/// As a static, which is bound to its lock before it is written:
///
/// ```
/// use kernel::{prelude::*, sync::Mutex};
/// use quiesce::seqlock::SeqCount;
///
/// struct Queue { /* … */ jobs: u32 }
///
/// static LOAD: SeqCount<u64, Queue> = SeqCount::new(0);
///
/// fn example(queue: &Mutex<Queue>) -> Result {
///     let mut queue = queue.lock();
///     LOAD.bind(&queue)?;
///     LOAD.store(&mut queue, 1)
/// }
/// ```
#[repr(C)]
pub struct SeqCount<T: SeqData, L, C: Context = Preempt> {
    sequence: LongCount,
    data: WordCell<T>,
    owner: Atomic<*mut L>,
    _context: PhantomData<fn() -> C>,
}

// SAFETY: The value is `Send`, and the owner's address is only compared.
unsafe impl<T: SeqData, L, C: Context> Send for SeqCount<T, L, C> {}

// SAFETY: Readers get copies of the value, which is `Send`; only the holder of an exclusive reference
// to the owner gets a reference to the value. The owner's address is only compared.
unsafe impl<T: SeqData, L, C: Context> Sync for SeqCount<T, L, C> {}

impl<T: SeqData, L, C: Context> SeqCount<T, L, C> {
    const fn of_class(value: T, class: Class) -> Self {
        // INVARIANT: The owner is null.
        Self {
            sequence: LongCount::new(class),
            data: WordCell::new(value),
            owner: Atomic::new(ptr::null_mut()),
            _context: PhantomData,
        }
    }

    /// Makes a counter for any place; it is written once it is [bound](SeqCount::bind).
    ///
    /// lockdep's class is as for [`SeqLock::new`](super::SeqLock::new).
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        const { assert_by_value::<T>() };
        Self::of_class(value, Class::of_place(Location::caller()))
    }

    /// Initialises a counter in place, the value by `value`, which may be larger than
    /// [`MAX_BY_VALUE`](super::MAX_BY_VALUE); it is written once it is [bound](SeqCount::bind).
    ///
    /// lockdep's class is as for [`SeqLock::new`](super::SeqLock::new).
    ///
    /// # Errors
    ///
    /// Those of `value`.
    #[inline]
    #[track_caller]
    pub fn init<E>(value: impl Init<T, E>) -> impl Init<Self, E> {
        let class = Class::of_place(Location::caller());
        Self::init_in(value, ptr::null_mut(), class)
    }

    /// Used by [`new_seqcount!`](crate::new_seqcount) alone.
    #[doc(hidden)]
    pub fn init_named(
        value: T,
        owner: *const L,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl Init<Self> {
        const { assert_by_value::<T>() };
        const { assert_has_size::<L>() };
        Self::init_in(value, owner.cast_mut(), Class::of_keys(name, key, key))
    }

    #[inline(always)]
    fn init_in<E>(value: impl Init<T, E>, owner: *mut L, class: Class) -> impl Init<Self, E> {
        let init = move |slot: *mut Self| {
            // SAFETY: `init_from_closure()` passes a slot that is valid for writes of all fields.
            // INVARIANT: The owner is `owner` or null.
            unsafe {
                (&raw mut (*slot).sequence).write(LongCount::new(class));
                (&raw mut (*slot).owner).write(Atomic::new(owner));
                value.__init(WordCell::raw_get(&raw mut (*slot).data))
            }
        };
        // SAFETY: All fields with a size are initialised if the value is; what was initialised
        // before has no destructor.
        unsafe { pin_init::init_from_closure(init) }
    }

    /// Used by [`seqlock_static!`](crate::seqlock_static) alone; see `SeqLock::new_static`.
    #[doc(hidden)]
    pub const fn new_static(value: T, name: &'static CStr) -> Self {
        Self::of_class(value, Class::of_static(name))
    }

    /// Binds the counter to the lock that guards `owner`, once and for all.
    ///
    /// Only the owner's address matters. It has a size, so that no other object has that address.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if the counter is bound to another lock.
    pub fn bind(&self, owner: &L) -> Result {
        const { assert_has_size::<L>() };
        let owner = ptr::from_ref(owner).cast_mut();
        // INVARIANT: It only changes if it is null.
        match self.owner.cmpxchg(ptr::null_mut(), owner, Relaxed) {
            Err(bound) if bound != owner => Err(EBUSY),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn check(&self, owner: *const L) -> Result {
        if pointer_is!(self, Self, owner, owner) {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Makes one store as a write section.
    ///
    /// # Safety
    ///
    /// The caller has a `&mut L` of the address `owner`, and `store` is code of this module, which
    /// stores to `data`.
    #[inline(always)]
    unsafe fn store_by(&self, store: impl FnOnce(&WordCell<T>)) {
        exclusively::<C, _>(|| {
            // SAFETY: Nobody else writes, because they would have to have an exclusive reference to
            // the owner, which has a size.
            // INVARIANT: The store is between begin and end.
            unsafe {
                self.sequence.write_begin();
                store(&self.data);
                self.sequence.write_end();
            }
        });
    }

    /// Stores `value`, for the holder of the lock of `owner`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn store(&self, owner: &mut L, value: T) -> Result {
        const { assert_by_value::<T>() };
        self.store_from(owner, &value)
    }

    /// Stores `*value`, for values of any size; see [`SeqCount::store`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn store_from(&self, owner: &mut L, value: &T) -> Result {
        self.check(owner)?;
        // SAFETY: `owner` is the owner; nobody borrows the value beside it.
        unsafe { self.store_by(|data| data.store_from(value)) };
        Ok(())
    }

    /// Stores one field; see [`SeqCount::store`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn store_field<F: SeqData>(&self, owner: &mut L, field: Field<T, F>, value: F) -> Result {
        self.check(owner)?;
        // SAFETY: `owner` is the owner; nobody borrows the value beside it.
        unsafe { self.store_by(|data| data.store_field(field, value)) };
        Ok(())
    }

    /// Changes a copy of the value and stores that; see [`SeqCount::store`].
    ///
    /// `f` runs before the store, with nothing disabled but what the lock disables.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock; `f` is not called then.
    pub fn update(&self, owner: &mut L, f: impl FnOnce(&mut T)) -> Result {
        let mut value = self.get(owner)?;
        f(&mut value);
        self.store(owner, value)
    }

    /// Calls `f` within one write section, for several stores that readers see all or none of.
    ///
    /// `f` runs with preemption disabled, and with interrupts disabled if `C` is
    /// [`Bh`](super::Bh) or stronger. It must not sleep, nor read this counter except by
    /// [`SeqCount::try_read`], which fails. Within a lock that sleeps this is C's
    /// `write_seqcount_begin()` and `write_seqcount_end()`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock; `f` is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{prelude::*, sync::Mutex};
    /// use quiesce::{seq_field, seqlock::SeqCount};
    ///
    /// #[derive(Clone, Copy)]
    /// struct Load {
    ///     jobs: u32,
    ///     bytes: u64,
    /// }
    ///
    /// fn add(load: &SeqCount<Load, u32>, jobs: &Mutex<u32>, bytes: u64) -> Result {
    ///     let mut jobs = jobs.lock();
    ///     *jobs += 1;
    ///     let now = *jobs;
    ///     load.write_section(&mut jobs, |load| {
    ///         let sum = load.bytes + bytes;
    ///         load.set_field(seq_field!(Load, jobs), now);
    ///         load.set_field(seq_field!(Load, bytes), sum);
    ///     })
    /// }
    /// ```
    pub fn write_section<R>(
        &self,
        owner: &mut L,
        f: impl FnOnce(&mut SeqCountWriter<'_, T>) -> R,
    ) -> Result<R> {
        self.check(owner)?;
        Ok(section::<C, _>(|| {
            // SAFETY: Nobody else writes, because they would have to have an exclusive reference to
            // the owner, which has a size.
            // INVARIANT: The writer's stores are between begin and end.
            unsafe { self.sequence.write_begin() };
            let ret = f(&mut SeqCountWriter { data: &self.data });
            // SAFETY: `write_begin()` above began the write of this counter, and `f` cannot end it.
            unsafe { self.sequence.write_end() };
            ret
        }))
    }

    /// Invalidates the copies that readers have begun; C's `write_seqcount_invalidate()`.
    ///
    /// For callers that invalidate other data that readers use together with the value.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn invalidate(&self, owner: &mut L) -> Result {
        self.check(owner)?;
        // SAFETY: Nobody else writes, because they would have to have an exclusive reference to the
        // owner, which has a size.
        unsafe { self.sequence.write_invalidate() };
        Ok(())
    }

    /// Orders the caller's stores before it and after it for readers, which no write section does to
    /// each other; C's `raw_write_seqcount_barrier()`.
    ///
    /// A reader that began before and saw a store of after is invalid; one that began after sees all
    /// stores of before. The stores are to data beside the counter, by marked accesses.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn write_barrier(&self, owner: &mut L) -> Result {
        self.check(owner)?;
        exclusively::<C, _>(|| {
            // SAFETY: Nobody else writes, because they would have to have an exclusive reference to
            // the owner, which has a size.
            unsafe { self.sequence.write_barrier() }
        });
        Ok(())
    }

    /// Returns the value, for the holder of the lock of `owner`, so that no writer can interfere.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter is not bound to that lock.
    #[inline]
    pub fn get(&self, owner: &L) -> Result<T> {
        self.check(owner)?;
        // SAFETY: A writer needs an exclusive reference to the owner, which `check()` found to be
        // this one; `owner` is a shared reference, so no writer stores during the copy.
        Ok(unsafe { self.data.load().assume_whole() })
    }

    /// Copies the value out; repeats that until no writer interfered. Context: those that `C`
    /// includes, because a reader that interrupts a writer on its own CPU would wait for it.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            let start = self.sequence.begin();
            let copy = self.data.load();
            if !self.sequence.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // value was copied.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies the value to the caller's memory, for values of any size; see [`SeqCount::read`].
    #[inline]
    pub fn read_into<'a>(&self, to: &'a mut MaybeUninit<T>) -> &'a mut T {
        loop {
            let start = self.sequence.begin();
            self.data.load_into(to);
            if !self.sequence.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // value was copied.
                return unsafe { to.assume_init_mut() };
            }
        }
    }

    /// Copies one field out; repeats that until no writer interfered.
    #[inline]
    pub fn read_field<F: SeqData>(&self, field: Field<T, F>) -> F {
        loop {
            let start = self.sequence.begin();
            let copy = self.data.load_field(field);
            if !self.sequence.retry(start) {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // field was copied, and a part of a value is a value of its type.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies the value out in one pass; returns [`None`] if a writer interfered or is active.
    ///
    /// For any context.
    #[inline]
    pub fn try_read(&self) -> Option<T> {
        let start = self.sequence.peek();
        if start & 1 != 0 {
            return None;
        }
        let copy = self.data.load();
        if self.sequence.retry(start) {
            return None;
        }
        // SAFETY: The counter was even and is the same, so that no writer stored while the value was
        // copied.
        Some(unsafe { copy.assume_whole() })
    }

    /// Begins a read whose copies the caller validates; see [`SeqLock::begin`].
    ///
    /// [`SeqLock::begin`]: super::SeqLock::begin
    #[inline]
    pub fn begin(&self) -> ReadSection<'_, T> {
        let short = self.sequence.short();
        // SAFETY: `short` is an initialised counter, whose writers cannot sleep, and `data` is only
        // stored to while it is odd. `begin` returns an even value.
        unsafe { ReadSection::new(&self.data, short, sequence::begin(short)) }
    }

    /// Calls `f` until it returns [`Ok`] and no writer interfered with the call; see
    /// [`SeqLock::read_section`].
    ///
    /// [`SeqLock::read_section`]: super::SeqLock::read_section
    #[inline]
    pub fn read_section<R>(&self, mut f: impl FnMut(&ReadSection<'_, T>) -> Result<R, Retry>) -> R {
        loop {
            if let Some(ret) = self.begin().pass(&mut f) {
                return ret;
            }
        }
    }

    /// Copies the value out in at most `N` passes, and under `lock` if writers interfere with all.
    ///
    /// So it waits no longer than for the lock. For the contexts of that.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the lock was taken and the counter is not bound to it.
    pub fn read_or_lock<const N: usize, B: Backend>(&self, lock: &Lock<L, B>) -> Result<T> {
        for _ in 0..N {
            if let Some(value) = self.try_read() {
                return Ok(value);
            }
            cpu_relax();
        }
        self.get(&lock.lock())
    }
}

/// Fails to compile, evaluated in a `const` block, for types whose objects share addresses.
const fn assert_has_size<L>() {
    assert!(size_of::<L>() != 0, "the lock's data must have a size");
}

/// The writer of a [`SeqCount::write_section`].
///
/// It dereferences to the value, which is not changed through a reference but stored word by word,
/// because readers may copy it at the same time.
///
/// # Invariants
///
/// The caller is within a write section of the value's counter, and excludes other writers.
pub struct SeqCountWriter<'a, T: SeqData> {
    data: &'a WordCell<T>,
}

impl<T: SeqData> SeqCountWriter<'_, T> {
    /// Stores `value`.
    #[inline]
    pub fn set(&mut self, value: T) {
        // SAFETY: By the type invariants this context alone writes. There is no reference to the
        // value, because it would borrow `self`.
        unsafe { self.data.store(value) }
    }

    /// Stores `*value`, for values of any size.
    #[inline]
    pub fn set_from(&mut self, value: &T) {
        // SAFETY: By the type invariants this context alone writes. There is no reference to the
        // protected value, because it would borrow `self`.
        unsafe { self.data.store_from(value) }
    }

    /// Stores one field.
    #[inline]
    pub fn set_field<F: SeqData>(&mut self, field: Field<T, F>, value: F) {
        // SAFETY: By the type invariants this context alone writes. There is no reference to the
        // value, because it would borrow `self`.
        unsafe { self.data.store_field(field, value) }
    }
}

impl<T: SeqData> Deref for SeqCountWriter<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants this context alone writes, by methods that take
        // `&mut self`; readers only load.
        unsafe { &*self.data.get() }
    }
}

/// Initialises a [`SeqCount`] in place, bound to the lock whose guard is given, with a lockdep class
/// of its own and a name: `new_seqcount!(SeqCount<…>, value, &*guard[, "name"])`.
#[macro_export]
macro_rules! new_seqcount {
    ($t:ty, $value:expr, $owner:expr $(, $name:literal)? $(,)?) => {
        <$t>::init_named(
            $value,
            $owner,
            $crate::new_seqlock!(@name $($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}
