// SPDX-License-Identifier: GPL-2.0

//! Character devices that can be unplugged while they are open.
//!
//! Each file operation acquires the device and passes the guard to the driver's function.
//! Unplugging runs the device down and drops it: operations that are in progress end first, later
//! ones fail with `ENODEV`, and open files stay until their processes close them.

use super::{
    wait,
    Rundown,
    RundownError,
    RundownGuard,
    RundownRef,
    Wait, //
};
use kernel::{
    bindings,
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    sync::Arc,
    ModuleMetadata, //
};

/// A guard of an unpluggable device: the device stays until it is dropped.
pub type DeviceGuard<'a, D> = RundownGuard<'a, Rundown<D>>;

/// A character device that can be unplugged while files of it are open.
///
/// The functions are called with a guard: the device is not dropped while one of them runs. They are
/// not called after it was unplugged: system calls fail with `ENODEV` then. A function that may sleep
/// for long stops when the device is to be unplugged, see
/// [`on_rundown`](super::Guard::on_rundown); the unplugging waits for it.
///
/// An open file holds a reference to the module that registered the device, so that the module is not
/// unloaded before the file is closed. The module of the implementation stays too, if it is another
/// one: the first depends on it. There is no `mmap()`: it fails with `ENODEV`, as the kernel cannot wait for
/// accesses to mapped memory.
#[vtable]
pub trait UnpluggableDevice: Send + Sync + Sized + 'static {
    /// The state of an open file. It is dropped when the file is closed, also after the device was
    /// unplugged.
    type Open: Send + Sync + 'static;

    /// Opens a file.
    fn open(device: &DeviceGuard<'_, Self>, file: &File) -> Result<Self::Open>;

    /// Reads from a file.
    fn read(
        _device: &DeviceGuard<'_, Self>,
        _open: &Self::Open,
        _to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Writes to a file.
    fn write(
        _device: &DeviceGuard<'_, Self>,
        _open: &Self::Open,
        _from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Handles an ioctl.
    fn ioctl(
        _device: &DeviceGuard<'_, Self>,
        _open: &Self::Open,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The private data of an open file.
struct Opened<D: UnpluggableDevice> {
    device: Arc<Rundown<D>>,
    open: D::Open,
}

/// The module that registers a device: the functions that the kernel calls are generated there.
///
/// `D::OwnerModule` is a type of the implementation's crate, which may be a library that is no module.
struct Registrant;

impl ModuleMetadata for Registrant {
    // Unused: the name differs from module to module.
    const NAME: &'static CStr = c"quiesce";

    #[cfg(MODULE)]
    const THIS_MODULE: ThisModule = {
        // SAFETY: The file operations that have this constant refer to a symbol that each module has of
        // its own. So it is the module that they, and the functions in them, are in.
        unsafe { ThisModule::from_ptr(&raw mut bindings::__this_module) }
    };

    // If this crate is built in, its users are too: it exports nothing then.
    #[cfg(not(MODULE))]
    const THIS_MODULE: ThisModule = {
        // SAFETY: Code that is built in is in no module, for which null stands.
        unsafe { ThisModule::from_ptr(core::ptr::null_mut()) }
    };
}

#[vtable]
impl<D: UnpluggableDevice> MiscDevice for Opened<D> {
    type OwnerModule = Registrant;
    type Ptr = KBox<Self>;

    const HAS_READ_ITER: bool = D::HAS_READ;
    const HAS_WRITE_ITER: bool = D::HAS_WRITE;
    const HAS_IOCTL: bool = D::HAS_IOCTL;

    fn open(file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let misc: *const MiscDeviceRegistration<Self> = misc;
        // SAFETY: Only an `UnpluggableRegistration` registers this type. It stays as long as `misc`.
        let registration =
            unsafe { &*kernel::container_of!(misc, UnpluggableRegistration<D>, misc) };
        let device = registration.device.clone();
        let open = D::open(&device.try_acquire()?, file)?;
        Ok(KBox::new(Self { device, open }, GFP_KERNEL)?)
    }

    fn read_iter(kiocb: Kiocb<'_, KBox<Self>>, to: &mut IovIterDest<'_>) -> Result<usize> {
        let this = kiocb.file();
        D::read(&this.device.try_acquire()?, &this.open, to)
    }

    fn write_iter(kiocb: Kiocb<'_, KBox<Self>>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let this = kiocb.file();
        D::write(&this.device.try_acquire()?, &this.open, from)
    }

    fn ioctl(this: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        D::ioctl(&this.device.try_acquire()?, &this.open, cmd, arg)
    }
}

/// The registration of an unpluggable device.
///
/// Dropping this removes the device node and unplugs the device, see [`unplug`](Self::unplug). To tie a
/// device to a bus device, pass [`register`](Self::register) to `kernel::devres::register()`: then it is
/// unplugged when the driver is unbound.
///
/// # Contexts
///
/// Process context, for all functions and for the drop.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct UnpluggableRegistration<D: UnpluggableDevice> {
    #[pin]
    misc: MiscDeviceRegistration<Opened<D>>,
    device: Arc<Rundown<D>>,
}

impl<D: UnpluggableDevice> UnpluggableRegistration<D> {
    /// Registers a device with the node `/dev/NAME`.
    ///
    /// # Errors
    ///
    /// Those of `device` and of `misc_register()`; `ENOMEM`.
    pub fn register(
        options: MiscDeviceOptions,
        device: impl PinInit<D, Error>,
    ) -> impl PinInit<Self, Error> {
        // In this order: the node may be opened as soon as it is there.
        try_pin_init!(Self {
            device: Arc::pin_init(Rundown::pin_init(RundownRef::new(), device), GFP_KERNEL)?,
            misc <- MiscDeviceRegistration::register(options),
        }? Error)
    }

    /// Acquires the device, or fails if it was unplugged.
    ///
    /// # Errors
    ///
    /// `ENODEV`.
    pub fn try_acquire(&self) -> Result<DeviceGuard<'_, D>> {
        Ok(self.device.try_acquire()?)
    }

    /// Unplugs the device: waits until none of its functions runs, and drops it.
    ///
    /// If a function [resurrects](Rundown::resurrect) the device meanwhile, its rundown begins again.
    ///
    /// The device node stays until the registration is dropped; opening it fails. If the device was
    /// unplugged already, this does nothing. If its reference is saturated, this does not return, as
    /// [`RundownProtect::wait_for_rundown`](super::RundownProtect::wait_for_rundown).
    #[track_caller]
    pub fn unplug(&self) {
        loop {
            match self.device.wait_with(Wait::uninterruptible().insist()) {
                Ok(device) => {
                    drop(device.clear());
                    return;
                }
                // The device has holders, and its rundown begins again.
                Err(RundownError::Resurrected) => {}
                Err(RundownError::Saturated) => wait::forever(),
                // The value was dropped already.
                Err(_) => return,
            }
        }
    }
}

#[pinned_drop]
impl<D: UnpluggableDevice> PinnedDrop for UnpluggableRegistration<D> {
    fn drop(self: Pin<&mut Self>) {
        // The node is removed after this.
        self.unplug();
    }
}
