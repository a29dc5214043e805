// SPDX-License-Identifier: GPL-2.0

//! Sample: a clock that a hardware interrupt writes and everybody reads.
//!
//! A timer in hardirq context advances the clock ten times a second. A timer in softirq context and
//! the task that loads the module read it without a lock and without delaying the writer. On
//! PREEMPT_RT only a raw lock can be written in a hardware interrupt; elsewhere a plain `SeqLock`
//! would do.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
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
            RelativeHardMode,
            RelativeSoftMode, //
        },
        Delta,
        Instant,
        Monotonic, //
    },
};
use quiesce::{
    seq_field,
    seqlock::{
        Irq,
        RawSeqLock, //
    },
    seqlock_static,
};

module! {
    type: Sample,
    name: "rust_seqlock",
    authors: ["The quiesce developers"],
    description: "Uses a sequence lock",
    license: "GPL",
}

/// The time since the module was loaded; `seconds` and `nanos` belong together.
#[derive(Clone, Copy)]
struct Time {
    seconds: u64,
    nanos: u32,
    ticks: u32,
}

seqlock_static! {
    /// Written in hardware interrupts, so that writers disable them: a weaker one does not compile.
    static CLOCK: RawSeqLock<Time, Irq> = Time { seconds: 0, nanos: 0, ticks: 0 };
}

const TICK: Delta = Delta::from_millis(100);

static SOFTIRQ_READS: Atomic<u32> = Atomic::new(0);
static STEPS_BACK: Atomic<u32> = Atomic::new(0);

/// The writer.
#[pin_data]
struct Ticker {
    #[pin]
    timer: HrTimer<Self>,
    start: Instant<Monotonic>,
}

impl HrTimerCallback for Ticker {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let nanos = this.start.elapsed().as_nanos() as u64;
        let mut clock = CLOCK.write_irq();
        let ticks = clock.ticks;
        clock.set(Time {
            seconds: nanos / 1_000_000_000,
            nanos: (nanos % 1_000_000_000) as u32,
            ticks: ticks.wrapping_add(1),
        });
        drop(clock);
        context.forward_now(TICK);
        HrTimerRestart::Restart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Ticker {
        mode: RelativeHardMode<Monotonic>, field: self.timer
    }
}

/// A reader in softirqs.
#[pin_data]
struct Watcher {
    #[pin]
    timer: HrTimer<Self>,
    last: Atomic<u64>,
}

impl HrTimerCallback for Watcher {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        mut context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        let Time { seconds, nanos, .. } = CLOCK.read();
        let now = seconds * 1_000_000_000 + u64::from(nanos);
        if now < this.last.load(Relaxed) {
            STEPS_BACK.fetch_add(1, Relaxed);
        }
        this.last.store(now, Relaxed);
        SOFTIRQ_READS.fetch_add(1, Relaxed);
        context.forward_now(Delta::from_millis(7));
        HrTimerRestart::Restart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Watcher {
        mode: RelativeSoftMode<Monotonic>, field: self.timer
    }
}

struct Sample {
    _ticker: ArcHrTimerHandle<Ticker>,
    _watcher: ArcHrTimerHandle<Watcher>,
}

impl kernel::Module for Sample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let ticker = Arc::pin_init(
            pin_init!(Ticker {
                timer <- HrTimer::new(),
                start: Instant::now(),
            }),
            GFP_KERNEL,
        )?;
        let watcher = Arc::pin_init(
            pin_init!(Watcher {
                timer <- HrTimer::new(),
                last: Atomic::new(0),
            }),
            GFP_KERNEL,
        )?;
        let sample = Self {
            _ticker: ticker.start(TICK),
            _watcher: watcher.start(TICK),
        };
        for _ in 0..3 {
            fsleep(Delta::from_millis(250));
            let Time {
                seconds,
                nanos,
                ticks,
            } = CLOCK.read();
            pr_info!("{seconds}.{nanos:09} s, {ticks} ticks\n");
        }
        Ok(sample)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        pr_info!(
            "{} ticks, read {} times in softirqs, {} steps back\n",
            CLOCK.read_field(seq_field!(Time, ticks)),
            SOFTIRQ_READS.load(Relaxed),
            STEPS_BACK.load(Relaxed),
        );
    }
}
