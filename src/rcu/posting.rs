// SPDX-License-Identifier: GPL-2.0

//! Functions that other parts of this crate call later, in the accounts of the modules they are in.
//!
//! A destructor that [`rundown`](crate::rundown) leaves to a work item may defer an object here, and a
//! destructor that is called here may leave one to that work item. So both are in one account, and
//! what a module waits for when it is unloaded cannot hide in one part while the other is read.

use super::account::{
    self,
    Account, //
};
use core::ffi::c_void;
use kernel::{
    bindings,
    sync::rcu, //
};

/// Returns the module that the calling code is in; see [`account::this_module`].
#[inline(always)]
pub(crate) fn this_module() -> *mut bindings::module {
    account::this_module()
}

/// The number of slots, see [`slot_of_module`].
#[cfg(CONFIG_64BIT)]
pub(crate) const SLOTS: usize = account::SLOTS;

/// Returns the slot of a module's account, a number that no other module has until the account is
/// removed.
///
/// # Safety
///
/// The account of `module` is not removed during the call.
#[cfg(CONFIG_64BIT)]
pub(crate) unsafe fn slot_of_module(module: *mut bindings::module) -> Option<usize> {
    // SAFETY: The account is not removed during the call, as this function requires.
    account::find_account(module).map(|account| unsafe { (*account).slot() })
}

/// As [`slot_of_module`], for the module that an address is in; that of this module, if it is in none
/// that has an account.
///
/// # Safety
///
/// The module of `address` is not freed during the call.
#[cfg(CONFIG_64BIT)]
pub(crate) unsafe fn slot_of_address(address: *const c_void) -> usize {
    // SAFETY: The account stays as long as its module, which is not freed during the call; this
    // module's own stays as long as its code runs.
    unsafe {
        match account::of_address(address) {
            Some(account) => (*account).slot(),
            None => account::of_caller(this_module()).slot(),
        }
    }
}

/// A module's account in which a function is counted.
///
/// # Invariants
///
/// A function is counted in the account, and was not counted as done.
pub(crate) struct Posting(*const Account);

impl Posting {
    /// Counts a function of the module that `func` is in. Any context.
    ///
    /// # Safety
    ///
    /// `module` is what [`this_module`] returned in code that runs, and `func` is a function of that
    /// module or of one that it depends on.
    pub(crate) unsafe fn of_function(module: *mut bindings::module, func: *const c_void) -> Self {
        // SAFETY: `module` is what `this_module()` returned in code that runs, and `func` is in that
        // module or in one that it depends on, as this function requires.
        let account = unsafe { account::of_function(module, func) };
        account.counts().posted();
        // INVARIANT: Counted in the line above.
        Self(account)
    }

    /// Counts the caller as a function of a module that is unloaded, if anything of that module was
    /// ever counted or if `always`.
    ///
    /// # Safety
    ///
    /// The account of `module` is not removed during the call.
    pub(crate) unsafe fn of_module(module: *mut bindings::module, always: bool) -> Option<Self> {
        let account = account::find_account(module)?;
        // SAFETY: The account is not removed during the call, as this function requires.
        let account = unsafe { &*account };
        if !always && account.is_unused() {
            return None;
        }
        account.counts().posted();
        // INVARIANT: Counted in the line above.
        Some(Self(account))
    }

    /// Converts the posting to a pointer.
    pub(crate) fn into_raw(self) -> *mut c_void {
        self.0.cast_mut().cast()
    }

    /// Restores a posting from a pointer.
    ///
    /// # Safety
    ///
    /// `raw` comes from a call of [`into_raw`](Self::into_raw), for which this is the only call.
    pub(crate) unsafe fn from_raw(raw: *mut c_void) -> Self {
        // INVARIANT: As of the value that was converted, which is gone.
        Self(raw.cast_const().cast())
    }

    fn account(&self) -> &Account {
        // SAFETY: By the type invariants a function is counted that is not done, so the account is
        // not removed.
        unsafe { &*self.0 }
    }

    /// Returns whether nothing but this function is in flight in the account. True is exact.
    pub(crate) fn is_alone(&self) -> bool {
        self.account().counts().in_flight() <= 1
    }

    /// Returns the number of functions that were ever counted in the account.
    pub(crate) fn posted_sum(&self) -> usize {
        self.account().counts().posted_sum()
    }

    /// Counts the function as done: no code of the module is called for it any more.
    pub(crate) fn done(self) {
        // The account may be freed when the function is done, and not before this section ends.
        let section = rcu::read_lock();
        self.account().done();
        drop(section);
    }
}
