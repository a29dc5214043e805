// SPDX-License-Identifier: GPL-2.0

//! A token cannot be shared with another task.

//~ ERROR cannot be shared between threads safely

use quiesce::seqlock::preempt_disable;

fn share<T: Sync>(_: &T) {}

/// Shares a token.
pub fn run() {
    let token = preempt_disable();
    #[cfg(not(fixed))]
    share(&token);
    #[cfg(fixed)]
    share(&core::ptr::from_ref(&token).addr());
}
