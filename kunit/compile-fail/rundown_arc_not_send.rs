// SPDX-License-Identifier: GPL-2.0

//! An object that must stay in its task is not guarded by an `Arc`: a worker may drop the last one. Here
//! it would release a mutex that another task acquired.

//~ ERROR cannot be sent between threads safely

use kernel::{
    prelude::*,
    sync::{Arc, Mutex, MutexGuard},
};
use quiesce::{
    impl_has_rundown,
    rundown::{ArcGuard, HasRundown, RundownRef},
};

#[cfg(not(fixed))]
type Locked = MutexGuard<'static, u32>;
#[cfg(fixed)]
type Locked = &'static Mutex<u32>;

pub struct Holds {
    users: RundownRef,
    pub locked: Locked,
}

impl_has_rundown! {
    impl HasRundown for Holds { self.users: RundownRef }
}

pub fn f(mutex: &'static Mutex<u32>) -> Result<ArcGuard<Holds>> {
    #[cfg(not(fixed))]
    let locked = mutex.lock();
    #[cfg(fixed)]
    let locked = mutex;
    let users = RundownRef::new();
    let object = Arc::new(Holds { users, locked }, GFP_KERNEL)?;
    Ok(HasRundown::try_acquire_arc(object)?)
}
