// SPDX-License-Identifier: GPL-2.0

//! A type of another crate proves no section of the kernel's RCU, and none that is not held either.

//~ ERROR the trait bound `Mine: quiesce::rcu::domain::section::Sealed` is not satisfied
//~ ERROR cannot move out of `token` because it is borrowed

use kernel::prelude::*;
use quiesce::{
    rcu::{self, KernelSection, Object, RcuCell},
    seqlock::preempt_disable, //
};

/// A proof of nothing.
pub struct Mine;

// SAFETY: There is no fact: the compiler has to reject this.
#[cfg(not(fixed))]
unsafe impl KernelSection for Mine {
    const IS_READ_LOCK: bool = true;
}

/// Ends the section within it.
pub fn read(cell: &RcuCell<KBox<Object<u32>>>) -> u32 {
    let token = preempt_disable();
    rcu::global().run_in(&token, |t| {
        #[cfg(not(fixed))]
        drop(token);
        *cell.read(t)
    })
}

/// Uses the trait.
pub fn is_section<S: KernelSection>(_: &S) {}
