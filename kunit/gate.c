// SPDX-License-Identifier: GPL-2.0
/*
 * A gate that other test modules' threads and destructors wait at until it is
 * opened, also after the modules have been unloaded as far as rmmod can see:
 *
 *     echo 1 > /sys/module/quiesce_gate/parameters/open
 *
 * Who waits may name a place, which can stay shut. The gate also keeps a function of
 * one module for others to call: who removes it returns when no call is under way.
 * And it keeps addresses that one module lends to others.
 *
 * With flood=N the gate itself defers N objects, as C does it, behind a reader that
 * waits until the gate is opened: what quiesce_rcu_holder does, without quiesce.
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

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

static const void *lent[3];

void quiesce_gate_lend(unsigned int which, const void *address)
{
	WRITE_ONCE(lent[which], address);
}
EXPORT_SYMBOL_GPL(quiesce_gate_lend);

const void *quiesce_gate_lent(unsigned int which)
{
	return READ_ONCE(lent[which]);
}
EXPORT_SYMBOL_GPL(quiesce_gate_lent);

static unsigned int flood;
module_param(flood, uint, 0444);
MODULE_PARM_DESC(flood, "Objects to be deferred behind a reader");

struct object {
	struct rcu_head head;
	u64 *value;
};

DEFINE_STATIC_SRCU_FAST(gate_srcu);
static struct task_struct *reader;
static bool reads;

static void free_object(struct rcu_head *head)
{
	struct object *object = container_of(head, struct object, head);

	kfree(object->value);
	kfree(object);
}

static int read_until_open(void *unused)
{
	struct srcu_ctr __percpu *counter = srcu_read_lock_fast(&gate_srcu);

	WRITE_ONCE(reads, true);
	quiesce_gate_wait(0);
	srcu_read_unlock_fast(&gate_srcu, counter);
	while (!kthread_should_stop())
		msleep(20);
	return 0;
}

/* As a destructor that waits for the gate. */
static void wait_until_open(struct work_struct *work)
{
	quiesce_gate_wait(0);
}

static DECLARE_WORK(slow, wait_until_open);

static void gate_exit(void)
{
	WRITE_ONCE(open, true);
	if (reader)
		kthread_stop(reader);
	flush_work(&slow);
	srcu_barrier(&gate_srcu);
}
module_exit(gate_exit);

static int __init gate_init(void)
{
	unsigned int i;

	if (!flood)
		return 0;
	reader = kthread_run(read_until_open, NULL, "gate_reader");
	if (IS_ERR(reader))
		return PTR_ERR(reader);
	while (!READ_ONCE(reads))
		msleep(20);
	queue_work(system_dfl_wq, &slow);
	for (i = 0; i < flood; i++) {
		struct object *object = kmalloc_obj(*object);

		if (!object)
			break;
		object->value = kmalloc_obj(u64);
		call_srcu(&gate_srcu, &object->head, free_object);
		cond_resched();
	}
	if (i == flood)
		return 0;
	gate_exit();
	return -ENOMEM;
}
module_init(gate_init);

MODULE_DESCRIPTION("A gate for tests");
MODULE_LICENSE("GPL");
