// SPDX-License-Identifier: GPL-2.0
/* What sequence locks need of C. */
#include <linux/bottom_half.h>
#include <linux/bug.h>
#include <linux/export.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>

#include "../helpers.h"

unsigned int quiesce_helper_seqcount_begin(const seqcount_t *s)
{
	return read_seqcount_begin(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_begin);

/*
 * On PREEMPT_RT a reader that finds a writer waits for the lock by the counter's
 * pointer to it, which a constant cannot hold: it is stored here.
 */
unsigned int quiesce_helper_seqlock_begin(seqlock_t *sl)
{
#ifdef CONFIG_PREEMPT_RT
	if (READ_ONCE(sl->seqcount.lock) != &sl->lock)
		WRITE_ONCE(sl->seqcount.lock, &sl->lock);
#endif
	return read_seqcount_begin(&sl->seqcount);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqlock_begin);

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

/* What preempt_enable() calls when the count became zero. */
void quiesce_helper_preempt_schedule(void)
{
#ifdef CONFIG_PREEMPTION
	__preempt_schedule();
#endif
}
EXPORT_SYMBOL_GPL(quiesce_helper_preempt_schedule);

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
