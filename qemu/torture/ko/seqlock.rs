// SPDX-License-Identifier: GPL-2.0

//! Seqlock: threads and interrupts read a value that others write, from all contexts.

use crate::{
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
use core::pin::Pin;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
};
use quiesce::{
    new_latch, new_seqlock,
    seqlock::{
        Bh,
        Irq,
        Latch,
        RawSeqLock,
        SeqLock, //
    },
};

const WORDS: usize = 5;
type Value = [u64; WORDS];

/// The value of write number `n`, from which each word is derived.
fn value(n: u64) -> Value {
    core::array::from_fn(|i| n.rotate_left(7 * i as u32) ^ i as u64)
}

/// Which write a value is of, if it is one's.
fn number(v: &Value) -> Option<u64> {
    (value(v[0]) == *v).then_some(v[0])
}

/// Judges what a reader got.
fn judge(me: &Worker<'_>, v: &Value) {
    match number(v) {
        None => me.tally.violated(Violation::Torn),
        Some(n) => {
            me.tally.must(n >= me.last.get(), Violation::Backwards);
            me.last.set(n);
        }
    }
    me.tally.reads.inc();
}

/// The locks of the crate: one for all contexts, one for threads and softirqs, and one whose
/// readers never wait.
struct Locks {
    raw: Pin<KBox<RawSeqLock<Value, Irq>>>,
    spin: Pin<KBox<SeqLock<Value, Bh>>>,
    latch: Pin<KBox<Latch<Value>>>,
    raw_writes: Atomic<u64>,
    spin_writes: Atomic<u64>,
    latch_writes: Atomic<u64>,
}

impl Locks {
    fn new() -> Result<Self> {
        Ok(Self {
            raw: KBox::pin_init(new_seqlock!(RawSeqLock<Value, Irq>, value(0)), GFP_KERNEL)?,
            spin: KBox::pin_init(new_seqlock!(SeqLock<Value, Bh>, value(0)), GFP_KERNEL)?,
            latch: KBox::pin_init(new_latch!(Latch<Value>, value(0)), GFP_KERNEL)?,
            raw_writes: Atomic::new(0),
            spin_writes: Atomic::new(0),
            latch_writes: Atomic::new(0),
        })
    }

    fn write_raw(&self, me: &Worker<'_>) {
        let mut guard = self.raw.write_irqsave();
        let next = guard[0] + 1;
        me.window();
        guard.set(value(next));
        me.window();
        drop(guard);
        self.raw_writes.fetch_add(1, Relaxed);
        me.tally.writes.inc();
    }

    fn write_spin(&self, me: &Worker<'_>) {
        let mut guard = self.spin.write_bh();
        let next = guard[0] + 1;
        me.window();
        guard.set(value(next));
        me.window();
        drop(guard);
        self.spin_writes.fetch_add(1, Relaxed);
        me.tally.writes.inc();
    }

    fn write_latch(&self, me: &Worker<'_>) {
        self.latch.update(|v| {
            me.window();
            *v = value(v[0] + 1);
        });
        self.latch_writes.fetch_add(1, Relaxed);
        me.tally.writes.inc();
    }

    /// Numbers of another lock than `raw` are not its.
    fn judge_whole(me: &Worker<'_>, v: &Value) {
        me.tally.must(number(v).is_some(), Violation::Torn);
        me.tally.reads.inc();
    }

    /// A section with a delay where it hurts.
    fn read_slowly(&self, me: &Worker<'_>) {
        for _ in 0..20 {
            let section = self.raw.begin();
            let copy = section.load();
            me.window();
            if let Ok(v) = copy.validate() {
                judge(me, &v);
                return;
            }
        }
        me.tally.refused.inc();
    }
}

impl Part for Locks {
    fn writers(&self) -> u32 {
        2
    }

    fn read(&self, me: &Worker<'_>) {
        match me.rng.below(10) {
            0 => self.read_slowly(me),
            1 => judge(me, &self.raw.read_or_lock::<2>()),
            2 => judge(me, &self.raw.read_exclusive_irqsave()),
            3..=4 => Self::judge_whole(me, &self.spin.read()),
            5..=6 => Self::judge_whole(me, &self.latch.read()),
            7 => match self.raw.try_read() {
                Some(v) => judge(me, &v),
                None => me.tally.refused.inc(),
            },
            _ => judge(me, &self.raw.read()),
        }
    }

    fn write(&self, me: &Worker<'_>) {
        match me.rng.below(3) {
            0 => self.write_raw(me),
            1 => self.write_spin(me),
            _ => self.write_latch(me),
        }
        if me.rng.one_in(16) {
            me.sleeping_window();
        }
    }

    fn interrupt(&self, me: &Worker<'_>, hard: bool) {
        match me.rng.below(5) {
            0 => self.write_raw(me),
            1 if !hard => self.write_spin(me),
            1 => {
                if let Some(v) = self.spin.try_read() {
                    Self::judge_whole(me, &v);
                }
            }
            2 => self.write_latch(me),
            3 => Self::judge_whole(me, &self.latch.read()),
            _ => judge(me, &self.raw.read()),
        }
    }

    fn finish(&self, tally: &Tally) {
        let raw = number(&self.raw.read());
        let spin = number(&self.spin.read());
        let latch = number(&self.latch.read());
        tally.must(
            raw == Some(self.raw_writes.load(Relaxed))
                && spin == Some(self.spin_writes.load(Relaxed))
                && latch == Some(self.latch_writes.load(Relaxed)),
            Violation::LostUpdate,
        );
    }
}

/// The step of the protocol that a mutant leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nothing: the control.
    Nothing,
    /// A reader that begins while the number is odd continues.
    OddIgnored,
    /// A reader does not read the number again.
    NotValidated,
    /// The writer stores before the number is odd, as without its first barrier.
    StoredBeforeOdd,
    /// The number is even again before the writer has stored, as without its last barrier.
    EvenBeforeStored,
    /// Writers do not exclude each other.
    Unlocked,
    /// A reader reads the number again before its last loads, as without its last barrier.
    LoadedAfterCheck,
    /// The writer does not change the number, as an exclusive reader.
    NotCounted,
}

/// A sequence lock for threads alone, broken in one place.
struct MutantLock {
    broken: Broken,
    lock: Atomic<u32>,
    sequence: Atomic<u32>,
    words: [Atomic<u64>; WORDS],
    writes: Atomic<u64>,
}

impl MutantLock {
    fn new(broken: Broken) -> Self {
        let first = value(0);
        Self {
            broken,
            lock: Atomic::new(0),
            sequence: Atomic::new(0),
            words: core::array::from_fn(|i| Atomic::new(first[i])),
            writes: Atomic::new(0),
        }
    }

    fn store(&self, me: &Worker<'_>, v: &Value) {
        for (word, new) in self.words.iter().zip(v) {
            word.store(*new, Release);
            me.window();
        }
    }

    fn step(&self) {
        if self.broken != Broken::NotCounted {
            self.sequence.fetch_add(1, Full);
        }
    }
}

impl Part for MutantLock {
    fn writers(&self) -> u32 {
        2
    }

    fn read(&self, me: &Worker<'_>) {
        let begin = self.sequence.load(Acquire);
        if begin % 2 == 1 && self.broken != Broken::OddIgnored {
            me.tally.refused.inc();
            return;
        }
        let mut early = begin;
        let copy: Value = core::array::from_fn(|i| {
            if i == WORDS / 2 {
                early = self.sequence.load(Acquire);
            }
            me.window();
            self.words[i].load(Acquire)
        });
        let end = match self.broken {
            Broken::LoadedAfterCheck => early,
            _ => self.sequence.load(Acquire),
        };
        if end == begin || self.broken == Broken::NotValidated {
            judge(me, &copy);
        } else {
            me.tally.refused.inc();
        }
    }

    fn write(&self, me: &Worker<'_>) {
        if self.broken != Broken::Unlocked && self.lock.cmpxchg(0, 1, Full).is_err() {
            return;
        }
        let next = self.words[0].load(Relaxed) + 1;
        let (early, late) = (
            self.broken == Broken::StoredBeforeOdd,
            self.broken == Broken::EvenBeforeStored,
        );
        if early {
            self.store(me, &value(next));
        }
        self.step();
        if late {
            self.step();
        }
        if !early {
            self.store(me, &value(next));
        }
        if !late {
            self.step();
        }
        self.writes.fetch_add(1, Relaxed);
        me.tally.writes.inc();
        if self.broken != Broken::Unlocked {
            self.lock.store(0, Release);
        }
        if me.rng.one_in(4) {
            support::udelay(20);
        }
    }

    fn finish(&self, tally: &Tally) {
        tally.must(
            self.words[0].load(Relaxed) == self.writes.load(Relaxed),
            Violation::LostUpdate,
        );
    }
}

/// Runs the part or one of its mutants.
pub(crate) fn run(how: &How<'_>) -> Result {
    let broken = match how.mutant.to_bytes() {
        b"none" => return frame::run(how, Locks::new()?),
        b"control" => Broken::Nothing,
        b"odd-ignored" => Broken::OddIgnored,
        b"not-validated" => Broken::NotValidated,
        b"stored-before-odd" => Broken::StoredBeforeOdd,
        b"even-before-stored" => Broken::EvenBeforeStored,
        b"unlocked" => Broken::Unlocked,
        b"loaded-after-check" => Broken::LoadedAfterCheck,
        b"not-counted" => Broken::NotCounted,
        _ => return Err(EINVAL),
    };
    frame::run(how, MutantLock::new(broken))
}
