// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::rcu`.

mod barrier;
mod cell;
mod disposal;
mod domain;
mod executor;
mod future;
mod list;
mod retire;
mod srcu;
mod torture;
