// SPDX-License-Identifier: GPL-2.0

//! Tests of the time that a wait polls before it sleeps.

use crate::support;
use kernel::{
    bindings::{
        CLOCK_BOOTTIME,
        CLOCK_MONOTONIC,
        CLOCK_REALTIME, //
    },
    ffi::c_int,
    prelude::*,
    time::{
        BootTime,
        ClockSource,
        Monotonic,
        RealTime, //
    }, //
};
use quiesce::barrier::spin::SpinWindow;

const LIMIT: u32 = 100_000;

extern "C" {
    // As in `src/helpers.h`.
    fn quiesce_helper_spin_limit(deadline: *const i64, clock: c_int) -> u32;
}

/// Returns how long a wait with this deadline of this clock may poll here and now.
fn limit_of(clock: u32, deadline: i64) -> u32 {
    // SAFETY: The pointer is valid for a read during the call.
    unsafe { quiesce_helper_spin_limit(&deadline, clock as c_int) }
}

/// The same by `CLOCK_MONOTONIC`.
fn limit(deadline: i64) -> u32 {
    limit_of(CLOCK_MONOTONIC, deadline)
}

/// A model of two parties of which the later one is `late` nanoseconds late in each round: returns
/// the time that `rounds` waits polled without success.
fn in_vain(spin: &mut SpinWindow, rounds: u32, late: u64) -> u64 {
    // The time from the wake-up until the task runs.
    const WAKE: u64 = 20_000;
    let mut sum = 0u64;
    for _ in 0..rounds {
        let time = u64::from(spin.time(LIMIT));
        if late >= time {
            sum = sum.wrapping_add(time);
            spin.slept(late.wrapping_add(WAKE), LIMIT);
        }
    }
    sum
}

#[kunit_tests(quiesce_barrier_spin)]
mod tests {
    use super::*;

    #[test]
    fn no_longer_than_until_the_deadline() -> Result {
        // Where another task needs the CPU, no wait polls, whatever its deadline is.
        let mut polls = 0;
        for _ in 0..10_000 {
            let now = Monotonic::ktime_get();
            let (far, over, near) = (limit(i64::MAX), limit(now), limit(now + 1_000));
            assert_eq!(over, 0);
            assert!(near <= 1_000);
            if far != 0 {
                polls += 1;
            } else {
                support::msleep(1);
            }
            if polls == 1000 || support::num_online_cpus() == 1 {
                break;
            }
        }
        assert!(polls != 0 || support::num_online_cpus() == 1);
        Ok(())
    }

    #[test]
    fn a_deadline_is_one_of_its_clock() -> Result {
        const CLOCKS: [(u32, fn() -> i64); 3] = [
            (CLOCK_MONOTONIC, Monotonic::ktime_get),
            (CLOCK_REALTIME, RealTime::ktime_get),
            (CLOCK_BOOTTIME, BootTime::ktime_get),
        ];
        for (clock, now) in CLOCKS {
            let mut polls = 0;
            for _ in 0..10_000 {
                let (far, over) = (limit_of(clock, i64::MAX), limit_of(clock, now()));
                assert_eq!(over, 0);
                if far != 0 {
                    polls += 1;
                } else {
                    support::msleep(1);
                }
                if polls == 100 || support::num_online_cpus() == 1 {
                    break;
                }
            }
            assert!(polls != 0 || support::num_online_cpus() == 1);
        }
        Ok(())
    }

    #[test]
    fn the_first_wait_sleeps() -> Result {
        assert_eq!(SpinWindow::new().time(LIMIT), 0);
        Ok(())
    }

    #[test]
    fn short_waits_make_it_look_longer() -> Result {
        let mut spin = SpinWindow::new();
        let mut times = [0u32; 6];
        for time in &mut times {
            spin.slept(50_000, LIMIT);
            *time = spin.time(LIMIT);
        }
        assert_eq!(times, [10_000, 20_000, 40_000, 80_000, 100_000, 100_000]);
        Ok(())
    }

    #[test]
    fn a_long_wait_makes_it_sleep() -> Result {
        let mut spin = SpinWindow::new();
        spin.slept(50_000, LIMIT);
        spin.slept(u64::from(LIMIT) + 1, LIMIT);
        assert_eq!(spin.time(LIMIT), 0);
        Ok(())
    }

    #[test]
    fn it_never_looks_longer_than_allowed() -> Result {
        let mut spin = SpinWindow::new();
        for _ in 0..8 {
            spin.slept(1, LIMIT);
        }
        assert_eq!(spin.time(1_000), 1_000);
        assert_eq!(spin.time(0), 0);
        // A limit below what growing begins with, and none at all.
        spin = SpinWindow::new();
        spin.slept(1, 5_000);
        assert_eq!(spin.time(LIMIT), 5_000);
        spin.slept(1, 0);
        assert_eq!(spin.time(LIMIT), 0);
        Ok(())
    }

    #[test]
    fn parties_that_are_always_late_cost_one_look() -> Result {
        let mut spin = SpinWindow::new();
        // They meet at once for a while, and then one has a millisecond to do in each round.
        let quick = in_vain(&mut spin, 100, 5_000);
        let late = in_vain(&mut spin, 1000, 1_000_000);
        assert!(quick <= 10_000);
        assert!(late <= u64::from(LIMIT));
        Ok(())
    }
}
