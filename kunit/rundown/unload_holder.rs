// SPDX-License-Identifier: GPL-2.0

//! A module that holds guards for another one, and drops them when it is unloaded. The other one,
//! which made the references, is unloaded by then.

use core::{
    ffi::c_void,
    ptr, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
};

#[path = "unload_types.rs"]
#[allow(dead_code, reason = "the other module makes the callback")]
mod types;

use types::Held;

module! {
    type: Holder,
    name: "rundown_unload_holder",
    authors: ["The quiesce developers"],
    description: "Holds guards for a module that is unloaded",
    license: "GPL",
}

static HELD: Atomic<*mut c_void> = Atomic::new(ptr::null_mut());

/// Keeps what the other module gave.
///
/// # Safety
///
/// `held` is a box of [`Held`].
#[no_mangle]
unsafe extern "C" fn quiesce_kunit_unload_keep(held: *mut c_void) {
    HELD.xchg(held, Full);
}

struct Holder;

impl kernel::Module for Holder {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let held: *mut Held = HELD.xchg(ptr::null_mut(), Full).cast();
        if held.is_null() {
            pr_err!("nothing was held\n");
            return;
        }
        // SAFETY: The pointer was given to `quiesce_kunit_unload_keep`, as a box of this type.
        let held = unsafe { KBox::from_raw(held) };
        // The releases are the last ones of rundowns that have begun.
        drop(held);
        pr_info!("what was held is released\n");
    }
}
