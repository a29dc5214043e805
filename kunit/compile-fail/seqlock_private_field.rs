// SPDX-License-Identifier: GPL-2.0

//! A private field can only be named where it is visible.

//~ ERROR is private

use quiesce::{seq_field, seqlock::SeqLock};

/// A module's type.
pub mod inner {
    /// The type.
    #[derive(Clone, Copy)]
    pub struct Value {
        #[cfg(not(fixed))]
        odd: u32,
        /// The field.
        #[cfg(fixed)]
        pub odd: u32,
    }
    impl Value {
        /// Reads it.
        pub fn get(&self) -> u32 {
            self.odd
        }
    }
}

/// Breaks the type's invariant.
pub fn write(lock: &SeqLock<inner::Value>) {
    lock.write().set_field(seq_field!(inner::Value, odd), 2);
}
