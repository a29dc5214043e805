// SPDX-License-Identifier: GPL-2.0

//! A future made in the closure would hold the token across an `await`, so it cannot be returned.

//~ ERROR lifetime may not live long enough

use kernel::prelude::*;
use quiesce::rcu::{self, Domain, Object, RcuCell};

#[cfg(not(fixed))]
pub async fn f(cell: &RcuCell<KBox<Object<u32>>>) -> u32 {
    rcu::global()
        .run(|t| async move {
            let value = cell.read(t);
            rcu::global().synchronize_async().await.ok();
            *value
        })
        .await
}
#[cfg(fixed)]
pub async fn f(cell: &RcuCell<KBox<Object<u32>>>) -> u32 {
    let value = rcu::global().run(|t| *cell.read(t));
    rcu::global().synchronize_async().await.ok();
    value
}
