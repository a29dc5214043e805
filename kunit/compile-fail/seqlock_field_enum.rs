// SPDX-License-Identifier: GPL-2.0

//! A variant is no field: a path through one would name what the enum dereferences to.

//~ ERROR using enums in offset_of is experimental

use core::ops::{Deref, DerefMut};
use quiesce::{seq_field, seqlock::SeqLock};

/// Dereferences to a struct with a field of the variant's name.
#[derive(Clone, Copy)]
pub enum Either {
    /// A word.
    V(usize),
    /// Nothing.
    W,
}

/// What it dereferences to.
#[allow(non_snake_case)]
#[derive(Clone, Copy)]
pub struct Target {
    /// Of another type.
    pub V: (u32,),
}

static mut TARGET: Target = Target { V: (1,) };

impl Deref for Either {
    type Target = Target;
    fn deref(&self) -> &Target {
        &Target { V: (1,) }
    }
}

impl DerefMut for Either {
    fn deref_mut(&mut self) -> &mut Target {
        // SAFETY: No code runs this.
        unsafe { &mut *(&raw mut TARGET) }
    }
}

/// Reads.
pub fn read(lock: &SeqLock<Either>) -> u32 {
    #[cfg(not(fixed))]
    return lock.read_field(seq_field!(Either, V.0));
    #[cfg(fixed)]
    return lock.read().V.0;
}
