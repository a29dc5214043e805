// SPDX-License-Identifier: GPL-2.0

//! The part of the kernel crate that the files of `src/` under a model use.
//!
//! With the feature `loom`, atomics, locks and completions are loom's, and loom chooses the order in
//! which threads use them. Without, there is one thread, and memory comes from an arena whose whole
//! content can be saved and restored.

#![allow(
    deprecated,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    clippy::missing_safety_doc
)]

pub mod alloc;
pub mod atomic;
pub mod barrier;
pub mod error;
#[cfg(feature = "loom")]
pub mod percpu_ref;
pub mod rcu;
#[cfg(feature = "loom")]
pub mod registry;
pub mod sync;
pub mod wait;

pub use core::fmt;

pub mod ffi {
    pub use core::ffi::{c_int, c_uchar, c_uint, c_void};
    pub type c_char = u8;
    pub type c_long = isize;
    pub type c_ulong = usize;
    pub type c_longlong = i64;
    pub type c_ulonglong = u64;
}

pub mod types {
    use core::{cell::UnsafeCell, convert::Infallible, marker::PhantomData, mem::MaybeUninit};
    use pin_init::{pin_init_from_closure, PinInit};

    pub type NotThreadSafe = PhantomData<*mut ()>;
    #[allow(non_upper_case_globals)]
    pub const NotThreadSafe: NotThreadSafe = PhantomData;

    #[repr(transparent)]
    pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

    impl<T> Opaque<T> {
        pub const fn new(value: T) -> Self {
            Self(UnsafeCell::new(MaybeUninit::new(value)))
        }
        pub const fn uninit() -> Self {
            Self(UnsafeCell::new(MaybeUninit::uninit()))
        }
        pub const fn zeroed() -> Self {
            Self(UnsafeCell::new(MaybeUninit::zeroed()))
        }
        pub const fn get(&self) -> *mut T {
            UnsafeCell::get(&self.0).cast()
        }
        pub const fn cast_from(this: *const T) -> *const Self {
            this.cast()
        }
        pub fn ffi_init(f: impl FnOnce(*mut T)) -> impl PinInit<Self> {
            // SAFETY: `f` initialises what it is given, as the kernel's own function requires.
            unsafe {
                pin_init_from_closure(|slot: *mut Self| {
                    f(slot.cast());
                    Ok::<(), Infallible>(())
                })
            }
        }
        pub fn try_ffi_init<E>(f: impl FnOnce(*mut T) -> Result<(), E>) -> impl PinInit<Self, E> {
            // SAFETY: `f` initialises what it is given, as the kernel's own function requires.
            unsafe { pin_init_from_closure(|slot: *mut Self| f(slot.cast())) }
        }
    }
}

pub mod str {
    pub use core::ffi::CStr;
    pub trait CStrExt {
        fn as_char_ptr(&self) -> *const u8;
    }
    impl CStrExt for CStr {
        fn as_char_ptr(&self) -> *const u8 {
            self.as_ptr().cast()
        }
    }
}

#[macro_export]
macro_rules! c_str {
    ($s:literal) => {
        match ::core::ffi::CStr::from_bytes_with_nul(concat!($s, "\0").as_bytes()) {
            Ok(s) => s,
            Err(_) => panic!(),
        }
    };
}

#[macro_export]
macro_rules! static_lock_class {
    () => {
        ::core::pin::Pin::static_ref(&$crate::sync::CLASS)
    };
}

#[macro_export]
macro_rules! container_of {
    ($ptr:expr, $t:ty, $($field:tt)+) => {
        ($ptr).byte_sub(::core::mem::offset_of!($t, $($field)+)).cast::<$t>()
    };
}

#[macro_export]
macro_rules! pr_warn {
    ($($x:tt)*) => { $crate::warned(format!($($x)*)) };
}

#[macro_export]
macro_rules! try_pin_init {
    ($($args:tt)*) => { ::pin_init::pin_init!(#[default_error($crate::error::Error)] $($args)*) };
}

#[macro_export]
macro_rules! try_init {
    ($($args:tt)*) => { ::pin_init::init!(#[default_error($crate::error::Error)] $($args)*) };
}

/// What the code under the model has logged.
pub fn warned(_text: String) {}

#[macro_export]
macro_rules! current {
    () => {
        $crate::task::Current
    };
}

pub mod task {
    pub struct Current;
    impl Current {
        pub fn as_ptr(&self) -> *mut u8 {
            core::ptr::without_provenance_mut(super::wait::current())
        }
    }
}

pub mod time {
    pub type Jiffies = isize;
    pub type Msecs = u32;
    pub fn msecs_to_jiffies(ms: Msecs) -> Jiffies {
        ms as Jiffies
    }
}

pub mod processor {
    pub fn cpu_relax() {
        super::wait::relax();
    }
}

pub mod interrupt {
    pub struct LocalInterruptDisabled(());
    pub fn local_interrupt_disable() -> LocalInterruptDisabled {
        LocalInterruptDisabled(())
    }
}

pub mod seq_file {
    pub struct SeqFile(());
    impl SeqFile {
        pub unsafe fn from_raw<'a>(m: *mut crate::bindings::seq_file) -> &'a Self {
            // SAFETY: The type has the size zero, so no memory is accessed through the reference.
            unsafe { &*m.cast() }
        }
        pub fn print(&self, _: core::fmt::Arguments<'_>) {}
    }
}

#[macro_export]
macro_rules! seq_print {
    ($m:expr, $($x:tt)*) => { $m.print(format_args!($($x)*)) };
}

#[macro_export]
macro_rules! fmt {
    ($($x:tt)*) => { format_args!($($x)*) };
}

pub mod ioctl {
    pub fn _IOC_NR(cmd: u32) -> u32 {
        cmd & 0xff
    }
    pub fn _IOC_TYPE(cmd: u32) -> u32 {
        cmd >> 8 & 0xff
    }
    pub fn _IOC_SIZE(cmd: u32) -> usize {
        (cmd >> 16 & 0x3fff) as usize
    }
    pub fn _IOC_DIR(cmd: u32) -> u32 {
        cmd >> 30
    }
}

pub mod uapi {
    pub const _IOC_NONE: u32 = 0;
    pub const _IOC_WRITE: u32 = 1;
    pub const _IOC_READ: u32 = 2;
}

pub mod fs {
    pub mod file {
        pub mod flags {
            pub const O_NONBLOCK: u32 = 0o4000;
        }
    }
}

pub mod workqueue {
    use core::marker::PhantomData;

    pub trait WorkItem<const ID: u64 = 0> {
        type Pointer;
        fn run(this: Self::Pointer);
    }
    pub trait HasWork<T, const ID: u64 = 0> {}
    /// A queue that runs its items at once.
    pub struct Queue(());
    impl Queue {
        pub unsafe fn from_raw<'a>(_: *mut crate::bindings::workqueue_struct) -> &'a Self {
            &Self(())
        }
        pub fn enqueue<T: WorkItem<Pointer = crate::alloc::Arc<T>>>(
            &self,
            work: crate::alloc::Arc<T>,
        ) -> Result<(), ()> {
            T::run(work);
            Ok(())
        }
    }
    pub struct Work<T>(PhantomData<fn(T)>);
    impl<T> Work<T> {
        pub fn new() -> Self {
            Self(PhantomData)
        }
    }
    #[macro_export]
    macro_rules! impl_has_work {
        (impl{$($g:tt)*} HasWork<Self> for $t:ty { self.$f:ident }) => {
            impl<$($g)*> $crate::workqueue::HasWork<$t> for $t {}
        };
    }
    #[macro_export]
    macro_rules! new_work {
        ($name:literal) => {
            $crate::workqueue::Work::new()
        };
    }
    pub use crate::{impl_has_work, new_work};
}

pub mod bindings {
    #[cfg(feature = "loom")]
    pub use crate::percpu_ref::*;
    pub use crate::sync::bindings::*;
    pub use crate::wait::bindings::*;
    pub use crate::{alloc::bindings::*, rcu::bindings::*};

    pub const POLLIN: u32 = 0x1;
    pub const POLLPRI: u32 = 0x2;
    pub const POLLOUT: u32 = 0x4;
    pub const POLLERR: u32 = 0x8;
    pub const POLLHUP: u32 = 0x10;
    pub const POLLRDNORM: u32 = 0x40;
    pub const POLLWRNORM: u32 = 0x100;
    pub const POLLRDHUP: u32 = 0x2000;
    pub const CLOCK_REALTIME: u32 = 0;
    pub const CLOCK_MONOTONIC: u32 = 1;
    pub const CLOCK_BOOTTIME: u32 = 7;

    pub struct seq_file(());
    pub struct module {
        pub name: [u8; 56],
    }
    /// A process.
    pub struct pid {
        pub number: i32,
        /// The exit code once it is dead.
        pub exited: core::cell::Cell<Option<i32>>,
    }
    // SAFETY: Models that use processes have one thread.
    unsafe impl Sync for pid {}
    pub unsafe fn put_pid(_: *mut pid) {}
    pub unsafe fn pid_vnr(pid: *mut pid) -> i32 {
        // SAFETY: The models' processes are statics, so each pointer to one is valid.
        unsafe { (*pid).number }
    }
    pub unsafe fn jiffies64_to_msecs(j: u64) -> u64 {
        j
    }
}

pub mod prelude {
    pub use crate::{
        alloc::{KBox, KVBox, KVec, VBox, GFP_ATOMIC, GFP_KERNEL, GFP_KERNEL_ACCOUNT},
        error::{code::*, AllocError, Error, Result},
        ffi::*,
        pr_warn,
        str::{CStr, CStrExt as _},
        ThisModule,
    };
    pub use crate::{try_init, try_pin_init};
    pub use core::mem::{align_of, size_of, size_of_val};
    pub use core::pin::Pin;
    pub use pin_init::{init, pin_data, pin_init, pinned_drop, Init, PinInit, Zeroable};
}

/// A module.
pub struct ThisModule(*mut bindings::module);
// SAFETY: The pointer is only compared with others, never followed.
unsafe impl Sync for ThisModule {}
impl ThisModule {
    pub const fn as_ptr(&self) -> *mut bindings::module {
        self.0
    }
}
