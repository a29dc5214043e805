// SPDX-License-Identifier: GPL-2.0

//! Our side of the bench's rows.
//!
//! `bench.h` has the list of the functions and `frame.c` calls them. Each does its path `n` times;
//! those called `size_*` are the path alone, for counting instructions.

use kernel::{
    error::Result,
    ffi::c_int,
    prelude::KBox, //
};

mod rcu;
mod rundown;
mod seqlock;

fn init() -> Result {
    rundown::init()?;
    rcu::init()
}

#[no_mangle]
extern "C" fn bench_ours_init() -> c_int {
    match init() {
        Ok(()) => 0,
        Err(e) => {
            bench_ours_exit();
            e.to_errno()
        }
    }
}

#[no_mangle]
extern "C" fn bench_ours_exit() {
    rcu::exit();
    rundown::exit();
}

#[no_mangle]
extern "C" fn bench_ours_settle() {
    rcu::settle();
}

/// The size of an object, in the order of `frame.c`.
#[no_mangle]
extern "C" fn bench_ours_size(which: u32) -> u64 {
    let size = match which {
        0 => size_of::<quiesce::rundown::RundownRef>(),
        1 => size_of::<quiesce::rundown::PerCpuRundownRef>(),
        2 => size_of::<quiesce::seqlock::SeqLock<seqlock::Payload>>(),
        3 => size_of::<quiesce::rcu::RcuCell<KBox<quiesce::rcu::Object<[u64; 3]>>>>(),
        4 => size_of::<quiesce::rcu::Object<[u64; 3]>>(),
        _ => 0,
    };
    size as u64
}
