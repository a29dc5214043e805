// SPDX-License-Identifier: GPL-2.0

//! A lock whose data has no size has no address that identifies it.

//~ ERROR the lock's data must have a size

use kernel::prelude::*;
use quiesce::{new_seqcount, seqlock::SeqCount};

#[cfg(not(fixed))]
type Owner = ();
#[cfg(fixed)]
type Owner = u8;

/// Makes a counter.
pub fn make(owner: &Owner) -> Result<Pin<KBox<SeqCount<u64, Owner>>>> {
    KBox::pin_init(new_seqcount!(SeqCount<u64, Owner>, 0, owner), GFP_KERNEL)
}
