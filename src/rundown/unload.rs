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

    /// Returns whether one is being dropped. Any context but NMI.
    pub(crate) fn are_dropped(self) -> bool {
        callbacks::are_dropped(self.slot)
    }

    /// Returns a number that changes when one is created.
    pub(crate) fn created(self) -> usize {
        callbacks::created(self.slot)
    }

    /// Waits for those that will be dropped, because their references were, and then, if `may_revoke`
    /// returns true, revokes the others.
    ///
    /// # Safety
    ///
    /// Process context, and not the dispatcher of the reaper. The code of the module has returned, but for
    /// what is called later, and the module is not freed.
    pub(crate) unsafe fn end(self, may_revoke: impl FnOnce() -> bool) {
        while callbacks::will_be_dropped(self.slot) {
            // SAFETY: This function requires process context and not to be called by the dispatcher,
            // so it may wait for that.
            unsafe {
                reaper::flush();
                bindings::schedule_timeout_uninterruptible(1);
            }
        }
        if may_revoke() {
            // SAFETY: This function requires process context.
            unsafe { callbacks::revoke(self.slot) };
        }
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

    pub(crate) fn are_dropped(self) -> bool {
        false
    }

    pub(crate) fn created(self) -> usize {
        0
    }

    pub(crate) unsafe fn end(self, _may_revoke: impl FnOnce() -> bool) {}
}

/// Returns the number of callbacks that are read for the unloading of `module`, or of this one, in
/// the notifier and in each check whether to wait.
#[cfg(all(CONFIG_KUNIT, CONFIG_64BIT))]
#[doc(hidden)]
pub fn callbacks_visited_for_test(module: Option<&ThisModule>) -> usize {
    use crate::rcu::posting;
    let before = callbacks::visits();
    let module = module.map_or_else(posting::this_module, ThisModule::as_ptr);
    // SAFETY: The module stays as long as it is borrowed, and so does its account.
    if let Some(slot) = unsafe { posting::slot_of_module(module) } {
        callbacks::are_left(slot);
        callbacks::will_be_dropped(slot);
    }
    callbacks::visits() - before
}
