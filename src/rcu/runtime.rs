// SPDX-License-Identifier: GPL-2.0

//! What there is as long as the module is loaded.

use super::{
    domain_list,
    unload,
    worker, //
};
use kernel::prelude::*;

/// The workqueue, the list of domains and the module notifier.
///
/// # Invariants
///
/// All three are there, and there is one value of this type.
pub(crate) struct Runtime(());

impl Runtime {
    /// Makes the runtime; called once, by the module's init.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Nobody uses the module before its init is done.
        unsafe { worker::create()? };
        // SAFETY: As above, and called once.
        if let Err(e) = unsafe { domain_list::create() } {
            // SAFETY: It was made above, and nothing was pushed.
            unsafe { worker::destroy() };
            return Err(e);
        }
        // SAFETY: As above, and the rest is there.
        if let Err(e) = unsafe { unload::create() } {
            // SAFETY: Both were made above, and nobody used them.
            unsafe {
                domain_list::destroy();
                worker::destroy();
            }
            return Err(e);
        }
        // INVARIANT: All three are there.
        Ok(Self(()))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it was made once.
        unsafe { unload::destroy() };
        // No user of the crate is left, and their domains went with them. What the module itself
        // has deferred may be pending, and defer in turn.
        unload::drain();
        unload::drain();
        // SAFETY: Nobody uses them any more.
        unsafe {
            worker::destroy();
            domain_list::destroy();
        }
    }
}
