// SPDX-License-Identifier: GPL-2.0

//! No reference to the value can be held across a store to it.

//~ ERROR cannot borrow `guard` as mutable because it is also borrowed as immutable

use quiesce::seqlock::SeqLock;

/// Writes.
pub fn write(lock: &SeqLock<[u32; 2]>) -> u32 {
    let mut guard = lock.write();
    let first: &u32 = &guard[0];
    #[cfg(fixed)]
    let first = &{ *first };
    guard.set([1, 2]);
    *first
}
