// SPDX-License-Identifier: GPL-2.0

//! A copy that was not validated cannot be used as a value.

//~ ERROR mismatched types

use quiesce::seqlock::SeqLock;

/// Reads.
pub fn read(lock: &SeqLock<bool>) -> bool {
    let section = lock.begin();
    #[cfg(not(fixed))]
    return section.load();
    #[cfg(fixed)]
    return section.load().validate().unwrap_or(false);
}
