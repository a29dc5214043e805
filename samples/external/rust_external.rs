// SPDX-License-Identifier: GPL-2.0

//! Sample: a module in a tree of its own that uses the crate.

use kernel::prelude::*;

module! {
    type: External,
    name: "rust_external",
    authors: ["The quiesce developers"],
    description: "Uses the quiesce crate from a tree of its own",
    license: "GPL",
}

struct External;

impl kernel::Module for External {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("interface version {}\n", 0);
        Ok(Self)
    }
}
