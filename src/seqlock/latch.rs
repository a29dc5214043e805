// SPDX-License-Identifier: GPL-2.0

//! Latches: two copies of a value, of which one can always be read.

use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    mem::MaybeUninit,
    pin::Pin, //
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
    data::WordCell,
    statics,
    sequence,
    Irq,
    Kind,
    Raw,
    SeqData, //
};

type Writer<'a> = Held<'a, bindings::raw_spinlock_t, Irq>;

/// A value that can be read while it is written, even by what interrupts the writer.
///
/// The writer stores to one copy while the counter sends readers to the other, and then the other
/// way round. So a reader never waits for a writer, and an NMI that interrupts one reads the old
/// value. It copies again only if a whole store came in between.
///
/// Writers exclude each other by a spin lock that is held, with interrupts disabled, for the two
/// stores only; no guard, so nothing to leak.
///
/// # Context
///
/// [`Latch::read`]: any, NMI too, also on PREEMPT_RT. [`Latch::store`]: any but NMI, also on
/// PREEMPT_RT.
///
/// # Invariants
///
/// `lock` is initialised; its counter's lowest bit names the copy that is not being stored to. Only
/// who holds the lock stores, and changes the counter.
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
#[pin_data]
pub struct Latch<T: SeqData> {
    lock: UnsafeCell<MaybeUninit<RawSeqlock>>,
    copies: [WordCell<T>; 2],
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The value is `Send`, and the lock belongs to no task while it is not held.
unsafe impl<T: SeqData> Send for Latch<T> {}

// SAFETY: As above; readers get copies of the value.
unsafe impl<T: SeqData> Sync for Latch<T> {}

impl<T: SeqData> Latch<T> {
    /// Makes a latch in place; [`new_latch!`](crate::new_latch) finds the last three arguments.
    pub fn new(
        value: T,
        name: &'static CStr,
        lock_key: Pin<&'static LockClassKey>,
        seq_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        let init = move |slot: *mut Self| {
            // SAFETY: `slot` is valid for writes, and nothing is there yet.
            // INVARIANT: The lock is initialised.
            unsafe {
                (&raw mut (*slot).copies).write([WordCell::new(value), WordCell::new(value)]);
                Raw::init(
                    (&raw mut (*slot).lock).cast(),
                    name.as_char_ptr(),
                    lock_key.as_ptr(),
                    seq_key.as_ptr(),
                );
            }
            Ok(())
        };
        // SAFETY: All fields with a size were initialised, and the lock stays where it is.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Used by [`latch_static!`](crate::latch_static) alone.
    ///
    /// # Safety
    ///
    /// The latch becomes the value of the static at `this`.
    #[doc(hidden)]
    pub const unsafe fn new_static(this: *const Self, value: T, name: &'static CStr) -> Self {
        // INVARIANT: The lock is initialised.
        Self {
            // SAFETY: It becomes the first field of the static.
            lock: UnsafeCell::new(unsafe { statics::raw_seqlock(this.cast(), name) }),
            copies: [WordCell::new(value), WordCell::new(value)],
            _pin: PhantomPinned,
        }
    }

    #[inline(always)]
    fn sequence(&self) -> *mut bindings::seqcount_t {
        Raw::sequence(self.lock.get().cast())
    }

    /// Copies the value out.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            // SAFETY: By the type invariants the counter is initialised.
            let start = unsafe { sequence::peek(self.sequence()) };
            let copy = self.copies[(start & 1) as usize].load();
            // SAFETY: As above.
            if !unsafe { sequence::retry(self.sequence(), start) } {
                // SAFETY: By the type invariants nobody stored to this copy while the counter was
                // `start`, and it still is.
                return unsafe { copy.assume_whole() };
            }
        }
    }

    /// Stores `value`, when no other writer does.
    pub fn store(&self, value: T) {
        // SAFETY: By the type invariants the lock is initialised.
        let writer = unsafe { Writer::lock(Raw::lock(self.lock.get().cast())) };
        self.store_both(&writer, value);
    }

    /// Stores `value` unless another writer is active.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] if one is.
    pub fn try_store(&self, value: T) -> Result {
        // SAFETY: By the type invariants the lock is initialised.
        let writer = unsafe { Writer::try_lock(Raw::lock(self.lock.get().cast())) };
        self.store_both(&writer.ok_or(EAGAIN)?, value);
        Ok(())
    }

    /// Changes a copy of the value and stores that.
    ///
    /// `f` runs with interrupts disabled and other writers excluded. It must not write this latch.
    pub fn update<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: By the type invariants the lock is initialised.
        let writer = unsafe { Writer::lock(Raw::lock(self.lock.get().cast())) };
        // SAFETY: Nobody else stores.
        let mut value = unsafe { self.copies[0].load().assume_whole() };
        let ret = f(&mut value);
        self.store_both(&writer, value);
        ret
    }

    #[inline(always)]
    fn store_both(&self, _writer: &Writer<'_>, value: T) {
        for copy in &self.copies {
            // SAFETY: By the type invariants the counter is initialised; the lock is held.
            // INVARIANT: The counter sends readers to the other copy; it is odd while the first one
            // is stored to.
            unsafe { sequence::latch(self.sequence()) };
            // SAFETY: Nobody else stores, as the lock is held.
            unsafe { copy.store(value) };
        }
    }
}

/// Makes a [`Latch`] in place, with lockdep classes of its own:
/// `new_latch!(type, value[, c"name"])`.
#[macro_export]
macro_rules! new_latch {
    ($t:ty, $value:expr, $name:literal $(,)?) => {
        $crate::new_seqlock!(@ $t, $value, $name)
    };
    ($t:ty, $value:expr $(,)?) => {
        $crate::new_seqlock!(@ $t, $value, ::kernel::optional_name!())
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
