// SPDX-License-Identifier: GPL-2.0

//! SRCU domains: sections in every context, and sections that move between tasks.

use super::{
    complaining,
    domain::Sleepy,
    MISUSE, //
};
use crate::support;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use quiesce::rcu::{
    self,
    Domain,
    Object,
    OwnedSection,
    RcuCell,
    Srcu,
    Tag, //
};

rcu::define_domain! {
    /// A domain whose sections move.
    Moving: up_down
}

type Cell = RcuCell<KBox<Object<u32>>, Srcu<Moving>>;

fn number(n: u32) -> Result<KBox<Object<u32>>> {
    Ok(Object::new(n).boxed(GFP_KERNEL)?)
}

/// Returns whether the grace period of `cookie` elapses within 100 ms.
fn elapses(cookie: &rcu::Cookie<Srcu<Moving>>) -> bool {
    (0..20).any(|_| {
        support::msleep(5);
        cookie.is_over()
    })
}

#[kunit_tests(quiesce_rcu_srcu)]
mod tests {
    use super::*;

    /// Reads in sections in a task, in a softirq, in a hardware interrupt and, if this machine can send
    /// one, in an NMI, the latter two inside of a section of the task.
    fn read_in_every_context<T: Tag>(domain: Srcu<T>) -> Result<[Option<u32>; 4]> {
        let cell = RcuCell::<_, Srcu<T>>::new(number(7)?);
        let read = || domain.run(|t| *cell.read(t));
        let seen = [
            Some(read()),
            support::in_softirq(read),
            domain.run(|_| support::in_hardirq(read)),
            domain.run(|_| support::in_nmi(read)),
        ];
        // All of them have ended.
        domain.synchronize()?;
        Ok(seen)
    }

    #[test]
    fn sections_in_every_context() -> Result {
        let sleepy = read_in_every_context(Srcu::<Sleepy>::init()?)?;
        let moving = read_in_every_context(Srcu::<Moving>::init()?)?;
        let nmi = support::in_nmi(|| ()).map(|()| 7);
        assert_eq!(sleepy, [Some(7), Some(7), Some(7), nmi]);
        assert_eq!(moving, [Some(7), Some(7), Some(7), nmi]);
        Ok(())
    }

    #[test]
    fn a_section_ends_in_another_task() -> Result {
        let domain = Srcu::<Moving>::init()?;
        let cell = Arc::new(Cell::new(number(1)?), GFP_KERNEL)?;
        let section = domain.down()?;
        let before = section.run(|t| *cell.read(t));
        let old = cell.replace(number(2)?).start();
        let cookie = domain.start();
        let here = elapses(&cookie);
        let sum = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let (theirs, there) = (sum.clone(), cell.clone());
        let thread = support::spawn(c"rcu_section", move || {
            let n = section.run(|t| *there.read(t));
            if !elapses(&cookie) {
                theirs.add(n, Relaxed);
            }
            drop(section);
            if cookie.wait().is_ok() {
                theirs.add(4u32, Relaxed);
            }
        })?;
        thread.join();
        let old = old.wait()?;
        assert_eq!(before, 1);
        assert!(!here);
        assert_eq!(sum.load(Relaxed), 2 + 4);
        assert_eq!(**old, 1);
        Ok(())
    }

    #[test]
    fn a_section_ends_in_an_interrupt_and_begins_in_one() -> Result {
        let domain = Srcu::<Moving>::init()?;
        for hard in [false, true] {
            let section = domain.down()?;
            let cookie = domain.start();
            let early = elapses(&cookie);
            let end = move || drop(section);
            let ended = if hard {
                support::in_hardirq(end).is_some()
            } else {
                support::in_softirq(end).is_some()
            };
            cookie.wait()?;

            let begin = move || domain.down().ok();
            let section: Option<OwnedSection<Moving>> = if hard {
                support::in_hardirq(begin).flatten()
            } else {
                support::in_softirq(begin).flatten()
            };
            let cookie = domain.start();
            let also_early = elapses(&cookie);
            let begun = section.is_some();
            drop(section);
            cookie.wait()?;
            assert!(!early && !also_early);
            assert!(ended && begun);
        }
        Ok(())
    }

    #[test]
    fn none_begins_in_an_nmi() -> Result {
        let domain = Srcu::<Moving>::init()?;
        let refused = support::in_nmi(move || domain.down().err());
        domain.synchronize()?;
        assert!(matches!(refused, None | Some(Some(EAGAIN))));
        Ok(())
    }

    #[test]
    fn waiting_with_a_token_is_an_error() -> Result {
        let domain = Srcu::<Moving>::init()?;
        let section = domain.down()?;
        let (nested, inside) = complaining(MISUSE, || {
            (
                domain.run(|_| section.run(|_| domain.synchronize())),
                section.run(|_| domain.synchronize()),
            )
        });
        let seen = (section.run(|_| domain.in_reader()), domain.in_reader());
        drop(section);
        domain.synchronize()?;
        assert_eq!(nested, Err(EDEADLK));
        assert_eq!(inside, Err(EDEADLK));
        assert_eq!(seen, (true, false));
        Ok(())
    }

    #[test]
    fn sections_of_both_kinds_hold_up_the_same_grace_period() -> Result {
        let domain = Srcu::<Moving>::init()?;
        let section = domain.down()?;
        let (cookie, first) = domain.run(|_| {
            let cookie = domain.start();
            let section = domain.down();
            (cookie, section)
        });
        let with_two = elapses(&cookie);
        drop(first?);
        let with_one = elapses(&cookie);
        drop(section);
        cookie.wait()?;
        assert!(!with_two && !with_one);
        Ok(())
    }
}
