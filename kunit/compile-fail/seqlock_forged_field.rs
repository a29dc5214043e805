// SPDX-License-Identifier: GPL-2.0

//! Fields can only be made by the macro, which knows the offset.

//~ ERROR call to unsafe function

use quiesce::{seq_field, seqlock::Field};

/// Makes one.
pub fn field() -> Field<(u32, u32), u32> {
    #[cfg(not(fixed))]
    return Field::new(400, |v| v.1, |v, new| v.1 = new);
    #[cfg(fixed)]
    return seq_field!((u32, u32), 1);
}
