/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel functions that the test modules need and the kernel crate lacks:
 * threads, and running a function in each of the kernel's contexts. bindgen
 * reads this file.
 */
#ifndef _QUIESCE_KUNIT_SUPPORT_H
#define _QUIESCE_KUNIT_SUPPORT_H

#include <linux/types.h>

#define QUIESCE_KUNIT_ANY_CPU	(-1)

typedef void (*quiesce_kunit_fn)(void *data);

/* runner.c: the module's KUnit suites, in a kernel without CONFIG_KUNIT. */
int quiesce_kunit_run_suites(void);
void quiesce_kunit_remove_results(void);

/* The caller's context, and what is disabled there. */
int quiesce_kunit_preempt_count(void);
bool quiesce_kunit_preemptible(void);
bool quiesce_kunit_is_ours(unsigned long address);
bool quiesce_kunit_irqs_disabled(void);
bool quiesce_kunit_softirq_disabled(void);
bool quiesce_kunit_in_hardirq(void);
bool quiesce_kunit_in_serving_softirq(void);
bool quiesce_kunit_in_nmi(void);
unsigned int quiesce_kunit_cpu(void);
unsigned int quiesce_kunit_online_cpus(void);
int quiesce_kunit_next_cpu(int cpu);

/* All counters that critical sections change. */
struct quiesce_kunit_counts {
	unsigned int preempt;		/* sections that disable preemption */
	unsigned int softirq;		/* softirq_count() in units of a section's half */
	unsigned int hardirq_disable;	/* sections counted by local_interrupt_disable() */
	unsigned int irqs_disabled;
	unsigned int rcu;		/* RCU read-side critical sections */
	unsigned int migrate;		/* sections that disable migration */
};

void quiesce_kunit_counts(struct quiesce_kunit_counts *counts);

/*
 * How often this CPU has been in an extended quiescent state of RCU, entries and
 * exits counted; constant with tiny RCU.
 */
unsigned int quiesce_kunit_rcu_watching(void);

/* C's own sections, which keep their flags. */
unsigned long quiesce_kunit_irq_save(void);
void quiesce_kunit_irq_restore(unsigned long flags);

void quiesce_kunit_preempt_disable(void);
void quiesce_kunit_preempt_enable(void);
void quiesce_kunit_bh_disable(void);
void quiesce_kunit_bh_enable(void);
void quiesce_kunit_set_need_resched(void);
bool quiesce_kunit_need_resched(void);
void quiesce_kunit_cpu_relax(void);
void quiesce_kunit_udelay(unsigned int us);
void quiesce_kunit_msleep(unsigned int ms);
void quiesce_kunit_cond_resched(void);

/* @memory is leaked on purpose: kmemleak reports neither it nor what it points to. */
void quiesce_kunit_leak(void *memory);

/* The size of the allocation that begins at @memory, which kmalloc() returned. */
size_t quiesce_kunit_room(const void *memory);

/*
 * Threads. The pointer returned is an ERR_PTR() on failure; fn() runs unless it
 * is. The join frees the thread.
 */
void *quiesce_kunit_thread_start(quiesce_kunit_fn fn, void *data, int cpu,
				 const char *name);
/* Whether the thread sleeps, or has ended. One that is preempted does not sleep. */
bool quiesce_kunit_thread_sleeps(void *thread);
void quiesce_kunit_thread_join(void *thread);

/* fn() once in another context of this CPU; returns after it has run. */
bool quiesce_kunit_run_hardirq(quiesce_kunit_fn fn, void *data);
bool quiesce_kunit_run_softirq(quiesce_kunit_fn fn, void *data);
bool quiesce_kunit_run_nmi_on(int cpu, quiesce_kunit_fn fn, void *data);
bool quiesce_kunit_run_nmi(quiesce_kunit_fn fn, void *data);

/*
 * fn() again and again from a timer, in hardirq context also on PREEMPT_RT or
 * in softirq context, with @period_us between its end and the next beginning.
 */
void *quiesce_kunit_timer_start(quiesce_kunit_fn fn, void *data, bool hard,
				unsigned int period_us, int cpu);
void quiesce_kunit_timer_stop(void *timer);

/* A tasklet that counts its runs. */
void *quiesce_kunit_tasklet_new(void);
void quiesce_kunit_tasklet_schedule(void *tasklet);
unsigned int quiesce_kunit_tasklet_runs(void *tasklet);
void quiesce_kunit_tasklet_free(void *tasklet);

/* The number of lines of the kernel's log that have @text. Called by one task at a time. */
unsigned int quiesce_kunit_logged(const char *text);

void quiesce_kunit_reclaim(bool begins);

/* What C code does with a seqlock_t and @words words beside it, @mode 0 to 3. */
#define QUIESCE_KUNIT_SEQ_WORDS	16

void *quiesce_kunit_seq_new(const u64 *words);
void quiesce_kunit_seq_free(void *lock);
void quiesce_kunit_seq_write(void *lock, u64 *data, const u64 *words, int mode);
void quiesce_kunit_seq_read(const void *lock, const u64 *data, u64 *words);
void quiesce_kunit_seq_read_excl(void *lock, const u64 *data, u64 *words, int mode);

#endif /* _QUIESCE_KUNIT_SUPPORT_H */
