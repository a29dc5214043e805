// SPDX-License-Identifier: GPL-2.0

//! The types that one module passes to another, with the same layout in both.

use quiesce::rundown::{
    ArcGuard,
    Drained,
    PerCpuRundownRef,
    Rundown,
    RundownRef, //
};

/// A callback of the module that includes this. Its functions are that module's own.
pub(crate) struct Callback;

impl Drained for Callback {
    #[inline(never)]
    fn drained(&self) {
        kernel::pr_err!("the callback was called\n");
    }
}

/// Guards of objects that the creator made.
#[repr(C)]
pub(crate) struct Held {
    pub(crate) plain: ArcGuard<PerCpuRundownRef>,
    pub(crate) callback: ArcGuard<PerCpuRundownRef<Callback>>,
    pub(crate) value: ArcGuard<Rundown<u64, PerCpuRundownRef>>,
    pub(crate) word: ArcGuard<RundownRef>,
}
