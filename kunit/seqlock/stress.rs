// SPDX-License-Identifier: GPL-2.0

//! Readers against writers in every context at once, over each kind of sequence lock.

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
    new_seqlock, seq_field,
    seqlock::{
        Bh,
        Context,
        Irq,
        Kind,
        Preempt,
        Raw,
        SeqLock,
        Serves,
        ThreadedIrq, //
    },
};

use crate::support::{
    self,
    Timer,
    TimerContext, //
};

/// A value that says whether it is whole: every word follows from `n`.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    pub(crate) low: [u64; 8],
    pub(crate) high: [u64; 8],
}

const fn word(n: u64, i: usize) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i as u64
}

impl Payload {
    /// The payload of `n`, whose first word is `n` itself.
    pub(crate) fn of(n: u64) -> Self {
        let mut payload = Self {
            low: core::array::from_fn(|i| word(n, i)),
            high: core::array::from_fn(|i| word(n, i + 8)),
        };
        payload.low[0] = n;
        payload
    }

    /// Which payload it is; [`None`] if it is a mixture of two.
    pub(crate) fn n(&self) -> Option<u64> {
        let n = self.low[0];
        let low = self.low.iter().enumerate().skip(1);
        let high = self.high.iter().enumerate();
        let whole = low.fold(true, |ok, (i, w)| ok & (*w == word(n, i)))
            & high.fold(true, |ok, (i, w)| ok & (*w == word(n, i + 8)));
        whole.then_some(n)
    }
}

/// Where a writer runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A thread.
    Process,
    /// A timer's softirq.
    Softirq,
    /// A timer's hardware interrupt.
    Hardirq,
}

/// The subject of the stress test.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Returns whether writers may run in the context `from`.
    fn writable(from: From) -> bool;

    /// Makes one that holds the payload of zero.
    fn new() -> Result<Arc<Self>>;

    /// Reads by the `way`th of its ways.
    fn read(&self, way: u64) -> Payload;

    /// Replaces the payload of `n` by that of `n + 1`, with `pause` in the middle.
    fn write(&self, from: From, pause: impl Fn());
}

/// The parameters of a run.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Number of reads.
    pub(crate) reads: u64,
    /// Pause in the middle of a write, in microseconds.
    pub(crate) pause_us: u32,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) reads: u64,
    pub(crate) process_writes: u64,
    pub(crate) softirq_writes: u64,
    pub(crate) hardirq_writes: u64,
    /// Mixtures of two payloads.
    pub(crate) torn: u64,
    /// Payloads older than one that the same reader saw before.
    pub(crate) older: u64,
    /// The last payload, whole or not.
    pub(crate) last: Option<u64>,
}

struct Shared<S: Subject> {
    subject: Arc<S>,
    plan: Plan,
    reads: Atomic<u64>,
    writes: [Atomic<u64>; 3],
    torn: Atomic<u64>,
    older: Atomic<u64>,
    stop: Atomic<u32>,
}

impl<S: Subject> Shared<S> {
    fn over(&self) -> bool {
        self.stop.load(Relaxed) != 0
    }

    fn write(&self, from: From) {
        self.subject
            .write(from, || support::udelay(self.plan.pause_us));
        self.writes[from as usize].fetch_add(1, Relaxed);
    }

    /// Reads until its share is done.
    fn reader(&self, share: u64) {
        /// Number of reads that are added to the shared counter at once.
        const BATCH: u64 = 256;
        let mut last = 0;
        let mut done = 0;
        while done < share && !self.over() {
            for way in 0..BATCH {
                match self.subject.read(way).n() {
                    None => {
                        self.torn.fetch_add(1, Relaxed);
                    }
                    Some(n) if n < last => {
                        self.older.fetch_add(1, Relaxed);
                    }
                    Some(n) => last = n,
                }
            }
            done += BATCH;
            self.reads.fetch_add(BATCH, Relaxed);
            support::cond_resched();
        }
    }

    /// Writes until the readers are done.
    fn writer(&self) {
        while !self.over() {
            self.write(From::Process);
            support::udelay(5);
            support::cond_resched();
        }
    }
}

/// Readers on each of two CPUs and a writer in a thread, against writers in a hardware interrupt on
/// the one and in a softirq on the other.
pub(crate) fn stress<S: Subject>(plan: Plan) -> Result<Report> {
    let shared = Arc::new(
        Shared {
            subject: S::new()?,
            plan,
            reads: Atomic::new(0),
            writes: [Atomic::new(0), Atomic::new(0), Atomic::new(0)],
            torn: Atomic::new(0),
            older: Atomic::new(0),
            stop: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let first = support::next_cpu(-1);
    let second = support::next_cpu(first);

    let timer = |context, from, period_us, cpu| {
        let shared = shared.clone();
        S::writable(from)
            .then(|| Timer::start(context, period_us, Some(cpu), move || shared.write(from)))
            .transpose()
    };
    let hardirq = timer(TimerContext::Hardirq, From::Hardirq, 150, first)?;
    let softirq = timer(TimerContext::Softirq, From::Softirq, 170, second)?;

    let writer = {
        let shared = shared.clone();
        support::spawn(c"seqlock-writer", move || shared.writer())?
    };
    let reader = |cpu| {
        let shared = shared.clone();
        let share = plan.reads.div_ceil(2);
        support::spawn_on(cpu, c"seqlock-reader", move || shared.reader(share))
    };
    let readers = reader(first).and_then(|one| Ok((one, reader(second)?)));
    if let Ok((one, two)) = readers {
        one.join();
        two.join();
    }
    shared.stop.store(1, Relaxed);
    writer.join();
    drop((hardirq, softirq));

    Ok(Report {
        reads: shared.reads.load(Relaxed),
        process_writes: shared.writes[From::Process as usize].load(Relaxed),
        softirq_writes: shared.writes[From::Softirq as usize].load(Relaxed),
        hardirq_writes: shared.writes[From::Hardirq as usize].load(Relaxed),
        torn: shared.torn.load(Relaxed),
        older: shared.older.load(Relaxed),
        last: shared.subject.read(0).n(),
    })
}

impl Report {
    /// Returns whether nothing was torn and nothing lost.
    pub(crate) fn is_sound(&self) -> bool {
        let writes = self.process_writes + self.softirq_writes + self.hardirq_writes;
        self.torn == 0 && self.older == 0 && self.last == Some(writes)
    }
}

/// Whether a [`SeqLock`] of this context and kind can be written from there.
fn writable<C: Context + Mode, K: Kind + Spins>(from: From) -> bool {
    match from {
        From::Process => true,
        From::Softirq => C::ORDER >= 1,
        From::Hardirq => C::ORDER >= 2 && K::SPINS,
    }
}

/// The order of the contexts, for run-time decisions of the tests.
pub(crate) trait Mode {
    const ORDER: u32;
}

impl Mode for Preempt {
    const ORDER: u32 = 0;
}

impl Mode for Bh {
    const ORDER: u32 = 1;
}

impl Mode for ThreadedIrq {
    const ORDER: u32 = 2;
}

impl Mode for Irq {
    const ORDER: u32 = 2;
}

/// Whether a kind of lock spins on this kernel.
pub(crate) trait Spins {
    const SPINS: bool;
}

impl Spins for Raw {
    const SPINS: bool = true;
}

impl Spins for quiesce::seqlock::Spin {
    const SPINS: bool = !cfg!(CONFIG_PREEMPT_RT);
}

impl<C: Context + Mode, K: Serves<C> + Spins> Subject for SeqLock<Payload, C, K> {
    fn writable(from: From) -> bool {
        writable::<C, K>(from)
    }

    fn new() -> Result<Arc<Self>> {
        // A macro in a generic function is one place, and so one lockdep class.
        let zero = Payload::of(0);
        match C::ORDER {
            0 => Arc::pin_init(new_seqlock!(<Self>, zero, "stress"), GFP_KERNEL),
            1 => Arc::pin_init(new_seqlock!(<Self>, zero, "stress_bh"), GFP_KERNEL),
            _ => Arc::pin_init(new_seqlock!(<Self>, zero, "stress_irq"), GFP_KERNEL),
        }
    }

    fn read(&self, way: u64) -> Payload {
        match way % 16 {
            0 => SeqLock::read(self),
            1 => self.read_or_lock::<2>(),
            2 => self.read_section(|s| {
                let low = s.field(seq_field!(Payload, low));
                let high = s.field(seq_field!(Payload, high));
                Ok(Payload {
                    low: low.validate()?,
                    high: high.validate()?,
                })
            }),
            3 => *self.read_exclusive_in::<C>(),
            4 => *self.read_begin(),
            _ => loop {
                if let Some(payload) = self.try_read() {
                    break payload;
                }
                support::cpu_relax();
            },
        }
    }

    fn write(&self, _from: From, pause: impl Fn()) {
        let mut guard = self.write_in::<C>();
        let next = Payload::of(guard.low[0].wrapping_add(1));
        if next.low[0] % 4 == 0 {
            guard.set(next);
        } else {
            guard.set_field(seq_field!(Payload, low), next.low);
            pause();
            guard.set_field(seq_field!(Payload, high), next.high);
        }
    }
}

/// Sound sequence locks, under the stress.
#[kunit_tests(quiesce_seqlock_stress)]
mod tests {
    use super::*;

    /// The parameters of each of the three runs.
    const PLAN: Plan = Plan {
        reads: 1_000_000,
        pause_us: 2,
    };

    #[test]
    fn process() -> Result {
        let report = stress::<SeqLock<Payload, Preempt>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads && report.process_writes > 0);
        Ok(())
    }

    #[test]
    fn process_and_softirq() -> Result {
        let report = stress::<SeqLock<Payload, Bh>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads);
        assert!(report.process_writes > 0 && report.softirq_writes > 0);
        Ok(())
    }

    #[test]
    fn process_softirq_and_hardirq() -> Result {
        let report = stress::<SeqLock<Payload, Irq, Raw>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads && report.process_writes > 0);
        assert!(report.softirq_writes > 0 && report.hardirq_writes > 0);
        Ok(())
    }
}
