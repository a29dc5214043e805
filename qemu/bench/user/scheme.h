/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A barrier between processes. The frame creates it and forks the parties, each of
 * which joins, does rounds and leaves. quiesce and the baselines implement the same
 * functions.
 */
#ifndef SCHEME_H
#define SCHEME_H

struct scheme {
	const char *name;
	/* Before the fork. Gives NULL, with errno, if it cannot be made. */
	void *(*create)(unsigned int parties);
	/* After the fork, in each process; party 0 is the one that created it. */
	int (*join)(void *s, unsigned int party);
	int (*round)(void *s, unsigned int party);
	void (*destroy)(void *s);
};

extern const struct scheme scheme_pair;		/* ours, two parties */
extern const struct scheme scheme_group;	/* ours, any number */
extern const struct scheme scheme_group_full;	/* joined already, by one process */
extern const struct scheme scheme_eventfd;	/* eventfds and a pipe, two parties */
extern const struct scheme scheme_pipe;		/* two pipes, two parties */
extern const struct scheme scheme_pthread;	/* pthread_barrier_t, any number */

#endif
