// SPDX-License-Identifier: GPL-2.0

//! The owners of acquisitions and claims: places and tasks, for reports.
//!
//! Exclusive owners are recorded on every kernel. With `--cfg quiesce_track`, which a kernel with
//! lockdep and `make modules KDIR=PATH QUIESCE_TRACK=1` give to the crate, each guard is recorded as
//! well; otherwise the types for that are empty and nothing is done. The tables are static, so that
//! entries can be made in interrupts as well; owners that find them full are not recorded.

use crate::bindings as helpers;
use core::panic::Location;
use kernel::{
    bindings,
    fmt,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    }, //
};

use super::waiters::Task;

/// Words for the end of a file's name. It is copied, as the original is in the caller's module.
const FILE: usize = 6;
const COMM: usize = super::waiters::COMM / 8;

/// An entry: free if `key` is zero, being written if it is one.
struct OwnerEntry {
    key: Atomic<usize>,
    line: Atomic<u32>,
    pid: Atomic<i32>,
    since: Atomic<u64>,
    comm: [Atomic<u64>; COMM],
    file: [Atomic<u64>; FILE],
}

const BUSY: usize = 1;

/// A table of owners, with a fixed number of entries.
struct OwnerTable<const N: usize> {
    entries: [OwnerEntry; N],
    /// The entry after the one that was found free last.
    next: Atomic<usize>,
}

/// The index of owners that are not in the table.
const NONE: u16 = u16::MAX;

impl<const N: usize> OwnerTable<N> {
    const fn new() -> Self {
        Self {
            entries: [const {
                OwnerEntry {
                    key: Atomic::new(0),
                    line: Atomic::new(0),
                    pid: Atomic::new(0),
                    since: Atomic::new(0),
                    comm: [const { Atomic::new(0) }; COMM],
                    file: [const { Atomic::new(0) }; FILE],
                }
            }; N],
            next: Atomic::new(0),
        }
    }

    /// Enters the current task as an owner of the object with the key `key`.
    fn enter(&self, key: usize, place: &Location<'_>) -> u16 {
        let start = self.next.load(Relaxed);
        // A limited search, so that a full table does not cost much.
        for i in (0..N.min(64)).map(|i| (start % N + i) % N) {
            let entry = &self.entries[i];
            if entry.key.load(Relaxed) != 0 || entry.key.cmpxchg(0, BUSY, Acquire).is_err() {
                continue;
            }
            let task = Task::current();
            entry.line.store(place.line(), Relaxed);
            entry.pid.store(task.pid, Relaxed);
            // SAFETY: The helper only reads the `jiffies` counter, in any context.
            let now = unsafe { helpers::quiesce_helper_jiffies_64() };
            entry.since.store(now, Relaxed);
            write(&entry.comm, &task.comm);
            let name = place.file().as_bytes();
            write(&entry.file, &name[name.len().saturating_sub(FILE * 8)..]);
            entry.key.store(key, Release);
            self.next.store(i + 1, Relaxed);
            return i as u16;
        }
        self.next.store((start % N + 64) % N, Relaxed);
        NONE
    }

    /// Removes an entry.
    fn leave(&self, index: u16) {
        if let Some(entry) = self.entries.get(usize::from(index)) {
            entry.key.store(0, Release);
        }
    }

    /// Removes the entries of the object with the key `key`.
    fn forget(&self, key: usize) {
        for entry in &self.entries {
            if entry.key.load(Relaxed) == key {
                let _ = entry.key.cmpxchg(key, 0, Release);
            }
        }
    }

    /// Lists the owners of the object with the key `key` in the log; returns how many are listed.
    ///
    /// Owners come and go meanwhile, so that a line may be of one that has released the object.
    #[inline(never)]
    fn report(&self, key: usize, how: &str) -> usize {
        let mut known = 0;
        for entry in &self.entries {
            if entry.key.load(Acquire) != key {
                continue;
            }
            let file: [u8; FILE * 8] = read(&entry.file);
            let comm: [u8; COMM * 8] = read(&entry.comm);
            let (line, pid) = (entry.line.load(Relaxed), entry.pid.load(Relaxed));
            let since = entry.since.load(Relaxed);
            // A full barrier between the reads above and the second check.
            if entry.key.cmpxchg(key, key, Full).is_err() {
                continue;
            }
            known += 1;
            // SAFETY: The helper only reads the `jiffies` counter, in any context.
            let now = unsafe { helpers::quiesce_helper_jiffies_64() };
            let ago = Jiffies64(now.saturating_sub(since));
            print(how, str_of(&comm), pid, str_of(&file), line, ago);
        }
        known
    }
}

#[inline(never)]
fn print(how: &str, comm: &str, pid: i32, file: &str, line: u32, ago: Jiffies64) {
    pr_warn!("  {how} {comm}/{pid} at {file}:{line}, {ago} s ago\n");
}

/// A time, displayed in seconds.
pub(super) struct Jiffies64(pub(super) u64);

impl fmt::Display for Jiffies64 {
    // A frame of its own for the format with a width.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: `jiffies64_to_msecs()` only computes, from a number.
        let ms = unsafe { bindings::jiffies64_to_msecs(self.0) };
        write!(f, "{}.{:03}", ms / 1000, ms % 1000)
    }
}

fn write(words: &[Atomic<u64>], bytes: &[u8]) {
    let mut chunks = bytes.chunks(8);
    for word in words {
        let mut bytes = [0; 8];
        if let Some(chunk) = chunks.next() {
            bytes[..chunk.len()].copy_from_slice(chunk);
        }
        word.store(u64::from_ne_bytes(bytes), Relaxed);
    }
}

fn read<const N: usize>(words: &[Atomic<u64>]) -> [u8; N] {
    let mut out = [0; N];
    for (bytes, word) in out.chunks_mut(8).zip(words) {
        bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
    }
    out
}

/// Returns the string before the first NUL.
#[inline(never)]
pub(super) fn str_of(bytes: &[u8]) -> &str {
    let len = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..len]).unwrap_or("?")
}

static CLAIMS: OwnerTable<64> = OwnerTable::new();

/// The entry of an exclusive owner.
pub(super) struct ClaimSite(u16);

impl ClaimSite {
    /// Enters the caller as the exclusive owner of the object with the key `key`.
    #[track_caller]
    pub(super) fn enter(key: usize) -> Self {
        // The entry of an earlier owner that was leaked, perhaps of another object at this address.
        CLAIMS.forget(key);
        Self(CLAIMS.enter(key, Location::caller()))
    }

    /// Removes the entry.
    pub(super) fn leave(&self) {
        CLAIMS.leave(self.0);
    }
}

/// Lists the exclusive owner of the object with the key `key` in the log.
pub(super) fn report_claims(key: usize) {
    CLAIMS.report(key, "owned exclusively by");
}

#[cfg(quiesce_track)]
mod imp {
    use super::OwnerTable;
    use core::panic::Location;

    static HOLDERS: OwnerTable<1024> = OwnerTable::new();

    /// The entry of a guard.
    #[derive(Clone, Copy)]
    pub(crate) struct Site(u16);

    impl Site {
        /// Enters the caller as a holder of the object with the key `key`.
        #[track_caller]
        pub(crate) fn enter(key: usize) -> Self {
            Self(HOLDERS.enter(key, Location::caller()))
        }

        /// Removes the entry.
        pub(crate) fn leave(self) {
            HOLDERS.leave(self.0);
        }
    }

    /// Removes the entries of guards that were leaked, of an object that is freed.
    pub(crate) fn forget(key: usize) {
        HOLDERS.forget(key);
    }

    /// Lists the holders of the object with the key `key` in the log; returns how many are listed.
    pub(crate) fn report(key: usize) -> usize {
        HOLDERS.report(key, "held by")
    }
}

#[cfg(not(quiesce_track))]
mod imp {
    /// No guard is recorded.
    #[derive(Clone, Copy)]
    pub(crate) struct Site;

    impl Site {
        #[inline(always)]
        pub(crate) fn enter(_key: usize) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn leave(self) {}
    }

    #[inline(always)]
    pub(crate) fn forget(_key: usize) {}

    pub(crate) fn report(_key: usize) -> usize {
        0
    }
}

pub(super) use imp::{
    forget,
    report,
    Site, //
};
