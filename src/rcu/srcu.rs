// SPDX-License-Identifier: GPL-2.0

//! [`Srcu`]: domains whose readers may sleep.

use super::{
    domain::{
        sealed::Sealed,
        Domain,
        ReadToken, //
    },
    domain_list,
    domain_state::{
        leaked_in_nmi,
        DomainState, //
    },
    mark::Mark, //
};
use crate::arch::{
    context::in_nmi,
    srcu, //
};
use core::{
    ffi::c_void,
    fmt,
    marker::PhantomData, //
};
use kernel::{
    prelude::*,
    sync::LockClassKey, //
};

/// Names an SRCU domain; [`define_domain!`](super::define_domain) implements it.
///
/// # Safety
///
/// - `state` returns the same static at each call, in the module that the tag is in. It was created
///   for this tag alone, as that of an SRCU domain of the flavor that `UP_DOWN` selects.
/// - No other type that is a subtype or a supertype of the tag implements this trait.
pub unsafe trait Tag: Send + Sync + 'static {
    /// True if the domain is of the flavor SRCU-fast-updown instead of SRCU-fast.
    #[doc(hidden)]
    const UP_DOWN: bool;

    /// Returns the domain's state.
    #[doc(hidden)]
    fn state() -> &'static DomainState;

    /// Returns the domain's lock class.
    #[doc(hidden)]
    fn class() -> Pin<&'static LockClassKey>;
}

/// A [`Tag`] of a domain that has [`Srcu::down`].
///
/// # Safety
///
/// `UP_DOWN` is true.
pub unsafe trait UpDownTag: Tag {}

/// Defines the tag of an SRCU domain.
///
/// Reports name the domain after the tag. The domain uses no memory before [`Srcu::init`], and what
/// it uses is freed after the module that it is in was unloaded; there is no other function to call.
///
/// The domain is one of SRCU-fast. With `: up_down` it is one of SRCU-fast-updown, which in addition
/// has [`Srcu::down`], for read-side critical sections that end in another task than they began in.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Object, RcuCell, Srcu};
///
/// rcu::define_domain! {
///     /// Protects the routes.
///     pub Routes
/// }
///
/// rcu::define_domain! {
///     /// Protects the buffers of requests, which complete in another context.
///     pub Buffers: up_down
/// }
///
/// static TABLE: RcuCell<Option<KBox<Object<[u32; 16]>>>, Srcu<Routes>> = RcuCell::none();
///
/// # fn f() -> Result {
/// let routes = Srcu::<Routes>::init()?;
/// TABLE.publish(Some(Object::new([7; 16]).boxed(GFP_KERNEL)?));
/// let first = routes.run(|t| TABLE.read(t).map(|table| table[0]));
/// # Ok(()) }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! define_domain {
    ($(#[doc = $doc:literal])* $vis:vis $name:ident) => {
        $crate::define_domain!(@tag [$($doc)*] $vis $name, false);
    };
    ($(#[doc = $doc:literal])* $vis:vis $name:ident: up_down) => {
        $crate::define_domain!(@tag [$($doc)*] $vis $name, true);

        // SAFETY: `UP_DOWN` is true.
        unsafe impl $crate::rcu::UpDownTag for $name {}
    };
    // No attribute but documentation, which could remove the enum or make something else of it.
    (@tag [$($doc:literal)*] $vis:vis $name:ident, $up_down:literal) => {
        $(#[doc = $doc])*
        $vis enum $name {}

        // SAFETY: The static is this function's own and of the flavor; an enum without parameters is
        // a subtype and a supertype of itself only.
        unsafe impl $crate::rcu::Tag for $name {
            const UP_DOWN: bool = $up_down;

            fn state() -> &'static $crate::rcu::DomainState {
                static STATE: $crate::rcu::DomainState = $crate::rcu::DomainState::new_srcu(
                    ::kernel::c_str!(::core::stringify!($name)),
                    <$name as $crate::rcu::Tag>::UP_DOWN,
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
/// A domain of the flavor SRCU-fast: its read-side critical sections have no memory barriers and no
/// atomic operations, and can be entered in NMIs. In return its grace periods include those of the
/// kernel's RCU, and take longer than those of `srcu_read_lock()`. While a reader holds one up, the
/// kernel repeats those of RCU, and what waits for one of RCU waits longer: rmmod of an unrelated module
/// 1.2 times as long, with C's `call_srcu()` as well.
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
    /// Initialises the domain, unless it is initialised, and returns its handle.
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
        // INVARIANT: `prepare` has succeeded.
        Ok(Self(PhantomData))
    }
}

impl<T: UpDownTag> Srcu<T> {
    /// Enters a read-side critical section that any task or interrupt can end.
    ///
    /// Costs what [`run`](Domain::run) costs, but waiting for the domain in such a section cannot be
    /// detected as an error: it is a deadlock, which is reported as a stall.
    ///
    /// # Errors
    ///
    /// [`EAGAIN`] in an NMI. [`EOVERFLOW`] if 2^14 such sections exist, on 32-bit kernels and where
    /// SRCU counts in 16 bits (without SMP and preemptible RCU). Elsewhere the count has 64 bits.
    ///
    /// # Context
    ///
    /// Any but NMI. Never sleeps.
    pub fn down(self) -> Result<OwnedSection<T>> {
        if in_nmi() {
            return Err(EAGAIN);
        }
        T::state().count_section()?;
        // SAFETY: By the invariants of the handle the domain is ready, and of the flavor that
        // `UP_DOWN` selects.
        let counter = unsafe { srcu::enter(T::state().srcu_raw(), true) };
        // INVARIANT: `enter` returned `counter`, and the section was not left.
        Ok(OwnedSection {
            counter,
            _domain: PhantomData,
        })
    }
}

/// A read-side critical section of [`Srcu<T>`](Srcu) that is not tied to a task.
///
/// [`Srcu::down`] creates one; dropping it ends the section. It can be sent to another task, and kept
/// across `.await`. C's `srcu_down_read_fast()` and `srcu_up_read_fast()`.
///
/// # Context
///
/// Any but NMI: dropped there, it never ends.
///
/// # Leaks
///
/// The section of one that is leaked never ends. No later grace period of the domain elapses, and
/// what waits for one does not return: rmmod of the domain's module neither.
///
/// # Invariants
///
/// `counter` is what entering the section returned, and the section was not left.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Object, RcuCell, Srcu};
///
/// rcu::define_domain! { Buffers: up_down }
///
/// # fn f(cell: &RcuCell<KBox<Object<u32>>, Srcu<Buffers>>) -> Result {
/// let section = Srcu::<Buffers>::init()?.down()?;
/// // Perhaps in another task:
/// let value = section.run(|t| *cell.read(t));
/// drop(section);
/// # Ok(()) }
/// ```
#[must_use = "the section ends when this is dropped"]
pub struct OwnedSection<T: UpDownTag> {
    counter: *mut c_void,
    _domain: PhantomData<fn(T) -> T>,
}

// SAFETY: Sections of the flavor SRCU-fast-updown can be left in another task than they were entered.
unsafe impl<T: UpDownTag> Send for OwnedSection<T> {}
// SAFETY: Shared references only give out tokens, during a borrow.
unsafe impl<T: UpDownTag> Sync for OwnedSection<T> {}

impl<T: UpDownTag> OwnedSection<T> {
    /// Calls `f` with a token of the section.
    ///
    /// Waiting for the domain in `f` is an error, as in [`Domain::run`].
    #[inline]
    pub fn run<R>(&self, f: impl for<'r> FnOnce(ReadToken<'r, Srcu<T>>) -> R) -> R {
        let mark = Mark::new();
        mark.set(T::state().mark());
        // SAFETY: By the type invariants the section lasts while `self` is borrowed, and `f` cannot
        // keep the token.
        f(unsafe { ReadToken::new() })
    }
}

impl<T: UpDownTag> Drop for OwnedSection<T> {
    fn drop(&mut self) {
        if in_nmi() {
            return leaked_in_nmi();
        }
        // SAFETY: By the type invariants the section was entered and not left.
        unsafe { srcu::exit(T::state().srcu_raw(), true, self.counter) };
        T::state().uncount_section();
    }
}

/// A read-side critical section of the SRCU domain `D` in a function.
///
/// # Invariants
///
/// `counter` is what entering the section returned, and the section was not left.
struct Section<D: Domain> {
    counter: *mut c_void,
    up_down: bool,
    _domain: PhantomData<D>,
}

impl<D: Domain> Section<D> {
    /// # Safety
    ///
    /// `D` is an SRCU domain that is ready, of the flavor that `up_down` selects, and stays so during
    /// the section.
    #[inline(always)]
    unsafe fn enter(up_down: bool) -> Self {
        // INVARIANT: `counter` is what `enter` returns, and only `drop` leaves the section.
        Self {
            // SAFETY: `D` is an SRCU domain that is ready, of the flavor that `up_down` selects, as
            // this function requires, so its `srcu_struct` is initialised.
            counter: unsafe { srcu::enter(D::state().srcu_raw(), up_down) },
            up_down,
            _domain: PhantomData,
        }
    }
}

impl<D: Domain> Drop for Section<D> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the section was entered and not left, in this function.
        unsafe { srcu::exit(D::state().srcu_raw(), self.up_down, self.counter) };
    }
}

/// Runs `f` inside a section of an SRCU domain.
///
/// # Safety
///
/// `D` is an SRCU domain that is ready, of the flavor that `up_down` selects, and stays so during the
/// call.
#[inline(always)]
pub(super) unsafe fn run<D: Domain, R>(
    up_down: bool,
    f: impl for<'r> FnOnce(ReadToken<'r, D>) -> R,
) -> R {
    // SAFETY: `D` is an SRCU domain that is ready, of the flavor that `up_down` selects, and stays
    // so during the call, as this function requires; the section ends with the call.
    let _section = unsafe { Section::<D>::enter(up_down) };
    let mark = Mark::new();
    mark.set(D::state().mark());
    // SAFETY: The section lasts until this function returns, and `f` cannot keep the token.
    f(unsafe { ReadToken::new() })
}

impl<T: Tag> Sealed for Srcu<T> {}

impl<T: Tag> Domain for Srcu<T> {
    const IS_RCU: bool = false;

    #[inline]
    fn state() -> &'static DomainState {
        T::state()
    }

    #[inline(always)]
    fn run<R>(self, f: impl for<'r> FnOnce(ReadToken<'r, Self>) -> R) -> R {
        // SAFETY: By the invariants of the handle the domain is ready and stays so while code that
        // names its tag runs; the tag's state is one of the flavor.
        unsafe { run::<Self, R>(T::UP_DOWN, f) }
    }
}
