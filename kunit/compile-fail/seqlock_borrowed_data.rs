// SPDX-License-Identifier: GPL-2.0

//! The value must not borrow.

//~ ERROR borrowed data escapes outside of function

use quiesce::seqlock::SeqLock;

/// Takes a lock over a reference.
pub fn take<T: quiesce::seqlock::SeqData>(_: T) {}

/// Makes one.
pub fn make(value: &u32) {
    #[cfg(not(fixed))]
    take(value);
    #[cfg(fixed)]
    take(*value);
    let _: Option<&SeqLock<u32>> = None;
}
