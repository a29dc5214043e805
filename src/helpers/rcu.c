// SPDX-License-Identifier: GPL-2.0
/* What RCU domains need of C. */
#include <linux/export.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/percpu_counter.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/rcutree.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "../helpers.h"

int quiesce_helper_rcu_context(void)
{
	if (in_nmi())
		return QUIESCE_RCU_NMI;
	if (!in_task())
		return QUIESCE_RCU_ATOMIC;
	if (rcu_preempt_depth())
		return QUIESCE_RCU_READER;
	return preemptible() ? QUIESCE_RCU_MAY_WAIT : QUIESCE_RCU_ATOMIC;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_context);

bool quiesce_helper_rcu_depth(void)
{
	return rcu_preempt_depth();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_depth);

/*
 * Whether a word on the task's stack above this frame is its own address combined
 * with @tag. The top byte is left out: pointers can have tags of their own there.
 * Interrupts can have another stack, and nobody waits there.
 */
noinline bool quiesce_helper_rcu_marked(unsigned long tag)
{
	unsigned long *word = (unsigned long *)ALIGN(current_stack_pointer,
						     sizeof(long));
	unsigned long *end = task_stack_page(current) + THREAD_SIZE;

	if (!in_task())
		return false;
	for (; word < end; word++) {
		unsigned long value = READ_ONCE_NOCHECK(*word);

		if (!((value ^ tag ^ (unsigned long)word) << 8))
			return true;
	}
	return false;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_marked);

void quiesce_helper_rcu_quiesce(void)
{
	unsigned long flags;

	local_irq_save(flags);
	rcu_momentary_eqs();
	local_irq_restore(flags);
	cond_resched_tasks_rcu_qs();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_quiesce);

static unsigned int rcu_stall_ms = 10000;
module_param(rcu_stall_ms, uint, 0644);
MODULE_PARM_DESC(rcu_stall_ms,
		 "Report who waits longer than this for the readers of an RCU domain");
static atomic_t rcu_stalls;

struct quiesce_rcu_wait {
	struct timer_list timer;
	struct task_struct *task;
	const char *domain, *file;
	int file_len;
	unsigned int line;
	unsigned long since, period;
};

static void quiesce_rcu_report(struct timer_list *timer)
{
	struct quiesce_rcu_wait *w = timer_container_of(w, timer, timer);

	atomic_inc(&rcu_stalls);
	pr_warn("quiesce: rcu: %s[%d] at %.*s:%u waits since %u ms for the readers of %s\n",
		w->task->comm, task_pid_nr(w->task), w->file_len, w->file,
		w->line, jiffies_to_msecs(jiffies - w->since), w->domain);
	w->period *= 2;
	mod_timer(timer, jiffies + w->period);
}

void quiesce_helper_rcu_synchronize(struct srcu_struct *ssp, bool expedited,
				    const char *domain, const char *file,
				    size_t file_len, unsigned int line)
{
	struct quiesce_rcu_wait w = {
		.task = current, .domain = domain, .file = file,
		.file_len = file_len, .line = line, .since = jiffies,
		.period = msecs_to_jiffies(READ_ONCE(rcu_stall_ms)) ?: 1,
	};

	timer_setup_on_stack(&w.timer, quiesce_rcu_report, 0);
	mod_timer(&w.timer, jiffies + w.period);
	if (ssp && expedited)
		synchronize_srcu_expedited(ssp);
	else if (ssp)
		synchronize_srcu(ssp);
	else if (expedited)
		synchronize_rcu_expedited();
	else
		synchronize_rcu();
	timer_delete_sync(&w.timer);
	timer_destroy_on_stack(&w.timer);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_synchronize);

unsigned int quiesce_helper_rcu_stall_ms(unsigned int ms)
{
	return xchg(&rcu_stall_ms, ms);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_ms);

unsigned int quiesce_helper_rcu_stalls(void)
{
	return atomic_read(&rcu_stalls);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stalls);

void quiesce_helper_call_rcu_hurry(struct callback_head *head,
				   void (*func)(struct callback_head *head))
{
	call_rcu_hurry(head, func);
}
EXPORT_SYMBOL_GPL(quiesce_helper_call_rcu_hurry);

/* Guards every domain's list of waiting futures. Raw: interrupts take it. */
static DEFINE_RAW_SPINLOCK(quiesce_rcu_waiters);

unsigned long quiesce_helper_rcu_lock(void)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&quiesce_rcu_waiters, flags);
	return flags;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_lock);

void quiesce_helper_rcu_unlock(unsigned long flags)
{
	raw_spin_unlock_irqrestore(&quiesce_rcu_waiters, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_unlock);

int quiesce_helper_rcu_counter_init(struct percpu_counter *counter)
{
	return percpu_counter_init(counter, 0, GFP_KERNEL);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counter_init);

void quiesce_helper_rcu_counter_destroy(struct percpu_counter *counter)
{
	percpu_counter_destroy(counter);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counter_destroy);

void quiesce_helper_rcu_counter_add(struct percpu_counter *counter, long n)
{
	percpu_counter_add(counter, n);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counter_add);

long quiesce_helper_rcu_counter_read(struct percpu_counter *counter)
{
	return percpu_counter_read(counter);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counter_read);

long quiesce_helper_rcu_counter_sum(struct percpu_counter *counter)
{
	return percpu_counter_sum(counter);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counter_sum);

/*
 * Not WQ_MEM_RECLAIM: destructors run here, and they may flush queues that are
 * not either.
 */
struct workqueue_struct *quiesce_helper_rcu_workqueue(struct work_struct *work,
						      void (*func)(struct work_struct *work))
{
	INIT_WORK(work, func);
	return alloc_workqueue("quiesce_rcu", WQ_UNBOUND, 0);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_workqueue);

void quiesce_helper_rcu_cond_resched(void)
{
	cond_resched();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_cond_resched);

void *quiesce_helper_kmalloc(size_t size, gfp_t flags)
{
	return kmalloc(size, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_kmalloc);

bool quiesce_helper_within_module(const void *addr, const struct module *mod)
{
	return within_module((unsigned long)addr, mod);
}
EXPORT_SYMBOL_GPL(quiesce_helper_within_module);

static void (*quiesce_module_going)(struct module *mod);

/* Who depends on this module holds a reference to it until it is gone. */
static bool quiesce_module_used(void)
{
#ifdef CONFIG_MODULE_UNLOAD
	return module_refcount(THIS_MODULE) > 0;
#else
	return true;
#endif
}

static int quiesce_module_notify(struct notifier_block *nb, unsigned long state,
				 void *mod)
{
	if (state == MODULE_STATE_GOING && quiesce_module_used())
		quiesce_module_going(mod);
	return NOTIFY_DONE;
}

/* Last, when no other notifier will call into the module that goes. */
static struct notifier_block quiesce_module_nb = {
	.notifier_call = quiesce_module_notify,
	.priority = INT_MIN,
};

int quiesce_helper_on_module_going(void (*func)(struct module *mod))
{
	quiesce_module_going = func;
	return register_module_notifier(&quiesce_module_nb);
}
EXPORT_SYMBOL_GPL(quiesce_helper_on_module_going);

void quiesce_helper_off_module_going(void)
{
	unregister_module_notifier(&quiesce_module_nb);
}
EXPORT_SYMBOL_GPL(quiesce_helper_off_module_going);
