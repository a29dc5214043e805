// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! The commands that use the inherited party: arrive, wait, sync, abort and leave.

use crate::{
    args,
    failure::{Failure, NOT_LEADER, USAGE},
    json::{self, Object},
};
use lexopt::{Arg::*, Parser};
use quiesce_barrier::{Deadline, Endpoint, Error, Party, Ticket};
use std::io;

/// Returns the party that `QUIESCE_FD` names.
fn inherited() -> Result<Endpoint, Failure> {
    // SAFETY: The program takes the descriptor here only, once, before it opens any other.
    match unsafe { Endpoint::inherited() } {
        Ok(Endpoint::Group(_)) => Err(Failure::usage(
            "QUIESCE_FD is the descriptor of a group, not of a party",
        )),
        Ok(endpoint) => Ok(endpoint),
        Err(Error::Os(e)) if e.kind() == io::ErrorKind::NotFound => Err(Failure::usage(
            "QUIESCE_FD is not set: `quiesce run` and `quiesce join` set it for their commands",
        )),
        Err(Error::Os(e)) => Err(Failure::Text(
            USAGE,
            format!("QUIESCE_FD is not the descriptor of a party: {e}"),
        )),
        Err(e) => Err(e.into()),
    }
}

/// Reports `error` as JSON, for programs that read the output.
fn print_error(error: &Error) -> Result<(), Failure> {
    let object = Object::new();
    let object = match error {
        Error::Broken(cause) => object
            .text("error", "broken")
            .with("cause", json::cause(cause)),
        Error::TimedOut => object.text("error", "timeout"),
        other => object.text("error", &other.to_string()),
    };
    object.print()
}

pub fn arrive(mut parser: Parser) -> Result<u8, Failure> {
    let (mut json, mut leave) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => json = true,
            Long("leave") => leave = true,
            _ => return Err(arg.unexpected().into()),
        }
    }
    let result = match inherited()? {
        Endpoint::Pair(_) if leave => return Err(no_seat()),
        Endpoint::Pair(pair) => pair.place().map(|()| None),
        Endpoint::Party(party) if leave => party.arrive_and_leave().map(Some),
        Endpoint::Party(party) => party.arrive().map(Some),
        Endpoint::Group(_) => unreachable!("excluded by inherited()"),
    };
    if json {
        match &result {
            Ok(ticket) => Object::new()
                .maybe("ticket", ticket.map(Ticket::phase))
                .print()?,
            Err(e) => print_error(e)?,
        }
    }
    result?;
    Ok(0)
}

/// The options of a wait.
struct Wait {
    deadline: Deadline,
    breaks: bool,
    leader: bool,
    json: bool,
    ticket: Option<u64>,
}

/// `wait`, or `sync` if it `arrives`.
pub fn wait(mut parser: Parser, arrives: bool) -> Result<u8, Failure> {
    let mut options = Wait {
        deadline: Deadline::NEVER,
        breaks: false,
        leader: false,
        json: false,
        ticket: None,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('t') | Long("timeout") => {
                options.deadline = Deadline::after(args::time(&mut parser)?);
            }
            Long("break") => options.breaks = true,
            Long("leader") => options.leader = true,
            Long("json") => options.json = true,
            Long("ticket") if !arrives => options.ticket = Some(args::number(&mut parser)?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    if options.breaks {
        options.deadline = options.deadline.or_break();
    }
    match inherited()? {
        Endpoint::Pair(_) if options.breaks || options.leader || options.ticket.is_some() => Err(
            Failure::usage("--break, --leader and --ticket are for groups, and this is a pair"),
        ),
        Endpoint::Pair(pair) => {
            let result = if arrives {
                pair.place_and_sync(options.deadline)
            } else {
                pair.sync(options.deadline)
            };
            if options.json {
                match &result {
                    Ok(()) => Object::new().print()?,
                    Err(e) => print_error(e)?,
                }
            }
            result?;
            Ok(0)
        }
        Endpoint::Party(party) => wait_phase(&party, arrives, &options),
        Endpoint::Group(_) => unreachable!("excluded by inherited()"),
    }
}

fn wait_phase(party: &Party, arrives: bool, options: &Wait) -> Result<u8, Failure> {
    let ticket = match (arrives, options.ticket) {
        (true, _) => party.arrive().map(Some),
        (false, Some(ticket)) => Ok(Some(Ticket::from(ticket))),
        (false, None) => party.last_arrival(),
    };
    let result = match ticket {
        Ok(None) => return Err(Failure::usage("this party has not arrived yet")),
        // Where others wait for the leader to end the phase, it has nothing to do before.
        Ok(Some(ticket)) => party
            .wait_with(ticket, options.deadline, || ())
            .map(|end| (end, ticket)),
        Err(e) => Err(e),
    };
    if options.json {
        match &result {
            Ok((end, ticket)) => Object::new()
                .with("phase", ticket.phase())
                .with("leader", end.leader)
                .with("index", end.index)
                .print()?,
            Err(e) => print_error(e)?,
        }
    }
    match result {
        Ok((end, _)) if options.leader && !end.leader => Ok(NOT_LEADER),
        Ok(_) => Ok(0),
        Err(Error::Os(e)) if e.kind() == io::ErrorKind::InvalidInput => {
            Err(Failure::usage("the party has not arrived in that phase"))
        }
        Err(e) => Err(e.into()),
    }
}

pub fn abort(mut parser: Parser) -> Result<u8, Failure> {
    let mut code = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Value(value) if code.is_none() => {
                let value = value.to_string_lossy().into_owned();
                code = Some(value.parse().map_err(|_| {
                    Failure::usage(format!("'{value}' is no code, which is a number from 0 on"))
                })?);
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let code: u64 = code.unwrap_or(0);
    match inherited()? {
        Endpoint::Pair(pair) => pair.abort(code)?,
        Endpoint::Party(party) => party.abort(code)?,
        Endpoint::Group(_) => unreachable!("excluded by inherited()"),
    }
    Ok(0)
}

fn no_seat() -> Failure {
    Failure::usage("a side of a pair has no seat that it could leave")
}

pub fn leave(mut parser: Parser) -> Result<u8, Failure> {
    if let Some(arg) = parser.next()? {
        return Err(arg.unexpected().into());
    }
    match inherited()? {
        Endpoint::Party(party) => party.leave()?,
        _ => return Err(no_seat()),
    }
    Ok(0)
}
