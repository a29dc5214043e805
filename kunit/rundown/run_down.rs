// SPDX-License-Identifier: GPL-2.0

//! The example of the crate `run_down`, line by line, with this crate.
//!
//! `thread`, `Duration`, `Arc` and `println!` stand for those of the standard library, which the
//! kernel does not have.

use crate::support;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

/// The standard library's `Arc`, whose constructor cannot fail.
struct Arc;

impl Arc {
    #[allow(clippy::new_ret_no_self, reason = "so the example calls it")]
    fn new<T>(value: T) -> Option<kernel::sync::Arc<T>> {
        kernel::sync::Arc::new(value, GFP_KERNEL).ok()
    }

    fn clone<T>(arc: &kernel::sync::Arc<T>) -> kernel::sync::Arc<T> {
        arc.clone()
    }
}

struct Duration(u32);

impl Duration {
    fn from_millis(ms: u32) -> Self {
        Self(ms)
    }
}

mod thread {
    use super::*;

    pub(super) fn spawn(f: impl FnOnce() + Send + 'static) {
        RUNNING.fetch_add(1, Full);
        let started = support::spawn(c"run_down", move || {
            f();
            RUNNING.fetch_sub(1, Full);
        });
        match started {
            Ok(thread) => thread.join(),
            Err(_) => {
                RUNNING.fetch_sub(1, Full);
            }
        }
    }

    pub(super) fn sleep(time: Duration) {
        support::msleep(time.0);
    }
}

static RUNNING: Atomic<u32> = Atomic::new(0);

macro_rules! println {
    ($($arg:tt)*) => {
        pr_info!("{}\n", kernel::prelude::fmt!($($arg)*))
    };
}

fn example() -> Option<()> {
    use quiesce::rundown::{
        RundownGuard,
        RundownRef, //
    };

    let rundown = Arc::new(RundownRef::new())?;

    for i in 1..25 {
        let rundown_clone = Arc::clone(&rundown);

        thread::spawn(move || {
            // Attempt to acquire rundown protection, while the main
            // thread could be running down the object as we execute.
            //
            match rundown_clone.try_acquire() {
                Ok(run_down_guard) => {
                    println!("{}: Run-down protection acquired.", i);

                    // Stall the thread while holding rundown protection.
                    thread::sleep(Duration::from_millis(10));
                    let _: RundownGuard<'_> = run_down_guard;
                }
                Err(m) => {
                    println!("{}: Failed to acquire run-down protection - {:?}", i, m);
                }
            }
        });
    }

    println!("0: Waiting for rundown to complete");
    rundown.wait_for_rundown();
    println!("0: Rundown complete");
    Some(())
}

#[kunit_tests(quiesce_rundown_run_down)]
mod tests {
    use super::*;

    #[test]
    fn example() -> Result {
        let ran = super::example();
        assert!(ran.is_some());
        assert_eq!(RUNNING.load(Acquire), 0);
        Ok(())
    }
}
