// SPDX-License-Identifier: GPL-2.0

//! The reference that is one word.

use super::{
    lockdep::Dep,
    traits::{
        raw::RawRundown,
        Drained,
        HasRundown,
        RundownProtect, //
    },
    word::{
        self,
        After,
        Word, //
    },
    RundownError,
    RundownGuard,
    Wait, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::LockClassKey, //
};

/// A rundown reference in one word.
///
/// With `C`, something is called when a rundown has ended, see [`Drained`]; that adds `C`'s size.
/// (With `CONFIG_LOCKDEP`, what lockdep needs is added.)
///
/// # Invariants
///
/// `word` counts each acquisition that was not released, unless saturated.
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
    word: Word,
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
        Self::with_dep(Dep::with_class(name, key))
    }

    pub(super) const fn with_dep(dep: Dep) -> Self {
        // INVARIANT: Live, without holders.
        Self {
            word: Word::live(),
            dep,
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
            word: Word::live(),
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
            word: Word::run_down(),
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
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn try_acquire(&self) -> Result<RundownGuard<'_, Self>, RundownError> {
        HasRundown::try_acquire(self)
    }

    /// What follows the last release, or a begin without holders.
    ///
    /// Does not look at the word: without a callback, not even the object need be there.
    #[inline(always)]
    fn after(&self, after: After) {
        if after == After::Drained {
            word::poke(self.word.key());
            self.callback.drained();
        }
    }

    /// Sets the word, to come to its edges in a test.
    #[doc(hidden)]
    pub fn set_holders_for_test(&mut self, holders: usize) {
        self.word.set_holders_for_test(holders);
    }
}

// SAFETY: A claim needs a word of zero, which it has only after a rundown has begun and each
// acquisition was released. Acquisitions fail while the word is even, as it is when claimed. Releases
// have release ordering, are read-modify-writes and so carry each other on, and a claim has acquire
// ordering.
unsafe impl<C: Drained> RawRundown for RundownRef<C> {
    #[inline(always)]
    fn acquire_one(&self) -> Result<(), RundownError> {
        self.word.acquire_one()
    }

    fn acquire_many(&self, n: usize) -> Result<(), RundownError> {
        self.word.acquire_many(n)
    }

    unsafe fn acquire_more(&self, n: usize) {
        self.word.acquire_more(n);
    }

    #[inline(always)]
    unsafe fn release_one(&self) {
        self.after(self.word.release_one());
    }

    unsafe fn release_many(&self, n: usize) {
        self.after(self.word.release_many(n));
    }

    fn claim(&self) -> Result<(), RundownError> {
        self.word.claim()
    }

    unsafe fn unclaim(&self, live: bool) {
        self.word.unclaim(live);
    }

    fn wait_raw(&self, how: Wait, claim: bool) -> Result<(), RundownError> {
        how.tell(&self.dep);
        word::wait(&self.word, how, claim, &|| self.callback.drained())
    }

    #[inline(always)]
    fn dep(&self) -> &Dep {
        &self.dep
    }
}

impl<C: Drained> RundownProtect for RundownRef<C> {
    fn begin_rundown(&self) -> bool {
        match self.word.begin() {
            None => false,
            Some(after) => {
                self.after(after);
                true
            }
        }
    }

    #[inline]
    fn is_rundown_requested(&self) -> bool {
        self.word.is_begun()
    }

    fn rundown_completed(&self) -> bool {
        self.word.is_run_down() == Ok(true)
    }

    fn re_init(&self) -> Result<(), RundownError> {
        self.word.re_init()
    }

    fn resurrect(&self) -> Result<(), RundownError> {
        self.word.resurrect()
    }

    fn holders(&self) -> usize {
        self.word.holders()
    }
}

// SAFETY: It is the reference itself.
unsafe impl<C: Drained> HasRundown for RundownRef<C> {
    type Ref = Self;

    #[inline(always)]
    unsafe fn rundown(&self) -> &Self {
        self
    }
}
