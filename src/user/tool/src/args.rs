// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Values of options.

use crate::failure::Failure;
use lexopt::Parser;
use std::{ffi::OsString, time::Duration};

/// Returns the value of the last option as text.
pub fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser
        .value()?
        .into_string()
        .map_err(|value| Failure::usage(format!("'{}' is no text", value.to_string_lossy())))
}

/// Returns the value of the last option as a time: a number with an optional unit, as
/// timeout(1) takes it, and `ms`.
pub fn time(parser: &mut Parser) -> Result<Duration, Failure> {
    let value = text(parser)?;
    // A century is the same as no limit, and can be added to a point in time.
    parse_time(&value)
        .map(|time| time.min(Duration::from_secs(100 * 365 * 86_400)))
        .ok_or_else(|| Failure::usage(format!("'{value}' is no time, such as 5s or 100ms")))
}

fn parse_time(value: &str) -> Option<Duration> {
    let split = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Returns the value of the last option as a number.
pub fn number<T: std::str::FromStr>(parser: &mut Parser) -> Result<T, Failure> {
    let value = text(parser)?;
    value
        .parse()
        .map_err(|_| Failure::usage(format!("'{value}' is no number, or is out of range")))
}

/// Returns the number of parties that `-n` gives.
pub fn parties(parser: &mut Parser) -> Result<u32, Failure> {
    match number(parser)? {
        n @ 1..=1024 => Ok(n),
        n => Err(Failure::usage(format!(
            "{n} parties: a barrier has 1 to 1024"
        ))),
    }
}

/// Returns the command of which `first` is the first word; the rest is not parsed.
pub fn command(parser: &mut Parser, first: OsString) -> Result<Vec<OsString>, Failure> {
    let mut command = vec![first];
    command.extend(parser.raw_args()?);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::parse_time;
    use std::time::Duration;

    #[test]
    fn times() {
        assert_eq!(parse_time("5"), Some(Duration::from_secs(5)));
        assert_eq!(parse_time("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_time("20ms"), Some(Duration::from_millis(20)));
        assert_eq!(parse_time("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "s", "-1", "5x", "1e3", "1..2", "99999999999999999999h"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
