// SPDX-License-Identifier: GPL-2.0

//! Torture, after the kernel's rcutorture.
//!
//! Readers in process, softirq and hardirq context read elements while writers replace them and
//! reclaim them in every way that the API has. An element ages with each grace period after its
//! removal: a reader that finds an age other than zero was not waited for. Its words are equal
//! while it can be read: a reader that finds them different sees it too early or too late. The
//! mutant ages elements without waiting, and the same counters must report it.

use super::executor::block_on;
use crate::support;
use core::array;
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
use quiesce::rcu::{
    AtomicDrop,
    Batch,
    Domain,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    Shared, //
};

/// The counters of a run.
pub(crate) struct Counters {
    stop: Atomic<i32>,
    failed: Atomic<i32>,
    reads: [Atomic<usize>; 3],
    too_old: Atomic<usize>,
    torn: Atomic<usize>,
    created: Atomic<usize>,
    dropped: Atomic<usize>,
    retired: [Atomic<usize>; PATHS],
}

/// The ways to reclaim.
#[derive(Clone, Copy)]
enum Path {
    Synchronize,
    Expedited,
    PolledRetired,
    PolledExpedited,
    Snapshot,
    Future,
    Batch,
    DeferSoftirq,
    DeferProcess,
    DeferShared,
    DeferPlain,
}

const PATHS: usize = 11;
const BATCH: usize = 8;

const ALL: [Path; PATHS] = [
    Path::Synchronize,
    Path::DeferSoftirq,
    Path::PolledRetired,
    Path::DeferProcess,
    Path::Expedited,
    Path::DeferShared,
    Path::PolledExpedited,
    Path::Snapshot,
    Path::DeferPlain,
    Path::Future,
    Path::Batch,
];

/// The object that readers check.
pub(crate) struct Element {
    counters: Arc<Counters>,
    age: Atomic<usize>,
    words: [Atomic<usize>; 4],
}

// SAFETY: The destructor stores to atomics and drops an [`Arc`] of atomics.
unsafe impl AtomicDrop for Element {}

impl Element {
    fn new(counters: &Arc<Counters>) -> Self {
        let serial = counters.created.fetch_add(1usize, Relaxed);
        Self {
            counters: counters.clone(),
            age: Atomic::new(0),
            words: array::from_fn(|_| Atomic::new(serial)),
        }
    }

    /// Ages the element by one grace period, which a mutant has not waited for.
    fn age(&self) {
        self.age.add(1usize, Relaxed);
        for (i, word) in self.words.iter().enumerate() {
            word.store(i, Relaxed);
        }
    }

    fn renew(&self, serial: usize) {
        for word in &self.words {
            word.store(serial, Relaxed);
        }
        self.age.store(0, Relaxed);
    }

    /// A reader's check: reads a word, calls `linger`, and compares all words and the age.
    fn check(&self, linger: impl FnOnce()) {
        let first = self.words[0].load(Relaxed);
        linger();
        if self.words.iter().any(|word| word.load(Relaxed) != first) {
            self.counters.torn.add(1usize, Relaxed);
        }
        if self.age.load(Relaxed) != 0 {
            self.counters.too_old.add(1usize, Relaxed);
        }
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        self.age();
        self.counters.dropped.add(1usize, Relaxed);
    }
}

/// Something with readers and writers.
pub(crate) trait Scheme: Send + Sync + 'static {
    /// Whether readers in process context may sleep.
    fn sleepable(&self) -> bool;
    /// Shows a reader what there is to see.
    fn read(&self, linger: impl Fn());
    /// Replaces and reclaims.
    fn write(&self, path: usize, counters: &Arc<Counters>) -> Result;
    /// Waits until everything has been reclaimed that was replaced.
    fn settle(&self) -> Result;
}

type Soft<D> = RcuCell<KBox<Object<Element, InSoftirq>>, D>;
type Process<D> = RcuCell<KBox<Object<Element, InProcess>>, D>;
type ByArc<D> = RcuCell<Arc<Shared<Element, D, InSoftirq>>, D>;
type Plain<D> = RcuCell<KBox<Object<[usize; 8]>>, D>;

/// The real thing.
pub(crate) struct Real<D: Domain> {
    domain: D,
    soft: Soft<D>,
    process: Process<D>,
    shared: [ByArc<D>; 2],
    plain: Plain<D>,
    counters: Arc<Counters>,
    sleepable: bool,
}

fn soft(counters: &Arc<Counters>) -> Result<KBox<Object<Element, InSoftirq>>> {
    Ok(KBox::new(
        Object::new_atomic(Element::new(counters)),
        GFP_KERNEL,
    )?)
}

fn shared<D: Domain>(counters: &Arc<Counters>) -> Result<Arc<Shared<Element, D, InSoftirq>>> {
    Ok(Arc::new(
        Shared::new_atomic(Element::new(counters)),
        GFP_KERNEL,
    )?)
}

impl<D: Domain> Real<D> {
    pub(crate) fn new(domain: D, sleepable: bool, counters: &Arc<Counters>) -> Result<Self> {
        Ok(Self {
            domain,
            soft: RcuCell::new(soft(counters)?),
            process: RcuCell::new(KBox::new(Object::new(Element::new(counters)), GFP_KERNEL)?),
            shared: [
                RcuCell::new(shared(counters)?),
                RcuCell::new(shared(counters)?),
            ],
            plain: RcuCell::new(KBox::new(Object::new([0; 8]), GFP_KERNEL)?),
            counters: counters.clone(),
            sleepable,
        })
    }

    /// One grace period is over; sends the element through another one.
    fn again(&self, element: KBox<Object<Element, InSoftirq>>) {
        element.age();
        let cell = RcuCell::<Option<_>, D>::new(Some(element));
        cell.publish(None);
    }
}

impl<D: Domain> Scheme for Real<D> {
    fn sleepable(&self) -> bool {
        self.sleepable
    }

    fn read(&self, linger: impl Fn()) {
        self.domain.run(|t| {
            let plain = self.plain.read(t);
            let serial = plain[0];
            self.soft.read(t).check(&linger);
            self.process.read(t).check(|| ());
            for cell in &self.shared {
                cell.read(t).check(|| ());
            }
            if plain.iter().any(|word| *word != serial) {
                self.counters.torn.add(1usize, Relaxed);
            }
        });
    }

    fn write(&self, path: usize, counters: &Arc<Counters>) -> Result {
        let mut n = 1;
        match ALL[path] {
            Path::Synchronize => {
                self.again(self.soft.replace(soft(counters)?).synchronize()?);
            }
            Path::Expedited => {
                self.again(self.soft.replace(soft(counters)?).synchronize_expedited()?);
            }
            Path::PolledRetired | Path::PolledExpedited => {
                let old = self.soft.replace(soft(counters)?);
                let mut polled = match ALL[path] {
                    Path::PolledRetired => old.start(),
                    _ => old.start_expedited(),
                };
                loop {
                    match polled.try_reclaim() {
                        Ok(element) => break self.again(element),
                        Err(not_yet) => polled = not_yet,
                    }
                    support::msleep(1);
                }
            }
            Path::Snapshot => {
                self.again(self.soft.replace(soft(counters)?).cookie().wait()?);
            }
            Path::Future => {
                self.again(block_on(
                    self.soft.replace(soft(counters)?).synchronize_async(),
                )??);
            }
            Path::Batch => {
                n = BATCH;
                let mut batch = Batch::new();
                for _ in 0..n {
                    batch.push(self.soft.replace(soft(counters)?));
                }
                for element in batch.synchronize()? {
                    element.age();
                }
            }
            Path::DeferSoftirq => self.soft.publish(soft(counters)?),
            Path::DeferProcess => self
                .process
                .publish(KBox::new(Object::new(Element::new(counters)), GFP_KERNEL)?),
            Path::DeferShared => {
                // One object in two cells, retired from both at about the same time.
                let element = shared(counters)?;
                self.shared[0].publish(element.clone());
                self.shared[1].publish(element);
            }
            Path::DeferPlain => {
                let serial = counters.created.load(Relaxed);
                self.plain
                    .publish(KBox::new(Object::new([serial; 8]), GFP_KERNEL)?);
            }
        }
        counters.retired[path].add(n, Relaxed);
        self.domain.throttle()
    }

    fn settle(&self) -> Result {
        // References to shared objects can take a few rounds.
        for _ in 0..5 {
            self.domain.barrier()?;
        }
        Ok(())
    }
}

/// The same without grace periods. The elements are not freed, only aged.
pub(crate) struct Busted {
    ring: KVec<Element>,
    next: Atomic<usize>,
    current: Atomic<usize>,
}

impl Busted {
    pub(crate) fn new(counters: &Arc<Counters>) -> Result<Self> {
        let mut ring = KVec::new();
        for _ in 0..64 {
            ring.push(Element::new(counters), GFP_KERNEL)?;
        }
        Ok(Self {
            ring,
            next: Atomic::new(1),
            current: Atomic::new(0),
        })
    }
}

impl Scheme for Busted {
    fn sleepable(&self) -> bool {
        false
    }

    fn read(&self, linger: impl Fn()) {
        self.ring[self.current.load(Relaxed)].check(linger);
    }

    fn write(&self, path: usize, counters: &Arc<Counters>) -> Result {
        let serial = self.next.fetch_add(1usize, Relaxed);
        let new = serial % self.ring.len();
        self.ring[new].renew(serial);
        let old = self.current.xchg(new, kernel::sync::atomic::Full);
        self.ring[old].age();
        counters.retired[path].add(1usize, Relaxed);
        support::cond_resched();
        Ok(())
    }

    fn settle(&self) -> Result {
        Ok(())
    }
}

/// The result of a run.
pub(crate) struct Report {
    /// Reads in process, softirq and hardirq context.
    pub(crate) reads: [usize; 3],
    /// Elements that readers found too old.
    pub(crate) too_old: usize,
    /// Elements whose words readers found to differ.
    pub(crate) torn: usize,
    /// Elements that were made and not dropped, or dropped twice.
    pub(crate) left: isize,
    /// The fewest objects that went one way.
    pub(crate) least: usize,
    /// All objects.
    pub(crate) objects: usize,
}

impl Report {
    /// Returns whether readers saw a stale or torn element.
    pub(crate) fn caught(&self) -> bool {
        self.too_old + self.torn != 0
    }
}

/// The parameters of a run.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Threads that write.
    pub(crate) writers: usize,
    /// Objects of each writer in each way; a multiple of eight.
    pub(crate) each: usize,
}

fn reader<S: Scheme>(scheme: &S, counters: &Counters, seed: usize) {
    let mut n = seed;
    while counters.stop.load(Relaxed) == 0 {
        n = n.wrapping_add(1);
        scheme.read(|| match n % 64 {
            0 if scheme.sleepable() => support::msleep(1),
            0 => support::udelay(200),
            1..=8 => support::udelay(5),
            _ => (),
        });
        counters.reads[0].add(1usize, Relaxed);
        if n % 16 == 0 {
            support::cond_resched();
        }
        if n % 256 == 0 {
            support::msleep(1);
        }
    }
}

fn writer<S: Scheme>(scheme: &S, counters: &Arc<Counters>, plan: Plan) {
    for i in 0..plan.each {
        for (path, which) in ALL.iter().enumerate() {
            if matches!(which, Path::Batch) && i % BATCH != 0 {
                continue;
            }
            if scheme.write(path, counters).is_err() {
                counters.failed.store(1, Relaxed);
            }
        }
        if counters.stop.load(Relaxed) != 0 {
            return;
        }
    }
}

pub(crate) fn counters() -> Result<Arc<Counters>> {
    Ok(Arc::new(
        Counters {
            stop: Atomic::new(0),
            failed: Atomic::new(0),
            reads: array::from_fn(|_| Atomic::new(0)),
            too_old: Atomic::new(0),
            torn: Atomic::new(0),
            created: Atomic::new(0),
            dropped: Atomic::new(0),
            retired: array::from_fn(|_| Atomic::new(0)),
        },
        GFP_KERNEL,
    )?)
}

/// Runs a scheme.
pub(crate) fn run<S: Scheme>(scheme: S, counters: Arc<Counters>, plan: Plan) -> Result<Report> {
    let scheme = Arc::new(scheme, GFP_KERNEL)?;
    let mut readers = KVec::new();
    for seed in 0..2 {
        let (scheme, counters) = (scheme.clone(), counters.clone());
        let thread = support::spawn(c"rcu_torture_rd", move || {
            reader(&*scheme, &counters, seed * 31)
        })?;
        readers.push(thread, GFP_KERNEL)?;
    }
    let timer = |context, which: usize| {
        let (scheme, counters) = (scheme.clone(), counters.clone());
        support::Timer::start(context, 500, None, move || {
            scheme.read(|| support::udelay(2));
            counters.reads[which].add(1usize, Relaxed);
        })
    };
    let softirq = timer(support::TimerContext::Softirq, 1)?;
    let hardirq = timer(support::TimerContext::Hardirq, 2)?;

    let mut writers = KVec::new();
    for _ in 0..plan.writers {
        let (scheme, counters) = (scheme.clone(), counters.clone());
        let thread = support::spawn(c"rcu_torture_wr", move || writer(&*scheme, &counters, plan))?;
        writers.push(thread, GFP_KERNEL)?;
    }
    drop(writers);
    counters.stop.store(1, Relaxed);
    drop(readers);
    drop(softirq);
    drop(hardirq);
    scheme.settle()?;
    drop(scheme);

    if counters.failed.load(Relaxed) != 0 {
        return Err(ENOMEM);
    }
    let created = counters.created.load(Relaxed);
    let dropped = counters.dropped.load(Relaxed);
    let retired = || counters.retired.iter().map(|n| n.load(Relaxed));
    let report = Report {
        reads: array::from_fn(|i| counters.reads[i].load(Relaxed)),
        too_old: counters.too_old.load(Relaxed),
        torn: counters.torn.load(Relaxed),
        left: created.wrapping_sub(dropped) as isize,
        least: retired().min().unwrap_or(0),
        objects: retired().sum(),
    };
    pr_info!(
        "rcu torture: {} objects, at least {} each way; {} + {} + {} reads; {} too old, {} torn, {} left\n",
        report.objects,
        report.least,
        report.reads[0],
        report.reads[1],
        report.reads[2],
        report.too_old,
        report.torn,
        report.left
    );
    Ok(report)
}

quiesce::rcu::define_domain! {
    /// The SRCU domain that is tortured.
    pub(crate) Tortured
}

#[kunit_tests(quiesce_rcu_torture)]
mod tests {
    use super::*;
    use quiesce::rcu::{
        self,
        Srcu, //
    };

    const PLAN: Plan = Plan {
        writers: 32,
        each: 32,
    };

    #[test]
    fn global() -> Result {
        let counters = counters()?;
        let real = Real::new(rcu::global(), false, &counters)?;
        let report = run(real, counters, PLAN)?;
        assert!(!report.caught());
        assert_eq!(report.left, 0);
        assert!(report.objects >= 10_000);
        assert!(report.least >= 1_000);
        assert!(report.reads[0] > 100 && report.reads[1] > 10 && report.reads[2] > 10);
        Ok(())
    }

    #[test]
    fn srcu() -> Result {
        let counters = counters()?;
        let real = Real::new(Srcu::<Tortured>::init()?, true, &counters)?;
        let plan = Plan { each: 16, ..PLAN };
        let report = run(real, counters, plan)?;
        assert!(!report.caught());
        assert_eq!(report.left, 0);
        assert!(report.objects >= 5_000);
        assert!(report.least >= 500);
        assert!(report.reads[0] > 10 && report.reads[1] > 10 && report.reads[2] > 10);
        Ok(())
    }

    #[test]
    fn the_busted_twin_is_caught() -> Result {
        let counters = counters()?;
        let busted = Busted::new(&counters)?;
        let plan = Plan {
            writers: 2,
            each: 16_000,
        };
        let report = run(busted, counters, plan)?;
        assert!(report.too_old > 0);
        Ok(())
    }
}
