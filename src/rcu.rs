// SPDX-License-Identifier: GPL-2.0

//! Read-copy-update: read through a pointer without a lock, free the old value later.
#![doc = include_str!("rcu/README.md")]

mod account;
mod batch;
mod cell;
mod client;
mod cookie;
mod disposal;
mod domain;
mod domain_list;
mod domain_state;
mod future;
mod hash_map;
mod list;
mod mark;
mod object;
mod pointer;
pub(crate) mod posting;
mod retired;
mod srcu;
mod stall;
mod unload;
mod waiters;
mod worker;
mod writer_lock;

use crate::bindings as helpers;
use core::panic::Location;
use kernel::prelude::*;

#[doc(inline)]
pub use crate::{
    define_domain,
    impl_atomic_drop, //
};
pub use batch::{
    Batch,
    PolledBatch,
    ReclaimedBatch, //
};
pub use cell::{
    CellValue,
    RcuCell, //
};
pub use cookie::Cookie;
pub use domain::{
    global,
    Domain,
    Global,
    KernelSection,
    ReadToken,
    FLOOD, //
};
#[doc(hidden)]
pub use domain_state::DomainState;
pub use future::{
    GracePeriod,
    QuiesceOnPending,
    ReclaimFuture, //
};
pub use hash_map::{
    HashMapGuard,
    RcuHashMap, //
};
pub use list::{
    Cursor,
    Entry,
    EntryBox,
    Iter,
    ListGuard,
    RcuList, //
};
pub use object::{
    AtomicDrop,
    DropContext,
    InProcess,
    InSoftirq,
    Object,
    Shared, //
};
pub use pointer::{
    RcuPointer,
    UniquePointer, //
};
pub use retired::{
    PolledRetired,
    Retire,
    Retired, //
    SynchronizeError,
};
pub use srcu::{
    OwnedSection,
    Srcu,
    Tag,
    UpDownTag, //
};

pub(crate) use unload::Runtime;

/// Sets the stall timeout of waits that begin from now on, in milliseconds; zero disables their
/// reports. Returns the previous timeout.
///
/// A wait for readers that takes longer is reported in the log, with the domain, the task and the
/// call site, and again each time that the time has doubled. Also the module parameter
/// `rcu_stall_ms`; 10 s by default.
pub fn set_stall_report_ms(ms: u32) -> u32 {
    // SAFETY: The helper only exchanges or reads an integer, in any context.
    unsafe { helpers::quiesce_helper_rcu_stall_ms(ms) }
}

/// Returns the number of reports of stalls.
pub fn stall_reports() -> u32 {
    // SAFETY: The helper only exchanges or reads an integer, in any context.
    unsafe { helpers::quiesce_helper_rcu_stalls() }
}

/// Waits until everything that the calling module has deferred before the call, in all domains, has
/// been reclaimed.
///
/// Includes domains that are not initialised, and chains of cells across domains with the object that
/// owns the chain.
///
/// A module need not call this before it is unloaded: see [above](self#unloading). Otherwise it is
/// [`Domain::barrier`] without what other modules have deferred, unless this one has retired
/// references to an object that others retire too, see [`Shared`], or the compiler has used the
/// instance of a destructor in a module that this one depends on. In an [`Srcu`] domain that others
/// share, it waits for what they have deferred before, as their destructors have the same worker.
///
/// # Errors
///
/// As [`Domain::barrier`], for [`Global`] and for each domain that the module has deferred something
/// in. The call may have waited before it fails if the module, or a callback of its own, defers
/// something in another domain for the first time meanwhile.
///
/// # Context
///
/// As [`Domain::barrier`].
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu;
///
/// # fn f() -> Result {
/// rcu::barrier()?;
/// # Ok(()) }
/// ```
#[inline(always)]
#[track_caller]
pub fn barrier() -> Result {
    // SAFETY: This function is inlined into its caller, so that this is the module of code that runs.
    unsafe { domain_list::barrier(account::this_module(), Location::caller()) }
}

/// Returns the number of domains that are initialised.
#[cfg(CONFIG_KUNIT)]
#[doc(hidden)]
pub fn domains_for_test() -> usize {
    domain_list::count()
}

/// Reports a quiescent state of this CPU and task, where that is known to be one.
fn quiesce() {
    // SAFETY: Reads the state of the current task and CPU only.
    if unsafe { helpers::quiesce_helper_rcu_context() } as u32 == helpers::QUIESCE_RCU_MAY_WAIT {
        // SAFETY: `quiesce_helper_rcu_context()` returned `QUIESCE_RCU_MAY_WAIT`: this is process
        // context, outside of all read-side critical sections of the kernel's RCU.
        unsafe { helpers::quiesce_helper_rcu_quiesce() };
    }
}
