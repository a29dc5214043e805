// SPDX-License-Identifier: GPL-2.0

//! A type that can be written through, or read after others wrote, is invariant in the value's
//! type. Covers each generic type of the module in each parameter, in both directions.

//~ ERROR field_up
//~ ERROR field_down
//~ ERROR field_of_up
//~ ERROR field_of_down
//~ ERROR seqlock_up
//~ ERROR seqlock_down
//~ ERROR latch_up
//~ ERROR latch_down
//~ ERROR seqcount_up
//~ ERROR seqcount_down
//~ ERROR owner_up
//~ ERROR owner_down
//~ ERROR section_up
//~ ERROR section_down
//~ ERROR write_up
//~ ERROR write_down
//~ ERROR exclusive_up
//~ ERROR exclusive_down
//~ ERROR guard_up
//~ ERROR guard_down
//~ ERROR read_guard_up
//~ ERROR read_guard_down
//~ ERROR count_writer_up
//~ ERROR count_writer_down

use quiesce::seqlock::{
    ExclusiveGuard, Field, Latch, ReadSection, SeqCount, SeqCountWriter, SeqLock, SeqLockGuard,
    SeqLockReadGuard, WriteGuard,
};

/// A function that takes any reference: a subtype of the next.
pub type Any = for<'a> fn(&'a u64);
/// A function that takes static references only.
#[cfg(not(fixed))]
pub type Static = fn(&'static u64);
#[cfg(fixed)]
/// The same as the first.
pub type Static = Any;

/// A structure with a field.
pub struct Ops<F>(pub F);

/// A function that takes one type for another, if the compiler does.
macro_rules! case {
    ($name:ident, $from:ty, $to:ty) => {
        #[allow(missing_docs)]
        pub fn $name(it: $from) -> $to {
            it
        }
    };
}

case!(field_up, Field<u64, Any>, Field<u64, Static>);
case!(field_down, Field<u64, Static>, Field<u64, Any>);
case!(field_of_up, Field<Ops<Any>, u64>, Field<Ops<Static>, u64>);
case!(field_of_down, Field<Ops<Static>, u64>, Field<Ops<Any>, u64>);
case!(seqlock_up, &'static SeqLock<Any>, &'static SeqLock<Static>);
case!(
    seqlock_down,
    &'static SeqLock<Static>,
    &'static SeqLock<Any>
);
case!(latch_up, &'static Latch<Any>, &'static Latch<Static>);
case!(latch_down, &'static Latch<Static>, &'static Latch<Any>);
case!(
    seqcount_up,
    &'static SeqCount<Any, u64>,
    &'static SeqCount<Static, u64>
);
case!(
    seqcount_down,
    &'static SeqCount<Static, u64>,
    &'static SeqCount<Any, u64>
);
case!(
    owner_up,
    &'static SeqCount<u64, Any>,
    &'static SeqCount<u64, Static>
);
case!(
    owner_down,
    &'static SeqCount<u64, Static>,
    &'static SeqCount<u64, Any>
);
case!(
    section_up,
    ReadSection<'static, Any>,
    ReadSection<'static, Static>
);
case!(
    section_down,
    ReadSection<'static, Static>,
    ReadSection<'static, Any>
);
case!(
    write_up,
    WriteGuard<'static, Any>,
    WriteGuard<'static, Static>
);
case!(
    write_down,
    WriteGuard<'static, Static>,
    WriteGuard<'static, Any>
);
case!(
    exclusive_up,
    ExclusiveGuard<'static, Any>,
    ExclusiveGuard<'static, Static>
);
case!(
    exclusive_down,
    ExclusiveGuard<'static, Static>,
    ExclusiveGuard<'static, Any>
);
case!(
    guard_up,
    SeqLockGuard<'static, Any>,
    SeqLockGuard<'static, Static>
);
case!(
    guard_down,
    SeqLockGuard<'static, Static>,
    SeqLockGuard<'static, Any>
);
case!(
    read_guard_up,
    SeqLockReadGuard<'static, Any>,
    SeqLockReadGuard<'static, Static>
);
case!(
    read_guard_down,
    SeqLockReadGuard<'static, Static>,
    SeqLockReadGuard<'static, Any>
);
case!(
    count_writer_up,
    SeqCountWriter<'static, Any>,
    SeqCountWriter<'static, Static>
);
case!(
    count_writer_down,
    SeqCountWriter<'static, Static>,
    SeqCountWriter<'static, Any>
);
