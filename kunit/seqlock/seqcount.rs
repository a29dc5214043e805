// SPDX-License-Identifier: GPL-2.0

//! Counters beside a mutex and beside a spin lock.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
};
use quiesce::{
    new_seqcount, seq_field,
    seqlock::{
        Irq,
        SeqCount, //
    },
};

use super::{
    modes::{
        state,
        ON, //
    },
    stress::{
        From,
        Payload,
        Subject, //
    },
};
use crate::support;

/// A payload beside a mutex.
#[pin_data]
pub(super) struct UnderMutex {
    #[pin]
    lock: Mutex<u64>,
    #[pin]
    count: SeqCount<Payload, u64>,
}

/// A value beside a spin lock, for readers in interrupts.
#[pin_data]
struct UnderSpin {
    #[pin]
    lock: SpinLock<u64>,
    #[pin]
    count: SeqCount<(u8, u32), u64, Irq>,
}

impl UnderSpin {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_spinlock!(0),
            count <- new_seqcount!(SeqCount<_, _, Irq>, (1, 2), &*lock.lock()),
        })
    }
}

impl Subject for UnderMutex {
    fn writable(from: From) -> bool {
        from == From::Process
    }

    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                lock <- new_mutex!(0),
                count <- new_seqcount!(SeqCount<_, _>, Payload::of(0), &*lock.lock()),
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, way: u64) -> Payload {
        if way % 4 == 0 {
            return self.count.read();
        }
        loop {
            if let Some(payload) = self.count.try_read() {
                return payload;
            }
            support::cpu_relax();
        }
    }

    fn write(&self, _from: From, pause: impl Fn()) {
        let mut owner = self.lock.lock();
        *owner += 1;
        let next = Payload::of(*owner);
        pause();
        let _ = self.count.store(&mut owner, next);
    }
}

#[kunit_tests(quiesce_seqlock_count)]
mod tests {
    use super::*;
    use crate::seqlock::stress::{
        stress,
        Plan, //
    };

    #[test]
    fn stored_under_the_lock_and_read_without() -> Result {
        let it = KBox::pin_init(UnderSpin::new(), GFP_KERNEL)?;
        assert_eq!(it.count.read(), (1, 2));
        let mut owner = it.lock.lock();
        let stored = it.count.store(&mut owner, (3, 4));
        let updated = it.count.update(&mut owner, |v| v.1 += 1);
        let field = it
            .count
            .store_field(&mut owner, seq_field!((u8, u32), 0), 9);
        let value = it.count.get(&owner);
        drop(owner);
        assert_eq!(
            (stored, updated, field, value),
            (Ok(()), Ok(()), Ok(()), Ok((9, 5)))
        );
        assert_eq!(it.count.read(), (9, 5));
        assert_eq!(it.count.try_read(), Some((9, 5)));
        assert_eq!(it.count.read_field(seq_field!((u8, u32), 1)), 5);
        let hard = support::in_hardirq(|| it.count.read());
        let nmi = support::in_nmi(|| it.count.try_read());
        assert_eq!(hard, Some((9, 5)));
        assert!(nmi.is_none() || nmi == Some(Some((9, 5))));
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn another_lock_is_refused() -> Result {
        let it = KBox::pin_init(UnderSpin::new(), GFP_KERNEL)?;
        let other = KBox::pin_init(UnderSpin::new(), GFP_KERNEL)?;
        let mut called = false;
        let mut owner = other.lock.lock();
        let refused = (
            it.count.store(&mut owner, (3, 4)),
            it.count.update(&mut owner, |_| called = true),
            it.count
                .store_field(&mut owner, seq_field!((u8, u32), 0), 9),
            it.count.get(&owner),
        );
        drop(owner);
        assert_eq!(
            refused,
            (Err(EINVAL), Err(EINVAL), Err(EINVAL), Err(EINVAL))
        );
        assert!(!called);
        assert_eq!(it.count.read(), (1, 2));
        let mut mine = 0;
        assert_eq!(it.count.store(&mut mine, (0, 0)), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn beside_a_mutex_under_stress() -> Result {
        let plan = Plan {
            reads: 200_000,
            pause_us: 2,
            stop: false,
        };
        let report = stress::<UnderMutex>(plan)?;
        assert!(report.is_sound());
        assert!(report.reads >= plan.reads && report.process_writes > 0);
        Ok(())
    }
}
