// SPDX-License-Identifier: GPL-2.0

//! The state of a domain at run time. It is not generic, so that all domains share the code.

use super::{
    account::{
        self,
        Account,
        Counts,
        Reclaim, //
    },
    client,
    stall::{
        Stall,
        Wait, //
    },
    waiters::{
        self,
        Left,
        Node,
        Waiters, //
    },
    worker::{
        self,
        Marker,
        Worker, //
    },
    FLOOD, //
};
use crate::{
    arch::{
        context::in_nmi,
        pointer::load_pointer,
        rcu_counts, //
    },
    bindings as helpers, //
};
use core::{
    cell::UnsafeCell,
    ffi::c_void,
    mem::offset_of,
    panic::Location,
    ptr::null_mut,
    task::Waker, //
};
use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        barrier::Read,
        LockClassKey, //
    },
    types::Opaque, //
};

/// Logs that an object was leaked because it was retired in an NMI.
#[cold]
pub(super) fn leaked_in_nmi() {
    static LOGGED: Atomic<i32> = Atomic::new(0);
    if LOGGED.xchg(1, Relaxed) == 0 {
        pr_warn!("rcu: deferred in an NMI, so it is leaked\n");
    }
}

/// Logs a wait where waiting is an error, once for each call site that there is room for.
#[cold]
fn log_misuse(caller: &Location<'_>, domain: &CStr, e: Error) {
    // The addresses are compared and never followed: a module's locations go with it.
    static SITES: [Atomic<usize>; 64] = [const { Atomic::new(0) }; 64];
    let site = core::ptr::from_ref(caller).addr();
    for place in &SITES {
        let at = match place.load(Relaxed) {
            0 => place.cmpxchg(0, site, Relaxed).unwrap_or_else(|now| now),
            at => at,
        };
        if at == site {
            return;
        }
        if at == 0 {
            return pr_warn!(
                "rcu: {}:{} waits for the readers of {} where it must not ({:?})\n",
                caller.file(),
                caller.line(),
                domain.to_str().unwrap_or("?"),
                e
            );
        }
    }
}

const BITS: usize = usize::BITS as usize;

/// True if safe code can leak enough sections to make SRCU's counters wrap: they have 16 bits in
/// TINY_SRCU, which is selected without SMP and preemptible RCU, otherwise the bits of a long.
const SECTIONS_ARE_LIMITED: bool =
    cfg!(not(CONFIG_64BIT)) || cfg!(not(any(CONFIG_SMP, CONFIG_PREEMPT_RCU)));

/// The most sections that are not tied to a task, where they are limited: a quarter of the number with
/// which a counter of 16 bits wraps. The rest is for sections that are, of which a task has a few. Those
/// are not limited: with as many as the counter holds, `quiesce_helper_srcu_enter()` stops whoever
/// enters one more.
const SECTIONS: u32 = 1 << 14;

/// The state of a domain.
///
/// # Invariants
///
/// - Once `ready` has been stored, `counts` are allocated, `worker`, `waiters` and `stall` are
///   initialised, and `srcu` too if `sleepable`. All stay so until the module that the domain is in
///   has been unloaded.
/// - `next` belongs to the list of domains and its lock.
/// - `counts` and `early` together are the number of what was deferred and is not done: what begins or
///   ends before the domain is ready is counted by `early`. Callbacks of the kernel's RCU are not
///   included, which the accounts of modules alone count, nor is what a module's worker was given
///   because the domain was not ready, which the `counts` of `GLOBAL` include.
/// - A domain with a bit in `users` is ready, or in `EARLY`.
pub struct DomainState {
    name: &'static CStr,
    sleepable: bool,
    up_down: bool,
    /// The number of sections that are not tied to a task, where it is limited.
    sections: Atomic<u32>,
    ready: Atomic<i32>,
    srcu: Opaque<bindings::srcu_struct>,
    counts: Counts,
    early: Atomic<isize>,
    /// The number of objects that were deferred before the domain was ready; of [`GLOBAL`], those of all
    /// domains.
    early_posts: Atomic<u64>,
    /// A number of those that a barrier has found, and has waited for. It may fall; each value is one
    /// that `early_posts` had when a barrier began that has ended.
    early_waited: Atomic<u64>,
    /// The number of callbacks of shared objects that were posted again; of [`GLOBAL`], also those of
    /// domains that were not ready.
    reposts: Atomic<usize>,
    /// One, once a reference to a shared object was retired while a callback of the object was under
    /// way; of [`GLOBAL`], also in a domain that was not ready.
    counted: Atomic<i32>,
    /// Objects without destructor that the kernel frees.
    plain: Counts,
    /// The number of those objects that were waited for.
    throttled: Atomic<usize>,
    worker: Worker,
    waiters: Waiters,
    stall: Stall,
    /// The modules whose code has deferred something in an SRCU domain: a bit for the slot of each
    /// one's account. Pointers, for these are loaded inline.
    users: [Atomic<*mut c_void>; account::SLOTS / BITS],
    pub(super) next: UnsafeCell<*const DomainState>,
}

// SAFETY: The kernel's objects may be used from everywhere, and `next` has a lock.
unsafe impl Sync for DomainState {}

/// The object of the wait in the stall report of a barrier.
const DEFERRED: &CStr = c"what was deferred behind the readers";

/// The state of the kernel's own RCU.
///
/// Where RCU is not preemptible, the state of the SRCU domain that stands in for it.
pub(super) static GLOBAL: DomainState =
    DomainState::new(c"rcu", cfg!(not(CONFIG_PREEMPT_RCU)), false);

/// Returns whether the current task is in a section of [`GLOBAL`], where that is an SRCU domain: RCU does
/// not know of the section, and no destructor runs in it, as in one of RCU. Any context.
pub(super) fn in_global_section() -> bool {
    cfg!(not(CONFIG_PREEMPT_RCU)) && GLOBAL.in_reader()
}

/// Domains that were used before they were ready, so that those who remove a user find them. A domain
/// may be here more than once, and stays until it is ready or its module is unloaded.
///
/// Entries are only removed, and followed, under the lock of the list of domains.
static EARLY: [Atomic<*mut DomainState>; 64] = [const { Atomic::new(null_mut()) }; 64];

/// Removes a module that is unloaded from the users of the domains in [`EARLY`], and its own domains
/// from there.
///
/// # Safety
///
/// The caller excludes other calls. If `is_in` returns true for a domain, nobody uses that any more.
pub(super) unsafe fn forget_early(account: &Account, is_in: impl Fn(&DomainState) -> bool) {
    for entry in &EARLY {
        // SAFETY: A domain is removed from here before it is freed, and other calls are excluded.
        let Some(domain) = (unsafe { load_pointer(entry).as_ref() }) else {
            continue;
        };
        domain.forget_user(account);
        if is_in(domain) {
            entry.store(null_mut(), Relaxed);
        }
    }
}

impl DomainState {
    /// Creates the state of a domain of SRCU-fast, or of SRCU-fast-updown, that is not initialised.
    #[doc(hidden)]
    pub const fn new_srcu(name: &'static CStr, up_down: bool) -> Self {
        Self::new(name, true, up_down)
    }

    const fn new(name: &'static CStr, sleepable: bool, up_down: bool) -> Self {
        // INVARIANT: Not ready.
        Self {
            name,
            sleepable,
            up_down,
            sections: Atomic::new(0),
            ready: Atomic::new(0),
            srcu: Opaque::zeroed(),
            counts: Counts::new(),
            early: Atomic::new(0),
            early_posts: Atomic::new(0),
            early_waited: Atomic::new(0),
            reposts: Atomic::new(0),
            counted: Atomic::new(0),
            plain: Counts::new(),
            throttled: Atomic::new(0),
            worker: Worker::new(),
            waiters: Waiters::new(),
            stall: Stall::new(),
            users: [const { Atomic::new(null_mut()) }; account::SLOTS / BITS],
            next: UnsafeCell::new(core::ptr::null()),
        }
    }

    /// Returns whether readers may sleep, as in an SRCU domain.
    pub(super) fn sleepable(&self) -> bool {
        self.sleepable
    }

    /// Returns whether destructors run on the domain's worker. Those of [`GLOBAL`] run on the workers
    /// of their modules, so that none delays another module's, also where an SRCU domain stands in.
    fn has_worker(&self) -> bool {
        self.sleepable && (cfg!(CONFIG_PREEMPT_RCU) || !core::ptr::eq(self, &GLOBAL))
    }

    /// Returns whether the domain is ready.
    ///
    /// False means that no reader can find what the caller has unpublished before, by whatever store.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Acquire) != 0 || self.is_ready_after_all()
    }

    #[cold]
    fn is_ready_after_all(&self) -> bool {
        // ORDERING: Pairs with the barrier in `set_ready`. Keeps the store by which the caller has
        // unpublished a pointer before the load: either that finds the domain ready, or the domain's
        // readers find the pointer unpublished.
        kernel::sync::barrier::smp_mb(Full);
        self.ready.load(Acquire) != 0
    }

    /// The counts of what was deferred.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The `srcu_struct` of a domain known to be sleepable.
    #[inline(always)]
    pub(super) fn srcu_raw(&self) -> *mut bindings::srcu_struct {
        self.srcu.get()
    }

    fn wait_for<'a>(&self, what: &'a CStr) -> Wait<'a> {
        Wait {
            what,
            domain: self.name.as_char_ptr(),
            mark: if self.sleepable { self.mark() } else { 0 },
        }
    }

    /// Initialises the domain, to be made ready by [`set_ready`](Self::set_ready).
    ///
    /// # Safety
    ///
    /// It is not ready, and nobody else calls this, `set_ready` or [`teardown`](Self::teardown)
    /// meanwhile.
    pub(super) unsafe fn prepare(&'static self, key: Pin<&'static LockClassKey>) -> Result {
        // SAFETY: The counts are not in use, as the domain is not ready.
        let result = unsafe { self.counts.alloc().and_then(|()| self.plain.alloc()) };
        let result = result.and_then(|()| {
            if !self.sleepable {
                return Ok(());
            }
            // SAFETY: The `srcu_struct` is not in use, as the domain is not ready. It is static, as are
            // its name and its key.
            kernel::error::to_result(unsafe {
                helpers::quiesce_helper_srcu_init(
                    self.srcu.get(),
                    self.name.as_char_ptr(),
                    key.as_ptr(),
                    self.up_down,
                )
            })
        });
        if let Err(e) = result {
            // SAFETY: The domain is not ready, so nobody uses the counts.
            unsafe {
                self.counts.free();
                self.plain.free();
            }
            return Err(e);
        }
        let home = account::of_address(core::ptr::from_ref(self).cast())
            // SAFETY: The domain is a static of that module, which is not freed while its code
            // runs.
            .map_or(account::this_module(), |home| unsafe { (*home).module() });
        // SAFETY: None of them is in use, the state is static, and the module of the domain stays
        // until it has been torn down.
        unsafe {
            self.worker.init(&self.counts, home);
            self.waiters.init(wake_more);
            self.stall.init(&self.wait_for(c"a future"));
        }
        Ok(())
    }

    /// Makes the domain ready.
    ///
    /// # Safety
    ///
    /// [`prepare`](Self::prepare) has succeeded, and nobody has called this since.
    pub(super) unsafe fn set_ready(&self) {
        // INVARIANT: All are initialised, as this function requires.
        self.ready.store(1, Release);
        // A writer that unpublishes a pointer and then sees the domain not ready assumes that no
        // reader can hold it.
        // ORDERING: Pairs with the barrier in `is_ready_after_all`. A reader admitted by the store
        // above finds unpublished what was unpublished before a load that did not see the store.
        kernel::sync::barrier::smp_mb(Full);
    }

    /// Waits for grace periods that were started without a callback, and for futures and their wakers.
    /// Process context.
    ///
    /// # Safety
    ///
    /// The domain is ready, and nobody uses it from here on.
    pub(super) unsafe fn drain(&'static self) {
        loop {
            // SAFETY: This is process context, in a work item or the exit function of this module,
            // which are in no section. The domain is ready, so the work item is initialised.
            unsafe {
                self.synchronize_now(false);
                self.barrier_now();
                self.barrier_now();
                bindings::flush_work(self.waiters.work.get());
            }
            // All whose grace period has elapsed have been woken; that of others has begun since.
            if !self.waiters.are_armed() {
                break;
            }
        }
        // The callback or the work item that has left nobody behind may still call wakers.
        // SAFETY: This is the context of the calls above, and the work item is initialised.
        unsafe {
            self.barrier_now();
            bindings::flush_work(self.waiters.work.get());
        }
    }

    /// Undoes [`prepare`](Self::prepare). Process context.
    ///
    /// # Safety
    ///
    /// The domain is ready and was drained, nothing that was deferred in it is pending, and nobody uses
    /// it from here on.
    pub(super) unsafe fn teardown(&'static self) {
        // INVARIANT: Not ready from here on.
        self.ready.store(0, Relaxed);
        // SAFETY: The worker and the stall report are initialised, as the domain was ready; nothing
        // is pending, and nobody posts any more.
        unsafe {
            self.worker.stop();
            self.stall.destroy();
        }
        if self.sleepable {
            // SAFETY: The `srcu_struct` is initialised, as the domain was ready, and it has no
            // readers, callbacks or grace periods.
            unsafe { bindings::cleanup_srcu_struct(self.srcu.get()) };
        }
        // SAFETY: Nobody uses the domain any more, as this function requires, and so nobody uses
        // its counts.
        unsafe {
            self.counts.free();
            self.plain.free();
        }
    }

    /// Counts a section that is not tied to a task, where SRCU's own counter could wrap.
    pub(super) fn count_section(&self) -> Result {
        if SECTIONS_ARE_LIMITED && self.sections.fetch_add(1, Relaxed) >= SECTIONS {
            self.uncount_section();
            return Err(EOVERFLOW);
        }
        Ok(())
    }

    /// Undoes [`count_section`](Self::count_section).
    pub(super) fn uncount_section(&self) {
        if SECTIONS_ARE_LIMITED {
            self.sections.fetch_sub(1u32, Relaxed);
        }
    }

    /// Returns the value that, combined with an address on the stack, marks a read-side critical
    /// section of this domain.
    ///
    /// Odd, so that it is not the combination of two pointers.
    #[inline(always)]
    pub(super) fn mark(&self) -> usize {
        core::ptr::from_ref(self).addr().wrapping_add(1)
    }

    pub(super) fn in_reader(&self) -> bool {
        if self.sleepable {
            // SAFETY: The helper only reads words of the current task's stack.
            unsafe { helpers::quiesce_helper_rcu_marked(self.mark()) }
        } else {
            // SAFETY: The helper only reads the nesting depth of the current task.
            unsafe { helpers::quiesce_helper_rcu_depth() }
        }
    }

    /// Checks that the caller may wait for the readers.
    fn may_wait(&self, caller: &Location<'_>) -> Result {
        // SAFETY: Reads the state of the current task and CPU only.
        let context = unsafe { helpers::quiesce_helper_rcu_context() } as u32;
        let e = match context {
            helpers::QUIESCE_RCU_MAY_WAIT if self.sleepable && self.in_reader() => EDEADLK,
            helpers::QUIESCE_RCU_MAY_WAIT if in_global_section() => EAGAIN,
            helpers::QUIESCE_RCU_MAY_WAIT => return Ok(()),
            helpers::QUIESCE_RCU_READER if !self.sleepable => EDEADLK,
            _ => EAGAIN,
        };
        log_misuse(caller, self.name, e);
        Err(e)
    }

    /// Checks that a future may wait for the readers: the task that polls it must not be one of
    /// them.
    ///
    /// A task that is interrupted is not the one that polls.
    pub(super) fn may_poll(&self) -> Result {
        let refused = if self.sleepable {
            self.in_reader()
        } else {
            // SAFETY: Reads the state of the current task and CPU only.
            unsafe { helpers::quiesce_helper_rcu_context() as u32 == helpers::QUIESCE_RCU_READER }
        };
        if refused {
            return Err(EDEADLK);
        }
        Ok(())
    }

    pub(super) fn synchronize(&self, expedited: bool, caller: &Location<'_>) -> Result {
        self.may_wait(caller)?;
        if self.is_ready() {
            self.wait_for(c"the readers").watched(caller, || {
                // SAFETY: The domain is ready, and `may_wait` found process context outside of its
                // sections.
                unsafe { self.synchronize_now(expedited) }
            });
        }
        Ok(())
    }

    /// Waits for a grace period.
    ///
    /// # Safety
    ///
    /// The domain is ready. Process context, outside of the domain's read-side critical sections.
    unsafe fn synchronize_now(&self, expedited: bool) {
        // SAFETY: The domain is ready, so its `srcu_struct` is initialised. This is process context,
        // outside of its sections, as this function requires.
        unsafe {
            match (self.sleepable, expedited) {
                (true, false) => bindings::synchronize_srcu(self.srcu.get()),
                (true, true) => bindings::synchronize_srcu_expedited(self.srcu.get()),
                (false, false) => bindings::synchronize_rcu(),
                (false, true) => helpers::quiesce_helper_synchronize_rcu_expedited(),
            }
        }
    }

    /// Checks that the caller may wait for destructors as well as readers.
    fn may_flush(&self, caller: &Location<'_>) -> Result {
        self.may_wait(caller)?;
        // A destructor could wait for itself, or in a circle with another one, and a waker is waited for.
        if worker::is_current() || waiters::is_called() {
            log_misuse(caller, self.name, EDEADLK);
            return Err(EDEADLK);
        }
        Ok(())
    }

    pub(super) fn barrier(&self, caller: &Location<'_>) -> Result {
        self.may_flush(caller)?;
        self.wait_for(DEFERRED).watched(caller, || {
            // SAFETY: `may_flush` found process context, outside of sections of the domain and of the
            // kernel's RCU, and of destructors.
            unsafe { self.flush() }
        });
        Ok(())
    }

    /// Checks that the caller may wait for the objects that a module has deferred in the domain.
    pub(super) fn may_barrier(&self, caller: &Location<'_>) -> Result {
        self.may_flush(caller)
    }

    /// Waits for the callbacks posted before in the domain, on behalf of a barrier of a module.
    ///
    /// # Safety
    ///
    /// [`may_barrier`](Self::may_barrier) has succeeded, in the same context.
    pub(super) unsafe fn wait_callbacks(&self, caller: &Location<'_>) {
        let wait = self.wait_for(DEFERRED);
        // SAFETY: `may_barrier` found process context, outside of sections of the domain and of the
        // kernel's RCU, as this function requires.
        wait.watched(caller, || unsafe { self.callbacks() });
    }

    /// Waits for what callbacks have given to the domain's worker, on behalf of a barrier of a module.
    ///
    /// # Safety
    ///
    /// As for [`wait_callbacks`](Self::wait_callbacks).
    pub(super) unsafe fn wait_worker(&self, caller: &Location<'_>) {
        let wait = self.wait_for(DEFERRED);
        // SAFETY: `may_barrier` found process context and no destructor, as this function requires.
        wait.watched(caller, || unsafe { self.flush_worker() });
    }

    /// Waits for what callbacks have given to the workers of modules, on behalf of a barrier of one.
    /// The callbacks have returned.
    ///
    /// # Safety
    ///
    /// As for [`wait_callbacks`](Self::wait_callbacks).
    pub(super) unsafe fn wait_clients(&self, account: &Account, caller: &Location<'_>) {
        // What functions of other modules reclaim is with the workers of those. A callback may have
        // recorded that.
        let module = (!account.is_served()).then(|| account.module());
        let wait = self.wait_for(DEFERRED);
        // SAFETY: `may_barrier` found process context and no destructor, as this function requires.
        wait.watched(caller, || unsafe { client::flush(module) });
    }

    /// Returns whether a barrier waits for tasks that are about to post, see [`flush`](Self::flush).
    pub(super) fn was_counted(&self) -> bool {
        self.counted.load(Relaxed) != 0
    }

    /// The number of callbacks that were posted again.
    pub(super) fn reposts(&self) -> usize {
        // ORDERING: Pairs with `count_repost`: what is counted here was posted, and is waited for.
        self.reposts.load(Acquire)
    }

    /// The word of `users` and the bit in it that stand for a module.
    #[inline]
    fn user(&self, account: &Account) -> (&Atomic<*mut c_void>, usize) {
        let slot = account.slot();
        (
            &self.users[slot / BITS % self.users.len()],
            1 << (slot % BITS),
        )
    }

    /// Records a module whose code defers something in an SRCU domain.
    ///
    /// That code names the domain, so its module depends on the domain's, if it is another one.
    fn used_by(&'static self, account: &Account) {
        let (word, bit) = self.user(account);
        let mut bits = load_pointer(word);
        if bits.addr() & bit == 0 && !self.is_ready() && !self.note_early() {
            return;
        }
        // INVARIANT: The domain is ready, or in `EARLY`.
        while bits.addr() & bit == 0 {
            match word.cmpxchg(bits, bits.map_addr(|bits| bits | bit), Full) {
                Ok(_) => return,
                Err(now) => bits = now,
            }
        }
    }

    /// Removes the domain from [`EARLY`]; a task that still finds it not ready may enter it again.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the list of domains, and the domain is on the list.
    pub(super) unsafe fn leave_early(&self) {
        for entry in &EARLY {
            if core::ptr::eq(load_pointer(entry), self) {
                entry.store(null_mut(), Relaxed);
            }
        }
    }

    /// Enters the domain, which was not ready, into [`EARLY`], and returns whether it is there.
    ///
    /// If there are too many, the domain has its users only when it is ready. Then a module's barrier can
    /// return before references to shared objects are dropped that it has retired before, if callbacks of
    /// other modules drop them.
    #[cold]
    fn note_early(&'static self) -> bool {
        let domain = core::ptr::from_ref(self).cast_mut();
        EARLY.iter().any(|entry| {
            let at = load_pointer(entry);
            at == domain
                || (at.is_null()
                    && match entry.cmpxchg(null_mut(), domain, Full) {
                        Ok(_) => true,
                        Err(now) => now == domain,
                    })
        })
    }

    /// Records a module whose code has retired a reference to a shared object that a callback will
    /// drop which was posted before, perhaps by another module.
    ///
    /// # Safety
    ///
    /// `module` is what `this_module` returned in code that runs.
    #[inline(never)]
    pub(super) unsafe fn counted_from(&'static self, module: *mut bindings::module) {
        // SAFETY: `module` is what `this_module` returned in code that runs, as this function requires.
        let caller = unsafe { account::of_caller(module) };
        caller.be_served();
        for domain in [Some(self), self.early_is_of()].into_iter().flatten() {
            if domain.counted.load(Relaxed) == 0 {
                domain.counted.store(1, Relaxed);
            }
        }
        if self.sleepable {
            self.used_by(caller);
        }
    }

    /// Returns whether a module has deferred something in this SRCU domain.
    pub(super) fn was_used_by(&self, account: &Account) -> bool {
        let (word, bit) = self.user(account);
        load_pointer(word).addr() & bit != 0
    }

    /// Removes a module that is unloaded from the users.
    pub(super) fn forget_user(&self, account: &Account) {
        let (word, bit) = self.user(account);
        let mut bits = load_pointer(word);
        while bits.addr() & bit != 0 {
            match word.cmpxchg(bits, bits.map_addr(|bits| bits & !bit), Full) {
                Ok(_) => return,
                Err(now) => bits = now,
            }
        }
    }

    /// Waits until everything that was deferred before has been reclaimed.
    ///
    /// # Safety
    ///
    /// Process context, outside of read-side critical sections of the domain and of the kernel's RCU,
    /// and not in a destructor that a worker runs.
    unsafe fn flush(&self) {
        if self.was_counted() {
            // Another task may own the head of a shared object and be about to post it. It is in a
            // read-side critical section until it has: see `defer` and `drop_retired`.
            // SAFETY: This is process context, outside of read-side critical sections of the kernel's
            // RCU, as this function requires.
            unsafe { bindings::synchronize_rcu() };
        }
        // A callback of a shared object that was retired from several cells covers some of its
        // references, and is posted once more for all others that there are by then.
        let reposts = self.reposts();
        // SAFETY: The context is the one that this function requires.
        unsafe { self.flush_once() };
        if self.reposts() != reposts {
            // SAFETY: The context is the one that this function requires.
            unsafe { self.flush_once() };
        }
    }

    /// Waits for the callbacks posted before, and for what they have given to workers.
    ///
    /// # Safety
    ///
    /// As for [`flush`](Self::flush).
    unsafe fn flush_once(&self) {
        // What was deferred before the domain was ready went to the kernel's RCU. Numbers that are
        // equal are of the same objects, for neither counter is ever reset.
        // ORDERING: Pairs with `count_early`: what is counted here was posted, and is waited for.
        let early = self.early_posts.load(Acquire);
        // SAFETY: The context is the one that this function requires.
        unsafe { self.callbacks() };
        // ORDERING: Pairs with the release below: what the other barrier waited for was reclaimed.
        if early != self.early_waited.load(Acquire) || !self.has_worker() {
            // SAFETY: This is process context and no destructor, as this function requires.
            unsafe { client::flush(None) };
            // ORDERING: Pairs with the acquires here and in `callbacks`.
            self.early_waited.store(early, Release);
        }
        // SAFETY: The context is the one that this function requires.
        unsafe { self.flush_worker() };
    }

    /// Waits for the callbacks posted before.
    ///
    /// # Safety
    ///
    /// Process context, outside of read-side critical sections of the domain and of the kernel's RCU.
    unsafe fn callbacks(&self) {
        // SAFETY: This is process context, as this function requires, and the domain is ready where
        // that is necessary.
        unsafe {
            // Where the domain is the kernel's RCU, the call below waits for those, too.
            // ORDERING: Pair with `count_early` and with the release in `flush_once`.
            if self.sleepable && self.early_posts.load(Acquire) != self.early_waited.load(Acquire) {
                bindings::rcu_barrier();
            }
            if self.is_ready() {
                self.barrier_now();
            }
        }
    }

    /// Waits for what callbacks have given to the domain's worker, if it has one and is ready.
    ///
    /// # Safety
    ///
    /// Process context, and not in a destructor that a worker runs.
    unsafe fn flush_worker(&self) {
        if self.has_worker() && self.is_ready() {
            let marker = Marker::new();
            // SAFETY: The domain is ready, so the worker is initialised; the marker is waited for.
            // This is process context and no destructor, as this function requires.
            unsafe {
                marker.push(&self.worker);
                marker.wait();
            }
        }
    }

    /// Waits for the callbacks posted before.
    ///
    /// # Safety
    ///
    /// The domain is ready. Process context.
    unsafe fn barrier_now(&self) {
        // SAFETY: The domain is ready, so its `srcu_struct` is initialised, and this is process
        // context, as this function requires.
        unsafe {
            if self.sleepable {
                bindings::srcu_barrier(self.srcu.get());
            } else {
                bindings::rcu_barrier();
            }
        }
    }

    pub(super) fn pending(&self) -> usize {
        if !self.sleepable {
            return self.pending_rcu(|| ());
        }
        let n = self.counts.in_flight() as isize;
        let n = n.wrapping_add(self.early.load(Relaxed));
        usize::try_from(n).unwrap_or(0)
    }

    /// As [`pending`](Self::pending), of the kernel's RCU, whose callbacks the modules' accounts
    /// count, and this state what workers have. `between` is called when one was read and the other
    /// was not.
    fn pending_rcu(&self, between: impl FnOnce()) -> usize {
        let before = account::done_sums(&self.counts);
        // ORDERING: If nothing was done from here to the second call below, what was in flight here
        // is in one of the counts in between, wherever it went.
        kernel::sync::barrier::smp_mb(Read);
        let callbacks = account::callbacks();
        between();
        // ORDERING: A callback that is done gave its object to a worker before.
        kernel::sync::barrier::smp_mb(Read);
        let n = callbacks.saturating_add(self.counts.in_flight());
        // ORDERING: What is done now was in flight, or was posted, before.
        kernel::sync::barrier::smp_mb(Read);
        if n == 0 && account::done_sums(&self.counts) != before {
            // It was in flight, and may be.
            return 1;
        }
        n
    }

    /// Returns what [`Domain::pending`](super::Domain::pending) does for the kernel's RCU, if `between`
    /// takes place during the call.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub fn pending_for_test(&self, between: impl FnOnce()) -> usize {
        self.pending_rcu(between)
    }

    /// The number of objects without destructor that were passed to the kernel, and how many of them
    /// there were up to now.
    fn plain(&self) -> (usize, usize) {
        let all = self.plain.posted_sum();
        let held = all.wrapping_sub(self.throttled.load(Relaxed)) as isize;
        (usize::try_from(held).unwrap_or(0), all)
    }

    pub(super) fn throttle(&self, caller: &Location<'_>) -> Result {
        self.may_flush(caller)?;
        let (plain, all) = self.plain();
        if self.pending().saturating_add(plain) <= FLOOD {
            return Ok(());
        }
        self.wait_for(c"a flood of objects behind the readers")
            .watched(caller, || {
                if plain != 0 {
                    // SAFETY: Only the kernel's RCU, which is ready, has plain objects. `may_flush`
                    // found process context outside of its sections.
                    unsafe { self.synchronize_now(false) };
                    self.throttled.store(all, Relaxed);
                }
                // SAFETY: `may_flush` found process context, outside of sections of the domain and of
                // the kernel's RCU, and of destructors.
                unsafe { self.flush() };
            });
        Ok(())
    }

    /// Counts something deferred for the domain.
    fn posted(&self) {
        if self.is_ready() {
            self.counts.posted();
        } else {
            self.early.add(1, Relaxed);
        }
    }

    /// Counts something deferred as done, for an SRCU domain.
    fn was_done(&self) {
        if self.is_ready() {
            self.counts.done();
        } else {
            self.early.add(-1, Relaxed);
        }
    }

    /// Queues `func` to be called with `head` after a grace period of an SRCU domain, with bottom
    /// halves disabled. For [`post!`].
    ///
    /// # Safety
    ///
    /// - `head` and what it is in are valid and not used by others until `func` is called, which may
    ///   be on any task, and no reader can find the object any more.
    /// - `module` is what `this_module` returned in code that runs. `func` is a function of that
    ///   module or of one that it depends on, and ends with [`done!`].
    /// - This is no NMI.
    pub(super) unsafe fn post_from(
        &'static self,
        module: *mut bindings::module,
        head: *mut bindings::callback_head,
        func: Reclaim,
    ) {
        // SAFETY: `module` is what `this_module` returned in code that runs, as this function requires.
        let caller = unsafe { account::of_caller(module) };
        // SAFETY: Code of `module` runs, and `func` is a function of it or of one that it depends on,
        // as this function requires.
        let account = unsafe { caller.of_function(func as *const c_void) };
        self.used_by(caller);
        if !self.is_ready() {
            // SAFETY: `of_function` returned the account of the function's module; `head`, `func`
            // and the context are what this function requires.
            return unsafe { self.post_early(account, head, func) };
        }
        // SAFETY: The domain is ready, so its counts and its `srcu_struct` are initialised. `head`
        // and what it is in are valid and not used by others until `func` is called, as this
        // function requires.
        unsafe {
            rcu_counts::post_srcu(
                account.counts().as_ptr(),
                self.counts.as_ptr(),
                self.srcu.get(),
                head,
                func,
            )
        };
    }

    /// Posts in a domain that was not ready.
    ///
    /// # Safety
    ///
    /// As for [`post_from`](Self::post_from); `account` is that of the function's module.
    #[cold]
    unsafe fn post_early(
        &'static self,
        account: &Account,
        head: *mut bindings::callback_head,
        func: Reclaim,
    ) {
        account.counts().posted();
        self.posted();
        // No section has begun before the object was unpublished, see `set_ready`, so that any grace
        // period will do. No lazy callback, because rmmod may wait for it.
        // SAFETY: `head` and what it is in are valid and not used by others until `func` is called,
        // as `post_from` requires.
        unsafe { helpers::quiesce_helper_call_rcu_hurry(head, Some(func)) };
        self.count_early();
    }

    /// Counts an object that was posted before the domain was ready.
    ///
    /// For [`GLOBAL`] too, because a module's barrier finds ready domains.
    fn count_early(&self) {
        for domain in [self, &GLOBAL] {
            // ORDERING: Pairs with the acquires in `flush_once` and `callbacks`: what is counted there
            // is waited for.
            let _ = domain.early_posts.fetch_add(1u64, Release);
        }
    }

    /// Counts a callback that was posted again, because it did not cover all references of an object.
    pub(super) fn count_repost(&self) {
        for domain in [Some(self), self.early_is_of()].into_iter().flatten() {
            // ORDERING: Pairs with the acquire in `reposts`: what is counted there is waited for.
            let _ = domain.reposts.fetch_add(1usize, Release);
        }
    }

    /// The domain whose barrier waits for what is deferred here too, unless this one is ready.
    fn early_is_of(&self) -> Option<&'static DomainState> {
        (self.has_worker() && !self.is_ready()).then_some(&GLOBAL)
    }

    /// Ends a callback of an SRCU domain. For [`done!`].
    ///
    /// # Safety
    ///
    /// `module` is what `this_module` returned in code that runs, and `func` is a callback of that
    /// module or of one that it depends on, which calls this.
    pub(super) unsafe fn done_from(&'static self, module: *mut bindings::module, func: Reclaim) {
        self.was_done();
        // SAFETY: `module` is what `this_module` returned in code that runs, and `func` is a
        // function of that module or of one that it depends on, as this function requires.
        unsafe { account::of_function(module, func as *const c_void) }.done();
    }

    /// Queues `func` to be called with `head` in process context, without a grace period.
    ///
    /// Any context but NMI.
    ///
    /// # Safety
    ///
    /// - `head` and what it is in are valid and not used by others until `func` is called, which may
    ///   be on any task, and no reader can reach the object.
    /// - `module` is what `this_module` returned in code that runs, and `func` is a function of that
    ///   module or of one that it depends on.
    pub(super) unsafe fn push(
        &'static self,
        module: *mut bindings::module,
        head: *mut bindings::callback_head,
        func: Reclaim,
    ) {
        // SAFETY: `module` is what `this_module` returned in code that runs, as this function requires.
        let caller = unsafe { account::of_caller(module) };
        // SAFETY: Code of `module` runs, and `func` is a function of it or of one that it depends on,
        // as this function requires.
        let account = unsafe { caller.of_function(func as *const c_void) };
        account.counts().posted();
        if self.sleepable {
            self.used_by(caller);
        }
        if self.has_worker() && self.is_ready() {
            self.counts.posted();
            // SAFETY: The domain is ready, so the worker is initialised. `head` is valid and not
            // used by others until `func` is called, as this function requires, and it was counted
            // for the module and for the domain above.
            unsafe { self.worker.push(head, func) };
        } else {
            GLOBAL.counts.posted();
            // SAFETY: `head` is valid and not used by others until `func` is called, `module` is
            // what `this_module` returned in code that runs, and `func` is a function of that
            // module or of one that it depends on, as this function requires. `head` was counted
            // for the module and for the kernel's RCU above.
            unsafe { client::push(module, head, func) };
            if self.has_worker() {
                self.count_early();
            }
        }
    }

    /// Passes memory without a destructor to the kernel, which frees it after a grace period of its
    /// RCU.
    ///
    /// # Safety
    ///
    /// `head` is the beginning of an allocation of `kmalloc()` or `vmalloc()` that nobody but
    /// readers uses, and that readers cannot find any more. This is no NMI, and this domain is the
    /// kernel's RCU.
    pub(super) unsafe fn free_plain(&'static self, head: *mut bindings::callback_head) {
        // SAFETY: The kernel's RCU is always ready, so `plain` is allocated. `head` is the
        // beginning of an allocation that only readers still use, and this is no NMI, as this
        // function requires.
        unsafe { helpers::quiesce_helper_rcu_kvfree(self.plain.as_ptr(), head) };
    }

    /// Registers `waker` to be woken after the grace period of `node`; for futures.
    ///
    /// # Safety
    ///
    /// As for [`Waiters::wait`]; the domain is ready, and this is no NMI.
    pub(super) unsafe fn wait(&'static self, node: *mut Node, waker: Waker) {
        // SAFETY: The domain is ready, and `node` is valid, belongs to a future that waits for this
        // domain alone, and does not move until `cancel` was called, as this function requires.
        if unsafe { self.waiters.wait(node, waker) } {
            // SAFETY: The domain is ready, and the waiters are armed for this call.
            unsafe { self.post_waiters() };
        }
    }

    /// Takes a node off the list, if it is there; for futures.
    ///
    /// # Safety
    ///
    /// As for [`Waiters::cancel`].
    pub(super) unsafe fn cancel(&'static self, node: *mut Node) {
        if self.is_ready() {
            // SAFETY: The domain is ready, and `node` is valid and was passed to no other domain,
            // as this function requires.
            unsafe { self.waiters.cancel(node) };
        }
    }

    /// Drops the wakers of a module, as [`Waiters::forget`]. The domain is ready.
    pub(super) fn forget_wakers(
        &self,
        module: *mut bindings::module,
        may_take: &impl Fn() -> bool,
    ) -> bool {
        self.waiters.forget(module, may_take)
    }

    /// Posts the callback of the futures.
    ///
    /// # Safety
    ///
    /// The domain is ready, the caller has armed the waiters or is their callback or work item.
    unsafe fn post_waiters(&'static self) {
        self.stall.start();
        let head = self.waiters.head.get();
        // SAFETY: The head is static, and by the invariants of the waiters it is not posted.
        unsafe {
            if self.sleepable {
                bindings::call_srcu(self.srcu.get(), head, Some(grace_period_over));
            } else {
                helpers::quiesce_helper_call_rcu_hurry(head, Some(grace_period_over));
            }
        }
    }

    /// Wakes futures whose grace period has elapsed, some of them.
    ///
    /// # Safety
    ///
    /// The caller is the callback or the work item of the waiters.
    unsafe fn wake(&'static self, batches: usize) -> Left {
        let left = self.waiters.wake(batches, |seq| self.is_over(seq));
        match left {
            Left::Nobody => (),
            // SAFETY: The caller is the callback or the work item of the waiters, as this function
            // requires, and `Left::Later` means that the waiters are still armed.
            Left::Later => unsafe { self.post_waiters() },
            Left::More => (),
        }
        left
    }

    /// The cookie of an SRCU grace period that has elapsed, as `get_completed_synchronize_srcu()`
    /// returns in C.
    ///
    /// A domain that is not ready has no readers, nor does it have grace periods to number.
    const OVER: bindings::rcu_gp_seq = bindings::rcu_gp_seq {
        norm: bindings::SRCU_GET_STATE_COMPLETED as usize,
        exp: 0,
    };

    /// Returns the cookie of the next grace period.
    pub(super) fn snapshot(&self) -> bindings::rcu_gp_seq {
        let mut seq = Self::OVER;
        if !self.sleepable {
            // SAFETY: The helper only writes to `seq`, a local variable.
            unsafe { helpers::quiesce_helper_rcu_snapshot(&mut seq) };
        } else if self.is_ready() {
            // SAFETY: The domain is ready, so its `srcu_struct` is initialised.
            seq.norm = unsafe { bindings::get_state_synchronize_srcu(self.srcu.get()) };
        }
        seq
    }

    /// Starts a grace period and returns its cookie. In an NMI none is started, and the cookie is
    /// that of the next one.
    pub(super) fn start(&self, expedited: bool) -> bindings::rcu_gp_seq {
        if in_nmi() {
            return self.snapshot();
        }
        let mut seq = Self::OVER;
        if !self.sleepable {
            // SAFETY: The helper only writes to `seq`, a local variable.
            unsafe { helpers::quiesce_helper_rcu_start(&mut seq, expedited) };
        } else if self.is_ready() {
            // SAFETY: The domain is ready, so its `srcu_struct` is initialised.
            unsafe {
                seq.norm = bindings::start_poll_synchronize_srcu(self.srcu.get());
                if expedited {
                    helpers::quiesce_helper_srcu_expedite(self.srcu.get());
                }
            }
        }
        seq
    }

    /// Returns whether the grace period of a cookie has elapsed.
    pub(super) fn is_over(&self, seq: &bindings::rcu_gp_seq) -> bool {
        let mut seq = *seq;
        if !self.sleepable {
            // SAFETY: The helper only reads `seq`, a local variable.
            unsafe { helpers::quiesce_helper_rcu_is_over(&mut seq) }
        } else if self.is_ready() {
            // SAFETY: The domain is ready, so its `srcu_struct` is initialised.
            unsafe { bindings::poll_state_synchronize_srcu(self.srcu.get(), seq.norm) }
        } else {
            true
        }
    }
}

/// Queues the callback `$func` to be called with `$head` after a grace period of `$domain`, with
/// bottom halves disabled.
///
/// # Safety
///
/// - The head and what it is in are valid and not used by others until the callback is called,
///   perhaps on another task, and readers do not find the object from now on.
/// - The callback is a function of the calling module or of one that it depends on, and ends with
///   [`done!`].
/// - This is no NMI.
macro_rules! post {
    ($domain:ty, $head:expr, $func:path) => {
        if <$domain>::IS_RCU {
            $crate::arch::rcu_counts::post_rcu(
                $crate::rcu::account::counts_of!($func),
                $head,
                $func,
            )
        } else {
            <$domain>::state().post_from($crate::rcu::account::this_module(), $head, $func)
        }
    };
}

/// Ends the callback `$func` of `$domain`, after the destructor: from here on the callback calls no
/// function of its module and posts nothing.
///
/// # Safety
///
/// The callback was posted by [`post!`], and calls this once.
macro_rules! done {
    ($domain:ty, $func:path) => {
        if <$domain>::IS_RCU {
            $crate::arch::rcu_counts::callback_done($crate::rcu::account::counts_of!($func))
        } else {
            <$domain>::state().done_from($crate::rcu::account::this_module(), $func)
        }
    };
}

pub(super) use {
    done,
    post, //
};

/// The number of batches of futures that the callback wakes by itself.
const BATCHES_IN_CALLBACK: usize = 8;

/// The callback of the waiters. It serves the futures of all modules, so it must not be generic: an
/// instance would be in the text of one of them.
///
/// # Safety
///
/// Called by RCU with the head of a domain's waiters.
unsafe extern "C" fn grace_period_over(head: *mut bindings::callback_head) {
    const OFFSET: usize = offset_of!(DomainState, waiters) + offset_of!(Waiters, head);
    // SAFETY: RCU calls this function with the head of a domain's waiters, which is at `OFFSET` in
    // the `DomainState`, and domains are static.
    let state = unsafe { &*head.byte_sub(OFFSET).cast::<DomainState>() };
    state.stall.stop();
    // On PREEMPT_RT callbacks run in a read-side critical section of RCU, in which a waker could not poll
    // futures of `Global`.
    // SAFETY: RCU has called this function as the callback of the waiters, which `wake` requires.
    if cfg!(CONFIG_PREEMPT_RT) || matches!(unsafe { state.wake(BATCHES_IN_CALLBACK) }, Left::More) {
        // SAFETY: The domain has callbacks, so it is ready, and stays so until it has been flushed.
        unsafe { worker::WORK.queue(state.waiters.work.get()) };
    }
}

/// The work item of the waiters: wakes the futures that are too many for the callback.
///
/// # Safety
///
/// Called by the workqueue with the work item of a domain's waiters.
unsafe extern "C" fn wake_more(work: *mut bindings::work_struct) {
    const OFFSET: usize = offset_of!(DomainState, waiters) + offset_of!(Waiters, work);
    // SAFETY: The workqueue calls this function with the work item of a domain's waiters, which is
    // at `OFFSET` in the `DomainState`, and domains are static.
    let state = unsafe { &*work.byte_sub(OFFSET).cast::<DomainState>() };
    // SAFETY: The workqueue has called this function as the work item of the waiters, which `wake`
    // requires.
    while matches!(unsafe { state.wake(BATCHES_IN_CALLBACK) }, Left::More) {
        // SAFETY: A work item runs in process context, and no lock is held here.
        unsafe { helpers::quiesce_helper_rcu_cond_resched() };
    }
}
