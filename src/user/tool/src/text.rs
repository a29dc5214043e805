// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! A timeline as text: a column for each party, a line for each event.

use crate::timeline::{Event, Timeline, What};

/// Number of columns that fit; events of other parties are lines without a mark.
const LANES: usize = 20;

/// What the legend below a timeline explains.
const LEGEND: &str = "o arrives  | waits  . runs  = phase over  X ended  ! broken or aborted";

/// Returns the timelines, one below the other.
pub fn render(timelines: &[Timeline]) -> String {
    let mut out = String::new();
    for timeline in timelines {
        one(timeline, &mut out);
    }
    if !timelines.is_empty() {
        out += LEGEND;
        out.push('\n');
    }
    out
}

/// Returns the mark of an event in its party's column, and that of the time after it.
fn marks(event: &Event) -> (char, Option<char>) {
    match event.what {
        What::Join => ('+', Some('.')),
        What::Arrive { .. } => ('o', None),
        What::WaitBegin => ('|', Some('|')),
        What::WaitEnd { .. } => ('.', Some('.')),
        What::Abort { .. } => ('!', None),
        What::End { .. } => ('X', Some(' ')),
        What::Leave => ('-', Some(' ')),
        What::PhaseEnd { .. } | What::Break { .. } | What::Reset { .. } => ('=', None),
    }
}

fn one(timeline: &Timeline, out: &mut String) {
    let lanes = timeline.parties.len().min(LANES);
    let start = timeline.events.first().map_or(0, |event| event.at);
    let mut head = String::new();
    for party in &timeline.parties[..lanes] {
        head += &format!("{party:>3}");
    }
    *out += &format!(
        "barrier {}, {} parties\n{:>12} {head}\n",
        timeline.barrier,
        timeline.parties.len(),
        "ms"
    );
    // Parties of a group are announced by join; others are there from the beginning.
    let mut state = vec!['.'; lanes];
    for event in &timeline.events {
        if let (What::Join, Some(lane)) = (&event.what, event.party.and_then(|p| timeline.lane(p)))
        {
            if let Some(state) = state.get_mut(lane) {
                *state = ' ';
            }
        }
    }
    for event in &timeline.events {
        let mut row = state.clone();
        let lane = event
            .party
            .and_then(|party| timeline.lane(party))
            .filter(|&lane| lane < lanes);
        let (mark, after) = marks(event);
        match event.what {
            What::PhaseEnd { .. } | What::Reset { .. } => row.fill('='),
            What::Break { .. } => row.fill('!'),
            _ => {
                if let Some(lane) = lane {
                    row[lane] = mark;
                    state[lane] = after.unwrap_or(state[lane]);
                }
            }
        }
        let at = (event.at - start) as f64 / 1000.0;
        let row: String = row.iter().flat_map(|&mark| [' ', ' ', mark]).collect();
        let who = match event.what {
            What::PhaseEnd { .. } | What::Reset { .. } | What::Break { .. } => String::new(),
            _ => event
                .party
                .map_or("group ".into(), |p| format!("party {p} ")),
        };
        // The task that notes an end is not the one that ended.
        let by = match event.what {
            What::Join | What::Arrive { .. } | What::WaitBegin | What::Abort { .. } => {
                format!(" [{} {}]", event.name, event.pid)
            }
            _ => String::new(),
        };
        *out += &format!("{at:>12.3} {row}   {who}{}{by}\n", event.text());
    }
    out.push('\n');
}
