// SPDX-License-Identifier: GPL-2.0

//! A lock does not make a value `Send`: a raw pointer cannot be its value.

//~ ERROR `*mut u32` cannot be sent between threads safely

use quiesce::seqlock::SeqLock;

#[cfg(not(fixed))]
type Address = *mut u32;
#[cfg(fixed)]
type Address = usize;

/// Reads.
pub fn read(lock: &SeqLock<Address>) -> Address {
    lock.read()
}
