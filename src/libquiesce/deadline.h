/* SPDX-License-Identifier: GPL-2.0 */
/* Inside libquiesce: a clock's time as the kernel's deadline. Not installed. */
#ifndef _QUIESCE_DEADLINE_H
#define _QUIESCE_DEADLINE_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

#include "quiesce.h"

/* Fill in the deadline and the clock's flag; -EINVAL for what is neither. */
static inline int set_deadline(struct quiesce_wait *wait, clockid_t clock,
			       const struct timespec *abstime)
{
	const uint64_t nsec_per_sec = 1000000000;

	if (clock == CLOCK_REALTIME)
		wait->flags |= QUIESCE_WAIT_REALTIME;
	else if (clock != CLOCK_MONOTONIC)
		return -EINVAL;

	if (!abstime) {
		wait->deadline = QUIESCE_FOREVER;
		return 0;
	}
	if (abstime->tv_nsec < 0 || abstime->tv_nsec >= (long)nsec_per_sec)
		return -EINVAL;
	if (abstime->tv_sec < 0)
		wait->deadline = QUIESCE_NOW;
	else if ((uint64_t)abstime->tv_sec >= QUIESCE_FOREVER / nsec_per_sec)
		wait->deadline = QUIESCE_FOREVER;
	else
		wait->deadline = abstime->tv_sec * nsec_per_sec + abstime->tv_nsec;
	return 0;
}

#endif /* _QUIESCE_DEADLINE_H */
