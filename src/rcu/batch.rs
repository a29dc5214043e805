// SPDX-License-Identifier: GPL-2.0

//! [`Batch`]: many retired objects, one grace period.

use super::{
    pointer::UniquePointer,
    Cookie,
    Domain,
    Global,
    Retired, //
    SynchronizeError,
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    panic::Location,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Retired objects that share one grace period.
///
/// The objects are linked by their own heads: adding one allocates nothing and never fails. Dropping
/// the batch defers all of them. An [`Arc`](kernel::sync::Arc) cannot be added, because its object's
/// head may be in use. [`Domain::reclaim`] takes objects of several types.
///
/// # Invariants
///
/// `first` begins a list, linked by the heads' `next`, each the beginning of a retired object.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{Batch, Object, RcuCell};
///
/// # fn f(cells: &[RcuCell<Option<KBox<Object<u64>>>>]) -> Result {
/// let mut batch = Batch::new();
/// for cell in cells {
///     if let Some(old) = cell.replace(None) {
///         batch.push(old);
///     }
/// }
/// // One grace period for all; each is dropped here.
/// drop(batch.synchronize()?);
/// # Ok(()) }
/// ```
#[must_use = "dropping it defers the destructors until after a grace period"]
pub struct Batch<P: UniquePointer<D>, D: Domain = Global> {
    first: *mut bindings::callback_head,
    len: usize,
    _owns: PhantomData<Retired<P, D>>,
}

// SAFETY: A batch owns a list of `Retired` objects, each of which is `Send`.
unsafe impl<P: UniquePointer<D>, D: Domain> Send for Batch<P, D> {}
// SAFETY: A shared reference gives access to the length only.
unsafe impl<P: UniquePointer<D>, D: Domain> Sync for Batch<P, D> {}

impl<P: UniquePointer<D>, D: Domain> Default for Batch<P, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: UniquePointer<D>, D: Domain> Batch<P, D> {
    /// Creates an empty batch.
    pub const fn new() -> Self {
        // INVARIANT: An empty list.
        Self {
            first: null_mut(),
            len: 0,
            _owns: PhantomData,
        }
    }

    /// Adds a retired object. Any context.
    pub fn push(&mut self, retired: Retired<P, D>) {
        let head = retired
            .into_raw()
            .cast::<bindings::callback_head>()
            .as_ptr();
        // SAFETY: A retired object begins with its head, which is ours as the pointer is unique.
        unsafe { (*head).next = self.first };
        // INVARIANT: One more.
        self.first = head;
        self.len = self.len.wrapping_add(1);
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    fn pop(&mut self) -> Option<Retired<P, D>> {
        let head = NonNull::new(self.first)?;
        // SAFETY: By the type invariants it is the head of a retired object, which the batch owns.
        self.first = unsafe { (*head.as_ptr()).next };
        self.len = self.len.wrapping_sub(1);
        // SAFETY: The object was retired when it was pushed, and is no longer on the list, which owned it.
        Some(unsafe { Retired::new(head.cast::<c_void>()) })
    }

    /// Drops all objects after a grace period, without waiting for it, as [`Retired::defer`] does.
    pub fn defer(self) {}

    /// Waits for one grace period and returns all the pointers.
    ///
    /// # Errors
    ///
    /// As [`Domain::synchronize`], together with `self`.
    ///
    /// # Context
    ///
    /// As [`Domain::synchronize`].
    #[track_caller]
    pub fn synchronize(self) -> Result<ReclaimedBatch<P, D>, SynchronizeError<Self>> {
        self.wait(false, Location::caller())
    }

    /// As [`synchronize`](Self::synchronize), with an expedited grace period.
    #[track_caller]
    pub fn synchronize_expedited(self) -> Result<ReclaimedBatch<P, D>, SynchronizeError<Self>> {
        self.wait(true, Location::caller())
    }

    fn wait(
        self,
        expedited: bool,
        caller: &Location<'_>,
    ) -> Result<ReclaimedBatch<P, D>, SynchronizeError<Self>> {
        if self.is_empty() {
            return Ok(ReclaimedBatch(self));
        }
        match D::state().synchronize(expedited, caller) {
            // INVARIANT: `synchronize` succeeded, so a grace period has elapsed.
            Ok(()) => Ok(ReclaimedBatch(self)),
            Err(error) => Err(SynchronizeError {
                retired: self,
                error,
            }),
        }
    }

    /// Starts one grace period for all, to be polled.
    pub fn start(self) -> PolledBatch<P, D> {
        let cookie = Cookie::new(D::state().start(false));
        // INVARIANT: The cookie was created just now.
        PolledBatch {
            batch: self,
            cookie,
        }
    }
}

impl<P: UniquePointer<D>, D: Domain> Drop for Batch<P, D> {
    fn drop(&mut self) {
        while let Some(retired) = self.pop() {
            retired.defer();
        }
    }
}

/// A batch, and the cookie of the grace period after which it can be reclaimed.
///
/// Dropping it defers all of the batch.
///
/// # Invariants
///
/// `cookie` was created after the last object was retired.
#[must_use = "dropping it defers the destructors until after a grace period"]
pub struct PolledBatch<P: UniquePointer<D>, D: Domain = Global> {
    batch: Batch<P, D>,
    cookie: Cookie<D>,
}

impl<P: UniquePointer<D>, D: Domain> PolledBatch<P, D> {
    /// Returns all the pointers if the grace period is over. Any context; never waits.
    ///
    /// # Errors
    ///
    /// Returns `self` if it is not.
    pub fn try_reclaim(self) -> Result<ReclaimedBatch<P, D>, Self> {
        if !self.cookie.is_over() {
            return Err(self);
        }
        // INVARIANT: By the type invariants the grace period began after the objects were retired.
        Ok(ReclaimedBatch(self.batch))
    }
}

/// An iterator over the pointers of a batch whose grace period has elapsed.
///
/// The rest is dropped with the iterator, in the caller's context.
///
/// # Invariants
///
/// A grace period of `D` has elapsed since each of them was retired.
pub struct ReclaimedBatch<P: UniquePointer<D>, D: Domain = Global>(Batch<P, D>);

impl<P: UniquePointer<D>, D: Domain> ReclaimedBatch<P, D> {
    /// # Safety
    ///
    /// A grace period of `D` has elapsed since the batch was retired.
    pub(super) unsafe fn new(batch: Batch<P, D>) -> Self {
        // INVARIANT: A grace period of `D` has elapsed since the batch was retired, as this
        // function requires.
        Self(batch)
    }
}

impl<P: UniquePointer<D>, D: Domain> Iterator for ReclaimedBatch<P, D> {
    type Item = P;

    fn next(&mut self) -> Option<P> {
        // SAFETY: By the type invariants a grace period has elapsed since the object was retired.
        self.0.pop().map(|retired| unsafe { retired.reclaim() })
    }
}

impl<P: UniquePointer<D>, D: Domain> Drop for ReclaimedBatch<P, D> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
