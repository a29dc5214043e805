// SPDX-License-Identifier: GPL-2.0

//! Two parties that place barriers and wait for those of the other side.

use super::cause::{
    End,
    Pid, //
};
use core::mem;
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Party 0.
    Zero,
    /// Party 1.
    One,
}

impl Side {
    /// The number of the party.
    pub const fn party(self) -> u32 {
        self as u32
    }

    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// What one side knows of who has aborted. It advances in waits only, and never back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// This side did.
    pub i: bool,
    /// The other side did, or has ended.
    pub they: bool,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// One place or more of the other side was read since the wait began.
    Next,
    /// As `Next`, or this side is not ahead.
    SyncNext,
    /// This side is not ahead.
    Sync,
    /// The other side has aborted or ended.
    Abortion,
}

/// A wait that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    goal: Goal,
    /// What had been read when it began.
    read: u64,
}

/// # Invariants
///
/// - `placed` is at most [`i64::MAX`], and `read` at most the other side's `placed`.
/// - Once true, `view.i`, `view.they`, `aborted` and `ended` stay true.
#[derive(Default)]
struct Party {
    /// Places made in all.
    placed: u64,
    /// Places of the other side that were read, in all.
    read: u64,
    view: View,
    aborted: bool,
    ended: bool,
    bound: bool,
    /// Tasks that sleep in a wait of this party.
    waiting: u32,
    /// How it ended or aborted; before that, who closed a copy of its descriptor last.
    end: End,
    owner: Option<ARef<Pid>>,
}

/// The truth about one side, at once.
#[derive(Clone)]
pub struct Member {
    /// Places made in all.
    pub placed: u64,
    /// It called abort.
    pub aborted: bool,
    /// Its descriptor is closed everywhere, or its process is dead.
    pub ended: bool,
    /// It ends with its process.
    pub bound: bool,
    /// Tasks that sleep in a wait of this side.
    pub waiting: u32,
    /// Its process.
    pub owner: Option<ARef<Pid>>,
    /// How it ended or aborted.
    pub end: End,
}

/// Two parties.
pub struct Pair {
    parties: [Party; 2],
}

impl Pair {
    /// Creates a pair whose parties both belong to `owner`.
    pub fn new(owner: Option<ARef<Pid>>) -> Self {
        let party = |owner| Party {
            owner,
            ..Party::default()
        };
        Self {
            parties: [party(owner.clone()), party(owner)],
        }
    }

    fn me(&mut self, side: Side) -> &mut Party {
        &mut self.parties[side as usize]
    }

    /// What `side` knows.
    pub fn view(&self, side: Side) -> View {
        self.parties[side as usize].view
    }

    /// Places made by `side`, less those that it read.
    pub fn balance(&self, side: Side) -> i64 {
        let me = &self.parties[side as usize];
        // Neither exceeds `i64::MAX`, by the type invariants of `Party`.
        (me.placed as i64).wrapping_sub(me.read as i64)
    }

    /// Places of the other side that `side` has not read.
    pub fn unread(&self, side: Side) -> u64 {
        let read = self.parties[side as usize].read;
        self.parties[side.other() as usize]
            .placed
            .wrapping_sub(read)
    }

    /// Places made by `side` in all.
    pub fn placed(&self, side: Side) -> u64 {
        self.parties[side as usize].placed
    }

    /// Tasks that sleep in a wait.
    pub fn waiting(&self) -> u32 {
        self.parties[0]
            .waiting
            .wrapping_add(self.parties[1].waiting)
    }

    /// The truth about `side`.
    pub fn member(&self, side: Side) -> Member {
        let me = &self.parties[side as usize];
        Member {
            placed: me.placed,
            aborted: me.aborted,
            ended: me.ended,
            bound: me.bound,
            waiting: me.waiting,
            owner: me.owner.clone(),
            end: if me.aborted || me.ended {
                me.end.clone()
            } else {
                End::default()
            },
        }
    }

    /// What an aborted view is told.
    ///
    /// # Errors
    ///
    /// `ESHUTDOWN` if `side` aborted, else `ECONNABORTED` or `EOWNERDEAD` if the other side did
    /// or has ended, as far as `side` knows.
    fn check(&self, side: Side) -> Result {
        match self.view(side) {
            View { i: true, .. } => Err(ESHUTDOWN),
            View { they: true, .. } => {
                let other = &self.parties[side.other() as usize];
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

    /// Places `count` barriers and returns how many `side` has placed in all.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended; `ESHUTDOWN`, `ECONNABORTED`, `EOWNERDEAD` if its view is
    /// aborted; `EOVERFLOW` if the count would exceed [`i64::MAX`].
    pub fn place(&mut self, side: Side, count: u64) -> Result<u64> {
        if self.me(side).ended {
            return Err(ENOTCONN);
        }
        self.check(side)?;
        let me = self.me(side);
        // INVARIANT: Not more than `i64::MAX`, or nothing is changed.
        me.placed = me
            .placed
            .checked_add(count)
            .filter(|&placed| placed <= i64::MAX as u64)
            .ok_or(EOVERFLOW)?;
        Ok(me.placed)
    }

    /// Begins a wait; [`Pair::step`] continues it.
    pub fn begin(&self, side: Side, goal: Goal) -> Wait {
        Wait {
            goal,
            read: self.parties[side as usize].read,
        }
    }

    /// Reads what there is and tells whether the wait is over.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended; `ESHUTDOWN`, `ECONNABORTED`, `EOWNERDEAD` once its view is
    /// aborted. A wait for [`Goal::Abortion`] succeeds instead if only the other side aborted.
    pub fn step(&mut self, side: Side, wait: &Wait) -> Option<Result> {
        let placed = self.placed(side.other());
        let other = &self.parties[side.other() as usize];
        let (aborted, ended) = (other.aborted, other.ended);

        if self.me(side).ended {
            return Some(Err(ENOTCONN));
        }
        loop {
            let view = self.view(side);
            let read = self.me(side).read;
            let over = match wait.goal {
                Goal::Abortion => view.they,
                _ if view.i || view.they => true,
                Goal::Next => read != wait.read,
                Goal::SyncNext => read != wait.read || self.balance(side) <= 0,
                Goal::Sync => self.balance(side) <= 0,
            };
            if over {
                return Some(match wait.goal {
                    Goal::Abortion if !view.i => Ok(()),
                    _ => self.check(side),
                });
            }

            let me = self.me(side);
            if aborted {
                // Supersedes what is unread, which nobody will read any more.
                me.view.they = true;
            } else if read != placed {
                // INVARIANT: As much as the other side has placed.
                me.read = placed;
            } else if ended {
                // Queues behind what was unread.
                me.view.they = true;
            } else {
                return None;
            }
        }
    }

    /// Counts a task that goes to sleep in a wait of `side`, or has woken.
    pub fn asleep(&mut self, side: Side, asleep: bool) {
        let me = self.me(side);
        me.waiting = if asleep {
            me.waiting.wrapping_add(1)
        } else {
            me.waiting.wrapping_sub(1)
        };
    }

    /// Aborts `side`; only its first abort counts. Returns whether it was that.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if `side` has ended.
    pub fn abort(&mut self, side: Side, end: End) -> Result<bool> {
        let me = self.me(side);
        if me.ended {
            return Err(ENOTCONN);
        }
        if me.aborted {
            return Ok(false);
        }
        me.aborted = true;
        me.view.i = true;
        me.end = end;
        Ok(true)
    }

    /// Notes who closed a copy of the descriptor, in case it was the last.
    pub fn closing(&mut self, side: Side, end: End) {
        let me = self.me(side);
        if !me.aborted && !me.ended {
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
            me.end = end.unwrap_or_else(|| End::released(&me.end));
        }
        true
    }

    /// Says whose `side` is, and whether it ends with that process.
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

    /// The events of `poll()` for `side`.
    pub fn events(&self, side: Side) -> Events {
        let me = &self.parties[side as usize];
        let other = &self.parties[side.other() as usize];
        Events {
            unread: self.unread(side) != 0 && !me.view.they,
            placeable: !me.ended && me.view == View::default(),
            aborted: other.aborted,
            ended: other.ended,
            gone: me.ended,
        }
    }
}

/// What [`Pair::events`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Places of the other side are unread, and can be read.
    pub unread: bool,
    /// A place would succeed.
    pub placeable: bool,
    /// The other side called abort.
    pub aborted: bool,
    /// The other side has ended.
    pub ended: bool,
    /// This side has, with its process.
    pub gone: bool,
}
