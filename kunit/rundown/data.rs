// SPDX-License-Identifier: GPL-2.0

//! `Rundown<T, R>`: guards dereference to the value, and exclusive ownership changes, takes or
//! replaces it.

use super::Form;
use crate::support;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};
use quiesce::rundown::{
    HasRundown,
    PerCpuRundownRef,
    Rundown,
    RundownError,
    RundownRef, //
};

fn object<R: Make>(value: u64) -> Result<Arc<Rundown<[u64; 3], R>>> {
    R::object([value; 3])
}

/// Makes an object of either form.
trait Make: Form {
    fn object<T: Send + Sync + Unpin>(value: T) -> Result<Arc<Rundown<T, Self>>>;
}

impl Make for RundownRef {
    fn object<T: Send + Sync + Unpin>(value: T) -> Result<Arc<Rundown<T, Self>>> {
        Ok(Arc::new(Rundown::new(value), GFP_KERNEL)?)
    }
}

impl Make for PerCpuRundownRef {
    fn object<T: Send + Sync + Unpin>(value: T) -> Result<Arc<Rundown<T, Self>>> {
        Arc::pin_init(
            Rundown::pin_init(PerCpuRundownRef::new(), value),
            GFP_KERNEL,
        )
    }
}

fn life<R: Make>() -> Result {
    let object = object::<R>(1)?;
    {
        let guard = object.try_acquire()?;
        ensure_eq!(*guard, [1; 3]);
        let owned = HasRundown::try_acquire_arc(object.clone())?;
        ensure_eq!(owned[2], 1);
    }
    let mut value = object.wait_for_rundown()?;
    ensure!(object.try_acquire().is_err());
    *value = [2; 3];
    drop(value);
    // It stays run down; the next who waits has it.
    ensure!(object.try_acquire().is_err());
    let mut value = object.wait_for_rundown_timeout(0)?;
    ensure_eq!(*value, [2; 3]);
    value[0] = 3;
    value.re_init();
    ensure_eq!(*object.try_acquire()?, [3, 2, 2]);

    let (value, vacant) = object.wait_for_rundown_killable()?.take();
    ensure_eq!(value, [3, 2, 2]);
    drop(vacant);
    ensure_eq!(
        object.wait_for_rundown_interruptible().err(),
        Some(RundownError::Vacant)
    );
    ensure!(object.try_acquire().is_err());
    object.vacancy()?.fill([4; 3]);
    ensure_eq!(*object.try_acquire()?, [4; 3]);
    ensure_eq!(object.vacancy().err(), Some(RundownError::NotDrained));
    let value = object.wait_for_rundown()?;
    ensure_eq!(object.vacancy().err(), Some(RundownError::NotDrained));
    drop(value);
    ensure_eq!(object.vacancy().err(), Some(RundownError::Occupied));
    let (_, vacant) = object.wait_for_rundown()?.take();
    let mut value = vacant.put([5; 3]);
    value[1] = 6;
    value.re_init();
    ensure_eq!(*object.try_acquire()?, [5, 6, 5]);
    Ok(())
}

/// Waits in another task, as lockdep reports a wait of an exclusive owner for its own object.
fn wait_elsewhere<R: Make>(object: &Arc<Rundown<[u64; 3], R>>, ms: u32) -> Result<RundownError> {
    let theirs = object.clone();
    let result = Arc::new(kernel::sync::SetOnce::new(), GFP_KERNEL)?;
    let tell = result.clone();
    support::spawn(c"rundown_elsewhere", move || {
        if let Err(err) = theirs.wait_for_rundown_timeout(msecs_to_jiffies(ms)) {
            tell.populate(err);
        }
    })?
    .join();
    result.copy().ok_or(EINVAL)
}

/// While somebody has the value, others wait, and cannot arm or resurrect the object.
fn exclusive<R: Make>() -> Result {
    let object = object::<R>(1)?;
    let value = object.wait_for_rundown()?;
    ensure!(object.rundown_completed());
    ensure_eq!(wait_elsewhere(&object, 5)?, RundownError::TimedOut);
    ensure!(object.resurrect().is_err());
    ensure!(!object.begin_rundown());
    ensure!(object.try_acquire().is_err());
    value.re_init();
    ensure!(object.try_acquire().is_ok());
    Ok(())
}

/// A leaked exclusive value keeps others out.
fn leaked_exclusive<R: Make>() -> Result {
    let object = object::<R>(1)?;
    if cfg!(CONFIG_LOCKDEP) {
        // Which reports that the task ends with a lock held.
        return Ok(());
    }
    core::mem::forget(object.wait_for_rundown()?);
    ensure_eq!(wait_elsewhere(&object, 5)?, RundownError::TimedOut);
    ensure!(object.try_acquire().is_err());
    Ok(())
}

/// Several tasks change the value in turn, and others read it: nobody reads a half of it.
fn replaced_in_use<R: Make>(rounds: u64) -> Result {
    struct Shared<R: Make> {
        object: Arc<Rundown<[u64; 3], R>>,
        torn: Atomic<u32>,
        overlaps: Atomic<u32>,
        inside: Atomic<u32>,
        seen: Atomic<u32>,
    }

    let shared = Arc::new(
        Shared::<R> {
            object: object::<R>(0)?,
            torn: Atomic::new(0),
            overlaps: Atomic::new(0),
            inside: Atomic::new(0),
            seen: Atomic::new(0),
        },
        GFP_KERNEL,
    )?;
    let mut threads = KVec::new();
    for _ in 0..2 {
        let s = shared.clone();
        threads.push(
            support::spawn(c"rundown_reader", move || loop {
                let last = match s.object.try_acquire() {
                    Ok(value) => {
                        s.seen.fetch_add(1, Full);
                        if value[0] != value[1] || value[0] != value[2] {
                            s.torn.fetch_add(1, Full);
                        }
                        value[0] == u64::MAX
                    }
                    Err(_) => false,
                };
                if last {
                    break;
                }
                support::cond_resched();
            })?,
            GFP_KERNEL,
        )?;
    }
    let mut writers = KVec::new();
    for _ in 0..2 {
        let s = shared.clone();
        writers.push(
            support::spawn(c"rundown_writer", move || {
                for _ in 0..rounds {
                    let Ok(mut value) = s.object.wait_for_rundown() else {
                        s.torn.fetch_add(1, Full);
                        continue;
                    };
                    if s.inside.fetch_add(1, Full) != 0 {
                        s.overlaps.fetch_add(1, Full);
                    }
                    for field in value.iter_mut() {
                        *field += 1;
                    }
                    s.inside.fetch_sub(1, Full);
                    value.re_init();
                    support::cond_resched();
                }
            })?,
            GFP_KERNEL,
        )?;
    }
    drop(writers);
    let mut value = shared.object.wait_for_rundown()?;
    let sum = *value;
    *value = [u64::MAX; 3];
    value.re_init();
    drop(threads);
    ensure_eq!(sum, [2 * rounds; 3]);
    ensure_eq!(shared.torn.load(Acquire), 0);
    ensure_eq!(shared.overlaps.load(Acquire), 0);
    ensure!(shared.seen.load(Acquire) > 0);
    Ok(())
}

/// The value is dropped with the object, or by who took it, and once.
fn drops<R: Make>() -> Result {
    struct Counted(Arc<Atomic<u32>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Full);
        }
    }

    let count = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let object = R::object(Counted(count.clone()))?;
    drop(object);
    ensure_eq!(count.load(Acquire), 1);

    let object = R::object(Counted(count.clone()))?;
    let (value, vacant) = object.wait_for_rundown()?.take();
    drop(value);
    ensure_eq!(count.load(Acquire), 2);
    vacant.fill(Counted(count.clone()));
    let guard = HasRundown::try_acquire_arc(object)?;
    ensure_eq!(count.load(Acquire), 2);
    // The guard was the last owner.
    drop(guard);
    ensure_eq!(count.load(Acquire), 3);

    // What is cleared is dropped at once, and neither by the next owner nor with the object.
    let object = R::object(Counted(count.clone()))?;
    let vacant = object.wait_for_rundown()?.clear();
    let cleared = count.load(Acquire);
    drop(vacant);
    let next = object.wait_for_rundown().err();
    drop(object);
    ensure_eq!((cleared, next), (4, Some(RundownError::Vacant)));
    ensure_eq!(count.load(Acquire), 4);

    // A borrowed guard drops nothing, not even as the last one of a rundown.
    let object = R::object(Counted(count.clone()))?;
    drop(object.try_acquire()?);
    let live = count.load(Acquire);
    let guard = object.try_acquire()?;
    object.begin_rundown();
    drop(guard);
    ensure_eq!((live, count.load(Acquire)), (4, 4));
    drop(object);
    ensure_eq!(count.load(Acquire), 5);
    Ok(())
}

/// Values that cannot be moved, initialisers that fail, and objects that begin without a value.
macro_rules! in_place {
    ($name:ident, $ref:ty) => {
        fn $name() -> Result {
            let object =
                Arc::pin_init(Rundown::pin_init(<$ref>::new(), new_mutex!(5)), GFP_KERNEL)?;
            let five = *object.try_acquire()?.lock();
            let mut value = object.wait_for_rundown()?;
            *value.as_pin_mut().lock() = 6;
            value.re_init();
            let six = *object.try_acquire()?.lock();
            ensure_eq!((five, six), (5, 6));
            let vacant = object.wait_for_rundown()?.clear();
            let vacant = match vacant.try_put_init(Err::<Mutex<i32>, Error>(ENOSPC)) {
                Ok(_) => return Err(EINVAL),
                Err((err, vacant)) => {
                    ensure_eq!(err, ENOSPC);
                    vacant
                }
            };
            match vacant.try_put_init(new_mutex!(7)) {
                Ok(value) => value.re_init(),
                Err(_) => return Err(EINVAL),
            }
            let seven = *object.try_acquire()?.lock();
            ensure_eq!(seven, 7);

            let object: Arc<Rundown<u32, $ref>> =
                Arc::pin_init(Rundown::pin_init_vacant(<$ref>::new()), GFP_KERNEL)?;
            ensure!(object.try_acquire().is_err());
            ensure!(object.resurrect().is_err());
            ensure_eq!(object.wait_for_rundown().err(), Some(RundownError::Vacant));
            object.vacancy()?.fill(1);
            ensure_eq!(*object.try_acquire()?, 1);

            let failed: Result<Arc<Rundown<u32, $ref>>> = Arc::pin_init(
                Rundown::pin_init(<$ref>::new(), Err::<u32, Error>(ENOSPC)),
                GFP_KERNEL,
            );
            ensure_eq!(failed.err(), Some(ENOSPC));
            Ok(())
        }
    };
}

in_place!(in_place_word, RundownRef);
in_place!(in_place_percpu, PerCpuRundownRef);

#[kunit_tests(quiesce_rundown_data)]
mod tests {
    use super::*;

    #[test]
    fn life_word() -> Result {
        life::<RundownRef>()
    }

    #[test]
    fn life_percpu() -> Result {
        life::<PerCpuRundownRef>()
    }

    #[test]
    fn exclusive_word() -> Result {
        exclusive::<RundownRef>()
    }

    #[test]
    fn exclusive_percpu() -> Result {
        exclusive::<PerCpuRundownRef>()
    }

    #[test]
    fn leaked_exclusive_word() -> Result {
        leaked_exclusive::<RundownRef>()
    }

    #[test]
    fn leaked_exclusive_percpu() -> Result {
        leaked_exclusive::<PerCpuRundownRef>()
    }

    #[test]
    fn replaced_in_use_word() -> Result {
        replaced_in_use::<RundownRef>(300)
    }

    #[test]
    fn replaced_in_use_percpu() -> Result {
        replaced_in_use::<PerCpuRundownRef>(15)
    }

    #[test]
    fn drops_word() -> Result {
        drops::<RundownRef>()
    }

    #[test]
    fn drops_percpu() -> Result {
        drops::<PerCpuRundownRef>()
    }

    #[test]
    fn in_place_word() -> Result {
        super::in_place_word()
    }

    #[test]
    fn in_place_percpu() -> Result {
        super::in_place_percpu()
    }

    #[test]
    fn born_vacant() -> Result {
        static TABLE: Rundown<u32> = Rundown::new_vacant();

        // The suite may run again: then the last run's value is there.
        if let Ok(value) = TABLE.wait_for_rundown() {
            drop(value.take());
        }
        assert!(TABLE.try_acquire().is_err());
        assert_eq!(TABLE.wait_for_rundown().err(), Some(RundownError::Vacant));
        TABLE.vacancy()?.fill(5);
        let five = *TABLE.try_acquire()?;
        assert_eq!(five, 5);
        Ok(())
    }
}
