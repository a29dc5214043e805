// SPDX-License-Identifier: GPL-2.0
/*
 * A server that waits for its workers' start-up in its event loop.
 *
 *	epoll_server [WORKERS]
 *
 * The server shares a barrier with each worker and has its descriptor in the same
 * epoll set as everything else. A worker that is ready arrives: EPOLLIN. One that
 * cannot start aborts with a code: EPOLLERR. One that dies: EPOLLHUP, which is
 * reported only after its arrivals were read, so that "ready, then died" is seen
 * in order. The server never blocks for a worker.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "barrier.h"

#define MAX_WORKERS 64

struct worker {
	unsigned int number;
	pid_t pid;
	struct Barrier barrier;
};

static void die(const char *what, int err)
{
	fprintf(stderr, "epoll_server: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* The workers do as workers do. */
static void be_worker(struct worker *workers, struct worker *w)
{
	Barrier *b = &w->barrier;

	/* A copy of the server's sides, kept here, would outlive the server. */
	for (struct worker *other = workers; other < w; other++)
		barrier_destroy(&other->barrier);
	barrier_set_role(b, BARRIER_CHILD);
	usleep(1000 * w->number);
	switch (w->number % 4) {
	case 0:
		/* Cannot start, and says why. */
		barrier_abort_code(b, 400 + w->number);
		_exit(1);
	case 1:
		/* Starts, and crashes when it is served. */
		if (barrier_place_and_sync(b))
			raise(SIGKILL);
		_exit(0);
	case 2:
		/* Does not come so far. */
		_exit(22);
	default:
		/* Starts, works until the server has had enough of it. */
		barrier_place_and_sync(b);
		barrier_wait_abortion(b);
		_exit(0);
	}
}

static void start(struct worker *workers, unsigned int number, int ep)
{
	struct worker *w = &workers[number];
	struct epoll_event ev = { .events = EPOLLIN | EPOLLPRI, .data.ptr = w };
	Barrier null = BARRIER_NULL;
	struct quiesce_status status;
	int err;

	w->number = number;
	w->barrier = null;
	err = barrier_create(&w->barrier);
	if (err < 0)
		die(QUIESCE_DEVICE, err);
	/* Without the device a barrier waits as well, but cannot be polled. */
	err = barrier_status(&w->barrier, &status);
	if (err < 0)
		die("polling a barrier takes " QUIESCE_DEVICE, err);
	fflush(NULL);
	w->pid = fork();
	if (w->pid < 0)
		die("fork", -errno);
	if (w->pid == 0)
		be_worker(workers, w);
	barrier_set_role(&w->barrier, BARRIER_PARENT);
	if (epoll_ctl(ep, EPOLL_CTL_ADD, w->barrier.me, &ev) < 0)
		die("epoll_ctl", -errno);
}

/* One event of one worker; returns true when that was the worker's last. */
static bool serve(struct worker *w, unsigned int events, int ep)
{
	struct quiesce_status status;
	char why[128];
	int err;

	if (events & EPOLLIN && barrier_wait_next(&w->barrier)) {
		printf("worker %u is ready\n", w->number);
		barrier_place(&w->barrier);
		/* Dismiss this worker at once. */
		if (w->number % 4 == 3)
			barrier_abort(&w->barrier);
		return false;
	}
	if (!(events & (EPOLLHUP | EPOLLERR)))
		return false;

	err = barrier_status(&w->barrier, &status);
	if (err < 0)
		die("barrier_status", err);
	printf("worker %u is gone: %s\n", w->number,
	       quiesce_cause_text(&status.cause, why, sizeof(why)));
	/* A worker that was just forked may have a copy, so closing is not enough. */
	epoll_ctl(ep, EPOLL_CTL_DEL, w->barrier.me, NULL);
	barrier_destroy(&w->barrier);
	waitpid(w->pid, NULL, 0);
	return true;
}

int main(int argc, char **argv)
{
	unsigned int n = argc > 1 ? strtoul(argv[1], NULL, 0) : 8, left;
	static struct worker workers[MAX_WORKERS];
	struct epoll_event events[8];
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0)
		die("epoll_create1", -errno);
	if (n < 1 || n > MAX_WORKERS) {
		fprintf(stderr, "usage: epoll_server [WORKERS (1 to %d)]\n", MAX_WORKERS);
		return 2;
	}
	for (unsigned int i = 0; i < n; i++)
		start(workers, i, ep);

	for (left = n; left;) {
		int ready = epoll_wait(ep, events, 8, -1);

		if (ready < 0)
			die("epoll_wait", -errno);
		for (int i = 0; i < ready; i++)
			left -= serve(events[i].data.ptr, events[i].events, ep);
	}
	printf("all %u workers are accounted for\n", n);
	return 0;
}
