// SPDX-License-Identifier: GPL-2.0
/*
 * Processes killed at random moments, a thousand times: the survivors always get
 * an error that names the killed one, never hang, and no object is leaked.
 */
#include "ops.h"
#include "barrier.h"

#include <sys/time.h>

#define PAIR_ROUNDS 1000
#define GROUP_ROUNDS 150
/* Each test ends after this time, once it has had a quarter of its rounds. */
#define TEST_MS 20000
#define GROUP_PARTIES 4
#define MAX_USEC 3000

static sig_atomic_t victim;

static void kill_victim(int sig)
{
	kill(victim, SIGKILL);
}

/* Kill @pid at some moment of the next few milliseconds. */
static void kill_soon(pid_t pid)
{
	struct sigaction sa = { .sa_handler = kill_victim, .sa_flags = SA_RESTART };
	struct itimerval it = { .it_value.tv_usec = 1 + rand() % MAX_USEC };

	victim = pid;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

/* The number of files that are open in the whole system. */
static long count_files(void)
{
	char buf[64];

	if (read_file("/proc/sys/fs/file-nr", buf, sizeof(buf)) <= 0)
		return -1;
	return atol(buf);
}

FIXTURE(kill)
{
	int fds;
	long files;
};

FIXTURE_SETUP(kill)
{
	ASSERT_TRUE(wait_for_module_refs(count_module_users()));
	self->fds = count_fds();
	self->files = count_files();
	srand(time(NULL) ^ getpid());
}

FIXTURE_TEARDOWN(kill)
{
}

/*
 * Files are counted for the whole system, in which others open some too. What a
 * test loses it loses in every round, which is many times as much.
 */
#define OTHERS_FILES 4

/* All descriptors, files and objects that the test created have been freed. */
#define EXPECT_NOTHING_LEFT() do {					\
	uint64_t end = in_ms(20000);					\
									\
	EXPECT_EQ(self->fds, count_fds());				\
	EXPECT_TRUE(wait_for_module_refs(count_module_users()));	\
	while (count_files() > self->files && clock_ns(CLOCK_MONOTONIC) < end)	\
		nap();							\
	EXPECT_GE(self->files + OTHERS_FILES, count_files());		\
} while (0)

TEST_F_TIMEOUT(kill, pair, 300)
{
	uint64_t met = 0, end = in_ms(TEST_MS);
	int round;

	for (round = 0; more_rounds(round, PAIR_ROUNDS, end); round++) {
		Barrier b = BARRIER_NULL;
		struct quiesce_status s;
		pid_t pid;

		ASSERT_EQ(0, barrier_create(&b));
		pid = fork();
		ASSERT_LE(0, pid);
		if (pid == 0) {
			barrier_set_role(&b, BARRIER_CHILD);
			/* The parent does not die; only the signal ends this. */
			while (barrier_place_and_sync(&b))
				;
			_exit(1);
		}
		barrier_set_role(&b, BARRIER_PARENT);
		kill_soon(pid);
		while (barrier_place_and_sync(&b))
			met++;
		ASSERT_TRUE(barrier_they_aborted(&b));
		ASSERT_FALSE(barrier_i_aborted(&b));
		ASSERT_EQ(0, barrier_status(&b, &s));
		ASSERT_EQ(QUIESCE_CAUSE_SIGNAL, s.cause.cause);
		ASSERT_EQ(SIGKILL, s.cause.status);
		ASSERT_EQ(pid, s.cause.pid);
		ASSERT_EQ(0, s.unread);
		ASSERT_EQ(KILLED, join(pid));
		barrier_destroy(&b);
	}
	TH_LOG("%llu meetings in %d rounds", (unsigned long long)met, round);
	EXPECT_NOTHING_LEFT();
}

/* The same where a copy of the victim's descriptor is kept: it is bound. */
TEST_F_TIMEOUT(kill, pair_bound, 300)
{
	uint64_t end = in_ms(TEST_MS);

	for (int round = 0; more_rounds(round, PAIR_ROUNDS / 4, end); round++) {
		struct quiesce_wait w;
		struct gate g;
		int fd[2], ret;
		pid_t pid;

		ASSERT_EQ(0, make_pair(0, fd));
		ASSERT_EQ(0, gate_make(&g));
		pid = fork();
		ASSERT_LE(0, pid);
		if (pid == 0) {
			check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
			gate_open(&g);
			while (!place_wait(fd[1], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, NULL))
				;
			_exit(1);
		}
		gate_pass(&g);
		kill_soon(pid);
		do {
			ret = place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w);
		} while (!ret);
		ASSERT_EQ(-EOWNERDEAD, ret);
		ASSERT_EQ(QUIESCE_CAUSE_SIGNAL, w.cause.cause);
		ASSERT_EQ(SIGKILL, w.cause.status);
		ASSERT_EQ(pid, w.cause.pid);
		ASSERT_EQ(-ENOTCONN, place(fd[1]));
		ASSERT_EQ(KILLED, join(pid));
		close(fd[0]);
		close(fd[1]);
		close(g.fd[0]);
		close(g.fd[1]);
	}
	EXPECT_NOTHING_LEFT();
}

/* One of several is killed: the others break, and all of them name it. */
TEST_F_TIMEOUT(kill, group, 300)
{
	struct {
		struct quiesce_cause cause;
		int ret;
	} *report = share(GROUP_PARTIES * sizeof(*report));
	uint64_t end = in_ms(TEST_MS);

	for (int round = 0; more_rounds(round, GROUP_ROUNDS, end); round++) {
		int group = make_group(GROUP_PARTIES, 0, 0), doomed = rand() % GROUP_PARTIES;
		pid_t pid[GROUP_PARTIES];

		ASSERT_LE(0, group);
		for (int i = 0; i < GROUP_PARTIES; i++) {
			struct quiesce_join j;
			int fd = join_group(group, 0, &j);

			ASSERT_LE(0, fd);
			ASSERT_EQ(i, j.party);
			pid[i] = fork();
			ASSERT_LE(0, pid[i]);
			if (pid[i] == 0) {
				struct quiesce_wait w;

				close(group);
				do {
					report[i].ret = meet(fd, QUIESCE_FOREVER, &w);
				} while (!report[i].ret);
				report[i].cause = w.cause;
				/* As long as all hold on, nobody else is the first to end. */
				pause();
				_exit(1);
			}
			close(fd);
		}
		close(group);
		memset(report, 0, GROUP_PARTIES * sizeof(*report));
		kill_soon(pid[doomed]);
		ASSERT_EQ(KILLED, join(pid[doomed]));
		for (int i = 0; i < GROUP_PARTIES; i++) {
			if (i == doomed)
				continue;
			/* The process reaches its pause() after its call has failed. */
			ASSERT_TRUE(wait_asleep_in(pid[i], NR_PAUSE));
			ASSERT_EQ(-EOWNERDEAD, report[i].ret);
			ASSERT_EQ(QUIESCE_CAUSE_SIGNAL, report[i].cause.cause);
			ASSERT_EQ(doomed, report[i].cause.party);
			ASSERT_EQ(pid[doomed], report[i].cause.pid);
		}
		for (int i = 0; i < GROUP_PARTIES; i++) {
			if (i == doomed)
				continue;
			kill(pid[i], SIGKILL);
			ASSERT_EQ(KILLED, join(pid[i]));
		}
	}
	munmap(report, GROUP_PARTIES * sizeof(*report));
	EXPECT_NOTHING_LEFT();
}

/* The same group shrinks until one is left, who goes on alone. */
TEST_F_TIMEOUT(kill, group_shrinks, 300)
{
	_Atomic uint64_t *phases = share(GROUP_PARTIES * sizeof(*phases));
	uint64_t end = in_ms(TEST_MS);

	for (int round = 0; more_rounds(round, GROUP_ROUNDS / 5, end); round++) {
		int group = make_group(GROUP_PARTIES, 0, QUIESCE_GROUP_SHRINK);
		pid_t pid[GROUP_PARTIES];
		uint64_t before;

		ASSERT_LE(0, group);
		for (int i = 0; i < GROUP_PARTIES; i++) {
			int fd = join_group(group, 0, NULL);

			ASSERT_LE(0, fd);
			pid[i] = fork();
			ASSERT_LE(0, pid[i]);
			if (pid[i] == 0) {
				close(group);
				while (!meet(fd, QUIESCE_FOREVER, NULL))
					atomic_fetch_add(&phases[i], 1);
				_exit(1);
			}
			close(fd);
		}
		close(group);
		for (int i = 0; i < GROUP_PARTIES - 1; i++) {
			kill_soon(pid[i]);
			ASSERT_EQ(KILLED, join(pid[i]));
			/* The last one still gets on. */
			before = atomic_load(&phases[GROUP_PARTIES - 1]);
			while (atomic_load(&phases[GROUP_PARTIES - 1]) < before + 3) {
				ASSERT_EQ(0, waitpid(pid[GROUP_PARTIES - 1], NULL, WNOHANG));
				nap();
			}
		}
		kill(pid[GROUP_PARTIES - 1], SIGKILL);
		ASSERT_EQ(KILLED, join(pid[GROUP_PARTIES - 1]));
	}
	munmap((void *)phases, GROUP_PARTIES * sizeof(*phases));
	EXPECT_NOTHING_LEFT();
}

TEST_HARNESS_MAIN
