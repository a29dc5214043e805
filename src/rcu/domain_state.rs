// SPDX-License-Identifier: GPL-2.0

//! What a domain is at run time; everything here is the same code for all domains.

use super::{
    future::Waiters,
    unload,
    worker,
    FLOOD, //
};
use crate::{
    arch::context::in_nmi,
    bindings as helpers, //
};
use core::{
    cell::UnsafeCell,
    panic::Location, //
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
        LockClassKey, //
    },
    types::Opaque, //
};

/// A function that reclaims the object with the given head.
pub(super) type Reclaim = unsafe extern "C" fn(*mut bindings::callback_head);

/// Tells that something was leaked because it was retired in an NMI.
#[cold]
pub(super) fn leaked_in_nmi() {
    static TOLD: Atomic<i32> = Atomic::new(0);
    if TOLD.xchg(1, Relaxed) == 0 {
        pr_warn!("rcu: deferred in an NMI, so it is leaked\n");
    }
}

/// The state of a domain.
///
/// # Invariants
///
/// - Once `ready` has been stored, `pending` is initialised, and `srcu` too if `sleepable`; both
///   stay so until the module that the domain is in has been unloaded.
/// - `next` belongs to the list of domains and its lock.
pub struct DomainState {
    name: &'static CStr,
    sleepable: bool,
    ready: Atomic<i32>,
    srcu: Opaque<bindings::srcu_struct>,
    pending: Opaque<bindings::percpu_counter>,
    pub(super) waiters: Waiters,
    pub(super) next: UnsafeCell<*const DomainState>,
}

// SAFETY: The kernel's objects may be used from everywhere, `waiters` and `next` have locks.
unsafe impl Sync for DomainState {}

impl DomainState {
    /// Makes the state of a domain that is not ready.
    #[doc(hidden)]
    pub const fn new(name: &'static CStr, sleepable: bool) -> Self {
        // INVARIANT: Not ready.
        Self {
            name,
            sleepable,
            ready: Atomic::new(0),
            srcu: Opaque::zeroed(),
            pending: Opaque::zeroed(),
            waiters: Waiters::new(),
            next: UnsafeCell::new(core::ptr::null()),
        }
    }

    /// Whether readers may sleep: an SRCU domain.
    pub(super) fn sleepable(&self) -> bool {
        self.sleepable
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Acquire) != 0
    }

    /// The domain that a waiters' callback is for.
    ///
    /// # Safety
    ///
    /// `waiters` is a domain's.
    pub(super) unsafe fn of_waiters(waiters: *mut Waiters) -> &'static Self {
        // SAFETY: By the safety requirements; domains are static.
        unsafe { &*kernel::container_of!(waiters, Self, waiters) }
    }

    /// The domain's `srcu_struct`, null for the kernel's RCU.
    #[inline]
    pub(super) fn srcu(&self) -> *mut bindings::srcu_struct {
        if self.sleepable {
            self.srcu.get()
        } else {
            core::ptr::null_mut()
        }
    }

    /// The `srcu_struct` of a domain known to be sleepable.
    #[inline(always)]
    pub(super) fn srcu_raw(&self) -> *mut bindings::srcu_struct {
        self.srcu.get()
    }

    /// Makes the domain ready.
    ///
    /// # Safety
    ///
    /// It is not ready, and nobody else calls this or [`teardown`](Self::teardown) meanwhile.
    pub(super) unsafe fn prepare(&'static self, key: Pin<&'static LockClassKey>) -> Result {
        // SAFETY: The counter is not in use, as the domain is not ready.
        kernel::error::to_result(unsafe {
            helpers::quiesce_helper_rcu_counter_init(self.pending.get())
        })?;
        if self.sleepable {
            // SAFETY: Nor is the `srcu_struct`; it is static, as are its name and its key.
            let ret = kernel::error::to_result(unsafe {
                bindings::init_srcu_struct_with_key(
                    self.srcu.get(),
                    self.name.as_char_ptr(),
                    key.as_ptr(),
                )
            });
            if let Err(e) = ret {
                // SAFETY: It was initialised above, and nobody else knows of it.
                unsafe { helpers::quiesce_helper_rcu_counter_destroy(self.pending.get()) };
                return Err(e);
            }
        }
        // INVARIANT: Both are initialised.
        self.ready.store(1, Release);
        // Who has unpublished a pointer and then finds the domain not ready concludes that no
        // reader can have it. So a reader that the store above lets in has to see what was
        // published by then.
        kernel::sync::barrier::smp_mb(Full);
        Ok(())
    }

    /// Undoes [`prepare`](Self::prepare).
    ///
    /// # Safety
    ///
    /// The domain is ready, [`drain`](Self::drain) was called after its last use, and nobody uses
    /// it from here on.
    pub(super) unsafe fn teardown(&'static self) {
        // INVARIANT: Not ready from here on.
        self.ready.store(0, Relaxed);
        if self.sleepable {
            // SAFETY: It is initialised, without readers and callbacks.
            unsafe { bindings::cleanup_srcu_struct(self.srcu.get()) };
        }
        // SAFETY: It is initialised and out of use.
        unsafe { helpers::quiesce_helper_rcu_counter_destroy(self.pending.get()) };
    }

    /// What, combined with an address on the stack, marks a read section of this domain there.
    ///
    /// Odd, so that it is not the combination of two pointers.
    #[inline(always)]
    pub(super) fn mark(&self) -> usize {
        core::ptr::from_ref(self).addr().wrapping_add(1)
    }

    pub(super) fn in_reader(&self) -> bool {
        if self.sleepable {
            // SAFETY: Looks at the current stack only.
            unsafe { helpers::quiesce_helper_rcu_marked(self.mark()) }
        } else {
            // SAFETY: Looks at the current task only.
            unsafe { helpers::quiesce_helper_rcu_depth() }
        }
    }

    /// Whether the caller may wait for the readers.
    fn may_wait(&self, caller: &Location<'_>) -> Result {
        // SAFETY: Looks at the current task and CPU only.
        let context = unsafe { helpers::quiesce_helper_rcu_context() } as u32;
        let e = match context {
            helpers::QUIESCE_RCU_MAY_WAIT if self.sleepable && self.in_reader() => EDEADLK,
            helpers::QUIESCE_RCU_MAY_WAIT => return Ok(()),
            helpers::QUIESCE_RCU_READER if !self.sleepable => EDEADLK,
            _ => EAGAIN,
        };
        static TOLD: Atomic<i32> = Atomic::new(0);
        if TOLD.load(Relaxed) == 0 && TOLD.xchg(1, Relaxed) == 0 {
            pr_warn!(
                "rcu: {}:{} waits for the readers of {} where it must not ({:?})\n",
                caller.file(),
                caller.line(),
                self.name.to_str().unwrap_or("?"),
                e
            );
        }
        Err(e)
    }

    pub(super) fn synchronize(&self, expedited: bool, caller: &Location<'_>) -> Result {
        self.may_wait(caller)?;
        if !self.sleepable || self.is_ready() {
            let file = caller.file();
            // SAFETY: The domain is ready, the strings live during the call, and sleeping is
            // allowed here.
            unsafe {
                helpers::quiesce_helper_rcu_synchronize(
                    self.srcu(),
                    expedited,
                    self.name.as_char_ptr(),
                    file.as_ptr().cast(),
                    file.len(),
                    caller.line(),
                )
            };
        }
        Ok(())
    }

    pub(super) fn barrier(&self, caller: &Location<'_>) -> Result {
        self.may_wait(caller)?;
        // A destructor would wait for itself.
        if worker::is_current() {
            return Err(EDEADLK);
        }
        self.barrier_unchecked();
        worker::flush();
        Ok(())
    }

    /// Waits for the callbacks posted before.
    ///
    /// Process context, outside of the domain's read sections.
    fn barrier_unchecked(&self) {
        if !self.sleepable {
            // SAFETY: Process context.
            unsafe { bindings::rcu_barrier() };
        } else if self.is_ready() {
            // SAFETY: The domain is ready.
            unsafe { bindings::srcu_barrier(self.srcu.get()) };
        }
    }

    /// Waits until no callback posted before is left, nor a future that waited before.
    ///
    /// Process context, outside of the domain's read sections.
    pub(super) fn drain(&self) {
        // After a grace period every future that waited before is due, and the callback that finds
        // that out either comes after it, or was running and has posted itself again: two rounds.
        if !self.sleepable {
            // SAFETY: Process context.
            unsafe { bindings::synchronize_rcu() };
        } else if self.is_ready() {
            // SAFETY: The domain is ready.
            unsafe { bindings::synchronize_srcu(self.srcu.get()) };
        }
        self.barrier_unchecked();
        self.barrier_unchecked();
    }

    pub(super) fn pending(&self) -> usize {
        if !self.is_ready() {
            return 0;
        }
        // SAFETY: The domain is ready.
        let n = unsafe { helpers::quiesce_helper_rcu_counter_sum(self.pending.get()) };
        usize::try_from(n).unwrap_or(0)
    }

    /// Whether more than [`FLOOD`] destructors are pending, to within a few dozen for each CPU.
    ///
    /// The domain is ready.
    fn is_flooded(&self) -> bool {
        // SAFETY: The domain is ready.
        let n = unsafe { helpers::quiesce_helper_rcu_counter_read(self.pending.get()) };
        usize::try_from(n).is_ok_and(|n| n > FLOOD)
    }

    pub(super) fn throttle(&self, caller: &Location<'_>) -> Result {
        self.may_wait(caller)?;
        if worker::is_current() {
            return Err(EDEADLK);
        }
        while self.is_ready() && self.is_flooded() {
            self.barrier_unchecked();
            worker::flush();
        }
        Ok(())
    }

    /// Tells that `n` destructors posted by [`post`](Self::post) have begun.
    pub(super) fn done(&self, n: usize) {
        self.count(0isize.wrapping_sub_unsigned(n));
    }

    /// Adds `n` to the number of pending destructors.
    pub(super) fn count(&self, n: isize) {
        if self.is_ready() {
            // SAFETY: The domain is ready.
            unsafe { helpers::quiesce_helper_rcu_counter_add(self.pending.get(), n) };
        }
    }

    /// Has `func` called with `head` after a grace period, `weight` destructors being in it.
    ///
    /// `func` runs with bottom halves disabled, except in domains that are not ready: nobody reads
    /// there, and it runs on the workqueue at once.
    ///
    /// # Safety
    ///
    /// `head` and what it is in are valid and not used by others until `func` is called, `func`
    /// may be called with it on any task, and no reader can find the object any more. The caller
    /// has seen that this is no [`in_nmi`].
    pub(super) unsafe fn post(
        &'static self,
        head: *mut bindings::callback_head,
        func: Reclaim,
        weight: usize,
    ) {
        unload::note(func);
        if self.sleepable && !self.is_ready() {
            // SAFETY: By the safety requirements. No section of the domain has ever begun before
            // the object was unpublished, see `prepare`.
            unsafe { worker::push(head, func) };
            return;
        }
        self.count(weight as isize);
        if self.sleepable {
            // SAFETY: By the safety requirements, and the domain is ready.
            unsafe { bindings::call_srcu(self.srcu.get(), head, Some(func)) };
        } else if self.is_flooded() {
            // SAFETY: By the safety requirements.
            unsafe { helpers::quiesce_helper_call_rcu_hurry(head, Some(func)) };
        } else {
            // SAFETY: By the safety requirements.
            unsafe { bindings::call_rcu(head, Some(func)) };
        }
    }

    /// Has `func` called with `head` in process context, without a grace period.
    ///
    /// # Safety
    ///
    /// `head` and what it is in are valid and not used by others until `func` is called, `func` may
    /// be called with it on any task and calls [`done`](Self::done), and no reader can reach the
    /// object. Not in an NMI.
    pub(super) unsafe fn hand_over(
        &'static self,
        head: *mut bindings::callback_head,
        func: Reclaim,
    ) {
        unload::note(func);
        self.count(1);
        // SAFETY: By the safety requirements.
        unsafe { worker::push(head, func) };
    }

    /// Has `func` called with `head` after a grace period, without the delay of lazy callbacks.
    ///
    /// # Safety
    ///
    /// As for [`post`](Self::post); not in an NMI, and the domain is ready.
    pub(super) unsafe fn post_soon(
        &'static self,
        head: *mut bindings::callback_head,
        func: Reclaim,
    ) {
        if self.sleepable {
            // SAFETY: By the safety requirements.
            unsafe { bindings::call_srcu(self.srcu.get(), head, Some(func)) };
        } else {
            // SAFETY: By the safety requirements.
            unsafe { helpers::quiesce_helper_call_rcu_hurry(head, Some(func)) };
        }
    }

    /// The cookie of a grace period of SRCU that is over, as C's `get_completed_synchronize_srcu()`.
    ///
    /// A domain that is not ready has no readers, nor does it have grace periods to number.
    const OVER: bindings::rcu_gp_seq = bindings::rcu_gp_seq {
        norm: bindings::SRCU_GET_STATE_COMPLETED as usize,
        exp: 0,
    };

    /// The cookie of the next grace period.
    pub(super) fn snapshot(&self) -> bindings::rcu_gp_seq {
        let mut seq = Self::OVER;
        if !self.sleepable {
            // SAFETY: Writes to `seq`.
            unsafe { bindings::get_state_synchronize_rcu_full(&mut seq) };
        } else if self.is_ready() {
            // SAFETY: The domain is ready.
            seq.norm = unsafe { bindings::get_state_synchronize_srcu(self.srcu.get()) };
        }
        seq
    }

    /// Asks for a grace period.
    pub(super) fn start(&self, expedited: bool) -> bindings::rcu_gp_seq {
        if in_nmi() {
            return self.snapshot();
        }
        let mut seq = Self::OVER;
        if !self.sleepable {
            // SAFETY: Both write to `seq`.
            unsafe {
                if expedited {
                    bindings::start_poll_synchronize_rcu_expedited_full(&mut seq)
                } else {
                    bindings::start_poll_synchronize_rcu_full(&mut seq)
                }
            };
        } else if self.is_ready() {
            // SAFETY: The domain is ready.
            unsafe {
                seq.norm = bindings::start_poll_synchronize_srcu(self.srcu.get());
                if expedited {
                    bindings::srcu_expedite_current(self.srcu.get());
                }
            }
        }
        seq
    }

    /// Whether the grace period of a cookie is over.
    pub(super) fn is_over(&self, seq: &bindings::rcu_gp_seq) -> bool {
        let mut seq = *seq;
        if !self.sleepable {
            // SAFETY: Reads `seq`.
            unsafe { bindings::poll_state_synchronize_rcu_full(&mut seq) }
        } else if self.is_ready() {
            // SAFETY: The domain is ready.
            unsafe { bindings::poll_state_synchronize_srcu(self.srcu.get(), seq.norm) }
        } else {
            true
        }
    }
}
