/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A barrier between processes. The frame creates it and forks the parties, each of
 * which joins, does rounds and leaves. quiesce and the baselines implement the same
 * functions.
 */
#ifndef SCHEME_H
#define SCHEME_H

#include <linux/types.h>

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

/*
 * The time of n arrivals of one side of a pair while the other side has so many
 * threads in a wait, or so many epoll descriptors that watch it.
 */
__u64 measure_waiters(const struct scheme *none, unsigned int waiters, unsigned int cpus, __u64 n);
__u64 measure_pollers(const struct scheme *none, unsigned int pollers, unsigned int cpus, __u64 n);

#endif
