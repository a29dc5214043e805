// SPDX-License-Identifier: GPL-2.0

//! Accounts: counts of the functions that a module, or a domain, has posted and that are not done.
//!
//! A callback and a destructor on the workqueue run functions of a module after the module's own code has
//! returned. Each is counted when it is posted and when it is done, for the module that its function is
//! in. Wakers of futures and callbacks of per-CPU references are not counted here: `unload.rs` says when
//! a module is freed.
//!
//! Which module a function is in has to be known on the fast path. Generic functions of this crate
//! are code of the module that they are instantiated in, and there `__this_module`, a symbol that
//! each module has of its own, is that module: see [`this_module`].

use super::stall::Wait;
use crate::{
    arch::{
        pointer::load_pointer,
        rcu_counts, //
    },
    bindings as helpers, //
};
use core::{
    ffi::c_void,
    panic::Location,
    ptr::null_mut, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::Read,
        rcu, //
    },
    types::Opaque, //
};

/// A function that reclaims the object with the given head.
pub(super) type Reclaim = unsafe extern "C" fn(*mut bindings::callback_head);

/// Returns the module that the calling code is in.
///
/// Inlined, so that it is code of the module that a generic function is instantiated in.
///
/// Code that is built into the kernel is in none; a value that is no module stands for the kernel
/// then. The crate exports nothing if it is built in, so that all its users are built in too.
#[inline(always)]
pub(super) fn this_module() -> *mut bindings::module {
    #[cfg(MODULE)]
    {
        &raw mut bindings::__this_module
    }
    #[cfg(not(MODULE))]
    {
        &raw mut quiesce_builtin
    }
}

#[cfg(not(MODULE))]
extern "C" {
    /// Stands for the kernel; C's helpers know its address ranges.
    static mut quiesce_builtin: bindings::module;
}

/// Per-CPU counts of the functions that were posted, and of those that are done.
///
/// # Invariants
///
/// Once it is not null, `percpu` was returned by `quiesce_helper_rcu_counts_alloc()`, and is not
/// freed before the value is dropped or [`free`](Self::free) is called.
pub(super) struct Counts {
    percpu: Atomic<*mut c_void>,
}

impl Counts {
    /// Creates counts that are not in use.
    pub(super) const fn new() -> Self {
        // INVARIANT: `percpu` is null.
        Self {
            percpu: Atomic::new(null_mut()),
        }
    }

    /// Allocates the counts.
    ///
    /// # Safety
    ///
    /// They are not allocated, and nobody calls this concurrently.
    pub(super) unsafe fn alloc(&self) -> Result {
        // SAFETY: The helper only allocates per-CPU memory, in process context.
        let percpu = unsafe { helpers::quiesce_helper_rcu_counts_alloc() };
        if percpu.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: `quiesce_helper_rcu_counts_alloc()` returned `percpu`, which is not null.
        self.percpu.store(percpu, Release);
        Ok(())
    }

    /// Frees the counts, if they are allocated.
    ///
    /// # Safety
    ///
    /// Nobody uses them any more.
    pub(super) unsafe fn free(&self) {
        // SAFETY: By the type invariants `percpu` is null or came from
        // `quiesce_helper_rcu_counts_alloc()`, and nobody uses the counts any more, as this
        // function requires.
        unsafe { helpers::quiesce_helper_rcu_counts_free(self.percpu.xchg(null_mut(), Relaxed)) };
    }

    /// Returns the per-CPU counts, for the helper that posts.
    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *mut c_void {
        load_pointer(&self.percpu)
    }

    /// Counts a function that is about to be posted. The counts are allocated.
    pub(super) fn posted(&self) {
        // SAFETY: `percpu` was allocated, as this function requires, and by the type invariants it
        // was not freed.
        unsafe { helpers::quiesce_helper_rcu_posted(self.as_ptr()) };
    }

    /// Counts a function that is done. The counts are allocated.
    pub(super) fn done(&self) {
        // SAFETY: `percpu` was allocated, as this function requires, and by the type invariants it
        // was not freed.
        unsafe { rcu_counts::done(self.as_ptr()) };
    }

    /// Returns the number of functions that were ever posted.
    pub(super) fn posted_sum(&self) -> usize {
        let percpu = self.as_ptr();
        if percpu.is_null() {
            return 0;
        }
        // SAFETY: `percpu` is not null, so by the type invariants it is allocated.
        unsafe { helpers::quiesce_helper_rcu_posted_sum(percpu) }
    }

    /// Returns the number of functions that were ever done.
    pub(super) fn done_sum(&self) -> usize {
        let percpu = self.as_ptr();
        if percpu.is_null() {
            return 0;
        }
        // SAFETY: `percpu` is not null, so by the type invariants it is allocated.
        unsafe { helpers::quiesce_helper_rcu_done_sum(percpu) }
    }

    /// Returns the number of callbacks of the kernel's RCU that were ever done.
    fn callbacks_done(&self) -> usize {
        // SAFETY: `percpu` was allocated, as this function requires, and by the type invariants it
        // was not freed.
        unsafe { helpers::quiesce_helper_rcu_callbacks_done(self.as_ptr()) }
    }

    /// Returns the number of callbacks of the kernel's RCU among those functions that were posted
    /// and are not done, at a moment during the call.
    ///
    /// Zero is exact, as for [`in_flight`](Self::in_flight).
    fn callbacks(&self) -> usize {
        // SAFETY: `percpu` was allocated, as this function requires, and by the type invariants it
        // was not freed.
        unsafe { helpers::quiesce_helper_rcu_callbacks(self.as_ptr()) }
    }

    /// As [`callbacks`](Self::callbacks), of the other functions: each of them wakes the task that waits for
    /// the account.
    fn completing(&self) -> usize {
        // SAFETY: `percpu` was allocated, as this function requires, and by the type invariants it
        // was not freed.
        unsafe { helpers::quiesce_helper_rcu_completing(self.as_ptr()) }
    }

    /// Returns the number of posted functions that are not done, at a moment during the call.
    ///
    /// Zero is exact: everything that was posted before the call is done, and so is everything that
    /// those functions posted. Any other value may include functions that were posted and
    /// finished during the call.
    pub(super) fn in_flight(&self) -> usize {
        let percpu = self.as_ptr();
        if percpu.is_null() {
            return 0;
        }
        // SAFETY: `percpu` is not null, so by the type invariants it is allocated.
        unsafe { helpers::quiesce_helper_rcu_in_flight(percpu) }
    }
}

/// The account of a module.
///
/// # Invariants
///
/// - `module` is the module, `text` the addresses of its functions but those of its init, `counts`
///   are allocated and `changed` is initialised.
/// - `counts` count each function of the module that was posted, from before it is posted until
///   after it has returned: a callback until it calls no function of the module any more.
pub(super) struct Account {
    module: *mut bindings::module,
    text: (usize, usize),
    /// The slot of the table, once the account is in it.
    slot: usize,
    counts: Counts,
    /// Null until the module is unloaded: a pointer, for these are loaded inline.
    going: Atomic<*mut c_void>,
    /// Null until a function of another module reclaims, or may reclaim, what this one has deferred.
    served: Atomic<*mut c_void>,
    changed: Opaque<bindings::completion>,
}

// SAFETY: The counts are per CPU, a completion may be used from everywhere, and what `module` points
// to is only read.
unsafe impl Send for Account {}
// SAFETY: The counts are per CPU, `going` and `served` are atomic, a completion may be used concurrently, and the
// other fields are only read.
unsafe impl Sync for Account {}

impl Account {
    /// Creates an account for `module`.
    ///
    /// # Safety
    ///
    /// The module is there until the account is dropped, as far as its address ranges go.
    pub(super) unsafe fn new(module: *mut bindings::module) -> Result<Self> {
        let counts = Counts::new();
        // SAFETY: `counts` was created above, so it is not allocated and nobody else calls this.
        unsafe { counts.alloc()? };
        let mut text = (0, 0);
        // SAFETY: `module` stays until the account is dropped, as this function requires; the
        // helper writes to the two parts of `text`.
        unsafe { helpers::quiesce_helper_module_text(module, &mut text.0, &mut text.1) };
        Ok(Self {
            module,
            text,
            slot: 0,
            counts,
            going: Atomic::new(null_mut()),
            served: Atomic::new(null_mut()),
            changed: Opaque::uninit(),
        })
    }

    /// Initialises the completion, after which the account must not move any more.
    ///
    /// # Safety
    ///
    /// Called once, before anything else is, and the account stays where it is.
    pub(super) unsafe fn init(&self) {
        // SAFETY: This function is called before any other, so the completion is not in use.
        unsafe { helpers::quiesce_helper_rcu_init_completion(self.changed.get()) };
    }

    /// The module.
    pub(super) fn module(&self) -> *mut bindings::module {
        self.module
    }

    /// The counts.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The slot of the table that the account is in, less than [`SLOTS`].
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Returns the account of the module that a function is in.
    ///
    /// That is this one, unless the function is an instance that the compiler has found in a module
    /// that this one depends on.
    ///
    /// # Safety
    ///
    /// Code of the module runs while the account is borrowed, and `func` is a function of the module or
    /// of one that it depends on.
    #[inline]
    pub(super) unsafe fn of_function(&self, func: *const c_void) -> &Self {
        if !self.has_function(func) {
            self.be_served();
        }
        // SAFETY: Code of the module runs while the account is borrowed, and `func` is a function of
        // the module or of one that it depends on, which stays meanwhile, as this function requires.
        unsafe { self.or_of_function(func) }
    }

    /// Returns this account if a function is in its module, otherwise that of the function's module.
    ///
    /// # Safety
    ///
    /// The module of this account and that of `func` are not freed while the account is borrowed.
    #[inline]
    pub(super) unsafe fn or_of_function(&self, func: *const c_void) -> &Self {
        if self.has_function(func) {
            return self;
        }
        // SAFETY: The module of the function stays, as this function requires, and so does its account.
        search(|account| account.has_function(func)).map_or(self, |found| unsafe { &*found })
    }

    /// Records that a function of another module reclaims, or may reclaim, what this one has deferred.
    pub(super) fn be_served(&self) {
        if load_pointer(&self.served).is_null() {
            self.served.store(self.module.cast(), Relaxed);
        }
    }

    /// Returns whether functions of other modules reclaim what this one has deferred.
    pub(super) fn is_served(&self) -> bool {
        !load_pointer(&self.served).is_null()
    }

    /// Returns whether a function is in the module.
    #[inline(always)]
    fn has_function(&self, func: *const c_void) -> bool {
        func.addr().wrapping_sub(self.text.0) < self.text.1
    }

    /// Returns whether no function of the module was ever posted, or, after so many that the sum is zero
    /// again, none is in flight.
    pub(super) fn is_unused(&self) -> bool {
        self.counts.posted_sum() == 0 && self.counts.in_flight() == 0
    }

    /// Returns whether the module's code has returned, except for the functions that are counted
    /// here.
    #[inline(always)]
    pub(super) fn is_going(&self) -> bool {
        !load_pointer(&self.going).is_null()
    }

    /// Counts a function that is done, and wakes the task that waits for the account to become
    /// empty.
    ///
    /// The caller is inside a read-side critical section of RCU, as callbacks are: the account may
    /// be freed after the section.
    pub(super) fn done(&self) {
        self.counts.done();
        if self.is_going() {
            self.changed();
        }
    }

    #[cold]
    fn changed(&self) {
        // ORDERING: A waiter that finds the completion done sees the counts.
        kernel::sync::barrier::smp_mb(Full);
        // SAFETY: By the type invariants `changed` is an initialised completion.
        unsafe {
            if !bindings::completion_done(self.changed.get()) {
                bindings::complete(self.changed.get());
            }
        }
    }

    /// Waits until nothing is in flight any more, and until the callbacks that were have returned.
    ///
    /// Functions that are not counted may post others at any time. Process context; called once at a
    /// time. The caller is reported if nothing is done for long.
    pub(super) fn wait_empty(&self, caller: &Location<'_>) {
        // SAFETY: The module is not freed before its account is removed, which comes later; its
        // name is a string in it.
        let name = unsafe { &raw const (*self.module).name };
        let wait = Wait {
            what: c"what is pending",
            domain: name.cast(),
            mark: 0,
        };
        self.going.store(self.module.cast(), Relaxed);
        // What counts a function as done is a read-side critical section. One that did not see the
        // store is over after this, and is in the sum; the others complete.
        // SAFETY: This function is called in process context, outside of read-side critical
        // sections.
        unsafe { bindings::synchronize_rcu() };
        loop {
            // Callbacks of the kernel's RCU complete nothing, and may be lazy.
            if self.counts.callbacks() != 0 {
                // SAFETY: This function is called in process context, outside of read-side critical
                // sections.
                wait.watched(caller, || unsafe { bindings::rcu_barrier() });
                continue;
            }
            if self.counts.in_flight() == 0 {
                break;
            }
            // A waker or a callback may just have posted such a callback of RCU.
            if self.counts.completing() == 0 {
                continue;
            }
            // SAFETY: By the type invariants `changed` is an initialised completion.
            wait.watched(caller, || unsafe {
                bindings::wait_for_completion(self.changed.get())
            });
            // ORDERING: Pairs with the barrier in `changed`. Who still finds the completion done, which
            // the wait has taken back, has counted before the counts are read above.
            kernel::sync::barrier::smp_mb(Full);
        }
        // SAFETY: This function is called in process context. The call waits for callbacks that
        // were counted as done after the call above, but have not returned.
        unsafe { bindings::synchronize_rcu() };
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // SAFETY: The account is being dropped, so nobody uses its counts any more.
        unsafe { self.counts.free() };
    }
}

/// The number of slots of the table.
pub(super) const SLOTS: usize = 512;

/// Stands in a slot for a module that was unloaded.
const GONE: *mut bindings::module = core::ptr::without_provenance_mut(1);

/// An entry of the table: a module and its account.
struct Slot {
    module: Atomic<*mut bindings::module>,
    account: Atomic<*mut Account>,
}

/// The accounts of all modules that may use this one, hashed by module, with linear probing.
///
/// # Invariants
///
/// - A slot whose module is not null and not [`GONE`] has that module's account, which is not
///   freed before a grace period of RCU after it was taken out of the table.
/// - A slot between a module's slot and the one that the module hashes to has never been null
///   since the module was inserted.
static TABLE: [Slot; SLOTS] = [const {
    Slot {
        module: Atomic::new(null_mut()),
        account: Atomic::new(null_mut()),
    }
}; SLOTS];

/// The slots with an account, one bit each.
static USED: [Atomic<usize>; SLOTS / BITS] = [const { Atomic::new(0) }; SLOTS / BITS];
const BITS: usize = usize::BITS as usize;

/// The number of accounts that were taken out of the table.
static REMOVALS: Atomic<usize> = Atomic::new(0);

/// The account of this module itself, which also serves code that has none.
static OWN: Atomic<*mut Account> = Atomic::new(null_mut());

fn hash(module: *const bindings::module) -> usize {
    // The upper bits of the product depend on all bits of the address.
    module
        .addr()
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize)
        >> (usize::BITS - SLOTS.ilog2())
}

/// Enters an account into the table; the first is this module's own.
///
/// # Safety
///
/// The caller excludes other calls of this and of [`remove`]. The account stays until it was taken
/// out, and a grace period after that. No code of the module has run.
pub(super) unsafe fn insert(account: *mut Account) -> Result {
    // SAFETY: `account` is valid until it was taken out of the table, as this function requires.
    let module = unsafe { (*account).module };
    let (index, free) = (0..SLOTS)
        .map(|i| hash(module).wrapping_add(i) % SLOTS)
        .map(|index| (index, &TABLE[index]))
        .find(|(_, slot)| {
            let at = load_pointer(&slot.module);
            at.is_null() || at == GONE
        })
        .ok_or(ENOSPC)?;
    // SAFETY: `account` is valid until it was taken out of the table, as this function requires, and
    // nobody else uses it before it is in the table.
    unsafe { (*account).slot = index };
    free.account.store(account, Release);
    // INVARIANT: The slots before this one have modules, or had.
    free.module.store(module, Release);
    let used = &USED[index / BITS];
    used.store(used.load(Relaxed) | 1 << (index % BITS), Relaxed);
    let _ = OWN.cmpxchg(null_mut(), account, Full);
    Ok(())
}

/// Takes a module's account out of the table.
///
/// # Safety
///
/// As for [`insert`]; no code of the module runs any more.
pub(super) unsafe fn remove(module: *mut bindings::module) {
    if let Some(slot) = find(module) {
        REMOVALS.store(REMOVALS.load(Relaxed).wrapping_add(1), Relaxed);
        // INVARIANT: A search that gets to this slot continues with the next one.
        // ORDERING: Whoever finds the slot without the account finds the number of removals changed.
        slot.module.store(GONE, Release);
        if let Some(index) = TABLE.iter().position(|other| core::ptr::eq(other, slot)) {
            let used = &USED[index / BITS];
            used.store(used.load(Relaxed) & !(1 << (index % BITS)), Relaxed);
        }
    }
}

#[inline]
fn find(module: *mut bindings::module) -> Option<&'static Slot> {
    let first = hash(module);
    for i in 0..SLOTS {
        let slot = &TABLE[first.wrapping_add(i) % SLOTS];
        let at = load_pointer(&slot.module);
        // First, because `module` is null in code that is built in.
        if at.is_null() {
            return None;
        }
        if at == module {
            return Some(slot);
        }
    }
    None
}

/// The account of a module that is in the table.
#[inline]
pub(super) fn find_account(module: *mut bindings::module) -> Option<*mut Account> {
    // ORDERING: The slot of a module that calls this was filled before any code of it ran.
    find(module).map(|slot| load_pointer(&slot.account))
}

/// The account of the module that the calling code is in.
///
/// # Safety
///
/// `module` is what [`this_module`] returned in code that runs during `'a`.
#[inline]
pub(super) unsafe fn of_caller<'a>(module: *mut bindings::module) -> &'a Account {
    let account = find_account(module).unwrap_or_else(|| load_pointer(&OWN));
    // SAFETY: The account is removed only when no code of its module runs any more, as `remove`
    // requires, and code of `module` runs during `'a`. This module's own account stays while any
    // other module's code that uses it runs.
    unsafe { &*account }
}

/// The account of the module that a function is in, see [`Account::of_function`].
///
/// # Safety
///
/// As for [`of_caller`]; `func` is a function of `module` or of a module that it depends on.
#[inline]
pub(super) unsafe fn of_function<'a>(
    module: *mut bindings::module,
    func: *const c_void,
) -> &'a Account {
    // SAFETY: `module` is what `this_module` returned in code that runs during `'a`, and `func` is a
    // function of it or of one that it depends on, as this function requires.
    unsafe { of_caller(module).of_function(func) }
}

/// Returns the counts of the module that a function is in, and stores them in `word`, if that is not
/// null.
///
/// # Safety
///
/// As for [`of_function`]. `word` is null or valid, and accessed by atomic operations only.
pub(super) unsafe fn counts_of_function(
    module: *mut bindings::module,
    func: Reclaim,
    word: *const Atomic<*mut c_void>,
) -> *mut c_void {
    // SAFETY: `module` is what `this_module` returned in code that runs, and `func` is a function of
    // that module or of one that it depends on, as this function requires.
    let account = unsafe { of_function(module, func as *const c_void) };
    // SAFETY: `word` is null or valid, as this function requires.
    if let Some(word) = unsafe { word.as_ref() } {
        word.store(account.counts().as_ptr(), Relaxed);
    }
    account.counts().as_ptr()
}

/// The counts of the module that the callback `$func` is in.
///
/// Where there is assembly for it, each object file keeps them in a word for each callback. The
/// account stays as long as code of the object file runs, so nobody has to clear the word.
///
/// # Safety
///
/// The callback is in the module of the calling code or in one that it depends on.
macro_rules! counts_of {
    ($func:path) => {{
        #[cfg(all(quiesce_asm, CONFIG_SMP))]
        let counts = $crate::arch::rcu_counts::word_of!("mov", $func);
        #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
        let counts = ::core::ptr::null_mut::<::core::ffi::c_void>();
        if counts.is_null() {
            #[cfg(all(quiesce_asm, CONFIG_SMP))]
            let word = $crate::arch::rcu_counts::word_of!("lea", $func);
            #[cfg(not(all(quiesce_asm, CONFIG_SMP)))]
            let word = counts;
            $crate::rcu::account::counts_of_function(
                $crate::rcu::account::this_module(),
                $func,
                word.cast(),
            )
        } else {
            counts
        }
    }};
}

pub(super) use counts_of;

/// The account of the module that an address is in, if there is one.
///
/// The account is valid as long as the module is not freed, which the caller has to ensure.
pub(super) fn of_address(address: *const c_void) -> Option<*const Account> {
    // SAFETY: An account in the table is that of a module that was not freed, so its address ranges
    // can be read.
    search(|account| unsafe { helpers::quiesce_helper_within_module(address, account.module) })
}

#[cold]
fn search(mut found: impl FnMut(&Account) -> bool) -> Option<*const Account> {
    let mut result = None;
    for_each(0, |account| {
        let more = !found(account);
        if !more {
            result = Some(core::ptr::from_ref(account));
        }
        more
    });
    result
}

/// Returns the number of callbacks of the kernel's RCU that were posted and are not done, of all
/// modules.
pub(super) fn callbacks() -> usize {
    let mut n = 0usize;
    for_each(0, |account| {
        n = n.saturating_add(account.counts.callbacks());
        true
    });
    n
}

/// Returns how many functions of the kernel's RCU were ever done: the callbacks of all modules, and
/// what `domain` counts. The other number changes when a module is removed.
///
/// Two results are equal only if no function was done from the first call to the second.
pub(super) fn done_sums(domain: &Counts) -> (usize, usize) {
    let removals = REMOVALS.load(Relaxed);
    kernel::sync::barrier::smp_mb(Read);
    let mut n = domain.done_sum();
    for_each(0, |account| {
        n = n.wrapping_add(account.counts.callbacks_done());
        true
    });
    kernel::sync::barrier::smp_mb(Read);
    (n, removals.wrapping_add(REMOVALS.load(Relaxed)))
}

/// Calls `f` for the accounts from the slot `from` on, each in a read-side critical section of RCU.
///
/// Returns the first slot whose account `f` has returned false for, or the number of slots.
pub(super) fn for_each(from: usize, mut f: impl FnMut(&Account) -> bool) -> usize {
    for (word, used) in USED.iter().enumerate().skip(from / BITS) {
        let mut bits = used.load(Relaxed);
        if word == from / BITS {
            bits &= usize::MAX << (from % BITS);
        }
        while bits != 0 {
            let i = word * BITS + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let slot = &TABLE[i];
            let _section = rcu::read_lock();
            let module = load_pointer(&slot.module);
            if module.is_null() || module == GONE {
                continue;
            }
            // ORDERING: Pairs with the release in `insert`: the account is that of the module, or
            // of one that was given the slot later, which is as good.
            kernel::sync::barrier::smp_mb(Read);
            let account = load_pointer(&slot.account);
            // SAFETY: The account was in the table during this section, so it is freed after it.
            if !f(unsafe { &*account }) {
                return i;
            }
        }
    }
    SLOTS
}
