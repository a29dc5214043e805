// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::seqlock`.

mod broken;
mod modes;
mod order;
mod read;
mod stress;
