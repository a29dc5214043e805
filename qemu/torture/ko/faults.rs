// SPDX-License-Identifier: GPL-2.0

//! Operations that allocate, one by one, so that fault injection can make each allocation fail.
//!
//! Each either succeeds and is undone, or fails and leaves nothing.

use crate::rcu;
use kernel::{
    prelude::*,
    str::CStr,
    sync::Arc, //
};
use quiesce::{
    new_seqlock,
    rcu::{
        global,
        Domain,
        Global,
        Object,
        RcuCell,
        Srcu, //
    },
    rundown::{
        HasRundown,
        PerCpuRundownRef,
        RundownRef, //
    },
    seqlock::SeqLock,
};

quiesce::define_domain! {
    /// Made by the first run alone: a domain lives as long as its module.
    Lazy
}

pub(crate) fn run(name: &CStr) -> Result {
    match name.to_bytes() {
        b"rundown-arc" => {
            let object = Arc::new(RundownRef::new(), GFP_KERNEL)?;
            let guard = RundownRef::try_acquire_arc(object.clone())?;
            drop(guard);
            object.wait_for_rundown();
            Ok(())
        }
        b"percpu-init" => {
            let users = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
            let guard = users.try_acquire()?;
            drop(guard);
            users.wait_for_rundown();
            Ok(())
        }
        b"seqlock" => {
            let lock = KBox::pin_init(new_seqlock!(SeqLock<u64>, 1), GFP_KERNEL)?;
            lock.write().set(2);
            Ok(())
        }
        b"srcu-init" => Srcu::<Lazy>::init()?.synchronize(),
        b"rcu-retire" => {
            let cell =
                RcuCell::<_, Global>::new(KBox::new(Object::new(KVec::<u8>::new()), GFP_KERNEL)?);
            let new = KBox::new(Object::new(KVec::new()), GFP_KERNEL)?;
            // Deferring allocates no memory.
            cell.replace(new).defer();
            global().barrier()
        }
        b"rcu-plain" => {
            let cell = RcuCell::<_, Global>::new(Object::new(0u64).boxed(GFP_KERNEL)?);
            cell.publish(Object::new(1).boxed(GFP_KERNEL)?);
            global().synchronize()
        }
        b"flood" => rcu::flood(20000),
        _ => Err(EINVAL),
    }
}
