// SPDX-License-Identifier: GPL-2.0

//! `kernel::error`.

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(pub i32);

pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    pub fn from_errno(errno: i32) -> Self {
        Self(errno)
    }
    pub fn to_errno(self) -> i32 {
        self.0
    }
}

impl core::fmt::Debug for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(e: core::convert::Infallible) -> Self {
        match e {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl From<core::convert::Infallible> for AllocError {
    fn from(e: core::convert::Infallible) -> Self {
        match e {}
    }
}

pub fn to_result(errno: i32) -> Result {
    if errno < 0 {
        Err(Error(errno))
    } else {
        Ok(())
    }
}

macro_rules! codes {
    ($($name:ident $value:literal)*) => {
        pub mod code {
            use super::Error;
            $(pub const $name: Error = Error(-$value);)*
        }
        /// The name of an error, for traces.
        pub fn name(errno: i32) -> String {
            match -errno {
                0 => "0".into(),
                $($value => stringify!($name).into(),)*
                n => n.to_string(),
            }
        }
    };
}

codes! {
    ESRCH 3 EINTR 4 EAGAIN 11 ENOMEM 12 EFAULT 14 EBUSY 16 EEXIST 17 ENODEV 19 EINVAL 22 ENFILE 23
    EMFILE 24 ENOTTY 25 ENOSPC 28 EDEADLK 35 ENODATA 61 EOVERFLOW 75 ECONNABORTED 103 ENOTCONN 107
    ESHUTDOWN 108 ETIMEDOUT 110 EALREADY 114 ESTALE 116 EDQUOT 122 ECANCELED 125 EOWNERDEAD 130
    ERESTARTSYS 512
}
