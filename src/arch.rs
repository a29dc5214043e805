// SPDX-License-Identifier: GPL-2.0

//! The few operations of the fast paths that C has inline, inline.
//!
//! Where helpers are not inlined into Rust, each of the kernel's atomic operations is a call. On
//! x86_64 those here are assembly instead: the instructions that C's own inline functions are. KASAN
//! and KCSAN do not see into assembly; with them and on other architectures the kernel's own
//! functions do the same.
//!
//! `Kbuild` sets `quiesce_asm` where assembly is used, `quiesce_asm_percpu` where it is used for
//! counters per CPU, and `quiesce_asm_preempt` where it is used for the count of preemption.

pub(crate) mod context;
#[cfg(CONFIG_64BIT)]
pub(crate) mod percpu_count;
pub(crate) mod pointer;
pub(crate) mod preempt;
pub(crate) mod seq;
pub(crate) mod srcu;
pub(crate) mod word;
