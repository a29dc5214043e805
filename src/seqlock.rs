// SPDX-License-Identifier: GPL-2.0

//! Sequence locks.
