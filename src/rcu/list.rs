// SPDX-License-Identifier: GPL-2.0

//! [`RcuList`]: a list that is read without a lock.

use super::{
    object::{
        DropContext,
        InProcess,
        InSoftirq,
        Object, //
    },
    pointer::RcuPointer,
    writer_lock::{
        WriterGuard,
        WriterLock, //
    },
    AtomicDrop,
    Domain,
    Global,
    ReadToken, //
    Retired,
};
use crate::arch::pointer::load_pointer;
use core::{
    cell::UnsafeCell,
    iter::FusedIterator,
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    alloc::Flags,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        lock::{
            mutex::MutexBackend,
            Backend, //
        },
        LockClassKey, //
    },
};

/// A link to an entry, or null: the beginning of a list, or a field of an entry.
type Link = Atomic<*mut Links>;

/// The links of an entry in a list, as C's `struct hlist_node`.
///
/// # Invariants
///
/// While the entry is in a list, `next` is the next entry or null, and `previous` is the link that
/// leads to this entry. `previous` belongs to the lock of the list. `next` keeps its value when the
/// entry is removed, so that readers that are at the entry get on.
struct Links {
    next: Link,
    previous: UnsafeCell<*const Link>,
}

/// An entry of an [`RcuList`] or an [`RcuHashMap`](super::RcuHashMap): a value and its links.
///
/// Dereferences to the value.
///
/// # Invariants
///
/// `links` are used by one list at a time, and the list owns the entry then.
#[repr(C)]
pub struct Entry<T> {
    links: Links,
    value: T,
}

// SAFETY: Outside of a list `links` are not used, and in a list by whoever has its lock.
unsafe impl<T: Send> Send for Entry<T> {}
// SAFETY: Shared references give access to the value, which is `Sync`. Links are read by readers as
// atomics, and else used with the lock of the list held.
unsafe impl<T: Sync> Sync for Entry<T> {}

// SAFETY: The links have no destructor, and that of the value is `AtomicDrop`.
unsafe impl<T: AtomicDrop> AtomicDrop for Entry<T> {}

/// An owned [`Entry`] outside of a list.
pub type EntryBox<T, C = InProcess> = KBox<Object<Entry<T>, C>>;

impl<T> Entry<T> {
    const fn wrap(value: T) -> Self {
        // INVARIANT: In no list.
        Self {
            links: Links {
                next: Atomic::new(null_mut()),
                previous: UnsafeCell::new(core::ptr::null()),
            },
            value,
        }
    }

    /// Allocates an entry whose destructor may sleep.
    ///
    /// # Errors
    ///
    /// [`AllocError`](kernel::alloc::AllocError), converted; `value` is dropped then.
    ///
    /// # Context
    ///
    /// As [`Object::boxed`].
    pub fn new(value: T, flags: Flags) -> Result<EntryBox<T>> {
        Ok(Object::new(Self::wrap(value)).boxed(flags)?)
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// # Safety
    ///
    /// `links` are those of an entry with a value of this type, which lives during `'a`.
    #[inline(always)]
    unsafe fn value_of<'a>(links: NonNull<Links>) -> &'a T {
        // SAFETY: `links` are those of an entry with a value of type `T` that lives during `'a`, as
        // this function requires, and an entry begins with its links.
        unsafe { &*links.as_ptr().byte_add(offset_of!(Self, value)).cast() }
    }
}

impl<T: AtomicDrop> Entry<T> {
    /// Allocates an entry whose destructor may run in a softirq. As [`new`](Self::new).
    pub fn new_atomic(value: T, flags: Flags) -> Result<EntryBox<T, InSoftirq>> {
        Ok(Object::new_atomic(Self::wrap(value)).boxed(flags)?)
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A list of entries without its lock, as C's `struct hlist_head`.
///
/// # Invariants
///
/// - The list owns its entries, each given away by the `into_raw` of an [`EntryBox<T, C>`].
/// - Only a caller that excludes other writers changes links.
pub(super) struct RawList<T, D: Domain, C: DropContext> {
    first: Link,
    _owns: PhantomData<UnsafeCell<EntryBox<T, C>>>,
    _domain: PhantomData<fn(D) -> D>,
}

impl<T: Send + 'static, D: Domain, C: DropContext> RawList<T, D, C> {
    pub(super) const fn new() -> Self {
        // INVARIANT: An empty list.
        Self {
            first: Atomic::new(null_mut()),
            _owns: PhantomData,
            _domain: PhantomData,
        }
    }

    /// Returns the entries, for a reader or a writer.
    ///
    /// # Safety
    ///
    /// During `'a` the caller is in a read-side critical section of `D`, or it excludes writers.
    #[inline(always)]
    pub(super) unsafe fn iter<'a>(&'a self) -> Iter<'a, T> {
        Iter {
            next: Some(&self.first),
            _values: PhantomData,
        }
    }

    /// Inserts an entry at `link`, before the entry that it leads to.
    ///
    /// # Safety
    ///
    /// The caller excludes other writers. `link` is of this list.
    unsafe fn insert_at(link: &Link, entry: EntryBox<T, C>) {
        let next = link.load(Relaxed);
        let raw = <EntryBox<T, C> as RcuPointer<D>>::into_raw(entry);
        let links = raw
            .wrapping_byte_add(Object::<Entry<T>, C>::OFFSET)
            .cast::<Links>();
        // INVARIANT: The entry is linked in both directions, and the list owns it.
        // SAFETY: The entry is not in a list, so it is ours. The next one is in this list, so its
        // `previous` belongs to the caller, who excludes other writers.
        unsafe {
            (*links).next.store(next, Relaxed);
            *(*links).previous.get() = link;
            if !next.is_null() {
                *(*next).previous.get() = &(*links).next;
            }
        }
        // ORDERING: Pairs with the address dependency of readers: a reader that finds the entry
        // sees its value and its link.
        link.store(links, Release);
    }

    /// Inserts an entry at the front.
    ///
    /// # Safety
    ///
    /// The caller excludes other writers.
    pub(super) unsafe fn push_front(&self, entry: EntryBox<T, C>) {
        // SAFETY: `first` is a link of this list, and the caller excludes other writers, as this
        // function requires.
        unsafe { Self::insert_at(&self.first, entry) };
    }

    /// Removes an entry.
    ///
    /// # Safety
    ///
    /// The caller excludes other writers. The entry is in this list.
    unsafe fn remove(links: NonNull<Links>) -> Retired<EntryBox<T, C>, D> {
        // INVARIANT: The entry is no longer linked, and `next` keeps its value.
        // SAFETY: By the type invariants the links of an entry of the list are valid, and the caller
        // excludes other writers.
        unsafe {
            let next = links.as_ref().next.load(Relaxed);
            let previous = *links.as_ref().previous.get();
            // ORDERING: A reader that gets to `next` this way reads what it needs through `next`, whose
            // insertion it may not have seen otherwise.
            (*previous).store(next, Release);
            if !next.is_null() {
                *(*next).previous.get() = previous;
            }
        }
        // SAFETY: The entry was given away to the list, which owned it. Sections that begin from now on
        // do not find it: neither in the list, nor at an entry that was removed before, which they do
        // not find either. `T` is `Send`, so the box is.
        unsafe { Retired::new(Self::raw_of(links)) }
    }

    /// Replaces an entry by another one: a reader finds either.
    ///
    /// # Safety
    ///
    /// The caller excludes other writers. The entry is in this list.
    unsafe fn replace(links: NonNull<Links>, entry: EntryBox<T, C>) -> Retired<EntryBox<T, C>, D> {
        // SAFETY: The new entry is not in a list, so it is ours. By the type invariants the links of an
        // entry of the list are valid, and the caller excludes other writers. Sections that begin from
        // now on find the new entry instead of the old one, whose box was given away to the list and is
        // `Send`.
        unsafe {
            let next = links.as_ref().next.load(Relaxed);
            let previous = *links.as_ref().previous.get();
            let raw = <EntryBox<T, C> as RcuPointer<D>>::into_raw(entry);
            let new = raw
                .wrapping_byte_add(Object::<Entry<T>, C>::OFFSET)
                .cast::<Links>();
            (*new).next.store(next, Relaxed);
            *(*new).previous.get() = previous;
            if !next.is_null() {
                *(*next).previous.get() = &(*new).next;
            }
            // ORDERING: Pairs with the address dependency of readers: a reader that finds the new
            // entry sees its value and its link.
            (*previous).store(new, Release);
            // INVARIANT: The new entry has the place of the old one, which is no longer linked.
            Retired::new(Self::raw_of(links))
        }
    }

    /// Returns the pointer that `into_raw` returned for the box of an entry.
    fn raw_of(links: NonNull<Links>) -> NonNull<core::ffi::c_void> {
        // SAFETY: The links are those of an `Entry` in an `Object`, at this offset from the
        // beginning of the object.
        unsafe { links.byte_sub(Object::<Entry<T>, C>::OFFSET).cast() }
    }

    /// Returns a cursor at the first entry.
    ///
    /// # Safety
    ///
    /// The caller excludes other writers for as long as the cursor is there.
    pub(super) unsafe fn cursor(&self) -> Cursor<'_, T, D, C> {
        Cursor {
            link: &self.first,
            _list: PhantomData,
        }
    }
}

impl<T, D: Domain, C: DropContext> Drop for RawList<T, D, C> {
    fn drop(&mut self) {
        let mut next = *self.first.get_mut();
        while let Some(links) = NonNull::new(next) {
            // SAFETY: By the type invariants the entry is the list's, and valid.
            next = unsafe { links.as_ref().next.load(Relaxed) };
            // SAFETY: An entry is in an object, at this offset. It was given away to the list, has no
            // readers as nothing borrows the list, and is `Send`, or it could not have been inserted.
            unsafe { dispose::<T, D, C>(links) };
        }
    }
}

/// # Safety
///
/// `links` are those of an entry in an `EntryBox<T, C>` that was given away, that no reader can reach,
/// and that is `Send` and `'static`.
unsafe fn dispose<T, D: Domain, C: DropContext>(links: NonNull<Links>) {
    // SAFETY: An entry begins with its links, and this one is the value of an object in an
    // `EntryBox<T, C>` that was given away. No reader can reach it, and it is `Send` and `'static`,
    // as this function requires.
    unsafe { super::pointer::dispose_entry::<Entry<T>, C, D>(links.cast()) };
}

/// The values of an [`RcuList`] or of a bucket, in order.
///
/// Entries that are inserted or removed meanwhile are returned or not.
pub struct Iter<'a, T> {
    /// The link to the next entry. [`None`] once that was null: an entry may be inserted there.
    next: Option<&'a Link>,
    _values: PhantomData<&'a T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline(always)]
    fn next(&mut self) -> Option<&'a T> {
        let Some(links) = NonNull::new(load_pointer(self.next?)) else {
            self.next = None;
            return None;
        };
        // SAFETY: The list held the entry at a moment during the read-side critical section, or while
        // writers are excluded. It is retired when it is removed, and not reclaimed during `'a`. The
        // list is borrowed during `'a`, so it is not dropped.
        unsafe {
            self.next = Some(&links.as_ref().next);
            Some(Entry::value_of(links))
        }
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

/// A place in a list whose writers are excluded: at an entry, or behind the last one.
///
/// # Invariants
///
/// `link` is of a list whose other writers are excluded during `'a`.
pub struct Cursor<'a, T, D: Domain = Global, C: DropContext = InProcess> {
    link: *const Link,
    _list: PhantomData<(&'a RawList<T, D, C>, kernel::types::NotThreadSafe)>,
}

impl<T: Send + 'static, D: Domain, C: DropContext> Cursor<'_, T, D, C> {
    fn links(&self) -> Option<NonNull<Links>> {
        // SAFETY: By the type invariants the link is of the list, which is borrowed.
        NonNull::new(unsafe { (*self.link).load(Relaxed) })
    }

    /// Returns the value at the cursor, or [`None`] behind the last entry.
    pub fn value(&self) -> Option<&T> {
        // SAFETY: The entry is in the list, and can be removed by this cursor only, which is borrowed.
        self.links().map(|links| unsafe { Entry::value_of(links) })
    }

    /// Moves to the next entry, or behind the last one. Returns `false` if it is there already.
    pub fn move_next(&mut self) -> bool {
        let Some(links) = self.links() else {
            return false;
        };
        // INVARIANT: A link of an entry of the list.
        // SAFETY: The list's lock is held while the cursor is borrowed, so `links` are those of an
        // entry that is in the list.
        self.link = unsafe { &raw const (*links.as_ptr()).next };
        true
    }

    /// Inserts an entry at the cursor, which is at the new entry then.
    pub fn insert(&mut self, entry: EntryBox<T, C>) {
        // SAFETY: By the type invariants other writers are excluded and the link is of the list.
        unsafe { RawList::<T, D, C>::insert_at(&*self.link, entry) };
    }

    /// Removes the entry at the cursor, which is at the next one then.
    ///
    /// Returns [`None`] behind the last entry.
    pub fn remove(&mut self) -> Option<Retired<EntryBox<T, C>, D>> {
        let links = self.links()?;
        // SAFETY: By the type invariants other writers are excluded; the entry is in the list.
        Some(unsafe { RawList::<T, D, C>::remove(links) })
    }

    /// Replaces the entry at the cursor, in one step for readers: they find either.
    ///
    /// # Errors
    ///
    /// Returns `entry` behind the last entry.
    pub fn replace(
        &mut self,
        entry: EntryBox<T, C>,
    ) -> Result<Retired<EntryBox<T, C>, D>, EntryBox<T, C>> {
        match self.links() {
            // SAFETY: By the type invariants other writers are excluded; the entry is in the list.
            Some(links) => Ok(unsafe { RawList::<T, D, C>::replace(links, entry) }),
            None => Err(entry),
        }
    }
}

/// A list that is read in read-side critical sections of `D`, and changed with its lock held.
///
/// Entries are allocated by [`Entry::new`]. Inserting and removing one allocates nothing. What is
/// removed is [`Retired`]: it is reclaimed after a grace period, like what was in an
/// [`RcuCell`](super::RcuCell).
///
/// `B` is the lock's backend: [`Mutex`](kernel::sync::Mutex)'s, or
/// [`SpinLock`](kernel::sync::SpinLock)'s. Without SMP, where the latter excludes nobody, a context that
/// acquires the lock while it holds it is warned of and spins, as with SMP. The algorithm is that of
/// C's `hlist_add_head_rcu()` and `hlist_del_rcu()`.
///
/// Dropping a list drops its entries as dropping a cell does: without recursion, and in process
/// context where the caller may not sleep.
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Entry, RcuList};
///
/// # fn f() -> Result {
/// let list = KBox::pin_init(RcuList::<u32>::new(c"numbers", kernel::static_lock_class!()), GFP_KERNEL)?;
/// list.lock().push_front(Entry::new(2, GFP_KERNEL)?);
/// list.lock().push_front(Entry::new(1, GFP_KERNEL)?);
/// let sum: u32 = rcu::global().run(|t| list.iter(t).sum());
/// assert_eq!(sum, 3);
///
/// // Freed after a grace period.
/// drop(list.lock().remove_if(|n| *n == 2));
/// # Ok(()) }
/// ```
#[pin_data]
pub struct RcuList<
    T: Send + 'static,
    D: Domain = Global,
    B: Backend = MutexBackend,
    C: DropContext = InProcess,
> {
    list: RawList<T, D, C>,
    #[pin]
    lock: WriterLock<B>,
}

// SAFETY: The list owns its entries, which are `Send`.
unsafe impl<T: Send + 'static, D: Domain, B: Backend, C: DropContext> Send for RcuList<T, D, B, C> {}
// SAFETY: Through a shared list other tasks can insert, remove and share values. The lock excludes
// writers, and readers use links as atomics.
unsafe impl<T: Send + Sync + 'static, D: Domain, B: Backend, C: DropContext> Sync
    for RcuList<T, D, B, C>
{
}

impl<T: Send + 'static, D: Domain, B: Backend, C: DropContext> RcuList<T, D, B, C> {
    /// Initialises an empty list, whose lock has the name and the class given.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            list: RawList::new(),
            lock <- WriterLock::new(name, key),
        })
    }

    /// Returns the values, in order. Any context in which there can be a section of `D`.
    #[inline(always)]
    pub fn iter<'a>(&'a self, _token: ReadToken<'a, D>) -> Iter<'a, T> {
        // SAFETY: The token proves that the caller is in a section of `D` during `'a`.
        unsafe { self.list.iter() }
    }

    /// Locks the list against other writers. Context: that of the lock.
    pub fn lock(&self) -> ListGuard<'_, T, D, B, C> {
        ListGuard {
            list: &self.list,
            _lock: self.lock.lock(),
        }
    }

    /// Lets the next call of [`lock`](Self::lock) return, though there is a guard.
    ///
    /// # Safety
    ///
    /// The guard that there is is not used any more but to drop it.
    #[cfg(all(CONFIG_KUNIT, not(CONFIG_SMP)))]
    #[doc(hidden)]
    pub unsafe fn clear_flag_for_test(&self) {
        self.lock.clear_flag_for_test();
    }
}

/// The lock of an [`RcuList`], held: the list can be changed.
///
/// # Leaks
///
/// The lock of a guard that is leaked stays held. If it is one with an owner, a mutex or on PREEMPT_RT
/// a spin lock, the task must not end then: the kernel's lock keeps a pointer to it, which the next task
/// that waits for the lock follows. The locks of the kernel crate have the same limit.
#[must_use = "the lock is released when this is dropped"]
pub struct ListGuard<
    'a,
    T: Send + 'static,
    D: Domain = Global,
    B: Backend = MutexBackend,
    C: DropContext = InProcess,
> {
    list: &'a RawList<T, D, C>,
    _lock: WriterGuard<'a, B>,
}

impl<T: Send + 'static, D: Domain, B: Backend, C: DropContext> ListGuard<'_, T, D, B, C> {
    /// Returns the values, in order.
    pub fn iter(&self) -> Iter<'_, T> {
        // SAFETY: The lock is held, and this guard, by which alone the list can be changed, is borrowed.
        unsafe { self.list.iter() }
    }

    /// Inserts an entry at the front.
    pub fn push_front(&mut self, entry: EntryBox<T, C>) {
        // SAFETY: `self` is the guard of the list's lock, which all writers acquire.
        unsafe { self.list.push_front(entry) };
    }

    /// Returns a cursor at the first entry.
    pub fn cursor(&mut self) -> Cursor<'_, T, D, C> {
        // SAFETY: This guard holds the list's lock, and the cursor borrows the guard.
        unsafe { self.list.cursor() }
    }

    /// Removes the first entry whose value `f` returns `true` for.
    pub fn remove_if(
        &mut self,
        mut f: impl FnMut(&T) -> bool,
    ) -> Option<Retired<EntryBox<T, C>, D>> {
        let mut cursor = self.cursor();
        while let Some(value) = cursor.value() {
            if f(value) {
                return cursor.remove();
            }
            cursor.move_next();
        }
        None
    }
}
