// SPDX-License-Identifier: GPL-2.0

// Models of rundown references, included into their module.

use super::{
    listeners,
    percpu_core::{PerCpuCore, CLAIMED, RUN_DOWN},
    reaper,
    word::{self, After, Word},
    RundownError, Wait,
};
use crate::{
    arch::percpu_count::{self, Counters},
    models::{Model, Plain, ANY},
};
use core::ptr::NonNull;
use kernel::{
    alloc::KBox,
    rcu,
    sync::atomic::{Acquire, Atomic, Relaxed},
};
use loom::thread;
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model("rundown-release-wait", 3, || users(2, 1)),
    Model("rundown-two-waiters", 3, || users(1, 2)),
    Model("rundown-callback", 3, callback),
    Model("rundown-claim", 2, || claim(true)),
    Model("rundown-claim-in-turn", 2, || claim(false)),
    Model("rundown-claim-and-wait", 2, claim_and_wait),
    Model("rundown-resurrect", ANY, || resurrect(1)),
    Model("rundown-resurrect-two", 2, || resurrect(2)),
    Model("rundown-reinit", ANY, reinit),
    Model("rundown-timeout", 3, timeout),
    Model("rundown-saturate", ANY, saturate),
    Model("rundown-listeners", ANY, listen),
    Model("percpu-wait", 2, || percpu_wait(true)),
    Model("percpu-portable", 2, || percpu_wait(false)),
    Model("percpu-claim", 2, percpu_claim),
    Model("percpu-resurrect", 2, percpu_resurrect),
    Model("percpu-free", 2, percpu_free),
];

struct Object {
    word: Word,
    data: Plain,
}

const POISON: usize = 77;

impl Object {
    fn new() -> Arc<Self> {
        let object = Arc::new(Self {
            word: Word::live(),
            data: Plain::new(0),
        });
        object.word.is_begun();
        object
    }
    fn release(&self) {
        let key = self.word.key();
        if self.word.release_one() == After::Drained {
            word::wake(key);
        }
    }
    /// Uses the object if it is live.
    fn try_use(&self) {
        if self.word.acquire_one().is_ok() {
            assert_ne!(self.data.get(), POISON, "used after the rundown");
            self.release();
        }
    }
    fn wait(&self, how: Wait, claim: bool) -> Result<(), RundownError> {
        word::wait(&self.word, how, claim, None, &|| ())
    }
    /// Waits for the end of the rundown, which comes.
    fn must_end(&self, claim: bool) {
        assert_eq!(
            self.wait(Wait::uninterruptible(), claim),
            Ok(()),
            "a wait failed"
        );
    }
}

/// What is done under a guard comes before the return of a wait, and no wake-up is lost.
fn users(users: usize, waiters: usize) {
    let object = Object::new();
    let mut threads = Vec::new();
    for _ in 0..users {
        let object = object.clone();
        threads.push(thread::spawn(move || object.try_use()));
    }
    for _ in 1..waiters {
        let object = object.clone();
        threads.push(thread::spawn(move || object.must_end(false)));
    }
    object.must_end(false);
    object.data.set(POISON);
    assert!(
        object.word.acquire_one().is_err(),
        "acquired after the rundown"
    );
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// What is done under a guard comes before the callback, in whichever context that is called.
fn callback() {
    fn drained(object: &Object) {
        word::wake(object.word.key());
        object.data.set(POISON);
    }
    let object = Object::new();
    let users = [(), ()].map(|()| {
        let object = object.clone();
        thread::spawn(move || {
            if object.word.acquire_one().is_ok() {
                assert_ne!(object.data.get(), POISON, "used after the rundown");
                if object.word.release_one() == After::Drained {
                    drained(&object);
                }
            }
        })
    });
    if object.word.begin() == Some(After::Drained) {
        drained(&object);
    }
    users.into_iter().for_each(|user| user.join().unwrap());
    assert_eq!(object.data.get(), POISON, "the callback was not called");
}

/// Of those that claim the object, one has it at a time, and a user none of them; it is `live` in between, or
/// not.
fn claim(live: bool) {
    let object = Object::new();
    let threads = [(), ()].map(|()| {
        let object = object.clone();
        thread::spawn(move || {
            object.must_end(true);
            object.data.set(object.data.get() + 1);
            object.word.unclaim(live);
        })
    });
    object.try_use();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(object.data.get(), 2, "one of the claims was lost");
}

/// Waits that do not claim return while another has claimed the object.
fn claim_and_wait() {
    let object = Object::new();
    object.word.acquire_one().unwrap();
    let waits = {
        let object = object.clone();
        thread::spawn(move || object.must_end(false))
    };
    let releases = {
        let object = object.clone();
        thread::spawn(move || object.release())
    };
    object.must_end(true);
    object.data.set(1);
    waits.join().unwrap();
    object.word.unclaim(false);
    releases.join().unwrap();
    assert_eq!(object.word.is_run_down(), Ok(true));
}

/// Waits return although the rundown is cancelled, and say so.
fn resurrect(waits: usize) {
    let object = Object::new();
    object.word.acquire_one().unwrap();
    let waits: Vec<_> = (0..waits)
        .map(|_| {
            let object = object.clone();
            thread::spawn(move || object.wait(Wait::uninterruptible(), false))
        })
        .collect();
    let resurrected = object.word.resurrect().is_ok();
    object.release();
    for wait in waits {
        if let Err(e) = wait.join().unwrap() {
            assert_eq!(e, RundownError::Resurrected, "another error");
            assert!(resurrected, "nobody resurrected it");
        }
    }
}

/// A wait returns although the object is live again by the time that it runs.
fn reinit() {
    let object = Object::new();
    object.word.acquire_one().unwrap();
    assert!(object.word.begin().is_some());
    let waits = {
        let object = object.clone();
        thread::spawn(move || object.must_end(false))
    };
    object.data.set(1);
    object.release();
    if object.word.re_init().is_ok() {
        let again = object.clone();
        let user = thread::spawn(move || {
            if again.word.acquire_one().is_ok() {
                assert_eq!(again.data.get(), 1);
                again.release();
            }
        });
        user.join().unwrap();
        // If the wait has not begun by now, it runs the object down again.
    }
    waits.join().unwrap();
}

/// A wait that gives up takes no wake-up from another one.
fn timeout() {
    let object = Object::new();
    object.word.acquire_one().unwrap();
    let gives_up = {
        let object = object.clone();
        thread::spawn(
            move || match object.wait(Wait::uninterruptible().timeout(1), false) {
                Ok(()) => assert_eq!(object.word.is_run_down(), Ok(true)),
                Err(e) => assert_eq!(e, RundownError::TimedOut),
            },
        )
    };
    let waits = {
        let object = object.clone();
        thread::spawn(move || {
            object.must_end(false);
            assert_eq!(object.data.get(), 1);
        })
    };
    object.data.set(1);
    object.release();
    gives_up.join().unwrap();
    waits.join().unwrap();
}

/// One release too many: a wait fails, and does not hang.
fn saturate() {
    crate::bindings::WARNINGS.set(0);
    let object = Object::new();
    object.word.acquire_many(2).unwrap();
    let waits = {
        let object = object.clone();
        thread::spawn(move || object.wait(Wait::uninterruptible(), false))
    };
    assert!(object.word.release_many(3) == After::Nothing);
    assert_eq!(waits.join().unwrap(), Err(RundownError::Saturated));
    assert_eq!(crate::bindings::WARNINGS.get(), 1);
    assert_eq!(object.word.holders(), usize::MAX);
    assert!(object.word.claim().is_err() && object.word.re_init().is_err());
}

/// A listener is not called any more once it has returned, and is called if it was there in time.
fn listen() {
    struct Shared(Plain);
    let shared = Arc::new(Shared(Plain::new(0)));
    let key = Arc::as_ptr(&shared).addr();
    let begun = Arc::new(Atomic::new(false));
    begun.load(Relaxed);
    let listens = {
        let (shared, begun) = (shared.clone(), begun.clone());
        thread::spawn(move || {
            let called = Atomic::new(false);
            called.load(Relaxed);
            let notify = || {
                shared.0.get();
                called.store(true, Relaxed);
            };
            // What the body finds not begun begins while the listener is there, and is waited for.
            let late = listeners::listen(key, &notify, || {
                let late = begun.load(Acquire);
                while !late && !called.load(Relaxed) {
                    thread::yield_now();
                }
                late
            });
            // Nobody calls any more.
            shared.0.set(1);
            (late, called.load(Relaxed))
        })
    };
    begun.xchg(true, kernel::sync::atomic::Full);
    listeners::notify(key);
    let (late, called) = listens.join().unwrap();
    assert!(
        late || called,
        "the rundown began while the listener was there, and it was not called"
    );
}

/// A per-CPU reference, as `percpu_rundown_ref.rs` has it: a core, and the copy of its pointer.
struct PerCpu {
    core: NonNull<PerCpuCore>,
    counters: Counters,
    data: Plain,
    /// Acquisitions and releases are those of x86's assembly; else of C.
    assembly: bool,
}
// SAFETY: The reference may be sent and shared as the crate's own `PerCpuRundownRef`.
unsafe impl Send for PerCpu {}
// SAFETY: The reference may be sent and shared as the crate's own `PerCpuRundownRef`.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    fn new() -> Arc<Self> {
        Self::counted_by(true)
    }
    fn counted_by(assembly: bool) -> Arc<Self> {
        let core = KBox::pin_init(
            PerCpuCore::new(true, super::callbacks::Callback),
            kernel::alloc::GFP_KERNEL,
        )
        .unwrap();
        // SAFETY: The object is on the heap and is not moved before it is freed.
        let core = NonNull::new(KBox::into_raw(unsafe {
            core::pin::Pin::into_inner_unchecked(core)
        }))
        .unwrap();
        // SAFETY: The core was created above and is not freed yet.
        let at = unsafe { core.as_ref() }.counters();
        let this = Arc::new(Self {
            core,
            counters: Counters::new(at),
            data: Plain::new(0),
            assembly,
        });
        this.copy().load(Relaxed);
        this.core().is_begun();
        this
    }
    fn core(&self) -> &PerCpuCore {
        // SAFETY: The object is freed by `free()`, which the model calls after its threads have
        // ended.
        unsafe { self.core.as_ref() }
    }
    fn copy(&self) -> &Atomic<usize> {
        // SAFETY: The type is `repr(transparent)`, so both pointers are to the same layout.
        unsafe { &*(&raw const self.counters).cast() }
    }
    /// The assembly of `arch/percpu_count.rs`, transcribed: `broken.py` compares it with the file. Or what
    /// that file has for other processors.
    fn acquire(&self) -> bool {
        let count = self.core().count.get();
        if !self.assembly {
            // SAFETY: The count is initialised, and these are its counters' copy.
            return unsafe { percpu_count::tryget_live(&self.counters, || count) };
        }
        // SAFETY: The count is initialised.
        unsafe { kernel::percpu_ref::count_one(count, self.copy(), 1) }.is_some()
    }
    fn release(&self) {
        let count = self.core().count.get();
        // SAFETY: The count is initialised. Each model releases what `acquire()` returned `true` for, once.
        unsafe {
            if !self.assembly {
                return percpu_count::put(&self.counters, || count);
            }
            if kernel::percpu_ref::count_one(count, self.copy(), -1).is_none() {
                kernel::percpu_ref::quiesce_helper_percpu_ref_put(count);
            }
        }
    }
    fn wait(&self, claim: bool) -> Result<(), RundownError> {
        self.core().wait(Wait::uninterruptible(), claim, None, &|| {
            self.counters.set_dead()
        })
    }
    fn try_use(&self) {
        if self.acquire() {
            assert_ne!(self.data.get(), POISON, "used after the rundown");
            self.release();
        }
    }
    /// Gives up the ownership; `softirq` is the thread of the callbacks.
    fn free(&self, softirq: thread::JoinHandle<()>) {
        // SAFETY: This thread is the owner and does not use the core afterwards, unless it frees it
        // here.
        unsafe {
            if PerCpuCore::disown(self.core) {
                PerCpuCore::free_core(self.core);
            }
        }
        rcu::stop();
        softirq.join().unwrap();
        for core in reaper::take() {
            // SAFETY: The model's callbacks have all been called and have returned, so nobody uses
            // it any more.
            unsafe { PerCpuCore::reap(core) };
        }
        assert_eq!(kernel::alloc::blocks(), 0, "something was leaked");
    }
}

fn percpu_wait(assembly: bool) {
    let object = PerCpu::counted_by(assembly);
    let softirq = thread::spawn(rcu::softirq);
    let user = object.clone();
    let user = thread::spawn(move || user.try_use());
    object.wait(false).unwrap();
    object.data.set(POISON);
    assert!(!object.acquire(), "acquired after the rundown");
    user.join().unwrap();
    object.free(softirq);
}

fn percpu_claim() {
    let object = PerCpu::new();
    let softirq = thread::spawn(rcu::softirq);
    let user = object.clone();
    let user = thread::spawn(move || user.try_use());
    object.wait(true).unwrap();
    object.data.set(1);
    object
        .core()
        .arm(CLAIMED, &|at| object.counters.set(at))
        .unwrap();
    assert!(object.acquire(), "it is live again");
    object.release();
    user.join().unwrap();
    object.free(softirq);
}

fn percpu_resurrect() {
    let object = PerCpu::new();
    let softirq = thread::spawn(rcu::softirq);
    assert!(object.acquire());
    let waits = object.clone();
    let waits = thread::spawn(move || waits.wait(false));
    let resurrected = object
        .core()
        .resurrect(&|at| object.counters.set(at))
        .is_ok();
    object.try_use();
    object.release();
    match waits.join().unwrap() {
        Ok(()) => assert!(object.core().is_run_down()),
        Err(e) => {
            assert_eq!(e, RundownError::Resurrected);
            assert!(resurrected);
        }
    }
    object.free(softirq);
}

fn percpu_free() {
    let object = PerCpu::new();
    let softirq = thread::spawn(rcu::softirq);
    let user = object.clone();
    let user = thread::spawn(move || user.try_use());
    let (_, mutex) = object.core().begin(&|| object.counters.set_dead());
    drop(mutex);
    user.join().unwrap();
    object.free(softirq);
}
