// SPDX-License-Identifier: GPL-2.0

//! RCU.

use core::hint::black_box;
use kernel::prelude::*;
use quiesce::rcu::{
    define_domain,
    global,
    AtomicDrop,
    Domain,
    InSoftirq,
    Object,
    RcuCell,
    Srcu, //
};

/// The payload of the baseline's `struct node`, which follows its `rcu_head`.
type Value = [u64; 3];

/// A value whose destructor stores one word, as the baseline's callback does: what is measured is
/// not the destructor, and an atomic operation would be a call here and inline there.
struct Marked {
    value: Value,
}

impl Drop for Marked {
    fn drop(&mut self) {
        // SAFETY: The word is a field of `self`.
        unsafe { (&raw mut self.value[2]).write_volatile(1) };
    }
}

// SAFETY: The destructor stores one word.
unsafe impl AtomicDrop for Marked {}

define_domain! {
    /// The bench's domain with readers that may sleep.
    BenchDomain
}

type Node = Object<Value>;
type MarkedNode = Object<Marked, InSoftirq>;

static CELL: RcuCell<Option<KBox<Node>>> = RcuCell::none();
static MARKED: RcuCell<Option<KBox<MarkedNode>>> = RcuCell::none();

extern "C" {
    fn bench_used_kb() -> u64;
    fn bench_breathe();
}

/// Number of deferred frees after which a flood reads the memory usage and calls the scheduler.
const LOOK: u64 = 4096;

/// Allocates the objects that rows use.
pub(crate) fn init() -> Result {
    Srcu::<BenchDomain>::init()?;
    CELL.publish(Some(KBox::new(Object::new([0; 3]), GFP_KERNEL)?));
    Ok(())
}

/// Undoes [`init`].
pub(crate) fn exit() {
    CELL.publish(None);
    MARKED.publish(None);
}

/// Waits until everything that was deferred has been freed.
pub(crate) fn settle() {
    let _ = global().barrier();
}

#[no_mangle]
#[inline(never)]
fn size_ours_rcu_read(cell: &RcuCell<KBox<Node>>) -> u64 {
    global().run(|t| cell.read(t)[0])
}

#[no_mangle]
#[inline(never)]
fn size_ours_srcu_read(
    domain: Srcu<BenchDomain>,
    cell: &RcuCell<KBox<Node>, Srcu<BenchDomain>>,
) -> u64 {
    domain.run(|t| cell.read(t)[0])
}

#[no_mangle]
extern "C" fn bench_ours_rcu_read(n: u64, _arg: u32) -> u64 {
    let Ok(node) = KBox::new(Object::new([0; 3]), GFP_KERNEL) else {
        return 0;
    };
    let cell = RcuCell::new(node);
    let mut sum = 0u64;
    for _ in (0..n).rev() {
        sum = sum.wrapping_add(size_ours_rcu_read(&cell));
    }
    black_box(sum);
    0
}

#[no_mangle]
extern "C" fn bench_ours_srcu_read(n: u64, _arg: u32) -> u64 {
    let (Ok(domain), Ok(node)) = (
        Srcu::<BenchDomain>::init(),
        KBox::new(Object::new([0; 3]), GFP_KERNEL),
    ) else {
        return 0;
    };
    let cell = RcuCell::new(node);
    let mut sum = 0u64;
    for _ in (0..n).rev() {
        sum = sum.wrapping_add(size_ours_srcu_read(domain, &cell));
    }
    black_box(sum);
    0
}

#[no_mangle]
extern "C" fn bench_ours_rcu_alloc(n: u64, _arg: u32) -> u64 {
    for i in (0..n).rev() {
        let Ok(node) = KBox::<Node>::new(Object::new([i, 0, 0]), GFP_KERNEL) else {
            break;
        };
        black_box(&*node);
    }
    0
}

/// Runs `publish` `n` times; returns the maximum growth of the memory in use, in kB.
fn flood(n: u64, mut publish: impl FnMut(u64) -> Result) -> u64 {
    // SAFETY: `bench_used_kb()` has no safety requirements.
    let begin = unsafe { bench_used_kb() };
    let mut peak = begin;
    for i in (0..n).rev() {
        if publish(i).is_err() {
            break;
        }
        if i % LOOK == 0 {
            // SAFETY: `bench_used_kb()` has no safety requirements. `bench_breathe()` may
            // reschedule: rows run in a kthread, and no lock is held here.
            unsafe {
                peak = peak.max(bench_used_kb());
                bench_breathe();
            }
        }
    }
    peak - begin
}

#[no_mangle]
extern "C" fn bench_ours_rcu_defer(n: u64, _arg: u32) -> u64 {
    flood(n, |i| {
        CELL.publish(Some(Object::new([i, 0, 0]).boxed(GFP_KERNEL)?));
        Ok(())
    })
}

#[no_mangle]
extern "C" fn bench_ours_rcu_defer_drop(n: u64, _arg: u32) -> u64 {
    flood(n, |i| {
        let object = Object::new_atomic(Marked { value: [i, 0, 0] });
        MARKED.publish(Some(object.boxed(GFP_KERNEL)?));
        Ok(())
    })
}
