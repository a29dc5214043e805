// SPDX-License-Identifier: GPL-2.0

//! Sample: a second module that uses the crate.

use kernel::prelude::*;

module! {
    type: Sample,
    name: "rust_rundown",
    authors: ["The quiesce developers"],
    description: "Uses the quiesce crate",
    license: "GPL",
}

struct Sample;

impl kernel::Module for Sample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("quiesce interface version {}\n", 0);
        Ok(Self)
    }
}
