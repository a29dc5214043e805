// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::rcu`.

use kernel::prelude::*;

mod barrier;
mod cell;
mod contexts;
mod disposal;
mod domain;
pub(crate) mod executor;
mod future;
mod list;
mod retire;
mod srcu;

/// The message of quiesce.ko for a wait that is an error.
const MISUSE: &str = "quiesce: rcu: .* where it must not";

/// The message of quiesce.ko for a wait that takes long.
const STALL: &str = "quiesce: rcu: .*(blocked for [0-9]+ ms|is in a read-side critical section)";

/// Runs a part of a test in which quiesce.ko must print a message that matches `regex`, and
/// announces it to the checker.
fn complaining<R>(regex: &str, f: impl FnOnce() -> R) -> R {
    pr_info!("quiesce: expect-begin {}\n", regex);
    let ret = f();
    pr_info!("quiesce: expect-end\n");
    ret
}
