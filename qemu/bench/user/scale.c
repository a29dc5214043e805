// SPDX-License-Identifier: GPL-2.0
/*
 * Cost against size: waiters and pollers of one barrier. The first arrival does not
 * count: it is the first run of its threads, and the first event of the descriptors.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "quiesce.h"
#include "scheme.h"

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* One arrival: the time of the call. The caller is not preempted by whom it wakes. */
static __u64 arrive(int fd)
{
	struct quiesce_arrive a = { .count = 1 };
	__u64 begin = now();

	must(!ioctl(fd, QUIESCE_IOC_ARRIVE, &a), "ARRIVE");
	return now() - begin;
}

static void make_pair(struct quiesce_pair *p)
{
	int dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);

	*p = (struct quiesce_pair){ 0 };
	must(dev >= 0 && !ioctl(dev, QUIESCE_IOC_PAIR, p), "PAIR");
	close(dev);
}

static void set_priority(int policy)
{
	struct sched_param param = { .sched_priority = policy == SCHED_FIFO };

	must(!sched_setscheduler(0, policy, &param), "sched_setscheduler");
}

struct waiting {
	int fd;
	__u64 rounds;
	/* How many waits of all threads have returned. */
	atomic_ullong done;
};

static void *wait_rounds(void *data)
{
	struct waiting *w = data;
	struct quiesce_wait wait;

	for (__u64 i = 0; i < w->rounds; i++) {
		wait = (struct quiesce_wait){
			.kind = QUIESCE_WAIT_NEXT,
			.deadline = QUIESCE_FOREVER,
		};
		must(!ioctl(w->fd, QUIESCE_IOC_WAIT, &wait), "WAIT");
		w->done++;
	}
	return NULL;
}

__u64 measure_waiters(const struct scheme *none, unsigned int waiters, unsigned int cpus, __u64 n)
{
	pthread_t *threads = calloc(waiters, sizeof(*threads));
	struct quiesce_status status;
	struct quiesce_pair p;
	struct waiting w;
	pthread_attr_t attr;
	__u64 sum = 0;

	(void)none;
	(void)cpus;
	make_pair(&p);
	w = (struct waiting){ .fd = p.fd[1], .rounds = 1 + n };
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN);
	for (unsigned int i = 0; i < waiters; i++)
		must(!pthread_create(&threads[i], &attr, wait_rounds, &w), "pthread_create");
	for (__u64 i = 0; i < 1 + n; i++) {
		__u64 took;

		/* All have to be asleep in their next wait, not woken from the last one. */
		do {
			usleep(1000);
			status = (struct quiesce_status){ 0 };
			must(!ioctl(p.fd[1], QUIESCE_IOC_STATUS, &status), "STATUS");
		} while (w.done < i * waiters || status.waiting < waiters);
		set_priority(SCHED_FIFO);
		took = arrive(p.fd[0]);
		set_priority(SCHED_OTHER);
		if (i)
			sum += took;
	}
	for (unsigned int i = 0; i < waiters; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	close(p.fd[0]);
	close(p.fd[1]);
	return sum;
}

__u64 measure_pollers(const struct scheme *none, unsigned int pollers, unsigned int cpus, __u64 n)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int *fds = calloc(pollers, sizeof(*fds));
	struct quiesce_pair p;
	__u64 sum = 0;

	(void)none;
	(void)cpus;
	make_pair(&p);
	for (unsigned int i = 0; i < pollers; i++) {
		fds[i] = epoll_create1(EPOLL_CLOEXEC);
		must(fds[i] >= 0 && !epoll_ctl(fds[i], EPOLL_CTL_ADD, p.fd[1], &event), "epoll");
	}
	for (__u64 i = 0; i < 1 + n; i++) {
		__u64 took = arrive(p.fd[0]);

		if (i)
			sum += took;
		for (unsigned int k = 0; k < pollers; k++)
			must(epoll_wait(fds[k], &event, 1, 0) == 1, "epoll_wait");
	}
	for (unsigned int i = 0; i < pollers; i++)
		close(fds[i]);
	free(fds);
	close(p.fd[0]);
	close(p.fd[1]);
	return sum;
}
