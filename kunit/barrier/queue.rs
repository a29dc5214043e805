// SPDX-License-Identifier: GPL-2.0

//! The lock and wait queue, with tasks that sleep on it.

use crate::support::{
    spawn,
    Thread, //
};
use core::marker::PhantomData;
use kernel::{
    c_str,
    prelude::*,
    static_lock_class,
    sync::Arc,
    time::{
        ClockSource,
        Monotonic, //
    }, //
};
use quiesce::barrier::{
    pair::{
        Goal,
        Pair,
        Side, //
    },
    queue::{
        Deadline,
        Guard,
        Queue, //
    }, //
};

/// How a side tells the other that it has placed.
trait Wake: Send + 'static {
    fn wake(pair: &mut Guard<'_, Pair>);
}

/// As the device does.
struct Proper;

impl Wake for Proper {
    fn wake(pair: &mut Guard<'_, Pair>) {
        pair.wake();
    }
}

/// Not at all; a deadline must notice it.
struct Forgotten;

impl Wake for Forgotten {
    fn wake(_pair: &mut Guard<'_, Pair>) {}
}

fn in_ms(ms: i64) -> Deadline {
    Deadline::Monotonic(Monotonic::ktime_get() + ms * 1_000_000)
}

fn queue() -> Result<Arc<Queue<Pair>>> {
    Arc::pin_init(
        Queue::new(
            Pair::new(None),
            c_str!("quiesce_kunit_pair"),
            static_lock_class!(),
        ),
        GFP_KERNEL,
    )
}

fn sync(pair: &mut Guard<'_, Pair>, side: Side, goal: Goal, deadline: Deadline) -> Result {
    let wait = pair.begin(side, goal);
    pair.wait(
        deadline,
        |pair| pair.step(side, &wait),
        |pair, asleep| pair.asleep(side, asleep),
    )?
}

/// Meets the other side `rounds` times; returns how often that worked.
fn rounds<W: Wake>(queue: &Queue<Pair>, side: Side, rounds: u32, ms: i64) -> u32 {
    for round in 0..rounds {
        let mut pair = queue.lock();
        if pair.place(side, 1).is_err() {
            return round;
        }
        W::wake(&mut pair);
        if sync(&mut pair, side, Goal::Sync, in_ms(ms)).is_err() {
            return round;
        }
    }
    rounds
}

/// Two threads meet; returns how often.
struct Meeting<W: Wake>(PhantomData<W>);

impl<W: Wake> Meeting<W> {
    fn run(n: u32, ms: i64) -> Result<u32> {
        let queue = queue()?;
        let theirs = queue.clone();
        let thread: Thread = spawn(c_str!("quiesce_meeting"), move || {
            rounds::<W>(&theirs, Side::One, n, ms);
        })?;
        let met = rounds::<W>(&queue, Side::Zero, n, ms);
        drop(thread);
        Ok(met)
    }
}

#[kunit_tests(quiesce_barrier_queue)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_meet() -> Result {
        assert_eq!(Meeting::<Proper>::run(300, 60_000)?, 300);
        Ok(())
    }

    #[test]
    fn a_forgotten_wake_up_is_noticed() -> Result {
        assert!(Meeting::<Forgotten>::run(300, 50)? < 300);
        Ok(())
    }

    #[test]
    fn deadlines_pass() -> Result {
        let queue = queue()?;
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
    fn a_result_comes_before_the_deadline() -> Result {
        let queue = queue()?;
        let mut pair = queue.lock();
        let placed = pair.place(Side::One, 1);
        let next = sync(&mut pair, Side::Zero, Goal::Next, Deadline::Now);
        drop(pair);
        assert_eq!(placed, Ok(1));
        assert_eq!(next, Ok(()));
        Ok(())
    }

    #[test]
    fn who_sleeps_is_counted() -> Result {
        let queue = queue()?;
        let theirs = queue.clone();
        let thread = spawn(c_str!("quiesce_sleeper"), move || {
            let mut pair = theirs.lock();
            let _ = sync(&mut pair, Side::One, Goal::Next, in_ms(60_000));
        })?;
        let mut seen = false;
        let end = Monotonic::ktime_get() + 60_000_000_000;
        while !seen && Monotonic::ktime_get() < end {
            seen = queue.lock().member(Side::One).waiting == 1;
            crate::support::msleep(1);
        }
        let mut pair = queue.lock();
        let placed = pair.place(Side::Zero, 1);
        Proper::wake(&mut pair);
        drop(pair);
        thread.join();
        assert!(seen);
        assert_eq!(placed, Ok(1));
        assert_eq!(queue.lock().waiting(), 0);
        Ok(())
    }
}
