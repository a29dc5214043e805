// SPDX-License-Identifier: GPL-2.0

//! The offset of a field is `core`'s, also where the caller's crate has that name: it could be that of
//! another field, whose type is not this one's.

//~ ERROR no field `tag` on type `Pair`

extern crate core as the_core;
extern crate self as core;

/// Stands for `core::mem`.
pub mod mem {
    /// The wrong offset.
    #[macro_export]
    macro_rules! wrong {
        ($($t:tt)*) => {
            1usize
        };
    }
    pub use wrong as offset_of;
}

use quiesce::{
    seq_field,
    seqlock::SeqLock, //
};

#[derive(Clone, Copy)]
pub struct Tags {
    pub tag: bool,
}

#[derive(Clone, Copy)]
pub struct Pair {
    #[cfg(fixed)]
    pub tag: bool,
    #[cfg(not(fixed))]
    pub tags: Tags,
    pub byte: u8,
}

#[cfg(not(fixed))]
impl the_core::ops::Deref for Pair {
    type Target = Tags;
    fn deref(&self) -> &Tags {
        &self.tags
    }
}

#[cfg(not(fixed))]
impl the_core::ops::DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }
}

pub fn f(lock: &SeqLock<Pair>) -> bool {
    lock.read_field(seq_field!(Pair, tag))
}
