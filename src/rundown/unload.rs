// SPDX-License-Identifier: GPL-2.0

//! Module unload: no destructor and no callback of a module is called after its text was freed.
//!
//! The kernel calls a notifier after the module's exit function. If something of the module is left,
//! a work item waits for it and revokes the rest; it holds the module's kobject, for which
//! `free_module()` waits without a lock. The notifier itself does not wait, because its chain has a
//! lock that every load and unload of a module acquires.

#[cfg(CONFIG_64BIT)]
use super::callbacks;
use super::reaper;
use crate::bindings as helpers;
use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Whether a module that is unloaded has destructors or callbacks left.
///
/// # Safety
///
/// Called for a module whose exit function has returned, and which stays during the call.
unsafe extern "C" fn has_left(module: *mut bindings::module) -> bool {
    #[cfg(CONFIG_64BIT)]
    if callbacks::are_left(module) {
        return true;
    }
    reaper::has_code_of(module)
}

/// Waits for the destructors of a module and revokes its callbacks.
///
/// # Safety
///
/// Called in process context, not by the dispatcher, for a module whose exit function has returned,
/// and which stays during the call.
unsafe extern "C" fn release(module: *mut bindings::module) {
    // References that the module dropped are freed as usual.
    while must_wait(module) {
        // SAFETY: This function requires process context and not to be called by the dispatcher, so
        // it may wait for that.
        unsafe {
            reaper::flush();
            bindings::schedule_timeout_uninterruptible(1);
        }
    }
    // References that it leaked, or passed to another module, lose their callback.
    #[cfg(CONFIG_64BIT)]
    // SAFETY: This function requires process context, as `callbacks::revoke()` does.
    unsafe {
        callbacks::revoke(module)
    };
}

fn must_wait(module: *mut bindings::module) -> bool {
    #[cfg(CONFIG_64BIT)]
    if callbacks::will_be_dropped(module) {
        return true;
    }
    reaper::has_code_of(module)
}

/// The module notifier is registered as long as this exists.
pub(super) struct Notifier(());

impl Notifier {
    /// Registers the module notifier.
    ///
    /// # Safety
    ///
    /// Called once, before anybody creates a reference.
    pub(super) unsafe fn new() -> Result<Self> {
        #[cfg(CONFIG_64BIT)]
        // SAFETY: This function is called once, before anybody creates a reference.
        unsafe {
            callbacks::init()
        };
        // SAFETY: Both functions are this module's, and `drop()` unregisters them before it is
        // unloaded.
        to_result(unsafe {
            helpers::quiesce_helper_rundown_on_module_going(Some(has_left), Some(release))
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
