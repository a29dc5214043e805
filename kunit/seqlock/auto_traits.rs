// SPDX-License-Identifier: GPL-2.0

//! Which types may be sent and shared: a row for each public type.

use core::{
    cell::Cell,
    marker::PhantomData, //
};
use kernel::prelude::*;
use quiesce::seqlock::{
    compat::SeqlockMode, BhDisabled, ExclusiveGuard, Field, Latch, PreemptDisabled, RawSeqLock,
    ReadSection, Retry, SeqCount, SeqCountWriter, SeqLock, SeqLockGuard, SeqLockReadGuard,
    Unvalidated, WriteGuard,
};

use crate::auto_traits::{
    Neither as _,
    Probe, //
};

/// May be sent but not shared.
type NotSync = PhantomData<Cell<u8>>;

/// May be neither.
type Nothing = *mut u8;

macro_rules! table {
    ($($t:ty: $send:literal $sync:literal,)*) => {
        [$((stringify!($t), (Probe::<$t>::SEND, Probe::<$t>::SYNC), ($send, $sync)),)*]
    };
}

#[kunit_tests(quiesce_seqlock_auto_traits)]
mod tests {
    use super::*;

    #[test]
    fn send_and_sync_of_every_type() {
        let table = table! {
            // The probe itself.
            u8: true true,
            NotSync: true false,
            Nothing: false false,

            // Readers get copies, so that the value need not be `Sync`.
            SeqLock<u8>: true true,
            SeqLock<NotSync>: true true,
            RawSeqLock<NotSync>: true true,
            Latch<NotSync>: true true,
            // The owner's address is compared only.
            SeqCount<NotSync, Nothing>: true true,
            Field<Nothing, Nothing>: true true,
            SeqlockMode: true true,
            Retry: true true,

            // What is held belongs to a task or a CPU.
            WriteGuard<'static, u8>: false false,
            ExclusiveGuard<'static, u8>: false false,
            SeqLockGuard<'static, u8>: false false,
            SeqCountWriter<'static, u8>: false false,
            PreemptDisabled: false false,
            BhDisabled: false false,
            ReadSection<'static, u8>: false false,
            Unvalidated<'static, u8>: false false,
            SeqLockReadGuard<'static, u8>: false false,
        };
        for (name, is, expected) in table {
            if is != expected {
                pr_err!("{name}: Send, Sync are {is:?}, not {expected:?}\n");
            }
            assert!(is == expected);
        }
    }
}
