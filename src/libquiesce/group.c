// SPDX-License-Identifier: GPL-2.0
/* Groups of /dev/quiesce: one function a command. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "quiesce-group.h"
#include "deadline.h"

static int call(int fd, unsigned long cmd, void *args)
{
	return ioctl(fd, cmd, args) < 0 ? -errno : 0;
}

int quiesce_group_create(unsigned int parties, unsigned int max_parties, unsigned int flags)
{
	struct quiesce_group group = {
		.flags = flags,
		.parties = parties,
		.max_parties = max_parties,
	};
	int dev, err;

	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	err = call(dev, QUIESCE_IOC_GROUP, &group);
	close(dev);
	return err ? err : group.fd;
}

int quiesce_group_join(int group, unsigned int flags, struct quiesce_join *join)
{
	struct quiesce_join own;
	int err;

	if (!join)
		join = &own;
	memset(join, 0, sizeof(*join));
	join->flags = flags;
	err = call(group, QUIESCE_IOC_JOIN, join);
	return err ? err : join->fd;
}

int quiesce_group_arrive(int party, uint64_t *ticket)
{
	struct quiesce_arrive arrive = { .count = 1 };
	int err = call(party, QUIESCE_IOC_ARRIVE, &arrive);

	if (!err && ticket)
		*ticket = arrive.ticket;
	return err;
}

int quiesce_group_arrive_and_drop(int party)
{
	struct quiesce_arrive arrive = { .count = 1, .flags = QUIESCE_ARRIVE_DROP };

	return call(party, QUIESCE_IOC_ARRIVE, &arrive);
}

static int do_wait(int party, unsigned long cmd, struct quiesce_wait *wait, clockid_t clock,
		   const struct timespec *abstime)
{
	int err = set_deadline(wait, clock, abstime);

	if (!err)
		err = call(party, cmd, wait);
	return err ? err : !!(wait->result & QUIESCE_RESULT_LEADER);
}

static int wait_phase(int party, uint64_t ticket, unsigned int flags, struct quiesce_wait *wait,
		      clockid_t clock, const struct timespec *abstime)
{
	struct quiesce_wait own;

	if (!wait)
		wait = &own;
	memset(wait, 0, sizeof(*wait));
	wait->kind = QUIESCE_WAIT_PHASE;
	wait->flags = flags;
	wait->ticket = ticket;
	return do_wait(party, QUIESCE_IOC_WAIT, wait, clock, abstime);
}

int quiesce_group_wait(int party, uint64_t ticket, struct quiesce_wait *wait, clockid_t clock,
		       const struct timespec *abstime)
{
	return wait_phase(party, ticket, 0, wait, clock, abstime);
}

int quiesce_group_wait_or_break(int party, uint64_t ticket, struct quiesce_wait *wait,
				clockid_t clock, const struct timespec *abstime)
{
	return wait_phase(party, ticket, QUIESCE_WAIT_BREAK, wait, clock, abstime);
}

int quiesce_group_arrive_and_wait(int party, struct quiesce_wait *wait, clockid_t clock,
				  const struct timespec *abstime)
{
	struct quiesce_wait own;
	bool keeps_ticket = wait;
	int err;

	/* A timeout would leave an arrival that nobody can wait for. */
	if (!keeps_ticket && abstime)
		return -EINVAL;
	if (!keeps_ticket)
		wait = &own;
	memset(wait, 0, sizeof(*wait));
	wait->kind = QUIESCE_WAIT_PHASE;
	wait->count = 1;
	do {
		/* The struct has the ticket: the wait goes on, and nobody arrives again. */
		err = do_wait(party, QUIESCE_IOC_ARRIVE_WAIT, wait, clock, abstime);
	} while (err == -EINTR && !keeps_ticket);
	return err;
}

int quiesce_group_leave(int party)
{
	return call(party, QUIESCE_IOC_LEAVE, NULL);
}

int quiesce_group_abort(int fd, uint64_t code)
{
	struct quiesce_abort args = { .code = code };

	return call(fd, QUIESCE_IOC_ABORT, &args);
}

int quiesce_group_reset(int group, uint64_t *phase)
{
	struct quiesce_reset reset = {};
	int err = call(group, QUIESCE_IOC_RESET, &reset);

	if (!err && phase)
		*phase = reset.phase;
	return err;
}

int quiesce_group_status(int fd, struct quiesce_status *status, uint64_t *late,
			 unsigned int words)
{
	memset(status, 0, sizeof(*status));
	status->late = (uintptr_t)late;
	status->late_words = words;
	return call(fd, QUIESCE_IOC_STATUS, status);
}

int quiesce_group_member(int fd, unsigned int party, struct quiesce_member *member)
{
	memset(member, 0, sizeof(*member));
	member->party = party;
	return call(fd, QUIESCE_IOC_MEMBER, member);
}
