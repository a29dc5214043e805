// SPDX-License-Identifier: GPL-2.0

//! [`Retired`]: a pointer that was taken out of a cell or a list and may still be read.

use super::{
    batch::{
        Batch,
        ReclaimedBatch, //
    },
    domain_state::leaked_in_nmi,
    pointer::{
        RcuPointer,
        UniquePointer, //
    },
    Cookie,
    Domain,
    Global,
    ReclaimFuture, //
};
use crate::arch::context::in_nmi;
use core::{
    ffi::c_void,
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    panic::Location,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A pointer that was taken out of a cell or a list, and that readers may still use.
///
/// Its owner decides how the object is reclaimed. Dropping it [defers](Self::defer) the object;
/// [`mem::forget`](core::mem::forget) leaks it.
///
/// # Invariants
///
/// `raw` came from `P::into_raw`, this owns it, and no section of `D` that begins from now on can
/// find it. `P` is [`Send`].
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{Object, RcuCell};
///
/// # fn f(cell: &RcuCell<KBox<Object<u64>>>, two: KBox<Object<u64>>) -> Result {
/// let old = cell.replace(two);
/// // Process context: wait, and get the box back.
/// let boxed = old.synchronize().map_err(|refused| refused.error)?;
/// # Ok(()) }
/// ```
#[must_use = "dropping it defers the destructor until after a grace period"]
pub struct Retired<P: RcuPointer<D>, D: Domain = Global> {
    raw: NonNull<c_void>,
    _owns: PhantomData<P>,
    _domain: PhantomData<fn(D) -> D>,
}

// SAFETY: It owns a `P`, which is `Send` by the type invariants.
unsafe impl<P: RcuPointer<D>, D: Domain> Send for Retired<P, D> {}
// SAFETY: No method takes a shared reference, so one gives access to nothing.
unsafe impl<P: RcuPointer<D>, D: Domain> Sync for Retired<P, D> {}

/// The error of a wait that was refused, with the value that was to be reclaimed after it.
#[must_use = "dropping it defers the destructor until after a grace period"]
pub struct SynchronizeError<R> {
    /// The value that was to be reclaimed.
    pub retired: R,
    /// The reason, see [`Domain::synchronize`].
    pub error: Error,
}

impl<R> fmt::Debug for SynchronizeError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<R> From<SynchronizeError<R>> for Error {
    fn from(refused: SynchronizeError<R>) -> Error {
        refused.error
    }
}

impl<P: RcuPointer<D>, D: Domain> Retired<P, D> {
    /// Creates a retired pointer.
    ///
    /// # Safety
    ///
    /// `raw` came from `P::into_raw`, the caller gives it away, and no section of `D` that begins
    /// from now on can find it. `P` is [`Send`].
    pub(super) unsafe fn new(raw: NonNull<c_void>) -> Self {
        // INVARIANT: `raw` came from `P::into_raw`, the caller gives it away, no section that
        // begins from now on can find it, and `P` is `Send`, as this function requires.
        Self {
            raw,
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }

    pub(super) fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).raw
    }

    /// Takes the pointer back.
    ///
    /// # Safety
    ///
    /// A grace period of `D` has elapsed since `self` was created.
    pub(super) unsafe fn reclaim(self) -> P {
        // SAFETY: By the type invariants the pointer is ours, and as a grace period has elapsed it has
        // no readers.
        unsafe { P::from_raw(self.into_raw().as_ptr()) }
    }

    /// Drops the object after a grace period, without waiting for it.
    ///
    /// An object without destructor is freed by `kvfree_rcu()` (in an SRCU domain by a callback).
    /// Otherwise the destructor runs in a callback or on a workqueue, depending on the object's
    /// type. It runs before the module that deferred it is freed; the module need not wait for it.
    ///
    /// # Context
    ///
    /// Any but NMI, never waits; in an NMI the object is leaked. A task that defers many objects
    /// calls [`Domain::throttle`].
    pub fn defer(self) {}

    /// Waits for a grace period and returns the pointer.
    ///
    /// # Errors
    ///
    /// As [`Domain::synchronize`], together with `self`.
    ///
    /// # Context
    ///
    /// As [`Domain::synchronize`].
    #[track_caller]
    pub fn synchronize(self) -> Result<P, SynchronizeError<Self>> {
        self.wait(false, Location::caller())
    }

    /// As [`synchronize`](Self::synchronize), with an expedited grace period.
    #[track_caller]
    pub fn synchronize_expedited(self) -> Result<P, SynchronizeError<Self>> {
        self.wait(true, Location::caller())
    }

    fn wait(self, expedited: bool, caller: &Location<'_>) -> Result<P, SynchronizeError<Self>> {
        match D::state().synchronize(expedited, caller) {
            // SAFETY: `synchronize` succeeded, so a grace period of `D` has elapsed since `self` was
            // retired.
            Ok(()) => Ok(unsafe { self.reclaim() }),
            Err(error) => Err(SynchronizeError {
                retired: self,
                error,
            }),
        }
    }

    /// Takes the cookie of the next grace period, without starting one.
    pub fn cookie(self) -> PolledRetired<P, D> {
        let cookie = Cookie::new(D::state().snapshot());
        PolledRetired::new(self, cookie)
    }

    /// Starts a grace period, to be polled.
    pub fn start(self) -> PolledRetired<P, D> {
        let cookie = Cookie::new(D::state().start(false));
        PolledRetired::new(self, cookie)
    }

    /// Starts an expedited grace period, to be polled.
    pub fn start_expedited(self) -> PolledRetired<P, D> {
        let cookie = Cookie::new(D::state().start(true));
        PolledRetired::new(self, cookie)
    }

    /// Returns a future that waits for a grace period and yields the pointer.
    ///
    /// Dropped before that it defers.
    pub fn synchronize_async(self) -> ReclaimFuture<P, D> {
        ReclaimFuture::new(self)
    }
}

mod sealed {
    /// Implemented by types of this crate only.
    pub trait Sealed {}
}

/// Something retired: one pointer, an optional one, a [`Batch`](super::Batch), or a tuple of these.
///
/// [`Domain::reclaim`] waits for one grace period for all of it. Sealed.
pub trait Retire<D: Domain>: sealed::Sealed + Sized {
    /// The type that is returned after a grace period.
    type Reclaimed;

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// A grace period of `D` has elapsed since `self` was retired.
    #[doc(hidden)]
    unsafe fn reclaim(self) -> Self::Reclaimed;
}

impl<P: RcuPointer<D>, D: Domain> sealed::Sealed for Retired<P, D> {}

impl<P: RcuPointer<D>, D: Domain> Retire<D> for Retired<P, D> {
    type Reclaimed = P;

    unsafe fn reclaim(self) -> P {
        // SAFETY: A grace period of `D` has elapsed since `self` was retired, as `Retire::reclaim`
        // requires.
        unsafe { Retired::reclaim(self) }
    }
}

impl<P: UniquePointer<D>, D: Domain> sealed::Sealed for Batch<P, D> {}

impl<P: UniquePointer<D>, D: Domain> Retire<D> for Batch<P, D> {
    type Reclaimed = ReclaimedBatch<P, D>;

    unsafe fn reclaim(self) -> ReclaimedBatch<P, D> {
        // SAFETY: A grace period of `D` has elapsed since all of the batch was retired, as
        // `Retire::reclaim` requires.
        unsafe { ReclaimedBatch::new(self) }
    }
}

impl<R: sealed::Sealed> sealed::Sealed for Option<R> {}

impl<R: Retire<D>, D: Domain> Retire<D> for Option<R> {
    type Reclaimed = Option<R::Reclaimed>;

    unsafe fn reclaim(self) -> Option<R::Reclaimed> {
        // SAFETY: A grace period of `D` has elapsed since `retired` was retired, as
        // `Retire::reclaim` requires.
        self.map(|retired| unsafe { retired.reclaim() })
    }
}

macro_rules! retire_tuple {
    ($($name:ident)*) => {
        impl<$($name: sealed::Sealed),*> sealed::Sealed for ($($name,)*) {}

        impl<$($name: Retire<D>,)* D: Domain> Retire<D> for ($($name,)*) {
            type Reclaimed = ($($name::Reclaimed,)*);

            unsafe fn reclaim(self) -> Self::Reclaimed {
                #[allow(non_snake_case, reason = "the parameters name the variables too")]
                let ($($name,)*) = self;
                // SAFETY: A grace period of `D` has elapsed since each of them was retired, as
                // `Retire::reclaim` requires.
                unsafe { ($($name.reclaim(),)*) }
            }
        }
    };
}

retire_tuple! { A B }
retire_tuple! { A B C }
retire_tuple! { A B C E }

impl<P: RcuPointer<D>, D: Domain> Drop for Retired<P, D> {
    fn drop(&mut self) {
        if in_nmi() {
            return leaked_in_nmi();
        }
        // SAFETY: By the type invariants it is ours and `Send`, and no reader can find it any more.
        unsafe { P::defer(self.raw.as_ptr()) };
    }
}

/// Something retired, and the cookie of the grace period after which it can be reclaimed.
///
/// Dropping it [defers](Retired::defer).
///
/// # Invariants
///
/// `cookie` was made after `retired`.
#[must_use = "dropping it defers the destructor until after a grace period"]
pub struct PolledRetired<P: RcuPointer<D>, D: Domain = Global> {
    retired: Retired<P, D>,
    cookie: Cookie<D>,
}

impl<P: RcuPointer<D>, D: Domain> PolledRetired<P, D> {
    fn new(retired: Retired<P, D>, cookie: Cookie<D>) -> Self {
        // INVARIANT: The callers have just created the cookie.
        Self { retired, cookie }
    }

    /// Returns whether the grace period has elapsed. Any context.
    pub fn is_over(&self) -> bool {
        self.cookie.is_over()
    }

    /// Returns the pointer if the grace period is over. Any context; never waits.
    ///
    /// # Errors
    ///
    /// Returns `self` if it is not.
    pub fn try_reclaim(self) -> Result<P, Self> {
        if !self.cookie.is_over() {
            return Err(self);
        }
        // SAFETY: By the type invariants the grace period began after `retired` was created, and it has
        // elapsed.
        Ok(unsafe { self.retired.reclaim() })
    }

    /// Waits until the grace period is over, and returns the pointer.
    ///
    /// # Errors
    ///
    /// As [`Cookie::wait`], together with `self`.
    #[track_caller]
    pub fn wait(self) -> Result<P, SynchronizeError<Self>> {
        match self.cookie.wait() {
            // SAFETY: By the type invariants the cookie's grace period began after `retired` was
            // created, and `Cookie::wait` succeeded, so it has elapsed.
            Ok(()) => Ok(unsafe { self.retired.reclaim() }),
            Err(error) => Err(SynchronizeError {
                retired: self,
                error,
            }),
        }
    }

    /// As [`wait`](Self::wait), with an expedited grace period.
    #[track_caller]
    pub fn wait_expedited(self) -> Result<P, SynchronizeError<Self>> {
        match self.cookie.wait_expedited() {
            // SAFETY: By the type invariants the cookie's grace period began after `retired` was
            // created, and `Cookie::wait_expedited` succeeded, so it has elapsed.
            Ok(()) => Ok(unsafe { self.retired.reclaim() }),
            Err(error) => Err(SynchronizeError {
                retired: self,
                error,
            }),
        }
    }
}
