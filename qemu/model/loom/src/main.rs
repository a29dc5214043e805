// SPDX-License-Identifier: GPL-2.0

//! `src/` under loom.
//!
//! loom runs a model's threads in each order in which their accesses of atomics, locks and the like can
//! be, and lets each load return each value that C11's memory model allows.

#![allow(dead_code, unused_imports, unused_macros, missing_docs, clippy::all)]

#[path = "barrier.rs"]
mod barriers;
mod bindings;
mod models;
#[path = "seqlock.rs"]
mod seqlocks;

/// True if the edit of this name is to be in effect; only copies of `src/` with edits ask.
pub(crate) fn broken(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("BROKEN").unwrap_or_default()) == name
}

#[path = "../../../../src/arch"]
pub(crate) mod arch {
    pub(crate) mod context;
    pub(crate) mod percpu_count;
    pub(crate) mod preempt;
    pub(crate) mod rcu_counts;
    pub(crate) mod word;

    /// In place of `pointer.rs`. The LKMM orders a load before what depends on its address, which is
    /// weaker than acquire ordering; loom does not know dependencies.
    #[path = "../../qemu/model/loom/src/pointer.rs"]
    pub(crate) mod pointer;

    /// In place of `seq.rs`, whose accesses are volatile and not atomic.
    #[path = "../../qemu/model/loom/src/seq.rs"]
    pub(crate) mod seq;
}

#[path = "../../../../src/rundown"]
pub(crate) mod rundown {
    pub(crate) mod error;
    pub(crate) mod listeners;
    pub(crate) mod percpu_core;
    mod trace;
    pub(crate) mod wait;
    pub(crate) mod waiters;
    pub(crate) mod word;

    pub(crate) mod lockdep {
        pub(crate) struct Dep;
        impl Dep {
            pub(crate) fn may_wait(&self) {}
        }
    }
    pub(crate) mod track {
        pub(crate) fn report(_: usize) {}
        pub(crate) fn report_claims(_: usize) {}
        pub(crate) fn forget(_: usize) {}
        pub(crate) fn str_of(_: &[u8]) -> &str {
            ""
        }
        #[derive(Debug)]
        pub(crate) struct Jiffies64(pub(crate) u64);
        impl core::fmt::Display for Jiffies64 {
            fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                Ok(())
            }
        }
    }
    /// No model has a callback; that they are revoked with their module is a matter of RCU alone.
    pub(crate) mod callbacks {
        use super::percpu_core::PerCpuCore;
        pub(crate) struct Callback;
        impl Callback {
            pub(crate) fn is_listed(&self) -> bool {
                false
            }
        }
        pub(crate) fn will_drop(_: &Callback) {}
        pub(crate) unsafe fn call(_: *mut PerCpuCore) {}
        pub(crate) unsafe fn drop_callback(_: core::ptr::NonNull<PerCpuCore>) {}
    }
    /// The reaper is what models call after a grace period.
    pub(crate) mod reaper {
        use super::percpu_core::PerCpuCore;
        use core::{cell::RefCell, ptr::NonNull};
        thread_local!(static CORES: RefCell<Vec<NonNull<PerCpuCore>>> = const { RefCell::new(Vec::new()) });
        pub(crate) fn may_drop_here() -> bool {
            true
        }
        pub(crate) unsafe fn push(core: NonNull<PerCpuCore>) {
            CORES.with_borrow_mut(|cores| cores.push(core));
        }
        pub(crate) fn take() -> Vec<NonNull<PerCpuCore>> {
            CORES.take()
        }
    }

    pub(crate) use error::RundownError;
    pub(crate) use wait::Wait;

    pub(crate) mod model {
        include!("rundown.rs");
    }
}

#[path = "../../../../src"]
pub(crate) mod tree {
    pub mod barrier;
    pub mod seqlock;
    pub(crate) mod trace;
    pub(crate) mod tracepoint;
}
pub(crate) use tree::{barrier, seqlock, trace, tracepoint};

pub(crate) mod device {
    pub(crate) mod quota {
        /// What a party is charged to; the limits are not a part of the model.
        pub(crate) struct Charge;
    }
}

#[path = "../../../../src/rcu"]
pub(crate) mod rcu {
    pub(crate) mod batch;
    pub(crate) mod cell;
    pub(crate) mod cookie;
    pub(crate) mod disposal;
    pub(crate) mod domain;
    pub(crate) mod domain_state;
    pub(crate) mod future;
    mod mark;
    pub(crate) mod object;
    pub(crate) mod pointer;
    pub(crate) mod retired;
    pub(crate) mod waiters;

    #[path = "../../qemu/model/loom/src/rcu_stubs.rs"]
    mod stubs;
    /// What `rundown` uses of it.
    pub(crate) mod posting {
        pub(crate) fn is_in_global_section() -> bool {
            super::domain_state::in_global_section()
        }
    }
    pub(crate) use stubs::{account, client, stall, worker};

    fn quiesce() {}

    /// The first accesses of the statics, which make loom's objects.
    pub(crate) fn touch() {
        waiters::are_used();
        waiters::is_called();
        waiters::watch(core::ptr::null_mut());
    }

    pub(crate) use batch::{Batch, PolledBatch, ReclaimedBatch};
    pub(crate) use cell::{CellValue, RcuCell};
    pub(crate) use cookie::Cookie;
    pub(crate) use domain::{global, Domain, Global, ReadToken, FLOOD};
    pub(crate) use domain_state::DomainState;
    pub(crate) use future::{GracePeriod, QuiesceOnPending, ReclaimFuture};
    pub(crate) use object::{AtomicDrop, DropContext, InProcess, InSoftirq, Object, Shared};
    pub(crate) use pointer::{RcuPointer, UniquePointer};
    pub(crate) use retired::{PolledRetired, Retire, Retired, SynchronizeError};

    pub(crate) mod model {
        include!("rcu.rs");
    }
}

fn main() {
    models::main();
}
