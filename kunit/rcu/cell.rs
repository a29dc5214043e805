// SPDX-License-Identifier: GPL-2.0

//! Cells: what is put in is what is read.

use super::domain::Sleepy;
use crate::support;
use kernel::{
    interrupt::local_interrupt_disable,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use quiesce::{
    rcu::{
        self,
        Domain,
        Global,
        Object,
        RcuCell,
        Shared,
        Srcu, //
    },
    seqlock::{
        bh_disable,
        preempt_disable, //
    }, //
};

type Number = KBox<Object<u32>>;

fn number(n: u32) -> Result<Number> {
    Ok(KBox::new(Object::new(n), GFP_KERNEL)?)
}

static EMPTY: RcuCell<Option<Number>> = RcuCell::none();
static SLEEPY: RcuCell<Option<Number>, Srcu<Sleepy>> = RcuCell::none();

#[kunit_tests(quiesce_rcu_cell)]
mod tests {
    use super::*;

    #[test]
    fn publish_and_read() -> Result {
        let cell = RcuCell::<_, Global>::new(number(1)?);
        let one = rcu::global().run(|t| *cell.read(t));
        cell.publish(number(2)?);
        let two = rcu::global().run(|t| *cell.read(t));
        let old = cell.replace(number(3)?).synchronize()?;
        assert_eq!(one, 1);
        assert_eq!(two, 2);
        assert_eq!(**old, 2);
        assert_eq!(**cell.into_inner(), 3);
        Ok(())
    }

    #[test]
    fn a_boxed_object_is_a_box_like_any() -> Result {
        #[repr(align(64))]
        struct Line(u8);

        let mut sum = 0;
        for flags in [GFP_KERNEL, GFP_ATOMIC, GFP_NOWAIT] {
            let first = Object::new(1u32).boxed(flags)?;
            let line = Object::new(Line(2)).boxed(flags)?;
            // Dropped as a box, moved out of it, and retired.
            let at = core::ptr::from_ref(&*line).addr();
            sum += u32::from(line.0);
            drop(line);
            let cell = RcuCell::<_, Global>::new(first);
            let old = cell.replace(Object::new(4).boxed(flags)?).synchronize()?;
            sum += KBox::into_inner(old).into_inner();
            cell.publish(Object::new(8).boxed(flags)?);
            sum += rcu::global().run(|t| *cell.read(t));
            assert_eq!(at % 64, 0);
        }
        assert_eq!(sum, 3 * (2 + 1 + 8));
        Ok(())
    }

    #[test]
    fn a_boxed_object_has_room() -> Result {
        // Of each cache an object that fills it, and one that is too large by a word.
        macro_rules! rooms {
            ($($words:literal)*) => {
                [$({
                    let object = Object::new([1usize; $words]).boxed(GFP_KERNEL)?;
                    (support::room(&object), size_of_val(&*object))
                }),*]
            };
        }

        for (room, size) in rooms!(1 2 3 6 7 10 11 14 15 22 23 30 31) {
            assert!(size >= 3 * size_of::<usize>());
            assert!(room >= size);
        }
        Ok(())
    }

    #[test]
    fn boxes_of_every_allocator() -> Result {
        let mut sum = 0;
        // `VBox` is vmalloc() at any size; a large value would be copied on the stack.
        let mapped = |n: u8| Ok::<_, Error>(VBox::new(Object::new([n; 256]), GFP_KERNEL)?);
        let cell = RcuCell::<_, Global>::new(mapped(1)?);
        cell.publish(mapped(2)?);
        sum += rcu::global().run(|t| u32::from(cell.read(t)[200]));
        let old = cell.replace(mapped(4)?).synchronize()?;
        sum += u32::from(old[200]);
        let droppable = |n| Ok::<_, Error>(KVBox::new(Object::new(number(n)?), GFP_KERNEL)?);
        let sleepy = Srcu::<Sleepy>::init()?;
        let cell = RcuCell::<_, Srcu<Sleepy>>::new(droppable(8)?);
        cell.publish(droppable(16)?);
        sum += sleepy.run(|t| ***cell.read(t));
        // Dropped where memory of vmalloc() cannot be freed.
        let one = RcuCell::<_, Global>::new(mapped(1)?);
        support::preempt_disabled(|| drop(one));
        rcu::global().barrier()?;
        sleepy.barrier()?;
        assert_eq!(sum, 2 + 2 + 16);
        Ok(())
    }

    #[test]
    fn read_with_the_kernel_crates_guard() -> Result {
        let cell = RcuCell::<_, Global>::new(number(3)?);
        let guard = kernel::sync::rcu::read_lock();
        let outside = support::counts().rcu;
        let (seen, inside, sections) = rcu::global().run_in(&guard, |t| {
            (
                *cell.read(t),
                rcu::global().in_reader(),
                support::counts().rcu,
            )
        });
        drop(guard);
        assert_eq!(seen, 3);
        assert!(inside);
        // Another section is not entered.
        assert_eq!(sections, outside);
        Ok(())
    }

    /// Whether a grace period that begins now ends within 20 ms.
    fn ends() -> bool {
        let cookie = rcu::global().start_expedited();
        for _ in 0..20 {
            if cookie.is_over() {
                return true;
            }
            support::udelay(1000);
        }
        false
    }

    /// Interrupts are enabled by a wait, though the token exists: no grace period ends either.
    ///
    /// Kernels that check for it report the wait.
    #[cfg(not(any(CONFIG_DEBUG_ATOMIC_SLEEP, CONFIG_PROVE_LOCKING)))]
    #[test]
    fn a_wait_within_a_token_ends_no_section() -> Result {
        let cell = RcuCell::<_, Global>::new(number(3)?);
        let done = KBox::pin_init(kernel::sync::Completion::new(), GFP_KERNEL)?;
        done.complete_all();
        let token = local_interrupt_disable();
        let (seen, enabled, over) = rcu::global().run_in(&token, |t| {
            let number = cell.read(t);
            done.wait_for_completion();
            (*number, !support::irqs_disabled(), ends())
        });
        drop(token);
        assert_eq!(seen, 3);
        assert!(enabled);
        assert!(!over);
        Ok(())
    }

    /// Bottom halves are not disabled so often that C's count of it is zero again.
    #[test]
    fn read_with_many_tokens() -> Result {
        let cell = RcuCell::<_, Global>::new(number(3)?);
        let mut tokens = KVec::with_capacity(128, GFP_KERNEL)?;
        let first = bh_disable()?;
        let mut refused = None;
        for _ in 1..128 {
            match bh_disable() {
                Ok(token) => tokens.push_within_capacity(token).map_err(|_| ENOSPC)?,
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let (seen, over) = rcu::global().run_in(&first, |t| (*cell.read(t), ends()));
        let disabled = support::in_softirq_disabled();
        let kept = tokens.len();
        drop(first);
        drop(tokens);
        let enabled = !support::in_softirq_disabled();
        let again = bh_disable().is_ok();
        assert_eq!((seen, over), (3, false));
        assert!(disabled && enabled && again);
        assert_eq!((kept, refused), (63, Some(EOVERFLOW)));
        Ok(())
    }

    /// What else is a section of the kernel's RCU: no grace period ends in it.
    #[test]
    fn read_with_tokens() -> Result {
        let cell = RcuCell::<_, Global>::new(number(3)?);
        let token = preempt_disable();
        let preempt = rcu::global().run_in(&token, |t| (*cell.read(t), ends()));
        drop(token);
        let token = bh_disable()?;
        let bh = rcu::global().run_in(&token, |t| (*cell.read(t), ends()));
        drop(token);
        let token = local_interrupt_disable();
        let irq = rcu::global().run_in(&token, |t| (*cell.read(t), ends()));
        drop(token);
        // And it would end otherwise.
        let mut outside = false;
        for _ in 0..1000 {
            outside |= ends();
            if outside {
                break;
            }
            support::msleep(1);
        }
        assert_eq!((preempt, bh), ((3, false), (3, false)));
        assert_eq!(irq, (3, false));
        assert!(outside);
        Ok(())
    }

    #[test]
    fn optional_and_static() -> Result {
        let read = || rcu::global().run(|t| EMPTY.read(t).copied());
        let empty = read();
        let nothing_old = EMPTY.replace(Some(number(1)?)).is_none();
        let full = read();
        let old = EMPTY.replace(None);
        let again = read();
        assert_eq!(empty, None);
        assert!(nothing_old);
        assert_eq!(full, Some(1));
        assert!(old.is_some());
        assert_eq!(again, None);
        Ok(())
    }

    #[test]
    fn a_domain_of_ones_own() -> Result {
        let sleepy = Srcu::<Sleepy>::init()?;
        SLEEPY.publish(Some(number(7)?));
        let seen = sleepy.run(|t| {
            let before = SLEEPY.read(t).copied();
            support::msleep(1);
            before
        });
        let old = match SLEEPY.replace(None) {
            Some(old) => **old.synchronize()?,
            None => 0,
        };
        assert_eq!(seen, Some(7));
        assert_eq!(old, 7);
        Ok(())
    }

    #[test]
    fn a_domain_never_used_reclaims_at_once() -> Result {
        rcu::define_domain! {
            /// Nobody calls `init` for it.
            Unused
        }
        let cell = RcuCell::<_, Srcu<Unused>>::new(number(1)?);
        let one = cell.replace(number(2)?).synchronize()?;
        cell.publish(number(3)?);
        let polled = cell.replace(number(4)?).start().try_reclaim();
        let future = cell.replace(number(5)?).synchronize_async();
        let four = super::super::executor::block_on(future)??;
        assert_eq!(**one, 1);
        assert!(matches!(polled, Ok(three) if **three == 3));
        assert_eq!(**four, 4);
        Ok(())
    }

    /// Of each size that has a cache, and the next one: no object reaches into its neighbour.
    #[test]
    fn boxed_objects_of_all_sizes() -> Result {
        fn whole<const N: usize>() -> Result<bool> {
            let mut boxes = KVec::new();
            for i in 0..64u8 {
                boxes.push(Object::new([i; N]).boxed(GFP_KERNEL)?, GFP_KERNEL)?;
            }
            Ok(boxes
                .iter()
                .enumerate()
                .all(|(i, object)| object.iter().all(|byte| usize::from(*byte) == i)))
        }
        // And two words for the head. Small excesses reach the neighbour's head only; those of the
        // largest ones reach its value.
        let whole = [
            whole::<8>()?,
            whole::<16>()?,
            whole::<17>()?,
            whole::<48>()?,
            whole::<49>()?,
            whole::<80>()?,
            whole::<81>()?,
            whole::<112>()?,
            whole::<113>()?,
            whole::<176>()?,
            whole::<177>()?,
            whole::<240>()?,
            whole::<241>()?,
            whole::<500>()?,
        ];
        assert_eq!(whole, [true; 14]);
        Ok(())
    }

    /// Kernels that check for it report an allocation that may sleep.
    #[test]
    fn boxed_in_a_section() -> Result {
        let one = rcu::global().run(|_| Object::new(1u32).boxed(GFP_ATOMIC))?;
        let large = rcu::global().run(|_| Object::new([2u8; 500]).boxed(GFP_ATOMIC))?;
        assert_eq!((**one, large[499]), (1, 2));
        Ok(())
    }

    #[test]
    fn pinned() -> Result {
        type PinnedMutex = Pin<KBox<Object<Mutex<u32>>>>;
        let new =
            |n| -> Result<PinnedMutex> { KBox::pin_init(Object::pin(new_mutex!(n)), GFP_KERNEL) };
        let cell = RcuCell::<_, Srcu<Sleepy>>::new(new(1)?);
        let sleepy = Srcu::<Sleepy>::init()?;
        let seen = sleepy.run(|t| {
            let mutex = cell.read(t);
            let mut guard = mutex.get_ref().lock();
            *guard += 1;
            *guard
        });
        let old = cell.replace(new(3)?).synchronize_expedited()?;
        let kept = *old.lock();
        assert_eq!(seen, 2);
        assert_eq!(kept, 2);
        Ok(())
    }

    #[test]
    fn references_outlive_the_section() -> Result {
        let first = Arc::new(Shared::new(1u32), GFP_KERNEL)?;
        let cell: RcuCell<Arc<Shared<u32>>> = RcuCell::new(first.clone());
        let taken: Arc<Shared<u32>> = rcu::global().run(|t| cell.read(t).into());
        let same = Arc::ptr_eq(&first, &taken);
        cell.publish(Arc::new(Shared::new(2u32), GFP_KERNEL)?);
        rcu::global().barrier()?;
        drop(first);
        let two = rcu::global().run(|t| **cell.read(t));
        assert!(same);
        assert_eq!(**taken, 1);
        assert_eq!(two, 2);
        Ok(())
    }

    #[test]
    fn compare_exchange() -> Result {
        let cell = RcuCell::<_, Global>::new(number(1)?);
        let (new, newer) = (number(2)?, number(3)?);
        let (hit, miss) = rcu::global().run(|t| {
            let old = cell.read(t);
            let hit = cell.compare_exchange(t, old, new).is_ok();
            (hit, cell.compare_exchange(t, old, newer).err())
        });
        let now = rcu::global().run(|t| *cell.read(t));
        assert!(hit);
        assert!(matches!(miss, Some(newer) if **newer == 3));
        assert_eq!(now, 2);
        Ok(())
    }

    #[test]
    fn compare_exchange_of_nothing() -> Result {
        let cell: RcuCell<Option<Number>> = RcuCell::none();
        let (new, newer) = (Some(number(2)?), Some(number(3)?));
        let (hit, miss) = rcu::global().run(|t| {
            (
                cell.compare_exchange(t, None, new).is_ok(),
                cell.compare_exchange(t, None, newer).is_err(),
            )
        });
        assert!(hit && miss);
        Ok(())
    }

    #[test]
    fn compare_exchange_of_shared() -> Result {
        let one = Arc::new(Shared::new(1u32), GFP_KERNEL)?;
        let cell: RcuCell<Arc<Shared<u32>>> = RcuCell::new(one.clone());
        let two = Arc::new(Shared::new(2u32), GFP_KERNEL)?;
        let (hit, miss) = rcu::global().run(|t| {
            let hit = cell.compare_exchange(t, one.as_arc_borrow(), two).is_ok();
            let miss = cell.compare_exchange(t, one.as_arc_borrow(), one.clone());
            (hit, miss.is_err())
        });
        assert!(hit && miss);
        Ok(())
    }

    #[test]
    fn an_update_that_fails_replaces_nothing() -> Result {
        let cell: RcuCell<Option<Number>> = RcuCell::new(Some(number(7)?));
        let refused = cell.update(rcu::global(), |_| Err::<Option<Number>, _>(EINVAL));
        let same = rcu::global().run(|t| cell.read(t).copied());
        assert!(matches!(refused, Err(e) if e == EINVAL));
        assert_eq!(same, Some(7));
        Ok(())
    }

    #[test]
    fn updates_of_many_writers_all_count() -> Result {
        let cell = Arc::new(RcuCell::<_, Global>::new(number(0)?), GFP_KERNEL)?;
        let mut threads = KVec::new();
        for _ in 0..4 {
            let cell = cell.clone();
            let thread = support::spawn(c"rcu_updater", move || {
                for _ in 0..250 {
                    let _ = cell.update(rcu::global(), |n| {
                        Ok::<_, Error>(KBox::new(Object::new(n + 1), GFP_ATOMIC)?)
                    });
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        drop(threads);
        let sum = rcu::global().run(|t| *cell.read(t));
        let refused = cell.update(rcu::global(), |_| Err::<Number, _>(EINVAL));
        let same = rcu::global().run(|t| *cell.read(t));
        assert_eq!(sum, 1000);
        assert!(matches!(refused, Err(e) if e == EINVAL));
        assert_eq!(same, 1000);
        Ok(())
    }

    #[test]
    fn cells_in_objects() -> Result {
        struct Outer {
            inner: RcuCell<Number>,
        }
        let new = |n| {
            Ok::<_, Error>(KBox::new(
                Object::new(Outer {
                    inner: RcuCell::new(number(n)?),
                }),
                GFP_KERNEL,
            )?)
        };
        let cell = RcuCell::<_, Global>::new(new(1)?);
        let one = rcu::global().run(|t| *cell.read(t).inner.read(t));
        let next = number(2)?;
        rcu::global().run(|t| cell.read(t).inner.publish(next));
        let two = rcu::global().run(|t| *cell.read(t).inner.read(t));
        cell.publish(new(3)?);
        rcu::global().barrier()?;
        assert_eq!(one, 1);
        assert_eq!(two, 2);
        Ok(())
    }

    #[test]
    fn sizes() -> Result {
        let word = size_of::<usize>();
        assert_eq!(size_of::<RcuCell<Number>>(), word);
        assert_eq!(size_of::<RcuCell<Option<Number>>>(), word);
        assert_eq!(size_of::<rcu::ReadToken<'_, Global>>(), 0);
        assert_eq!(size_of::<Object<[usize; 4]>>(), 6 * word);
        assert_eq!(size_of::<Global>(), 0);
        assert_eq!(size_of::<Srcu<Sleepy>>(), 0);
        Ok(())
    }
}
