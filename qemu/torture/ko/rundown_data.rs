// SPDX-License-Identifier: GPL-2.0

//! Rundown of data: threads and interrupts read a value without a lock, which writers change in
//! place or take out and replace once they have it alone.

use crate::frame::{
    self,
    How,
    Part,
    Tally,
    Violation,
    Worker, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    Rundown,
    RundownError, //
};

/// The number of the write, in each word. The stores are plain, so an access that the rundown does
/// not exclude is found by KASAN or by a reader that gets words that differ.
type Value = KBox<[u64; 5]>;

fn value(n: u64) -> Result<Value> {
    Ok(KBox::new([n; 5], GFP_KERNEL)?)
}

fn is_whole(value: &Value) -> bool {
    value.iter().all(|word| *word == value[0])
}

struct Data {
    rundown: Rundown<Value>,
    writes: Atomic<u64>,
}

impl Data {
    fn use_it(&self, me: &Worker<'_>, window: impl Fn()) {
        let Ok(value) = self.rundown.try_acquire() else {
            me.tally.refused.inc();
            return;
        };
        let before = value[0];
        me.tally.must(is_whole(&value), Violation::Torn);
        window();
        me.tally.must(
            is_whole(&value) && value[0] == before,
            Violation::GoneUnderGuard,
        );
        me.tally.must(before >= me.last.get(), Violation::Backwards);
        me.last.set(before);
        me.tally.reads.inc();
    }
}

impl Part for Data {
    fn writers(&self) -> u32 {
        2
    }

    fn read(&self, me: &Worker<'_>) {
        self.use_it(me, || me.sleeping_window());
    }

    fn interrupt(&self, me: &Worker<'_>, _hard: bool) {
        self.use_it(me, || me.window());
    }

    fn write(&self, me: &Worker<'_>) {
        let patience = msecs_to_jiffies(30_000);
        let mut mine = match self.rundown.wait_for_rundown_timeout(patience) {
            Ok(mine) => mine,
            Err(RundownError::TimedOut) => return me.tally.violated(Violation::NotWoken),
            // The other writer has it, or has armed it again.
            Err(_) => return me.tally.refused.inc(),
        };
        let next = mine[0] + 1;
        match value(next) {
            Ok(new) if me.rng.one_in(2) => {
                let (old, vacant) = mine.take();
                drop(old);
                me.sleeping_window();
                vacant.fill(new);
            }
            _ => {
                for word in mine.iter_mut() {
                    *word = next;
                    me.window();
                }
                mine.re_init();
            }
        }
        self.writes.fetch_add(1, Relaxed);
        me.tally.writes.inc();
        me.sleeping_window();
    }

    fn finish(&self, tally: &Tally) {
        let last = self.rundown.wait_for_rundown().map(|mine| mine[0]);
        tally.must(last == Ok(self.writes.load(Relaxed)), Violation::LostUpdate);
    }
}

/// Runs it.
pub(crate) fn run(how: &How<'_>) -> Result {
    let data = Data {
        rundown: Rundown::new(value(0)?),
        writes: Atomic::new(0),
    };
    frame::run(how, data)
}
