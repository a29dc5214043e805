/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands of /dev/quiesce for the tests: each returns 0 or -errno. Members
 * that the kernel is to write hold POISON before.
 */
#ifndef _QUIESCE_TESTS_OPS_H
#define _QUIESCE_TESTS_OPS_H

#include "common.h"

#include <linux/userfaultfd.h>
#include <sched.h>

#define POISON 0xcc

static inline int make_pair(unsigned int flags, int fd[2])
{
	struct quiesce_pair args;
	int dev = open_dev(), ret;

	fd[0] = -1;
	fd[1] = -1;
	if (dev < 0)
		return -errno;
	memset(&args, POISON, sizeof(args));
	args.flags = flags;
	args.reserved = 0;
	ret = ctl(dev, QUIESCE_IOC_PAIR, &args);
	close(dev);
	if (!ret)
		memcpy(fd, args.fd, sizeof(args.fd));
	return ret;
}

static inline int make_group(unsigned int parties, unsigned int max, unsigned int flags)
{
	struct quiesce_group args;
	int dev = open_dev(), ret;

	if (dev < 0)
		return -errno;
	memset(&args, POISON, sizeof(args));
	args.flags = flags;
	args.parties = parties;
	args.max_parties = max;
	ret = ctl(dev, QUIESCE_IOC_GROUP, &args);
	close(dev);
	return ret ? ret : args.fd;
}

static inline int join_group(int group, unsigned int flags, struct quiesce_join *join)
{
	struct quiesce_join own;
	int ret;

	if (!join)
		join = &own;
	memset(join, POISON, sizeof(*join));
	join->flags = flags;
	join->reserved = 0;
	ret = ctl(group, QUIESCE_IOC_JOIN, join);
	return ret ? ret : join->fd;
}

static inline struct quiesce_arrive arrive_args(uint64_t count)
{
	struct quiesce_arrive args;

	memset(&args, POISON, sizeof(args));
	args.flags = 0;
	args.count = count;
	return args;
}

static inline int arrive(int fd, struct quiesce_arrive *out)
{
	struct quiesce_arrive own;

	if (!out)
		out = &own;
	*out = arrive_args(1);
	return ctl(fd, QUIESCE_IOC_ARRIVE, out);
}

#define place(fd) arrive(fd, NULL)

static inline struct quiesce_wait wait_args(unsigned int kind, uint64_t deadline)
{
	struct quiesce_wait args;

	memset(&args, POISON, sizeof(args));
	args.kind = kind;
	args.flags = 0;
	args.deadline = deadline;
	args.count = 0;
	args.ticket = 0;
	args.reserved = 0;
	return args;
}

/* WAIT on a pair. */
static inline int wait_for(int fd, unsigned int kind, uint64_t deadline,
			   struct quiesce_wait *out)
{
	struct quiesce_wait own;

	if (!out)
		out = &own;
	*out = wait_args(kind, deadline);
	return ctl(fd, QUIESCE_IOC_WAIT, out);
}

/* ARRIVE_WAIT on a pair. */
static inline int place_wait(int fd, unsigned int kind, uint64_t deadline,
			     struct quiesce_wait *out)
{
	struct quiesce_wait own;

	if (!out)
		out = &own;
	*out = wait_args(kind, deadline);
	out->count = 1;
	return ctl(fd, QUIESCE_IOC_ARRIVE_WAIT, out);
}

/* WAIT on a group's party. */
static inline int wait_phase(int fd, uint64_t ticket, uint64_t deadline,
			     struct quiesce_wait *out)
{
	struct quiesce_wait own;

	if (!out)
		out = &own;
	*out = wait_args(QUIESCE_WAIT_PHASE, deadline);
	out->ticket = ticket;
	return ctl(fd, QUIESCE_IOC_WAIT, out);
}

/* ARRIVE_WAIT on a group's party. */
static inline int meet(int fd, uint64_t deadline, struct quiesce_wait *out)
{
	return place_wait(fd, QUIESCE_WAIT_PHASE, deadline, out);
}

static inline int abort_with(int fd, uint64_t code, struct quiesce_abort *out)
{
	struct quiesce_abort own;

	if (!out)
		out = &own;
	memset(out, POISON, sizeof(*out));
	out->flags = 0;
	out->code = code;
	return ctl(fd, QUIESCE_IOC_ABORT, out);
}

static inline int bind_to_me(int fd, unsigned int flags)
{
	struct quiesce_bind args = { .flags = flags };

	return ctl(fd, QUIESCE_IOC_BIND, &args);
}

static inline int status_of(int fd, struct quiesce_status *out)
{
	memset(out, POISON, sizeof(*out));
	out->flags = 0;
	out->late_words = 0;
	out->late = 0;
	return ctl(fd, QUIESCE_IOC_STATUS, out);
}

/* STATUS with the first word of the bitmap of those who are late. */
static inline int status_late(int fd, struct quiesce_status *out, uint64_t *late)
{
	memset(out, POISON, sizeof(*out));
	out->flags = 0;
	out->late_words = 1;
	out->late = (uintptr_t)late;
	return ctl(fd, QUIESCE_IOC_STATUS, out);
}

static inline int member_of(int fd, unsigned int party, struct quiesce_member *out)
{
	memset(out, POISON, sizeof(*out));
	out->party = party;
	return ctl(fd, QUIESCE_IOC_MEMBER, out);
}

static inline int leave(int fd)
{
	return ctl(fd, QUIESCE_IOC_LEAVE, NULL);
}

static inline int reset(int group, uint64_t *phase)
{
	struct quiesce_reset args;
	int ret;

	memset(&args, POISON, sizeof(args));
	args.flags = 0;
	args.reserved = 0;
	ret = ctl(group, QUIESCE_IOC_RESET, &args);
	if (!ret && phase)
		*phase = args.phase;
	return ret;
}

/* References to the module: one for each open file and each module on it. */
static inline long module_refs(void)
{
	char buf[32];

	if (read_file("/sys/module/quiesce/refcnt", buf, sizeof(buf)) <= 0)
		return -1;
	return atol(buf);
}

/* Returns the number of modules that use quiesce.ko. */
static inline long count_module_users(void)
{
	DIR *dir = opendir("/sys/module/quiesce/holders");
	long n = -2; /* "." and ".." */

	if (!dir)
		return -errno;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline bool wait_for_module_refs(long refs)
{
	uint64_t end = in_ms(60000);

	while (module_refs() != refs) {
		if (clock_ns(CLOCK_MONOTONIC) > end)
			return false;
		nap();
	}
	return true;
}

/* Returns the events that poll() reports without blocking. */
static inline short poll_now(int fd)
{
	struct pollfd p = {
		.fd = fd,
		.events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP,
	};

	return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/*
 * Runs f in a process of a namespace whose clocks are off by so much. Returns its
 * exit code, or 4 if there are no time namespaces.
 */
static inline int in_time_namespace(const char *offsets, void (*f)(void))
{
	return join(spawn({
		int fd;

		if (unshare(CLONE_NEWTIME))
			_exit(4);
		fd = open("/proc/self/timens_offsets", O_WRONLY);
		check(fd >= 0);
		check(write(fd, offsets, strlen(offsets)) == (ssize_t)strlen(offsets));
		close(fd);
		/* Children are in it. */
		check(join(spawn({ f(); })) == 0);
	}));
}

/* Wait until so many tasks sleep on the barrier, by the kernel's own count. */
static inline bool wait_for_waiters(int fd, unsigned int n)
{
	uint64_t end = in_ms(60000);
	struct quiesce_status status;

	while (!status_of(fd, &status) && clock_ns(CLOCK_MONOTONIC) < end) {
		if (status.waiting == n)
			return true;
		nap();
	}
	return false;
}

/* Moves the calling task to that CPU, with a real-time priority if it may have one. */
static inline void hold_cpu(int cpu, int priority)
{
	struct sched_param param = { .sched_priority = priority };
	cpu_set_t cpus;

	sched_setscheduler(0, SCHED_FIFO, &param);
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	check(!sched_setaffinity(0, sizeof(cpus), &cpus));
}

/* The first write to @page, which is mapped, stalls. -1 if there is no userfaultfd. */
static inline int stall_writes(void *page)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register range = {
		.range = { (uintptr_t)page, sysconf(_SC_PAGESIZE) },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = range.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0)
		return -1;
	check(!ioctl(uffd, UFFDIO_API, &api));
	check(!ioctl(uffd, UFFDIO_REGISTER, &range));
	check(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	return uffd;
}

/* Waits until a task stalls. */
static inline void wait_stalled(int uffd)
{
	struct uffd_msg fault;

	check(read(uffd, &fault, sizeof(fault)) == sizeof(fault));
	check(fault.event == UFFD_EVENT_PAGEFAULT);
}

#endif /* _QUIESCE_TESTS_OPS_H */
