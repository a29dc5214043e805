// SPDX-License-Identifier: GPL-2.0

//! Rundown references.

/// Says which state of the crate this is; a consumer's link to it.
pub fn version() -> u32 {
    crate::bindings::uapi::QUIESCE_VERSION
}
