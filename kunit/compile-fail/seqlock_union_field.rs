// SPDX-License-Identifier: GPL-2.0

//! A union's field need not be valid, so it is read as a whole.

//~ ERROR access to union field is unsafe and requires unsafe block

use quiesce::{seq_field, seqlock::SeqLock};

/// Either.
#[derive(Clone, Copy)]
pub union Either {
    /// A byte.
    pub byte: u8,
    /// Two of them.
    pub flag: bool,
}

/// Reads.
pub fn read(lock: &SeqLock<Either>) -> bool {
    #[cfg(not(fixed))]
    return lock.read_field(seq_field!(Either, flag));
    #[cfg(fixed)]
    // SAFETY: No code stores to `byte`, so the union holds a valid `bool`.
    return unsafe { lock.read().flag };
}
