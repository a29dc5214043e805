// SPDX-License-Identifier: GPL-2.0

//! Read-copy-update: read through a pointer without a lock, free the old value later.
//!
//! A thin, typed layer over the kernel's own RCU and SRCU: it has no grace-period machinery of its
//! own. A reader enters a read-side critical section of a [`Domain`] and gets a [`ReadToken`], with
//! which it reads an [`RcuCell`], an [`RcuList`] or an [`RcuHashMap`]. A writer replaces or removes
//! a value, gets the old one as [`Retired`], and reclaims it after a grace period, when all
//! sections that may have read it have ended:
//!
//! | | waits in | returns the pointer | context |
//! |---|---|---|---|
//! | [`Retired::defer`], or dropping it | nothing | no | any but NMI |
//! | [`Retired::synchronize`], `_expedited` | the call | yes | process |
//! | [`Retired::start`], `_expedited`, `cookie` | [`PolledRetired::try_reclaim`], `wait` | yes | any but NMI to start |
//! | [`Retired::synchronize_async`] | a future | yes | any executor |
//! | [`Batch`], [`Domain::reclaim`] | one grace period for many | yes | process |
//!
//! Cell, token, retired pointer and domain are tied together by type: a value in a cell of one
//! domain can neither be read with a token of another one nor be reclaimed after its grace periods.
//!
//! There is no read guard that could be leaked: [`Domain::run`] takes a closure, and references to
//! the values that it reads cannot leave it.
//!
//! # Domains
//!
//! [`global()`] is the kernel's own RCU, whose readers do not sleep. [`define_domain!`] defines
//! [`Srcu`] domains, whose readers may. Where the kernel's RCU is not preemptible, [`Global`] is an
//! SRCU domain too.
//!
//! # Objects
//!
//! A value in a cell has an RCU head in front of it, so that deferring neither allocates nor fails:
//! it is a box of an [`Object`], or an [`Arc`](kernel::sync::Arc) of a [`Shared`].
//!
//! | to create | call |
//! |---|---|
//! | an object whose destructor may sleep | `Object::new(value).boxed(GFP_KERNEL)?` |
//! | one whose destructor may run in the RCU callback | `Object::new_atomic(value).boxed(GFP_KERNEL)?` |
//! | one that is pinned and initialised in place | `KBox::pin_init(Object::pin(init), GFP_KERNEL)?` |
//! | one that is too large for `kmalloc()` | `KVBox::new(Object::new(value), GFP_KERNEL)?` |
//! | one with several owners | `Arc::new(Shared::new(value), GFP_KERNEL)?` |
//! | one that holds a reference to a C object | an [`Object`] of the [`ARef`](kernel::sync::aref::ARef) |
//!
//! # Back-pressure
//!
//! Deferring never waits, because the caller may hold a lock that a destructor acquires. A task
//! that retires faster than grace periods elapse calls [`Domain::throttle`] where it holds none.
//!
//! # Unloading
//!
//! What a module defers is reclaimed before the module's memory is freed, after its exit function
//! or a failed init function. rmmod of that module waits for it, and no other does. The module's
//! author has nothing to call.
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

/// Sets the stall timeout and returns the previous one, in milliseconds.
///
/// A wait for readers that takes longer is reported in the log, with the domain, the task and the
/// call site, and again each time that the time has doubled. Also the module parameter
/// `rcu_stall_ms`; 10 s by default.
pub fn set_stall_report_ms(ms: u32) -> u32 {
    // SAFETY: Callable from everywhere.
    unsafe { helpers::quiesce_helper_rcu_stall_ms(ms) }
}

/// Returns the number of reports of stalls.
pub fn stall_reports() -> u32 {
    // SAFETY: Callable from everywhere.
    unsafe { helpers::quiesce_helper_rcu_stalls() }
}

/// Waits until everything that `module` has deferred before the call, in all domains, has been
/// reclaimed.
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
    // SAFETY: Reads the state of the current task and CPU only.
    if unsafe { helpers::quiesce_helper_rcu_context() } as u32 == helpers::QUIESCE_RCU_MAY_WAIT {
        // SAFETY: `quiesce_helper_rcu_context()` returned `QUIESCE_RCU_MAY_WAIT`: this is process
        // context, outside of all read-side critical sections of the kernel's RCU.
        unsafe { helpers::quiesce_helper_rcu_quiesce() };
    }
}
