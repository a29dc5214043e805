// SPDX-License-Identifier: GPL-2.0

//! No callback outlives the module that it is in.
//!
//! What is deferred runs code of the module that deferred it: destructors, wakers. Asking authors
//! to call `rcu_barrier()` in their exit functions does not work; they forget, and an error path of
//! init has no exit function. So `quiesce.ko` does it, in a module notifier. The kernel calls those
//! for `MODULE_STATE_GOING` after the module's exit function, or after its failed init function, and
//! before it frees the module's text (`delete_module()`, `do_init_module()` and `free_module()` in
//! `kernel/module/main.c`). Until then `quiesce.ko` is pinned by the module that goes, because that
//! module was linked against it. This costs nothing while no module goes, and no rmmod is refused.
//!
//! After the exit function new callbacks can only come from the module's own destructors, as they
//! run. [`note`] counts those while a module goes, and the notifier starts over until there were
//! none.

use super::{
    domain_list,
    domain_state::Reclaim,
    worker, //
};
use crate::bindings as helpers;
use core::{
    ffi::c_void,
    ptr::null_mut, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu, //
    }, //
};

kernel::sync::global_lock! {
    // SAFETY: `create` initialises it.
    unsafe(uninit) static UNLOAD: Mutex<()> = ();
}

/// The module that goes, null if none does.
static GOING: Atomic<*mut bindings::module> = Atomic::new(null_mut());

/// How often the module that goes has posted a callback since it was found to go.
static LATE: Atomic<usize> = Atomic::new(0);

/// Registers the notifier.
///
/// # Safety
///
/// Called once, after everything that [`drain`] uses has been made.
pub(super) unsafe fn create() -> Result {
    // SAFETY: Called once.
    unsafe { UNLOAD.init() };
    // SAFETY: The function is static.
    kernel::error::to_result(unsafe { helpers::quiesce_helper_on_module_going(Some(module_going)) })
}

/// Unregisters the notifier, after it has run if it does.
///
/// # Safety
///
/// [`create`] succeeded, and this is called once.
pub(super) unsafe fn destroy() {
    // SAFETY: It was registered.
    unsafe { helpers::quiesce_helper_off_module_going() };
}

/// Takes note of a callback that is about to be posted.
pub(super) fn note(func: Reclaim) {
    if GOING.load(Relaxed).is_null() {
        return;
    }
    // The kernel waits for a grace period between the notifiers and the end of `struct module`.
    let _section = rcu::read_lock();
    let going = GOING.load(Relaxed);
    let func = func as *const c_void;
    // SAFETY: The module is there, see above, and only its address ranges are looked at.
    if !going.is_null() && unsafe { helpers::quiesce_helper_within_module(func, going) } {
        LATE.add(1usize, Relaxed);
    }
}

/// Waits until nothing is pending that was deferred before.
///
/// Process context.
pub(super) fn drain() {
    domain_list::for_each(|domain| domain.drain());
    worker::flush();
}

/// The module notifier, for a module that goes while somebody uses this one.
///
/// # Safety
///
/// Called by the notifier chain.
unsafe extern "C" fn module_going(module: *mut bindings::module) {
    let _one_at_a_time = UNLOAD.lock();
    GOING.xchg(module, Full);
    // A destructor that did not see the above had begun before the first round, which waits for
    // it. What it posted, uncounted, is there before the second.
    drain();
    loop {
        let seen = LATE.load(Relaxed);
        drain();
        if LATE.load(Relaxed) == seen {
            break;
        }
    }
    GOING.xchg(null_mut(), Full);
    // SAFETY: The module's code no longer runs, and what it deferred is done.
    unsafe { domain_list::remove(module) };
}
