// SPDX-License-Identifier: GPL-2.0

//! Rundown references.

use core::hint::black_box;
use kernel::prelude::*;
use quiesce::rundown::{
    RundownGuard,
    RundownProtect,
    RundownRef, //
};

static WORD: RundownRef = RundownRef::new();

/// Makes what needs memory.
pub(crate) fn init() -> Result {
    Ok(())
}

/// Undoes [`init`].
pub(crate) fn exit() {}

pub(crate) fn percpu_size() -> usize {
    0
}

#[no_mangle]
fn size_ours_rundown_acquire(word: &RundownRef) -> Option<RundownGuard<'_>> {
    word.try_acquire().ok()
}

#[no_mangle]
fn size_ours_rundown_release(guard: RundownGuard<'_>) {
    drop(guard);
}

#[no_mangle]
extern "C" fn bench_ours_rundown_word(n: u64, _arg: u32) -> u64 {
    for _ in 0..n {
        let Ok(guard) = WORD.try_acquire() else { break };
        drop(guard);
    }
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_refcount(n: u64, arg: u32) -> u64 {
    bench_ours_rundown_word(n, arg)
}

#[no_mangle]
extern "C" fn bench_ours_rundown_drain(n: u64, _arg: u32) -> u64 {
    drain(&WORD, n, 0);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_drain_holders(n: u64, arg: u32) -> u64 {
    drain(&WORD, n, arg as usize);
    0
}

/// `n` rundowns, each begun with so many holders, which let go before it is waited for.
fn drain(object: &RundownRef, n: u64, holders: usize) {
    let Ok(mut guards) = KVec::with_capacity(holders, GFP_KERNEL) else {
        return;
    };
    for _ in 0..n {
        for _ in 0..holders {
            if let Ok(guard) = object.try_acquire() {
                let _ = guards.push_within_capacity(guard);
            }
        }
        object.begin_rundown();
        guards.clear();
        if object.wait_for_rundown().is_err() || object.re_init().is_err() {
            break;
        }
    }
}

#[no_mangle]
extern "C" fn bench_ours_rundown_create(n: u64, _arg: u32) -> u64 {
    for _ in 0..n {
        let Ok(word) = KBox::new(RundownRef::new(), GFP_KERNEL) else {
            break;
        };
        black_box(&word);
    }
    0
}
