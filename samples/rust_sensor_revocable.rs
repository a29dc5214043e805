// SPDX-License-Identifier: GPL-2.0

//! Sample: the driver of `rust_sensor.rs` with the kernel crate's `Revocable` instead of rundown
//! protection.
//!
//! An access is an RCU read-side critical section: it must not sleep. So what a function waits for, and
//! what it copies to and from user space, is outside of the access: the sensor may be unplugged in
//! between, and each function has to handle that. Unplugging waits for a grace period, not for system
//! calls.

use kernel::{
    fs::{
        File,
        Kiocb, //
    },
    impl_has_hr_timer,
    ioctl::_IOR,
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
    revocable::Revocable,
    str::CString,
    sync::{
        Arc,
        ArcBorrow, //
    },
    time::{
        delay::fsleep,
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeHardMode, //
        },
        Delta,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use quiesce::{
    rcu::{
        self,
        Domain,
        Object,
        RcuCell, //
    },
    seqlock::{
        Irq,
        RawSeqLock, //
    },
};

module! {
    type: Bus,
    name: "rust_sensor_revocable",
    authors: ["The quiesce developers"],
    description: "The driver of a sensor that can be unplugged while it is in use, with Revocable",
    license: "GPL",
}

/// Returns three `u64`: the samples, their sum, and the reads.
const SENSOR_STATS: u32 = _IOR::<[u64; 3]>(b'q' as u32, 0x80);

/// The statistics: the fields belong together.
#[derive(Clone, Copy, Default)]
struct Stats {
    samples: u64,
    sum: u64,
    reads: u64,
}

struct Config {
    period: Delta,
}

/// What the interrupt uses.
#[pin_data]
struct Sampler {
    #[pin]
    timer: HrTimer<Self>,
    stats: RawSeqLock<Stats, Irq>,
    config: RcuCell<KBox<Object<Config>>>,
}

impl HrTimerCallback for Sampler {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        this.stats.write_irq().update(|stats| {
            stats.samples += 1;
            stats.sum += stats.samples;
        });
        let period = rcu::global().run(|t| this.config.read(t).period);
        context.forward_now(period);
        HrTimerRestart::Restart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Sampler {
        mode: RelativeHardMode<Monotonic>, field: self.timer
    }
}

struct Sensor {
    sampler: Arc<Sampler>,
    _running: ArcHrTimerHandle<Sampler>,
}

impl Sensor {
    fn new() -> impl Init<Self, Error> {
        pin_init::init_scope(|| {
            let period = Delta::from_millis(1);
            let config = Object::new(Config { period }).boxed(GFP_KERNEL)?;
            let sampler = Arc::pin_init(
                pin_init!(Sampler {
                    timer <- HrTimer::new(),
                    stats: RawSeqLock::new(Stats::default()),
                    config: RcuCell::new(config),
                }),
                GFP_KERNEL,
            )?;
            Ok(try_init!(Self {
                _running: sampler.clone().start(period),
                sampler,
            }? Error))
        })
    }
}

/// An open file.
struct SensorFile(Arc<Revocable<Sensor>>);

impl SensorFile {
    /// Accesses the sensor, unless it was unplugged. `f` must not sleep.
    fn access<R>(&self, f: impl FnOnce(&Sensor) -> R) -> Result<R> {
        self.0.try_access_with(f).ok_or(ENODEV)
    }
}

#[vtable]
impl MiscDevice for SensorFile {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        let sensor = CURRENT.lock().clone().ok_or(ENODEV)?;
        Ok(KBox::new(Self(sensor), GFP_KERNEL)?)
    }

    fn read_iter(kiocb: Kiocb<'_, KBox<Self>>, to: &mut IovIterDest<'_>) -> Result<usize> {
        // The hardware is slow, and cannot be waited for during an access.
        fsleep(Delta::from_micros(100));
        let samples = kiocb.file().access(|sensor| {
            sensor.sampler.stats.write_irq().update(|stats| {
                stats.reads += 1;
                stats.samples
            })
        })?;
        let line = CString::try_from_fmt(fmt!("{samples}\n"))?;
        Ok(to.copy_to_iter(line.to_bytes()))
    }

    fn write_iter(kiocb: Kiocb<'_, KBox<Self>>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let mut text = KVec::new();
        let len = from.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        let text = core::str::from_utf8(&text).map_err(|_| EINVAL)?;
        let period: u32 = text.trim().parse().map_err(|_| EINVAL)?;
        let period = Delta::from_micros(i64::from(period.max(50)));
        let config = Object::new(Config { period }).boxed(GFP_KERNEL)?;
        kiocb
            .file()
            .access(|sensor| sensor.sampler.config.publish(config))?;
        Ok(len)
    }

    fn ioctl(this: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != SENSOR_STATS {
            return Err(ENOTTY);
        }
        let stats = this.access(|sensor| sensor.sampler.stats.read())?;
        let to = UserSlice::new(UserPtr::from_addr(arg), size_of::<[u64; 3]>());
        to.writer()
            .write(&[stats.samples, stats.sum, stats.reads])?;
        Ok(0)
    }
}

kernel::sync::global_lock! {
    // SAFETY: The module's init calls `init()` before the device is registered, which is the first
    // use.
    unsafe(uninit) static PORT: Mutex<Option<Pin<KBox<MiscDeviceRegistration<SensorFile>>>>> = None;
}

kernel::sync::global_lock! {
    // SAFETY: Initialised by the module's init before it is used. `open()`, which is called with the
    // lock of `misc_deregister()`, must not lock `PORT`.
    unsafe(uninit) static CURRENT: Mutex<Option<Arc<Revocable<Sensor>>>> = None;
}

fn plug() -> Result {
    let mut port = PORT.lock();
    if port.is_some() {
        return Err(EBUSY);
    }
    let sensor = Arc::pin_init(Revocable::new(Sensor::new()), GFP_KERNEL)?;
    *CURRENT.lock() = Some(sensor);
    let options = MiscDeviceOptions { name: c"sensor" };
    match KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL) {
        Ok(registration) => *port = Some(registration),
        Err(err) => {
            *CURRENT.lock() = None;
            return Err(err);
        }
    }
    Ok(())
}

fn unplug() -> Result {
    let mut port = PORT.lock();
    drop(port.take().ok_or(ENODEV)?);
    let current = CURRENT.lock().take();
    if let Some(sensor) = current {
        // Waits for a grace period, and drops the sensor.
        sensor.revoke();
    }
    Ok(())
}

/// The file of `/dev/sensor_bus`.
struct BusFile;

#[vtable]
impl MiscDevice for BusFile {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn write_iter(_kiocb: Kiocb<'_, KBox<Self>>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let mut command = KVec::new();
        let len = from.copy_from_iter_vec(&mut command, GFP_KERNEL)?;
        match command.trim_ascii() {
            b"plug" => plug()?,
            b"unplug" => unplug()?,
            _ => return Err(EINVAL),
        }
        Ok(len)
    }
}

#[pin_data(PinnedDrop)]
struct Bus {
    #[pin]
    _bus: MiscDeviceRegistration<BusFile>,
}

impl kernel::InPlaceModule for Bus {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: A module's init runs once, and the device whose calls use the locks is registered
        // below.
        unsafe {
            PORT.init();
            CURRENT.init();
        }
        try_pin_init!(Self {
            _bus <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"sensor_bus" }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Bus {
    fn drop(self: Pin<&mut Self>) {
        let _ = unplug();
    }
}
