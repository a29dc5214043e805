// SPDX-License-Identifier: GPL-2.0

//! A field must have exactly the field's type, not one that it can be converted to: neither a
//! supertype nor one that it dereferences to.

//~ ERROR supertype
//~ ERROR dereferenced

use core::ops::Deref;
use quiesce::{seq_field, seqlock::Field};

/// Takes any reference.
pub type Any = for<'a> fn(&'a u64);
/// Takes static references only: a supertype.
#[cfg(not(fixed))]
pub type Static = fn(&'static u64);
#[cfg(fixed)]
/// The same as the first.
pub type Static = Any;

/// Each dereferences to the other, so that each can be converted to the other.
pub struct A(u64);
/// The other.
pub struct B(u32);
static ONE: A = A(1);
static OTHER: B = B(1);

impl Deref for A {
    type Target = B;
    fn deref(&self) -> &B {
        let _ = self.0;
        &OTHER
    }
}

impl Deref for B {
    type Target = A;
    fn deref(&self) -> &A {
        let _ = self.0;
        &ONE
    }
}

/// Two fields.
#[derive(Clone, Copy)]
pub struct Ops {
    /// A function.
    pub f: Any,
    /// A reference.
    pub a: &'static A,
}

/// The field's type with `cfg(fixed)`.
#[cfg(fixed)]
pub type Other = A;
/// Another.
#[cfg(not(fixed))]
pub type Other = B;

/// Weakens a field.
pub fn supertype() -> Field<Ops, Static> {
    let supertype: Field<Ops, Static> = seq_field!(Ops, f);
    supertype
}

/// Takes the other for the one.
pub fn dereferenced() -> Field<Ops, &'static Other> {
    let dereferenced: Field<Ops, &'static Other> = seq_field!(Ops, a);
    dereferenced
}
