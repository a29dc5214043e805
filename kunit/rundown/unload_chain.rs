// SPDX-License-Identifier: GPL-2.0

//! A module that is unloaded while what it left causes more of it to be left: `how` says what. The last
//! destructor of each way takes longer than everything before it, and must return before the module's
//! text is freed. See `qemu/tests/rundown_unload.steps`.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        SpinLock, //
    },
};
use quiesce::{
    rcu::{
        Object,
        RcuCell, //
    },
    rundown::{
        ArcGuard,
        Drained,
        HasRundown,
        PerCpuRundownRef,
        Rundown, //
    },
};

#[path = "../support.rs"]
mod support;

module! {
    type: Chain,
    name: "rundown_unload_chain",
    authors: ["The quiesce developers"],
    description: "Leaves destructors behind that leave others",
    license: "GPL",
    params: {
        how: u32 {
            default: 0,
            description: "0: an object of RCU leaves one of a guard; 1: that of a guard one of RCU; 2: a callback leaves one; 3: the destructor of a callback takes long; 4: a reference is dropped whose rundown is in progress",
        },
        depth: u32 {
            default: 1,
            description: "The number of objects that leave another one",
        },
    },
}

/// Drops the last guard of an object where its destructor cannot run.
fn leave(guard: Option<ArcGuard<Rundown<Link>>>) {
    support::preempt_disabled(|| drop(guard));
}

/// Defers the destructor of a link until a grace period has elapsed.
fn retire(link: KBox<Object<Link>>) {
    drop(RcuCell::<Option<KBox<Object<Link>>>>::new(Some(link)).replace(None));
}

/// What the destructor of an object leaves behind.
enum Link {
    Guard(Option<ArcGuard<Rundown<Link>>>),
    Retired(Option<KBox<Object<Link>>>),
    Last,
}

impl Link {
    /// A chain of `depth` links and the last one, each of the other kind than its neighbours; returns
    /// the one that is to be dropped first.
    fn chain(depth: u32, retired_first: bool) -> Result<Self> {
        let mut link = Link::Last;
        for i in (0..depth).rev() {
            link = if (i % 2 == 0) == retired_first {
                Link::Guard(Some(guarded(link)?))
            } else {
                Link::Retired(Some(KBox::new(Object::new(link), GFP_KERNEL)?))
            };
        }
        Ok(link)
    }
}

impl Drop for Link {
    #[inline(never)]
    fn drop(&mut self) {
        match self {
            Link::Guard(guard) => leave(guard.take()),
            Link::Retired(link) => {
                // Longer than a module without anything in flight needs to be freed.
                support::msleep(200);
                if let Some(link) = link.take() {
                    retire(link);
                }
            }
            Link::Last => {
                support::msleep(400);
                pr_info!(
                    "the last destructor of {} returns\n",
                    module_parameters::how.value()
                );
            }
        }
    }
}

fn guarded(link: Link) -> Result<ArcGuard<Rundown<Link>>> {
    Ok(HasRundown::try_acquire_arc(Arc::new(
        Rundown::new(link),
        GFP_KERNEL,
    )?)?)
}

static CALLED: Atomic<u32> = Atomic::new(0);

/// A callback that takes long, and leaves an object behind.
struct Callback(Arc<SpinLock<Option<ArcGuard<Rundown<Link>>>>>);

impl Drained for Callback {
    #[inline(never)]
    fn drained(&self) {
        CALLED.store(1, Release);
        for _ in 0..200 {
            support::udelay(1000);
        }
        let guard = self.0.lock().take();
        leave(guard);
    }
}

/// A callback whose destructor takes long.
struct SlowlyDropped;

impl Drained for SlowlyDropped {
    fn drained(&self) {}
}

impl Drop for SlowlyDropped {
    #[inline(never)]
    fn drop(&mut self) {
        CALLED.store(1, Release);
        drop(Link::Last);
    }
}

/// Room for a reference that is never dropped.
struct Slot(UnsafeCell<MaybeUninit<PerCpuRundownRef<Callback>>>);

// SAFETY: Only the init and exit functions access the slot, and each runs once.
unsafe impl Sync for Slot {}

static LEAKED: Slot = Slot(UnsafeCell::new(MaybeUninit::uninit()));

struct Chain(Option<Link>);

impl kernel::Module for Chain {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let depth = module_parameters::depth.value();
        Ok(Self(Some(match module_parameters::how.value() {
            0 => Link::chain(depth, true)?,
            1 => Link::chain(depth, false)?,
            3 | 4 => Link::Retired(None),
            _ => Link::Guard(Some(guarded(Link::Last)?)),
        })))
    }
}

impl Chain {
    fn leave(&mut self) -> Result {
        let Some(first) = self.0.take() else {
            return Ok(());
        };
        match module_parameters::how.value() {
            0 => retire(KBox::new(Object::new(first), GFP_KERNEL)?),
            1 => leave(Some(guarded(first)?)),
            how @ (3 | 4) => {
                drop(first);
                let r = KBox::pin_init(PerCpuRundownRef::with_callback(SlowlyDropped), GFP_KERNEL)?;
                r.begin_rundown();
                // A work item drops the callback when the counters have been collected. Nothing else is
                // left then, or now.
                drop(r);
                while how == 3 && CALLED.load(Acquire) == 0 {
                    support::msleep(1);
                }
            }
            _ => {
                let callback = Callback(Arc::pin_init(
                    new_spinlock!(Some(guarded(first)?)),
                    GFP_KERNEL,
                )?);
                // SAFETY: This is the only use of the slot, which is not moved.
                let leaked = unsafe {
                    let slot = (*LEAKED.0.get()).as_mut_ptr();
                    pin_init::raw_try_init(slot, PerCpuRundownRef::with_callback(callback))
                        .map(|()| &*slot)?
                };
                // The callback, which is one of RCU, is in progress when this module's code has returned:
                // on another CPU, where it does not delay that.
                let cpu = support::next_cpu(support::cpu() as i32);
                support::spawn_on(cpu, c"unload_chain", move || {
                    leaked.begin_rundown();
                })?
                .join();
                while CALLED.load(Acquire) == 0 {
                    support::msleep(1);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if self.leave().is_err() {
            pr_err!("out of memory\n");
        }
    }
}
