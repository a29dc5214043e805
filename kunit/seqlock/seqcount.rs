// SPDX-License-Identifier: GPL-2.0

//! Counters beside a mutex and beside a spin lock.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
};
use quiesce::{
    new_seqcount, seq_field,
    seqlock::{
        Bh,
        Context,
        Irq,
        Preempt,
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
use crate::support::{
    self,
    Timer,
    TimerContext, //
};

/// A payload beside a mutex.
#[pin_data]
pub(super) struct UnderMutex {
    #[pin]
    lock: Mutex<u64>,
    #[pin]
    count: SeqCount<Payload, u64>,
}

static LOAD: SeqCount<u32, u64> = SeqCount::new(0);

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
        match way % 4 {
            0 => return self.count.read(),
            1 => {
                if let Ok(payload) = self.count.read_or_lock::<2, _>(&self.lock) {
                    return payload;
                }
            }
            _ => {}
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
        let _ = match *owner % 3 {
            0 => self.count.store(&mut owner, next),
            1 => self.count.update(&mut owner, |v| *v = next),
            _ => self.count.write_section(&mut owner, |w| {
                w.set_field(seq_field!(Payload, high), next.high);
                w.set_field(seq_field!(Payload, low), next.low);
            }),
        };
    }
}

/// What a writer and a reader that interrupts it share.
struct Interrupted<C: Context> {
    count: SeqCount<[u64; 64], u64, C>,
    /// The CPU that the writer stores on, or -1.
    cpu: Atomic<i32>,
    /// How often the reader ran on that CPU, and how often in the middle of a store.
    calls: Atomic<u32>,
    within: Atomic<u32>,
    /// How often preemption was enabled in the middle of a store, and otherwise.
    preemptible: Atomic<u32>,
    preemptible_outside: Atomic<u32>,
}

impl<C: Context> Interrupted<C> {
    fn new() -> Result<Arc<Self>> {
        let it = Self {
            count: SeqCount::new([0; 64]),
            cpu: Atomic::new(-1),
            calls: Atomic::new(0),
            within: Atomic::new(0),
            preemptible: Atomic::new(0),
            preemptible_outside: Atomic::new(0),
        };
        Ok(Arc::new(it, GFP_KERNEL)?)
    }

    /// In an interrupt.
    fn call(&self) {
        if self.cpu.load(Relaxed) == support::cpu() as i32 {
            self.calls.fetch_add(1u32, Relaxed);
            let within = self.count.try_read().is_none();
            if within {
                self.within.fetch_add(1u32, Relaxed);
            }
            if !state().preempt {
                let preemptible = if within {
                    &self.preemptible
                } else {
                    &self.preemptible_outside
                };
                preemptible.fetch_add(1u32, Relaxed);
            }
        }
    }

    /// Stores a hundred times on this CPU.
    fn store_some(&self, owner: &mut u64) {
        self.cpu.store(support::cpu() as i32, Relaxed);
        let mut value = [0; 64];
        for i in 0..100 {
            value[0] = i;
            let _ = self.count.store_from(owner, &value);
        }
        self.cpu.store(-1, Relaxed);
    }

    /// Stores until the reader ran so often.
    fn store(&self, calls: u32) {
        let mut owner = 0u64;
        let _ = self.count.bind(&owner);
        while self.calls.load(Relaxed) < calls {
            support::preempt_disabled(|| self.store_some(&mut owner));
            support::cond_resched();
        }
    }

    /// Stores, bound to a CPU, until the reader ran that often in the middle of a store, and
    /// otherwise, or very often.
    fn store_preemptibly(&self, times: u32) {
        let mut owner = 0u64;
        let _ = self.count.bind(&owner);
        while self.calls.load(Relaxed) < 100_000
            && (self.within.load(Relaxed) < times || self.preemptible_outside.load(Relaxed) < times)
        {
            self.store_some(&mut owner);
            support::cond_resched();
        }
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
        let outside = state();
        let mut inside = None;
        let updated = it.count.update(&mut owner, |v| {
            inside = Some((state(), it.count.try_read()));
            v.1 += 1;
        });
        let field = it
            .count
            .store_field(&mut owner, seq_field!((u8, u32), 0), 9);
        let value = it.count.get(&owner);
        drop(owner);
        assert_eq!(
            (stored, updated, field, value),
            (Ok(()), Ok(()), Ok(()), Ok((9, 5)))
        );
        // The update had not begun to write.
        assert_eq!(inside, Some((outside, Some((3, 4)))));
        assert_eq!(it.count.read(), (9, 5));
        assert_eq!(it.count.try_read(), Some((9, 5)));
        assert_eq!(it.count.read_field(seq_field!((u8, u32), 1)), 5);
        let soft = support::in_softirq(|| it.count.read());
        let hard = support::in_hardirq(|| it.count.read());
        let nmi = support::in_nmi(|| it.count.try_read());
        assert_eq!((soft, hard), (Some((9, 5)), Some((9, 5))));
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
    fn a_static_is_bound_once() -> Result {
        let lock = KBox::pin_init(new_mutex!(1u64), GFP_KERNEL)?;
        let other = KBox::pin_init(new_mutex!(1u64), GFP_KERNEL)?;
        let mut owner = lock.lock();
        let mut foreign = other.lock();
        let local = SeqCount::<(u8, u64), u64>::new((1, 2));
        let early = local.store(&mut owner, (3, 4));
        let bound = (local.bind(&owner), local.bind(&owner), local.bind(&foreign));
        let stored = (
            local.store(&mut owner, (3, 4)),
            local.store(&mut foreign, (5, 6)),
        );
        let place = LOAD.bind(&owner).and_then(|()| LOAD.store(&mut owner, 7));
        drop((owner, foreign));
        assert_eq!(early, Err(EINVAL));
        assert_eq!(bound, (Ok(()), Ok(()), Err(EBUSY)));
        assert_eq!(stored, (Ok(()), Err(EINVAL)));
        assert_eq!((place, LOAD.read()), (Ok(()), 7));
        assert_eq!(local.read(), (3, 4));
        assert_eq!(local.read_or_lock::<0, _>(&lock), Ok((3, 4)));
        assert_eq!(local.read_or_lock::<3, _>(&other), Ok((3, 4)));
        assert_eq!(local.read_or_lock::<0, _>(&other), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn several_stores_in_one_section() -> Result {
        let it = KBox::pin_init(UnderSpin::new(), GFP_KERNEL)?;
        let mut owner = it.lock.lock();
        let before = state();
        let within = it.count.write_section(&mut owner, |w| {
            w.set_field(seq_field!((u8, u32), 0), 7);
            // One store is there, and nobody sees it.
            let torn = it.count.try_read();
            let by_reference = **w;
            w.set_field(seq_field!((u8, u32), 1), 8);
            (torn, by_reference, state())
        });
        let after = state();
        drop(owner);
        let (torn, by_reference, inside) = within?;
        assert_eq!((torn, by_reference), (None, (7, 2)));
        assert!(inside.irq && inside != before);
        assert_eq!(before, after);
        assert_eq!(it.count.read(), (7, 8));
        let mut mine = 0;
        let mut called = false;
        assert!(it.count.write_section(&mut mine, |_| called = true) == Err(EINVAL));
        assert!(!called);
        assert_eq!(state(), ON);
        // A reader that preempted the section would wait without end.
        let plain = SeqCount::<u64, u64>::new(1);
        let mut owner = 0;
        plain.bind(&owner)?;
        let inside = plain.write_section(&mut owner, |_| state());
        assert!(inside?.preempt);
        assert_eq!(state(), ON);
        let mut owner = it.lock.lock();
        let whole = it.count.write_section(&mut owner, |w| {
            w.set((1, 2));
            let set = **w;
            w.set_from(&(3, 4));
            (set, **w)
        });
        drop(owner);
        assert_eq!(whole, Ok(((1, 2), (3, 4))));
        assert_eq!(it.count.read(), (3, 4));
        Ok(())
    }

    #[test]
    fn in_place() -> Result {
        let lock = KBox::pin_init(new_mutex!(0u64), GFP_KERNEL)?;
        let count = KBox::init(
            SeqCount::<[u64; 512], u64>::init(pin_init::init_array_from_fn(|i| i as u64)),
            GFP_KERNEL,
        )?;
        let mut to = KBox::new_uninit(GFP_KERNEL)?;
        assert_eq!(count.read_into(&mut to)[511], 511);
        let from = KBox::init(pin_init::init_array_from_fn(|i| 2 * i as u64), GFP_KERNEL)?;
        let mut owner = lock.lock();
        let stored = count
            .bind(&owner)
            .and_then(|()| count.store_from(&mut owner, &from));
        let last = count.write_section(&mut owner, |w| w[511]);
        drop(owner);
        assert_eq!((stored, last), (Ok(()), Ok(1022)));
        assert_eq!(count.read_into(&mut to)[511], 1022);
        Ok(())
    }

    /// A section ends by a store, an invalidation and a barrier; the last two leave the value alone.
    #[test]
    fn sections_and_what_ends_them() -> Result {
        let it = KBox::pin_init(UnderSpin::new(), GFP_KERNEL)?;
        for end in 0..4 {
            let section = it.count.begin();
            let copy = section.load();
            let mut owner = it.lock.lock();
            let ended = match end {
                0 => Ok(()),
                1 => it.count.invalidate(&mut owner),
                2 => it.count.write_barrier(&mut owner),
                _ => it.count.store(&mut owner, (5, 6)),
            };
            drop(owner);
            assert_eq!(ended, Ok(()));
            assert_eq!(copy.validate().is_ok(), end == 0);
            assert_eq!(section.retry(), end != 0);
            let now = it.count.read_section(|s| {
                let field = s.field(seq_field!((u8, u32), 1)).validate()?;
                Ok((s.load().validate()?, field))
            });
            let value = if end == 3 { (5, 6) } else { (1, 2) };
            assert_eq!(now, (value, value.1));
        }
        // A writer interferes with the first call, which does not find that out.
        let (mut calls, mut stored) = (0, Ok(()));
        let last = it.count.read_section(|_| {
            calls += 1;
            if calls == 1 {
                let mut owner = it.lock.lock();
                stored = it.count.store(&mut owner, (7, 8));
            }
            Ok(calls)
        });
        assert_eq!((stored, last), (Ok(()), 2));
        let mut foreign = 0;
        assert_eq!(it.count.invalidate(&mut foreign), Err(EINVAL));
        assert_eq!(it.count.write_barrier(&mut foreign), Err(EINVAL));
        Ok(())
    }

    fn is_not_interrupted<C: Context>() -> Result<bool> {
        const INTERRUPTS: u32 = 300;

        let shared = Interrupted::<C>::new()?;
        let cpu = support::next_cpu(0);
        let reader = shared.clone();
        let timer = Timer::start(TimerContext::Hardirq, 20, Some(cpu), move || reader.call())?;
        let writer = shared.clone();
        let thread = support::spawn_on(cpu, c"seqcount_store", move || writer.store(INTERRUPTS))?;
        thread.join();
        drop(timer);
        Ok(shared.calls.load(Relaxed) >= INTERRUPTS && shared.within.load(Relaxed) == 0)
    }

    /// A reader in an interrupt would wait without end for a store that it interrupted.
    #[test]
    fn a_store_is_not_interrupted() -> Result {
        assert!(is_not_interrupted::<Irq>()?);
        assert!(is_not_interrupted::<Bh>()?);
        Ok(())
    }

    /// A reader that preempted a store would wait until the writer runs again.
    #[test]
    fn a_store_is_not_preempted() -> Result {
        const TIMES: u32 = 20;

        let shared = Interrupted::<Preempt>::new()?;
        let cpu = support::next_cpu(0);
        let reader = shared.clone();
        let timer = Timer::start(TimerContext::Hardirq, 20, Some(cpu), move || reader.call())?;
        let writer = shared.clone();
        let store = move || writer.store_preemptibly(TIMES);
        let thread = support::spawn_on(cpu, c"seqcount_store", store)?;
        thread.join();
        drop(timer);
        assert!(shared.within.load(Relaxed) >= TIMES);
        // Elsewhere nothing counts the sections, and the kernel does not preempt itself.
        if cfg!(CONFIG_PREEMPT_COUNT) {
            assert!(shared.preemptible_outside.load(Relaxed) >= TIMES);
            assert_eq!(shared.preemptible.load(Relaxed), 0);
        }
        Ok(())
    }

    #[test]
    fn beside_a_mutex_under_stress() -> Result {
        let plan = Plan {
            reads: 200_000,
            pause_us: 2,
        };
        let report = stress::<UnderMutex>(plan)?;
        assert!(report.is_sound());
        assert!(report.reads >= plan.reads && report.process_writes > 0);
        Ok(())
    }
}
