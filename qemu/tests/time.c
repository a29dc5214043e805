// SPDX-License-Identifier: GPL-2.0
/* Deadlines: their clocks, time namespaces, and a machine that is frozen. */
#include "ops.h"

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

TEST_HARNESS_MAIN
