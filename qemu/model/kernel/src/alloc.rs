// SPDX-License-Identifier: GPL-2.0

//! `kernel::alloc` and the reference counts of `kernel::sync`.

pub use crate::error::AllocError;
use crate::error::{Error, Result};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::{align_of, size_of, ManuallyDrop, MaybeUninit},
    ops::{Deref, DerefMut},
    pin::Pin,
    ptr::NonNull,
};
use pin_init::PinInit;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);
pub const GFP_KERNEL: Flags = Flags(1);
pub const GFP_ATOMIC: Flags = Flags(2);
pub const GFP_KERNEL_ACCOUNT: Flags = Flags(3);

/// The memory of a model with one thread: all of it can be saved and restored.
#[cfg(not(feature = "loom"))]
pub mod arena {
    /// Enough for a group and the parties that a sequence of calls can make.
    const SIZE: usize = 1 << 20;

    #[repr(C, align(64))]
    struct Memory([u8; SIZE]);
    static mut MEMORY: Memory = Memory([0; SIZE]);
    static mut TOP: usize = 0;

    /// In front of each block.
    #[repr(C, align(16))]
    struct Block {
        size: usize,
        used: bool,
    }
    const HEAD: usize = size_of::<Block>();

    fn base() -> *mut u8 {
        (&raw mut MEMORY).cast()
    }
    fn top() -> usize {
        // SAFETY: The explorer is one thread, so nothing else accesses the static memory.
        unsafe { TOP }
    }
    unsafe fn block(at: usize) -> *mut Block {
        // SAFETY: A block begins `at` bytes after the base, as this function requires.
        unsafe { base().add(at).cast() }
    }

    pub fn alloc(size: usize) -> *mut u8 {
        let size = size.next_multiple_of(16);
        let mut at = 0;
        // SAFETY: Blocks follow one another up to the top.
        unsafe {
            while at < top() {
                let found = block(at);
                if !(*found).used && (*found).size == size {
                    (*found).used = true;
                    return base().add(at + HEAD);
                }
                at += HEAD + (*found).size;
            }
            assert!(at + HEAD + size <= SIZE, "the arena is full");
            block(at).write(Block { size, used: true });
            TOP = at + HEAD + size;
            base().add(at + HEAD)
        }
    }

    pub unsafe fn free(memory: *mut u8) {
        // SAFETY: `free()` requires memory that `alloc()` returned, which a header precedes.
        unsafe {
            let found = memory.sub(HEAD).cast::<Block>();
            assert!((*found).used, "freed twice");
            memory.write_bytes(0, (*found).size);
            (*found).used = false;
            // What is free at the end is as if it had not been there.
            loop {
                let (mut at, mut last) = (0, None);
                while at < top() {
                    last = Some(at);
                    at += HEAD + (*block(at)).size;
                }
                let Some(last) = last.filter(|&at| !(*block(at)).used) else {
                    break;
                };
                base().add(last).write_bytes(0, HEAD);
                TOP = last;
            }
        }
    }

    /// All that is allocated.
    pub fn bytes() -> &'static [u8] {
        // SAFETY: The explorer is one thread, so nothing else accesses the static memory.
        unsafe { core::slice::from_raw_parts(base(), top()) }
    }
    pub fn restore(saved: &[u8]) {
        // SAFETY: There is one thread; what is saved fits.
        unsafe {
            if top() > saved.len() {
                base().add(saved.len()).write_bytes(0, top() - saved.len());
            }
            base().copy_from_nonoverlapping(saved.as_ptr(), saved.len());
            TOP = saved.len();
        }
    }
    /// How many blocks are in use.
    pub fn blocks() -> usize {
        let (mut at, mut n) = (0, 0);
        // SAFETY: Blocks follow one another up to the top.
        unsafe {
            while at < top() {
                n += usize::from((*block(at)).used);
                at += HEAD + (*block(at)).size;
            }
        }
        n
    }
}

#[cfg(not(feature = "loom"))]
unsafe fn malloc(size: usize) -> *mut u8 {
    arena::alloc(size)
}
#[cfg(not(feature = "loom"))]
unsafe fn free(memory: *mut u8) {
    // SAFETY: `memory` was allocated by `malloc()` and not freed since, as this function requires.
    unsafe { arena::free(memory) }
}

/// The memory of an execution under loom: nothing that was freed is used again before its end, and it
/// is poisoned, so that a use after free is found.
#[cfg(feature = "loom")]
mod heap {
    use std::{alloc::Layout, cell::RefCell, collections::HashMap};

    thread_local!(static BLOCKS: RefCell<HashMap<usize, (Layout, bool)>> = RefCell::default());

    pub fn alloc(size: usize) -> *mut u8 {
        let layout = Layout::from_size_align(size.max(1), 64).unwrap();
        // SAFETY: The layout's size is not zero, as `alloc()` adds to it.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        BLOCKS.with(|blocks| blocks.borrow_mut().insert(memory as usize, (layout, true)));
        memory
    }
    pub unsafe fn free(memory: *mut u8) {
        BLOCKS.with(|blocks| {
            let mut blocks = blocks.borrow_mut();
            let Some((layout, used)) = blocks.get_mut(&(memory as usize)) else {
                // Of an earlier execution, which has failed.
                return;
            };
            assert!(*used, "freed twice");
            *used = false;
            // SAFETY: `BLOCKS` has the layout with which this block was allocated, and it is not
            // freed yet.
            unsafe { memory.write_bytes(0x6b, layout.size()) };
        })
    }
    /// How many blocks are in use.
    pub fn blocks() -> usize {
        BLOCKS.with(|blocks| blocks.borrow().values().filter(|(_, used)| *used).count())
    }
    pub fn reset() {
        BLOCKS.with(|blocks| {
            for (memory, (layout, _)) in blocks.borrow_mut().drain() {
                // SAFETY: `alloc()` allocated the block with this layout. The execution is over, so nobody uses it.
                unsafe { std::alloc::dealloc(memory as *mut u8, layout) };
            }
        })
    }
}
#[cfg(feature = "loom")]
pub use heap::{blocks, reset};
#[cfg(feature = "loom")]
unsafe fn malloc(size: usize) -> *mut u8 {
    heap::alloc(size)
}
#[cfg(feature = "loom")]
unsafe fn free(memory: *mut u8) {
    // SAFETY: `memory` was allocated by `malloc()` and not freed since, as this function requires.
    unsafe { heap::free(memory) }
}

pub mod bindings {
    pub const GFP_KERNEL: u32 = 1;
    pub const GFP_ATOMIC: u32 = 2;
    pub unsafe fn kmalloc(size: usize) -> *mut core::ffi::c_void {
        // SAFETY: `malloc()` may be called with any size.
        unsafe { super::malloc(size).cast() }
    }
    pub unsafe fn kfree(memory: *mut core::ffi::c_void) {
        // SAFETY: `memory` was allocated by `malloc()` and not freed since, as this function requires.
        unsafe { super::free(memory.cast()) }
    }
    pub unsafe fn kvfree(memory: *mut core::ffi::c_void) {
        // SAFETY: `memory` was allocated by `malloc()` and not freed since, as this function requires.
        unsafe { super::free(memory.cast()) }
    }
}

pub unsafe trait Allocator {}
pub mod allocator {
    pub struct Kmalloc;
    pub struct Vmalloc;
    pub struct KVmalloc;
}
// SAFETY: The three allocators are one here: memory of each is allocated and freed by `malloc()`
// and `free()`.
unsafe impl Allocator for allocator::Kmalloc {}
// SAFETY: The three allocators are one here: memory of each is allocated and freed by `malloc()`
// and `free()`.
unsafe impl Allocator for allocator::Vmalloc {}
// SAFETY: The three allocators are one here: memory of each is allocated and freed by `malloc()`
// and `free()`.
unsafe impl Allocator for allocator::KVmalloc {}

pub struct Box<T: ?Sized, A: Allocator>(NonNull<T>, PhantomData<(A, T)>);
pub type KBox<T> = Box<T, allocator::Kmalloc>;
pub type VBox<T> = Box<T, allocator::Vmalloc>;
pub type KVBox<T> = Box<T, allocator::KVmalloc>;
pub type KVec<T> = Vec<T, allocator::Kmalloc>;
/// Keeps nothing: it is used for output only.
pub struct Vec<T, A: Allocator>(PhantomData<(A, T)>);

// SAFETY: A box owns its `T`, which may be sent or shared as the bound says.
unsafe impl<T: Send + ?Sized, A: Allocator> Send for Box<T, A> {}
// SAFETY: A box owns its `T`, which may be sent or shared as the bound says.
unsafe impl<T: Sync + ?Sized, A: Allocator> Sync for Box<T, A> {}

impl<T, A: Allocator> Vec<T, A> {
    pub fn with_capacity(_: usize, _: Flags) -> Result<Self, AllocError> {
        Ok(Self(PhantomData))
    }
    pub fn push_within_capacity(&mut self, _: T) -> Result<(), AllocError> {
        Ok(())
    }
}
impl<T, A: Allocator> Deref for Vec<T, A> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &[]
    }
}

fn place<T>() -> *mut T {
    assert!(align_of::<T>() <= 16);
    // SAFETY: `malloc()` may be called with any size.
    unsafe { malloc(size_of::<T>()).cast() }
}

impl<T, A: Allocator> Box<MaybeUninit<T>, A> {
    pub fn write_pin_init<E>(self, init: impl PinInit<T, E>) -> Result<Pin<Box<T, A>>, E> {
        let memory = self.0.as_ptr().cast::<T>();
        // SAFETY: The memory is the box's own, and is not moved. If it cannot be initialised, it is
        // freed as what it was.
        unsafe { init.__pinned_init(memory)? };
        core::mem::forget(self);
        // SAFETY: The memory is initialised now, and nobody else has it.
        Ok(unsafe { Pin::new_unchecked(Box::from_raw(memory)) })
    }
}

impl<T, A: Allocator> Box<T, A> {
    pub fn new_uninit(_: Flags) -> Result<Box<MaybeUninit<T>, A>, AllocError> {
        // SAFETY: `place()` allocated memory for the type, which nobody else has.
        Ok(unsafe { Box::from_raw(place::<T>().cast()) })
    }
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        let memory = place::<T>();
        // SAFETY: `place()` allocated memory for the type, which nobody else has.
        unsafe {
            memory.write(value);
            Ok(Self::from_raw(memory))
        }
    }
    pub fn init<E>(init: impl pin_init::Init<T, E>, flags: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        // SAFETY: What can be initialised where it is moved from can be moved.
        Ok(unsafe { Pin::into_inner_unchecked(Self::pin_init(init, flags)?) })
    }
    pub fn pin_init<E>(init: impl PinInit<T, E>, _: Flags) -> Result<Pin<Self>>
    where
        Error: From<E>,
    {
        let memory = place::<T>();
        // SAFETY: `place()` allocated memory for the type, which nobody else has and which is not moved.
        unsafe {
            if let Err(e) = init.__pinned_init(memory) {
                free(memory.cast());
                return Err(e.into());
            }
            Ok(Pin::new_unchecked(Self::from_raw(memory)))
        }
    }
}

impl<T: ?Sized, A: Allocator> Box<T, A> {
    pub unsafe fn from_raw(raw: *mut T) -> Self {
        // SAFETY: `raw` is from `into_raw()`, as this function requires, which returns no null.
        Self(unsafe { NonNull::new_unchecked(raw) }, PhantomData)
    }
    pub fn into_raw(b: Self) -> *mut T {
        ManuallyDrop::new(b).0.as_ptr()
    }
}
impl<T: ?Sized, A: Allocator> Deref for Box<T, A> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: The box owns the value, which is initialised and freed by the box's destructor
        // alone.
        unsafe { self.0.as_ref() }
    }
}
impl<T: ?Sized, A: Allocator> DerefMut for Box<T, A> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The box owns the value, which is initialised and freed by the box's destructor
        // alone.
        unsafe { self.0.as_mut() }
    }
}
impl<T: ?Sized, A: Allocator> Drop for Box<T, A> {
    fn drop(&mut self) {
        // SAFETY: The box owns the value, which is initialised and freed by the box's destructor
        // alone.
        unsafe {
            self.0.as_ptr().drop_in_place();
            free(self.0.as_ptr().cast());
        }
    }
}

/// In front of what is counted.
#[repr(C)]
struct Head {
    count: Cell<usize>,
    drop: unsafe fn(*mut u8),
}
impl Head {
    fn new<T>() -> Self {
        // SAFETY: `drop` is called with a pointer to the `Counted<T>` that it is a field of.
        Self {
            count: Cell::new(1),
            drop: |counted| unsafe {
                (&raw mut (*counted.cast::<Counted<T>>()).data).drop_in_place()
            },
        }
    }
}
#[repr(C)]
struct Counted<T> {
    head: Head,
    data: T,
}

/// Of a type without a size, it is only named.
pub struct Arc<T: ?Sized>(NonNull<u8>, PhantomData<T>);
// SAFETY: Of the count each access is one step of a thread, and loom changes the thread in none.
unsafe impl<T: Send + Sync + ?Sized> Send for Arc<T> {}
// SAFETY: Of the count each access is one step of a thread, and loom changes the thread in none.
unsafe impl<T: Send + Sync + ?Sized> Sync for Arc<T> {}

impl<T> Arc<T> {
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        Ok(UniqueArc::new(value, flags)?.into())
    }
    pub fn pin_init<E>(init: impl PinInit<T, E>, _: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        let memory = place::<Counted<T>>();
        // SAFETY: `place()` allocated memory for the type, which nobody else has and which is not moved.
        unsafe {
            (&raw mut (*memory).head).write(Head::new::<T>());
            if let Err(e) = init.__pinned_init(&raw mut (*memory).data) {
                free(memory.cast());
                return Err(e.into());
            }
            Ok(Self(NonNull::new_unchecked(memory.cast()), PhantomData))
        }
    }
    fn counted(&self) -> &Counted<T> {
        // SAFETY: `self` holds a reference, so the object is not freed during the borrow.
        unsafe { self.0.cast().as_ref() }
    }
    pub fn as_arc_borrow(&self) -> ArcBorrow<'_, T> {
        ArcBorrow(NonNull::from(&**self), PhantomData)
    }
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        a.0 == b.0
    }
    pub fn into_raw(self) -> *const T {
        // SAFETY: `self` holds a reference, so the object is not freed during the borrow.
        unsafe { &raw const (*ManuallyDrop::new(self).0.as_ptr().cast::<Counted<T>>()).data }
    }
    pub unsafe fn from_raw(raw: *const T) -> Self {
        // SAFETY: `from_raw()` requires a pointer from `into_raw()`, which points to the field
        // `data` of a `Counted<T>`.
        unsafe {
            Self(
                NonNull::new_unchecked(
                    raw.byte_sub(core::mem::offset_of!(Counted<T>, data))
                        .cast_mut()
                        .cast(),
                ),
                PhantomData,
            )
        }
    }
    pub fn into_unique_or_drop(self) -> Option<Pin<UniqueArc<T>>> {
        #[cfg(feature = "loom")]
        order();
        if self.counted().head.count.get() != 1 {
            return None;
        }
        // SAFETY: The count is one, so this is the only reference; the object is on the heap and is
        // not moved.
        Some(unsafe { Pin::new_unchecked(UniqueArc(self)) })
    }
}

/// What a reference count orders: the drop of the last reference comes after the others.
#[cfg(feature = "loom")]
pub fn order() {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    crate::registry::at(3, || AtomicUsize::new(0)).fetch_add(1, Ordering::AcqRel);
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        self.counted()
            .head
            .count
            .set(self.counted().head.count.get() + 1);
        Self(self.0, PhantomData)
    }
}
impl<T: ?Sized> Drop for Arc<T> {
    fn drop(&mut self) {
        #[cfg(feature = "loom")]
        order();
        // SAFETY: The reference keeps it; the count comes first.
        let head = unsafe { self.0.cast::<Head>().as_ref() };
        head.count.set(head.count.get() - 1);
        if head.count.get() == 0 {
            // SAFETY: The count is 0, so that this was the last reference.
            unsafe {
                (head.drop)(self.0.as_ptr());
                free(self.0.as_ptr());
            }
        }
    }
}
impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.counted().data
    }
}

pub struct UniqueArc<T>(Arc<T>);
impl<T> UniqueArc<T> {
    pub fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>>
    where
        Error: From<E>,
    {
        // SAFETY: The object is on the heap and stays at its address until the last reference is
        // dropped.
        Ok(unsafe { Pin::new_unchecked(Self(Arc::pin_init(init, flags)?)) })
    }
    pub fn new(value: T, _: Flags) -> Result<Self, AllocError> {
        let memory = place::<Counted<T>>();
        // SAFETY: `place()` allocated memory for the type, which nobody else has.
        unsafe {
            memory.write(Counted {
                head: Head::new::<T>(),
                data: value,
            });
            Ok(Self(Arc(
                NonNull::new_unchecked(memory.cast()),
                PhantomData,
            )))
        }
    }
}
impl<T> Deref for UniqueArc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
impl<T> DerefMut for UniqueArc<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: A `UniqueArc` is the only reference to its object.
        unsafe { &mut self.0 .0.cast::<Counted<T>>().as_mut().data }
    }
}
impl<T> From<UniqueArc<T>> for Arc<T> {
    fn from(unique: UniqueArc<T>) -> Self {
        unique.0
    }
}
impl<T> From<Pin<UniqueArc<T>>> for Arc<T> {
    fn from(unique: Pin<UniqueArc<T>>) -> Self {
        // SAFETY: The object is on the heap and stays at its address until the last reference is
        // dropped.
        unsafe { Pin::into_inner_unchecked(unique) }.0
    }
}

pub struct ArcBorrow<'a, T>(NonNull<T>, PhantomData<&'a T>);
impl<T> Clone for ArcBorrow<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ArcBorrow<'_, T> {}
impl<T> ArcBorrow<'_, T> {
    pub unsafe fn from_raw(raw: *const T) -> Self {
        // SAFETY: `from_raw()` requires a pointer to an object, so it is not null.
        Self(
            unsafe { NonNull::new_unchecked(raw.cast_mut()) },
            PhantomData,
        )
    }
}
impl<T> Deref for ArcBorrow<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `from_raw()` requires that the object lives as long as this borrow.
        unsafe { self.0.as_ref() }
    }
}
impl<T> From<ArcBorrow<'_, T>> for Arc<T> {
    fn from(borrow: ArcBorrow<'_, T>) -> Self {
        // SAFETY: A reference is there, and it is given away neither here nor there.
        let arc = ManuallyDrop::new(unsafe { Arc::from_raw(borrow.0.as_ptr()) });
        (*arc).clone()
    }
}
