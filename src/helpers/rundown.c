// SPDX-License-Identifier: GPL-2.0
/* What rundown references need of C. */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/percpu-refcount.h>
#include <linux/preempt.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>

#include "../helpers.h"

bool quiesce_helper_in_nmi(void)
{
	return in_nmi();
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_nmi);

void quiesce_helper_raw_spin_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_lock_init);

unsigned long quiesce_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_lock_irqsave);

void quiesce_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					       unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_unlock_irqrestore);

void quiesce_helper_init_irq_work_hard(struct irq_work *work,
				       void (*fn)(struct irq_work *work))
{
	*work = IRQ_WORK_INIT_HARD(fn);
}
EXPORT_SYMBOL_GPL(quiesce_helper_init_irq_work_hard);

static unsigned int rundown_report_ms = 30000;
module_param(rundown_report_ms, uint, 0644);
MODULE_PARM_DESC(rundown_report_ms,
		 "Report a rundown that is waited for this long, in milliseconds (0: never)");

unsigned int quiesce_helper_rundown_report_ms(void)
{
	return READ_ONCE(rundown_report_ms);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_report_ms);

unsigned int quiesce_helper_set_rundown_report_ms(unsigned int ms)
{
	return xchg(&rundown_report_ms, ms);
}
EXPORT_SYMBOL_GPL(quiesce_helper_set_rundown_report_ms);

void quiesce_helper_rundown_too_many_holders(void)
{
	WARN(1, "quiesce: a rundown reference has too many holders and is leaked\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_too_many_holders);

void quiesce_helper_rundown_too_many_releases(void)
{
	WARN(1, "quiesce: a rundown reference was released too often and is leaked\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_too_many_releases);

int quiesce_helper_percpu_ref_init(struct percpu_ref *ref,
				   void (*release)(struct percpu_ref *ref),
				   bool live)
{
	return percpu_ref_init(ref, release,
			       live ? PERCPU_REF_ALLOW_REINIT : PERCPU_REF_INIT_DEAD,
			       GFP_KERNEL);
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_init);

bool quiesce_helper_percpu_ref_tryget_live(struct percpu_ref *ref)
{
	if (!percpu_ref_tryget_live(ref))
		return false;
	/* percpu_ref promises no ordering; this pairs with percpu_ref_reinit(). */
	smp_acquire__after_ctrl_dep();
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_tryget_live);

bool quiesce_helper_percpu_ref_tryget(struct percpu_ref *ref)
{
	return percpu_ref_tryget(ref);
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_tryget);

void quiesce_helper_percpu_ref_get_many(struct percpu_ref *ref, unsigned long nr)
{
	percpu_ref_get_many(ref, nr);
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_get_many);

void quiesce_helper_percpu_ref_put(struct percpu_ref *ref)
{
	percpu_ref_put(ref);
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_put);

void quiesce_helper_percpu_ref_put_many(struct percpu_ref *ref, unsigned long nr)
{
	percpu_ref_put_many(ref, nr);
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_put_many);

/*
 * How many references there are besides the initial one: a look at what others
 * change meanwhile, for reports. The count is biased while the CPUs' counters
 * are in use or under collection.
 */
unsigned long quiesce_helper_percpu_ref_holders(struct percpu_ref *ref)
{
	unsigned long flags = READ_ONCE(ref->percpu_count_ptr);
	unsigned long __percpu *counts;
	long sum = atomic_long_read(&ref->data->count);
	int cpu;

	if (sum < 0) {
		sum -= LONG_MIN;
		counts = (unsigned long __percpu *)(flags & ~__PERCPU_REF_ATOMIC_DEAD);
		for_each_possible_cpu(cpu)
			sum += READ_ONCE(*per_cpu_ptr(counts, cpu));
		/* The collector has one. */
		if (flags & __PERCPU_REF_ATOMIC)
			sum--;
	}
	if (!(flags & __PERCPU_REF_DEAD))
		sum--;
	return sum > 0 ? sum : 0;
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_holders);

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
EXPORT_SYMBOL_GPL(quiesce_helper_dep_sync);

bool quiesce_helper_dep_is_held(struct lockdep_map *map)
{
	return lock_is_held(map);
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_is_held);
#endif
