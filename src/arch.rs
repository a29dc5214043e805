// SPDX-License-Identifier: GPL-2.0

//! The few operations of the fast paths that C has inline, inline.
//!
//! Where helpers are not inlined into Rust, each of the kernel's atomic operations is a call. On
//! x86_64 those here are assembly instead: the instructions that C's own inline functions are. KASAN
//! and KCSAN do not see into assembly; with them and on other architectures the kernel's own
//! functions do the same. arm64 has assembly of its own, except for the operations on per-CPU
//! counters, which are several instructions with preemption disabled there.
//!
//! `Kbuild` sets `quiesce_asm` where x86_64's assembly is used, `quiesce_asm_arm64` where arm64's is, `quiesce_asm_percpu` where it is used for
//! counters per CPU, and `quiesce_asm_preempt` where it is used for the count of preemption.

#[cfg(quiesce_asm_arm64)]
pub(crate) mod arm64;
pub(crate) mod context;
#[cfg(CONFIG_64BIT)]
pub(crate) mod percpu_count;
pub(crate) mod pointer;
pub(crate) mod preempt;
pub(crate) mod rcu_counts;
pub(crate) mod seq;
pub(crate) mod srcu;
pub(crate) mod word;
