// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::seqlock`.

mod modes;
mod order;
mod read;
