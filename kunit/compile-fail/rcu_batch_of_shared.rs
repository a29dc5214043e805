// SPDX-License-Identifier: GPL-2.0

//! The head of a shared object may be in use, so a reference to one is not added to a batch.

//~ ERROR UniquePointer

use kernel::{prelude::*, sync::Arc};
use quiesce::rcu::{Batch, Object, Retired, Shared};

#[cfg(not(fixed))]
type Pointer = Arc<Shared<u32>>;
#[cfg(fixed)]
type Pointer = KBox<Object<u32>>;

pub fn f(retired: Retired<Pointer>) {
    let mut batch = Batch::<Pointer>::new();
    batch.push(retired);
}
