// SPDX-License-Identifier: GPL-2.0

//! The README's examples. `qemu/readme.py` checks that they are the same.

mod data;
mod rcu;
mod rundown;
mod seqlock;
