// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Three processes meet in phases. One of them dies, and the others get the cause.

use quiesce_barrier::{Deadline, Device, Endpoint, Error, Group, GroupOptions, Party, Result};
use std::{
    env,
    process::{Child, Command},
    time::Duration,
};

/// Longer than a phase takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts this program again, as a worker with a party of its own.
fn spawn(group: &Group, number: u32) -> Result<Child> {
    let mut command = Command::new(env::current_exe().map_err(Error::Os)?);
    command.args(["worker", &number.to_string()]);
    group.join()?.pass_to(&mut command);
    command.spawn().map_err(Error::Os)
}

fn work(party: &Party, number: &str) -> Result<()> {
    for phase in 0..3 {
        // ... the work of the phase ...
        if number == "2" && phase == 2 {
            std::process::abort();
        }
        party.arrive_and_wait_with(Deadline::after(LIMIT), || report(phase))?;
    }
    Ok(())
}

/// The step that one of them executes when all have arrived.
fn report(phase: u32) {
    println!("phase {phase}: all are here");
}

/// Starts the workers and meets them or, with `worker NUMBER`, is one.
pub fn main() -> Result<()> {
    if let [_, role, number] = &env::args().collect::<Vec<_>>()[..] {
        if role == "worker" {
            // SAFETY: The descriptor is taken once, and nothing else in this program takes it.
            return match unsafe { Endpoint::inherited() }? {
                Endpoint::Party(party) => work(&party, number),
                _ => panic!("a party was passed"),
            };
        }
    }
    let group = GroupOptions::new(3).completion().create(&Device::open()?)?;
    let mine = group.join()?;
    let workers = [spawn(&group, 1)?, spawn(&group, 2)?];
    for phase in 0..3 {
        match mine.arrive_and_wait_with(Deadline::after(LIMIT), || report(phase)) {
            Ok(_) => {}
            // "process 812 was killed by signal 6 (Aborted)"
            Err(Error::Broken(cause)) => println!("broken: {cause}"),
            Err(error) => return Err(error),
        }
    }
    for mut worker in workers {
        worker.wait().map_err(Error::Os)?;
    }
    Ok(())
}
