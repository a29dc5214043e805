// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! The events of a trace, by barrier.

use crate::procfs::printable;
use quiesce_barrier::Why;
use std::collections::{BTreeMap, BTreeSet};

/// Length of the name of a task in a line of the trace, which the kernel pads to it.
pub const NAME: usize = 16;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Join,
    Arrive {
        phase: u64,
    },
    WaitBegin,
    WaitEnd {
        errno: i32,
    },
    Abort {
        code: u64,
    },
    /// The party ended, with the cause in words.
    End {
        cause: String,
    },
    Leave,
    PhaseEnd {
        phase: u64,
    },
    Break {
        cause: String,
    },
    Reset {
        phase: u64,
    },
}

/// One line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time in microseconds.
    pub at: u64,
    /// The task that caused it.
    pub pid: u32,
    pub name: String,
    pub barrier: u64,
    pub party: Option<u32>,
    pub what: What,
}

/// Returns the microseconds of "SECONDS.MICROSECONDS".
fn microseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let fraction = format!("{fraction:0<6}");
    let seconds: u64 = seconds.parse().ok()?;
    Some(seconds.checked_mul(1_000_000)? + fraction.get(..6)?.parse::<u64>().ok()?)
}

impl Event {
    /// Parses a line as the kernel prints it: `COMM-PID [CPU] FLAGS TIME: EVENT: NAME=VALUE...`.
    /// The name of the task may contain anything.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (name, rest) = line.split_at_checked(NAME)?;
        let name = printable(String::from_utf8_lossy(name).trim_start());
        let rest = std::str::from_utf8(rest).ok()?.strip_prefix('-')?;
        let (task, rest) = rest.split_once('[')?;
        let pid = task.trim().parse().ok()?;
        let (head, rest) = rest.split_once(": ")?;
        let at = microseconds(head.split_whitespace().last()?)?;
        let (event, rest) = rest.split_once(": ")?;
        let fields: BTreeMap<&str, &str> = rest
            .split_whitespace()
            .filter_map(|field| field.split_once('='))
            .collect();
        let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
        let signed = |name: &str| fields.get(name)?.parse::<i32>().ok();
        let what = match event.strip_prefix("quiesce_")? {
            "join" => What::Join,
            "arrive" | "place" => What::Arrive {
                phase: number("ticket")?,
            },
            "wait_begin" => What::WaitBegin,
            "wait_end" => What::WaitEnd {
                errno: -signed("ret")?,
            },
            "abort" => What::Abort {
                code: number("code")?,
            },
            "party_end" | "death" => What::End {
                cause: cause(&fields),
            },
            "leave" => What::Leave,
            "phase_end" => What::PhaseEnd {
                phase: number("phase")?,
            },
            "break" => What::Break {
                cause: cause(&fields),
            },
            "reset" => What::Reset {
                phase: number("phase")?,
            },
            _ => return None,
        };
        Some(Self {
            at,
            pid,
            name,
            barrier: number("id")?,
            party: signed("party").and_then(|party| u32::try_from(party).ok()),
            what,
        })
    }

    /// Returns the event in words, without the party.
    pub fn text(&self) -> String {
        match &self.what {
            What::Join => "joins".into(),
            What::Arrive { phase } => format!("arrives ({phase})"),
            What::WaitBegin => "waits".into(),
            What::WaitEnd { errno: 0 } => "continues".into(),
            What::WaitEnd { errno } => match *errno {
                libc::ETIMEDOUT => "wait timed out".into(),
                libc::ECONNABORTED | libc::EOWNERDEAD => "wait failed: broken".into(),
                // What the kernel returns to restart the call is no error number of user space.
                libc::EINTR | 512..=516 => "wait interrupted by a signal".into(),
                errno => format!("wait failed: error {errno}"),
            },
            What::Abort { code } => format!("aborts with code {code}"),
            What::End { cause } => cause.clone(),
            What::Leave => "leaves".into(),
            What::PhaseEnd { phase } => format!("phase {phase} is over"),
            What::Break { cause } => format!("broken: {cause}"),
            What::Reset { phase } => format!("reset, phase {phase} begins"),
        }
    }
}

/// Returns the cause of an end in words.
fn cause(fields: &BTreeMap<&str, &str>) -> String {
    let status = fields.get("status").copied().unwrap_or("0");
    let pid = match fields.get("pid").copied() {
        None | Some("0" | "-1") => String::new(),
        Some(pid) => format!(" (pid {pid})"),
    };
    let number = status.parse().unwrap_or(0);
    let why = match fields.get("cause").copied().unwrap_or("?") {
        // The event has no code; the abort itself is an event that does.
        "abort" => return format!("aborted{pid}"),
        "timeout" => Why::TimedOut,
        "close" => Why::Closed,
        "exec" => Why::Exec,
        "exit" => Why::Exited(number),
        "signal" => Why::Killed(number),
        "unclaimed" => Why::Unclaimed,
        other => return format!("ended by {}{pid}", printable(other)),
    };
    format!("{why}{pid}")
}

/// The events of one barrier, in order.
pub struct Timeline {
    pub barrier: u64,
    pub parties: Vec<u32>,
    pub events: Vec<Event>,
}

impl Timeline {
    /// Returns the timeline of each barrier, with its events in their order.
    pub fn all(mut events: Vec<Event>) -> Vec<Self> {
        events.sort_by_key(|event| event.at);
        let mut barriers: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
        for event in events {
            barriers.entry(event.barrier).or_default().push(event);
        }
        barriers
            .into_iter()
            .map(|(barrier, events)| {
                let parties: BTreeSet<_> = events.iter().filter_map(|e| e.party).collect();
                Self {
                    barrier,
                    parties: parties.into_iter().collect(),
                    events,
                }
            })
            .collect()
    }

    /// Returns the place of a party among the lanes.
    pub fn lane(&self, party: u32) -> Option<usize> {
        self.parties.binary_search(&party).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Event> {
        Event::parse(line.as_bytes())
    }

    #[test]
    fn lines() {
        let event = parse(
            "              sh-123     [001] .....  1234.567890: quiesce_place: \
             id=3 party=0 count=1 ticket=2",
        )
        .unwrap();
        assert_eq!(
            (event.at, event.pid, event.barrier),
            (1_234_567_890, 123, 3)
        );
        assert_eq!(event.name, "sh");
        assert_eq!(event.what, What::Arrive { phase: 2 });
        let event = parse(
            "     kworker/0:1-9       [000] d..2.    5.000001: quiesce_death: \
             id=3 party=1 cause=signal status=9 pid=77",
        )
        .unwrap();
        assert!(
            event.text().contains("killed by signal 9"),
            "{}",
            event.text()
        );
        let event = parse(
            "              sh-123     [001] .....  1.0: quiesce_break: \
             id=3 party=-1 cause=timeout status=0 code=0 pid=77",
        )
        .unwrap();
        assert_eq!(event.party, None);
    }

    #[test]
    fn name_like_a_line() {
        let event = parse(
            "   : quiesce_x: -5       [001] .....  1.000002: quiesce_wait_end: id=3 party=0 ret=-110",
        )
        .unwrap();
        assert_eq!((event.pid, event.name.as_str()), (5, ": quiesce_x: "));
        assert_eq!(
            event.what,
            What::WaitEnd {
                errno: libc::ETIMEDOUT
            }
        );
        let event =
            parse("            a\nb\x1b-5       [001] .....  1.0: quiesce_leave: id=3 party=0")
                .unwrap();
        assert_eq!(event.name, "a?b?");
    }

    #[test]
    fn nonsense() {
        for line in [
            "",
            "CPU:0 [LOST 12 EVENTS]",
            "                -1 [0] . 1.0: other: id=1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
