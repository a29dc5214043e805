// SPDX-License-Identifier: GPL-2.0

//! A device that is unplugged while it is open, for `qemu/tests/rundown_unplug.steps`.
//!
//! Reads return a message once, and then block until the device is to be unplugged. Writing `unplug`
//! has another thread unplug it. After `resurrect`, a read that should end makes the device live once
//! more instead. The implementation is as one of a library that is no module: an open file holds the
//! module that registers the device.

use kernel::{
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::MiscDeviceOptions,
    new_condvar, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc,
        CondVar,
        SpinLock, //
    },
};
use quiesce::rundown::{
    DeviceGuard,
    UnpluggableDevice,
    UnpluggableRegistration, //
};

#[path = "../support.rs"]
mod support;

module! {
    type: Unplug,
    name: "rundown_unplug",
    authors: ["The quiesce developers"],
    description: "A device that is unplugged while it is open",
    license: "GPL",
}

static UNPLUG: Atomic<bool> = Atomic::new(false);
/// Reads go on though the device is to be unplugged.
static IGNORE: Atomic<bool> = Atomic::new(false);
/// A read makes the device live again.
static RESURRECT: Atomic<bool> = Atomic::new(false);
static RESURRECTED: Atomic<bool> = Atomic::new(false);
/// How often the device was dropped.
static DROPPED: Atomic<u32> = Atomic::new(0);

fn dropped_once() -> bool {
    DROPPED.load(Acquire) == 1
}

#[pin_data(PinnedDrop)]
struct Device {
    #[pin]
    lock: SpinLock<()>,
    #[pin]
    stop: CondVar,
}

#[pinned_drop]
impl PinnedDrop for Device {
    fn drop(self: Pin<&mut Self>) {
        DROPPED.fetch_add(1, Full);
    }
}

/// Makes the device live again if a read should, which happens once.
fn resurrect(device: &DeviceGuard<'_, Device>) -> bool {
    let done = RESURRECT.xchg(false, Full) && device.object().resurrect().is_ok();
    if done {
        RESURRECTED.store(true, Release);
    }
    done
}

/// The owner that a library names which is no module.
struct Library;

impl kernel::ModuleMetadata for Library {
    const NAME: &'static CStr = c"library";
    const THIS_MODULE: ThisModule = {
        // SAFETY: References to the module of built-in code, which null stands for, are not counted.
        unsafe { ThisModule::from_ptr(core::ptr::null_mut()) }
    };
}

/// An open file: whether the message was read.
struct Open(Atomic<bool>);

impl Drop for Open {
    fn drop(&mut self) {
        // The file outlives the device.
        pr_info!("closed, device dropped: {}\n", dropped_once());
    }
}

#[vtable]
impl UnpluggableDevice for Device {
    type OwnerModule = Library;
    type Open = Open;

    fn open(_device: &DeviceGuard<'_, Self>, _file: &File) -> Result<Open> {
        Ok(Open(Atomic::new(false)))
    }

    fn read(
        device: &DeviceGuard<'_, Self>,
        open: &Open,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        if !open.0.xchg(true, Full) {
            return Ok(to.copy_to_iter(b"here\n"));
        }
        let Device { lock, stop } = &**device;
        device.on_rundown(
            || {
                let _locked = lock.lock();
                stop.notify_all();
            },
            || {
                let mut locked = lock.lock();
                while !device.is_rundown_requested() || IGNORE.load(Acquire) || resurrect(device) {
                    if stop.wait_interruptible(&mut locked) {
                        return Err(ERESTARTSYS);
                    }
                }
                Err(ENODEV)
            },
        )
    }

    fn write(
        _device: &DeviceGuard<'_, Self>,
        _open: &Open,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut command = KVec::new();
        let len = from.copy_from_iter_vec(&mut command, GFP_KERNEL)?;
        if command.starts_with(b"ignore") {
            IGNORE.store(true, Release);
            return Ok(len);
        }
        if command.starts_with(b"resurrect") {
            RESURRECT.store(true, Release);
            return Ok(len);
        }
        if !command.starts_with(b"unplug") {
            return Err(EINVAL);
        }
        UNPLUG.store(true, Release);
        Ok(len)
    }
}

/// The thread, which ends when this is dropped.
struct Worker(#[allow(dead_code, reason = "dropped")] support::Thread);

// SAFETY: No method takes `&Worker`, and its field is private to this file.
unsafe impl Sync for Worker {}

struct Unplug {
    _thread: Worker,
    _registration: Arc<UnpluggableRegistration<Device>>,
}

impl kernel::Module for Unplug {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let registration = Arc::pin_init(
            UnpluggableRegistration::register(
                MiscDeviceOptions {
                    name: c"rundown_unplug",
                },
                try_pin_init!(Device {
                    lock <- new_spinlock!(()),
                    stop <- new_condvar!(),
                }),
            ),
            GFP_KERNEL,
        )?;
        let theirs = registration.clone();
        let thread = support::spawn(c"rundown_unplug", move || {
            while !UNPLUG.load(Acquire) {
                support::msleep(1);
            }
            theirs.unplug();
            let dropped = dropped_once();
            // A second time does nothing, and does not drop it again.
            theirs.unplug();
            pr_info!(
                "unplugged, device dropped: {}, acquired: {}, resurrected: {}\n",
                dropped && dropped_once(),
                theirs.try_acquire().is_ok(),
                RESURRECTED.load(Acquire)
            );
        })?;
        Ok(Self {
            _thread: Worker(thread),
            _registration: registration,
        })
    }
}

impl Drop for Unplug {
    fn drop(&mut self) {
        UNPLUG.store(true, Release);
    }
}
