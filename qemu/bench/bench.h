/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A row of the benchmark: one path, in quiesce and in the baseline. Each function
 * runs its path n times; arg is the row's parameter. The return value is the row's
 * extra figure, 0 if it has none.
 */
#ifndef _QUIESCE_BENCH_H
#define _QUIESCE_BENCH_H

#include <linux/percpu-refcount.h>
#include <linux/seqlock.h>
#include <linux/types.h>

typedef u64 (*bench_fn)(u64 n, unsigned int arg);

/* Both implementations of a path. */
#define BENCH_PATH(path) \
	u64 bench_ours_##path(u64 n, unsigned int arg), bench_peer_##path(u64 n, unsigned int arg)

BENCH_PATH(seqlock_read);
BENCH_PATH(seqlock_read_excl);
BENCH_PATH(seqlock_write);
BENCH_PATH(seqlock_write_bh);
BENCH_PATH(seqlock_write_irq);
BENCH_PATH(seqlock_write_irqsave);
BENCH_PATH(seqlock_write_irq_counted);
BENCH_PATH(rundown_word);
BENCH_PATH(rundown_refcount);
BENCH_PATH(rundown_percpu);
BENCH_PATH(rundown_drain);
BENCH_PATH(rundown_drain_percpu);
BENCH_PATH(rundown_drain_holders);
BENCH_PATH(rundown_create);
BENCH_PATH(rundown_create_percpu);
BENCH_PATH(rcu_read);
BENCH_PATH(srcu_read);
BENCH_PATH(rcu_alloc);
BENCH_PATH(rcu_defer);
BENCH_PATH(rcu_defer_drop);

/* Ours alone: cost against size. */
u64 bench_ours_domains(u64 n, unsigned int arg);

/* Create and destroy the objects that are used in every round. */
int bench_peers_rundown_init(void);
void bench_peers_rundown_exit(void);
int bench_peers_rcu_init(void);
void bench_peers_rcu_exit(void);
int bench_ours_init(void);
void bench_ours_exit(void);

/* Waits until everything that was deferred so far has been freed. */
void bench_peers_settle(void);
void bench_ours_settle(void);

/* Sink for results, so that the compiler cannot optimize out their computation. */
extern u64 bench_sink;

/*
 * Memory of slabs, in kB; for the peak of a flood of deferred frees. Free pages
 * would not do: the CPUs keep some for themselves.
 */
u64 bench_used_kb(void);

/* Lets others run. */
void bench_breathe(void);

/* The size of one of our objects; frame.c has the list. */
u64 bench_ours_size(unsigned int which);

/* The baselines' paths alone, for counting instructions. */
struct srcu_struct;

struct payload {
	u64 a[3];
};

struct locked {
	seqlock_t lock;
	struct payload data;
};

struct address {
	u8 bytes[16];
	u64 scope;
};

struct locked_address {
	seqlock_t lock;
	struct address data;
};

/* Beside a mutex, so that a write section disables preemption. */
struct counted {
	seqcount_mutex_t seqcount;
	struct payload data;
	void *owner;
};

struct node {
	struct rcu_head rcu;
	u64 a[3];
};

void size_peer_seqlock_read(struct locked *l, struct payload *out);
void size_peer_seqlock_write(struct locked *l, struct payload *in);
void size_peer_seqlock_write_bh(struct locked *l, struct payload *in);
void size_peer_seqlock_write_irq(struct locked *l, struct payload *in);
void size_peer_seqlock_write_irqsave(struct locked *l, struct payload *in);
void size_peer_seqlock_field(struct locked_address *l, u8 *out);
void size_peer_seqlock_set_field(struct locked_address *l, u8 *in);
void size_peer_seqcount_read(struct counted *c, struct payload *out);
int size_peer_seqcount_store(struct counted *c, struct payload *in, void *owner);
int size_peer_seqcount_store_irq(struct counted *c, struct payload *in, void *owner);
atomic_long_t *size_peer_rundown_acquire(atomic_long_t *w);
void size_peer_rundown_release(atomic_long_t *w);
struct percpu_ref *size_peer_rundown_percpu_acquire(struct percpu_ref *ref);
void size_peer_rundown_percpu_release(struct percpu_ref *ref);
u64 size_peer_rcu_read(struct node __rcu **p);
u64 size_peer_srcu_read(struct srcu_struct *ssp, struct node __rcu **p);

/* Arrays of the size of the baselines' objects. */
extern char sizeof_peer_rundown[sizeof(atomic_long_t)];
/* Without the per-CPU counters, as in quiesce's figure. */
extern char sizeof_peer_rundown_percpu[sizeof(struct percpu_ref) + sizeof(struct percpu_ref_data)];
extern char sizeof_peer_seqlock[sizeof(struct locked)];
extern char sizeof_peer_rcu_cell[sizeof(void *)];
extern char sizeof_peer_rcu_object[sizeof(struct node)];

#endif /* _QUIESCE_BENCH_H */
