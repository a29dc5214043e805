// SPDX-License-Identifier: GPL-2.0

//! The torture of `kunit/rcu/torture.rs` as a module of its own, for long runs and for kernels
//! without KUnit.
//!
//! insmod runs it: at least `objects` objects in each domain, then the mutant. It fails with EIO if
//! a reader saw a stale or torn object, if an object was left or if the mutant was not caught.
//!
//!     insmod quiesce_rcu_torture.ko objects=1000000 writers=256 && rmmod quiesce_rcu_torture

use kernel::prelude::*;
use quiesce::rcu::{
    self,
    Srcu, //
};
use torture::{
    counters,
    run,
    Busted,
    Plan,
    Real,
    Report,
    Tortured, //
};

#[path = "rcu/executor.rs"]
#[allow(dead_code, reason = "the torture needs one of two")]
mod executor;
mod support;
#[path = "rcu/torture.rs"]
mod torture;

module! {
    type: Torture,
    name: "quiesce_rcu_torture",
    authors: ["The quiesce developers"],
    description: "Tortures quiesce::rcu",
    license: "GPL",
    params: {
        objects: u32 {
            default: 10_000,
            description: "Objects in each domain",
        },
        writers: u32 {
            default: 32,
            description: "Threads that write",
        },
    },
}

struct Torture;

fn verdict(name: &str, report: Report, objects: usize) -> Result {
    if report.caught() || report.left != 0 || report.objects < objects {
        pr_err!("rcu torture of {}: not ok\n", name);
        return Err(EIO);
    }
    Ok(())
}

impl kernel::Module for Torture {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let objects = module_parameters::objects.value() as usize;
        let writers = core::cmp::max(module_parameters::writers.value() as usize, 1);
        let plan = Plan {
            writers,
            // Eleven ways each.
            each: (objects / writers / 11 + 1).next_multiple_of(8),
        };
        let global = counters()?;
        let real = Real::new(rcu::global(), false, &global)?;
        verdict("rcu", run(real, global, plan)?, objects)?;

        let srcu = counters()?;
        let real = Real::new(Srcu::<Tortured>::init()?, true, &srcu)?;
        verdict("srcu", run(real, srcu, plan)?, objects)?;

        let busted = counters()?;
        let twin = Busted::new(&busted)?;
        let report = run(
            twin,
            busted,
            Plan {
                writers: 2,
                each: 16_000,
            },
        )?;
        if !report.caught() {
            pr_err!("rcu torture of the busted twin: not caught\n");
            return Err(EIO);
        }
        pr_info!("rcu torture: ok\n");
        Ok(Self)
    }
}
