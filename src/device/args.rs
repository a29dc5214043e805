// SPDX-License-Identifier: GPL-2.0

//! Commands and their structs, between user space and the kernel.
//!
//! A command carries the size of its struct as user space knows it, so that structs can grow:
//! members that are missing read as zero, and members that this kernel does not know have to be
//! zero. Results are written with a barrier's lock held and page faults disabled, before the state
//! changes, so that a call that fails with `EFAULT` has changed nothing; if the memory is not
//! resident, it is faulted in without the lock and the call starts again.

use crate::{
    barrier::{
        queue::Deadline,
        Cause,
        End,
        Pid,
        Why, //
    },
    bindings::{
        self,
        uapi, //
    }, //
};
use core::{
    mem::size_of,
    ptr, //
};
use kernel::{
    error::to_result,
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::aref::ARef, //
};

/// A struct of the interface.
///
/// # Safety
///
/// It is `repr(C)`, all its members are integers, and it has no padding.
pub(super) unsafe trait Args: Default {
    /// The size of the struct's first version, the smallest that is accepted.
    const FIRST: usize;
}

macro_rules! impl_args {
    ($($name:ident: $size:literal $(from $first:literal)?,)*) => {$(
        const _: () = assert!(size_of::<uapi::$name>() == $size);
        // SAFETY: bindgen made it of a C struct of fixed-width integers, and its size is the sum
        // of theirs.
        unsafe impl Args for uapi::$name {
            // The smaller one, where there are two.
            const FIRST: usize = [$($first,)? $size][0];
        }
    )*};
}

impl_args! {
    quiesce_features: 24,
    quiesce_pair: 16,
    quiesce_group: 16,
    quiesce_join: 24,
    quiesce_bind: 8,
    quiesce_arrive: 64,
    quiesce_wait: 80,
    quiesce_abort: 16,
    quiesce_status: 104,
    quiesce_member: 64 from 48,
    quiesce_reset: 16,
    quiesce_complete: 24,
}

/// A command as user space gave it.
pub(super) struct Command {
    nr: u32,
    size: usize,
    arg: usize,
    nonblocking: bool,
}

impl Command {
    /// Decodes a command on a file with `f_flags` of `flags`.
    ///
    /// # Errors
    ///
    /// `ENOTTY` for another driver's command, and for a direction that the command does not have.
    pub(super) fn new(cmd: u32, arg: usize, flags: u32) -> Result<Self> {
        let nr = _IOC_NR(cmd);
        let direction = match nr {
            uapi::QUIESCE_NR_BIND => kernel::uapi::_IOC_WRITE,
            uapi::QUIESCE_NR_LEAVE => kernel::uapi::_IOC_NONE,
            _ => kernel::uapi::_IOC_READ | kernel::uapi::_IOC_WRITE,
        };
        if _IOC_TYPE(cmd) != uapi::QUIESCE_IOC_MAGIC || _IOC_DIR(cmd) != direction {
            return Err(ENOTTY);
        }
        Ok(Self {
            nr,
            size: _IOC_SIZE(cmd),
            arg,
            nonblocking: flags & kernel::fs::file::flags::O_NONBLOCK != 0,
        })
    }

    /// The number of the command, `QUIESCE_NR_*`.
    pub(super) fn nr(&self) -> u32 {
        self.nr
    }

    /// Reads the struct. Members that user space does not have yet are zero.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is smaller than its first version; `E2BIG` if it is larger than this one
    /// and not zero beyond; `EFAULT`.
    pub(super) fn read<T: Args>(&self) -> Result<T> {
        let mut args = T::default();
        if self.size < T::FIRST {
            return Err(EINVAL);
        }
        // SAFETY: `args` is writable, and whatever is copied there is valid as `T: Args`.
        to_result(unsafe {
            bindings::quiesce_helper_copy_in(
                ptr::from_mut(&mut args).cast(),
                size_of::<T>(),
                self.arg,
                self.size,
            )
        })?;
        Ok(args)
    }

    /// Reads the argument of a command without a struct: members that a later version may add have
    /// to be zero. Without any, the argument is not used, whatever it is.
    pub(super) fn read_nothing(&self) -> Result {
        if self.size == 0 {
            return Ok(());
        }
        // SAFETY: The size of the kernel's struct is zero, so the helper only checks the user's
        // bytes and does not use the null pointer.
        to_result(unsafe {
            bindings::quiesce_helper_copy_in(ptr::null_mut(), 0, self.arg, self.size)
        })
    }

    /// Writes the struct back, as much of it as user space has.
    pub(super) fn write<T: Args>(&self, args: &T) -> Result {
        // SAFETY: `args` is readable and has no padding, as `T: Args`.
        to_result(unsafe {
            bindings::quiesce_helper_copy_out(
                self.arg,
                self.size,
                ptr::from_ref(args).cast(),
                size_of::<T>(),
            )
        })
    }

    /// Writes the struct back with a lock held, without faulting memory in.
    ///
    /// # Errors
    ///
    /// `EFAULT`; [`Command::retry`] then faults the memory in and tries again.
    pub(super) fn put<T: Args>(&self, args: &T) -> Result {
        const {
            assert!(
                T::FIRST == size_of::<T>(),
                "its size is that of all versions"
            )
        };
        // SAFETY: `args` is readable and has no padding, as `T: Args`.
        to_result(unsafe {
            bindings::quiesce_helper_put(self.arg, ptr::from_ref(args).cast(), size_of::<T>())
        })
    }

    /// Makes the first `size` bytes of the struct writable, and does not change them.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn fault_in(&self, size: usize) -> Result {
        // SAFETY: The helper reads user memory at an address that it checks, and takes no
        // pointer to kernel memory.
        to_result(unsafe { bindings::quiesce_helper_fault_in(self.arg, size) })
    }

    /// Checks that [`Command::write`] can write the struct back.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(super) fn check_writable(&self) -> Result {
        self.fault_in(self.size)
    }

    /// Calls `act` until it returns something else than `EFAULT`, and makes the memory of a `T`
    /// writable in between.
    ///
    /// `act` takes a lock, uses [`Command::put`], and changes nothing before that has succeeded,
    /// as futex operations do.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the memory cannot be written; what `act` returns.
    pub(super) fn retry<T: Args, R>(&self, mut act: impl FnMut() -> Result<R>) -> Result<R> {
        /// Limits the retries for a caller that keeps unmapping the memory.
        const TRIES: u32 = 64;

        for _ in 0..TRIES {
            match act() {
                Err(EFAULT) => (),
                result => return result,
            }
            self.fault_in(size_of::<T>())?;
        }
        Err(EFAULT)
    }

    /// The deadline of a wait, of the calling task's clock.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `flags` names two clocks.
    pub(super) fn deadline(&self, ns: u64, flags: u32) -> Result<Deadline> {
        let deadline = deadline(ns, flags)?;
        Ok(if self.nonblocking {
            Deadline::Nonblocking
        } else {
            deadline
        })
    }
}

/// Writes `words` to user memory at `address`.
pub(super) fn write_words(address: usize, words: &[u64]) -> Result {
    let size = size_of_val(words);
    // SAFETY: `words` is a slice of integers, so its `size` bytes are initialised and readable
    // during the call.
    to_result(unsafe {
        bindings::quiesce_helper_copy_out(address, size, words.as_ptr().cast(), size)
    })
}

/// # Errors
///
/// `EINVAL` if a bit of `flags` is not in `known`.
pub(super) fn check_flags(flags: u32, known: u32) -> Result {
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

/// The deadline of a wait, of the calling task's clock.
///
/// # Errors
///
/// `EINVAL` if `flags` names two clocks.
fn deadline(ns: u64, flags: u32) -> Result<Deadline> {
    let clocks = uapi::QUIESCE_WAIT_REALTIME | uapi::QUIESCE_WAIT_BOOTTIME;
    if flags & clocks == clocks {
        return Err(EINVAL);
    }
    // A larger value is centuries away, or `QUIESCE_FOREVER`.
    let Ok(ns) = i64::try_from(ns) else {
        return Ok(Deadline::Never);
    };
    if ns == 0 {
        return Ok(Deadline::Now);
    }
    let to_host = |clock: u32| {
        // SAFETY: The helper only converts a time between clocks, from numbers.
        unsafe { bindings::quiesce_helper_time_to_host(clock as c_int, ns) }
    };
    Ok(if flags & uapi::QUIESCE_WAIT_REALTIME != 0 {
        Deadline::Realtime(ns)
    } else if flags & uapi::QUIESCE_WAIT_BOOTTIME != 0 {
        Deadline::Boottime(to_host(kernel::bindings::CLOCK_BOOTTIME))
    } else {
        Deadline::Monotonic(to_host(kernel::bindings::CLOCK_MONOTONIC))
    })
}

/// Whether a call that ends in `result` writes what the interface calls `[out]`.
pub(super) fn writes_out(result: &Result) -> bool {
    match result {
        Ok(()) => true,
        Err(e) => [
            ECONNABORTED,
            EOWNERDEAD,
            ESHUTDOWN,
            ECANCELED,
            ETIMEDOUT,
            EAGAIN, //
        ]
        .contains(e),
    }
}

/// The number of `pid` for the calling task.
pub(super) fn pid_number(pid: &Option<ARef<Pid>>) -> i32 {
    pid.as_ref().map_or(0, |pid| pid.number())
}

/// The inode number of `pid`'s pidfds, or 0 if the calling task cannot see the process.
pub(super) fn pid_inode(pid: &Option<ARef<Pid>>) -> u64 {
    pid.as_ref()
        .filter(|pid| pid.number() != 0)
        .map_or(0, |pid| pid.inode())
}

/// The number of `pid` in the pid namespace of the procfs that `m` is a file of.
pub(super) fn pid_in_proc(m: &SeqFile, pid: Option<&Pid>) -> i32 {
    pid.map_or(0, |pid| {
        // SAFETY: `m` is a file of procfs that is being read, and `pid` is borrowed.
        unsafe {
            bindings::quiesce_helper_pid_in_proc(ptr::from_ref(m).cast_mut().cast(), pid.as_ptr())
        }
    })
}

/// Writes a party's state to its `fdinfo`.
///
/// Out of line, as the format of a single number in base 16 takes much of a stack frame.
#[inline(never)]
pub(super) fn show_state(m: &SeqFile, state: u32) {
    seq_print!(m, "state {:#x} ", state);
}

/// `end` of `party`, for the calling task to read.
pub(super) fn end(party: Option<u32>, end: &End) -> uapi::quiesce_cause {
    if end.why == Why::Nothing {
        return uapi::quiesce_cause::default();
    }
    let (cause, status, code) = end.why.encode();
    uapi::quiesce_cause {
        cause,
        party: party.unwrap_or(uapi::QUIESCE_NOBODY),
        pid: pid_number(&end.pid),
        status,
        code,
    }
}

/// `cause`, for the calling task to read.
pub(super) fn cause(cause: &Cause) -> uapi::quiesce_cause {
    end(cause.party, &cause.end)
}
