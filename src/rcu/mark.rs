// SPDX-License-Identifier: GPL-2.0

//! Marks of what the current task is in: sections of SRCU domains, and functions of wakers.

use core::cell::UnsafeCell;

/// A word on the stack by which a read-side critical section of an SRCU domain is found.
///
/// It holds its own address combined with the domain's, and is cleared when the section ends, so
/// that a search of the current stack finds the sections of the current task. Two stores pay for it;
/// no memory is shared or allocated. A stale mark reads as zero, and a copied mark does not match
/// because it encodes its own address.
pub(super) struct Mark(UnsafeCell<usize>);

impl Mark {
    /// Creates a mark that marks nothing.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Marks the stack with `value`, that of a domain; the mark must not move after this.
    #[inline(always)]
    pub(super) fn set(&self, value: usize) {
        let word = self.0.get();
        // SAFETY: The word is a field of `self`, which is borrowed, and only this task accesses it.
        unsafe { word.write_volatile(word.expose_provenance() ^ value) };
    }
}

impl Drop for Mark {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: The word is a field of `self`, which is borrowed, and only this task accesses it.
        unsafe { self.0.get().write_volatile(0) };
    }
}
