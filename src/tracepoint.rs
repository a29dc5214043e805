// SPDX-License-Identifier: GPL-2.0

//! Declares tracepoints that `src/trace.h` defines. One that is off costs a `nop`.
//!
//! `kernel::tracepoint::declare_trace!` finds tracepoints in the kernel crate's own bindings only,
//! so its lines stand here, for those of this crate.

macro_rules! declare_trace {
    ($(unsafe fn $name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        /// # Safety
        ///
        /// Each pointer to a `struct pid` is null or valid during the call.
        #[inline(always)]
        unsafe fn $name($($arg: $ty),*) {
            #[cfg(CONFIG_TRACEPOINTS)]
            kernel::macros::paste! {
                // SAFETY: `__tracepoint_NAME` is the tracepoint that `src/trace.c` defines, a
                // static whose key C initialised.
                if unsafe {
                    kernel::jump_label::static_branch_unlikely!(
                        crate::bindings::[<__tracepoint_ $name>],
                        kernel::bindings::tracepoint,
                        key
                    )
                } {
                    // SAFETY: Each pid is null or valid, as this function requires.
                    unsafe { crate::bindings::[<rust_do_trace_ $name>]($($arg),*) }
                }
            }
            #[cfg(not(CONFIG_TRACEPOINTS))]
            {
                $(let _ = $arg;)*
            }
        }
    )*}
}

pub(crate) use declare_trace;
