// SPDX-License-Identifier: GPL-2.0

//! The protected value: copied out and stored word by word.
//!
//! A reader copies the value while a writer may store it. To the LKMM that is no data race as long
//! as both use marked accesses; so each access is one volatile load or store of a machine type (see
//! `arch.rs`), of [`MaybeUninit`], because a copy that was not validated may be a mixture of two
//! values and no value of the type at all, and because padding is not initialised.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{align_of, size_of, MaybeUninit}, //
};

use crate::arch::seq::{
    self as arch,
    Word, //
};

/// What a sequence lock can protect: values that are copied and hold no borrowed references.
///
/// Padding and niches are fine, so are odd sizes. A pointer in the value would be no protection of
/// what it points to: that is what [`rcu`](crate::rcu) is for.
///
/// Implemented for every type that can be.
pub trait SeqData: Copy + Send + 'static {}

impl<T: Copy + Send + 'static> SeqData for T {}

/// A copy of a value's words, whole or not.
#[repr(C, align(8))]
pub(super) struct Words<T>(MaybeUninit<T>);

impl<T> Words<T> {
    /// The size is a multiple of the alignment, so there are only whole words.
    const COUNT: usize = size_of::<Self>() / size_of::<usize>();

    /// # Safety
    ///
    /// The words are a copy of one value of `T`.
    #[inline(always)]
    pub(super) unsafe fn assume_whole(self) -> T {
        // SAFETY: As the caller promises.
        unsafe { self.0.assume_init() }
    }

    #[inline(always)]
    pub(super) fn into_inner(self) -> MaybeUninit<T> {
        self.0
    }
}

impl<T> From<MaybeUninit<T>> for Words<T> {
    #[inline(always)]
    fn from(copy: MaybeUninit<T>) -> Self {
        Self(copy)
    }
}

/// Copies `count` units of type `W` that others may be storing.
///
/// # Safety
///
/// `from` is valid for reads of `count` units, which are only stored by [`store`] or as C does under
/// a sequence counter; `to` is valid for writes of them, and nobody else uses it. Both are aligned.
#[inline(always)]
unsafe fn load<W: Word>(from: *const W, to: *mut W, count: usize) {
    for i in 0..count {
        // SAFETY: `i < count`, and as the caller promises.
        unsafe {
            to.add(i)
                .cast::<MaybeUninit<W>>()
                .write(arch::load_word(from.add(i)))
        };
    }
}

/// Stores `count` units of type `W` that others may be copying.
///
/// # Safety
///
/// `to` is valid for writes of `count` units, which nobody else writes and others only copy by
/// [`load`] or as C does under a sequence counter; `from` is valid for reads of them, and nobody
/// writes it. Both are aligned.
#[inline(always)]
unsafe fn store<W: Word>(to: *mut W, from: *const W, count: usize) {
    for i in 0..count {
        // SAFETY: `i < count`, and as the caller promises.
        unsafe { arch::store_word(to.add(i), from.add(i).cast::<MaybeUninit<W>>().read()) };
    }
}

/// Calls `$f` with the largest unit that divides address and length both.
macro_rules! by_unit {
    ($f:ident, $a:expr, $b:expr, $offset:expr, $len:expr) => {{
        let unit = $offset | $len;
        if unit % size_of::<usize>() == 0 {
            $f::<usize>($a.cast(), $b.cast(), $len / size_of::<usize>())
        } else if unit % size_of::<u32>() == 0 {
            $f::<u32>($a.cast(), $b.cast(), $len / size_of::<u32>())
        } else if unit % size_of::<u16>() == 0 {
            $f::<u16>($a.cast(), $b.cast(), $len / size_of::<u16>())
        } else {
            $f::<u8>($a.cast(), $b.cast(), $len)
        }
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
        let offset = ::core::mem::offset_of!($t, $($field)+);
        let get = |value: &$t| value.$($field)+;
        let set = |value: &mut $t, new| value.$($field)+ = new;
        // SAFETY: `offset_of!` and the functions name the same field, because `offset_of!` goes
        // through no `Deref`, and a field of `$t` comes before one that is reached by `Deref`.
        unsafe { $crate::seqlock::Field::new(offset, get, set) }
    }};
}

/// The storage of a protected value.
///
/// # Invariants
///
/// - It holds a value of `T`, except between the beginning and the end of a [`WordCell::store`].
/// - While others may be copying from it, it is written by word stores alone.
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

    /// Copies what is there, which is a mixture if somebody stores at the same time.
    #[inline(always)]
    pub(super) fn load(&self) -> Words<T> {
        let mut to = MaybeUninit::<Words<T>>::uninit();
        // SAFETY: Both are `Words<T>`, made of `COUNT` aligned words; by the type invariants the
        // first is only written by `store`; the second is ours.
        unsafe {
            load::<usize>(
                self.0.get().cast(),
                to.as_mut_ptr().cast(),
                Words::<T>::COUNT,
            )
        };
        // SAFETY: All of it was written, and it may hold anything.
        unsafe { to.assume_init() }
    }

    /// Stores `value`.
    ///
    /// # Safety
    ///
    /// Nobody else stores or borrows the value during the call.
    #[inline(always)]
    pub(super) unsafe fn store(&self, value: T) {
        let from = Words(MaybeUninit::new(value));
        // SAFETY: Both are `Words<T>`, made of `COUNT` aligned words; nobody else stores, as the
        // caller promises, and others copy by `load`.
        // INVARIANT: At the end it holds `value`.
        unsafe {
            store::<usize>(
                self.0.get().cast(),
                (&raw const from).cast(),
                Words::<T>::COUNT,
            )
        };
    }

    /// As [`WordCell::load`], of one field.
    #[inline(always)]
    pub(super) fn load_field<F: SeqData>(&self, field: Field<T, F>) -> MaybeUninit<F> {
        let mut to = MaybeUninit::<F>::uninit();
        let from = self.0.get().cast::<u8>().wrapping_add(field.offset);
        let (offset, len) = (field.offset | align_of_local::<F>(), size_of::<F>());
        // SAFETY: By its invariants the field lies in the value, which is aligned to a word; the
        // unit divides its offset, its length and the alignment of `to`.
        unsafe { by_unit!(load, from, to.as_mut_ptr(), offset, len) };
        to
    }

    /// As [`WordCell::store`], of one field.
    ///
    /// # Safety
    ///
    /// As for [`WordCell::store`].
    #[inline(always)]
    pub(super) unsafe fn store_field<F: SeqData>(&self, field: Field<T, F>, value: F) {
        let to = self.0.get().cast::<u8>().wrapping_add(field.offset);
        let (offset, len) = (field.offset | align_of_local::<F>(), size_of::<F>());
        // SAFETY: By its invariants the field lies in the value, which is aligned to a word; the
        // unit divides its offset, its length and the alignment of `value`. Nobody else stores.
        // INVARIANT: The value with another value of a field is a value.
        unsafe { by_unit!(store, to, &raw const value, offset, len) };
    }
}

/// What alignment a local of type `F` has at least, as a bound of the unit.
const fn align_of_local<F>() -> usize {
    align_of::<F>()
}
