// SPDX-License-Identifier: GPL-2.0

//! Latches, also read by an NMI that interrupts their writer.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use quiesce::{
    latch_static,
    new_latch,
    seqlock::Latch, //
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

latch_static! {
    static RATE: Latch<(u64, bool)> = (1, true);
}

impl Subject for Latch<Payload> {
    fn writable(_from: From) -> bool {
        true
    }

    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            new_latch!(<Self>, Payload::of(0), "stressed latch"),
            GFP_KERNEL,
        )
    }

    fn read(&self, _way: u64) -> Payload {
        Latch::read(self)
    }

    fn write(&self, _from: From, pause: impl Fn()) {
        self.update(|payload| {
            pause();
            *payload = Payload::of(payload.low[0].wrapping_add(1));
        });
    }
}

#[kunit_tests(quiesce_seqlock_latch)]
mod tests {
    use super::*;
    use crate::seqlock::stress::{
        stress,
        Plan, //
    };

    #[test]
    fn stores_and_reads() -> Result {
        let latch = KBox::pin_init(new_latch!(Latch<[u8; 3]>, [1, 2, 3]), GFP_KERNEL)?;
        assert_eq!(latch.read(), [1, 2, 3]);
        // Each store leaves both copies the same.
        for n in 0..5 {
            latch.store([n; 3]);
            assert_eq!(latch.read(), [n; 3]);
        }
        assert_eq!(latch.try_store([9; 3]), Ok(()));
        assert_eq!(latch.update(|v| core::mem::replace(&mut v[1], 0)), 9);
        assert_eq!(latch.read(), [9, 0, 9]);
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn a_static_needs_no_initialisation() -> Result {
        assert_eq!(RATE.read(), (1, true));
        RATE.store((7, false));
        assert_eq!(RATE.read(), (7, false));
        RATE.store((1, true));
        Ok(())
    }

    #[test]
    fn a_writer_excludes_writers_but_no_reader() -> Result {
        let latch = KBox::pin_init(new_latch!(Latch<u64>, 1), GFP_KERNEL)?;
        let seen = latch.update(|v| {
            *v = 2;
            (latch.try_store(3), latch.read(), state())
        });
        assert_eq!((seen.0, seen.1), (Err(EAGAIN), 1));
        assert!(seen.2.irq);
        assert_eq!(latch.read(), 2);
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn a_store_waits_for_another_writer() -> Result {
        let latch = Arc::pin_init(new_latch!(Latch<u64>, 1), GFP_KERNEL)?;
        // 1: writes, 2: has written.
        let state = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let (theirs, at) = (latch.clone(), state.clone());
        let writer = support::spawn(c"latch-writer", move || {
            theirs.update(|v| {
                at.store(1, Relaxed);
                for _ in 0..20 {
                    support::udelay(1000);
                }
                *v = 2;
                at.store(2, Relaxed);
            })
        })?;
        while state.load(Relaxed) == 0 {
            support::cond_resched();
        }
        latch.store(3);
        let seen = state.load(Relaxed);
        writer.join();
        assert_eq!((seen, latch.read()), (2, 3));
        Ok(())
    }

    #[test]
    fn read_from_each_context() -> Result {
        let latch = KBox::pin_init(new_latch!(Latch<(u32, u8)>, (5, 6)), GFP_KERNEL)?;
        let soft = support::in_softirq(|| {
            latch.store((6, 6));
            latch.update(|v| v.1 += 1);
            latch.read()
        });
        let hard = support::in_hardirq(|| {
            latch.store((7, 7));
            latch.update(|v| v.1 += 1);
            latch.read()
        });
        let nmi = support::in_nmi(|| latch.read());
        assert_eq!(soft, Some((6, 7)));
        assert_eq!(hard, Some((7, 8)));
        if cfg!(all(CONFIG_X86_64, CONFIG_X86_LOCAL_APIC)) {
            assert_eq!(nmi, Some((7, 8)));
        }
        Ok(())
    }

    #[test]
    fn under_stress() -> Result {
        let plan = Plan {
            reads: 300_000,
            pause_us: 2,
        };
        let report = stress::<Latch<Payload>>(plan)?;
        assert!(report.is_sound());
        assert!(report.reads >= plan.reads && report.process_writes > 0);
        assert!(report.softirq_writes > 0 && report.hardirq_writes > 0);
        Ok(())
    }

    /// NMIs come whenever they want, also in the middle of a store.
    #[test]
    fn nmis_within_a_writer() -> Result {
        let latch = Arc::pin_init(new_latch!(Latch<Payload>, Payload::of(0)), GFP_KERNEL)?;
        let mut torn = 0;
        let mut older = 0;
        let mut last = 0;
        let mut nmis = 0;
        let theirs = latch.clone();
        let cpu = support::next_cpu(-1);
        let stop = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let stopped = stop.clone();
        let written = Arc::new(Atomic::new(0u64), GFP_KERNEL)?;
        let last_written = written.clone();
        // All that the CPU does is to store, so that most of the NMIs come within a store.
        let writer = support::spawn_on(cpu, c"latch-writer", move || {
            let mut n = 0;
            while stopped.load(Relaxed) == 0 {
                for _ in 0..100 {
                    n += 1;
                    theirs.store(Payload::of(n));
                }
                support::cond_resched();
            }
            last_written.store(n, Relaxed);
        })?;
        for _ in 0..200 {
            match support::in_nmi_on(cpu, || latch.read().n()) {
                None => break,
                Some(None) => torn += 1,
                Some(Some(n)) if n < last => older += 1,
                Some(Some(n)) => last = n,
            }
            nmis += 1;
        }
        stop.store(1, Relaxed);
        writer.join();
        assert_eq!((torn, older), (0, 0));
        assert_eq!(latch.read().n(), Some(written.load(Relaxed)));
        if cfg!(all(CONFIG_X86_64, CONFIG_X86_LOCAL_APIC)) {
            assert_eq!(nmis, 200);
        }
        Ok(())
    }
}
