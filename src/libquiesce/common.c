// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "common.h"

int quiesce__open_device(void)
{
	int fd = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void quiesce__close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
	errno = saved;
}

int quiesce__set_deadline(struct quiesce_wait *wait, clockid_t clock,
			  const struct timespec *abstime)
{
	switch (clock) {
	case CLOCK_MONOTONIC:
		break;
	case CLOCK_REALTIME:
		wait->flags |= QUIESCE_WAIT_REALTIME;
		break;
	case CLOCK_BOOTTIME:
		wait->flags |= QUIESCE_WAIT_BOOTTIME;
		break;
	default:
		return -EINVAL;
	}

	if (!abstime) {
		wait->deadline = QUIESCE_FOREVER;
		return 0;
	}
	if (abstime->tv_nsec < 0 || abstime->tv_nsec >= (long)NSEC_PER_SEC)
		return -EINVAL;
	if (abstime->tv_sec < 0)
		wait->deadline = QUIESCE_NOW;
	else if ((uint64_t)abstime->tv_sec >= QUIESCE_FOREVER / NSEC_PER_SEC)
		wait->deadline = QUIESCE_FOREVER;
	else
		wait->deadline = abstime->tv_sec * NSEC_PER_SEC + abstime->tv_nsec;
	return 0;
}

/* Why something ended, in words. */
char *quiesce_cause_text(const struct quiesce_cause *cause, char *buf, size_t size)
{
	char who[48];

	if (cause->pid)
		snprintf(who, sizeof(who), "process %d", cause->pid);
	else if (cause->party != QUIESCE_NOBODY)
		snprintf(who, sizeof(who), "party %u", cause->party);
	else
		snprintf(who, sizeof(who), "somebody");

	switch (cause->cause) {
	case QUIESCE_CAUSE_NONE:
		snprintf(buf, size, "nothing has ended");
		break;
	case QUIESCE_CAUSE_ABORT:
		snprintf(buf, size, "%s aborted with code %llu", who,
			 (unsigned long long)cause->code);
		break;
	case QUIESCE_CAUSE_TIMEOUT:
		snprintf(buf, size, "%s would not wait any longer", who);
		break;
	case QUIESCE_CAUSE_CLOSE:
		snprintf(buf, size, "%s closed its descriptor", who);
		break;
	case QUIESCE_CAUSE_EXEC:
		snprintf(buf, size, "%s executed another program", who);
		break;
	case QUIESCE_CAUSE_EXIT:
		snprintf(buf, size, "%s exited with status %d", who, cause->status);
		break;
	case QUIESCE_CAUSE_SIGNAL:
		snprintf(buf, size, "%s was killed by signal %d (%s)", who, cause->status,
			 strsignal(cause->status));
		break;
	case QUIESCE_CAUSE_UNCLAIMED:
		snprintf(buf, size, "nobody can join any more");
		break;
	default:
		snprintf(buf, size, "%s ended for reason %u", who, cause->cause);
	}
	return buf;
}
