// SPDX-License-Identifier: GPL-2.0

//! Rundown references.

use core::{
    hint::black_box,
    ptr::null_mut, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    RundownGuard,
    RundownProtect,
    RundownRef, //
};

static WORD: RundownRef = RundownRef::new();

/// Created by [`init`] and freed by [`exit`].
static PER_CPU: Atomic<*mut PerCpuRundownRef> = Atomic::new(null_mut());

/// Allocates the objects that rows use.
pub(crate) fn init() -> Result {
    let per_cpu = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
    // SAFETY: The value is not moved out of its box: `PER_CPU` is only read through shared
    // references, and `exit()` pins the box again before it drops it.
    let raw = KBox::into_raw(unsafe { Pin::into_inner_unchecked(per_cpu) });
    PER_CPU.store(raw, Relaxed);
    Ok(())
}

/// Undoes [`init`].
pub(crate) fn exit() {
    let raw = PER_CPU.xchg(null_mut(), Relaxed);
    if !raw.is_null() {
        // SAFETY: `raw` comes from `KBox::into_raw()` in `init()`, and the exchange above took it
        // out of `PER_CPU`. No row runs any more, so there is no other reference to it.
        drop(unsafe { Pin::new_unchecked(KBox::from_raw(raw)) });
    }
}

fn per_cpu() -> &'static PerCpuRundownRef {
    // SAFETY: `init()` has set `PER_CPU` to a valid object, which lives until `exit()`. The frame
    // runs rows, and so this function, only in between.
    unsafe { &*PER_CPU.load(Relaxed) }
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
fn size_ours_rundown_percpu_acquire(
    object: &PerCpuRundownRef,
) -> Option<RundownGuard<'_, PerCpuRundownRef>> {
    object.try_acquire().ok()
}

#[no_mangle]
fn size_ours_rundown_percpu_release(guard: RundownGuard<'_, PerCpuRundownRef>) {
    drop(guard);
}

/// Acquires and releases `n` times.
#[inline(always)]
fn acquire_and_release<R: HasRundown>(object: &R, n: u64) {
    for _ in (0..n).rev() {
        let Ok(guard) = object.try_acquire() else {
            break;
        };
        drop(guard);
    }
}

/// Does `n` rundowns, each begun with `holders` guards held, which are dropped before the wait.
fn drain<R: HasRundown<Ref = R> + RundownProtect>(object: &R, n: u64, holders: usize) {
    let Ok(mut guards) = KVec::with_capacity(holders, GFP_KERNEL) else {
        return;
    };
    for _ in (0..n).rev() {
        for _ in 0..holders {
            if let Ok(guard) = object.try_acquire() {
                let _ = guards.push_within_capacity(guard);
            }
        }
        object.begin_rundown();
        guards.clear();
        object.wait_for_rundown();
        if object.re_init().is_err() {
            break;
        }
    }
}

#[no_mangle]
extern "C" fn bench_ours_rundown_word(n: u64, _arg: u32) -> u64 {
    acquire_and_release(&WORD, n);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_refcount(n: u64, _arg: u32) -> u64 {
    acquire_and_release(&WORD, n);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_percpu(n: u64, _arg: u32) -> u64 {
    acquire_and_release(per_cpu(), n);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_drain(n: u64, _arg: u32) -> u64 {
    drain(&WORD, n, 0);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_drain_percpu(n: u64, _arg: u32) -> u64 {
    drain(per_cpu(), n, 0);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_drain_holders(n: u64, arg: u32) -> u64 {
    drain(&WORD, n, arg as usize);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_create(n: u64, _arg: u32) -> u64 {
    for _ in (0..n).rev() {
        let Ok(word) = KBox::new(RundownRef::new(), GFP_KERNEL) else {
            break;
        };
        black_box(&word);
    }
    0
}

#[no_mangle]
extern "C" fn bench_ours_rundown_create_percpu(n: u64, _arg: u32) -> u64 {
    for _ in (0..n).rev() {
        let Ok(object) = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL) else {
            break;
        };
        object.wait_for_rundown();
    }
    0
}
