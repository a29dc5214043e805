// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! A timeline as SVG: a lane for each party, from left to right.

use crate::{
    procfs::printable,
    timeline::{Timeline, What},
};
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 30.0;
const LANE: f64 = 30.0;
const BAR: f64 = 14.0;
const HEAD: f64 = 46.0;
const FOOT: f64 = 34.0;

const STYLE: &str = "\
text{font:12px sans-serif;fill:#222}.t{font-size:15px;font-weight:bold}.s{font-size:11px;fill:#555}\
.run{fill:#cfdbe6}.wait{fill:#f0b445}.arrive{fill:#2c7d43}.end{stroke:#c22;stroke-width:3}\
.cause{fill:#c22}.phase{stroke:#2a5db0;stroke-dasharray:4 3}.pt{font-size:11px;fill:#2a5db0}\
.break{stroke:#c22;stroke-dasharray:2 2}.axis{stroke:#999}";

/// Returns `text` for XML.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

/// Returns the picture of all timelines, one below the other.
pub fn render(timelines: &[Timeline]) -> String {
    let total: f64 = timelines.iter().map(height).sum::<f64>() + 24.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" \
         width=\"{WIDTH}\" height=\"{total}\"><style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for timeline in timelines {
        // Writing to a string does not fail.
        let _ = one(timeline, top, &mut out);
        top += height(timeline);
    }
    let _ = legend(top + 8.0, &mut out);
    out += "</svg>\n";
    out
}

fn height(timeline: &Timeline) -> f64 {
    HEAD + LANE * timeline.parties.len() as f64 + FOOT
}

/// The scale of the time axis.
struct Scale {
    start: u64,
    /// Points for a microsecond.
    factor: f64,
}

impl Scale {
    fn new(timeline: &Timeline) -> Self {
        let start = timeline.events.first().map_or(0, |event| event.at);
        let end = timeline.events.last().map_or(0, |event| event.at);
        Self {
            start,
            factor: (WIDTH - LEFT - RIGHT) / (end - start).max(1) as f64,
        }
    }

    fn x(&self, at: u64) -> f64 {
        LEFT + (at - self.start) as f64 * self.factor
    }
}

fn one(timeline: &Timeline, top: f64, out: &mut String) -> std::fmt::Result {
    let scale = Scale::new(timeline);
    let end = timeline.events.last().map_or(0, |event| event.at);
    let bottom = top + HEAD + LANE * timeline.parties.len() as f64;
    writeln!(
        out,
        "<text class=\"t\" x=\"10\" y=\"{:.0}\">barrier {}</text>",
        top + 22.0,
        timeline.barrier
    )?;
    for (&party, lane) in timeline.parties.iter().zip(0..) {
        let y = top + HEAD + LANE * f64::from(lane);
        self::lane(timeline, party, y, &scale, end, out)?;
    }
    // Lines through all lanes; labels that would overlap are left out.
    let mut free = 0.0;
    for event in &timeline.events {
        let (class, label) = match &event.what {
            What::PhaseEnd { phase } => ("phase", format!("phase {phase}")),
            What::Reset { .. } => ("phase", "reset".into()),
            What::Break { .. } => ("break", "broken".into()),
            _ => continue,
        };
        let x = scale.x(event.at);
        writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\">\
             <title>{}</title></line>",
            top + HEAD - 4.0,
            escape(&event.text())
        )?;
        if x >= free {
            writeln!(
                out,
                "<text class=\"pt\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                top + HEAD - 8.0
            )?;
            free = x + 56.0;
        }
    }
    axis(&scale, end, bottom, out)
}

fn lane(
    timeline: &Timeline,
    party: u32,
    y: f64,
    scale: &Scale,
    end: u64,
    out: &mut String,
) -> std::fmt::Result {
    let events = || timeline.events.iter().filter(|e| e.party == Some(party));
    let middle = y + LANE / 2.0;
    // Several short-lived tasks may act for one party; only a single one names the lane.
    let mut names: Vec<_> = events()
        .filter(|e| matches!(e.what, What::Arrive { .. } | What::WaitBegin))
        .map(|e| format!("{} {}", e.name, e.pid))
        .collect();
    names.dedup();
    let label = match &names[..] {
        [name] => format!("party {party} ({name})"),
        _ => format!("party {party}"),
    };
    writeln!(
        out,
        "<text x=\"10\" y=\"{:.1}\">{}</text>",
        middle + 4.0,
        escape(&label)
    )?;
    let bar = |out: &mut String, class: &str, from: u64, to: u64, text: &str| {
        let (a, b) = (scale.x(from), scale.x(to));
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{a:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\">\
             <title>{}</title></rect>",
            middle - BAR / 2.0,
            (b - a).max(0.5),
            escape(text)
        )
    };
    let first = events().next().map_or(scale.start, |e| e.at);
    let last = events()
        .rev()
        .find(|e| matches!(e.what, What::End { .. } | What::Leave))
        .map_or(end, |e| e.at);
    bar(out, "run", first, last, &label)?;
    let mut begun = None;
    for event in events() {
        match event.what {
            What::WaitBegin => begun = Some(event.at),
            What::WaitEnd { .. } => {
                if let Some(from) = begun.take() {
                    let ms = (event.at - from) as f64 / 1000.0;
                    let text = format!("waited {ms:.3} ms, {}", event.text());
                    bar(out, "wait", from, event.at, &text)?;
                }
            }
            // The wait ends with the party.
            What::End { .. } => {
                if let Some(from) = begun.take() {
                    bar(out, "wait", from, event.at, "waited when it ended")?;
                }
            }
            _ => {}
        }
    }
    if let Some(from) = begun {
        bar(out, "wait", from, last, "waits")?;
    }
    for event in events() {
        let x = scale.x(event.at);
        match &event.what {
            What::Arrive { .. } => writeln!(
                out,
                "<circle class=\"arrive\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"4\">\
                 <title>{}</title></circle>",
                escape(&event.text())
            )?,
            What::End { cause } => {
                // A clean exit is no failure.
                let clean = cause.starts_with("exited with status 0")
                    || cause.starts_with("closed its descriptor");
                if clean {
                    continue;
                }
                cross(x, middle, cause, out)?;
            }
            What::Abort { .. } => cross(x, middle, &event.text(), out)?,
            _ => {}
        }
    }
    Ok(())
}

/// Draws a cross with its reason, on the side that has room for it.
fn cross(x: f64, y: f64, text: &str, out: &mut String) -> std::fmt::Result {
    let (anchor, at) = if x > WIDTH / 2.0 {
        ("end", x - 10.0)
    } else {
        ("start", x + 10.0)
    };
    writeln!(
        out,
        "<path class=\"end\" d=\"M{:.1} {:.1}l12 12m0 -12l-12 12\"/>\
         <text class=\"cause\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        x - 6.0,
        y - 6.0,
        y - 9.0,
        escape(text)
    )
}

/// Draws the time axis, with steps of 1, 2 or 5 times a power of ten.
fn axis(scale: &Scale, end: u64, y: f64, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
        scale.x(end)
    )?;
    let span = end - scale.start;
    let step = (0..19)
        .flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
        .find(|step| span / step <= 10)
        .unwrap_or(u64::MAX);
    for tick in 0..=span / step {
        let at = scale.start + tick * step;
        let x = scale.x(at);
        writeln!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>\
             <text class=\"s\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} ms</text>",
            y + 4.0,
            y + 16.0,
            (tick * step) as f64 / 1000.0
        )?;
    }
    Ok(())
}

fn legend(y: f64, out: &mut String) -> std::fmt::Result {
    let mut x = LEFT;
    for (shape, text) in [
        (
            "<rect class=\"run\" width=\"12\" height=\"10\" y=\"-9\"/>",
            "runs",
        ),
        (
            "<rect class=\"wait\" width=\"12\" height=\"10\" y=\"-9\"/>",
            "waits",
        ),
        (
            "<circle class=\"arrive\" cx=\"6\" cy=\"-4\" r=\"4\"/>",
            "arrives",
        ),
        (
            "<path class=\"end\" d=\"M0 -9l10 10m0 -10l-10 10\"/>",
            "dies or aborts",
        ),
        (
            "<line class=\"phase\" x1=\"6\" x2=\"6\" y1=\"-10\" y2=\"2\"/>",
            "phase over",
        ),
    ] {
        writeln!(
            out,
            "<g transform=\"translate({x:.0} {y:.0})\">{shape}<text class=\"s\" x=\"18\">{text}\
             </text></g>"
        )?;
        x += 110.0;
    }
    Ok(())
}
