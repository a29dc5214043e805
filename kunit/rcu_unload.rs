// SPDX-License-Identifier: GPL-2.0

//! A module that is unloaded while everything that it deferred is pending.
//!
//! Its exit function defers `pending` objects of each kind inside read-side critical sections, so
//! that few of them can be reclaimed before it returns, and waits for nothing. With `fail=1` its
//! init does that and then fails. With `leak=1` it also leaks futures that wait, whose wakers are in
//! this module, and one of everything else that safe code can leak. With `softirq=1` it defers only
//! what is dropped by callbacks of RCU, which wake nobody. The test passes if the kernel neither
//! crashes nor warns:
//!
//!     for i in $(seq 20); do insmod quiesce_rcu_unload.ko && rmmod quiesce_rcu_unload; done

use core::{
    future::Future,
    mem::forget,
    task::Context, //
};
use executor::{
    waker,
    Wake, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    AtomicDrop,
    Batch,
    Domain,
    Entry,
    Global,
    GracePeriod,
    InProcess,
    InSoftirq,
    Object,
    RcuCell,
    RcuList,
    RcuPointer,
    Retired,
    Shared,
    Srcu, //
};

#[path = "rcu/executor.rs"]
#[allow(dead_code, reason = "this module needs wakers only")]
mod executor;

module! {
    type: Unload,
    name: "quiesce_rcu_unload",
    authors: ["The quiesce developers"],
    description: "Is gone while all that it deferred is pending",
    license: "GPL",
    params: {
        pending: u32 {
            default: 100_000,
            description: "Objects of each kind",
        },
        fail: u32 {
            default: 0,
            description: "Whether init fails",
        },
        leak: u32 {
            default: 0,
            description: "Whether to leak futures and all else",
        },
        softirq: u32 {
            default: 0,
            description: "Whether to defer only what RCU's callbacks drop",
        },
    },
}

rcu::define_domain! {
    /// This module's own.
    Own
}

/// Destructors that ran; a static is what goes with the module.
static DROPPED: Atomic<usize> = Atomic::new(0);

struct Counted(usize);

// SAFETY: The destructor adds to an atomic.
unsafe impl AtomicDrop for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.add(self.0, Relaxed);
    }
}

/// Defers the rest of the chain from its destructor.
struct Chain {
    _counted: Counted,
    next: RcuCell<Option<KBox<Object<Chain>>>>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.next.publish(None);
    }
}

struct Woken;

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        DROPPED.add(1usize, Relaxed);
    }
}

type Soft = KBox<Object<Counted, InSoftirq>>;
type Process = KBox<Object<Counted, InProcess>>;
type Plain = KBox<Object<[u8; 16]>>;

/// A pointer as if it had been in a cell.
fn retire<P: RcuPointer<D> + Send, D: Domain>(pointer: P) -> Option<Retired<P, D>> {
    RcuCell::<Option<P>, D>::new(Some(pointer)).replace(None)
}

/// The objects that are deferred in one domain.
struct Kinds<D: Domain> {
    soft: Batch<Soft, D>,
    process: Batch<Process, D>,
    plain: Batch<Plain, D>,
    shared: KVVec<Arc<Shared<Counted, D>>>,
    futures: KVVec<Pin<KBox<GracePeriod<D>>>>,
}

impl<D: Domain> Kinds<D> {
    /// Creates `n` objects of each kind, or `n` that RCU's callbacks drop and no others.
    fn new(domain: D, n: usize, soft_only: bool) -> Result<Self> {
        let others = if soft_only { 0 } else { n };
        let mut kinds = Self {
            soft: Batch::new(),
            process: Batch::new(),
            plain: Batch::new(),
            shared: KVVec::with_capacity(others, GFP_KERNEL)?,
            futures: KVVec::new(),
        };
        for _ in 0..n {
            if let Some(r) = retire(KBox::new(Object::new_atomic(Counted(1)), GFP_KERNEL)?) {
                kinds.soft.push(r);
            }
        }
        for _ in 0..others {
            if let Some(r) = retire(KBox::new(Object::new(Counted(1)), GFP_KERNEL)?) {
                kinds.process.push(r);
            }
            if let Some(r) = retire(KBox::new(Object::new([0; 16]), GFP_KERNEL)?) {
                kinds.plain.push(r);
            }
            let shared = Arc::new(Shared::new(Counted(1)), GFP_KERNEL)?;
            kinds.shared.push(shared, GFP_KERNEL)?;
        }
        for _ in 0..core::cmp::min(others, 100) {
            let future = KBox::pin(domain.synchronize_async(), GFP_KERNEL)?;
            kinds.futures.push(future, GFP_KERNEL)?;
        }
        Ok(kinds)
    }

    /// Has the futures wait, and defers everything else.
    ///
    /// Futures cannot wait inside a section of their domain. The rest has a section for each kind:
    /// one for all would last for minutes on a slow machine with KASAN.
    fn defer(mut self, domain: D, cx: &mut Context<'_>) -> KVVec<Pin<KBox<GracePeriod<D>>>> {
        for future in &mut self.futures {
            let _ = future.as_mut().poll(cx);
        }
        domain.run(|_| self.soft.defer());
        domain.run(|_| self.process.defer());
        domain.run(|_| self.plain.defer());
        domain.run(|_| {
            for shared in self.shared {
                // Twice, the second time by the same callback.
                drop(retire::<_, D>(shared.clone()));
                drop(retire::<_, D>(shared));
            }
        });
        self.futures
    }
}

/// Leaks one of everything that owns something retired, at each stage.
fn leak<D: Domain>(domain: D, cx: &mut Context<'_>) -> Result {
    let retired = || {
        let object = Object::new_atomic(Counted(1)).boxed(GFP_KERNEL)?;
        retire::<Soft, D>(object).ok_or(EINVAL)
    };
    let batch = || {
        let mut batch = Batch::new();
        for _ in 0..3 {
            batch.push(retired()?);
        }
        Ok::<_, Error>(batch)
    };
    forget(retired()?);
    forget(retired()?.cookie());
    forget(retired()?.start());
    forget(retired()?.start_expedited());
    forget(retired()?.synchronize());
    forget(batch()?);
    forget(batch()?.start());
    let mut reclaimed = batch()?.synchronize()?;
    forget(reclaimed.next());
    forget(reclaimed);
    forget(domain.reclaim((retired()?, batch()?)));
    let mut future = KBox::pin(retired()?.synchronize_async(), GFP_KERNEL)?;
    let _ = future.as_mut().poll(cx);
    forget(future);
    let mut future = KBox::pin(
        domain.quiesce_on_pending(domain.synchronize_async()),
        GFP_KERNEL,
    )?;
    let _ = future.as_mut().poll(cx);
    forget(future);
    let list = KBox::pin_init(
        RcuList::<Counted, D>::new(c"leaked", kernel::static_lock_class!()),
        GFP_KERNEL,
    )?;
    for _ in 0..3 {
        list.lock().push_front(Entry::new(Counted(1), GFP_KERNEL)?);
    }
    forget(list.lock().cursor().remove());
    forget(list);
    forget(RcuCell::<Soft, D>::new(
        Object::new_atomic(Counted(1)).boxed(GFP_KERNEL)?,
    ));
    Ok(())
}

struct Unload {
    all: Option<(Kinds<Global>, Kinds<Srcu<Own>>)>,
    chain: Option<Retired<KBox<Object<Chain>>>>,
}

impl Unload {
    fn new() -> Result<Self> {
        let own = Srcu::<Own>::init()?;
        let n = module_parameters::pending.value() as usize;
        if module_parameters::softirq.value() != 0 {
            // A callback of this domain would wake the task that waits.
            let none = Kinds::new(own, 0, true)?;
            return Ok(Self {
                all: Some((Kinds::new(rcu::global(), n, true)?, none)),
                chain: None,
            });
        }
        let mut next = None;
        for _ in 0..10 {
            let chain = Chain {
                _counted: Counted(1),
                next: RcuCell::new(next),
            };
            next = Some(KBox::new(Object::new(chain), GFP_KERNEL)?);
        }
        Ok(Self {
            all: Some((
                Kinds::new(rcu::global(), n, false)?,
                Kinds::new(own, n, false)?,
            )),
            chain: next.and_then(retire),
        })
    }
}

impl kernel::Module for Unload {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let this = Self::new()?;
        if module_parameters::fail.value() != 0 {
            // Dropped here, and the module is gone right after.
            return Err(EINVAL);
        }
        Ok(this)
    }
}

impl Drop for Unload {
    fn drop(&mut self) {
        let Some((global, own)) = self.all.take() else {
            return;
        };
        let (Ok(woken), Ok(domain)) = (Arc::new(Woken, GFP_KERNEL), Srcu::<Own>::init()) else {
            return;
        };
        if module_parameters::softirq.value() != 0 {
            rcu::global().run(|_| global.soft.defer());
            return;
        }
        let waker = waker(woken);
        let mut cx = Context::from_waker(&waker);
        let own_futures = own.defer(domain, &mut cx);
        let futures = global.defer(rcu::global(), &mut cx);
        self.chain.take();
        // They are dropped at the very end, while some are being woken.
        drop(futures);
        if module_parameters::leak.value() != 0 {
            forget(own_futures);
            if leak(rcu::global(), &mut cx).is_err() || leak(domain, &mut cx).is_err() {
                pr_err!("cannot leak everything\n");
            }
        }
        pr_info!("gone, with {} destructors done\n", DROPPED.load(Relaxed));
    }
}
