// SPDX-License-Identifier: GPL-2.0

//! A guard of an object cannot become one of the object as a supertype, which may be acquired by
//! another reference.

//~ ERROR expected struct `quiesce::rundown::Guard<&Device<fn(&())>>
//~ ERROR expected reference `&quiesce::rundown::Guard<&Device<fn(&())>>
//~ ERROR expected struct `Guards<&Device<fn(&())>>
//~ ERROR expected struct `quiesce::rundown::Guard<&Device<fn(&())>, _>
//~ ERROR expected struct `quiesce::rundown::Guard<Arc<Device<fn(&())>>, _>
//~ ERROR expected struct `Guards<Arc<Device<fn(&())>>, _>

#![allow(coherence_leak_check)]

use core::marker::PhantomData;
use kernel::prelude::*;
use quiesce::{
    impl_has_rundown,
    rundown::{
        ArcGuard, ArcGuards, HasRundown, RundownGuard, RundownGuards, RundownRef, SendGuard,
    },
};

/// Covariant in `F`.
pub struct Device<F> {
    sub: RundownRef,
    sup: RundownRef,
    _marker: PhantomData<F>,
}

pub type Sub = Device<for<'a> fn(&'a ())>;
#[cfg(not(fixed))]
pub type Super = Device<fn(&'static ())>;
#[cfg(fixed)]
pub type Super = Sub;

impl_has_rundown! {
    impl HasRundown for Device<for<'a> fn(&'a ())> { self.sub: RundownRef }
}
impl_has_rundown! {
    impl HasRundown for Device<fn(&'static ())> { self.sup: RundownRef }
}

pub fn guard<'a>(x: RundownGuard<'a, Sub>) -> RundownGuard<'a, Super> {
    x
}
pub fn by_reference<'a, 'b>(x: &'b RundownGuard<'a, Sub>) -> &'b RundownGuard<'a, Super> {
    x
}
pub fn guards<'a>(x: RundownGuards<'a, Sub>) -> RundownGuards<'a, Super> {
    x
}
pub fn sent<'a>(x: SendGuard<'a, Sub>) -> SendGuard<'a, Super> {
    x
}
pub fn arc(x: ArcGuard<Sub>) -> ArcGuard<Super> {
    x
}
pub fn arcs(x: ArcGuards<Sub>) -> ArcGuards<Super> {
    x
}

/// The object itself may: it is acquired as what it is then.
pub fn object(x: &Sub) -> Result<RundownGuard<'_, Device<fn(&'static ())>>> {
    let x: &Device<fn(&'static ())> = x;
    Ok(x.try_acquire()?)
}
