// SPDX-License-Identifier: GPL-2.0

//! Torture of quiesce's primitives, after rcutorture.
//!
//! Each part runs readers, writers and interrupts on one object, with delays injected at critical
//! points and with threads migrated and preempted, and checks invariants. Each part has mutants, in
//! which the protocol is broken in one place: the same run must report a violation.
//!
//! See `control.c` for the usage.

use kernel::{
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*,
    str::CStr, //
};

#[path = "../../../kunit/rcu/executor.rs"]
#[allow(dead_code, reason = "the torture blocks on futures only")]
mod executor;
mod faults;
mod frame;
mod rcu;
mod rundown;
mod rundown_data;
mod seqlock;
#[path = "../../../kunit/support.rs"]
mod support;

module! {
    type: Torture,
    name: "quiesce_torture",
    authors: ["The quiesce developers"],
    description: "Torture of quiesce",
    license: "GPL",
}

struct Torture;

impl kernel::Module for Torture {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

/// Runs one part; see `control.c`.
///
/// # Safety
///
/// Both pointers are to NUL-terminated strings that stay valid and unmodified during the call.
#[no_mangle]
unsafe extern "C" fn quiesce_torture_run(
    part: *const c_char,
    mutant: *const c_char,
    seconds: c_uint,
    workers: c_uint,
) -> c_int {
    // SAFETY: `control.c` passes two NUL-terminated strings in the stack frame of `run_set()`,
    // which are valid and not modified until this function returns.
    let (part, mutant) = unsafe { (CStr::from_char_ptr(part), CStr::from_char_ptr(mutant)) };
    let how = frame::How {
        seconds,
        workers,
        part,
        mutant,
    };
    let ret = match part.to_bytes() {
        b"rundown" => rundown::run(&how),
        b"seqlock" => seqlock::run(&how),
        b"rcu" => rcu::run(&how),
        _ => Err(EINVAL),
    };
    ret.map_or_else(|e| e.to_errno(), |()| 0)
}

/// Does one operation that allocates; see `control.c`.
///
/// # Safety
///
/// `name` points to a NUL-terminated string that stays valid and unmodified during the call.
#[no_mangle]
unsafe extern "C" fn quiesce_torture_fault(name: *const c_char) -> c_int {
    // SAFETY: `control.c` passes a NUL-terminated string in the stack frame of `fault_set()`, which
    // is valid and not modified until this function returns.
    let name = unsafe { CStr::from_char_ptr(name) };
    faults::run(name).map_or_else(|e| e.to_errno(), |()| 0)
}
