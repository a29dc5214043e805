// SPDX-License-Identifier: GPL-2.0

//! The writers of two write sections cannot be exchanged: what they store to would outlive the section.

//~ ERROR borrowed data escapes outside of closure

use kernel::prelude::*;
use quiesce::seqlock::SeqCount;

/// Writes to two values, each with a lock of its own.
pub fn write(a: &SeqCount<u32, u8>, b: &SeqCount<u32, u8>, of_a: &mut u8, of_b: &mut u8) -> Result {
    a.write_section(of_a, |a| {
        b.write_section(of_b, |b| {
            #[cfg(not(fixed))]
            core::mem::swap(a, b);
            a.set(1);
            b.set(2);
        })
    })?
}
