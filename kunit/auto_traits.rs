// SPDX-License-Identifier: GPL-2.0

//! Which types may be sent to and shared with other tasks: a row for each public type.

use core::{
    cell::Cell,
    marker::PhantomData, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::{
    rcu::{
        Batch,
        Cookie,
        Entry,
        Global,
        GracePeriod,
        Object,
        OwnedSection,
        PolledBatch,
        PolledRetired,
        RcuCell,
        RcuHashMap,
        RcuList,
        ReadToken,
        ReclaimFuture,
        ReclaimedBatch,
        Retired,
        Shared,
        Srcu,
        SynchronizeError, //
    },
    rundown::{
        ArcGuard,
        ArcGuards,
        Exclusive,
        Freezable,
        Frozen,
        PerCpuRundownRef,
        Rundown,
        RundownError,
        RundownGuard,
        RundownGuards,
        RundownRef,
        SendGuard,
        SendGuards,
        Vacant,
        Wait, //
    },
};

/// Tells whether `T` has a trait: an associated constant of the type takes precedence over a
/// trait's.
pub(crate) struct Probe<T>(PhantomData<T>);

pub(crate) trait Neither {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> Neither for Probe<T> {}

impl<T: Send> Probe<T> {
    pub(crate) const SEND: bool = true;
}

impl<T: Sync> Probe<T> {
    pub(crate) const SYNC: bool = true;
}

/// May be sent but not shared.
type NotSync = Cell<u8>;

/// May be neither.
type Nothing = *mut u8;

/// Checks rows of a type and whether it is `Send` and `Sync`; returns whether all are right.
macro_rules! right {
    ($($t:ty: $send:literal $sync:literal,)*) => {{
        let mut right = true;
        $(
            let seen = (Probe::<$t>::SEND, Probe::<$t>::SYNC);
            if seen != ($send, $sync) {
                pr_err!("{}: Send, Sync are {seen:?}\n", stringify!($t));
                right = false;
            }
        )*
        right
    }};
}

type Owned<T> = KBox<Object<T>>;
type Counted<T> = Arc<Shared<T>>;

#[kunit_tests(quiesce_rundown_auto_traits)]
mod rundown {
    use super::*;

    #[test]
    fn send_and_sync_of_every_type() {
        let right = right! {
            // The probe itself.
            u8: true true,
            NotSync: true false,
            Nothing: false false,

            RundownRef: true true,
            PerCpuRundownRef: true true,
            RundownError: true true,
            Rundown<u8>: true true,
            Rundown<u8, PerCpuRundownRef>: true true,
            // Holders share the value.
            Rundown<NotSync>: true false,
            Rundown<Nothing>: false false,
            Freezable: true true,
            Wait: true true,

            // Lockdep takes their tasks for holders of a lock.
            Exclusive<'static, u8>: false false,
            Vacant<'static, u8>: false false,
            Frozen<'static>: false false,
            RundownGuard<'static>: false false,
            RundownGuards<'static>: false false,
            SendGuard<'static>: true true,
            SendGuards<'static>: true true,
            ArcGuard: true true,
            ArcGuards: true true,
            ArcGuard<Rundown<u8>>: true true,
        };
        assert!(right);
    }
}

quiesce::rcu::define_domain! {
    /// A domain with sections that move.
    Moving: up_down
}

#[kunit_tests(quiesce_rcu_auto_traits)]
mod rcu {
    use super::*;

    #[test]
    fn send_and_sync_of_every_type() {
        let right = right! {
            RcuCell<Owned<u8>>: true true,
            RcuCell<Option<Owned<u8>>>: true true,
            // Readers share the value.
            RcuCell<Owned<NotSync>>: true false,
            RcuCell<Counted<u8>>: true true,
            Object<NotSync>: true false,
            Object<Nothing>: false false,
            Shared<u8>: true true,
            Shared<NotSync>: true false,
            Shared<Nothing>: false false,

            // A reader's critical section belongs to its task.
            ReadToken<'static, Global>: false false,

            Retired<Owned<u8>>: true true,
            // A shared reference gives no access to the value.
            Retired<Owned<NotSync>>: true true,
            PolledRetired<Owned<u8>>: true true,
            Batch<Owned<u8>>: true true,
            PolledBatch<Owned<u8>>: true true,
            ReclaimedBatch<Owned<u8>>: true true,
            Cookie: true true,
            GracePeriod: true true,
            ReclaimFuture<Owned<u8>>: true true,
            SynchronizeError<Retired<Owned<u8>>>: true true,
            Entry<u8>: true true,
            Entry<NotSync>: true false,
            Entry<Nothing>: false false,
            RcuList<u8>: true true,
            RcuList<NotSync>: true false,
            RcuHashMap<u8, u8>: true true,
            RcuHashMap<u8, NotSync>: true false,
            Srcu<Moving>: true true,
            OwnedSection<Moving>: true true,
            Global: true true,
        };
        assert!(right);
    }
}
