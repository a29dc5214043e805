// SPDX-License-Identifier: GPL-2.0

//! [`RcuHashMap`]: a hash table that is read without a lock.

use super::{
    list::{
        Cursor,
        EntryBox,
        RawList, //
    },
    object::{
        DropContext,
        InProcess,
        Object, //
    },
    pointer::dispose_memory,
    writer_lock::{
        WriterGuard,
        WriterLock, //
    },
    Domain,
    Global,
    ReadToken, //
    Retired,
};
use core::{
    borrow::Borrow,
    hash::{
        Hash,
        Hasher, //
    }, //
};
use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::{
        lock::{
            mutex::MutexBackend,
            Backend, //
        },
        LockClassKey, //
    },
};

/// A key and its value, in an entry of an [`RcuHashMap`].
type Pair<K, V> = (K, V);

/// The buckets of a map, without its lock.
struct Table<K: Send + 'static, V: Send + 'static, D: Domain, C: DropContext> {
    buckets: KVVec<RawList<Pair<K, V>, D, C>>,
    keys: (u64, u64),
}

impl<K: Hash + Eq + Send + 'static, V: Send + 'static, D: Domain, C: DropContext>
    Table<K, V, D, C>
{
    fn new(buckets: usize) -> Result<Self> {
        let n = buckets.max(1).checked_next_power_of_two().ok_or(EINVAL)?;
        // The memory has room for an object's head when the table is dropped.
        let room = size_of::<Object<()>>().div_ceil(size_of::<RawList<Pair<K, V>, D, C>>());
        let mut table = Self {
            buckets: KVVec::with_capacity(n.max(room), GFP_KERNEL)?,
            // SAFETY: `get_random_u64()` may be called in any context.
            keys: unsafe { (bindings::get_random_u64(), bindings::get_random_u64()) },
        };
        for _ in 0..n {
            table.buckets.push(RawList::new(), GFP_KERNEL)?;
        }
        Ok(table)
    }

    /// The bucket of a key.
    fn bucket<Q: Hash + ?Sized>(&self, key: &Q) -> &RawList<Pair<K, V>, D, C> {
        // Keyed: users of the map's user may choose the keys.
        #[allow(deprecated, reason = "that is core's only hasher")]
        let mut hasher = core::hash::SipHasher::new_with_keys(self.keys.0, self.keys.1);
        key.hash(&mut hasher);
        // The number of buckets is a power of two.
        let at = hasher.finish() as usize & (self.buckets.len() - 1);
        &self.buckets[at]
    }
}

impl<K: Send + 'static, V: Send + 'static, D: Domain, C: DropContext> Drop for Table<K, V, D, C> {
    fn drop(&mut self) {
        let (buckets, len, _) = core::mem::take(&mut self.buckets).into_raw_parts();
        // SAFETY: The vector, which was given up, had `len` buckets there. Nobody else uses them, as the
        // table is being dropped. `new` allocated them by `KVmalloc`, with room for an object.
        unsafe {
            core::ptr::slice_from_raw_parts_mut(buckets, len).drop_in_place();
            dispose_memory::<D>(buckets.cast());
        }
    }
}

/// A hash table that is read in read-side critical sections of `D`, and changed with its lock held.
///
/// The number of buckets is fixed: lookups visit as many entries as there are to a bucket. Entries
/// are allocated by [`Entry::new`](super::Entry::new), as key and value. What is removed or replaced is [`Retired`].
/// The rest is as for [`RcuList`](super::RcuList).
///
/// # Examples
///
/// ```
/// # use kernel::prelude::*;
/// use quiesce::rcu::{self, Domain, Entry, RcuHashMap};
///
/// # fn f() -> Result {
/// let map = RcuHashMap::<u32, &'static str>::new(64, c"names", kernel::static_lock_class!());
/// let map = KBox::pin_init(map, GFP_KERNEL)?;
/// map.lock().insert(Entry::new((1, "one"), GFP_KERNEL)?);
/// let len = rcu::global().run(|t| map.get(t, &1).map_or(0, |name| name.len()));
/// assert_eq!(len, 3);
///
/// // Process context: wait, and have the entry back.
/// let removed = map.lock().remove(&1);
/// if let Some(one) = removed {
///     let entry = one.synchronize()?;
///     assert_eq!(entry.1, "one");
/// }
/// # Ok(()) }
/// ```
#[pin_data]
pub struct RcuHashMap<
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    D: Domain = Global,
    B: Backend = MutexBackend,
    C: DropContext = InProcess,
> {
    table: Table<K, V, D, C>,
    #[pin]
    lock: WriterLock<B>,
}

// SAFETY: The map owns its entries, whose keys and values are `Send`.
unsafe impl<K: Hash + Eq + Send + 'static, V: Send + 'static, D: Domain, B: Backend, C: DropContext>
    Send for RcuHashMap<K, V, D, B, C>
{
}
// SAFETY: Through a shared map other tasks can insert, remove and share keys and values. The lock
// excludes writers, and readers use links as atomics.
unsafe impl<
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        D: Domain,
        B: Backend,
        C: DropContext,
    > Sync for RcuHashMap<K, V, D, B, C>
{
}

impl<K: Hash + Eq + Send + 'static, V: Send + 'static, D: Domain, B: Backend, C: DropContext>
    RcuHashMap<K, V, D, B, C>
{
    /// Initialises an empty map with at least `buckets` buckets, whose lock has the name and the class
    /// given.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EINVAL`] if no power of two is as large as `buckets`.
    ///
    /// # Context
    ///
    /// Process; allocates.
    pub fn new(
        buckets: usize,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            table: Table::new(buckets)?,
            lock <- WriterLock::new(name, key),
        })
    }

    /// Returns the value of a key. Any context in which there can be a section of `D`.
    pub fn get<'a, Q>(&'a self, _token: ReadToken<'a, D>, key: &Q) -> Option<&'a V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // SAFETY: The token proves that the caller is in a section of `D` during `'a`.
        let mut pairs = unsafe { self.table.bucket(key).iter() };
        pairs
            .find(|pair| pair.0.borrow() == key)
            .map(|pair| &pair.1)
    }

    /// Returns all keys and values, in no order. Any context in which there can be a section of `D`.
    ///
    /// Entries that are inserted, removed or replaced meanwhile are returned or not.
    pub fn iter<'a>(&'a self, _token: ReadToken<'a, D>) -> impl Iterator<Item = (&'a K, &'a V)> {
        // SAFETY: The token proves that the caller is in a section of `D` during `'a`.
        let buckets = self.table.buckets.iter().map(|b| unsafe { b.iter() });
        buckets.flatten().map(|pair| (&pair.0, &pair.1))
    }

    /// Locks the map against other writers. Context: that of the lock.
    pub fn lock(&self) -> HashMapGuard<'_, K, V, D, B, C> {
        HashMapGuard {
            table: &self.table,
            _lock: self.lock.lock(),
        }
    }
}

/// The lock of an [`RcuHashMap`], held: the map can be changed.
///
/// # Leaks
///
/// As for [`ListGuard`](super::ListGuard).
#[must_use = "the lock is released when this is dropped"]
pub struct HashMapGuard<
    'a,
    K: Hash + Eq + Send + 'static,
    V: Send + 'static,
    D: Domain = Global,
    B: Backend = MutexBackend,
    C: DropContext = InProcess,
> {
    table: &'a Table<K, V, D, C>,
    _lock: WriterGuard<'a, B>,
}

/// The result of inserting or removing an entry: the old entry, if there was one.
type Old<K, V, D, C> = Option<Retired<EntryBox<Pair<K, V>, C>, D>>;

impl<K: Hash + Eq + Send + 'static, V: Send + 'static, D: Domain, B: Backend, C: DropContext>
    HashMapGuard<'_, K, V, D, B, C>
{
    /// Returns a cursor at the entry of a key, or behind the last one of its bucket.
    fn find<Q>(&mut self, key: &Q) -> Cursor<'_, Pair<K, V>, D, C>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // SAFETY: This guard holds the lock of the table, and the cursor borrows the guard.
        let mut cursor = unsafe { self.table.bucket(key).cursor() };
        while cursor.value().is_some_and(|pair| pair.0.borrow() != key) {
            cursor.move_next();
        }
        cursor
    }

    /// Returns the value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // SAFETY: The lock is held, and this guard, by which alone the map can be changed, is borrowed.
        let mut pairs = unsafe { self.table.bucket(key).iter() };
        pairs
            .find(|pair| pair.0.borrow() == key)
            .map(|pair| &pair.1)
    }

    /// Inserts an entry. Replaces the one with the same key, in one step for readers: they find
    /// either.
    pub fn insert(&mut self, entry: EntryBox<Pair<K, V>, C>) -> Old<K, V, D, C> {
        let mut cursor = self.find(&entry.0);
        match cursor.replace(entry) {
            Ok(old) => Some(old),
            Err(entry) => {
                cursor.insert(entry);
                None
            }
        }
    }

    /// Removes the entry of a key.
    pub fn remove<Q>(&mut self, key: &Q) -> Old<K, V, D, C>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.find(key).remove()
    }

    /// Removes the entries for which `f` returns `false`, and passes each to `removed`.
    pub fn retain(
        &mut self,
        mut f: impl FnMut(&K, &V) -> bool,
        mut removed: impl FnMut(Retired<EntryBox<Pair<K, V>, C>, D>),
    ) {
        for bucket in self.table.buckets.iter() {
            // SAFETY: This guard holds the lock of the table, and the cursor borrows the guard.
            let mut cursor = unsafe { bucket.cursor() };
            while let Some(pair) = cursor.value() {
                if f(&pair.0, &pair.1) {
                    cursor.move_next();
                } else if let Some(old) = cursor.remove() {
                    removed(old);
                }
            }
        }
    }
}
