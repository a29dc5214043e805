// SPDX-License-Identifier: GPL-2.0

//! The bindings that bindgen generates from `helpers.h` and `uapi/quiesce.h`.

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]

mod helpers {
    use kernel::ffi;
    include!(concat!(env!("QUIESCE_OBJ"), "/src/bindings_generated.rs"));
}

/// The device's interface, from `uapi/quiesce.h`.
pub(crate) mod uapi {
    use kernel::ffi;
    include!(concat!(env!("QUIESCE_OBJ"), "/src/uapi_generated.rs"));
}

pub(crate) use helpers::*;
