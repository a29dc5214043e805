// SPDX-License-Identifier: GPL-2.0

//! The list of domains that are ready.

use super::{
    domain_state::DomainState,
    Domain,
    Global, //
};
use crate::bindings as helpers;
use core::ptr::null;
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey, //
};

/// The first domain; the others hang on `next`.
struct List(*const DomainState);

// SAFETY: The domains are static, and what is in them may be used by all.
unsafe impl Send for List {}

kernel::sync::global_lock! {
    // SAFETY: `create` initialises it.
    unsafe(uninit) static DOMAINS: Mutex<List> = List(null());
}

/// Makes the list, with the kernel's RCU in it.
///
/// # Safety
///
/// Called once, before everything else here.
pub(super) unsafe fn create() -> Result {
    // SAFETY: Called once.
    unsafe { DOMAINS.init() };
    prepare(Global::state(), kernel::static_lock_class!())
}

/// Takes the kernel's RCU down; it has to be the last on the list.
///
/// # Safety
///
/// Nobody uses this module any more, and everything has been drained.
pub(super) unsafe fn destroy() {
    // SAFETY: By the safety requirements.
    unsafe { Global::state().teardown() };
}

/// Makes a domain ready and puts it on the list, if it is not there.
pub(super) fn prepare(domain: &'static DomainState, key: Pin<&'static LockClassKey>) -> Result {
    let mut list = DOMAINS.lock();
    if domain.is_ready() {
        return Ok(());
    }
    // SAFETY: It is not ready, and all calls are under the lock.
    unsafe { domain.prepare(key)? };
    // SAFETY: The field belongs to the list's lock.
    unsafe { *domain.next.get() = list.0 };
    list.0 = domain;
    Ok(())
}

/// Calls `f` for each domain, without the lock, so that `f` may wait for those who take it.
///
/// Domains go in [`remove`] alone; the caller sees to it that there is none meanwhile.
pub(super) fn for_each(mut f: impl FnMut(&'static DomainState)) {
    let mut at = DOMAINS.lock().0;
    // SAFETY: The domains are static, and those on the list are there until `remove`.
    while let Some(domain) = unsafe { at.as_ref() } {
        f(domain);
        let _lock = DOMAINS.lock();
        // SAFETY: The field belongs to the list's lock.
        at = unsafe { *domain.next.get() };
    }
}

/// Takes down the domains that are in `module`.
///
/// # Safety
///
/// Nobody uses those domains any more, they were drained, and there is no other call of this or of
/// [`for_each`].
pub(super) unsafe fn remove(module: *mut bindings::module) {
    let mut list = DOMAINS.lock();
    let mut link: *mut *const DomainState = &mut list.0;
    // SAFETY: `link` is the list's beginning or a field that belongs to the list's lock, and the
    // domains are static.
    while let Some(domain) = unsafe { (*link).as_ref() } {
        // SAFETY: Looks at the module's address ranges, which are there until it is gone.
        if unsafe {
            helpers::quiesce_helper_within_module(core::ptr::from_ref(domain).cast(), module)
        } {
            // SAFETY: As above.
            unsafe { *link = *domain.next.get() };
            // SAFETY: It was on the list, so it is ready; for the rest see the safety requirements.
            unsafe { domain.teardown() };
        } else {
            link = domain.next.get();
        }
    }
}
