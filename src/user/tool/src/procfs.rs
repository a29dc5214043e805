// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! The barriers of the processes that one may see, from `/proc/PID/fdinfo`.

use quiesce_barrier::Why;
use rustix::time::{clock_gettime, ClockId};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The end of a party or a group, as `fdinfo` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub party: Option<u32>,
    pub pid: u32,
    pub why: Why,
}

/// A party that has not arrived. Without a process its seat is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    pub party: u32,
    pub pid: u32,
}

/// A side of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub pid: u32,
    pub arrivals: u64,
    pub waiting: u32,
    pub end: Option<End>,
}

/// The state of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Group {
        phase: u64,
        /// How long the phase has lasted, if the module reports that.
        age: Option<Duration>,
        parties: u32,
        arrived: u32,
        open: u32,
        waiting: u32,
        late: Vec<Late>,
        broken: Option<End>,
    },
    Pair([Side; 2]),
}

/// A descriptor of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub fd: u32,
    /// The party, `None` for the group's own descriptor.
    pub party: Option<u32>,
}

/// A barrier and the processes that have descriptors of it.
#[derive(Debug)]
pub struct Barrier {
    pub state: State,
    pub holders: Vec<Holder>,
}

/// Returns all barriers of the processes that may be seen, by number.
pub fn barriers() -> BTreeMap<u64, Barrier> {
    let mut found: BTreeMap<u64, Barrier> = BTreeMap::new();
    for (pid, path) in numbered(Path::new("/proc")) {
        // Processes end, and those of other users cannot be read.
        for (fd, link) in numbered(&path.join("fd")) {
            let quiesce = fs::read_link(&link)
                .is_ok_and(|name| name.to_string_lossy().starts_with("anon_inode:[quiesce_"));
            if !quiesce {
                continue;
            }
            let Ok(text) = fs::read_to_string(path.join("fdinfo").join(fd.to_string())) else {
                continue;
            };
            if let Some((id, party, state)) = parse(&text, boottime()) {
                let holder = Holder { pid, fd, party };
                let barrier = found.entry(id).or_insert_with(|| Barrier {
                    state: state.clone(),
                    holders: Vec::new(),
                });
                // The last read is the newest.
                barrier.state = state;
                barrier.holders.push(holder);
            }
        }
    }
    found
}

/// Returns the time since the machine was booted.
fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // The clock is not negative, and its nanoseconds are below 10^9.
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Returns the entries of a folder whose names are numbers, in order.
fn numbered(path: &Path) -> Vec<(u32, PathBuf)> {
    let mut entries: Vec<_> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    entries.sort_unstable();
    entries
}

/// Returns the name of a process, without what a terminal would interpret.
pub fn name(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    printable(String::from_utf8_lossy(&name).trim_end())
}

/// Returns `text` without what terminals and viewers interpret: control characters, those that
/// change the direction of what follows or are not visible, and the noncharacters of XML.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => '?',
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => '?',
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '?',
            '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e007f}' => '?',
            c => c,
        })
        .collect()
}

/// Returns the barrier's number, the party's, and the state, of which `now` is the time by
/// `CLOCK_BOOTTIME`.
fn parse(text: &str, now: Duration) -> Option<(u64, Option<u32>, State)> {
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(":\t") {
            lines.insert(name, value);
        }
    }
    let number = |name: &str| -> Option<u64> { lines.get(name)?.trim().parse().ok() };
    // `party` of a group's party has more after the number.
    let party = lines
        .get("party")
        .and_then(|value| value.split(' ').next()?.parse().ok());
    let (kind, id) = lines.get("quiesce")?.split_once(' ')?;
    let state = match kind {
        "group" => State::Group {
            phase: number("phase")?,
            age: number("phase-since").map(|since| now.saturating_sub(Duration::from_nanos(since))),
            parties: number("parties")? as u32,
            arrived: number("arrived")? as u32,
            open: number("open")? as u32,
            waiting: number("waiting")? as u32,
            late: lines
                .get("late")?
                .split_whitespace()
                .filter_map(|late| {
                    let (party, pid) = late.split_once(':')?;
                    Some(Late {
                        party: party.parse().ok()?,
                        pid: pid.parse().ok()?,
                    })
                })
                .collect(),
            broken: {
                let words = Words::new(lines.get("broken")?);
                words.end(words.number("by"), words.number("pid"))
            },
        },
        "pair" => State::Pair([
            side(lines.get("party-0")?, 0)?,
            side(lines.get("party-1")?, 1)?,
        ]),
        _ => return None,
    };
    Some((id.trim().parse().ok()?, party, state))
}

fn side(line: &str, party: i64) -> Option<Side> {
    let words = Words::new(line);
    Some(Side {
        pid: words.number("pid")? as u32,
        arrivals: words.number("placed").or(words.number("arrivals"))? as u64,
        waiting: words.number("waiting")? as u32,
        end: words.end(Some(party), words.number("by")),
    })
}

/// A line of names and values.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    fn number(&self, name: &str) -> Option<i64> {
        let at = self.0.iter().position(|word| *word == name)?;
        self.0.get(at + 1)?.parse().ok()
    }

    fn end(&self, party: Option<i64>, pid: Option<i64>) -> Option<End> {
        let status = self.number("status").unwrap_or(0) as i32;
        let code = self
            .0
            .iter()
            .position(|word| *word == "code")
            .and_then(|at| self.0.get(at + 1)?.parse().ok())
            .unwrap_or(0);
        Some(End {
            why: why(self.number("cause")? as u32, status, code)?,
            party: party.and_then(|party| u32::try_from(party).ok()),
            pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        })
    }
}

/// Returns the reason that has the interface's number `cause`.
pub fn why(cause: u32, status: i32, code: u64) -> Option<Why> {
    Some(match cause {
        0 => return None,
        1 => Why::Aborted(code),
        2 => Why::TimedOut,
        3 => Why::Closed,
        4 => Why::Exec,
        5 => Why::Exited(status),
        6 => Why::Killed(status),
        7 => Why::Unclaimed,
        other => Why::Unknown(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group() {
        let text = "pos:\t0\nflags:\t02\nquiesce:\tgroup 7\nphase:\t3\nphase-since:\t1500000000\nparties:\t4\narrived:\t1\n\
            open:\t1\nwaiting:\t1\nbroken:\tcause 6 by 2 pid 99 status 9 code 0\n\
            late:\t1:77 2:99 3:0 \nparty:\t0 pid 76 state 0x2 last 3 waiting 1\n";
        let (id, party, state) = parse(text, Duration::from_secs(2)).unwrap();
        assert_eq!((id, party), (7, Some(0)));
        let State::Group {
            phase,
            age,
            late,
            broken,
            ..
        } = state
        else {
            panic!("a group");
        };
        assert_eq!((phase, age), (3, Some(Duration::from_millis(500))));
        assert_eq!(late.len(), 3);
        assert_eq!(
            broken,
            Some(End {
                party: Some(2),
                pid: 99,
                why: Why::Killed(9)
            })
        );
    }

    #[test]
    fn pair() {
        let text = "quiesce:\tpair 8\nparty:\t1\nview:\t0\nbalance:\t0\nunread:\t0\n\
            party-0:\tpid 5 state 0x0 placed 2 waiting 1 cause 0 by 0 status 0 code 0\n\
            party-1:\tpid 6 state 0x8 placed 1 waiting 0 cause 1 by 6 status 0 code \
            18446744073709551615\n";
        let (id, party, state) = parse(text, Duration::ZERO).unwrap();
        assert_eq!((id, party), (8, Some(1)));
        let State::Pair([a, b]) = state else {
            panic!("a pair");
        };
        assert_eq!((a.arrivals, a.end), (2, None));
        assert_eq!(b.end.unwrap().why, Why::Aborted(u64::MAX));
    }

    #[test]
    fn names() {
        assert_eq!(
            printable("a\x1b[1m\u{9b}\u{202e}\u{ffff}\u{e9}"),
            "a?[1m???\u{e9}"
        );
    }

    #[test]
    fn nonsense() {
        for text in [
            "",
            "quiesce:\t",
            "quiesce:\tgroup x\n",
            "quiesce:\tring 1\n",
        ] {
            assert!(parse(text, Duration::ZERO).is_none(), "{text}");
        }
    }
}
