// SPDX-License-Identifier: GPL-2.0
/*
 * hotplug [TIMES [USERS]]: unplugs and plugs in the sensor of rust_sensor.ko, or of
 * another module with the same interface, while processes use it.
 *
 * The users open it again and again, read, write, poll, ask for the statistics, and go
 * on until it fails. It may only fail with ENODEV, or be gone, or be another one. Its
 * memory cannot be mapped, as nothing could take the mapping away, and a poll does not
 * wait. One figure is printed: how long unplugging took at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SENSOR_STATS _IOR('q', 0x80, struct stats)

struct stats {
	uint64_t samples, sum, reads;
};

/* Shared by all processes. */
static struct {
	int stop;
	unsigned long calls, gone;
} *shared;

static int stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* A call that may fail with ENODEV. Returns whether it did. */
static int gone(const char *what, long ret)
{
	__atomic_add_fetch(&shared->calls, 1, __ATOMIC_RELAXED);
	if (ret >= 0)
		return 0;
	if (errno != ENODEV)
		die(what);
	__atomic_add_fetch(&shared->gone, 1, __ATOMIC_RELAXED);
	return 1;
}

/* A device without these operations is always ready, and is not mapped. */
static void poll_and_map(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	if (poll(&p, 1, -1) != 1 || p.revents != p.events)
		die("poll");
	if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED || errno != ENODEV)
		die("mmap");
}

static void use(unsigned int seed)
{
	while (!stopped()) {
		int fd = open("/dev/sensor", O_RDWR | O_CLOEXEC);
		struct stats stats;
		char line[32];

		if (fd < 0) {
			if (errno != ENODEV && errno != ENOENT && errno != ENXIO)
				die("open");
			usleep(100);
			continue;
		}
		for (;;) {
			if (gone("read", read(fd, line, sizeof(line))))
				break;
			if (rand_r(&seed) % 8 == 0) {
				int len = sprintf(line, "%d\n", 50 + rand_r(&seed) % 1000);

				if (gone("write", write(fd, line, len)))
					break;
			}
			poll_and_map(fd);
			if (gone("ioctl", ioctl(fd, SENSOR_STATS, &stats)))
				break;
			/* The fields belong together. */
			if (stats.sum != stats.samples * (stats.samples + 1) / 2) {
				fprintf(stderr, "%llu samples with the sum %llu\n",
					(unsigned long long)stats.samples,
					(unsigned long long)stats.sum);
				exit(1);
			}
			if (stopped())
				break;
		}
		close(fd);
	}
	exit(0);
}

/* Ends the users; returns how many of them failed. */
static int stop(void)
{
	int status, failed = 0;

	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	while (wait(&status) > 0)
		failed += status != 0;
	return failed;
}

static void command(int bus, const char *text)
{
	if (write(bus, text, strlen(text)) < 0) {
		perror(text);
		stop();
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 100, users = argc > 2 ? atoi(argv[2]) : 8;
	double begin, most = 0, sum = 0;
	int bus, i, failed;

	bus = open("/dev/sensor_bus", O_WRONLY | O_CLOEXEC);
	if (bus < 0)
		die("/dev/sensor_bus");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	for (i = 0; i < users; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			use(i + 1);
	}
	for (i = 0; i < times; i++) {
		double took;

		command(bus, "plug");
		usleep(i % 5 * 500);
		begin = now();
		command(bus, "unplug");
		took = now() - begin;
		sum += took;
		if (took > most)
			most = took;
	}
	failed = stop();
	printf("# figures sensor: unplugs=%d users=%d calls=%lu gone=%lu", times, users,
	       shared->calls, shared->gone);
	printf(" average_ms=%.3f most_ms=%.3f\n", sum / (times ?: 1) * 1e3, most * 1e3);
	if (failed)
		printf("%d users failed\n", failed);
	return failed != 0;
}
