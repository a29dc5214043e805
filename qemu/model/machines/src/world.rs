// SPDX-License-Identifier: GPL-2.0

//! Descriptors and processes, and saving and restoring all that there is.

use crate::{
    bindings::{
        self, pid, uapi, wait_queue_entry, wait_queue_head, CURRENT, FAULTS, PIDS, PROCESSES,
    },
    device::args::Command,
    explore::same_result,
};
use core::{cell::RefCell, ffi::c_void, pin::Pin};
use kernel::{
    alloc::{arena, GFP_KERNEL},
    prelude::*,
    seq_file::SeqFile,
};

/// As in `src/device/file.rs`.
pub(super) trait Endpoint: Send + Sync + Sized + 'static {
    const NAME: &'static CStr;
    fn ioctl(&self, command: &Command) -> Result<isize>;
    fn queue(&self) -> *mut wait_queue_head;
    fn events(&self) -> u32;
    fn closing(&self);
    fn show(&self, m: &SeqFile);
}

struct Operations {
    ioctl: unsafe fn(*mut u8, &Command) -> Result<isize>,
    queue: unsafe fn(*mut u8) -> *mut wait_queue_head,
    events: unsafe fn(*mut u8) -> u32,
    closing: unsafe fn(*mut u8),
    release: unsafe fn(*mut u8),
}

trait Table: Endpoint {
    // SAFETY: Each is called with a file of this type.
    const TABLE: Operations = unsafe {
        Operations {
            ioctl: |file, command| (*file.cast::<Self>()).ioctl(command),
            queue: |file| (*file.cast::<Self>()).queue(),
            events: |file| (*file.cast::<Self>()).events(),
            closing: |file| (*file.cast::<Self>()).closing(),
            release: |file| drop(KBox::from_raw(file.cast::<Self>())),
        }
    };
}
impl<E: Endpoint> Table for E {}

#[derive(Clone, Copy)]
struct File {
    private: *mut u8,
    operations: &'static Operations,
}

type Wake = unsafe extern "C" fn(*mut wait_queue_entry, u32, i32, *mut c_void) -> i32;

/// What is not in the arena.
#[derive(Clone, Copy)]
struct Tables {
    files: [Option<File>; FILES],
    watches: [Option<(*mut pid, *mut wait_queue_entry, Wake)>; FILES],
    exited: [Option<i32>; PIDS],
}
pub(crate) const FILES: usize = 8;
const NONE: Tables = Tables {
    files: [None; FILES],
    watches: [None; FILES],
    exited: [None; PIDS],
};
thread_local!(static TABLES: RefCell<Tables> = const { RefCell::new(NONE) });

/// All that there is, saved.
pub(crate) struct Saved {
    arena: Vec<u8>,
    tables: Tables,
    /// Of the tables.
    hash: u128,
}

pub(crate) fn save() -> Saved {
    let mut tables = TABLES.with_borrow(|tables| *tables);
    for (exited, process) in tables.exited.iter_mut().zip(&PROCESSES) {
        *exited = process.exited.get();
    }
    Saved {
        arena: arena::bytes().to_vec(),
        tables,
        hash: hash_of(&[], &tables),
    }
}

pub(crate) fn restore(saved: &Saved) {
    arena::restore(&saved.arena);
    TABLES.set(saved.tables);
    for (exited, process) in saved.tables.exited.iter().zip(&PROCESSES) {
        process.exited.set(*exited);
    }
}

pub(crate) fn reset() {
    restore(&Saved {
        arena: Vec::new(),
        tables: NONE,
        hash: 0,
    });
}

/// Whether all is as it was saved.
pub(crate) fn is(saved: &Saved) -> bool {
    arena::bytes() == saved.arena && hash_tables() == saved.hash
}

/// A number of 128 bits of all that there is: of different states with the same number there are none
/// among so few, but for a chance of 2^-80.
pub(crate) fn hash() -> u128 {
    hash_all(arena::bytes())
}

fn hash_tables() -> u128 {
    hash_all(&[])
}

fn hash_all(bytes: &[u8]) -> u128 {
    let mut tables = TABLES.with_borrow(|tables| *tables);
    for (exited, process) in tables.exited.iter_mut().zip(&PROCESSES) {
        *exited = process.exited.get();
    }
    hash_of(bytes, &tables)
}

fn hash_of(bytes: &[u8], tables: &Tables) -> u128 {
    // Four at a time, which do not wait for each other's product.
    let mut lanes = [0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835, 1, 2, 3].map(Hash);
    let lines = bytes.chunks_exact(32);
    let rest = lines.remainder();
    for line in lines {
        for (n, lane) in lanes.iter_mut().enumerate() {
            lane.add(u64::from_ne_bytes(
                line[n * 8..n * 8 + 8].try_into().unwrap(),
            ));
        }
    }
    let [mut hash, others @ ..] = lanes;
    for word in rest.chunks_exact(8) {
        hash.add(u64::from_ne_bytes(word.try_into().unwrap()));
    }
    for other in others {
        hash.add(other.0 as u64);
        hash.add((other.0 >> 64) as u64);
    }
    for file in &tables.files {
        hash.add(file.map_or(0, |file| file.private.addr() as u64));
    }
    for watch in &tables.watches {
        hash.add(watch.map_or(0, |(_, entry, _)| entry.addr() as u64));
    }
    for exited in &tables.exited {
        hash.add(exited.map_or(u64::MAX, |code| code as u64));
    }
    hash.0
}

pub(crate) struct Hash(pub(crate) u128);
impl Hash {
    pub(crate) fn add(&mut self, x: u64) {
        self.0 = (self.0 ^ u128::from(x)).wrapping_mul(0xda94_2042_e4dd_58b5_9b60_9bb4_9dc9_a2dd);
        self.0 ^= self.0 >> 67;
    }
}

/// A descriptor number that does not lead to a file yet.
pub(super) struct NewFile<E> {
    fd: usize,
    endpoint: core::marker::PhantomData<E>,
}

thread_local!(static RESERVED: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });

impl<E: Endpoint> NewFile<E> {
    pub(super) fn new(_inherit: bool, _charge: Option<super::quota::Charge>) -> Result<Self> {
        let fd = TABLES.with_borrow(|tables| {
            (0..FILES)
                .find(|&fd| tables.files[fd].is_none() && RESERVED.get() & 1 << fd == 0)
                .expect("a descriptor is free")
        });
        RESERVED.set(RESERVED.get() | 1 << fd);
        Ok(Self {
            fd,
            endpoint: core::marker::PhantomData,
        })
    }
    pub(crate) fn fd(&self) -> i32 {
        self.fd as i32
    }
    pub(crate) fn install(self, endpoint: impl PinInit<E>) {
        let private = KBox::pin_init(endpoint, GFP_KERNEL).expect("there is memory");
        // SAFETY: The private data is on the heap and is not moved before the file is closed.
        let private = KBox::into_raw(unsafe { Pin::into_inner_unchecked(private) });
        let file = File {
            private: private.cast(),
            operations: &<E as Table>::TABLE,
        };
        // Somebody polls each file.
        // SAFETY: The queue is there as long as the file.
        unsafe { bindings::add_poller((file.operations.queue)(file.private)) };
        TABLES.with_borrow_mut(|tables| tables.files[self.fd] = Some(file));
    }
}
impl<E> Drop for NewFile<E> {
    fn drop(&mut self) {
        RESERVED.set(RESERVED.get() & !(1 << self.fd));
    }
}

pub(crate) fn watch(pid: *mut pid, entry: *mut wait_queue_entry, wake: Wake) {
    TABLES.with_borrow_mut(|tables| {
        *tables
            .watches
            .iter_mut()
            .find(|watch| watch.is_none())
            .expect("a watch is free") = Some((pid, entry, wake));
    });
}
pub(crate) fn unwatch(entry: *mut wait_queue_entry) {
    TABLES.with_borrow_mut(|tables| {
        for watch in &mut tables.watches {
            if watch.is_some_and(|(_, other, _)| other == entry) {
                *watch = None;
            }
        }
    });
}

/// The process exits; it has no descriptor of its own.
pub(crate) fn exit(process: usize, code: i32) {
    PROCESSES[process].exited.set(Some(code));
    scrub();
    for watch in TABLES.with_borrow(|tables| tables.watches) {
        if let Some((pid, entry, wake)) = watch {
            if core::ptr::eq(pid, &PROCESSES[process]) {
                // SAFETY: The entry is on the queue of the process.
                unsafe { wake(entry, 0, 0, core::ptr::null_mut()) };
            }
        }
    }
}

fn file(fd: usize) -> Option<File> {
    TABLES.with_borrow(|tables| tables.files[fd])
}

/// Clears the stack below, so that what is not initialised depends on the call alone, and more states are
/// the same.
#[inline(never)]
fn scrub() {
    core::hint::black_box([0u8; 6144]);
}

/// `ioctl(2)` by `process`: on `/dev/quiesce` if `fd` is none. Returns 0 or the error.
pub(crate) fn ioctl<T>(
    process: usize,
    fd: Option<usize>,
    nr: u32,
    args: &mut T,
    nonblocking: bool,
) -> i32 {
    CURRENT.set(process);
    let dir = match nr {
        uapi::QUIESCE_NR_BIND => 1,
        uapi::QUIESCE_NR_LEAVE => 0,
        _ => 3,
    };
    let size = if nr == uapi::QUIESCE_NR_LEAVE {
        0
    } else {
        size_of::<T>() as u32
    };
    scrub();
    let cmd = dir << 30 | size << 16 | uapi::QUIESCE_IOC_MAGIC << 8 | nr;
    let address = (&raw mut *args).expose_provenance();
    let ret = Command::new(cmd, address, if nonblocking { 0o4000 } else { 0 }).and_then(
        |command| match fd {
            None => crate::device::control(&command).map(|()| 0),
            Some(fd) => {
                let file = file(fd).expect("the descriptor is open");
                // SAFETY: The table of files stores the operations together with the private data
                // of the same type.
                unsafe { (file.operations.ioctl)(file.private, &command) }
            }
        },
    );
    assert_eq!(kernel::bindings::held(), 0, "a lock is held after the call");
    ret.map_or_else(|e| e.to_errno(), |_| 0)
}

/// `close(2)` of the last copy, by `process`.
pub(crate) fn close(process: usize, fd: usize) {
    CURRENT.set(process);
    let file = file(fd).expect("the descriptor is open");
    scrub();
    // SAFETY: The table of files stores the operations with the private data of the same type, and
    // the entry is removed below.
    unsafe {
        (file.operations.closing)(file.private);
        (file.operations.release)(file.private);
    }
    TABLES.with_borrow_mut(|tables| tables.files[fd] = None);
    assert_eq!(kernel::bindings::held(), 0, "a lock is held after the call");
}

/// The events of `poll(2)`.
pub(crate) fn poll(fd: usize) -> u32 {
    let file = file(fd).expect("the descriptor is open");
    // SAFETY: The table of files stores the operations together with the private data of the same
    // type.
    unsafe { (file.operations.events)(file.private) }
}

/// The queue of its pollers.
pub(crate) fn queue(fd: usize) -> usize {
    let file = file(fd).expect("the descriptor is open");
    // SAFETY: The table of files stores the operations together with the private data of the same
    // type.
    unsafe { (file.operations.queue)(file.private).addr() }
}

/// Makes a call whose result cannot be written to user space, which without that returns `ret`: it fails
/// with EFAULT if it `writes`. Returns the state before it.
///
/// "A call that fails has changed nothing, with EFAULT too: results are written before the state changes."
pub(crate) fn with_faults(
    ret: i32,
    writes: bool,
    call: impl FnOnce() -> i32,
) -> Result<Saved, String> {
    let saved = save();
    FAULTS.set(true);
    let faulty = call();
    FAULTS.set(false);
    same_result(faulty, if writes { EFAULT.0 } else { ret })
        .map_err(|why| format!("{why}, where a write fails"))?;
    Ok(saved)
}

/// Compares the state with the one before a call that failed.
pub(crate) fn is_unchanged(saved: &Saved) -> Result<(), String> {
    if is(saved) {
        return Ok(());
    }
    Err("it failed, and has changed something".into())
}

impl std::hash::Hasher for Hash {
    fn finish(&self) -> u64 {
        self.0 as u64
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }
    fn write_u32(&mut self, x: u32) {
        self.add(x.into());
    }
    fn write_u64(&mut self, x: u64) {
        self.add(x);
    }
    fn write_usize(&mut self, x: usize) {
        self.add(x as u64);
    }
}
