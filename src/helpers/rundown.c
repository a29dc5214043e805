// SPDX-License-Identifier: GPL-2.0
/* C functions that rundown references call. */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/percpu-refcount.h>
#include <linux/preempt.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "../helpers.h"

bool quiesce_helper_in_nmi(void)
{
	return in_nmi();
}
EXPORT_SYMBOL_GPL(quiesce_helper_in_nmi);

/* With PREEMPT_RCU a read-side critical section can be preempted, but must not sleep. */
bool quiesce_helper_preemptible(void)
{
	return preemptible() && !rcu_preempt_depth();
}
EXPORT_SYMBOL_GPL(quiesce_helper_preemptible);

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

/*
 * The dispatcher of objects that are dropped in contexts where their destructor
 * must not run. An irq_work queues it, because the drop may be in an NMI, or
 * under a lock that waking a task acquires.
 */
static struct workqueue_struct *rundown_wq;
static void (*rundown_dispatch)(void);

static void rundown_reaper(struct work_struct *work)
{
	rundown_dispatch();
}

static DECLARE_WORK(rundown_reaper_work, rundown_reaper);

static void rundown_reaper_kicked(struct irq_work *work)
{
	schedule_work(&rundown_reaper_work);
}

static struct irq_work rundown_reaper_kick = IRQ_WORK_INIT_HARD(rundown_reaper_kicked);

int quiesce_helper_rundown_reaper_init(void (*dispatch)(void))
{
	rundown_dispatch = dispatch;
	rundown_wq = alloc_workqueue("quiesce_rundown", WQ_UNBOUND, 0);
	return rundown_wq ? 0 : -ENOMEM;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_reaper_init);

/* Called when no reference is left, so that nothing is dropped any more. */
void quiesce_helper_rundown_reaper_exit(void)
{
	quiesce_helper_rundown_reaper_flush();
	destroy_workqueue(rundown_wq);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_reaper_exit);

/*
 * @work is not queued. Each work item runs one destructor, which may wait for
 * others.
 */
void quiesce_helper_rundown_queue(struct work_struct *work,
				  void (*func)(struct work_struct *work))
{
	INIT_WORK(work, func);
	queue_work(rundown_wq, work);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_queue);

void quiesce_helper_rundown_reaper_kick(void)
{
	irq_work_queue(&rundown_reaper_kick);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_reaper_kick);

void quiesce_helper_rundown_reaper_flush(void)
{
	irq_work_sync(&rundown_reaper_kick);
	flush_work(&rundown_reaper_work);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_reaper_flush);

/*
 * lockdep keeps the address of the map of a lock that a task holds. It reads the
 * map again when the task releases a lock that it acquired before that one. A
 * guard may be leaked, and its reference freed, by whatever task. So lockdep gets
 * maps of this module, one for each class; the map of a reference only says which
 * class it has.
 *
 * A map is not removed. It may be used for another class when the module that its
 * key is in was unloaded: the key has a mark then.
 */
#ifdef CONFIG_LOCKDEP
#define DEP_BITS	9
#define DEP_UNLOADED	1UL

static struct lockdep_map dep_maps[1 << DEP_BITS];

static bool dep_is_unused(const void *key)
{
	return !key || ((unsigned long)key & DEP_UNLOADED);
}

/* Returns the map for the class of a reference; NULL if there are too many classes. */
static struct lockdep_map *dep_find(const struct lockdep_map *of)
{
	/* The name is in this module: a reference may outlive its creator. */
	const char *name = READ_ONCE(of->name) ?: "quiesce_rundown";
	struct lock_class_key *key = of->key, *seen = NULL, *now;
	struct lockdep_map *unused, *map;
	unsigned int i;

again:
	unused = NULL;
	for (i = 0; i < ARRAY_SIZE(dep_maps); i++) {
		map = &dep_maps[(hash_ptr(key, DEP_BITS) + i) % ARRAY_SIZE(dep_maps)];
		now = READ_ONCE(map->key);
		if (now == key) {
			if (READ_ONCE(map->name) != name)
				WRITE_ONCE(map->name, name);
			return map;
		}
		if (!unused && dep_is_unused(now)) {
			unused = map;
			seen = now;
		}
		if (!now)
			break;
	}
	if (!unused)
		return NULL;
	/* If this fails, another context uses the map, perhaps for this class. */
	cmpxchg(&unused->key, seen, key);
	goto again;
}

/* lockdep removes the classes of @mod, whose code has ended, when it is freed. */
void quiesce_helper_dep_forget(const struct module *mod)
{
	unsigned long key;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dep_maps); i++) {
		key = (unsigned long)READ_ONCE(dep_maps[i].key);
		if (key && quiesce_helper_within_module((void *)key, mod))
			WRITE_ONCE(dep_maps[i].key, (void *)(key | DEP_UNLOADED));
	}
}

/*
 * Half of the locks that lockdep tracks for a task. Guards beyond that are not
 * tracked, so that a task with many guards does not exhaust lockdep.
 */
static struct lockdep_map *dep_find_to_hold(const struct lockdep_map *of)
{
	return lockdep_depth(current) < MAX_LOCK_DEPTH / 2 ? dep_find(of) : NULL;
}

/* Returns a number for quiesce_helper_dep_let_go(); zero if it is not tracked. */
unsigned int quiesce_helper_dep_hold(const struct lockdep_map *of)
{
	struct lockdep_map *map = dep_find_to_hold(of);

	if (!map)
		return 0;
	rwsem_acquire_read(map, 0, 1, _RET_IP_);
	return map - dep_maps + 1;
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_hold);

unsigned int quiesce_helper_dep_hold_exclusive(const struct lockdep_map *of)
{
	struct lockdep_map *map = dep_find_to_hold(of);

	if (!map)
		return 0;
	rwsem_acquire(map, 0, 1, _RET_IP_);
	return map - dep_maps + 1;
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_hold_exclusive);

void quiesce_helper_dep_let_go(unsigned int held)
{
	rwsem_release(&dep_maps[held - 1], _RET_IP_);
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_let_go);

void quiesce_helper_dep_sync(const struct lockdep_map *of)
{
	struct lockdep_map *map = dep_find(of);

	if (map)
		lock_sync(map, 0, 0, 1, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_sync);

bool quiesce_helper_dep_is_held(const struct lockdep_map *of)
{
	struct lockdep_map *map = dep_find(of);

	return map && lock_is_held(map);
}
EXPORT_SYMBOL_GPL(quiesce_helper_dep_is_held);
#else
void quiesce_helper_dep_forget(const struct module *mod)
{
}
#endif
EXPORT_SYMBOL_GPL(quiesce_helper_dep_forget);

void quiesce_helper_rundown_leaked(void)
{
	WARN_ONCE(1, "quiesce: an object was leaked: too many were dropped in one interrupt\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_leaked);

/*
 * Sleeps indefinitely: the object is never run down. The hung task detector
 * reports it.
 */
void quiesce_helper_rundown_forever(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_forever);

/* @reader: the task is in a read-side critical section that RCU does not know of. */
bool quiesce_helper_rundown_may_sleep(bool reader)
{
	bool atomic = reader || rcu_preempt_depth() > 0;

	if (IS_ENABLED(CONFIG_PREEMPT_COUNT))
		atomic |= !preemptible();
	else
		atomic |= in_interrupt() || irqs_disabled();
	return !WARN_ONCE(atomic, "quiesce: rundown: the caller may not sleep here\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_may_sleep);

u64 quiesce_helper_jiffies_64(void)
{
	return get_jiffies_64();
}
EXPORT_SYMBOL_GPL(quiesce_helper_jiffies_64);

pid_t quiesce_helper_current_comm(char *comm)
{
	strscpy(comm, current->comm, TASK_COMM_LEN);
	return task_pid_nr(current);
}
EXPORT_SYMBOL_GPL(quiesce_helper_current_comm);

/* The address is hashed, as all addresses in the log. */
void quiesce_helper_format_pointer(char *buffer, size_t size, const void *pointer)
{
	scnprintf(buffer, size, "%p", pointer);
}
EXPORT_SYMBOL_GPL(quiesce_helper_format_pointer);

/* Reports rundowns that take long, while there are waiters. */
static bool (*rundown_monitor)(unsigned int ms);
static unsigned int rundown_stall_ms = 30000;

static void rundown_monitor_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(rundown_monitor_dwork, rundown_monitor_work);

/* With @again, a report that is due already is moved to the new interval. */
void quiesce_helper_rundown_monitor_start(bool again)
{
	unsigned int ms = READ_ONCE(rundown_stall_ms);

	if (again && ms)
		mod_delayed_work(system_dfl_wq, &rundown_monitor_dwork, msecs_to_jiffies(ms) + 1);
	if (again || !ms)
		return;
	/*
	 * Pairs with the barrier of the workqueue, which clears the pending bit before it
	 * runs the work item: either that sees the caller's waiter, or this the bit cleared.
	 */
	smp_mb();
	if (!delayed_work_pending(&rundown_monitor_dwork))
		queue_delayed_work(system_dfl_wq, &rundown_monitor_dwork, msecs_to_jiffies(ms) + 1);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_monitor_start);

static void rundown_monitor_work(struct work_struct *work)
{
	unsigned int ms = READ_ONCE(rundown_stall_ms);

	if (ms && rundown_monitor(ms))
		quiesce_helper_rundown_monitor_start(false);
}

/* /sys/kernel/debug/quiesce_rundowns: the rundowns that are waited for. */
static void (*rundown_list)(struct seq_file *m);
static struct dentry *rundown_dentry;

static int rundowns_show(struct seq_file *m, void *unused)
{
	rundown_list(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rundowns);

void quiesce_helper_rundown_monitor_init(bool (*monitor)(unsigned int ms),
					 void (*list)(struct seq_file *m))
{
	rundown_monitor = monitor;
	rundown_list = list;
	rundown_dentry = debugfs_create_file("quiesce_rundowns", 0400, NULL, NULL,
					     &rundowns_fops);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_monitor_init);

void quiesce_helper_rundown_monitor_exit(void)
{
	debugfs_remove(rundown_dentry);
	/* The parameter can be written until the kernel frees the module, which is later. */
	disable_delayed_work_sync(&rundown_monitor_dwork);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rundown_monitor_exit);

static int rundown_stall_ms_set(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_uint(val, kp);

	if (!ret && rundown_monitor)
		quiesce_helper_rundown_monitor_start(true);
	return ret;
}

static const struct kernel_param_ops rundown_stall_ms_ops = {
	.set = rundown_stall_ms_set,
	.get = param_get_uint,
};

module_param_cb(rundown_stall_ms, &rundown_stall_ms_ops, &rundown_stall_ms, 0644);
MODULE_PARM_DESC(rundown_stall_ms,
		 "Interval of the reports of a rundown that is waited for, in milliseconds (0: disabled)");

unsigned int quiesce_helper_set_rundown_stall_ms(unsigned int ms)
{
	ms = xchg(&rundown_stall_ms, ms);
	quiesce_helper_rundown_monitor_start(true);
	return ms;
}
EXPORT_SYMBOL_GPL(quiesce_helper_set_rundown_stall_ms);

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

/*
 * The number of references must not wrap around, because an object with holders
 * would then seem to be run down. It is the sum of the CPUs' counters and of a
 * base: what the count had when percpu_ref_resurrect() has set the counters to
 * zero. Each of the two gets a quarter of the positive range here. The rest is for
 * those that are acquired one by one, which the next collection checks.
 *
 * Live references are never in atomic mode.
 */
int quiesce_helper_percpu_ref_tryget_live_many(struct percpu_ref *ref, unsigned long nr)
{
	const unsigned long most = LONG_MAX / 4 / nr_cpu_ids;
	unsigned long __percpu *counts;
	unsigned long old;
	int ret = -ENODEV;
	long base;

	rcu_read_lock();
	if (__ref_is_percpu(ref, &counts)) {
		smp_acquire__after_ctrl_dep();
		base = atomic_long_read(&ref->data->count) - (unsigned long)LONG_MIN;
		old = this_cpu_read(*counts);
		/* Neither an interrupt nor a migration comes between check and addition. */
		do {
			ret = -EOVERFLOW;
			if (base > LONG_MAX / 4 || nr > most || (long)old > (long)(most - nr))
				break;
			ret = 0;
		} while (!this_cpu_try_cmpxchg(*counts, &old, old + nr));
	}
	rcu_read_unlock();
	return ret;
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_tryget_live_many);

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
 * Returns whether there are more references than are allowed to be counted: the
 * count is not right then. Called at the end of a collection, after which nobody
 * changes the CPUs' counters. Their sum without the low bits does not wrap around.
 */
bool quiesce_helper_percpu_ref_is_saturated(struct percpu_ref *ref)
{
	const long most = LONG_MAX / 4 * 3;
	unsigned long flags = READ_ONCE(ref->percpu_count_ptr);
	long count = atomic_long_read(&ref->data->count);
	unsigned long __percpu *counts;
	long high = 0;
	int cpu;

	counts = (unsigned long __percpu *)(flags & ~__PERCPU_REF_ATOMIC_DEAD);
	for_each_possible_cpu(cpu)
		high += (long)*per_cpu_ptr(counts, cpu) >> 16;
	return count < 0 || count > most || high > most >> 16;
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_is_saturated);

/*
 * Returns the number of references besides the initial one, for reports: others
 * may change it meanwhile. The count has a bias, half of the range, while the
 * CPUs' counters are in use or under collection. Releases during the collection
 * may have taken some of the bias. When the collection has taken the bias away,
 * and until it puts its own reference, the result is one too many.
 */
unsigned long quiesce_helper_percpu_ref_holders(struct percpu_ref *ref)
{
	unsigned long flags = READ_ONCE(ref->percpu_count_ptr);
	unsigned long __percpu *counts;
	long sum = atomic_long_read(&ref->data->count);
	int cpu;

	if (sum < 0 || sum > LONG_MAX / 4 * 3) {
		sum -= (unsigned long)LONG_MIN;
		counts = (unsigned long __percpu *)(flags & ~__PERCPU_REF_ATOMIC_DEAD);
		for_each_possible_cpu(cpu)
			sum += READ_ONCE(*per_cpu_ptr(counts, cpu));
		/* The collection of the counters holds one reference. */
		if (flags & __PERCPU_REF_ATOMIC)
			sum--;
	}
	if (!(flags & __PERCPU_REF_DEAD))
		sum--;
	return sum > 0 ? sum : 0;
}
EXPORT_SYMBOL_GPL(quiesce_helper_percpu_ref_holders);
