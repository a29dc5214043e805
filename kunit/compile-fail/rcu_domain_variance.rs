// SPDX-License-Identifier: GPL-2.0

//! An item of one domain cannot become one of another, even if one tag is a subtype of the other.

//~ ERROR expected struct `quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected reference `&quiesce::rcu::RcuCell<_, quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::ReadToken<'_, quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::Cookie<quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::Retired<_, quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::Shared<_, quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::Batch<_, quiesce::rcu::Srcu<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::OwnedSection<Named<fn(&())>>
//~ ERROR expected struct `quiesce::rcu::GracePeriod<quiesce::rcu::Srcu<Named<fn(&())>>

#![allow(coherence_leak_check)]

use core::marker::PhantomData;
use kernel::{prelude::*, sync::LockClassKey};
use quiesce::rcu::*;

/// Covariant in `F`.
pub struct Named<F>(PhantomData<F>);

pub type Sub = Named<for<'a> fn(&'a ())>;
#[cfg(not(fixed))]
pub type Super = Named<fn(&'static ())>;
#[cfg(fixed)]
pub type Super = Sub;

macro_rules! tag {
    ($name:ty) => {
        // SAFETY: The state is this tag's own. That another tag is a subtype is what this case is about.
        unsafe impl Tag for $name {
            const UP_DOWN: bool = true;

            fn state() -> &'static DomainState {
                static STATE: DomainState = DomainState::new_srcu(kernel::c_str!("named"), true);
                &STATE
            }

            fn class() -> Pin<&'static LockClassKey> {
                kernel::static_lock_class!()
            }
        }
    };
}

// SAFETY: `UP_DOWN` is true.
unsafe impl<F> UpDownTag for Named<F> where Named<F>: Tag {}

tag! { Named<for<'a> fn(&'a ())> }
tag! { Named<fn(&'static ())> }

type Number = KBox<Object<u32>>;
type A = Srcu<Sub>;
type B = Srcu<Super>;

pub fn domain(x: A) -> B {
    x
}
pub fn cell(x: &RcuCell<Number, A>) -> &RcuCell<Number, B> {
    x
}
pub fn token<'r>(x: ReadToken<'r, A>) -> ReadToken<'r, B> {
    x
}
pub fn cookie(x: Cookie<A>) -> Cookie<B> {
    x
}
pub fn retired(x: Retired<Number, A>) -> Retired<Number, B> {
    x
}
pub fn shared(x: Shared<u32, A>) -> Shared<u32, B> {
    x
}
pub fn batch(x: Batch<Number, A>) -> Batch<Number, B> {
    x
}
pub fn section(x: OwnedSection<Sub>) -> OwnedSection<Super> {
    x
}
pub fn grace_period(x: GracePeriod<A>) -> GracePeriod<B> {
    x
}
