// SPDX-License-Identifier: GPL-2.0

//! Sample: a module with its own source tree that uses the quiesce crate.

use kernel::prelude::*;
use quiesce::{
    rcu::{
        self,
        Domain,
        Object,
        RcuCell, //
    },
    rundown::Rundown,
    seqlock::{
        Irq,
        RawSeqLock, //
    },
    seqlock_static, //
};

module! {
    type: External,
    name: "rust_external",
    authors: ["The quiesce developers"],
    description: "Uses the quiesce crate from a separate source tree",
    license: "GPL",
}

/// Read by whoever holds a guard; a wait for the rundown returns when nobody does.
static TABLE: Rundown<[u32; 4]> = Rundown::new([1, 2, 3, 4]);

seqlock_static! {
    /// Read without a lock, in hardware interrupts too; therefore its writers disable interrupts.
    static CLOCK: RawSeqLock<(u64, u32), Irq> = (0, 0);
}

/// Read through a pointer without a lock, and replaced as a whole.
static LIMIT: RcuCell<Option<KBox<Object<usize>>>> = RcuCell::none();

struct External;

impl kernel::Module for External {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let table = TABLE.try_acquire()?;
        pr_info!("the table, while a guard is held: {:?}\n", *table);

        CLOCK.write_irq().set((1, 500));
        pr_info!("the clock, from one write: {:?}\n", CLOCK.read());

        // The old value is freed after a grace period; nothing waits for that here.
        LIMIT.publish(Some(Object::new(10).boxed(GFP_KERNEL)?));
        let limit = rcu::global().run(|t| LIMIT.read(t).map_or(0, |limit| *limit));
        pr_info!("the limit: {limit}\n");
        Ok(Self)
    }
}

impl Drop for External {
    fn drop(&mut self) {
        // Acquisitions fail from now on. When the wait returns, no guard is left.
        match TABLE.wait_for_rundown() {
            Ok(mut table) => {
                table[0] = 0;
                pr_info!("the table, owned exclusively: {:?}\n", *table);
            }
            Err(error) => pr_err!("another task ran the table down: {error}\n"),
        }
        // Statics are never dropped, so free the cell's content here.
        LIMIT.publish(None);
    }
}
