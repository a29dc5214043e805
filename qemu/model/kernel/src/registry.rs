// SPDX-License-Identifier: GPL-2.0

//! loom's objects, by the address at which the kernel has them; new in each execution.

use std::{any::Any, cell::RefCell, collections::HashMap, sync::Arc};

// loom runs all threads of an execution on one thread of the system.
thread_local!(static MAP: RefCell<HashMap<usize, Arc<dyn Any + Send + Sync>>> = RefCell::default());

/// Forgets all; called at the beginning of each execution.
pub fn reset() {
    MAP.with(|map| map.take());
    crate::alloc::reset();
    crate::wait::reset();
    crate::rcu::reset();
    // The first access creates loom's atomic, before any thread begins that could have the second.
    crate::alloc::order();
}

pub fn at<T: Any + Send + Sync>(address: usize, new: impl FnOnce() -> T) -> Arc<T> {
    if let Some(found) = MAP.with(|map| map.borrow().get(&address).cloned()) {
        return found.downcast().expect("another object is at this address");
    }
    let made = Arc::new(new());
    MAP.with(|map| map.borrow_mut().insert(address, made.clone()));
    made
}

pub fn remove<T: Any + Send + Sync>(address: usize) -> Option<Arc<T>> {
    MAP.with(|map| map.borrow_mut().remove(&address))
        .map(|found| found.downcast().expect("another object is at this address"))
}
