// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The inline functions of the headers as symbols, for callers that have no C
 * compiler at hand. They know the first version of each struct.
 */
#define _QUIESCE_NO_INLINE
#include "barrier.h"
#include "quiesce-group.h"

#define SIZE_TO(type, last) (offsetof(struct type, last) + sizeof(((struct type *)0)->last))
#define JOIN_SIZE	SIZE_TO(quiesce_join, phase)
#define WAIT_SIZE	SIZE_TO(quiesce_wait, cause)
#define STATUS_SIZE	SIZE_TO(quiesce_status, cause)
#define MEMBER_SIZE	SIZE_TO(quiesce_member, cause)

bool barrier_i_aborted(Barrier *b)
{
	return b->barriers == BARRIER_I_ABORTED || b->barriers == BARRIER_WE_ABORTED;
}

bool barrier_they_aborted(Barrier *b)
{
	return b->barriers == BARRIER_THEY_ABORTED || b->barriers == BARRIER_WE_ABORTED;
}

bool barrier_we_aborted(Barrier *b)
{
	return b->barriers == BARRIER_WE_ABORTED;
}

bool barrier_is_aborted(Barrier *b)
{
	return barrier_i_aborted(b) || barrier_they_aborted(b);
}

void barrier_destroyp(Barrier **b)
{
	if (*b)
		*b = barrier_destroy(*b);
}

int barrier_status(Barrier *b, struct quiesce_status *status)
{
	return barrier_status_sized(b, status, STATUS_SIZE);
}

int quiesce_group_join(int group, unsigned int flags, struct quiesce_join *join)
{
	return quiesce_group_join_sized(group, flags, join, JOIN_SIZE);
}

int quiesce_group_wait(int party, uint64_t ticket, struct quiesce_wait *wait, clockid_t clock,
		       const struct timespec *abstime)
{
	return quiesce_group_wait_sized(party, ticket, wait, WAIT_SIZE, clock, abstime);
}

int quiesce_group_wait_or_break(int party, uint64_t ticket, struct quiesce_wait *wait,
				clockid_t clock, const struct timespec *abstime)
{
	return quiesce_group_wait_or_break_sized(party, ticket, wait, WAIT_SIZE, clock, abstime);
}

int quiesce_group_arrive_and_wait(int party, struct quiesce_wait *wait, clockid_t clock,
				  const struct timespec *abstime)
{
	return quiesce_group_arrive_and_wait_sized(party, wait, WAIT_SIZE, clock, abstime);
}

int quiesce_group_status(int fd, struct quiesce_status *status, uint64_t *late,
			 unsigned int words)
{
	return quiesce_group_status_sized(fd, status, STATUS_SIZE, late, words);
}

int quiesce_group_member(int fd, unsigned int party, struct quiesce_member *member)
{
	return quiesce_group_member_sized(fd, party, member, MEMBER_SIZE);
}
