// SPDX-License-Identifier: GPL-2.0

//! Many retired objects, one grace period.

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
/// It is a list through the objects' own heads: adding to it allocates nothing and never fails.
/// Dropping it defers all of them. An `Arc` does not go into a batch; retiring many of those shares
/// a callback anyhow.
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

// SAFETY: It is a number of `Retired`.
unsafe impl<P: UniquePointer<D>, D: Domain> Send for Batch<P, D> {}
// SAFETY: As above.
unsafe impl<P: UniquePointer<D>, D: Domain> Sync for Batch<P, D> {}

impl<P: UniquePointer<D>, D: Domain> Default for Batch<P, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: UniquePointer<D>, D: Domain> Batch<P, D> {
    /// Makes an empty batch.
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
        // SAFETY: A retired object begins with its head, which for a unique pointer is ours.
        unsafe { (*head).next = self.first };
        // INVARIANT: One more.
        self.first = head;
        self.len = self.len.wrapping_add(1);
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    fn pop(&mut self) -> Option<Retired<P, D>> {
        let head = NonNull::new(self.first)?;
        // SAFETY: By the type invariants.
        self.first = unsafe { (*head.as_ptr()).next };
        self.len = self.len.wrapping_sub(1);
        // SAFETY: As above; it was retired when it was pushed, and is no longer on the list.
        Some(unsafe { Retired::new(head.cast::<c_void>()) })
    }

    /// Has all objects dropped after a grace period, without waiting for it. As
    /// [`Retired::defer`] for each; callbacks posted in a row share a grace period.
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
            // INVARIANT: It was waited for one.
            Ok(()) => Ok(ReclaimedBatch(self)),
            Err(error) => Err(SynchronizeError {
                retired: self,
                error,
            }),
        }
    }

    /// Asks for one grace period for all, to be polled.
    pub fn start(self) -> PolledBatch<P, D> {
        let cookie = Cookie::new(D::state().start(false));
        // INVARIANT: Just made.
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

/// A batch, and the cookie of the grace period that it takes.
///
/// Dropping it defers all of the batch.
///
/// # Invariants
///
/// `cookie` was made after the last object was retired.
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
        // INVARIANT: By the type invariants.
        Ok(ReclaimedBatch(self.batch))
    }
}

/// The pointers of a batch whose grace period is over: an iterator.
///
/// Those that are not taken are dropped with it, in the caller's context.
///
/// # Invariants
///
/// A grace period of `D` has gone by since each of them was retired.
pub struct ReclaimedBatch<P: UniquePointer<D>, D: Domain = Global>(Batch<P, D>);

impl<P: UniquePointer<D>, D: Domain> ReclaimedBatch<P, D> {
    /// # Safety
    ///
    /// A grace period of `D` has elapsed since the batch was retired.
    pub(super) unsafe fn new(batch: Batch<P, D>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(batch)
    }
}

impl<P: UniquePointer<D>, D: Domain> Iterator for ReclaimedBatch<P, D> {
    type Item = P;

    fn next(&mut self) -> Option<P> {
        // SAFETY: By the type invariants.
        self.0.pop().map(|retired| unsafe { retired.reclaim() })
    }
}

impl<P: UniquePointer<D>, D: Domain> Drop for ReclaimedBatch<P, D> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
