// SPDX-License-Identifier: GPL-2.0

//! Read-copy-update: read through a pointer without a lock, free the old value later.
//!
//! A reader runs in a read section of a [`Domain`], where it gets a [`ReadToken`]; with the token it
//! reads an [`RcuCell`]. A writer replaces what the cell holds, gets the old value as [`Retired`],
//! and has it reclaimed when all read sections are over that may have seen it:
//!
//! | | waits in | returns the pointer | |
//! |---|---|---|---|
//! | [`Retired::defer`], or dropping it | nothing | no | any context but NMI |
//! | [`Retired::synchronize`], `_expedited` | the call | yes | process |
//! | [`Retired::start`], `_expedited`, `cookie` | [`PolledRetired::try_reclaim`], `wait` | yes | any but NMI to start |
//! | [`Retired::reclaimed`] | a future | yes | any executor |
//! | [`Batch`], [`Domain::reclaim`] | one grace period for many | yes | |
//!
//! Cell, token, retired pointer and domain are tied together by type: what is in a cell of one
//! domain is neither read with a token of another one nor reclaimed after its grace periods.
//!
//! There is no read guard, so there is none to leak: [`Domain::run`] takes a closure, and what is
//! read cannot leave it.
//!
//! [`global()`] is the kernel's own RCU. [`Srcu`] domains have readers that may sleep.
//!
//! # Unloading
//!
//! What a module defers is reclaimed before the module is freed, without its author doing anything,
//! after its exit function too, and after an init function that failed. rmmod of the module waits for
//! it, and no other does.
//!
//! C headers: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h),
//! [`include/linux/srcu.h`](srctree/include/linux/srcu.h)

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
mod object;
mod pointer;
mod retired;
mod srcu;
mod stall;
mod unload;
mod waiters;
mod worker;

use crate::bindings as helpers;
use core::panic::Location;
use kernel::prelude::*;

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
    ReadToken,
    FLOOD, //
};
#[doc(hidden)]
pub use domain_state::DomainState;
pub use future::{
    GracePeriod,
    QuiesceOnPending,
    Reclaim, //
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
    SynchronizeError,
    Retire,
    Retired, //
};
pub use srcu::{
    OwnedSection,
    Srcu,
    Tag,
    UpDownTag, //
};

pub(crate) use unload::Runtime;

/// Who waits longer than this for a domain's readers is reported; returns what it was before.
///
/// In milliseconds, and the module parameter `rcu_stall_ms`: 10 s unless changed. A report names
/// the domain, the task and the place of the call, and is repeated after twice the time.
pub fn set_stall_report_ms(ms: u32) -> u32 {
    // SAFETY: Callable from everywhere.
    unsafe { helpers::quiesce_helper_rcu_stall_ms(ms) }
}

/// How many times somebody was reported for waiting long.
pub fn stall_reports() -> u32 {
    // SAFETY: Callable from everywhere.
    unsafe { helpers::quiesce_helper_rcu_stalls() }
}

/// Waits until everything that `module` has deferred before the call has been reclaimed, in all domains.
///
/// A module need not call this before it is unloaded: see [above](self#unloading). Otherwise it is
/// [`Domain::barrier`] without what other modules have deferred.
///
/// # Errors
///
/// As [`Domain::barrier`], for [`Global`] and for each domain that the module has deferred something
/// in.
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
/// # fn f(module: &'static ThisModule) -> Result {
/// rcu::barrier(module)?;
/// # Ok(()) }
/// ```
#[track_caller]
pub fn barrier(module: &ThisModule) -> Result {
    domain_list::barrier(module.as_ptr(), Location::caller())
}

fn quiesce() {
    // SAFETY: Looks at the current task and CPU only.
    if unsafe { helpers::quiesce_helper_rcu_context() } as u32 == helpers::QUIESCE_RCU_MAY_WAIT {
        // SAFETY: Process context, outside of all read sections of the kernel's RCU.
        unsafe { helpers::quiesce_helper_rcu_quiesce() };
    }
}
