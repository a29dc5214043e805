// SPDX-License-Identifier: GPL-2.0

#include <linux/anon_inodes.h>
#include <linux/bottom_half.h>
#include <linux/export.h>
#include <linux/fcntl.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/percpu-refcount.h>
#include <linux/percpu.h>
#include <linux/percpu_counter.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/rcutree.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#include "helpers.h"

/* rundown */

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

/* seqlock */

void quiesce_helper_seqcount_init(seqcount_t *s, const char *name,
				  struct lock_class_key *key)
{
	__seqcount_init(s, name, key);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_init);

void quiesce_helper_seqlock_init(seqlock_t *sl, const char *name,
				 struct lock_class_key *lock_key,
				 struct lock_class_key *seq_key)
{
#if defined(CONFIG_PREEMPT_RT)
	__spin_lock_init(&sl->lock, name, lock_key, false);
#elif defined(CONFIG_DEBUG_SPINLOCK)
	__raw_spin_lock_init(spinlock_check(&sl->lock), name, lock_key, LD_WAIT_CONFIG);
#else
	spin_lock_init(&sl->lock);
#endif
	seqcount_spinlock_init(&sl->seqcount, &sl->lock);
	/* Once more, with the class of this lock's own instead of one for all. */
	__seqcount_init(&sl->seqcount.seqcount, name, seq_key);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqlock_init);

void quiesce_helper_raw_seqlock_init(seqcount_raw_spinlock_t *s,
				     raw_spinlock_t *lock, const char *name,
				     struct lock_class_key *lock_key,
				     struct lock_class_key *seq_key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(lock, name, lock_key, LD_WAIT_SPIN);
#else
	raw_spin_lock_init(lock);
#endif
	seqcount_raw_spinlock_init(s, lock);
	__seqcount_init(&s->seqcount, name, seq_key);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_seqlock_init);

unsigned int quiesce_helper_seqcount_begin(const seqcount_t *s)
{
	return read_seqcount_begin(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_begin);

unsigned int quiesce_helper_seqcount_spinlock_begin(const seqcount_spinlock_t *s)
{
	return read_seqcount_begin(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_spinlock_begin);

bool quiesce_helper_seqcount_retry(const seqcount_t *s, unsigned int start)
{
	return read_seqcount_retry(s, start);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_retry);

void quiesce_helper_seqcount_write_begin(seqcount_t *s)
{
	do_write_seqcount_begin(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_write_begin);

void quiesce_helper_seqcount_write_end(seqcount_t *s)
{
	do_write_seqcount_end(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_write_end);

void quiesce_helper_preempt_disable(void)
{
	preempt_disable();
}
EXPORT_SYMBOL_GPL(quiesce_helper_preempt_disable);

void quiesce_helper_preempt_enable(void)
{
	preempt_enable();
}
EXPORT_SYMBOL_GPL(quiesce_helper_preempt_enable);

unsigned long quiesce_helper_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}
EXPORT_SYMBOL_GPL(quiesce_helper_irq_save);

void quiesce_helper_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_irq_restore);

#ifdef CONFIG_PREEMPT_RT

/*
 * On PREEMPT_RT the first local_bh_disable() of a task also enters an RCU read
 * section and disables migration, if the task is preemptible, and the last
 * local_bh_enable() leaves them, if the task is preemptible then. Guards may be
 * dropped in any order, so make sure that it is at both ends: where it is not,
 * softirqs cannot run anyway, and a lock that sleeps has no business there.
 */
bool quiesce_helper_bh_disable(void)
{
	if (WARN_ON_ONCE(!preemptible()))
		return false;
	local_bh_disable();
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_disable);

/* Leaves them disabled for ever rather than to end an RCU section of others. */
void quiesce_helper_bh_enable(void)
{
	if (!WARN_ON_ONCE(!preemptible()))
		local_bh_enable();
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_enable);

#else /* !CONFIG_PREEMPT_RT */

static void softirq_kick_fn(struct irq_work *work)
{
}

static DEFINE_PER_CPU(struct irq_work, softirq_kick) = IRQ_WORK_INIT_HARD(softirq_kick_fn);

/*
 * Softirqs are enabled with interrupts disabled: a bottom-half guard was dropped
 * before an interrupt guard that was taken later. local_bh_enable() would run
 * what is pending, with interrupts enabled. An interrupt that comes when they
 * are enabled does it instead; it is over before an RCU grace period is, and so
 * before this module's text goes away.
 */
static void bh_enable_irqs_disabled(void)
{
	_local_bh_enable();
	if (!in_interrupt() && local_softirq_pending() && arch_irq_work_has_interrupt())
		irq_work_queue(this_cpu_ptr(&softirq_kick));
}

bool quiesce_helper_bh_disable(void)
{
	local_bh_disable();
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_disable);

void quiesce_helper_bh_enable(void)
{
	if (unlikely(irqs_disabled()))
		bh_enable_irqs_disabled();
	else
		local_bh_enable();
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_enable);

void quiesce_helper_raw_spin_unlock_bh(raw_spinlock_t *lock)
{
	if (unlikely(irqs_disabled())) {
		raw_spin_unlock(lock);
		bh_enable_irqs_disabled();
	} else {
		raw_spin_unlock_bh(lock);
	}
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_unlock_bh);

#endif /* CONFIG_PREEMPT_RT */

void quiesce_helper_raw_spin_lock(raw_spinlock_t *lock)
{
	raw_spin_lock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_lock);

bool quiesce_helper_raw_spin_trylock(raw_spinlock_t *lock)
{
	return raw_spin_trylock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_trylock);

void quiesce_helper_raw_spin_unlock(raw_spinlock_t *lock)
{
	raw_spin_unlock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_unlock);

/* rcu */

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

bool quiesce_helper_rcu_in_nmi(void)
{
	return in_nmi();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_in_nmi);

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
