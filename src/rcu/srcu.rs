// SPDX-License-Identifier: GPL-2.0

//! Domains whose readers may sleep.

use super::{
    domain::sealed::Sealed,
    domain_list,
    domain_state::DomainState,
    Domain,
    Token, //
};
use core::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::LockClassKey, //
};

/// Names an SRCU domain; [`define_domain!`](super::define_domain) makes one.
///
/// # Safety
///
/// `state` returns the same static at each call, made for this tag alone as sleepable, in the
/// module that the tag is in.
pub unsafe trait Tag: Send + Sync + 'static {
    /// The domain's state.
    #[doc(hidden)]
    fn state() -> &'static DomainState;

    /// The domain's lock class.
    #[doc(hidden)]
    fn class() -> Pin<&'static LockClassKey>;
}

/// Defines the tag of an SRCU domain.
///
/// The domain is named after the tag in reports. It uses no memory before [`Srcu::init`], and what
/// it uses is freed when the module that it is in has been unloaded; there is nothing to call.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Object, RcuCell, Srcu};
///
/// rcu::define_domain! {
///     /// Guards the routes.
///     pub Routes
/// }
///
/// static TABLE: RcuCell<Option<KBox<Object<[u32; 16]>>>, Srcu<Routes>> = RcuCell::none();
///
/// # fn f() -> Result {
/// let routes = Srcu::<Routes>::init()?;
/// TABLE.publish(Some(KBox::new(Object::new([7; 16]), GFP_KERNEL)?));
/// let first = routes.run(|t| TABLE.read(t).map(|table| table[0]));
/// # Ok(()) }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! define_domain {
    ($(#[$meta:meta])* $vis:vis $name:ident) => {
        $(#[$meta])*
        $vis enum $name {}

        // SAFETY: The static is this function's own, and sleepable.
        unsafe impl $crate::rcu::Tag for $name {
            fn state() -> &'static $crate::rcu::DomainState {
                static STATE: $crate::rcu::DomainState = $crate::rcu::DomainState::new(
                    ::kernel::c_str!(::core::stringify!($name)),
                    true,
                );
                &STATE
            }

            fn class() -> ::core::pin::Pin<&'static ::kernel::sync::LockClassKey> {
                ::kernel::static_lock_class!()
            }
        }
    };
}

/// The SRCU domain that `T` names: its readers may sleep.
///
/// Read sections cost two full memory barriers more than those of [`Global`](super::Global), as in
/// C. They are not for NMIs.
///
/// # Invariants
///
/// `T::state()` is ready, and stays so until the module that `T` is in has been unloaded.
pub struct Srcu<T: Tag>(PhantomData<fn(T) -> T>);

impl<T: Tag> Clone for Srcu<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Tag> Copy for Srcu<T> {}

impl<T: Tag> fmt::Debug for Srcu<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Srcu")
    }
}

impl<T: Tag> Srcu<T> {
    /// Makes the domain, unless it is there, and returns its handle.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    ///
    /// # Context
    ///
    /// Process; allocates.
    pub fn init() -> Result<Self> {
        domain_list::prepare(T::state(), T::class())?;
        // INVARIANT: Just made ready.
        Ok(Self(PhantomData))
    }
}

impl<T: Tag> Sealed for Srcu<T> {}

/// A read section of the SRCU domain that `T` names.
///
/// # Invariants
///
/// `__srcu_read_lock()` returned `idx` for the domain, and `__srcu_read_unlock()` was not called.
struct Section<T: Tag> {
    idx: c_int,
    _domain: PhantomData<Srcu<T>>,
}

impl<T: Tag> Section<T> {
    #[inline(always)]
    fn enter(_domain: Srcu<T>) -> Self {
        let srcu = T::state().srcu_raw();
        // SAFETY: By the invariants of the handle the domain is ready, and the module that it is in
        // is not unloaded while its code or that of its users runs. `Drop` is the other half. What
        // C's `srcu_read_lock()` is without lockdep.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        let idx = unsafe { bindings::__srcu_read_lock(srcu) };
        // SAFETY: As above.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        let idx = unsafe { bindings::srcu_read_lock(srcu) };
        // INVARIANT: Just called.
        Self {
            idx,
            _domain: PhantomData,
        }
    }
}

impl<T: Tag> Drop for Section<T> {
    #[inline(always)]
    fn drop(&mut self) {
        let srcu = T::state().srcu_raw();
        // SAFETY: By the type invariants the section is there to be left.
        #[cfg(not(CONFIG_DEBUG_LOCK_ALLOC))]
        unsafe {
            bindings::__srcu_read_unlock(srcu, self.idx)
        };
        // SAFETY: As above.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        unsafe {
            bindings::srcu_read_unlock(srcu, self.idx)
        };
    }
}

/// A word on the stack that tells [`Domain::in_reader`] about a section.
///
/// It holds its own address combined with the domain's, and is cleared when the section ends, so
/// that looking through the current stack answers the question. Two stores pay for that, no memory
/// is shared and nothing has to be allocated. What is left of it on the stack later is zero, and a
/// copy is in another place than it says.
struct Mark(UnsafeCell<usize>);

impl Mark {
    /// Marks the stack; the mark must not move after this.
    #[inline(always)]
    fn set(&self, domain: &DomainState) {
        let word = self.0.get();
        // SAFETY: The word is ours.
        unsafe { word.write_volatile(word.expose_provenance() ^ domain.mark()) };
    }
}

impl Drop for Mark {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: The word is ours.
        unsafe { self.0.get().write_volatile(0) };
    }
}

impl<T: Tag> Domain for Srcu<T> {
    #[inline]
    fn state() -> &'static DomainState {
        T::state()
    }

    #[inline(always)]
    fn run<R>(self, f: impl for<'r> FnOnce(Token<'r, Self>) -> R) -> R {
        let _section = Section::enter(self);
        let mark = Mark(UnsafeCell::new(0));
        mark.set(T::state());
        // SAFETY: The section lasts until this function returns, and `f` cannot keep the token.
        f(unsafe { Token::new() })
    }
}
