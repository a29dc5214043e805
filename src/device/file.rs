// SPDX-License-Identifier: GPL-2.0

//! Files of the device's objects.
//!
//! `kernel::miscdevice` has neither `poll` nor `flush`, so the file operations are built here.
//! `owner` is set, so that a module with an open file is not unloaded.

use super::{
    args::Command,
    quota::Charge, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    pin::Pin,
    ptr, //
};
use kernel::{
    bindings,
    error::from_err_ptr,
    fs::{
        file::flags,
        file::FileDescriptorReservation,
        File, //
    },
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef,
    types::ForeignOwnable, //
};

/// The object behind a descriptor. It is dropped when the last copy of the descriptor is closed.
pub(super) trait Endpoint: Send + Sync + Sized + 'static {
    /// The name that `/proc/PID/fd` shows.
    const NAME: &'static CStr;

    /// Runs a command; process context, may sleep.
    fn ioctl(&self, command: &Command) -> Result<isize>;

    /// The wait queue that is woken when [`Endpoint::events`] changes. It lives as long as
    /// `self`.
    fn queue(&self) -> *mut bindings::wait_queue_head;

    /// Returns the events for `poll()`.
    fn events(&self) -> u32;

    /// The calling task closes a copy of the descriptor, maybe the last.
    fn closing(&self);

    /// Fills `/proc/PID/fdinfo`.
    fn show(&self, m: &SeqFile);
}

/// The private data of a file.
#[pin_data]
struct Private<E> {
    #[pin]
    endpoint: E,
    _charge: Option<Charge>,
}

/// The file operations of an [`Endpoint`].
pub(super) struct Operations<E>(PhantomData<E>);

impl<E: Endpoint> Operations<E> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        poll: Some(Self::poll),
        flush: Some(Self::flush),
        release: Some(Self::release),
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    const fn table() -> &'static bindings::file_operations {
        &Self::TABLE
    }

    /// # Safety
    ///
    /// `file` is a file that [`NewFile::install`] installed for an `E`, and stays during `'a`.
    unsafe fn endpoint<'a>(file: *mut bindings::file) -> &'a E {
        // SAFETY: `NewFile::install` put such a pointer there, and `release` takes it back last.
        let private = unsafe { Pin::<KBox<Private<E>>>::borrow((*file).private_data) };
        &private.get_ref().endpoint
    }

    /// # Safety
    ///
    /// Called by the VFS on a file of these operations.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The VFS holds a reference to `file` during the call, and it is a file of this
        // endpoint's operations.
        let endpoint = unsafe { Self::endpoint(file) };
        // SAFETY: The VFS holds the file during the call. Another task may change the flags at any
        // time, so they are read once, as by READ_ONCE().
        let flags = unsafe { (&raw const (*file).f_flags).read_volatile() };
        match Command::new(cmd, arg, flags).and_then(|command| endpoint.ioctl(&command)) {
            Ok(ret) => ret as c_long,
            Err(e) => e.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS on a file of these operations.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The VFS holds a reference to `file` during the call, and it is a file of this
        // endpoint's operations.
        let endpoint = unsafe { Self::endpoint(file) };
        // SAFETY: The queue lives as long as the endpoint, hence as the file; an entry that
        // stays on the queue holds the file or is removed before `release`.
        unsafe { bindings::poll_wait(file, endpoint.queue(), table) };
        endpoint.events()
    }

    /// # Safety
    ///
    /// Called by the VFS on a file of these operations.
    unsafe extern "C" fn flush(file: *mut bindings::file, _: bindings::fl_owner_t) -> c_int {
        // SAFETY: The VFS holds a reference to `file` during the call, and it is a file of this
        // endpoint's operations.
        unsafe { Self::endpoint(file) }.closing();
        0
    }

    /// # Safety
    ///
    /// Called by the VFS on a file of these operations.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The VFS holds a reference to `file` during the call, and it is a file of this
        // endpoint's operations.
        let endpoint = unsafe { Self::endpoint(file) };
        // SAFETY: `m` is valid, and only this task uses it, during the call.
        endpoint.show(unsafe { SeqFile::from_raw(m) });
    }

    /// # Safety
    ///
    /// Called by the VFS, once, as the last operation on a file of these operations.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `NewFile::install` put such a pointer there, and nobody borrows it any more; it is
        // null if the file was not installed.
        drop(unsafe { Pin::<KBox<Private<E>>>::try_from_foreign((*file).private_data) });
        0
    }
}

/// A file with a descriptor number that does not lead to it yet, and the memory for its endpoint.
///
/// Dropped, it is as if none of them had been there.
pub(super) struct NewFile<E> {
    fd: FileDescriptorReservation,
    file: ARef<File>,
    private: KBox<MaybeUninit<Private<E>>>,
    charge: Option<Charge>,
}

impl<E: Endpoint> NewFile<E> {
    /// Makes a file, close-on-exec unless `inherit`, which `charge` is for unless the endpoint has
    /// one.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub(super) fn new(inherit: bool, charge: Option<Charge>) -> Result<Self> {
        let cloexec = if inherit { 0 } else { flags::O_CLOEXEC };
        let fd = FileDescriptorReservation::get_unused_fd_flags(cloexec)?;
        let private = KBox::new_uninit(GFP_KERNEL_ACCOUNT)?;
        // SAFETY: The name and the operations are static. Until the file is installed, `release` is
        // the only operation, which expects the null pointer.
        let file = from_err_ptr(unsafe {
            crate::bindings::quiesce_helper_anon_file(
                E::NAME.as_char_ptr(),
                Operations::<E>::table(),
                ptr::null_mut(),
            )
        })?;
        let file = ptr::NonNull::new(file).ok_or(ENOMEM)?;
        Ok(Self {
            fd,
            // SAFETY: The reference that the helper returned is given away, and there
            // is no descriptor yet, hence no `fdget_pos`.
            file: unsafe { ARef::from_raw(file.cast()) },
            private,
            charge,
        })
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> i32 {
        self.fd.reserved_fd() as i32
    }

    /// Makes the descriptor lead to the file, of `endpoint`; cannot fail, and comes last.
    pub(super) fn install(self, endpoint: impl PinInit<E>) {
        let Self {
            fd,
            file,
            private,
            charge,
        } = self;
        let Ok(private) = private.write_pin_init(pin_init!(Private {
            endpoint <- endpoint,
            _charge: charge,
        }));
        // SAFETY: There is no descriptor yet, so nobody else accesses the file, whose operations
        // take this as what it is.
        unsafe { (*file.as_ptr()).private_data = private.into_foreign() };
        fd.fd_install(file);
    }
}
