// SPDX-License-Identifier: GPL-2.0
/*
 * Our barrier, by libquiesce as programs use it.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "barrier.h"
#include "quiesce-group.h"
#include "scheme.h"

static void *pair_create(unsigned int parties)
{
	Barrier *b;
	int err;

	if (parties != 2) {
		errno = EINVAL;
		return NULL;
	}
	b = malloc(sizeof(*b));
	if (!b)
		return NULL;
	*b = (Barrier)BARRIER_NULL;
	err = barrier_create(b);
	if (err < 0) {
		errno = -err;
		free(b);
		return NULL;
	}
	return b;
}

static int pair_join(void *s, unsigned int party)
{
	barrier_set_role(s, party ? BARRIER_CHILD : BARRIER_PARENT);
	return 0;
}

static int pair_round(void *s, unsigned int party)
{
	(void)party;
	return barrier_place_and_sync(s) ? 0 : -ECANCELED;
}

static void pair_destroy(void *s)
{
	barrier_destroy(s);
	free(s);
}

const struct scheme scheme_pair = {
	.name = "quiesce pair",
	.create = pair_create,
	.join = pair_join,
	.round = pair_round,
	.destroy = pair_destroy,
};

/* parties[] is what group_full_create() made; else a process has its own in me. */
struct group {
	int group;
	int me;
	unsigned int full;
	int parties[];
};

static void group_destroy(void *s)
{
	struct group *g = s;

	while (g->full)
		close(g->parties[--g->full]);
	if (g->me >= 0)
		close(g->me);
	if (g->group >= 0)
		close(g->group);
	free(g);
}

static void *group_create(unsigned int parties)
{
	struct group *g = malloc(sizeof(*g) + parties * sizeof(g->parties[0]));

	if (!g)
		return NULL;
	g->me = -1;
	g->full = 0;
	g->group = quiesce_group_create(parties, parties, 0);
	if (g->group < 0) {
		errno = -g->group;
		free(g);
		return NULL;
	}
	return g;
}

static int group_join(void *s, unsigned int party)
{
	struct group *g = s;

	(void)party;
	g->me = quiesce_group_join(g->group, 0, NULL);
	if (g->me < 0)
		return g->me;
	close(g->group);
	g->group = -1;
	return 0;
}

static int group_round(void *s, unsigned int party)
{
	struct group *g = s;
	int ret = quiesce_group_arrive_and_wait(g->me, NULL, CLOCK_MONOTONIC, NULL);

	(void)party;
	return ret < 0 ? ret : 0;
}

const struct scheme scheme_group = {
	.name = "quiesce group",
	.create = group_create,
	.join = group_join,
	.round = group_round,
	.destroy = group_destroy,
};

static void *group_full_create(unsigned int parties)
{
	struct group *g = group_create(parties);
	int fd;

	while (g && g->full < parties) {
		fd = quiesce_group_join(g->group, 0, NULL);
		if (fd < 0) {
			group_destroy(g);
			errno = -fd;
			return NULL;
		}
		g->parties[g->full++] = fd;
	}
	return g;
}

const struct scheme scheme_group_full = {
	.name = "quiesce group with all its parties",
	.create = group_full_create,
	.destroy = group_destroy,
};
