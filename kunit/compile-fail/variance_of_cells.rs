// SPDX-License-Identifier: GPL-2.0

//! A type through which a value can be stored is invariant in the value's type: a weaker type would
//! let a caller store what a user of the stronger one cannot use.

//~ ERROR `&SeqLock<for<'a> fn(&'a _)>`
//~ ERROR `&SeqLock<for<'a> fn(&'a _), _, _>`
//~ ERROR `&Latch<for<'a> fn(&'a _)>`
//~ ERROR `&SeqCount<for<'a> fn(&'a _), _>`
//~ ERROR `&SeqCount<_, for<'a> fn(&'a _)>`
//~ ERROR `Field<_, for<'a> fn(&'a _)>`
//~ ERROR `&WriteGuard<'_, for<'a> fn(&'a _), _>`
//~ ERROR `&Rundown<for<'a> fn(&'a _)>`
//~ ERROR Exclusive<'_, for<'a> fn(&'a _), _>`
//~ ERROR Vacant<'_, for<'a> fn(&'a _), _>`
//~ ERROR `&RcuCell<Box<Object<for<'a> fn(&'a _)>, _>>`

use kernel::prelude::*;
use quiesce::{
    rcu::{Object, RcuCell},
    rundown::{Exclusive, Rundown, Vacant},
    seqlock::{Field, Latch, RawSeqLock, SeqCount, SeqLock, WriteGuard},
};

type Strong = for<'a> fn(&'a u64);
#[cfg(not(fixed))]
type Weak = fn(&'static u64);
#[cfg(fixed)]
type Weak = Strong;

macro_rules! weaken {
    ($($name:ident: $from:ty => $to:ty;)*) => {
        $(
            /// Weakens.
            pub fn $name(x: $from) -> $to {
                x
            }
        )*
    };
}

weaken! {
    seqlock: &SeqLock<Strong> => &SeqLock<Weak>;
    raw_seqlock: &RawSeqLock<Strong> => &RawSeqLock<Weak>;
    latch: &Latch<Strong> => &Latch<Weak>;
    seqcount: &SeqCount<Strong, u8> => &SeqCount<Weak, u8>;
    seqcount_owner: &SeqCount<u8, Strong> => &SeqCount<u8, Weak>;
    field: Field<u8, Strong> => Field<u8, Weak>;
    rundown: &Rundown<Strong> => &Rundown<Weak>;
    cell: &RcuCell<KBox<Object<Strong>>> => &RcuCell<KBox<Object<Weak>>>;
}

/// Weakens.
pub fn write_guard<'a, 'b>(x: &'a WriteGuard<'b, Strong>) -> &'a WriteGuard<'b, Weak> {
    x
}

/// Weakens.
pub fn exclusive<'a, 'b>(x: &'a Exclusive<'b, Strong>) -> &'a Exclusive<'b, Weak> {
    x
}

/// Weakens.
pub fn vacant<'a>(x: Vacant<'a, Strong>) -> Vacant<'a, Weak> {
    x
}
