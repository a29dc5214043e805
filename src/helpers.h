/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of what the kernel has only as macros and inline functions. bindgen
 * reads this file, so that no prototype is written twice.
 */
#ifndef _QUIESCE_HELPERS_H
#define _QUIESCE_HELPERS_H

#include <linux/types.h>
#include <linux/percpu_counter.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

/* rundown */
void quiesce_helper_wait_var_event_zero(unsigned long *word);

/* seqlock */

/* rcu */
#define QUIESCE_RCU_MAY_WAIT	0
#define QUIESCE_RCU_READER	1
#define QUIESCE_RCU_ATOMIC	2
#define QUIESCE_RCU_NMI		3

int quiesce_helper_rcu_context(void);
bool quiesce_helper_rcu_depth(void);
bool quiesce_helper_rcu_marked(unsigned long tag);
void quiesce_helper_rcu_quiesce(void);
void quiesce_helper_rcu_synchronize(struct srcu_struct *ssp, bool expedited,
				    const char *domain, const char *file,
				    size_t file_len, unsigned int line);
unsigned int quiesce_helper_rcu_stall_ms(unsigned int ms);
unsigned int quiesce_helper_rcu_stalls(void);
void quiesce_helper_call_rcu_hurry(struct callback_head *head,
				   void (*func)(struct callback_head *head));
unsigned long quiesce_helper_rcu_lock(void);
void quiesce_helper_rcu_unlock(unsigned long flags);
int quiesce_helper_rcu_counter_init(struct percpu_counter *counter);
void quiesce_helper_rcu_counter_destroy(struct percpu_counter *counter);
void quiesce_helper_rcu_counter_add(struct percpu_counter *counter, long n);
long quiesce_helper_rcu_counter_read(struct percpu_counter *counter);
long quiesce_helper_rcu_counter_sum(struct percpu_counter *counter);
struct workqueue_struct *quiesce_helper_rcu_workqueue(struct work_struct *work,
						      void (*func)(struct work_struct *work));
void quiesce_helper_rcu_cond_resched(void);
bool quiesce_helper_within_module(const void *addr, const struct module *mod);
int quiesce_helper_on_module_going(void (*func)(struct module *mod));
void quiesce_helper_off_module_going(void);

/* device */

#endif /* _QUIESCE_HELPERS_H */
