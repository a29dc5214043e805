// SPDX-License-Identifier: GPL-2.0
/* Deadlines: their clocks, time namespaces, and a machine that is frozen. */
#include "ops.h"

#include <sys/mount.h>
#include <sys/stat.h>

/* Run as the party of a pair and of a group: a wait that nobody ends. */
static int wait_both(unsigned int flags, uint64_t deadline)
{
	struct quiesce_arrive a;
	struct quiesce_wait w;
	int fd[2], party, ret[2];

	check(make_pair(0, fd) == 0);
	party = join_group(make_group(2, 0, 0), 0, NULL);
	check(arrive(party, &a) == 0);
	w = wait_args(QUIESCE_WAIT_NEXT, deadline);
	w.flags = flags;
	ret[0] = ctl(fd[0], QUIESCE_IOC_WAIT, &w);
	w = wait_args(QUIESCE_WAIT_PHASE, deadline);
	w.flags = flags;
	w.ticket = a.ticket;
	ret[1] = ctl(party, QUIESCE_IOC_WAIT, &w);
	check(ret[0] == ret[1]);
	return ret[0];
}

static const struct {
	clockid_t id;
	unsigned int flags;
} clocks[] = {
	{ CLOCK_MONOTONIC, 0 },
	{ CLOCK_REALTIME, QUIESCE_WAIT_REALTIME },
	{ CLOCK_BOOTTIME, QUIESCE_WAIT_BOOTTIME },
};

#define MS 50

/* A deadline expires when its clock reaches it, not before. */
static void check_clocks(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(clocks); i++) {
		uint64_t begin = clock_ns(CLOCK_MONOTONIC);
		uint64_t deadline = clock_ns(clocks[i].id) + MS * NSEC_PER_MSEC;

		/* If the deadline never expires, the harness's time-out ends the test. */
		check(wait_both(clocks[i].flags, deadline) == -ETIMEDOUT);
		check(clock_ns(CLOCK_MONOTONIC) - begin >= (MS - 2) * NSEC_PER_MSEC);
		/* With a deadline in the past, the wait only polls. */
		check(wait_both(clocks[i].flags, clock_ns(clocks[i].id) - 1) == -ETIMEDOUT);
	}
}

TEST(each_clock)
{
	EXPECT_EQ(0, join(spawn({ check_clocks(); })));
	EXPECT_EQ(-EINVAL, wait_both(QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME, 1));
}

TEST(time_namespace_ahead)
{
	int ret = in_time_namespace("monotonic 3600 0\nboottime 7200 0\n", check_clocks);

	if (ret == 4)
		SKIP(return, "no time namespaces");
	EXPECT_EQ(0, ret);
}

TEST(time_namespace_behind)
{
	int ret;

	/* No clock may become negative. */
	while (clock_ns(CLOCK_MONOTONIC) < 2 * NSEC_PER_SEC)
		nap();
	ret = in_time_namespace("monotonic -1 0\nboottime -1 0\n", check_clocks);
	if (ret == 4)
		SKIP(return, "no time namespaces");
	EXPECT_EQ(0, ret);
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* The machine is frozen and thawed: a wait goes on, without EINTR, and meets. */
TEST(frozen_while_waiting)
{
	struct quiesce_wait w;
	bool frozen = false;
	struct gate met;
	pid_t pid;
	int fd[2];

	if (!put("/sys/power/pm_test", "freezer"))
		SKIP(return, "no pm_test");
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&met));
	pid = spawn({
		close(fd[0]);
		check(place_wait(fd[1], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w) == 0);
		gate_open(&met);
	});
	close(fd[1]);
	ASSERT_TRUE(wait_asleep(pid));
	/* Some task may not freeze in time. */
	for (int tries = 0; !frozen && tries < 3; tries++)
		frozen = put("/sys/power/state", "freeze") || put("/sys/power/state", "mem");
	if (frozen) {
		/* It placed once, and still waits. */
		EXPECT_TRUE(wait_asleep(pid));
		EXPECT_EQ(0, place_wait(fd[0], QUIESCE_WAIT_SYNC, in_ms(60000), &w));
		gate_pass(&met);
		EXPECT_EQ(-EOWNERDEAD, wait_for(fd[0], QUIESCE_WAIT_NEXT, in_ms(60000), NULL));
		EXPECT_EQ(0, join(pid));
	} else {
		kill(pid, SIGKILL);
		join(pid);
		put("/sys/power/pm_test", "none");
		SKIP(return, "cannot be frozen");
	}
	put("/sys/power/pm_test", "none");
}

#define TRACING "/tmp/time.tracing"

/*
 * The timer of a wait is one of its deadline's clock. That of CLOCK_BOOTTIME differs from
 * that of CLOCK_MONOTONIC by nothing else on a machine that was never suspended.
 */
TEST(timer_of_each_clock)
{
	static const char *const names[] = {
		"CLOCK_MONOTONIC", "CLOCK_REALTIME", "CLOCK_BOOTTIME",
	};
	static char text[65536];
	char want[64], pid[16];

	ASSERT_EQ(ARRAY_SIZE(clocks), ARRAY_SIZE(names));
	mkdir(TRACING, 0700);
	if (mount("none", TRACING, "tracefs", 0, NULL))
		SKIP(return, "no tracefs");
	if (access(TRACING "/events/timer/hrtimer_setup", F_OK)) {
		umount(TRACING);
		SKIP(return, "no tracepoint of timers");
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	EXPECT_TRUE(put(TRACING "/set_event_pid", pid));
	for (unsigned int i = 0; i < ARRAY_SIZE(clocks); i++) {
		size_t have = 0;
		ssize_t n;
		int fd;

		/* Empties the buffer. */
		close(open(TRACING "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
		EXPECT_TRUE(put(TRACING "/events/timer/hrtimer_setup/enable", "1"));
		EXPECT_EQ(-ETIMEDOUT, wait_both(clocks[i].flags, clock_ns(clocks[i].id) +
						MS * NSEC_PER_MSEC));
		EXPECT_TRUE(put(TRACING "/events/timer/hrtimer_setup/enable", "0"));
		fd = open(TRACING "/trace", O_RDONLY | O_CLOEXEC);
		while ((n = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
			have += n;
		text[have] = '\0';
		close(fd);
		snprintf(want, sizeof(want), "clockid=%s", names[i]);
		EXPECT_NE(NULL, strstr(text, want))
			TH_LOG("no %s in: %s", want, text);
	}
	close(open(TRACING "/set_event_pid", O_WRONLY | O_TRUNC | O_CLOEXEC));
	umount(TRACING);
}

TEST_HARNESS_MAIN
