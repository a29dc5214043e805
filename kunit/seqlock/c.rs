// SPDX-License-Identifier: GPL-2.0

//! A lock shared with C code: C's writers against our readers and the reverse.

use core::ffi::c_void;
use kernel::{
    bindings::seqlock_t,
    error::from_err_ptr,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use quiesce::{
    new_seqlock,
    seqlock::{
        Bh,
        SeqLock,
        ThreadedIrq, //
    },
};

use super::stress::{
    From,
    Payload,
    Subject, //
};
use crate::support::bindings as c;

/// C's lock with a payload, and who writes it.
///
/// # Invariants
///
/// `ptr` came from `quiesce_kunit_seq_new` and was not freed.
pub(super) struct Shared<const C_WRITES: bool> {
    ptr: *mut c_void,
    /// C's writers read, add and write: one at a time.
    writers: Pin<KBox<Mutex<()>>>,
}

// SAFETY: `ptr` may be freed by any task, and the mutex is `Send`.
unsafe impl<const C_WRITES: bool> Send for Shared<C_WRITES> {}
// SAFETY: All accesses go through the `seqlock_t`; an addition in C also holds `writers`.
unsafe impl<const C_WRITES: bool> Sync for Shared<C_WRITES> {}

impl<const C_WRITES: bool> Shared<C_WRITES> {
    fn lock(&self) -> &SeqLock<Payload, Bh> {
        // SAFETY: By the type invariants it is a `seqlock_t` with 16 words after it, aligned by
        // `kzalloc()`, and C writes them under the lock with bottom halves disabled.
        unsafe { SeqLock::from_raw(self.ptr.cast::<seqlock_t>()) }
    }
}

impl<const C_WRITES: bool> Drop for Shared<C_WRITES> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `ptr` was not freed; `&mut self` excludes other users.
        unsafe { c::quiesce_kunit_seq_free(self.ptr) }
    }
}

fn c_read<C: quiesce::seqlock::Context>(lock: &SeqLock<Payload, C>) -> Payload {
    let mut copy = Payload::of(0);
    // SAFETY: `as_raw()` and `data_ptr()` point to the lock and to its value, and the other payload
    // is a local; each has 16 words.
    unsafe {
        c::quiesce_kunit_seq_read(
            lock.as_raw().cast(),
            lock.data_ptr().cast(),
            (&raw mut copy).cast(),
        )
    };
    copy
}

fn c_write<C: quiesce::seqlock::Context>(lock: &SeqLock<Payload, C>, payload: Payload, mode: i32) {
    // SAFETY: `as_raw()` and `data_ptr()` point to the lock and to its value, and the other payload
    // is a local; each has 16 words.
    unsafe {
        c::quiesce_kunit_seq_write(
            lock.as_raw().cast(),
            lock.data_ptr().cast(),
            (&raw const payload).cast(),
            mode,
        )
    };
}

fn c_read_excl<C: quiesce::seqlock::Context>(lock: &SeqLock<Payload, C>, mode: i32) -> Payload {
    let mut copy = Payload::of(0);
    // SAFETY: `as_raw()` and `data_ptr()` point to the lock and to its value, and the other payload
    // is a local; each has 16 words.
    unsafe {
        c::quiesce_kunit_seq_read_excl(
            lock.as_raw().cast(),
            lock.data_ptr().cast(),
            (&raw mut copy).cast(),
            mode,
        )
    };
    copy
}

impl<const C_WRITES: bool> Subject for Shared<C_WRITES> {
    fn writable(from: From) -> bool {
        match from {
            From::Process => true,
            From::Softirq => !C_WRITES,
            From::Hardirq => false,
        }
    }

    fn new() -> Result<Arc<Self>> {
        let zero = Payload::of(0);
        // SAFETY: A payload is 16 words, which C reads during the call alone.
        let ptr = from_err_ptr(unsafe { c::quiesce_kunit_seq_new((&raw const zero).cast()) })?;
        let writers = KBox::pin_init(new_mutex!(()), GFP_KERNEL);
        // INVARIANT: `ptr` was returned by `quiesce_kunit_seq_new()`.
        Ok(Arc::new(
            Self {
                ptr,
                writers: writers?,
            },
            GFP_KERNEL,
        )?)
    }

    fn read(&self, way: u64) -> Payload {
        if C_WRITES {
            Subject::read(self.lock(), way)
        } else if way % 8 == 0 {
            c_read_excl(self.lock(), 1)
        } else {
            c_read(self.lock())
        }
    }

    fn write(&self, from: From, pause: impl Fn()) {
        if C_WRITES {
            let _writer = self.writers.lock();
            let next = Payload::of(self.lock().read().low[0].wrapping_add(1));
            c_write(self.lock(), next, 1);
        } else {
            Subject::write(self.lock(), from, pause)
        }
    }
}

#[kunit_tests(quiesce_seqlock_c)]
mod tests {
    use super::*;
    use crate::seqlock::stress::{
        stress,
        Plan, //
    };

    const PLAN: Plan = Plan {
        reads: 200_000,
        pause_us: 2,
    };

    #[test]
    fn each_side_sees_the_other_in_each_mode() -> Result {
        let lock = KBox::pin_init(
            new_seqlock!(SeqLock<Payload, ThreadedIrq>, Payload::of(0)),
            GFP_KERNEL,
        )?;
        for mode in 0..4 {
            let n = 10 * (mode as u64 + 1);
            c_write(&lock, Payload::of(n), mode);
            assert_eq!(lock.read().n(), Some(n));
            assert_eq!(lock.read_exclusive_irq().n(), Some(n));
            lock.write_irqsave().set(Payload::of(n + 1));
            assert_eq!(c_read(&lock).n(), Some(n + 1));
            assert_eq!(c_read_excl(&lock, mode).n(), Some(n + 1));
        }
        Ok(())
    }

    #[test]
    fn c_writers_against_our_readers() -> Result {
        let report = stress::<Shared<true>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads && report.process_writes > 0);
        Ok(())
    }

    #[test]
    fn our_writers_against_c_readers() -> Result {
        let report = stress::<Shared<false>>(PLAN)?;
        assert!(report.is_sound());
        assert!(report.reads >= PLAN.reads);
        assert!(report.process_writes > 0 && report.softirq_writes > 0);
        Ok(())
    }
}
