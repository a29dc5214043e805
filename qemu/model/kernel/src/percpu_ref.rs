// SPDX-License-Identifier: GPL-2.0

//! The kernel's `percpu_ref`, as its documentation says that it behaves: counters of CPUs, that a
//! callback of RCU collects after the reference was killed.

use crate::{rcu, rcu::bindings::callback_head, registry::at};
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use std::{cell::RefCell, sync::Arc};

pub const DEAD: usize = 3;

#[repr(C)]
pub struct percpu_ref {
    /// `__PERCPU_REF_ATOMIC_DEAD`, or none of its bits. Read by others as an atomic.
    pub percpu_count_ptr: usize,
    pub release: Option<unsafe extern "C" fn(*mut percpu_ref)>,
    confirm: Option<unsafe extern "C" fn(*mut percpu_ref)>,
    head: callback_head,
}

/// What is counted; each change is one step of a thread.
#[derive(Default)]
struct Count {
    /// The sum of the CPUs' counters.
    percpu: isize,
    /// The atomic count, once the counters are collected.
    atomic: isize,
    collected: bool,
    pending: bool,
    /// The memory is gone.
    exited: bool,
}
#[derive(Default)]
struct Cell(RefCell<Count>);
// SAFETY: loom runs one thread at a time, and on one thread of the system.
unsafe impl Sync for Cell {}
// SAFETY: loom runs one thread at a time, and on one thread of the system.
unsafe impl Send for Cell {}

fn count(r: *mut percpu_ref) -> Arc<Cell> {
    let count = at(r.addr() + 1, Cell::default);
    assert!(!count.0.borrow().exited, "used after it was freed");
    count
}
/// What the operations on the atomic count order.
fn order(r: *mut percpu_ref) -> Arc<AtomicUsize> {
    at(r.addr() + 2, || AtomicUsize::new(0))
}
/// `percpu_count_ptr`, as the kernel accesses it.
fn pointer(r: *mut percpu_ref) -> &'static crate::atomic::Atomic<usize> {
    // SAFETY: The `percpu_ref` is not freed before the model's run ends.
    unsafe { &*(&raw mut (*r).percpu_count_ptr).cast() }
}

unsafe fn release(r: *mut percpu_ref) {
    // SAFETY: `quiesce_helper_percpu_ref_init()` stored the callback before the reference was used.
    unsafe { (*r).release.unwrap()(r) }
}

pub unsafe fn quiesce_helper_percpu_ref_init(
    r: *mut percpu_ref,
    func: Option<unsafe extern "C" fn(*mut percpu_ref)>,
    live: bool,
) -> i32 {
    // SAFETY: The function requires a pointer that is valid for writes, as C's does.
    unsafe {
        r.write(percpu_ref {
            percpu_count_ptr: if live { 0 } else { DEAD },
            release: func,
            confirm: None,
            head: callback_head {
                next: core::ptr::null_mut(),
                func: None,
            },
        })
    };
    *count(r).0.borrow_mut() = Count {
        atomic: isize::from(live),
        collected: !live,
        ..Count::default()
    };
    order(r);
    pointer(r).load(crate::atomic::Relaxed);
    0
}

/// As `arch/percpu_count.rs` has it in assembly, with the pointer from a copy: the counter is that of the
/// CPU, so that nothing is ordered but by the read-side critical section. Returns nothing if the copy says
/// that the count is not per CPU.
pub unsafe fn count_one(
    r: *mut percpu_ref,
    copy: &crate::atomic::Atomic<usize>,
    by: isize,
) -> Option<()> {
    rcu::enter();
    let percpu = copy.load(crate::atomic::Acquire) & 3 == 0;
    if percpu {
        count(r).0.borrow_mut().percpu += by;
    }
    rcu::exit();
    percpu.then_some(())
}

pub unsafe fn quiesce_helper_percpu_ref_tryget_live(r: *mut percpu_ref) -> bool {
    // SAFETY: `r` points to an initialised reference, as this function requires.
    unsafe { count_one(r, pointer(r), 1) }.is_some()
}
pub unsafe fn quiesce_helper_percpu_ref_tryget_live_many(r: *mut percpu_ref, n: usize) -> i32 {
    // SAFETY: `r` points to an initialised reference, as this function requires.
    if unsafe { count_one(r, pointer(r), n as isize) }.is_some() {
        0
    } else {
        -19
    }
}
pub unsafe fn quiesce_helper_percpu_ref_tryget(r: *mut percpu_ref) -> bool {
    order(r).fetch_add(1, AcqRel);
    let count = count(r);
    let mut count = count.0.borrow_mut();
    if !count.collected {
        // The initial reference is there until the counters are collected.
        count.percpu += 1;
        return true;
    }
    if count.atomic == 0 {
        return false;
    }
    count.atomic += 1;
    true
}
pub unsafe fn quiesce_helper_percpu_ref_get_many(r: *mut percpu_ref, n: usize) {
    let count = count(r);
    let mut count = count.0.borrow_mut();
    if count.collected {
        count.atomic += n as isize;
    } else {
        count.percpu += n as isize;
    }
}
pub unsafe fn quiesce_helper_percpu_ref_put(r: *mut percpu_ref) {
    // SAFETY: `r` points to an initialised reference, as this function requires.
    unsafe { quiesce_helper_percpu_ref_put_many(r, 1) }
}
pub unsafe fn quiesce_helper_percpu_ref_put_many(r: *mut percpu_ref, n: usize) {
    // SAFETY: `r` points to an initialised reference, as this function requires.
    unsafe {
        if count_one(r, pointer(r), -(n as isize)).is_none() {
            put_atomic(r, n);
        }
    }
}
/// The copy, or the pointer itself, says that the count is atomic: it becomes so while the pointer says so.
unsafe fn put_atomic(r: *mut percpu_ref, n: usize) {
    order(r).fetch_add(1, AcqRel);
    let zero = {
        let count = count(r);
        let mut count = count.0.borrow_mut();
        count.atomic -= n as isize;
        // Before the counters are collected, the atomic count has a bias.
        count.collected && count.atomic == 0
    };
    if zero {
        // SAFETY: The collected count is 0, so that this was the last reference.
        unsafe { release(r) };
    }
}
/// The models have few holders.
pub unsafe fn quiesce_helper_percpu_ref_is_saturated(_: *mut percpu_ref) -> bool {
    false
}
pub unsafe fn quiesce_helper_percpu_ref_holders(r: *mut percpu_ref) -> usize {
    let count = count(r);
    let count = count.0.borrow();
    (count.percpu + count.atomic) as usize
}

pub unsafe fn percpu_ref_kill_and_confirm(
    r: *mut percpu_ref,
    confirm: Option<unsafe extern "C" fn(*mut percpu_ref)>,
) {
    // SAFETY: The reference is live, so that no collection uses the field.
    unsafe { (*r).confirm = confirm };
    pointer(r).store(DEAD, crate::atomic::Relaxed);
    // The callback's reference takes the place of the initial one.
    count(r).0.borrow_mut().pending = true;
    // SAFETY: The reference stays until its callback was called.
    unsafe { rcu::helpers::quiesce_helper_call_rcu_hurry(&raw mut (*r).head, Some(collect)) };
}

unsafe extern "C" fn collect(head: *mut callback_head) {
    // SAFETY: The head is that of a reference.
    let r: *mut percpu_ref = unsafe {
        head.byte_sub(core::mem::offset_of!(percpu_ref, head))
            .cast()
    };
    order(r).fetch_add(1, AcqRel);
    {
        let count = count(r);
        let mut count = count.0.borrow_mut();
        count.atomic += count.percpu;
        count.percpu = 0;
        count.collected = true;
    }
    // SAFETY: The field was set before the callback was posted, which owns a reference to `r`.
    if let Some(confirm) = unsafe { (*r).confirm } {
        // SAFETY: The counters are collected, as the function demands.
        unsafe { confirm(r) };
    }
    count(r).0.borrow_mut().pending = false;
    rcu::wake();
    // SAFETY: The RCU callback owns a reference to `r`, which is put here once.
    unsafe { quiesce_helper_percpu_ref_put(r) };
}

unsafe fn revive(r: *mut percpu_ref) {
    let cell = count(r);
    rcu::until(|_| !cell.0.borrow().pending);
    order(r).fetch_add(1, AcqRel);
    let mut count = cell.0.borrow_mut();
    count.atomic += 1;
    // What is counted so far is counted on, in the counters of the CPUs.
    count.percpu = count.atomic - 1;
    count.atomic = 1;
    count.collected = false;
    drop(count);
    pointer(r).store(0, crate::atomic::Release);
}
pub unsafe fn percpu_ref_reinit(r: *mut percpu_ref) {
    assert!(quiesce_is_zero(r), "reinitialised while it is held");
    // SAFETY: `r` points to an initialised reference, as this function requires.
    unsafe { revive(r) }
}
fn quiesce_is_zero(r: *mut percpu_ref) -> bool {
    let count = count(r);
    let count = count.0.borrow();
    count.collected && count.atomic == 0
}
pub unsafe fn percpu_ref_resurrect(r: *mut percpu_ref) {
    // SAFETY: `r` points to an initialised reference, as this function requires.
    unsafe { revive(r) }
}
pub unsafe fn percpu_ref_exit(r: *mut percpu_ref) {
    let count = count(r);
    let mut count = count.0.borrow_mut();
    assert!(!count.pending, "freed while a callback is pending");
    count.exited = true;
}
