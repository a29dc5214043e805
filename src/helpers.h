/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of what the kernel has only as macros and inline functions. bindgen
 * reads this file, so that no prototype is written twice.
 */
#ifndef _QUIESCE_HELPERS_H
#define _QUIESCE_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>
#include <linux/wait.h>

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

/* rcu */

/* device */
struct file;
struct file_operations;
struct pid;

unsigned long quiesce_helper_queue_lock(struct wait_queue_head *head);
void quiesce_helper_queue_unlock(struct wait_queue_head *head, unsigned long flags);
void quiesce_helper_queue_wake(struct wait_queue_head *head, unsigned int events);
int quiesce_helper_queue_sleep(struct wait_queue_head *head, unsigned long *flags,
			       s64 *deadline, int clock);
struct pid *quiesce_helper_current_pid(void);
void quiesce_helper_get_pid(struct pid *pid);
bool quiesce_helper_pid_ended(struct pid *pid, int *code);
void quiesce_helper_pid_watch(struct pid *pid, struct wait_queue_entry *entry,
			      wait_queue_func_t func);
void quiesce_helper_pid_unwatch(struct pid *pid, struct wait_queue_entry *entry);
bool quiesce_helper_in_exec(void);
bool quiesce_helper_in_exit(int *code);
struct file *quiesce_helper_anon_file(const char *name, const struct file_operations *fops,
				      void *private_data);
int quiesce_helper_copy_in(void *dst, size_t size, unsigned long src, size_t user_size);
int quiesce_helper_copy_out(unsigned long dst, size_t user_size, const void *src, size_t size);
void quiesce_helper_trace_place(u64 id, u32 party, u64 count, u64 ticket);
void quiesce_helper_trace_wait_begin(u64 id, u32 party, u32 kind, u64 ticket);
void quiesce_helper_trace_wait_end(u64 id, u32 party, int ret);
void quiesce_helper_trace_abort(u64 id, u32 party, u64 code);
void quiesce_helper_trace_death(u64 id, u32 party, u32 cause, int status, struct pid *pid);

#endif /* _QUIESCE_HELPERS_H */
