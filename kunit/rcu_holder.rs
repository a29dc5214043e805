// SPDX-License-Identifier: GPL-2.0

//! A module that holds up grace periods and destructors of its own, for as long as `quiesce_gate` is
//! closed; what is tested is that other modules do not notice.
//!
//! Its init defers `pending` objects of each kind in a domain that a thread of it reads, unless
//! `read=0`. With `slow=1` it also defers an object in the kernel's RCU whose destructor waits for the gate. With `late=1` its
//! exit function does, so that rmmod waits for the gate. With `barrier=1` its init calls `barrier()` of
//! the kernel's RCU, with `barrier=2` that of the module.
//!
//! With `lend=1` other modules can use its domain: with `borrow=1` that is the domain that is read and
//! deferred in. Nothing but the test keeps the lender loaded meanwhile.
//!
//! With `call=1` a thread of it drops a cell whose destructor calls the function that the gate keeps, and
//! then waits for the gate.

use core::ffi::c_void;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        LockClassKey, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Domain,
    DomainState,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    Srcu,
    Tag, //
};

mod support;

module! {
    type: Holder,
    name: "quiesce_rcu_holder",
    authors: ["The quiesce developers"],
    description: "Holds up grace periods and destructors of its own",
    license: "GPL",
    params: {
        pending: u32 {
            default: 1000,
            description: "Objects of each kind",
        },
        read: u32 {
            default: 1,
            description: "Whether a thread reads until the gate is open",
        },
        slow: u32 {
            default: 0,
            description: "Whether a destructor waits for the gate",
        },
        late: u32 {
            default: 0,
            description: "Whether one does that is deferred by the exit function",
        },
        place: u32 {
            default: 0,
            description: "The place at the gate that the destructor waits at",
        },
        barrier: u32 {
            default: 0,
            description: "Whether init waits for everything that was deferred: 1 in the kernel's RCU, 2 by the module",
        },
        lend: u32 {
            default: 0,
            description: "Whether others may use the domain",
        },
        borrow: u32 {
            default: 0,
            description: "Whether the domain of another one is used",
        },
        call: u32 {
            default: 0,
            description: "Whether a destructor calls the function that the gate keeps",
        },
    },
}

rcu::define_domain! {
    /// Read until the gate is open.
    Held
}

extern "C" {
    fn quiesce_gate_wait(place: u32);
    fn quiesce_gate_call();
    fn quiesce_gate_lend(address: *const c_void);
    fn quiesce_gate_lent() -> *const c_void;
}

/// The domain of the module that lends it.
enum Lent {}

// SAFETY: `state` returns that of `Held` in the lender, which is of the same flavor; the test keeps the
// lender loaded. An enum without parameters is a subtype and a supertype of itself only.
unsafe impl Tag for Lent {
    const UP_DOWN: bool = false;

    fn state() -> &'static DomainState {
        // SAFETY: The test loads this module only while another one lends its domain.
        unsafe { &*quiesce_gate_lent().cast() }
    }

    fn class() -> Pin<&'static LockClassKey> {
        Held::class()
    }
}

fn wait_at_gate(place: u32) {
    // SAFETY: The function may sleep. It is called by a destructor on the workqueue, and by a kernel thread
    // in a section of an SRCU domain.
    unsafe { quiesce_gate_wait(place) };
}

struct AtGate;

impl Drop for AtGate {
    fn drop(&mut self) {
        wait_at_gate(module_parameters::place.value());
    }
}

/// Calls a function of another module in its destructor, and does not return for a while.
struct Caller(Arc<Atomic<i32>>);

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: The function may sleep: a kernel thread drops the cell that owns this.
        unsafe { quiesce_gate_call() };
        self.0.store(1, Release);
        wait_at_gate(0);
    }
}

/// Starts a thread that drops a cell with a [`Caller`], and returns when the call has returned.
fn call() -> Result<support::Thread> {
    let called = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
    let caller = Object::new(Caller(called.clone())).boxed(GFP_KERNEL)?;
    let cell = RcuCell::<_, rcu::Global>::new(caller);
    let thread = support::spawn(c"rcu_caller", move || drop(cell))?;
    while called.load(Acquire) == 0 {
        support::msleep(1);
    }
    Ok(thread)
}

struct Counted(KBox<u64>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0 += 1;
    }
}

// SAFETY: The destructor writes to memory and frees it.
unsafe impl AtomicDrop for Counted {}

/// Defers an object whose destructor waits for the gate.
fn defer_slow() -> Result {
    let cell = RcuCell::<Option<KBox<Object<AtGate>>>>::none();
    cell.publish(Some(KBox::new(Object::new(AtGate), GFP_KERNEL)?));
    cell.publish(None);
    Ok(())
}

/// Has a thread read in a domain, and defers objects there.
fn hold<T: Tag>() -> Result<Option<support::Thread>> {
    let held = Srcu::<T>::init()?;
    let reader = if module_parameters::read.value() != 0 {
        let reads = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let theirs = reads.clone();
        let reader = support::spawn(c"rcu_holder", move || {
            held.run(|_| {
                theirs.store(1, Release);
                wait_at_gate(0);
            })
        })?;
        while reads.load(Acquire) == 0 {
            support::msleep(1);
        }
        Some(reader)
    } else {
        None
    };
    let soft = RcuCell::<Option<KBox<Object<Counted, InSoftirq>>>, Srcu<T>>::none();
    let process = RcuCell::<Option<KBox<Object<Counted, InProcess>>>, Srcu<T>>::none();
    for i in 0..module_parameters::pending.value() {
        let counted = || Ok::<_, Error>(Counted(KBox::new(u64::from(i), GFP_KERNEL)?));
        soft.publish(Some(KBox::new(Object::new_atomic(counted()?), GFP_KERNEL)?));
        process.publish(Some(KBox::new(Object::new(counted()?), GFP_KERNEL)?));
    }
    Ok(reader)
}

struct Holder {
    _reader: Option<support::Thread>,
    _caller: Option<support::Thread>,
}

// SAFETY: No method takes a shared reference, so one gives access to nothing.
unsafe impl Sync for Holder {}

impl kernel::Module for Holder {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let reader = if module_parameters::borrow.value() != 0 {
            hold::<Lent>()?
        } else {
            hold::<Held>()?
        };
        if module_parameters::lend.value() != 0 {
            // SAFETY: The function stores the address.
            unsafe { quiesce_gate_lend(core::ptr::from_ref(Held::state()).cast()) };
        }
        if module_parameters::slow.value() != 0 {
            defer_slow()?;
        }
        match module_parameters::barrier.value() {
            0 => (),
            1 => rcu::global().barrier()?,
            _ => rcu::barrier()?,
        }
        let caller = match module_parameters::call.value() {
            0 => None,
            _ => Some(call()?),
        };
        Ok(Self {
            _reader: reader,
            _caller: caller,
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if module_parameters::late.value() != 0 {
            let _ = defer_slow();
        }
    }
}
