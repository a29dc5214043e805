// SPDX-License-Identifier: GPL-2.0
/*
 * Which trace points of an instrumented quiesce.ko the fuzzer's calls reach. Linked
 * into the fuzzer by qemu/coverage.sh alone, with --wrap for the calls below. The
 * addresses are written into the file QUIESCE_KCOV when the first process exits.
 *
 * KCOV records what a task does in its own calls. What an exit, a worker or an
 * interrupt does is not seen.
 */

#include "fuzz.h"
#include "kcov.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <linux/kcov.h>

#define WORDS (1 << 16)
#define SEEN (1 << 16)

/* Of all processes: a table of addresses, by their hash. */
static atomic_ulong *seen;
static pid_t first;

/* This thread's record: its length, and addresses. A thread without one has `none`. */
static unsigned long none[1];
static __thread unsigned long *record;

static void forked(void)
{
	record = NULL;
}

static void write_seen(void)
{
	FILE *to;
	int i;

	if (getpid() != first)
		return;
	to = fopen(getenv("QUIESCE_KCOV"), "w");
	if (!to)
		return;
	for (i = 0; i < SEEN; i++) {
		if (seen[i])
			fprintf(to, "%lx\n", seen[i]);
	}
	fclose(to);
}

__attribute__((constructor)) static void start(void)
{
	if (!getenv("QUIESCE_KCOV"))
		return;
	seen = map_pages(SEEN * sizeof(*seen), MAP_SHARED);
	if (seen == MAP_FAILED)
		exit(2);
	first = getpid();
	pthread_atfork(NULL, NULL, forked);
	atexit(write_seen);
}

static void begin(void)
{
	int fd;

	if (!record) {
		record = none;
		fd = seen ? open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC) : -1;
		if (fd >= 0 && !__real_ioctl(fd, KCOV_INIT_TRACE, WORDS)) {
			void *at = mmap(NULL, WORDS * sizeof(long), PROT_READ | PROT_WRITE,
					MAP_SHARED, fd, 0);

			if (at != MAP_FAILED && !__real_ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
				record = at;
		}
		if (fd >= 0)
			__real_close(fd);
	}
	__atomic_store_n(&record[0], 0, __ATOMIC_RELAXED);
}

static void end(void)
{
	unsigned long i, n = __atomic_load_n(&record[0], __ATOMIC_RELAXED);
	int err = errno;

	for (i = 1; i <= n && record != none; i++) {
		unsigned long at = record[i], old, hash = at * 0x9e3779b97f4a7c15UL >> 48;

		for (;; hash = (hash + 1) % SEEN) {
			old = 0;
			if (atomic_compare_exchange_strong(&seen[hash], &old, at) || old == at)
				break;
		}
	}
	errno = err;
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list args;
	void *arg;
	int ret;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	begin();
	ret = __real_ioctl(fd, cmd, arg);
	end();
	return ret;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
	int ret;

	begin();
	ret = __real_poll(p, n, timeout);
	end();
	return ret;
}

int __wrap_close(int fd)
{
	int ret;

	begin();
	ret = __real_close(fd);
	end();
	return ret;
}

ssize_t __wrap_read(int fd, void *to, size_t n)
{
	ssize_t ret;

	begin();
	ret = __real_read(fd, to, n);
	end();
	return ret;
}
