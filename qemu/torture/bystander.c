// SPDX-License-Identifier: GPL-2.0
/*
 * What a stranger suffers while a process dies that has 1024 parties bound to it,
 * with no poller and with 10^5 on their group: its longest fork, and, where the
 * kernel has the irqsoff tracer, the longest time with interrupts disabled.
 *
 *	figures bystander: fork_us=... fork_us_pollers=... irqsoff_us=...
 *
 * Both are measured in turn, and the smallest of some rounds counts: that is what
 * the work itself takes, whatever else the machine does. Exit status 1 if pollers
 * make it more than twice as long, 4 if there is no device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "quiesce.h"

#define PARTIES	1024
#define POLLERS	100000
#define ROUNDS	5
/* A fork that takes less is none that anybody notices. */
#define FLOOR_US 2000
#define TRACING "/tmp/bystander.tracing"

#define must(cond) do {								\
	if (!(cond)) {								\
		fprintf(stderr, "line %d: %s: %m\n", __LINE__, #cond);		\
		_exit(1);							\
	}									\
} while (0)

static struct shared {
	atomic_int joined;
	atomic_int exiting;
	atomic_int forks;
	_Atomic uint64_t longest;
} *shared;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static void *poll_all(void *group)
{
	struct pollfd *p = calloc(POLLERS, sizeof(*p));

	must(p);
	for (int i = 0; i < POLLERS; i++)
		p[i].fd = *(int *)group;
	poll(p, POLLERS, -1);
	free(p);
	return NULL;
}

/* Forks for ever; notes the longest one. */
static void fork_on(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		uint64_t begin = now_us(), took;
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
		took = now_us() - begin;
		if (shared->exiting && took > shared->longest)
			shared->longest = took;
		shared->forks++;
	}
}

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, text, strlen(text));
		close(fd);
	}
}

static uint64_t irqsoff_us(void)
{
	char text[32] = "";
	int fd = open(TRACING "/tracing_max_latency", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return strtoull(text, NULL, 10);
}

static uint64_t measure(bool pollers, uint64_t *irqsoff)
{
	struct quiesce_group g = { .parties = PARTIES };
	int dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC), forks;
	pid_t bystander, victim;
	pthread_t thread;

	must(dev >= 0);
	must(ioctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
	memset(shared, 0, sizeof(*shared));
	victim = fork();
	if (!victim) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < PARTIES; i++) {
			struct quiesce_join j = { .flags = QUIESCE_BIND_PROCESS };

			must(ioctl(g.fd, QUIESCE_IOC_JOIN, &j) == 0);
		}
		shared->joined = 1;
		for (;;)
			pause();
	}
	while (!shared->joined)
		usleep(1000);
	if (pollers) {
		must(pthread_create(&thread, NULL, poll_all, &g.fd) == 0);
		/* They queue without a sign: wait as long as that takes CPU time. */
		for (struct rusage a = {}, b; getrusage(RUSAGE_SELF, &b) == 0 &&
		     memcmp(&a.ru_utime, &b.ru_utime, 2 * sizeof(a.ru_utime)); a = b)
			usleep(100000);
	}
	bystander = fork();
	if (!bystander)
		fork_on();
	for (forks = shared->forks; shared->forks < forks + 50;)
		usleep(1000);
	put(TRACING "/tracing_max_latency", "0");
	shared->exiting = 1;
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	for (forks = shared->forks; shared->forks < forks + 50;)
		usleep(1000);
	if (irqsoff_us() > *irqsoff)
		*irqsoff = irqsoff_us();
	kill(bystander, SIGKILL);
	waitpid(bystander, NULL, 0);
	if (pollers)
		must(pthread_join(thread, NULL) == 0);
	close(g.fd);
	close(dev);
	return shared->longest;
}

int main(void)
{
	struct rlimit limit = { POLLERS + 4096, POLLERS + 4096 };
	uint64_t best[2] = { UINT64_MAX, UINT64_MAX }, irqsoff = 0;

	if (access(QUIESCE_DEVICE, R_OK | W_OK)) {
		puts("no device");
		return 4;
	}
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	mkdir(TRACING, 0700);
	if (mount("none", TRACING, "tracefs", 0, NULL) == 0 || errno == EBUSY)
		put(TRACING "/current_tracer", "irqsoff");
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 2; i++) {
			uint64_t us = measure(i, &irqsoff);

			if (us < best[i])
				best[i] = us;
		}
	}
	put(TRACING "/current_tracer", "nop");
	umount(TRACING);
	printf("figures bystander: fork_us=%llu fork_us_pollers=%llu irqsoff_us=%llu\n",
	       (unsigned long long)best[0], (unsigned long long)best[1],
	       (unsigned long long)irqsoff);
	return best[1] > FLOOR_US && best[1] > 2 * best[0];
}
