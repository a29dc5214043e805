/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A row of the bench: one path, ours and the peer's. Each function does its path
 * n times; arg is the row's own parameter. What it returns is the row's extra
 * figure, 0 where there is none.
 */
#ifndef _QUIESCE_BENCH_H
#define _QUIESCE_BENCH_H

#include <linux/types.h>

typedef u64 (*bench_fn)(u64 n, unsigned int arg);

/* Both sides of every path are declared by this list and nowhere else. */
#define BENCH_PATHS(X)			\
	X(seqlock_read)			\
	X(seqlock_read_excl)		\
	X(seqlock_write)		\
	X(seqlock_write_bh)		\
	X(seqlock_write_irq)		\
	X(seqlock_write_irqsave)	\
	X(rundown_word)			\
	X(rundown_refcount)		\
	X(rundown_percpu)		\
	X(rundown_drain)		\
	X(rundown_drain_percpu)		\
	X(rundown_drain_holders)	\
	X(rundown_create)		\
	X(rundown_create_percpu)	\
	X(rcu_read)			\
	X(srcu_read)			\
	X(rcu_defer)			\
	X(rcu_defer_drop)

#define BENCH_DECLARE(path)				\
	u64 bench_ours_##path(u64 n, unsigned int arg);	\
	u64 bench_peer_##path(u64 n, unsigned int arg);
BENCH_PATHS(BENCH_DECLARE)
#undef BENCH_DECLARE

/* What both sides keep from round to round is made and unmade here. */
int bench_peers_rundown_init(void);
void bench_peers_rundown_exit(void);
int bench_peers_rcu_init(void);
void bench_peers_rcu_exit(void);
int bench_ours_init(void);
void bench_ours_exit(void);

/* Waits until everything that was deferred so far has been freed. */
void bench_peers_settle(void);
void bench_ours_settle(void);

/* Memory in use, in kB; for the peak of a flood of deferred frees. */
u64 bench_used_kb(void);

/* Sizes of objects: fills names and bytes, returns how many there are. */
struct bench_size {
	const char *name;
	u64 ours;
	u64 peer;
};

u64 bench_ours_size(unsigned int which);

#endif /* _QUIESCE_BENCH_H */
