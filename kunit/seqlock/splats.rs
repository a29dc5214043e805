// SPDX-License-Identifier: GPL-2.0

//! A separate module that misuses sequence locks in ways that lockdep must report, one per
//! load. See `qemu/tests/seqlock.splats`.

use kernel::prelude::*;
use quiesce::{
    latch_static, new_seqlock,
    seqlock::{
        Irq,
        Latch,
        RawSeqLock,
        SeqLock, //
    },
    seqlock_static,
};

#[path = "../support.rs"]
mod support;

module! {
    type: Splats,
    name: "seqlock_splats",
    authors: ["The quiesce developers"],
    description: "Misuses sequence locks, for lockdep to see",
    license: "GPL",
    params: {
        case: u32 {
            default: 0,
            description: "What to do wrong",
        },
    },
}

seqlock_static! {
    static PLAIN: SeqLock<u64> = 0;
    static OTHER: SeqLock<u64> = 0;
    static RAW: RawSeqLock<u64, Irq> = 0;
}

latch_static! {
    static LATCH: Latch<u64> = 0;
}

/// A lock that says that it is read in process context is read in an interrupt.
fn read_in_hardirq(lock: &SeqLock<u64>) -> Result {
    lock.write().set(1);
    support::in_hardirq(|| lock.read()).ok_or(EIO)?;
    Ok(())
}

/// The same of an exclusive reader, which shares the writers' lock.
fn exclusive_in_softirq() -> Result {
    PLAIN.write().set(1);
    support::in_softirq(|| *PLAIN.read_exclusive()).ok_or(EIO)?;
    Ok(())
}

/// Two locks are taken in both orders.
fn cycle() -> Result {
    for (first, second) in [(&PLAIN, &OTHER), (&OTHER, &PLAIN)] {
        let first = first.write();
        let second = second.write();
        drop((first, second));
    }
    Ok(())
}

/// Two locks by one call, which are of one class, are taken one within the other.
fn nested() {
    let [first, second] = [(); 2].map(|()| SeqLock::<u64>::new(0));
    let guard = first.write();
    second.write().set(1);
    drop(guard);
}

/// Two locks by two calls, which are of two classes, in one order.
fn not_nested() {
    let (first, second) = (SeqLock::<u64>::new(0), SeqLock::<u64>::new(0));
    let guard = first.write();
    second.write().set(1);
    drop(guard);
}

/// Correct uses in all contexts, which lockdep must not report.
fn right() -> Result {
    let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u64, Irq>, 0), GFP_KERNEL)?;
    for lock in [&*lock, &RAW] {
        lock.write_irq().set(1);
        support::in_softirq(|| lock.write_irqsave().set(lock.try_read().unwrap_or(0)));
        support::in_hardirq(|| lock.write_irq().update(|v| *v += 1)).ok_or(EIO)?;
        support::in_hardirq(|| lock.read()).ok_or(EIO)?;
        support::in_nmi(|| lock.try_read());
    }
    let guard = PLAIN.write();
    let seen = support::in_hardirq(|| PLAIN.try_read());
    drop(guard);
    not_nested();
    LATCH.store(1);
    support::in_hardirq(|| LATCH.store(2)).ok_or(EIO)?;
    support::in_nmi(|| LATCH.read());
    if seen == Some(None) {
        Ok(())
    } else {
        Err(EIO)
    }
}

impl kernel::Module for Splats {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match module_parameters::case.value() {
            1 => {
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64>, 0), GFP_KERNEL)?;
                read_in_hardirq(&lock)?;
            }
            2 => read_in_hardirq(&PLAIN)?,
            3 => exclusive_in_softirq()?,
            4 => cycle()?,
            6 => nested(),
            _ => right()?,
        }
        Ok(Self)
    }
}

struct Splats;
