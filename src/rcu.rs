// SPDX-License-Identifier: GPL-2.0

//! Read-copy-update.
