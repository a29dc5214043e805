// SPDX-License-Identifier: GPL-2.0

//! Two parties, each of which arrives and waits for the arrivals of the other side.
//!
//! The results are those of systemd's `Barrier`, state by state. Each side counts the arrivals of
//! the other that no wait has read yet. A wait reads them and ends when its goal is reached; an
//! abort or the end of the other side ends it too. An abort supersedes arrivals that are unread,
//! and an end queues behind them.

use super::{
    cause::{
        End,
        Pid, //
    },
    queue::{
        Machine,
        Wakes, //
    },
};
use core::mem;
use kernel::{
    bindings::{
        POLLERR,
        POLLHUP,
        POLLIN,
        POLLOUT,
        POLLPRI,
        POLLRDHUP,
        POLLRDNORM,
        POLLWRNORM, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// One of the two sides of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Party 0.
    Zero,
    /// Party 1.
    One,
}

impl Side {
    /// Both sides, by number.
    pub const BOTH: [Self; 2] = [Self::Zero, Self::One];

    /// Returns the number of this side's party.
    pub const fn party(self) -> u32 {
        self as u32
    }

    /// Returns the other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// The aborts that one side has observed. It changes only in waits of that side, and in its own abort,
/// and is never cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether this side aborted.
    pub i: bool,
    /// The other side did, or has ended.
    pub they: bool,
}

/// The condition of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// One arrival or more of the other side was read since the wait began.
    Next,
    /// Either `Next` or `Sync`.
    SyncNext,
    /// This side has not arrived more often than the other side.
    Sync,
    /// The other side has aborted or ended.
    Abortion,
}

/// The state of a wait that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    goal: Goal,
    /// The number of arrivals that had been read when it began.
    read: u64,
}

/// The effect of a wait on the current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Arrivals of the other side that are read then, in all.
    read: u64,
    /// The view of the side after the step.
    pub view: View,
    /// The result, if the wait is over.
    pub result: Option<Result>,
}

impl Step {
    /// A wait of `side` that does nothing at this moment.
    pub fn unchanged(pair: &Pair, side: Side) -> Self {
        let me = pair.side(side);
        Self {
            read: me.read,
            view: me.view,
            result: None,
        }
    }
}

/// # Invariants
///
/// - `arrivals` is at most [`i64::MAX`], and `read` at most the other side's `arrivals`.
/// - Once true, `view.i`, `view.they`, `aborted` and `ended` stay true.
#[derive(Default)]
struct SideState {
    /// Number of arrivals of this side since the pair was created.
    arrivals: u64,
    /// Arrivals of the other side that were read, in all.
    read: u64,
    view: View,
    aborted: bool,
    ended: bool,
    bound: bool,
    /// Tasks that sleep in a wait of this party.
    waiting: u32,
    /// Waits that arrived, ended before their goal was reached, and may be resumed.
    suspended: u64,
    /// The end or the abort; before that, the process that closed a copy of its descriptor last.
    end: End,
    owner: Option<ARef<Pid>>,
}

impl SideState {
    /// The process that the side ends with, if there is one.
    fn bound_owner(&self) -> Option<&ARef<Pid>> {
        self.owner.as_ref().filter(|_| self.bound)
    }
}

/// The current state of one side, as STATUS and MEMBER return it.
#[derive(Clone)]
pub struct PartyInfo {
    /// Number of arrivals of this side since the pair was created.
    pub arrivals: u64,
    /// Whether the side aborted.
    pub aborted: bool,
    /// Its descriptor is closed everywhere, or its process is dead.
    pub ended: bool,
    /// Whether it ends with the process that it is bound to.
    pub bound: bool,
    /// Tasks that sleep in a wait of this side.
    pub waiting: u32,
    /// The process that owns it.
    pub owner: Option<ARef<Pid>>,
    /// The end or the abort of the side.
    pub end: End,
}

/// The state machine of a pair.
pub struct Pair {
    sides: [SideState; 2],
}

impl Pair {
    /// Creates a pair whose parties both belong to `owner`.
    pub fn new(owner: Option<ARef<Pid>>) -> Self {
        let side = |owner| SideState {
            owner,
            ..SideState::default()
        };
        Self {
            sides: [side(owner.clone()), side(owner)],
        }
    }

    fn me(&mut self, side: Side) -> &mut SideState {
        &mut self.sides[side as usize]
    }

    fn side(&self, side: Side) -> &SideState {
        &self.sides[side as usize]
    }

    /// Returns the view of `side`: what its waits have read so far.
    pub fn view(&self, side: Side) -> View {
        self.side(side).view
    }

    /// Returns the arrivals of `side`, less those that it read.
    pub fn balance(&self, side: Side) -> i64 {
        self.balance_after(side, self.side(side).read)
    }

    /// Returns the balance of `side` once it has read `read` arrivals.
    fn balance_after(&self, side: Side, read: u64) -> i64 {
        // Neither exceeds `i64::MAX`, by the type invariants of `SideState`.
        (self.side(side).arrivals as i64).wrapping_sub(read as i64)
    }

    /// Returns the balance of `side` after `step`.
    pub fn balance_of(&self, side: Side, step: &Step) -> i64 {
        self.balance_after(side, step.read)
    }

    /// Returns how many arrivals of the other side `side` has not read.
    pub fn unread(&self, side: Side) -> u64 {
        self.side(side.other())
            .arrivals
            .wrapping_sub(self.side(side).read)
    }

    /// Returns the number of arrivals of `side` in all.
    pub fn arrivals(&self, side: Side) -> u64 {
        self.side(side).arrivals
    }

    /// Returns how many tasks sleep in a wait.
    pub fn waiting(&self) -> u32 {
        self.sides[0].waiting.wrapping_add(self.sides[1].waiting)
    }

    /// Returns the current state of `side`, including arrivals that no wait has read yet.
    pub fn party(&self, side: Side) -> PartyInfo {
        let me = self.side(side);
        PartyInfo {
            arrivals: me.arrivals,
            aborted: me.aborted,
            ended: me.ended,
            bound: me.bound,
            waiting: me.waiting,
            owner: me.owner.clone(),
            end: self.end_of(side).cloned().unwrap_or_default(),
        }
    }

    /// Returns how `side` ended or aborted, if it did.
    pub fn end_of(&self, side: Side) -> Option<&End> {
        let me = self.side(side);
        (me.aborted || me.ended).then_some(&me.end)
    }

    /// The error of an aborted view.
    ///
    /// # Errors
    ///
    /// `ESHUTDOWN` if `side` aborted, else `ECONNABORTED` or `EOWNERDEAD` if the other side did
    /// or has ended, as far as `view` says.
    fn check(&self, side: Side, view: View) -> Result {
        match view {
            View { i: true, .. } => Err(ESHUTDOWN),
            View { they: true, .. } => {
                let other = self.side(side.other());
                // An end that came after an abort does not replace it.
                Err(if other.aborted {
                    ECONNABORTED
                } else {
                    other.end.why.error()
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns what [`Pair::arrive`] would return, and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Pair::arrive`].
    pub fn preview_arrive(&self, side: Side, count: u64) -> Result<u64> {
        let me = self.side(side);
        if me.ended {
            return Err(ENOTCONN);
        }
        self.check(side, me.view)?;
        me.arrivals
            .checked_add(count)
            .filter(|&arrivals| arrivals <= i64::MAX as u64)
            .ok_or(EOVERFLOW)
    }

    /// Arrives `count` times and returns how often `side` has arrived in all.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended; `ESHUTDOWN`, `ECONNABORTED`, `EOWNERDEAD` if its view is
    /// aborted; `EOVERFLOW` if the count would exceed [`i64::MAX`].
    pub fn arrive(&mut self, side: Side, count: u64) -> Result<u64> {
        let arrivals = self.preview_arrive(side, count)?;
        // INVARIANT: Not more than `i64::MAX`.
        self.me(side).arrivals = arrivals;
        Ok(arrivals)
    }

    /// Takes back the last `count` arrivals, in the critical section that made them.
    pub fn undo_arrive(&mut self, side: Side, count: u64) {
        let me = self.me(side);
        // INVARIANT: The other side has read none of them, as the lock was held.
        me.arrivals = me.arrivals.wrapping_sub(count);
    }

    /// Begins a wait; [`Pair::step`] continues it.
    pub fn begin(&self, side: Side, goal: Goal) -> Wait {
        Wait {
            goal,
            read: self.side(side).read,
        }
    }

    /// Returns what [`Pair::step`] would do, and changes nothing.
    pub fn preview_step(&self, side: Side, wait: &Wait) -> Step {
        let (me, other) = (self.side(side), self.side(side.other()));
        let (mut read, mut view) = (me.read, me.view);
        let result = loop {
            if me.ended {
                break Some(Err(ENOTCONN));
            }
            let balance = self.balance_after(side, read);
            let over = match wait.goal {
                Goal::Abortion => view.they,
                _ if view.i || view.they => true,
                Goal::Next => read != wait.read,
                Goal::SyncNext => read != wait.read || balance <= 0,
                Goal::Sync => balance <= 0,
            };
            if over {
                break Some(match wait.goal {
                    Goal::Abortion if !view.i => Ok(()),
                    _ => self.check(side, view),
                });
            }

            if other.aborted {
                // The abort supersedes the unread arrivals, which are not read any more.
                view.they = true;
            } else if read != other.arrivals {
                read = other.arrivals;
            } else if other.ended {
                // Queues behind what was unread.
                view.they = true;
            } else {
                break None;
            }
        };
        Step { read, view, result }
    }

    /// Does what [`Pair::preview_step`] returned in the same critical section.
    pub fn apply(&mut self, side: Side, step: &Step) {
        let me = self.me(side);
        // INVARIANT: `step.read` is `read` or the other side's `arrivals`, and the view only
        // advances.
        me.read = step.read;
        me.view = step.view;
    }

    /// Reads what there is, and returns the wait's result if the wait is over.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended; `ESHUTDOWN`, `ECONNABORTED`, `EOWNERDEAD` once its view is
    /// aborted. A wait for [`Goal::Abortion`] succeeds instead if only the other side aborted.
    pub fn step(&mut self, side: Side, wait: &Wait) -> Option<Result> {
        let step = self.preview_step(side, wait);
        self.apply(side, &step);
        step.result
    }

    /// Notes that a wait that arrived has ended before its goal was reached.
    pub fn suspend(&mut self, side: Side) {
        let me = self.me(side);
        me.suspended = me.suspended.saturating_add(1);
    }

    /// Resumes a wait that arrived with `ticket`.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended; `EINVAL` if all such waits were resumed already, or the
    /// ticket was never returned.
    pub fn resume(&mut self, side: Side, ticket: u64) -> Result {
        let me = self.me(side);
        if me.ended {
            return Err(ENOTCONN);
        }
        if ticket > me.arrivals {
            return Err(EINVAL);
        }
        me.suspended = me.suspended.checked_sub(1).ok_or(EINVAL)?;
        Ok(())
    }

    /// Counts a task that starts to sleep in a wait of `side`, or has woken.
    pub fn asleep(&mut self, side: Side, asleep: bool) {
        let me = self.me(side);
        me.waiting = if asleep {
            me.waiting.wrapping_add(1)
        } else {
            me.waiting.wrapping_sub(1)
        };
    }

    /// Returns the view of `side` after an abort, and changes nothing.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended.
    pub fn preview_abort(&self, side: Side) -> Result<View> {
        let me = self.side(side);
        if me.ended {
            return Err(ENOTCONN);
        }
        Ok(View { i: true, ..me.view })
    }

    /// Aborts `side`; only its first abort counts. Returns whether it was that.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended.
    pub fn abort(&mut self, side: Side, end: End) -> Result<bool> {
        let view = self.preview_abort(side)?;
        let me = self.me(side);
        if me.aborted {
            return Ok(false);
        }
        me.aborted = true;
        me.view = view;
        me.end = end;
        Ok(true)
    }

    /// Notes who closed a copy of the descriptor, in case it was the last. A process that the side
    /// ends with and that is exiting stays noted, whoever closes a copy before it is dead.
    pub fn closing(&mut self, side: Side, end: End) {
        let me = self.me(side);
        let exiting = me.end.is_death_of(me.bound_owner());
        if !me.aborted && !me.ended && !exiting {
            me.end = end;
        }
    }

    /// Ends `side`, as `end` says or else as [`Pair::closing`] noted last. Returns whether it had
    /// not ended before.
    pub fn end(&mut self, side: Side, end: Option<End>) -> bool {
        let me = self.me(side);
        if mem::replace(&mut me.ended, true) {
            return false;
        }
        if !me.aborted {
            me.end = end.unwrap_or_else(|| End::released(&me.end, me.bound_owner()));
        }
        true
    }

    /// Sets the process that `side` belongs to, and whether it ends with that process.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended.
    pub fn bind(&mut self, side: Side, owner: ARef<Pid>, bound: bool) -> Result {
        let me = self.me(side);
        if me.ended {
            return Err(ENOTCONN);
        }
        me.owner = Some(owner);
        me.bound = bound;
        Ok(())
    }

    /// Returns whether `side` ends with the process `pid`.
    pub fn ends_with(&self, side: Side, pid: &Pid) -> bool {
        self.side(side)
            .bound_owner()
            .is_some_and(|owner| owner.as_ptr() == pid.as_ptr())
    }

    /// Returns the events of `poll()` for `side`.
    pub fn poll(&self, side: Side) -> u32 {
        self.seen().poll(side)
    }
}

/// What the waits and `poll()` of both sides depend on of one side.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Level {
    arrivals: u64,
    read: u64,
    view: View,
    aborted: bool,
    ended: bool,
}

impl Level {
    fn of(side: &SideState) -> Self {
        Self {
            arrivals: side.arrivals,
            read: side.read,
            view: side.view,
            aborted: side.aborted,
            ended: side.ended,
        }
    }

    /// Whether a call of the side can succeed still.
    fn is_open(&self) -> bool {
        !self.ended && self.view == View::default()
    }
}

/// The state on which the waits and `poll()` of both sides depend. A copy costs less than the events,
/// which few changes are followed by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen([Level; 2]);

impl Seen {
    /// Returns the levels of the side and of the other one.
    fn sides(&self, side: Side) -> (&Level, &Level) {
        (&self.0[side as usize], &self.0[side.other() as usize])
    }

    /// Returns the events of `poll()` for `side`.
    fn poll(&self, side: Side) -> u32 {
        let (me, other) = self.sides(side);
        // A wait for `Goal::Next` would read arrivals and succeed.
        let readable = other.arrivals != me.read && me.is_open() && !other.aborted;
        let mut mask = 0;
        if readable {
            mask |= POLLIN | POLLRDNORM;
        }
        // One more arrival would succeed.
        if me.is_open() && me.arrivals < i64::MAX as u64 {
            mask |= POLLOUT | POLLWRNORM;
        }
        if other.aborted {
            mask |= POLLPRI | POLLERR;
        }
        if other.ended {
            mask |= POLLRDHUP;
        }
        if me.ended || (other.ended && !readable) {
            mask |= POLLHUP;
        }
        mask
    }
}

impl Machine for Pair {
    type Seen = Seen;

    #[inline]
    fn seen(&self) -> Seen {
        let [a, b] = &self.sides;
        Seen([Level::of(a), Level::of(b)])
    }

    #[inline]
    fn wakes(&self, before: &Seen) -> Wakes {
        let now = self.seen();
        if now == *before {
            return Wakes::default();
        }
        now.wakes(before)
    }

    #[inline]
    fn wakes_waiters(&self, before: &Seen) -> bool {
        self.seen().wakes_waiters(before)
    }
}

impl Seen {
    fn wakes_waiters(&self, before: &Seen) -> bool {
        Side::BOTH.into_iter().any(|side| {
            let (now, before) = (self.sides(side).0, before.sides(side).0);
            now.arrivals != before.arrivals
                || now.aborted != before.aborted
                || now.ended != before.ended
        })
    }

    fn wakes(&self, before: &Seen) -> Wakes {
        let pollers = Side::BOTH.map(|side| {
            let arrived = self.sides(side).1.arrivals != before.sides(side).1.arrivals;
            let poll = self.poll(side);
            if arrived && poll & POLLIN != 0 {
                // Each arrival is an edge. A wait may read it before the pollers are woken.
                return Some(0);
            }
            // No other event is ever turned off.
            let events = poll & !before.poll(side);
            (events != 0).then_some(events)
        });
        Wakes {
            waiters: self.wakes_waiters(before),
            pollers,
        }
    }
}
