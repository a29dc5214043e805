// SPDX-License-Identifier: GPL-2.0

//! RCU: threads and interrupts read objects that a writer replaces and has reclaimed in every way.

use crate::{
    executor::block_on,
    frame::{
        self,
        How,
        Part,
        Tally,
        Violation,
        Worker, //
    },
    support, //
};
use kernel::{
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        new_mutex,
        Arc,
        Mutex, //
    },
};
use quiesce::{
    define_domain,
    rcu::{
        self,
        AtomicDrop,
        Batch,
        Domain,
        DropContext,
        Entry,
        Global,
        InSoftirq,
        Object,
        RcuCell,
        RcuHashMap,
        RcuList,
        Retired,
        Shared,
        Srcu, //
    },
};

define_domain! {
    /// Readers of this one sleep.
    pub(crate) Sleepers
}

/// The number of keys of the map.
const KEYS: u32 = 12;

const LIVE: u64 = 0x6c69_7665_6c69_7665;
const DEAD: u64 = 0x6465_6164_6465_6164;

/// Numbers of objects created and of objects dropped.
#[derive(Default)]
struct Books {
    made: frame::Count,
    gone: frame::Count,
}

/// An object that readers read.
struct Item {
    mark: Atomic<u64>,
    books: Arc<Books>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.mark.store(DEAD, Release);
        self.books.gone.inc();
    }
}

// SAFETY: The destructor stores to atomics and drops an [`Arc`] of atomics.
unsafe impl AtomicDrop for Item {}

type Boxed = KBox<Object<Item>>;
/// Dropped in softirq context when it is deferred.
type Soft = KBox<Object<Item, InSoftirq>>;
type Counted = Arc<Shared<Item>>;
/// Freed without a destructor. Its words are equal, unless it is freed while it is read.
type Bytes = KBox<Object<[u64; 8]>>;

/// Treatment of the objects that were taken out of a cell, which a mutant of [`Cells`] changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// Reclaims every object: the unmodified protocol.
    Nothing,
    /// Keeps one object in sixteen.
    Object,
    /// Reclaims every object, but reads the counters without waiting for that to finish.
    Barrier,
}

struct Cells {
    lost: Lost,
    /// Objects that the mutant keeps until it is dropped.
    kept: Pin<KBox<Mutex<KVec<Boxed>>>>,
    plain: RcuCell<Boxed, Global>,
    soft: RcuCell<Soft, Global>,
    bytes: RcuCell<Bytes, Global>,
    sleepable: RcuCell<Boxed, Srcu<Sleepers>>,
    /// Filled by the writer, emptied by interrupts.
    spare: RcuCell<Option<Boxed>, Global>,
    /// Two cells that have one object now and then.
    shared: [RcuCell<Counted, Global>; 2],
    /// The newest entries are at the front; the writers keep it short.
    list: Pin<KBox<RcuList<Item, Srcu<Sleepers>>>>,
    /// Few buckets, so that entries are in chains.
    map: Pin<KBox<RcuHashMap<u32, Item>>>,
    srcu: Srcu<Sleepers>,
    books: Arc<Books>,
}

impl Cells {
    fn new(lost: Lost) -> Result<Self> {
        let books = Arc::new(Books::default(), GFP_KERNEL)?;
        let srcu = Srcu::<Sleepers>::init()?;
        Ok(Self {
            lost,
            kept: KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL)?,
            plain: RcuCell::new(Self::item(&books)?),
            soft: RcuCell::new(Self::soft(&books)?),
            bytes: RcuCell::new(KBox::new(Object::new([0; 8]), GFP_KERNEL)?),
            sleepable: RcuCell::new(Self::item(&books)?),
            spare: RcuCell::none(),
            shared: [
                RcuCell::new(Self::counted(&books)?),
                RcuCell::new(Self::counted(&books)?),
            ],
            list: KBox::pin_init(
                RcuList::new(c"torture list", static_lock_class!()),
                GFP_KERNEL,
            )?,
            map: KBox::pin_init(
                RcuHashMap::new(4, c"torture map", static_lock_class!()),
                GFP_KERNEL,
            )?,
            srcu,
            books,
        })
    }

    fn live(books: &Arc<Books>) -> Item {
        Item {
            mark: Atomic::new(LIVE),
            books: books.clone(),
        }
    }

    // If the allocation fails, the value is dropped, and so counted in both counters.
    fn item(books: &Arc<Books>) -> Result<Boxed> {
        books.made.inc();
        Ok(Object::new(Self::live(books)).boxed(GFP_KERNEL)?)
    }

    fn soft(books: &Arc<Books>) -> Result<Soft> {
        books.made.inc();
        Ok(Object::new_atomic(Self::live(books)).boxed(GFP_KERNEL)?)
    }

    fn counted(books: &Arc<Books>) -> Result<Counted> {
        books.made.inc();
        Ok(Arc::new(Shared::new(Self::live(books)), GFP_KERNEL)?)
    }

    /// Puts a new object into one of the shared cells, or into both.
    fn write_shared(&self, me: &Worker<'_>) {
        let Ok(new) = Self::counted(&self.books) else {
            me.tally.refused.inc();
            return;
        };
        let both = me.rng.one_in(2);
        if both {
            drop(self.shared[1].replace(new.clone()));
            me.window();
        }
        // Retired in one cell while it is in the other, and from both at once.
        drop(self.shared[0].replace(new));
    }

    /// Replaces an object whose destructor may run in softirq context, or one without destructor.
    fn write_soft(&self, me: &Worker<'_>) {
        if me.rng.one_in(2) {
            let n = self.books.made.get();
            match KBox::new(Object::new([n; 8]), GFP_KERNEL) {
                Ok(new) => self.bytes.publish(new),
                Err(_) => me.tally.refused.inc(),
            }
            return;
        }
        match Self::soft(&self.books) {
            Ok(new) => Self::reclaim(me, rcu::global(), self.soft.replace(new)),
            Err(_) => me.tally.refused.inc(),
        }
    }

    /// Changes the list, and has removed entries reclaimed.
    fn write_list(&self, me: &Worker<'_>) {
        self.books.made.inc();
        let Ok(new) = Entry::new(Self::live(&self.books), GFP_KERNEL) else {
            me.tally.refused.inc();
            return;
        };
        let mut batch = Batch::new();
        {
            let mut list = self.list.lock();
            list.push_front(new);
            let mut at = list.cursor();
            let mut left = 0;
            while at.value().is_some() {
                // One in eight, and whatever is beyond the first eight.
                if left == 8 || me.rng.one_in(8) {
                    if let Some(old) = at.remove() {
                        batch.push(old);
                    }
                } else {
                    left += 1;
                    at.move_next();
                }
            }
        }
        if me.rng.one_in(4) {
            me.tally
                .must(batch.synchronize().is_ok(), Violation::Refused);
        } else {
            batch.defer();
        }
    }

    /// Changes the map, and has a removed entry reclaimed.
    fn write_map(&self, me: &Worker<'_>) {
        let key = me.rng.below(KEYS);
        self.books.made.inc();
        let Ok(new) = Entry::new((key, Self::live(&self.books)), GFP_KERNEL) else {
            me.tally.refused.inc();
            return;
        };
        let old = if me.rng.one_in(4) {
            drop(new);
            self.map.lock().remove(&key)
        } else {
            self.map.lock().insert(new)
        };
        match old.map(|old| (old, me.rng.one_in(4))) {
            Some((old, true)) => me.tally.must(old.synchronize().is_ok(), Violation::Refused),
            Some((old, false)) => old.defer(),
            None => (),
        }
    }

    fn read_map(&self, me: &Worker<'_>) {
        rcu::global().run(|t| {
            if let Some(item) = self.map.get(t, &me.rng.below(KEYS)) {
                Self::judge(me, item, || me.window());
            }
        });
    }

    fn read_bytes(&self, me: &Worker<'_>) {
        rcu::global().run(|t| {
            let bytes = self.bytes.read(t);
            let first = bytes[0];
            me.window();
            let whole = bytes.iter().all(|word| *word == first);
            me.tally.must(whole, Violation::FreedInSection);
            me.tally.reads.inc();
        });
    }

    fn judge(me: &Worker<'_>, item: &Item, window: impl Fn()) {
        let live = || item.mark.load(Acquire) == LIVE;
        me.tally.must(live(), Violation::FreedInSection);
        window();
        me.tally.must(live(), Violation::FreedInSection);
        me.tally.reads.inc();
    }

    /// Keeps an object, as the mutant [`Lost::Object`] does instead of reclaiming it.
    fn keep(&self, item: Boxed) {
        let old = self.plain.replace(item);
        if let Ok(item) = old.synchronize() {
            let _ = self.kept.lock().push(item, GFP_KERNEL);
        }
    }

    /// Reclaims what was in a cell, in one of the ways there are.
    fn reclaim<C: DropContext, D: Domain>(
        me: &Worker<'_>,
        domain: D,
        old: Retired<KBox<Object<Item, C>>, D>,
    ) {
        let tally = me.tally;
        match me.rng.below(20) {
            0 => tally.must(old.synchronize().is_ok(), Violation::Refused),
            1 => tally.must(old.synchronize_expedited().is_ok(), Violation::Refused),
            which @ 2..=3 => {
                let mut polled = match which {
                    2 => old.start(),
                    _ => old.start_expedited(),
                };
                // Most grace periods end while this polls; the others are waited for.
                for _ in 0..me.rng.below(64) {
                    support::msleep(1);
                    match polled.try_reclaim() {
                        Ok(item) => return drop(item),
                        Err(not_yet) => polled = not_yet,
                    }
                }
                tally.must(polled.wait().is_ok(), Violation::Refused);
            }
            4 => match block_on(old.synchronize_async()) {
                Ok(reclaimed) => tally.must(reclaimed.is_ok(), Violation::Refused),
                Err(_) => tally.refused.inc(),
            },
            5 => tally.must(old.cookie().wait().is_ok(), Violation::Refused),
            6 => {
                let mut batch = Batch::new();
                batch.push(old);
                batch.defer();
            }
            7 => {
                let mut batch = Batch::new();
                batch.push(old);
                tally.must(batch.synchronize().is_ok(), Violation::Refused);
            }
            8 => {
                drop(old);
                tally.must(domain.throttle().is_ok(), Violation::Refused);
            }
            9 => {
                let cookie = domain.start();
                tally.must(cookie.wait().is_ok(), Violation::Refused);
                tally.must(cookie.is_over(), Violation::Refused);
                drop(old);
            }
            _ => old.defer(),
        }
    }
}

impl Part for Cells {
    fn writers(&self) -> u32 {
        8
    }

    fn read(&self, me: &Worker<'_>) {
        match me.rng.below(10) {
            0..=1 => rcu::global().run(|t| {
                let item = self.plain.read(t);
                Self::judge(me, item, || me.window());
            }),
            2 => rcu::global().run(|t| {
                let item = self.shared[me.rng.below(2) as usize].read(t);
                Self::judge(me, &item, || me.window());
            }),
            3 => self.read_map(me),
            4 => self.read_bytes(me),
            5 => rcu::global().run(|t| {
                let item = self.soft.read(t);
                Self::judge(me, item, || me.window());
            }),
            6..=7 => self.srcu.run(|t| {
                for item in self.list.iter(t) {
                    Self::judge(me, item, || me.sleeping_window());
                }
            }),
            _ => self.srcu.run(|t| {
                let item = self.sleepable.read(t);
                Self::judge(me, item, || me.sleeping_window());
            }),
        }
    }

    fn interrupt(&self, me: &Worker<'_>, _hard: bool) {
        rcu::global().run(|t| Self::judge(me, self.plain.read(t), || me.window()));
        self.srcu
            .run(|t| Self::judge(me, self.sleepable.read(t), || me.window()));
        self.srcu.run(|t| {
            self.list
                .iter(t)
                .for_each(|item| Self::judge(me, item, || ()))
        });
        self.read_map(me);
        self.read_bytes(me);
        rcu::global().run(|t| Self::judge(me, self.soft.read(t), || ()));
        if me.rng.one_in(4) {
            // Deferred from here.
            drop(self.spare.replace(None));
        }
    }

    fn write(&self, me: &Worker<'_>) {
        let Ok(item) = Self::item(&self.books) else {
            me.tally.refused.inc();
            return;
        };
        match me.rng.below(10) {
            0 => drop(self.spare.replace(Some(item))),
            1 if self.lost == Lost::Object && me.rng.one_in(4) => self.keep(item),
            1 => {
                drop(item);
                self.write_shared(me);
            }
            2 => {
                drop(item);
                self.write_list(me);
            }
            3 => {
                drop(item);
                self.write_map(me);
            }
            4..=5 => {
                drop(item);
                self.write_soft(me);
            }
            6..=7 => Self::reclaim(me, self.srcu, self.sleepable.replace(item)),
            _ => Self::reclaim(me, rcu::global(), self.plain.replace(item)),
        }
        me.tally.writes.inc();
        if me.rng.one_in(8) {
            me.sleeping_window();
        }
    }

    fn finish(&self, tally: &Tally) {
        drop(self.spare.replace(None));
        if self.lost == Lost::Barrier {
            // So that something is on its way, however idle the writers were.
            if let Ok(item) = Self::item(&self.books) {
                self.plain.publish(item);
            }
        } else {
            if self.lost == Lost::Object {
                // However idle the writers were.
                if let Ok(item) = Self::item(&self.books) {
                    self.keep(item);
                }
            }
            tally.must(rcu::global().barrier().is_ok(), Violation::Refused);
            tally.must(self.srcu.barrier().is_ok(), Violation::Refused);
        }
        // Objects that are still reachable have not been dropped: one in each of three cells, one or
        // two in the shared cells, and those in the list and in the map.
        let shared = rcu::global().run(|t| {
            let first: *const Item = &**self.shared[0].read(t);
            let second: *const Item = &**self.shared[1].read(t);
            if first == second {
                1
            } else {
                2
            }
        });
        let listed = self.srcu.run(|t| self.list.iter(t).count());
        let mapped = rcu::global().run(|t| self.map.iter(t).count());
        let left = 3 + shared + listed as u64 + mapped as u64;
        tally.must(
            self.books.made.get() == self.books.gone.get() + left,
            Violation::NotReclaimed,
        );
    }
}

/// The step of the protocol that a mutant leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nothing: the control.
    Nothing,
    /// The writer does not wait.
    NotWaited,
    /// The writer waits for the readers of another domain.
    OtherDomain,
    /// The writer takes a cookie, but does not poll it.
    NotPolled,
    /// The reader continues after its read-side critical section.
    ReadAfter,
}

const SLOTS: usize = 32;

/// Objects that are never freed, so that a broken protocol does no harm.
struct Pool {
    broken: Broken,
    srcu: Srcu<Sleepers>,
    current: Atomic<usize>,
    marks: [Atomic<u64>; SLOTS],
}

impl Pool {
    fn new(broken: Broken) -> Result<Self> {
        Ok(Self {
            broken,
            srcu: Srcu::<Sleepers>::init()?,
            current: Atomic::new(0),
            marks: core::array::from_fn(|i| Atomic::new(if i == 0 { LIVE } else { DEAD })),
        })
    }

    fn look(&self, me: &Worker<'_>, at: usize) {
        me.tally.must(
            self.marks[at].load(Acquire) == LIVE,
            Violation::FreedInSection,
        );
    }
}

impl Part for Pool {
    fn read(&self, me: &Worker<'_>) {
        let at = self.srcu.run(|_| {
            let at = self.current.load(Acquire);
            self.look(me, at);
            me.sleeping_window();
            self.look(me, at);
            at
        });
        if self.broken == Broken::ReadAfter {
            if me.rng.one_in(8) {
                support::msleep(20);
            }
            self.look(me, at);
        }
        me.tally.reads.inc();
    }

    fn write(&self, me: &Worker<'_>) {
        let new = (self.current.load(Relaxed) + 1) % SLOTS;
        self.marks[new].store(LIVE, Release);
        let old = self.current.xchg(new, Full);
        let waited = match self.broken {
            Broken::NotWaited => Ok(()),
            Broken::OtherDomain => rcu::global().synchronize_expedited(),
            Broken::NotPolled => {
                let _ = self.srcu.cookie();
                Ok(())
            }
            Broken::Nothing | Broken::ReadAfter => self.srcu.synchronize_expedited(),
        };
        me.tally.must(waited.is_ok(), Violation::Refused);
        self.marks[old].store(DEAD, Release);
        me.tally.writes.inc();
        me.window();
    }
}

/// Runs the part or one of its mutants.
pub(crate) fn run(how: &How<'_>) -> Result {
    let broken = match how.mutant.to_bytes() {
        b"none" => return frame::run(how, Cells::new(Lost::Nothing)?),
        b"not-reclaimed" => return frame::run(how, Cells::new(Lost::Object)?),
        b"no-barrier" => return frame::run(how, Cells::new(Lost::Barrier)?),
        b"control" => Broken::Nothing,
        b"not-waited" => Broken::NotWaited,
        b"other-domain" => Broken::OtherDomain,
        b"not-polled" => Broken::NotPolled,
        b"read-after" => Broken::ReadAfter,
        _ => return Err(EINVAL),
    };
    frame::run(how, Pool::new(broken)?)
}

/// Leaves `n` objects deferred, for who unloads the module next.
pub(crate) fn flood(n: u64) -> Result {
    let books = Arc::new(Books::default(), GFP_KERNEL)?;
    let cell = RcuCell::<_, Global>::new(Cells::item(&books)?);
    for _ in 0..n {
        cell.publish(Cells::item(&books)?);
    }
    Ok(())
}
