// SPDX-License-Identifier: GPL-2.0

//! Module unload: no deferred function outlives the module that it is in.
//!
//! Deferred work runs code of the module that deferred it: destructors. Requiring
//! authors to call `rcu_barrier()` in their exit functions does not work: the call is forgotten,
//! and an error path of init has no exit function. So `quiesce.ko` waits by itself.
//!
//! # Accounting
//!
//! A function of a module that is deferred is counted in the module's [account](super::account), from
//! before the code that defers it has returned until the function has returned; so are destructors that
//! [`rundown`](crate::rundown) leaves to its reaper. When the module is unloaded, or its init has failed,
//! the kernel calls the `MODULE_STATE_GOING` notifiers after the last call into the module, and frees the
//! module later.
//!
//! From the notifier on, three kinds of code of the module run, and each may cause the others: functions
//! that are counted, wakers of futures, and callbacks of per-CPU references. Wakers are counted nowhere,
//! and callbacks only when they are about to be dropped. So [`release`] reads the numbers of functions that were posted and of callbacks that were
//! created, and then waits until no function is in flight, there is no callback, and there is no waker and
//! none is being called, in this order. If the two numbers have not changed then, only wakers of the
//! module can have run since there was no callback, and they were the last. Otherwise it begins again.
//! Usually the notifier finds that nothing of the module is left, and the module waits for nothing.
//!
//! Callbacks of the kernel's RCU are waited for with `rcu_barrier()`, which also ends their laziness:
//! they count, and wake nobody. All other functions that are counted wake the task that waits.
//!
//! Functions that other modules have posted are in the accounts of those modules and are not waited
//! for. Neither are readers of domains in which the module has nothing pending. A module that
//! passes objects with functions of its own (a `dyn Trait`) to another module, which defers them,
//! has to make the other module wait ([`Domain::barrier`]) before it can be unloaded, as for every
//! other use that the other module makes of the objects.
//!
//! # Waiting
//!
//! The notifier does not wait for grace periods of domains or for destructors, because its chain has a
//! lock that every load and unload of a module acquires. It takes a reference to the module's kobject
//! and queues a work item that waits. (Without kobjects, `CONFIG_SYSFS=n`, it does wait.)
//! `free_module()` waits for the last such reference, without a lock, before it frees anything
//! (`mod_kobject_put()` in `kernel/module/sysfs.c`), so only rmmod of this module is delayed.
//!
//! # Futures
//!
//! A waker can be in a module that does not use this one and has no account: an executor. And a future
//! can be in a module's own memory, which is freed with the module, without a call of its destructor. So
//! when any module is unloaded, the futures that are in it are taken off the lists of all domains, as
//! are those with wakers of the module, and the wakers are dropped; then wakers that are being called
//! are waited for, which do not sleep. If such a future began to wait meanwhile, that is repeated.
//! Where functions of the module are in flight, or callbacks are about to be dropped, which may wait for
//! one of these futures, that is done when they have returned. Otherwise the notifier does it, unless no
//! future has ever waited.
//!
//! # Domains
//!
//! Then the domains in the module are torn down: only code of the module and of modules that depend
//! on it could use them, and those have been unloaded. Grace periods that were started without a
//! callback are waited for at that point, when no further ones can be started.
//!
//! [`Domain::barrier`]: super::Domain::barrier

use super::{
    account::Account,
    client::{
        self,
        Client, //
    },
    domain_list,
    domain_state::GLOBAL,
    worker, //
};
use crate::{
    bindings as helpers,
    rundown::Callbacks, //
};
use core::{
    mem::offset_of,
    panic::Location, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// The workqueues, the list of domains, this module's client and the module notifier.
///
/// # Invariants
///
/// All of them are there, and there is one value of this type.
pub(crate) struct Runtime(());

impl Runtime {
    /// Creates the runtime; called once, by the module's init.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Nobody uses the module before its init has returned.
        unsafe { worker::create_queues()? };
        // SAFETY: Called once, and nobody uses the module yet.
        let mut result = unsafe { domain_list::create() };
        if result.is_ok() {
            // SAFETY: Called once, and the list of domains, with the kernel's RCU, is there.
            result = unsafe { client::init(GLOBAL.counts()) };
            if result.is_ok() {
                // SAFETY: The functions are static.
                result = kernel::error::to_result(unsafe {
                    helpers::quiesce_helper_on_module(Some(coming), Some(going))
                });
                if result.is_err() {
                    // SAFETY: `client::init()` succeeded, and nobody uses the module before its
                    // init has returned.
                    unsafe { client::exit() };
                }
            }
            if result.is_err() {
                // SAFETY: `domain_list::create()` succeeded, and nobody uses the module before its
                // init has returned.
                unsafe { domain_list::destroy() };
            }
        }
        if result.is_err() {
            // SAFETY: `worker::create_queues()` succeeded, and nothing is queued.
            unsafe { worker::destroy_queues() };
        }
        // INVARIANT: All of them are there.
        result.map(|()| Self(()))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: The kernel's RCU is ready, and nobody uses this module any more. By the type
        // invariants the notifier is registered; until here, it was called for wakers' modules.
        unsafe {
            GLOBAL.drain();
            helpers::quiesce_helper_off_module();
        }
        // Modules that do not use this one may be about to be freed, by work items that use their
        // accounts. None is queued any more: the notifier has returned.
        // SAFETY: This is process context, outside of work items, and the workqueue is there.
        unsafe { worker::WAIT.flush() };
        // The modules that used this one are gone, and their domains with them. What this module
        // itself has deferred may be pending.
        // SAFETY: The client of this module itself is removed by `client::exit()`, which comes later.
        if let Some(client) = unsafe { client::find(super::account::this_module()) } {
            client.account().wait_empty(Location::caller());
        }
        // SAFETY: Nothing is pending and nobody uses any of them. What this module has deferred itself
        // may have begun another grace period.
        unsafe {
            GLOBAL.drain();
            domain_list::destroy();
            client::exit();
            worker::destroy_queues();
            helpers::quiesce_helper_rcu_stall_flush();
        }
    }
}

/// The module notifier, for a module whose code is going to run.
///
/// # Safety
///
/// Called by the notifier chain.
unsafe extern "C" fn coming(module: *mut bindings::module) -> c_int {
    // SAFETY: No code of the module has run, and it has no client. The client is removed before the
    // module is freed, because the kernel calls `going` for it.
    match unsafe { client::add(module, GLOBAL.counts()) } {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// The module notifier, for a module whose exit function, or failed init function, has returned.
///
/// # Safety
///
/// Called by the notifier chain.
unsafe extern "C" fn going(module: *mut bindings::module) {
    // Nobody else removes it, as the kernel calls this once.
    // SAFETY: The client of `module` is removed by this notifier only, below.
    let Some(client) = (unsafe { client::find(module) }) else {
        while !domain_list::forget_wakers(module, || true) {}
        // SAFETY: The module is not freed before this notifier has returned.
        return unsafe { helpers::quiesce_helper_dep_forget(module) };
    };
    let account = client.account();
    let (callbacks, before) = (Callbacks::of(account.slot()), state(account));
    let nothing_is_left =
        || account.is_unused() && !callbacks.are_left() && !domain_list::has_domains_of(module);
    if nothing_is_left()
        && domain_list::forget_wakers(module, || is_idle(account))
        && nothing_is_left()
        && state(account) == before
    {
        // It may have deferred functions of a module that it depends on.
        domain_list::forget_user(account);
        // SAFETY: Nothing of the module is pending, and its code has returned.
        return unsafe {
            helpers::quiesce_helper_dep_forget(module);
            client.remove_soon();
        };
    }
    // SAFETY: The kernel frees the module after this notifier has returned and the references to
    // its kobject are put.
    if unsafe { helpers::quiesce_helper_module_hold(module) } {
        // SAFETY: The work item is not in use, stays until the client is removed, which it does
        // itself, and the workqueue is there until `Runtime::drop()` has waited for what is queued.
        unsafe {
            helpers::quiesce_helper_rcu_init_work(client.unload.get(), Some(unload), true);
            worker::WAIT.queue(client.unload.get());
        }
    } else {
        // It has no kobject: it failed before its init function was called, or there is no sysfs.
        // SAFETY: `going` is called after the module's last code has returned.
        unsafe { release(client) };
    }
}

/// The work item that waits for a module that is unloaded, and then releases it to be freed.
///
/// # Safety
///
/// Called by the workqueue with the work item of a client, whose module is held.
unsafe extern "C" fn unload(work: *mut bindings::work_struct) {
    // SAFETY: The workqueue calls this function with the work item of a client, which is removed
    // only by `release()` below.
    let client = unsafe { &*work.byte_sub(offset_of!(Client, unload)).cast::<Client>() };
    let module = client.account().module();
    // SAFETY: The code of the module has returned, as `going` was called.
    unsafe { release(client) };
    // SAFETY: `going` holds the module.
    unsafe { helpers::quiesce_helper_module_release(module) };
}

/// Waits until no code of a module is called any more, and removes its domains and its client.
///
/// Process context.
///
/// # Safety
///
/// The code of the module has returned but for what is pending. Called once for the client.
unsafe fn release(client: &Client) {
    let account = client.account();
    let callbacks = Callbacks::of(account.slot());
    loop {
        let before = state(account);
        account.wait_empty(Location::caller());
        // SAFETY: This is process context, outside of work items of the reaper.
        unsafe { callbacks.wait() };
        let left = callbacks.are_left();
        // What waits for one of these futures is waited for above, the next time.
        if !domain_list::forget_wakers(account.module(), || is_idle(account)) {
            continue;
        }
        if left {
            // Neither wakers nor what is in flight or pending own the references of these.
            // SAFETY: This is process context.
            unsafe { callbacks.revoke(|| is_idle(account)) };
        } else if state(account) == before {
            break;
        }
    }
    // SAFETY: By the end of the loop no code of the module runs any more, nor does code of those
    // that depend on it, which were unloaded before. Nothing is pending in the domains.
    unsafe {
        domain_list::remove(account.module());
        domain_list::forget_user(account);
        helpers::quiesce_helper_dep_forget(account.module());
        client.remove();
    }
}

/// Returns how many functions of a module were posted, and callbacks created.
fn state(account: &Account) -> (usize, usize) {
    (
        account.counts().posted_sum(),
        Callbacks::of(account.slot()).created(),
    )
}

/// Returns whether there was a moment during the call with no function of a module in flight and no
/// callback pending. Any context but NMI.
fn is_idle(account: &Account) -> bool {
    let counts = account.counts();
    let posted = counts.posted_sum();
    // If nothing was posted since, that moment is the one at which none is pending.
    counts.in_flight() == 0
        && !Callbacks::of(account.slot()).are_pending()
        && counts.posted_sum() == posted
}
