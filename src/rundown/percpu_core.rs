// SPDX-License-Identifier: GPL-2.0

//! What of the per-CPU form is not generic: a `percpu_ref` and the phase it is in.

use crate::{
    bindings as helpers,
    rundown::{
        wait,
        RundownError,
        Wait, //
    }, //
};
use core::marker::PhantomPinned;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    static_lock_class,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        LockClassKey,
        Mutex,
        MutexGuard, //
    },
    types::Opaque,
};

/// The percpu_ref has its initial reference; acquisitions succeed.
const LIVE: u32 = 0;
/// It was killed and its release callback has not been called.
const BEGUN: u32 = 1;
/// The release callback was called.
pub(super) const RUN_DOWN: u32 = 2;
/// As `RUN_DOWN`, and somebody has the object alone.
pub(super) const CLAIMED: u32 = 3;

/// What of the reference is not generic.
///
/// # Invariants
///
/// - `count` was initialised by `percpu_ref_init()`, with `released` as its release callback.
/// - `phase` is one of the constants above, which say what `count` is in. It is changed with `mutex`
///   held, except from `BEGUN` to `RUN_DOWN` by the callback, and between `RUN_DOWN` and `CLAIMED`.
/// - While an acquisition exists, `count` holds a reference for it.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct Core {
    /// First, so that the address of the object is at hand as the count's.
    #[pin]
    pub(super) count: Opaque<bindings::percpu_ref>,
    phase: Atomic<u32>,
    /// What was acquired in large numbers since the object was armed; see `charge`.
    charged: Atomic<usize>,
    /// The CPUs' counters may be under collection, by a callback of RCU.
    #[pin]
    collecting: Mutex<bool>,
    /// Is called with the core.
    drained: unsafe fn(*const Core),
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A percpu_ref may be freed by any task.
unsafe impl Send for Core {}

// SAFETY: A percpu_ref is made for concurrent use; the rest synchronises itself.
unsafe impl Sync for Core {}

impl Core {
    pub(super) fn new(live: bool, drained: unsafe fn(*const Core)) -> impl PinInit<Self, Error> {
        let phase = if live { LIVE } else { RUN_DOWN };
        let (name, key) = class();
        // INVARIANT: `phase` goes with how the count begins.
        try_pin_init!(Self {
            count <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The slot can be written, and is pinned.
                to_result(unsafe {
                    helpers::quiesce_helper_percpu_ref_init(slot, Some(released), live)
                })
            }),
            phase: Atomic::new(phase),
            charged: Atomic::new(0),
            collecting <- Mutex::new(false, name, key),
            drained,
            _pin: PhantomPinned,
        }? Error)
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Charges `n` acquisitions, if they are many, to what the object can have.
    ///
    /// The sum of the CPUs' counters is not known, and must not wrap around: then the object would
    /// be taken for run down with holders. Small numbers cannot make it in the time there is: 2^54
    /// acquisitions, one each nanosecond, take half a year. Large ones are summed up here, as if
    /// none were ever released.
    pub(super) fn charge(&self, n: usize) -> Result<(), RundownError> {
        const FREE: usize = 1 << 10;
        const MOST: usize = usize::MAX >> 2;

        if n <= FREE {
            return Ok(());
        }
        let mut old = self.charged.load(Relaxed);
        loop {
            let new = old
                .checked_add(n)
                .filter(|&sum| sum <= MOST)
                .ok_or(RundownError::Overflow)?;
            match self.charged.cmpxchg(old, new, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    pub(super) fn acquire_more(&self, n: usize) {
        // SAFETY: `count` is initialised.
        unsafe { helpers::quiesce_helper_percpu_ref_get_many(self.count.get(), n) };
    }

    /// Begins the rundown if the object is live, and keeps it from being armed until the guard is
    /// dropped.
    pub(super) fn begin(&self) -> (bool, MutexGuard<'_, bool>) {
        let mut collecting = self.collecting.lock();
        if self.phase.load(Relaxed) != LIVE {
            return (false, collecting);
        }
        *collecting = true;
        // INVARIANT: It is killed next; the callback is not called before.
        self.phase.store(BEGUN, Relaxed);
        // SAFETY: `count` is live, and the mutex is held, so that it is killed once.
        unsafe { bindings::percpu_ref_kill_and_confirm(self.count.get(), None) };
        (true, collecting)
    }

    /// Arms what is in the phase `from`, which must stay in it unless the caller changes it.
    pub(super) fn arm(&self, from: u32) -> Result<(), RundownError> {
        let mut collecting = self.collecting.lock();
        // Full: what was done to the object comes before `percpu_ref_reinit()` lets others in.
        //
        // INVARIANT: `count` is at zero and gets its initial reference next, with the mutex held.
        wait::settle(self.key(), Ok(()), || {
            match self.phase.cmpxchg(from, LIVE, Full) {
                Ok(_) => Ok(()),
                Err(_) => Err(RundownError::NotDrained),
            }
        })?;
        // The callback was called, so that the collection had ended, and nothing is acquired.
        *collecting = false;
        self.charged.store(0, Relaxed);
        // SAFETY: `count` was killed and has reached zero, and may be initialised again.
        unsafe { bindings::percpu_ref_reinit(self.count.get()) };
        Ok(())
    }

    pub(super) fn resurrect(&self) -> Result<(), RundownError> {
        let _mutex = self.collecting.lock();
        if self.phase.load(Relaxed) != BEGUN {
            return Err(RundownError::NotInProgress);
        }
        // The reference keeps the callback from being called.
        //
        // SAFETY: `count` is initialised.
        if !unsafe { helpers::quiesce_helper_percpu_ref_tryget(self.count.get()) } {
            return Err(RundownError::NotInProgress);
        }
        // INVARIANT: `count` gets its initial reference next, with the mutex held.
        let ret = wait::settle(self.key(), Err(RundownError::Resurrected), || {
            self.phase.store(LIVE, Relaxed);
            Ok(())
        });
        // SAFETY: `count` was killed and is not at zero. The reference was got above.
        unsafe {
            bindings::percpu_ref_resurrect(self.count.get());
            helpers::quiesce_helper_percpu_ref_put(self.count.get());
        }
        ret
    }

    pub(super) fn claim(&self) -> Result<(), RundownError> {
        // INVARIANT: Nobody else has claimed it.
        match self.phase.cmpxchg(RUN_DOWN, CLAIMED, Full) {
            Ok(_) => Ok(()),
            Err(_) => Err(RundownError::NotDrained),
        }
    }

    /// Gives up the caller's claim, without arming the object.
    pub(super) fn unclaim(&self) {
        // INVARIANT: It is run down, and no longer claimed.
        self.phase.store(RUN_DOWN, Release);
        wait::poke(self.key());
    }

    pub(super) fn is_begun(&self) -> bool {
        self.phase.load(Relaxed) != LIVE
    }

    pub(super) fn is_run_down(&self) -> bool {
        matches!(self.phase.load(Acquire), RUN_DOWN | CLAIMED)
    }

    pub(super) fn wait(&self, mut how: Wait, claim: bool) -> Result<(), RundownError> {
        loop {
            let (_, collecting) = self.begin();
            let mut look = Look {
                core: self,
                claim,
                unarmed: Some(collecting),
            };
            match wait::wait(self.key(), &mut how, &mut look) {
                Err(RundownError::NotDrained) => {}
                ret => return ret,
            }
        }
    }

    pub(super) fn holders(&self) -> usize {
        // SAFETY: `count` is initialised.
        unsafe { helpers::quiesce_helper_percpu_ref_holders(self.count.get()) }
    }
}

#[pinned_drop]
impl PinnedDrop for Core {
    fn drop(self: Pin<&mut Self>) {
        // Guards are gone or leaked. If counters may be under collection, RCU's callback has to end
        // first: it uses the reference, and is not waited for by `percpu_ref_exit()`. When the
        // rundown is over, so is the collection.
        if *self.collecting.lock() && !self.is_run_down() {
            // SAFETY: No requirements.
            unsafe { bindings::rcu_barrier() };
        }
        // SAFETY: `count` is initialised, and nobody uses it any more.
        unsafe { bindings::percpu_ref_exit(self.count.get()) };
    }
}

/// The mutexes' class for lockdep.
///
/// Never inline: the initialiser is compiled into each module that makes a reference, and a name is a
/// name of its own there, while lockdep wants one and the same.
#[inline(never)]
fn class() -> (&'static CStr, Pin<&'static LockClassKey>) {
    (c"quiesce_percpu_rundown", static_lock_class!())
}

/// The last reference of a killed `percpu_ref` was put.
///
/// # Safety
///
/// `count` is the one of a [`Core`].
unsafe extern "C" fn released(count: *mut bindings::percpu_ref) {
    // SAFETY: By the requirements. `Opaque` has the layout of what it holds.
    let core: *const Core = unsafe { kernel::container_of!(Opaque::cast_from(count), Core, count) };
    // SAFETY: The core stays alive until its phase is changed below: its drop waits for that if
    // there was a rundown.
    let (key, phase) = unsafe {
        ((*core).drained)(core);
        ((*core).key(), &(*core).phase)
    };
    // INVARIANT: The phase was `BEGUN`, as the count was killed. Release: guards' uses come before.
    phase.store(RUN_DOWN, Release);
    // The core may be gone.
    wait::poke(key);
}

/// A waiter's view of a core.
struct Look<'a> {
    core: &'a Core,
    claim: bool,
    /// Until the waiter is known, nobody may arm or resurrect the object.
    unarmed: Option<MutexGuard<'a, bool>>,
}

impl wait::Subject for Look<'_> {
    fn look(&mut self) -> Option<Result<(), RundownError>> {
        let over = if self.claim {
            self.core.claim().is_ok()
        } else {
            self.core.is_run_down()
        };
        over.then_some(Ok(()))
    }

    fn told(&self, told: Result<(), RundownError>) -> Result<(), RundownError> {
        if self.claim {
            // Somebody else claimed the object and armed it: begin anew.
            told.and(Err(RundownError::NotDrained))
        } else {
            told
        }
    }

    fn unlocked(&mut self) {
        self.unarmed = None;
    }

    fn holders(&self) -> usize {
        self.core.holders()
    }
}
