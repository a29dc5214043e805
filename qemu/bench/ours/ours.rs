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
use quiesce::{
    rcu::{
        Object,
        RcuCell, //
    },
    rundown::{
        PerCpuRundownRef,
        RundownRef, //
    },
    seqlock::SeqLock, //
};

mod rcu;
mod rundown;
mod scale;
mod seqlock;
mod stack;

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

macro_rules! sizes {
    ($($which:literal $name:ident: $type:ty,)*) => {
        /// The size of an object, in the order of `frame.c`.
        #[no_mangle]
        extern "C" fn bench_ours_size(which: u32) -> u64 {
            let size = match which {
                $($which => size_of::<$type>(),)*
                _ => 0,
            };
            size as u64
        }

        $(
            /// As large as such an object, for who reads the object file.
            #[no_mangle]
            #[allow(non_upper_case_globals)]
            static $name: [u8; size_of::<$type>()] = [0; size_of::<$type>()];
        )*
    };
}

sizes! {
    0 sizeof_ours_rundown: RundownRef,
    1 sizeof_ours_rundown_percpu: PerCpuRundownRef,
    2 sizeof_ours_seqlock: SeqLock<seqlock::Payload>,
    3 sizeof_ours_rcu_cell: RcuCell<KBox<Object<[u64; 3]>>>,
    4 sizeof_ours_rcu_object: Object<[u64; 3]>,
}
