// SPDX-License-Identifier: GPL-2.0

//! `kernel::sync::rcu` and the kernel's RCU, as a model of grace periods.
//!
//! A grace period waits for the read-side critical sections that have begun and not ended. What the
//! LKMM guarantees is all that is ordered: a section that has ended comes before the end of the
//! grace period, and the beginning of the grace period before a section that begins after it.
//! Sections are not ordered among each other, as accesses of one variable each of which only
//! releases or only acquires are not.

pub struct Guard(());
impl Drop for Guard {
    fn drop(&mut self) {
        #[cfg(feature = "loom")]
        exit();
    }
}
pub fn read_lock() -> Guard {
    #[cfg(feature = "loom")]
    enter();
    Guard(())
}

#[cfg(not(feature = "loom"))]
pub mod bindings {
    #[repr(C)]
    pub struct callback_head {
        pub next: *mut callback_head,
        pub func: Option<unsafe extern "C" fn(*mut callback_head)>,
    }
}

#[cfg(feature = "loom")]
pub use imp::*;
#[cfg(feature = "loom")]
pub mod bindings {
    pub use super::imp::bindings::*;
}

#[cfg(feature = "loom")]
mod imp {
    use crate::{registry::at, wait::thread};
    use loom::sync::{
        atomic::{AtomicUsize, Ordering::*},
        Notify,
    };
    use std::{cell::RefCell, collections::HashMap, sync::Arc};

    /// A callback and its argument.
    type Callback = (
        unsafe extern "C" fn(*mut bindings::callback_head),
        *mut bindings::callback_head,
    );

    #[derive(Default)]
    pub struct State {
        /// Sections by number, and their threads.
        sections: Vec<(usize, usize)>,
        next_section: usize,
        nesting: HashMap<usize, Vec<usize>>,
        /// Grace periods, by the order in which they began.
        begun: usize,
        over: Vec<usize>,
        callbacks: Vec<Callback>,
        /// Who waits for sections to end, or for callbacks.
        waiters: Vec<Arc<Notify>>,
        stopped: bool,
        wanted: usize,
        called: usize,
        posted: usize,
    }

    thread_local!(static STATE: RefCell<State> = RefCell::default());
    fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
        STATE.with(|state| f(&mut state.borrow_mut()))
    }
    pub fn reset() {
        with(|state| *state = State::default());
    }
    /// What begins of grace periods, and ends of sections and of grace periods, order.
    fn begins() -> Arc<AtomicUsize> {
        at(5, || AtomicUsize::new(0))
    }
    fn exits() -> Arc<AtomicUsize> {
        at(6, || AtomicUsize::new(0))
    }
    fn ends() -> Arc<AtomicUsize> {
        at(7, || AtomicUsize::new(0))
    }
    fn posts() -> Arc<AtomicUsize> {
        at(9, || AtomicUsize::new(0))
    }
    /// Makes the variables, for the thread that all others are spawned by.
    pub fn init() {
        begins();
        exits();
        ends();
        posts();
    }
    pub fn wake() {
        for waiter in with(|state| state.waiters.clone()) {
            waiter.notify();
        }
    }
    /// Sleeps until `ready`, which is asked again when something has changed.
    pub fn until(ready: impl Fn(&State) -> bool) {
        let notify = Arc::new(Notify::new());
        with(|state| state.waiters.push(notify.clone()));
        while !with(|state| ready(state)) {
            notify.wait();
        }
        with(|state| state.waiters.retain(|other| !Arc::ptr_eq(other, &notify)));
    }

    pub fn enter() {
        let me = thread();
        if with(|state| state.nesting.get(&me).is_some_and(|all| !all.is_empty())) {
            return with(|state| state.nesting.get_mut(&me).unwrap().push(0));
        }
        begins().fetch_add(1, Acquire);
        with(|state| {
            state.next_section += 1;
            let number = state.next_section;
            state.sections.push((number, me));
            state.nesting.entry(me).or_default().push(number);
        });
    }
    pub fn exit() {
        let me = thread();
        let number = with(|state| {
            state
                .nesting
                .get_mut(&me)
                .unwrap()
                .pop()
                .expect("a section ends that has not begun")
        });
        if number == 0 {
            return;
        }
        exits().fetch_add(1, Release);
        with(|state| state.sections.retain(|&(other, _)| other != number));
        wake();
    }
    pub fn depth() -> usize {
        let me = thread();
        with(|state| state.nesting.get(&me).map_or(0, Vec::len))
    }

    /// Waits for a grace period.
    pub fn synchronize() {
        assert_eq!(depth(), 0, "waits for itself");
        begins().fetch_add(1, AcqRel);
        let (number, last) = with(|state| {
            state.begun += 1;
            (state.begun, state.next_section)
        });
        until(|state| !state.sections.iter().any(|&(section, _)| section <= last));
        exits().fetch_add(1, Acquire);
        ends().fetch_add(1, Release);
        with(|state| state.over.push(number));
        wake();
    }
    fn post(
        head: *mut bindings::callback_head,
        func: unsafe extern "C" fn(*mut bindings::callback_head),
    ) {
        posts().fetch_add(1, Release);
        with(|state| {
            state.callbacks.push((func, head));
            state.posted += 1;
        });
        wake();
    }
    /// The thread that runs grace periods for others, and callbacks, until [`stop`] was called and there
    /// is nothing left to do.
    pub fn softirq() {
        loop {
            until(|state| {
                !state.callbacks.is_empty() || state.wanted > state.begun || state.stopped
            });
            let some = with(|state| core::mem::take(&mut state.callbacks));
            if some.is_empty() && with(|state| state.wanted <= state.begun && state.stopped) {
                return;
            }
            posts().fetch_add(1, Acquire);
            synchronize();
            for (func, head) in some {
                // A callback is a read-side critical section.
                enter();
                // SAFETY: A grace period has elapsed since it was posted.
                unsafe { func(head) };
                exit();
                posts().fetch_add(1, Release);
                with(|state| state.called += 1);
                wake();
            }
        }
    }
    /// Lets [`softirq`] return.
    pub fn stop() {
        with(|state| state.stopped = true);
        wake();
    }

    pub mod bindings {
        use super::*;

        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct callback_head {
            pub next: *mut callback_head,
            pub func: Option<unsafe extern "C" fn(*mut callback_head)>,
        }
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct kvfree_rcu_head {
            pub rcu: callback_head,
        }
        /// How many grace periods had begun.
        #[derive(Clone, Copy, Default)]
        pub struct rcu_gp_seq {
            pub norm: usize,
            pub exp: usize,
        }
        /// No model has a domain of SRCU.
        #[repr(C)]
        pub struct srcu_struct(u64);
        #[repr(C)]
        pub struct work_struct(u64);
        pub const SRCU_GET_STATE_COMPLETED: u32 = 1;
        pub unsafe fn synchronize_srcu(_: *mut srcu_struct) {
            unreachable!()
        }
        pub unsafe fn synchronize_srcu_expedited(_: *mut srcu_struct) {
            unreachable!()
        }
        pub unsafe fn srcu_barrier(_: *mut srcu_struct) {
            unreachable!()
        }
        pub unsafe fn cleanup_srcu_struct(_: *mut srcu_struct) {
            unreachable!()
        }
        pub unsafe fn call_srcu(
            _: *mut srcu_struct,
            _: *mut callback_head,
            _: Option<unsafe extern "C" fn(*mut callback_head)>,
        ) {
            unreachable!()
        }
        pub unsafe fn get_state_synchronize_srcu(_: *mut srcu_struct) -> usize {
            unreachable!()
        }
        pub unsafe fn start_poll_synchronize_srcu(_: *mut srcu_struct) -> usize {
            unreachable!()
        }
        pub unsafe fn poll_state_synchronize_srcu(_: *mut srcu_struct, _: usize) -> bool {
            unreachable!()
        }
        pub unsafe fn flush_work(_: *mut work_struct) -> bool {
            unreachable!()
        }
        pub unsafe fn __rcu_read_lock() {
            enter();
        }
        pub unsafe fn __rcu_read_unlock() {
            exit();
        }
        pub unsafe fn synchronize_rcu() {
            synchronize();
        }
        pub unsafe fn rcu_barrier() {
            let posted = with(|state| state.posted);
            until(|state| state.called >= posted);
            posts().fetch_add(1, Acquire);
        }
    }

    pub mod helpers {
        use super::*;
        use bindings::*;

        pub unsafe fn quiesce_helper_synchronize_rcu_expedited() {
            synchronize();
        }
        pub unsafe fn quiesce_helper_call_rcu_hurry(
            head: *mut callback_head,
            func: Option<unsafe extern "C" fn(*mut callback_head)>,
        ) {
            post(head, func.unwrap());
        }
        pub unsafe fn quiesce_helper_rcu_snapshot(seq: *mut rcu_gp_seq) {
            begins().fetch_add(1, AcqRel);
            // SAFETY: The function requires a pointer that is valid for writes, as C's does.
            unsafe { (*seq).norm = with(|state| state.begun) };
        }
        pub unsafe fn quiesce_helper_rcu_start(seq: *mut rcu_gp_seq, _: bool) {
            // SAFETY: The function requires a pointer that is valid for writes, as C's does.
            unsafe { quiesce_helper_rcu_snapshot(seq) };
            posts().fetch_add(1, Release);
            with(|state| state.wanted = state.wanted.max(state.begun + 1));
            wake();
        }
        pub unsafe fn quiesce_helper_rcu_is_over(seq: *mut rcu_gp_seq) -> bool {
            // SAFETY: The function requires a pointer to a cookie that a snapshot or a start wrote.
            let begun = unsafe { (*seq).norm };
            ends().fetch_add(1, Acquire);
            with(|state| state.over.iter().any(|&number| number > begun))
        }
        pub unsafe fn quiesce_helper_rcu_depth() -> bool {
            depth() != 0
        }
    }
}
