// SPDX-License-Identifier: GPL-2.0

//! The word of a reference: its states and their changes.
//!
//! Bit 0 is set while the object is live; the bits above count the holders. So a release that leaves
//! zero is the last one of a rundown, and no other release is: the processor's zero flag shows it, as for
//! C's `dec_and_test`. (With the opposite meaning of the bit, each release would compare.)
//!
//! The count never leaves the word, unlike that of NT, which moves it to the stack of the only waiter.
//! Therefore there can be many waiters, any of them may give up, and a rundown can be cancelled.
//!
//! | word | state |
//! |---|---|
//! | odd, positive | live, `word >> 1` holders |
//! | even, positive | rundown in progress, `word >> 1` holders |
//! | 0 | run down |
//! | [`CLAIMED`] | run down, and owned exclusively |
//! | other negative | saturated: too many holders, or too many releases |
//!
//! Saturation is that of `refcount_t`: half of the range stands for it, and each operation that finds a
//! value in there moves it to the middle, so that 2^61 operations at the same time would be needed to
//! leave it. The acquisition of one does not check; the next release or begin does. See the limits in the
//! documentation of the [module](crate::rundown#limits).

use super::{
    listeners,
    trace,
    wait,
    RundownError,
    Wait, //
};
use crate::{
    arch::{
        self,
        word::{
            add_one_if_live,
            sub_one,
            Released,
            LIVE,
            ONE, //
        }, //
    },
    bindings, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    }, //
};

/// The middle of the saturated range. Even, and bit 0 still says whether the object is live.
const SATURATED: isize = isize::MIN / 2;

/// The distance from the middle at which a value is still known as saturated.
const DRIFT: isize = isize::MAX / 8;

/// The object is owned exclusively. Not within [`DRIFT`], and even: not live.
const CLAIMED: isize = isize::MIN / 4;

/// The largest count after an acquisition of several at once.
const MAX_HOLDERS: isize = isize::MAX / 4;

/// The effect of an operation: nothing, or the end of a rundown.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum After {
    /// The release was not the last one of a rundown.
    Nothing,
    /// The rundown ended. The word, and the object that contains it, may have been freed.
    Drained,
}

/// The word.
///
/// # Invariants
///
/// It is one of those in the table above; it counts each acquisition that was not released, unless
/// saturated.
#[repr(transparent)]
pub(crate) struct Word(Atomic<isize>);

impl Word {
    /// Creates a live word without holders.
    #[inline]
    pub(crate) const fn live() -> Self {
        // INVARIANT: Live, and there are no acquisitions.
        Self(Atomic::new(LIVE))
    }

    /// Creates a word that is run down.
    #[inline]
    pub(crate) const fn run_down() -> Self {
        // INVARIANT: Run down, and there are no acquisitions.
        Self(Atomic::new(0))
    }

    /// Returns the address, by which waiters know the word.
    #[inline]
    pub(crate) fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Adds a holder if the word is live. Acquire ordering if so.
    #[inline(always)]
    pub(crate) fn acquire_one(&self) -> Result<(), RundownError> {
        // INVARIANT: It counts one more.
        if add_one_if_live(&self.0) {
            Ok(())
        } else {
            Err(RundownError::RundownInProgress)
        }
    }

    /// Adds `n` holders if the word is live and they can be counted. Acquire ordering if so.
    pub(crate) fn acquire_many(&self, n: usize) -> Result<(), RundownError> {
        let mut old = self.0.load(Relaxed);
        loop {
            if old & LIVE == 0 {
                return Err(RundownError::RundownInProgress);
            }
            let free = MAX_HOLDERS.saturating_sub(old >> 1);
            let n = isize::try_from(n).unwrap_or(isize::MAX);
            if old < 0 || n > free {
                return Err(RundownError::Overflow);
            }
            // INVARIANT: It counts `n` more, and is positive as `MAX_HOLDERS` is small enough.
            let new = old.wrapping_add(n.wrapping_mul(ONE));
            match self.0.cmpxchg(old, new, Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    /// Adds a holder; the caller is one, so that no ordering is needed.
    pub(crate) fn acquire_more(&self) {
        // INVARIANT: It counts one more, or is saturated.
        let old = self.0.fetch_add(ONE, Relaxed);
        if old < 0 || old.wrapping_add(ONE) < 0 {
            self.saturate();
        }
    }

    /// Removes a holder. Release ordering.
    #[inline(always)]
    pub(crate) fn release_one(&self) -> After {
        // INVARIANT: It counts one less, or is saturated.
        match sub_one(&self.0) {
            Released::Shared => After::Nothing,
            Released::Drained => After::Drained,
            Released::Negative => {
                self.saturate();
                After::Nothing
            }
        }
    }

    /// Removes `n` holders. Release ordering.
    pub(crate) fn release_many(&self, n: usize) -> After {
        let less = (n as isize).wrapping_mul(ONE);
        // INVARIANT: It counts `n` less, or is saturated.
        match self.0.fetch_sub(less, Release).wrapping_sub(less) {
            0 => After::Drained,
            1.. => After::Nothing,
            _ => {
                self.saturate();
                After::Nothing
            }
        }
    }

    /// Begins the rundown; returns `None` if it had begun already.
    pub(crate) fn begin(&self) -> Option<After> {
        let mut old = self.0.load(Relaxed);
        while old & LIVE != 0 {
            // Acquisitions of one do not check: the count may be out of range, and have any value.
            let new = if old < 0 { SATURATED } else { old & !LIVE };
            // INVARIANT: The same count, or saturated, and not live.
            match self.0.cmpxchg(old, new, Full) {
                Ok(begun) => {
                    if begun < 0 {
                        // Nobody waits for a live object, so that nobody is woken; the bucket may be
                        // locked.
                        Self::warn(begun);
                    }
                    trace::begin(self.key());
                    return Some(if begun == LIVE {
                        After::Drained
                    } else {
                        After::Nothing
                    });
                }
                Err(now) => old = now,
            }
        }
        None
    }

    /// Returns whether the rundown has begun or completed. No ordering.
    #[inline]
    pub(crate) fn is_begun(&self) -> bool {
        self.0.load(Relaxed) & LIVE == 0
    }

    /// Returns whether the rundown has completed; an error if it never will. Acquire ordering.
    pub(crate) fn is_run_down(&self) -> Result<bool, RundownError> {
        match self.0.load(Acquire) {
            0 | CLAIMED => Ok(true),
            ..0 => Err(RundownError::Saturated),
            _ => Ok(false),
        }
    }

    /// Takes exclusive ownership of an object that is run down. Acquire ordering.
    pub(crate) fn claim(&self) -> Result<(), RundownError> {
        // INVARIANT: It was run down, and nobody else has claimed it.
        self.change_run_down(CLAIMED)
    }

    /// Gives up the exclusive ownership; the object is live afterwards if `live`. Release ordering.
    pub(crate) fn unclaim(&self, live: bool) {
        // INVARIANT: It was claimed by the caller, and has no holders.
        let set = |new| match self.0.cmpxchg(CLAIMED, new, Full) {
            Ok(_) => Ok(()),
            Err(_) => Err(RundownError::Saturated),
        };
        let ret = if live {
            wait::settle(self.key(), Ok(()), || set(LIVE))
        } else {
            set(0).inspect(|()| wait::wake(self.key()))
        };
        if ret.is_err() {
            self.saturate();
        }
    }

    /// Makes an object live that is run down. Release ordering.
    pub(crate) fn re_init(&self) -> Result<(), RundownError> {
        // INVARIANT: It was run down, so it has no holders.
        wait::settle(self.key(), Ok(()), || self.change_run_down(LIVE))
    }

    fn change_run_down(&self, new: isize) -> Result<(), RundownError> {
        match self.0.cmpxchg(0, new, Full) {
            Ok(_) => Ok(()),
            Err(now) if now < 0 && now != CLAIMED => Err(RundownError::Saturated),
            Err(_) => Err(RundownError::NotDrained),
        }
    }

    /// Cancels a rundown that has not completed.
    pub(crate) fn resurrect(&self) -> Result<(), RundownError> {
        wait::settle(self.key(), Err(RundownError::Resurrected), || {
            let mut old = self.0.load(Relaxed);
            while old > 0 && old & LIVE == 0 {
                // INVARIANT: The same count, live.
                match self.0.cmpxchg(old, old | LIVE, Full) {
                    Ok(_) => return Ok(()),
                    Err(now) => old = now,
                }
            }
            Err(RundownError::NotInProgress)
        })
    }

    /// Returns the number of holders; `usize::MAX` if it is saturated.
    pub(crate) fn holders(&self) -> usize {
        match self.0.load(Relaxed) {
            0 | CLAIMED => 0,
            ..0 => usize::MAX,
            word => (word >> 1) as usize,
        }
    }

    /// Moves a word that is out of range to the middle of the saturated range.
    #[cold]
    fn saturate(&self) {
        let mut old = self.0.load(Relaxed);
        loop {
            // INVARIANT: Saturated, and live or not as it was.
            match self.0.cmpxchg(old, SATURATED | (old & LIVE), Relaxed) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        if Self::warn(old) {
            // Waits fail, as they would never end.
            wait::wake(self.key());
        }
    }

    /// Warns of a word that had the value `old`; returns `false` if it was known as saturated.
    #[cold]
    fn warn(old: isize) -> bool {
        if (SATURATED + DRIFT + 1..0).contains(&old) {
            // SAFETY: The helper only prints a warning, which it may do in any
            // context.
            unsafe { bindings::quiesce_helper_rundown_too_many_releases() };
        } else if !(SATURATED - DRIFT..0).contains(&old) {
            // SAFETY: The helper only prints a warning, which it may do in any
            // context.
            unsafe { bindings::quiesce_helper_rundown_too_many_holders() };
        } else {
            return false;
        }
        true
    }

    #[cfg(CONFIG_KUNIT)]
    pub(crate) fn set_holders_for_test(&mut self, holders: usize) {
        let live = *self.0.get_mut() & LIVE;
        *self.0.get_mut() = (holders as isize).wrapping_mul(ONE) | live;
    }
}

/// Wakes the waiters of the word that was at `key`, after the end of its rundown.
///
/// Acquire ordering: what was done under guards comes before what the caller does afterwards.
#[cold]
pub(crate) fn wake(key: usize) {
    // ORDERING: The last release is ordered after what its own holder did, not before what follows it.
    // It has read what the other holders' releases stored, and this keeps the caller's loads, those of
    // a callback, after that; its stores depend on what was read. The lock in `wait::wake()` does not
    // do it: the other holders did not take it.
    arch::seq::read_barrier();
    trace::end(key);
    wait::wake(key);
}

/// Begins the rundown of `word` and waits for it to complete, or for exclusive ownership.
///
/// `drained` is called, without locks, if there was no holder. A caller that is a holder passes `release`,
/// which releases the object: called without locks, when the wait cannot miss the end of the rundown.
pub(crate) fn wait(
    word: &Word,
    mut how: Wait,
    claim: bool,
    mut release: Option<&dyn Fn()>,
    drained: &dyn Fn(),
) -> Result<(), RundownError> {
    how.check_context()?;
    loop {
        let mut condition = Condition {
            word,
            claim,
            begun: false,
            notify: false,
            after: After::Nothing,
            release: release.take(),
            drained,
        };
        match wait::wait(word.key(), &mut how, &mut condition) {
            Err(RundownError::NotDrained) => {}
            ret => return ret,
        }
    }
}

/// The condition of a wait for a word, and what reports need.
struct Condition<'a> {
    word: &'a Word,
    claim: bool,
    begun: bool,
    /// This wait began the rundown of an object with holders, and has to notify those that listen.
    notify: bool,
    after: After,
    /// Releases the acquisition of the caller, which has one until the waiter is linked.
    release: Option<&'a dyn Fn()>,
    drained: &'a dyn Fn(),
}

impl wait::Subject for Condition<'_> {
    fn object(&self) -> *const dyn wait::Report {
        self.word
    }

    fn claims(&self) -> bool {
        self.claim
    }

    fn holds(&self) -> bool {
        self.release.is_some()
    }

    fn poll(&mut self) -> Option<Result<(), RundownError>> {
        // With the lock held, so that nobody re-initializes or resurrects the object between the
        // beginning and the waiting.
        if !self.begun {
            self.begun = true;
            if let Some(after) = self.word.begin() {
                self.after = after;
                self.notify = after == After::Nothing;
            }
        }
        if self.claim {
            return match self.word.claim() {
                Err(RundownError::NotDrained) => None,
                ret => Some(ret),
            };
        }
        match self.word.is_run_down() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(err) => Some(Err(err)),
        }
    }

    fn unlocked(&mut self) {
        if self.notify {
            self.notify = false;
            listeners::notify(self.word.key());
        }
        if let Some(release) = self.release.take() {
            release();
        }
        if self.after == After::Drained {
            self.after = After::Nothing;
            wake(self.word.key());
            (self.drained)();
        }
    }
}

impl wait::Report for Word {
    fn holders(&self) -> usize {
        Word::holders(self)
    }

    fn is_claimed(&self) -> bool {
        self.0.load(Relaxed) == CLAIMED
    }
}
