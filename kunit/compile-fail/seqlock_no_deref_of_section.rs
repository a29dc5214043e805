// SPDX-License-Identifier: GPL-2.0

//! A `ReadSection` cannot be dereferenced, as a writer may be storing to the value.

//~ ERROR type `ReadSection<'_, bool>` cannot be dereferenced

use quiesce::seqlock::SeqLock;

/// Reads.
pub fn read(lock: &SeqLock<bool>) -> bool {
    #[cfg(not(fixed))]
    let guard = lock.begin();
    #[cfg(fixed)]
    let guard = lock.read_begin();
    *guard
}
