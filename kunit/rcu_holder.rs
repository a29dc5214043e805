// SPDX-License-Identifier: GPL-2.0

//! A module that holds up grace periods and destructors of its own, for as long as `quiesce_gate` is
//! closed; what is tested is that other modules do not notice.
//!
//! Its init defers `pending` objects of each kind in a domain that a thread of it reads, unless
//! `read=0`. With `slow=1` it also defers an object in the kernel's RCU whose destructor waits for the gate. With `late=1` its
//! exit function does, so that rmmod waits for the gate. With `barrier=1` its init calls `barrier()` of
//! the kernel's RCU, with `barrier=2` that of the module, and with `barrier=3` its exit function calls
//! the latter. With `idle=1` its init does nothing at all.
//!
//! With `lazy=1` the domain is neither initialised nor read.
//!
//! With `lend=1` other modules can use its domain: with `borrow=1` that is the domain that is read and
//! deferred in. Nothing but the test keeps the lender loaded meanwhile.
//!
//! With `share=1` it retires a reference to an object of the kernel's RCU and to one of that domain, and
//! lends both objects; with `share=2` it retires one to each that was lent, and is not initialised if
//! references to them are left when `barrier()` has returned; with `share=3` it retires one more to each,
//! and both are still lent.
//!
//! With `call=1` a thread of it drops a cell whose destructor calls the function that the gate keeps, and
//! then waits for the gate.

use core::{
    ffi::c_void,
    mem::ManuallyDrop, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Domain,
    Global,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    Shared,
    Srcu,
    Tag, //
};

#[path = "rcu/lent.rs"]
mod lent;
mod support;

use lent::Lent;

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
            description: "Whether everything that was deferred is waited for: 1 by init in the kernel's RCU, 2 by init for the module, 3 by exit for the module",
        },
        idle: u32 {
            default: 0,
            description: "Whether init does nothing",
        },
        lazy: u32 {
            default: 0,
            description: "Whether the domain is not initialised",
        },
        lend: u32 {
            default: 0,
            description: "Whether others may use the domain",
        },
        borrow: u32 {
            default: 0,
            description: "Whether the domain of another one is used",
        },
        share: u32 {
            default: 0,
            description: "1 retires and lends references to objects, 2 retires lent ones, 3 others to lent objects",
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
    fn quiesce_gate_lend(which: u32, address: *const c_void);
    fn quiesce_gate_lent(which: u32) -> *const c_void;
}

fn wait_at_gate(place: u32) {
    // SAFETY: The function may sleep. It is called by a destructor on the workqueue, and by a kernel thread
    // in a section of an SRCU domain.
    unsafe { quiesce_gate_wait(place) };
}

struct AtGate;

/// Whether a destructor waits for the gate.
static AT_GATE: Atomic<i32> = Atomic::new(0);

impl Drop for AtGate {
    fn drop(&mut self) {
        AT_GATE.store(1, Release);
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
    let held = match module_parameters::lazy.value() {
        0 => Some(Srcu::<T>::init()?),
        _ => None,
    };
    let reader = if let Some(held) = held.filter(|_| module_parameters::read.value() != 0) {
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

/// An object that two modules retire references to. It has a destructor, so that a worker drops them.
type Both<D> = Arc<Shared<KBox<u64>, D>>;

fn retire<D: Domain>(reference: Both<D>) {
    RcuCell::<Option<Both<D>>, D>::new(Some(reference)).publish(None);
}

/// Retires a reference to a new object, and lends the object.
fn lend_object<D: Domain>(which: u32) -> Result {
    let both: Both<D> = Arc::new(Shared::new(KBox::new(1, GFP_KERNEL)?), GFP_KERNEL)?;
    retire(both.clone());
    // SAFETY: The function stores the address, and `which` is less than 3.
    unsafe { quiesce_gate_lend(which, Arc::into_raw(both).cast()) };
    Ok(())
}

/// Takes the object that another module has lent, and retires a reference to it.
fn borrow_object<D: Domain>(which: u32) -> Both<D> {
    // SAFETY: The test loads this module once while another one has lent an object of the type, which
    // gave the reference away.
    let both = unsafe { Arc::from_raw(quiesce_gate_lent(which).cast()) };
    retire::<D>(Arc::clone(&both));
    both
}

/// Retires one more reference to the object that another module has lent, and still lends.
fn retire_lent<D: Domain>(which: u32) {
    // SAFETY: The test loads this module while another one has lent an object of the type, which gave
    // the reference away. It stays with the gate.
    let both = ManuallyDrop::new(unsafe { Both::<D>::from_raw(quiesce_gate_lent(which).cast()) });
    retire::<D>(Arc::clone(&both));
}

/// The objects that another module has lent.
type Objects = (Both<Global>, Both<Srcu<Lent>>);

/// Shares objects, as the module's parameter says, and returns those that another one has lent.
fn share() -> Result<Option<Objects>> {
    match module_parameters::share.value() {
        0 => Ok(None),
        1 => {
            Srcu::<Lent>::init()?;
            // From here on, a worker of this module drops nothing.
            while module_parameters::slow.value() != 0 && AT_GATE.load(Acquire) == 0 {
                support::msleep(1);
            }
            lend_object::<Global>(1)?;
            lend_object::<Srcu<Lent>>(2)?;
            Ok(None)
        }
        3 => {
            Srcu::<Lent>::init()?;
            retire_lent::<Global>(1);
            retire_lent::<Srcu<Lent>>(2);
            Ok(None)
        }
        _ => {
            Srcu::<Lent>::init()?;
            Ok(Some((borrow_object(1), borrow_object(2))))
        }
    }
}

struct Holder {
    _reader: Option<support::Thread>,
    _caller: Option<support::Thread>,
}

// SAFETY: No method takes a shared reference, so one gives access to nothing.
unsafe impl Sync for Holder {}

impl kernel::Module for Holder {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if module_parameters::idle.value() != 0 {
            return Ok(Self {
                _reader: None,
                _caller: None,
            });
        }
        let reader = if module_parameters::borrow.value() != 0 {
            hold::<Lent>()?
        } else {
            hold::<Held>()?
        };
        if module_parameters::lend.value() != 0 {
            // SAFETY: The function stores the address.
            unsafe { quiesce_gate_lend(0, core::ptr::from_ref(Held::state()).cast()) };
        }
        if module_parameters::slow.value() != 0 {
            defer_slow()?;
        }
        let shared = share()?;
        match module_parameters::barrier.value() {
            0 | 3 => (),
            1 => rcu::global().barrier()?,
            _ => rcu::barrier()?,
        }
        if let Some((global, srcu)) = shared {
            let alone = Arc::into_unique_or_drop(global).is_some();
            if Arc::into_unique_or_drop(srcu).is_none() || !alone {
                return Err(EBUSY);
            }
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
        if module_parameters::barrier.value() == 3 {
            let _ = rcu::barrier();
        }
    }
}
