// SPDX-License-Identifier: GPL-2.0

//! A rundown that is awaited: the drained callback queues a work item, which wakes the task.
//!
//! The crate has no such future of its own: it would have to store the waker of an executor in another
//! module, which could be unloaded while a future that was leaked still has its waker there. Here all
//! of it is in one module.

use crate::{
    rcu::executor::{
        block_on,
        spawn, //
    },
    support, //
};
use core::{
    future::poll_fn,
    task::{
        Poll,
        Waker, //
    },
};
use kernel::{
    impl_has_work,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};
use quiesce::rundown::{
    Drained,
    RundownRef, //
};

/// The task that waits.
#[pin_data]
struct Waiting {
    #[pin]
    waker: Mutex<Option<Waker>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Waiting { self.work }
}

impl WorkItem for Waiting {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let waker = this.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The callback, which the last release calls in any context but NMI.
struct Notify(Arc<Waiting>);

impl Drained for Notify {
    fn drained(&self) {
        // If it is queued already, it has not taken the waker.
        let _ = workqueue::system().enqueue(self.0.clone());
    }
}

fn awaitable() -> Result<RundownRef<Notify>> {
    let waiting = Arc::pin_init(
        pin_init!(Waiting {
            waker <- new_mutex!(None),
            work <- new_work!(),
        }),
        GFP_KERNEL,
    )?;
    Ok(RundownRef::with_callback(Notify(waiting)))
}

/// Begins the rundown, and is ready when it has completed.
async fn run_down(object: &RundownRef<Notify>) {
    object.begin_rundown();
    poll_fn(|cx| {
        // The waker is stored before the state is read: a release after that takes it.
        let old = object.callback().0.waker.lock().replace(cx.waker().clone());
        drop(old);
        if object.rundown_completed() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await
}

#[kunit_tests(quiesce_rundown_awaited)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_it() -> Result {
        let object = awaitable()?;
        block_on(run_down(&object))?;
        ensure!(object.try_acquire().is_err());
        Ok(())
    }

    /// The last release is in a hardirq.
    #[test]
    fn an_interrupt_releases_it() -> Result {
        for _ in 0..20 {
            let object = Arc::new(awaitable()?, GFP_KERNEL)?;
            let mut guard = Some(quiesce::rundown::HasRundown::try_acquire_arc(
                object.clone(),
            )?);
            let done = Arc::new(Atomic::new(false), GFP_KERNEL)?;
            let (awaited, over) = (object.clone(), done.clone());
            spawn(async move {
                run_down(&awaited).await;
                over.store(true, Release);
            })?;
            while !object.is_rundown_requested() {
                support::msleep(1);
            }
            ensure!(!done.load(Acquire));
            ensure!(support::in_hardirq(|| drop(guard.take())).is_some());
            while !done.load(Acquire) {
                support::msleep(1);
            }
        }
        Ok(())
    }
}
