// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::barrier`.

mod group;
mod model;
mod pair;
mod queue;
mod random;
mod spin;
