// SPDX-License-Identifier: GPL-2.0

//! The protected value: copied out and stored by marked accesses.
//!
//! A reader copies the value while a writer may store it. To the LKMM that is no data race as long
//! as both use marked accesses; so each access is one volatile load or store of a machine type (see
//! `arch.rs`), of [`MaybeUninit`], because a copy that was not validated may be a mixture of two
//! values and no value of the type at all, and because padding is not initialised.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{size_of, MaybeUninit}, //
};

use crate::arch::seq::{
    self as arch,
    Word, //
};

/// The values that a sequence lock can protect: those that are copied and borrow nothing.
///
/// Padding, niches and odd sizes are allowed. A pointer in the value is protected, but not what it
/// points to, which is what [`rcu`](crate::rcu) is for.
///
/// Implemented for all types that satisfy the bounds.
pub trait SeqData: Copy + Send + 'static {}

impl<T: Copy + Send + 'static> SeqData for T {}

/// The largest value, in bytes, that is passed by value.
///
/// A call that takes or returns a larger one does not compile, because each copy of it is on the
/// kernel's stack, which has 16 KiB. Such values are initialised, read and stored in place:
/// [`SeqLock::init`](super::SeqLock::init), [`SeqLock::read_into`](super::SeqLock::read_into),
/// [`WriteGuard::set_from`](super::WriteGuard::set_from), by field, or by reference under
/// [`SeqLock::read_exclusive`](super::SeqLock::read_exclusive).
pub const MAX_BY_VALUE: usize = 512;

/// Fails to compile, evaluated in a `const` block, for values larger than [`MAX_BY_VALUE`].
pub(super) const fn assert_by_value<T>() {
    assert!(
        size_of::<T>() <= MAX_BY_VALUE,
        "the value is too large for the stack (see MAX_BY_VALUE): use init, read_into or set_from"
    );
}

/// A copy of a value's words, whole or not.
#[repr(C, align(8))]
pub(super) struct Words<T>(MaybeUninit<T>);

impl<T> Words<T> {
    /// # Safety
    ///
    /// The words are a copy of one value of `T`.
    #[inline(always)]
    pub(super) unsafe fn assume_whole(self) -> T {
        // SAFETY: This function requires that the words are a copy of one value of `T`, so they are
        // a valid `T`.
        unsafe { self.0.assume_init() }
    }

    #[inline(always)]
    pub(super) fn into_inner(self) -> MaybeUninit<T> {
        self.0
    }
}

/// Copies the units of type `W` that fit between byte `done` and byte `len`, from what others may be
/// storing to, and returns the byte after them.
///
/// # Safety
///
/// `from` is valid for reads of `len` bytes, which are only stored by [`store`] or as C does under a
/// sequence counter, and `from` plus `done` is aligned as `W` is; `to` is valid for writes of `len`
/// bytes, which nobody else accesses.
#[inline(always)]
unsafe fn load<W: Word>(from: *const u8, to: *mut u8, done: usize, len: usize) -> usize {
    let count = (len - done) / size_of::<W>();
    for i in 0..count {
        let at = done + i * size_of::<W>();
        // SAFETY: The unit ends at `len` or before, to which both are valid, and `from` is aligned.
        unsafe {
            let unit = arch::load_word(from.add(at).cast::<W>());
            to.add(at).cast::<MaybeUninit<W>>().write_unaligned(unit);
        }
    }
    done + count * size_of::<W>()
}

/// Stores the units of type `W` that fit between byte `done` and byte `len`, to what others may be
/// copying from, and returns the byte after them.
///
/// # Safety
///
/// `to` is valid for writes of `len` bytes, which nobody else writes and others only copy by
/// [`load`] or as C does under a sequence counter, and `to` plus `done` is aligned as `W` is; `from`
/// is valid for reads of `len` bytes, which nobody writes.
#[inline(always)]
unsafe fn store<W: Word>(to: *mut u8, from: *const u8, done: usize, len: usize) -> usize {
    let count = (len - done) / size_of::<W>();
    for i in 0..count {
        let at = done + i * size_of::<W>();
        // SAFETY: The unit ends at `len` or before, to which both are valid, and `to` is aligned.
        unsafe {
            let unit = from.add(at).cast::<MaybeUninit<W>>().read_unaligned();
            arch::store_word(to.add(at).cast::<W>(), unit);
        }
    }
    done + count * size_of::<W>()
}

/// Calls `$f`, [`load`] or [`store`], for the `$len` bytes at `$offset` of `$cell`, which is aligned
/// to a word: with words as far as they go, then with smaller units.
macro_rules! by_units {
    ($f:ident, $cell:expr, $offset:expr, $local:expr, $len:expr) => {{
        let (cell, offset, local, len) = ($cell.cast::<u8>(), $offset, $local.cast(), $len);
        let cell = cell.add(offset);
        let mut done = 0;
        if offset % size_of::<usize>() == 0 {
            done = $f::<usize>(cell, local, done, len);
        }
        if offset % size_of::<u32>() == 0 {
            done = $f::<u32>(cell, local, done, len);
        }
        if offset % size_of::<u16>() == 0 {
            done = $f::<u16>(cell, local, done, len);
        }
        $f::<u8>(cell, local, done, len);
    }};
}

/// Names a field of `T`, without a reference to either; made by [`seq_field!`](crate::seq_field).
///
/// # Invariants
///
/// A `T` has a field of exactly type `F` at `offset`.
pub struct Field<T, F> {
    offset: usize,
    // Invariant in both: a field is read and written as an `F`.
    _types: PhantomData<fn(*mut T) -> *mut F>,
}

impl<T, F> Clone for Field<T, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, F> Copy for Field<T, F> {}

impl<T, F> Field<T, F> {
    /// Used by [`seq_field!`](crate::seq_field) alone.
    ///
    /// `T` and `F` are exactly the types of structure and field: `set` takes a `&mut T`, which is
    /// invariant, and a field that can be read as an `F` and assigned an `F` is of no other type.
    ///
    /// # Safety
    ///
    /// `offset` is that of the field of `T` which `get` reads and `set` assigns, which is no
    /// union's, and neither function converts it.
    #[doc(hidden)]
    pub const unsafe fn new(offset: usize, _get: fn(&T) -> F, _set: fn(&mut T, F)) -> Self {
        // INVARIANT: By the safety contract the field is at `offset`, and by the functions' types
        // it is an `F`.
        Self {
            offset,
            _types: PhantomData,
        }
    }
}

/// Names a field of a protected type: `seq_field!(Type, path.to.field)`.
///
/// The field has to be visible where this is used, as for any access to it.
///
/// # Examples
///
/// ```
/// use quiesce::{seq_field, seqlock::SeqLock};
///
/// #[derive(Clone, Copy)]
/// struct Position {
///     x: u64,
///     y: u64,
/// }
///
/// fn height(position: &SeqLock<Position>) -> u64 {
///     position.read_field(seq_field!(Position, y))
/// }
/// ```
#[macro_export]
macro_rules! seq_field {
    ($t:ty, $($field:tt)+) => {{
        // Nothing of the caller's is in the unsafe block. The types of what these return and take
        // are inferred from the field alone, so that there is no conversion in them; and a field of
        // a union, which need not be valid, cannot be read so.
        let offset = $crate::__core::mem::offset_of!($t, $($field)+);
        let get = |value: &$t| value.$($field)+;
        let set = |value: &mut $t, new| value.$($field)+ = new;
        // SAFETY: `offset_of!` and the functions name the same field, because `offset_of!` goes
        // through no `Deref`, and a field of `$t` comes before one that is reached by `Deref`; of an
        // enum, whose variants are no fields, the kernel's compiler flags allow none in `offset_of!`.
        unsafe { $crate::seqlock::Field::new(offset, get, set) }
    }};
}

/// The storage of a protected value.
///
/// # Invariants
///
/// - It holds a value of `T`, except between the beginning and the end of a [`WordCell::store`].
/// - While others may be copying from it, it is written by marked stores alone.
#[repr(transparent)]
pub(super) struct WordCell<T>(UnsafeCell<Words<T>>);

impl<T: SeqData> WordCell<T> {
    #[inline]
    pub(super) const fn new(value: T) -> Self {
        // INVARIANT: It holds `value`.
        Self(UnsafeCell::new(Words(MaybeUninit::new(value))))
    }

    #[inline(always)]
    pub(super) const fn get(&self) -> *mut T {
        self.0.get().cast()
    }

    /// The same as [`WordCell::get`], for a cell that is not initialised yet.
    #[inline(always)]
    pub(super) const fn raw_get(this: *mut Self) -> *mut T {
        this.cast()
    }

    /// Copies what is there, which is a mixture if somebody stores at the same time.
    #[inline(always)]
    pub(super) fn load(&self) -> Words<T> {
        const { assert_by_value::<T>() };
        let mut to = MaybeUninit::<Words<T>>::uninit();
        // SAFETY: Both are `Words<T>`, whose alignment is that of a word or more and whose size is a
        // multiple of it; by the type invariants the first is only written by marked stores; the
        // second is local.
        unsafe {
            load::<usize>(
                self.0.get().cast(),
                to.as_mut_ptr().cast(),
                0,
                size_of::<Words<T>>(),
            )
        };
        // SAFETY: `load()` wrote all words of `to`, and a `Words<T>` may hold any bytes,
        // initialised or not.
        unsafe { to.assume_init() }
    }

    /// The same as [`WordCell::load`], to the caller's memory.
    #[inline(always)]
    pub(super) fn load_into(&self, to: &mut MaybeUninit<T>) {
        // SAFETY: By the type invariants the value is only written by marked stores, and it is
        // aligned to a word; `to` is an exclusive reference to memory of its size.
        unsafe { by_units!(load, self.get(), 0, to.as_mut_ptr(), size_of::<T>()) };
    }

    /// Stores `value`.
    ///
    /// # Safety
    ///
    /// Nobody else stores or borrows the value during the call.
    #[inline(always)]
    pub(super) unsafe fn store(&self, value: T) {
        const { assert_by_value::<T>() };
        // SAFETY: This function requires that nobody else stores or borrows the value during the
        // call, as `store_from()` does.
        unsafe { self.store_from(&value) }
    }

    /// The same as [`WordCell::store`], from the caller's memory.
    ///
    /// # Safety
    ///
    /// As for [`WordCell::store`].
    #[inline(always)]
    pub(super) unsafe fn store_from(&self, value: &T) {
        // SAFETY: The value is aligned to a word; by the safety contract nobody else stores, and by
        // the type invariants others copy by marked loads. `value` is borrowed, so that nobody
        // writes it.
        // INVARIANT: At the end it holds `value`.
        unsafe { by_units!(store, self.get(), 0, (&raw const *value), size_of::<T>()) };
    }

    /// The same as [`WordCell::load`], for one field.
    #[inline(always)]
    pub(super) fn load_field<F: SeqData>(&self, field: Field<T, F>) -> Words<F> {
        const { assert_by_value::<F>() };
        let mut to = Words(MaybeUninit::<F>::uninit());
        // SAFETY: By its invariants the field lies in the value, which is aligned to a word and by
        // the type invariants only written by marked stores; `to` is local and of the field's size.
        unsafe {
            by_units!(
                load,
                self.get(),
                field.offset,
                to.0.as_mut_ptr(),
                size_of::<F>()
            )
        };
        to
    }

    /// The same as [`WordCell::store`], for one field.
    ///
    /// # Safety
    ///
    /// As for [`WordCell::store`].
    #[inline(always)]
    pub(super) unsafe fn store_field<F: SeqData>(&self, field: Field<T, F>, value: F) {
        const { assert_by_value::<F>() };
        // SAFETY: By its invariants the field lies in the value, which is aligned to a word; by the
        // safety contract nobody else stores, and by the type invariants others copy by marked loads.
        // INVARIANT: The value with another value of a field is a value.
        unsafe {
            by_units!(
                store,
                self.get(),
                field.offset,
                (&raw const value),
                size_of::<F>()
            )
        };
    }
}
