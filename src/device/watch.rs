// SPDX-License-Identifier: GPL-2.0

//! Being told when a process is dead.
//!
//! A watch sits on the wait queue that pidfds are polled on, as KVM's irqfd sits on an eventfd's.
//! The kernel wakes it when the last thread of the process has exited, and before its parent can
//! have waited for it; descriptors that were leaked elsewhere do not matter.

use super::args::{
    self,
    Command, //
};
use crate::{
    barrier::{
        End,
        Pid, //
    },
    bindings::{
        self,
        uapi, //
    }, //
};
use core::pin::Pin;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        new_mutex,
        Mutex, //
    },
    types::Opaque, //
};

/// What ends with a process.
pub(super) trait Mortal: Send + Sync {
    /// The process is dead. Called with interrupts off and a spin lock of the process held; may
    /// be called again.
    fn died(&self, end: End);
}

/// Tells a [`Mortal`] of the death of a process, until dropped.
///
/// # Invariants
///
/// `entry` is on the wait queue of `pid`.
#[pin_data(PinnedDrop)]
pub(super) struct Watch<M: Mortal> {
    mortal: M,
    pid: ARef<Pid>,
    #[pin]
    entry: Opaque<kernel::bindings::wait_queue_entry>,
}

// SAFETY: `entry` is used under the lock of its wait queue only, and the rest is `Send`.
unsafe impl<M: Mortal> Send for Watch<M> {}
// SAFETY: As above; the rest is `Sync`.
unsafe impl<M: Mortal> Sync for Watch<M> {}

impl<M: Mortal> Watch<M> {
    /// Watches the calling task's process. It lives, so its death cannot have been missed.
    pub(super) fn current(mortal: M) -> Result<Pin<KBox<Self>>> {
        let pid = Pid::current();
        let raw = pid.as_ptr();
        KBox::pin_init(
            // INVARIANT: `entry` is put on the queue when the rest is there.
            pin_init!(Self {
                mortal,
                pid,
                entry <- Opaque::ffi_init(|entry| {
                    // SAFETY: `raw` has a reference in `pid`; `entry` is writable, pinned, and
                    // taken off the queue by `drop`.
                    unsafe { bindings::quiesce_helper_pid_watch(raw, entry, Some(Self::wake)) }
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// # Safety
    ///
    /// Called by the wait queue on the `entry` of a `Self`.
    unsafe extern "C" fn wake(
        entry: *mut kernel::bindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        _key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is on the queue, so by the type invariants the watch is there, and it
        // cannot go while the queue's lock is held.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(entry), Self, entry) };
        if let Some(why) = this.pid.ended() {
            this.mortal.died(End {
                why,
                pid: Some(this.pid.clone()),
            });
        }
        0
    }
}

#[pinned_drop]
impl<M: Mortal> PinnedDrop for Watch<M> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the entry is on the queue of `pid`. Afterwards nobody
        // runs `wake` any more, as that takes the queue's lock.
        unsafe { bindings::quiesce_helper_pid_unwatch(self.pid.as_ptr(), self.entry.get()) }
    }
}

/// Which process a file's party ends with, if it does.
#[pin_data]
pub(super) struct Binding<M: Mortal> {
    #[pin]
    watch: Mutex<Option<Pin<KBox<Watch<M>>>>>,
}

impl<M: Mortal> Binding<M> {
    /// Begins with `watch`.
    pub(super) fn new(watch: Option<Pin<KBox<Watch<M>>>>) -> impl PinInit<Self> {
        pin_init!(Self {
            watch <- new_mutex!(watch, "quiesce_binding"),
        })
    }

    /// BIND: makes the party the calling process's. `set` says so to the barrier.
    pub(super) fn bind(
        &self,
        command: &Command,
        mortal: M,
        set: impl FnOnce(ARef<Pid>, bool) -> Result,
    ) -> Result {
        let args: uapi::quiesce_bind = command.read()?;
        args::check_flags(args.flags, uapi::QUIESCE_BIND_PROCESS)?;
        if args.reserved != 0 {
            return Err(EINVAL);
        }
        let bound = args.flags & uapi::QUIESCE_BIND_PROCESS != 0;
        let new = if bound {
            Some(Watch::current(mortal)?)
        } else {
            None
        };
        let mut watch = self.watch.lock();
        // Before the party is said to be another's, what would end it for the former goes.
        let old = watch.take();
        drop(old);
        set(Pid::current(), bound)?;
        *watch = new;
        Ok(())
    }

    /// The process's death is no news any more.
    pub(super) fn end(&self) {
        let watch = self.watch.lock().take();
        drop(watch);
    }
}
