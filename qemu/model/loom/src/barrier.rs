// SPDX-License-Identifier: GPL-2.0

//! Models of the pair and the group with their lock, waiters and pollers.

use crate::{
    barrier::{
        group::{Group, NewSeat, Policy, Seat},
        pair::{Goal, Pair, Side},
        queue::{Deadline, Queue},
        End, Id, Pid, Why,
    },
    models::{Model, Plain, ANY},
};
use kernel::{
    alloc::GFP_KERNEL,
    bindings::{POLLERR, POLLHUP, POLLIN, POLLPRI},
    error::code::*,
    prelude::Init,
    sync::Arc,
    wait::poll,
};
use loom::thread;

pub(crate) const MODELS: &[Model] = &[
    Model("pair-wait", ANY, pair_wait),
    Model("pair-poll", ANY, pair_poll),
    Model("pair-arrive-wait-poll", 2, pair_arrive_wait_poll),
    Model("pair-hup-by-own-wait", ANY, pair_hup),
    Model("pair-timeout", ANY, pair_timeout),
    Model("group-wait", ANY, group_wait),
    Model("group-poll", 2, group_poll),
    Model("group-break", 2, group_break),
];

struct Barrier<T: crate::barrier::queue::Machine> {
    queue: Arc<Queue<T>>,
    data: std::sync::Arc<Plain>,
}
impl<T: crate::barrier::queue::Machine> Clone for Barrier<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            data: self.data.clone(),
        }
    }
}
impl<T: crate::barrier::queue::Machine> Barrier<T> {
    fn new(machine: impl Init<T>) -> Self {
        let queue = Arc::pin_init(
            Queue::new(machine, c"model", kernel::static_lock_class!()),
            GFP_KERNEL,
        )
        .unwrap();
        Self {
            queue,
            data: std::sync::Arc::new(Plain::new(0)),
        }
    }
    fn spawn<R: 'static>(&self, f: impl FnOnce(Self) -> R + 'static) -> thread::JoinHandle<R>
    where
        T: Send + 'static,
    {
        let this = self.clone();
        thread::spawn(move || f(this))
    }
}

impl Barrier<Pair> {
    /// ARRIVE_WAIT if `arrive`, else WAIT.
    fn wait(
        &self,
        side: Side,
        goal: Goal,
        mut arrive: bool,
        deadline: Deadline,
    ) -> kernel::error::Result {
        let mut pair = self.queue.lock();
        let wait = pair.begin(side, goal);
        pair.wait(
            deadline,
            |pair| {
                if core::mem::take(&mut arrive) {
                    pair.arrive(side, 1).unwrap();
                }
                pair.step(side, &wait)
            },
            |pair, asleep| pair.asleep(side, asleep),
            |_| (),
        )
        .and_then(|result| result)
    }
    fn poll(&self, side: Side, events: u32) -> u32 {
        // SAFETY: `self` is borrowed, and with it the queue and its heads of pollers.
        unsafe {
            poll(self.queue.pollers(side as usize), events, || {
                self.queue.lock().poll(side)
            })
        }
    }
}

/// What is done before an arrival comes before the return of a wait for it.
fn pair_wait() {
    let pair = Barrier::new(Pair::new(None));
    let arrives = pair.spawn(|pair| {
        pair.data.set(1);
        pair.queue.lock().arrive(Side::Zero, 1).unwrap();
    });
    pair.wait(Side::One, Goal::Next, false, Deadline::Never)
        .unwrap();
    assert_eq!(pair.data.get(), 1);
    arrives.join().unwrap();
}

/// A poller returns once its level is on.
fn pair_poll() {
    let pair = Barrier::new(Pair::new(None));
    let readable = pair.spawn(|pair| {
        assert_eq!(pair.poll(Side::One, POLLIN), POLLIN);
        pair.wait(Side::One, Goal::Next, false, Deadline::Now)
            .unwrap();
        assert_eq!(pair.data.get(), 1);
    });
    pair.data.set(1);
    pair.queue.lock().arrive(Side::Zero, 1).unwrap();
    readable.join().unwrap();
}

/// A wait that arrives wakes the other side's pollers, for which it releases the lock, and misses no arrival
/// meanwhile.
fn pair_arrive_wait_poll() {
    let pair = Barrier::new(Pair::new(None));
    let polls = pair.spawn(|pair| assert_eq!(pair.poll(Side::One, POLLIN), POLLIN));
    let arrives = pair.spawn(|pair| {
        pair.queue.lock().arrive(Side::One, 1).unwrap();
    });
    pair.wait(Side::Zero, Goal::Sync, true, Deadline::Never)
        .unwrap();
    polls.join().unwrap();
    arrives.join().unwrap();
}

/// POLLHUP comes once nothing can be read any more, also if it was this side that read the last.
fn pair_hup() {
    let pair = Barrier::new(Pair::new(None));
    pair.queue.lock().arrive(Side::Zero, 1).unwrap();
    let polls = pair.spawn(|pair| assert_eq!(pair.poll(Side::One, POLLHUP), POLLHUP));
    let ends = pair.spawn(|pair| {
        assert!(pair
            .queue
            .lock()
            .end(Side::Zero, Some(End::new(Why::Close))));
    });
    pair.wait(Side::One, Goal::Next, false, Deadline::Never)
        .unwrap();
    polls.join().unwrap();
    ends.join().unwrap();
}

/// A wait prefers its result to its deadline.
fn pair_timeout() {
    let pair = Barrier::new(Pair::new(None));
    let arrives = pair.spawn(|pair| {
        pair.queue.lock().arrive(Side::Zero, 1).unwrap();
    });
    let mut locked = pair.queue.lock();
    let wait = locked.begin(Side::One, Goal::Next);
    let result = locked.wait(
        Deadline::Monotonic(1),
        |pair| pair.step(Side::One, &wait),
        |pair, asleep| pair.asleep(Side::One, asleep),
        |_| (),
    );
    if let Err(e) = result {
        assert_eq!(e, ETIMEDOUT);
        assert_eq!(locked.unread(Side::One), 0, "there is something to read");
    }
    drop(locked);
    arrives.join().unwrap();
    assert_eq!(pair.queue.lock().waiting(), 0);
}

impl Barrier<Group> {
    fn group(parties: u32) -> (Self, Vec<Seat>) {
        let group = Self::new(Group::new(Id::next(), parties, parties, Policy::default()).unwrap());
        let seats = (0..parties)
            .map(|_| {
                let new = NewSeat::new().unwrap();
                let mut locked = group.queue.lock();
                locked.join(new, Pid::current(), false).unwrap()
            })
            .collect();
        (group, seats)
    }
    /// Waits for the phase of the ticket; returns whether the party leads.
    fn wait(&self, seat: &Seat, ticket: u64) -> kernel::error::Result<bool> {
        let mut group = self.queue.lock();
        group
            .wait(
                Deadline::Never,
                |group| {
                    let outcome = group.outcome(seat, ticket)?;
                    let outcome = outcome
                        .map(|outcome| outcome.leader)
                        .map_err(|refusal| refusal.error);
                    group.report(seat, ticket);
                    Some(outcome)
                },
                |group, asleep| group.asleep(seat, asleep),
                |_| (),
            )
            .and_then(|result| result)
    }
    fn arrive(&self, seat: &Seat) -> u64 {
        self.queue.lock().arrive(seat, false).unwrap().ticket
    }
    fn poll(&self, seat: &Seat, events: u32) -> u32 {
        // SAFETY: `self` is borrowed, and with it the queue and its heads of pollers.
        unsafe {
            poll(self.queue.pollers(0), events, || {
                self.queue.lock().poll(seat)
            })
        }
    }
    fn poll_group(&self, events: u32) -> u32 {
        // SAFETY: `self` is borrowed, and with it the queue and its heads of pollers.
        unsafe {
            poll(self.queue.pollers(1), events, || {
                self.queue.lock().poll_group()
            })
        }
    }
}

/// What parties do before they arrive comes before the end of the phase, and one of them leads.
fn group_wait() {
    let (group, seats) = Barrier::group(2);
    let other = seats[1].clone();
    let thread = group.spawn(move |group| {
        group.data.set(1);
        let ticket = group.arrive(&other);
        group.wait(&other, ticket).unwrap()
    });
    let ticket = group.arrive(&seats[0]);
    let leads = group.wait(&seats[0], ticket).unwrap();
    assert_eq!(group.data.get(), 1);
    assert_ne!(thread.join().unwrap(), leads, "one of them has to lead");
}

/// Pollers of a party and of the group's descriptor return when a phase has ended, and a wait beside them.
fn group_poll() {
    let (group, seats) = Barrier::group(2);
    let ticket = group.arrive(&seats[0]);
    let party = seats[0].clone();
    let polls = group.spawn(move |group| assert_eq!(group.poll(&party, POLLIN), POLLIN));
    let polls_group = group.spawn(|group| assert_eq!(group.poll_group(POLLIN), POLLIN));
    group.arrive(&seats[1]);
    polls.join().unwrap();
    polls_group.join().unwrap();
    group.wait(&seats[0], ticket).unwrap();
}

/// What breaks a group wakes waits and pollers.
fn group_break() {
    let (group, seats) = Barrier::group(2);
    let party = seats[0].clone();
    let polls = group
        .spawn(move |group| assert_eq!(group.poll(&party, POLLPRI | POLLERR), POLLPRI | POLLERR));
    let aborts = group.spawn(|group| {
        assert!(group
            .queue
            .lock()
            .abort(None, End::new(Why::Abort(1)))
            .unwrap())
    });
    let ticket = group.queue.lock().arrive(&seats[0], false);
    match ticket {
        Ok(arrival) => assert_eq!(group.wait(&seats[0], arrival.ticket), Err(ECONNABORTED)),
        Err(e) => assert_eq!(e, ECONNABORTED),
    }
    polls.join().unwrap();
    aborts.join().unwrap();
}
