// SPDX-License-Identifier: GPL-2.0
/*
 * Holds what another module gives to it, until it is unloaded itself. See
 * unload_creator.rs.
 */

#include <linux/export.h>

#include "unload.h"

void quiesce_kunit_unload_hold(void *held)
{
	quiesce_kunit_unload_keep(held);
}
EXPORT_SYMBOL_GPL(quiesce_kunit_unload_hold);
