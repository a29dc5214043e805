// SPDX-License-Identifier: GPL-2.0

#include <linux/export.h>
#include <linux/irq_work.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "helpers.h"

/* rundown */

bool quiesce_helper_in_nmi(void)
{
	return in_nmi();
}

void quiesce_helper_raw_spin_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}

unsigned long quiesce_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

void quiesce_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					       unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}

void quiesce_helper_init_irq_work_hard(struct irq_work *work,
				       void (*fn)(struct irq_work *work))
{
	*work = IRQ_WORK_INIT_HARD(fn);
}

static unsigned int rundown_report_ms = 30000;
module_param(rundown_report_ms, uint, 0644);
MODULE_PARM_DESC(rundown_report_ms,
		 "Report a rundown that is waited for this long, in milliseconds (0: never)");

unsigned int quiesce_helper_rundown_report_ms(void)
{
	return READ_ONCE(rundown_report_ms);
}

void quiesce_helper_set_rundown_report_ms(unsigned int ms)
{
	WRITE_ONCE(rundown_report_ms, ms);
}

void quiesce_helper_warn(const char *what)
{
	WARN(1, "quiesce: %s\n", what);
}

#ifdef CONFIG_LOCKDEP
/*
 * Half of what a task can hold, so that a task with many guards does not exhaust
 * lockdep: what is beyond is not tracked.
 */
bool quiesce_helper_dep_hold(struct lockdep_map *map)
{
	if (lockdep_depth(current) >= MAX_LOCK_DEPTH / 2)
		return false;
	rwsem_acquire_read(map, 0, 1, _RET_IP_);
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_hold);

void quiesce_helper_dep_let_go(struct lockdep_map *map)
{
	rwsem_release(map, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_let_go);

void quiesce_helper_dep_sync(struct lockdep_map *map)
{
	lock_sync(map, 0, 0, 1, NULL, _RET_IP_);
}

bool quiesce_helper_dep_is_held(struct lockdep_map *map)
{
	return lock_is_held(map);
}
#endif

/* seqlock */

/* rcu */

/* device */
