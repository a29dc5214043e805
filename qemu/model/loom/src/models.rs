// SPDX-License-Identifier: GPL-2.0

//! Runs one model.

use loom::{cell::UnsafeCell, model::Builder};
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

/// A model: its name, how many times loom may take the processor from a thread that could run on, and what it
/// runs. Long runs have no such bound.
pub(crate) struct Model(pub(crate) &'static str, pub(crate) usize, pub(crate) fn());

/// Data that is accessed without synchronisation of its own: loom finds two accesses that are not ordered.
pub(crate) struct Plain(UnsafeCell<usize>);
// SAFETY: The accesses are loom's, which reports two that are not ordered.
unsafe impl Sync for Plain {}
// SAFETY: The accesses are loom's, which reports two that are not ordered.
unsafe impl Send for Plain {}
impl Plain {
    pub(crate) fn new(value: usize) -> Self {
        Self(UnsafeCell::new(value))
    }
    pub(crate) fn get(&self) -> usize {
        // SAFETY: loom checks that nobody writes.
        self.0.with(|value| unsafe { *value })
    }
    pub(crate) fn set(&self, new: usize) {
        // SAFETY: loom checks that nobody reads or writes.
        self.0.with_mut(|value| unsafe { *value = new })
    }
}

fn models() -> impl Iterator<Item = &'static Model> {
    [
        crate::rundown::model::MODELS,
        crate::seqlock::model::MODELS,
        crate::barriers::MODELS,
        crate::rcu::model::MODELS,
    ]
    .into_iter()
    .flatten()
}

/// `quiesce-loom --list`, or `quiesce-loom MODEL`; SECONDS bounds the time instead of the preemptions.
pub(crate) fn main() {
    let name = std::env::args().nth(1).expect("a model");
    if name == "--list" {
        models().for_each(|model| println!("{}", model.0));
        return;
    }
    let Model(_, bound, run) = models()
        .find(|model| model.0 == name)
        .expect("there is a model of this name");
    let seconds = std::env::var("SECONDS").ok().map(|s| s.parse().unwrap());
    let mut builder = Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = if seconds.is_some() {
        None
    } else {
        Some(*bound)
    };
    builder.max_duration = seconds.map(Duration::from_secs);
    let (executions, run) = (Arc::new(AtomicUsize::new(0)), *run);
    let count = executions.clone();
    let begin = std::time::Instant::now();
    let found = executions.clone();
    // The first panic is what was found. What follows it, as threads are unwound, is not.
    std::panic::set_hook(Box::new(move |panic| {
        println!(
            "# found in execution {}: {panic}",
            found.load(Ordering::Relaxed)
        );
        std::process::exit(1);
    }));
    builder.check(move || {
        kernel::registry::reset();
        kernel::rcu::init();
        count.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let late = seconds.is_some_and(|s| begin.elapsed().as_secs() >= s);
    println!(
        "# {} executions, {:.1} s{}",
        executions.load(Ordering::Relaxed),
        begin.elapsed().as_secs_f32(),
        if late { ", out of time" } else { "" }
    );
}
