// SPDX-License-Identifier: GPL-2.0
/*
 * A gate that other test modules' threads and destructors wait at until it is
 * opened, also after the modules have been unloaded as far as rmmod can see:
 *
 *     echo 1 > /sys/module/quiesce_gate/parameters/open
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/module.h>

#include "gate.h"

static bool open;
module_param(open, bool, 0644);
MODULE_PARM_DESC(open, "Whether the gate is open");

void quiesce_gate_wait(void)
{
	while (!READ_ONCE(open))
		msleep(20);
}
EXPORT_SYMBOL_GPL(quiesce_gate_wait);

MODULE_DESCRIPTION("A gate for tests");
MODULE_LICENSE("GPL");
