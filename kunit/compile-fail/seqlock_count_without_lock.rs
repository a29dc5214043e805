// SPDX-License-Identifier: GPL-2.0

//! A counter's writer must prove that it holds the lock exclusively.

//~ ERROR mismatched types

use quiesce::seqlock::SeqCount;

/// Writes.
pub fn write(count: &SeqCount<u64, u32>, owner: &mut u32) {
    #[cfg(not(fixed))]
    let _ = count.store(&*owner, 1);
    #[cfg(fixed)]
    let _ = count.store(owner, 1);
}
