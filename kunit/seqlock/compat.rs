// SPDX-License-Identifier: GPL-2.0

//! XWOS's examples under its names, and all of its modes.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use quiesce::seqlock::{
    compat::*,
    Bh,
    RawSeqLock,
    SeqLock, //
};

use super::modes::{
    state,
    ON, //
};

const RT: bool = cfg!(CONFIG_PREEMPT_RT);

// As in the documentation of XWOS.
static GLOBAL_SEQLOCK: Seqlock<u32> = Seqlock::new(0);

/// Writes and reads in a mode, and returns whether bottom halves and interrupts were off inside.
macro_rules! by_mode {
    ($lock:expr, $write:expr, $read:expr) => {{
        let mut guard = $lock.lock($write);
        *guard += 1;
        let taken = matches!($lock.trylock($write), Err(SeqlockError::Again(EAGAIN)))
            && matches!($lock.trylock($read), Err(SeqlockError::Again(EAGAIN)));
        let inside = state();
        Seqlock::unlock(guard);
        let written = $lock.read();

        let mut guard = $lock.trylock($write)?;
        *guard += 1;
        drop(guard);

        let guard = $lock.lock($read);
        let read = *guard;
        let excluded = $lock.trylock($write).is_err() && $lock.trylock($read).is_err();
        let same = state() == inside;
        Seqlock::unlock(guard);
        let again = *$lock.trylock($read)?;
        (
            taken && excluded && same && written + 1 == read && read == again,
            inside.bh,
            inside.irq,
        )
    }};
}

#[kunit_tests(quiesce_seqlock_compat)]
mod tests {
    use super::*;

    #[test]
    fn a_static_and_one_on_the_heap() -> Result {
        let seqlock: Arc<Seqlock<u32>> = Arc::new(Seqlock::new(0), GFP_KERNEL)?;
        let mut guard = seqlock.lock(SeqlockMode::WriteLock);
        *guard = 1;
        Seqlock::unlock(guard);
        *GLOBAL_SEQLOCK.lock(SeqlockMode::WriteLock) = 5;
        assert_eq!(*GLOBAL_SEQLOCK.read_begin(), 5);
        assert_eq!(*seqlock.lock(SeqlockMode::ReadExclusiveLock), 1);
        *GLOBAL_SEQLOCK.lock(SeqlockMode::WriteLock) = 0;
        let from: Seqlock<u32> = Seqlock::from(3);
        assert_eq!(from.read() + Seqlock::<u32>::default().read(), 3);
        Ok(())
    }

    #[test]
    fn the_eight_modes() -> Result {
        use SeqlockMode as Mode;
        let lock = KBox::new(Seqlock::<u64>::new(0), GFP_KERNEL)?;
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
        let lock = KBox::new(SeqLock::<u32>::new(0), GFP_KERNEL)?;
        let strict = KBox::new(RawSeqLock::<u32, Bh>::new(0), GFP_KERNEL)?;
        let writers: [(SeqlockMode, bool, bool); 4] = [
            (SeqlockMode::WriteLock, false, false),
            (SeqlockMode::WriteLockBh, true, false),
            (SeqlockMode::WriteLockCpuirq, false, true),
            (SeqlockMode::WriteLockCpuirqSave(None), false, true),
        ];
        let readers = [
            (SeqlockMode::ReadExclusiveLock, false, false),
            (SeqlockMode::ReadExclusiveLockBh, true, false),
            (SeqlockMode::ReadExclusiveLockCpuirq, false, true),
            (SeqlockMode::ReadExclusiveLockCpuirqSave(None), false, true),
        ];
        for ((mode, bh, irq), (read, ..)) in writers.into_iter().zip(readers) {
            // A mode is a value: it is used more than once.
            for _ in 0..2 {
                *lock.lock(mode) += 1;
            }
            let guard = lock.lock(mode);
            let inside = state();
            let taken = (lock.trylock(mode).err(), lock.trylock(read).err());
            Seqlock::unlock(guard);
            let guard = lock.lock(read);
            let inside_read = state();
            drop(guard);
            assert_eq!((inside.bh, inside.irq), (bh, irq && !RT));
            assert_eq!(inside, inside_read);
            let again = Some(SeqlockError::Again(EAGAIN));
            assert_eq!(taken, (again, again));
            assert_eq!(state(), ON);
        }
        assert_eq!(lock.read(), 8);
        // Too weak for the lock: strengthened to what that needs.
        let guard = strict.lock(SeqlockMode::WriteLock);
        let weak = state();
        drop(guard);
        let guard = strict.write_bh();
        let needed = state();
        drop(guard);
        assert_eq!(weak, needed);
        let guard = strict.trylock(SeqlockMode::WriteLock);
        let tried = guard.is_ok().then(state);
        drop(guard);
        assert_eq!(tried, Some(needed));
        assert!(SeqlockMode::WriteLock != SeqlockMode::WriteLockBh);
        Ok(())
    }

    #[test]
    fn a_read_guard_and_its_retry() -> Result {
        let lock = KBox::new(Seqlock::new([1, 2, 3]), GFP_KERNEL)?;
        let lock: &Seqlock<[u32; 3]> = &lock;
        let guard = lock.read_begin();
        assert_eq!((*guard, guard.read_retry()), ([1, 2, 3], false));
        lock.lock(SeqlockMode::WriteLock)[0] = 4;
        // Old, but whole.
        assert_eq!((*guard, guard.read_retry()), ([1, 2, 3], true));
        let guard = lock.read_begin();
        drop(lock.lock(SeqlockMode::ReadExclusiveLock));
        assert_eq!((*guard, guard.read_retry()), ([4, 2, 3], false));
        Ok(())
    }

    #[test]
    fn errors_and_sizes() -> Result {
        assert_eq!(SeqlockError::from(EAGAIN), SeqlockError::Again(EAGAIN));
        assert_eq!(SeqlockError::from(EINVAL), SeqlockError::Unknown(EINVAL));
        assert_eq!(Error::from(SeqlockError::Again(EAGAIN)), EAGAIN);
        assert_eq!(SeqlockError::Unknown(EINVAL).unwrap(), EINVAL);
        let beside = SIZEOF_XWOS_SQLK.next_multiple_of(8);
        assert_eq!(size_of::<SeqLock<[u64; 3]>>(), beside + 24);
        assert_eq!(size_of::<SeqLock<u8>>(), beside + 8);
        assert_eq!(size_of::<SeqLock<[u8; 9]>>(), beside + 16);
        Ok(())
    }
}
