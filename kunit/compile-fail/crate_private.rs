// SPDX-License-Identifier: GPL-2.0

//! The fast paths' operations are private to the crate.

//~ ERROR module `arch` is private

#[cfg(not(fixed))]
pub use quiesce::arch;
#[cfg(fixed)]
pub use quiesce::seqlock;
