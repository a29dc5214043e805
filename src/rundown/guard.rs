// SPDX-License-Identifier: GPL-2.0

//! Guards: an acquisition, released on drop.

mod kinds;

pub use self::kinds::{
    Bound,
    Count,
    Many,
    Mobility,
    Movable,
    One,
    Pointer, //
};

use super::{
    lockdep::Held,
    track::Site,
    traits::{
        raw::RawRundown,
        HasRundown,
        RundownProtect, //
    },
    RundownError,
    Wait, //
};
use core::{
    mem::ManuallyDrop,
    ptr, //
};
use kernel::sync::Arc;

/// What a guard does with its object's reference, which is never to arm it.
#[inline(always)]
fn rundown<O: HasRundown + ?Sized>(object: &O) -> &O::Ref {
    // SAFETY: As said above.
    unsafe { object.rundown() }
}

/// An acquired object: it is not run down as long as this exists.
///
/// There are names for the usual ones: [`RundownGuard`], [`SendGuard`], [`ArcGuard`] and their
/// plurals. Released on drop, with release ordering, in any context in which it can be acquired.
///
/// A leaked guard is never released: the object's rundown does not end then.
///
/// # Invariants
///
/// `count.get()` acquisitions of `at.rundown()` are this guard's. `held` says whether lockdep counts
/// them as held by this task, and `site` is where they are listed.
#[must_use = "the object is released immediately when the guard is unused"]
pub struct Guard<P: Pointer, M: Mobility = Bound, N: Count = One> {
    at: P,
    count: N,
    held: Held,
    site: Site,
    _marker: M::Marker,
}

/// A borrowed guard that stays in its task.
pub type RundownGuard<'a, O = super::RundownRef> = Guard<&'a O, Bound, One>;

/// Several acquisitions in a borrowed guard that stays in its task.
pub type RundownGuards<'a, O = super::RundownRef> = Guard<&'a O, Bound, Many>;

/// A borrowed guard that can move to another task.
pub type SendGuard<'a, O = super::RundownRef> = Guard<&'a O, Movable, One>;

/// Several acquisitions in a borrowed guard that can move to another task.
pub type SendGuards<'a, O = super::RundownRef> = Guard<&'a O, Movable, Many>;

/// A guard that keeps its object alive and can move to another task.
pub type ArcGuard<O = super::RundownRef> = Guard<Arc<O>, Movable, One>;

/// Several acquisitions in a guard that keeps its object alive and can move to another task.
pub type ArcGuards<O = super::RundownRef> = Guard<Arc<O>, Movable, Many>;

impl<P: Pointer, M: Mobility, N: Count> Guard<P, M, N> {
    /// # Safety
    ///
    /// The caller has `count` acquisitions of the object, which become the guard's.
    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    unsafe fn from_acquired(at: P, count: N) -> Self {
        let of = rundown(&*at);
        let held = if M::BOUND {
            Held::hold(of.dep())
        } else {
            Held::NO
        };
        let site = Site::enter(core::ptr::from_ref(of).addr());
        // INVARIANT: By the requirements, and by what lockdep was told just now.
        Self {
            at,
            count,
            held,
            site,
            _marker: M::MARKER,
        }
    }

    #[inline(always)]
    #[cfg_attr(quiesce_track, track_caller)]
    pub(super) fn acquire(at: P, count: N) -> Result<Self, RundownError> {
        count.acquire(rundown(&*at))?;
        // SAFETY: They were acquired just now.
        Ok(unsafe { Self::from_acquired(at, count) })
    }

    /// Takes the guard apart, with its acquisitions given to the caller.
    #[inline(always)]
    fn into_acquired(self) -> (P, N) {
        let this = ManuallyDrop::new(self);
        this.held.let_go(rundown(&*this.at).dep());
        this.site.leave();
        // SAFETY: `this` is not used after this, so that each field is moved out once.
        unsafe { (ptr::read(&this.at), ptr::read(&this.count)) }
    }

    /// The object that was acquired.
    #[inline]
    pub fn object(&self) -> &P::Target {
        &self.at
    }

    /// How many acquisitions this guard stands for.
    #[inline]
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Whether somebody wants the object gone: a holder of long standing should let go then.
    #[inline]
    pub fn is_rundown_requested(&self) -> bool {
        rundown(&*self.at).is_rundown_requested()
    }

    /// Makes the guard one that can move to another task; lockdep loses sight of it.
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn unbind(self) -> Guard<P, Movable, N> {
        let (at, count) = self.into_acquired();
        // SAFETY: The acquisitions are the caller's by `into_acquired`.
        unsafe { Guard::from_acquired(at, count) }
    }

    /// Binds the guard to this task, where lockdep sees it from now on.
    #[inline]
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn bind(self) -> Guard<P, Bound, N> {
        let (at, count) = self.into_acquired();
        // SAFETY: As in `unbind`.
        unsafe { Guard::from_acquired(at, count) }
    }

    /// Begins the rundown of the object, releases this guard and waits for all the others.
    ///
    /// For a holder that runs down the very object it uses. Any number of holders may do so at the
    /// same time. See [`RundownProtect::wait_with`] for what a wait does.
    ///
    /// # Errors
    ///
    /// As [`RundownProtect::wait_with`]. The guard is released in any case.
    pub fn into_rundown(self) -> Result<P, RundownError> {
        self.into_rundown_with(Wait::uninterruptible())
    }

    /// [`into_rundown`](Self::into_rundown), waiting as `how` says.
    pub fn into_rundown_with(self, how: Wait) -> Result<P, RundownError> {
        let at = self.at.clone();
        rundown(&*at).begin_rundown();
        drop(self);
        rundown(&*at).wait_with(how)?;
        Ok(at)
    }
}

impl<P: Pointer, M: Mobility> Guard<P, M, Many> {
    /// Splits off a guard for `n` of the acquisitions.
    ///
    /// # Errors
    ///
    /// [`RundownError::ZeroCount`] if `n` is zero or nothing would be left, and
    /// [`RundownError::Overflow`] if there are not as many.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn split(&mut self, n: usize) -> Result<Self, RundownError> {
        let off = Many::new(n)?;
        match self.count.0.checked_sub(n) {
            None => Err(RundownError::Overflow),
            Some(0) => Err(RundownError::ZeroCount),
            Some(left) => {
                // INVARIANT: `left` is not zero, and `n` acquisitions are no longer this guard's.
                self.count = Many(left);
                // SAFETY: They are the new guard's.
                Ok(unsafe { Self::from_acquired(self.at.clone(), off) })
            }
        }
    }

    /// Splits off a guard for one of the acquisitions; `None` if it is the last.
    #[cfg_attr(quiesce_track, track_caller)]
    pub fn split_one(&mut self) -> Option<Guard<P, M, One>> {
        if self.count.0 == 1 {
            return None;
        }
        // INVARIANT: It is more than one.
        self.count = Many(self.count.0 - 1);
        // SAFETY: One acquisition is no longer this guard's but the new one's.
        Some(unsafe { Guard::from_acquired(self.at.clone(), One::new()) })
    }

    /// Adds the acquisitions of `other`.
    ///
    /// # Errors
    ///
    /// Gives `other` back if it is of another object, or if there would be more than [`Many::MAX`].
    pub fn merge<P2, M2, N2>(&mut self, other: Guard<P2, M2, N2>) -> Result<(), Guard<P2, M2, N2>>
    where
        P2: Pointer<Target = P::Target>,
        M2: Mobility,
        N2: Count,
    {
        let sum = self.count.0.saturating_add(other.count.get());
        if sum > Many::MAX || !ptr::eq(rundown(&*self.at), rundown(&*other.at)) {
            return Err(other);
        }
        // The other's pointer goes; its acquisitions stay.
        let _ = other.into_acquired();
        // INVARIANT: They are this guard's now, and not too many.
        self.count = Many(sum);
        Ok(())
    }
}

impl<P: Pointer, M: Mobility> From<Guard<P, M, One>> for Guard<P, M, Many> {
    #[cfg_attr(quiesce_track, track_caller)]
    fn from(one: Guard<P, M, One>) -> Self {
        let (at, _) = one.into_acquired();
        // SAFETY: The acquisition is the caller's by `into_acquired`.
        unsafe { Self::from_acquired(at, Many(1)) }
    }
}

/// Another guard of the same object, also after its rundown has begun.
///
/// Overflow of the count saturates it with a warning: the object is leaked then.
impl<P: Pointer, M: Mobility> Clone for Guard<P, M, One> {
    #[cfg_attr(quiesce_track, track_caller)]
    fn clone(&self) -> Self {
        // SAFETY: This guard has an acquisition.
        unsafe { rundown(&*self.at).acquire_more(1) };
        // SAFETY: It was acquired just now.
        unsafe { Self::from_acquired(self.at.clone(), One::new()) }
    }
}

impl<P: Pointer, M: Mobility, N: Count> Drop for Guard<P, M, N> {
    #[inline(always)]
    fn drop(&mut self) {
        let from = rundown(&*self.at);
        self.held.let_go(from.dep());
        self.site.leave();
        // SAFETY: By the type invariants the acquisitions are there, and the guard is gone after
        // this.
        unsafe { self.count.release(from) }
    }
}
