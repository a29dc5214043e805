// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of quiesce, using only what any other module can use.

use kernel::prelude::*;

mod barrier;
mod rcu;
mod readme;
mod rundown;
mod seqlock;
mod support;

module! {
    type: Suites,
    name: "quiesce_kunit",
    authors: ["The quiesce developers"],
    description: "KUnit suites of quiesce",
    license: "GPL",
    params: {
        rundown_cycles: u32 {
            default: 100_000,
            description: "How many rundowns the stress of quiesce_rundown_stress is long",
        },
    },
}

struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
