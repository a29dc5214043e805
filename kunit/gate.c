// SPDX-License-Identifier: GPL-2.0
/*
 * A gate that other test modules' threads and destructors wait at until it is
 * opened, also after the modules have been unloaded as far as rmmod can see:
 *
 *     echo 1 > /sys/module/quiesce_gate/parameters/open
 *
 * Who waits may name a place, which can stay shut.
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/module.h>

#include "gate.h"

static bool open;
module_param(open, bool, 0644);
MODULE_PARM_DESC(open, "Whether the gate is open");

static unsigned int shut;
module_param(shut, uint, 0644);
MODULE_PARM_DESC(shut, "The place that stays shut when the gate is open; 0 for none");

void quiesce_gate_wait(unsigned int place)
{
	while (!READ_ONCE(open) || (place && READ_ONCE(shut) == place))
		msleep(20);
}
EXPORT_SYMBOL_GPL(quiesce_gate_wait);

MODULE_DESCRIPTION("A gate for tests");
MODULE_LICENSE("GPL");
