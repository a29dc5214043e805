// SPDX-License-Identifier: GPL-2.0
/*
 * The baselines of quiesce's barrier: a barrier of eventfds and a pipe, written
 * from the description of systemd's, a process-shared pthread_barrier_t, and two
 * pipes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/types.h>

#include "scheme.h"

/*
 * Two eventfds, one per party, count arrivals; the pipe carries no data and only
 * reports that the other party has ended. ahead is the number of own arrivals minus
 * the number of arrivals read from the other party; abortion is the largest number.
 */
struct eventfd_barrier {
	int me;
	int them;
	int pipe[2];
	__s64 ahead;
	bool aborted;
};

static void eventfd_destroy(void *s)
{
	struct eventfd_barrier *b = s;

	close(b->me);
	close(b->them);
	if (b->pipe[0] >= 0)
		close(b->pipe[0]);
	if (b->pipe[1] >= 0)
		close(b->pipe[1]);
	free(b);
}

static void *eventfd_create(unsigned int parties)
{
	struct eventfd_barrier *b;

	if (parties != 2) {
		errno = EINVAL;
		return NULL;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->pipe[0] = -1;
	b->pipe[1] = -1;
	b->me = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->them = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->me < 0 || b->them < 0 || pipe2(b->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		eventfd_destroy(b);
		return NULL;
	}
	return b;
}

static int eventfd_join(void *s, unsigned int party)
{
	struct eventfd_barrier *b = s;
	int swap = b->me;

	/* The creator keeps the read end of the pipe, the other party the write end. */
	close(b->pipe[!party]);
	b->pipe[!party] = -1;
	if (party) {
		b->me = b->them;
		b->them = swap;
	}
	return 0;
}

static bool eventfd_place(struct eventfd_barrier *b)
{
	__u64 one = 1;

	if (b->aborted)
		return false;
	if (write(b->me, &one, sizeof(one)) != sizeof(one))
		b->aborted = true;
	b->ahead++;
	return true;
}

static bool eventfd_sync(struct eventfd_barrier *b)
{
	while (!b->aborted && b->ahead > 0) {
		struct pollfd fds[] = {
			{ .fd = b->pipe[0] >= 0 ? b->pipe[0] : b->pipe[1], .events = POLLHUP },
			{ .fd = b->them, .events = POLLIN },
		};
		__u64 places;

		if (ppoll(fds, 2, NULL, NULL) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			b->aborted = true;
		} else if (fds[1].revents) {
			if (read(b->them, &places, sizeof(places)) != sizeof(places))
				continue;
			if (places >= LLONG_MAX)
				b->aborted = true;
			else
				b->ahead -= places;
		} else if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) {
			b->aborted = true;
		}
	}
	return !b->aborted;
}

static int eventfd_round(void *s, unsigned int party)
{
	(void)party;
	if (!eventfd_place(s) || !eventfd_sync(s))
		return -ECANCELED;
	return 0;
}

const struct scheme scheme_eventfd = {
	.name = "eventfds and a pipe",
	.create = eventfd_create,
	.join = eventfd_join,
	.round = eventfd_round,
	.destroy = eventfd_destroy,
};

struct pipes {
	int fds[2][2];
};

static void pipe_destroy(void *s)
{
	struct pipes *p = s;
	int i;

	for (i = 0; i < 4; i++)
		if (p->fds[i / 2][i % 2] >= 0)
			close(p->fds[i / 2][i % 2]);
	free(p);
}

static void *pipe_create(unsigned int parties)
{
	struct pipes *p;

	if (parties != 2) {
		errno = EINVAL;
		return NULL;
	}
	p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	memset(p->fds, -1, sizeof(p->fds));
	if (pipe2(p->fds[0], O_CLOEXEC) < 0 || pipe2(p->fds[1], O_CLOEXEC) < 0) {
		pipe_destroy(p);
		return NULL;
	}
	return p;
}

static int pipe_join(void *s, unsigned int party)
{
	struct pipes *p = s;

	/* Party n reads from pipe n. */
	close(p->fds[party][1]);
	close(p->fds[!party][0]);
	p->fds[party][1] = -1;
	p->fds[!party][0] = -1;
	return 0;
}

static int pipe_round(void *s, unsigned int party)
{
	struct pipes *p = s;
	char c = 0;

	if (write(p->fds[!party][1], &c, 1) != 1 || read(p->fds[party][0], &c, 1) != 1)
		return -ECANCELED;
	return 0;
}

const struct scheme scheme_pipe = {
	.name = "two pipes",
	.create = pipe_create,
	.join = pipe_join,
	.round = pipe_round,
	.destroy = pipe_destroy,
};

static void *pthread_create_barrier(unsigned int parties)
{
	pthread_barrierattr_t attr;
	pthread_barrier_t *b;

	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	errno = pthread_barrier_init(b, &attr, parties);
	pthread_barrierattr_destroy(&attr);
	if (errno) {
		munmap(b, sizeof(*b));
		return NULL;
	}
	return b;
}

static int pthread_join_barrier(void *s, unsigned int party)
{
	(void)s;
	(void)party;
	return 0;
}

static int pthread_round(void *s, unsigned int party)
{
	int err = pthread_barrier_wait(s);

	(void)party;
	return err == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : -err;
}

static void pthread_destroy_barrier(void *s)
{
	/* Shared memory goes with its last user; destroying waits for all to have left. */
	munmap(s, sizeof(pthread_barrier_t));
}

const struct scheme scheme_pthread = {
	.name = "pthread_barrier_t",
	.create = pthread_create_barrier,
	.join = pthread_join_barrier,
	.round = pthread_round,
	.destroy = pthread_destroy_barrier,
};
