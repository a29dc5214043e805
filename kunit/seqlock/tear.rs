// SPDX-License-Identifier: GPL-2.0

//! Values and fields of odd sizes at odd places, stored and loaded in pieces, while another thread
//! writes: no reader gets a mixture.

use core::mem::MaybeUninit;
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
    seq_field,
    seqlock::{
        Latch,
        SeqCount,
        SeqData,
        SeqLock, //
    },
};

use crate::support;

/// A value that follows from one byte.
trait Whole: SeqData + PartialEq {
    fn of(n: u8) -> Self;
    fn n(&self) -> u8;
}

impl<const N: usize> Whole for [u8; N] {
    fn of(n: u8) -> Self {
        [n; N]
    }

    fn n(&self) -> u8 {
        self[0]
    }
}

/// Fields at odd places, one beside the other.
#[derive(Clone, Copy, PartialEq)]
#[repr(C, packed)]
struct Odd {
    a: u8,
    bytes: [u8; 13],
    b: u8,
    word: u32,
    half: u16,
    flag: bool,
    text: &'static str,
}

const TEXTS: [&str; 4] = ["", "a", "ab", "abc"];

impl Whole for Odd {
    fn of(n: u8) -> Self {
        Self {
            a: n,
            bytes: [n; 13],
            b: n,
            word: u32::from_ne_bytes([n; 4]),
            half: u16::from_ne_bytes([n; 2]),
            flag: n & 1 != 0,
            text: TEXTS[usize::from(n & 3)],
        }
    }

    fn n(&self) -> u8 {
        self.a
    }
}

struct Subject<T: Whole> {
    lock: SeqLock<T>,
    latch: Latch<T>,
    count: SeqCount<T, u64>,
    stop: Atomic<u32>,
    written: Atomic<u32>,
}

const READS: u32 = 20_000;

/// Reads while another thread writes; returns how often what was read was no value of one write.
fn torn<T: Whole>(
    fields: fn(&SeqLock<T>, u8),
    read_fields: fn(&Subject<T>) -> bool,
) -> Result<u32> {
    let subject = Arc::new(
        Subject {
            lock: SeqLock::new(T::of(0)),
            latch: Latch::new(T::of(0)),
            count: SeqCount::new(T::of(0)),
            stop: Atomic::new(0),
            written: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let theirs = subject.clone();
    let writer = support::spawn(c"seqlock-tear", move || {
        let mut n = 0u8;
        let mut owner = 0;
        let _ = theirs.count.bind(&owner);
        while theirs.stop.load(Relaxed) == 0 {
            n = n.wrapping_add(1);
            match n % 4 {
                0 => theirs.lock.write().set(T::of(n)),
                1 => theirs.lock.write().set_from(&T::of(n)),
                2 => theirs.lock.write().update(|v| *v = T::of(n)),
                _ => fields(&theirs.lock, n),
            }
            theirs.latch.store(T::of(n));
            let _ = theirs.count.store(&mut owner, T::of(n));
            theirs.written.fetch_add(1, Relaxed);
            support::cond_resched();
        }
    })?;
    let mut torn = 0;
    let mut to = MaybeUninit::uninit();
    for i in 0..READS {
        let (one, other) = match i % 4 {
            0 => (subject.lock.read(), subject.latch.read()),
            1 => (
                *subject.lock.read_into(&mut to),
                *subject.latch.read_into(&mut MaybeUninit::uninit()),
            ),
            2 => (subject.lock.read_or_lock::<2>(), subject.latch.read()),
            _ => {
                torn += u32::from(!read_fields(&subject));
                continue;
            }
        };
        torn += u32::from(one != T::of(one.n())) + u32::from(other != T::of(other.n()));
        let third = if i % 4 == 1 {
            *subject.count.read_into(&mut MaybeUninit::uninit())
        } else {
            subject.count.read()
        };
        torn += u32::from(third != T::of(third.n()));
        // The writer may be on this CPU.
        support::cond_resched();
    }
    while subject.written.load(Relaxed) < 100 {
        support::cond_resched();
    }
    subject.stop.store(1, Relaxed);
    writer.join();
    Ok(torn)
}

fn bytes<const N: usize>() -> Result<u32> {
    torn::<[u8; N]>(
        |lock, n| lock.write().set([n; N]),
        |subject| {
            let value = subject.lock.try_read();
            value.is_none_or(|v| v == [v[0]; N])
        },
    )
}

fn set_fields(lock: &SeqLock<Odd>, n: u8) {
    let value = Odd::of(n);
    let mut guard = lock.write();
    guard.set_field(seq_field!(Odd, text), value.text);
    guard.set_field(seq_field!(Odd, flag), value.flag);
    guard.set_field(seq_field!(Odd, half), value.half);
    guard.set_field(seq_field!(Odd, word), value.word);
    guard.set_field(seq_field!(Odd, b), value.b);
    guard.set_field(seq_field!(Odd, bytes), value.bytes);
    guard.set_field(seq_field!(Odd, a), value.a);
}

fn read_fields(subject: &Subject<Odd>) -> bool {
    let lock = &subject.lock;
    let counted = subject.count.read_field(seq_field!(Odd, bytes));
    let bytes = lock.read_field(seq_field!(Odd, bytes));
    let section = lock.begin();
    let (a, text) = (
        section.field(seq_field!(Odd, a)),
        section.field(seq_field!(Odd, text)),
    );
    let pair = match (a.validate(), text.validate()) {
        (Ok(a), Ok(text)) => text == TEXTS[usize::from(a & 3)],
        _ => true,
    };
    pair && bytes == [bytes[0]; 13] && counted == [counted[0]; 13]
}

/// A value whose field takes long to copy.
type Long = (u8, [u8; 333]);

/// Reads a field of a counter's value while another thread does nothing but write; returns how often
/// what was read was no field of one write.
fn torn_fields() -> Result<u32> {
    struct Shared {
        count: SeqCount<Long, u64>,
        stop: Atomic<u32>,
        written: Atomic<u32>,
    }

    let shared = Arc::new(
        Shared {
            count: SeqCount::new((0, [0; 333])),
            stop: Atomic::new(0),
            written: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let theirs = shared.clone();
    let writer = support::spawn(c"seqlock-tear", move || {
        let mut n = 0u8;
        let mut owner = 0;
        let _ = theirs.count.bind(&owner);
        while theirs.stop.load(Relaxed) == 0 {
            n = n.wrapping_add(1);
            let _ = theirs.count.store(&mut owner, (n, [n; 333]));
            theirs.written.fetch_add(1, Relaxed);
            support::cond_resched();
        }
    })?;
    let mut torn = 0;
    let mut reads = 0;
    while reads < READS || shared.written.load(Relaxed) < READS {
        let field = shared.count.read_field(seq_field!(Long, 1));
        torn += u32::from(field != [field[0]; 333]);
        reads += 1;
        support::cond_resched();
    }
    shared.stop.store(1, Relaxed);
    writer.join();
    Ok(torn)
}

#[kunit_tests(quiesce_seqlock_tear)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_are_never_torn() -> Result {
        assert_eq!(bytes::<3>()? + bytes::<5>()? + bytes::<7>()?, 0);
        assert_eq!(bytes::<9>()? + bytes::<13>()? + bytes::<31>()?, 0);
        assert_eq!(bytes::<99>()? + bytes::<333>()?, 0);
        Ok(())
    }

    #[test]
    fn fields_at_odd_places_are_never_torn() -> Result {
        assert_eq!(torn::<Odd>(set_fields, read_fields)?, 0);
        Ok(())
    }

    #[test]
    fn fields_of_a_counter_are_never_torn() -> Result {
        assert_eq!(torn_fields()?, 0);
        Ok(())
    }
}
