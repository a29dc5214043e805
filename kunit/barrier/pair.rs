// SPDX-License-Identifier: GPL-2.0

//! The pair's state machine.

use super::{
    model::Model,
    random::Random, //
};
use kernel::{
    bindings::{
        POLLHUP,
        POLLIN,
        POLLOUT,
        POLLRDHUP,
        POLLRDNORM,
        POLLWRNORM, //
    },
    prelude::*, //
};
use quiesce::barrier::{
    pair::{
        Goal,
        Pair,
        Side, //
    },
    End,
    Pid,
    Why, //
};

const SIDES: [Side; 2] = [Side::Zero, Side::One];
const GOALS: [Goal; 4] = [Goal::Next, Goal::SyncNext, Goal::Sync, Goal::Abortion];

/// Number of a side's operations: arrive, abort, close, and each of the waits.
const OPERATIONS: u32 = 3 + GOALS.len() as u32;

fn end(why: Why) -> End {
    End { why, pid: None }
}

/// Polls a wait once, without sleeping.
fn look(pair: &mut Pair, side: Side, goal: Goal) -> Option<Result> {
    let wait = pair.begin(side, goal);
    pair.step(side, &wait)
}

/// Does the same to a pair and to the model, and returns whether they agree, and the pair does what its
/// previews have said.
fn agree(pair: &mut Pair, model: &mut Model, me: usize, operation: u32) -> bool {
    let side = SIDES[me];
    let same = match operation {
        0 => {
            let preview = pair.preview_arrive(side, 1);
            let result = pair.arrive(side, 1);
            preview == result && result.is_ok() == model.place(me)
        }
        1 => {
            model.abort(me);
            let preview = pair.preview_abort(side);
            pair.abort(side, end(Why::Abort(0))).is_ok() && preview == Ok(pair.view(side))
        }
        2 => {
            model.close(me);
            pair.end(side, None)
        }
        n => {
            let goal = GOALS[n as usize - 3];
            let wait = pair.begin(side, goal);
            let preview = pair.preview_step(side, &wait);
            let result = pair.step(side, &wait);
            preview.result == result
                && preview.view == pair.view(side)
                && pair.balance_of(side, &preview) == pair.balance(side)
                && result.map(|result| result.is_ok()) == model.wait(me, goal)
        }
    };
    let view = pair.view(side);
    same && view.i == model.i_aborted(me)
        && view.they == model.they_aborted(me)
        && model
            .balance(me)
            .is_none_or(|balance| pair.balance(side) == balance)
}

/// Runs `operations`, each of a side, and returns the number of the first over which pair and
/// model differ. A side that has closed does nothing any more.
fn differ(operations: impl Iterator<Item = u32>, broken: bool) -> Option<usize> {
    let mut pair = Pair::new(None);
    let mut model = Model::new(broken);
    let mut closed = [false; 2];
    for (n, operation) in operations.enumerate() {
        let (me, operation) = ((operation % 2) as usize, operation / 2);
        if closed[me] {
            continue;
        }
        if !agree(&mut pair, &mut model, me, operation) {
            return Some(n);
        }
        closed[me] = operation == 2;
    }
    None
}

/// All sequences of `length` operations: how many there are, and how many of them differ.
fn differing(length: u32, broken: bool) -> (u32, u32) {
    let count = (2 * OPERATIONS).pow(length);
    let differing = (0..count)
        .filter(|&n| {
            let mut rest = n;
            let operations = (0..length).map(|_| {
                let operation = rest % (2 * OPERATIONS);
                rest /= 2 * OPERATIONS;
                operation
            });
            differ(operations, broken).is_some()
        })
        .count();
    (count, differing as u32)
}

#[kunit_tests(quiesce_barrier_pair)]
mod tests {
    use super::*;

    #[test]
    fn equals_systemd_in_every_short_sequence() {
        assert_eq!(differing(4, false), (38416, 0));
    }

    #[test]
    fn equals_systemd_in_long_random_sequences() {
        let mut random = Random::new(1);
        let mut wrong = 0;
        for _ in 0..500 {
            // Aborts and ends are rare, so that there is something before them.
            let operations = (0..60).map(|_| {
                let operation = match random.below(40) {
                    0 => 1,
                    1 => 2,
                    n if n < 20 => 0,
                    _ => 3 + random.below(4),
                };
                2 * operation + random.below(2)
            });
            if differ(operations, false).is_some() {
                wrong += 1;
            }
        }
        assert_eq!(wrong, 0);
    }

    #[test]
    fn a_broken_model_is_noticed() {
        let (_, differing) = differing(4, true);
        assert!(differing > 0);
    }

    #[test]
    fn abort_supersedes_and_exit_queues() {
        let mut pair = Pair::new(None);
        let placed = [pair.arrive(Side::One, 2), pair.arrive(Side::Zero, 1)];
        let aborted = pair.abort(Side::One, end(Why::Abort(7)));
        let lazy = pair.arrive(Side::Zero, 1);
        let next = look(&mut pair, Side::Zero, Goal::Next);
        let after = pair.arrive(Side::Zero, 1);
        assert_eq!(placed, [Ok(2), Ok(1)]);
        assert_eq!(aborted, Ok(true));
        assert_eq!(lazy, Ok(2));
        assert_eq!(next, Some(Err(ECONNABORTED)));
        assert_eq!(after, Err(ECONNABORTED));
        assert_eq!(pair.poll(Side::Zero) & POLLIN, 0);
        assert_eq!(pair.balance(Side::Zero), 2);
        assert!(pair.party(Side::One).end.why == Why::Abort(7));

        let mut pair = Pair::new(None);
        let placed = pair.arrive(Side::One, 2);
        let ended = pair.end(Side::One, Some(end(Why::Signal(9))));
        let next = look(&mut pair, Side::Zero, Goal::Next);
        let again = look(&mut pair, Side::Zero, Goal::Next);
        assert_eq!(placed, Ok(2));
        assert!(ended);
        assert_eq!(next, Some(Ok(())));
        assert_eq!(again, Some(Err(EOWNERDEAD)));
        assert!(pair.party(Side::One).end.why == Why::Signal(9));
    }

    #[test]
    fn the_end_of_a_side_closes_it() {
        let mut pair = Pair::new(None);
        let first = pair.end(Side::Zero, Some(end(Why::Exit(3))));
        let second = pair.end(Side::Zero, Some(end(Why::Close)));
        assert!(first);
        assert!(!second);
        assert_eq!(pair.arrive(Side::Zero, 1), Err(ENOTCONN));
        assert_eq!(pair.abort(Side::Zero, end(Why::Abort(0))), Err(ENOTCONN));
        for goal in GOALS {
            let result = look(&mut pair, Side::Zero, goal);
            assert_eq!(result, Some(Err(ENOTCONN)));
        }
        assert!(pair.party(Side::Zero).end.why == Why::Exit(3));
    }

    #[test]
    fn who_closed_last_is_to_blame() {
        let mut pair = Pair::new(None);
        pair.closing(Side::Zero, end(Why::Exit(1)));
        pair.closing(Side::Zero, end(Why::Exec));
        let before = pair.party(Side::Zero).end.why;
        pair.end(Side::Zero, None);
        pair.closing(Side::Zero, end(Why::Close));
        assert_eq!(before, Why::Nothing);
        assert_eq!(pair.party(Side::Zero).end.why, Why::Exec);

        let mut pair = Pair::new(None);
        pair.end(Side::Zero, None);
        assert_eq!(pair.party(Side::Zero).end.why, Why::Close);

        // What was aborted before stays aborted.
        let mut pair = Pair::new(None);
        let aborted = pair.abort(Side::Zero, end(Why::Abort(5)));
        pair.closing(Side::Zero, end(Why::Close));
        pair.end(Side::Zero, None);
        assert_eq!(aborted, Ok(true));
        assert_eq!(pair.party(Side::Zero).end.why, Why::Abort(5));
        let next = look(&mut pair, Side::One, Goal::Next);
        assert_eq!(next, Some(Err(ECONNABORTED)));

        // Also when its process is killed.
        let mut pair = Pair::new(None);
        let aborted = pair.abort(Side::Zero, end(Why::Abort(5)));
        pair.end(Side::Zero, Some(end(Why::Signal(9))));
        assert_eq!(aborted, Ok(true));
        assert_eq!(pair.party(Side::Zero).end.why, Why::Abort(5));
    }

    /// Its process is exiting, and another one closes the last copy before it is dead.
    #[test]
    fn the_death_of_a_bound_process_is_to_blame() -> Result {
        for bound in [false, true] {
            let mut pair = Pair::new(None);
            pair.bind(Side::Zero, Pid::current(), bound)?;
            pair.closing(Side::Zero, End::new(Why::Signal(9)));
            pair.closing(Side::Zero, end(Why::Close));
            pair.end(Side::Zero, None);
            let why = pair.party(Side::Zero).end.why;
            assert!(why == if bound { Why::Signal(9) } else { Why::Close });
        }
        // What it closes while it lives is not its death.
        let mut pair = Pair::new(None);
        pair.bind(Side::Zero, Pid::current(), true)?;
        pair.closing(Side::Zero, End::new(Why::Close));
        pair.closing(Side::Zero, end(Why::Exec));
        pair.end(Side::Zero, None);
        assert!(pair.party(Side::Zero).end.why == Why::Exec);
        Ok(())
    }

    #[test]
    fn counts_stop_at_their_edge() {
        const MAX: u64 = i64::MAX as u64;
        let mut pair = Pair::new(None);
        assert_eq!(pair.arrive(Side::Zero, MAX), Ok(MAX));
        assert_eq!(pair.arrive(Side::Zero, 1), Err(EOVERFLOW));
        assert_eq!(pair.arrive(Side::Zero, u64::MAX), Err(EOVERFLOW));
        assert_eq!(pair.balance(Side::Zero), i64::MAX);
        assert_eq!(pair.poll(Side::Zero) & (POLLOUT | POLLWRNORM), 0);
        assert_eq!(pair.unread(Side::One), MAX);
        let next = look(&mut pair, Side::One, Goal::Next);
        assert_eq!(next, Some(Ok(())));
        assert_eq!(pair.balance(Side::One), -i64::MAX);
        assert_eq!(pair.arrive(Side::One, MAX), Ok(MAX));
        assert_eq!(pair.balance(Side::One), 0);
        let sync = look(&mut pair, Side::Zero, Goal::Sync);
        assert_eq!(sync, Some(Ok(())));
        assert_eq!(pair.balance(Side::Zero), 0);
    }

    #[test]
    fn poll_shows_levels() {
        const IN: u32 = POLLIN | POLLRDNORM;
        const OUT: u32 = POLLOUT | POLLWRNORM;
        let mut pair = Pair::new(None);
        assert_eq!(pair.poll(Side::Zero), OUT);
        assert!(pair.arrive(Side::One, 1).is_ok());
        assert!(pair.end(Side::One, None));
        assert_eq!(pair.poll(Side::Zero), IN | OUT | POLLRDHUP);
        assert_eq!(look(&mut pair, Side::Zero, Goal::Next), Some(Ok(())));
        assert_eq!(pair.poll(Side::Zero), OUT | POLLRDHUP | POLLHUP);
        assert_eq!(pair.poll(Side::One) & (POLLHUP | OUT), POLLHUP);
    }

    #[test]
    fn poll_promises_nothing_that_a_wait_refuses() {
        // Aborted by this side, by the other, or ended: what is unread cannot be read.
        for case in 0..3 {
            let mut pair = Pair::new(None);
            assert!(pair.arrive(Side::One, 1).is_ok());
            assert_ne!(pair.poll(Side::Zero) & POLLIN, 0);
            match case {
                0 => assert!(pair.abort(Side::Zero, end(Why::Abort(0))).is_ok()),
                1 => assert!(pair.abort(Side::One, end(Why::Abort(0))).is_ok()),
                _ => assert!(pair.end(Side::Zero, None)),
            }
            assert_eq!(pair.poll(Side::Zero) & POLLIN, 0);
            let next = look(&mut pair, Side::Zero, Goal::Next);
            assert!(matches!(next, Some(Err(_))));
        }
    }

    #[test]
    fn a_wait_that_arrived_is_resumed_once() {
        let mut pair = Pair::new(None);
        assert_eq!(pair.resume(Side::Zero, 1), Err(EINVAL));
        assert_eq!(pair.arrive(Side::Zero, 1), Ok(1));
        assert_eq!(pair.resume(Side::Zero, 1), Err(EINVAL));
        pair.suspend(Side::Zero);
        assert_eq!(pair.resume(Side::Zero, 2), Err(EINVAL));
        assert_eq!(pair.resume(Side::One, 1), Err(EINVAL));
        assert_eq!(pair.resume(Side::Zero, 1), Ok(()));
        assert_eq!(pair.resume(Side::Zero, 1), Err(EINVAL));
    }

    #[test]
    fn previews_change_nothing() {
        let mut pair = Pair::new(None);
        assert_eq!(pair.preview_arrive(Side::One, 2), Ok(2));
        assert_eq!(pair.unread(Side::Zero), 0);
        assert_eq!(pair.arrive(Side::One, 2), Ok(2));
        let wait = pair.begin(Side::Zero, Goal::Next);
        assert_eq!(pair.preview_step(Side::Zero, &wait).result, Some(Ok(())));
        assert_eq!(pair.unread(Side::Zero), 2);
        assert!(pair.preview_abort(Side::One).is_ok());
        assert!(pair.end_of(Side::One).is_none());
        pair.undo_arrive(Side::One, 2);
        assert_eq!(pair.unread(Side::Zero), 0);
    }
}
