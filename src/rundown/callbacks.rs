// SPDX-License-Identifier: GPL-2.0

//! The callbacks of per-CPU references, and their end with the module that they are in.
//!
//! A [`PerCpuCore`] may outlive its reference, and a reference may be passed to another module. The
//! functions of a [`Drained`](super::Drained) in a core are code of the module that created the
//! reference. They are revoked when that module is unloaded, see `unload.rs`. A core without a callback
//! has no pointer into its creator.

use super::percpu_core::PerCpuCore;
use crate::{
    bindings as helpers,
    rcu::posting, //
};
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
/// in a module whose text is there. The lock of [`CALLBACKS`] protects `list`, `prev` and `next`. If
/// `list` is not [`NONE`], the core is in that list, which is the one of that module. `slot` is the number
/// of the list that it was entered into.
pub(super) struct Callback {
    operations: Atomic<*mut CallbackOperations>,
    listed: bool,
    slot: Atomic<usize>,
    list: UnsafeCell<usize>,
    prev: UnsafeCell<*mut PerCpuCore>,
    next: UnsafeCell<*mut PerCpuCore>,
}

/// The value of `list` of a core that was removed, or is to be entered.
const NONE: usize = usize::MAX;

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
        // INVARIANT: It is in no list. `list` is called next if there are functions.
        Self {
            listed: !operations.is_null(),
            operations: Atomic::new(operations.cast_mut()),
            slot: Atomic::new(NONE),
            list: UnsafeCell::new(NONE),
            prev: UnsafeCell::new(ptr::null_mut()),
            next: UnsafeCell::new(ptr::null_mut()),
        }
    }
}

/// The cores with callbacks of one module.
///
/// # Invariants
///
/// `first` is null, or one of a circle of cores, which are alive.
struct List {
    first: *mut PerCpuCore,
    /// The number of cores that were ever entered.
    entered: usize,
    /// The number of cores in the circle, for tests.
    #[cfg(CONFIG_KUNIT)]
    len: usize,
}

impl List {
    /// Enters a core.
    ///
    /// # Safety
    ///
    /// The lock is held. The core is alive and in no list, and stays until it is removed.
    unsafe fn insert(&mut self, core: *mut PerCpuCore) {
        // SAFETY: The lock is held, and by the type invariants the cores in the list are alive, as
        // `core` is by the requirements of this function.
        unsafe {
            let first = if self.first.is_null() {
                core
            } else {
                self.first
            };
            // A circle of one, if there was none.
            *(*core).callback.prev.get() = core;
            let last = *(*first).callback.prev.get();
            *(*core).callback.prev.get() = last;
            *(*core).callback.next.get() = first;
            *(*last).callback.next.get() = core;
            *(*first).callback.prev.get() = core;
            // INVARIANT: The core is in the circle.
            self.first = first;
        }
        self.entered = self.entered.wrapping_add(1);
        #[cfg(CONFIG_KUNIT)]
        {
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Removes a core.
    ///
    /// # Safety
    ///
    /// The lock is held, and the core is in this list.
    unsafe fn remove(&mut self, core: *mut PerCpuCore) {
        // SAFETY: The lock is held, and by the type invariants the core and its neighbours are alive.
        unsafe {
            let (prev, next) = (*(*core).callback.prev.get(), *(*core).callback.next.get());
            *(*prev).callback.next.get() = next;
            *(*next).callback.prev.get() = prev;
            // INVARIANT: The core is in no circle.
            *(*core).callback.list.get() = NONE;
            if ptr::eq(next, core) {
                self.first = ptr::null_mut();
            } else if ptr::eq(self.first, core) {
                self.first = next;
            }
        }
        #[cfg(CONFIG_KUNIT)]
        {
            self.len = self.len.wrapping_sub(1);
        }
    }
}

/// The number of callbacks of each module that will be dropped, or are being dropped, because their
/// references were. By the slot of the module's account when the callback was created: those that were
/// revoked, and are only freed, may count for a module that has the slot now.
static PENDING: [Atomic<usize>; posting::SLOTS] = [const { Atomic::new(0) }; posting::SLOTS];

/// The lists of all cores that have a callback, one for each module, by the slot of its account, and
/// their lock.
struct Callbacks {
    lock: Opaque<bindings::raw_spinlock_t>,
    lists: UnsafeCell<[List; posting::SLOTS]>,
}

// SAFETY: The lists, and the links in them, are protected by the lock.
unsafe impl Sync for Callbacks {}

static CALLBACKS: Callbacks = Callbacks {
    lock: Opaque::uninit(),
    // INVARIANT: The lists are empty.
    lists: UnsafeCell::new(
        [const {
            List {
                first: ptr::null_mut(),
                entered: 0,
                #[cfg(CONFIG_KUNIT)]
                len: 0,
            }
        }; posting::SLOTS],
    ),
};

impl Callbacks {
    /// Runs `f` with the lock held.
    fn locked<R>(&self, f: impl FnOnce(&mut [List]) -> R) -> R {
        // SAFETY: `init` initialised the lock before anybody creates a reference.
        let flags = unsafe { helpers::quiesce_helper_raw_spin_lock_irqsave(self.lock.get()) };
        // SAFETY: The lock is held, so nobody else accesses the lists until `f` has returned.
        let ret = f(unsafe { &mut *self.lists.get() });
        // SAFETY: `quiesce_helper_raw_spin_lock_irqsave()` above acquired the lock in this context
        // and returned `flags`.
        unsafe { helpers::quiesce_helper_raw_spin_unlock_irqrestore(self.lock.get(), flags) };
        ret
    }
}

/// Enters a new core into the list of the module of its callback, if it has one.
///
/// # Safety
///
/// The core is initialised and was not entered before. It stays until [`unlist`]. The module stays
/// during the call.
pub(super) unsafe fn list(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    if !callback.listed {
        return;
    }
    let functions = callback.operations.load(Relaxed).cast();
    // SAFETY: The module of the functions stays during the call, as this function requires.
    let at = unsafe { posting::slot_of_address(functions) };
    callback.slot.store(at, Relaxed);
    CALLBACKS.locked(|lists| {
        if let Some(list) = lists.get_mut(at) {
            // SAFETY: The lock is held. The core is alive, in no list as it is new, and stays until it
            // is removed.
            unsafe {
                list.insert(core.as_ptr());
                // INVARIANT: It was entered into this list, which is the one of the functions' module.
                *callback.list.get() = at;
            }
        }
    });
}

/// Records that the owner has dropped the reference of a core, whose callback, if it has one, will therefore
/// be dropped: [`unlist`] or [`drop_callback`] will be called. Any context.
pub(super) fn will_drop(callback: &Callback) {
    if let Some(pending) = PENDING.get(callback.slot.load(Relaxed)) {
        pending.fetch_add(1usize, Relaxed);
    }
}

/// Records that the callback was dropped.
fn was_dropped(callback: &Callback) {
    if let Some(pending) = PENDING.get(callback.slot.load(Relaxed)) {
        // ORDERING: Who finds that none is pending finds what the destructor has posted, and created.
        pending.fetch_sub(1usize, Release);
    }
}

/// Removes a core from its list, if it is in one. The callback is not called afterwards, and is dropped by
/// the caller, in code that keeps its module loaded.
///
/// # Safety
///
/// The core was entered by [`list`], and is removed once, after [`will_drop`].
pub(super) unsafe fn unlist(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    if !callback.listed {
        return;
    }
    CALLBACKS.locked(|lists| {
        // SAFETY: The lock is held, and by the type invariants the core is in this list.
        unsafe {
            if let Some(list) = lists.get_mut(*callback.list.get()) {
                list.remove(core.as_ptr());
            }
        }
    });
    was_dropped(callback);
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

/// Drops the callback of a core, unless it has none or it was revoked, and removes it from its list.
///
/// # Safety
///
/// Nobody else uses the core, which was entered by [`list`]; after [`will_drop`]. Process context.
pub(super) unsafe fn drop_callback(core: NonNull<PerCpuCore>) {
    // SAFETY: The core is alive by the requirements of this function.
    let callback = unsafe { &core.as_ref().callback };
    let operations = CALLBACKS.locked(|lists| {
        // With the lock, so that no revocation comes between the two.
        let operations = callback.operations.xchg(ptr::null_mut(), Relaxed);
        // SAFETY: The closure runs with the lock of `CALLBACKS` held, which protects `list`.
        let at = unsafe { *callback.list.get() };
        if let Some(list) = lists.get_mut(at) {
            // SAFETY: The lock is held, and by the type invariants the core is in this list.
            unsafe { list.remove(core.as_ptr()) };
        }
        operations
    });
    // SAFETY: By the type invariants of `Callback` they are there, and stay until they have returned:
    // the unloading of their module waits while they are pending.
    if let Some(operations) = unsafe { operations.as_ref() } {
        // SAFETY: They are the functions for this core, whose callback is dropped once.
        unsafe { (operations.drop)(core.as_ptr()) };
    }
    was_dropped(callback);
}

/// Returns whether a callback of the module with the slot `at` is being dropped, or will be because its
/// reference was. Any context.
pub(super) fn are_pending(at: usize) -> bool {
    // ORDERING: Pairs with the release in `was_dropped`.
    PENDING
        .get(at)
        .is_some_and(|pending| pending.load(Acquire) != 0)
}

/// Returns whether there is a callback of the module, or one is being dropped.
pub(super) fn are_left(at: usize) -> bool {
    // In this order: what is not in the list any more is pending, or was dropped.
    let listed = CALLBACKS.locked(|lists| lists.get(at).is_some_and(|list| !list.first.is_null()));
    listed || are_pending(at)
}

/// Returns a number that changes when a reference with a callback of the module is created.
pub(super) fn created(at: usize) -> usize {
    CALLBACKS.locked(|lists| lists.get(at).map_or(0, |list| list.entered))
}

/// Revokes callbacks of the module as long as `may_revoke`, which is called with a lock held, returns true,
/// and the next reference was not dropped; then waits for those of them that are being called.
///
/// # Safety
///
/// Process context.
pub(super) unsafe fn revoke(at: usize, may_revoke: impl Fn() -> bool) {
    let mut revoked = false;
    // One at a time, so that interrupts are not disabled for long.
    while CALLBACKS.locked(|lists| {
        let Some(list) = lists.get_mut(at) else {
            return false;
        };
        // SAFETY: The closure runs with the lock of `CALLBACKS` held, and by the type invariants the cores
        // in the list are alive then.
        let Some(core) = (unsafe { list.first.as_ref() }) else {
            return false;
        };
        if !may_revoke() || core.is_orphan() {
            return false;
        }
        // SAFETY: The lock is held, and the core is in this list.
        unsafe { list.remove(ptr::from_ref(core).cast_mut()) };
        // INVARIANT: Null, before the module's text is freed.
        core.callback.operations.store(ptr::null_mut(), Release);
        true
    }) {
        revoked = true;
    }
    if revoked {
        // A call that has read the functions ends.
        rcu::synchronize_rcu();
    }
}

/// Returns the number of callbacks in the list of a module.
#[cfg(CONFIG_KUNIT)]
pub(super) fn count(at: usize) -> usize {
    CALLBACKS.locked(|lists| lists.get(at).map_or(0, |list| list.len))
}

/// Initialises the lock of the lists.
///
/// # Safety
///
/// Called once, before anybody creates a reference.
pub(super) unsafe fn init() {
    // SAFETY: This function requires to be called before the first reference is created, so no
    // context uses the lock yet.
    unsafe { helpers::quiesce_helper_raw_spin_lock_init(CALLBACKS.lock.get()) };
}
