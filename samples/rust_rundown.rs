// SPDX-License-Identifier: GPL-2.0

//! Sample: a resource that several threads use, and that is replaced and removed while they do.
//!
//! The threads know neither each other nor when the resource is removed. Each acquires it, may
//! sleep while holding it, and skips the iteration if the acquisition fails. The task that removes
//! it waits for its holders and then owns it exclusively. `c_rundown.c` is the same in C.

use core::ptr;
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    Rundown,
    Wait, //
};

module! {
    type: Sample,
    name: "rust_rundown",
    authors: ["The quiesce developers"],
    description: "Uses rundown references",
    license: "GPL",
}

/// The resource: something with a part that is used up in a while.
struct Buffer {
    generation: u32,
    uses: Atomic<u32>,
    data: KVec<u8>,
}

/// There is no buffer at first: acquiring fails until one is filled in.
static BUFFER: Rundown<Buffer> = Rundown::new_vacant();

static USES: Atomic<u32> = Atomic::new(0);
static REFUSALS: Atomic<u32> = Atomic::new(0);

fn sleep(ms: u32) {
    // SAFETY: The callers are threads of their own, or load or unload the module.
    unsafe { bindings::msleep(ms) };
}

fn user() {
    match BUFFER.try_acquire() {
        Ok(buffer) => {
            // The buffer stays until the guard is dropped, also while this sleeps.
            let first = buffer.data.first().copied();
            sleep(1);
            if buffer.data.last().copied() == first {
                buffer.uses.fetch_add(1, Relaxed);
            }
            USES.fetch_add(1, Relaxed);
        }
        Err(_) => {
            REFUSALS.fetch_add(1, Relaxed);
            sleep(1);
        }
    }
}

/// A thread that uses the buffer again and again; ends when this is dropped.
///
/// # Invariants
///
/// The task runs `main` and was not stopped.
struct User(ptr::NonNull<bindings::task_struct>);

// SAFETY: The only field is a pointer for `kthread_stop()`, which any task may call.
unsafe impl Send for User {}

// SAFETY: No method takes `&User`, so a shared reference gives access to nothing.
unsafe impl Sync for User {}

impl User {
    fn start() -> Result<Self> {
        // SAFETY: `main` needs no argument; the name is NUL-terminated and has no directives.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(Self::main),
                ptr::null_mut(),
                bindings::NUMA_NO_NODE,
                c"rust_rundown".as_char_ptr(),
            )
        })?;
        // SAFETY: The thread was just made, and does not end before it is stopped.
        unsafe { bindings::wake_up_process(task) };
        // INVARIANT: The task was created to run `main`, and nobody else stops it.
        Ok(Self(ptr::NonNull::new(task).ok_or(EINVAL)?))
    }

    /// The thread's function.
    ///
    /// # Safety
    ///
    /// Called by a thread that `kthread_create_on_node()` made.
    unsafe extern "C" fn main(_: *mut ffi::c_void) -> ffi::c_int {
        // SAFETY: `kthread_create_on_node()` runs this function, so `current` is a kthread.
        while !unsafe { bindings::kthread_should_stop() } {
            user();
        }
        0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the thread runs, until this stops it.
        unsafe { bindings::kthread_stop(self.0.as_ptr()) };
    }
}

fn buffer(generation: u32) -> Result<Buffer> {
    Ok(Buffer {
        generation,
        uses: Atomic::new(0),
        data: KVec::from_elem(generation as u8, 64, GFP_KERNEL)?,
    })
}

struct Sample {
    // The threads run this module's code: they end before it goes.
    _users: KVec<User>,
}

impl kernel::Module for Sample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut users = KVec::new();
        for _ in 0..3 {
            users.push(User::start()?, GFP_KERNEL)?;
        }
        BUFFER.vacancy()?.fill(buffer(0)?);

        for generation in 1..=3 {
            sleep(20);
            // From here on nobody gets the buffer; those who have it finish first.
            let waited = BUFFER.wait_with(Wait::killable().timeout(msecs_to_jiffies(10_000)))?;
            let (old, vacant) = waited.take();
            pr_info!(
                "buffer {} was taken away in use after {} uses\n",
                old.generation,
                old.uses.load(Relaxed)
            );
            drop(old);
            vacant.fill(buffer(generation)?);
        }
        Ok(Self { _users: users })
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // While all of them run.
        if let Ok(last) = BUFFER.wait_for_rundown() {
            pr_info!(
                "everybody is out of buffer {}: {} uses, {} refusals\n",
                last.generation,
                USES.load(Relaxed),
                REFUSALS.load(Relaxed)
            );
            // A static is not dropped by itself.
            drop(last.take());
        }
    }
}
