// SPDX-License-Identifier: GPL-2.0

//! A token cannot be given to another task.

//~ ERROR cannot be sent between threads safely

use quiesce::seqlock::preempt_disable;

fn send<T: Send>(_: T) {}

/// Gives a token away.
pub fn run() {
    let token = preempt_disable();
    #[cfg(not(fixed))]
    send(token);
    #[cfg(fixed)]
    send(core::ptr::from_ref(&token).addr());
}
