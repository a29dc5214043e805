// SPDX-License-Identifier: GPL-2.0

//! Explores all sequences of calls, shortest first.
//!
//! What a call does depends on the state before it alone: all memory of the barrier, the descriptors and
//! processes, and the model. So a state that two sequences lead to is continued once.

use crate::world::{self, Hash};
use std::{cell::RefCell, collections::HashSet, fmt::Debug, time::Instant};

/// A model, and how its calls are made.
pub(crate) trait Model: Clone + 'static {
    type Call: Copy + Debug;

    /// The calls that can be made now. Unless `all`, those are left out that another one is the same
    /// as, but for the numbers of parties that have done nothing yet.
    fn calls(&self, all: bool) -> Vec<Self::Call>;

    /// Makes a call, of the code and of the model; with `check`, compares all that can be seen.
    fn step(&mut self, call: Self::Call, check: bool) -> Result<(), String>;

    /// Adds all of the model.
    fn hash(&self, hash: &mut Hash);
}

/// A beginning.
pub(crate) struct World<M> {
    pub(crate) name: String,
    pub(crate) begin: fn(&World<M>) -> M,
    pub(crate) flags: u32,
    /// How many calls `begin` makes, after which the sequences begin.
    pub(crate) made: usize,
}

/// How far a run goes.
pub(crate) struct Limits {
    pub(crate) length: usize,
    /// No call is left out.
    pub(crate) all: bool,
    /// A run that has a time may be cut off; one that has none is whole, or fails.
    pub(crate) seconds: Option<u64>,
    /// How many sequences are kept to be continued.
    pub(crate) kept: usize,
}

fn key(model: &impl Model) -> u128 {
    let mut hash = Hash(world::hash());
    model.hash(&mut hash);
    hash.0
}

thread_local!(static PANIC: RefCell<String> = const { RefCell::new(String::new()) });

/// Returns whether all of them agree with their models, and were explored as far as a run without a time
/// has to be. `only` one of them is explored, or all.
pub(crate) fn run<M: Model>(worlds: &[World<M>], only: Option<usize>, limits: &Limits) -> bool {
    assert!(
        only.is_none_or(|n| n < worlds.len()),
        "there is no such world"
    );
    std::panic::set_hook(Box::new(|panic| PANIC.set(format!("panicked, {panic}"))));
    worlds
        .iter()
        .enumerate()
        .filter(|(n, _)| only.is_none_or(|only| only == *n))
        .all(|(_, world)| explore(world, limits))
}

fn explore<M: Model>(world: &World<M>, limits: &Limits) -> bool {
    let start = Instant::now();
    let length = limits.length;
    world::reset();
    let first = (world.begin)(world);
    let root = world::save();
    let mut seen = HashSet::from([key(&first)]);

    let mut paths: Vec<Vec<M::Call>> = vec![Vec::new()];
    let (mut calls, mut done) = (0u64, 0);
    let summary = |done: usize, states: usize, calls: u64| {
        let after = match world.made {
            0 => String::new(),
            made => format!(" after the first {made}"),
        };
        println!(
            "# {}: all sequences of {done} calls{after}: {calls} calls compared, from {states} states, {:.1} s",
            world.name,
            start.elapsed().as_secs_f32()
        );
    };
    for _ in 0..length {
        let mut next = Vec::new();
        for path in &paths {
            let late = limits
                .seconds
                .is_some_and(|s| start.elapsed().as_secs() > s);
            if late || next.len() > limits.kept {
                summary(done, seen.len(), calls);
                let what = if late { "time" } else { "memory" };
                println!("# cut off before length {length}: out of {what}");
                return limits.seconds.is_some();
            }
            world::restore(&root);
            let mut model = first.clone();
            for &call in path {
                model.step(call, false).expect("it went well before");
            }
            let saved = world::save();
            for call in model.calls(limits.all) {
                world::restore(&saved);
                let mut after = model.clone();
                calls += 1;
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    after.step(call, true)
                }));
                if let Err(why) = result.unwrap_or_else(|_| Err(PANIC.take().replace('\n', " "))) {
                    println!("# found, {}: the call {call:?}: {why}", world.name);
                    println!("# after");
                    for call in path {
                        println!("#     {call:?}");
                    }
                    return false;
                }
                // After the last call nothing is continued.
                if done + 1 < length && seen.insert(key(&after)) {
                    let mut path = path.clone();
                    path.push(call);
                    next.push(path);
                }
            }
        }
        done += 1;
        paths = next;
        if paths.is_empty() {
            break;
        }
    }
    summary(length, seen.len(), calls);
    true
}

/// Compares two values.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, is: T, should: T) -> Result<(), String> {
    if is == should {
        Ok(())
    } else {
        Err(format!("{what} is {is:x?}, and the header says {should:x?}").replace("\n", " "))
    }
}

/// Compares two results of a call.
pub(crate) fn same_result(is: i32, should: i32) -> Result<(), String> {
    if is == should {
        return Ok(());
    }
    Err(format!(
        "the result is {}, and the header says {}",
        kernel::error::name(is),
        kernel::error::name(should)
    ))
}

/// Compares two structs of the interface, which have no padding.
pub(crate) fn same_struct<T: Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    // SAFETY: Both are structs of the interface, which have no padding, so all their bytes are
    // initialised.
    let bytes = |value: &T| unsafe {
        core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
    };
    if bytes(is) == bytes(should) {
        return Ok(());
    }
    Err(format!("{what} is {is:?}, and the header says {should:?}"))
}
