// SPDX-License-Identifier: GPL-2.0

//! Code that forbids unsafe code can use each macro, and gets no unsafe code from one.

//~ ERROR call to unsafe function `core::mem::zeroed`
//~ ERROR call to unsafe function `core::intrinsics::transmute`
#![forbid(unsafe_code)]

use kernel::{new_mutex, prelude::*, sync::Mutex};
use quiesce::{
    latch_static, new_latch, new_seqcount, new_seqlock, seq_field,
    seqlock::{Latch, SeqCount, SeqLock},
    seqlock_static,
};

seqlock_static! {
    /// A reference to nothing.
    pub static WILD: SeqLock<Option<&'static u64>> = {
        #[cfg(not(fixed))]
        {
            core::mem::transmute::<usize, Option<&'static u64>>(8)
        }
        #[cfg(fixed)]
        None
    };
}

latch_static! {
    /// A string that is none.
    pub static STRING: Latch<Option<&'static str>> = {
        #[cfg(not(fixed))]
        {
            core::mem::zeroed()
        }
        #[cfg(fixed)]
        None
    };
}

/// Uses the other macros.
pub fn make(mutex: &Mutex<u64>) -> Result<u32> {
    let lock = KBox::init(new_seqlock!((0u8, 1u32), "name"), GFP_KERNEL)?;
    KBox::init(new_latch!(0u8), GFP_KERNEL)?;
    let guard = mutex.lock();
    KBox::init(new_seqcount!(SeqCount<u64, u64>, 0, &*guard), GFP_KERNEL)?;
    let _ = KBox::pin_init(new_mutex!(0u8), GFP_KERNEL)?;
    Ok(lock.read_field(seq_field!((u8, u32), 1)))
}
