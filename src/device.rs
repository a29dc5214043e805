// SPDX-License-Identifier: GPL-2.0

//! `/dev/quiesce`: decodes commands, copies structs, and calls the state machines of
//! [`crate::barrier`].
//!
//! `uapi/quiesce.h` defines the commands. An open file of the device is a [`Control`]; it makes
//! barriers, whose parties are files of their own. No operation here takes a descriptor, so each
//! works in a task without a table of them, as `release` may have to.

mod args;
mod exit;
mod file;
mod group;
mod pair;
mod party;
pub(crate) mod quota;

use self::args::Command;
use crate::bindings::uapi;
use core::pin::Pin;
use kernel::{
    bindings,
    error::to_result,
    module::this_module,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// An open file of `/dev/quiesce`.
struct Control {
    /// Number of its barriers that exist.
    objects: Atomic<u32>,
}

/// Accounts one barrier against the limit of a [`Control`], `QUIESCE_MAX_OBJECTS`.
struct BarrierQuota(Arc<Control>);

impl BarrierQuota {
    /// # Errors
    ///
    /// `EDQUOT` if there are too many.
    fn new(control: ArcBorrow<'_, Control>) -> Result<Self> {
        let mut n = control.objects.load(Relaxed);
        while n < uapi::QUIESCE_MAX_OBJECTS {
            match control.objects.cmpxchg(n, n.wrapping_add(1), Relaxed) {
                Ok(_) => return Ok(Self(control.into())),
                Err(now) => n = now,
            }
        }
        Err(EDQUOT)
    }
}

impl Drop for BarrierQuota {
    fn drop(&mut self) {
        self.0.objects.fetch_sub(1, Relaxed);
    }
}

impl Control {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    const fn table() -> &'static bindings::file_operations {
        &Self::TABLE
    }

    /// Opens a file, and allocates nothing: `misc_open()` holds a mutex of all such devices, and a
    /// task at its cgroup's limit may take long to allocate.
    ///
    /// # Safety
    ///
    /// Called by the VFS, once, as the first operation on a file of these operations.
    unsafe extern "C" fn open(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file is being opened, so that nobody else uses it.
        unsafe { (*file).private_data = core::ptr::null_mut() };
        0
    }

    /// Returns the `Control` of a file, which the first call makes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `file` is an open file of these operations, until the result is dropped.
    unsafe fn of_file<'a>(file: *mut bindings::file) -> Result<ArcBorrow<'a, Self>> {
        // SAFETY: The field of an open file is valid, and all accesses between `open` and `release`
        // are here, by this atomic.
        let private = unsafe { Atomic::from_ptr(&raw mut (*file).private_data) };
        let mut control = private.load(Acquire);
        if control.is_null() {
            let objects = Atomic::new(0);
            let new = Arc::new(Self { objects }, GFP_KERNEL_ACCOUNT)?.into_foreign();
            control = match private.cmpxchg(control, new, Full) {
                Ok(_) => new,
                Err(other) => {
                    // SAFETY: It comes from `into_foreign` above, and nobody else has it.
                    drop(unsafe { Arc::<Self>::from_foreign(new) });
                    other
                }
            };
        }
        // SAFETY: What is not null comes from `into_foreign`, and stays until `release`, which
        // comes after this function's file is no longer open.
        Ok(unsafe { Arc::<Self>::borrow(control) })
    }

    /// # Safety
    ///
    /// Called by the VFS, once, as the last operation on a file of these operations.
    unsafe extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The field is null, or `of_file` put it there and nobody borrows it any more.
        drop(unsafe { Arc::<Self>::try_from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// Called by the VFS on a file of these operations.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The VFS holds the file during the call.
        let control = || unsafe { Self::of_file(file) };
        let ret = Command::new(cmd, arg, 0).and_then(|command| match command.nr() {
            uapi::QUIESCE_NR_FEATURES => features(&command),
            uapi::QUIESCE_NR_PAIR => pair::create(control()?, &command),
            uapi::QUIESCE_NR_GROUP => group::create(control()?, &command),
            _ => Err(ENOTTY),
        });
        ret.map_or_else(|e| e.to_errno() as c_long, |()| 0)
    }
}

fn features(command: &Command) -> Result {
    let args: uapi::quiesce_features = command.read()?;
    if args.reserved != 0 {
        return Err(EINVAL);
    }
    command.write(&uapi::quiesce_features {
        version: uapi::QUIESCE_VERSION,
        reserved: 0,
        features: (uapi::QUIESCE_FEATURE_PAIR
            | uapi::QUIESCE_FEATURE_GROUP
            | uapi::QUIESCE_FEATURE_BIND
            | uapi::QUIESCE_FEATURE_COMPLETION)
            .into(),
        max_parties: uapi::QUIESCE_MAX_PARTIES,
        max_objects: uapi::QUIESCE_MAX_OBJECTS,
    })
}

/// `/dev/quiesce` as long as this lives.
///
/// # Invariants
///
/// The device is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration {
    #[pin]
    device: Opaque<bindings::miscdevice>,
    _exits: exit::Workqueue,
}

// SAFETY: `misc_deregister()` may be called by any task, and the field is only used by that.
unsafe impl Send for Registration {}
// SAFETY: No method takes a shared reference to a `Registration`, so one gives access to nothing.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers the device, with a device node of mode `mode`; called once, by the module's init.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `mode` has bits other than read and write; what `misc_register()` returns.
    pub(crate) fn new(mode: u16) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _exits: {
                // SAFETY: Called once and first, as this is by the module's init.
                unsafe { quota::init() };
                exit::Workqueue::new()?
            },
            // INVARIANT: The initialiser fails if the device was not registered.
            device <- Opaque::try_ffi_init(move |device: *mut bindings::miscdevice| {
                if mode & !0o666 != 0 {
                    return Err(EINVAL);
                }
                // SAFETY: `device` is the field of the slot, which is valid for writes and pinned.
                unsafe {
                    device.write(bindings::miscdevice {
                        minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                        name: c"quiesce".as_char_ptr(),
                        fops: Control::table(),
                        mode,
                        ..pin_init::zeroed()
                    })
                };
                // SAFETY: `device` is filled in and pinned, and `drop` deregisters it.
                to_result(unsafe { bindings::misc_register(device) })
            }),
        }? Error)
    }
}

#[pinned_drop]
impl PinnedDrop for Registration {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the device is registered, and this destructor is the only
        // place that deregisters it.
        unsafe { bindings::misc_deregister(self.device.get()) }
    }
}
