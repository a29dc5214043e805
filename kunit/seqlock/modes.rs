// SPDX-License-Identifier: GPL-2.0

//! Each mode, by each call that acquires a lock: what is disabled inside, and that everything is as
//! before outside.

use kernel::{
    interrupt::local_interrupt_disable,
    prelude::*, //
};
use quiesce::{
    new_seqlock,
    seqlock::{
        bh_disable,
        preempt_disable,
        Bh,
        Irq,
        Preempt,
        RawSeqLock,
        SeqLock,
        ThreadedIrq, //
    },
};

use crate::support;

/// The state of preemption, bottom halves and interrupts: whether each is disabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) preempt: bool,
    pub(super) bh: bool,
    pub(super) irq: bool,
}

pub(super) const ON: State = State {
    preempt: false,
    bh: false,
    irq: false,
};

/// A spin lock's sections on PREEMPT_RT disable neither preemption nor interrupts; a raw one's
/// disable preemption and thereby hold off softirqs, which run in threads.
const RT: bool = cfg!(CONFIG_PREEMPT_RT);

pub(super) fn state() -> State {
    State {
        preempt: support::preempt_count() & 0xff != 0,
        bh: support::in_softirq_disabled(),
        irq: support::irqs_disabled(),
    }
}

/// The state inside a mode's section, for a lock that sleeps on PREEMPT_RT or not.
const fn inside(bh: bool, irq: bool, raw: bool) -> State {
    let spins = raw || !RT;
    State {
        preempt: spins,
        bh: bh && !(raw && RT),
        irq: irq && spins,
    }
}

/// The state inside a section, and whether an optimistic reader saw a writer there.
macro_rules! probe {
    ($lock:expr, $guard:expr) => {{
        let guard = $guard;
        let seen = (state(), $lock.try_read().is_none());
        drop(guard);
        (seen.0, seen.1, state())
    }};
}

/// A test for a mode: lock and try, write and exclusive read, and against each other.
macro_rules! mode_tests {
    ($($name:ident: $lock:ident<$c:ty>, $raw:expr, $bh:expr, $irq:expr,
       $write:ident, $try_write:ident, $excl:ident, $try_excl:ident;)*) => {
        #[kunit_tests(quiesce_seqlock_modes)]
        mod tests {
            use super::*;

            $(#[test]
            fn $name() -> Result {
                let lock = KBox::pin_init(new_seqlock!($lock<u64, $c>, 7), GFP_KERNEL)?;
                let in_section = inside($bh, $irq, $raw);

                assert_eq!(state(), ON);
                assert_eq!(probe!(lock, lock.$write()), (in_section, true, ON));
                assert_eq!(probe!(lock, lock.$try_write()?), (in_section, true, ON));
                assert_eq!(probe!(lock, lock.$excl()), (in_section, false, ON));
                assert_eq!(probe!(lock, lock.$try_excl()?), (in_section, false, ON));

                // A writer excludes both, and so does an exclusive reader; a try that fails leaves
                // all as it was.
                let guard = lock.$write();
                let write = lock.$try_write().map(drop);
                let excl = lock.$try_excl().map(drop);
                let after = state();
                drop(guard);
                assert_eq!(write, Err(EAGAIN));
                assert_eq!(excl, Err(EAGAIN));
                assert_eq!(after, in_section);
                assert_eq!(state(), ON);

                let guard = lock.$excl();
                let write = lock.$try_write().map(drop);
                let excl = lock.$try_excl().map(drop);
                let (after, value, optimistic) = (state(), *guard, lock.read());
                drop(guard);
                assert_eq!(write, Err(EAGAIN));
                assert_eq!(excl, Err(EAGAIN));
                assert_eq!(after, in_section);
                assert_eq!((value, optimistic), (7, 7));
                assert_eq!(state(), ON);

                lock.$write().set(8);
                assert_eq!(lock.read(), 8);
                lock.$try_write()?.update(|v| *v += 1);
                assert_eq!(*lock.$excl(), 9);
                assert_eq!(state(), ON);
                Ok(())
            })*

            /// Also where the holder had disabled less than the try does.
            #[test]
            fn a_try_that_fails_leaves_all_as_it_was() -> Result {
                let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u64, Preempt>, 7), GFP_KERNEL)?;
                let guard = lock.write();
                let before = support::counts();
                let tries = [
                    (lock.try_write().is_err(), support::counts()),
                    (lock.try_write_bh().is_err(), support::counts()),
                    (lock.try_write_irq().is_err(), support::counts()),
                    (lock.try_read_exclusive_bh().is_err(), support::counts()),
                    (lock.try_read_exclusive_irq().is_err(), support::counts()),
                ];
                drop(guard);
                assert!(tries.iter().all(|&(failed, after)| failed && after == before));
                assert_eq!(state(), ON);
                Ok(())
            }

            #[test]
            fn stronger_modes_serve_weaker_locks() -> Result {
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, Preempt>, 0), GFP_KERNEL)?;
                lock.write_bh().set(1);
                lock.write_irq().update(|v| *v += 1);
                lock.write_irqsave().update(|v| *v += 1);
                assert_eq!(*lock.read_exclusive_bh(), 3);
                assert_eq!(*lock.read_exclusive_irqsave(), 3);
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, Bh>, 0), GFP_KERNEL)?;
                lock.write_in::<Irq>().set(1);
                assert_eq!(*lock.read_exclusive_in::<Bh>(), 1);
                assert_eq!(state(), ON);
                Ok(())
            }

            #[test]
            fn for_handlers_that_may_be_threads() -> Result {
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, ThreadedIrq>, 7), GFP_KERNEL)?;
                let in_section = inside(false, true, false);
                let write = probe!(lock, lock.write_in::<ThreadedIrq>());
                let try_write = probe!(lock, lock.try_write_in::<ThreadedIrq>()?);
                let excl = probe!(lock, lock.read_exclusive_in::<ThreadedIrq>());
                assert_eq!(write, (in_section, true, ON));
                assert_eq!(try_write, (in_section, true, ON));
                assert_eq!(excl, (in_section, false, ON));
                Ok(())
            }

            #[test]
            fn with_a_bh_token() -> Result {
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, Bh>, 0), GFP_KERNEL)?;
                let raw = KBox::pin_init(new_seqlock!(RawSeqLock<u64, Bh>, 0), GFP_KERNEL)?;
                let token = bh_disable()?;
                let outside = state();
                lock.write_with(&token).set(1);
                raw.try_write_with(&token)?.set(2);
                let between = state();
                let values = (
                    *lock.read_exclusive_with(&token),
                    *raw.try_read_exclusive_with(&token)?,
                );
                drop(token);
                assert!(outside.bh && !outside.irq);
                assert_eq!(between, outside);
                assert_eq!(values, (1, 2));
                assert_eq!(state(), ON);
                Ok(())
            }

            #[test]
            fn with_a_preempt_token() -> Result {
                let raw = KBox::pin_init(new_seqlock!(RawSeqLock<u64>, 0), GFP_KERNEL)?;
                let token = preempt_disable();
                let outside = state();
                raw.write_with(&token).set(1);
                let value = *raw.read_exclusive_with(&token);
                let after = state();
                drop(token);
                assert!(outside.preempt && !outside.bh && !outside.irq);
                assert_eq!(after, outside);
                assert_eq!(value, 1);
                assert_eq!(state(), ON);
                Ok(())
            }

            // On PREEMPT_RT this does not compile: the lock sleeps.
            #[cfg(not(CONFIG_PREEMPT_RT))]
            #[test]
            fn tokens_for_a_spinning_lock() -> Result {
                let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, ThreadedIrq>, 0), GFP_KERNEL)?;
                let plain = KBox::pin_init(new_seqlock!(SeqLock<u64>, 0), GFP_KERNEL)?;
                let irq = local_interrupt_disable();
                lock.write_with(&irq).set(1);
                let preempt = preempt_disable();
                plain.write_with(&preempt).set(2);
                // Tokens may be dropped in any order.
                drop(irq);
                let between = state();
                drop(preempt);
                assert!(!between.irq && between.preempt);
                assert_eq!((lock.read(), plain.read()), (1, 2));
                assert_eq!(state(), ON);
                Ok(())
            }

            #[test]
            fn with_an_irq_token() -> Result {
                let raw = KBox::pin_init(new_seqlock!(RawSeqLock<u64, Irq>, 0), GFP_KERNEL)?;
                let token = local_interrupt_disable();
                let outside = state();
                raw.write_with(&token).set(1);
                let between = state();
                let value = *raw.try_read_exclusive_with(&token)?;
                drop(token);
                assert!(outside.irq);
                assert_eq!(between, outside);
                assert_eq!(value, 1);
                assert_eq!(state(), ON);
                Ok(())
            }
        }
    };
}

mode_tests! {
    plain: SeqLock<Preempt>, false, false, false,
        write, try_write, read_exclusive, try_read_exclusive;
    bh: SeqLock<Bh>, false, true, false,
        write_bh, try_write_bh, read_exclusive_bh, try_read_exclusive_bh;
    irq: SeqLock<ThreadedIrq>, false, false, true,
        write_irq, try_write_irq, read_exclusive_irq, try_read_exclusive_irq;
    irqsave: SeqLock<ThreadedIrq>, false, false, true,
        write_irqsave, try_write_irq, read_exclusive_irqsave, try_read_exclusive_irq;
    raw_plain: RawSeqLock<Preempt>, true, false, false,
        write, try_write, read_exclusive, try_read_exclusive;
    raw_bh: RawSeqLock<Bh>, true, true, false,
        write_bh, try_write_bh, read_exclusive_bh, try_read_exclusive_bh;
    raw_irq: RawSeqLock<Irq>, true, false, true,
        write_irq, try_write_irq, read_exclusive_irq, try_read_exclusive_irq;
    raw_irqsave: RawSeqLock<Irq>, true, false, true,
        write_irqsave, try_write_irq, read_exclusive_irqsave, try_read_exclusive_irq;
}
