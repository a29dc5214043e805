// SPDX-License-Identifier: GPL-2.0

//! The reference in one word.
//!
//! Holders change the same word, by one atomic instruction each; `word.rs` describes its states.
//! The reference consists of the word, the lockdep map and the callback, allocates nothing, and can
//! be created by a constant, in a static for instance.

use super::{
    listeners,
    lockdep::Dep,
    traits::{
        inherent_methods,
        raw::{
            Internal,
            RawRundown, //
        },
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
    RundownGuards,
    Wait, //
};
use kernel::{
    fmt,
    prelude::*,
    time::Jiffies, //
};

/// A rundown reference in one word.
///
/// With `C`, a callback is called when a rundown has completed, see [`Drained`]; that adds the size
/// of `C`. With `CONFIG_LOCKDEP`, the size of a lockdep map is added.
///
/// Dropping this only drops the callback, in the context of the caller.
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
///     // The device is there until `_guard` is dropped, and this may sleep.
///     Ok(())
/// }
///
/// fn remove() {
///     // From now on requests fail; those in progress end first.
///     USERS.wait_for_rundown();
/// }
/// # request()?;
/// # remove();
/// # assert!(request().is_err());
/// # Ok::<(), Error>(())
/// ```
#[repr(C)]
pub struct RundownRef<C: Drained = ()> {
    word: Word,
    dep: Dep,
    callback: C,
}

impl RundownRef {
    /// Creates a live reference without holders.
    ///
    /// Each place in the source that calls this is a lockdep class. `#[derive(Default)]` is one place for
    /// all fields of the type.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new() -> Self {
        Self::with_callback(())
    }

    /// Creates a reference that is run down, to be made live by [`re_init`](Self::re_init).
    ///
    /// For objects that are published before they are ready: acquisitions fail until then.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_rundown() -> Self {
        Self::new_rundown_with_callback(())
    }

    pub(super) const fn with_dep(dep: Dep) -> Self {
        // INVARIANT: Live, without holders.
        Self {
            word: Word::live(),
            dep,
            callback: (),
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
    /// Creates a live reference that calls `callback` when a rundown has completed, in the context
    /// of the last release; see [`Drained`].
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn with_callback(callback: C) -> Self {
        // INVARIANT: Live, without holders.
        Self {
            word: Word::live(),
            dep: Dep::new(),
            callback,
        }
    }

    /// Creates a reference that is run down and calls `callback` when a later rundown has completed.
    #[cfg_attr(CONFIG_LOCKDEP, track_caller)]
    pub const fn new_rundown_with_callback(callback: C) -> Self {
        // INVARIANT: Run down.
        Self {
            word: Word::run_down(),
            dep: Dep::new(),
            callback,
        }
    }

    /// Returns a reference to the callback that was passed to the constructor.
    pub fn callback(&self) -> &C {
        &self.callback
    }

    inherent_methods!();

    /// Reports the end of a rundown, after the last release or a begin without holders.
    ///
    /// This does not access the word: without a callback, the object may have been freed by a
    /// waiter. With one it is alive, as the guard or the caller borrows or owns it.
    #[inline(always)]
    fn after(&self, after: After) {
        if after == After::Drained {
            word::wake(self.word.key());
            self.callback.drained();
        }
    }

    /// Sets the number of holders, for tests of the limits.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub fn set_holders_for_test(&mut self, holders: usize) {
        self.word.set_holders_for_test(holders);
    }

    /// Returns a number that is the same for references whose waiters are in one bucket.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub fn bucket_for_test(&self) -> usize {
        core::ptr::from_ref(super::waiters::bucket(self.word.key())).addr()
    }
}

// SAFETY: A claim needs a word of zero, which it has only after a rundown has begun and each
// acquisition was released. Acquisitions fail while the word is even, as it is when claimed. Releases
// have release ordering, are read-modify-writes and so carry each other on, and a claim has acquire
// ordering.
unsafe impl<C: Drained> RawRundown for RundownRef<C> {
    #[inline(always)]
    fn acquire_one(&self, _: Internal) -> Result<(), RundownError> {
        self.word.acquire_one()
    }

    fn acquire_many(&self, n: usize, _: Internal) -> Result<(), RundownError> {
        self.word.acquire_many(n)
    }

    unsafe fn acquire_more(&self, _: Internal) {
        self.word.acquire_more();
    }

    #[inline(always)]
    unsafe fn release_one(&self, _: Internal) {
        self.after(self.word.release_one());
    }

    unsafe fn release_many(&self, n: usize, _: Internal) {
        self.after(self.word.release_many(n));
    }

    fn claim(&self, _: Internal) -> Result<(), RundownError> {
        self.word.claim()
    }

    unsafe fn unclaim(&self, live: bool, _: Internal) {
        self.word.unclaim(live);
    }

    fn wait_raw(&self, how: Wait, claim: bool, _: Internal) -> Result<(), RundownError> {
        how.announce(&self.dep);
        word::wait(&self.word, how, claim, None, &|| self.callback.drained())
    }

    unsafe fn release_and_wait(&self, how: Wait, token: Internal) -> Result<(), RundownError> {
        // SAFETY: This function requires an acquisition of the caller. One of the two calls below uses it
        // up: that of a wait that begins, or that in front of an error.
        let release = || unsafe { self.release_one(token) };
        if let Err(err) = how.check_context() {
            self.begin_rundown();
            release();
            return Err(err);
        }
        how.announce(&self.dep);
        word::wait(&self.word, how, false, Some(&release), &|| {
            self.callback.drained()
        })
    }

    #[inline(always)]
    fn dep(&self, _: Internal) -> &Dep {
        &self.dep
    }

    #[inline(always)]
    fn key(&self, _: Internal) -> usize {
        self.word.key()
    }
}

impl<C: Drained> RundownProtect for RundownRef<C> {
    fn begin_rundown(&self) -> bool {
        match self.word.begin() {
            None => false,
            Some(After::Drained) => {
                // There was no holder to notify. Those that there may be when the callback has returned
                // have acquired a later incarnation.
                self.after(After::Drained);
                true
            }
            Some(After::Nothing) => {
                listeners::notify(self.word.key());
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

// SAFETY: `rundown()` returns the object itself, so both have the same lifetime and each object has
// exactly one.
unsafe impl<C: Drained> HasRundown for RundownRef<C> {
    type Ref = Self;

    #[inline(always)]
    unsafe fn rundown(&self) -> &Self {
        self
    }
}

impl<C: Drained> fmt::Debug for RundownRef<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::traits::debug(f, "RundownRef", self)
    }
}
