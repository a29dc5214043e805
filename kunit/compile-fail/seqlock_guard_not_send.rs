// SPDX-License-Identifier: GPL-2.0

//! A guard cannot be sent: what it disabled belongs to its CPU and task.

//~ ERROR cannot be sent between threads safely

use quiesce::seqlock::SeqLock;

fn send<T: Send>(_: T) {}

/// Sends a guard away.
pub fn run(lock: &SeqLock<u32>) {
    #[cfg(not(fixed))]
    send(lock.write_irq());
    #[cfg(fixed)]
    send(lock.read());
}
