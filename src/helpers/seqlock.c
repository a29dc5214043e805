// SPDX-License-Identifier: GPL-2.0
/* C functions that sequence locks call. */
#include <linux/bottom_half.h>
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/interrupt.h>
#include <linux/interrupt_rc.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

#include "../helpers.h"

unsigned int quiesce_helper_seqcount_begin(const seqcount_t *s)
{
	return read_seqcount_begin(s);
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_begin);

/*
 * On PREEMPT_RT a reader that finds a writer acquires the lock through the
 * counter's pointer to it. A constant cannot contain that pointer, so it is
 * stored here.
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

/* Returns nanoseconds of the monotonic clock. May be called in an NMI. */
u64 quiesce_helper_seqcount_clock(void)
{
	return ktime_get_mono_fast_ns();
}
EXPORT_SYMBOL_GPL(quiesce_helper_seqcount_clock);

void quiesce_helper_seqcount_write_begin(seqcount_t *s, unsigned int subclass)
{
	do_write_seqcount_begin_nested(s, subclass);
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

/* The function that preempt_enable() calls when the count has become zero. */
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

/*
 * Counts a section that disables interrupts, unless half as many are counted as
 * there are bits for: one more would be the carry into the next field some day.
 */
bool quiesce_helper_interrupt_count(void)
{
	const unsigned int half = (HARDIRQ_DISABLE_MASK + HARDIRQ_DISABLE_OFFSET) / 2;

	if (unlikely((preempt_count() & HARDIRQ_DISABLE_MASK) >= half))
		return false;
	local_interrupt_disable();
	return true;
}
EXPORT_SYMBOL_GPL(quiesce_helper_interrupt_count);

/*
 * The same, unless interrupts are disabled already and no section is counted:
 * then a hardware interrupt or a C section disabled them.
 * To count there would save flags that say "disabled", and on some architectures
 * local_irq_restore() disables interrupts if the C section has ended before.
 */
bool quiesce_helper_interrupt_disable(void)
{
	if (irqs_disabled() && !(preempt_count() & HARDIRQ_DISABLE_MASK))
		return false;
	return quiesce_helper_interrupt_count();
}
EXPORT_SYMBOL_GPL(quiesce_helper_interrupt_disable);

/*
 * Begins a section and acquires the lock in one call. Returns whether the
 * section is counted, for the unlock.
 */
bool quiesce_helper_raw_spin_lock_irq(raw_spinlock_t *lock, unsigned int subclass)
{
	bool counted = quiesce_helper_interrupt_disable();

	raw_spin_lock_nested(lock, subclass);
	return counted;
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_lock_irq);

void quiesce_helper_raw_spin_unlock_irq(raw_spinlock_t *lock, bool counted)
{
	if (counted)
		raw_spin_unlock_irq_enable(lock);
	else
		raw_spin_unlock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_unlock_irq);

void quiesce_helper_bh_warn(void)
{
	WARN_ONCE(1, "quiesce: seqlock: bottom halves cannot be disabled where a task is not preemptible, or has disabled them too often\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_warn);

void quiesce_helper_warn_deadlock(void)
{
	WARN_ONCE(1, "quiesce: the lock is held by this context or one that it interrupted\n");
}
EXPORT_SYMBOL_GPL(quiesce_helper_warn_deadlock);

/*
 * Whether half as many sections have begun as SOFTIRQ_MASK has bits for. The rest
 * is left for C's own: one too many and the count is that of no section.
 */
static bool bh_is_deep(void)
{
	return softirq_count() >= (SOFTIRQ_MASK + SOFTIRQ_OFFSET) / 2;
}

#ifdef CONFIG_PREEMPT_RT

/*
 * The first local_bh_disable() of a task calls rcu_read_lock() and
 * migrate_disable() if the task is preemptible; the last local_bh_enable() undoes
 * both if the task is preemptible. So that the two agree, the first one fails
 * where the task is not preemptible.
 */
int quiesce_helper_bh_disable(void)
{
	if (in_hardirq() || (!softirq_count() && !preemptible()))
		return -EPERM;
	if (unlikely(bh_is_deep()))
		return -EOVERFLOW;
	local_bh_disable();
	return 0;
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_disable);

/*
 * The last one may come where the task is not preemptible: preemption or
 * interrupts were disabled later and are enabled later. local_bh_enable() then
 * wakes ksoftirqd and leaves the other two undone. With
 * CONFIG_PREEMPT_RT_NEEDS_BH_LOCK a lock is held as well that only
 * local_bh_enable() can release: bottom halves stay disabled there.
 */
void quiesce_helper_bh_enable(void)
{
	bool undone = softirq_count() == SOFTIRQ_DISABLE_OFFSET && !preemptible();

	if (IS_ENABLED(CONFIG_PREEMPT_RT_NEEDS_BH_LOCK) && WARN_ON_ONCE(undone))
		return;
	local_bh_enable();
	if (undone) {
		migrate_enable();
		rcu_read_unlock();
	}
}
EXPORT_SYMBOL_GPL(quiesce_helper_bh_enable);

#else /* !CONFIG_PREEMPT_RT */

static void softirq_kick_fn(struct irq_work *work)
{
}

static DEFINE_PER_CPU(struct irq_work, softirq_kick) = IRQ_WORK_INIT_HARD(softirq_kick_fn);

/*
 * Enables bottom halves with interrupts disabled. local_bh_enable() would run
 * what is pending, with interrupts enabled. An interrupt that is raised here runs
 * it as soon as interrupts are enabled. Its handler has returned before the next
 * RCU grace period ends, and so before this module's text is freed.
 */
static void bh_enable_irqs_disabled(void)
{
	_local_bh_enable();
	if (!in_interrupt() && local_softirq_pending() && arch_irq_work_has_interrupt())
		irq_work_queue(this_cpu_ptr(&softirq_kick));
}

int quiesce_helper_bh_disable(void)
{
	if (unlikely(bh_is_deep()))
		return -EOVERFLOW;
	local_bh_disable();
	return 0;
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

void quiesce_helper_raw_spin_lock_bh(raw_spinlock_t *lock, unsigned int subclass)
{
	local_bh_disable();
	raw_spin_lock_nested(lock, subclass);
}
EXPORT_SYMBOL_GPL(quiesce_helper_raw_spin_lock_bh);

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

void quiesce_helper_spin_lock(spinlock_t *lock, unsigned int subclass)
{
	spin_lock_nested(lock, subclass);
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_lock);

bool quiesce_helper_spin_trylock(spinlock_t *lock)
{
	return spin_trylock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_trylock);

void quiesce_helper_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}
EXPORT_SYMBOL_GPL(quiesce_helper_spin_unlock);

void quiesce_helper_raw_spin_lock(raw_spinlock_t *lock, unsigned int subclass)
{
	raw_spin_lock_nested(lock, subclass);
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
