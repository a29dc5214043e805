// SPDX-License-Identifier: GPL-2.0
/* What RCU domains need of C. */
#include <linux/bug.h>
#include <linux/completion.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <asm/sections.h>

#include "../helpers.h"

int quiesce_helper_rcu_context(void)
{
	if (in_nmi())
		return QUIESCE_RCU_NMI;
	if (!in_task())
		return QUIESCE_RCU_ATOMIC;
	if (rcu_preempt_depth())
		return QUIESCE_RCU_READER;
	/* Without a preemption count, held spin locks do not show. */
	if (!IS_ENABLED(CONFIG_PREEMPT_COUNT))
		return irqs_disabled() || in_softirq() ? QUIESCE_RCU_ATOMIC :
							  QUIESCE_RCU_MAY_WAIT;
	return preemptible() ? QUIESCE_RCU_MAY_WAIT : QUIESCE_RCU_ATOMIC;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_context);

/* Also in a section of RCU, unlike QUIESCE_RCU_MAY_WAIT. */
bool quiesce_helper_rcu_preemptible(void)
{
	return preemptible();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_preemptible);

int quiesce_helper_srcu_init(struct srcu_struct *ssp, const char *name,
			     struct lock_class_key *key, bool up_down)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	return up_down ? __init_srcu_struct_fast_updown(ssp, name, key) :
			 __init_srcu_struct_fast(ssp, name, key);
#else
	return up_down ? init_srcu_struct_fast_updown(ssp) :
			 init_srcu_struct_fast(ssp);
#endif
}
EXPORT_SYMBOL_GPL(quiesce_helper_srcu_init);

/*
 * Tiny SRCU counts readers with a load and a store, which is right for readers
 * that an interrupt has and gives back, and wrong for those that it only has or
 * only gives back.
 */
#ifdef CONFIG_TINY_SRCU
#define quiesce_srcu_split_save(flags) local_irq_save(flags)
#define quiesce_srcu_split_restore(flags) local_irq_restore(flags)

/*
 * Tiny SRCU counts readers in 16 bits. One more than they hold would be none: the
 * grace period would end, and the readers would use what is freed then.
 *
 * Called with preemption disabled until the reader is counted. An interrupt may
 * add readers in between if it removes them, too.
 */
static void quiesce_srcu_check_count(const struct srcu_struct *ssp)
{
	if (unlikely(READ_ONCE(ssp->srcu_lock_nesting[0]) == -1 ||
		     READ_ONCE(ssp->srcu_lock_nesting[1]) == -1))
		panic("quiesce: more readers than Tiny SRCU can count\n");
}
#else
#define quiesce_srcu_split_save(flags) ((void)(flags))
#define quiesce_srcu_split_restore(flags) ((void)(flags))

static void quiesce_srcu_check_count(const struct srcu_struct *ssp)
{
}
#endif

/*
 * bindgen knows no per-CPU address space, hence the void pointers.
 *
 * srcu_down_read_fast() and srcu_up_read_fast() warn in NMIs. The functions that
 * they call do there what those of srcu_read_lock_fast() do, which is for NMIs
 * too: the increments are the same. A section that begins in an NMI ends in it.
 */
void *quiesce_helper_srcu_enter(struct srcu_struct *ssp, bool up_down)
{
	struct srcu_ctr __percpu *counter;
	unsigned long flags = 0;

	if (up_down && in_nmi()) {
		quiesce_srcu_check_count(ssp);
		counter = __srcu_read_lock_fast_updown(ssp);
	} else if (up_down) {
		quiesce_srcu_split_save(flags);
		quiesce_srcu_check_count(ssp);
		counter = srcu_down_read_fast(ssp);
		quiesce_srcu_split_restore(flags);
	} else {
		if (IS_ENABLED(CONFIG_TINY_SRCU))
			preempt_disable();
		quiesce_srcu_check_count(ssp);
		counter = srcu_read_lock_fast(ssp);
		if (IS_ENABLED(CONFIG_TINY_SRCU))
			preempt_enable();
	}
	return (__force void *)(unsigned long)counter;
}
EXPORT_SYMBOL_GPL(quiesce_helper_srcu_enter);

void quiesce_helper_srcu_exit(struct srcu_struct *ssp, bool up_down, void *counter)
{
	struct srcu_ctr __percpu *ctr =
		(__force struct srcu_ctr __percpu *)(unsigned long)counter;
	unsigned long flags = 0;

	if (up_down && in_nmi()) {
		__srcu_read_unlock_fast_updown(ssp, ctr);
	} else if (up_down) {
		quiesce_srcu_split_save(flags);
		srcu_up_read_fast(ssp, ctr);
		quiesce_srcu_split_restore(flags);
	} else {
		srcu_read_unlock_fast(ssp, ctr);
	}
}
EXPORT_SYMBOL_GPL(quiesce_helper_srcu_exit);

/* From here on, what tiny RCU and tiny SRCU have as inline functions. */
void quiesce_helper_srcu_expedite(struct srcu_struct *ssp)
{
	srcu_expedite_current(ssp);
}
EXPORT_SYMBOL_GPL(quiesce_helper_srcu_expedite);

void quiesce_helper_synchronize_rcu_expedited(void)
{
	synchronize_rcu_expedited();
}
EXPORT_SYMBOL_GPL(quiesce_helper_synchronize_rcu_expedited);

void quiesce_helper_rcu_snapshot(struct rcu_gp_seq *seq)
{
	get_state_synchronize_rcu_full(seq);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_snapshot);

void quiesce_helper_rcu_start(struct rcu_gp_seq *seq, bool expedited)
{
	if (expedited)
		start_poll_synchronize_rcu_expedited_full(seq);
	else
		start_poll_synchronize_rcu_full(seq);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_start);

bool quiesce_helper_rcu_is_over(struct rcu_gp_seq *seq)
{
	return poll_state_synchronize_rcu_full(seq);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_is_over);

bool quiesce_helper_rcu_depth(void)
{
	return rcu_preempt_depth();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_depth);

/*
 * Whether the word that was read from an address on a task's stack marks a section
 * of a domain: it is the address combined with @mark. The top byte of 64-bit
 * pointers is left out: they can have tags of their own there.
 */
static bool quiesce_rcu_is_mark(unsigned long word, const unsigned long *from,
				unsigned long mark)
{
	return !((word ^ mark ^ (unsigned long)from) << (BITS_PER_LONG == 64 ? 8 : 0));
}

/* Interrupts can have another stack, and nobody waits there. */
noinline bool quiesce_helper_rcu_marked(unsigned long mark)
{
	unsigned long *word = (unsigned long *)ALIGN(current_stack_pointer,
						     sizeof(long));
	unsigned long *end = task_stack_page(current) + THREAD_SIZE;

	if (!in_task())
		return false;
	for (; word < end; word++)
		if (quiesce_rcu_is_mark(READ_ONCE_NOCHECK(*word), word, mark))
			return true;
	return false;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_marked);

/*
 * Without a preemption count a section of RCU does not show. There this is what
 * every task may do that may sleep, and a section in which one does so is the
 * caller's error as with any function that sleeps. Of the architectures with Rust,
 * only arm and um have such kernels: the others have PREEMPT_LAZY and with it a
 * count, since neither PREEMPT_NONE nor PREEMPT_VOLUNTARY can be chosen there.
 */
void quiesce_helper_rcu_quiesce(void)
{
	unsigned long flags;

	if (!IS_ENABLED(CONFIG_PREEMPT_COUNT)) {
		cond_resched();
		return;
	}
	local_irq_save(flags);
	rcu_momentary_eqs();
	local_irq_restore(flags);
	cond_resched_tasks_rcu_qs();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_quiesce);

static unsigned int rcu_stall_ms = 10000;
module_param(rcu_stall_ms, uint, 0644);
MODULE_PARM_DESC(rcu_stall_ms,
		 "Report waits of RCU domains that take longer, in milliseconds (0: disabled)");
static atomic_t rcu_stalls;

/*
 * The domains whose readers the work below searches for, and how many reports count
 * when it has. Without a mark a place is free. If all are taken, a domain has to wait
 * for its next report.
 */
static struct quiesce_rcu_wanted {
	unsigned int reports;
	unsigned long mark;
	char domain[32];
} quiesce_rcu_wanted[8];
static DEFINE_RAW_SPINLOCK(quiesce_rcu_wanted_lock);

static struct quiesce_rcu_wanted *quiesce_rcu_find_wanted(unsigned long mark)
{
	struct quiesce_rcu_wanted *place;

	for (place = quiesce_rcu_wanted;
	     place < quiesce_rcu_wanted + ARRAY_SIZE(quiesce_rcu_wanted); place++)
		if (place->mark == mark)
			return place;
	return NULL;
}

static void quiesce_rcu_want(unsigned long mark, const char *domain, bool counts)
{
	struct quiesce_rcu_wanted *place;

	guard(raw_spinlock_irqsave)(&quiesce_rcu_wanted_lock);
	place = quiesce_rcu_find_wanted(mark);
	if (!place) {
		place = quiesce_rcu_find_wanted(0);
		if (place)
			strscpy(place->domain, domain);
	}
	if (!place) {
		atomic_add(counts, &rcu_stalls);
		return;
	}
	place->mark = mark;
	place->reports += counts;
}

/* Frees a place, and returns what was there. */
static struct quiesce_rcu_wanted quiesce_rcu_take_wanted(struct quiesce_rcu_wanted *place)
{
	struct quiesce_rcu_wanted taken = *place;

	*place = (struct quiesce_rcu_wanted){};
	return taken;
}

/*
 * Whether another task's stack has a mark. A task that ends may free its stack,
 * hence the copies: what is there instead has no mark.
 */
static bool quiesce_rcu_is_reader(struct task_struct *task, unsigned long mark)
{
	unsigned long *stack = READ_ONCE(task->stack);
	unsigned long words[32];
	size_t at, i;

	for (at = 0; stack && at < THREAD_SIZE / sizeof(long); at += ARRAY_SIZE(words)) {
		if (copy_from_kernel_nofault(words, stack + at, sizeof(words)))
			return false;
		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (quiesce_rcu_is_mark(words[i], stack + at + i, mark))
				return true;
	}
	return false;
}

/*
 * Reports the tasks whose stack has a mark of the domain: see Mark in
 * src/rcu/srcu.rs. A running task's stack changes meanwhile, so that a section
 * that begins or ends now may be missed, and one that stalls is not.
 */
static void quiesce_rcu_report_readers_of(const struct quiesce_rcu_wanted *wanted)
{
	struct task_struct *process, *task;
	unsigned int left = 8;

	rcu_read_lock();
	for_each_process_thread(process, task) {
#ifdef CONFIG_STACKTRACE
		unsigned long trace[16];
		unsigned int n;
#endif

		if (!left || !quiesce_rcu_is_reader(task, wanted->mark))
			continue;
		left--;
		pr_warn("quiesce: rcu: %s[%d] is in a read-side critical section of %s\n",
			task->comm, task_pid_nr(task), wanted->domain);
#ifdef CONFIG_STACKTRACE
		n = stack_trace_save_tsk(task, trace, ARRAY_SIZE(trace), 0);
		stack_trace_print(trace, n, 1);
#endif
	}
	rcu_read_unlock();
	atomic_add(wanted->reports, &rcu_stalls);
}

static void quiesce_rcu_report_readers(struct work_struct *work)
{
	struct quiesce_rcu_wanted wanted;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(quiesce_rcu_wanted); i++) {
		scoped_guard(raw_spinlock_irqsave, &quiesce_rcu_wanted_lock)
			wanted = quiesce_rcu_take_wanted(&quiesce_rcu_wanted[i]);
		if (wanted.mark)
			quiesce_rcu_report_readers_of(&wanted);
	}
}

static DECLARE_WORK(quiesce_rcu_readers, quiesce_rcu_report_readers);

/* The readers of a domain are of no interest any more, and not reported after this. */
static void quiesce_rcu_forget(unsigned long mark)
{
	struct quiesce_rcu_wanted *place;
	bool others = false;
	size_t i;

	scoped_guard(raw_spinlock_irqsave, &quiesce_rcu_wanted_lock) {
		place = quiesce_rcu_find_wanted(mark);
		if (place)
			atomic_add(quiesce_rcu_take_wanted(place).reports, &rcu_stalls);
	}
	cancel_work_sync(&quiesce_rcu_readers);
	scoped_guard(raw_spinlock_irqsave, &quiesce_rcu_wanted_lock) {
		for (i = 0; i < ARRAY_SIZE(quiesce_rcu_wanted); i++)
			others |= quiesce_rcu_wanted[i].mark;
	}
	if (others)
		queue_work(system_dfl_wq, &quiesce_rcu_readers);
}

static void quiesce_rcu_report(struct timer_list *timer)
{
	struct quiesce_rcu_stall *stall = timer_container_of(stall, timer, timer);
	unsigned int ms = jiffies_to_msecs(jiffies - stall->since);
	unsigned long period = READ_ONCE(stall->period);

	/* The wait may have ended while this timer was running. */
	if (!period || cmpxchg(&stall->period, period, 2 * period) != period)
		return;
	stall->reported = true;
	if (stall->task || !stall->mark)
		atomic_inc(&rcu_stalls);
	if (stall->task)
		pr_warn("quiesce: rcu: task %s:%d blocked for %u ms waiting for %s of %s (called from %.*s:%u)\n",
			stall->task->comm, task_pid_nr(stall->task), ms, stall->what, stall->domain,
			(int)stall->file_len, stall->file, stall->line);
	else
		pr_warn("quiesce: rcu: %s blocked for %u ms waiting for the readers of %s\n",
			stall->what, ms, stall->domain);
	if (stall->mark) {
		quiesce_rcu_want(stall->mark, stall->domain, !stall->task);
		queue_work(system_dfl_wq, &quiesce_rcu_readers);
	}
	mod_timer(timer, jiffies + 2 * period);
}

static void quiesce_rcu_stall_arm(struct quiesce_rcu_stall *stall)
{
	unsigned long period = msecs_to_jiffies(READ_ONCE(rcu_stall_ms));

	stall->since = jiffies;
	WRITE_ONCE(stall->period, period);
	if (period)
		mod_timer(&stall->timer, jiffies + period);
}

void quiesce_helper_rcu_stall_begin(struct quiesce_rcu_stall *stall)
{
	stall->task = current;
	timer_setup_on_stack(&stall->timer, quiesce_rcu_report, 0);
	quiesce_rcu_stall_arm(stall);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_begin);

void quiesce_helper_rcu_stall_end(struct quiesce_rcu_stall *stall)
{
	timer_delete_sync(&stall->timer);
	timer_destroy_on_stack(&stall->timer);
	if (stall->reported && stall->mark)
		quiesce_rcu_forget(stall->mark);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_end);

/* For waits that no task is in: those of futures. */
void quiesce_helper_rcu_stall_init(struct quiesce_rcu_stall *stall)
{
	stall->task = NULL;
	timer_setup(&stall->timer, quiesce_rcu_report, 0);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_init);

void quiesce_helper_rcu_stall_start(struct quiesce_rcu_stall *stall)
{
	quiesce_rcu_stall_arm(stall);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_start);

void quiesce_helper_rcu_stall_stop(struct quiesce_rcu_stall *stall)
{
	WRITE_ONCE(stall->period, 0);
	timer_delete(&stall->timer);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_stop);

void quiesce_helper_rcu_stall_destroy(struct quiesce_rcu_stall *stall)
{
	timer_shutdown_sync(&stall->timer);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_destroy);

/* No report runs after this, if no wait is under way. */
void quiesce_helper_rcu_stall_flush(void)
{
	cancel_work_sync(&quiesce_rcu_readers);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_stall_flush);

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

/*
 * Read while a waker is called or dropped. Not RCU's own: a waker may poll a future of
 * that, which is an error in a section of it.
 */
DEFINE_STATIC_SRCU(quiesce_rcu_wakers);

int quiesce_helper_rcu_wakers_enter(void)
{
	int section;

	if (IS_ENABLED(CONFIG_TINY_SRCU))
		preempt_disable();
	quiesce_srcu_check_count(&quiesce_rcu_wakers);
	section = srcu_read_lock(&quiesce_rcu_wakers);
	if (IS_ENABLED(CONFIG_TINY_SRCU))
		preempt_enable();
	return section;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_wakers_enter);

void quiesce_helper_rcu_wakers_exit(int section)
{
	srcu_read_unlock(&quiesce_rcu_wakers, section);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_wakers_exit);

/* Waits for calls of wakers that are under way. */
void quiesce_helper_rcu_wakers_synchronize(void)
{
	synchronize_srcu_expedited(&quiesce_rcu_wakers);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_wakers_synchronize);

#define quiesce_rcu_counts(counts) \
	((__force struct quiesce_rcu_counts __percpu *)(unsigned long)(counts))

void *quiesce_helper_rcu_counts_alloc(void)
{
	return (__force void *)(unsigned long)alloc_percpu(struct quiesce_rcu_counts);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counts_alloc);

void quiesce_helper_rcu_counts_free(void *counts)
{
	free_percpu(quiesce_rcu_counts(counts));
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_counts_free);

void quiesce_helper_rcu_posted(void *counts)
{
	this_cpu_inc(quiesce_rcu_counts(counts)->posted);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_posted);

void quiesce_helper_rcu_done(void *counts)
{
	/* Pairs with the barrier of quiesce_helper_rcu_in_flight(). */
	smp_wmb();
	this_cpu_inc(quiesce_rcu_counts(counts)->done);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_done);

/* Ends a callback of the kernel's RCU. */
void quiesce_helper_rcu_callback_done(void *counts)
{
	/* Pairs with the barriers of quiesce_helper_rcu_in_flight() and _callbacks(). */
	smp_wmb();
	this_cpu_inc(quiesce_rcu_counts(counts)->rcu_done);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_callback_done);

unsigned long quiesce_helper_rcu_posted_sum(const void *counts)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct quiesce_rcu_counts *c =
			per_cpu_ptr(quiesce_rcu_counts(counts), cpu);

		sum += READ_ONCE(c->posted) + READ_ONCE(c->rcu_posted);
	}
	return sum;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_posted_sum);

unsigned long quiesce_helper_rcu_done_sum(const void *counts)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct quiesce_rcu_counts *c =
			per_cpu_ptr(quiesce_rcu_counts(counts), cpu);

		sum += READ_ONCE(c->done) + READ_ONCE(c->rcu_done);
	}
	return sum;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_done_sum);

/*
 * How many were posted and are not done. What is done was posted before, and has
 * posted before it was done what it posted itself: so done first, and zero means
 * that there was a moment with nothing in flight.
 */
unsigned long quiesce_helper_rcu_in_flight(const void *counts)
{
	unsigned long done = quiesce_helper_rcu_done_sum(counts);

	smp_rmb(); /* Pairs with the barriers of those who count what is done. */
	return quiesce_helper_rcu_posted_sum(counts) - done;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_in_flight);

/* How many callbacks of the kernel's RCU are done. */
unsigned long quiesce_helper_rcu_callbacks_done(const void *counts)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(quiesce_rcu_counts(counts), cpu)->rcu_done);
	return sum;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_callbacks_done);

/* As quiesce_helper_rcu_in_flight(), of callbacks of the kernel's RCU alone. */
unsigned long quiesce_helper_rcu_callbacks(const void *counts)
{
	unsigned long done = quiesce_helper_rcu_callbacks_done(counts);
	unsigned long posted = 0;
	int cpu;

	smp_rmb(); /* Pairs with the barrier of quiesce_helper_rcu_callback_done(). */
	for_each_possible_cpu(cpu)
		posted += READ_ONCE(per_cpu_ptr(quiesce_rcu_counts(counts), cpu)->rcu_posted);
	return posted - done;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_callbacks);

/* As quiesce_helper_rcu_in_flight(), of all but callbacks of the kernel's RCU. */
unsigned long quiesce_helper_rcu_completing(const void *counts)
{
	unsigned long done = 0, posted = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		done += READ_ONCE(per_cpu_ptr(quiesce_rcu_counts(counts), cpu)->done);
	smp_rmb(); /* Pairs with the barriers of those who count what is done. */
	for_each_possible_cpu(cpu)
		posted += READ_ONCE(per_cpu_ptr(quiesce_rcu_counts(counts), cpu)->posted);
	return posted - done;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_completing);

/* Counts a callback for its module, and posts it. */
void quiesce_helper_rcu_post(void *counts, struct callback_head *head,
			     void (*func)(struct callback_head *head))
{
	this_cpu_inc(quiesce_rcu_counts(counts)->rcu_posted);
	call_rcu(head, func);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_post);

/* Counts a callback for its module and its domain, and posts it. */
void quiesce_helper_srcu_post(void *module, void *domain, struct srcu_struct *ssp,
			      struct callback_head *head,
			      void (*func)(struct callback_head *head))
{
	this_cpu_inc(quiesce_rcu_counts(module)->posted);
	this_cpu_inc(quiesce_rcu_counts(domain)->posted);
	call_srcu(ssp, head, func);
}
EXPORT_SYMBOL_GPL(quiesce_helper_srcu_post);

/* Counts memory and has the kernel free it, whose beginning is its head. */
void quiesce_helper_rcu_kvfree(void *counts, struct callback_head *head)
{
	this_cpu_inc(quiesce_rcu_counts(counts)->posted);
	kvfree_call_rcu((void *)head, head);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_kvfree);

void quiesce_helper_rcu_init_completion(struct completion *done)
{
	init_completion(done);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_init_completion);

/*
 * Destructors run on the one, and barrier() waits for them, also on behalf of those
 * who free memory: hence WQ_MEM_RECLAIM, as for kvfree_rcu(). What waits for
 * destructors runs on the other one.
 */
struct workqueue_struct *quiesce_helper_rcu_workqueue(bool reclaims)
{
	return reclaims ? alloc_workqueue("quiesce_rcu", WQ_UNBOUND | WQ_MEM_RECLAIM, 0) :
			  alloc_workqueue("quiesce_rcu_wait", WQ_UNBOUND, 0);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_workqueue);

/* Each INIT_WORK() is a lockdep class: what waits for work items is another one. */
void quiesce_helper_rcu_init_work(struct work_struct *work,
				  void (*func)(struct work_struct *work), bool waits)
{
	if (waits)
		INIT_WORK(work, func);
	else
		INIT_WORK(work, func);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_init_work);

/*
 * The work items of workers that run, hashed by task. What current_work() returns may
 * have been freed by its own function, so it is not followed.
 */
static struct quiesce_rcu_runs {
	raw_spinlock_t lock;
	struct hlist_head head;
} quiesce_rcu_runs[1 << 4] = {
	[0 ... (1 << 4) - 1] = {
		.lock = __RAW_SPIN_LOCK_UNLOCKED(quiesce_rcu_runs.lock),
	},
};

static struct quiesce_rcu_runs *quiesce_rcu_runs_of(struct task_struct *task)
{
	return &quiesce_rcu_runs[hash_ptr(task, ilog2(ARRAY_SIZE(quiesce_rcu_runs)))];
}

/* The current task begins to run a work item, and stays the same until it ends that. */
void quiesce_helper_rcu_run_begin(struct quiesce_rcu_run *run)
{
	struct quiesce_rcu_runs *runs = quiesce_rcu_runs_of(current);
	unsigned long flags;

	run->task = current;
	raw_spin_lock_irqsave(&runs->lock, flags);
	hlist_add_head(&run->node, &runs->head);
	raw_spin_unlock_irqrestore(&runs->lock, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_run_begin);

void quiesce_helper_rcu_run_end(struct quiesce_rcu_run *run)
{
	struct quiesce_rcu_runs *runs = quiesce_rcu_runs_of(current);
	unsigned long flags;

	raw_spin_lock_irqsave(&runs->lock, flags);
	hlist_del(&run->node);
	raw_spin_unlock_irqrestore(&runs->lock, flags);
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_run_end);

/* What the current task runs, or NULL: also in an interrupt that comes meanwhile. */
struct quiesce_rcu_run *quiesce_helper_rcu_current_run(void)
{
	struct quiesce_rcu_run *run, *found = NULL;
	struct quiesce_rcu_runs *runs;
	unsigned long flags;

	/* Without the lock: in tasks that run no work item at all, and in interrupts. */
	if (!current_work())
		return NULL;
	runs = quiesce_rcu_runs_of(current);
	raw_spin_lock_irqsave(&runs->lock, flags);
	hlist_for_each_entry(run, &runs->head, node) {
		if (run->task == current) {
			found = run;
			break;
		}
	}
	raw_spin_unlock_irqrestore(&runs->lock, flags);
	return found;
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_current_run);

/* The lockdep annotation of flush_work(): the caller waits for the work's locks. */
void quiesce_helper_rcu_will_wait(struct work_struct *work)
{
#ifdef CONFIG_LOCKDEP
	lock_map_acquire(&work->lockdep_map);
	lock_map_release(&work->lockdep_map);
#endif
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_will_wait);

void quiesce_helper_rcu_cond_resched(void)
{
	cond_resched();
}
EXPORT_SYMBOL_GPL(quiesce_helper_rcu_cond_resched);

bool quiesce_helper_llist_add(struct llist_node *node, struct llist_head *list)
{
	return llist_add(node, list);
}
EXPORT_SYMBOL_GPL(quiesce_helper_llist_add);

struct llist_node *quiesce_helper_llist_del_all(struct llist_head *list)
{
	return llist_del_all(list);
}
EXPORT_SYMBOL_GPL(quiesce_helper_llist_del_all);

void *quiesce_helper_kmalloc(size_t size, bool atomic)
{
	return kmalloc(size, atomic ? GFP_ATOMIC : GFP_KERNEL);
}
EXPORT_SYMBOL_GPL(quiesce_helper_kmalloc);

/* With the cache known at compile time, as where size and flags are constants in C. */
#define QUIESCE_KMALLOC(size)						\
	void *quiesce_helper_kmalloc_##size(bool atomic)		\
	{								\
		return atomic ? kmalloc(size, GFP_ATOMIC) :		\
				kmalloc(size, GFP_KERNEL);		\
	}								\
	EXPORT_SYMBOL_GPL(quiesce_helper_kmalloc_##size)

QUIESCE_KMALLOC(32);
QUIESCE_KMALLOC(64);
QUIESCE_KMALLOC(96);
QUIESCE_KMALLOC(128);
QUIESCE_KMALLOC(192);
QUIESCE_KMALLOC(256);

#ifndef MODULE
/* Stands for the kernel, where code is that is built in. */
struct module quiesce_builtin;
#endif

bool quiesce_helper_within_module(const void *addr, const struct module *mod)
{
#ifndef MODULE
	if (mod == &quiesce_builtin)
		return addr >= (void *)_stext && addr < (void *)_end;
#endif
	return within_module((unsigned long)addr, mod);
}
EXPORT_SYMBOL_GPL(quiesce_helper_within_module);

/* Where the module's functions are that stay after its init. */
void quiesce_helper_module_text(const struct module *mod, unsigned long *base,
				unsigned long *size)
{
#ifndef MODULE
	if (mod == &quiesce_builtin) {
		*base = (unsigned long)_stext;
		*size = _etext - _stext;
		return;
	}
#endif
	*base = (unsigned long)mod->mem[MOD_TEXT].base;
	*size = mod->mem[MOD_TEXT].size;
}
EXPORT_SYMBOL_GPL(quiesce_helper_module_text);

/*
 * Keeps a module that goes: free_module() waits until the last reference to the
 * module's kobject is dropped, holding no lock, and frees everything after that.
 * False if the kobject is gone already, or there is none.
 */
bool quiesce_helper_module_hold(struct module *mod)
{
	return IS_ENABLED(CONFIG_SYSFS) &&
	       kobject_get_unless_zero(&mod->mkobj.kobj);
}
EXPORT_SYMBOL_GPL(quiesce_helper_module_hold);

void quiesce_helper_module_release(struct module *mod)
{
	kobject_put(&mod->mkobj.kobj);
}
EXPORT_SYMBOL_GPL(quiesce_helper_module_release);

static int (*quiesce_module_coming)(struct module *mod);
static void (*quiesce_module_going)(struct module *mod);

static int quiesce_module_notify(struct notifier_block *nb, unsigned long state,
				 void *data)
{
	struct module *mod = data;

	if (state == MODULE_STATE_GOING)
		quiesce_module_going(mod);
	if (state != MODULE_STATE_COMING)
		return NOTIFY_DONE;
#if defined(MODULE) && defined(CONFIG_MODULE_UNLOAD)
	/* Modules that use no other module's symbols do not use this one's. */
	if (list_empty(&mod->target_list))
		return NOTIFY_DONE;
#endif
	return notifier_from_errno(quiesce_module_coming(mod));
}

/* Last, when no other notifier will call into the module that goes. */
static struct notifier_block quiesce_module_nb = {
	.notifier_call = quiesce_module_notify,
	.priority = INT_MIN,
};

int quiesce_helper_on_module(int (*coming)(struct module *mod),
			     void (*going)(struct module *mod))
{
	quiesce_module_coming = coming;
	quiesce_module_going = going;
	return register_module_notifier(&quiesce_module_nb);
}
EXPORT_SYMBOL_GPL(quiesce_helper_on_module);

void quiesce_helper_off_module(void)
{
	unregister_module_notifier(&quiesce_module_nb);
}
EXPORT_SYMBOL_GPL(quiesce_helper_off_module);
