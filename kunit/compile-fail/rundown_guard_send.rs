// SPDX-License-Identifier: GPL-2.0

//! A guard that is bound to its task cannot be sent to another; an unbound one can.

//~ ERROR cannot be sent between threads safely

use quiesce::rundown::RundownRef;

static USERS: RundownRef = RundownRef::new();

fn send<T: Send>(_: T) {}

pub fn f() {
    if let Ok(guard) = USERS.try_acquire() {
        #[cfg(not(fixed))]
        send(guard);
        #[cfg(fixed)]
        send(guard.unbind());
    }
}
