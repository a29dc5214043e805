// SPDX-License-Identifier: GPL-2.0
/* The wait queue of a barrier, whose lock is the lock of the barrier's state. */
#include <linux/export.h>
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/moduleparam.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/spinlock.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include "../helpers.h"

/* The queue's lock protects the barrier's state as well as its waiters. */
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

/* Number of entries that are woken before the lock is released. */
#define QUIESCE_WAKE_BATCH	32

/* Marks a place in the queue and is not a waiter. */
static int quiesce_wake_mark(struct wait_queue_entry *entry, unsigned int mode, int flags,
			     void *key)
{
	return 0;
}

/*
 * Wakes @entry and those behind it, and releases the lock after each batch.
 * Entries that are queued meanwhile belong to callers that have seen the new
 * state, so this ends where the queue ended at first.
 */
static noinline void quiesce_wake_rest(struct wait_queue_head *head, unsigned long *flags,
				       struct wait_queue_entry *entry, void *key)
{
	struct wait_queue_entry last = { .func = quiesce_wake_mark };
	struct wait_queue_entry mark = { .func = quiesce_wake_mark };
	struct wait_queue_entry *next;

	list_add_tail(&last.entry, &head->head);
	while (entry != &last) {
		list_add_tail(&mark.entry, &entry->entry);
		spin_unlock_irqrestore(&head->lock, *flags);
		cond_resched();
		spin_lock_irqsave(&head->lock, *flags);
		entry = list_next_entry(&mark, entry);
		list_del(&mark.entry);
		for (int n = 0; entry != &last && n < QUIESCE_WAKE_BATCH; n++, entry = next) {
			next = list_next_entry(entry, entry);
			entry->func(entry, TASK_NORMAL, 0, key);
		}
	}
	list_del(&last.entry);
}

/*
 * Wakes all waiters, and the pollers of one of @events. Releases the lock and
 * takes it again if there are many. Process context.
 */
void quiesce_helper_queue_wake(struct wait_queue_head *head, unsigned long *flags, u32 events)
{
	void *key = poll_to_key((__force __poll_t)events);
	struct wait_queue_entry *entry, *next;
	int n = 0;

	lockdep_assert_held(&head->lock);
	/*
	 * No memory barrier is needed: tasks are queued with the same lock
	 * held.
	 */
	list_for_each_entry_safe(entry, next, &head->head, entry) {
		if (n++ == QUIESCE_WAKE_BATCH) {
			quiesce_wake_rest(head, flags, entry, key);
			return;
		}
		entry->func(entry, TASK_NORMAL, 0, key);
	}
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_wake);

/*
 * Releases the lock, sleeps and acquires the lock again. Returns 0 if the caller
 * should check its condition again, whatever the reason of the wake-up; -ETIMEDOUT
 * once the deadline has passed; -ERESTARTSYS if a signal is pending, without
 * sleeping, or at a wake-up after which the deadline has passed: the task may run
 * long after the signal that woke it.
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
	set_current_state(TASK_INTERRUPTIBLE | TASK_FREEZABLE);
	spin_unlock_irqrestore(&head->lock, *flags);

	ret = schedule_hrtimeout_range_clock(deadline ? &until : NULL,
					     current->timer_slack_ns,
					     HRTIMER_MODE_ABS, clock);

	spin_lock_irqsave(&head->lock, *flags);
	__remove_wait_queue(head, &entry);
	if (ret)
		return 0;
	return signal_pending(current) ? -ERESTARTSYS : -ETIMEDOUT;
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_sleep);

static unsigned int spin_us = 100;
module_param(spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us,
		 "Maximum time that a wait at /dev/quiesce polls before it sleeps, in microseconds (0: disabled)");

/* No other task needs this CPU, and the other party may run on another one. */
static bool quiesce_may_spin(void)
{
	return single_task_running() && !need_resched() && !signal_pending(current);
}

static ktime_t quiesce_now(int clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
		return ktime_get_real();
	case CLOCK_BOOTTIME:
		return ktime_get_boottime();
	default:
		return ktime_get();
	}
}

/* Converts a time in the calling task's time namespace to the host's. */
s64 quiesce_helper_time_to_host(int clock, s64 ns)
{
	return timens_ktime_to_host(clock, ns);
}
EXPORT_SYMBOL_GPL(quiesce_helper_time_to_host);

/* CLOCK_BOOTTIME as of the last tick: no clock is read for it. */
u64 quiesce_helper_boottime(void)
{
	return ktime_get_coarse_boottime_ns();
}
EXPORT_SYMBOL_GPL(quiesce_helper_boottime);

/* Converts a CLOCK_BOOTTIME to the calling task's time namespace. */
u64 quiesce_helper_boottime_of_reader(u64 ns)
{
	return timens_add_boottime_ns(ns);
}
EXPORT_SYMBOL_GPL(quiesce_helper_boottime_of_reader);

/*
 * Returns the time in nanoseconds that a wait may poll before it sleeps: at
 * most until its deadline, and 0 if polling would keep other tasks from
 * running.
 */
u32 quiesce_helper_spin_limit(const s64 *deadline, int clock)
{
	s64 limit = min_t(u64, READ_ONCE(spin_us), USEC_PER_SEC) * NSEC_PER_USEC;

	if (!limit || num_online_cpus() == 1 || !quiesce_may_spin())
		return 0;
	if (deadline)
		limit = min(limit, *deadline - quiesce_now(clock));
	return max(limit, 0);
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_limit);

u64 quiesce_helper_spin_clock(void)
{
	return local_clock();
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_clock);

/*
 * Releases the lock, polls *changes for at most @ns nanoseconds, and acquires the
 * lock again. Returns whether *changes has changed.
 */
bool quiesce_helper_queue_spin(struct wait_queue_head *head, unsigned long *flags,
			       const u32 *changes, u32 ns)
{
	u64 until = local_clock() + ns;
	u32 seen;

	lockdep_assert_held(&head->lock);
	seen = *changes;
	spin_unlock_irqrestore(&head->lock, *flags);
	/* If the clocks of two CPUs differ, migration shifts the end by that, once. */
	while (READ_ONCE(*changes) == seen && quiesce_may_spin() &&
	       (s64)(until - local_clock()) > 0)
		cpu_relax();
	spin_lock_irqsave(&head->lock, *flags);
	return *changes != seen;
}
EXPORT_SYMBOL_GPL(quiesce_helper_queue_spin);
