// SPDX-License-Identifier: GPL-2.0

//! [`Cookie`]: polling whether a grace period has elapsed.

use super::{
    Domain,
    Global, //
};
use core::{
    marker::PhantomData,
    panic::Location, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// The cookie of a grace period of the domain `D` that began after the cookie was created.
///
/// [`Domain::cookie`], [`Domain::start`] and [`Domain::start_expedited`] create one. For [`Global`]
/// these are the `_full` forms of C's polled grace periods, which count normal and expedited ones
/// separately and so miss none.
///
/// A grace period that has elapsed stays so, until the kernel's counter has wrapped: 64 bits of
/// grace periods, on 32-bit kernels 30 bits. A cookie that is kept for so long on such a kernel may
/// report for two further grace periods that its own has not elapsed. It never reports one as
/// elapsed too early.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain};
///
/// # fn f() -> Result {
/// let cookie = rcu::global().start();
/// // Do something else for a while.
/// cookie.wait()?;
/// assert!(cookie.is_over());
/// # Ok(()) }
/// ```
pub struct Cookie<D: Domain = Global> {
    seq: bindings::rcu_gp_seq,
    _domain: PhantomData<fn(D) -> D>,
}

impl<D: Domain> Clone for Cookie<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Domain> Copy for Cookie<D> {}

impl<D: Domain> Cookie<D> {
    pub(super) fn new(seq: bindings::rcu_gp_seq) -> Self {
        Self {
            seq,
            _domain: PhantomData,
        }
    }

    /// Returns whether the grace period has elapsed.
    ///
    /// # Context
    ///
    /// Any, NMI too.
    ///
    /// # Ordering
    ///
    /// If it is over, as after [`Domain::synchronize`]; none if not.
    pub fn is_over(&self) -> bool {
        D::state().is_over(&self.seq)
    }

    /// Waits until the grace period has elapsed.
    ///
    /// # Errors
    ///
    /// As [`Domain::synchronize`], unless the grace period is over.
    ///
    /// # Context
    ///
    /// As [`Domain::synchronize`].
    #[track_caller]
    pub fn wait(&self) -> Result {
        self.wait_for(false, Location::caller())
    }

    /// As [`wait`](Self::wait), with an expedited grace period.
    #[track_caller]
    pub fn wait_expedited(&self) -> Result {
        self.wait_for(true, Location::caller())
    }

    fn wait_for(&self, expedited: bool, caller: &Location<'_>) -> Result {
        if self.is_over() {
            return Ok(());
        }
        D::state().synchronize(expedited, caller)
    }
}
