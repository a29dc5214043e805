// SPDX-License-Identifier: GPL-2.0

//! A module that leaks futures with wakers of `waker.rs`, a module that does not use quiesce: on the heap,
//! and one in a static. With `own=1` it leaks one of its own instead: when the exit function has returned, its
//! waker has another future wait. With `own=2` another waker is also the last owner of an object. Its
//! destructor waits for a future, leaves a callback to be dropped, and leaks another future. With `own=3` there
//! is only that waker, and the destructor does not wait.
//!
//! They wait for the domain that `quiesce_rcu_holder lend=1` reads.

use core::{
    cell::UnsafeCell,
    future::Future as _,
    mem::{
        forget,
        MaybeUninit, //
    },
    pin::Pin,
    ptr::null,
    task::{
        Context,
        Waker, //
    }, //
};
use executor::{
    block_on,
    waker,
    Wake, //
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
    time::{
        delay::{
            fsleep,
            udelay, //
        },
        Delta, //
    },
};
use quiesce::{
    rcu::{
        self,
        Domain,
        Global,
        GracePeriod,
        Object,
        RcuCell,
        Srcu, //
    },
    rundown::{
        Drained,
        PerCpuRundownRef, //
    }, //
};

#[path = "rcu/executor.rs"]
#[allow(dead_code, reason = "this module needs wakers only")]
mod executor;
#[path = "rcu/lent.rs"]
mod lent;

use lent::Lent;

module! {
    type: Waiter,
    name: "quiesce_rcu_waiter",
    authors: ["The quiesce developers"],
    description: "Leaks futures with wakers of another module",
    license: "GPL",
    params: {
        defer: u32 {
            default: 0,
            description: "Also defer an object",
        },
        own: u32 {
            default: 0,
            description: "Use the module's own wakers",
        },
    },
}

extern "C" {
    fn quiesce_waker_table() -> *const c_void;
}

type Future = GracePeriod<Srcu<Lent>>;

/// A place in the module's memory, which is freed without a call of any destructor.
///
/// Safe code gets `&'static mut` of one, too: from the exclusive owner of a `Rundown` in a static, by leaking
/// it. lockdep would report that owner as a lock that insmod holds when it returns.
struct Slot(UnsafeCell<MaybeUninit<Future>>);

// SAFETY: Accessed by the module's init only.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot(UnsafeCell::new(MaybeUninit::uninit()));

/// Pins a future in the static.
fn in_a_static(lent: Srcu<Lent>) -> Result<Pin<&'static mut Future>> {
    // SAFETY: The module's init calls this once, and nothing else accesses the static.
    let slot = unsafe { &mut *SLOT.0.get() };
    Ok(slot.write_pin_init(lent.synchronize_async())?)
}

/// Whether the exit function is about to return.
static EXITS: Atomic<bool> = Atomic::new(false);
/// Whether [`Again`] is called.
static CALLED: Atomic<bool> = Atomic::new(false);

/// Has a future wait with another waker, but only when the exit function has returned.
struct Again(Srcu<Lent>, core::task::Waker);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        CALLED.store(true, Release);
        for _ in 0..5000 {
            if EXITS.load(Acquire) {
                break;
            }
            delay();
        }
        // The notifier searches the lists meanwhile.
        for _ in 0..200 {
            delay();
        }
        if let Ok(mut future) = KBox::pin(self.0.synchronize_async(), GFP_ATOMIC) {
            let _ = future.as_mut().poll(&mut Context::from_waker(&self.1));
            forget(future);
        }
    }
}

/// Busy-waits for a millisecond: wakers do not sleep.
fn delay() {
    udelay(Delta::from_millis(1));
}

/// Owns an object with a destructor.
struct Owner {
    _cell: Option<RcuCell<KBox<Object<Slow>>>>,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

struct Slow {
    lent: Srcu<Lent>,
    waits: bool,
}

impl Slow {
    fn leave(&self) -> Result {
        for _ in 0..if self.waits { 20 } else { 0 } {
            // The lists are searched meanwhile.
            block_on(rcu::global().synchronize_async())??;
        }
        fsleep(Delta::from_millis(300));
        let reference = KBox::pin_init(PerCpuRundownRef::with_callback(Callback), GFP_KERNEL)?;
        reference.begin_rundown();
        let none = Arc::new(Owner { _cell: None }, GFP_KERNEL)?;
        leak(self.lent, &waker(none))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let left = self.leave().is_ok();
        pr_info!("the object of a waker is dropped: {left}\n");
    }
}

struct Callback;

impl Drained for Callback {
    #[inline(never)]
    fn drained(&self) {
        core::hint::black_box(self);
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        fsleep(Delta::from_millis(1000));
        pr_info!("the callback that it left is dropped\n");
    }
}

/// Leaks a future that waits with `waker`.
fn leak<D: Domain>(domain: D, waker: &Waker) -> Result {
    let mut future = KBox::pin(domain.synchronize_async(), GFP_KERNEL)?;
    let pending = future
        .as_mut()
        .poll(&mut Context::from_waker(waker))
        .is_pending();
    forget(future);
    if pending {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

fn own_wakers(lent: Srcu<Lent>, own: u32) -> Result {
    if own >= 2 {
        let waits = own == 2;
        let object = Object::new(Slow { lent, waits }).boxed(GFP_KERNEL)?;
        let owner = Owner {
            _cell: Some(RcuCell::new(object)),
        };
        leak(lent, &waker(Arc::new(owner, GFP_KERNEL)?))?;
    }
    if own == 3 {
        return Ok(());
    }
    let none = waker(Arc::new(Owner { _cell: None }, GFP_KERNEL)?);
    // While these are taken off, the destructor begins.
    for _ in 0..if own == 2 { 3000 } else { 0 } {
        leak(lent, &none)?;
    }
    leak(
        rcu::global(),
        &waker(Arc::new(Again(lent, none), GFP_KERNEL)?),
    )?;
    while !CALLED.load(Acquire) {
        fsleep(Delta::from_millis(1));
    }
    Ok(())
}

/// Leaks futures on the heap, and one in the static.
fn others(lent: Srcu<Lent>, waker: &Waker) -> Result {
    for _ in 0..100 {
        leak(lent, waker)?;
    }
    if in_a_static(lent)?
        .poll(&mut Context::from_waker(waker))
        .is_ready()
    {
        return Err(EINVAL);
    }
    Ok(())
}

struct Waiter;

impl Drop for Waiter {
    fn drop(&mut self) {
        EXITS.store(true, Release);
    }
}

impl kernel::Module for Waiter {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lent = Srcu::<Lent>::init()?;
        // SAFETY: The function returns the address of a static table, whose functions ignore the data. This
        // module depends on that of the table.
        let waker = unsafe { Waker::new(null(), &*quiesce_waker_table().cast()) };
        if module_parameters::own.value() != 0 {
            own_wakers(lent, module_parameters::own.value())?;
        } else {
            others(lent, &waker)?;
        }
        if module_parameters::defer.value() != 0 {
            let cell = RcuCell::<_, Global>::new(Some(Object::new(waker).boxed(GFP_KERNEL)?));
            drop(cell.replace(None));
        }
        Ok(Self)
    }
}
