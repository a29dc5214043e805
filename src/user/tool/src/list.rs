// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! `quiesce ls` and `quiesce top`.

use crate::{
    args,
    failure::{describe, note, Failure, UNAVAILABLE},
    json::{self, Object},
    print,
    procfs::{self, Barrier, End, State},
};
use lexopt::{Arg::*, Parser};
use quiesce_barrier::{Cause, Device, Error};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// What is missing if there are no barriers.
const DEVICE: &str = "/dev/quiesce";

/// Number of late parties that a line names; `--json` has more.
const NAMED: usize = 8;

/// The shortest time between two lists: reading `/proc` takes the time of a processor.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long each barrier has been waiting for parties that are late, as far as observed.
#[derive(Default)]
struct Observed(BTreeMap<u64, Waiting>);

struct Waiting {
    /// Phase, or arrivals of both sides.
    progress: (u64, u64),
    since: Instant,
    /// It was so when it was first seen.
    from_the_start: bool,
}

impl Observed {
    /// Notes which barriers wait now.
    fn update(&mut self, barriers: &BTreeMap<u64, Barrier>, first: bool) {
        let now = Instant::now();
        self.0.retain(|id, _| barriers.contains_key(id));
        for (&id, barrier) in barriers {
            let progress = match &barrier.state {
                State::Group {
                    phase,
                    arrived,
                    broken: None,
                    ..
                } if *arrived != 0 => Some((*phase, 0)),
                State::Pair([a, b]) if a.arrivals != b.arrivals => Some((a.arrivals, b.arrivals)),
                _ => None,
            };
            match progress {
                None => {
                    self.0.remove(&id);
                }
                Some(progress) => {
                    let known = self.0.get(&id).is_some_and(|w| w.progress == progress);
                    if !known {
                        self.0.insert(
                            id,
                            Waiting {
                                progress,
                                since: now,
                                from_the_start: first,
                            },
                        );
                    }
                }
            }
        }
    }

    fn seconds(&self, id: u64) -> Option<f64> {
        self.0.get(&id).map(|w| w.since.elapsed().as_secs_f64())
    }

    /// Returns the time in words; it is longer if the barrier already waited at the start.
    fn text(&self, id: u64) -> String {
        self.0.get(&id).map_or("-".into(), |w| {
            let more = if w.from_the_start { ">" } else { "" };
            format!("{more}{}", seconds(w.since.elapsed()))
        })
    }
}

fn cause(end: &End) -> Cause {
    Cause {
        why: end.why,
        party: end.party,
        pid: (end.pid != 0).then_some(end.pid),
    }
}

/// Returns "name pid" of a process.
fn process(pid: u32) -> String {
    match procfs::name(pid) {
        name if name.is_empty() => pid.to_string(),
        name => format!("{name} {pid}"),
    }
}

/// Returns a time in words.
fn seconds(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    match tenths / 10 {
        0..=999 => format!("{}.{}s", tenths / 10, tenths % 10),
        s @ 1000..=59_999 => format!("{}m", s / 60),
        s => format!("{}h", s / 3600),
    }
}

/// Returns the columns of a barrier: kind, phase, arrived, waiting, since, late.
fn columns(barrier: &Barrier) -> [String; 6] {
    match &barrier.state {
        State::Group {
            phase,
            age,
            parties,
            arrived,
            waiting,
            late,
            broken,
            ..
        } => {
            let since = match age {
                Some(age) if broken.is_none() => seconds(*age),
                _ => "-".into(),
            };
            let late = if let Some(end) = broken {
                format!("broken: {}", describe(&cause(end)))
            } else if *arrived == 0 {
                "-".into()
            } else {
                let mut named: Vec<_> = late
                    .iter()
                    .take(NAMED)
                    .map(|late| match late.pid {
                        0 => format!("{} (open)", late.party),
                        pid => format!("{} ({})", late.party, process(pid)),
                    })
                    .collect();
                if late.len() > NAMED {
                    named.push(format!("{} more", late.len() - NAMED));
                }
                named.join(", ")
            };
            [
                "group".into(),
                phase.to_string(),
                format!("{arrived}/{parties}"),
                waiting.to_string(),
                since,
                late,
            ]
        }
        State::Pair(sides) => {
            let [a, b] = sides;
            let ends: Vec<_> = sides
                .iter()
                .filter_map(|side| Some(describe(&cause(side.end.as_ref()?))))
                .collect();
            let late = if !ends.is_empty() {
                format!("ended: {}", ends.join(", "))
            } else if a.arrivals == b.arrivals {
                "-".into()
            } else {
                let late = usize::from(b.arrivals < a.arrivals);
                format!("{late} ({})", process(sides[late].pid))
            };
            [
                "pair".into(),
                "-".into(),
                format!("{}:{}", a.arrivals, b.arrivals),
                (a.waiting + b.waiting).to_string(),
                "-".into(),
                late,
            ]
        }
    }
}

fn table(barriers: &BTreeMap<u64, Barrier>, observed: Option<&Observed>) -> String {
    let mut out = format!(
        "{:>7} {:5} {:>7} {:>9} {:>7} {:>7} LATE\n",
        "BARRIER", "KIND", "PHASE", "ARRIVED", "WAITING", "SINCE"
    );
    for (&id, barrier) in barriers {
        let [kind, phase, arrived, waiting, mut since, late] = columns(barrier);
        // Nothing has the time of a pair.
        if let (State::Pair(_), Some(observed)) = (&barrier.state, observed) {
            since = observed.text(id);
        }
        out +=
            &format!("{id:>7} {kind:5} {phase:>7} {arrived:>9} {waiting:>7} {since:>7} {late}\n");
    }
    out
}

fn as_json(barriers: &BTreeMap<u64, Barrier>, observed: Option<&Observed>) -> String {
    json::array(barriers.iter().map(|(&id, barrier)| {
        let object = Object::new().with("barrier", id);
        let object = match &barrier.state {
            State::Group {
                phase,
                age,
                parties,
                arrived,
                open,
                waiting,
                late,
                broken,
            } => object
                .text("kind", "group")
                .with("phase", phase)
                .with("parties", parties)
                .with("arrived", arrived)
                .with("open", open)
                .with("waiting", waiting)
                .with(
                    "late",
                    json::array(late.iter().map(|late| {
                        Object::new()
                            .with("party", late.party)
                            .maybe("pid", (late.pid != 0).then_some(late.pid))
                    })),
                )
                .maybe(
                    "broken",
                    broken.as_ref().map(|end| json::cause(&cause(end))),
                )
                .maybe(
                    "phase_seconds",
                    age.map(|age| format!("{:.3}", age.as_secs_f64())),
                ),
            State::Pair(sides) => object.text("kind", "pair").with(
                "sides",
                json::array(sides.iter().map(|side| {
                    Object::new()
                        .with("pid", side.pid)
                        .with("arrivals", side.arrivals)
                        .with("waiting", side.waiting)
                        .maybe("end", side.end.as_ref().map(|end| json::cause(&cause(end))))
                })),
            ),
        };
        let seconds = observed.and_then(|o| o.seconds(id));
        object
            .maybe("late_seconds", seconds.map(|s| format!("{s:.3}")))
            .with(
                "holders",
                json::array(barrier.holders.iter().map(|holder| {
                    Object::new()
                        .with("pid", holder.pid)
                        .text("name", &procfs::name(holder.pid))
                        .with("fd", holder.fd)
                        .maybe("party", holder.party)
                })),
            )
    }))
}

/// Fails if there can be no barriers: without /proc nothing can be listed.
fn need_proc() -> Result<(), Failure> {
    if Path::new("/proc/self/fdinfo").exists() {
        return Ok(());
    }
    Err(Failure::Text(UNAVAILABLE, "/proc is not mounted".into()))
}

pub fn ls(mut parser: Parser) -> Result<u8, Failure> {
    let mut json = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => json = true,
            _ => return Err(arg.unexpected().into()),
        }
    }
    need_proc()?;
    let barriers = procfs::barriers();
    match Device::open() {
        Err(error @ Error::NoDevice(_)) if barriers.is_empty() && !Path::new(DEVICE).exists() => {
            note(error);
        }
        _ => {}
    }
    print(if json {
        as_json(&barriers, None) + "\n"
    } else {
        table(&barriers, None)
    })?;
    Ok(0)
}

pub fn top(mut parser: Parser) -> Result<u8, Failure> {
    let (mut interval, mut count, mut json) = (Duration::from_secs(1), u64::MAX, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('d') | Long("delay") => interval = args::time(&mut parser)?.max(SHORTEST),
            Short('n') | Long("count") => count = args::number(&mut parser)?,
            Long("json") => json = true,
            _ => return Err(arg.unexpected().into()),
        }
    }
    need_proc()?;
    let terminal = io::stdout().is_terminal() && !json;
    let mut observed = Observed::default();
    for round in 0..count {
        if round != 0 {
            thread::sleep(interval);
        }
        let barriers = procfs::barriers();
        observed.update(&barriers, round == 0);
        print(if json {
            as_json(&barriers, Some(&observed)) + "\n"
        } else {
            // Home and erase, so that the table stays in its place.
            let clear = if terminal { "\x1b[H\x1b[J" } else { "" };
            format!("{clear}{}", table(&barriers, Some(&observed)))
        })?;
    }
    Ok(0)
}
