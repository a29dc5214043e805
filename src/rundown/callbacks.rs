// SPDX-License-Identifier: GPL-2.0

//! The callbacks of per-CPU references, and their end with the module that they are in.
//!
//! A [`PerCpuCore`] may outlive its reference, and a reference may be passed to another module. The
//! functions of a [`Drained`](super::Drained) in a core are code of the module that created the
//! reference. They are revoked when that module is unloaded, see `unload.rs`. A core without a callback
//! has no pointer into its creator.

use super::{
    percpu_core::PerCpuCore,
    reaper::is_within, //
};
use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    types::Opaque, //
};

/// The functions of a callback: code of the module that created the reference.
pub(super) struct CallbackOperations {
    /// Calls the callback of a core.
    pub(super) drained: unsafe fn(*mut PerCpuCore),
    /// Drops the callback of a core.
    pub(super) drop: unsafe fn(*mut PerCpuCore),
}

/// The callback of a core.
///
/// # Invariants
///
/// `operations` is null, or points to the functions for the type that the core was allocated with,
/// in a module whose text is there. If `listed`, the core is in the list of [`CALLBACKS`], whose
/// lock protects `prev`, `next` and `dropping`: the functions whose `drop` is running.
pub(super) struct Callback {
    operations: Atomic<*mut CallbackOperations>,
    listed: bool,
    dropping: UnsafeCell<*mut CallbackOperations>,
    prev: UnsafeCell<*mut PerCpuCore>,
    next: UnsafeCell<*mut PerCpuCore>,
}

impl Callback {
    /// Whether the core was created with functions.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Creates the entry of a core without a callback, or with one that [`list`] makes known.
    pub(super) const fn new(operations: Option<&'static CallbackOperations>) -> Self {
        let operations: *const CallbackOperations = match operations {
            None => ptr::null(),
            Some(operations) => operations,
        };
        // INVARIANT: `list` is called next if there are functions.
        Self {
            listed: !operations.is_null(),
            operations: Atomic::new(operations.cast_mut()),
            dropping: UnsafeCell::new(ptr::null_mut()),
            prev: UnsafeCell::new(ptr::null_mut()),
            next: UnsafeCell::new(ptr::null_mut()),
        }
    }
}

/// The list of all cores that have a callback, and its lock.
struct Callbacks {
    lock: Opaque<bindings::raw_spinlock_t>,
    first: UnsafeCell<*mut PerCpuCore>,
}

// SAFETY: `first` and the links in the list are protected by the lock.
unsafe impl Sync for Callbacks {}

static CALLBACKS: Callbacks = Callbacks {
    lock: Opaque::uninit(),
    first: UnsafeCell::new(ptr::null_mut()),
};

impl Callbacks {
    /// Runs `f` with the lock held.
    fn locked<R>(&self, f: impl FnOnce(*mut *mut PerCpuCore) -> R) -> R {
        // SAFETY: `Revoker::new` initialised the lock before anybody creates a reference.
        let flags = unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) };
        let ret = f(self.first.get());
        // SAFETY: `quiesce_helper_raw_spin_lock_irqsave()` above acquired the lock in this context
        // and returned `flags`.
        unsafe { helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.lock.get(), flags) };
        ret
    }
}

/// Enters a new core into the list, if it has a callback.
///
/// # Safety
///
/// The core is initialised and was not entered before. It stays until [`unlist`].
pub(super) unsafe fn list(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    if !callback.listed {
        return;
    }
    CALLBACKS.locked(|first| {
        // SAFETY: The lock is held, and cores in the list are alive.
        unsafe {
            *callback.next.get() = *first;
            if let Some(next) = (*first).as_ref() {
                *next.callback.prev.get() = core.as_ptr();
            }
            *first = core.as_ptr();
        }
    });
}

/// Removes a core from the list, if it has a callback. The callback is not called afterwards.
///
/// # Safety
///
/// The core was entered by [`list`], and is removed once.
pub(super) unsafe fn unlist(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    if !callback.listed {
        return;
    }
    CALLBACKS.locked(|first| {
        // SAFETY: The lock is held, and the core and its neighbours are in the list, hence alive.
        unsafe {
            let (prev, next) = (*callback.prev.get(), *callback.next.get());
            match prev.as_ref() {
                Some(prev) => *prev.callback.next.get() = next,
                None => *first = next,
            }
            if let Some(next) = next.as_ref() {
                *next.callback.prev.get() = prev;
            }
        }
    });
}

/// Calls the callback of a core, unless it has none.
///
/// # Safety
///
/// The core is alive, and the caller is in an RCU read-side critical section.
pub(super) unsafe fn call(core: *mut PerCpuCore) {
    // SAFETY: The core is alive by the requirements of this function.
    let operations = unsafe { (*core).callback.operations.load(Acquire) };
    // SAFETY: By the type invariants of `Callback` they are there; after a revocation, until the end
    // of the read-side critical section.
    if let Some(operations) = unsafe { operations.as_ref() } {
        // SAFETY: `operations` was loaded from the core's own callback, and `percpu_rundown_ref`
        // stored there the functions for the type of this core.
        unsafe { (operations.drained)(core) };
    }
}

/// Drops the callback of a core, unless it has none or it was revoked, and removes it from the list.
///
/// # Safety
///
/// Nobody else uses the core, which was entered by [`list`]. Process context.
pub(super) unsafe fn drop_callback(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    let operations = CALLBACKS.locked(|_| {
        // With the lock, so that no revocation comes between the two.
        let operations = callback.operations.xchg(ptr::null_mut(), Relaxed);
        // SAFETY: The closure runs with the lock of `CALLBACKS` held, which protects `dropping`.
        unsafe { *callback.dropping.get() = operations };
        operations
    });
    // SAFETY: By the type invariants of `Callback` they are there, and stay until the core is removed
    // from the list: the unloading of their module waits for `dropping`.
    if let Some(operations) = unsafe { operations.as_ref() } {
        // SAFETY: They are the functions for this core, whose callback is dropped once.
        unsafe { (operations.drop)(core.as_ptr()) };
    }
    // SAFETY: A core with a callback was entered into the list by `list()` when it was created, and
    // this is its only removal.
    unsafe { unlist(core) };
}

/// Calls `f` with the callbacks in the list, and the cores that they are of, until it returns `true`;
/// returns whether it did. The lock is held.
fn any(f: impl Fn(&PerCpuCore, &Callback) -> bool) -> bool {
    CALLBACKS.locked(|first| {
        // SAFETY: The closure runs with the lock of `CALLBACKS` held, which protects the list and
        // its links.
        let mut core = unsafe { *first };
        // SAFETY: Cores in the list are alive while the lock is held.
        while let Some(this) = unsafe { core.as_ref() } {
            if f(this, &this.callback) {
                return true;
            }
            // SAFETY: The closure runs with the lock of `CALLBACKS` held, which protects the list
            // and its links.
            core = unsafe { *this.callback.next.get() };
        }
        false
    })
}

impl Callback {
    fn is_in(&self, module: *mut bindings::module) -> bool {
        let operations = self.operations.load(Relaxed);
        !operations.is_null() && is_within(operations.cast(), module)
    }

    /// # Safety
    ///
    /// The lock of the list is held.
    unsafe fn is_dropping_in(&self, module: *mut bindings::module) -> bool {
        // SAFETY: This function requires the lock of `CALLBACKS` to be held, which protects
        // `dropping`.
        let dropping = unsafe { *self.dropping.get() };
        !dropping.is_null() && is_within(dropping.cast(), module)
    }
}

/// Whether there is a callback of `module`, or one is being dropped.
pub(super) fn are_left(module: *mut bindings::module) -> bool {
    // SAFETY: `any()` calls the closure with the lock of `CALLBACKS` held.
    any(|_, callback| callback.is_in(module) || unsafe { callback.is_dropping_in(module) })
}

/// Whether a callback of `module` is being dropped, or will be because its reference was.
pub(super) fn will_be_dropped(module: *mut bindings::module) -> bool {
    any(|core, callback| {
        // SAFETY: `any()` calls the closure with the lock of `CALLBACKS` held.
        let dropping = unsafe { callback.is_dropping_in(module) };
        dropping || (core.is_orphan() && callback.is_in(module))
    })
}

/// Revokes the callbacks of `module`, and waits for those that are being called or dropped. Returns
/// whether there was one.
///
/// # Safety
///
/// Process context.
pub(super) unsafe fn revoke(module: *mut bindings::module) -> bool {
    // One at a time, so that interrupts are not disabled for long.
    let mut revoked = false;
    while any(|_, callback| {
        let is_in = callback.is_in(module);
        if is_in {
            // INVARIANT: Null, before the module's text is freed.
            callback.operations.store(ptr::null_mut(), Release);
        }
        is_in
    }) {
        revoked = true;
    }
    if revoked {
        // A call that has read the functions ends.
        rcu::synchronize_rcu();
    }
    // SAFETY: `any()` calls the closure with the lock of `CALLBACKS` held.
    while any(|_, callback| unsafe { callback.is_dropping_in(module) }) {
        // SAFETY: This function requires process context, and holds no lock here, so it may sleep.
        unsafe { bindings::schedule_timeout_uninterruptible(1) };
    }
    revoked
}

/// Initialises the list.
///
/// # Safety
///
/// Called once, before anybody creates a reference.
pub(super) unsafe fn init() {
    // SAFETY: This function requires to be called before the first reference is created, so no
    // context uses the lock yet.
    unsafe { helpers::quiesce_helper_raw_spin_lock_init(CALLBACKS.lock.get()) };
}
