/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions for what the kernel has only as macros and inline functions.
 * bindgen generates the Rust declarations from this file.
 */
#ifndef _QUIESCE_HELPERS_H
#define _QUIESCE_HELPERS_H

#include <linux/completion.h>
#include <linux/llist.h>
#include <linux/preempt.h>
#include <linux/seqlock_types.h>
#include <linux/spinlock_types.h>
#include <linux/srcu.h>
#include <linux/timer.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/* The tracepoints that Rust code calls. */
#ifdef __BINDGEN__
#include "trace.h"
#endif

/* rundown */
struct irq_work;
struct lockdep_map;
struct module;
struct percpu_ref;
struct seq_file;

enum {
	QUIESCE_NMI_MASK = NMI_MASK,
	QUIESCE_HARDIRQ_DISABLE_MASK = HARDIRQ_DISABLE_MASK,
#ifdef CONFIG_ARM64
	QUIESCE_ARM64_LSE_CALLBACK = ARM64_CB_BIT | ARM64_HAS_LSE_ATOMICS,
	QUIESCE_ARM64_PREEMPT_COUNT = offsetof(struct thread_info, preempt.count),
#endif
};

bool quiesce_helper_in_nmi(void);
bool quiesce_helper_preemptible(void);
void quiesce_helper_raw_spin_lock_init(raw_spinlock_t *lock);
unsigned long quiesce_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock);
void quiesce_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					       unsigned long flags);
void quiesce_helper_init_irq_work_hard(struct irq_work *work,
				       void (*fn)(struct irq_work *work));
int quiesce_helper_rundown_reaper_init(void (*dispatch)(void));
void quiesce_helper_rundown_reaper_exit(void);
void quiesce_helper_rundown_queue(struct work_struct *work,
				  void (*func)(struct work_struct *work));
void quiesce_helper_rundown_reaper_kick(void);
void quiesce_helper_rundown_reaper_flush(void);
void quiesce_helper_rundown_leaked(void);
void quiesce_helper_rundown_forever(void);
u64 quiesce_helper_jiffies_64(void);
bool quiesce_helper_rundown_may_sleep(bool reader);
pid_t quiesce_helper_current_comm(char *comm);
void quiesce_helper_format_pointer(char *buffer, size_t size, const void *pointer);
void quiesce_helper_rundown_monitor_init(bool (*monitor)(unsigned int ms),
					 void (*list)(struct seq_file *m));
void quiesce_helper_rundown_monitor_start(bool again);
void quiesce_helper_rundown_monitor_exit(void);
unsigned int quiesce_helper_set_rundown_stall_ms(unsigned int ms);
void quiesce_helper_rundown_too_many_holders(void);
void quiesce_helper_rundown_too_many_releases(void);
int quiesce_helper_percpu_ref_init(struct percpu_ref *ref,
				   void (*release)(struct percpu_ref *ref),
				   bool live);
bool quiesce_helper_percpu_ref_tryget_live(struct percpu_ref *ref);
int quiesce_helper_percpu_ref_tryget_live_many(struct percpu_ref *ref, unsigned long nr);
bool quiesce_helper_percpu_ref_tryget(struct percpu_ref *ref);
void quiesce_helper_percpu_ref_get_many(struct percpu_ref *ref, unsigned long nr);
void quiesce_helper_percpu_ref_put(struct percpu_ref *ref);
void quiesce_helper_percpu_ref_put_many(struct percpu_ref *ref, unsigned long nr);
bool quiesce_helper_percpu_ref_is_saturated(struct percpu_ref *ref);
unsigned long quiesce_helper_percpu_ref_holders(struct percpu_ref *ref);
unsigned int quiesce_helper_dep_hold(const struct lockdep_map *of);
unsigned int quiesce_helper_dep_hold_exclusive(const struct lockdep_map *of);
void quiesce_helper_dep_let_go(unsigned int held);
void quiesce_helper_dep_sync(const struct lockdep_map *of);
bool quiesce_helper_dep_is_held(const struct lockdep_map *of);
void quiesce_helper_dep_forget(const struct module *mod);

/* seqlock */
struct lock_class_key;

unsigned int quiesce_helper_seqcount_begin(const seqcount_t *s);
unsigned int quiesce_helper_seqlock_begin(seqlock_t *sl);
bool quiesce_helper_seqcount_retry(const seqcount_t *s, unsigned int start);
u64 quiesce_helper_seqcount_clock(void);
void quiesce_helper_seqcount_write_begin(seqcount_t *s, unsigned int subclass);
void quiesce_helper_seqcount_write_end(seqcount_t *s);

void quiesce_helper_preempt_disable(void);
void quiesce_helper_preempt_enable(void);
void quiesce_helper_preempt_schedule(void);
unsigned long quiesce_helper_irq_save(void);
void quiesce_helper_irq_restore(unsigned long flags);
bool quiesce_helper_interrupt_count(void);
bool quiesce_helper_interrupt_disable(void);
int quiesce_helper_bh_disable(void);
void quiesce_helper_bh_enable(void);
void quiesce_helper_bh_warn(void);
void quiesce_helper_warn_deadlock(void);
void quiesce_helper_spin_lock(spinlock_t *lock, unsigned int subclass);
bool quiesce_helper_spin_trylock(spinlock_t *lock);
void quiesce_helper_spin_unlock(spinlock_t *lock);
void quiesce_helper_raw_spin_lock(raw_spinlock_t *lock, unsigned int subclass);
bool quiesce_helper_raw_spin_trylock(raw_spinlock_t *lock);
void quiesce_helper_raw_spin_unlock(raw_spinlock_t *lock);
bool quiesce_helper_raw_spin_lock_irq(raw_spinlock_t *lock, unsigned int subclass);
void quiesce_helper_raw_spin_unlock_irq(raw_spinlock_t *lock, bool counted);
void quiesce_helper_raw_spin_lock_bh(raw_spinlock_t *lock, unsigned int subclass);
void quiesce_helper_raw_spin_unlock_bh(raw_spinlock_t *lock);

/* rcu */
#define QUIESCE_RCU_MAY_WAIT	0
#define QUIESCE_RCU_READER	1
#define QUIESCE_RCU_ATOMIC	2
#define QUIESCE_RCU_NMI		3

int quiesce_helper_rcu_context(void);
bool quiesce_helper_rcu_depth(void);
int quiesce_helper_srcu_init(struct srcu_struct *ssp, const char *name,
			     struct lock_class_key *key, bool up_down);
void *quiesce_helper_srcu_enter(struct srcu_struct *ssp, bool up_down);
void quiesce_helper_srcu_exit(struct srcu_struct *ssp, bool up_down, void *counter);
void quiesce_helper_srcu_expedite(struct srcu_struct *ssp);
void quiesce_helper_synchronize_rcu_expedited(void);
void quiesce_helper_rcu_snapshot(struct rcu_gp_seq *seq);
void quiesce_helper_rcu_start(struct rcu_gp_seq *seq, bool expedited);
bool quiesce_helper_rcu_is_over(struct rcu_gp_seq *seq);
bool quiesce_helper_rcu_marked(unsigned long tag);
void quiesce_helper_rcu_quiesce(void);
/* A wait that is reported if it takes long; from task on, the fields are those of C. */
struct quiesce_rcu_stall {
	const char *what, *domain, *file;
	size_t file_len;
	unsigned int line;
	unsigned long mark; /* on the stacks of the domain's readers, or 0 */
	struct task_struct *task;
	bool reported;
	unsigned long since, period;
	struct timer_list timer;
};

int quiesce_helper_rcu_wakers_enter(void);
void quiesce_helper_rcu_wakers_exit(int section);
void quiesce_helper_rcu_wakers_synchronize(void);
void quiesce_helper_rcu_stall_begin(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_end(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_init(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_start(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_stop(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_destroy(struct quiesce_rcu_stall *stall);
void quiesce_helper_rcu_stall_flush(void);
unsigned int quiesce_helper_rcu_stall_ms(unsigned int ms);
unsigned int quiesce_helper_rcu_stalls(void);
void quiesce_helper_call_rcu_hurry(struct callback_head *head,
				   void (*func)(struct callback_head *head));
/*
 * Numbers of callbacks posted and done, of a module or a domain. bindgen has no
 * per-CPU address space, hence the void pointers.
 */
struct quiesce_rcu_counts {
	unsigned long posted;
	unsigned long done;
	/* Callbacks of the kernel's RCU, for which rcu_barrier() waits. */
	unsigned long rcu_posted;
	unsigned long rcu_done;
};

void *quiesce_helper_rcu_counts_alloc(void);
void quiesce_helper_rcu_counts_free(void *counts);
void quiesce_helper_rcu_posted(void *counts);
void quiesce_helper_rcu_done(void *counts);
unsigned long quiesce_helper_rcu_posted_sum(const void *counts);
unsigned long quiesce_helper_rcu_done_sum(const void *counts);
unsigned long quiesce_helper_rcu_in_flight(const void *counts);
unsigned long quiesce_helper_rcu_callbacks_done(const void *counts);
unsigned long quiesce_helper_rcu_completing(const void *counts);
unsigned long quiesce_helper_rcu_callbacks(const void *counts);
void quiesce_helper_rcu_callback_done(void *counts);
void quiesce_helper_rcu_post(void *counts, struct callback_head *head,
			     void (*func)(struct callback_head *head));
void quiesce_helper_srcu_post(void *module, void *domain, struct srcu_struct *ssp,
			      struct callback_head *head,
			      void (*func)(struct callback_head *head));
void quiesce_helper_rcu_kvfree(void *counts, struct callback_head *head);
void quiesce_helper_rcu_init_completion(struct completion *done);
struct workqueue_struct *quiesce_helper_rcu_workqueue(bool reclaims);
void quiesce_helper_rcu_init_work(struct work_struct *work,
				  void (*func)(struct work_struct *work), bool waits);

/* A worker's work item that runs, and the task that runs it. */
struct quiesce_rcu_run {
	struct hlist_node node;
	struct task_struct *task;
};

void quiesce_helper_rcu_run_begin(struct quiesce_rcu_run *run);
void quiesce_helper_rcu_run_end(struct quiesce_rcu_run *run);
struct quiesce_rcu_run *quiesce_helper_rcu_current_run(void);
bool quiesce_helper_rcu_preemptible(void);
void quiesce_helper_rcu_will_wait(struct work_struct *work);
void quiesce_helper_rcu_cond_resched(void);
bool quiesce_helper_llist_add(struct llist_node *node, struct llist_head *list);
struct llist_node *quiesce_helper_llist_del_all(struct llist_head *list);
void *quiesce_helper_kmalloc(size_t size, bool atomic);
void *quiesce_helper_kmalloc_32(bool atomic);
void *quiesce_helper_kmalloc_64(bool atomic);
void *quiesce_helper_kmalloc_96(bool atomic);
void *quiesce_helper_kmalloc_128(bool atomic);
void *quiesce_helper_kmalloc_192(bool atomic);
void *quiesce_helper_kmalloc_256(bool atomic);
bool quiesce_helper_within_module(const void *addr, const struct module *mod);
void quiesce_helper_module_text(const struct module *mod, unsigned long *base,
				unsigned long *size);
bool quiesce_helper_module_hold(struct module *mod);
void quiesce_helper_module_release(struct module *mod);
int quiesce_helper_on_module(int (*coming)(struct module *mod),
			     void (*going)(struct module *mod));
void quiesce_helper_off_module(void);

/* device */
struct file;
struct file_operations;
struct pid;
struct seq_file;

unsigned long quiesce_helper_queue_lock(struct wait_queue_head *head);
void quiesce_helper_queue_unlock(struct wait_queue_head *head, unsigned long flags);
void quiesce_helper_queue_wake(struct wait_queue_head *head, unsigned long *flags, u32 events);
int quiesce_helper_queue_sleep(struct wait_queue_head *head, unsigned long *flags,
			       s64 *deadline, int clock);
u32 quiesce_helper_spin_limit(const s64 *deadline, int clock);
u64 quiesce_helper_spin_clock(void);
s64 quiesce_helper_time_to_host(int clock, s64 ns);
u64 quiesce_helper_boottime(void);
u64 quiesce_helper_boottime_of_reader(u64 ns);
bool quiesce_helper_queue_spin(struct wait_queue_head *head, unsigned long *flags,
			       const u32 *changes, u32 ns);
struct pid *quiesce_helper_current_pid(void);
u64 quiesce_helper_pid_ino(struct pid *pid);
void quiesce_helper_get_pid(struct pid *pid);
bool quiesce_helper_pid_ended(struct pid *pid, int *code);
void quiesce_helper_pid_watch(struct pid *pid, struct wait_queue_entry *entry,
			      wait_queue_func_t func);
void quiesce_helper_pid_unwatch(struct pid *pid, struct wait_queue_entry *entry);
struct workqueue_struct *quiesce_helper_exit_workqueue(void);
unsigned int quiesce_helper_user_files(void);
bool quiesce_helper_is_unlimited(void);
int quiesce_helper_charge_ahead(void);
u32 quiesce_helper_current_uid(void);
bool quiesce_helper_in_exec(void);
bool quiesce_helper_in_exit(int *code);
bool quiesce_helper_is_kthread(void);
bool quiesce_helper_is_current_pid(struct pid *pid);
int quiesce_helper_pid_in_proc(struct seq_file *m, struct pid *pid);
struct file *quiesce_helper_anon_file(const char *name, const struct file_operations *fops,
				      void *private_data);
int quiesce_helper_copy_in(void *dst, size_t size, unsigned long src, size_t user_size);
int quiesce_helper_copy_out(unsigned long dst, size_t user_size, const void *src, size_t size);
int quiesce_helper_put(unsigned long dst, const void *src, size_t size);
int quiesce_helper_fault_in(unsigned long dst, size_t size);

#endif /* _QUIESCE_HELPERS_H */
