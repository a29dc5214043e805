// SPDX-License-Identifier: GPL-2.0
/*
 * The Rust symbols of quiesce.ko, for the modules that use the crate. The list
 * is made from the object (see Kbuild); nothing here but the shim that gives C's
 * EXPORT_SYMBOL a declaration.
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

/* Of the build that this is: a list beside this file may be an older one's. */
#include <exports_generated.h>
