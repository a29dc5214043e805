// SPDX-License-Identifier: GPL-2.0

//! Our side of the bench's rows.
//!
//! `bench.h` has the list of the functions and `frame.c` calls them. Each does its path `n` times;
//! those called `size_*` are the path alone, for counting instructions.

use kernel::ffi::c_int;

mod rundown;

#[no_mangle]
extern "C" fn bench_ours_init() -> c_int {
    0
}

#[no_mangle]
extern "C" fn bench_ours_exit() {}

#[no_mangle]
extern "C" fn bench_ours_settle() {}

#[no_mangle]
extern "C" fn bench_ours_size(which: u32) -> u64 {
    let size = match which {
        0 => size_of::<quiesce::rundown::RundownRef>(),
        _ => 0,
    };
    size as u64
}
