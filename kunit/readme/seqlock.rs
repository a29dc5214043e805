// SPDX-License-Identifier: GPL-2.0

//! A clock.

use kernel::prelude::*;

use quiesce::{
    seq_field,
    seqlock::{
        Irq,
        RawSeqLock, //
    },
    seqlock_static, //
};

#[derive(Clone, Copy)]
struct Clock {
    seconds: u64,
    nanos: u32,
    valid: bool,
}

seqlock_static! {
    static CLOCK: RawSeqLock<Clock, Irq> = Clock { seconds: 0, nanos: 0, valid: false };
}

fn tick(now: Clock) {
    CLOCK.write_irq().set(now) // CLOCK.write() does not compile
}

fn now() -> Clock {
    CLOCK.read() // spins while a writer is active
}

fn from_nmi() -> Option<Clock> {
    CLOCK.try_read() // one pass, never waits
}

fn bounded() -> Clock {
    CLOCK.read_or_lock::<3>() // three passes, then the lock
}

fn seconds() -> u64 {
    CLOCK.read_field(seq_field!(Clock, seconds))
}

#[kunit_tests(quiesce_readme_seqlock)]
mod tests {
    use super::*;

    #[test]
    fn everybody_reads_what_the_tick_wrote() {
        tick(Clock {
            seconds: 7,
            nanos: 8,
            valid: true,
        });
        let read = [now(), bounded()];
        assert!(read
            .iter()
            .all(|c| (c.seconds, c.nanos, c.valid) == (7, 8, true)));
        assert!(from_nmi().is_some_and(|c| c.nanos == 8));
        assert_eq!(seconds(), 7);
    }
}
