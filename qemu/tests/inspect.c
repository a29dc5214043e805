// SPDX-License-Identifier: GPL-2.0
/* Interfaces for administrators: fdinfo, tracepoints and the device's file. */
#include "ops.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static char text[65536];

/* The fdinfo of a descriptor, in text. */
static const char *read_fdinfo(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return read_file(path, text, sizeof(text)) > 0 ? text : "";
}

/* Does it have this line? */
#define EXPECT_LINE(fmt, ...) do {					\
	char _line[256];						\
									\
	snprintf(_line, sizeof(_line), fmt "\n", ##__VA_ARGS__);	\
	EXPECT_NE(NULL, strstr(text, _line)) {				\
		TH_LOG("no line: %s", _line);				\
		TH_LOG("in: %s", text);					\
	}								\
} while (0)

/* The number behind a name in text; a missing one fails the calling process. */
static uint64_t number(const char *name)
{
	char *found = strstr(text, name);

	check(found);
	return strtoull(found + strlen(name), NULL, 0);
}

TEST(fdinfo_of_a_pair)
{
	struct gate g;
	pid_t pid;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&g));
	ASSERT_EQ(0, bind_to_me(fd[0], 0));
	pid = spawn({
		check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
		check(place(fd[1]) == 0);
		check(place(fd[1]) == 0);
		gate_open(&g);
		wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL);
	});
	gate_pass(&g);
	ASSERT_TRUE(wait_asleep(pid));
	read_fdinfo(fd[0]);
	EXPECT_NE(NULL, strstr(text, "quiesce:\tpair "));
	EXPECT_LINE("party:\t0");
	EXPECT_LINE("balance:\t0");
	EXPECT_LINE("unread:\t2");
	EXPECT_LINE("party-0:\tpid %d state 0x0 placed 0 waiting 0 cause 0 by 0 status 0 code 0",
		    getpid());
	EXPECT_LINE("party-1:\tpid %d state 0x%x placed 2 waiting 1 cause 0 by 0 status 0 code 0",
		    pid, QUIESCE_STATE_BOUND);
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	read_fdinfo(fd[0]);
	EXPECT_LINE("party-1:\tpid %d state 0x%x placed 2 waiting 0 cause %d by %d status 9 code 0",
		    pid, QUIESCE_STATE_BOUND | QUIESCE_STATE_ENDED, QUIESCE_CAUSE_SIGNAL, pid);
}

/* fdinfo lists the late parties by number and process. */
TEST(fdinfo_of_a_group)
{
	int group = make_group(3, 0, 0), party[2];

	ASSERT_LE(0, group);
	for (int i = 0; i < 2; i++) {
		party[i] = join_group(group, 0, NULL);
		ASSERT_LE(0, party[i]);
	}
	ASSERT_EQ(0, place(party[0]));
	for (int i = 0; i < 2; i++) {
		read_fdinfo(i ? party[0] : group);
		EXPECT_NE(NULL, strstr(text, "quiesce:\tgroup "));
		EXPECT_LINE("phase:\t1");
		EXPECT_LINE("parties:\t3");
		EXPECT_LINE("arrived:\t1");
		EXPECT_LINE("open:\t1");
		EXPECT_LINE("waiting:\t0");
		EXPECT_LINE("late:\t1:%d 2:0 ", getpid());
	}
	ASSERT_EQ(0, abort_with(party[1], 99, NULL));
	read_fdinfo(group);
	EXPECT_LINE("broken:\tcause %d by 1 pid %d status 0 code 99",
		    QUIESCE_CAUSE_ABORT, getpid());
}

static uint64_t phase_since(int fd)
{
	read_fdinfo(fd);
	return number("\nphase-since:\t");
}

/* Waits until the clocks that advance with the tick have. */
static void wait_for_tick(void)
{
	uint64_t last = clock_ns(CLOCK_MONOTONIC_COARSE);

	while (clock_ns(CLOCK_MONOTONIC_COARSE) == last)
		nap();
}

/* phase-since is when the phase began, as of the last tick. */
static void check_since(void)
{
	int group = make_group(1, 0, 0), party = join_group(group, 0, NULL);
	uint64_t made = clock_ns(CLOCK_BOOTTIME), since = phase_since(group);

	check(since <= made && made - since < 60 * NSEC_PER_SEC);
	/* No arrival, join or wait changes it. */
	check(wait_phase(party, 1, in_ms(1), NULL) == -EINVAL);
	check(join_group(group, 0, NULL) == -ENOSPC);
	check(phase_since(party) == since);
	/* The end of a phase and a reset do. */
	wait_for_tick();
	check(place(party) == 0);
	check(phase_since(group) > since);
	since = phase_since(party);
	check(since <= clock_ns(CLOCK_BOOTTIME));
	check(abort_with(party, 1, NULL) == 0);
	wait_for_tick();
	check(phase_since(group) == since);
	check(reset(group, NULL) == 0);
	check(phase_since(group) > since);
	check(phase_since(group) <= clock_ns(CLOCK_BOOTTIME));
}

TEST(since_when)
{
	EXPECT_EQ(0, join(spawn({ check_since(); })));
}

TEST(since_when_in_a_time_namespace)
{
	int ret = in_time_namespace("boottime 7200 0\n", check_since);

	if (ret == 4)
		SKIP(return, "no time namespaces");
	EXPECT_EQ(0, ret);
}

#define PARTIES 40

/* How many parties the line of the late ones has. */
static unsigned int count_late(void)
{
	char *end, *p = strstr(text, "\nlate:\t");
	unsigned int n = 0;

	check(p);
	end = strchr(p + 1, '\n');
	check(end);
	while ((p = memchr(p + 1, ':', end - p - 1)))
		n++;
	/* One is the line's own. */
	return n - 1;
}

/* All lines of a group's fdinfo are of one moment. */
TEST(fdinfo_is_one_moment)
{
	int group = make_group(PARTIES, 0, 0), party[PARTIES];
	unsigned int seen[2] = {};
	pid_t pid;

	ASSERT_LE(0, group);
	for (int i = 0; i < PARTIES; i++) {
		party[i] = join_group(group, 0, NULL);
		ASSERT_LE(0, party[i]);
	}
	/* A phase that breaks in the middle has its number as the code, then a reset. */
	pid = spawn({
		for (uint64_t phase = 1;;) {
			for (int i = 0; i < PARTIES / 2; i++)
				check(place(party[i]) == 0);
			check(abort_with(party[0], phase, NULL) == 0);
			check(reset(group, &phase) == 0);
		}
	});
	/* And until they ran at the same time. */
	for (uint64_t first = 0, until = in_ms(1000);
	     clock_ns(CLOCK_MONOTONIC) < until || seen[1] <= 2;) {
		uint64_t phase;
		bool broken;

		/* In turn, from the group's descriptor and from a party's. */
		read_fdinfo(seen[0] & 1 ? group : party[0]);
		phase = number("\nphase:\t");
		broken = number("\nbroken:\tcause ");
		ASSERT_EQ(PARTIES, number("\narrived:\t") + count_late())
			TH_LOG("%s", text);
		if (broken) {
			ASSERT_EQ(phase, number(" status 0 code "))
				TH_LOG("%s", text);
			ASSERT_EQ(PARTIES / 2, number("\narrived:\t"));
		}
		if (!(seen[0] & 1) && number("\narrived:\t")) {
			ASSERT_EQ(phase, number(" last "))
				TH_LOG("%s", text);
		}
		seen[0]++;
		seen[1] += phase != first;
		first = phase;
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
}

/* All lines of a pair's fdinfo are of one moment. */
TEST(fdinfo_of_a_pair_is_one_moment)
{
	uint64_t first = 0;
	unsigned int changes = 0;
	int fd[2];
	pid_t pid;

	ASSERT_EQ(0, make_pair(0, fd));
	pid = spawn({
		for (;;)
			check(place(fd[0]) == 0);
	});
	for (uint64_t until = in_ms(500);
	     clock_ns(CLOCK_MONOTONIC) < until || changes <= 2;) {
		uint64_t unread;

		read_fdinfo(fd[1]);
		unread = number("\nunread:\t");
		ASSERT_EQ(unread, number(" placed "))
			TH_LOG("%s", text);
		changes += unread != first;
		first = unread;
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
}

TEST(device_file)
{
	struct stat st;
	char buf[16];
	mode_t mode;

	ASSERT_EQ(0, stat(QUIESCE_DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(10, major(st.st_rdev));
	/* The file's mode is that of the module's parameter. */
	if (read_file("/sys/module/quiesce/parameters/mode", buf, sizeof(buf)) > 0) {
		mode = strtol(buf, NULL, 0);
		EXPECT_EQ(mode, st.st_mode & 07777);
	}
}

/* Each descriptor has an inode of its own, which is what security modules label. */
TEST(inodes)
{
	struct stat st[3];
	int fd[2], group = make_group(1, 0, 0);

	ASSERT_LE(0, group);
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, fstat(fd[0], &st[0]));
	ASSERT_EQ(0, fstat(fd[1], &st[1]));
	ASSERT_EQ(0, fstat(group, &st[2]));
	EXPECT_NE(st[0].st_ino, st[1].st_ino);
	EXPECT_NE(st[0].st_ino, st[2].st_ino);
	EXPECT_NE(st[1].st_ino, st[2].st_ino);
}

static void put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

#define TRACING "/tmp/tracing"

/* Each tracepoint is hit, by this process. */
TEST(tracepoints)
{
	static const char *const events[] = {
		"quiesce_arrive:", "quiesce_wait_begin:", "quiesce_wait_end:",
		"quiesce_abort:", "quiesce_party_end:", "quiesce_join:",
		"quiesce_leave:", "quiesce_phase_end:", "quiesce_break:",
		"quiesce_reset:",
	};
	int fd[2], group, party, trace;
	struct quiesce_arrive arrivals;
	uint64_t phase = 0;
	char line[32], *found;
	size_t have = 0;
	ssize_t n;

	mkdir(TRACING, 0700);
	if (mount("none", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	put(TRACING "/trace", "");
	put(TRACING "/events/quiesce/enable", "1");

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, place(fd[0]));
	EXPECT_EQ(0, wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(-ETIMEDOUT, wait_for(fd[1], QUIESCE_WAIT_NEXT, in_ms(1), NULL));
	arrivals = arrive_args(5);
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE, &arrivals));
	EXPECT_EQ(0, abort_with(fd[0], 4711, NULL));
	close(fd[0]);
	group = make_group(1, 0, 0);
	party = join_group(group, 0, NULL);
	EXPECT_EQ(0, meet(party, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(0, abort_with(party, 4712, NULL));
	EXPECT_EQ(0, reset(group, &phase));
	EXPECT_EQ(0, leave(party));
	close(party);
	close(group);
	close(fd[1]);
	group = make_group(2, 0, 0);
	party = join_group(group, 0, NULL);
	arrivals = arrive_args(1);
	arrivals.flags = QUIESCE_ARRIVE_DROP;
	EXPECT_EQ(0, ctl(party, QUIESCE_IOC_ARRIVE, &arrivals));

	put(TRACING "/events/quiesce/enable", "0");
	close(party);
	close(group);
	trace = open(TRACING "/trace", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, trace);
	while ((n = read(trace, text + have, sizeof(text) - 1 - have)) > 0)
		have += n;
	text[have] = '\0';
	close(trace);
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++) {
		EXPECT_NE(NULL, strstr(text, events[i]))
			TH_LOG("%s not in: %s", events[i], text);
	}
	/* One phase ended, one break, one reset: each is traced once. */
	snprintf(line, sizeof(line), " phase=%llu\n", (unsigned long long)phase);
	found = strstr(text, "quiesce_reset:");
	EXPECT_NE(NULL, found);
	if (found) {
		EXPECT_NE(NULL, strstr(found, line));
		EXPECT_NULL(strstr(found + 1, "quiesce_reset:"));
	}
	found = strstr(text, "quiesce_break:");
	if (found) {
		EXPECT_NE(NULL, strstr(found, "cause=abort"));
		EXPECT_NULL(strstr(found + 1, "quiesce_break:"));
	}
	found = strstr(text, "quiesce_phase_end:");
	if (found)
		EXPECT_NULL(strstr(found + 1, "quiesce_phase_end:"));
	/* Five arrivals after one. */
	EXPECT_NE(NULL, strstr(text, " party=0 count=5 ticket=6\n"));
	/* By LEAVE and by ARRIVE. */
	found = strstr(text, "quiesce_leave:");
	if (found)
		EXPECT_NE(NULL, strstr(found + 1, "quiesce_leave:"));
	snprintf(line, sizeof(line), " ret=%d\n", -ETIMEDOUT);
	EXPECT_NE(NULL, strstr(text, line));
	EXPECT_NE(NULL, strstr(text, "code=4711"));
	EXPECT_NE(NULL, strstr(text, "code=4712"));
	EXPECT_EQ(0, umount(TRACING));
}

/* An event names the barrier as fdinfo does, and -1 where it is about no party. */
TEST(tracepoints_name_the_barrier)
{
	int group = make_group(1, 0, 0);
	unsigned long long id;
	char line[80];

	mkdir(TRACING, 0700);
	if (mount("none", TRACING, "tracefs", 0, NULL))
		ASSERT_EQ(EBUSY, errno);
	ASSERT_LT(0, read_file(TRACING "/events/quiesce/quiesce_abort/format", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "field:u32 party;"))
		TH_LOG("%s", text);
	ASSERT_LE(0, group);
	read_fdinfo(group);
	id = number("quiesce:\tgroup ");
	put(TRACING "/trace", "");
	put(TRACING "/events/quiesce/enable", "1");
	EXPECT_EQ(0, abort_with(group, 4713, NULL));
	put(TRACING "/events/quiesce/enable", "0");
	ASSERT_LT(0, read_file(TRACING "/trace", text, sizeof(text)));
	snprintf(line, sizeof(line), "quiesce_abort: id=%llu party=-1 code=4713\n", id);
	EXPECT_NE(NULL, strstr(text, line))
		TH_LOG("no %s in: %s", line, text);
	EXPECT_EQ(0, umount(TRACING));
}

TEST_HARNESS_MAIN
