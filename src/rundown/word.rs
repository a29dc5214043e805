// SPDX-License-Identifier: GPL-2.0

//! The reference that is one word.
//!
//! # The word
//!
//! Bit 0 is set while the object is live; the bits above count the holders. So a release that leaves
//! zero is, and alone is, the last one of a rundown: the processor's zero flag says it, as it does
//! for C's `dec_and_test`. (With the bit the other way round, each release would compare.)
//!
//! The count never leaves the word, unlike NT's, which moves it to the stack of the only waiter.
//! Therefore there can be many waiters, any of them may give up, and a rundown can be taken back.
//!
//! | word | state |
//! |---|---|
//! | odd, positive | live, `word >> 1` holders |
//! | even, positive | rundown in progress, `word >> 1` holders |
//! | 0 | run down |
//! | [`CLAIMED`] | run down, and in somebody's exclusive hands |
//! | other negative | saturated: too many holders, or too many releases |
//!
//! Saturation is `refcount_t`'s: half of the range stands for it, and each operation that sees a
//! value in there moves it to the middle, so that it takes 2^61 operations at the same time to get
//! out. The fast acquisition does not look: 2^62 acquisitions, one each nanosecond, take 146 years,
//! and those that ask for many at once do look. Should it happen, the next release sees it.

use super::{
    lockdep::Dep,
    protect::{
        raw::RawRundown,
        Drained,
        HasRundown,
        RundownProtect, //
    },
    wait,
    RundownError,
    RundownGuard,
    Wait, //
};
use crate::{
    arch::word::{
        add_one_if_live,
        sub_one,
        Released,
        LIVE,
        ONE, //
    },
    bindings, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        LockClassKey, //
    },
};

/// The middle of the saturated range. Even, and bit 0 still says whether the object is live.
const SATURATED: isize = isize::MIN / 2;

/// How far from the middle is still known as saturated.
const DRIFT: isize = isize::MAX / 8;

/// Somebody has the object alone. Not within [`DRIFT`], and even: not live.
const CLAIMED: isize = isize::MIN / 4 * 3;

/// The count up to which many may be acquired at once.
const MAX_HOLDERS: isize = isize::MAX / 4;

/// A rundown reference in one word.
///
/// With `C`, something is called when a rundown has ended, see [`Drained`]; that adds `C`'s size.
/// (With `CONFIG_LOCKDEP`, what lockdep needs is added.)
///
/// # Invariants
///
/// The word is one of those in the table of the file `rundown/word.rs`; it counts each acquisition
/// that was not released, unless saturated.
///
/// # Examples
///
/// ```
/// use quiesce::rundown::RundownRef;
///
/// static USERS: RundownRef = RundownRef::new();
///
/// fn request() -> Result {
///     let _guard = USERS.try_acquire()?;
///     // It is there until `_guard` is dropped, and this may sleep.
///     Ok(())
/// }
///
/// fn remove() -> Result {
///     // From now on, requests fail; those under way end first.
///     USERS.wait_for_rundown()?;
///     Ok(())
/// }
/// ```
#[repr(C)]
pub struct RundownRef<C: Drained = ()> {
    word: Atomic<isize>,
    dep: Dep,
    callback: C,
}

impl RundownRef {
    /// Makes a live reference without holders.
    ///
    /// Under lockdep, each place in the source that calls this is a class of its own.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new() -> Self {
        Self::with_callback(())
    }

    /// Makes a reference that is run down already, to be armed by [`re_init`](Self::re_init).
    ///
    /// For what is published before it is ready: acquisitions fail until then.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_rundown() -> Self {
        Self::new_rundown_with_callback(())
    }

    /// Makes a live reference of a certain class for lockdep.
    pub fn new_with_class(name: &'static CStr, key: Pin<&'static LockClassKey>) -> Self {
        // INVARIANT: Live, without holders.
        Self {
            word: Atomic::new(LIVE),
            dep: Dep::with_class(name, key),
            callback: (),
        }
    }

    /// Initialises a live reference of a certain class for lockdep, in place.
    pub fn pin_init(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // SAFETY: The closure initialises the slot and never fails.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                slot.write(Self::new_with_class(name, key));
                Ok(())
            })
        }
    }
}

impl Default for RundownRef {
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Drained> RundownRef<C> {
    /// Makes a live reference that calls `callback` when a rundown has ended.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn with_callback(callback: C) -> Self {
        // INVARIANT: Live, without holders.
        Self {
            word: Atomic::new(LIVE),
            dep: Dep::new(),
            callback,
        }
    }

    /// Makes a reference that is run down already and calls `callback` when a later rundown has
    /// ended.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_rundown_with_callback(callback: C) -> Self {
        // INVARIANT: Run down.
        Self {
            word: Atomic::new(0),
            dep: Dep::new(),
            callback,
        }
    }

    /// The callback.
    pub fn callback(&self) -> &C {
        &self.callback
    }

    /// Acquires, or fails if the rundown has begun.
    ///
    /// Context: any, see the table in the [module](crate::rundown). Acquire ordering.
    ///
    /// # Errors
    ///
    /// [`RundownError::RundownInProgress`] from the moment the rundown has begun.
    #[inline(always)]
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// What follows the last release, or a begin without holders.
    ///
    /// Does not look at the word: without a callback, not even the object need be there.
    #[cold]
    fn after_drain(&self) {
        wait::poke(self.key());
        self.callback.drained();
    }

    /// Begins the rundown; says what the word was if it was live.
    fn begin_word(&self) -> Option<isize> {
        let mut old = self.word.load(Relaxed);
        while old & LIVE != 0 {
            // INVARIANT: The same count, not live.
            match self.word.cmpxchg(old, old & !LIVE, Full) {
                Ok(_) => return Some(old),
                Err(now) => old = now,
            }
        }
        None
    }

    /// Moves a word that is out of range to the middle of it.
    #[cold]
    fn saturate(&self, what: &CStr) {
        let mut old = self.word.load(Relaxed);
        loop {
            let known = (SATURATED - DRIFT..=SATURATED + DRIFT).contains(&old);
            // INVARIANT: Saturated, and live or not as it was.
            match self.word.cmpxchg(old, SATURATED | (old & LIVE), Relaxed) {
                Ok(_) if known => return,
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        // SAFETY: The string is NUL-terminated and lives long enough.
        unsafe { bindings::quiesce_helper_warn(what.as_char_ptr()) };
        // Waiters learn that they would wait forever.
        wait::poke(self.key());
    }

    /// Sets the word, to come to its edges in a test.
    #[doc(hidden)]
    pub fn set_holders_for_test(&mut self, holders: usize) {
        let live = *self.word.get_mut() & LIVE;
        *self.word.get_mut() = (holders as isize).wrapping_mul(ONE) | live;
    }
}

// SAFETY: A claim needs a word of zero, which it has only after a rundown has begun and each
// acquisition was released. Acquisitions fail while the word is even, which `CLAIMED` is. Releases
// have release ordering, are read-modify-writes and so carry each other on, and a claim has acquire
// ordering.
unsafe impl<C: Drained> RawRundown for RundownRef<C> {
    #[inline(always)]
    fn acquire_one(&self) -> Result<(), RundownError> {
        // INVARIANT: It counts one more.
        if add_one_if_live(&self.word) {
            Ok(())
        } else {
            Err(RundownError::RundownInProgress)
        }
    }

    fn acquire_many(&self, n: usize) -> Result<(), RundownError> {
        let mut old = self.word.load(Relaxed);
        loop {
            if old & LIVE == 0 {
                return Err(RundownError::RundownInProgress);
            }
            let free = MAX_HOLDERS - (old >> 1);
            if old < 0 || isize::try_from(n).map_or(true, |n| n > free) {
                return Err(RundownError::Overflow);
            }
            // INVARIANT: It counts `n` more, and is positive as `MAX_HOLDERS` is small enough.
            let new = old.wrapping_add((n as isize).wrapping_mul(ONE));
            match self.word.cmpxchg(old, new, Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    unsafe fn acquire_more(&self, n: usize) {
        // INVARIANT: It counts `n` more, or is saturated.
        //
        // No ordering: the caller has an acquisition that came first.
        let more = (n as isize).wrapping_mul(ONE);
        let old = self.word.fetch_add(more, Relaxed);
        if old < 0 || old.wrapping_add(more) < 0 {
            self.saturate(c"too many holders of a rundown reference");
        }
    }

    #[inline(always)]
    unsafe fn release_one(&self) {
        // INVARIANT: It counts one less, or is saturated.
        match sub_one(&self.word) {
            Released::Shared => {}
            Released::Drained => self.after_drain(),
            Released::Negative => self.saturate(c"a rundown reference was released too often"),
        }
    }

    unsafe fn release_many(&self, n: usize) {
        let less = (n as isize).wrapping_mul(ONE);
        // INVARIANT: It counts `n` less, or is saturated.
        match self.word.fetch_sub(less, Release).wrapping_sub(less) {
            0 => self.after_drain(),
            1.. => {}
            _ => self.saturate(c"a rundown reference was released too often"),
        }
    }

    fn claim(&self) -> Result<(), RundownError> {
        // INVARIANT: It was run down, and nobody else has claimed it.
        match self.word.cmpxchg(0, CLAIMED, Full) {
            Ok(_) => Ok(()),
            Err(now) if now < 0 && now != CLAIMED => Err(RundownError::Saturated),
            Err(_) => Err(RundownError::NotDrained),
        }
    }

    unsafe fn unclaim(&self, live: bool) {
        let new = if live { LIVE } else { 0 };
        // INVARIANT: It was claimed by the caller, and has no holders.
        let set = || match self.word.cmpxchg(CLAIMED, new, Full) {
            Ok(_) => Ok(()),
            Err(_) => Err(RundownError::Saturated),
        };
        let ret = if live {
            wait::settle(self.key(), Ok(()), set)
        } else {
            set().inspect(|()| wait::poke(self.key()))
        };
        if ret.is_err() {
            self.saturate(c"a rundown reference was released too often");
        }
    }

    fn wait_raw(&self, how: Wait, claim: bool) -> Result<(), RundownError> {
        self.might_wait();
        wait::wait(
            self.key(),
            how,
            &mut Look {
                of: self,
                claim,
                begun: false,
                drained: false,
            },
        )
    }

    #[inline(always)]
    fn dep(&self) -> &Dep {
        &self.dep
    }
}

/// A waiter's view of a word.
struct Look<'a, C: Drained> {
    of: &'a RundownRef<C>,
    claim: bool,
    begun: bool,
    drained: bool,
}

impl<C: Drained> wait::Subject for Look<'_, C> {
    fn look(&mut self) -> Option<Result<(), RundownError>> {
        // With the lock held, so that nobody re-arms or resurrects the object between the
        // beginning and the waiting.
        if !self.begun {
            self.begun = true;
            self.drained = self.of.begin_word() == Some(LIVE);
        }
        if self.claim {
            return match self.of.claim() {
                Err(RundownError::NotDrained) => None,
                ret => Some(ret),
            };
        }
        match self.of.word.load(Acquire) {
            0 | CLAIMED => Some(Ok(())),
            ..0 => Some(Err(RundownError::Saturated)),
            _ => None,
        }
    }

    fn unlocked(&mut self) {
        if core::mem::take(&mut self.drained) {
            self.of.after_drain();
        }
    }

    fn holders(&self) -> usize {
        self.of.holders()
    }
}

impl<C: Drained> RundownProtect for RundownRef<C> {
    fn begin_rundown(&self) -> bool {
        match self.begin_word() {
            None => false,
            Some(LIVE) => {
                self.after_drain();
                true
            }
            Some(_) => true,
        }
    }

    #[inline]
    fn is_rundown_requested(&self) -> bool {
        self.word.load(Relaxed) & LIVE == 0
    }

    #[inline]
    fn rundown_completed(&self) -> bool {
        matches!(self.word.load(Acquire), 0 | CLAIMED)
    }

    fn re_init(&self) -> Result<(), RundownError> {
        wait::settle(self.key(), Ok(()), || {
            // INVARIANT: It was run down, so it has no holders.
            match self.word.cmpxchg(0, LIVE, Full) {
                Ok(_) => Ok(()),
                Err(now) if now < 0 && now != CLAIMED => Err(RundownError::Saturated),
                Err(_) => Err(RundownError::NotDrained),
            }
        })
    }

    fn resurrect(&self) -> Result<(), RundownError> {
        wait::settle(self.key(), Err(RundownError::Resurrected), || {
            let mut old = self.word.load(Relaxed);
            while old > 0 && old & LIVE == 0 {
                // INVARIANT: The same count, live.
                match self.word.cmpxchg(old, old | LIVE, Full) {
                    Ok(_) => return Ok(()),
                    Err(now) => old = now,
                }
            }
            Err(RundownError::NotInProgress)
        })
    }

    fn holders(&self) -> usize {
        match self.word.load(Relaxed) {
            0 | CLAIMED => 0,
            ..0 => usize::MAX,
            word => (word >> 1) as usize,
        }
    }
}

// SAFETY: It is the reference itself.
unsafe impl<C: Drained> HasRundown for RundownRef<C> {
    type Ref = Self;

    #[inline(always)]
    fn rundown(&self) -> &Self {
        self
    }
}
