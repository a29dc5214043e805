// SPDX-License-Identifier: GPL-2.0

//! What can be put behind an [`RcuCell`](super::RcuCell): values with room for a callback.

use super::{
    Domain,
    Global, //
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
        Flags, //
    },
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// Types whose destructor may run in a softirq.
///
/// The destructor neither sleeps nor takes a lock that is elsewhere taken with softirqs enabled.
/// Freeing memory is fine. Getting it wrong is a bug that `CONFIG_DEBUG_ATOMIC_SLEEP` and lockdep
/// report, as sleeping in any other atomic context is.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::AtomicDrop;
///
/// struct Route {
///     name: KVec<u8>,
/// }
///
/// impl AtomicDrop for Route {}
/// ```
pub trait AtomicDrop {}

macro_rules! atomic_drop {
    ($($type:ty)*) => {
        $(impl AtomicDrop for $type {})*
    };
}

atomic_drop! { () bool char i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

impl<T: AtomicDrop> AtomicDrop for Option<T> {}
impl<T: AtomicDrop> AtomicDrop for KBox<T> {}
impl<T: AtomicDrop> AtomicDrop for Pin<KBox<T>> {}
impl<T: AtomicDrop> AtomicDrop for Arc<T> {}
impl<T: AtomicDrop> AtomicDrop for KVec<T> {}
impl<T: AtomicDrop, const N: usize> AtomicDrop for [T; N] {}
impl<A: AtomicDrop, B: AtomicDrop> AtomicDrop for (A, B) {}

pub(super) mod sealed {
    /// Where destructors run.
    pub trait DropContext: Send + Sync + 'static {
        /// Whether they run in the RCU callback.
        const IN_CALLBACK: bool;
    }
}

/// Where the destructor of a deferred object runs: [`InProcess`] or [`InSoftirq`]. Sealed.
pub trait DropContext: sealed::DropContext {}

/// The destructor runs on a workqueue and may sleep.
///
/// One worker runs them all, one after the other: a destructor must not wait for another one.
#[derive(Debug)]
pub enum InProcess {}

/// The destructor runs in the RCU callback, with softirqs disabled: sooner and cheaper.
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

/// A value that can be reclaimed after a grace period without allocating anything then.
///
/// It is the value and two words in front of it. `KBox<Object<T>>` and `Pin<KBox<Object<T>>>` go
/// into an [`RcuCell`](super::RcuCell). A value without destructor is freed by the kernel's
/// `kvfree_rcu()`; for the others `C` says where the destructor runs.
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
// SAFETY: As above; shared references lead to the value only.
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
    /// Allocates a box and moves the object there.
    ///
    /// The same as [`KBox::new`] without its detour by `krealloc()`; with flags other than
    /// [`GFP_KERNEL`] and [`GFP_ATOMIC`] it is that.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if there is no memory; the object is then dropped.
    ///
    /// # Context
    ///
    /// As `flags` say.
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
        // `Flags` does not show its bits.
        let gfp = if flags == GFP_KERNEL {
            bindings::GFP_KERNEL
        } else if flags == GFP_ATOMIC {
            bindings::GFP_ATOMIC
        } else {
            return KBox::new(self, flags);
        };
        // SAFETY: No requirements. The size is not zero, for the head is part of it, and it is a
        // multiple of the alignment, so that slabs give that to what they allocate.
        let raw = unsafe { helpers::quiesce_helper_kmalloc(size_of::<Self>(), gfp) };
        let raw = NonNull::new(raw.cast::<Self>()).ok_or(AllocError)?;
        // SAFETY: It is newly allocated, and large enough.
        unsafe { raw.write(self) };
        // SAFETY: It holds an object, nobody else has it, and it was allocated by `kmalloc()`, which
        // is what the allocator of a `KBox` frees.
        Ok(unsafe { KBox::from_raw(raw.as_ptr()) })
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// How far the value is from the object's beginning.
    pub(super) const OFFSET: usize = core::mem::offset_of!(Self, value);
}

impl<T, C: DropContext> Deref for Object<T, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A value in an [`Arc`] whose references can be given up after a grace period.
///
/// `Arc<Shared<T, D>>` goes into an [`RcuCell`](super::RcuCell) of the domain `D`, into several at
/// once too, and can be retired from all of them at once: one callback gives up as many references
/// as it finds. That is why the domain is part of the type.
///
/// # Invariants
///
/// - `retired` is the number of references that were retired and not given up yet.
/// - While it is not zero, one callback of `D`, or one owner on its way to post it, has
///   `object.head` and `covered`: how many of the references its grace period covers.
#[repr(C)]
pub struct Shared<T, D: Domain = Global, C: DropContext = InProcess> {
    object: Object<T, C>,
    retired: Atomic<u32>,
    covered: UnsafeCell<u32>,
    _domain: PhantomData<fn() -> D>,
}

// SAFETY: The head and `covered` have one owner at a time, and are not tied to a task.
unsafe impl<T: Send, D: Domain, C: DropContext> Send for Shared<T, D, C> {}
// SAFETY: As above; shared references lead to the value and the atomic only.
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
        // INVARIANT: Nothing was retired.
        Self {
            object,
            retired: Atomic::new(0),
            covered: UnsafeCell::new(0),
            _domain: PhantomData,
        }
    }

    /// Takes note of a retired reference; true if the caller now has the head, and has to post it.
    pub(super) fn retire(&self) -> bool {
        // Wrapping would take 2^32 references, and a reference count saturates before.
        if self.retired.fetch_add(1u32, Full) != 0 {
            return false;
        }
        // INVARIANT: The caller has the head, and its own reference is covered.
        // SAFETY: The counter was zero, so that nobody else has the head.
        unsafe { *self.covered.get() = 1 };
        true
    }

    /// Takes the references that the grace period has covered, and says how many; and whether the
    /// caller still has the head, and has to post it once more for the others.
    ///
    /// # Safety
    ///
    /// The caller has the head, and a grace period has gone by since it was posted.
    pub(super) unsafe fn take(&self) -> (u32, bool) {
        // SAFETY: The caller has the head.
        let covered = unsafe { *self.covered.get() };
        let left = self.retired.fetch_sub(covered, Full).wrapping_sub(covered);
        if left != 0 {
            // INVARIANT: All that are left were retired by now, so the next grace period covers
            // them.
            // SAFETY: The counter was not zero all the time, so the caller still has the head.
            unsafe { *self.covered.get() = left };
        }
        (covered, left != 0)
    }
}

impl<T, D: Domain, C: DropContext> Deref for Shared<T, D, C> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.object
    }
}
