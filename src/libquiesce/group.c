// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Groups of /dev/quiesce: one function a command. */
#define _GNU_SOURCE
#include <sys/ioctl.h>

#include "common.h"
#include "quiesce-group.h"

static int call(int fd, unsigned long cmd, void *args)
{
	return ioctl(fd, cmd, args) < 0 ? -errno : 0;
}

int quiesce_group_create_at(int device, unsigned int parties, unsigned int max_parties,
			    unsigned int flags)
{
	struct quiesce_group group = {
		.flags = flags,
		.parties = parties,
		.max_parties = max_parties,
	};
	int err = call(device, QUIESCE_IOC_GROUP, &group);

	return err ? err : group.fd;
}

int quiesce_group_create(unsigned int parties, unsigned int max_parties, unsigned int flags)
{
	int device = quiesce__open_device(), ret;

	if (device < 0)
		return device;
	ret = quiesce_group_create_at(device, parties, max_parties, flags);
	quiesce__close_fd(&device);
	return ret;
}

int quiesce_group_join_sized(int group, unsigned int flags, struct quiesce_join *join,
			     size_t size)
{
	struct quiesce_join own = { .flags = flags, .fd = -1 };
	int err = call(group, QUIESCE_IOC_JOIN, &own);

	give(join, size, &own, sizeof(own));
	return err ? err : own.fd;
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
	int err = quiesce__set_deadline(wait, clock, abstime);

	if (!err)
		err = call(party, cmd, wait);
	return err ? err : !!(wait->result & QUIESCE_RESULT_LEADER);
}

static int wait_phase(int party, uint64_t ticket, unsigned int flags, struct quiesce_wait *wait,
		      size_t size, clockid_t clock, const struct timespec *abstime)
{
	struct quiesce_wait own = {
		.kind = QUIESCE_WAIT_PHASE,
		.flags = flags,
		.ticket = ticket,
	};
	int ret = do_wait(party, QUIESCE_IOC_WAIT, &own, clock, abstime);

	give(wait, size, &own, sizeof(own));
	return ret;
}

int quiesce_group_wait_sized(int party, uint64_t ticket, struct quiesce_wait *wait, size_t size,
			     clockid_t clock, const struct timespec *abstime)
{
	return wait_phase(party, ticket, 0, wait, size, clock, abstime);
}

int quiesce_group_wait_or_break_sized(int party, uint64_t ticket, struct quiesce_wait *wait,
				      size_t size, clockid_t clock,
				      const struct timespec *abstime)
{
	return wait_phase(party, ticket, QUIESCE_WAIT_BREAK, wait, size, clock, abstime);
}

int quiesce_group_arrive_and_wait_sized(int party, struct quiesce_wait *wait, size_t size,
					clockid_t clock, const struct timespec *abstime)
{
	struct quiesce_wait own = {
		.kind = QUIESCE_WAIT_PHASE,
		.count = 1,
	};
	int ret;

	if (!wait && abstime)
		return -EINVAL;
	ret = do_wait(party, QUIESCE_IOC_ARRIVE_WAIT, &own, clock, abstime);
	/* Nobody else would have the ticket. */
	while (!wait && ret == -EINTR)
		ret = wait_phase(party, own.ticket, 0, &own, sizeof(own), clock, NULL);
	give(wait, size, &own, sizeof(own));
	return ret;
}

int quiesce_group_complete(int party, uint64_t ticket)
{
	struct quiesce_complete complete = { .ticket = ticket };

	return call(party, QUIESCE_IOC_COMPLETE, &complete);
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

int quiesce_group_status_sized(int fd, struct quiesce_status *status, size_t size,
			       uint64_t *late, unsigned int words)
{
	struct quiesce_status own = {
		.late = (uintptr_t)late,
		.late_words = words,
	};
	int err = call(fd, QUIESCE_IOC_STATUS, &own);

	give(status, size, &own, sizeof(own));
	return err;
}

int quiesce_group_member_sized(int fd, unsigned int party, struct quiesce_member *member,
			       size_t size)
{
	struct quiesce_member own = { .party = party };
	int err = call(fd, QUIESCE_IOC_MEMBER, &own);

	give(member, size, &own, sizeof(own));
	return err;
}
