// SPDX-License-Identifier: GPL-2.0
/* libquiesce itself: results, deadlines, adopted descriptors, misuse. */
#include "ops.h"
#include "fallback.h"
#include "quiesce-group.h"

#include <sys/resource.h>
#include <sys/stat.h>

/* Both sides in one process. */
FIXTURE(sides)
{
	Barrier parent, child;
};

FIXTURE_SETUP(sides)
{
	Barrier b = BARRIER_NULL;

	ASSERT_EQ(0, barrier_create(&b));
	self->parent = b;
	self->parent.me = dup(b.me);
	self->parent.them = dup(b.them);
	for (int i = 0; FALLBACK && i < 2; i++)
		self->parent.pipe[i] = dup(b.pipe[i]);
	self->child = b;
	barrier_set_role(&self->parent, BARRIER_PARENT);
	barrier_set_role(&self->child, BARRIER_CHILD);
}

FIXTURE_TEARDOWN(sides)
{
	barrier_destroy(&self->parent);
	barrier_destroy(&self->child);
}

static struct timespec soon(clockid_t clock)
{
	uint64_t ns = clock_ns(clock) + BLOCKS_MS * NSEC_PER_MSEC;

	return (struct timespec){ ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };
}

#define EXPECT_VIEW(b, i, they) do {					\
	EXPECT_EQ(i, barrier_i_aborted(b));				\
	EXPECT_EQ(they, barrier_they_aborted(b));			\
	EXPECT_EQ((i) && (they), barrier_we_aborted(b));		\
	EXPECT_EQ((i) || (they), barrier_is_aborted(b));		\
} while (0)

/* An abort by the other party is not in the view until a wait has read it. */
TEST_F(sides, lazy_view)
{
	struct quiesce_status s = {};

	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_VIEW(&self->child, true, false);
	EXPECT_VIEW(&self->parent, false, false);
	EXPECT_TRUE(barrier_sync(&self->parent));
	EXPECT_TRUE(barrier_sync_next(&self->parent));
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_VIEW(&self->parent, false, false);
	/* barrier_status() returns it, and does not change the view. */
	ASSERT_EQ(FALLBACK ? -EOPNOTSUPP : 0, barrier_status(&self->parent, &s));
	EXPECT_EQ(FALLBACK ? QUIESCE_CAUSE_NONE : QUIESCE_CAUSE_ABORT, s.cause.cause);
	EXPECT_VIEW(&self->parent, false, false);

	EXPECT_FALSE(barrier_sync(&self->parent));
	EXPECT_VIEW(&self->parent, false, true);
	EXPECT_FALSE(barrier_place(&self->parent));
	EXPECT_FALSE(barrier_place_and_sync(&self->parent));
	EXPECT_FALSE(barrier_sync_next(&self->parent));
	EXPECT_FALSE(barrier_wait_next(&self->parent));
	EXPECT_TRUE(barrier_wait_abortion(&self->parent));

	EXPECT_FALSE(barrier_abort(&self->parent));
	EXPECT_VIEW(&self->parent, true, true);
	EXPECT_FALSE(barrier_abort(&self->parent));
	EXPECT_FALSE(barrier_wait_abortion(&self->parent));
	EXPECT_VIEW(&self->child, true, false);
	EXPECT_FALSE(barrier_wait_abortion(&self->child));
	EXPECT_VIEW(&self->child, true, true);
}

/* Both abort before either has read the other's abort: both calls return true. */
TEST_F(sides, both_abort)
{
	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_TRUE(barrier_abort(&self->parent));
	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_FALSE(barrier_place(&self->child));
	EXPECT_FALSE(barrier_sync(&self->child));
	EXPECT_FALSE(barrier_wait_next(&self->child));
	EXPECT_VIEW(&self->child, true, false);
	EXPECT_FALSE(barrier_wait_abortion(&self->child));
	EXPECT_VIEW(&self->child, true, true);
}

/* An abort is reported before unread arrivals, an end after them. */
TEST_F(sides, abort_supersedes)
{
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_FALSE(barrier_wait_next(&self->parent));
}

TEST_F(sides, end_queues)
{
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_NULL(barrier_destroy(&self->child));
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_TRUE(barrier_sync(&self->parent));
	EXPECT_FALSE(barrier_wait_next(&self->parent));
	EXPECT_VIEW(&self->parent, false, true);
}

TEST_F(sides, deadlines)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME };
	Barrier *b = &self->parent;
	struct timespec ts;

	for (unsigned int i = 0; i < ARRAY_SIZE(clocks); i++) {
		clockid_t c = clocks[i];

		ts = soon(c);
		EXPECT_EQ(-ETIMEDOUT, barrier_wait_next_until(b, c, &ts));
		EXPECT_EQ(1, barrier_sync_until(b, c, &ts));
		EXPECT_EQ(1, barrier_sync_next_until(b, c, &ts));
		ts = soon(c);
		EXPECT_EQ(-ETIMEDOUT, barrier_wait_abortion_until(b, c, &ts));
		ts = soon(c);
		EXPECT_EQ(-ETIMEDOUT, barrier_place_and_sync_until(b, c, &ts));
		EXPECT_EQ(-ETIMEDOUT, barrier_sync_until(b, c, &ts));
		EXPECT_EQ(-ETIMEDOUT, barrier_sync_next_until(b, c, &ts));
		/* It has placed once. */
		EXPECT_TRUE(barrier_place(&self->child));
		EXPECT_EQ(1, barrier_sync_until(b, c, &ts));
		EXPECT_VIEW(b, false, false);
	}
	EXPECT_TRUE(barrier_abort_code(&self->child, 5));
	EXPECT_EQ(1, barrier_wait_abortion_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, barrier_sync_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, barrier_wait_next_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, barrier_sync_next_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_FALSE(barrier_abort(b));
	EXPECT_EQ(0, barrier_wait_abortion_until(b, CLOCK_MONOTONIC, NULL));
}

TEST_F(sides, bad_deadlines)
{
	static const struct timespec bad[] = {
		{ 0, -1 }, { 0, NSEC_PER_SEC }, { 0, LONG_MAX }, { 0, LONG_MIN },
	};
	static const struct timespec past[] = { { 0, 0 }, { -1, 0 }, { LONG_MIN, 0 } };
	struct timespec ts = soon(CLOCK_MONOTONIC_RAW);
	struct quiesce_status s;
	Barrier *b = &self->parent;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, &bad[i]));
	EXPECT_EQ(-EINVAL, barrier_place_and_sync_until(b, CLOCK_MONOTONIC_RAW, &ts));
	EXPECT_EQ(-EINVAL, barrier_place_and_sync_until(b, CLOCK_PROCESS_CPUTIME_ID, NULL));
	/* These calls have had no effect. */
	if (!FALLBACK) {
		ASSERT_EQ(0, barrier_status(b, &s));
		EXPECT_EQ(0, s.sent);
	}
	EXPECT_EQ(0, b->barriers);
	EXPECT_VIEW(b, false, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(past); i++)
		EXPECT_EQ(-ETIMEDOUT, barrier_wait_next_until(b, CLOCK_MONOTONIC, &past[i]));
	EXPECT_TRUE(barrier_place(&self->child));
	ts.tv_sec = LONG_MAX;
	EXPECT_EQ(1, barrier_wait_next_until(b, CLOCK_MONOTONIC, &ts));
}

/* A deadline that is too large for nanoseconds in 64 bits is far away. */
TEST_F(sides, far_deadline)
{
	struct timespec ts = { .tv_sec = UINT64_MAX / NSEC_PER_SEC + 1 };
	pid_t parent = getpid(), pid;
	int ret;

	pid = spawn({
		check(wait_asleep(parent));
		check(barrier_place(&self->child));
	});
	ret = barrier_wait_next_until(&self->parent, CLOCK_MONOTONIC, &ts);
	EXPECT_EQ(1, ret);
	if (ret != 1)
		kill(pid, SIGKILL);
	EXPECT_EQ(0, join(pid));
}

/* A place stands although the wait behind it times out. */
TEST_F(sides, place_and_timeout)
{
	static const struct timespec past;
	Barrier *b = &self->parent;

	EXPECT_EQ(-ETIMEDOUT, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, &past));
	EXPECT_EQ(1, b->barriers);
	EXPECT_VIEW(b, false, false);
}

static void nothing(int sig)
{
}

/* The same when a signal ends it. */
TEST_F(sides, place_and_signal)
{
	struct sigaction sa = { .sa_handler = nothing };
	const pid_t parent = getpid();
	Barrier *b = &self->parent;
	pid_t pid;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	pid = spawn({
		check(wait_asleep(parent));
		kill(parent, SIGUSR1);
	});
	EXPECT_EQ(-EINTR, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(1, b->barriers);
	EXPECT_VIEW(b, false, false);
}

/* O_NONBLOCK, which event loops set, ends the waits with a deadline alone. */
TEST_F(sides, nonblocking)
{
	Barrier *b = &self->parent;
	const long in_poll = FALLBACK ? SYS_WAIT : NR_POLL;
	const pid_t parent = getpid();
	pid_t pid;

	ASSERT_EQ(0, fcntl(b->me, F_SETFL, O_NONBLOCK));
	if (FALLBACK) {
		/* It has no effect on these either. */
		struct timespec ts = soon(CLOCK_MONOTONIC);

		EXPECT_EQ(-ETIMEDOUT, barrier_wait_next_until(b, CLOCK_MONOTONIC, &ts));
		ts = soon(CLOCK_MONOTONIC);
		EXPECT_EQ(-ETIMEDOUT, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, &ts));
	} else {
		EXPECT_EQ(-EAGAIN, barrier_wait_next_until(b, CLOCK_MONOTONIC, NULL));
		EXPECT_EQ(-EAGAIN, barrier_wait_abortion_until(b, CLOCK_MONOTONIC, NULL));
		EXPECT_EQ(-EAGAIN, barrier_place_and_sync_until(b, CLOCK_MONOTONIC, NULL));
		EXPECT_EQ(-EAGAIN, barrier_sync_until(b, CLOCK_MONOTONIC, NULL));
		EXPECT_EQ(-EAGAIN, barrier_sync_next_until(b, CLOCK_MONOTONIC, NULL));
	}
	EXPECT_EQ(1, b->barriers);
	EXPECT_VIEW(b, false, false);

	pid = spawn({
		check(wait_asleep_in(parent, in_poll));
		check(barrier_place(&self->child));
	});
	EXPECT_TRUE(barrier_sync(b));
	EXPECT_EQ(0, join(pid));
	pid = spawn({
		check(wait_asleep_in(parent, in_poll));
		check(barrier_place(&self->child));
	});
	EXPECT_TRUE(barrier_wait_next(b));
	EXPECT_EQ(0, join(pid));
	EXPECT_TRUE(barrier_place(b));
	pid = spawn({
		check(wait_asleep_in(parent, in_poll));
		check(barrier_place_and_sync(&self->child));
	});
	EXPECT_TRUE(barrier_place_and_sync(b));
	EXPECT_EQ(0, join(pid));

	pid = spawn({
		check(wait_asleep_in(parent, in_poll));
	});
	barrier_destroy(&self->child);
	EXPECT_TRUE(barrier_wait_abortion(b));
	EXPECT_EQ(0, join(pid));
	EXPECT_VIEW(b, false, true);
}

#if !FALLBACK
/* The limit of the poll of such a wait is for two holders of a side: a place ends it. */
TEST_F(sides, nonblocking_is_woken)
{
	uint64_t took = NSEC_PER_SEC;
	Barrier *b = &self->parent;
	const pid_t parent = getpid();

	ASSERT_EQ(0, fcntl(b->me, F_SETFL, O_NONBLOCK));
	/* Until a wait took less than the limit. */
	for (int round = 0; round < 10 && took >= NSEC_PER_SEC; round++) {
		uint64_t begin = clock_ns(CLOCK_MONOTONIC);
		pid_t pid = spawn({
			check(wait_asleep_in(parent, NR_POLL));
			check(barrier_place(&self->child));
		});

		EXPECT_TRUE(barrier_wait_next(b));
		took = clock_ns(CLOCK_MONOTONIC) - begin;
		EXPECT_EQ(0, join(pid));
	}
	EXPECT_GT(NSEC_PER_SEC, took);
}
#endif

/* A descriptor that cannot be closed does not replace the caller's errno. */
TEST_F(sides, errno_is_kept)
{
	close(self->parent.me);
	errno = EXDEV;
	barrier_destroy(&self->parent);
	EXPECT_EQ(EXDEV, errno);
}

/* The struct's members have the values that a program for systemd's header expects. */
TEST_F(sides, members)
{
	EXPECT_EQ(0, self->parent.barriers);
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_EQ(2, self->parent.barriers);
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_TRUE(barrier_sync(&self->child));
	EXPECT_EQ(-1, self->child.barriers);
	EXPECT_TRUE(barrier_wait_next(&self->parent));
	EXPECT_EQ(1, self->parent.barriers);
	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_EQ(BARRIER_I_ABORTED, self->child.barriers);
	EXPECT_FALSE(barrier_sync(&self->parent));
	EXPECT_EQ(BARRIER_THEY_ABORTED, self->parent.barriers);
	EXPECT_FALSE(barrier_abort(&self->parent));
	EXPECT_EQ(BARRIER_WE_ABORTED, self->parent.barriers);
	EXPECT_TRUE(BARRIER_WE_ABORTED < BARRIER_THEY_ABORTED);
	EXPECT_TRUE(BARRIER_THEY_ABORTED < BARRIER_I_ABORTED);
}

/* Functions that work only with the device. */
#if FALLBACK

TEST_F(sides, not_supported)
{
	struct quiesce_status s;
	Barrier copy = BARRIER_NULL;

	EXPECT_EQ(-EOPNOTSUPP, barrier_status(&self->parent, &s));
	EXPECT_EQ(-EOPNOTSUPP, barrier_bind_process(&self->parent));
	EXPECT_EQ(-ENOTTY, barrier_adopt(&copy, self->parent.me));
	/* The barrier is unchanged. */
	EXPECT_TRUE(barrier_place(&self->parent));
	EXPECT_TRUE(barrier_wait_next(&self->child));
}

#else

TEST_F(sides, abort_with_code)
{
	struct quiesce_status s;

	EXPECT_TRUE(barrier_abort_code(&self->child, UINT64_MAX));
	EXPECT_TRUE(barrier_abort_code(&self->child, 1));
	ASSERT_EQ(0, barrier_status(&self->parent, &s));
	EXPECT_EQ(UINT64_MAX, s.cause.code);
	EXPECT_EQ(1, s.cause.party);
}

TEST_F(sides, bound_process)
{
	pid_t pid = spawn({
		check(barrier_bind_process(&self->child) == 0);
	});

	ASSERT_EQ(0, join(pid));
	EXPECT_FALSE(barrier_wait_next(&self->parent));
	/* The copy here belongs to a party that has ended: its calls report the abort. */
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_VIEW(&self->child, true, true);
	EXPECT_EQ(-EBADF, self->child.me);
}

/* The role does not undo it. */
TEST(bound_before_the_role)
{
	Barrier b = BARRIER_NULL;
	pid_t pid;
	int copy;

	ASSERT_EQ(0, barrier_create(&b));
	copy = dup(b.me);
	ASSERT_LE(0, copy);
	pid = spawn({
		check(barrier_bind_process(&b) == 0);
		barrier_set_role(&b, BARRIER_PARENT);
	});
	barrier_set_role(&b, BARRIER_CHILD);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-EOWNERDEAD, wait_for(b.me, QUIESCE_WAIT_NEXT, in_ms(60000), NULL));
	barrier_destroy(&b);
	close(copy);
}

TEST_F(sides, adopt)
{
	Barrier copy = BARRIER_NULL;
	int null, group = make_group(1, 0, 0);

	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_FALSE(barrier_wait_next(&self->parent));
	/* The party's view is kept. */
	ASSERT_EQ(0, barrier_adopt(&copy, dup(self->parent.me)));
	EXPECT_VIEW(&copy, false, true);
	barrier_destroy(&copy);
	ASSERT_EQ(0, barrier_adopt(&copy, dup(self->child.me)));
	EXPECT_VIEW(&copy, true, false);
	barrier_destroy(&copy);

	null = open("/dev/null", O_RDWR);
	EXPECT_EQ(-ENOTTY, barrier_adopt(&copy, null));
	EXPECT_EQ(-EBADF, barrier_adopt(&copy, -1));
	EXPECT_EQ(-EINVAL, barrier_adopt(&copy, group));
	EXPECT_EQ(-EINVAL, barrier_adopt(&copy, join_group(group, 0, NULL)));
	/* None of these was taken over. */
	EXPECT_EQ(-EBADF, copy.me);
	EXPECT_EQ(0, close(null));
}

/* An abort that one holder of a party caused or saw is reported by another's next call. */
TEST_F(sides, two_holders)
{
	Barrier copy = BARRIER_NULL;

	ASSERT_EQ(0, barrier_adopt(&copy, dup(self->parent.me)));
	EXPECT_TRUE(barrier_abort(&self->child));
	EXPECT_FALSE(barrier_wait_next(&copy));
	EXPECT_VIEW(&self->parent, false, false);
	EXPECT_FALSE(barrier_place(&self->parent));
	EXPECT_VIEW(&self->parent, false, true);
	barrier_destroy(&copy);

	ASSERT_EQ(0, barrier_adopt(&copy, dup(self->child.me)));
	copy.barriers = 0;
	EXPECT_FALSE(barrier_place(&copy));
	EXPECT_VIEW(&copy, true, false);
	copy.barriers = 0;
	EXPECT_FALSE(barrier_sync(&copy));
	EXPECT_VIEW(&copy, true, false);
	barrier_destroy(&copy);
}

/* The end of the other side is an outcome for who learns of it second, too. */
TEST_F(sides, two_holders_of_an_end)
{
	Barrier copy = BARRIER_NULL;

	ASSERT_EQ(0, barrier_adopt(&copy, dup(self->parent.me)));
	barrier_destroy(&self->child);
	EXPECT_FALSE(barrier_wait_next(&copy));
	EXPECT_FALSE(barrier_place(&self->parent));
	EXPECT_VIEW(&self->parent, false, true);
	barrier_destroy(&copy);
}

#endif

/* A descriptor that somebody closed behind its back: aborted on both sides. */
TEST_F(sides, lost_descriptor)
{
	int *fd = FALLBACK ? &self->parent.them : &self->parent.me;

	close(*fd);
	*fd = 1000;
	EXPECT_FALSE(barrier_wait_next(&self->parent));
	EXPECT_VIEW(&self->parent, true, true);
	EXPECT_FALSE(barrier_wait_next(&self->child));
	EXPECT_VIEW(&self->child, false, true);
}

/* The forms that return an error number return none for it: it is an outcome. */
TEST_F(sides, lost_descriptor_until)
{
	int *fd = FALLBACK ? &self->parent.them : &self->parent.me;

	close(*fd);
	*fd = 1000;
	EXPECT_EQ(0, barrier_wait_next_until(&self->parent, CLOCK_MONOTONIC, NULL));
	EXPECT_VIEW(&self->parent, true, true);
	EXPECT_EQ(0, barrier_sync_until(&self->parent, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, barrier_wait_abortion_until(&self->parent, CLOCK_MONOTONIC, NULL));
}

TEST(null_and_destroyed)
{
	Barrier b = BARRIER_NULL, *p = &b;
	int fds = count_fds();

	EXPECT_NULL(barrier_destroy(NULL));
	EXPECT_NULL(barrier_destroy(&b));
	ASSERT_EQ(0, barrier_create(&b));
	EXPECT_EQ(fds + (FALLBACK ? 4 : 2), count_fds());
	barrier_destroyp(&p);
	EXPECT_NULL(p);
	barrier_destroyp(&p);
	EXPECT_EQ(fds, count_fds());
	EXPECT_EQ(-EBADF, b.me);
	EXPECT_EQ(-EBADF, b.them);
	EXPECT_VIEW(&b, false, false);
	/* It can be made again. */
	ASSERT_EQ(0, barrier_create(&b));
	EXPECT_TRUE(barrier_place(&b));
	barrier_destroy(&b);
	EXPECT_EQ(fds, count_fds());
}

TEST(creation_fails)
{
	struct rlimit limit;
	Barrier b = BARRIER_NULL;
	int lowest = dup(0);

	ASSERT_LE(0, lowest);
	close(lowest);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	for (int room = 0; room < 3 + FALLBACK; room++) {
		limit.rlim_cur = lowest + room;
		ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
		/* The device takes one while the pair is made. */
		EXPECT_EQ(-EMFILE, barrier_create(&b));
		EXPECT_EQ(-EBADF, b.me);
		EXPECT_EQ(-EBADF, b.them);
		EXPECT_NULL(barrier_destroy(&b));
	}
	limit.rlim_cur = lowest + 3 + FALLBACK;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(0, barrier_create(&b));
}

/* On a descriptor of the device that is open already. */
TEST(creation_at_a_descriptor)
{
	Barrier b = BARRIER_NULL;
	int fds, device = open(FALLBACK ? "/dev/null" : QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, device);
	fds = count_fds();
	EXPECT_EQ(-EBADF, barrier_create_at(&b, 1000));
	EXPECT_EQ(FALLBACK ? -ENOTTY : 0, barrier_create_at(&b, device));
	EXPECT_EQ(fds + (FALLBACK ? 0 : 2), count_fds());
	barrier_destroy(&b);
	EXPECT_EQ(FALLBACK, quiesce_group_create_at(device, 1, 1, 0) == -ENOTTY);
	/* BARRIER_NO_DEVICE works whether or not the device exists. */
	EXPECT_EQ(0, barrier_create_at(&b, BARRIER_NO_DEVICE));
	EXPECT_LE(0, b.pipe[0]);
	barrier_set_role(&b, BARRIER_PARENT);
	EXPECT_TRUE(barrier_place(&b));
	EXPECT_EQ(1, b.barriers);
	barrier_destroy(&b);
}

#define DIES(code) do {							\
	pid_t pid = spawn({						\
		struct rlimit no_core = {};				\
									\
		setrlimit(RLIMIT_CORE, &no_core);			\
		code;							\
	});								\
	EXPECT_EQ(256 + SIGABRT, join(pid));				\
} while (0)

/* As in systemd: a program that does this is not continued. */
TEST_F(sides, misuse)
{
	Barrier b = BARRIER_NULL;

	DIES(barrier_create(NULL));
	DIES(barrier_set_role(NULL, BARRIER_PARENT));
	DIES(barrier_set_role(&self->parent, BARRIER_PARENT));
	DIES(barrier_set_role(&b, BARRIER_PARENT));
	ASSERT_EQ(0, barrier_create(&b));
	DIES(barrier_set_role(&b, 2));
	DIES(barrier_place(NULL));
	DIES(barrier_abort(NULL));
	DIES(barrier_sync(NULL));
}

TEST(cause_texts)
{
	static const struct {
		struct quiesce_cause cause;
		const char *text;
	} cases[] = {
		{ { QUIESCE_CAUSE_NONE, QUIESCE_NOBODY, 0, 0, 0 }, "nothing has ended" },
		{ { QUIESCE_CAUSE_ABORT, 1, 12, 0, 5 }, "process 12 aborted with code 5" },
		{ { QUIESCE_CAUSE_ABORT, 1, 0, 0, 5 }, "party 1 aborted with code 5" },
		{ { QUIESCE_CAUSE_ABORT, QUIESCE_NOBODY, 0, 0, 0 },
		  "somebody aborted with code 0" },
		{ { QUIESCE_CAUSE_TIMEOUT, 2, 12, 0, 0 }, "process 12 would not wait any longer" },
		{ { QUIESCE_CAUSE_CLOSE, 2, 12, 0, 0 }, "process 12 closed its descriptor" },
		{ { QUIESCE_CAUSE_EXEC, 2, 12, 0, 0 }, "process 12 executed another program" },
		{ { QUIESCE_CAUSE_EXIT, 2, 12, 3, 0 }, "process 12 exited with status 3" },
		{ { QUIESCE_CAUSE_SIGNAL, 2, 12, 9, 0 },
		  "process 12 was killed by signal 9 (Killed)" },
		{ { QUIESCE_CAUSE_UNCLAIMED, QUIESCE_NOBODY, 0, 0, 0 },
		  "nobody can join any more" },
		{ { 99, 2, 12, 0, 0 }, "process 12 ended for reason 99" },
	};
	char buf[128], small[8];

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_STREQ(cases[i].text, quiesce_cause_text(&cases[i].cause, buf, sizeof(buf)));
	EXPECT_STREQ("process", quiesce_cause_text(&cases[1].cause, small, sizeof(small)));
}

/* An abort that cannot be made ends the barrier on both sides, as any other call that fails. */
TEST_F(sides, lost_descriptor_of_an_abort)
{
	close(self->parent.me);
	self->parent.me = 1000;
	EXPECT_FALSE(barrier_abort(&self->parent));
	EXPECT_VIEW(&self->parent, true, true);
	EXPECT_EQ(-EBADF, self->parent.me);
}

/* No descriptor passes to another program. */
TEST(close_on_exec)
{
	Barrier b = BARRIER_NULL;
	int fds[4];

	ASSERT_EQ(0, barrier_create(&b));
	memcpy(fds, (int []){ b.me, b.them, b.pipe[0], b.pipe[1] }, sizeof(fds));
	for (int i = 0; i < (FALLBACK ? 4 : 2); i++)
		EXPECT_EQ(FD_CLOEXEC, fcntl(fds[i], F_GETFD));
	barrier_destroy(&b);
}

/* A deadline of a clock that is set is reached by that. Only in the guest: it sets the clock. */
TEST_F(sides, clock_that_is_set)
{
	const uint64_t ahead = 600;
	struct timespec now, ts;
	pid_t pid;
	int ret = 0;
	bool ended = false;

	if (access("/modules/quiesce.ko", F_OK))
		SKIP(return, "not in the guest");
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += ahead;
	pid = spawn({
		check(barrier_wait_next_until(&self->parent, CLOCK_REALTIME, &ts) == -ETIMEDOUT);
	});
	ASSERT_TRUE(wait_asleep(pid));
	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += ahead + 1;
	ASSERT_EQ(0, clock_settime(CLOCK_REALTIME, &now));
	for (uint64_t end = in_ms(20000); !ended && clock_ns(CLOCK_MONOTONIC) < end; nap())
		ended = waitpid(pid, &ret, WNOHANG) == pid;
	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec -= ahead + 1;
	EXPECT_EQ(0, clock_settime(CLOCK_REALTIME, &now));
	EXPECT_TRUE(ended);
	EXPECT_EQ(0, ret);
	if (!ended) {
		kill(pid, SIGKILL);
		join(pid);
	}
}

/* Places that come after an own abort are read and are no abort. */
TEST_F(sides, places_after_an_own_abort)
{
	struct timespec ts = soon(CLOCK_MONOTONIC);

	EXPECT_TRUE(barrier_abort(&self->parent));
	EXPECT_TRUE(barrier_place(&self->child));
	EXPECT_EQ(-ETIMEDOUT, barrier_wait_abortion_until(&self->parent, CLOCK_MONOTONIC, &ts));
	EXPECT_VIEW(&self->parent, true, false);
	EXPECT_EQ(BARRIER_I_ABORTED, self->parent.barriers);
	barrier_destroy(&self->child);
	EXPECT_FALSE(barrier_wait_abortion(&self->parent));
	EXPECT_VIEW(&self->parent, true, true);
}

#if !FALLBACK
/* Each call returns what the kernel does for a descriptor that is none. */
TEST(group_calls_that_fail)
{
	struct timespec ts = { 0, 0 };
	struct quiesce_member m;
	struct quiesce_status s;
	struct quiesce_join j;
	struct quiesce_wait w;
	uint64_t ticket, late, phase;

	EXPECT_EQ(-EBADF, quiesce_group_create_at(-1, 2, 2, 0));
	EXPECT_EQ(-EBADF, quiesce_group_join(-1, 0, &j));
	EXPECT_EQ(-EBADF, quiesce_group_arrive(-1, &ticket));
	EXPECT_EQ(-EBADF, quiesce_group_wait(-1, 1, &w, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(-EBADF, quiesce_group_wait_or_break(-1, 1, &w, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(-EBADF, quiesce_group_arrive_and_wait(-1, &w, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(-EBADF, quiesce_group_complete(-1, 1));
	EXPECT_EQ(-EBADF, quiesce_group_arrive_and_drop(-1));
	EXPECT_EQ(-EBADF, quiesce_group_leave(-1));
	EXPECT_EQ(-EBADF, quiesce_group_abort(-1, 1));
	EXPECT_EQ(-EBADF, quiesce_group_reset(-1, &phase));
	EXPECT_EQ(-EBADF, quiesce_group_status(-1, &s, &late, 1));
	EXPECT_EQ(-EBADF, quiesce_group_member(-1, 0, &m));
}

/* Where the node may not be opened, eventfds and a pipe take its place; a group has none. */
TEST(device_that_may_not_be_opened)
{
	struct stat st;

	ASSERT_EQ(0, stat(QUIESCE_DEVICE, &st));
	ASSERT_EQ(0, chmod(QUIESCE_DEVICE, 0600));
	EXPECT_EQ(0, join(spawn({
		Barrier b = BARRIER_NULL;

		check(setgid(65534) == 0 && setuid(65534) == 0);
		check(barrier_create(&b) == 0);
		check(b.pipe[0] >= 0 && b.pipe[1] >= 0);
		check(quiesce_group_create(1, 0, 0) == -EACCES);
	})));
	EXPECT_EQ(0, chmod(QUIESCE_DEVICE, st.st_mode & 07777));
}

/* Without the node a group fails, and eventfds and a pipe take the place of a pair. */
TEST(groups_need_the_device)
{
	EXPECT_EQ(0, join(spawn({
		Barrier b = BARRIER_NULL;

		check(chroot("/proc") == 0);
		check(quiesce_group_create(1, 0, 0) == -ENOENT);
		check(barrier_create(&b) == 0);
	})));
}

/* Each side belongs to the process that has taken its role. */
TEST(process_of_a_role)
{
	Barrier b = BARRIER_NULL;
	struct quiesce_member m;
	struct gate ready;
	pid_t pid;

	ASSERT_EQ(0, barrier_create(&b));
	ASSERT_EQ(0, gate_make(&ready));
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		gate_open(&ready);
		pause();
	});
	barrier_set_role(&b, BARRIER_PARENT);
	gate_pass(&ready);
	ASSERT_EQ(0, member_of(b.me, 1, &m));
	EXPECT_EQ(pid, m.pid);
	EXPECT_EQ(0, m.state);
	ASSERT_EQ(0, member_of(b.me, 0, &m));
	EXPECT_EQ(getpid(), m.pid);
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
	barrier_destroy(&b);
}

TEST(group_calls)
{
	struct timespec ts = { 0, 0 };
	struct quiesce_member m;
	struct quiesce_status s;
	struct quiesce_join j;
	struct quiesce_wait w;
	uint64_t ticket, late, phase;
	int group, a, b;

	EXPECT_EQ(-EINVAL, quiesce_group_create(0, 0, 0));
	group = quiesce_group_create(2, 3, 0);
	ASSERT_LE(0, group);
	a = quiesce_group_join(group, 0, &j);
	ASSERT_LE(0, a);
	EXPECT_EQ(0, j.party);
	b = quiesce_group_join(group, QUIESCE_BIND_PROCESS, NULL);
	ASSERT_LE(0, b);

	ASSERT_EQ(0, quiesce_group_arrive(a, &ticket));
	EXPECT_EQ(1, ticket);
	EXPECT_EQ(-ETIMEDOUT, quiesce_group_wait(a, ticket, &w, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(-ETIMEDOUT, quiesce_group_wait(a, ticket, &w, CLOCK_BOOTTIME, &ts));
	EXPECT_EQ(-EINVAL, quiesce_group_wait(a, ticket, &w, CLOCK_PROCESS_CPUTIME_ID, &ts));
	ASSERT_EQ(0, quiesce_group_status(a, &s, &late, 1));
	EXPECT_EQ(2, late);
	ASSERT_EQ(0, quiesce_group_status(a, &s, NULL, 0));
	EXPECT_EQ(1, s.late_words);
	/* The last to arrive leads. */
	EXPECT_EQ(1, quiesce_group_arrive_and_wait(b, &w, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(1, w.index);
	EXPECT_EQ(0, quiesce_group_wait(a, ticket, &w, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, w.index);

	EXPECT_EQ(-ETIMEDOUT, quiesce_group_arrive_and_wait(a, &w, CLOCK_REALTIME, &ts));
	EXPECT_EQ(2, w.ticket);
	EXPECT_EQ(-ETIMEDOUT, quiesce_group_wait_or_break(a, w.ticket, &w, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(-ECONNABORTED, quiesce_group_arrive(b, NULL));
	EXPECT_EQ(0, quiesce_group_reset(group, &phase));
	EXPECT_EQ(3, phase);
	/* Nothing would keep the ticket. */
	EXPECT_EQ(-EINVAL, quiesce_group_arrive_and_wait(a, NULL, CLOCK_MONOTONIC, &ts));
	EXPECT_EQ(0, quiesce_group_arrive_and_drop(a));
	EXPECT_EQ(1, quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL));
	ASSERT_EQ(0, quiesce_group_member(group, 1, &m));
	EXPECT_EQ(3, m.count);
	EXPECT_EQ(0, quiesce_group_abort(group, 77));
	EXPECT_EQ(-ECONNABORTED, quiesce_group_arrive_and_wait(b, &w, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(77, w.cause.code);
	EXPECT_EQ(0, quiesce_group_leave(b));
	EXPECT_EQ(-ENOTCONN, quiesce_group_leave(b));
}

/* A party that has dropped out is not waited for in any phase. */
TEST(dropped_party)
{
	struct timespec past = { 0, 0 };
	struct quiesce_wait w;
	int group = quiesce_group_create(2, 0, 0), a, b;

	ASSERT_LE(0, group);
	a = quiesce_group_join(group, 0, NULL);
	b = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, b);
	EXPECT_EQ(0, quiesce_group_arrive_and_drop(a));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(1, quiesce_group_arrive_and_wait(b, &w, CLOCK_MONOTONIC, &past));
}

static struct gate handled;

static void handler(int sig)
{
	gate_open(&handled);
}

/* A call that would lose its ticket waits on when a signal has interrupted it. */
TEST(ticket_and_signal)
{
	int group = quiesce_group_create(2, 0, 0), a, b;
	pid_t pid;

	ASSERT_LE(0, group);
	a = quiesce_group_join(group, 0, NULL);
	b = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, gate_make(&handled));
	pid = spawn({
		struct sigaction sa = { .sa_handler = handler };

		check(!sigaction(SIGUSR1, &sa, NULL));
		check(quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, kill(pid, SIGUSR1));
	gate_pass(&handled);
	EXPECT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, quiesce_group_arrive(a, NULL));
	EXPECT_EQ(0, join(pid));
}

/* With O_NONBLOCK a call without a struct has a ticket, too. */
TEST(ticket_and_nonblock)
{
	int group = quiesce_group_create(2, 0, 0), a, b;
	struct quiesce_member member = {};
	struct quiesce_join seat = {};

	ASSERT_LE(0, group);
	a = quiesce_group_join(group, 0, &seat);
	b = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, b);
	EXPECT_EQ(0, quiesce_group_arrive(a, NULL));
	EXPECT_EQ(1, quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL));

	ASSERT_EQ(0, fcntl(a, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, quiesce_group_arrive_and_wait(a, NULL, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, quiesce_group_member(a, seat.party, &member));
	EXPECT_EQ(2, member.count);
	EXPECT_EQ(-EAGAIN, quiesce_group_wait(a, member.count, NULL, CLOCK_MONOTONIC, NULL));
	EXPECT_EQ(0, quiesce_group_arrive(b, NULL));
	EXPECT_EQ(0, quiesce_group_wait(a, member.count, NULL, CLOCK_MONOTONIC, NULL));
}

static void wait_by_boottime(void)
{
	int group = quiesce_group_create(2, 0, 0), a, b;
	struct timespec ts;
	pid_t pid, parent = getpid();
	struct quiesce_wait w;
	uint64_t ticket;

	check(group >= 0);
	a = quiesce_group_join(group, 0, NULL);
	b = quiesce_group_join(group, 0, NULL);
	check(b >= 0);
	check(quiesce_group_arrive(a, &ticket) == 0);
	pid = spawn({
		check(wait_asleep(parent));
		check(quiesce_group_arrive(b, NULL) == 0);
	});
	clock_gettime(CLOCK_BOOTTIME, &ts);
	ts.tv_sec += 600;
	check(quiesce_group_wait(a, ticket, &w, CLOCK_BOOTTIME, &ts) == 0);
	check(join(pid) == 0);
}

/* Where it is later by CLOCK_MONOTONIC than the deadline, which is one of CLOCK_BOOTTIME. */
TEST(clock_of_the_deadline)
{
	int ret = in_time_namespace("monotonic 3600 0\n", wait_by_boottime);

	if (ret == 4)
		SKIP(return, "no time namespaces");
	EXPECT_EQ(0, ret);
}
#endif

TEST_HARNESS_MAIN
