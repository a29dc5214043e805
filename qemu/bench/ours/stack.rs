// SPDX-License-Identifier: GPL-2.0

//! Calls with the largest values there are, for who reads the stack frames in the object file.
//!
//! `stack_N_*` passes values of `N` bytes by value: its frame may hold two of them beside what
//! `size.py` allows for everything else.

use core::mem::MaybeUninit;
use kernel::{
    error::Result,
    prelude::*, //
};
use quiesce::{
    seq_field,
    seqlock::{
        Latch,
        SeqCount,
        SeqLock,
        SeqLockMode,
        MAX_BY_VALUE, //
    },
};

/// The largest value that is passed by value.
type Value = [u64; 64];
const _: () = assert!(size_of::<Value>() == MAX_BY_VALUE);

/// One that is not.
type Large = [u64; 512];

/// A structure with a field of each size.
#[allow(dead_code, reason = "what makes it large is not read")]
#[derive(Clone, Copy)]
struct Table {
    first: u64,
    values: [Large; 2],
    last: Value,
}

macro_rules! stack {
    ($($name:ident($($arg:ident: $t:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        #[no_mangle]
        #[inline(never)]
        fn $name($($arg: $t),*) $(-> $ret)? $body
    )*};
}

stack! {
    stack_512_read(lock: &SeqLock<Value>) -> Value {
        lock.read()
    }
    stack_512_read_to(lock: &SeqLock<Value>, to: &mut Value) {
        *to = lock.read();
    }
    stack_512_try_read(lock: &SeqLock<Value>) -> Option<Value> {
        lock.try_read()
    }
    stack_512_read_or_lock(lock: &SeqLock<Value>) -> Value {
        lock.read_or_lock::<3>()
    }
    stack_512_section(lock: &SeqLock<Value>) -> u64 {
        loop {
            if let Ok(value) = lock.begin().load().validate() {
                return value[63];
            }
        }
    }
    stack_512_read_section(lock: &SeqLock<Value>) -> u64 {
        lock.read_section(|s| Ok(s.load().validate()?[63]))
    }
    stack_512_read_begin(lock: &SeqLock<Value>) -> u64 {
        lock.read_begin()[63]
    }
    stack_512_set(lock: &SeqLock<Value>, value: &Value) {
        lock.write().set(*value);
    }
    stack_512_update(lock: &SeqLock<Value>) {
        lock.write().update(|v| v[63] = 3);
    }
    stack_512_lock(lock: &SeqLock<Value>, mode: SeqLockMode) {
        lock.lock(mode)[63] = 3;
    }
    stack_512_read_field(lock: &SeqLock<Table>) -> Value {
        lock.read_field(seq_field!(Table, last))
    }
    stack_512_set_field(lock: &SeqLock<Table>, value: &Value) {
        lock.write().set_field(seq_field!(Table, last), *value);
    }
    stack_512_latch_read(latch: &Latch<Value>) -> Value {
        latch.read()
    }
    stack_512_latch_store(latch: &Latch<Value>, value: &Value) {
        latch.store(*value);
    }
    stack_512_latch_update(latch: &Latch<Value>) {
        latch.update(|v| v[63] = 3);
    }
    stack_512_count_read(count: &SeqCount<Value, u64>) -> Value {
        count.read()
    }
    stack_512_count_store(count: &SeqCount<Value, u64>, owner: &mut u64, value: &Value) -> Result {
        count.store(owner, *value)
    }
    stack_512_count_update(count: &SeqCount<Value, u64>, owner: &mut u64) -> Result {
        count.update(owner, |v| v[63] = 3)
    }
    stack_512_new(value: &Value) -> Result<KBox<SeqLock<Value>>> {
        Ok(KBox::new(SeqLock::new(*value), GFP_KERNEL)?)
    }
    stack_0_init() -> Result<KBox<SeqLock<Large>>> {
        KBox::init(SeqLock::init(pin_init::init_zeroed()), GFP_KERNEL)
    }
    stack_0_init_array() -> Result<KBox<SeqLock<Large>>> {
        let value = pin_init::init_array_from_fn(|i| i as u64);
        KBox::init(SeqLock::init(value), GFP_KERNEL)
    }
    stack_0_init_latch() -> Result<KBox<Latch<Large>>> {
        KBox::init(Latch::init(pin_init::init_zeroed()), GFP_KERNEL)
    }
    stack_0_init_count() -> Result<KBox<SeqCount<Large, u64>>> {
        KBox::init(SeqCount::init(pin_init::init_zeroed()), GFP_KERNEL)
    }
    stack_0_read_into(lock: &SeqLock<Large>, to: &mut MaybeUninit<Large>) -> u64 {
        lock.read_into(to)[511]
    }
    stack_0_try_read_into(lock: &SeqLock<Large>, to: &mut MaybeUninit<Large>) -> bool {
        lock.try_read_into(to).is_some()
    }
    stack_0_set_from(lock: &SeqLock<Large>, value: &Large) {
        lock.write().set_from(value);
    }
    stack_0_exclusive(lock: &SeqLock<Large>) -> u64 {
        lock.read_exclusive()[511]
    }
    stack_0_field(lock: &SeqLock<Table>) -> u64 {
        lock.write().set_field(seq_field!(Table, first), 3);
        lock.read_field(seq_field!(Table, first))
    }
    stack_0_latch_read_into(latch: &Latch<Large>, to: &mut MaybeUninit<Large>) -> u64 {
        latch.read_into(to)[511]
    }
    stack_0_latch_store_from(latch: &Latch<Large>, value: &Large) {
        latch.store_from(value);
    }
    stack_0_count_read_into(count: &SeqCount<Large, u64>, to: &mut MaybeUninit<Large>) -> u64 {
        count.read_into(to)[511]
    }
    stack_0_count_store_from(count: &SeqCount<Large, u64>, owner: &mut u64, v: &Large) -> Result {
        count.store_from(owner, v)
    }
    stack_0_count_section(count: &SeqCount<Large, u64>, owner: &mut u64, v: &Large) -> Result<u64> {
        count.write_section(owner, |w| {
            w.set_from(v);
            w[511]
        })
    }
}
