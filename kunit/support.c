// SPDX-License-Identifier: GPL-2.0

#include <linux/bottom_half.h>
#include <linux/completion.h>
#include <linux/context_tracking_state.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kmemleak.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>

#if defined(CONFIG_X86_64) && defined(CONFIG_X86_LOCAL_APIC)
#include <asm/apic.h>
#include <asm/cpufeature.h>
#include <asm/irq_vectors.h>
#include <asm/nmi.h>
#endif

#include "support.h"

int quiesce_kunit_preempt_count(void)
{
	return preempt_count();
}

bool quiesce_kunit_preemptible(void)
{
	return preemptible();
}

bool quiesce_kunit_is_ours(unsigned long address)
{
	return within_module(address, THIS_MODULE);
}

bool quiesce_kunit_irqs_disabled(void)
{
	return irqs_disabled();
}

bool quiesce_kunit_softirq_disabled(void)
{
	return softirq_count();
}

bool quiesce_kunit_in_hardirq(void)
{
	return in_hardirq();
}

bool quiesce_kunit_in_serving_softirq(void)
{
	return in_serving_softirq();
}

bool quiesce_kunit_in_nmi(void)
{
	return in_nmi();
}

unsigned int quiesce_kunit_cpu(void)
{
	return raw_smp_processor_id();
}

unsigned int quiesce_kunit_online_cpus(void)
{
	return num_online_cpus();
}

/* The online CPU after @cpu, the first one after the last. */
int quiesce_kunit_next_cpu(int cpu)
{
	unsigned int next = cpumask_next(cpu, cpu_online_mask);

	return next < nr_cpu_ids ? next : cpumask_first(cpu_online_mask);
}

void quiesce_kunit_counts(struct quiesce_kunit_counts *counts)
{
	unsigned int preempt = preempt_count();

	*counts = (struct quiesce_kunit_counts) {
		.preempt = preempt & PREEMPT_MASK,
		.softirq = softirq_count() >> SOFTIRQ_SHIFT,
		.hardirq_disable = (preempt & HARDIRQ_DISABLE_MASK) >> HARDIRQ_DISABLE_SHIFT,
		.irqs_disabled = irqs_disabled(),
#ifdef CONFIG_PREEMPT_RCU
		.rcu = current->rcu_read_lock_nesting,
#endif
#ifdef CONFIG_SMP
		.migrate = current->migration_disabled,
#endif
	};
}

unsigned int quiesce_kunit_rcu_watching(void)
{
#ifdef CONFIG_TREE_RCU
	return raw_atomic_read(this_cpu_ptr(&context_tracking.state)) & CT_RCU_WATCHING_MASK;
#else
	return 0;
#endif
}

unsigned long quiesce_kunit_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void quiesce_kunit_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

void quiesce_kunit_preempt_disable(void)
{
	preempt_disable();
}

void quiesce_kunit_preempt_enable(void)
{
	preempt_enable();
}

void quiesce_kunit_bh_disable(void)
{
	local_bh_disable();
}

void quiesce_kunit_bh_enable(void)
{
	local_bh_enable();
}

/* As if another task became due, which the end of the section has to give the CPU. */
void quiesce_kunit_set_need_resched(void)
{
	set_tsk_need_resched(current);
	set_preempt_need_resched();
}

bool quiesce_kunit_need_resched(void)
{
	return need_resched();
}

void quiesce_kunit_cpu_relax(void)
{
	cpu_relax();
}

void quiesce_kunit_udelay(unsigned int us)
{
	udelay(us);
}

void quiesce_kunit_msleep(unsigned int ms)
{
	msleep(ms);
}

void quiesce_kunit_cond_resched(void)
{
	cond_resched();
}

void quiesce_kunit_leak(void *memory)
{
	kmemleak_not_leak(memory);
}

size_t quiesce_kunit_room(const void *memory)
{
	return ksize(memory);
}

/* Threads */

struct test_thread {
	quiesce_kunit_fn fn;
	void *data;
	struct task_struct *task;
	struct completion done;
};

static int test_thread_main(void *arg)
{
	struct test_thread *thread = arg;

	thread->fn(thread->data);
	/* Nothing of this module runs after the completion: it may go away then. */
	kthread_complete_and_exit(&thread->done, 0);
}

void *quiesce_kunit_thread_start(quiesce_kunit_fn fn, void *data, int cpu,
				 const char *name)
{
	struct test_thread *thread;
	struct task_struct *task;

	thread = kzalloc_obj(*thread);
	if (!thread)
		return ERR_PTR(-ENOMEM);
	thread->fn = fn;
	thread->data = data;
	init_completion(&thread->done);

	task = kthread_create(test_thread_main, thread, "%s", name);
	if (IS_ERR(task)) {
		kfree(thread);
		return ERR_CAST(task);
	}
	if (cpu != QUIESCE_KUNIT_ANY_CPU)
		kthread_bind(task, cpu);
	thread->task = get_task_struct(task);
	wake_up_process(task);
	return thread;
}

bool quiesce_kunit_thread_sleeps(void *arg)
{
	struct test_thread *thread = arg;

	return completion_done(&thread->done) || !task_is_running(thread->task);
}

void quiesce_kunit_thread_join(void *arg)
{
	struct test_thread *thread = arg;

	/* A timeout, so that a long test is not taken for a hung task. */
	while (!wait_for_completion_timeout(&thread->done, 10 * HZ))
		;
	put_task_struct(thread->task);
	kfree(thread);
}

/* Hardirq */

struct hardirq_call {
	struct irq_work work;
	quiesce_kunit_fn fn;
	void *data;
};

static void hardirq_call_run(struct irq_work *work)
{
	struct hardirq_call *call = container_of(work, struct hardirq_call, work);

	call->fn(call->data);
}

bool quiesce_kunit_run_hardirq(quiesce_kunit_fn fn, void *data)
{
	struct hardirq_call call = {
		.work = IRQ_WORK_INIT_HARD(hardirq_call_run),
		.fn = fn,
		.data = data,
	};

	if (irqs_disabled() || !arch_irq_work_has_interrupt())
		return false;

	/*
	 * Not irq_work_sync(), which sleeps: the caller may hold a spin lock.
	 * The interrupt is delivered on this CPU, and its last access to the
	 * stack is over when this context continues.
	 */
	preempt_disable();
	irq_work_queue(&call.work);
	while (irq_work_is_busy(&call.work))
		cpu_relax();
	preempt_enable();
	return true;
}

/* Softirq */

struct softirq_call {
	struct tasklet_struct tasklet;
	quiesce_kunit_fn fn;
	void *data;
};

static void softirq_call_run(struct tasklet_struct *tasklet)
{
	struct softirq_call *call = container_of(tasklet, struct softirq_call, tasklet);

	call->fn(call->data);
}

bool quiesce_kunit_run_softirq(quiesce_kunit_fn fn, void *data)
{
	struct softirq_call call = {
		.fn = fn,
		.data = data,
	};

	if (!preemptible())
		return false;

	tasklet_setup(&call.tasklet, softirq_call_run);
	/* The enabling runs what was raised meanwhile. */
	local_bh_disable();
	tasklet_schedule(&call.tasklet);
	local_bh_enable();
	tasklet_kill(&call.tasklet);
	return true;
}

/* NMI */

#if defined(CONFIG_X86_64) && defined(CONFIG_X86_LOCAL_APIC)

struct nmi_call {
	quiesce_kunit_fn fn;
	void *data;
	int cpu;
	bool done;
};

static struct nmi_call *nmi_call;
static DEFINE_MUTEX(nmi_call_mutex);

static int nmi_call_run(unsigned int type, struct pt_regs *regs)
{
	struct nmi_call *call = READ_ONCE(nmi_call);

	if (!call || call->cpu != raw_smp_processor_id() || call->done)
		return NMI_DONE;

	call->fn(call->data);
	/* Pairs with the acquire in the waiter. */
	smp_store_release(&call->done, true);
	return NMI_HANDLED;
}

bool quiesce_kunit_run_nmi_on(int cpu, quiesce_kunit_fn fn, void *data)
{
	struct nmi_call call = {
		.fn = fn,
		.data = data,
	};
	unsigned int us = 0;

	if (!preemptible() || !boot_cpu_has(X86_FEATURE_APIC))
		return false;

	mutex_lock(&nmi_call_mutex);
	if (register_nmi_handler(NMI_LOCAL, nmi_call_run, 0, "quiesce_kunit")) {
		mutex_unlock(&nmi_call_mutex);
		return false;
	}

	preempt_disable();
	call.cpu = cpu == QUIESCE_KUNIT_ANY_CPU ? smp_processor_id() : cpu;
	WRITE_ONCE(nmi_call, &call);
	__apic_send_IPI_mask(cpumask_of(call.cpu), NMI_VECTOR);
	/* Pairs with the release of the NMI. */
	while (!smp_load_acquire(&call.done) && us++ < 10 * USEC_PER_SEC)
		udelay(1);
	WRITE_ONCE(nmi_call, NULL);
	preempt_enable();

	/* Waits for an NMI that is under way. */
	unregister_nmi_handler(NMI_LOCAL, "quiesce_kunit");
	mutex_unlock(&nmi_call_mutex);
	/* Pairs with the release of the NMI. */
	return smp_load_acquire(&call.done);
}

#else

bool quiesce_kunit_run_nmi_on(int cpu, quiesce_kunit_fn fn, void *data)
{
	return false;
}

#endif

bool quiesce_kunit_run_nmi(quiesce_kunit_fn fn, void *data)
{
	return quiesce_kunit_run_nmi_on(QUIESCE_KUNIT_ANY_CPU, fn, data);
}

/* Timers */

struct test_timer {
	struct hrtimer timer;
	quiesce_kunit_fn fn;
	void *data;
	ktime_t period;
	bool hard;
};

static enum hrtimer_restart test_timer_run(struct hrtimer *hrtimer)
{
	struct test_timer *timer = container_of(hrtimer, struct test_timer, timer);

	timer->fn(timer->data);
	/* From now on, not from the last expiry: a slow machine makes progress. */
	hrtimer_set_expires(hrtimer, ktime_add(ktime_get(), timer->period));
	return HRTIMER_RESTART;
}

static void test_timer_start_here(void *arg)
{
	struct test_timer *timer = arg;

	hrtimer_start(&timer->timer, timer->period,
		      timer->hard ? HRTIMER_MODE_REL_PINNED_HARD :
				    HRTIMER_MODE_REL_PINNED_SOFT);
}

void *quiesce_kunit_timer_start(quiesce_kunit_fn fn, void *data, bool hard,
				unsigned int period_us, int cpu)
{
	struct test_timer *timer;
	int err = 0;

	timer = kzalloc_obj(*timer);
	if (!timer)
		return ERR_PTR(-ENOMEM);
	timer->fn = fn;
	timer->data = data;
	timer->hard = hard;
	timer->period = us_to_ktime(period_us);
	hrtimer_setup(&timer->timer, test_timer_run, CLOCK_MONOTONIC,
		      hard ? HRTIMER_MODE_REL_PINNED_HARD : HRTIMER_MODE_REL_PINNED_SOFT);

	if (cpu == QUIESCE_KUNIT_ANY_CPU)
		test_timer_start_here(timer);
	else
		err = smp_call_function_single(cpu, test_timer_start_here, timer, true);
	if (err) {
		kfree(timer);
		return ERR_PTR(err);
	}
	return timer;
}

void quiesce_kunit_timer_stop(void *arg)
{
	struct test_timer *timer = arg;

	hrtimer_cancel(&timer->timer);
	kfree(timer);
}

/* A tasklet that counts its runs */

struct test_tasklet {
	struct tasklet_struct tasklet;
	unsigned int runs;
};

static void test_tasklet_run(struct tasklet_struct *tasklet)
{
	struct test_tasklet *test = container_of(tasklet, struct test_tasklet, tasklet);

	WRITE_ONCE(test->runs, test->runs + 1);
}

void *quiesce_kunit_tasklet_new(void)
{
	struct test_tasklet *test = kzalloc_obj(*test);

	if (!test)
		return ERR_PTR(-ENOMEM);
	tasklet_setup(&test->tasklet, test_tasklet_run);
	return test;
}

void quiesce_kunit_tasklet_schedule(void *tasklet)
{
	struct test_tasklet *test = tasklet;

	tasklet_schedule(&test->tasklet);
}

unsigned int quiesce_kunit_tasklet_runs(void *tasklet)
{
	struct test_tasklet *test = tasklet;

	return READ_ONCE(test->runs);
}

void quiesce_kunit_tasklet_free(void *tasklet)
{
	struct test_tasklet *test = tasklet;

	tasklet_kill(&test->tasklet);
	kfree(test);
}

/* What lockdep sees of an allocation for which the kernel frees memory. */
void quiesce_kunit_reclaim(bool begins)
{
	if (begins)
		fs_reclaim_acquire(GFP_KERNEL);
	else
		fs_reclaim_release(GFP_KERNEL);
}

unsigned int quiesce_kunit_logged(const char *text)
{
	struct kmsg_dump_iter iter;
	static char line[1024];
	unsigned int n = 0;
	size_t len;

	kmsg_dump_rewind(&iter);
	while (kmsg_dump_get_line(&iter, false, line, sizeof(line) - 1, &len)) {
		line[len] = '\0';
		n += !!strstr(line, text);
	}
	return n;
}
