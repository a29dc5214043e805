// SPDX-License-Identifier: GPL-2.0

//! Sample: a routing table that softirqs read while it is replaced.
//!
//! A timer's softirq looks up addresses, as a network driver's would. Meanwhile the module's init
//! replaces the table `updates` times, without stopping the lookups and without waiting for them:
//! an old table is freed when no lookup can hold a reference to it.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeSoftMode, //
        },
        Delta,
        Monotonic, //
    },
};
use quiesce::rcu::{
    self,
    Domain,
    InSoftirq,
    Object,
    RcuCell, //
};

module! {
    type: Router,
    name: "rust_rcu",
    authors: ["The quiesce developers"],
    description: "A routing table under RCU",
    license: "GPL",
    params: {
        updates: u32 {
            default: 1000,
            description: "How often init replaces the table",
        },
    },
}

/// Where packets to addresses that begin with `prefix` go.
struct Route {
    prefix: u32,
    len: u32,
    hop: u32,
}

/// All routes, the longest prefixes first.
struct Table {
    generation: u32,
    routes: KVec<Route>,
}

// Tables are dropped in the RCU callback, for their destructor only frees memory: checked here.
rcu::impl_atomic_drop! { Route { prefix, len, hop } }
rcu::impl_atomic_drop! { Table { generation, routes } }

type TableBox = KBox<Object<Table, InSoftirq>>;

impl Table {
    /// In table number `generation` every hop is that number plus the prefix's length.
    fn new(generation: u32) -> Result<TableBox> {
        let mut routes = KVec::with_capacity(25, GFP_KERNEL)?;
        for len in (0..=24).rev() {
            let route = Route {
                prefix: 0x0a00_0000 & (u32::MAX.checked_shl(32 - len).unwrap_or(0)),
                len,
                hop: generation.wrapping_add(len),
            };
            routes.push(route, GFP_KERNEL)?;
        }
        let table = Self { generation, routes };
        Ok(Object::new_atomic(table).boxed(GFP_KERNEL)?)
    }

    fn lookup(&self, address: u32) -> Option<&Route> {
        self.routes.iter().find(|route| {
            let mask = u32::MAX.checked_shl(32 - route.len).unwrap_or(0);
            address & mask == route.prefix
        })
    }
}

/// The table, the timer that reads it and what the timer has seen.
#[pin_data]
struct Lookups {
    #[pin]
    timer: HrTimer<Self>,
    table: RcuCell<TableBox>,
    done: Atomic<usize>,
    wrong: Atomic<usize>,
}

impl Lookups {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                timer <- HrTimer::new(),
                table: RcuCell::new(Table::new(0)?),
                done: Atomic::new(0),
                wrong: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    fn look_up(&self, address: u32) {
        // The route cannot leave the closure, so nobody uses one that was freed.
        let right = rcu::global().run(|t| {
            let table = self.table.read(t);
            table
                .lookup(address)
                .is_some_and(|route| route.hop == table.generation.wrapping_add(route.len))
        });
        self.done.add(1usize, Relaxed);
        if !right {
            self.wrong.add(1usize, Relaxed);
        }
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Lookups {
        mode: RelativeSoftMode<Monotonic>, field: self.timer
    }
}

impl HrTimerCallback for Lookups {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        for i in 0..32 {
            this.look_up(0x0a00_0000 | (1 << i));
        }
        ctx.forward_now(Delta::from_micros(200));
        HrTimerRestart::Restart
    }
}

struct Router {
    lookups: Arc<Lookups>,
    // Stops the timer when it is dropped.
    _timer: ArcHrTimerHandle<Lookups>,
}

impl kernel::Module for Router {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let lookups = Lookups::new()?;
        let timer = lookups.clone().start(Delta::from_micros(200));
        let updates = module_parameters::updates.value();
        for generation in 1..=updates {
            // Never waits: the old table is dropped after a grace period, in the RCU callback.
            lookups.table.publish(Table::new(generation)?);
            // Tables can be replaced faster than grace periods elapse, and old ones would fill the
            // memory. publish() cannot slow its caller down, who may hold a lock; this can. It returns
            // at once unless more than `rcu::FLOOD` objects are pending: try updates=1000000.
            rcu::global().throttle()?;
            if generation % 100 == 0 {
                // The softirq is to see this table, too.
                rcu::global().synchronize()?;
            }
        }
        pr_info!(
            "{} tables replaced during {} lookups in softirq, {} wrong\n",
            updates,
            lookups.done.load(Relaxed),
            lookups.wrong.load(Relaxed)
        );
        Ok(Self {
            lookups,
            _timer: timer,
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        pr_info!(
            "{} lookups in all, {} wrong\n",
            self.lookups.done.load(Relaxed),
            self.lookups.wrong.load(Relaxed)
        );
        // Tables still waiting for their grace period need no thought: quiesce.ko sees to it that
        // they are gone before this module's code is.
    }
}
