// SPDX-License-Identifier: GPL-2.0

//! A sequence counter beside a lock of the caller's.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{
        size_of,
        MaybeUninit, //
    },
    ptr, //
};
use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::LockClassKey, //
};

use super::{
    context::exclusively,
    data::{
        assert_by_value,
        WordCell, //
    },
    sequence,
    statics::{
        seqcount,
        Class, //
    },
    Context,
    Field,
    Preempt,
    SeqData, //
};

/// A value that is read without a lock and written under a lock of the caller's, whatever that is.
///
/// The lock's data, of type `L`, is the counter's owner: a writer shows `&mut L`, which only who
/// holds the lock has, and the counter compares its address with the one it was made for, as
/// [`LockedBy`](kernel::sync::LockedBy) does.
///
/// A store lasts no longer than to copy the value: within it preemption is disabled, and interrupts
/// too if `C` is [`Bh`](super::Bh) or [`Irq`](super::Irq), so that a reader of that context never
/// meets a writer of its own CPU. That holds for any lock, also one that sleeps, and on PREEMPT_RT.
///
/// # Context
///
/// Writers: where the lock can be held. Readers: process context, and softirqs and hardware
/// interrupts as `C` says, also on PREEMPT_RT; not NMI, but for [`SeqCount::try_read`].
///
/// # Invariants
///
/// `sequence` is an initialised counter, and `data` is only stored to by who has `&mut L` of the
/// address `owner`, between `sequence::write_begin` and `sequence::write_end`.
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
#[repr(C)]
pub struct SeqCount<T: SeqData, L, C: Context = Preempt> {
    sequence: UnsafeCell<MaybeUninit<bindings::seqcount_t>>,
    data: WordCell<T>,
    // Of `*mut`, so that it is invariant.
    owner: *mut L,
    _context: PhantomData<fn() -> C>,
}

// SAFETY: The value is `Send`, and the owner's address is only compared.
unsafe impl<T: SeqData, L, C: Context> Send for SeqCount<T, L, C> {}

// SAFETY: As above; readers get copies of the value.
unsafe impl<T: SeqData, L, C: Context> Sync for SeqCount<T, L, C> {}

impl<T: SeqData, L, C: Context> SeqCount<T, L, C> {
    /// Makes a counter in place, beside the lock that holds `owner`;
    /// [`new_seqcount!`](crate::new_seqcount) finds the last two arguments.
    ///
    /// The owner is what the lock guards; only its address matters. It has a size, so that its
    /// address is its own.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "the owner's address is stored, not followed"
    )]
    pub fn new(
        value: T,
        owner: *const L,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl Init<Self> {
        const { assert!(size_of::<L>() != 0, "the lock's data must have a size") };
        const { assert_by_value::<T>() };
        let class = Class::of_keys(name, key, key);
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes, and nothing is there yet.
            // INVARIANT: The counter is initialised.
            unsafe {
                (&raw mut (*slot).data).write(WordCell::new(value));
                (&raw mut (*slot).owner).write(owner.cast_mut());
                (&raw mut (*slot).sequence)
                    .cast::<MaybeUninit<bindings::seqcount_t>>()
                    .write(seqcount(class));
            }
            Ok(())
        };
        // SAFETY: All fields with a size were initialised.
        unsafe { pin_init::init_from_closure(init) }
    }

    #[inline(always)]
    fn sequence(&self) -> *mut bindings::seqcount_t {
        self.sequence.get().cast()
    }

    /// Stores `value`, for who holds the lock of `owner`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter was made beside another lock.
    #[inline]
    pub fn store(&self, owner: &mut L, value: T) -> Result {
        if !ptr::eq(owner, self.owner) {
            return Err(EINVAL);
        }
        exclusively::<C, _>(|| {
            // SAFETY: By the type invariants the counter is initialised; nobody else writes, because
            // they would have to have a mutable reference to the same, which has a size.
            // INVARIANT: The store is between begin and end.
            unsafe {
                sequence::write_begin(self.sequence());
                self.data.store(value);
                sequence::write_end(self.sequence());
            }
        });
        Ok(())
    }

    /// Stores one field; see [`SeqCount::store`].
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter was made beside another lock.
    #[inline]
    pub fn store_field<F: SeqData>(&self, owner: &mut L, field: Field<T, F>, value: F) -> Result {
        if !ptr::eq(owner, self.owner) {
            return Err(EINVAL);
        }
        exclusively::<C, _>(|| {
            // SAFETY: As in `store`.
            // INVARIANT: The store is between begin and end.
            unsafe {
                sequence::write_begin(self.sequence());
                self.data.store_field(field, value);
                sequence::write_end(self.sequence());
            }
        });
        Ok(())
    }

    /// Changes a copy of the value and stores that; see [`SeqCount::store`].
    ///
    /// `f` runs before the store, with nothing switched off.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter was made beside another lock; `f` is not called then.
    pub fn update(&self, owner: &mut L, f: impl FnOnce(&mut T)) -> Result {
        let mut value = self.get(owner)?;
        f(&mut value);
        self.store(owner, value)
    }

    /// The value, for who holds the lock of `owner`, so that no writer can come in between.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the counter was made beside another lock.
    #[inline]
    pub fn get(&self, owner: &L) -> Result<T> {
        if !ptr::eq(owner, self.owner) {
            return Err(EINVAL);
        }
        // SAFETY: Nobody writes, because they would have to have a mutable reference to the owner.
        Ok(unsafe { self.data.load().assume_whole() })
    }

    /// Copies the value out, again until no writer came in between.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            // SAFETY: By the type invariants the counter is initialised; its writers cannot sleep.
            let start = unsafe { sequence::begin(self.sequence()) };
            let copy = self.data.load();
            // SAFETY: As above.
            if !unsafe { sequence::retry(self.sequence(), start) } {
                // SAFETY: The counter was even and is the same, so that no writer stored while the
                // value was copied.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies one field out, again until no writer came in between.
    #[inline]
    pub fn read_field<F: SeqData>(&self, field: Field<T, F>) -> F {
        loop {
            // SAFETY: By the type invariants the counter is initialised; its writers cannot sleep.
            let start = unsafe { sequence::begin(self.sequence()) };
            let copy = self.data.load_field(field);
            // SAFETY: As above.
            if !unsafe { sequence::retry(self.sequence(), start) } {
                // SAFETY: As in `read`.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Copies the value out in one pass; [`None`] if a writer came in between or is active.
    ///
    /// From any context.
    #[inline]
    pub fn try_read(&self) -> Option<T> {
        // SAFETY: By the type invariants the counter is initialised.
        let start = unsafe { sequence::peek(self.sequence()) };
        if start & 1 != 0 {
            return None;
        }
        let copy = self.data.load();
        // SAFETY: As above.
        if unsafe { sequence::retry(self.sequence(), start) } {
            return None;
        }
        // SAFETY: As in `read`.
        Some(unsafe { copy.assume_whole() })
    }
}

/// Makes a [`SeqCount`] in place, with a lockdep class of its own:
/// `new_seqcount!(type, value, &*guard[, c"name"])`.
#[macro_export]
macro_rules! new_seqcount {
    ($t:ty, $value:expr, $owner:expr, $name:literal $(,)?) => {
        <$t>::new($value, $owner, $name, ::kernel::static_lock_class!())
    };
    ($t:ty, $value:expr, $owner:expr $(,)?) => {
        <$t>::new(
            $value,
            $owner,
            ::kernel::optional_name!(),
            ::kernel::static_lock_class!(),
        )
    };
}
