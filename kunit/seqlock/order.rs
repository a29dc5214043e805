// SPDX-License-Identifier: GPL-2.0

//! Guards nested and dropped in every order, from every context they may be taken in.

#[cfg(not(CONFIG_PREEMPT_RT))]
use kernel::interrupt::local_interrupt_disable;
use kernel::prelude::*;
#[cfg(not(CONFIG_PREEMPT_RT))]
use quiesce::seqlock::bh_disable;
use quiesce::{
    new_seqlock,
    seqlock::{
        Bh,
        Irq,
        RawSeqLock,
        SeqLock, //
    },
};

use super::modes::{
    state,
    State,
    ON, //
};
use crate::support;

/// Takes the first, the second and the third guard, drops them in the order given, and returns the
/// state after each drop.
macro_rules! in_order {
    ($a:expr, $b:expr, $c:expr => $x:tt, $y:tt, $z:tt) => {{
        let mut guards = (Some($a), Some($b), Some($c));
        drop(guards.$x.take());
        let first = state();
        drop(guards.$y.take());
        let second = state();
        drop(guards.$z.take());
        (first, second, state())
    }};
}

/// All orders of three raw guards of the modes plain, bh and irq, which are taken in the order
/// preempt, bh, irq: each thing is off for as long as a guard of its mode is there.
#[cfg(not(CONFIG_PREEMPT_RT))]
macro_rules! all_orders {
    ($preempt:ident, $bh:ident, $irq:ident: $($x:tt $y:tt $z:tt),*) => {{
        let mut wrong = 0;
        $(
            let (first, second, third) = in_order!(
                $preempt.write(), $bh.write_bh(), $irq.write_irq() => $x, $y, $z
            );
            let left = |guard: usize, gone: &[usize]| !gone.contains(&guard);
            for (seen, gone) in [(first, &[$x][..]), (second, &[$x, $y]), (third, &[$x, $y, $z])] {
                if seen.bh != left(1, gone) || seen.irq != left(2, gone) {
                    wrong += 1;
                }
                // Each of the three disables preemption.
                if seen.preempt != (gone.len() < 3) {
                    wrong += 1;
                }
            }
            if state() != ON {
                wrong += 1;
            }
        )*
        wrong
    }};
}

#[kunit_tests(quiesce_seqlock_order)]
mod tests {
    use super::*;

    #[test]
    fn nested_irq_guards_in_any_order() -> Result {
        let a = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let b = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let c = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let off = State {
            preempt: true,
            bh: false,
            irq: true,
        };
        let seen = [
            in_order!(a.write_irq(), b.write_irqsave(), c.read_exclusive_irq() => 0, 1, 2),
            in_order!(a.write_irq(), b.write_irqsave(), c.read_exclusive_irq() => 0, 2, 1),
            in_order!(a.write_irqsave(), b.write_irq(), c.read_exclusive_irqsave() => 1, 0, 2),
            in_order!(a.write_irqsave(), b.write_irq(), c.try_write_irq()? => 1, 2, 0),
            in_order!(a.read_exclusive_irq(), b.write_irq(), c.try_write_irqsave()? => 2, 0, 1),
            in_order!(a.try_read_exclusive_irq()?, b.write_irq(), c.write_irq() => 2, 1, 0),
        ];
        for (first, second, third) in seen {
            assert_eq!(first, off);
            assert_eq!(second, off);
            assert_eq!(third, ON);
        }
        Ok(())
    }

    // On PREEMPT_RT preemption is all that these disable.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    #[test]
    fn modes_in_any_order() -> Result {
        let p = KBox::pin_init(new_seqlock!(RawSeqLock<u32>, 0), GFP_KERNEL)?;
        let b = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Bh>, 0), GFP_KERNEL)?;
        let i = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let wrong = all_orders!(p, b, i: 0 1 2, 0 2 1, 1 0 2, 1 2 0, 2 0 1, 2 1 0);
        assert_eq!(wrong, 0);
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn sleeping_modes_in_any_order() -> Result {
        let p = KBox::pin_init(new_seqlock!(SeqLock<u32>, 0), GFP_KERNEL)?;
        let b = KBox::pin_init(new_seqlock!(SeqLock<u32, Bh>, 0), GFP_KERNEL)?;
        let i = KBox::pin_init(new_seqlock!(SeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        for seen in [
            in_order!(p.write(), b.write_bh(), i.write_irq() => 0, 1, 2),
            in_order!(p.write(), b.write_bh(), i.write_irq() => 0, 2, 1),
            in_order!(p.write(), b.write_bh(), i.write_irq() => 1, 0, 2),
            in_order!(p.write(), b.write_bh(), i.write_irq() => 1, 2, 0),
            in_order!(p.write(), b.write_bh(), i.write_irq() => 2, 0, 1),
            in_order!(p.write(), b.write_bh(), i.write_irq() => 2, 1, 0),
        ] {
            assert_eq!(seen.2, ON);
        }
        Ok(())
    }

    /// A softirq that was raised in a bottom-half section which ended before an interrupt section
    /// runs when interrupts come back.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    #[test]
    fn softirqs_run_after_a_wrong_order() -> Result {
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u32, Bh>, 0), GFP_KERNEL)?;
        let tasklet = support::Tasklet::new()?;

        let bh = lock.write_bh();
        tasklet.schedule();
        let irq = local_interrupt_disable();
        drop(bh);
        let while_off = (tasklet.runs(), state());
        drop(irq);
        let after = (tasklet.runs(), state());
        assert_eq!(while_off.0, 0);
        assert!(while_off.1.irq && !while_off.1.bh);
        assert_eq!(after, (1, ON));

        let bh = bh_disable();
        tasklet.schedule();
        let irq = local_interrupt_disable();
        drop(bh);
        let while_off = tasklet.runs();
        drop(irq);
        let after = (tasklet.runs(), state());
        assert_eq!(while_off, 1);
        assert_eq!(after, (2, ON));

        // A try that fails with interrupts disabled ends such a section too.
        let held = lock.write_bh();
        let irq = local_interrupt_disable();
        let failed = lock.try_write_bh().is_err();
        let inside = state();
        drop(irq);
        drop(held);
        assert!(failed);
        assert!(inside.irq && inside.bh);
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn in_hardirq() -> Result {
        let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let seen = support::in_hardirq(|| {
            let before = state();
            let outer = lock.write_irq();
            let inside = state();
            drop(outer);
            lock.try_write_irqsave().ok()?.set(3);
            let value = lock.read() + *lock.read_exclusive_irq();
            Some((before, inside, state(), value))
        });
        let (before, inside, after, value) = seen.flatten().ok_or(EIO)?;
        assert!(before.irq && inside.irq && inside.preempt && after.irq);
        assert_eq!(after, before);
        assert_eq!(value, 6);
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn in_softirq() -> Result {
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u32, Bh>, 0), GFP_KERNEL)?;
        let irq = KBox::pin_init(new_seqlock!(SeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let seen = support::in_softirq(|| {
            let before = state();
            let outer = lock.write_bh();
            let inside = state();
            drop(outer);
            let nested = (lock.write_bh(), irq.write_irq());
            drop(nested.0);
            drop(nested.1);
            lock.write_bh().set(4);
            irq.write_irqsave().set(5);
            (before, inside, state(), lock.read() + irq.read())
        });
        let (before, inside, after, value) = seen.ok_or(EIO)?;
        assert!(before.bh && inside.bh);
        assert_eq!(after, before);
        assert_eq!(value, 9);
        assert_eq!(state(), ON);
        Ok(())
    }
}
