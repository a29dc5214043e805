// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! The commands of the device, one function each.

use crate::sys::*;
use rustix::{
    fd::BorrowedFd,
    io::Errno,
    ioctl::{ioctl, NoArg, NoneOpcode, ReadWriteOpcode, Setter, Updater, WriteOpcode},
};

const MAGIC: u8 = QUIESCE_IOC_MAGIC as u8;

macro_rules! commands {
    ($($(#[$attr:meta])* fn $name:ident = $nr:ident($ty:ident);)*) => { $(
        $(#[$attr])*
        pub(crate) fn $name(fd: BorrowedFd<'_>, args: &mut $ty) -> Result<(), Errno> {
            // SAFETY: The interface defines the command with this struct, which has no pointers,
            // and the kernel reads and writes as many bytes as the command's size says.
            unsafe {
                ioctl(fd, Updater::<ReadWriteOpcode<MAGIC, { $nr as u8 }, $ty>, _>::new(args))
            }
        }
    )* };
}

commands! {
    fn features = QUIESCE_NR_FEATURES(quiesce_features);
    fn pair = QUIESCE_NR_PAIR(quiesce_pair);
    fn group = QUIESCE_NR_GROUP(quiesce_group);
    fn arrive = QUIESCE_NR_ARRIVE(quiesce_arrive);
    fn wait = QUIESCE_NR_WAIT(quiesce_wait);
    fn arrive_wait = QUIESCE_NR_ARRIVE_WAIT(quiesce_wait);
    fn abort = QUIESCE_NR_ABORT(quiesce_abort);
    fn member = QUIESCE_NR_MEMBER(quiesce_member);
    fn join = QUIESCE_NR_JOIN(quiesce_join);
    fn reset = QUIESCE_NR_RESET(quiesce_reset);
    fn complete = QUIESCE_NR_COMPLETE(quiesce_complete);
}

/// Returns the status, and the parties that are late in `late`.
pub(crate) fn status(
    fd: BorrowedFd<'_>,
    late: &mut [u64; QUIESCE_MAX_PARTIES as usize / 64],
) -> Result<quiesce_status, Errno> {
    let mut args = quiesce_status {
        late: late.as_mut_ptr() as usize as u64,
        late_words: late.len() as u32,
        ..Default::default()
    };
    // SAFETY: The interface defines the command with this struct; `late` points to `late_words`
    // words, which are borrowed exclusively during the call.
    unsafe {
        ioctl(
            fd,
            Updater::<ReadWriteOpcode<MAGIC, { QUIESCE_NR_STATUS as u8 }, quiesce_status>, _>::new(
                &mut args,
            ),
        )?;
    }
    Ok(args)
}

pub(crate) fn bind(fd: BorrowedFd<'_>, args: quiesce_bind) -> Result<(), Errno> {
    // SAFETY: The interface defines the command with this struct, which has no pointers.
    unsafe {
        ioctl(
            fd,
            Setter::<WriteOpcode<MAGIC, { QUIESCE_NR_BIND as u8 }, quiesce_bind>, _>::new(args),
        )
    }
}

pub(crate) fn leave(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `quiesce.h` defines the command without an argument, so the kernel reads no memory of
    // the caller.
    unsafe {
        ioctl(
            fd,
            NoArg::<NoneOpcode<MAGIC, { QUIESCE_NR_LEAVE as u8 }, ()>>::new(),
        )
    }
}
