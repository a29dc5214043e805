// SPDX-License-Identifier: GPL-2.0

//! All sequences of calls, up to a length, of the barriers of `src/`, each compared with a model that
//! was written from `uapi/quiesce.h`.
//!
//! The very files of `src/barrier` and `src/device` run here, from the decoding of a command to the state
//! machine. What they know of the kernel is the crate `kernel` beside this one.

#![allow(dead_code, unused_imports, missing_docs, clippy::all)]

mod explore;
mod group;
mod pair;

/// True if the edit of this name is to be in effect; only copies of `src/` with edits ask.
pub(crate) fn broken(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("BROKEN").unwrap_or_default()) == name
}

#[path = "../../../../src/arch"]
pub(crate) mod arch {
    pub(crate) mod pointer;

    /// The number of wake-ups, by which waits that busy-poll see one. Nothing busy-polls here, and
    /// without it many more states are the same.
    pub(crate) mod seq {
        pub(crate) unsafe fn increment_u32(_: *mut u32) {}
    }
}

#[path = "../../../../src"]
pub(crate) mod tree {
    pub mod barrier;
    pub(crate) mod trace;
    pub(crate) mod tracepoint;
}
pub(crate) use tree::{barrier, trace, tracepoint};

pub(crate) mod bindings;

#[path = "../../../../src/device"]
pub(crate) mod device {
    mod args;
    mod exit;
    mod group;
    mod pair;
    mod party;

    /// In place of `file.rs`: files without the VFS.
    #[path = "../../qemu/model/machines/src/world.rs"]
    pub(crate) mod file;

    /// What a file or a binding is charged to; the limits are not a part of the model.
    pub(crate) mod quota {
        use crate::barrier::Pid;
        pub(crate) struct Charge;
        impl Charge {
            pub(super) fn file() -> kernel::error::Result<Self> {
                Ok(Self)
            }
            pub(super) fn binding(_: &Pid) -> kernel::error::Result<Self> {
                Ok(Self)
            }
        }
    }

    pub(crate) struct Control;
    pub(crate) struct BarrierQuota;
    impl BarrierQuota {
        fn new(_: kernel::sync::ArcBorrow<'_, Control>) -> kernel::error::Result<Self> {
            Ok(Self)
        }
    }

    /// A command of `/dev/quiesce` itself.
    fn control(command: &args::Command) -> kernel::error::Result {
        let control = kernel::sync::Arc::new(Control, kernel::alloc::GFP_KERNEL)?;
        match command.nr() {
            crate::bindings::uapi::QUIESCE_NR_PAIR => {
                pair::create(control.as_arc_borrow(), command)
            }
            _ => group::create(control.as_arc_borrow(), command),
        }
    }
}

pub(crate) use device::file as world;

/// How many sequences are kept to be continued, unless KEPT says otherwise: a gigabyte of them.
const KEPT: usize = 4_000_000;

/// `quiesce-machines --list`, or `quiesce-machines pair|group LENGTH [WORLD] [all]`, where WORLD is a number
/// of the list; all of them without. SECONDS allows for a run that is cut off after so long.
fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args[0] == "--list" {
        pair::worlds()
            .iter()
            .for_each(|world| println!("pair {}", world.name));
        group::worlds()
            .iter()
            .for_each(|world| println!("group {}", world.name));
        return;
    }
    let all = args.iter().any(|arg| arg == "all");
    args.retain(|arg| arg != "all");
    let variable = |name| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<usize>().expect("a number"))
    };
    let limits = explore::Limits {
        length: args[1].parse().expect("a length"),
        all,
        seconds: variable("SECONDS").map(|n| n as u64),
        kept: variable("KEPT").unwrap_or(KEPT),
    };
    let only = args.get(2).map(|arg| arg.parse().expect("a number"));
    let ok = match args[0].as_str() {
        "pair" => explore::run(&pair::worlds(), only, &limits),
        "group" => explore::run(&group::worlds(), only, &limits),
        _ => panic!("pair or group"),
    };
    std::process::exit(i32::from(!ok));
}
