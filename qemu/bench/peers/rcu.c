// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of RCU's rows.
 */
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/srcu.h>

#include "bench.h"

static struct node __rcu *current_node;
static struct node __rcu *marked_node;
DEFINE_STATIC_SRCU_FAST(bench_srcu);

int bench_peers_rcu_init(void)
{
	struct node *node = kzalloc_obj(*node);

	if (!node)
		return -ENOMEM;
	rcu_assign_pointer(current_node, node);
	return 0;
}

void bench_peers_rcu_exit(void)
{
	kfree(rcu_dereference_protected(current_node, true));
	kfree(rcu_dereference_protected(marked_node, true));
}

/* Gives back what slabs keep, so that the memory of the next run is its own. */
static void shrink(void)
{
	struct kmem_cache *cache;
	int type;

	for (type = 0; type < NR_KMALLOC_TYPES; type++) {
		cache = kmalloc_caches[type][kmalloc_index(sizeof(struct node))];
		if (cache)
			kmem_cache_shrink(cache);
	}
}

void bench_peers_settle(void)
{
	struct kmem_cache *cache;

	rcu_barrier();
	/*
	 * kvfree_rcu_barrier() is not exported; destroying a cache waits for all
	 * of kvfree_rcu() as it does.
	 */
	cache = kmem_cache_create("quiesce_bench", sizeof(struct node), 0, SLAB_NO_MERGE, NULL);
	kmem_cache_destroy(cache);
	shrink();
}

noinline notrace u64 size_peer_rcu_read(struct node __rcu **p)
{
	u64 v;

	rcu_read_lock();
	v = rcu_dereference(*p)->a[0];
	rcu_read_unlock();
	return v;
}

noinline notrace u64 size_peer_srcu_read(struct srcu_struct *ssp, struct node __rcu **p)
{
	struct srcu_ctr __percpu *ctr = srcu_read_lock_fast(ssp);
	u64 v = srcu_dereference(*p, ssp)->a[0];

	srcu_read_unlock_fast(ssp, ctr);
	return v;
}

u64 bench_peer_rcu_read(u64 n, unsigned int arg)
{
	u64 sum = 0;

	while (n--)
		sum += size_peer_rcu_read(&current_node);
	WRITE_ONCE(bench_sink, sum);
	return 0;
}

u64 bench_peer_srcu_read(u64 n, unsigned int arg)
{
	u64 sum = 0;

	while (n--)
		sum += size_peer_srcu_read(&bench_srcu, &current_node);
	WRITE_ONCE(bench_sink, sum);
	return 0;
}

static __always_inline struct node *node_alloc(u64 n)
{
	struct node *node = kmalloc_obj(*node);

	if (node) {
		node->a[0] = n;
		node->a[1] = 0;
		node->a[2] = 0;
	}
	return node;
}

u64 bench_peer_rcu_alloc(u64 n, unsigned int arg)
{
	struct node *node;

	while (n--) {
		node = node_alloc(n);
		if (!node)
			break;
		barrier_data(node);
		kfree(node);
	}
	return 0;
}

/* Number of deferred frees after which a flood reads the memory usage and calls the scheduler. */
#define LOOK	4096

static u64 flood(u64 n, void (*publish)(struct node *node))
{
	u64 begin = bench_used_kb(), peak = begin;
	struct node *node;

	while (n--) {
		node = node_alloc(n);
		if (!node)
			break;
		publish(node);
		if (n % LOOK == 0) {
			peak = max(peak, bench_used_kb());
			bench_breathe();
		}
	}
	return peak - begin;
}

static void publish_free(struct node *node)
{
	struct node *old = unrcu_pointer(xchg(&current_node, RCU_INITIALIZER(node)));

	kvfree_rcu(old, rcu);
}

u64 bench_peer_rcu_defer(u64 n, unsigned int arg)
{
	return flood(n, publish_free);
}

static void node_drop(struct rcu_head *rcu)
{
	struct node *node = container_of(rcu, struct node, rcu);

	WRITE_ONCE(node->a[2], 1);
	kfree(node);
}

static void publish_drop(struct node *node)
{
	struct node *old = unrcu_pointer(xchg(&marked_node, RCU_INITIALIZER(node)));

	if (old)
		call_rcu(&old->rcu, node_drop);
}

u64 bench_peer_rcu_defer_drop(u64 n, unsigned int arg)
{
	return flood(n, publish_drop);
}
