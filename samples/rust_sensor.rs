// SPDX-License-Identifier: GPL-2.0

//! Sample: the driver of a sensor that can be unplugged while it is in use.
//!
//! Each part of its state is protected by the primitive that fits:
//!
//! - the sensor itself by rundown protection: system calls use it and may sleep, and unplugging waits
//!   for them. Files that are still open get `ENODEV` from then on.
//! - its statistics by a sequence lock: a hardware interrupt writes them with each sample, tasks read
//!   them together without a lock.
//! - its configuration by RCU: the interrupt reads it, a task replaces it.
//!
//! The sensor is a timer. `/dev/sensor` returns the number of samples when it is read, takes a sampling
//! period in microseconds when it is written, and has an ioctl for the statistics. Writing `plug` or
//! `unplug` to `/dev/sensor_bus` is what the hardware would do. `c_sensor.c` is the same driver in C,
//! `rust_sensor_revocable.rs` the one with `Revocable` instead of rundown protection.

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
    rundown::{
        DeviceGuard,
        UnpluggableDevice,
        UnpluggableRegistration, //
    },
    seqlock::{
        Irq,
        RawSeqLock, //
    },
};

module! {
    type: Bus,
    name: "rust_sensor",
    authors: ["The quiesce developers"],
    description: "The driver of a sensor that can be unplugged while it is in use",
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

// Each function has the sensor as long as it runs, and may sleep: unplugging waits for it.
#[vtable]
impl UnpluggableDevice for Sensor {
    type Open = ();

    fn open(_sensor: &DeviceGuard<'_, Self>, _file: &File) -> Result<()> {
        Ok(())
    }

    fn read(sensor: &DeviceGuard<'_, Self>, _open: &(), to: &mut IovIterDest<'_>) -> Result<usize> {
        // The hardware is slow.
        fsleep(Delta::from_micros(100));
        let mut stats = sensor.sampler.stats.write_irq();
        let samples = stats.update(|stats| {
            stats.reads += 1;
            stats.samples
        });
        drop(stats);
        let line = CString::try_from_fmt(fmt!("{samples}\n"))?;
        Ok(to.copy_to_iter(line.to_bytes()))
    }

    fn write(
        sensor: &DeviceGuard<'_, Self>,
        _open: &(),
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let mut text = KVec::new();
        let len = from.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        let text = core::str::from_utf8(&text).map_err(|_| EINVAL)?;
        let period: u32 = text.trim().parse().map_err(|_| EINVAL)?;
        let period = Delta::from_micros(i64::from(period.max(50)));
        let config = Object::new(Config { period }).boxed(GFP_KERNEL)?;
        sensor.sampler.config.publish(config);
        Ok(len)
    }

    fn ioctl(sensor: &DeviceGuard<'_, Self>, _open: &(), cmd: u32, arg: usize) -> Result<isize> {
        if cmd != SENSOR_STATS {
            return Err(ENOTTY);
        }
        let stats = sensor.sampler.stats.read();
        let to = UserSlice::new(UserPtr::from_addr(arg), size_of::<[u64; 3]>());
        to.writer()
            .write(&[stats.samples, stats.sum, stats.reads])?;
        Ok(0)
    }
}

kernel::sync::global_lock! {
    // SAFETY: The module's init calls `init()` before the device is registered, which is the first
    // use.
    unsafe(uninit) static PORT: Mutex<Option<Pin<KBox<UnpluggableRegistration<Sensor>>>>> = None;
}

fn plug() -> Result {
    let mut port = PORT.lock();
    if port.is_some() {
        return Err(EBUSY);
    }
    let options = MiscDeviceOptions { name: c"sensor" };
    let sensor = UnpluggableRegistration::register(options, Sensor::new());
    *port = Some(KBox::pin_init(sensor, GFP_KERNEL)?);
    Ok(())
}

fn unplug() -> Result {
    // The drop waits until nobody uses the sensor any more.
    PORT.lock().take().map(drop).ok_or(ENODEV)
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
        // SAFETY: A module's init runs once, and the device whose calls use the lock is registered
        // below.
        unsafe { PORT.init() };
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
