// SPDX-License-Identifier: GPL-2.0

//! A value that may be dropped after a grace period must not borrow.

//~ ERROR borrowed value does not live long enough

use kernel::prelude::*;
use quiesce::rcu::{Object, RcuCell};

pub fn f() -> Result {
    #[cfg(not(fixed))]
    let local = 1u32;
    #[cfg(fixed)]
    static LOCAL: u32 = 1;
    #[cfg(fixed)]
    let local = &LOCAL;
    #[cfg(not(fixed))]
    let local = &local;
    let cell = RcuCell::<Option<KBox<Object<&u32>>>>::none();
    cell.publish(Some(KBox::new(Object::new(local), GFP_KERNEL)?));
    Ok(())
}
