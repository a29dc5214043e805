// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a module that is unloaded.
//!
//! They are not counted in the module's account, as their references may be leaked. So the unload of a
//! module asks here whether there is one, see `unload.rs` of [`rcu`](crate::rcu). Those of references that
//! the module has dropped are called and dropped as usual. References that it leaked, or passed to another
//! module, lose theirs.

#[cfg(CONFIG_64BIT)]
use super::{
    callbacks,
    reaper, //
};
#[cfg(CONFIG_64BIT)]
use kernel::bindings;
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
use kernel::prelude::*;

/// The callbacks of the module whose account has this slot.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    #[cfg(CONFIG_64BIT)]
    slot: usize,
}

#[cfg(CONFIG_64BIT)]
impl Callbacks {
    pub(crate) fn of(slot: usize) -> Self {
        Self { slot }
    }

    /// Returns whether there is one, or one is being dropped.
    pub(crate) fn are_left(self) -> bool {
        callbacks::are_left(self.slot)
    }

    /// Returns whether one is being dropped, or will be because its reference was. Any context.
    pub(crate) fn are_pending(self) -> bool {
        callbacks::are_pending(self.slot)
    }

    /// Returns a number that changes when one is created.
    pub(crate) fn created(self) -> usize {
        callbacks::created(self.slot)
    }

    /// Waits until none is pending at a moment.
    ///
    /// # Safety
    ///
    /// Process context, and not the dispatcher of the reaper.
    pub(crate) unsafe fn wait(self) {
        while self.are_pending() {
            // SAFETY: This function requires process context and not to be called by the dispatcher,
            // so it may wait for that.
            unsafe {
                reaper::flush();
                bindings::schedule_timeout_uninterruptible(1);
            }
        }
    }

    /// Revokes those of references that were not dropped, as long as `may_revoke` returns true, which is
    /// called with a lock held.
    ///
    /// # Safety
    ///
    /// Process context.
    pub(crate) unsafe fn revoke(self, may_revoke: impl Fn() -> bool) {
        // SAFETY: This function has the requirement of `callbacks::revoke()`.
        unsafe { callbacks::revoke(self.slot, may_revoke) };
    }
}

/// Per-CPU references need 64 bits, and no others have callbacks.
#[cfg(not(CONFIG_64BIT))]
impl Callbacks {
    pub(crate) fn of(_slot: usize) -> Self {
        Self {}
    }

    pub(crate) fn are_left(self) -> bool {
        false
    }

    pub(crate) fn are_pending(self) -> bool {
        false
    }

    pub(crate) fn created(self) -> usize {
        0
    }

    pub(crate) unsafe fn wait(self) {}

    pub(crate) unsafe fn revoke(self, _may_revoke: impl Fn() -> bool) {}
}

/// Returns the number of callbacks in the list of `module`, or of this one.
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
#[doc(hidden)]
pub fn callbacks_for_test(module: Option<&ThisModule>) -> usize {
    use crate::rcu::posting;
    let module = module.map_or_else(posting::this_module, ThisModule::as_ptr);
    // SAFETY: The module stays as long as it is borrowed, and so does its account.
    unsafe { posting::slot_of_module(module) }.map_or(0, callbacks::count)
}
