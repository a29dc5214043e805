/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Groups: N processes or threads synchronize in phases, and can query which
 * parties are late, which have ended, and why.
 *
 *	int group = quiesce_group_create(4, 4, 0);
 *	... in each of four processes:
 *	int me = quiesce_group_join(group, 0, NULL);
 *	close(group);
 *	for (;;) {
 *		struct quiesce_wait w;
 *		... work ...
 *		ret = quiesce_group_arrive_and_wait(me, &w, CLOCK_MONOTONIC, NULL);
 *		if (ret < 0)
 *			...		// -EOWNERDEAD: w.cause says who
 *		if (ret == 1)
 *			...		// the leader: at most one party at a time
 *	}
 *
 * The group and its parties are descriptors: they can be polled, inherited, and
 * sent over a socket; close(2) ends them. All calls return a negative errno
 * value when they fail; <quiesce.h> says which and when. Several threads may call
 * them on one descriptor, and signal handlers that restore errno may.
 * quiesce_group(3) has the details.
 */
#ifndef _QUIESCE_GROUP_H
#define _QUIESCE_GROUP_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <sys/types.h>

#include "quiesce.h"

/*
 * A program for 32 bits whose time_t has 64 (_TIME_BITS) takes a library that was
 * built in the same way: it does not link with another one.
 */
#ifndef _QUIESCE_TIME
#if defined(_TIME_BITS) && _TIME_BITS == 64 && defined(__TIMESIZE) && __TIMESIZE == 32
#define _QUIESCE_TIME(name) __asm__(#name "_time64")
#else
#define _QUIESCE_TIME(name)
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct timespec;

/*
 * Make a group of @parties seats, which joins may raise to @max_parties (0: as
 * many as @parties). @flags: QUIESCE_GROUP_SHRINK, QUIESCE_GROUP_COMPLETION,
 * QUIESCE_FD_INHERIT. Returns the group's descriptor. Nobody can join once all
 * copies of it are closed. Groups need /dev/quiesce: -ENOENT or the like where it
 * is missing.
 */
int quiesce_group_create(unsigned int parties, unsigned int max_parties, unsigned int flags);

/* The same, on a descriptor of /dev/quiesce that is open already. */
int quiesce_group_create_at(int device, unsigned int parties, unsigned int max_parties,
			    unsigned int flags);

/* Arrive, without waiting, and get a ticket for the end of this phase. */
int quiesce_group_arrive(int party, uint64_t *ticket);

/*
 * Arrive in this phase and have no part in those that follow. The ticket is what
 * quiesce_group_member() has in @count.
 */
int quiesce_group_arrive_and_drop(int party);

/* Give the seat up, arrived or not. */
int quiesce_group_leave(int party);

/*
 * End the phase of @ticket, in a group with QUIESCE_GROUP_COMPLETION. There a wait
 * returns 1 to the leader when all have arrived, with the phase in its ticket, and
 * to the others once the leader has called this. They see what it did before.
 */
int quiesce_group_complete(int party, uint64_t ticket);

/* Break the group, from a party or the group's descriptor. */
int quiesce_group_abort(int fd, uint64_t code);

/*
 * Start anew after a break, or in the middle of a phase. Seats of ended parties are
 * open again or, with QUIESCE_GROUP_SHRINK, are removed.
 */
int quiesce_group_reset(int group, uint64_t *phase);

/*
 * The calls that fill in a struct take the size with which the caller was built, so
 * that a program works with libraries that are older or newer than its header. The
 * calls without _sized, below, pass sizeof() themselves.
 */
int quiesce_group_join_sized(int group, unsigned int flags, struct quiesce_join *join,
			     size_t size);
int quiesce_group_wait_sized(int party, uint64_t ticket, struct quiesce_wait *wait, size_t size,
			     clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_wait_sized);
int quiesce_group_wait_or_break_sized(int party, uint64_t ticket, struct quiesce_wait *wait,
				      size_t size, clockid_t clock,
				      const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_wait_or_break_sized);
int quiesce_group_arrive_and_wait_sized(int party, struct quiesce_wait *wait, size_t size,
					clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_arrive_and_wait_sized);
int quiesce_group_status_sized(int fd, struct quiesce_status *status, size_t size,
			       uint64_t *late, unsigned int words);
int quiesce_group_member_sized(int fd, unsigned int party, struct quiesce_member *member,
			       size_t size);

#ifndef _QUIESCE_NO_INLINE

/*
 * Take a seat. @flags: QUIESCE_BIND_PROCESS, QUIESCE_FD_INHERIT. Returns the
 * party's descriptor; its number and first phase are in @join unless that is
 * NULL.
 */
static inline int quiesce_group_join(int group, unsigned int flags, struct quiesce_join *join)
{
	return quiesce_group_join_sized(group, flags, join, sizeof(*join));
}

/*
 * Wait for the end of the ticket's phase, until @abstime of @clock at the
 * longest; NULL waits without end. Returns 1 to the phase's leader and 0 to the
 * others. @wait, unless it is NULL, has the index, and the cause of a break. A
 * party can wait for its last QUIESCE_OUTCOMES tickets, also after it dropped
 * out or left.
 */
static inline int quiesce_group_wait(int party, uint64_t ticket, struct quiesce_wait *wait,
				     clockid_t clock, const struct timespec *abstime)
{
	return quiesce_group_wait_sized(party, ticket, wait, sizeof(*wait), clock, abstime);
}

/*
 * The same, and a timeout breaks the group, unless the party has left: -ETIMEDOUT
 * here, -ECONNABORTED there.
 * With O_NONBLOCK it fails with -EAGAIN, also after the deadline, and breaks nothing.
 */
static inline int quiesce_group_wait_or_break(int party, uint64_t ticket,
					      struct quiesce_wait *wait, clockid_t clock,
					      const struct timespec *abstime)
{
	return quiesce_group_wait_or_break_sized(party, ticket, wait, sizeof(*wait), clock,
						 abstime);
}

/*
 * Both, in one system call. After -EINTR, -ETIMEDOUT and -EAGAIN (the descriptor
 * has O_NONBLOCK) the party has arrived; go on with quiesce_group_wait() and
 * @wait's ticket, as a second call fails with -EALREADY or arrives in the next
 * phase. Without @wait there would be no ticket: then no signal ends the
 * call, and @abstime has to be NULL (-EINVAL). With O_NONBLOCK the call returns
 * nevertheless; the ticket is then what quiesce_group_member() has in @count.
 */
static inline int quiesce_group_arrive_and_wait(int party, struct quiesce_wait *wait,
						clockid_t clock,
						const struct timespec *abstime)
{
	return quiesce_group_arrive_and_wait_sized(party, wait, sizeof(*wait), clock, abstime);
}

/*
 * How things stand. @late has room for @words words of the bitmap of late
 * parties; it may be NULL, with 0 words. status->late_words says how many words
 * the whole bitmap has; words beyond those are not written.
 */
static inline int quiesce_group_status(int fd, struct quiesce_status *status, uint64_t *late,
				       unsigned int words)
{
	return quiesce_group_status_sized(fd, status, sizeof(*status), late, words);
}

/* How party @party stands. */
static inline int quiesce_group_member(int fd, unsigned int party,
				       struct quiesce_member *member)
{
	return quiesce_group_member_sized(fd, party, member, sizeof(*member));
}

#else

int quiesce_group_join(int group, unsigned int flags, struct quiesce_join *join);
int quiesce_group_wait(int party, uint64_t ticket, struct quiesce_wait *wait, clockid_t clock,
		       const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_wait);
int quiesce_group_wait_or_break(int party, uint64_t ticket, struct quiesce_wait *wait,
				clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_wait_or_break);
int quiesce_group_arrive_and_wait(int party, struct quiesce_wait *wait, clockid_t clock,
				  const struct timespec *abstime)
	_QUIESCE_TIME(quiesce_group_arrive_and_wait);
int quiesce_group_status(int fd, struct quiesce_status *status, uint64_t *late,
			 unsigned int words);
int quiesce_group_member(int fd, unsigned int party, struct quiesce_member *member);

#endif

/* A cause in words; see barrier.h. */
char *quiesce_cause_text(const struct quiesce_cause *cause, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* _QUIESCE_GROUP_H */
