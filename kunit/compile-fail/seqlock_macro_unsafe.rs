// SPDX-License-Identifier: GPL-2.0

//! No macro evaluates one of its arguments inside an `unsafe` block.

//~ ERROR call to unsafe function `static_value`
//~ ERROR call to unsafe function `latch_value`
//~ ERROR call to unsafe function `count_value`
//~ ERROR call to unsafe function `new_value`
//~ ERROR call to unsafe function `new_typed`
//~ ERROR call to unsafe function `new_latch`
//~ ERROR call to unsafe function `new_count`
//~ ERROR call to unsafe function `new_owner`
//~ ERROR call to unsafe function `static_type`
//~ ERROR call to unsafe function `new_type`
//~ ERROR call to unsafe function `field_type`

use kernel::prelude::*;
use quiesce::{
    latch_static, new_latch, new_seqcount, new_seqlock, seq_field,
    seqlock::{Latch, SeqCount, SeqLock},
    seqlock_static,
};

macro_rules! functions {
    ($($name:ident)*) => {$(
        /// # Safety
        ///
        /// Not in the test.
        #[cfg(not(fixed))]
        pub const unsafe fn $name() -> usize {
            1
        }
        /// A safe one.
        #[cfg(fixed)]
        pub const fn $name() -> usize {
            1
        }
    )*};
}

functions! {
    static_value latch_value count_value new_value new_typed new_latch new_count new_owner
    static_type new_type field_type
}

/// The owner's value.
pub static OWNER: usize = 1;

fn owner(_: usize) -> *const usize {
    &OWNER
}

seqlock_static! {
    /// A value.
    pub static S: SeqLock<usize> = static_value();
    /// A type.
    pub static T: SeqLock<[u8; static_type()]> = [0];
}

latch_static! {
    /// A value.
    pub static L: Latch<usize> = latch_value();
}

/// Makes one of each.
pub fn make() -> Result {
    KBox::init(new_seqlock!(new_value()), GFP_KERNEL)?;
    KBox::init(new_seqlock!(SeqLock<usize>, new_typed()), GFP_KERNEL)?;
    KBox::init(new_seqlock!(SeqLock<[u8; new_type()]>, [0]), GFP_KERNEL)?;
    KBox::init(new_latch!(new_latch()), GFP_KERNEL)?;
    KBox::init(
        new_seqcount!(SeqCount<usize, usize>, new_count(), &OWNER),
        GFP_KERNEL,
    )?;
    KBox::init(
        new_seqcount!(SeqCount<usize, usize>, 0, owner(new_owner())),
        GFP_KERNEL,
    )?;
    let _ = (count_value(), seq_field!(([u8; field_type()], u8), 1));
    Ok(())
}
