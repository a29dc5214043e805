// SPDX-License-Identifier: GPL-2.0

//! The seed's examples, translated, and all of its modes.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::{
    new_seqlock,
    seqlock::{
        AnyGuard,
        AnyMode,
        Irq,
        SeqLock,
        SeqLockError,
        SeqLockMode,
        SIZEOF_SEQLOCK, //
    },
    seqlock_static,
};

use super::modes::{
    state,
    ON, //
};

const RT: bool = cfg!(CONFIG_PREEMPT_RT);

seqlock_static! {
    static GLOBAL_SEQLOCK: SeqLock<u32> = 0;
}

/// Writes and reads in a mode, and returns whether bottom halves and interrupts were off inside.
macro_rules! by_mode {
    ($lock:expr, $write:expr, $read:expr) => {{
        let mut guard = $lock.lock($write);
        *guard += 1;
        let taken = matches!($lock.trylock($write), Err(SeqLockError::Again(EAGAIN)))
            && matches!($lock.trylock($read), Err(SeqLockError::Again(EAGAIN)));
        let inside = state();
        $lock.unlock(guard);
        let written = $lock.read();

        let mut guard = $lock.trylock($write)?;
        *guard += 1;
        drop(guard);

        let guard = $lock.lock($read);
        let read = *guard;
        let excluded = $lock.trylock($write).is_err() && $lock.trylock($read).is_err();
        let same = state() == inside;
        $lock.unlock(guard);
        let again = *$lock.trylock($read)?;
        (
            taken && excluded && same && written + 1 == read && read == again,
            inside.bh,
            inside.irq,
        )
    }};
}

#[kunit_tests(quiesce_seqlock_facade)]
mod tests {
    use super::*;

    #[test]
    fn a_static_and_one_on_the_heap() -> Result {
        *GLOBAL_SEQLOCK.lock(SeqLockMode::WriteLock) = 5;
        assert_eq!(*GLOBAL_SEQLOCK.read_begin(), 5);
        let seqlock: Arc<SeqLock<u32>> = Arc::pin_init(new_seqlock!(0), GFP_KERNEL)?;
        *seqlock.lock(SeqLockMode::WriteLock) = 1;
        assert_eq!(*seqlock.lock(SeqLockMode::ReadExclusiveLock), 1);
        *GLOBAL_SEQLOCK.lock(SeqLockMode::WriteLock) = 0;
        Ok(())
    }

    #[test]
    fn the_eight_modes() -> Result {
        use SeqLockMode as Mode;
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u64>, 0), GFP_KERNEL)?;
        let plain = by_mode!(lock, Mode::WriteLock, Mode::ReadExclusiveLock);
        let bh = by_mode!(lock, Mode::WriteLockBh, Mode::ReadExclusiveLockBh);
        let irq = by_mode!(lock, Mode::WriteLockCpuirq, Mode::ReadExclusiveLockCpuirq);
        let irqsave = by_mode!(
            lock,
            Mode::WriteLockCpuirqSave(None),
            Mode::ReadExclusiveLockCpuirqSave(None)
        );
        assert_eq!(plain, (true, false, false));
        assert_eq!(bh, (true, true, false));
        assert_eq!(irq, (true, false, !RT));
        assert_eq!(irqsave, (true, false, !RT));
        assert_eq!(state(), ON);
        Ok(())
    }

    #[test]
    fn a_mode_of_run_time() -> Result {
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u32>, 0), GFP_KERNEL)?;
        let strict = KBox::pin_init(new_seqlock!(SeqLock<u32, Irq>, 0), GFP_KERNEL)?;
        let modes = [
            (AnyMode::WriteLock, false, false),
            (AnyMode::WriteLockBh, true, false),
            (AnyMode::WriteLockCpuirq, false, true),
            (AnyMode::WriteLockCpuirqSave, false, true),
            (AnyMode::ReadExclusiveLock, false, false),
            (AnyMode::ReadExclusiveLockBh, true, false),
            (AnyMode::ReadExclusiveLockCpuirq, false, true),
            (AnyMode::ReadExclusiveLockCpuirqSave, false, true),
        ];
        for (n, (mode, bh, irq)) in modes.into_iter().enumerate() {
            let mut guard = lock.lock(mode);
            let inside = state();
            let taken = lock.trylock(mode).err();
            if let AnyGuard::Write(writer) = &mut guard {
                **writer += 1;
            }
            lock.unlock(guard);
            // Too weak for the other lock: it gets what that needs.
            let guard = strict.trylock(mode)?;
            let strengthened = state();
            drop(guard);
            assert_eq!((inside.bh, inside.irq), (bh, irq && !RT));
            assert_eq!(taken, Some(SeqLockError::Again(EAGAIN)));
            assert_eq!(strengthened.irq, !RT);
            assert_eq!(lock.read(), (n as u32 + 1).min(4));
            assert_eq!(mode.writes(), n < 4);
            assert_eq!(state(), ON);
        }
        Ok(())
    }

    #[test]
    fn a_read_guard_and_its_retry() -> Result {
        let lock = KBox::pin_init(new_seqlock!(SeqLock<[u32; 3]>, [1, 2, 3]), GFP_KERNEL)?;
        let guard = lock.read_begin();
        assert_eq!((*guard, guard.read_retry()), ([1, 2, 3], false));
        lock.lock(SeqLockMode::WriteLock)[0] = 4;
        // Old, but whole.
        assert_eq!((*guard, guard.read_retry()), ([1, 2, 3], true));
        let guard = lock.read_begin();
        drop(lock.lock(SeqLockMode::ReadExclusiveLock));
        assert_eq!((*guard, guard.read_retry()), ([4, 2, 3], false));
        Ok(())
    }

    #[test]
    fn errors_and_sizes() -> Result {
        assert_eq!(SeqLockError::from(EAGAIN), SeqLockError::Again(EAGAIN));
        assert_eq!(SeqLockError::from(EINVAL), SeqLockError::Unknown(EINVAL));
        assert_eq!(Error::from(SeqLockError::Again(EAGAIN)), EAGAIN);
        assert_eq!(SeqLockError::Unknown(EINVAL).unwrap(), EINVAL);
        let beside = SIZEOF_SEQLOCK.next_multiple_of(8);
        assert_eq!(size_of::<SeqLock<[u64; 3]>>(), beside + 24);
        assert_eq!(size_of::<SeqLock<u8>>(), beside + 8);
        assert_eq!(size_of::<SeqLock<[u8; 9]>>(), beside + 16);
        Ok(())
    }
}
