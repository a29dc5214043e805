/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of what the kernel has only as macros and inline functions. bindgen
 * reads this file, so that no prototype is written twice.
 */
#ifndef _QUIESCE_HELPERS_H
#define _QUIESCE_HELPERS_H

#include <linux/seqlock_types.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

/* rundown */
struct irq_work;
struct lockdep_map;

bool quiesce_helper_in_nmi(void);
void quiesce_helper_raw_spin_lock_init(raw_spinlock_t *lock);
unsigned long quiesce_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock);
void quiesce_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					       unsigned long flags);
void quiesce_helper_init_irq_work_hard(struct irq_work *work,
				       void (*fn)(struct irq_work *work));
unsigned int quiesce_helper_rundown_report_ms(void);
void quiesce_helper_set_rundown_report_ms(unsigned int ms);
void quiesce_helper_warn(const char *what);
bool quiesce_helper_dep_hold(struct lockdep_map *map);
void quiesce_helper_dep_let_go(struct lockdep_map *map);
void quiesce_helper_dep_sync(struct lockdep_map *map);
bool quiesce_helper_dep_is_held(struct lockdep_map *map);

/* seqlock */
struct lock_class_key;

void quiesce_helper_seqlock_init(seqlock_t *sl, const char *name,
				 struct lock_class_key *lock_key,
				 struct lock_class_key *seq_key);
void quiesce_helper_raw_seqlock_init(seqcount_raw_spinlock_t *s,
				     raw_spinlock_t *lock, const char *name,
				     struct lock_class_key *lock_key,
				     struct lock_class_key *seq_key);
void quiesce_helper_seqcount_init(seqcount_t *s, const char *name,
				  struct lock_class_key *key);

unsigned int quiesce_helper_seqcount_begin(const seqcount_t *s);
unsigned int quiesce_helper_seqcount_spinlock_begin(const seqcount_spinlock_t *s);
bool quiesce_helper_seqcount_retry(const seqcount_t *s, unsigned int start);
void quiesce_helper_seqcount_write_begin(seqcount_t *s);
void quiesce_helper_seqcount_write_end(seqcount_t *s);

void quiesce_helper_preempt_disable(void);
void quiesce_helper_preempt_enable(void);
unsigned long quiesce_helper_irq_save(void);
void quiesce_helper_irq_restore(unsigned long flags);
bool quiesce_helper_bh_disable(void);
void quiesce_helper_bh_enable(void);
void quiesce_helper_raw_spin_lock(raw_spinlock_t *lock);
bool quiesce_helper_raw_spin_trylock(raw_spinlock_t *lock);
void quiesce_helper_raw_spin_unlock(raw_spinlock_t *lock);
void quiesce_helper_raw_spin_unlock_bh(raw_spinlock_t *lock);

/* rcu */

/* device */

#endif /* _QUIESCE_HELPERS_H */
