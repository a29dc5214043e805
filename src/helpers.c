// SPDX-License-Identifier: GPL-2.0

#include <linux/anon_inodes.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>

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

void quiesce_helper_queue_wake(struct wait_queue_head *head, unsigned int events)
{
	lockdep_assert_held(&head->lock);
	if (waitqueue_active(head))
		wake_up_locked_poll(head, (__force __poll_t)events);
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

struct pid *quiesce_helper_current_pid(void)
{
	return get_pid(task_tgid(current));
}
EXPORT_SYMBOL_GPL(quiesce_helper_current_pid);

void quiesce_helper_get_pid(struct pid *pid)
{
	get_pid(pid);
}
EXPORT_SYMBOL_GPL(quiesce_helper_get_pid);

static int quiesce_exit_code(struct task_struct *task)
{
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->exit_code;
}

/*
 * Whether all of the process is dead, as pidfd_poll() sees it. A pidfd's wait
 * queue is also woken when only the leader of a traced group has exited.
 */
bool quiesce_helper_pid_ended(struct pid *pid, int *code)
{
	struct task_struct *task;

	guard(rcu)();
	*code = 0;
	task = pid_task(pid, PIDTYPE_TGID);
	if (!task)
		return true;
	if (!READ_ONCE(task->exit_state) || !thread_group_empty(task))
		return false;
	*code = quiesce_exit_code(task);
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_ended);

void quiesce_helper_pid_watch(struct pid *pid, struct wait_queue_entry *entry,
			      wait_queue_func_t func)
{
	init_waitqueue_func_entry(entry, func);
	add_wait_queue(&pid->wait_pidfd, entry);
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_watch);

void quiesce_helper_pid_unwatch(struct pid *pid, struct wait_queue_entry *entry)
{
	remove_wait_queue(&pid->wait_pidfd, entry);
}
EXPORT_SYMBOL_GPL(quiesce_helper_pid_unwatch);

bool quiesce_helper_in_exec(void)
{
	return current->in_execve;
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_exec);

bool quiesce_helper_in_exit(int *code)
{
	if (!(current->flags & PF_EXITING))
		return false;
	*code = quiesce_exit_code(current);
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_exit);

struct file *quiesce_helper_anon_file(const char *name, const struct file_operations *fops,
				      void *private_data)
{
	return anon_inode_getfile(name, fops, private_data, O_RDWR);
}
EXPORT_SYMBOL_GPL(quiesce_helper_anon_file);

int quiesce_helper_copy_in(void *dst, size_t size, unsigned long src, size_t user_size)
{
	return copy_struct_from_user(dst, size, (const void __user *)src, user_size);
}
EXPORT_SYMBOL_GPL(quiesce_helper_copy_in);

int quiesce_helper_copy_out(unsigned long dst, size_t user_size, const void *src, size_t size)
{
	return copy_struct_to_user((void __user *)dst, user_size, src, size, NULL);
}
EXPORT_SYMBOL_GPL(quiesce_helper_copy_out);
