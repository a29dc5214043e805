// SPDX-License-Identifier: GPL-2.0

//! [`RcuCell`]: a pointer that is read without a lock and replaced while it is read.

use super::{
    pointer::RcuPointer,
    Domain,
    Global,
    ReadToken, //
    Retired,
};
use crate::arch;
use core::{
    cell::UnsafeCell,
    ffi::c_void,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    }, //
};

mod sealed {
    /// Implemented by types of this crate only.
    pub trait Sealed {}
}

/// The content of an [`RcuCell`]: an [`RcuPointer`] or an [`Option`] of one. Sealed.
///
/// # Safety
///
/// `into_raw` returns null or what the pointer's own `into_raw` returned.
pub unsafe trait CellValue<D: Domain>: sealed::Sealed + Sized {
    /// The pointer.
    type Pointer: RcuPointer<D>;
    /// The type that a reader gets: the pointer's borrowed form, or an option of it.
    type Read<'a>: Copy;
    /// The type that replacing the content returns: a retired pointer, or an option of one.
    type Old;

    /// Gives the value away.
    #[doc(hidden)]
    fn into_raw(self) -> *mut c_void;

    /// Takes back what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and nothing else takes it back or drops it.
    #[doc(hidden)]
    unsafe fn from_raw(raw: *mut c_void) -> Self;

    /// Borrows what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is not taken back during `'a`.
    #[doc(hidden)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a>;

    /// Returns the address that `into_raw` returned for what was read.
    #[doc(hidden)]
    fn address(read: Self::Read<'_>) -> *mut c_void;

    /// Retires what was given away.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no read-side critical section of `D` that begins
    /// from now on can find the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn retire(raw: *mut c_void) -> Self::Old;

    /// Drops what was given away, see [`RcuPointer::dispose`].
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no reader can reach the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn dispose(raw: *mut c_void);
}

impl<P: super::pointer::sealed::Sealed> sealed::Sealed for P {}
impl<P: super::pointer::sealed::Sealed> sealed::Sealed for Option<P> {}

// SAFETY: `into_raw()` and `from_raw()` are those of `P`, which is an `RcuPointer`.
unsafe impl<P: RcuPointer<D>, D: Domain> CellValue<D> for P {
    type Pointer = P;
    type Read<'a> = P::Borrowed<'a>;
    type Old = Retired<P, D>;

    #[inline]
    fn into_raw(self) -> *mut c_void {
        RcuPointer::into_raw(self)
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: `raw` came from the pointer's `into_raw`, and nothing else takes it back or drops
        // it, as `CellValue::from_raw` requires.
        unsafe { <P as RcuPointer<D>>::from_raw(raw) }
    }

    #[inline(always)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a> {
        // SAFETY: `raw` came from the pointer's `into_raw` and is not taken back during `'a`, as
        // `CellValue::read` requires.
        unsafe { P::borrow(raw) }
    }

    fn address(read: Self::Read<'_>) -> *mut c_void {
        <P as RcuPointer<D>>::address(read)
    }

    #[inline]
    unsafe fn retire(raw: *mut c_void) -> Self::Old {
        // SAFETY: `raw` came from the pointer's `into_raw`, which never returns null.
        // `CellValue::retire` requires that nothing else takes it back, that no read-side critical
        // section that begins from now on can find it, and that it is `Send`.
        unsafe { Retired::new(NonNull::new_unchecked(raw)) }
    }

    unsafe fn dispose(raw: *mut c_void) {
        // SAFETY: `raw` came from the pointer's `into_raw`, nothing else takes it back, no reader
        // can reach it, and it is `Send`, as `CellValue::dispose` requires.
        unsafe { <P as RcuPointer<D>>::dispose(raw) }
    }
}

// SAFETY: `into_raw()` and `from_raw()` are those of `P`, which is an `RcuPointer`, and null stands
// for `None`.
unsafe impl<P: RcuPointer<D>, D: Domain> CellValue<D> for Option<P> {
    type Pointer = P;
    type Read<'a> = Option<P::Borrowed<'a>>;
    type Old = Option<Retired<P, D>>;

    #[inline]
    fn into_raw(self) -> *mut c_void {
        self.map_or(null_mut(), RcuPointer::into_raw)
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: `raw` is not null, so it came from the pointer's `into_raw`, and nothing else
        // takes it back or drops it, as `CellValue::from_raw` requires.
        (!raw.is_null()).then(|| unsafe { <P as RcuPointer<D>>::from_raw(raw) })
    }

    #[inline(always)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a> {
        if raw.is_null() {
            return None;
        }
        // SAFETY: `raw` is not null, so it came from the pointer's `into_raw`, and it is not taken
        // back during `'a`, as `CellValue::read` requires.
        Some(unsafe { P::borrow(raw) })
    }

    fn address(read: Self::Read<'_>) -> *mut c_void {
        read.map_or(null_mut(), |read| <P as RcuPointer<D>>::address(read))
    }

    #[inline]
    unsafe fn retire(raw: *mut c_void) -> Self::Old {
        // SAFETY: `raw` is not null, so it came from the pointer's `into_raw`. `CellValue::retire`
        // requires that nothing else takes it back, that no read-side critical section that begins
        // from now on can find it, and that it is `Send`.
        NonNull::new(raw).map(|raw| unsafe { Retired::new(raw) })
    }

    unsafe fn dispose(raw: *mut c_void) {
        if !raw.is_null() {
            // SAFETY: `raw` is not null, so it came from the pointer's `into_raw`.
            // `CellValue::dispose` requires that nothing else takes it back, that no reader can
            // reach it, and that it is `Send`.
            unsafe { <P as RcuPointer<D>>::dispose(raw) }
        }
    }
}

/// A pointer that readers of the domain `D` follow while writers replace it.
///
/// `P` is a box of an [`Object`](super::Object), pinned or not, an [`Arc`](kernel::sync::Arc) of a
/// [`Shared`](super::Shared), or an [`Option`] of one of these. Any number of writers may replace
/// the content concurrently, without a lock: each gets what no other writer got.
///
/// # Dropping a cell
///
/// A reader borrows the cell, so a cell that is dropped has no readers, and its content is dropped
/// without a grace period: in the call if the caller may sleep, and otherwise in process context,
/// on the workqueue that deferred destructors run on; so is content of another module than that of the
/// destructor which drops the cell. Memory of `kmalloc()` without a destructor is freed in the call, on
/// PREEMPT_RT only where the caller can be preempted. A cell may therefore be dropped in any context
/// but NMI, where the content is leaked. Content that owns further cells is dropped with bounded
/// stack, however long the chain is.
///
/// Statics are never dropped: a module whose cell is one publishes [`None`] in its exit function, or
/// the content is leaked.
///
/// # Invariants
///
/// `pointer` came from `P::into_raw` and the cell owns it.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Object, RcuCell};
///
/// struct Config {
///     limit: usize,
/// }
///
/// static CONFIG: RcuCell<Option<KBox<Object<Config>>>> = RcuCell::none();
///
/// fn set_limit(limit: usize) -> Result {
///     CONFIG.publish(Some(Object::new(Config { limit }).boxed(GFP_KERNEL)?));
///     Ok(())
/// }
///
/// fn limit() -> usize {
///     rcu::global().run(|t| CONFIG.read(t).map_or(0, |config| config.limit))
/// }
/// ```
pub struct RcuCell<P: CellValue<D> + Send, D: Domain = Global> {
    pointer: Atomic<*mut c_void>,
    // Invariant: a `P` can be put into a cell as well as be taken out.
    _owns: PhantomData<UnsafeCell<P>>,
    _domain: PhantomData<fn(D) -> D>,
}

// SAFETY: The cell owns a `P`, which is `Send`.
unsafe impl<P: CellValue<D> + Send, D: Domain> Send for RcuCell<P, D> {}
// SAFETY: Through a shared cell other tasks can put in a `P`, take one out, and share one.
unsafe impl<P: CellValue<D> + Send + Sync, D: Domain> Sync for RcuCell<P, D> {}

impl<P: RcuPointer<D> + Send, D: Domain> RcuCell<Option<P>, D> {
    /// Creates an empty cell, also in statics.
    pub const fn none() -> Self {
        // INVARIANT: Null is the raw form of `None`.
        Self {
            pointer: Atomic::new(null_mut()),
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }
}

impl<P: CellValue<D> + Send, D: Domain> RcuCell<P, D> {
    /// Creates a cell with the content `value`.
    pub fn new(value: P) -> Self {
        // INVARIANT: The value is given away to the cell.
        Self {
            pointer: Atomic::new(value.into_raw()),
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }

    /// Reads the content, with one load.
    ///
    /// The result can be used until the read-side critical section ends.
    ///
    /// # Context
    ///
    /// As [`Domain::run`].
    ///
    /// # Ordering
    ///
    /// Accesses through the result see everything that was stored to the content before it was put
    /// into the cell (`rcu_dereference()`).
    #[inline(always)]
    pub fn read<'a>(&'a self, _token: ReadToken<'a, D>) -> P::Read<'a> {
        let raw = arch::pointer::load_pointer(&self.pointer);
        // SAFETY: The cell held `raw` at a moment during the read-side critical section that the
        // token proves. A writer that replaces it retires it, and it is not taken back before the
        // section ends. The cell is borrowed during `'a`, so it is not dropped.
        unsafe { P::read(raw) }
    }

    /// Unwraps the content.
    pub fn into_inner(self) -> P {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariants the cell owns the pointer, and the cell is not dropped. It
        // has no readers, as nothing borrows it.
        unsafe { P::from_raw(this.pointer.load(kernel::sync::atomic::Relaxed)) }
    }

    /// Replaces the content by `new` and returns the old content, retired.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Ordering
    ///
    /// Full, as `xchg()`: readers that find `new` see everything that was stored to it before.
    #[inline]
    pub fn replace(&self, new: P) -> P::Old {
        // INVARIANT: The new value is given away to the cell.
        let old = arch::pointer::swap_pointer(&self.pointer, new.into_raw());
        // SAFETY: By the type invariants the cell owned the pointer, and the exchange gives it to one
        // caller. Readers that begin from now on find what replaced it, and `P` is `Send`.
        unsafe { P::retire(old) }
    }

    /// Replaces the content by `new` and defers the old content, see [`Retired::defer`].
    ///
    /// # Context
    ///
    /// Any but NMI, where the old content is leaked. Never sleeps.
    ///
    /// # Ordering
    ///
    /// As [`replace`](Self::replace).
    #[inline]
    pub fn publish(&self, new: P) {
        drop(self.replace(new));
    }

    /// Replaces the content by `new` if it still is what the caller has read.
    ///
    /// An object that was read in a read-side critical section is not freed and allocated again
    /// during that section. A [`Shared`](super::Shared) object that was replaced and put back counts
    /// as the same.
    ///
    /// # Errors
    ///
    /// Returns `new` if the content is another. Destructors that sleep must not run in the section,
    /// if it is one of [`Global`]: move `new` out of it.
    ///
    /// # Context
    ///
    /// As [`read`](Self::read).
    ///
    /// # Ordering
    ///
    /// Full if it succeeds, none if not.
    pub fn compare_exchange<'a>(
        &'a self,
        _token: ReadToken<'a, D>,
        expected: P::Read<'a>,
        new: P,
    ) -> Result<P::Old, P> {
        let new = new.into_raw();
        // INVARIANT: If it succeeds the new value is given away to the cell.
        match self.pointer.cmpxchg(P::address(expected), new, Full) {
            // SAFETY: By the type invariants the cell owned the pointer, and the exchange gives it to
            // one caller. Readers that begin from now on find `new`, and `P` is `Send`.
            Ok(old) => Ok(unsafe { P::retire(old) }),
            // SAFETY: `new` was given away above, and did not get into the cell.
            Err(_) => Err(unsafe { P::from_raw(new) }),
        }
    }

    /// Replaces the content by what `f` returns for it.
    ///
    /// `f` runs in a read-side critical section of the domain, and once more each time that another
    /// writer was faster. What it returned before is then dropped as by a cell: after the section,
    /// and in process context if the caller may not sleep. In [`Global`], `f` must not sleep, so it
    /// allocates with [`GFP_ATOMIC`].
    ///
    /// # Errors
    ///
    /// Those of `f`; nothing was replaced then.
    ///
    /// # Context
    ///
    /// As [`Domain::run`] and `f`.
    ///
    /// # Ordering
    ///
    /// As [`compare_exchange`](Self::compare_exchange).
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{self, Object, RcuCell};
    ///
    /// # fn f(counter: &RcuCell<KBox<Object<u64>>>) -> Result {
    /// let old = counter.update(rcu::global(), |n| {
    ///     Ok::<_, Error>(Object::new(n + 1).boxed(GFP_ATOMIC)?)
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn update<E>(
        &self,
        domain: D,
        mut f: impl FnMut(P::Read<'_>) -> Result<P, E>,
    ) -> Result<P::Old, E> {
        loop {
            let outcome = domain.run(|t| {
                let old = self.read(t);
                let new = f(old)?;
                Ok(self.compare_exchange(t, old, new))
            })?;
            match outcome {
                Ok(old) => return Ok(old),
                // Not in the section: the destructor may sleep. The caller may be in another section.
                Err(lost) => drop(Self::new(lost)),
            }
        }
    }
}

impl<P: CellValue<D> + Send, D: Domain> Drop for RcuCell<P, D> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the cell owns the pointer, which is `Send`. The cell has no
        // readers, as nothing borrows it.
        unsafe { P::dispose(*self.pointer.get_mut()) };
    }
}
