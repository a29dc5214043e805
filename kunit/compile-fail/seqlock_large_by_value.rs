// SPDX-License-Identifier: GPL-2.0

//! No call passes a value by value that is too large for the stack. Each call has a size of its
//! own, so that each has an error of its own.

//~ ERROR the value is too large for the stack
//~ ERROR [u64; 65]
//~ ERROR [u64; 66]
//~ ERROR [u64; 67]
//~ ERROR [u64; 68]
//~ ERROR [u64; 69]
//~ ERROR [u64; 70]
//~ ERROR [u64; 71]
//~ ERROR [u64; 72]
//~ ERROR [u64; 73]
//~ ERROR [u64; 74]
//~ ERROR [u64; 75]
//~ ERROR [u64; 76]
//~ ERROR [u64; 77]
//~ ERROR [u64; 78]
//~ ERROR [u64; 79]
//~ ERROR [u64; 80]
//~ ERROR [u64; 81]
//~ ERROR [u64; 82]
//~ ERROR [u64; 83]
//~ ERROR [u64; 84]
//~ ERROR [u64; 85]
//~ ERROR [u64; 86]

use kernel::prelude::*;
use quiesce::{
    new_latch, new_seqcount, new_seqlock, seq_field,
    seqlock::{Latch, SeqCount, SeqLock, SeqLockMode},
};

/// The size to use: with `cfg(fixed)` as many words as are passed by value, or else `n`.
const fn words(n: usize) -> usize {
    if cfg!(fixed) {
        64
    } else {
        n
    }
}

type Lock<const N: usize> = SeqLock<[u64; N]>;
type Pair<const N: usize> = SeqLock<([u64; N], u8)>;
type Count<const N: usize> = SeqCount<[u64; N], u64>;

macro_rules! cases {
    ($($name:ident($($arg:ident: $t:ty),*) $n:literal => $body:expr;)*) => {$(
        #[allow(missing_docs)]
        pub fn $name($($arg: $t),*) {
            #[allow(dead_code, reason = "where the type says it")]
            const N: usize = words($n);
            let _ = $body;
        }
    )*};
}

cases! {
    new() 65 => Lock::<N>::new([0; N]);
    read(it: &Lock<{ words(66) }>) 66 => it.read();
    try_read(it: &Lock<{ words(67) }>) 67 => it.try_read();
    read_begin(it: &Lock<{ words(68) }>) 68 => it.read_begin();
    set(it: &Lock<{ words(69) }>) 69 => it.write().set([0; N]);
    update(it: &Lock<{ words(70) }>) 70 => it.write().update(|v| v[0] = 1);
    load(it: &Lock<{ words(71) }>) 71 => it.begin().load();
    latch_new() 72 => Latch::new([0u64; N]);
    latch_read(it: &Latch<[u64; words(73)]>) 73 => it.read();
    latch_store(it: &Latch<[u64; words(74)]>) 74 => it.store([0; N]);
    latch_update(it: &Latch<[u64; words(75)]>) 75 => it.update(|v| v[0] = 1);
    read_field(it: &Pair<{ words(76) }>) 76 => it.read_field(seq_field!(([u64; N], u8), 0));
    set_field(it: &Pair<{ words(77) }>) 77 => {
        it.write().set_field(seq_field!(([u64; N], u8), 0), [0; N])
    };
    read_or_lock(it: &Lock<{ words(78) }>) 78 => it.read_or_lock::<1>();
    lock(it: &Lock<{ words(79) }>) 79 => it.lock(SeqLockMode::WriteLock);
    new_lock_macro() 80 => KBox::init(new_seqlock!([0u64; N]), GFP_KERNEL);
    new_latch_macro() 81 => KBox::init(new_latch!([0u64; N]), GFP_KERNEL);
    count_read(it: &Count<{ words(82) }>) 82 => it.read();
    count_store(it: &Count<{ words(83) }>, owner: &mut u64) 83 => it.store(owner, [0; N]);
    count_update(it: &Count<{ words(84) }>, owner: &mut u64) 84 => it.update(owner, |v| v[0] = 1);
    new_count_macro(owner: &u64) 85 => {
        KBox::init(new_seqcount!(Count<N>, [0; N], owner), GFP_KERNEL)
    };
    latch_try_store(it: &Latch<[u64; words(86)]>) 86 => it.try_store([0; N]);
}

#[allow(missing_docs)]
pub fn in_place(lock: &Lock<100>, from: &[u64; 100]) -> u64 {
    lock.write().set_from(from);
    lock.read_exclusive()[0]
}
