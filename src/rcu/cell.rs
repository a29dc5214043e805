// SPDX-License-Identifier: GPL-2.0

//! A pointer that is read without a lock and replaced while it is read.

use super::{
    pointer::RcuPointer,
    Domain,
    Global,
    Retired,
    Token, //
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
    /// What only this crate can do.
    pub trait Sealed {}
}

/// What a cell can hold: a pointer, or an optional one. Sealed.
///
/// # Safety
///
/// `into_raw` returns null or what the pointer's own `into_raw` returned.
pub unsafe trait Slot<D: Domain>: sealed::Sealed + Sized {
    /// The pointer.
    type Pointer: RcuPointer<D>;
    /// What a reader gets: the pointer's borrowed form, or an option of it.
    type Read<'a>: Copy;
    /// What was taken out of a cell: retired, or an option of it.
    type Old;

    /// Gives the value away.
    #[doc(hidden)]
    fn into_raw(self) -> *mut c_void;

    /// Takes back what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and this is the only call for it.
    #[doc(hidden)]
    unsafe fn from_raw(raw: *mut c_void) -> Self;

    /// Borrows what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is not taken back during `'a`.
    #[doc(hidden)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a>;

    /// The address that `into_raw` returned for what was read.
    #[doc(hidden)]
    fn address(read: Self::Read<'_>) -> *mut c_void;

    /// Retires what was given away.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no section of `D` that begins from now on can find
    /// the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn retire(raw: *mut c_void) -> Self::Old;
}

impl<P: super::pointer::sealed::Sealed> sealed::Sealed for P {}
impl<P: super::pointer::sealed::Sealed> sealed::Sealed for Option<P> {}

// SAFETY: The pointer's own.
unsafe impl<P: RcuPointer<D>, D: Domain> Slot<D> for P {
    type Pointer = P;
    type Read<'a> = P::Borrowed<'a>;
    type Old = Retired<P, D>;

    fn into_raw(self) -> *mut c_void {
        RcuPointer::into_raw(self)
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { <P as RcuPointer<D>>::from_raw(raw) }
    }

    #[inline(always)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a> {
        // SAFETY: By the safety requirements.
        unsafe { P::borrow(raw) }
    }

    fn address(read: Self::Read<'_>) -> *mut c_void {
        <P as RcuPointer<D>>::address(read)
    }

    unsafe fn retire(raw: *mut c_void) -> Self::Old {
        // SAFETY: By the safety requirements; a pointer is never null.
        unsafe { Retired::new(NonNull::new_unchecked(raw)) }
    }
}

// SAFETY: The pointer's own or null.
unsafe impl<P: RcuPointer<D>, D: Domain> Slot<D> for Option<P> {
    type Pointer = P;
    type Read<'a> = Option<P::Borrowed<'a>>;
    type Old = Option<Retired<P, D>>;

    fn into_raw(self) -> *mut c_void {
        self.map_or(null_mut(), RcuPointer::into_raw)
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements.
        (!raw.is_null()).then(|| unsafe { <P as RcuPointer<D>>::from_raw(raw) })
    }

    #[inline(always)]
    unsafe fn read<'a>(raw: *mut c_void) -> Self::Read<'a> {
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the safety requirements.
        Some(unsafe { P::borrow(raw) })
    }

    fn address(read: Self::Read<'_>) -> *mut c_void {
        read.map_or(null_mut(), |read| <P as RcuPointer<D>>::address(read))
    }

    unsafe fn retire(raw: *mut c_void) -> Self::Old {
        // SAFETY: By the safety requirements.
        NonNull::new(raw).map(|raw| unsafe { Retired::new(raw) })
    }
}

/// A pointer that readers of the domain `D` follow while writers replace it.
///
/// `P` is `KBox<Object<T>>`, `Pin<KBox<Object<T>>>` or `Arc<Shared<T, D>>`, or an [`Option`] of one.
/// Any number of writers may work at once, without a lock: each takes out what nobody else took.
///
/// A reader borrows from the token and from the cell, so a cell is only dropped when nobody reads
/// it, and drops what it holds at once. Nobody drops a static: a module whose cell is one publishes
/// [`None`] in its exit function, or what the cell holds is leaked.
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
///     CONFIG.publish(Some(KBox::new(Object::new(Config { limit }), GFP_KERNEL)?));
///     Ok(())
/// }
///
/// fn limit() -> usize {
///     rcu::global().run(|t| CONFIG.read(t).map_or(0, |config| config.limit))
/// }
/// ```
pub struct RcuCell<P: Slot<D>, D: Domain = Global> {
    pointer: Atomic<*mut c_void>,
    // A cell that takes a `P` must not become one of a supertype of it.
    _owns: PhantomData<UnsafeCell<P>>,
    _domain: PhantomData<fn() -> D>,
}

// SAFETY: The cell owns a `P`, and nothing else of a task's.
unsafe impl<P: Slot<D> + Send, D: Domain> Send for RcuCell<P, D> {}
// SAFETY: Through a shared cell others can be given a `P`, take one out, and share one.
unsafe impl<P: Slot<D> + Send + Sync, D: Domain> Sync for RcuCell<P, D> {}

impl<P: RcuPointer<D>, D: Domain> RcuCell<Option<P>, D> {
    /// Makes an empty cell, in a static too.
    pub const fn none() -> Self {
        // INVARIANT: Null is what `None` is.
        Self {
            pointer: Atomic::new(null_mut()),
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }
}

impl<P: Slot<D>, D: Domain> RcuCell<P, D> {
    /// Makes a cell that holds `value`.
    pub fn new(value: P) -> Self {
        // INVARIANT: The value is given away to the cell.
        Self {
            pointer: Atomic::new(value.into_raw()),
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }

    /// Reads the pointer.
    ///
    /// Costs one load. What comes back can be used until the read section ends, and shows
    /// everything that was done to it before it was put into the cell.
    ///
    /// # Context
    ///
    /// Any in which there can be a section of `D`.
    #[inline(always)]
    pub fn read<'a>(&'a self, _token: Token<'a, D>) -> P::Read<'a> {
        let raw = arch::pointer::load_pointer(&self.pointer);
        // SAFETY: The cell held `raw` at a moment during the section that the token proves. Who
        // takes it out retires it, and it is not taken back before the section ends; or drops the
        // cell, which is borrowed for as long.
        unsafe { P::read(raw) }
    }

    /// Takes the value out of a cell that nobody else has.
    pub fn into_inner(self) -> P {
        let this = ManuallyDrop::new(self);
        // SAFETY: The cell owns it, nobody reads as nobody borrows the cell, and it is not dropped.
        unsafe { P::from_raw(this.pointer.load(kernel::sync::atomic::Relaxed)) }
    }
}

impl<P: Slot<D> + Send, D: Domain> RcuCell<P, D> {
    /// Puts `new` into the cell and returns what was there.
    ///
    /// # Context
    ///
    /// Any.
    ///
    /// # Ordering
    ///
    /// Full, as `xchg()`: readers that find `new` see all that was done to it before.
    pub fn replace(&self, new: P) -> P::Old {
        // INVARIANT: The new value is given away to the cell.
        let old = arch::pointer::swap_pointer(&self.pointer, new.into_raw());
        // SAFETY: The cell owned it, and who took it out is its one owner. No reader can find it
        // any more, and `P` is `Send`.
        unsafe { P::retire(old) }
    }

    /// Puts `new` into the cell and defers what was there.
    ///
    /// # Context
    ///
    /// Any but NMI.
    pub fn publish(&self, new: P) {
        drop(self.replace(new));
    }

    /// Puts `new` into the cell if it still holds what the caller has read.
    ///
    /// What was read in a section cannot be freed and allocated anew in that section; but a shared
    /// object that was taken out and put back counts as the same.
    ///
    /// # Errors
    ///
    /// Returns `new` if the cell holds something else.
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
        _token: Token<'a, D>,
        expected: P::Read<'a>,
        new: P,
    ) -> Result<P::Old, P> {
        let new = new.into_raw();
        // INVARIANT: If it succeeds the new value is given away to the cell.
        match self.pointer.cmpxchg(P::address(expected), new, Full) {
            // SAFETY: As in `replace`.
            Ok(old) => Ok(unsafe { P::retire(old) }),
            // SAFETY: It was given away above, and nobody got it.
            Err(_) => Err(unsafe { P::from_raw(new) }),
        }
    }

    /// Replaces what the cell holds by what `f` makes of it.
    ///
    /// `f` runs in a read section of the domain, and again if another writer was faster. In
    /// [`Global`] it must not sleep, so what it allocates it allocates with `GFP_ATOMIC`.
    ///
    /// # Errors
    ///
    /// Those of `f`; nothing was replaced then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{self, Object, RcuCell};
    ///
    /// # fn f(counter: &RcuCell<KBox<Object<u64>>>) -> Result {
    /// let old = counter.update(rcu::global(), |n| {
    ///     Ok::<_, Error>(KBox::new(Object::new(n + 1), GFP_ATOMIC)?)
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn update<E>(
        &self,
        domain: D,
        mut f: impl FnMut(P::Read<'_>) -> Result<P, E>,
    ) -> Result<P::Old, E> {
        loop {
            let done = domain.run(|t| {
                let old = self.read(t);
                let new = f(old)?;
                Ok(self.compare_exchange(t, old, new).ok())
            })?;
            if let Some(old) = done {
                return Ok(old);
            }
        }
    }
}

impl<P: Slot<D>, D: Domain> Drop for RcuCell<P, D> {
    fn drop(&mut self) {
        // SAFETY: The cell owns it, and nobody reads as nobody borrows the cell.
        drop(unsafe { P::from_raw(*self.pointer.get_mut()) });
    }
}
