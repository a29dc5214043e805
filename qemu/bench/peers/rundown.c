// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the rundown's rows: a counter that begins at one, refcount_t,
 * and percpu_ref with what it takes to wait for it.
 */
#include <linux/completion.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "bench.h"

static atomic_long_t word = ATOMIC_LONG_INIT(1);
static refcount_t refcount = REFCOUNT_INIT(1);

/* A percpu_ref as drivers use it: killed, confirmed, waited for. */
struct waitable {
	struct percpu_ref ref;
	struct completion confirmed;
	struct completion released;
};

static struct waitable waitable;

static void waitable_release(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct waitable, ref)->released);
}

static void waitable_confirm(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct waitable, ref)->confirmed);
}

static int waitable_init(struct waitable *w)
{
	init_completion(&w->confirmed);
	init_completion(&w->released);
	return percpu_ref_init(&w->ref, waitable_release, PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
}

static void waitable_drain(struct waitable *w)
{
	percpu_ref_kill_and_confirm(&w->ref, waitable_confirm);
	wait_for_completion(&w->confirmed);
	wait_for_completion(&w->released);
}

int bench_peers_rundown_init(void)
{
	return waitable_init(&waitable);
}

void bench_peers_rundown_exit(void)
{
	waitable_drain(&waitable);
	percpu_ref_exit(&waitable.ref);
}

atomic_long_t *size_peer_rundown_acquire(atomic_long_t *w)
{
	return atomic_long_inc_not_zero(w) ? w : NULL;
}

void size_peer_rundown_release(atomic_long_t *w)
{
	if (atomic_long_dec_and_test(w))
		wake_up_var(w);
}

struct percpu_ref *size_peer_rundown_percpu_acquire(struct percpu_ref *ref)
{
	return percpu_ref_tryget_live(ref) ? ref : NULL;
}

void size_peer_rundown_percpu_release(struct percpu_ref *ref)
{
	percpu_ref_put(ref);
}

u64 bench_peer_rundown_word(u64 n, unsigned int arg)
{
	while (n--) {
		if (!atomic_long_inc_not_zero(&word))
			break;
		if (atomic_long_dec_and_test(&word))
			wake_up_var(&word);
	}
	return 0;
}

u64 bench_peer_rundown_refcount(u64 n, unsigned int arg)
{
	while (n--) {
		if (!refcount_inc_not_zero(&refcount))
			break;
		if (refcount_dec_and_test(&refcount))
			wake_up_var(&refcount);
	}
	return 0;
}

u64 bench_peer_rundown_percpu(u64 n, unsigned int arg)
{
	while (n--) {
		if (!percpu_ref_tryget_live(&waitable.ref))
			break;
		percpu_ref_put(&waitable.ref);
	}
	return 0;
}

u64 bench_peer_rundown_drain(u64 n, unsigned int arg)
{
	return bench_peer_rundown_drain_holders(n, 0);
}

u64 bench_peer_rundown_drain_percpu(u64 n, unsigned int arg)
{
	return bench_peer_rundown_drain_holders(n, 0);
}

/* The rundown begins with arg references held, which are released before the wait. */
u64 bench_peer_rundown_drain_holders(u64 n, unsigned int arg)
{
	unsigned int i;

	while (n--) {
		reinit_completion(&waitable.confirmed);
		reinit_completion(&waitable.released);
		for (i = 0; i < arg; i++)
			percpu_ref_tryget_live(&waitable.ref);
		percpu_ref_kill_and_confirm(&waitable.ref, waitable_confirm);
		for (i = 0; i < arg; i++)
			percpu_ref_put(&waitable.ref);
		wait_for_completion(&waitable.confirmed);
		wait_for_completion(&waitable.released);
		percpu_ref_reinit(&waitable.ref);
	}
	return 0;
}

u64 bench_peer_rundown_create(u64 n, unsigned int arg)
{
	struct counted {
		atomic_long_t word;
	} *c;

	while (n--) {
		c = kmalloc_obj(*c);
		if (!c)
			break;
		atomic_long_set(&c->word, 1);
		if (atomic_long_dec_and_test(&c->word))
			kfree(c);
	}
	return 0;
}

u64 bench_peer_rundown_create_percpu(u64 n, unsigned int arg)
{
	struct waitable w;

	while (n--) {
		if (waitable_init(&w))
			break;
		waitable_drain(&w);
		percpu_ref_exit(&w.ref);
	}
	return 0;
}
