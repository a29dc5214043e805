// SPDX-License-Identifier: GPL-2.0

//! Optimistic readers, each way of reading.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use quiesce::{
    new_seqlock, seq_field,
    seqlock::{
        Bh,
        Irq,
        RawSeqLock,
        Retry,
        SeqLock,
        ThreadedIrq, //
    },
    seqlock_static,
};

use crate::support;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Inner {
    tag: u16,
    pair: (u8, u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Value {
    first: u64,
    flag: bool,
    inner: Inner,
    last: u32,
}

const VALUE: Value = Value {
    first: 1,
    flag: true,
    inner: Inner {
        tag: 2,
        pair: (3, 4),
    },
    last: 5,
};

seqlock_static! {
    static PLAIN: SeqLock<Value> = VALUE;
    static IRQ: SeqLock<u64, ThreadedIrq> = 11;
    static RAW: RawSeqLock<[u8; 13], Irq> = [7; 13];
}

#[kunit_tests(quiesce_seqlock_read)]
mod tests {
    use super::*;

    #[test]
    fn every_way_reads_the_value() -> Result {
        let lock = KBox::pin_init(new_seqlock!(VALUE), GFP_KERNEL)?;
        assert_eq!(lock.read(), VALUE);
        assert_eq!(lock.try_read(), Some(VALUE));
        assert_eq!(lock.read_or_lock::<3>(), VALUE);
        assert_eq!(lock.read_or_lock::<0>(), VALUE);
        assert_eq!(lock.begin().load().validate(), Ok(VALUE));
        assert_eq!(lock.read_field(seq_field!(Value, first)), 1);
        assert!(lock.read_field(seq_field!(Value, flag)));
        assert_eq!(lock.read_field(seq_field!(Value, inner)), VALUE.inner);
        assert_eq!(lock.read_field(seq_field!(Value, inner.tag)), 2);
        assert_eq!(lock.read_field(seq_field!(Value, inner.pair.1)), 4);
        assert_eq!(lock.read_field(seq_field!(Value, last)), 5);
        let both = lock.read_section(|s| {
            let first = s.field(seq_field!(Value, first));
            let last = s.field(seq_field!(Value, last));
            Ok((first.validate()?, last.validate()?))
        });
        assert_eq!(both, (1, 5));
        assert_eq!(*lock.read_exclusive(), VALUE);
        Ok(())
    }

    #[test]
    fn a_field_is_written_alone() -> Result {
        let lock = KBox::pin_init(new_seqlock!(VALUE), GFP_KERNEL)?;
        let mut guard = lock.write();
        guard.set_field(seq_field!(Value, flag), false);
        guard.set_field(seq_field!(Value, inner.pair.0), 9);
        guard.set_field(seq_field!(Value, last), u32::MAX);
        drop(guard);
        let expected = Value {
            flag: false,
            inner: Inner {
                tag: 2,
                pair: (9, 4),
            },
            last: u32::MAX,
            ..VALUE
        };
        assert_eq!(lock.read(), expected);
        Ok(())
    }

    #[test]
    fn a_write_section_is_seen() -> Result {
        let lock = KBox::pin_init(new_seqlock!(VALUE), GFP_KERNEL)?;
        let before = lock.begin();
        let guard = lock.write();
        let seen = (
            before.retry(),
            before.load().validate(),
            before.field(seq_field!(Value, last)).validate(),
            lock.try_read(),
            lock.try_begin().is_some(),
        );
        drop(guard);
        let after = (before.retry(), before.load().validate());
        assert_eq!(seen, (true, Err(Retry), Err(Retry), None, false));
        assert_eq!(after, (true, Err(Retry)));
        assert_eq!(lock.begin().load().validate(), Ok(VALUE));
        // An exclusive reader is not.
        let section = lock.begin();
        drop(lock.read_exclusive());
        assert_eq!(section.load().validate(), Ok(VALUE));
        // Nor is another reader.
        let section = lock.begin();
        let other = lock.read();
        assert_eq!((section.load().validate(), other), (Ok(VALUE), VALUE));
        Ok(())
    }

    #[test]
    fn a_copy_of_before_a_write_is_not_valid_after_it() -> Result {
        let lock = KBox::pin_init(new_seqlock!(VALUE), GFP_KERNEL)?;
        let section = lock.begin();
        let copy = section.load();
        lock.write().set_field(seq_field!(Value, last), 6);
        assert_eq!(copy.validate(), Err(Retry));
        Ok(())
    }

    #[test]
    fn read_section_goes_round_until_whole() -> Result {
        let lock = KBox::pin_init(new_seqlock!(VALUE), GFP_KERNEL)?;
        let mut rounds = 0;
        let last = lock.read_section(|s| {
            rounds += 1;
            let copy = s.field(seq_field!(Value, last));
            if rounds < 3 {
                lock.write()
                    .set_field(seq_field!(Value, last), 100 + rounds);
            }
            copy.validate()
        });
        assert_eq!((rounds, last), (3, 102));
        Ok(())
    }

    /// The last call is under the lock; what it copies is valid, and no writer gets in.
    #[test]
    fn read_section_or_lock_falls_back_to_the_lock() -> Result {
        let lock = KBox::new(SeqLock::<Value>::new(VALUE), GFP_KERNEL)?;
        let mut calls = 0;
        let (last, excluded) = lock.read_section_or_lock::<2, _>(|s| {
            calls += 1;
            let copy = s.field(seq_field!(Value, last));
            let written = lock
                .try_write()
                .map(|mut guard| guard.set_field(seq_field!(Value, last), 100 + calls));
            // Under the lock nobody could write, so that the copy is valid.
            Ok((copy.validate()?, written.is_err()))
        });
        assert_eq!((calls, last, excluded), (3, 102, true));
        assert!(lock.try_write().is_ok());

        // A body that does not read the value is validated too: it is called again.
        let mut calls = 0;
        let ret = lock.read_section(|_| {
            calls += 1;
            if calls < 3 {
                lock.write().set(VALUE);
            }
            Ok(calls)
        });
        assert_eq!((ret, calls), (3, 3));
        // `Retry` under the lock does not keep the lock.
        let mut calls = 0;
        let ret = lock.read_section_or_lock::<0, _>(|_| {
            calls += 1;
            if calls < 3 {
                Err(Retry)
            } else {
                Ok(calls)
            }
        });
        assert_eq!(ret, 3);
        let free = lock.read_section_or_lock::<1, _>(|s| s.load().validate());
        assert_eq!(free, VALUE);
        Ok(())
    }

    #[test]
    fn read_or_lock_takes_the_lock_when_disturbed() -> Result {
        let lock = Arc::pin_init(new_seqlock!(SeqLock<u64, Bh>, 1), GFP_KERNEL)?;
        let theirs = lock.clone();
        let writer = support::spawn(c"seqlock-writer", move || {
            for _ in 0..50 {
                let mut guard = theirs.write_bh();
                support::udelay(20);
                guard.update(|v| *v += 1);
            }
        })?;
        let mut last = 0;
        let mut ordered = true;
        for _ in 0..200 {
            let value = lock.read_or_lock::<1>();
            ordered &= value >= last;
            last = value;
        }
        writer.join();
        assert!(ordered);
        assert_eq!(lock.read(), 51);
        Ok(())
    }

    /// Without a pass, it waits for who holds the lock, even for a reader.
    #[test]
    fn read_or_lock_waits_for_the_lock() -> Result {
        if support::num_online_cpus() < 2 {
            return Ok(());
        }
        let lock = Arc::pin_init(new_seqlock!(SeqLock<u64>, 1), GFP_KERNEL)?;
        let (theirs, began) = (lock.clone(), Arc::new(Atomic::new(0), GFP_KERNEL)?);
        let theirs_began = began.clone();
        let thread = support::spawn(c"seqlock-reader", move || {
            while theirs_began.load(Relaxed) == 0 {
                support::cond_resched();
            }
            theirs.read_or_lock::<0>();
            theirs_began.store(2, Relaxed);
        })?;
        let guard = lock.read_exclusive();
        began.store(1, Relaxed);
        support::udelay(20_000);
        let early = began.load(Relaxed) == 2;
        drop(guard);
        thread.join();
        assert!(!early);
        Ok(())
    }

    /// A pass needs no lock.
    #[test]
    fn read_or_lock_reads_first() -> Result {
        let lock = Arc::pin_init(new_seqlock!(SeqLock<u64>, 1), GFP_KERNEL)?;
        let guard = lock.read_exclusive();
        let value = lock.read_or_lock::<1>();
        drop(guard);
        assert_eq!(value, 1);
        Ok(())
    }

    #[test]
    fn statics_need_no_initialisation() -> Result {
        assert_eq!(PLAIN.read(), VALUE);
        PLAIN.write().set_field(seq_field!(Value, last), 50);
        assert_eq!(PLAIN.read().last, 50);
        PLAIN.write().set(VALUE);
        IRQ.write_irq().update(|v| *v += 1);
        assert_eq!(*IRQ.read_exclusive_irqsave(), 12);
        IRQ.write_irq().set(11);
        RAW.write_irq().set([8; 13]);
        assert_eq!(RAW.read(), [8; 13]);
        RAW.write_irq().set([7; 13]);
        let seen = support::in_hardirq(|| (IRQ.try_read(), RAW.read()));
        assert_eq!(seen, Some((Some(11), [7; 13])));
        Ok(())
    }

    #[test]
    fn who_has_the_lock_alone_has_its_value() -> Result {
        let mut lock = KBox::init(new_seqlock!(SeqLock<u64>, 1, c"named"), GFP_KERNEL)?;
        *lock.get_mut() += 1;
        assert_eq!(lock.read(), 2);
        Ok(())
    }

    /// Each way of reading, in each kind of interrupt that the lock's context includes.
    #[test]
    fn every_way_reads_in_interrupts() -> Result {
        const BOTH: (u8, u32) = (3, 4);
        /// Calls `f`, which is compiled by itself: a function that reads in all ways is large.
        #[inline(never)]
        fn one<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        /// Reads the lock in each way.
        macro_rules! all {
            ($lock:expr) => {
                [
                    one(|| $lock.try_read()),
                    one(|| $lock.try_begin().and_then(|s| s.load().validate().ok())),
                    one(|| Some($lock.read())),
                    one(|| Some((3, $lock.read_field(seq_field!((u8, u32), 1))))),
                    one(|| $lock.begin().load().validate().ok()),
                    one(|| Some($lock.read_section(|s| s.load().validate()))),
                    one(|| Some($lock.read_section_or_lock::<1, _>(|s| s.load().validate()))),
                    one(|| Some($lock.read_or_lock::<1>())),
                    one(|| Some(*$lock.read_begin())),
                ]
            };
        }
        let bh = KBox::pin_init(new_seqlock!(SeqLock<(u8, u32), Bh>, BOTH), GFP_KERNEL)?;
        let irq = KBox::pin_init(new_seqlock!(RawSeqLock<(u8, u32), Irq>, BOTH), GFP_KERNEL)?;
        let soft = support::in_softirq(|| (all!(bh), all!(irq)));
        let hard = support::in_hardirq(|| all!(irq));
        let nmi = support::in_nmi(|| {
            let section = bh.try_begin();
            (
                bh.try_read(),
                section.and_then(|s| s.load().validate().ok()),
            )
        });
        assert_eq!(soft, Some(([Some(BOTH); 9], [Some(BOTH); 9])));
        assert_eq!(hard, Some([Some(BOTH); 9]));
        if cfg!(all(CONFIG_X86_64, CONFIG_X86_LOCAL_APIC)) {
            assert_eq!(nmi, Some((Some(BOTH), Some(BOTH))));
        }
        Ok(())
    }

    #[test]
    fn readers_in_interrupts() -> Result {
        let bh = KBox::pin_init(new_seqlock!(SeqLock<u64, Bh>, 3), GFP_KERNEL)?;
        let irq = KBox::pin_init(new_seqlock!(RawSeqLock<u64, Irq>, 4), GFP_KERNEL)?;
        let soft = support::in_softirq(|| (bh.read(), irq.read(), bh.read_or_lock::<1>()));
        let hard = support::in_hardirq(|| (irq.read(), irq.read_or_lock::<1>(), bh.try_read()));
        // An interrupt within the write section gets an answer too, if it does not ask for one.
        let guard = bh.write_bh();
        let within = support::in_hardirq(|| bh.try_read());
        drop(guard);
        let nmi = support::in_nmi(|| (bh.try_read(), irq.try_read()));
        assert_eq!(soft, Some((3, 4, 3)));
        assert_eq!(hard, Some((4, 4, Some(3))));
        assert_eq!(within, Some(None));
        if cfg!(all(CONFIG_X86_64, CONFIG_X86_LOCAL_APIC)) {
            assert_eq!(nmi, Some((Some(3), Some(4))));
        }
        Ok(())
    }
}
