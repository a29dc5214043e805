// SPDX-License-Identifier: GPL-2.0
/* The wait queue of a barrier, whose lock is the lock of the barrier's state. */
#include <linux/export.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "../helpers.h"

/* One lock for a barrier's state and for those who wait for it: the queue's. */
unsigned long quiesce_helper_queue_lock(struct wait_queue_head *head)
{
	unsigned long flags;

	spin_lock_irqsave(&head->lock, flags);
	return flags;
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_lock);

void quiesce_helper_queue_unlock(struct wait_queue_head *head, unsigned long flags)
{
	spin_unlock_irqrestore(&head->lock, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_unlock);

void quiesce_helper_queue_wake(struct wait_queue_head *head)
{
	lockdep_assert_held(&head->lock);
	/* The head's lock is held, and so it is by whoever queues: no barrier is due. */
	if (waitqueue_active(head))
		wake_up_all_locked(head);
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_wake);

/*
 * Lets go of the lock, sleeps and takes the lock again. Returns 0 when the
 * caller should look again, whatever woke it; -ETIMEDOUT once the deadline has
 * passed; -ERESTARTSYS, without having slept, if a signal is pending.
 */
int quiesce_helper_queue_sleep(struct wait_queue_head *head, unsigned long *flags,
			       s64 *deadline, int clock)
{
	DECLARE_WAITQUEUE(entry, current);
	ktime_t until = deadline ? *deadline : 0;
	int ret;

	lockdep_assert_held(&head->lock);
	if (signal_pending(current))
		return -ERESTARTSYS;

	__add_wait_queue(head, &entry);
	set_current_state(TASK_INTERRUPTIBLE);
	spin_unlock_irqrestore(&head->lock, *flags);

	ret = schedule_hrtimeout_range_clock(deadline ? &until : NULL,
					     current->timer_slack_ns,
					     HRTIMER_MODE_ABS, clock);

	spin_lock_irqsave(&head->lock, *flags);
	__remove_wait_queue(head, &entry);
	return ret ? 0 : -ETIMEDOUT;
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_sleep);

static unsigned int spin_us = 100;
module_param(spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us,
		 "A wait at /dev/quiesce may look so long before it sleeps, in microseconds (0: never)");

/* Nothing else has use for this CPU, and who is waited for may run on another. */
static bool quiesce_may_spin(void)
{
	return single_task_running() && !need_resched() && !signal_pending(current);
}

/*
 * For how many nanoseconds a wait may look before it sleeps: not over its
 * deadline, and not at all where that would keep others from running.
 */
u32 quiesce_helper_spin_limit(const s64 *deadline, int clock)
{
	s64 limit = min_t(u64, READ_ONCE(spin_us), USEC_PER_SEC) * NSEC_PER_USEC;

	if (!limit || num_online_cpus() == 1 || !quiesce_may_spin())
		return 0;
	if (deadline)
		limit = min(limit, *deadline - (clock == CLOCK_REALTIME ? ktime_get_real() :
						ktime_get()));
	return max(limit, 0);
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_limit);

u64 quiesce_helper_spin_clock(void)
{
	return local_clock();
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_clock);

/*
 * Lets go of the lock, looks for so long whether *changes does, and takes the
 * lock again. Returns whether it did.
 */
bool quiesce_helper_queue_spin(struct wait_queue_head *head, unsigned long *flags,
			       const u32 *changes, u32 ns)
{
	u64 until = local_clock() + ns;
	u32 seen;

	lockdep_assert_held(&head->lock);
	seen = *changes;
	spin_unlock_irqrestore(&head->lock, *flags);
	/* A clock that differs between CPUs ends it early or late by that, once. */
	while (READ_ONCE(*changes) == seen && quiesce_may_spin() &&
	       (s64)(until - local_clock()) > 0)
		cpu_relax();
	spin_lock_irqsave(&head->lock, *flags);
	return *changes != seen;
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_spin);
