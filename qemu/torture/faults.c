// SPDX-License-Identifier: GPL-2.0
/*
 * faults: makes the first, the second, ... allocation of each path fail, until the
 * path succeeds without one that failed. KTAP on stdout.
 *
 *   faults [--with FILE] [--stride N] [--module FILE]
 *
 * --with loads quiesce_torture.ko for as long as it takes.
 *
 * Each failure must answer ENOMEM, leave no descriptor behind and change nothing;
 * then the same call must succeed. --module walks through the loading of a module,
 * which takes long: N allocations of it are skipped each time.
 *
 * Needs CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS.
 */

#include "fuzz.h"

#include <dirent.h>
#include <sys/syscall.h>

#define FAILSLAB "/sys/kernel/debug/failslab/"
/* Copies from and to user space fail as well where the kernel can make them. */
#define USERCOPY "/sys/kernel/debug/fail_usercopy/"
#define FAULT "/sys/module/quiesce_torture/parameters/fault"
#define LIMIT 5000

static int tests, failures;
static unsigned long injected;
static int nth_fd = -1, nth;
static int fault_fd = -1;
static int dev, pair[2], group, party, epoll;
static char why[256];

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("# cannot write %s: %s\n", path, strerror(errno));
	close(fd);
}

static __attribute__((format(printf, 1, 2))) void wrong(const char *fmt, ...)
{
	va_list args;

	if (why[0])
		return;
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
}

/* The n-th allocation of this task from now on fails. */
static void arm(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	/* What was armed before may hit this copy from user space, once. */
	if (pwrite(nth_fd, text, strlen(text), 0) < 0 &&
	    (errno != EFAULT || pwrite(nth_fd, text, strlen(text), 0) < 0))
		wrong("cannot write fail-nth: %s", strerror(errno));
}

/* No more; was there one that failed? */
static bool disarm(void)
{
	char text[16] = "";

	/* Where copies to user space are made to fail too, this one may be the n-th. */
	if (pread(nth_fd, text, sizeof(text) - 1, 0) < 0) {
		if (errno != EFAULT || access(USERCOPY, F_OK))
			wrong("cannot read fail-nth: %s", strerror(errno));
		text[0] = '1';
	}
	arm(0);
	return atoi(text) == 0;
}

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* The paths. Each makes one call between arm() and disarm(), and undoes what succeeded. */
struct path {
	const char *name;
	int (*call)(void);		/* 0 or a negative errno; leaves what it made in `made` */
	void (*undo)(void);
	void (*check)(void);		/* what must be so after a failure, or NULL */
	bool spared;			/* needs no memory, or can do without */
};

static int made[2] = { -1, -1 };

static void close_made(void)
{
	for (int i = 0; i < 2; i++) {
		if (made[i] >= 0)
			close(made[i]);
		made[i] = -1;
	}
}

static int call_open(void)
{
	made[0] = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	return made[0] < 0 ? -errno : 0;
}

static int call_pair(void)
{
	struct quiesce_pair p = {};
	int err = ioctl(dev, QUIESCE_IOC_PAIR, &p) ? -errno : 0;

	if (!err) {
		made[0] = p.fd[0];
		made[1] = p.fd[1];
	}
	return err;
}

static int call_group(void)
{
	struct quiesce_group g = { .parties = 4, .max_parties = QUIESCE_MAX_PARTIES };
	int err = ioctl(dev, QUIESCE_IOC_GROUP, &g) ? -errno : 0;

	if (!err)
		made[0] = g.fd;
	return err;
}

static int join(unsigned int flags)
{
	struct quiesce_join j = { .flags = flags };
	int err = ioctl(group, QUIESCE_IOC_JOIN, &j) ? -errno : 0;

	if (!err)
		made[0] = j.fd;
	return err;
}

static int call_join(void)
{
	return join(0);
}

static int call_join_bound(void)
{
	return join(QUIESCE_BIND_PROCESS);
}

/* A join that failed took no seat; one that succeeded is undone by making the group anew. */
static void check_group(void)
{
	struct quiesce_status s = {};

	if (ioctl(group, QUIESCE_IOC_STATUS, &s))
		wrong("STATUS: %s", strerror(errno));
	if (s.parties != 2 || s.open != 1 || s.arrived || s.state & QUIESCE_STATE_BROKEN)
		wrong("a join that failed leaves %u seats, %u open, %u arrived, state 0x%x",
		      s.parties, s.open, s.arrived, s.state);
}

static void new_group(void)
{
	struct quiesce_group g = { .parties = 2 };
	struct quiesce_join j = {};

	close(party);
	close(group);
	close_made();
	if (ioctl(dev, QUIESCE_IOC_GROUP, &g) || ioctl(g.fd, QUIESCE_IOC_JOIN, &j))
		wrong("cannot make a group: %s", strerror(errno));
	group = g.fd;
	party = j.fd;
}

static int call_bind(void)
{
	struct quiesce_bind b = { .flags = QUIESCE_BIND_PROCESS };

	return ioctl(party, QUIESCE_IOC_BIND, &b) ? -errno : 0;
}

static void undo_bind(void)
{
	struct quiesce_bind b = {};

	if (ioctl(party, QUIESCE_IOC_BIND, &b))
		wrong("BIND: %s", strerror(errno));
}

static uint64_t placed;

static int call_arrive(void)
{
	struct quiesce_arrive a = { .count = 1 };
	int err = ioctl(pair[0], QUIESCE_IOC_ARRIVE, &a) ? -errno : 0;

	placed += !err;
	if (!err && a.ticket != placed)
		wrong("a place was made twice or lost");
	return err;
}

/* Sleeps until its deadline. */
static int call_wait(void)
{
	struct quiesce_wait w = {
		.kind = QUIESCE_WAIT_NEXT,
		.deadline = now_ns(CLOCK_MONOTONIC) + 1000000,
	};
	int err = ioctl(pair[0], QUIESCE_IOC_WAIT, &w) ? -errno : 0;

	return err == -ETIMEDOUT ? 0 : err;
}

static int call_status(void)
{
	uint64_t late[2];
	struct quiesce_status s = { .late_words = 2, .late = (uintptr_t)late };

	return ioctl(group, QUIESCE_IOC_STATUS, &s) ? -errno : 0;
}

static int call_poll(void)
{
	struct pollfd p[2] = {
		{ .fd = pair[0], .events = POLLIN },
		{ .fd = party, .events = POLLIN },
	};

	return poll(p, 2, 1) < 0 ? -errno : 0;
}

static int call_epoll(void)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &e) ? -errno : 0;
}

static void undo_epoll(void)
{
	if (epoll_ctl(epoll, EPOLL_CTL_DEL, pair[0], NULL))
		wrong("epoll_ctl: %s", strerror(errno));
}

/* Reporting the end of a party allocates no memory, so it succeeds under fault injection. */
static int call_close(void)
{
	struct quiesce_pair p = {};
	struct quiesce_wait w = { .kind = QUIESCE_WAIT_ABORTION };
	bool hit;
	int err;

	hit = disarm();
	if (hit || ioctl(dev, QUIESCE_IOC_PAIR, &p))
		wrong("PAIR: %s", strerror(errno));
	arm(nth);
	close(p.fd[0]);
	err = ioctl(p.fd[1], QUIESCE_IOC_WAIT, &w);
	/* The fault was a copy of this call, which has changed nothing. */
	if (err && errno == EFAULT)
		err = ioctl(p.fd[1], QUIESCE_IOC_WAIT, &w);
	if (err || w.cause.cause != QUIESCE_CAUSE_CLOSE)
		wrong("an end is lost: %s, cause %u", strerror(errno), w.cause.cause);
	made[0] = p.fd[1];
	return 0;
}

static int fault(const char *name)
{
	return pwrite(fault_fd, name, strlen(name), 0) < 0 ? -errno : 0;
}

static int call_percpu(void)
{
	return fault("percpu-init");
}

static int call_arc(void)
{
	return fault("rundown-arc");
}

static int call_seqlock(void)
{
	return fault("seqlock");
}

static int call_srcu(void)
{
	return fault("srcu-init");
}

static int call_retire(void)
{
	return fault("rcu-retire");
}

static int call_plain(void)
{
	return fault("rcu-plain");
}

static const struct path paths[] = {
	{ "open", call_open, close_made },
	{ "PAIR", call_pair, close_made },
	{ "GROUP", call_group, close_made },
	{ "JOIN", call_join, new_group, check_group },
	{ "JOIN, bound", call_join_bound, new_group, check_group },
	{ "BIND", call_bind, undo_bind, check_group },
	{ "ARRIVE", call_arrive, .spared = true },
	{ "WAIT", call_wait, .spared = true },
	{ "STATUS", call_status, .spared = true },
	{ "poll", call_poll, .spared = true },
	{ "epoll_ctl", call_epoll, undo_epoll },
	{ "close", call_close, close_made, .spared = true },
};

static const struct path module_paths[] = {
	{ "PerCpuRundownRef::new", call_percpu },
	{ "RundownRef in an Arc", call_arc },
	{ "SeqLock in a box", call_seqlock },
	{ "Srcu::init", call_srcu },
	{ "RcuCell and Retired::defer", call_retire },
	{ "RcuCell and kvfree", call_plain },
};

static const char *module_file;
static int module_fd;

static void unload_file(const char *file)
{
	char name[64];
	const char *base = strrchr(file, '/') + 1;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(base, "."), base);
	if (syscall(SYS_delete_module, name, 0))
		wrong("rmmod %s: %s", name, strerror(errno));
}

static int call_load(void)
{
	return syscall(SYS_finit_module, module_fd, "", 0) ? -errno : 0;
}

static void unload(void)
{
	unload_file(module_file);
}

static void report(const char *name, unsigned int faults)
{
	printf("%sok %d - %s: %u faults\n", why[0] ? "not " : "", ++tests, name, faults);
	if (why[0]) {
		printf("# %s\n", why);
		failures++;
	}
	fflush(stdout);
	why[0] = '\0';
}

/*
 * `tolerant`: there are allocations that the path can do without, and errors that
 * are not the path's own.
 */
static void walk(const struct path *p, int stride, bool tolerant)
{
	unsigned int faults = 0;
	int n, err, before;
	bool hit;

	for (n = 1; n < LIMIT && !why[0]; n += stride) {
		before = descriptors();
		nth = n;
		arm(n);
		err = p->call();
		hit = disarm();
		if (!hit) {
			if (err)
				wrong("without a fault it answers %d (%s)", err, strerror(-err));
			else if (p->undo)
				p->undo();
			break;
		}
		faults++;
		injected++;
		if (err && err != -ENOMEM && !tolerant &&
		    (err != -EFAULT || access(USERCOPY, F_OK)))
			wrong("fault %d: answers %d (%s)", n, err, strerror(-err));
		if (!err && !p->spared && !tolerant)
			printf("# %s: does without allocation %d\n", p->name, n);
		if (err && p->check)
			p->check();
		if (!err && p->undo)
			p->undo();
		if (descriptors() != before)
			wrong("fault %d: a descriptor is left, or gone", n);
	}
	if (n >= LIMIT)
		wrong("no end after %d faults", faults);
	if (!faults && !p->spared)
		wrong("nothing was allocated, so nothing was tested");
	report(p->name, faults);
}

/* The kernel's own code complains when memory is short there: in events of traces, in sysfs. */
static void walk_module(int stride)
{
	struct path load = { module_file, call_load, unload };

	puts("1..1");
	module_fd = open(module_file, O_RDONLY | O_CLOEXEC);
	put("/dev/kmsg", "quiesce: expect-begin Comm: faults|comm faults|at event_|kobject_add_\n");
	walk(&load, stride, true);
	put("/dev/kmsg", "comm faults: so it was announced\n");
	put("/dev/kmsg", "quiesce: expect-end\n");
	close(module_fd);
}

static void load(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (syscall(SYS_finit_module, fd, "", 0))
		wrong("insmod %s: %s", file, strerror(errno));
	close(fd);
}

static void walk_all(const char *with)
{
	unsigned int i, plan = ARRAY_SIZE(paths);

	if (with || !access(FAULT, F_OK))
		plan += ARRAY_SIZE(module_paths);
	printf("1..%u\n", plan);
	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		group = -1;
		party = -1;
		call_pair();
		pair[0] = made[0];
		pair[1] = made[1];
		made[0] = -1;
		made[1] = -1;
		new_group();
		for (i = 0; i < ARRAY_SIZE(paths); i++)
			walk(&paths[i], 1, false);
		close(dev);
		close(pair[0]);
		close(pair[1]);
		close(group);
		close(party);
	} else {
		wrong("%s: %s", QUIESCE_DEVICE, strerror(errno));
		report("open", 0);
	}
	if (with)
		load(with);
	fault_fd = open(FAULT, O_WRONLY | O_CLOEXEC);
	if (fault_fd >= 0)
		for (i = 0; i < ARRAY_SIZE(module_paths); i++)
			walk(&module_paths[i], 1, false);
	close(fault_fd);
	if (with)
		unload_file(with);
}

int main(int argc, char **argv)
{
	const char *with = NULL;
	int stride = 1, a;
	char path[64];

	printf("TAP version 13\n");
	if (access(FAILSLAB, F_OK)) {
		printf("1..0 # SKIP the kernel has no failslab\n");
		return 4;
	}
	put(FAILSLAB "ignore-gfp-wait", "N");
	put(FAILSLAB "verbose", "0");
	put(FAILSLAB "probability", "0");
	if (!access(USERCOPY, F_OK))
		put(USERCOPY "verbose", "0");
	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", getpid());
	nth_fd = open(path, O_RDWR | O_CLOEXEC);
	if (nth_fd < 0) {
		printf("1..0 # SKIP no fail-nth\n");
		return 4;
	}
	for (a = 1; a + 1 < argc; a += 2) {
		if (!strcmp(argv[a], "--with"))
			with = argv[a + 1];
		else if (!strcmp(argv[a], "--stride"))
			stride = atoi(argv[a + 1]);
		else if (!strcmp(argv[a], "--module"))
			module_file = argv[a + 1];
	}
	if (module_file)
		walk_module(stride);
	else
		walk_all(with);
	printf("# figures faults: injected=%lu\n", injected);
	return failures != 0;
}
