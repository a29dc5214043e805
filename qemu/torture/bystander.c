// SPDX-License-Identifier: GPL-2.0
/*
 * What a bystander suffers while a process dies that has 1024 parties bound to it,
 * with no poller and with 10^5 pollers of their group: its longest fork, exit and
 * wait, and, where the kernel has the irqsoff tracer, the longest time with
 * interrupts disabled, then and in a RESET afterwards.
 *
 *	figures bystander: fork_us=... fork_us_pollers=... fork_us_eventfd=...
 *			   fork_us_leaders=... fork_us_most=... fork_us_eventfd_most=...
 *			   irqsoff_us=... irqsoff_us_eventfd=...
 *
 * All are measured in turn. The medians of some rounds count, as a single fork can
 * be delayed by what else the machine does; "most" is the longest of all rounds, of
 * eventfd alone and of all others. The figures of eventfd are what poll() itself
 * costs: of a process without parties, and as many pollers of an eventfd that becomes
 * readable instead. "leaders" is without pollers,
 * but each of the parties that die has arrived and would lead next. Exit status 1 if
 * pollers make it more than twice as long, and not because of poll() itself, or, with
 * --irqsoff, if the tracer measured nothing; 4 if there is no device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "quiesce.h"

/* Newer architectures lack poll(). */
#ifdef SYS_poll
#define NR_POLL SYS_poll
#else
#define NR_POLL SYS_ppoll
#endif

#define PARTIES	1024
#define POLLERS	100000
#define ROUNDS	11
/* A longest fork that takes less is not noticed by anybody. */
#define FLOOR_US 2000
#define TRACING "/tmp/bystander.tracing"

#define must(cond) do {								\
	if (!(cond)) {								\
		fprintf(stderr, "line %d: %s: %m\n", __LINE__, #cond);		\
		_exit(1);							\
	}									\
} while (0)

enum pollers { NONE, OF_GROUP, OF_EVENTFD, LEADERS, KINDS };

static const char *const names[] = { "none", "group", "eventfd", "leaders" };

struct shared {
	atomic_int joined;
	atomic_int exiting;
	atomic_int forks;
	atomic_ullong longest;
};

static struct shared *shared;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static pid_t fork_bound(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void poll_all(int fd)
{
	struct pollfd *p = calloc(POLLERS, sizeof(*p));

	must(p);
	for (int i = 0; i < POLLERS; i++) {
		p[i].fd = fd;
		p[i].events = POLLIN;
	}
	poll(p, POLLERS, -1);
	_exit(0);
}

/* Waits until the task sleeps in poll(): then all its entries are queued. */
static void wait_asleep(pid_t pid)
{
	for (;;) {
		char path[64], text[32] = "";
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must(fd >= 0);
		/* "running", or the number of the system call that it sleeps in. */
		if (read(fd, text, sizeof(text) - 1) > 0 && atoi(text) == NR_POLL &&
		    text[0] != 'r') {
			close(fd);
			return;
		}
		close(fd);
		usleep(10000);
	}
}

/* Forks until it is killed; notes the longest fork, exit and wait. */
static void fork_on(void)
{
	for (;;) {
		uint64_t begin = now_us(), took;
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		must(pid > 0);
		waitpid(pid, NULL, 0);
		took = now_us() - begin;
		if (shared->exiting && took > shared->longest)
			shared->longest = took;
		shared->forks++;
	}
}

static void wait_forks(int n)
{
	for (int forks = shared->forks; shared->forks < forks + n;)
		usleep(1000);
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

static uint64_t measure(enum pollers kind, uint64_t irqsoff[])
{
	struct quiesce_group g = {
		.parties = PARTIES,
		.flags = kind == LEADERS ? QUIESCE_GROUP_SHRINK | QUIESCE_GROUP_COMPLETION : 0,
	};
	struct quiesce_reset reset = {};
	int dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);
	pid_t victim, poller = 0;
	uint64_t one = 1, us;

	must(dev >= 0 && event >= 0);
	must(ioctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
	shared->joined = 0;
	victim = fork_bound();
	if (!victim) {
		for (int i = 0; i < PARTIES && kind != OF_EVENTFD; i++) {
			struct quiesce_join j = { .flags = QUIESCE_BIND_PROCESS };
			struct quiesce_arrive a = { .count = 1 };

			must(ioctl(g.fd, QUIESCE_IOC_JOIN, &j) == 0);
			must(kind != LEADERS || ioctl(j.fd, QUIESCE_IOC_ARRIVE, &a) == 0);
		}
		shared->joined = 1;
		for (;;)
			pause();
	}
	while (!shared->joined)
		usleep(1000);
	if (kind == OF_GROUP || kind == OF_EVENTFD) {
		poller = fork_bound();
		if (!poller)
			poll_all(kind == OF_GROUP ? g.fd : event);
		wait_asleep(poller);
	}
	wait_forks(50);
	put(TRACING "/tracing_max_latency", "0");
	shared->longest = 0;
	shared->exiting = 1;
	kill(victim, SIGKILL);
	if (kind == OF_EVENTFD)
		must(write(event, &one, sizeof(one)) == sizeof(one));
	waitpid(victim, NULL, 0);
	if (poller)
		waitpid(poller, NULL, 0);
	wait_forks(50);
	shared->exiting = 0;
	must(ioctl(g.fd, QUIESCE_IOC_RESET, &reset) == 0);
	us = shared->longest;
	if (irqsoff_us() > irqsoff[kind])
		irqsoff[kind] = irqsoff_us();
	close(event);
	close(g.fd);
	close(dev);
	return us;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	bool traced = argc == 2 && !strcmp(argv[1], "--irqsoff");
	struct rlimit limit = { POLLERS + 4096, POLLERS + 4096 };
	uint64_t us[KINDS][ROUNDS], irqsoff[KINDS] = {}, longest = 0, most = 0;
	pid_t bystander;

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
	bystander = fork_bound();
	if (!bystander)
		fork_on();
	for (int round = 0; round < ROUNDS; round++)
		for (int kind = 0; kind < KINDS; kind++)
			us[kind][round] = measure(kind, irqsoff);
	kill(bystander, SIGKILL);
	waitpid(bystander, NULL, 0);
	put(TRACING "/current_tracer", "nop");
	umount(TRACING);
	for (int kind = 0; kind < KINDS; kind++) {
		qsort(us[kind], ROUNDS, sizeof(us[kind][0]), compare);
		printf("%s:", names[kind]);
		for (int round = 0; round < ROUNDS; round++)
			printf(" %llu", (unsigned long long)us[kind][round]);
		printf(" us; %llu us with interrupts disabled\n",
		       (unsigned long long)irqsoff[kind]);
		if (kind != OF_EVENTFD && irqsoff[kind] > longest)
			longest = irqsoff[kind];
		if (kind != OF_EVENTFD && us[kind][ROUNDS - 1] > most)
			most = us[kind][ROUNDS - 1];
	}
	printf("figures bystander: fork_us=%llu fork_us_pollers=%llu",
	       (unsigned long long)us[NONE][ROUNDS / 2],
	       (unsigned long long)us[OF_GROUP][ROUNDS / 2]);
	printf(" fork_us_eventfd=%llu fork_us_leaders=%llu",
	       (unsigned long long)us[OF_EVENTFD][ROUNDS / 2],
	       (unsigned long long)us[LEADERS][ROUNDS / 2]);
	printf(" fork_us_most=%llu fork_us_eventfd_most=%llu", (unsigned long long)most,
	       (unsigned long long)us[OF_EVENTFD][ROUNDS - 1]);
	printf(" irqsoff_us=%llu irqsoff_us_eventfd=%llu\n", (unsigned long long)longest,
	       (unsigned long long)irqsoff[OF_EVENTFD]);
	/* In each kind of round, interrupts are disabled for some time. */
	for (int kind = 0; traced && kind < KINDS; kind++) {
		if (!irqsoff[kind]) {
			printf("%s: the irqsoff tracer measured nothing\n", names[kind]);
			return 1;
		}
	}
	return us[OF_GROUP][ROUNDS / 2] > FLOOR_US &&
	       us[OF_GROUP][ROUNDS / 2] > 2 * us[NONE][ROUNDS / 2] &&
	       us[OF_GROUP][ROUNDS / 2] > 2 * us[OF_EVENTFD][ROUNDS / 2];
}
