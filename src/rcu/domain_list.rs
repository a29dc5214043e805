// SPDX-License-Identifier: GPL-2.0

//! The list of domains that are ready.

use super::{
    account::Account,
    client,
    domain_state::{
        forget_early,
        DomainState,
        GLOBAL, //
    },
    waiters, //
};
use crate::bindings as helpers;
use core::{
    panic::Location,
    ptr::{
        null,
        null_mut, //
    },
};
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey, //
};

/// The first domain; the others are linked by `next`.
struct List(*const DomainState);

// SAFETY: The domains are static, and what is in them may be used by all.
unsafe impl Send for List {}

kernel::sync::global_lock! {
    // SAFETY: `create()` initialises the mutex once, before a domain is added.
    unsafe(uninit) static DOMAINS: Mutex<List> = List(null());
}

kernel::sync::global_lock! {
    // SAFETY: `create()` initialises the mutex once, before a domain is prepared.
    unsafe(uninit) static PREPARING: Mutex<()> = ();
}

kernel::sync::global_lock! {
    /// Held while wakers are dropped, so that the domains stay on the list.
    // SAFETY: `create()` initialises the mutex once, before a domain is prepared.
    unsafe(uninit) static FORGETTING: Mutex<()> = ();
}

/// The domains on the list from `first` on.
///
/// # Safety
///
/// `first` is null or a domain on the list, whose mutex is held while the iterator is used.
unsafe fn from(first: *const DomainState) -> impl Iterator<Item = &'static DomainState> {
    // SAFETY: The domains are static, and those on the list are there until they are removed, which
    // acquires the list's mutex.
    let first = unsafe { first.as_ref() };
    // SAFETY: The domains are static, and `next` is only accessed with the list's mutex held, as this
    // function requires.
    core::iter::successors(first, |domain| unsafe { (*domain.next.get()).as_ref() })
}

/// Makes the list, with the kernel's RCU in it.
///
/// # Safety
///
/// Called once, before everything else here.
pub(super) unsafe fn create() -> Result {
    // SAFETY: This function is called once, before everything else here.
    unsafe {
        DOMAINS.init();
        PREPARING.init();
        FORGETTING.init();
    }
    prepare(&GLOBAL, kernel::static_lock_class!())
}

/// Takes the kernel's RCU down; it has to be the last on the list.
///
/// # Safety
///
/// Nobody uses this module any more, and everything has been drained.
pub(super) unsafe fn destroy() {
    // SAFETY: `create` has made the kernel's RCU ready. Nobody uses this module any more and
    // everything has been drained, as this function requires.
    unsafe { GLOBAL.teardown() };
}

/// Makes a domain ready and puts it on the list, if it is not there.
pub(super) fn prepare(domain: &'static DomainState, key: Pin<&'static LockClassKey>) -> Result {
    let _preparing = PREPARING.lock();
    if domain.is_ready() {
        return Ok(());
    }
    // Allocates, so not with the lock of the list, which `barrier()` acquires also for those who free
    // memory.
    // SAFETY: It is not ready, and all calls are under the lock.
    unsafe { domain.prepare(key)? };
    let mut list = DOMAINS.lock();
    // Whoever finds it ready, and has the lock then, finds it on the list.
    // SAFETY: `prepare` has succeeded, and the domain was not ready.
    unsafe { domain.set_ready() };
    // SAFETY: `next` is only accessed with the list's mutex held, which `list` is the guard of.
    unsafe { *domain.next.get() = list.0 };
    list.0 = domain;
    // SAFETY: `list` is the guard of the list's lock, and the domain is on the list.
    unsafe { domain.leave_early() };
    Ok(())
}

/// The first domain after `domain`, or of all, that a module may have deferred something in.
///
/// It is ready, and stays so as long as the module is there: it depends on that of the domain.
fn next_used(
    domain: Option<&'static DomainState>,
    account: &Account,
) -> Option<&'static DomainState> {
    let list = DOMAINS.lock();
    // SAFETY: `next` is only accessed with the list's mutex held, which `list` is the guard of.
    let at = domain.map_or(list.0, |domain| unsafe { *domain.next.get() });
    // SAFETY: `list` is the guard of the list's mutex.
    unsafe { from(at) }.find(|domain| domain.sleepable() && domain.was_used_by(account))
}

/// Waits for what a module has deferred before, in all domains.
///
/// # Safety
///
/// `module` is what `this_module` returned in code that runs during the call.
#[inline(never)]
pub(super) unsafe fn barrier(module: *mut bindings::module, caller: &Location<'_>) -> Result {
    GLOBAL.may_barrier(caller)?;
    // SAFETY: Code of `module` runs, as this function requires, and a client is removed after the
    // code of its module has ended: see `going` in `unload.rs`.
    let Some(client) = (unsafe { client::find(module) }) else {
        return Ok(());
    };
    let account = client.account();
    let mut at = None;
    while let Some(domain) = next_used(at, account) {
        domain.may_barrier(caller)?;
        at = Some(domain);
    }
    let domains =
        || core::iter::successors(next_used(None, account), |at| next_used(Some(*at), account));
    // As in `DomainState::flush`: tasks that are about to post, and callbacks that are posted again.
    if GLOBAL.was_counted() || domains().any(DomainState::was_counted) {
        // SAFETY: `may_barrier` found process context, outside of sections of the kernel's RCU.
        unsafe { bindings::synchronize_rcu() };
    }
    let reposts = || domains().fold(GLOBAL.reposts(), |n, at| n.wrapping_add(at.reposts()));
    let before = reposts();
    barrier_once(account, caller)?;
    if reposts() != before {
        barrier_once(account, caller)?;
    }
    Ok(())
}

/// Waits for the callbacks that a module has posted before, in each of its domains, and then for what
/// they have given to workers. A callback of one domain may give something to the worker of another
/// one, also of one that the module has not used before.
fn barrier_once(account: &Account, caller: &Location<'_>) -> Result {
    GLOBAL.may_barrier(caller)?;
    // SAFETY: `may_barrier()` returned success in this context, so the wait is allowed.
    unsafe { GLOBAL.wait_callbacks(caller) };
    for workers in [false, true] {
        let mut at = None;
        while let Some(domain) = next_used(at, account) {
            // Another task of the module, or a callback, may use a domain for the first time meanwhile.
            domain.may_barrier(caller)?;
            // SAFETY: `may_barrier()` returned success in this context, so the wait is allowed.
            unsafe {
                if workers {
                    domain.wait_worker(caller);
                } else {
                    domain.wait_callbacks(caller);
                }
            }
            at = Some(domain);
        }
    }
    // SAFETY: `may_barrier()` returned success in this context, so the wait is allowed.
    unsafe { GLOBAL.wait_clients(account, caller) };
    Ok(())
}

/// Removes a module that is unloaded from the users of all domains, those included that are not ready.
pub(super) fn forget_user(account: &Account) {
    let list = DOMAINS.lock();
    // SAFETY: `list` is the guard of the list's mutex.
    unsafe { from(list.0) }.for_each(|domain| domain.forget_user(account));
    // SAFETY: `list` is the guard that excludes other calls. The code of the module has ended, and so
    // has that of the modules that depend on it.
    unsafe { forget_early(account, |domain| is_in(domain, account.module())) };
}

/// Returns the number of domains that are ready.
#[cfg(CONFIG_KUNIT)]
pub(super) fn count() -> usize {
    let list = DOMAINS.lock();
    // SAFETY: `list` is the guard of the list's mutex.
    unsafe { from(list.0) }.count()
}

/// Takes off the futures that are in a module that is unloaded, and those with wakers of the module, in
/// all domains, and waits for wakers that are being called. Process context.
///
/// Returns false if such a future began to wait meanwhile, or if `may_take` does, which is called with a
/// lock held for each such future: a function of the module may wait for the future then. True means that
/// neither was left at a moment of the call, if only wakers could make more of them.
///
/// Each future that waits is visited. What the wakers own is dropped with them, so that functions of the
/// module may be in flight when this returns.
pub(super) fn forget_wakers(module: *mut bindings::module, may_take: impl Fn() -> bool) -> bool {
    if !waiters::are_used() {
        return true;
    }
    // Wakers are dropped without the list's mutex, which others acquire that free memory.
    let _forgetting = FORGETTING.lock();
    waiters::watch(module);
    let taken = forget_in_all(module, &may_take);
    waiters::synchronize();
    // A waker that was called may have had another future wait with it, in a list that had been
    // searched.
    let seen = waiters::were_seen();
    waiters::watch(null_mut());
    taken && !seen
}

/// The caller holds `FORGETTING`.
fn forget_in_all(module: *mut bindings::module, may_take: &impl Fn() -> bool) -> bool {
    let mut at = DOMAINS.lock().0;
    // SAFETY: The domains are static, and those on the list are there until they are removed, which
    // acquires the mutex that the caller holds.
    while let Some(domain) = unsafe { at.as_ref() } {
        if !domain.forget_wakers(module, may_take) {
            return false;
        }
        let _list = DOMAINS.lock();
        // SAFETY: `next` is only accessed with the list's mutex held, which `_list` is the guard of.
        at = unsafe { *domain.next.get() };
    }
    true
}

/// Returns a domain that is ready and in `module`.
fn first_in(module: *mut bindings::module) -> Option<&'static DomainState> {
    let list = DOMAINS.lock();
    // SAFETY: `list` is the guard of the list's mutex.
    unsafe { from(list.0) }.find(|domain| is_in(domain, module))
}

/// Returns whether a domain that is ready is in `module`.
pub(super) fn has_domains_of(module: *mut bindings::module) -> bool {
    first_in(module).is_some()
}

fn is_in(domain: &DomainState, module: *mut bindings::module) -> bool {
    // SAFETY: Reads the module's address ranges, which are there until it is freed.
    unsafe { helpers::quiesce_helper_within_module(core::ptr::from_ref(domain).cast(), module) }
}

/// Tears down the domains that are in `module`. Process context.
///
/// # Safety
///
/// Nothing that was deferred in those domains is pending, and nobody uses them any more.
pub(super) unsafe fn remove(module: *mut bindings::module) {
    while let Some(domain) = first_in(module) {
        // SAFETY: Domains on the list are ready. Nothing that was deferred in this one is pending and
        // nobody uses it any more, as this function requires.
        unsafe {
            // On the list until no waker is left, which `forget_wakers` would have to find.
            domain.drain();
            unlink(domain);
            domain.teardown();
        }
    }
}

/// Takes a domain off the list.
fn unlink(domain: &'static DomainState) {
    let _forgetting = FORGETTING.lock();
    let mut list = DOMAINS.lock();
    let mut link: *mut *const DomainState = &mut list.0;
    // SAFETY: `link` is the list's beginning or a field that belongs to the list's lock, and the
    // domains are static.
    while let Some(at) = unsafe { (*link).as_ref() } {
        if core::ptr::eq(at, domain) {
            // SAFETY: Both are `next` fields or the head, which are only accessed with the list's
            // mutex held.
            unsafe { *link = *domain.next.get() };
            return;
        }
        link = at.next.get();
    }
}
