// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Writing of JSON.

use crate::{failure::Failure, print};
use quiesce_barrier::{Cause, Why};
use std::fmt::{self, Write};

/// A JSON object, whose members are added one after the other.
#[derive(Default)]
pub struct Object(String);

impl Object {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member whose value is JSON already: a number, `true`, or an object.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        let separator = if self.0.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(self.0, "{separator}{}:{value}", string(name));
        self
    }

    /// Adds a string.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let value = string(value);
        self.with(name, value)
    }

    /// Writes the object to the standard output, as a line.
    pub fn print(&self) -> Result<(), Failure> {
        print(format!("{self}\n"))
    }

    /// Adds a member if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.0)
    }
}

/// Returns an array of values that are JSON already.
pub fn array<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(","))
}

/// Returns a JSON string.
pub fn string(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' || c == '\x7f' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Returns the cause of a break as an object.
pub fn cause(cause: &Cause) -> Object {
    let object = Object::new()
        .maybe("party", cause.party)
        .maybe("pid", cause.pid);
    match cause.why {
        Why::Aborted(code) => object.text("why", "abort").with("code", code),
        Why::TimedOut => object.text("why", "timeout"),
        Why::Closed => object.text("why", "close"),
        Why::Exec => object.text("why", "exec"),
        Why::Exited(status) => object.text("why", "exit").with("status", status),
        Why::Killed(signal) => object.text("why", "signal").with("signal", signal),
        Why::Unclaimed => object.text("why", "unclaimed"),
        _ => object.text("why", "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(string("a\"b\\c\n\u{e9}"), "\"a\\\"b\\\\c\\u000a\u{e9}\"");
        let object = Object::new()
            .with("a", 1)
            .text("b", "x")
            .maybe("c", None::<u32>);
        assert_eq!(object.to_string(), "{\"a\":1,\"b\":\"x\"}");
        assert_eq!(array([1, 2]), "[1,2]");
    }
}
