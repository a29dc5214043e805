// SPDX-License-Identifier: GPL-2.0

//! Functions that other parts of this crate call later, in the accounts of the modules they are in.
//!
//! A destructor that [`rundown`](crate::rundown) leaves to a work item may defer an object here, and a
//! destructor that is called here may leave one to that work item. So both use the same accounts: see
//! `unload.rs`.

use super::{
    account::{
        self,
        Account, //
    },
    domain_state,
    waiters, //
};
use core::ffi::c_void;
use kernel::{
    bindings,
    sync::rcu, //
};

/// Returns whether the current task is in a function of a waker; see [`waiters::is_called`].
pub(crate) fn is_in_waker() -> bool {
    waiters::is_called()
}

/// Returns whether the current task is in a section of `Global` that RCU does not know of; see
/// [`domain_state::in_global_section`].
pub(crate) fn is_in_global_section() -> bool {
    domain_state::in_global_section()
}

/// Returns the module that the calling code is in; see [`account::this_module`].
#[inline(always)]
pub(crate) fn this_module() -> *mut bindings::module {
    account::this_module()
}

/// The number of slots, see [`slot_of_address`].
#[cfg(CONFIG_64BIT)]
pub(crate) const SLOTS: usize = account::SLOTS;

/// Returns the slot of a module's account.
///
/// # Safety
///
/// The account of `module` is not removed during the call.
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
pub(crate) unsafe fn slot_of_module(module: *mut bindings::module) -> Option<usize> {
    // SAFETY: The account is not removed during the call, as this function requires.
    account::find_account(module).map(|account| unsafe { (*account).slot() })
}

/// Returns the slot of the account of the module that an address is in, a number that no other module has
/// until the account is removed; that of this module, if it is in none that has an account.
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

    /// Counts the function as done: no code of the module is called for it any more.
    pub(crate) fn done(self) {
        // The account may be freed when the function is done, and not before this section ends.
        let section = rcu::read_lock();
        self.account().done();
        drop(section);
    }
}
