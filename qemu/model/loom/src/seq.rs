// SPDX-License-Identifier: GPL-2.0

use core::mem::MaybeUninit;
use kernel::sync::{
    atomic::{atomic_load, atomic_store, Acquire, AtomicType, Relaxed},
    barrier::{smp_mb, Read, Write},
};

/// The accesses of counters of one width. A counter of 64 bits is one atomic, of which the narrower ones
/// access the lower half.
macro_rules! counters {
    ($t:ty, $load_acquire:ident, $load_acquire_even:ident, $load:ident, $add:ident) => {
        pub(crate) unsafe fn $load_acquire(ptr: *const $t) -> $t {
            // SAFETY: `ptr` points to a counter, as this function requires.
            unsafe { atomic_load(ptr.cast_mut(), Acquire) }
        }
        pub(crate) unsafe fn $load_acquire_even(ptr: *const $t) -> $t {
            loop {
                // SAFETY: `ptr` points to a counter, as this function requires.
                let value = unsafe { $load_acquire(ptr) };
                if value & 1 == 0 {
                    return value;
                }
                kernel::processor::cpu_relax();
            }
        }
        pub(crate) unsafe fn $load(ptr: *const $t) -> $t {
            // SAFETY: `ptr` points to a counter, as this function requires.
            unsafe { atomic_load(ptr.cast_mut(), Relaxed) }
        }
        pub(crate) unsafe fn $add(ptr: *mut $t, n: $t) {
            // SAFETY: `ptr` points to a counter, as this function requires.
            unsafe { atomic_store(ptr, atomic_load(ptr, Relaxed).wrapping_add(n), Relaxed) }
        }
    };
}

counters!(
    u32,
    load_acquire_u32,
    load_acquire_even_u32,
    load_u32,
    add_u32
);
counters!(
    u64,
    load_acquire_u64,
    load_acquire_even_u64,
    load_u64,
    add_u64
);

pub(crate) unsafe fn increment_u32(ptr: *mut u32) {
    // SAFETY: `ptr` points to a counter, as this function requires.
    unsafe { add_u32(ptr, 1) }
}
pub(crate) fn read_barrier() {
    smp_mb(Read);
}
pub(crate) fn write_barrier() {
    smp_mb(Write);
}

pub(crate) unsafe trait Word: Copy + AtomicType {}
// SAFETY: The type is an integer of at most the size of a word, so one access loads or stores it.
unsafe impl Word for u8 {}
// SAFETY: The type is an integer of at most the size of a word, so one access loads or stores it.
unsafe impl Word for u16 {}
// SAFETY: The type is an integer of at most the size of a word, so one access loads or stores it.
unsafe impl Word for u32 {}
// SAFETY: The type is an integer of the size of a word, so one access loads or stores it.
unsafe impl Word for usize {}

pub(crate) unsafe fn load_word<W: Word>(ptr: *const W) -> MaybeUninit<W> {
    // SAFETY: `ptr` points to a word, as this function requires; the values of models have no padding.
    MaybeUninit::new(unsafe { atomic_load(ptr.cast_mut(), Relaxed) })
}
pub(crate) unsafe fn store_word<W: Word>(ptr: *mut W, value: MaybeUninit<W>) {
    // SAFETY: `ptr` points to a word, as this function requires; the values of models have no padding.
    unsafe {
        atomic_store(ptr, value.assume_init(), Relaxed);
        // What the holder of the lock reads through a reference.
        *ptr = value.assume_init();
    }
}
