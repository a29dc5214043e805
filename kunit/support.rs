// SPDX-License-Identifier: GPL-2.0

//! Kernel functions that the test modules need and the kernel crate lacks: threads, and running a
//! closure in each of the kernel's contexts.
//!
//! Nothing here asserts and nothing here knows KUnit, so that other modules can take this file
//! with `#[path]`; they link `support.o`.

#![allow(dead_code, reason = "each test module uses a part")]

use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    str::CStr, //
};

#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod bindings {
    use kernel::ffi;
    include!(concat!(env!("QUIESCE_OBJ"), "/kunit/support_generated.rs"));
}

macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident => $c:ident ($($arg:ident: $t:ty)?) $(-> $ret:ty)?;)*) => {
        $($(#[$doc])*
        pub(crate) fn $name($($arg: $t)?) $(-> $ret)? {
            // SAFETY: The function has no requirements that memory safety depends on.
            unsafe { bindings::$c($($arg)?) }
        })*
    };
}

probes! {
    /// The kernel's `preempt_count()`, with all its fields.
    preempt_count => quiesce_kunit_preempt_count() -> i32;
    /// Whether the caller can be preempted: in process context, with nothing disabled.
    preemptible => quiesce_kunit_preemptible() -> bool;
    /// Whether the address is in the module that this is compiled into.
    is_ours => quiesce_kunit_is_ours(address: usize) -> bool;
    /// Whether interrupts are disabled on this CPU.
    irqs_disabled => quiesce_kunit_irqs_disabled() -> bool;
    /// Whether softirqs are disabled or being served here, `softirq_count() != 0`.
    in_softirq_disabled => quiesce_kunit_softirq_disabled() -> bool;
    /// Whether the caller runs in a hardware interrupt.
    in_hardirq_context => quiesce_kunit_in_hardirq() -> bool;
    /// Whether the caller runs in a softirq.
    in_softirq_context => quiesce_kunit_in_serving_softirq() -> bool;
    /// Whether the caller runs in an NMI.
    in_nmi_context => quiesce_kunit_in_nmi() -> bool;
    /// The CPU the caller is on, which may be out of date if the caller can be preempted.
    cpu => quiesce_kunit_cpu() -> u32;
    /// The number of online CPUs.
    num_online_cpus => quiesce_kunit_online_cpus() -> u32;
    /// The online CPU after `cpu`, and the first one after the last.
    next_cpu => quiesce_kunit_next_cpu(cpu: i32) -> i32;
    /// The number of times that this CPU has entered or left an extended quiescent state of RCU;
    /// constant with tiny RCU.
    rcu_watching => quiesce_kunit_rcu_watching() -> u32;
    /// Begins a section of C's `local_irq_save()` and returns the flags.
    irq_save => quiesce_kunit_irq_save() -> usize;
    /// Ends a section of C's `local_irq_save()`.
    irq_restore => quiesce_kunit_irq_restore(flags: usize);
    /// Marks the calling task as one that another task wants the CPU of.
    set_need_resched => quiesce_kunit_set_need_resched();
    /// Whether the calling task is marked so.
    need_resched => quiesce_kunit_need_resched() -> bool;
    /// Spins politely once.
    cpu_relax => quiesce_kunit_cpu_relax();
    /// Spins for `us` microseconds.
    udelay => quiesce_kunit_udelay(us: u32);
    /// Sleeps for at least `ms` milliseconds.
    msleep => quiesce_kunit_msleep(ms: u32);
    /// Lets another task run if one wants to.
    cond_resched => quiesce_kunit_cond_resched();
}

/// The number of lines of the kernel's log that have `text`. Called by one test at a time.
pub(crate) fn logged(text: &CStr) -> u32 {
    // SAFETY: `text` is a string, and tests run one after the other.
    unsafe { bindings::quiesce_kunit_logged(text.as_char_ptr()) }
}

/// The counters of the current context that critical sections of all kinds change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    /// Sections that disable preemption.
    pub(crate) preempt: u32,
    /// Sections that disable bottom halves, each counted twice, and one for a softirq.
    pub(crate) softirq: u32,
    /// Sections that `local_interrupt_disable()` counts.
    pub(crate) hardirq_disable: u32,
    /// Whether interrupts are disabled.
    pub(crate) irqs_disabled: bool,
    /// RCU read-side critical sections, with preemptible RCU.
    pub(crate) rcu: u32,
    /// Sections that disable migration, with SMP.
    pub(crate) migrate: u32,
}

/// Reads all of them.
pub(crate) fn counts() -> Counts {
    let mut counts = MaybeUninit::uninit();
    // SAFETY: The function initialises the structure.
    let counts = unsafe {
        bindings::quiesce_kunit_counts(counts.as_mut_ptr());
        counts.assume_init()
    };
    Counts {
        preempt: counts.preempt,
        softirq: counts.softirq,
        hardirq_disable: counts.hardirq_disable,
        irqs_disabled: counts.irqs_disabled != 0,
        rcu: counts.rcu,
        migrate: counts.migrate,
    }
}

/// Says that `object`, which begins an allocation, is leaked on purpose.
pub(crate) fn leak<T>(object: &T) {
    let memory = core::ptr::from_ref(object).cast_mut().cast();
    // SAFETY: The function uses the address alone.
    unsafe { bindings::quiesce_kunit_leak(memory) }
}

/// The number of bytes of the allocation that a box of `kmalloc()` owns.
pub(crate) fn room<T>(object: &KBox<T>) -> usize {
    let memory = core::ptr::from_ref(&**object).cast();
    // SAFETY: `kmalloc()` returned the memory, which the box owns.
    unsafe { bindings::quiesce_kunit_room(memory) }
}

/// Runs `f` as lockdep sees it where the kernel frees memory for an allocation.
pub(crate) fn in_reclaim<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: The end is marked once `f` has returned.
    unsafe { bindings::quiesce_kunit_reclaim(true) };
    let ret = f();
    // SAFETY: The beginning was marked before `f`.
    unsafe { bindings::quiesce_kunit_reclaim(false) };
    ret
}

/// Runs `f` with preemption disabled.
pub(crate) fn preempt_disabled<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: `quiesce_kunit_preempt_enable()` is called once `f` has returned.
    unsafe { bindings::quiesce_kunit_preempt_disable() };
    let ret = f();
    // SAFETY: It pairs with `quiesce_kunit_preempt_disable()`, called before `f`.
    unsafe { bindings::quiesce_kunit_preempt_enable() };
    ret
}

/// Runs `f` with bottom halves disabled.
pub(crate) fn bh_disabled<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: `quiesce_kunit_bh_enable()` is called once `f` has returned.
    unsafe { bindings::quiesce_kunit_bh_disable() };
    let ret = f();
    // SAFETY: It pairs with `quiesce_kunit_bh_disable()`, called before `f`.
    unsafe { bindings::quiesce_kunit_bh_enable() };
    ret
}

/// A kernel thread; dropping it waits for its end.
///
/// # Invariants
///
/// `ptr` came from `quiesce_kunit_thread_start` and was not joined.
#[must_use = "the thread is waited for when this is dropped"]
pub(crate) struct Thread {
    ptr: *mut c_void,
}

// SAFETY: Any task may wait for the thread.
unsafe impl Send for Thread {}

impl Thread {
    /// Waits for the end of the thread, uninterruptibly.
    pub(crate) fn join(self) {}

    /// Whether the thread sleeps, or has ended.
    fn sleeps(&self) -> bool {
        // SAFETY: By the type invariants the thread is there.
        unsafe { bindings::quiesce_kunit_thread_sleeps(self.ptr) }
    }
}

/// Waits until each of the threads, which have begun what they do, has slept.
///
/// Sleeping for a lock counts as well, which on PREEMPT_RT is each contended one. Some time on top
/// is for that.
pub(crate) fn await_asleep(threads: &[Thread]) {
    for thread in threads {
        while !thread.sleeps() {
            msleep(1);
        }
    }
    msleep(20);
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the thread is there and this is its only join.
        unsafe { bindings::quiesce_kunit_thread_join(self.ptr) }
    }
}

/// # Safety
///
/// `data` is a `KBox<F>` given away, to be run once.
unsafe extern "C" fn run_boxed<F: FnOnce()>(data: *mut c_void) {
    // SAFETY: `start` gave the box away, and a thread's function runs once.
    let f = unsafe { KBox::<F>::from_raw(data.cast()) };
    KBox::into_inner(f)();
}

fn start<F: FnOnce() + Send + 'static>(name: &CStr, cpu: i32, f: F) -> Result<Thread> {
    let data = KBox::into_raw(KBox::new(f, GFP_KERNEL)?);
    // SAFETY: `run_boxed::<F>` takes what `data` is, on any task as `F: Send + 'static`.
    let ret = from_err_ptr(unsafe {
        bindings::quiesce_kunit_thread_start(
            Some(run_boxed::<F>),
            data.cast(),
            cpu,
            name.as_char_ptr(),
        )
    });
    match ret {
        // INVARIANT: `ptr` was returned by `quiesce_kunit_thread_start()` and was not joined.
        Ok(ptr) => Ok(Thread { ptr }),
        Err(e) => {
            // SAFETY: No thread was made, so nobody took the box.
            drop(unsafe { KBox::from_raw(data) });
            Err(e)
        }
    }
}

/// Starts a kernel thread that runs `f`.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &CStr, f: F) -> Result<Thread> {
    start(name, bindings::QUIESCE_KUNIT_ANY_CPU, f)
}

/// Starts a kernel thread that runs `f` on the CPU `cpu` alone.
pub(crate) fn spawn_on<F: FnOnce() + Send + 'static>(
    cpu: i32,
    name: &CStr,
    f: F,
) -> Result<Thread> {
    start(name, cpu, f)
}

type Runner = unsafe extern "C" fn(bindings::quiesce_kunit_fn, *mut c_void) -> bool;

struct Call<F, R> {
    f: Option<F>,
    ret: MaybeUninit<R>,
}

/// # Safety
///
/// `data` is a `Call<F, R>` that nobody else uses during the call.
unsafe extern "C" fn run_call<F: FnOnce() -> R, R>(data: *mut c_void) {
    // SAFETY: `data` is the `Call<F, R>` of `run_in()`, which does not access it until the runner
    // has returned.
    let call = unsafe { &mut *data.cast::<Call<F, R>>() };
    if let Some(f) = call.f.take() {
        call.ret.write(f());
    }
}

/// Runs `f` by `runner`; `None` if it did not run it.
fn run_in<F: FnOnce() -> R + Send, R: Send>(runner: Runner, f: F) -> Option<R> {
    let run = |f, data| {
        // SAFETY: `run_by` passes what the runner needs.
        unsafe { runner(f, data) }
    };
    run_by(run, f)
}

/// As [`run_in`], by a closure.
fn run_by<F: FnOnce() -> R + Send, R: Send>(
    runner: impl FnOnce(bindings::quiesce_kunit_fn, *mut c_void) -> bool,
    f: F,
) -> Option<R> {
    let mut call = Call {
        f: Some(f),
        ret: MaybeUninit::uninit(),
    };
    // `run_call::<F, R>` takes what the second argument is; it lives until the runner is back, and
    // the runner calls at most once, before that.
    if !runner(Some(run_call::<F, R>), (&raw mut call).cast()) {
        return None;
    }
    // SAFETY: The runner says that it ran the closure, so that the value is there.
    Some(unsafe { call.ret.assume_init() })
}

/// Runs `f` in a hardware interrupt on this CPU (also on PREEMPT_RT) and waits for it, without
/// sleeping.
///
/// `None`, and `f` not run, if interrupts are disabled here.
pub(crate) fn in_hardirq<R: Send>(f: impl FnOnce() -> R + Send) -> Option<R> {
    run_in(bindings::quiesce_kunit_run_hardirq, f)
}

/// Runs `f` in a softirq on this CPU and waits for it.
///
/// `None`, and `f` not run, if the caller may not sleep.
pub(crate) fn in_softirq<R: Send>(f: impl FnOnce() -> R + Send) -> Option<R> {
    run_in(bindings::quiesce_kunit_run_softirq, f)
}

/// Runs `f` in an NMI on this CPU and waits for it; the caller must be able to sleep.
///
/// `None`, and `f` not run, where there is no way to send one or the caller may not sleep.
pub(crate) fn in_nmi<R: Send>(f: impl FnOnce() -> R + Send) -> Option<R> {
    run_in(bindings::quiesce_kunit_run_nmi, f)
}

/// As [`in_nmi`], on the CPU `cpu`, whatever is running there.
pub(crate) fn in_nmi_on<R: Send>(cpu: i32, f: impl FnOnce() -> R + Send) -> Option<R> {
    let run = |f, data| {
        // SAFETY: `run_by` passes what the function needs.
        unsafe { bindings::quiesce_kunit_run_nmi_on(cpu, f, data) }
    };
    run_by(run, f)
}

/// The context a [`Timer`] calls from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerContext {
    /// A hardware interrupt, also on PREEMPT_RT.
    Hardirq,
    /// A softirq.
    Softirq,
}

/// A timer that calls a closure again and again, until it is dropped.
///
/// # Invariants
///
/// `ptr` came from `quiesce_kunit_timer_start` with `data` and was not stopped.
#[must_use = "the timer stops when this is dropped"]
pub(crate) struct Timer<F: Fn() + Send + Sync + 'static> {
    ptr: *mut c_void,
    data: *mut F,
    _owns: PhantomData<KBox<F>>,
}

// SAFETY: Any task may stop the timer and drop the closure, which is `Send`.
unsafe impl<F: Fn() + Send + Sync + 'static> Send for Timer<F> {}

/// # Safety
///
/// `data` is an `F` that outlives the call.
unsafe extern "C" fn run_shared<F: Fn()>(data: *mut c_void) {
    // SAFETY: The closure lives until the timer has been stopped.
    let f = unsafe { &*data.cast::<F>() };
    f();
}

impl<F: Fn() + Send + Sync + 'static> Timer<F> {
    /// Starts a timer that calls `f` with `period_us` between its end and the next call, on the
    /// CPU `cpu` or on this one.
    pub(crate) fn start(
        context: TimerContext,
        period_us: u32,
        cpu: Option<i32>,
        f: F,
    ) -> Result<Self> {
        let data = KBox::into_raw(KBox::new(f, GFP_KERNEL)?);
        // SAFETY: `run_shared::<F>` takes what `data` is, from any context as `F: Sync`.
        let ret = from_err_ptr(unsafe {
            bindings::quiesce_kunit_timer_start(
                Some(run_shared::<F>),
                data.cast(),
                context == TimerContext::Hardirq,
                period_us,
                cpu.unwrap_or(bindings::QUIESCE_KUNIT_ANY_CPU),
            )
        });
        match ret {
            // INVARIANT: It was just started.
            Ok(ptr) => Ok(Self {
                ptr,
                data,
                _owns: PhantomData,
            }),
            Err(e) => {
                // SAFETY: There is no timer, so nobody uses the closure.
                drop(unsafe { KBox::from_raw(data) });
                Err(e)
            }
        }
    }
}

impl<F: Fn() + Send + Sync + 'static> Drop for Timer<F> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the timer runs, and this stops it once. It waits for a
        // call under way.
        unsafe { bindings::quiesce_kunit_timer_stop(self.ptr) };
        // SAFETY: The closure came from a box and nobody uses it any more.
        drop(unsafe { KBox::from_raw(self.data) });
    }
}

/// A tasklet that counts its runs.
///
/// # Invariants
///
/// `ptr` came from `quiesce_kunit_tasklet_new` and was not freed.
pub(crate) struct Tasklet {
    ptr: *mut c_void,
}

impl Tasklet {
    /// Makes a tasklet.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The function takes no arguments and requires only that the caller may sleep.
        let ptr = from_err_ptr(unsafe { bindings::quiesce_kunit_tasklet_new() })?;
        // INVARIANT: `ptr` was returned by `quiesce_kunit_tasklet_new()`.
        Ok(Self { ptr })
    }

    /// Schedules it to run once more, in a softirq of this CPU.
    pub(crate) fn schedule(&self) {
        // SAFETY: By the type invariants, `ptr` is a tasklet that was not freed.
        unsafe { bindings::quiesce_kunit_tasklet_schedule(self.ptr) }
    }

    /// Returns how often it ran.
    pub(crate) fn runs(&self) -> u32 {
        // SAFETY: By the type invariants, `ptr` is a tasklet that was not freed.
        unsafe { bindings::quiesce_kunit_tasklet_runs(self.ptr) }
    }
}

impl Drop for Tasklet {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `ptr` is a tasklet that was not freed. Last use.
        unsafe { bindings::quiesce_kunit_tasklet_free(self.ptr) }
    }
}
