// SPDX-License-Identifier: GPL-2.0

//! Sample: a module in a tree of its own that uses the crate.

use kernel::prelude::*;
use quiesce::rundown::{
    RundownProtect,
    RundownRef, //
};

module! {
    type: External,
    name: "rust_external",
    authors: ["The quiesce developers"],
    description: "Uses the quiesce crate from a tree of its own",
    license: "GPL",
}

/// Open while the module is in use.
static GATE: RundownRef = RundownRef::new();

struct External;

impl kernel::Module for External {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let guard = GATE.try_acquire()?;
        pr_info!("the gate is open: {}\n", !guard.is_rundown_requested());
        Ok(Self)
    }
}

impl Drop for External {
    fn drop(&mut self) {
        let waited = GATE.wait_for_rundown();
        pr_info!(
            "everybody is out: {}\n",
            waited.is_ok() && GATE.try_acquire().is_err()
        );
    }
}
