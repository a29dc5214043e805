// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The calls of systemd's barrier.h on a pair of /dev/quiesce.
 *
 * Nothing is kept here but what the last call learned: the balance, or the
 * aborts. The counts are the kernel's.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "common.h"

#define WE_ABORTED (QUIESCE_I_ABORTED | QUIESCE_THEY_ABORTED)

/* What the kernel said of this side. */
static void learn(Barrier *b, uint32_t view, int64_t balance)
{
	switch (view & WE_ABORTED) {
	case WE_ABORTED:
		b->barriers = BARRIER_WE_ABORTED;
		break;
	case QUIESCE_I_ABORTED:
		b->barriers = BARRIER_I_ABORTED;
		break;
	case QUIESCE_THEY_ABORTED:
		b->barriers = BARRIER_THEY_ABORTED;
		break;
	default:
		b->barriers = balance;
	}
}

static void clear(Barrier *b)
{
	b->me = -EBADF;
	b->them = -EBADF;
	b->pipe[0] = -EBADF;
	b->pipe[1] = -EBADF;
	b->barriers = 0;
}

int barrier_create_at(Barrier *b, int device)
{
	struct quiesce_pair pair = {};

	must(b);

	clear(b);
	if (device == BARRIER_NO_DEVICE)
		return barrier__fallback_create(b);
	if (ioctl(device, QUIESCE_IOC_PAIR, &pair) < 0)
		return -errno;
	b->me = pair.fd[BARRIER_PARENT];
	b->them = pair.fd[BARRIER_CHILD];
	return 0;
}

int barrier_create(Barrier *b)
{
	int device, err;

	must(b);

	device = quiesce__open_device();
	switch (device) {
	case -ENOENT:	/* the module is not loaded, or its node not in this root */
	case -ENODEV:
	case -ENXIO:
	case -EACCES:	/* the node's mode, or a container's rules */
	case -EPERM:
		return barrier_create_at(b, BARRIER_NO_DEVICE);
	}
	clear(b);
	if (device < 0)
		return device;
	err = barrier_create_at(b, device);
	quiesce__close_fd(&device);
	return err;
}

Barrier *barrier_destroy(Barrier *b)
{
	if (b) {
		barrier__fail(b);
		b->barriers = 0;
	}
	return NULL;
}

void barrier_set_role(Barrier *b, unsigned int role)
{
	struct quiesce_status status = {};
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
	if (is_fallback(b)) {
		barrier__fallback_set_role(b, role);
		return;
	}
	quiesce__close_fd(&b->them);
	/*
	 * Only so that status and fdinfo name the right process. A side that is bound
	 * to its process has the right one, and would not be bound any more.
	 */
	if (ioctl(b->me, QUIESCE_IOC_STATUS, &status) < 0 || !(status.state & QUIESCE_STATE_BOUND))
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
	clear(b);
	b->me = fd;
	learn(b, status.view, status.balance);
	return 0;
}

/*
 * After an error that is no outcome nobody can say what the other side knows.
 * It ends here, and the other side sees that as the end of this one.
 */
void barrier__fail(Barrier *b)
{
	quiesce__close_fd(&b->me);
	quiesce__close_fd(&b->them);
	quiesce__close_fd(&b->pipe[0]);
	quiesce__close_fd(&b->pipe[1]);
	b->barriers = BARRIER_WE_ABORTED;
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
	if (is_fallback(b)) {
		barrier__fallback_write(b, 1);
		return true;
	}
	if (ioctl(b->me, QUIESCE_IOC_ARRIVE, &arrive) == 0) {
		learn(b, arrive.view, arrive.balance);
		return true;
	}
	if (is_abort(errno)) {
		/* Another holder of this side has learned of it, or called it. */
		learn(b, arrive.view, arrive.balance);
		return false;
	}
	barrier__fail(b);
	return true;
}

bool barrier_abort_code(Barrier *b, uint64_t code)
{
	struct quiesce_abort args = { .code = code };

	must(b);

	if (barrier_i_aborted(b))
		return !barrier_they_aborted(b);
	if (is_fallback(b))
		barrier__fallback_write(b, FALLBACK_ABORTION);
	else if (ioctl(b->me, QUIESCE_IOC_ABORT, &args) == 0)
		learn(b, args.view, b->barriers);
	else
		barrier__fail(b);
	return !barrier_they_aborted(b);
}

bool barrier_abort(Barrier *b)
{
	return barrier_abort_code(b, 0);
}

/*
 * One wait, which also places first if @cmd says so. Returns 0 when there is an
 * outcome, which is in b->barriers.
 */
static int do_wait(Barrier *b, unsigned long cmd, unsigned int kind, clockid_t clock,
		   const struct timespec *abstime)
{
	struct quiesce_wait wait = {
		.kind = kind,
		.count = cmd == QUIESCE_IOC_ARRIVE_WAIT,
	};
	int err = quiesce__set_deadline(&wait, clock, abstime);

	if (err)
		return err;
	if (is_fallback(b)) {
		if (cmd == QUIESCE_IOC_ARRIVE_WAIT)
			barrier__fallback_write(b, 1);
		return barrier__fallback_wait(b, kind, clock, wait.deadline);
	}
	if (ioctl(b->me, cmd, &wait) == 0 || is_abort(errno)) {
		learn(b, wait.view, wait.balance);
		return 0;
	}
	err = -errno;
	if (err == -ETIMEDOUT || err == -EAGAIN || err == -EINTR) {
		learn(b, wait.view, wait.balance);
		return err;
	}
	barrier__fail(b);
	return 0;
}

/*
 * Sleeps until there is something to read. The wait that failed with EAGAIN has
 * read all places, so that each level is one of a change that it has not seen.
 * Another holder of this side may read that change: hence the limit.
 */
static void poll_side(Barrier *b)
{
	struct pollfd fd = { .fd = b->me, .events = POLLIN | POLLPRI | POLLRDHUP };

	if (poll(&fd, 1, 1000) < 0 && errno != EINTR)
		barrier__fail(b);
}

/*
 * As systemd's waits: no signal ends them, and O_NONBLOCK does not either. A place
 * is not repeated.
 */
static void wait_on(Barrier *b, unsigned long cmd, unsigned int kind)
{
	int err;

	while ((err = do_wait(b, cmd, kind, CLOCK_MONOTONIC, NULL)) != 0) {
		cmd = QUIESCE_IOC_WAIT;
		if (err == -EAGAIN)
			poll_side(b);
	}
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

	if (is_fallback(b))
		return -EOPNOTSUPP;
	return ioctl(b->me, QUIESCE_IOC_BIND, &bind) < 0 ? -errno : 0;
}

int barrier_status_sized(Barrier *b, struct quiesce_status *status, size_t size)
{
	struct quiesce_status own = {};

	must(b);
	must(status);

	if (is_fallback(b))
		return -EOPNOTSUPP;
	if (ioctl(b->me, QUIESCE_IOC_STATUS, &own) < 0)
		return -errno;
	give(status, size, &own, sizeof(own));
	return 0;
}
