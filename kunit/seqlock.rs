// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::seqlock`.

mod auto_traits;
mod c;
mod compat;
mod latch;
mod modes;
mod order;
mod payload;
mod read;
mod seqcount;
mod statics;
mod stress;
mod tear;
mod wrap;
