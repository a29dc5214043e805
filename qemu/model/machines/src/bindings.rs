// SPDX-License-Identifier: GPL-2.0

//! The C side, as far as one thread sees it.

pub(crate) use kernel::bindings::*;
pub(crate) use kernel::wait::*;

use core::{cell::Cell, ffi::c_void, ptr};

pub(crate) mod uapi {
    #![allow(non_camel_case_types, non_upper_case_globals, unreachable_pub)]
    use kernel::ffi;
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

/// The processes of a model.
pub(crate) const PIDS: usize = 7;
pub(crate) static PROCESSES: [pid; PIDS] = [
    pid {
        number: 100,
        exited: Cell::new(None),
    },
    pid {
        number: 101,
        exited: Cell::new(None),
    },
    pid {
        number: 102,
        exited: Cell::new(None),
    },
    pid {
        number: 103,
        exited: Cell::new(None),
    },
    pid {
        number: 104,
        exited: Cell::new(None),
    },
    pid {
        number: 105,
        exited: Cell::new(None),
    },
    pid {
        number: 106,
        exited: Cell::new(None),
    },
];

thread_local! {
    pub(crate) static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// Writes to user memory fail.
    pub(crate) static FAULTS: Cell<bool> = const { Cell::new(false) };
}

fn current() -> *mut pid {
    ptr::from_ref(&PROCESSES[CURRENT.get()]).cast_mut()
}

pub(crate) unsafe fn quiesce_helper_get_pid(_: *mut pid) {}
pub(crate) unsafe fn quiesce_helper_current_pid() -> *mut pid {
    current()
}
pub(crate) unsafe fn quiesce_helper_is_current_pid(pid: *mut pid) -> bool {
    pid == current()
}
pub(crate) unsafe fn quiesce_helper_pid_ended(pid: *mut pid, code: *mut i32) -> bool {
    // SAFETY: The models' processes are statics, so each pointer to one is valid.
    unsafe {
        match (*pid).exited.get() {
            Some(exited) => {
                *code = exited;
                true
            }
            None => false,
        }
    }
}
pub(crate) unsafe fn quiesce_helper_in_exit(code: *mut i32) -> bool {
    // SAFETY: The function requires that `code` is valid for writes, as C's does.
    unsafe { quiesce_helper_pid_ended(current(), code) }
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
pub(crate) unsafe fn quiesce_helper_pid_in_proc(_: *mut c_void, pid: *mut pid) -> i32 {
    // SAFETY: The models' processes are statics, so each pointer to one is valid.
    unsafe { (*pid).number }
}
pub(crate) unsafe fn quiesce_helper_pid_watch(
    pid: *mut pid,
    entry: *mut wait_queue_entry,
    wake: Option<unsafe extern "C" fn(*mut wait_queue_entry, u32, i32, *mut c_void) -> i32>,
) {
    crate::world::watch(pid, entry, wake.unwrap());
}
pub(crate) unsafe fn quiesce_helper_pid_unwatch(_: *mut pid, entry: *mut wait_queue_entry) {
    crate::world::unwatch(entry);
}
pub(crate) unsafe fn quiesce_helper_exit_workqueue() -> *mut workqueue_struct {
    ptr::null_mut()
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
pub(crate) unsafe fn quiesce_helper_boottime() -> u64 {
    0
}
pub(crate) unsafe fn quiesce_helper_boottime_of_reader(ns: u64) -> u64 {
    ns
}
pub(crate) unsafe fn quiesce_helper_time_to_host(_: i32, ns: i64) -> i64 {
    ns
}

pub(crate) unsafe fn quiesce_helper_copy_in(
    to: *mut c_void,
    size: usize,
    from: usize,
    given: usize,
) -> i32 {
    // SAFETY: User memory is a struct of the caller's.
    unsafe {
        to.cast::<u8>()
            .copy_from(ptr::with_exposed_provenance(from), size.min(given))
    };
    0
}
pub(crate) unsafe fn quiesce_helper_copy_out(
    to: usize,
    given: usize,
    from: *const c_void,
    size: usize,
) -> i32 {
    // SAFETY: User memory is a struct of the caller's.
    unsafe { quiesce_helper_put(to, from, size.min(given)) }
}
pub(crate) unsafe fn quiesce_helper_put(to: usize, from: *const c_void, size: usize) -> i32 {
    if FAULTS.get() {
        return -14;
    }
    // SAFETY: User memory is a struct of the caller's.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(to).copy_from(from.cast(), size) };
    0
}
pub(crate) unsafe fn quiesce_helper_fault_in(_: usize, _: usize) -> i32 {
    if FAULTS.get() {
        -14
    } else {
        0
    }
}
