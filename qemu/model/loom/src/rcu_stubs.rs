// SPDX-License-Identifier: GPL-2.0

//! In place of the files of `src/rcu` that count what is deferred for the module that defers it, run
//! destructors on a workqueue, and report stalls.

pub(crate) mod account {
    use crate::bindings;
    use core::ffi::c_void;
    use kernel::{bindings::callback_head, error::Result};

    pub(crate) type Reclaim = unsafe extern "C" fn(*mut callback_head);

    pub(crate) fn this_module() -> *mut kernel::bindings::module {
        &raw mut bindings::__this_module
    }

    pub(crate) struct Counts;
    impl Counts {
        pub(crate) const fn new() -> Self {
            Self
        }
        pub(crate) unsafe fn alloc(&self) -> Result {
            Ok(())
        }
        pub(crate) unsafe fn free(&self) {}
        pub(crate) fn as_ptr(&self) -> *mut c_void {
            core::ptr::null_mut()
        }
        pub(crate) fn posted(&self) {}
        pub(crate) fn done(&self) {}
        pub(crate) fn posted_sum(&self) -> usize {
            0
        }
        pub(crate) fn in_flight(&self) -> usize {
            0
        }
    }

    pub(crate) const SLOTS: usize = 512;

    pub(crate) struct Account(Counts);
    static ACCOUNT: Account = Account(Counts);
    impl Account {
        pub(crate) fn counts(&self) -> &Counts {
            &self.0
        }
        pub(crate) fn module(&self) -> *mut kernel::bindings::module {
            this_module()
        }
        pub(crate) fn slot(&self) -> usize {
            0
        }
        pub(crate) unsafe fn of_function(&self, _: *const c_void) -> &Self {
            self
        }
        pub(crate) fn is_going(&self) -> bool {
            false
        }
        /// There is one module.
        pub(crate) fn is_served(&self) -> bool {
            false
        }
        pub(crate) fn be_served(&self) {}
        pub(crate) fn done(&self) {}
    }
    pub(crate) unsafe fn of_function<'a>(
        _: *mut kernel::bindings::module,
        _: *const c_void,
    ) -> &'a Account {
        &ACCOUNT
    }
    pub(crate) unsafe fn of_caller<'a>(_: *mut kernel::bindings::module) -> &'a Account {
        &ACCOUNT
    }
    /// Nobody counts in models.
    macro_rules! counts_of {
        ($func:path) => {
            core::ptr::null_mut()
        };
    }
    pub(crate) use counts_of;

    pub(crate) fn callbacks() -> usize {
        0
    }
    pub(crate) fn done_sums(_: &Counts) -> (usize, usize) {
        (0, 0)
    }
    pub(crate) fn of_address(_: *const c_void) -> Option<*const Account> {
        None
    }
}

pub(crate) mod client {
    use super::account::Reclaim;
    use kernel::bindings::{callback_head, module};

    pub(crate) unsafe fn push(_: *mut module, _: *mut callback_head, _: Reclaim) {
        unreachable!("the destructors of models run in callbacks")
    }
    pub(crate) fn flush(_: Option<*mut module>) {}
}

pub(crate) mod stall {
    use core::{ffi::CStr, panic::Location};
    use kernel::ffi::c_char;

    pub(crate) struct Wait<'a> {
        pub(crate) what: &'a CStr,
        pub(crate) domain: *const c_char,
        pub(crate) mark: usize,
    }
    impl Wait<'_> {
        pub(crate) fn watched<R>(&self, _: &Location<'_>, wait: impl FnOnce() -> R) -> R {
            wait()
        }
    }
    pub(crate) struct Stall;
    impl Stall {
        pub(crate) const fn new() -> Self {
            Self
        }
        pub(crate) unsafe fn init(&self, _: &Wait<'_>) {}
        pub(crate) fn start(&self) {}
        pub(crate) fn stop(&self) {}
        pub(crate) unsafe fn destroy(&self) {}
    }
}

pub(crate) mod worker {
    use super::account::{Counts, Reclaim};
    use crate::rcu::disposal::Queue as Disposals;
    use kernel::bindings::{callback_head, module, work_struct};

    pub(crate) struct Queue;
    pub(crate) static WORK: Queue = Queue;
    impl Queue {
        pub(crate) unsafe fn queue(&self, _: *mut work_struct) {
            unreachable!("no model has so many futures")
        }
    }
    pub(crate) fn is_current() -> bool {
        false
    }
    pub(crate) unsafe fn current() -> Option<&'static Worker> {
        None
    }
    pub(crate) struct Worker;
    impl Worker {
        pub(crate) const fn new() -> Self {
            Self
        }
        pub(crate) unsafe fn init(&self, _: *const Counts, _: *mut module) {}
        pub(crate) unsafe fn stop(&self) {}
        pub(crate) fn queue(&self) -> &Disposals {
            unreachable!("the destructors of models run in callbacks")
        }
        pub(crate) unsafe fn push(&self, _: *mut callback_head, _: Reclaim) {
            unreachable!("no model has a domain of SRCU")
        }
    }
    pub(crate) struct Marker;
    impl Marker {
        pub(crate) const fn new() -> Self {
            Self
        }
        pub(crate) unsafe fn push(&self, _: &Worker) {}
        pub(crate) unsafe fn wait(&self) {}
    }
}
