// SPDX-License-Identifier: GPL-2.0

//! An attribute cannot remove the enum that names a domain: the implementation would be one of whatever
//! has the name then.

//~ ERROR no rules expected

use quiesce::rcu;

#[cfg(not(fixed))]
pub type Moving = for<'a> fn(&'a u32);

#[cfg(not(fixed))]
rcu::define_domain! {
    /// A domain.
    #[cfg(any())]
    pub Moving
}

#[cfg(fixed)]
rcu::define_domain! {
    /// A domain.
    pub Moving
}
