// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT

//! Signals as events of a descriptor.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Restores the default action of SIGPIPE, which Rust's runtime ignores.
pub fn default_pipe() {
    // SAFETY: The default action runs no code of this program.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Signals that are blocked and read from a descriptor.
pub struct Signals {
    fd: OwnedFd,
    former: libc::sigset_t,
    /// The action of SIGCHLD that the program was started with.
    child: libc::sighandler_t,
}

/// A signal that was read.
pub struct Signal {
    pub number: i32,
    /// Whether the commands do not get it without this process, as they do those that the
    /// terminal sends to its foreground processes. A hang-up is sent to the session's leader alone,
    /// which this process may be.
    pub is_passed_on: bool,
}

impl Signals {
    /// Blocks `signals` for the rest of the program, but leaves SIGHUP ignored if it is, as
    /// nohup(1) makes it. Children can be waited for, even if SIGCHLD was ignored.
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: The sets are valid for the calls that fill or read them, the default action
        // runs no code of this program, and the descriptor that `signalfd` returns is new.
        unsafe {
            let (mut set, mut former) = (mem::zeroed(), mem::zeroed());
            libc::sigemptyset(&mut set);
            for &signal in signals {
                if signal != libc::SIGHUP || !ignored(signal)? {
                    libc::sigaddset(&mut set, signal);
                }
            }
            let child = libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            if libc::sigprocmask(libc::SIG_BLOCK, &set, &mut former) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self {
                fd: OwnedFd::from_raw_fd(fd),
                former,
                child,
            })
        }
    }

    /// Returns what restores mask and actions in a child, between fork and exec.
    pub fn unblock(&self) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
        let (former, child) = (self.former, self.child);
        move || {
            // SAFETY: Both calls are async-signal-safe, the set is valid, and the action is
            // SIG_DFL or SIG_IGN: the program has no handlers.
            unsafe {
                libc::signal(libc::SIGCHLD, child);
                match libc::sigprocmask(libc::SIG_SETMASK, &former, std::ptr::null_mut()) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }
        }
    }

    /// Returns a signal if one is pending.
    pub fn read(&self) -> Option<Signal> {
        let mut info = mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: The buffer is as large as stated. The kernel writes whole structs only, so that
        // the struct is initialized if as many bytes were read.
        unsafe {
            if libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) != size as isize {
                return None;
            }
            let info = info.assume_init();
            let number = info.ssi_signo as i32;
            Some(Signal {
                number,
                is_passed_on: info.ssi_code <= 0 || number == libc::SIGHUP,
            })
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the action of `signal` is to ignore it.
fn ignored(signal: i32) -> io::Result<bool> {
    let mut action = mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: A null pointer sets no action, and the call that succeeds has filled in the other.
    unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(action.assume_init().sa_sigaction == libc::SIG_IGN)
    }
}

/// Sends a signal to a child that was not waited for yet.
pub fn send(pid: u32, signal: i32) {
    // SAFETY: The call has no memory arguments. It fails if there is no such process.
    unsafe {
        libc::kill(pid as libc::pid_t, signal);
    }
}
