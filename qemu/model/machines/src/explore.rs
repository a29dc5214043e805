// SPDX-License-Identifier: GPL-2.0

//! Explores all sequences of calls, shortest first.
//!
//! What a call does depends on the state before it alone: all memory of the barrier, the descriptors and
//! processes, and the model. So a state that two sequences lead to is continued once.

use crate::world::{self, Hash};
use std::{collections::HashSet, fmt::Debug, time::Instant};

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
    /// How many calls have been made already.
    pub(crate) made: usize,
}

fn key(model: &impl Model) -> u128 {
    let mut hash = Hash(world::hash());
    model.hash(&mut hash);
    hash.0
}

/// Returns whether all of them agree with their models.
pub(crate) fn run<M: Model>(
    worlds: &[World<M>],
    length: usize,
    all: bool,
    seconds: Option<u64>,
) -> bool {
    worlds
        .iter()
        .all(|world| explore(world, length, all, seconds.map(|s| s / worlds.len() as u64)))
}

/// How many sequences are kept to be continued: a gigabyte of them.
const PATHS: usize = 4_000_000;

fn explore<M: Model>(world: &World<M>, length: usize, all: bool, seconds: Option<u64>) -> bool {
    let start = Instant::now();
    let length = length.saturating_sub(world.made);
    world::reset();
    let first = (world.begin)(world);
    let root = world::save();
    let mut seen = HashSet::from([key(&first)]);

    let mut paths: Vec<Vec<M::Call>> = vec![Vec::new()];
    let (mut calls, mut done) = (0u64, 0);
    for _ in 0..length {
        let mut next = Vec::new();
        for path in &paths {
            let late = seconds.is_some_and(|s| start.elapsed().as_secs() > s);
            if late || next.len() > PATHS {
                println!(
                    "# {}: all sequences of {done} calls, {} states, {calls} calls compared, out of {}",
                    world.name,
                    seen.len(),
                    if late { "time" } else { "memory" }
                );
                return true;
            }
            world::restore(&root);
            let mut model = first.clone();
            for &call in path {
                model.step(call, false).expect("it went well before");
            }
            let saved = world::save();
            for call in model.calls(all) {
                world::restore(&saved);
                let mut after = model.clone();
                calls += 1;
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    after.step(call, true)
                }));
                if let Err(why) = result.unwrap_or_else(|_| Err("panicked".into())) {
                    println!("# found, {}: after", world.name);
                    for call in path {
                        println!("#     {call:?}");
                    }
                    println!("# the call {call:?}: {why}");
                    return false;
                }
                if seen.insert(key(&after)) {
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
    println!(
        "# {}: all sequences of {length} calls, {} states, {calls} calls compared, {:.1} s",
        world.name,
        seen.len(),
        start.elapsed().as_secs_f32()
    );
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
