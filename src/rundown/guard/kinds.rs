// SPDX-License-Identifier: GPL-2.0

//! What kinds of guards there are: how they point at the object, whether they move, how many
//! acquisitions they stand for.

use crate::rundown::{
    traits::{
        raw::RawRundown,
        HasRundown, //
    },
    RundownError, //
};
use core::ops::Deref;
use kernel::{
    sync::Arc,
    types::NotThreadSafe, //
};

mod sealed {
    pub trait Sealed {}
}

/// How a guard points at its object: borrowed, or owning.
///
/// # Safety
///
/// The object stays alive and in its place until the pointer and its clones are gone.
pub unsafe trait Pointer: Deref<Target: HasRundown> + Clone + sealed::Sealed {}

impl<O: HasRundown> sealed::Sealed for &O {}

// SAFETY: What is borrowed is neither moved nor dropped.
unsafe impl<O: HasRundown> Pointer for &O {}

impl<O: HasRundown> sealed::Sealed for Arc<O> {}

// SAFETY: An `Arc` keeps its object alive and does not move it.
unsafe impl<O: HasRundown> Pointer for Arc<O> {}

/// Whether a guard leaves its task.
pub trait Mobility: sealed::Sealed {
    /// It does not, and lockdep knows who holds it.
    const BOUND: bool;
    /// What makes it `Send`, or not.
    type Marker;
    /// The only value of it.
    const MARKER: Self::Marker;
}

/// The guard stays in its task, and lockdep sees a lock that is held.
pub struct Bound;

impl sealed::Sealed for Bound {}

impl Mobility for Bound {
    const BOUND: bool = true;
    type Marker = NotThreadSafe;
    const MARKER: Self::Marker = NotThreadSafe;
}

/// The guard may be sent elsewhere, and lockdep does not know who holds it.
pub struct Movable;

impl sealed::Sealed for Movable {}

impl Mobility for Movable {
    const BOUND: bool = false;
    type Marker = ();
    const MARKER: Self::Marker = ();
}

/// How many acquisitions a guard stands for.
pub trait Count: sealed::Sealed {
    /// Their number, which is not zero.
    fn get(&self) -> usize;

    #[doc(hidden)]
    fn acquire<R: RawRundown>(&self, from: &R) -> Result<(), RundownError>;

    /// # Safety
    ///
    /// The caller has the acquisitions, which are used up.
    #[doc(hidden)]
    unsafe fn release<R: RawRundown>(&self, to: &R);
}

/// One acquisition.
pub struct One(());

impl One {
    #[inline(always)]
    pub(in crate::rundown) const fn new() -> Self {
        Self(())
    }
}

impl sealed::Sealed for One {}

impl Count for One {
    #[inline(always)]
    fn get(&self) -> usize {
        1
    }

    #[inline(always)]
    fn acquire<R: RawRundown>(&self, from: &R) -> Result<(), RundownError> {
        from.acquire_one()
    }

    #[inline(always)]
    unsafe fn release<R: RawRundown>(&self, to: &R) {
        // SAFETY: By the requirements of this function.
        unsafe { to.release_one() }
    }
}

/// A number of acquisitions.
///
/// # Invariants
///
/// The number is not zero, and at most [`Many::MAX`].
pub struct Many(pub(super) usize);

impl Many {
    /// As many can be asked for at once.
    pub const MAX: usize = usize::MAX >> 3;

    pub(in crate::rundown) fn new(n: usize) -> Result<Self, RundownError> {
        match n {
            0 => Err(RundownError::ZeroCount),
            // INVARIANT: It was compared just now.
            1..=Self::MAX => Ok(Self(n)),
            _ => Err(RundownError::Overflow),
        }
    }
}

impl sealed::Sealed for Many {}

impl Count for Many {
    #[inline]
    fn get(&self) -> usize {
        self.0
    }

    #[inline]
    fn acquire<R: RawRundown>(&self, from: &R) -> Result<(), RundownError> {
        from.acquire_many(self.0)
    }

    #[inline]
    unsafe fn release<R: RawRundown>(&self, to: &R) {
        // SAFETY: By the requirements of this function.
        unsafe { to.release_many(self.0) }
    }
}
