// SPDX-License-Identifier: GPL-2.0

//! A value that may be dropped on another CPU must be `Send`.

//~ ERROR `*const u32: Send`

use kernel::prelude::*;
use quiesce::rcu::{Object, RcuCell};

#[cfg(not(fixed))]
type Payload = *const u32;
#[cfg(fixed)]
type Payload = usize;

pub fn f(cell: &RcuCell<Option<KBox<Object<Payload>>>>) {
    cell.publish(None);
}
