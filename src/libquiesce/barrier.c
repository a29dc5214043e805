// SPDX-License-Identifier: GPL-2.0
/*
 * The calls of systemd's barrier.h on a pair of /dev/quiesce.
 *
 * Nothing is kept here but what the predicates answer with: the aborts that the
 * last call learned of. The counts are the kernel's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "barrier.h"
#include "deadline.h"

#define WE_ABORTED (QUIESCE_I_ABORTED | QUIESCE_THEY_ABORTED)

/* As in systemd, a call that cannot be meant is the end of the program. */
#define must(cond) do {								\
	if (!(cond)) {								\
		fprintf(stderr, "libquiesce: %s: not so: %s\n", __func__, #cond); \
		abort();							\
	}									\
} while (0)

static void close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
	errno = saved;
}

int barrier_create(Barrier *b)
{
	struct quiesce_pair pair = {};
	int dev, err = 0;

	must(b);

	b->me = -EBADF;
	b->them = -EBADF;
	b->aborted = 0;

	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -errno;
	if (ioctl(dev, QUIESCE_IOC_PAIR, &pair) < 0)
		err = -errno;
	close(dev);
	if (err)
		return err;

	b->me = pair.fd[BARRIER_PARENT];
	b->them = pair.fd[BARRIER_CHILD];
	return 0;
}

Barrier *barrier_destroy(Barrier *b)
{
	if (b) {
		close_fd(&b->me);
		close_fd(&b->them);
		b->aborted = 0;
	}
	return NULL;
}

void barrier_set_role(Barrier *b, unsigned int role)
{
	struct quiesce_bind bind = {};
	int fd;

	must(b);
	must(role == BARRIER_PARENT || role == BARRIER_CHILD);
	must(b->me >= 0 && b->them >= 0);

	if (role == BARRIER_CHILD) {
		fd = b->me;
		b->me = b->them;
		b->them = fd;
	}
	close_fd(&b->them);
	/* Only so that status and fdinfo name the right process. */
	(void)!ioctl(b->me, QUIESCE_IOC_BIND, &bind);
}

int barrier_adopt(Barrier *b, int fd)
{
	struct quiesce_status status = {};

	must(b);

	if (ioctl(fd, QUIESCE_IOC_STATUS, &status) < 0)
		return -errno;
	if (status.kind != QUIESCE_KIND_PAIR)
		return -EINVAL;
	b->me = fd;
	b->them = -EBADF;
	b->aborted = status.view;
	return 0;
}

/*
 * After an error that is no outcome nobody can say what the other side knows.
 * It ends here, and the other side sees that as the end of this one.
 */
static void fail(Barrier *b)
{
	close_fd(&b->me);
	close_fd(&b->them);
	b->aborted = WE_ABORTED;
}

/* The outcomes of a call, as against its failures. */
static bool is_abort(int err)
{
	return err == ECONNABORTED || err == EOWNERDEAD || err == ESHUTDOWN;
}

bool barrier_place(Barrier *b)
{
	struct quiesce_arrive arrive = { .count = 1 };

	must(b);

	if (barrier_is_aborted(b))
		return false;
	if (ioctl(b->me, QUIESCE_IOC_ARRIVE, &arrive) == 0)
		return true;
	if (is_abort(errno)) {
		/* Another holder of this side has learned of it, or called it. */
		b->aborted |= errno == ESHUTDOWN ? QUIESCE_I_ABORTED : QUIESCE_THEY_ABORTED;
		return false;
	}
	fail(b);
	return true;
}

bool barrier_abort_code(Barrier *b, uint64_t code)
{
	struct quiesce_abort args = { .code = code };

	must(b);

	if (!barrier_i_aborted(b)) {
		if (ioctl(b->me, QUIESCE_IOC_ABORT, &args) == 0)
			b->aborted = args.view;
		else
			fail(b);
	}
	return !barrier_they_aborted(b);
}

bool barrier_abort(Barrier *b)
{
	return barrier_abort_code(b, 0);
}

/*
 * One wait, which also places first if @cmd says so. Returns 0 when the kernel
 * has told an outcome, which is in b->aborted.
 */
static int do_wait(Barrier *b, unsigned long cmd, unsigned int kind, clockid_t clock,
		   const struct timespec *abstime)
{
	struct quiesce_wait wait = {
		.kind = kind,
		.count = cmd == QUIESCE_IOC_ARRIVE_WAIT,
	};
	int err = set_deadline(&wait, clock, abstime);

	if (err)
		return err;
	if (ioctl(b->me, cmd, &wait) == 0 || is_abort(errno)) {
		b->aborted = wait.view;
		return 0;
	}
	err = -errno;
	if (err != -EINTR && err != -ETIMEDOUT)
		fail(b);
	return err;
}

/* As systemd's waits: no signal ends them. A place is not repeated. */
static void wait_on(Barrier *b, unsigned long cmd, unsigned int kind)
{
	while (do_wait(b, cmd, kind, CLOCK_MONOTONIC, NULL) == -EINTR)
		cmd = QUIESCE_IOC_WAIT;
}

bool barrier_wait_next(Barrier *b)
{
	must(b);

	if (!barrier_is_aborted(b))
		wait_on(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_NEXT);
	return !barrier_is_aborted(b);
}

bool barrier_wait_abortion(Barrier *b)
{
	must(b);

	if (!barrier_they_aborted(b))
		wait_on(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_ABORTION);
	return !barrier_i_aborted(b);
}

bool barrier_sync_next(Barrier *b)
{
	must(b);

	if (!barrier_is_aborted(b))
		wait_on(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_SYNC_NEXT);
	return !barrier_is_aborted(b);
}

bool barrier_sync(Barrier *b)
{
	must(b);

	if (!barrier_is_aborted(b))
		wait_on(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_SYNC);
	return !barrier_is_aborted(b);
}

bool barrier_place_and_sync(Barrier *b)
{
	must(b);

	if (!barrier_is_aborted(b))
		wait_on(b, QUIESCE_IOC_ARRIVE_WAIT, QUIESCE_WAIT_SYNC);
	return !barrier_is_aborted(b);
}

static int wait_until(Barrier *b, unsigned long cmd, unsigned int kind, clockid_t clock,
		      const struct timespec *abstime)
{
	int err;

	must(b);

	if (barrier_is_aborted(b))
		return 0;
	err = do_wait(b, cmd, kind, clock, abstime);
	return err ? err : !barrier_is_aborted(b);
}

int barrier_wait_next_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
{
	return wait_until(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_NEXT, clock, abstime);
}

int barrier_sync_next_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
{
	return wait_until(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_SYNC_NEXT, clock, abstime);
}

int barrier_sync_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
{
	return wait_until(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_SYNC, clock, abstime);
}

int barrier_place_and_sync_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
{
	return wait_until(b, QUIESCE_IOC_ARRIVE_WAIT, QUIESCE_WAIT_SYNC, clock, abstime);
}

int barrier_wait_abortion_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
{
	int err = 0;

	must(b);

	if (!barrier_they_aborted(b))
		err = do_wait(b, QUIESCE_IOC_WAIT, QUIESCE_WAIT_ABORTION, clock, abstime);
	return err ? err : !barrier_i_aborted(b);
}

int barrier_bind_process(Barrier *b)
{
	struct quiesce_bind bind = { .flags = QUIESCE_BIND_PROCESS };

	must(b);

	return ioctl(b->me, QUIESCE_IOC_BIND, &bind) < 0 ? -errno : 0;
}

int barrier_status(Barrier *b, struct quiesce_status *status)
{
	must(b);
	must(status);

	memset(status, 0, sizeof(*status));
	return ioctl(b->me, QUIESCE_IOC_STATUS, status) < 0 ? -errno : 0;
}
