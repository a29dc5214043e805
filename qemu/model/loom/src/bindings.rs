// SPDX-License-Identifier: GPL-2.0

//! The C side.

pub(crate) use kernel::{bindings::*, rcu::helpers::*, wait::*};

use core::{cell::Cell, ffi::c_void, ptr};

use kernel::ffi::c_char;

pub(crate) mod uapi {
    #![allow(non_camel_case_types, non_upper_case_globals, unreachable_pub)]
    use kernel::ffi;
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

static PROCESS: pid = pid {
    number: 100,
    exited: Cell::new(None),
};
pub(crate) unsafe fn quiesce_helper_get_pid(_: *mut pid) {}
pub(crate) unsafe fn quiesce_helper_boottime() -> u64 {
    0
}
pub(crate) unsafe fn quiesce_helper_current_pid() -> *mut pid {
    ptr::from_ref(&PROCESS).cast_mut()
}
pub(crate) unsafe fn quiesce_helper_is_current_pid(_: *mut pid) -> bool {
    true
}
pub(crate) unsafe fn quiesce_helper_pid_ended(_: *mut pid, _: *mut i32) -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_in_exit(_: *mut i32) -> bool {
    false
}
/// The inode number of a process's pidfds.
pub(crate) fn inode(number: i32) -> u64 {
    if number == 0 {
        0
    } else {
        number as u64 + 1000
    }
}
pub(crate) unsafe fn quiesce_helper_pid_ino(pid: *mut pid) -> u64 {
    // SAFETY: The models' processes are statics, so each pointer to one is valid.
    inode(unsafe { (*pid).number })
}
pub(crate) unsafe fn quiesce_helper_in_exec() -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_is_kthread() -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_spin_limit(_: *const i64, _: i32) -> u32 {
    0
}
pub(crate) unsafe fn quiesce_helper_spin_clock() -> u64 {
    0
}
pub(crate) unsafe fn quiesce_helper_queue_spin(
    _: *mut wait_queue_head,
    _: *mut usize,
    _: *const u32,
    _: u32,
) -> bool {
    unreachable!()
}

pub(crate) unsafe fn quiesce_helper_in_nmi() -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_raw_spin_lock_init(_: *mut raw_spinlock_t) {}
pub(crate) unsafe fn quiesce_helper_raw_spin_lock_irqsave(l: *mut raw_spinlock_t) -> usize {
    lock(l.addr());
    0
}
pub(crate) unsafe fn quiesce_helper_raw_spin_unlock_irqrestore(l: *mut raw_spinlock_t, _: usize) {
    unlock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_init_irq_work_hard(
    _: *mut irq_work,
    _: Option<extern "C" fn(*mut irq_work)>,
) {
}
pub(crate) unsafe fn quiesce_helper_rundown_monitor_init(
    _: Option<unsafe extern "C" fn(u32) -> bool>,
    _: Option<unsafe extern "C" fn(*mut seq_file)>,
) {
}
pub(crate) unsafe fn quiesce_helper_rundown_monitor_exit() {}
pub(crate) unsafe fn quiesce_helper_rundown_monitor_start(_: bool) {}
pub(crate) unsafe fn quiesce_helper_current_comm(_: *mut c_char) -> i32 {
    0
}
pub(crate) unsafe fn quiesce_helper_jiffies_64() -> u64 {
    0
}
pub(crate) unsafe fn quiesce_helper_rundown_may_sleep(_reader: bool) -> bool {
    true
}
pub(crate) unsafe fn quiesce_helper_rundown_forever() {
    panic!("a wait without end")
}
pub(crate) unsafe fn quiesce_helper_set_rundown_stall_ms(_: u32) -> u32 {
    0
}
pub(crate) unsafe fn quiesce_helper_format_pointer(_: *mut c_char, _: usize, _: *const c_void) {}

thread_local!(pub(crate) static WARNINGS: Cell<usize> = const { Cell::new(0) });
pub(crate) unsafe fn quiesce_helper_rundown_too_many_releases() {
    WARNINGS.set(WARNINGS.get() + 1);
}
pub(crate) unsafe fn quiesce_helper_rundown_too_many_holders() {
    WARNINGS.set(WARNINGS.get() + 1);
}

// What a section disables is nothing that a thread of a model could notice.
pub(crate) unsafe fn quiesce_helper_preempt_disable() {}
pub(crate) unsafe fn quiesce_helper_preempt_enable() {}
pub(crate) unsafe fn quiesce_helper_bh_disable() -> i32 {
    0
}
pub(crate) unsafe fn quiesce_helper_bh_enable() {}
pub(crate) unsafe fn quiesce_helper_bh_warn() {}
pub(crate) unsafe fn quiesce_helper_interrupt_disable() -> bool {
    true
}
pub(crate) unsafe fn quiesce_helper_irq_save() -> usize {
    0
}
pub(crate) unsafe fn quiesce_helper_irq_restore(_: usize) {}
pub(crate) unsafe fn quiesce_helper_raw_spin_lock(l: *mut raw_spinlock_t, _: u32) {
    lock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_raw_spin_trylock(_: *mut raw_spinlock_t) -> bool {
    unreachable!("no model tries to acquire a lock")
}
pub(crate) unsafe fn quiesce_helper_raw_spin_unlock(l: *mut raw_spinlock_t) {
    unlock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_raw_spin_lock_irq(l: *mut raw_spinlock_t, _: u32) -> bool {
    lock(l.addr());
    true
}
pub(crate) unsafe fn quiesce_helper_raw_spin_unlock_irq(l: *mut raw_spinlock_t, _: bool) {
    unlock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_raw_spin_lock_bh(l: *mut raw_spinlock_t, _: u32) {
    lock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_raw_spin_unlock_bh(l: *mut raw_spinlock_t) {
    unlock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_spin_lock(l: *mut spinlock_t, _: u32) {
    lock(l.addr());
}
pub(crate) unsafe fn quiesce_helper_spin_trylock(_: *mut spinlock_t) -> bool {
    unreachable!("no model tries to acquire a lock")
}
pub(crate) unsafe fn quiesce_helper_spin_unlock(l: *mut spinlock_t) {
    unlock(l.addr());
}

pub(crate) unsafe fn quiesce_helper_seqlock_begin(_: *mut seqlock_t) -> u32 {
    unreachable!()
}
pub(crate) unsafe fn quiesce_helper_seqcount_begin(_: *mut seqcount_t) -> u32 {
    unreachable!()
}
pub(crate) unsafe fn quiesce_helper_seqcount_retry(_: *const seqcount_t, _: u32) -> bool {
    unreachable!()
}
std::thread_local! {
    /// What happens before the next clock is read.
    static BEFORE_CLOCK: std::cell::Cell<Option<Box<dyn FnOnce()>>> = const { std::cell::Cell::new(None) };
}

pub(crate) fn before_clock(f: impl FnOnce() + 'static) {
    BEFORE_CLOCK.set(Some(Box::new(f)));
}

/// No time passes, as far as the limit of a read knows.
pub(crate) unsafe fn quiesce_helper_seqcount_clock() -> u64 {
    if let Some(f) = BEFORE_CLOCK.take() {
        f();
    }
    1 << 40
}
pub(crate) unsafe fn quiesce_helper_seqcount_write_begin(_: *mut seqcount_t, _: u32) {
    unreachable!()
}
pub(crate) unsafe fn quiesce_helper_seqcount_write_end(_: *mut seqcount_t) {
    unreachable!()
}

/// The module that all code is in.
pub(crate) static mut __this_module: module = module { name: [0; 56] };

pub(crate) const QUIESCE_RCU_MAY_WAIT: u32 = 0;
pub(crate) const QUIESCE_RCU_READER: u32 = 1;

pub(crate) unsafe fn quiesce_helper_rcu_context() -> i32 {
    i32::from(kernel::rcu::depth() != 0)
}
pub(crate) unsafe fn quiesce_helper_rcu_preemptible() -> bool {
    true
}
pub(crate) unsafe fn quiesce_helper_rcu_marked(_: usize) -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_rcu_cond_resched() {}
// No module of a model is unloaded.
pub(crate) unsafe fn quiesce_helper_rcu_wakers_enter() -> i32 {
    0
}
pub(crate) unsafe fn quiesce_helper_rcu_wakers_exit(_: i32) {}
pub(crate) unsafe fn quiesce_helper_rcu_wakers_synchronize() {}
pub(crate) unsafe fn quiesce_helper_within_module(
    _: *const core::ffi::c_void,
    _: *const module,
) -> bool {
    false
}
pub(crate) unsafe fn quiesce_helper_rcu_init_work(
    _: *mut work_struct,
    _: Option<unsafe extern "C" fn(*mut work_struct)>,
    _: bool,
) {
}
pub(crate) unsafe fn quiesce_helper_rcu_post(
    _: *mut c_void,
    head: *mut callback_head,
    func: Option<unsafe extern "C" fn(*mut callback_head)>,
) {
    // SAFETY: `head` is in an object that nobody else defers, as this function requires.
    unsafe { quiesce_helper_call_rcu_hurry(head, func) };
}
pub(crate) unsafe fn quiesce_helper_srcu_post(
    _: *mut c_void,
    _: *mut c_void,
    _: *mut srcu_struct,
    _: *mut callback_head,
    _: Option<unsafe extern "C" fn(*mut callback_head)>,
) {
    unreachable!()
}
pub(crate) unsafe fn quiesce_helper_rcu_done(_: *mut c_void) {}
pub(crate) unsafe fn quiesce_helper_rcu_callback_done(_: *mut c_void) {}
pub(crate) unsafe fn quiesce_helper_rcu_kvfree(_: *mut c_void, head: *mut callback_head) {
    unsafe extern "C" fn free(head: *mut callback_head) {
        // SAFETY: The object begins with its head, so `head` is the address that was allocated.
        unsafe { kvfree(head.cast()) };
    }
    // SAFETY: `head` is in an object that nobody else defers, as this function requires.
    unsafe { quiesce_helper_call_rcu_hurry(head, Some(free)) };
}
pub(crate) unsafe fn quiesce_helper_kmalloc(size: usize, _: bool) -> *mut c_void {
    // SAFETY: `kmalloc()` may be called with any size.
    unsafe { kmalloc(size) }
}
macro_rules! kmalloc_of {
    ($($name:ident $size:literal)*) => {
        $(
            pub(crate) unsafe fn $name(_: bool) -> *mut c_void {
                // SAFETY: `kmalloc()` may be called with any size.
                unsafe { kmalloc($size) }
            }
        )*
    };
}
kmalloc_of! {
    quiesce_helper_kmalloc_32 32
    quiesce_helper_kmalloc_64 64
    quiesce_helper_kmalloc_96 96
    quiesce_helper_kmalloc_128 128
    quiesce_helper_kmalloc_192 192
    quiesce_helper_kmalloc_256 256
}
pub(crate) unsafe fn quiesce_helper_srcu_init(
    _: *mut srcu_struct,
    _: *const c_char,
    _: *mut lock_class_key,
    _: bool,
) -> i32 {
    unreachable!()
}
pub(crate) unsafe fn quiesce_helper_srcu_expedite(_: *mut srcu_struct) {
    unreachable!()
}
