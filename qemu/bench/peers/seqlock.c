// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the sequence lock's rows. The functions of the bench loop over
 * the path; those called size_* are the path alone, for counting instructions, and
 * are called where the path is so short that the loop would be what is measured.
 */
#include <linux/seqlock.h>

#include "bench.h"

static struct locked locked = {
	.lock = __SEQLOCK_UNLOCKED(locked.lock),
};

noinline notrace void size_peer_seqlock_read(struct locked *l, struct payload *out)
{
	unsigned int seq;

	do {
		seq = read_seqbegin(&l->lock);
		*out = l->data;
	} while (read_seqretry(&l->lock, seq));
}

u64 bench_peer_seqlock_read(u64 n, unsigned int arg)
{
	struct payload p = {};

	while (n--)
		size_peer_seqlock_read(&locked, &p);
	WRITE_ONCE(bench_sink, p.a[0]);
	return 0;
}

u64 bench_peer_seqlock_read_excl(u64 n, unsigned int arg)
{
	struct payload p;
	u64 sum = 0;

	while (n--) {
		read_seqlock_excl(&locked.lock);
		p = locked.data;
		read_sequnlock_excl(&locked.lock);
		sum += p.a[0] + p.a[1] + p.a[2];
	}
	WRITE_ONCE(bench_sink, sum);
	return 0;
}

void size_peer_seqlock_field(struct locked_address *l, u8 *out)
{
	unsigned int seq;

	do {
		seq = read_seqbegin(&l->lock);
		memcpy(out, l->data.bytes, sizeof(l->data.bytes));
	} while (read_seqretry(&l->lock, seq));
}

void size_peer_seqlock_set_field(struct locked_address *l, u8 *in)
{
	write_seqlock(&l->lock);
	memcpy(l->data.bytes, in, sizeof(l->data.bytes));
	write_sequnlock(&l->lock);
}

void size_peer_seqcount_read(struct counted *c, struct payload *out)
{
	unsigned int seq;

	do {
		seq = read_seqcount_begin(&c->seqcount);
		*out = c->data;
	} while (read_seqcount_retry(&c->seqcount, seq));
}

/* With the check of the lock that ours makes. */
int size_peer_seqcount_store(struct counted *c, struct payload *in, void *owner)
{
	if (c->owner != owner)
		return -EINVAL;
	write_seqcount_begin(&c->seqcount);
	c->data = *in;
	write_seqcount_end(&c->seqcount);
	return 0;
}

int size_peer_seqcount_store_irq(struct counted *c, struct payload *in, void *owner)
{
	unsigned long flags;

	if (c->owner != owner)
		return -EINVAL;
	local_irq_save(flags);
	raw_write_seqcount_begin(&c->seqcount.seqcount);
	c->data = *in;
	raw_write_seqcount_end(&c->seqcount.seqcount);
	local_irq_restore(flags);
	return 0;
}

#define WRITES(name, lock_fn, unlock_fn)				\
void size_peer_##name(struct locked *l, struct payload *in)		\
{									\
	lock_fn(&l->lock);						\
	l->data = *in;							\
	unlock_fn(&l->lock);						\
}									\
									\
u64 bench_peer_##name(u64 n, unsigned int arg)				\
{									\
	while (n--) {							\
		struct payload p = { { n, n, n } };			\
									\
		lock_fn(&locked.lock);					\
		locked.data = p;					\
		unlock_fn(&locked.lock);				\
	}								\
	return 0;							\
}

WRITES(seqlock_write, write_seqlock, write_sequnlock)
WRITES(seqlock_write_bh, write_seqlock_bh, write_sequnlock_bh)
WRITES(seqlock_write_irq, write_seqlock_irq, write_sequnlock_irq)

void size_peer_seqlock_write_irqsave(struct locked *l, struct payload *in)
{
	unsigned long flags;

	write_seqlock_irqsave(&l->lock, flags);
	l->data = *in;
	write_sequnlock_irqrestore(&l->lock, flags);
}

u64 bench_peer_seqlock_write_irqsave(u64 n, unsigned int arg)
{
	unsigned long flags;

	while (n--) {
		struct payload p = { { n, n, n } };

		write_seqlock_irqsave(&locked.lock, flags);
		locked.data = p;
		write_sequnlock_irqrestore(&locked.lock, flags);
	}
	return 0;
}

/* C's own form that counts, so that sections may end in any order. */
u64 bench_peer_seqlock_write_irq_counted(u64 n, unsigned int arg)
{
	while (n--) {
		struct payload p = { { n, n, n } };

		spin_lock_irq_disable(&locked.lock.lock);
		raw_write_seqcount_begin(&locked.lock.seqcount.seqcount);
		locked.data = p;
		raw_write_seqcount_end(&locked.lock.seqcount.seqcount);
		spin_unlock_irq_enable(&locked.lock.lock);
	}
	return 0;
}
