// SPDX-License-Identifier: GPL-2.0

//! Where and when things are dropped: by the last guard, by callbacks, by leaks, and in each phase of
//! a rundown.

use super::{
    comes_true,
    complaining,
    contexts::{
        run,
        Context, //
    },
    Form, //
};
use crate::support;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
};
use quiesce::{
    impl_has_rundown,
    rcu::{
        self,
        Domain, //
    },
    rundown::{
        callbacks_for_test,
        idle_slots_for_test,
        ArcGuard,
        Drained,
        HasRundown,
        PerCpuRundownRef,
        Rundown,
        RundownError,
        RundownRef,
        Wait, //
    }, //
};

/// A callback is in the list of its own module alone.
fn callbacks_of_another_module() -> Result {
    const MANY: usize = 10_000;

    // A module's code, which that of a kernel without modules is not.
    let module = kernel::module::this_module::<crate::Suites>();
    if module.as_ptr().is_null() {
        return Ok(());
    }
    let mut all = KVVec::new();
    for _ in 0..MANY {
        all.push(
            KBox::pin_init(PerCpuRundownRef::with_callback(Ignored), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
    }
    let ours = || callbacks_for_test(Some(module));
    // Were it to have the functions of a callback, those would be the crate's.
    let _plain = KBox::pin_init(PerCpuRundownRef::new(), GFP_KERNEL)?;
    ensure_eq!(callbacks_for_test(None), 0);
    ensure!(comes_true(|| ours() >= MANY));
    let before = ours();
    all.truncate(MANY / 2);
    ensure!(comes_true(|| ours() == before - MANY / 2));
    ensure_eq!(callbacks_for_test(None), 0);
    Ok(())
}

struct Ignored;

impl Drained for Ignored {
    fn drained(&self) {}
}

/// Where a value was dropped; zero if it was not.
#[derive(Clone)]
struct Place(Arc<Atomic<u32>>);

const PREEMPTIBLE: u32 = 1;
const ATOMIC: u32 = 2;
const NMI: u32 = 3;

impl Place {
    fn new() -> Result<Self> {
        Ok(Self(Arc::new(Atomic::new(0), GFP_KERNEL)?))
    }

    fn here(&self) {
        let place = if support::in_nmi_context() {
            NMI
        } else if support::preemptible() {
            PREEMPTIBLE
        } else {
            ATOMIC
        };
        self.0.store(place, Release);
    }

    fn get(&self) -> u32 {
        self.0.load(Acquire)
    }

    /// Waits for the drop, for a minute at most.
    fn wait(&self) -> u32 {
        for _ in 0..60_000 {
            if self.get() != 0 {
                break;
            }
            support::msleep(1);
        }
        self.get()
    }
}

/// A value that records where it is dropped.
struct Recorded(Place);

impl Drop for Recorded {
    fn drop(&mut self) {
        self.0.here();
    }
}

impl_has_rundown! {
    impl{R: Form} HasRundown for Wrapped<R> { self.0: R }
}

/// A tuple struct around a reference, for the macro.
#[repr(transparent)]
struct Wrapped<R: Form>(R);

const CONTEXTS: [Context; 5] = [
    Context::Preempt,
    Context::BhOff,
    Context::Softirq,
    Context::Hardirq,
    Context::Nmi,
];

/// Drops `last` in a context, or in this one if there is no such.
fn drop_in<T: Send>(context: Context, last: T) {
    let mut last = Some(last);
    let _ = run(context, || drop(last.take()));
}

/// Returns whether `place` is process context, as far as this kernel knows.
fn is_process(place: u32) -> bool {
    place == PREEMPTIBLE || (!cfg!(CONFIG_PREEMPT_COUNT) && place == ATOMIC)
}

/// A value whose destructor waits until another one was dropped.
struct AfterAnother(Place, Place);

impl Drop for AfterAnother {
    fn drop(&mut self) {
        if self.1.wait() != 0 {
            self.0.here();
        }
    }
}

impl Drained for AfterAnother {
    fn drained(&self) {}
}

impl Drained for Recorded {
    fn drained(&self) {}
}

/// A value that records the task that drops it.
struct DroppedBy(Arc<Atomic<i32>>);

impl Drop for DroppedBy {
    fn drop(&mut self) {
        self.0.store(kernel::current!().pid(), Release);
    }
}

/// A destructor may sleep, which a read-side critical section of RCU must not, though a task may be
/// preempted in it.
fn last_guard_in_a_read_side_critical_section() -> Result {
    last_guard_in(|guard| {
        let _section = kernel::sync::rcu::read_lock();
        drop(guard);
    })?;
    // Without preemptible RCU that is one of an SRCU domain.
    last_guard_in(|guard| rcu::global().run(|_| drop(guard)))
}

fn last_guard_in(section: impl FnOnce(ArcGuard<Rundown<DroppedBy>>)) -> Result {
    let by = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let object = Arc::new(Rundown::new(DroppedBy(by.clone())), GFP_KERNEL)?;
    section(HasRundown::try_acquire_arc(object)?);
    for _ in 0..60_000 {
        if by.load(Acquire) != 0 {
            break;
        }
        support::msleep(1);
    }
    assert_ne!(by.load(Acquire), 0);
    assert_ne!(by.load(Acquire), kernel::current!().pid());
    Ok(())
}

/// A destructor that takes long, perhaps one of another module, delays no other.
fn slow_destructor_delays_no_other() -> Result {
    let (slow, quick) = (Place::new()?, Place::new()?);
    let first = Arc::new(
        Rundown::new(AfterAnother(slow.clone(), quick.clone())),
        GFP_KERNEL,
    )?;
    let second = Arc::new(Rundown::new(Recorded(quick.clone())), GFP_KERNEL)?;
    let guards = (
        HasRundown::try_acquire_arc(first)?,
        HasRundown::try_acquire_arc(second)?,
    );
    let _ = support::in_hardirq(move || drop(guards));
    ensure!(is_process(slow.wait()) && is_process(quick.get()));

    // And the callbacks of per-CPU references.
    let (slow, quick) = (Place::new()?, Place::new()?);
    let first = KBox::pin_init(
        PerCpuRundownRef::with_callback(AfterAnother(slow.clone(), quick.clone())),
        GFP_KERNEL,
    )?;
    let second = KBox::pin_init(
        PerCpuRundownRef::with_callback(Recorded(quick.clone())),
        GFP_KERNEL,
    )?;
    first.begin_rundown();
    second.begin_rundown();
    drop(first);
    drop(second);
    ensure!(is_process(slow.wait()) && is_process(quick.get()));
    Ok(())
}

fn last_guard_drops_the_value() -> Result {
    for context in CONTEXTS {
        // The object of a guard is a word in front of a value.
        let place = Place::new()?;
        let object = Arc::new(Rundown::new(Recorded(place.clone())), GFP_KERNEL)?;
        let guard: ArcGuard<Rundown<Recorded>> = HasRundown::try_acquire_arc(object)?;
        ensure_eq!(place.get(), 0);
        drop_in(context, guard);
        ensure!(is_process(place.wait()));

        // And a per-CPU reference, live or with its rundown begun.
        for begun in [false, true] {
            let place = Place::new()?;
            let object = Arc::pin_init(
                Rundown::pin_init(PerCpuRundownRef::new(), Recorded(place.clone())),
                GFP_KERNEL,
            )?;
            let guard = HasRundown::try_acquire_arc(object.clone())?;
            if begun {
                object.begin_rundown();
            }
            drop(object);
            drop_in(context, guard);
            ensure!(is_process(place.wait()));
        }
    }
    Ok(())
}

/// The last `Arc` that an acquisition is refused with is dropped as a last guard is.
fn refused_with_the_last_arc() -> Result {
    for context in CONTEXTS {
        for many in [false, true] {
            let place = Place::new()?;
            let object = Arc::new(Rundown::new(Recorded(place.clone())), GFP_KERNEL)?;
            object.begin_rundown();
            let mut object = Some(object);
            let refused = run(context, || match object.take() {
                Some(last) if many => HasRundown::try_acquire_arc_many(last, 2).is_err(),
                Some(last) => HasRundown::try_acquire_arc(last).is_err(),
                None => false,
            });
            // If there is no such context.
            drop(object);
            ensure!(refused != Some(false));
            ensure!(refused.is_some() || context == Context::Nmi);
            ensure!(is_process(place.wait()));
        }
    }
    Ok(())
}

/// A holder that has the last `Arc`, and whose wait fails: the object is dropped as by a last guard.
fn runs_down_in_vain_with_the_last_arc() -> Result {
    for context in CONTEXTS {
        if context == Context::Nmi {
            // No rundown begins there.
            continue;
        }
        let place = Place::new()?;
        let object = Arc::new(Rundown::new(Recorded(place.clone())), GFP_KERNEL)?;
        // The rundown does not complete.
        core::mem::forget(object.try_acquire()?.unbind());
        let mut guard = Some(HasRundown::try_acquire_arc(object)?);
        let ret = run(context, || {
            guard.take().map(|last| {
                let how = Wait::uninterruptible().timeout(0);
                last.into_rundown_with(how).map(drop)
            })
        });
        ensure_eq!(ret, Some(Some(Err(RundownError::TimedOut))));
        ensure!(is_process(place.wait()));
    }
    Ok(())
}

/// More last guards in one interrupt than there is room for: what finds none is leaked, with a
/// warning, and nothing is dropped there.
fn more_last_guards_than_there_is_room_for() -> Result {
    // SAFETY: This is process context.
    let idle_slots = || unsafe { idle_slots_for_test() };
    ensure!(comes_true(|| idle_slots().is_some()));
    let room = idle_slots().ok_or(EBUSY)?;
    // Also if the dispatcher of another CPU's interrupt empties all slots in between.
    let n = 2 * room + 64;
    let mut all = KVec::with_capacity(n, GFP_KERNEL)?;
    let mut guards = KVec::with_capacity(n, GFP_KERNEL)?;
    for _ in 0..n {
        let place = Place::new()?;
        let object = Arc::new(Rundown::new(Recorded(place.clone())), GFP_KERNEL)?;
        all.push((place, Arc::as_ptr(&object)), GFP_KERNEL)?;
        guards.push(HasRundown::try_acquire_arc(object)?, GFP_KERNEL)?;
    }
    // Once per load of the module, by this test alone.
    let ran = complaining("WARNING: .*rundown_leaked", || {
        run(Context::Hardirq, || {
            while let Some(guard) = guards.pop() {
                drop(guard);
            }
        })
    });
    let idle = comes_true(|| idle_slots().is_some());
    let dropped = all.iter().filter(|(place, _)| place.get() != 0).count();
    let right = all
        .iter()
        .all(|(place, _)| place.get() == 0 || is_process(place.get()));
    if idle && ran.is_some() {
        for (place, object) in &all {
            if place.get() == 0 {
                // What was leaked is dropped here, so that the checker for memory leaks finds none.
                //
                // SAFETY: The pointer is that of an `Arc` with a count of one that nobody has: the guard
                // was dropped, and no work item is left that drops it.
                drop(unsafe { Arc::from_raw(*object) });
            }
        }
    }
    ensure!(idle && ran.is_some() && right);
    ensure!(dropped >= room && dropped < n);
    Ok(())
}

/// Many last guards in one interrupt: none is leaked, and none is dropped there if that is not
/// allowed.
fn many_last_guards_at_once() -> Result {
    for context in CONTEXTS {
        let count = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        struct Counted(Arc<Atomic<u32>>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Full);
            }
        }
        let mut guards = KVec::new();
        for _ in 0..200 {
            let object = Arc::new(Rundown::new(Counted(count.clone())), GFP_KERNEL)?;
            guards.push(HasRundown::try_acquire_arc(object)?, GFP_KERNEL)?;
        }
        let ran = run(context, || {
            while let Some(guard) = guards.pop() {
                drop(guard);
            }
        });
        drop(guards);
        ensure!(ran.is_some() || context == Context::Nmi);
        for _ in 0..60_000 {
            if count.load(Acquire) == 200 {
                break;
            }
            support::msleep(1);
        }
        ensure_eq!(count.load(Acquire), 200);
    }
    Ok(())
}

/// `release()` gives the `Arc` back, so that nothing is dropped there.
fn released_without_a_drop<R: Form>() -> Result {
    let r = R::live()?;
    let guard = HasRundown::try_acquire_arc(r.clone())?;
    drop(r);
    let mut guard = Some(guard);
    let back = run(Context::Hardirq, || {
        guard.take().map(|guard| guard.release())
    });
    let r = back.flatten().ok_or(EINVAL)?;
    ensure_eq!(r.holders(), 0);
    r.wait_for_rundown();

    let r = R::live()?;
    let raw = HasRundown::try_acquire_arc(r.clone())?.into_raw();
    ensure_eq!(r.holders(), 1);
    // SAFETY: The pointer comes from `into_raw`, and is used once.
    drop(unsafe { ArcGuard::from_raw(raw) });
    ensure_eq!(r.holders(), 0);
    Ok(())
}

/// The owners of a per-CPU reference that drop it while, and after, something is going on.
fn dropped_in_each_phase() -> Result {
    for _ in 0..20 {
        // Live; run down; born run down.
        drop(PerCpuRundownRef::live()?);
        drop(PerCpuRundownRef::run_down()?);
        let r = PerCpuRundownRef::live()?;
        r.wait_for_rundown();
        drop(r);
        // While the counters are being collected.
        let r = PerCpuRundownRef::live()?;
        r.begin_rundown();
        drop(r);
        // With the end of the collection under way.
        let r = PerCpuRundownRef::live()?;
        let guard = r.try_acquire()?.unbind();
        r.begin_rundown();
        r.resurrect()?;
        drop(guard);
        drop(r);
        // With a leaked guard: begun, and resurrected.
        for resurrect in [false, true] {
            let r = PerCpuRundownRef::live()?;
            core::mem::forget(r.try_acquire()?.unbind());
            r.begin_rundown();
            if resurrect {
                r.resurrect()?;
            }
            drop(r);
        }
    }
    Ok(())
}

/// A callback that drops the last owner of its own reference.
struct Suicidal {
    own: Atomic<*mut PerCpuRundownRef<Suicidal>>,
    called: Arc<Atomic<u32>>,
    _recorded: Recorded,
}

impl Drained for Suicidal {
    fn drained(&self) {
        let own = self.own.xchg(core::ptr::null_mut(), Full);
        if !own.is_null() {
            // SAFETY: The pointer comes from `Arc::into_raw`, and is used once.
            drop(unsafe { Arc::from_raw(own.cast_const()) });
        }
        self.called.fetch_add(1, Full);
    }
}

fn callback_drops_its_reference() -> Result {
    for held in [false, true] {
        let place = Place::new()?;
        let called = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let r = Arc::pin_init(
            PerCpuRundownRef::with_callback(Suicidal {
                own: Atomic::new(core::ptr::null_mut()),
                called: called.clone(),
                _recorded: Recorded(place.clone()),
            }),
            GFP_KERNEL,
        )?;
        let own = Arc::into_raw(r.clone()).cast_mut();
        r.callback().own.store(own, Release);
        let guard = held.then(|| r.try_acquire().map(|guard| guard.unbind()));
        r.begin_rundown();
        // The collection of the counters ends meanwhile, so that the guard is the last reference.
        support::msleep(50);
        drop(guard);
        drop(r);
        ensure!(is_process(place.wait()));
        ensure_eq!(called.load(Acquire), 1);
    }
    Ok(())
}

/// A leaked reference: its callback is called all the same, and finds what it uses.
fn leaked_reference() -> Result {
    struct Called(Arc<Atomic<u32>>);
    impl Drained for Called {
        fn drained(&self) {
            self.0.fetch_add(1, Full);
        }
    }
    let called = Arc::new(Atomic::new(0), GFP_KERNEL)?;
    let r = KBox::pin_init(
        PerCpuRundownRef::with_callback(Called(called.clone())),
        GFP_KERNEL,
    )?;
    r.begin_rundown();
    // Dropped later, so that the checker for memory leaks finds none.
    let leaked = KBox::leak(
        // SAFETY: The object is not moved out of its box before it is pinned again below.
        unsafe { Pin::into_inner_unchecked(r) },
    );
    for _ in 0..60_000 {
        if called.load(Acquire) != 0 {
            break;
        }
        support::msleep(1);
    }
    // SAFETY: `leaked` was returned by `KBox::leak()`, is used only here, and was pinned before.
    drop(unsafe { Pin::new_unchecked(KBox::from_raw(leaked)) });
    ensure_eq!(called.load(Acquire), 1);
    Ok(())
}

/// A callback is dropped with its reference also if the rundown was cancelled, or does not end because
/// a guard was leaked.
fn callback_is_dropped() -> Result {
    let place = Place::new()?;
    let r = KBox::pin_init(
        PerCpuRundownRef::with_callback(Recorded(place.clone())),
        GFP_KERNEL,
    )?;
    let guard = r.try_acquire()?.unbind();
    r.begin_rundown();
    let resurrected = r.resurrect();
    drop(guard);
    drop(r);
    ensure_eq!(resurrected, Ok(()));
    ensure!(is_process(place.wait()));

    let place = Place::new()?;
    let r = KBox::pin_init(
        PerCpuRundownRef::with_callback(Recorded(place.clone())),
        GFP_KERNEL,
    )?;
    core::mem::forget(r.try_acquire()?.unbind());
    r.begin_rundown();
    drop(r);
    ensure!(is_process(place.wait()));
    Ok(())
}

/// A callback that asks whether the rundown is complete.
struct Asks {
    own: Atomic<*mut PerCpuRundownRef<Asks>>,
    /// One more than the answer; zero before the call.
    answer: Atomic<u32>,
}

impl Drained for Asks {
    fn drained(&self) {
        // SAFETY: The reference is not dropped before its rundown is complete.
        let own = unsafe { &*self.own.load(Acquire) };
        self.answer
            .store(1 + u32::from(own.rundown_completed()), Release);
    }
}

/// A rundown is complete when its callback has returned, and not before.
fn not_complete_in_the_callback() -> Result {
    let r = KBox::pin_init(
        PerCpuRundownRef::with_callback(Asks {
            own: Atomic::new(core::ptr::null_mut()),
            answer: Atomic::new(0),
        }),
        GFP_KERNEL,
    )?;
    let own = core::ptr::from_ref(&*r).cast_mut();
    r.callback().own.store(own, Release);
    r.wait_for_rundown();
    ensure_eq!(r.callback().answer.load(Acquire), 1);
    ensure!(r.rundown_completed());
    Ok(())
}

fn wrapped() -> Result {
    // The macro accepts the fields of tuple structs.
    fn acquire<O: HasRundown>(object: &O) -> bool {
        object.try_acquire().is_ok()
    }
    let object = Wrapped(RundownRef::new());
    ensure!(acquire(&object));
    object.0.wait_for_rundown();
    ensure!(!acquire(&object));
    Ok(())
}

#[kunit_tests(quiesce_rundown_drops)]
mod tests {
    use super::*;

    #[test]
    fn slow_destructor_delays_no_other() -> Result {
        super::slow_destructor_delays_no_other()
    }

    #[test]
    fn last_guard_in_a_read_side_critical_section() -> Result {
        super::last_guard_in_a_read_side_critical_section()
    }

    #[test]
    fn last_guard_drops_the_value() -> Result {
        super::last_guard_drops_the_value()
    }

    #[test]
    fn refused_with_the_last_arc() -> Result {
        super::refused_with_the_last_arc()
    }

    #[test]
    fn runs_down_in_vain_with_the_last_arc() -> Result {
        super::runs_down_in_vain_with_the_last_arc()
    }

    #[test]
    fn more_last_guards_than_there_is_room_for() -> Result {
        super::more_last_guards_than_there_is_room_for()
    }

    #[test]
    fn many_last_guards_at_once() -> Result {
        super::many_last_guards_at_once()
    }

    #[test]
    fn released_without_a_drop_word() -> Result {
        released_without_a_drop::<RundownRef>()
    }

    #[test]
    fn released_without_a_drop_percpu() -> Result {
        released_without_a_drop::<PerCpuRundownRef>()
    }

    #[test]
    fn dropped_in_each_phase() -> Result {
        super::dropped_in_each_phase()
    }

    #[test]
    fn callback_drops_its_reference() -> Result {
        super::callback_drops_its_reference()
    }

    #[test]
    fn leaked_reference() -> Result {
        super::leaked_reference()
    }

    #[test]
    fn callbacks_of_another_module() -> Result {
        super::callbacks_of_another_module()
    }

    #[test]
    fn callback_is_dropped() -> Result {
        super::callback_is_dropped()
    }

    #[test]
    fn not_complete_in_the_callback() -> Result {
        super::not_complete_in_the_callback()
    }

    #[test]
    fn tuple_field() -> Result {
        wrapped()
    }
}
