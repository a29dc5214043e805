// SPDX-License-Identifier: GPL-2.0

//! Runs one model.

use loom::{cell::UnsafeCell, model::Builder};
use std::{
    panic::PanicHookInfo,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

/// A model: its name, how many times loom may take the processor from a thread that could run on, and what it
/// runs. Long runs have no such bound, nor have models that have few executions.
pub(crate) struct Model(pub(crate) &'static str, pub(crate) usize, pub(crate) fn());

/// No bound.
pub(crate) const ANY: usize = usize::MAX;

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
        crate::seqlocks::MODELS,
        crate::barriers::MODELS,
        crate::rcu::model::MODELS,
    ]
    .into_iter()
    .flatten()
}

/// What a panic says, in one line, and where it is.
fn text(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let what = match payload.downcast_ref::<&str>() {
        Some(what) => what,
        None => payload.downcast_ref::<String>().map_or("", |what| what),
    };
    let place = panic.location().map_or(String::new(), |at| {
        let file = at.file().rsplit('/').next();
        format!(" ({}:{})", file.unwrap_or_default(), at.line())
    });
    let what: Vec<_> = what.split_whitespace().collect();
    what.join(" ") + &place
}

/// `quiesce-loom --list`, or `quiesce-loom MODEL`. SECONDS bounds the time instead of the preemptions;
/// BRANCHES bounds an execution, which fails if it reaches that.
pub(crate) fn main() {
    let name = std::env::args().nth(1).expect("a model");
    if name == "--list" {
        models().for_each(|Model(name, bound, _)| match *bound {
            ANY => println!("{name}"),
            _ => println!("{name} bounded"),
        });
        return;
    }
    let Model(_, bound, run) = models()
        .find(|model| model.0 == name)
        .expect("there is a model of this name");
    let variable = |name| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<usize>().expect("a number"))
    };
    let seconds = variable("SECONDS").map(|s| s as u64);
    let mut builder = Builder::new();
    // None is loom's own variables'.
    builder.max_branches = variable("BRANCHES").unwrap_or(100_000);
    builder.max_permutations = None;
    builder.max_duration = seconds.map(Duration::from_secs);
    builder.preemption_bound = Some(*bound).filter(|bound| seconds.is_none() && *bound != ANY);
    // How often loom compares the time.
    builder.checkpoint_interval = 1000;
    builder.checkpoint_file = None;
    let (executions, run) = (Arc::new(AtomicUsize::new(0)), *run);
    let count = executions.clone();
    let begin = std::time::Instant::now();
    let found = executions.clone();
    // The first panic is what was found. What follows it, as threads are unwound, is not.
    let cut_off = AtomicBool::new(false);
    std::panic::set_hook(Box::new(move |panic| {
        let (what, n) = (text(panic), found.load(Ordering::Relaxed));
        if what.starts_with("Model exceeded maximum number of branches") {
            // loom itself ends by this panic, and cannot be left from here.
            println!("# cut off in execution {n}: {what}");
            cut_off.store(true, Ordering::Relaxed);
        } else if !cut_off.load(Ordering::Relaxed) {
            println!("# found in execution {n}: {what}");
            std::process::exit(1);
        }
    }));
    builder.check(move || {
        kernel::registry::reset();
        kernel::rcu::init();
        count.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let executions = executions.load(Ordering::Relaxed);
    let late = seconds.is_some_and(|s| begin.elapsed().as_secs() >= s)
        && (executions + 1) % builder.checkpoint_interval == 0;
    println!(
        "# {executions} executions, {}, {:.1} s{}",
        builder.preemption_bound.map_or_else(
            || "any number of preemptions".into(),
            |bound| format!("at most {bound} preemptions in each")
        ),
        begin.elapsed().as_secs_f32(),
        if late { ", out of time" } else { "" }
    );
}
