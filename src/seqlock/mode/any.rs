// SPDX-License-Identifier: GPL-2.0

//! Modes that are known at run time only.

use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::prelude::*;

use super::{
    Mode,
    SeqLockError,
    SeqLockGuard, //
};
use crate::seqlock::{
    context::Held,
    Bh,
    Body,
    Context,
    ExclusiveGuard,
    Irq,
    Kind,
    Preempt,
    SeqData,
    SeqLock,
    Spin,
    WriteGuard, //
};

/// A mode that is chosen at run time.
///
/// One that is weaker than the lock's context is strengthened to it.
///
/// # Examples
///
/// ```
/// # use quiesce::seqlock::{AnyGuard, AnyMode, Irq, SeqLock};
/// fn clear(lock: &SeqLock<u32, Irq>, mode: AnyMode) {
///     if let AnyGuard::Write(mut writer) = lock.lock(mode) {
///         *writer = 0;
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyMode {
    /// As [`SeqLockMode::WriteLock`](super::SeqLockMode::WriteLock).
    WriteLock,
    /// As [`SeqLockMode::WriteLockBh`](super::SeqLockMode::WriteLockBh).
    WriteLockBh,
    /// As [`SeqLockMode::WriteLockCpuirq`](super::SeqLockMode::WriteLockCpuirq).
    WriteLockCpuirq,
    /// As [`SeqLockMode::WriteLockCpuirqSave`](super::SeqLockMode::WriteLockCpuirqSave).
    WriteLockCpuirqSave,
    /// As [`SeqLockMode::ReadExclusiveLock`](super::SeqLockMode::ReadExclusiveLock).
    ReadExclusiveLock,
    /// As [`SeqLockMode::ReadExclusiveLockBh`](super::SeqLockMode::ReadExclusiveLockBh).
    ReadExclusiveLockBh,
    /// As [`SeqLockMode::ReadExclusiveLockCpuirq`](super::SeqLockMode::ReadExclusiveLockCpuirq).
    ReadExclusiveLockCpuirq,
    /// As
    /// [`SeqLockMode::ReadExclusiveLockCpuirqSave`](super::SeqLockMode::ReadExclusiveLockCpuirqSave).
    ReadExclusiveLockCpuirqSave,
}

impl AnyMode {
    const fn level(self) -> u8 {
        match self {
            Self::WriteLock | Self::ReadExclusiveLock => Preempt::LEVEL,
            Self::WriteLockBh | Self::ReadExclusiveLockBh => Bh::LEVEL,
            Self::WriteLockCpuirq
            | Self::WriteLockCpuirqSave
            | Self::ReadExclusiveLockCpuirq
            | Self::ReadExclusiveLockCpuirqSave => Irq::LEVEL,
        }
    }

    /// Whether it writes.
    pub const fn writes(self) -> bool {
        matches!(
            self,
            Self::WriteLock | Self::WriteLockBh | Self::WriteLockCpuirq | Self::WriteLockCpuirqSave
        )
    }
}

/// What an [`AnyMode`] took; only a writer can be written through.
#[must_use = "the lock is given back at once when the guard is unused"]
pub enum AnyGuard<'a, T: SeqData, K: Kind = Spin> {
    /// A writer.
    Write(AnyWriter<'a, T, K>),
    /// An exclusive reader.
    ReadExclusive(AnyReader<'a, T, K>),
}

/// A writer in one of the contexts.
#[allow(missing_docs, reason = "the contexts' names say it")]
#[must_use = "the write ends at once when the guard is unused"]
pub enum AnyWriter<'a, T: SeqData, K: Kind = Spin> {
    Preempt(SeqLockGuard<'a, T, Preempt, K>),
    Bh(SeqLockGuard<'a, T, Bh, K>),
    Irq(SeqLockGuard<'a, T, Irq, K>),
}

/// An exclusive reader in one of the contexts.
#[allow(missing_docs, reason = "the contexts' names say it")]
#[must_use = "the lock is given back at once when the guard is unused"]
pub enum AnyReader<'a, T: SeqData, K: Kind = Spin> {
    Preempt(ExclusiveGuard<'a, T, Preempt, K>),
    Bh(ExclusiveGuard<'a, T, Bh, K>),
    Irq(ExclusiveGuard<'a, T, Irq, K>),
}

impl AnyMode {
    /// Takes the lock in this mode or in its context, whichever is stronger; [`None`] if it is not
    /// to wait and the lock is not free.
    fn take<T: SeqData, C: Context, K: Kind>(
        self,
        lock: &SeqLock<T, C, K>,
        wait: bool,
    ) -> Option<AnyGuard<'_, T, K>> {
        fn hold<T: SeqData, K: Kind, M: Context>(
            body: &Body<T, K>,
            wait: bool,
        ) -> Option<Held<'_, K::Lock, M>> {
            // SAFETY: By its invariants the lock is initialised; it outlives what holds it.
            unsafe {
                if wait {
                    Some(Held::lock(body.lock()))
                } else {
                    Held::try_lock(body.lock())
                }
            }
        }
        fn write<T: SeqData, K: Kind, M: Context>(
            body: &Body<T, K>,
            wait: bool,
        ) -> Option<SeqLockGuard<'_, T, M, K>> {
            Some(SeqLockGuard::new(WriteGuard::new(body, hold(body, wait)?)))
        }
        fn read<T: SeqData, K: Kind, M: Context>(
            body: &Body<T, K>,
            wait: bool,
        ) -> Option<ExclusiveGuard<'_, T, M, K>> {
            Some(ExclusiveGuard::new(body, hold(body, wait)?))
        }

        let body = &lock.body;
        let level = self.level().max(C::LEVEL);
        Some(if self.writes() {
            AnyGuard::Write(match level {
                Preempt::LEVEL => AnyWriter::Preempt(write(body, wait)?),
                Bh::LEVEL => AnyWriter::Bh(write(body, wait)?),
                _ => AnyWriter::Irq(write(body, wait)?),
            })
        } else {
            AnyGuard::ReadExclusive(match level {
                Preempt::LEVEL => AnyReader::Preempt(read(body, wait)?),
                Bh::LEVEL => AnyReader::Bh(read(body, wait)?),
                _ => AnyReader::Irq(read(body, wait)?),
            })
        })
    }
}

impl<C: Context> Mode<C> for AnyMode {
    type Guard<'a, T: SeqData, K: Kind>
        = AnyGuard<'a, T, K>
    where
        C: 'a;

    fn lock<T: SeqData, K: Kind>(self, lock: &SeqLock<T, C, K>) -> AnyGuard<'_, T, K> {
        loop {
            // The first time round, as it waits.
            if let Some(guard) = self.take(lock, true) {
                return guard;
            }
        }
    }

    fn trylock<T: SeqData, K: Kind>(
        self,
        lock: &SeqLock<T, C, K>,
    ) -> Result<AnyGuard<'_, T, K>, SeqLockError> {
        Ok(self.take(lock, false).ok_or(EAGAIN)?)
    }
}

impl<T: SeqData, K: Kind> Deref for AnyGuard<'_, T, K> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Write(writer) => writer,
            Self::ReadExclusive(AnyReader::Preempt(guard)) => guard,
            Self::ReadExclusive(AnyReader::Bh(guard)) => guard,
            Self::ReadExclusive(AnyReader::Irq(guard)) => guard,
        }
    }
}

impl<T: SeqData, K: Kind> Deref for AnyWriter<'_, T, K> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Preempt(guard) => guard,
            Self::Bh(guard) => guard,
            Self::Irq(guard) => guard,
        }
    }
}

impl<T: SeqData, K: Kind> DerefMut for AnyWriter<'_, T, K> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Preempt(guard) => guard,
            Self::Bh(guard) => guard,
            Self::Irq(guard) => guard,
        }
    }
}
