// SPDX-License-Identifier: GPL-2.0

//! The few atomic operations of the fast paths, inline.
