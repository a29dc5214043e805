// SPDX-License-Identifier: GPL-2.0

//! systemd's `Barrier`, as its source has it: two eventfds, a pipe and two counters.
//!
//! The model for [`quiesce::barrier::pair::Pair`]. Nothing sleeps: a call that would
//! block returns `None`.

use quiesce::barrier::pair::Goal;

const ABORTION: u64 = i64::MAX as u64;
const WE: i64 = i64::MIN + 1;
const THEY: i64 = i64::MIN + 2;
const I: i64 = i64::MIN + 3;

/// Both sides of a barrier, by number.
pub(super) struct Model {
    /// The count of each side's eventfd.
    eventfd: [u64; 2],
    /// The end of the pipe that each side has.
    closed: [bool; 2],
    barriers: [i64; 2],
    /// Leave out that an abort supersedes what is unread: a mistake that must be noticed.
    broken: bool,
}

impl Model {
    pub(super) fn new(broken: bool) -> Self {
        Self {
            eventfd: [0; 2],
            closed: [false; 2],
            barriers: [0; 2],
            broken,
        }
    }

    pub(super) fn i_aborted(&self, me: usize) -> bool {
        [I, WE].contains(&self.barriers[me])
    }

    pub(super) fn they_aborted(&self, me: usize) -> bool {
        [THEY, WE].contains(&self.barriers[me])
    }

    fn is_aborted(&self, me: usize) -> bool {
        self.i_aborted(me) || self.they_aborted(me)
    }

    /// Places made less places read, unless aborted.
    pub(super) fn balance(&self, me: usize) -> Option<i64> {
        (!self.is_aborted(me)).then_some(self.barriers[me])
    }

    pub(super) fn place(&mut self, me: usize) -> bool {
        if self.is_aborted(me) {
            return false;
        }
        self.eventfd[1 - me] += 1;
        self.barriers[me] += 1;
        true
    }

    pub(super) fn abort(&mut self, me: usize) {
        match self.barriers[me] {
            I | WE => return,
            THEY => self.barriers[me] = WE,
            _ => self.barriers[me] = I,
        }
        self.eventfd[1 - me] += ABORTION;
    }

    pub(super) fn close(&mut self, me: usize) {
        self.closed[me] = true;
    }

    fn read(&mut self, me: usize, comparison: i64) -> Option<()> {
        while self.barriers[me] > comparison {
            let buf = if self.eventfd[me] != 0 {
                core::mem::take(&mut self.eventfd[me])
            } else if self.closed[1 - me] {
                ABORTION
            } else {
                return None;
            };
            if buf >= ABORTION && !(self.broken && buf > ABORTION) {
                self.barriers[me] = if self.i_aborted(me) { WE } else { THEY };
            } else if !self.is_aborted(me) {
                let places = if buf < ABORTION {
                    buf
                } else {
                    self.eventfd[me] = ABORTION;
                    buf - ABORTION
                };
                self.barriers[me] -= places as i64;
            }
        }
        Some(())
    }

    pub(super) fn wait(&mut self, me: usize, goal: Goal) -> Option<bool> {
        let barriers = self.barriers[me];
        if goal == Goal::Abortion {
            self.read(me, THEY)?;
            return Some(!self.i_aborted(me));
        }
        if self.is_aborted(me) {
            return Some(false);
        }
        self.read(
            me,
            match goal {
                Goal::Next => barriers - 1,
                Goal::SyncNext => (barriers - 1).max(0),
                _ => 0,
            },
        )?;
        Some(!self.is_aborted(me))
    }
}
