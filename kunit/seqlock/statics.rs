// SPDX-License-Identifier: GPL-2.0

//! Locks that are made by a constant function, in each place that there is.

use kernel::{
    prelude::*,
    sync::Arc, //
};
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
use quiesce::seqlock::SeqData;
use quiesce::{
    latch_static, new_latch, new_seqlock,
    rundown::RundownRef,
    seqlock::{
        Bh,
        Irq,
        Latch,
        RawSeqLock,
        SeqLock,
        ThreadedIrq, //
    },
    seqlock_static,
};

static GLOBAL: SeqLock<u32> = SeqLock::new(0);
static MANY: [RawSeqLock<(u64, bool), Irq>; 3] = [const { RawSeqLock::new((0, true)) }; 3];
static RAW: RawSeqLock<[u8; 5], Irq> = RawSeqLock::new([1; 5]);
static LATCH: Latch<(u8, u64)> = Latch::new((1, 2));

/// A lock within a static structure.
struct State {
    lock: SeqLock<[u8; 5], Bh>,
    name: &'static str,
}

static STATE: State = State {
    lock: SeqLock::new([1; 5]),
    name: "state",
};

seqlock_static! {
    static NAMED: SeqLock<u32> = 1;
    static NAMED_TOO: RawSeqLock<u32> = 2;
}

latch_static! {
    static NAMED_LATCH: Latch<u32> = 3;
}

/// Two locks by one call.
fn made_here() -> SeqLock<u64> {
    SeqLock::new(4)
}

/// The same, initialised in place.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
fn initialised_here() -> Result<KBox<SeqLock<u64>>> {
    KBox::init(SeqLock::init(pin_init::init_zeroed()), GFP_KERNEL)
}

/// Locks of several types, initialised by one call.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
fn initialised_anywhere<T: SeqData + Zeroable>() -> Result<KBox<SeqLock<T>>> {
    KBox::init(SeqLock::init(pin_init::init_zeroed()), GFP_KERNEL)
}

/// lockdep's keys of a lock and of its counter, and their name.
#[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
fn class<T: SeqData>(lock: &SeqLock<T>) -> (usize, usize, &'static CStr) {
    use kernel::bindings;

    let raw = lock.as_raw();
    // The map is the last part of a spin lock, on PREEMPT_RT too.
    let map = raw
        .wrapping_byte_add(core::mem::offset_of!(bindings::seqlock, lock))
        .wrapping_byte_add(size_of::<bindings::spinlock_t>() - size_of::<bindings::lockdep_map>())
        .cast::<bindings::lockdep_map>();
    // SAFETY: The lock is initialised, and nobody writes to its maps; the name is a string of a
    // module that stays.
    unsafe {
        let seq = (*raw).seqcount.seqcount.dep_map;
        (
            (*map).key.addr(),
            seq.key.addr(),
            CStr::from_char_ptr(seq.name),
        )
    }
}

#[kunit_tests(quiesce_seqlock_statics)]
mod tests {
    use super::*;

    #[test]
    fn statics_arrays_and_structures() -> Result {
        GLOBAL.write_bh().set(2);
        MANY[1].write_irq().set((7, false));
        STATE.lock.write_irqsave().set([9; 5]);
        RAW.write_irq().update(|v| v[4] = 3);
        LATCH.store((5, 6));
        assert_eq!(GLOBAL.read(), 2);
        assert_eq!(
            [0, 1, 2].map(|i| MANY[i].read()),
            [(0, true), (7, false), (0, true)]
        );
        assert_eq!((STATE.lock.read(), STATE.name), ([9; 5], "state"));
        assert_eq!((RAW.read(), LATCH.read()), ([1, 1, 1, 1, 3], (5, 6)));
        assert_eq!(
            (NAMED.read(), NAMED_TOO.read(), NAMED_LATCH.read()),
            (1, 2, 3)
        );
        Ok(())
    }

    #[test]
    fn on_the_heap_and_on_the_stack() -> Result {
        let shared: Arc<SeqLock<u32>> = Arc::new(SeqLock::new(0), GFP_KERNEL)?;
        shared.write().set(1);
        assert_eq!(shared.read(), 1);
        let boxed = KBox::new(SeqLock::<[u16; 3], ThreadedIrq>::default(), GFP_KERNEL)?;
        assert_eq!(boxed.read(), [0; 3]);
        assert_eq!(made_here().read(), 4);
        let local: SeqLock<u8> = 5.into();
        local.write().set(6);
        // A lock that nobody uses may be moved, with all that it went through.
        let mut moved = local;
        moved.write().update(|v| *v += 1);
        assert_eq!((moved.read(), *moved.read_exclusive()), (7, 7));
        assert_eq!(*moved.get_mut(), 7);
        assert_eq!(Latch::from(8u64).read() + Latch::<u64>::default().read(), 8);
        Ok(())
    }

    /// The kernel's own macros take a value and a name; a value is any expression.
    #[test]
    fn the_macro_takes_any_expression() -> Result {
        #[derive(Clone, Copy)]
        struct P {
            x: u32,
        }
        impl P {
            fn new() -> Self {
                P { x: 1 }
            }
        }
        fn foo(x: u32) -> u32 {
            x
        }
        macro_rules! reads {
            ($($value:expr),+ $(,)?) => {
                $({
                    let _ = KBox::pin_init(new_seqlock!($value), GFP_KERNEL)?.read();
                    let _ = KBox::pin_init(new_latch!($value), GFP_KERNEL)?.read();
                })+
            };
        }
        reads!(
            [0u32; 4],
            (1u64, 500u32),
            -1i32,
            &5u32,
            "x",
            1 + 1u32,
            Some(3u8),
            foo(3)
        );
        reads!(
            [1u8, 2],
            P { x: 1 },
            P::new(),
            2 << 1,
            if foo(1) > 0 { 'y' } else { 'n' }
        );
        let by_name = KBox::pin_init(new_seqlock!(0u32, "name"), GFP_KERNEL)?;
        let by_c_name = KBox::pin_init(new_seqlock!(0u32, c"name"), GFP_KERNEL)?;
        let typed = KBox::pin_init(
            new_seqlock!(RawSeqLock<_, Irq>, P::new(), "typed"),
            GFP_KERNEL,
        )?;
        let latch = KBox::pin_init(new_latch!(Latch<u8>, 1, "latch"), GFP_KERNEL)?;
        assert_eq!(by_name.read() + by_c_name.read() + typed.read().x, 1);
        assert_eq!(latch.read(), 1);
        Ok(())
    }

    /// One place in the source makes a sequence lock and a rundown reference: lockdep must not take one
    /// for the other.
    #[test]
    fn one_place_makes_locks_of_two_kinds() -> Result {
        #[derive(Default)]
        struct Both {
            users: RundownRef,
            value: SeqLock<u64>,
        }

        let both = KBox::new(Both::default(), GFP_KERNEL)?;
        for i in 0..3 {
            both.value.write().update(|v| *v += i);
            let user = both.users.try_acquire()?;
            assert_eq!(*both.value.read_exclusive(), both.value.read());
            drop(user);
        }
        both.users.wait_for_rundown();
        Ok(())
    }

    #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
    #[test]
    fn a_class_is_a_place_in_the_source() -> Result {
        use crate::support::is_ours as ours;

        let (a, b) = (class(&made_here()), class(&made_here()));
        let other = class(&SeqLock::new(4u64));
        let in_place = (class(&*initialised_here()?), class(&*initialised_here()?));
        let there = KBox::init(SeqLock::<u64>::init(pin_init::init_zeroed()), GFP_KERNEL)?;
        assert_eq!(in_place.0, in_place.1);
        assert!(in_place.0 .0 != class(&there).0 && ours(in_place.0 .0));
        let named = KBox::init(new_seqlock!(4u64, "a name"), GFP_KERNEL)?;
        let c_named = KBox::init(new_seqlock!(4u64, c"another"), GFP_KERNEL)?;
        assert!(a.0 != 0 && a.1 == a.0 + 8);
        assert_eq!(a, b);
        assert!(a.0 != other.0 && a.1 != other.1);
        // In the module that calls, which is not the crate's.
        assert!(ours(a.0) && ours(other.0));
        // The name is in the crate's: the lock may stay in use when that module is unloaded.
        assert!(!ours(a.2.as_char_ptr().addr()) && !ours(in_place.0 .2.as_char_ptr().addr()));
        assert_eq!(
            class(&*initialised_anywhere::<u64>()?),
            class(&*initialised_anywhere::<u32>()?)
        );
        assert_eq!(a.2, c"quiesce::seqlock");
        assert_eq!(class(&named).2, c"a name");
        assert_eq!(class(&c_named).2, c"another");
        // The static's key is its own address, which lockdep finds out.
        NAMED.write().set(1);
        assert_eq!(class(&NAMED).2, c"NAMED");
        assert!(class(&NAMED).0.wrapping_sub((&raw const NAMED).addr()) < size_of_val(&NAMED));
        Ok(())
    }
}
