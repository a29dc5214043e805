// SPDX-License-Identifier: GPL-2.0

//! Two small executors: one blocks, one runs on a workqueue.

use core::{
    future::Future,
    mem::ManuallyDrop,
    pin::{
        pin,
        Pin, //
    },
    task::{
        Context,
        Poll,
        RawWaker,
        RawWakerVTable,
        Waker, //
    },
};
use kernel::{
    impl_has_work,
    new_condvar,
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex,
        SpinLockIrq, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

/// The action of a waker made by [`waker`].
pub(crate) trait Wake: Send + Sync + 'static {
    /// Wakes the task. May be called with softirqs disabled.
    fn wake(self: Arc<Self>);
}

/// Returns a waker that owns a reference to `wake`. Its operations do not sleep.
pub(crate) fn waker<W: Wake>(wake: Arc<W>) -> Waker {
    struct Table<W>(core::marker::PhantomData<W>);

    impl<W: Wake> Table<W> {
        const TABLE: RawWakerVTable =
            RawWakerVTable::new(Self::clone, Self::wake, Self::wake_by_ref, Self::drop);

        /// # Safety
        ///
        /// `data` was returned by `Arc::<W>::into_raw()` and owns a reference, which is kept.
        unsafe fn clone(data: *const ()) -> RawWaker {
            // SAFETY: `data` came from `Arc::<W>::into_raw()`; `ManuallyDrop` leaves its reference.
            let arc = ManuallyDrop::new(unsafe { Arc::<W>::from_raw(data.cast()) });
            RawWaker::new(Arc::into_raw(Arc::clone(&arc)).cast(), &Self::TABLE)
        }

        /// # Safety
        ///
        /// `data` was returned by `Arc::<W>::into_raw()` and owns a reference, which this consumes.
        unsafe fn wake(data: *const ()) {
            // SAFETY: `data` came from `Arc::<W>::into_raw()`, and nobody uses its reference again.
            unsafe { Arc::<W>::from_raw(data.cast()) }.wake();
        }

        /// # Safety
        ///
        /// As for `clone`.
        unsafe fn wake_by_ref(data: *const ()) {
            // SAFETY: `data` came from `Arc::<W>::into_raw()`; `ManuallyDrop` leaves its reference.
            let arc = ManuallyDrop::new(unsafe { Arc::<W>::from_raw(data.cast()) });
            Arc::clone(&arc).wake();
        }

        /// # Safety
        ///
        /// As for `wake`.
        unsafe fn drop(data: *const ()) {
            // SAFETY: `data` came from `Arc::<W>::into_raw()`, and nobody uses its reference again.
            drop(unsafe { Arc::<W>::from_raw(data.cast()) });
        }
    }

    // SAFETY: `data` comes from `Arc::into_raw()` here and in `clone()`, each waker owns one
    // reference, and the functions may run in any thread as `W: Send + Sync`.
    unsafe {
        Waker::from_raw(RawWaker::new(
            Arc::into_raw(wake).cast(),
            &Table::<W>::TABLE,
        ))
    }
}

#[pin_data]
struct Parker {
    #[pin]
    woken: SpinLockIrq<bool>,
    #[pin]
    changed: CondVar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_all();
    }
}

/// Runs a future to its end; process context.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let parker = Arc::pin_init(
        pin_init!(Parker {
            woken <- new_spinlock_irq!(false),
            changed <- new_condvar!(),
        }),
        GFP_KERNEL,
    )?;
    let waker = waker(parker.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
        let mut woken = parker.woken.lock();
        while !*woken {
            parker.changed.wait(&mut woken);
        }
        *woken = false;
    }
}

/// A future that is polled by a work item.
#[pin_data]
struct Task<F: Future<Output = ()> + Send + 'static> {
    #[pin]
    future: Mutex<Option<Pin<KBox<F>>>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl{F: Future<Output = ()> + Send + 'static} HasWork<Self> for Task<F> { self.work }
}

impl<F: Future<Output = ()> + Send + 'static> WorkItem for Task<F> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let waker = waker(this.clone());
        let mut cx = Context::from_waker(&waker);
        let mut guard = this.future.lock();
        let slot: &mut Option<_> = &mut guard;
        let done = match slot {
            Some(future) => future.as_mut().poll(&mut cx).is_ready(),
            None => false,
        };
        if done {
            *slot = None;
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Wake for Task<F> {
    fn wake(self: Arc<Self>) {
        // If it is queued already it will be polled.
        let _ = workqueue::system().enqueue(self);
    }
}

/// Runs a future on the system's workqueue.
pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Result {
    let future = KBox::pin(future, GFP_KERNEL)?;
    let task = Arc::pin_init(
        pin_init!(Task {
            future <- new_mutex!(Some(future)),
            work <- new_work!(),
        }),
        GFP_KERNEL,
    )?;
    let _ = workqueue::system().enqueue(task);
    Ok(())
}
