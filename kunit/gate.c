// SPDX-License-Identifier: GPL-2.0
/*
 * A gate that other test modules' threads and destructors wait at until it is
 * opened, also after the modules have been unloaded as far as rmmod can see:
 *
 *     echo 1 > /sys/module/quiesce_gate/parameters/open
 *
 * Who waits may name a place, which can stay shut. The gate also keeps a function of
 * one module for others to call: who removes it returns when no call is under way.
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/module.h>
#include <linux/mutex.h>

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

static DEFINE_MUTEX(callee_lock);
static void (*callee)(void);

void quiesce_gate_set_callee(void (*func)(void))
{
	mutex_lock(&callee_lock);
	callee = func;
	mutex_unlock(&callee_lock);
}
EXPORT_SYMBOL_GPL(quiesce_gate_set_callee);

void quiesce_gate_call(void)
{
	mutex_lock(&callee_lock);
	if (callee)
		callee();
	mutex_unlock(&callee_lock);
}
EXPORT_SYMBOL_GPL(quiesce_gate_call);

MODULE_DESCRIPTION("A gate for tests");
MODULE_LICENSE("GPL");
