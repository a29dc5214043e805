// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of quiesce, using only what any other module can use.

use kernel::prelude::*;

mod auto_traits;
mod barrier;
#[allow(
    unused,
    unreachable_code,
    unreachable_pub,
    missing_docs,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod doctests {
    include!(concat!(env!("QUIESCE_OBJ"), "/kunit/doctests_generated.rs"));
}
mod rcu;
mod rundown;
mod seqlock;
mod support;

module! {
    type: Suites,
    name: "quiesce_kunit",
    authors: ["The quiesce developers"],
    description: "KUnit suites of quiesce",
    license: "GPL",
}

struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        #[cfg(quiesce_kunit_runner)]
        // SAFETY: The function has no requirements.
        kernel::error::to_result(unsafe { support::bindings::quiesce_kunit_run_suites() })?;
        Ok(Self)
    }
}

#[cfg(quiesce_kunit_runner)]
impl Drop for Suites {
    fn drop(&mut self) {
        // SAFETY: `init()` ran the suites, and a module's exit is called once.
        unsafe { support::bindings::quiesce_kunit_remove_results() };
    }
}
