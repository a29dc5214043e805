// SPDX-License-Identifier: GPL-2.0

//! The pointers that an [`RcuCell`](super::RcuCell) can hold, and how each is reclaimed.

use super::{
    object::{
        DropContext,
        Object,
        Shared, //
    },
    worker,
    Domain, //
};
use core::ffi::c_void;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

type Head = bindings::callback_head;

pub(super) mod sealed {
    /// What only this crate can do.
    pub trait Sealed {}
}

/// An owning pointer to something with room for a callback: `KBox<Object<T>>`,
/// `Pin<KBox<Object<T>>>` or `Arc<Shared<T, D>>`, for use in the domain `D`. Sealed.
///
/// # Safety
///
/// - What `into_raw` returns is not null, begins with a `Head` that is free to use while the
///   pointer is retired, and gives the pointer back by `from_raw`, in the same place.
/// - `Borrowed` can be used from many tasks at once if the pointer is [`Sync`].
///
/// That the pointer is [`Send`] is not asked for here but where one is retired: the trait would
/// otherwise be in the way of types that contain a cell of their own kind, as a list's do.
pub unsafe trait RcuPointer<D: Domain>: sealed::Sealed + Sized + 'static {
    /// What a reader gets.
    type Borrowed<'a>: Copy;

    /// Gives the pointer away.
    #[doc(hidden)]
    fn into_raw(self) -> *mut c_void;

    /// Takes back what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and this is the only call for it.
    #[doc(hidden)]
    unsafe fn from_raw(raw: *mut c_void) -> Self;

    /// Borrows what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is not taken back during `'a`.
    #[doc(hidden)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Self::Borrowed<'a>;

    /// The address that `into_raw` returned for what was borrowed.
    #[doc(hidden)]
    fn address(borrowed: Self::Borrowed<'_>) -> *mut c_void;

    /// Takes back what was given away and drops it, after a grace period. Never sleeps, and is not
    /// for NMIs.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no section of `D` that begins from now on can find
    /// the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn defer(raw: *mut c_void);
}

/// A pointer that is the only one to what it points to, so that its head is its own from the
/// moment it is retired: all but [`Arc`].
///
/// # Safety
///
/// As it says.
pub unsafe trait UniquePointer<D: Domain>: RcuPointer<D> {}

/// Frees memory that has no destructor.
///
/// # Safety
///
/// `head` is the beginning of what `kmalloc` allocated, and nobody uses it any more.
unsafe extern "C" fn free<D: Domain>(head: *mut Head) {
    D::state().done(1);
    // SAFETY: By the safety requirements.
    unsafe { bindings::kfree(head.cast()) };
}

/// Drops a box of an object, as [`KBox`] does but for the detour of `krealloc()` to `kfree()`.
///
/// # Safety
///
/// `head` is the beginning of an `Object<T, C>` in a [`KBox`] that was given away, and nobody uses
/// it any more.
unsafe extern "C" fn reclaim<T, C: DropContext, D: Domain>(head: *mut Head) {
    D::state().done(1);
    // SAFETY: By the safety requirements it is a valid object, which stays where it is until it is
    // dropped, and what a `KBox` has is the beginning of what `kmalloc` allocated.
    unsafe {
        core::ptr::drop_in_place(head.cast::<Object<T, C>>());
        bindings::kfree(head.cast());
    }
}

/// Has the workqueue drop a box of an object.
///
/// # Safety
///
/// As for [`reclaim`].
unsafe extern "C" fn reclaim_in_process<T, C: DropContext, D: Domain>(head: *mut Head) {
    // SAFETY: By the safety requirements.
    unsafe { worker::push(head, reclaim::<T, C, D>) };
}

/// Defers a box of an object.
///
/// # Safety
///
/// As for [`RcuPointer::defer`], `raw` having come from a box, pinned or not, of `Object<T, C>`.
unsafe fn defer_box<T, C: DropContext, D: Domain>(raw: *mut c_void) {
    let head = raw.cast::<Head>();
    let domain = D::state();
    if core::mem::needs_drop::<T>() {
        let func = if C::IN_CALLBACK {
            reclaim::<T, C, D>
        } else {
            reclaim_in_process::<T, C, D>
        };
        // SAFETY: By the safety requirements, of which the pointer's trait is one: `T` is `'static`.
        unsafe { domain.post(head, func, 1) };
    } else if domain.sleepable() {
        // SAFETY: As above, and there is nothing to drop.
        unsafe { domain.post(head, free::<D>, 1) };
    } else {
        // SAFETY: As above; the head is the beginning of the allocation, and large enough.
        unsafe { bindings::kvfree_call_rcu(head.cast(), raw) };
    }
}

impl<T, C: DropContext> sealed::Sealed for KBox<Object<T, C>> {}

// SAFETY: An object begins with its head, and a box owns it.
unsafe impl<T: 'static, C: DropContext, D: Domain> RcuPointer<D> for KBox<Object<T, C>> {
    type Borrowed<'a> = &'a T;

    fn into_raw(self) -> *mut c_void {
        KBox::into_raw(self).cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { KBox::from_raw(raw.cast()) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> &'a T {
        // SAFETY: By the safety requirements.
        unsafe { &*raw.byte_add(Object::<T, C>::OFFSET).cast() }
    }

    fn address(borrowed: &T) -> *mut c_void {
        core::ptr::from_ref(borrowed)
            .wrapping_byte_sub(Object::<T, C>::OFFSET)
            .cast_mut()
            .cast()
    }

    unsafe fn defer(raw: *mut c_void) {
        // SAFETY: By the safety requirements.
        unsafe { defer_box::<T, C, D>(raw) }
    }
}

// SAFETY: A box owns what it points to.
unsafe impl<T: 'static, C: DropContext, D: Domain> UniquePointer<D> for KBox<Object<T, C>> {}

impl<T, C: DropContext> sealed::Sealed for Pin<KBox<Object<T, C>>> {}

// SAFETY: As for `KBox`. The object is never moved.
unsafe impl<T: 'static, C: DropContext, D: Domain> RcuPointer<D> for Pin<KBox<Object<T, C>>> {
    type Borrowed<'a> = Pin<&'a T>;

    fn into_raw(self) -> *mut c_void {
        // SAFETY: What is given away is not moved.
        KBox::into_raw(unsafe { Pin::into_inner_unchecked(self) }).cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements, and it was pinned when it was given away.
        unsafe { Pin::new_unchecked(KBox::from_raw(raw.cast())) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Pin<&'a T> {
        // SAFETY: By the safety requirements, and the value is pinned as the object is.
        unsafe { Pin::new_unchecked(&*raw.byte_add(Object::<T, C>::OFFSET).cast()) }
    }

    fn address(borrowed: Pin<&T>) -> *mut c_void {
        <KBox<Object<T, C>> as RcuPointer<D>>::address(borrowed.get_ref())
    }

    unsafe fn defer(raw: *mut c_void) {
        // SAFETY: By the safety requirements.
        unsafe { defer_box::<T, C, D>(raw) }
    }
}

// SAFETY: A box owns what it points to.
unsafe impl<T: 'static, C: DropContext, D: Domain> UniquePointer<D> for Pin<KBox<Object<T, C>>> {}

/// Gives up the references to a shared object that a grace period has covered.
///
/// # Safety
///
/// `head` is that of a `Shared<T, D, C>` in an `Arc`, whose head the caller has, and a grace period has
/// gone by since it was posted.
unsafe extern "C" fn give_up<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    let shared = head.cast::<Shared<T, D, C>>();
    // SAFETY: The references that were retired keep the object.
    let (n, again) = unsafe { (*shared).take() };
    D::state().done(n as usize);
    if again {
        // SAFETY: The caller still has the head, and the references left were retired.
        unsafe { D::state().post(head, give_up_func::<T, C, D>(), 0) };
    }
    for _ in 0..n {
        // SAFETY: One of the references that were given away by `into_raw`, retired, and taken.
        drop(unsafe { Arc::<Shared<T, D, C>>::from_raw(shared) });
    }
}

/// Has the workqueue call [`give_up`].
///
/// # Safety
///
/// As for [`give_up`].
unsafe extern "C" fn give_up_in_process<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    // SAFETY: By the safety requirements.
    unsafe { worker::push(head, give_up::<T, C, D>) };
}

fn give_up_func<T, C, D>() -> unsafe extern "C" fn(*mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    if C::IN_CALLBACK || !core::mem::needs_drop::<T>() {
        give_up::<T, C, D>
    } else {
        give_up_in_process::<T, C, D>
    }
}

impl<T, D: Domain, C: DropContext> sealed::Sealed for Arc<Shared<T, D, C>> {}

// SAFETY: A shared object begins with its head, of which `Shared::retire` makes good use.
unsafe impl<T: 'static, D: Domain, C: DropContext> RcuPointer<D> for Arc<Shared<T, D, C>> {
    type Borrowed<'a> = ArcBorrow<'a, Shared<T, D, C>>;

    fn into_raw(self) -> *mut c_void {
        Arc::into_raw(self).cast_mut().cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { Arc::from_raw(raw.cast()) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Self::Borrowed<'a> {
        // SAFETY: By the safety requirements.
        unsafe { ArcBorrow::from_raw(raw.cast()) }
    }

    fn address(borrowed: Self::Borrowed<'_>) -> *mut c_void {
        core::ptr::from_ref(&*borrowed).cast_mut().cast()
    }

    unsafe fn defer(raw: *mut c_void) {
        let shared = raw.cast::<Shared<T, D, C>>();
        // SAFETY: The reference that is retired keeps the object.
        if unsafe { (*shared).retire() } {
            // SAFETY: `retire` gave us the head; for the rest see the safety requirements.
            unsafe { D::state().post(raw.cast(), give_up_func::<T, C, D>(), 1) };
        } else {
            // The callback under way finds one more.
            D::state().count(1);
        }
    }
}
