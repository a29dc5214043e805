// SPDX-License-Identifier: GPL-2.0

//! The pointers that an [`RcuCell`](super::RcuCell) can hold, and how each is reclaimed.

use super::{
    account::this_module,
    disposal,
    domain_state::{
        done,
        leaked_in_nmi,
        post, //
    },
    object::{
        DropContext,
        InProcess,
        Object,
        Outcome,
        Shared, //
    },
    Domain, //
};
use crate::{
    arch::context::in_nmi,
    bindings as helpers, //
};
use core::{
    ffi::c_void,
    mem::needs_drop,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        allocator::{
            KVmalloc,
            Kmalloc,
            Vmalloc, //
        },
        Allocator,
        Box, //
    },
    bindings,
    prelude::*,
    sync::{
        rcu,
        Arc,
        ArcBorrow, //
    }, //
};

type Head = bindings::callback_head;

pub(super) mod sealed {
    /// Implemented by types of this crate only.
    pub trait Sealed {}
}

/// An owning pointer to a value with room for a callback, for use in the domain `D`.
///
/// Implemented for boxes of an [`Object`], pinned or not, and for [`Arc`]s of a [`Shared`]. Sealed.
///
/// # Safety
///
/// - What `into_raw` returns is not null, points to a `Head` that is free to use while the pointer
///   is retired, and gives the pointer back by `from_raw`, in the same place.
/// - `Borrowed` can be used from several tasks at once if the pointer is [`Sync`].
///
/// The trait does not require [`Send`], though everything that retires a pointer does: the bound
/// would make the trait's evaluation circular for types that own a cell of their own type.
pub unsafe trait RcuPointer<D: Domain>: sealed::Sealed + Sized + 'static {
    /// The type that a reader gets.
    type Borrowed<'a>: Copy;

    /// Gives the pointer away.
    #[doc(hidden)]
    fn into_raw(self) -> *mut c_void;

    /// Takes back what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and nothing else takes it back or drops it.
    #[doc(hidden)]
    unsafe fn from_raw(raw: *mut c_void) -> Self;

    /// Borrows what was given away.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw` and is not taken back during `'a`.
    #[doc(hidden)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Self::Borrowed<'a>;

    /// Returns the address that `into_raw` returned for what was borrowed.
    #[doc(hidden)]
    fn address(borrowed: Self::Borrowed<'_>) -> *mut c_void;

    /// Takes back what was given away and drops it after a grace period. Never sleeps; not for NMIs.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no read-side critical section of `D` that begins
    /// from now on can find the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn defer(raw: *mut c_void);

    /// Takes back what was given away and drops it without a grace period. Never sleeps in atomic
    /// context, and never recurses; in an NMI the object is leaked.
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw), and no reader can reach the pointer, which is [`Send`].
    #[doc(hidden)]
    unsafe fn dispose(raw: *mut c_void);
}

/// A pointer that is the only one to its object, so that the object's head belongs to it from the
/// moment it is retired: every [`RcuPointer`] but [`Arc`].
///
/// # Safety
///
/// No other pointer to the object exists.
pub unsafe trait UniquePointer<D: Domain>: RcuPointer<D> {}

/// An allocator of the kernel whose memory RCU can free. Sealed.
///
/// # Safety
///
/// `release` frees what the allocator allocated.
#[doc(hidden)]
pub unsafe trait Memory: Allocator + sealed::Sealed + 'static {
    /// True if `release` may be called wherever `may_kfree` returns true.
    const FREE_IS_ATOMIC: bool;

    /// Frees memory.
    ///
    /// # Safety
    ///
    /// `memory` is the beginning of an allocation by this allocator, which nobody uses any more.
    /// Not in an NMI; with `FREE_IS_ATOMIC` where `may_kfree` returns true, otherwise in softirqs,
    /// with bottom halves disabled in task context, or where sleeping is allowed.
    unsafe fn release(memory: *mut c_void);
}

/// Returns whether `kfree()` may be called here. Not for NMIs.
///
/// It acquires a lock that sleeps on PREEMPT_RT, where it may be called in read-side critical sections
/// of the kernel's RCU and with bottom halves disabled, and not where the caller cannot be preempted.
/// With `CONFIG_PROVE_RAW_LOCK_NESTING` lockdep checks that on other kernels, too.
#[inline]
fn may_kfree() -> bool {
    let sleeps = cfg!(any(CONFIG_PREEMPT_RT, CONFIG_PROVE_RAW_LOCK_NESTING));
    // SAFETY: Reads the state of the current task and CPU only.
    !sleeps || unsafe { helpers::quiesce_helper_rcu_preemptible() }
}

impl sealed::Sealed for Kmalloc {}

// SAFETY: `kfree()` is what `Kmalloc` calls, after a detour through `krealloc()`.
unsafe impl Memory for Kmalloc {
    const FREE_IS_ATOMIC: bool = true;

    #[inline]
    unsafe fn release(memory: *mut c_void) {
        // SAFETY: `memory` is the beginning of an allocation by this allocator that nobody uses any
        // more, and this is no NMI, as `Memory::release` requires.
        unsafe { bindings::kfree(memory) };
    }
}

impl sealed::Sealed for Vmalloc {}

// SAFETY: `kvfree()` calls `vfree()` for memory of `vmalloc()`.
unsafe impl Memory for Vmalloc {
    const FREE_IS_ATOMIC: bool = false;

    #[inline]
    unsafe fn release(memory: *mut c_void) {
        // SAFETY: `memory` is the beginning of an allocation by this allocator that nobody uses any
        // more, and the context is one in which `vfree()` may be called, as `Memory::release`
        // requires.
        unsafe { bindings::kvfree(memory) };
    }
}

impl sealed::Sealed for KVmalloc {}

// SAFETY: `kvfree()` frees both kinds of memory.
unsafe impl Memory for KVmalloc {
    const FREE_IS_ATOMIC: bool = false;

    #[inline]
    unsafe fn release(memory: *mut c_void) {
        // SAFETY: `memory` is the beginning of an allocation by this allocator that nobody uses any
        // more, and the context is one in which `vfree()` may be called, as `Memory::release`
        // requires.
        unsafe { bindings::kvfree(memory) };
    }
}

/// Frees memory that has no destructor, after a grace period.
///
/// # Safety
///
/// `head` is the beginning of an allocation by `A`, which nobody uses any more. Called as an RCU
/// callback or in process context.
unsafe extern "C" fn free<A: Memory, D: Domain>(head: *mut Head) {
    // SAFETY: `defer_box` has posted this callback.
    unsafe { done!(D, free::<A, D>) };
    // SAFETY: `head` is the beginning of an allocation by `A` that nobody uses any more, as this
    // function requires. RCU callbacks run with bottom halves disabled.
    unsafe { A::release(head.cast()) };
}

/// Drops a box of an object, as [`Box`] does but without the detour of `krealloc()` to `kfree()`.
///
/// # Safety
///
/// `head` is the beginning of an `Object<T, C>` in a box of `A` that was given away, and nobody uses
/// it any more. Called as an RCU callback or in process context.
unsafe extern "C" fn drop_box<T, C: DropContext, A: Memory>(head: *mut Head) {
    // SAFETY: `head` is the beginning of an `Object<T, C>` in a box of `A` that was given away and
    // that nobody uses any more, as this function requires. The object is not moved before it is
    // dropped.
    unsafe {
        core::ptr::drop_in_place(head.cast::<Object<T, C>>());
        A::release(head.cast());
    }
}

/// The callback that drops a box of an object.
///
/// # Safety
///
/// As for [`drop_box`].
unsafe extern "C" fn reclaim<T, C: DropContext, A: Memory, D: Domain>(head: *mut Head) {
    // SAFETY: `head` is the beginning of an object in a box of `A` that nobody uses any more, as
    // this function requires, and this is an RCU callback, which `defer_box` has posted. The object
    // is not moved before it is dropped.
    unsafe {
        core::ptr::drop_in_place(head.cast::<Object<T, C>>());
        done!(D, reclaim::<T, C, A, D>);
        A::release(head.cast());
    }
}

/// The callback that passes a box of an object on, to be dropped in process context.
///
/// # Safety
///
/// As for [`drop_box`].
unsafe extern "C" fn reclaim_in_process<T, C: DropContext, A: Memory, D: Domain>(head: *mut Head) {
    // SAFETY: `head` is the beginning of an object in a box of `A` that nobody else uses any more,
    // as this function requires, so `drop_box` may be called with it, which is a function of the
    // module that this is in or of one that it depends on. No reader can reach the object after the
    // grace period. `defer_box` has posted this callback.
    unsafe {
        D::state().push(this_module(), head, drop_box::<T, C, A>);
        done!(D, reclaim_in_process::<T, C, A, D>);
    }
}

/// Defers a box of an object.
///
/// # Safety
///
/// As for [`RcuPointer::defer`], `raw` having come from a box, pinned or not, of `Object<T, C>`.
unsafe fn defer_box<T, C: DropContext, A: Memory, D: Domain>(raw: *mut c_void) {
    let head = raw.cast::<Head>();
    if needs_drop::<T>() {
        // SAFETY: `raw` came from a box of an object, which begins with its head, and no reader
        // that begins from now on can find it, as this function requires. `T` is `'static`, as the
        // trait `RcuPointer` requires of the box. The callbacks are in the module that this function
        // is in, or in one that it depends on.
        unsafe {
            if C::IN_CALLBACK {
                post!(D, head, reclaim::<T, C, A, D>)
            } else {
                post!(D, head, reclaim_in_process::<T, C, A, D>)
            }
        };
    } else if !D::IS_RCU {
        // SAFETY: `raw` came from a box of an object, which begins with its head, and no reader
        // that begins from now on can find it, as this function requires. `T` has no destructor, so
        // freeing the memory is enough. The callback is in the module that this function is in, or
        // in one that it depends on.
        unsafe { post!(D, head, free::<A, D>) };
    } else {
        // SAFETY: `raw` came from a box that nobody but readers uses and that readers cannot find
        // any more, as this function requires. `T` has no destructor, the head is the beginning of
        // the allocation, which is large enough for it, and the domain is the kernel's RCU.
        unsafe { D::state().free_plain(head) };
    }
}

/// Drops a box of an object that no reader can reach.
///
/// # Safety
///
/// As for [`RcuPointer::dispose`], `raw` having come from a box, pinned or not, of `Object<T, C>`.
unsafe fn dispose_box<T, C: DropContext, A: Memory, D: Domain>(raw: *mut c_void) {
    if in_nmi() {
        return leaked_in_nmi();
    }
    if !needs_drop::<T>() && A::FREE_IS_ATOMIC && may_kfree() {
        // SAFETY: `raw` came from a box of `A` that no reader can reach and nothing else takes
        // back, as this function requires. `T` has no destructor, this is no NMI, and `may_kfree`
        // returned true.
        return unsafe { A::release(raw) };
    }
    // SAFETY: `raw` came from a box of `Object<T, C>` that no reader can reach, as this function
    // requires. `drop_box` drops a box of this type, and the pointer is `Send` and `'static`.
    unsafe { disposal::dispose(D::state(), this_module(), raw.cast(), drop_box::<T, C, A>) };
}

/// Frees memory of [`KVmalloc`] that no reader can reach, as if an [`Object`] were in it.
///
/// # Safety
///
/// `memory` is the beginning of an allocation by [`KVmalloc`] with the size of an `Object<()>` or more,
/// which nobody uses any more.
pub(super) unsafe fn dispose_memory<D: Domain>(memory: *mut c_void) {
    // SAFETY: The memory is large enough for an object without a value or a destructor, which has no
    // invariants, and an allocation by `KVmalloc` that nobody uses any more, as this function requires.
    unsafe { dispose_box::<(), InProcess, KVmalloc, D>(memory) };
}

/// Drops the value of a box that a list owned, and the box.
///
/// # Safety
///
/// As for [`RcuPointer::dispose`], `value` being that of an `Object<T, C>` in a [`KBox`].
pub(super) unsafe fn dispose_entry<T, C: DropContext, D: Domain>(value: NonNull<T>) {
    // SAFETY: `value` is that of an `Object<T, C>` in a `KBox` that no reader can reach, as this
    // function requires, so the object begins `OFFSET` bytes before it.
    unsafe {
        dispose_box::<T, C, Kmalloc, D>(value.byte_sub(Object::<T, C>::OFFSET).cast().as_ptr())
    };
}

impl<T, C: DropContext, A: Memory> sealed::Sealed for Box<Object<T, C>, A> {}

// SAFETY: An object begins with its head, and the box owns it.
unsafe impl<T: 'static, C: DropContext, A: Memory, D: Domain> RcuPointer<D>
    for Box<Object<T, C>, A>
{
    type Borrowed<'a> = &'a T;

    #[inline]
    fn into_raw(self) -> *mut c_void {
        Box::into_raw(self).cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: `raw` came from `Box::into_raw`, and nothing else takes it back, as
        // `RcuPointer::from_raw` requires.
        unsafe { Box::from_raw(raw.cast()) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> &'a T {
        // SAFETY: `raw` came from `Box::into_raw` and is not taken back during `'a`, as
        // `RcuPointer::borrow` requires, and the value is at `OFFSET` in the object.
        unsafe { &*raw.byte_add(Object::<T, C>::OFFSET).cast() }
    }

    fn address(borrowed: &T) -> *mut c_void {
        core::ptr::from_ref(borrowed)
            .wrapping_byte_sub(Object::<T, C>::OFFSET)
            .cast_mut()
            .cast()
    }

    unsafe fn defer(raw: *mut c_void) {
        // SAFETY: `raw` came from a box of this type, and no read-side critical section that begins
        // from now on can find it, as `RcuPointer::defer` requires.
        unsafe { defer_box::<T, C, A, D>(raw) }
    }

    unsafe fn dispose(raw: *mut c_void) {
        // SAFETY: `raw` came from a box of this type, and no reader can reach it, as
        // `RcuPointer::dispose` requires.
        unsafe { dispose_box::<T, C, A, D>(raw) }
    }
}

// SAFETY: A box owns what it points to.
unsafe impl<T: 'static, C: DropContext, A: Memory, D: Domain> UniquePointer<D>
    for Box<Object<T, C>, A>
{
}

impl<T, C: DropContext, A: Memory> sealed::Sealed for Pin<Box<Object<T, C>, A>> {}

// SAFETY: An object begins with its head, and the box owns it. The object is never moved.
unsafe impl<T: 'static, C: DropContext, A: Memory, D: Domain> RcuPointer<D>
    for Pin<Box<Object<T, C>, A>>
{
    type Borrowed<'a> = Pin<&'a T>;

    #[inline]
    fn into_raw(self) -> *mut c_void {
        // SAFETY: The object is not moved out of what is given away.
        Box::into_raw(unsafe { Pin::into_inner_unchecked(self) }).cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: `raw` came from `Box::into_raw`, and nothing else takes it back, as
        // `RcuPointer::from_raw` requires. The object was pinned when it was given away.
        unsafe { Pin::new_unchecked(Box::from_raw(raw.cast())) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Pin<&'a T> {
        // SAFETY: `raw` came from `Box::into_raw` and is not taken back during `'a`, as
        // `RcuPointer::borrow` requires. The value is at `OFFSET` in the object, and is pinned as
        // the object is.
        unsafe { Pin::new_unchecked(&*raw.byte_add(Object::<T, C>::OFFSET).cast()) }
    }

    fn address(borrowed: Pin<&T>) -> *mut c_void {
        <Box<Object<T, C>, A> as RcuPointer<D>>::address(borrowed.get_ref())
    }

    unsafe fn defer(raw: *mut c_void) {
        // SAFETY: `raw` came from a pinned box of this type, and no read-side critical section that
        // begins from now on can find it, as `RcuPointer::defer` requires.
        unsafe { defer_box::<T, C, A, D>(raw) }
    }

    unsafe fn dispose(raw: *mut c_void) {
        // SAFETY: `raw` came from a pinned box of this type, and no reader can reach it, as
        // `RcuPointer::dispose` requires.
        unsafe { dispose_box::<T, C, A, D>(raw) }
    }
}

// SAFETY: A box owns what it points to.
unsafe impl<T: 'static, C: DropContext, A: Memory, D: Domain> UniquePointer<D>
    for Pin<Box<Object<T, C>, A>>
{
}

/// The most references to a shared object that a callback drops, with bottom halves disabled.
const MOST_IN_CALLBACK: u32 = 1024;

/// Drops the references to a shared object that a grace period has covered.
///
/// # Safety
///
/// `head` is that of a `Shared<T, D, C>` in an [`Arc`]. The caller owns the head, and a grace period
/// has elapsed since it was posted. Called in process context, where the caller may sleep, or, if the
/// grace period has covered no more than [`MOST_IN_CALLBACK`] references, as an RCU callback.
unsafe extern "C" fn drop_retired<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    let shared = head.cast::<Shared<T, D, C>>();
    let n = {
        // A barrier that has waited for a grace period finds the head posted.
        let _section = rcu::read_lock();
        // SAFETY: The references that were retired keep the object alive. The caller owns the head,
        // and a grace period has elapsed since it was posted, as this function requires.
        let (n, again) = unsafe { (*shared).take() };
        if again {
            // SAFETY: `take` returned true, so the head is still ours. The references that are left
            // were retired, so no reader that begins from now on can find them.
            unsafe { post_retired::<T, C, D>(head) };
            // Not before: whoever finds the callback counted waits for those that were posted.
            D::state().count_repost();
        }
        n
    };
    for i in 1..=n {
        // SAFETY: One of the references that `into_raw` gave away, that were retired, and that
        // `take` has returned.
        drop(unsafe { Arc::<Shared<T, D, C>>::from_raw(shared) });
        if n > MOST_IN_CALLBACK && i % MOST_IN_CALLBACK == 0 {
            // SAFETY: There are more references than a callback drops, so this is process context
            // and the caller may sleep, as this function requires.
            unsafe { helpers::quiesce_helper_rcu_cond_resched() };
        }
    }
}

/// The callback that calls [`drop_retired`], or leaves that to process context if there are many
/// references.
///
/// # Safety
///
/// As for [`drop_retired`], whatever the number of references.
unsafe extern "C" fn drop_retired_in_callback<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    // SAFETY: The caller owns `head`, which is that of a shared object, as this function requires. The
    // references that were retired keep the object alive.
    if unsafe { (*head.cast::<Shared<T, D, C>>()).covered() } > MOST_IN_CALLBACK {
        // SAFETY: The caller owns `head`, which is that of a shared object, and a grace period has
        // elapsed since it was posted, as this function requires, so `drop_retired` may be called with
        // it, which is a function of the module that this is in or of one that it depends on.
        unsafe { D::state().push(this_module(), head, drop_retired::<T, C, D>) };
    } else {
        // SAFETY: The caller owns `head`, which is that of a shared object, and a grace period has
        // elapsed since it was posted, as this function requires. It has covered as few references as
        // a callback drops, which this is.
        unsafe { drop_retired::<T, C, D>(head) };
    }
    // SAFETY: `post_retired` has posted this callback.
    unsafe { done!(D, drop_retired_in_callback::<T, C, D>) };
}

/// The callback that passes a shared object on, for [`drop_retired`] in process context.
///
/// # Safety
///
/// As for [`drop_retired`], whatever the number of references.
unsafe extern "C" fn drop_retired_in_process<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    // SAFETY: The caller owns `head`, which is that of a shared object, and a grace period has
    // elapsed since it was posted, as this function requires, so `drop_retired` may be called with
    // it, which is a function of the module that this is in or of one that it depends on.
    // `post_retired` has posted this callback.
    unsafe {
        D::state().push(this_module(), head, drop_retired::<T, C, D>);
        done!(D, drop_retired_in_process::<T, C, D>);
    }
}

/// Posts the callback for the references to a shared object that were retired.
///
/// # Safety
///
/// `head` is that of a `Shared<T, D, C>` in an [`Arc`], and the caller's. No read-side critical section
/// that begins from now on can find the references. This is no NMI.
unsafe fn post_retired<T, C, D>(head: *mut Head)
where
    T: 'static,
    C: DropContext,
    D: Domain,
{
    // SAFETY: The retired references keep the object alive until the callback, the head is the
    // caller's, no section that begins from now on can find them, and this is no NMI, as this
    // function requires. The callbacks are in the module that this function is in, or in one that
    // it depends on.
    unsafe {
        if C::IN_CALLBACK || !needs_drop::<T>() {
            post!(D, head, drop_retired_in_callback::<T, C, D>)
        } else {
            post!(D, head, drop_retired_in_process::<T, C, D>)
        }
    }
}

/// Drops the last reference to a shared object.
///
/// # Safety
///
/// `head` is that of a `Shared<T, D, C>`, to which there is one reference, given away by
/// [`Arc::into_raw`].
unsafe extern "C" fn drop_last<T, C: DropContext, D: Domain>(head: *mut Head) {
    // SAFETY: `head` is the beginning of a shared object, and its last reference was given away by
    // `Arc::into_raw`, as this function requires.
    drop(unsafe { Arc::<Shared<T, D, C>>::from_raw(head.cast()) });
}

impl<T, D: Domain, C: DropContext> sealed::Sealed for Arc<Shared<T, D, C>> {}

// SAFETY: A shared object begins with its head, which `Shared::retire` gives to one owner at a time.
unsafe impl<T: 'static, D: Domain, C: DropContext> RcuPointer<D> for Arc<Shared<T, D, C>> {
    type Borrowed<'a> = ArcBorrow<'a, Shared<T, D, C>>;

    #[inline]
    fn into_raw(self) -> *mut c_void {
        Arc::into_raw(self).cast_mut().cast()
    }

    unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: `raw` came from `Arc::into_raw`, and nothing else takes the reference back, as
        // `RcuPointer::from_raw` requires.
        unsafe { Arc::from_raw(raw.cast()) }
    }

    #[inline(always)]
    unsafe fn borrow<'a>(raw: *mut c_void) -> Self::Borrowed<'a> {
        // SAFETY: `raw` came from `Arc::into_raw`, and the reference is not taken back during `'a`,
        // as `RcuPointer::borrow` requires.
        unsafe { ArcBorrow::from_raw(raw.cast()) }
    }

    fn address(borrowed: Self::Borrowed<'_>) -> *mut c_void {
        core::ptr::from_ref(&*borrowed).cast_mut().cast()
    }

    unsafe fn defer(raw: *mut c_void) {
        let shared = raw.cast::<Shared<T, D, C>>();
        // A barrier that has waited for a grace period finds the head posted.
        let _section = rcu::read_lock();
        // SAFETY: The reference that is retired keeps the object alive.
        match unsafe { (*shared).retire() } {
            // SAFETY: `retire` returned `Outcome::Post`, so the head is ours. The retired
            // references keep the object alive until the callback, and no read-side critical
            // section that begins from now on can find them, as `RcuPointer::defer` requires.
            Outcome::Post => unsafe { post_retired::<T, C, D>(raw.cast()) },
            // SAFETY: This function is code of the module that retires the reference, and runs.
            Outcome::Counted => unsafe { D::state().counted_from(this_module()) },
            Outcome::Leaked => (),
        }
    }

    unsafe fn dispose(raw: *mut c_void) {
        // SAFETY: `raw` came from `Arc::into_raw`, and nothing else takes the reference back, as
        // `RcuPointer::dispose` requires.
        let reference = unsafe { Arc::<Shared<T, D, C>>::from_raw(raw.cast()) };
        if in_nmi() {
            core::mem::forget(reference);
            return leaked_in_nmi();
        }
        if !needs_drop::<T>() && may_kfree() {
            return drop(reference);
        }
        let Some(last) = Arc::into_unique_or_drop(reference) else {
            return;
        };
        let raw = Arc::into_raw(Arc::from(last)).cast_mut();
        // SAFETY: It is the last reference, so none is retired and the head is not in use. It is
        // given away, and no reader can reach it, as `RcuPointer::dispose` requires; the function
        // drops it, and it is `Send` and `'static`.
        unsafe { disposal::dispose(D::state(), this_module(), raw.cast(), drop_last::<T, C, D>) };
    }
}
