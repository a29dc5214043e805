// SPDX-License-Identifier: GPL-2.0

//! A guard taken with a token must not outlive it.

//~ ERROR cannot move out of `token` because it is borrowed

use quiesce::seqlock::{bh_disable, Bh, SeqLock};

/// Writes.
pub fn write(lock: &SeqLock<u64, Bh>) {
    let token = bh_disable().unwrap();
    let mut guard = lock.write_with(&token);
    #[cfg(not(fixed))]
    drop(token);
    guard.set(1);
    drop(guard);
    #[cfg(fixed)]
    drop(token);
}
