// SPDX-License-Identifier: GPL-2.0

//! The lock and wait queue, with tasks that sleep on it.

use crate::support::{
    spawn,
    Thread, //
};
use kernel::{
    bindings::{
        POLLHUP,
        POLLRDHUP, //
    },
    c_str,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        ClockSource,
        Monotonic, //
    }, //
};
use quiesce::barrier::{
    pair::{
        Goal,
        Pair,
        Seen,
        Side, //
    },
    queue::{
        Deadline,
        Guard,
        Machine,
        Queue,
        Wakes, //
    }, //
};

/// A machine around a pair.
trait Holds: Machine + Send + 'static {
    fn new() -> Self;
    fn pair(&mut self) -> &mut Pair;
}

impl Holds for Pair {
    fn new() -> Self {
        Pair::new(None)
    }

    fn pair(&mut self) -> &mut Pair {
        self
    }
}

/// A pair that wakes nobody, so that a wait of it lasts until its deadline.
struct Forgotten(Pair);

impl Machine for Forgotten {
    type Seen = Seen;

    fn seen(&self) -> Seen {
        self.0.seen()
    }

    fn wakes(&self, _before: &Seen) -> Wakes {
        Wakes::default()
    }
}

impl Holds for Forgotten {
    fn new() -> Self {
        Self(Pair::new(None))
    }

    fn pair(&mut self) -> &mut Pair {
        &mut self.0
    }
}

fn in_ms(ms: i64) -> Deadline {
    Deadline::Monotonic(Monotonic::ktime_get() + ms * 1_000_000)
}

fn queue<M: Holds>() -> Result<Arc<Queue<M>>> {
    Arc::pin_init(
        Queue::new(M::new(), c_str!("quiesce_kunit_pair"), static_lock_class!()),
        GFP_KERNEL,
    )
}

fn sync<M: Holds>(pair: &mut Guard<'_, M>, side: Side, goal: Goal, deadline: Deadline) -> Result {
    let wait = pair.pair().begin(side, goal);
    pair.wait(
        deadline,
        |pair| pair.pair().step(side, &wait),
        |pair, asleep| pair.pair().asleep(side, asleep),
        |_| (),
    )?
}

/// Meets the other side `rounds` times; returns how often that took less than a deadline.
fn rounds<M: Holds>(queue: &Queue<M>, side: Side, rounds: u32, ms: i64) -> u32 {
    for round in 0..rounds {
        let mut pair = queue.lock();
        if pair.pair().arrive(side, 1).is_err() {
            return round;
        }
        let end = Monotonic::ktime_get() + ms * 1_000_000;
        let met = sync(&mut pair, side, Goal::Sync, Deadline::Monotonic(end));
        // A wait that nobody ended returns Ok at its deadline if the other side has arrived.
        if met.is_err() || Monotonic::ktime_get() >= end {
            return round;
        }
    }
    rounds
}

/// Two threads meet; returns how often.
fn meet<M: Holds>(n: u32, ms: i64) -> Result<u32> {
    let queue = queue::<M>()?;
    let theirs = queue.clone();
    let thread: Thread = spawn(c_str!("quiesce_meeting"), move || {
        rounds(&theirs, Side::One, n, ms);
    })?;
    let met = rounds(&queue, Side::Zero, n, ms);
    drop(thread);
    Ok(met)
}

/// Waits until a task sleeps in a wait of side one; false if none does within a minute.
fn wait_for_sleeper(queue: &Queue<Pair>) -> bool {
    let end = Monotonic::ktime_get() + 60_000_000_000;
    while Monotonic::ktime_get() < end {
        if queue.lock().party(Side::One).waiting == 1 {
            return true;
        }
        crate::support::msleep(1);
    }
    false
}

/// What came during a sleep that nobody ended is found when the deadline has ended it.
fn found_at_the_deadline() -> Result {
    for ms in [300, 3_000, 30_000] {
        let queue = queue::<Forgotten>()?;
        let theirs = queue.clone();
        let woke = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let result = woke.clone();
        let waiter = spawn(c_str!("quiesce_waiter"), move || {
            let mut pair = theirs.lock();
            let ret = sync(&mut pair, Side::One, Goal::Next, in_ms(ms));
            result.store(if ret.is_ok() { 1 } else { 2 }, Relaxed);
        })?;
        let mut asleep = false;
        while !asleep && woke.load(Relaxed) == 0 {
            crate::support::msleep(1);
            let mut pair = queue.lock();
            asleep = pair.pair().party(Side::One).waiting == 1;
            if asleep {
                pair.pair().arrive(Side::Zero, 1)?;
            }
        }
        waiter.join();
        if asleep {
            return if woke.load(Relaxed) == 1 {
                Ok(())
            } else {
                Err(ETIMEDOUT)
            };
        }
        // This thread was too late, and nothing had come.
    }
    Err(EBUSY)
}

#[kunit_tests(quiesce_barrier_queue)]
mod tests {
    use super::*;

    #[test]
    fn found_at_the_deadline() -> Result {
        super::found_at_the_deadline()
    }

    #[test]
    fn two_threads_meet() -> Result {
        assert_eq!(meet::<Pair>(300, 60_000)?, 300);
        Ok(())
    }

    #[test]
    fn a_forgotten_wake_up_is_noticed() -> Result {
        assert!(meet::<Forgotten>(300, 50)? < 300);
        Ok(())
    }

    #[test]
    fn deadlines_pass() -> Result {
        let queue = queue::<Pair>()?;
        let before = Monotonic::ktime_get();
        let mut pair = queue.lock();
        let now = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Now);
        let past = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Monotonic(1));
        let real = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Realtime(1));
        let soon = sync(&mut pair, Side::Zero, Goal::Next, in_ms(5));
        let waiting = pair.waiting();
        drop(pair);
        assert_eq!(now, Err(ETIMEDOUT));
        assert_eq!(past, Err(ETIMEDOUT));
        assert_eq!(real, Err(ETIMEDOUT));
        assert_eq!(soon, Err(ETIMEDOUT));
        assert_eq!(waiting, 0);
        assert!(Monotonic::ktime_get() - before >= 5_000_000);
        Ok(())
    }

    #[test]
    fn a_nonblocking_wait_does_not_sleep() -> Result {
        let queue = queue::<Pair>()?;
        let mut pair = queue.lock();
        let empty = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Nonblocking);
        let arrived = pair.arrive(Side::One, 1);
        let next = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Nonblocking);
        drop(pair);
        assert_eq!(empty, Err(EAGAIN));
        assert_eq!(arrived, Ok(1));
        assert_eq!(next, Ok(()));
        Ok(())
    }

    /// Each arrival wakes the pollers of the side whose it is, without a key as a wait may read
    /// it; an end wakes by key.
    #[test]
    fn pollers_are_woken_by_key() {
        let mut pair = Pair::new(None);
        let seen = pair.seen();
        let none = pair.wakes(&seen);
        assert_eq!(none, Wakes::default());
        let mut edges = [None; 2];
        for edge in &mut edges {
            let seen = pair.seen();
            let arrived = pair.arrive(Side::One, 1);
            assert!(arrived.is_ok());
            *edge = Some(pair.wakes(&seen));
        }
        let expected = Wakes {
            waiters: true,
            pollers: [Some(0), None],
        };
        assert_eq!(edges, [Some(expected); 2]);
        // Reading turns a level off, and wakes nobody.
        let seen = pair.seen();
        let wait = pair.begin(Side::Zero, Goal::Next);
        let read = pair.step(Side::Zero, &wait);
        assert_eq!(read, Some(Ok(())));
        assert_eq!(pair.wakes(&seen), Wakes::default());
        let seen = pair.seen();
        let ended = pair.end(Side::One, None);
        assert!(ended);
        assert_eq!(pair.wakes(&seen).pollers[0], Some(POLLRDHUP | POLLHUP));
    }

    #[test]
    fn a_result_comes_before_the_deadline() -> Result {
        let queue = queue::<Pair>()?;
        let mut pair = queue.lock();
        let placed = pair.arrive(Side::One, 1);
        let next = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Now);
        drop(pair);
        assert_eq!(placed, Ok(1));
        assert_eq!(next, Ok(()));
        Ok(())
    }

    #[test]
    fn who_sleeps_is_counted() -> Result {
        let queue = queue::<Pair>()?;
        let theirs = queue.clone();
        let thread = spawn(c_str!("quiesce_sleeper"), move || {
            let mut pair = theirs.lock();
            let _ = sync(&mut pair, Side::One, Goal::Next, in_ms(60_000));
        })?;
        let seen = wait_for_sleeper(&queue);
        let mut pair = queue.lock();
        let placed = pair.arrive(Side::Zero, 1);
        drop(pair);
        thread.join();
        assert!(seen);
        assert_eq!(placed, Ok(1));
        assert_eq!(queue.lock().waiting(), 0);
        Ok(())
    }

    /// What changed before the lock was released for a moment wakes when it is dropped.
    #[test]
    fn a_change_before_relax_wakes() -> Result {
        let queue = queue::<Pair>()?;
        let theirs = queue.clone();
        let thread = spawn(c_str!("quiesce_sleeper"), move || {
            let mut pair = theirs.lock();
            let _ = sync(&mut pair, Side::One, Goal::Next, in_ms(60_000));
        })?;
        let seen = wait_for_sleeper(&queue);
        let before = Monotonic::ktime_get();
        let mut pair = queue.lock();
        let placed = pair.arrive(Side::Zero, 1);
        pair.relax();
        pair.relax();
        drop(pair);
        thread.join();
        assert!(seen);
        assert_eq!(placed, Ok(1));
        assert!(Monotonic::ktime_get() - before < 30_000_000_000);
        Ok(())
    }

    /// A change wakes even if it is undone after the lock was released for a moment.
    #[test]
    fn a_change_that_is_undone_after_relax_wakes() -> Result {
        let queue = queue::<Pair>()?;
        let theirs = queue.clone();
        let checks = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let counted = checks.clone();
        let thread = spawn(c_str!("quiesce_sleeper"), move || {
            let mut pair = theirs.lock();
            let wait = pair.begin(Side::One, Goal::Next);
            let _ = pair.wait(
                in_ms(60_000),
                |pair| {
                    counted.fetch_add(1, Relaxed);
                    pair.step(Side::One, &wait)
                },
                |pair, asleep| pair.asleep(Side::One, asleep),
                |_| (),
            );
        })?;
        let seen = wait_for_sleeper(&queue);
        let before = checks.load(Relaxed);
        let mut pair = queue.lock();
        let placed = pair.arrive(Side::Zero, 1);
        pair.relax();
        pair.undo_arrive(Side::Zero, 1);
        drop(pair);
        let end = Monotonic::ktime_get() + 30_000_000_000;
        while checks.load(Relaxed) == before && Monotonic::ktime_get() < end {
            crate::support::msleep(1);
        }
        let woken = checks.load(Relaxed) != before;
        let _ = queue.lock().arrive(Side::Zero, 1);
        thread.join();
        assert!(seen);
        assert_eq!(placed, Ok(1));
        assert!(woken);
        Ok(())
    }
}
