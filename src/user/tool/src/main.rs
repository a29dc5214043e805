// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! quiesce(1): barriers between the processes of a shell script.

mod args;
mod failure;
mod json;
mod list;
mod procfs;
mod run;
mod script;
mod signals;
mod socket;
mod svg;
mod text;
mod timeline;
mod trace;

use self::failure::Failure;
use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

const USAGE: &str = "\
Usage:
  quiesce run -n N [-t TIME] [--shrink] [--json] [--] COMMAND...
  quiesce arrive [--leave] [--json]
  quiesce wait [-t TIME] [--break] [--leader] [--ticket N] [--json]
  quiesce sync [-t TIME] [--break] [--leader] [--json]
  quiesce abort [CODE]
  quiesce leave
  quiesce serve PATH -n N [--mode MODE] [--shrink] [--json]
  quiesce join PATH [-t TIME] [--] COMMAND...
  quiesce ls [--json]
  quiesce top [-d TIME] [-n COUNT] [--json]
  quiesce trace [-o FILE] [-d TIME] [--] [COMMAND...]

run starts N commands that are the parties of one barrier; in them, sync
arrives and waits for the others. TIME is a number with ms, s, m or h.
quiesce(1) describes all commands and exit statuses.
";

fn main() -> ExitCode {
    // A closed pipe ends the program, as it ends others in a shell.
    signals::default_pipe();
    match dispatch() {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure::note(&failure);
            ExitCode::from(failure.status())
        }
    }
}

/// Writes to the standard output.
fn print(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::other(format!("standard output: {e}")))
}

fn dispatch() -> Result<u8, Failure> {
    let mut args = env::args_os().skip(1);
    let command = args
        .next()
        .ok_or_else(|| Failure::usage("no command; quiesce --help lists them"))?;
    let parser = lexopt::Parser::from_args(args);
    match command.to_str() {
        Some("run") => run::run(parser),
        Some("arrive") => script::arrive(parser),
        Some("wait") => script::wait(parser, false),
        Some("sync") => script::wait(parser, true),
        Some("abort") => script::abort(parser),
        Some("leave") => script::leave(parser),
        Some("serve") => socket::serve(parser),
        Some("join") => socket::join(parser),
        Some("ls") => list::ls(parser),
        Some("top") => list::top(parser),
        Some("trace") => trace::trace(parser),
        Some("help" | "--help" | "-h") => print(USAGE).map(|()| 0),
        Some("version" | "--version" | "-V") => {
            print(format!("quiesce {}\n", env!("CARGO_PKG_VERSION"))).map(|()| 0)
        }
        _ => Err(Failure::usage(format!(
            "unknown command '{}'; quiesce --help lists them",
            command.to_string_lossy()
        ))),
    }
}
