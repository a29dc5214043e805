// SPDX-License-Identifier: GPL-2.0

//! Module unload: no destructor and no callback of a module is called after its text was freed.
//!
//! The kernel calls a notifier after the module's exit function. If something of the module is left,
//! a work item waits for it and revokes the rest; it holds the module's kobject, for which
//! `free_module()` waits without a lock. The notifier itself does not wait, because its chain has a
//! lock that every load and unload of a module acquires; it does only if there is no memory for the work
//! item, or no kobject of the module (`CONFIG_SYSFS=n`).
//!
//! What is called later can defer more: a destructor drops an object of [`rcu`](crate::rcu), whose
//! destructor drops the last [`ArcGuard`](super::ArcGuard) of another object, and so on. So destructors
//! that the reaper calls are in the same account as those of `rcu`, and the work item is in it, too,
//! while it revokes callbacks: the module is freed when the account is empty. Callbacks are not
//! counted, as references may be leaked. They are revoked until there is none at a moment when nothing
//! else of the module is in flight.

#[cfg(CONFIG_64BIT)]
use super::callbacks;
use super::reaper;
use crate::{
    bindings as helpers,
    rcu::posting::Posting, //
};
use core::{
    ffi::c_void,
    ptr, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Returns the posting of a module of which something may be left, for [`release`]; null if nothing is.
///
/// # Safety
///
/// Called for a module whose exit function has returned, and which stays during the call, before the
/// notifier that removes its account.
unsafe extern "C" fn going(module: *mut bindings::module) -> *mut c_void {
    // SAFETY: The account is not removed before the notifier that does so is called.
    match unsafe { Posting::of_module(module, has_callbacks(module)) } {
        Some(posting) => posting.into_raw(),
        // Nothing was ever counted, and there is no callback that could change that.
        None => ptr::null_mut(),
    }
}

/// Waits for the destructors of a module and revokes its callbacks.
///
/// # Safety
///
/// Called in process context, not by the dispatcher, for a module whose exit function has returned,
/// and which stays during the call; once with the `posting` that [`going`] returned.
unsafe extern "C" fn release(module: *mut bindings::module, posting: *mut c_void) {
    // SAFETY: `going` returned the pointer of a posting, which is passed to one call of this.
    let posting = unsafe { Posting::from_raw(posting) };
    loop {
        let posted = posting.posted_sum();
        // References that the module dropped are freed as usual.
        //
        // SAFETY: The posting is of the module, by the requirements of this function.
        while unsafe { must_wait(module, &posting) } {
            // SAFETY: This function requires process context and not to be called by the dispatcher,
            // so it may wait for that.
            unsafe {
                reaper::flush();
                bindings::schedule_timeout_uninterruptible(1);
            }
        }
        // References that it leaked, or passed to another module, lose their callback.
        //
        // SAFETY: This function requires process context, as `revoke()` does, and the account is not
        // removed before the posting is done.
        let revoked = unsafe { revoke(module) };
        // A callback that was in progress may have left something, which may have created a reference.
        // In this order: if nothing was posted meanwhile, nothing was in flight in the second check, no
        // destructor of a callback was called from then on, and there was no callback after it.
        if !revoked
            // SAFETY: The posting is of the module, by the requirements of this function.
            && !unsafe { must_wait(module, &posting) }
            // SAFETY: The account is not removed before the posting is done.
            && !unsafe { has_callbacks(module) }
            && posting.posted_sum() == posted
        {
            break;
        }
    }
    posting.done();
}

/// Whether there is a callback of `module`, or one is being dropped.
///
/// # Safety
///
/// The account of `module` is not removed during the call.
unsafe fn has_callbacks(module: *mut bindings::module) -> bool {
    #[cfg(CONFIG_64BIT)]
    // SAFETY: This function has the requirement of `are_left()`.
    return unsafe { callbacks::are_left(module) };
    #[cfg(not(CONFIG_64BIT))]
    {
        let _ = module;
        false
    }
}

/// # Safety
///
/// Process context. The account of `module` is not removed during the call.
unsafe fn revoke(module: *mut bindings::module) -> bool {
    #[cfg(CONFIG_64BIT)]
    // SAFETY: This function has the requirements of `callbacks::revoke()`.
    return unsafe { callbacks::revoke(module) };
    #[cfg(not(CONFIG_64BIT))]
    {
        let _ = module;
        false
    }
}

/// Whether something of `module` is in flight, or a callback will be dropped.
///
/// # Safety
///
/// `posting` is of `module`.
unsafe fn must_wait(module: *mut bindings::module, posting: &Posting) -> bool {
    // First: the callbacks are checked once, when nothing can drop their references but the
    // destructor of another one.
    if !posting.is_alone() {
        return true;
    }
    #[cfg(CONFIG_64BIT)]
    // SAFETY: The account is not removed before the posting is done.
    return unsafe { callbacks::will_be_dropped(module) };
    #[cfg(not(CONFIG_64BIT))]
    {
        let _ = module;
        false
    }
}

/// Returns the number of callbacks that are read for the unloading of `module`, or of this one, in
/// the notifier and in each check whether to wait.
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
#[doc(hidden)]
pub fn callbacks_visited_for_test(module: Option<&ThisModule>) -> usize {
    let before = callbacks::visits();
    let module = module.map_or_else(crate::rcu::posting::this_module, ThisModule::as_ptr);
    // SAFETY: The module stays as long as it is borrowed, and so does its account.
    unsafe {
        has_callbacks(module);
        callbacks::will_be_dropped(module);
    }
    callbacks::visits() - before
}

/// The module notifier is registered as long as this exists.
///
/// It uses the accounts of modules that do not use this one, which `rcu::Runtime` frees: this is
/// dropped first.
pub(crate) struct Notifier(());

impl Notifier {
    /// Registers the module notifier.
    ///
    /// # Safety
    ///
    /// Called once, before anybody creates a reference.
    pub(crate) unsafe fn new() -> Result<Self> {
        #[cfg(CONFIG_64BIT)]
        // SAFETY: This function is called once, before anybody creates a reference.
        unsafe {
            callbacks::init()
        };
        // SAFETY: Both functions are this module's, and `drop()` unregisters them before it is
        // unloaded.
        to_result(unsafe {
            helpers::quiesce_helper_rundown_on_module_going(Some(going), Some(release))
        })?;
        Ok(Self(()))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // SAFETY: `new()` created `self` only after it had registered the notifier, which is
        // unregistered here once.
        unsafe { helpers::quiesce_helper_rundown_off_module_going() };
    }
}
