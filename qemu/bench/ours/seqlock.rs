// SPDX-License-Identifier: GPL-2.0

//! Sequence locks.

use core::hint::black_box;
use kernel::error::Result;
use quiesce::{
    seq_field,
    seqlock::{
        Bh,
        Preempt,
        SeqCount,
        SeqLock,
        ThreadedIrq, //
    },
    seqlock_static, //
};

/// The equivalent of the baseline's `struct payload`.
pub(crate) type Payload = [u64; 3];

// The readers of each lock run where its writer's mode keeps them away.
seqlock_static! {
    static PREEMPT: SeqLock<Payload, Preempt> = [0; 3];
    static BH: SeqLock<Payload, Bh> = [0; 3];
    static IRQ: SeqLock<Payload, ThreadedIrq> = [0; 3];
}

#[no_mangle]
#[inline(never)]
fn size_ours_seqlock_read(lock: &SeqLock<Payload, Preempt>, out: &mut Payload) {
    *out = lock.read();
}

/// The equivalent of the baseline's `struct address`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Address {
    bytes: [u8; 16],
    scope: u64,
}

#[no_mangle]
fn size_ours_seqlock_field(lock: &SeqLock<Address>, out: &mut [u8; 16]) {
    *out = lock.read_field(seq_field!(Address, bytes));
}

#[no_mangle]
fn size_ours_seqlock_set_field(lock: &SeqLock<Address>, value: &[u8; 16]) {
    let mut guard = lock.write();
    guard.set_field(seq_field!(Address, bytes), *value);
}

#[no_mangle]
fn size_ours_seqcount_read(count: &SeqCount<Payload, u64>, out: &mut Payload) {
    *out = count.read();
}

#[no_mangle]
fn size_ours_seqcount_store(
    count: &SeqCount<Payload, u64>,
    value: &Payload,
    owner: &mut u64,
) -> Result {
    count.store(owner, *value)
}

#[no_mangle]
fn size_ours_seqcount_store_irq(
    count: &SeqCount<Payload, u64, ThreadedIrq>,
    value: &Payload,
    owner: &mut u64,
) -> Result {
    count.store(owner, *value)
}

#[no_mangle]
fn size_ours_seqlock_write(lock: &SeqLock<Payload, Preempt>, value: &Payload) {
    lock.write().set(*value);
}

#[no_mangle]
fn size_ours_seqlock_write_bh(lock: &SeqLock<Payload, Bh>, value: &Payload) {
    lock.write_bh().set(*value);
}

#[no_mangle]
fn size_ours_seqlock_write_irq(lock: &SeqLock<Payload, ThreadedIrq>, value: &Payload) {
    lock.write_irq().set(*value);
}

#[no_mangle]
fn size_ours_seqlock_write_irqsave(lock: &SeqLock<Payload, ThreadedIrq>, value: &Payload) {
    lock.write_irqsave().set(*value);
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_read(n: u64, _arg: u32) -> u64 {
    let mut p = [0; 3];
    for _ in (0..n).rev() {
        size_ours_seqlock_read(&PREEMPT, &mut p);
    }
    black_box(p);
    0
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_read_excl(n: u64, _arg: u32) -> u64 {
    let mut sum = 0u64;
    for _ in (0..n).rev() {
        let p = *PREEMPT.read_exclusive();
        sum = sum.wrapping_add(p[0].wrapping_add(p[1]).wrapping_add(p[2]));
    }
    black_box(sum);
    0
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_write(n: u64, _arg: u32) -> u64 {
    for i in (0..n).rev() {
        PREEMPT.write().set([i; 3]);
    }
    0
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_write_bh(n: u64, _arg: u32) -> u64 {
    for i in (0..n).rev() {
        BH.write_bh().set([i; 3]);
    }
    0
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_write_irq(n: u64, _arg: u32) -> u64 {
    for i in (0..n).rev() {
        IRQ.write_irq().set([i; 3]);
    }
    0
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_write_irq_counted(n: u64, arg: u32) -> u64 {
    bench_ours_seqlock_write_irq(n, arg)
}

#[no_mangle]
extern "C" fn bench_ours_seqlock_write_irqsave(n: u64, _arg: u32) -> u64 {
    for i in (0..n).rev() {
        IRQ.write_irqsave().set([i; 3]);
    }
    0
}
