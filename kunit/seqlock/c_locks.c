// SPDX-License-Identifier: GPL-2.0
/* Sequence locks as C uses them, for the suite that shares them with Rust. */

#include <linux/err.h>
#include <linux/seqlock.h>
#include <linux/slab.h>

#include "../support.h"

struct test_seq {
	seqlock_t lock;
	u64 data[QUIESCE_KUNIT_SEQ_WORDS] __aligned(8);
};

static void copy_words(u64 *to, const u64 *from)
{
	for (int i = 0; i < QUIESCE_KUNIT_SEQ_WORDS; i++)
		WRITE_ONCE(to[i], READ_ONCE(from[i]));
}

void *quiesce_kunit_seq_new(const u64 *words)
{
	struct test_seq *seq = kzalloc_obj(*seq);

	if (!seq)
		return ERR_PTR(-ENOMEM);
	seqlock_init(&seq->lock);
	copy_words(seq->data, words);
	return seq;
}

void quiesce_kunit_seq_free(void *lock)
{
	kfree(lock);
}

void quiesce_kunit_seq_write(void *lock, u64 *data, const u64 *words, int mode)
{
	unsigned long flags;
	seqlock_t *sl = lock;

	switch (mode) {
	case 0:
		write_seqlock(sl);
		copy_words(data, words);
		write_sequnlock(sl);
		break;
	case 1:
		write_seqlock_bh(sl);
		copy_words(data, words);
		write_sequnlock_bh(sl);
		break;
	case 2:
		write_seqlock_irq(sl);
		copy_words(data, words);
		write_sequnlock_irq(sl);
		break;
	default:
		write_seqlock_irqsave(sl, flags);
		copy_words(data, words);
		write_sequnlock_irqrestore(sl, flags);
		break;
	}
}

void quiesce_kunit_seq_read(const void *lock, const u64 *data, u64 *words)
{
	const seqlock_t *sl = lock;
	unsigned int start;

	do {
		start = read_seqbegin(sl);
		copy_words(words, data);
	} while (read_seqretry(sl, start));
}

void quiesce_kunit_seq_read_excl(void *lock, const u64 *data, u64 *words, int mode)
{
	unsigned long flags;
	seqlock_t *sl = lock;

	switch (mode) {
	case 0:
		read_seqlock_excl(sl);
		copy_words(words, data);
		read_sequnlock_excl(sl);
		break;
	case 1:
		read_seqlock_excl_bh(sl);
		copy_words(words, data);
		read_sequnlock_excl_bh(sl);
		break;
	case 2:
		read_seqlock_excl_irq(sl);
		copy_words(words, data);
		read_sequnlock_excl_irq(sl);
		break;
	default:
		read_seqlock_excl_irqsave(sl, flags);
		copy_words(words, data);
		read_sequnlock_excl_irqrestore(sl, flags);
		break;
	}
}
