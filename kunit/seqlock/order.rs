// SPDX-License-Identifier: GPL-2.0

//! Guards and tokens of all modes, nested and dropped in every order, in every context that they may
//! be acquired in. After each step all counts are compared with a model.

use kernel::{
    interrupt::{
        local_interrupt_disable,
        LocalInterruptDisabled, //
    },
    prelude::*, //
};
use quiesce::{
    new_seqlock,
    seqlock::{
        bh_disable,
        preempt_disable,
        Bh,
        BhDisabled,
        ExclusiveGuard,
        Irq,
        Preempt,
        PreemptDisabled,
        Raw,
        RawSeqLock,
        SeqLock,
        Spin,
        ThreadedIrq,
        WriteGuard, //
    },
    seqlock_static,
};

use crate::support::{
    self,
    counts,
    Counts, //
};

const RT: bool = cfg!(CONFIG_PREEMPT_RT);

/// The most sections at a time.
const MOST: usize = 4;

/// The operation that begins a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    RawWrite,
    RawWriteBh,
    RawWriteIrq,
    RawExclusiveIrq,
    Write,
    WriteBh,
    WriteIrq,
    PreemptToken,
    BhToken,
    IrqToken,
}
use Kind::*;

const ALL: [Kind; 10] = [
    RawWrite,
    RawWriteBh,
    RawWriteIrq,
    RawExclusiveIrq,
    Write,
    WriteBh,
    WriteIrq,
    PreemptToken,
    BhToken,
    IrqToken,
];

/// One of each that ends differently.
const DISTINCT: [Kind; 6] = [
    RawWriteBh,
    RawWriteIrq,
    WriteBh,
    PreemptToken,
    BhToken,
    IrqToken,
];

/// Those that may be used in hardware interrupts.
const HARDIRQ: [Kind; 5] = [
    RawWrite,
    RawWriteIrq,
    RawExclusiveIrq,
    PreemptToken,
    IrqToken,
];

impl Kind {
    /// Whether it acquires a lock that sleeps on PREEMPT_RT.
    fn sleeps(self) -> bool {
        matches!(self, Write | WriteBh | WriteIrq)
    }

    /// Adds what a section of this kind changes.
    fn add(self, to: &mut Counts) {
        let spins = !RT || !self.sleeps();
        match self {
            BhToken | IrqToken => {}
            _ if spins => to.preempt += 1,
            // Spin locks of PREEMPT_RT.
            _ => {
                to.rcu += 1;
                to.migrate += 1;
            }
        }
        match self {
            RawWriteBh if RT => {}
            RawWriteBh | WriteBh | BhToken => to.softirq += 2,
            RawWriteIrq | RawExclusiveIrq | IrqToken => to.irqs_disabled = true,
            WriteIrq => to.irqs_disabled |= spins,
            _ => {}
        }
    }
}

/// The counts that a context with `base` has where sections of the kinds `held` have not ended.
fn model(base: Counts, held: impl Iterator<Item = Kind>) -> Counts {
    let mut all = base;
    held.for_each(|kind| kind.add(&mut all));
    if RT && base.softirq == 0 && all.softirq != 0 {
        // The first section that disables bottom halves.
        all.rcu += 1;
        all.migrate += u32::from(cfg!(CONFIG_SMP));
    }
    if cfg!(not(CONFIG_SMP)) {
        all.migrate = 0;
    }
    all
}

/// Locks for the sections of one context, each with a lockdep class.
struct Locks {
    raw: [&'static RawSeqLock<u64>; MOST],
    raw_bh: [&'static RawSeqLock<u64, Bh>; MOST],
    raw_irq: [&'static RawSeqLock<u64, Irq>; MOST],
    plain: [&'static SeqLock<u64>; MOST],
    bh: [&'static SeqLock<u64, Bh>; MOST],
    irq: [&'static SeqLock<u64, ThreadedIrq>; MOST],
}

macro_rules! locks {
    ($($name:ident)*) => {$(
        static $name: Locks = {
            seqlock_static! {
                static R0: RawSeqLock<u64> = 0;
                static R1: RawSeqLock<u64> = 0;
                static R2: RawSeqLock<u64> = 0;
                static R3: RawSeqLock<u64> = 0;
                static RB0: RawSeqLock<u64, Bh> = 0;
                static RB1: RawSeqLock<u64, Bh> = 0;
                static RB2: RawSeqLock<u64, Bh> = 0;
                static RB3: RawSeqLock<u64, Bh> = 0;
                static RI0: RawSeqLock<u64, Irq> = 0;
                static RI1: RawSeqLock<u64, Irq> = 0;
                static RI2: RawSeqLock<u64, Irq> = 0;
                static RI3: RawSeqLock<u64, Irq> = 0;
                static P0: SeqLock<u64> = 0;
                static P1: SeqLock<u64> = 0;
                static P2: SeqLock<u64> = 0;
                static P3: SeqLock<u64> = 0;
                static B0: SeqLock<u64, Bh> = 0;
                static B1: SeqLock<u64, Bh> = 0;
                static B2: SeqLock<u64, Bh> = 0;
                static B3: SeqLock<u64, Bh> = 0;
                static I0: SeqLock<u64, ThreadedIrq> = 0;
                static I1: SeqLock<u64, ThreadedIrq> = 0;
                static I2: SeqLock<u64, ThreadedIrq> = 0;
                static I3: SeqLock<u64, ThreadedIrq> = 0;
            }
            Locks {
                raw: [&R0, &R1, &R2, &R3],
                raw_bh: [&RB0, &RB1, &RB2, &RB3],
                raw_irq: [&RI0, &RI1, &RI2, &RI3],
                plain: [&P0, &P1, &P2, &P3],
                bh: [&B0, &B1, &B2, &B3],
                irq: [&I0, &I1, &I2, &I3],
            }
        };
    )*};
}

locks!(PROCESS IRQS_OFF SOFTIRQ HARDIRQS);

/// A section that has not ended.
#[expect(dead_code, reason = "the fields are only dropped")]
enum Section {
    Raw(WriteGuard<'static, u64, Preempt, Raw>),
    RawBh(WriteGuard<'static, u64, Bh, Raw>),
    RawIrq(WriteGuard<'static, u64, Irq, Raw>),
    RawExclusive(ExclusiveGuard<'static, u64, Irq, Raw>),
    Plain(WriteGuard<'static, u64, Preempt, Spin>),
    Bh(WriteGuard<'static, u64, Bh, Spin>),
    Irq(WriteGuard<'static, u64, ThreadedIrq, Spin>),
    PreemptToken(PreemptDisabled),
    BhToken(BhDisabled),
    IrqToken(LocalInterruptDisabled),
}

impl Locks {
    /// Begins a section; half of them by a try.
    fn begin(&'static self, kind: Kind, slot: usize) -> Result<Section> {
        let by_try = slot % 2 == 1;
        macro_rules! lock {
            ($lock:ident, $lock_in:ident, $try_in:ident) => {
                if by_try {
                    self.$lock[slot].$try_in()?
                } else {
                    self.$lock[slot].$lock_in()
                }
            };
        }
        Ok(match kind {
            RawWrite => Section::Raw(lock!(raw, write, try_write)),
            RawWriteBh => Section::RawBh(lock!(raw_bh, write_bh, try_write_bh)),
            RawWriteIrq => Section::RawIrq(lock!(raw_irq, write_irq, try_write_irq)),
            RawExclusiveIrq => {
                Section::RawExclusive(lock!(raw_irq, read_exclusive_irq, try_read_exclusive_irq))
            }
            Write => Section::Plain(lock!(plain, write, try_write)),
            WriteBh => Section::Bh(lock!(bh, write_bh, try_write_bh)),
            WriteIrq => Section::Irq(lock!(irq, write_in, try_write_in)),
            PreemptToken => Section::PreemptToken(preempt_disable()),
            BhToken => Section::BhToken(bh_disable()?),
            IrqToken => Section::IrqToken(local_interrupt_disable()),
        })
    }
}

/// The result of many orders.
#[derive(Default)]
struct Outcome {
    orders: u64,
    refused: u64,
    wrong: u64,
}

struct Run {
    locks: &'static Locks,
    base: Counts,
    out: Outcome,
}

impl Run {
    fn new(locks: &'static Locks) -> Self {
        Self {
            locks,
            base: counts(),
            out: Outcome::default(),
        }
    }

    /// Returns whether a section of the kind `kind` may begin inside sections of the kinds `held`.
    fn allows(&self, kind: Kind, held: &[Kind]) -> bool {
        // No lock that sleeps within a raw one, which lockdep reports everywhere; and none where a
        // task must not sleep.
        let preemptible = !self.base.irqs_disabled && self.base.preempt == 0;
        !kind.sleeps()
            || (preemptible || !RT) && held.iter().all(|other| other.sleeps() || *other == BhToken)
    }

    /// Compares the counts with the model.
    fn check(&mut self, kinds: &[Kind], slots: &[Option<Section>; MOST], what: &str) {
        let held = kinds.iter().zip(slots).filter(|(_, slot)| slot.is_some());
        let mut expected = model(self.base, held.map(|(kind, _)| *kind));
        let seen = counts();
        // How nested sections are counted is their own affair, as long as nothing is left.
        if slots.iter().any(Option::is_some) {
            expected.hardirq_disable = seen.hardirq_disable;
        }
        if seen != expected {
            self.out.wrong += 1;
            if self.out.wrong == 1 {
                pr_err!("{kinds:?}, {what}: {seen:?} instead of {expected:?}\n");
            }
        }
    }

    /// Begins sections of the given kinds and ends them in the given order.
    fn order(&mut self, kinds: &[Kind], order: &[usize]) {
        let mut slots = [None, None, None, None];
        self.out.orders += 1;
        for (slot, kind) in kinds.iter().enumerate() {
            let softirq = counts().softirq;
            let atomic = counts().preempt != 0 || counts().irqs_disabled;
            match self.locks.begin(*kind, slot) {
                Ok(section) => slots[slot] = Some(section),
                // PREEMPT_RT refuses what it could not end.
                Err(error) => {
                    self.out.refused += 1;
                    let right = RT && atomic && softirq == 0 && *kind == BhToken && error == EPERM;
                    self.out.wrong += u64::from(!right);
                }
            }
            self.check(kinds, &slots, "beginning");
        }
        for slot in order {
            slots[*slot] = None;
            self.check(kinds, &slots, "ending");
        }
    }

    /// All orders of `n` sections of the kinds given. `pause` is called now and then.
    fn all(&mut self, n: usize, kinds: &[Kind], pause: impl Fn()) {
        let mut chosen = [RawWrite; MOST];
        for code in 0..kinds.len().pow(n as u32) {
            let mut rest = code;
            let mut allowed = true;
            for i in 0..n {
                chosen[i] = kinds[rest % kinds.len()];
                rest /= kinds.len();
                allowed &= self.allows(chosen[i], &chosen[..i]);
            }
            if !allowed {
                continue;
            }
            let mut order = [0, 1, 2, 3];
            permutations(&mut order[..n], 0, &mut |order| {
                self.order(&chosen[..n], order)
            });
            pause();
        }
    }
}

/// Calls `f` with every permutation of `items`, the first `fixed` of which stay in place.
fn permutations(items: &mut [usize], fixed: usize, f: &mut dyn FnMut(&[usize])) {
    if fixed == items.len() {
        return f(items);
    }
    for i in fixed..items.len() {
        items.swap(fixed, i);
        permutations(items, fixed + 1, f);
        items.swap(fixed, i);
    }
}

#[kunit_tests(quiesce_seqlock_order)]
mod tests {
    use super::*;

    #[test]
    fn in_process_context() {
        let mut run = Run::new(&PROCESS);
        for n in 1..=3 {
            run.all(n, &ALL, support::cond_resched);
        }
        run.all(4, &DISTINCT, support::cond_resched);
        assert_eq!(counts(), run.base);
        assert_eq!(run.out.wrong, 0);
        assert!(run.out.orders > 10_000);
        let refused = run.out.refused > 0;
        assert_eq!(refused, RT);
    }

    #[test]
    fn where_c_disabled_interrupts() {
        let before = counts();
        let flags = support::irq_save();
        let mut run = Run::new(&IRQS_OFF);
        for n in 1..=3 {
            run.all(n, &DISTINCT, || {});
        }
        let after = counts();
        support::irq_restore(flags);
        assert_eq!(after, run.base);
        assert_eq!(counts(), before);
        assert_eq!(run.out.wrong, 0);
        assert!(run.out.orders > 100);
    }

    #[test]
    fn in_softirqs() -> Result {
        let run = support::in_softirq(|| {
            let mut run = Run::new(&SOFTIRQ);
            for n in 1..=3 {
                run.all(n, &DISTINCT, || {});
            }
            (counts() == run.base, run.out)
        });
        let (balanced, out) = run.ok_or(EIO)?;
        assert!(balanced);
        assert_eq!(out.wrong, 0);
        assert!(out.orders > 100);
        Ok(())
    }

    #[test]
    fn in_hardirqs() -> Result {
        let run = support::in_hardirq(|| {
            let mut run = Run::new(&HARDIRQS);
            for n in 1..=3 {
                run.all(n, &HARDIRQ, || {});
            }
            (counts() == run.base, run.out)
        });
        let (balanced, out) = run.ok_or(EIO)?;
        assert!(balanced);
        assert_eq!(out.wrong, 0);
        assert!(out.orders > 100);
        Ok(())
    }

    seqlock_static! {
        static CROSSING: RawSeqLock<u64, Irq> = 0;
    }

    /// A guard and a C section that end in the order in which they began.
    #[test]
    fn a_guard_crosses_a_c_section() {
        let before = counts();
        let flags = support::irq_save();
        let guard = CROSSING.write_irq();
        support::irq_restore(flags);
        drop(guard);
        assert_eq!(counts(), before);
    }

    /// A softirq that is raised while bottom halves are disabled runs after the last section has
    /// ended, also if that was not the one that disabled them.
    #[test]
    fn softirqs_run_afterwards() -> Result {
        seqlock_static! {
            static BH: SeqLock<u64, Bh> = 0;
            static RAW: RawSeqLock<u64> = 0;
            static RAW_IRQ: RawSeqLock<u64, Irq> = 0;
        }
        let before = counts();
        let tasklet = support::Tasklet::new()?;
        let mut seen = [0; 6];
        for (n, seen) in seen.iter_mut().enumerate() {
            let bh = (n % 2 == 0).then(|| BH.write_bh());
            let token = (n % 2 == 1).then(bh_disable).transpose()?;
            tasklet.schedule();
            match n / 2 {
                0 => {
                    let inner = RAW.write();
                    drop((bh, token));
                    drop(inner);
                }
                1 => {
                    let inner = RAW_IRQ.write_irq();
                    drop((bh, token));
                    // Interrupts are disabled, so nothing may run.
                    *seen = tasklet.runs() - n as u32;
                    drop(inner);
                }
                _ => {
                    let inner = local_interrupt_disable();
                    drop((bh, token));
                    *seen = tasklet.runs() - n as u32;
                    drop(inner);
                }
            }
            // At once, or on PREEMPT_RT in a thread.
            for _ in 0..1000 {
                if tasklet.runs() > n as u32 {
                    break;
                }
                support::msleep(10);
            }
            assert_eq!(tasklet.runs(), n as u32 + 1);
        }
        assert_eq!(seen, [0; 6]);
        assert_eq!(counts(), before);
        Ok(())
    }

    /// Without preemption a task cannot wait for the thread that runs softirqs on PREEMPT_RT.
    #[cfg(not(CONFIG_PREEMPT_RT))]
    #[test]
    fn softirqs_run_when_interrupts_are_enabled() -> Result {
        seqlock_static! {
            static BH: RawSeqLock<u64, Bh> = 0;
        }
        let tasklet = support::Tasklet::new()?;
        let bh = BH.write_bh();
        tasklet.schedule();
        let irq = local_interrupt_disable();
        drop(bh);
        let while_off = tasklet.runs();
        drop(irq);
        assert_eq!((while_off, tasklet.runs()), (0, 1));

        // A try that fails with interrupts disabled ends such a section too.
        let held = BH.write_bh();
        let irq = local_interrupt_disable();
        let inside = counts();
        let failed = BH.try_write_bh().is_err();
        let after = counts();
        drop(irq);
        drop(held);
        assert!(failed);
        assert_eq!(after, inside);
        Ok(())
    }

    /// Where C's section gives the CPU to a task that became due, the token's does.
    #[test]
    fn a_task_that_became_due_runs_afterwards() {
        let once = || {
            support::preempt_disabled(support::set_need_resched);
            let theirs = support::need_resched();
            let token = preempt_disable();
            support::set_need_resched();
            drop(token);
            let ours = support::need_resched();
            support::cond_resched();
            ours == theirs
        };
        // Another CPU may wake a task in between.
        assert!((0..100).any(|_| once()));
    }

    /// A lock's section does not change the count of interrupt sections where that has no bits left.
    #[test]
    fn interrupts_stay_disabled_with_as_many_sections_as_can_be_counted() -> Result {
        let before = counts();
        let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u8, Irq>, 0), GFP_KERNEL)?;
        let mut tokens = KVec::with_capacity(255, GFP_KERNEL)?;
        for _ in 0..255 {
            tokens
                .push_within_capacity(local_interrupt_disable())
                .map_err(|_| ENOSPC)?;
        }
        let inside = counts();
        let guard = lock.write_irq();
        let within = support::irqs_disabled();
        drop(guard);
        let (afterwards, disabled) = (counts(), support::irqs_disabled());
        drop(tokens);
        assert!(within && disabled);
        assert_eq!(afterwards, inside);
        assert_eq!(counts(), before);
        assert!(!support::irqs_disabled());
        Ok(())
    }

    /// Bottom halves stay disabled for as long as their token exists, whatever ends before.
    #[test]
    fn a_bh_token_outlives_a_preempt_token() -> Result {
        let before = counts();
        let tasklet = support::Tasklet::new()?;
        let preempt = preempt_disable();
        let refused = bh_disable();
        let outcome = refused.as_ref().map(|_| ()).map_err(|error| *error);
        drop(preempt);
        match refused {
            Err(_) => {
                assert!(RT);
                assert_eq!(outcome, Err(EPERM));
            }
            Ok(bh) => {
                assert!(!RT);
                tasklet.schedule();
                let inside = (tasklet.runs(), counts().softirq);
                drop(bh);
                assert_eq!(inside, (0, before.softirq + 2));
                assert_eq!(tasklet.runs(), 1);
            }
        }
        // Within bottom halves disabled already it is possible everywhere.
        let outer = bh_disable()?;
        let preempt = preempt_disable();
        let bh = bh_disable();
        drop(outer);
        drop(preempt);
        let inside = counts().softirq;
        let bh = bh?;
        drop(bh);
        assert_eq!(inside, before.softirq + 2);
        assert_eq!(counts(), before);
        Ok(())
    }

    /// So many sections disable bottom halves at a time, half of what C can count, and no more.
    #[test]
    fn bottom_halves_are_disabled_so_often() -> Result {
        const SECTIONS: usize = 64;

        let before = counts();
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u64, Bh>, 0), GFP_KERNEL)?;
        let mut tokens = KVec::with_capacity(SECTIONS, GFP_KERNEL)?;
        for _ in 0..SECTIONS {
            tokens
                .push_within_capacity(bh_disable()?)
                .map_err(|_| ENOSPC)?;
        }
        let inside = counts();
        let refused = bh_disable().map(drop);
        let tried = lock.try_write_bh().map(drop);
        let after = counts();
        drop(tokens);
        assert_eq!(refused, Err(EOVERFLOW));
        assert_eq!(tried, Err(EAGAIN));
        assert_eq!(after, inside);
        assert_eq!(counts(), before);
        Ok(())
    }

    /// Two locks of one class, one within the other, in the order that the subclass names. lockdep does
    /// not complain.
    #[test]
    fn locks_of_one_class_in_their_order() {
        let [parent, child] = [(); 2].map(|()| SeqLock::<u64>::new(0));
        let mut outer = parent.write();
        let mut inner = child.write_nested::<Preempt, 1>();
        outer.set(1);
        inner.set(2);
        drop(inner);
        drop(outer);
        assert_eq!((parent.read(), child.read()), (1, 2));
    }
}
