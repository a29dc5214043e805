// SPDX-License-Identifier: GPL-2.0

//! Who holds what: the place and the task of each acquisition, for reports.
//!
//! With `--cfg quiesce_track`, which a kernel with lockdep and `make QUIESCE_TRACK=1` give to the
//! crate, each guard has an entry in a table. The table is of a fixed size, so that nothing is
//! allocated and guards can be had in any context; guards that find it full are counted and not
//! listed. Without the cfg the types are empty and nothing is done.

#[cfg(quiesce_track)]
mod imp {
    use core::panic::Location;
    use kernel::{
        prelude::*,
        sync::atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        }, //
    };

    const SITES: usize = 1024;
    /// Words for the end of a file's name. It is copied, as it goes with its module.
    const NAME: usize = 6;

    /// An entry: free if `key` is zero, being written if it is one.
    struct Entry {
        key: Atomic<usize>,
        line: Atomic<u32>,
        pid: Atomic<i32>,
        file: [Atomic<u64>; NAME],
    }

    const BUSY: usize = 1;

    static TABLE: [Entry; SITES] = [const {
        Entry {
            key: Atomic::new(0),
            line: Atomic::new(0),
            pid: Atomic::new(0),
            file: [const { Atomic::new(0) }; NAME],
        }
    }; SITES];

    /// Where to look for a free entry first: after the one that was found last.
    static NEXT: Atomic<usize> = Atomic::new(0);

    /// A guard's entry.
    #[derive(Clone, Copy)]
    pub(crate) struct Site(u16);

    impl Site {
        const NONE: Self = Self(u16::MAX);

        /// Enters the caller as a holder of what is at `key`.
        #[track_caller]
        pub(crate) fn enter(key: usize) -> Self {
            Self::enter_as(key, Location::caller())
        }

        fn enter_as(key: usize, place: &Location<'_>) -> Self {
            let start = NEXT.load(Relaxed);
            // Not all of the table: a full one should not cost more than a look.
            for i in (0..64).map(|i| (start + i) % SITES) {
                let entry = &TABLE[i];
                if entry.key.load(Relaxed) != 0 || entry.key.cmpxchg(0, BUSY, Acquire).is_err() {
                    continue;
                }
                entry.line.store(place.line(), Relaxed);
                entry.pid.store(kernel::current!().pid(), Relaxed);
                let name = place.file().as_bytes();
                let name = &name[name.len().saturating_sub(NAME * 8)..];
                let mut chunks = name.chunks(8);
                for word in &entry.file {
                    let mut bytes = [0; 8];
                    if let Some(chunk) = chunks.next() {
                        bytes[..chunk.len()].copy_from_slice(chunk);
                    }
                    word.store(u64::from_ne_bytes(bytes), Relaxed);
                }
                entry.key.store(key, Release);
                NEXT.store(i + 1, Relaxed);
                return Self(i as u16);
            }
            NEXT.store((start + 64) % SITES, Relaxed);
            Self::NONE
        }

        /// Takes the entry away.
        pub(crate) fn leave(self) {
            if let Some(entry) = TABLE.get(usize::from(self.0)) {
                entry.key.store(0, Release);
            }
        }
    }

    /// Lists the holders of what is at `key` in the log; returns how many are known.
    ///
    /// Guards come and go meanwhile, so that a line may be of a guard that is gone.
    pub(crate) fn report(key: usize) -> usize {
        let mut known = 0;
        for entry in &TABLE {
            if entry.key.load(Acquire) != key {
                continue;
            }
            let mut file = [0; NAME * 8];
            for (bytes, word) in file.chunks_mut(8).zip(&entry.file) {
                bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
            }
            let len = file.iter().position(|&b| b == 0).unwrap_or(file.len());
            let (line, pid) = (entry.line.load(Relaxed), entry.pid.load(Relaxed));
            // A full barrier between what was read and the second look.
            if entry.key.cmpxchg(key, key, Full).is_err() {
                continue;
            }
            known += 1;
            pr_warn!(
                "  held by task {}, acquired at {}:{}\n",
                pid,
                core::str::from_utf8(&file[..len]).unwrap_or("?"),
                line
            );
        }
        known
    }
}

#[cfg(not(quiesce_track))]
mod imp {
    /// Nobody is entered.
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

    pub(crate) fn report(_key: usize) -> usize {
        0
    }
}

pub(super) use imp::{
    report,
    Site, //
};
