// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The same barrier without /dev/quiesce: each side writes its places to an
 * separate eventfd and reads the other's. Nothing is ever written to the pipe: when
 * its ends are closed, the other side has ended.
 *
 * An abort is a place of INT64_MAX, so that it counts however many places it
 * adds to.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <sys/eventfd.h>

#include "common.h"

int barrier__fallback_create(Barrier *b)
{
	int err;

	b->me = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->me >= 0)
		b->them = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->them >= 0 && pipe2(b->pipe, O_CLOEXEC | O_NONBLOCK) == 0)
		return 0;
	err = -errno;
	barrier_destroy(b);
	return err;
}

/* The parent keeps the read end, which hangs up; the child's write end fails. */
void barrier__fallback_set_role(Barrier *b, unsigned int role)
{
	must(b->pipe[0] >= 0 && b->pipe[1] >= 0);

	quiesce__close_fd(&b->pipe[role == BARRIER_PARENT ? 1 : 0]);
}

void barrier__fallback_write(Barrier *b, uint64_t places)
{
	ssize_t n;

	do {
		n = write(b->me, &places, sizeof(places));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		barrier__fail(b);
	else if (places < FALLBACK_ABORTION)
		b->barriers += places;
	else
		b->barriers = barrier_they_aborted(b) ? BARRIER_WE_ABORTED : BARRIER_I_ABORTED;
}

static void read_places(Barrier *b, uint64_t places)
{
	if (places >= FALLBACK_ABORTION)
		b->barriers = barrier_i_aborted(b) ? BARRIER_WE_ABORTED : BARRIER_THEY_ABORTED;
	else if (!barrier_is_aborted(b))
		b->barriers -= places;
}

/*
 * How long poll() may sleep; NULL for no end. A clock that can be set, or that
 * goes on during suspend, is asked again once a second.
 */
static const struct timespec *time_left(clockid_t clock, uint64_t deadline, struct timespec *left)
{
	struct timespec now;
	uint64_t ns;

	if (deadline == QUIESCE_FOREVER)
		return NULL;
	clock_gettime(clock, &now);
	ns = now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
	ns = deadline > ns ? deadline - ns : 0;
	if (clock != CLOCK_MONOTONIC && ns > NSEC_PER_SEC)
		ns = NSEC_PER_SEC;
	left->tv_sec = ns / NSEC_PER_SEC;
	left->tv_nsec = ns % NSEC_PER_SEC;
	return left;
}

/* Until this many of this side's places are ahead, or fewer, a wait goes on. */
static int64_t goal(const Barrier *b, unsigned int kind)
{
	switch (kind) {
	case QUIESCE_WAIT_NEXT:
		return b->barriers - 1;
	case QUIESCE_WAIT_SYNC_NEXT:
		return b->barriers > 0 ? b->barriers - 1 : 0;
	case QUIESCE_WAIT_SYNC:
		return 0;
	default:
		return BARRIER_THEY_ABORTED;
	}
}

int barrier__fallback_wait(Barrier *b, unsigned int kind, clockid_t clock, uint64_t deadline)
{
	const int64_t until = goal(b, kind);

	while (b->barriers > until) {
		/* The pipe is polled first: a side writes its places before it hangs up. */
		struct pollfd fds[2] = {
			{ .fd = b->pipe[b->pipe[0] >= 0 ? 0 : 1], .events = POLLHUP },
			{ .fd = b->them, .events = POLLIN },
		};
		struct timespec buf;
		const struct timespec *left = time_left(clock, deadline, &buf);
		uint64_t places;
		int n = ppoll(fds, 2, left, NULL);

		if (n < 0 && errno == EINTR)
			return -EINTR;
		if (n < 0) {
			barrier__fail(b);
		} else if (fds[1].revents) {
			/* The places of a side are read before its end takes effect. */
			if (read(b->them, &places, sizeof(places)) == sizeof(places))
				read_places(b, places);
			else if (errno != EAGAIN && errno != EINTR)
				barrier__fail(b);
		} else if (fds[0].revents) {
			read_places(b, FALLBACK_ABORTION);
		} else if (left && !left->tv_sec && !left->tv_nsec) {
			return -ETIMEDOUT;
		}
	}
	return 0;
}
