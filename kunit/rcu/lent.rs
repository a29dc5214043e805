// SPDX-License-Identifier: GPL-2.0

//! The domain that `quiesce_rcu_holder lend=1` lends to other modules by way of `quiesce_gate`.

use core::{
    ffi::c_void,
    pin::Pin, //
};
use kernel::sync::LockClassKey;
use quiesce::rcu::{
    DomainState,
    Tag, //
};

extern "C" {
    fn quiesce_gate_lent(which: u32) -> *const c_void;
}

/// The domain of the module that lends it.
pub(crate) enum Lent {}

// SAFETY: `state` returns that of a domain of the same flavor in the lender; the test keeps the lender
// loaded. An enum without parameters is a subtype and a supertype of itself only.
unsafe impl Tag for Lent {
    const UP_DOWN: bool = false;

    fn state() -> &'static DomainState {
        // SAFETY: The test loads this module only while another one lends its domain.
        unsafe { &*quiesce_gate_lent(0).cast() }
    }

    // Not used: the lender has initialised the domain.
    fn class() -> Pin<&'static LockClassKey> {
        kernel::static_lock_class!()
    }
}
