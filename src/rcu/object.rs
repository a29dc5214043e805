// SPDX-License-Identifier: GPL-2.0

//! Values with an RCU head, the content of an [`RcuCell`](super::RcuCell).

use super::{
    CellValue,
    Domain,
    Global,
    RcuCell,
    RcuPointer,
    Retired, //
};
use crate::bindings as helpers;
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::size_of,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        AllocError,
        Allocator,
        Box,
        Flags,
        Vec, //
    },
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicType,
            Full,
            Relaxed, //
        },
        lock::{
            Backend,
            Lock, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// Types whose destructor may run in a softirq.
///
/// The destructor neither sleeps nor acquires a lock that is acquired with softirqs enabled
/// elsewhere. Freeing memory is allowed. `CONFIG_DEBUG_ATOMIC_SLEEP` and lockdep report violations.
///
/// [`impl_atomic_drop!`](super::impl_atomic_drop) implements the trait for a structure and checks it
/// field by field. An [`RcuCell`](super::RcuCell) may be a field whatever it holds: where it is
/// dropped in atomic context, it hands the destructor of its content to process context.
///
/// # Safety
///
/// Neither the type's own implementation of [`Drop`] nor the destructor of any of its fields sleeps.
pub unsafe trait AtomicDrop {}

macro_rules! atomic_drop {
    ($($(#[$why:meta])* [$($generics:tt)*] $type:ty;)*) => {
        $(
            // SAFETY: The type has no destructor, or one that calls those of the types that the
            // bounds name and frees memory, or one that never sleeps in atomic context.
            unsafe impl<$($generics)*> AtomicDrop for $type {}
        )*
    };
}

atomic_drop! {
    [] ();
    [] bool;
    [] char;
    [] i8;
    [] i16;
    [] i32;
    [] i64;
    [] isize;
    [] u8;
    [] u16;
    [] u32;
    [] u64;
    [] usize;
    [T: ?Sized] &'static T;
    [T: ?Sized] PhantomData<T>;
    [T: AtomicType] Atomic<T>;
    [T: AtomicDrop] Option<T>;
    [T: AtomicDrop + ?Sized, A: Allocator] Box<T, A>;
    [T: AtomicDrop, A: Allocator] Pin<Box<T, A>>;
    [T: AtomicDrop, A: Allocator] Vec<T, A>;
    [T: AtomicDrop + ?Sized] Arc<T>;
    [T: AtomicDrop, B: Backend] Lock<T, B>;
    [T: AtomicDrop, const N: usize] [T; N];
    [A: AtomicDrop, B: AtomicDrop] (A, B);
    [A: AtomicDrop, B: AtomicDrop, C: AtomicDrop] (A, B, C);
    [T: AtomicDrop, C: DropContext] Object<T, C>;
    [T: AtomicDrop, D: Domain, C: DropContext] Shared<T, D, C>;
    [P: CellValue<D> + Send, D: Domain] RcuCell<P, D>;
    [P: RcuPointer<D>, D: Domain] Retired<P, D>;
}

/// Implements [`AtomicDrop`] for a structure, checked field by field.
///
/// All fields have to be named, with their names or numbers, and the type of each has to be
/// [`AtomicDrop`]. The structure has no implementation of [`Drop`] of its own and no parameters;
/// types with either implement the unsafe trait themselves.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Object, RcuCell};
///
/// struct Route {
///     name: KVec<u8>,
///     next: RcuCell<Option<KBox<Object<Route>>>>,
/// }
///
/// rcu::impl_atomic_drop! { Route { name, next } }
///
/// struct Metric(u32);
///
/// rcu::impl_atomic_drop! { Metric { 0 } }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! impl_atomic_drop {
    ($name:ident { $($field:tt),* $(,)? }) => {
        const _: () = {
            #[expect(drop_bounds)]
            trait MustNotImplementDrop {}
            #[expect(drop_bounds)]
            impl<T: $crate::__core::ops::Drop + ?$crate::__core::marker::Sized> MustNotImplementDrop for T {}
            impl MustNotImplementDrop for $name {}

            fn field_is_atomic_drop<T: $crate::rcu::AtomicDrop>(_: &T) {}

            #[expect(dead_code)]
            fn check(value: &$name) {
                // Every field is named.
                let $name { $($field: _),* } = value;
                $(field_is_atomic_drop(&value.$field);)*
            }
        };

        // SAFETY: Checked above: the type does not implement `Drop`, and all its fields are
        // `AtomicDrop`.
        unsafe impl $crate::rcu::AtomicDrop for $name {}
    };
}

pub(super) mod sealed {
    /// Implemented by types of this crate only.
    pub trait DropContext: Send + Sync + 'static {
        /// True if destructors run in the RCU callback.
        const IN_CALLBACK: bool;
    }
}

/// Where the destructor of a deferred object runs: [`InProcess`] or [`InSoftirq`]. Sealed.
pub trait DropContext: sealed::DropContext {}

/// The destructor runs in process context and may sleep.
///
/// Deferred destructors run on a workqueue, in a work item of their SRCU domain, or of the module for
/// those deferred in [`Global`], one after the other: a destructor must not wait for another one. The
/// workqueue has `WQ_MEM_RECLAIM`, so a destructor must not flush one that has not.
#[derive(Debug)]
pub enum InProcess {}

/// The destructor may run in the RCU callback, with softirqs disabled: sooner and at lower cost.
#[derive(Debug)]
pub enum InSoftirq {}

impl sealed::DropContext for InProcess {
    const IN_CALLBACK: bool = false;
}
impl sealed::DropContext for InSoftirq {
    const IN_CALLBACK: bool = true;
}
impl DropContext for InProcess {}
impl DropContext for InSoftirq {}

/// Room for what the kernel links a deferred object with: a callback or an entry of
/// `kvfree_call_rcu()`, whose size depends on `CONFIG_KVFREE_RCU_BATCHED`.
#[repr(C)]
pub(super) union Head {
    pub(super) rcu: bindings::callback_head,
    pub(super) kvfree: bindings::kvfree_rcu_head,
}

/// A value with an RCU head, so that reclaiming it after a grace period allocates nothing.
///
/// The head is two words in front of the value. Boxes of an object, `KBox<Object<T>>` as well as
/// [`VBox`], [`KVBox`] and pinned ones, are the content of an [`RcuCell`](super::RcuCell). A value
/// without destructor is freed by the kernel's `kvfree_rcu()`; for other values `C` selects where
/// the destructor runs.
///
/// # Invariants
///
/// `head` is used only while the object is retired, by its one owner.
#[repr(C)]
#[pin_data]
pub struct Object<T, C: DropContext = InProcess> {
    head: Opaque<Head>,
    _context: PhantomData<C>,
    #[pin]
    value: T,
}

// SAFETY: The head is used by the owner alone, and not tied to a task.
unsafe impl<T: Send, C: DropContext> Send for Object<T, C> {}
// SAFETY: Shared references give access to the value only, which is `Sync`, never to the head.
unsafe impl<T: Sync, C: DropContext> Sync for Object<T, C> {}

impl<T> Object<T, InProcess> {
    /// Wraps a value whose destructor may sleep.
    pub const fn new(value: T) -> Self {
        Self {
            head: Opaque::uninit(),
            _context: PhantomData,
            value,
        }
    }

    /// Wraps a value that is initialised in place and stays pinned.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use kernel::{new_mutex, sync::Mutex};
    /// use quiesce::rcu::Object;
    ///
    /// # fn f() -> Result {
    /// let pinned: Pin<KBox<Object<Mutex<u32>>>> =
    ///     KBox::pin_init(Object::pin(new_mutex!(1)), GFP_KERNEL)?;
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn pin<E>(value: impl PinInit<T, E>) -> impl PinInit<Self, E>
    where
        E: From<core::convert::Infallible>,
    {
        try_pin_init!(Self {
            head: Opaque::uninit(),
            _context: PhantomData,
            value <- value,
        }? E)
    }
}

impl<T: AtomicDrop> Object<T, InSoftirq> {
    /// Wraps a value whose destructor may run in a softirq.
    pub const fn new_atomic(value: T) -> Self {
        Self {
            head: Opaque::uninit(),
            _context: PhantomData,
            value,
        }
    }
}

impl<T, C: DropContext> Object<T, C> {
    /// Allocates a box and moves the object into it.
    ///
    /// Does what [`KBox::new`] does, at the cost of `kmalloc()`: `KBox::new` calls `krealloc()`. With
    /// flags other than [`GFP_KERNEL`] and [`GFP_ATOMIC`] it calls `KBox::new`. Values that are
    /// initialised in place use [`pin`](Self::pin), those with several owners [`Shared`].
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory; the object is then dropped.
    ///
    /// # Context
    ///
    /// Process with [`GFP_KERNEL`]. With [`GFP_ATOMIC`] any but NMI, and on PREEMPT_RT only where the
    /// caller can be preempted: the allocator's locks sleep there, whatever the flags.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::prelude::*;
    /// use quiesce::rcu::{Object, RcuCell};
    ///
    /// fn put(cell: &RcuCell<Option<KBox<Object<u64>>>>, value: u64) -> Result {
    ///     cell.publish(Some(Object::new(value).boxed(GFP_KERNEL)?));
    ///     Ok(())
    /// }
    /// ```
    #[inline]
    pub fn boxed(self, flags: Flags) -> Result<KBox<Self>, AllocError> {
        let atomic = flags == GFP_ATOMIC;
        if !atomic && flags != GFP_KERNEL {
            return KBox::new(self, flags);
        }
        // The cache is known at compile time, as where C calls `kmalloc()`. KASAN is to see the size.
        // SAFETY: The helpers only allocate. The size is not zero, as the head is part of it, and it
        // is a multiple of the alignment, and so is that of the cache, which `kmalloc()` aligns to
        // the largest power of two that divides it.
        let raw = unsafe {
            match size_of::<Self>() {
                size if cfg!(CONFIG_KASAN) => helpers::quiesce_helper_kmalloc(size, atomic),
                0..=32 => helpers::quiesce_helper_kmalloc_32(atomic),
                33..=64 => helpers::quiesce_helper_kmalloc_64(atomic),
                65..=96 => helpers::quiesce_helper_kmalloc_96(atomic),
                97..=128 => helpers::quiesce_helper_kmalloc_128(atomic),
                129..=192 => helpers::quiesce_helper_kmalloc_192(atomic),
                193..=256 => helpers::quiesce_helper_kmalloc_256(atomic),
                size => helpers::quiesce_helper_kmalloc(size, atomic),
            }
        };
        let raw = NonNull::new(raw.cast::<Self>()).ok_or(AllocError)?;
        // SAFETY: The memory is newly allocated, and large and aligned enough.
        unsafe { raw.write(self) };
        // SAFETY: The memory holds an object, has no other owner, and was allocated by `kmalloc()`,
        // whose memory the allocator of a `KBox` frees.
        Ok(unsafe { KBox::from_raw(raw.as_ptr()) })
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The value's offset in the object.
    pub(super) const OFFSET: usize = core::mem::offset_of!(Self, value);
}

impl<T, C: DropContext> Deref for Object<T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A value in an [`Arc`] whose references can be dropped after a grace period.
///
/// `Arc<Shared<T, D>>` is the content of [`RcuCell`](super::RcuCell)s of the domain `D`. One object
/// can be in several cells, and be retired from all of them at once: one callback drops as many
/// references as a grace period has covered, which is why the domain is part of the type.
///
/// # Modules
///
/// The callback is a function of the module that retires the first reference, and drops those that
/// others retire before it has ended. [`barrier()`](super::barrier) of one of the others waits for it;
/// it waits for destructors of other modules from then on. A barrier in a domain in which that ever
/// happened waits for one more grace period, at the end of which a task that was about to post a
/// callback has posted it. While others retire a reference at least once in a grace period, the
/// callback is posted again, and rmmod of the first module waits.
///
/// # Many references
///
/// A callback, which has bottom halves disabled, drops up to 1024 references. If its grace period has
/// covered more, it passes them to process context, also if the destructor may run in a softirq.
///
/// # Overflow
///
/// An object of which 2^31 references have been retired and not yet dropped is leaked: the count
/// saturates, and no further reference to the object is dropped. The reference count of [`Arc`]
/// has saturated by then, with the same consequence.
///
/// # Invariants
///
/// - While `retired` is less than `SATURATED`, it is the number of references that were retired
///   and not yet dropped.
/// - While `retired` is neither zero nor `SATURATED` or more, one callback of `D`, or one owner that
///   is about to post it, owns `object.head` and `covered`: how many of the references its grace
///   period covers. At `SATURATED` or more, the head is posted for the last time or not at all.
#[repr(C)]
pub struct Shared<T, D: Domain = Global, C: DropContext = InProcess> {
    object: Object<T, C>,
    retired: Atomic<u32>,
    covered: UnsafeCell<u32>,
    _domain: PhantomData<fn(D) -> D>,
}

/// The least value of `Shared::retired` at which it has saturated.
const SATURATED: u32 = 1 << 31;

/// The value that `Shared::retired` is set to when it has saturated: as far as can be from both ends
/// of the saturated range. To leave the range again would take 2^30 tasks that are in
/// [`Shared::retire`] at the same time.
const SATURATION: u32 = SATURATED + (SATURATED >> 1);

/// The action that a caller of [`Shared::retire`] has to take.
pub(super) enum Outcome {
    /// The caller owns the head and posts it.
    Post,
    /// A callback that is under way drops the reference.
    Counted,
    /// The reference is leaked.
    Leaked,
}

// SAFETY: The head and `covered` have one owner at a time, and are not tied to a task.
unsafe impl<T: Send, D: Domain, C: DropContext> Send for Shared<T, D, C> {}
// SAFETY: Shared references give access to the value, which is `Sync`, and to the atomic. The head
// and `covered` are accessed by their owner only.
unsafe impl<T: Sync, D: Domain, C: DropContext> Sync for Shared<T, D, C> {}

impl<T, D: Domain> Shared<T, D, InProcess> {
    /// Wraps a value whose destructor may sleep.
    pub const fn new(value: T) -> Self {
        Self::wrap(Object::new(value))
    }
}

impl<T: AtomicDrop, D: Domain> Shared<T, D, InSoftirq> {
    /// Wraps a value whose destructor may run in a softirq.
    pub const fn new_atomic(value: T) -> Self {
        Self::wrap(Object::new_atomic(value))
    }
}

impl<T, D: Domain, C: DropContext> Shared<T, D, C> {
    const fn wrap(object: Object<T, C>) -> Self {
        // INVARIANT: No reference was retired.
        Self {
            object,
            retired: Atomic::new(0),
            covered: UnsafeCell::new(0),
            _domain: PhantomData,
        }
    }

    /// Records one retired reference.
    pub(super) fn retire(&self) -> Outcome {
        let retired = self.retired.fetch_add(1u32, Full);
        if retired == 0 {
            // INVARIANT: The caller owns the head from here on, and its own reference is covered.
            // SAFETY: The counter was zero, so the head and `covered` had no owner.
            unsafe { *self.covered.get() = 1 };
            Outcome::Post
        } else if retired < SATURATED - 1 {
            Outcome::Counted
        } else {
            // The reference was one of at least 2^31, so that the reference count of the `Arc` has
            // saturated and the object stays, even if a callback takes the reference meanwhile.
            // INVARIANT: Saturated, and far from the end of the range.
            self.retired.store(SATURATION, Relaxed);
            overflowed();
            Outcome::Leaked
        }
    }

    /// Returns how many references [`take`](Self::take) takes, unless the count has saturated.
    ///
    /// # Safety
    ///
    /// The caller owns the head.
    pub(super) unsafe fn covered(&self) -> u32 {
        // SAFETY: The caller owns the head, as this function requires, and `covered` with it.
        unsafe { *self.covered.get() }
    }

    /// Takes the references that the grace period has covered.
    ///
    /// Returns how many there are, and whether the caller still owns the head and has to post it
    /// once more for further references.
    ///
    /// # Safety
    ///
    /// The caller owns the head, and a grace period has elapsed since it was posted.
    pub(super) unsafe fn take(&self) -> (u32, bool) {
        // SAFETY: The caller owns the head, as this function requires.
        let covered = unsafe { self.covered() };
        if self.retired.load(Relaxed) >= SATURATED {
            // INVARIANT: The head is not posted again, and as the counter never returns to zero,
            // nobody else will own it.
            return (0, false);
        }
        // If the counter saturates right here, a later call finds that out or, if `covered` is all
        // that is left, the store in `retire` keeps it from zero.
        let left = self.retired.fetch_sub(covered, Full).wrapping_sub(covered);
        if left != 0 {
            // INVARIANT: The references that are left were retired by now, so the next grace period
            // covers them.
            // SAFETY: The counter was not zero meanwhile, so the caller still owns the head.
            unsafe { *self.covered.get() = left };
        }
        (covered, left != 0)
    }

    /// Sets the number of retired references, as if that many were retired and not yet dropped.
    ///
    /// # Safety
    ///
    /// A reference was retired and no grace period has elapsed since. The object is leaked.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub unsafe fn set_retired_for_test(&self, retired: u32) {
        self.retired.store(retired, Relaxed);
    }

    /// Returns the number of retired references.
    #[cfg(CONFIG_KUNIT)]
    #[doc(hidden)]
    pub fn retired_for_test(&self) -> u32 {
        self.retired.load(Relaxed)
    }
}

/// Reports that the count of retired references of an object has saturated.
#[cold]
fn overflowed() {
    static REPORTED: Atomic<i32> = Atomic::new(0);
    if REPORTED.xchg(1, Relaxed) == 0 {
        pr_warn!("rcu: too many references to one object are retired; it is leaked\n");
    }
}

impl<T, D: Domain, C: DropContext> Deref for Shared<T, D, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.object
    }
}
