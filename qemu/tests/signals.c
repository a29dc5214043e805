// SPDX-License-Identifier: GPL-2.0
/*
 * Signals during every wait: a handler without SA_RESTART ends it with EINTR, one
 * with SA_RESTART does not, and neither causes a second arrival.
 */
#include "ops.h"
#include "barrier.h"
#include "quiesce-group.h"

#define SIGNALS 20		/* one at a time, each upon a sleeping task */
#define STORM 1000		/* as fast as they can be sent */

struct shared {
	_Atomic int handled;
	_Atomic int interrupted;
	int ret;
	struct quiesce_wait w;
};

static struct shared *shared;

static void handler(int sig)
{
	atomic_fetch_add(&shared->handled, 1);
}

static void handle(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

/* One wait, on a pair or on a group, and what ends it. */
FIXTURE(signals)
{
	int me, them;
	int group;
	unsigned long cmd;
	struct quiesce_wait args;
};

FIXTURE_VARIANT(signals)
{
	bool group, arrive;
	unsigned int kind;
};

#define VARIANT(name, g, a, k) \
	FIXTURE_VARIANT_ADD(signals, name) { .group = g, .arrive = a, .kind = k }

VARIANT(wait_next, false, false, QUIESCE_WAIT_NEXT);
VARIANT(sync_next, false, false, QUIESCE_WAIT_SYNC_NEXT);
VARIANT(sync, false, false, QUIESCE_WAIT_SYNC);
VARIANT(wait_abortion, false, false, QUIESCE_WAIT_ABORTION);
VARIANT(place_and_wait_next, false, true, QUIESCE_WAIT_NEXT);
VARIANT(place_and_sync_next, false, true, QUIESCE_WAIT_SYNC_NEXT);
VARIANT(place_and_sync, false, true, QUIESCE_WAIT_SYNC);
VARIANT(place_and_wait_abortion, false, true, QUIESCE_WAIT_ABORTION);
VARIANT(phase, true, false, QUIESCE_WAIT_PHASE);
VARIANT(arrive_and_phase, true, true, QUIESCE_WAIT_PHASE);

FIXTURE_SETUP(signals)
{
	struct quiesce_arrive a;
	int fd[2];

	shared = share(sizeof(*shared));
	self->group = -1;
	self->args = wait_args(variant->kind, QUIESCE_FOREVER);
	self->cmd = variant->arrive ? QUIESCE_IOC_ARRIVE_WAIT : QUIESCE_IOC_WAIT;
	self->args.count = variant->arrive;

	if (variant->group) {
		self->group = make_group(2, 0, 0);
		ASSERT_LE(0, self->group);
		self->me = join_group(self->group, 0, NULL);
		self->them = join_group(self->group, 0, NULL);
		ASSERT_LE(0, self->me);
		ASSERT_LE(0, self->them);
	} else {
		ASSERT_EQ(0, make_pair(0, fd));
		self->me = fd[0];
		self->them = fd[1];
	}
	if (!variant->arrive) {
		ASSERT_EQ(0, arrive(self->me, &a));
		if (variant->group)
			self->args.ticket = a.ticket;
	}
}

FIXTURE_TEARDOWN(signals)
{
}

/* Makes the waiter's condition true. */
static int complete(struct _test_data_signals *self, const struct _fixture_variant_signals *v)
{
	return v->kind == QUIESCE_WAIT_ABORTION ? abort_with(self->them, 0, NULL) :
		place(self->them);
}

#define EXPECT_ONE_PLACE() do {						\
	struct quiesce_member m;					\
									\
	EXPECT_EQ(0, member_of(self->me, 0, &m));			\
	EXPECT_EQ(1, m.count);						\
	/* The arrival's, as long as the wait goes on. */		\
	if (variant->arrive)						\
		EXPECT_EQ(shared->ret ? 1 : 0, shared->w.ticket);	\
} while (0)

/* The call is made again as it was left, whenever it is interrupted. */
static void wait_through(struct _test_data_signals *self)
{
	shared->w = self->args;
	shared->ret = -EINPROGRESS;
	while ((shared->ret = ctl(self->me, self->cmd, &shared->w)) == -EINTR)
		atomic_fetch_add(&shared->interrupted, 1);
}

/* Signals one by one, each upon a task that sleeps in the call. */
#define SEND_ONE_BY_ONE(pid, sig) do {					\
	for (int _i = 1; _i <= SIGNALS; _i++) {				\
		ASSERT_TRUE(wait_asleep(pid));				\
		kill(pid, sig);						\
		while (atomic_load(&shared->handled) < _i) {		\
			ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));	\
			nap();						\
		}							\
	}								\
	ASSERT_TRUE(wait_asleep(pid));					\
} while (0)

TEST_F(signals, eintr_without_restart)
{
	pid_t pid = spawn({
		handle(SIGUSR1, 0);
		wait_through(self);
	});

	SEND_ONE_BY_ONE(pid, SIGUSR1);
	EXPECT_EQ(SIGNALS, shared->interrupted);
	EXPECT_ONE_PLACE();
	ASSERT_EQ(0, complete(self, variant));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, shared->ret);
	EXPECT_ONE_PLACE();
}

TEST_F(signals, goes_on_with_restart)
{
	pid_t pid = spawn({
		handle(SIGUSR1, SA_RESTART);
		wait_through(self);
	});

	SEND_ONE_BY_ONE(pid, SIGUSR1);
	EXPECT_EQ(0, shared->interrupted);
	EXPECT_ONE_PLACE();
	ASSERT_EQ(0, complete(self, variant));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, shared->ret);
	EXPECT_EQ(0, shared->interrupted);
	EXPECT_ONE_PLACE();
}

TEST_F(signals, storm)
{
	pid_t pid = spawn({
		handle(SIGUSR1, 0);
		handle(SIGUSR2, SA_RESTART);
		wait_through(self);
	});

	ASSERT_TRUE(wait_asleep(pid));
	for (int i = 0; i < STORM; i++) {
		kill(pid, i & 1 ? SIGUSR1 : SIGUSR2);
		if (i == STORM / 2)
			ASSERT_EQ(0, complete(self, variant));
	}
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, shared->ret);
	EXPECT_ONE_PLACE();
}

TEST_F(signals, storm_does_not_move_the_deadline)
{
	uint64_t deadline;
	pid_t pid;

	handle(SIGUSR2, SA_RESTART);
	deadline = in_ms(100);
	self->args.deadline = deadline;
	pid = spawn({
		wait_through(self);
	});

	for (;;) {
		siginfo_t info = {};

		kill(pid, SIGUSR2);
		ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT));
		if (info.si_pid)
			break;
		nap();
	}
	/* A storm that never lets it time out ends in the harness's timeout. */
	ASSERT_EQ(0, join(pid));
	EXPECT_LE(deadline, clock_ns(CLOCK_MONOTONIC));
	EXPECT_EQ(-ETIMEDOUT, shared->ret);
	EXPECT_EQ(0, shared->interrupted);
	EXPECT_ONE_PLACE();
}

TEST_F(signals, stop_and_continue)
{
	pid_t pid = spawn({
		wait_through(self);
	});
	int status;

	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(wait_asleep(pid));
		kill(pid, SIGSTOP);
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		ASSERT_TRUE(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		ASSERT_EQ(pid, waitpid(pid, &status, WCONTINUED));
		ASSERT_TRUE(WIFCONTINUED(status));
	}
	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_ONE_PLACE();
	ASSERT_EQ(0, complete(self, variant));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, shared->ret);
	EXPECT_ONE_PLACE();
}

/* The waiter's condition becomes true while it is stopped. */
TEST_F(signals, met_while_stopped)
{
	pid_t pid = spawn({
		wait_through(self);
	});
	int status;

	ASSERT_TRUE(wait_asleep(pid));
	kill(pid, SIGSTOP);
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_EQ(0, complete(self, variant));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	kill(pid, SIGCONT);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, shared->ret);
	EXPECT_ONE_PLACE();
}

TEST_F(signals, kill_is_at_once)
{
	pid_t pid = spawn({
		wait_through(self);
	});

	ASSERT_TRUE(wait_asleep(pid));
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	EXPECT_ONE_PLACE();
}

/* barrier.h: as in systemd no handler ends a wait, and a place is made once. */
TEST(library_waits_are_not_interrupted)
{
	Barrier b = BARRIER_NULL;
	struct quiesce_status s;
	pid_t pid;

	shared = share(sizeof(*shared));
	ASSERT_EQ(0, barrier_create(&b));
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		handle(SIGUSR1, 0);
		check(barrier_place_and_sync(&b));
		check(barrier_place(&b));
		check(barrier_sync(&b));
	});
	barrier_set_role(&b, BARRIER_PARENT);
	SEND_ONE_BY_ONE(pid, SIGUSR1);
	ASSERT_EQ(0, barrier_status(&b, &s));
	EXPECT_EQ(1, s.unread);
	EXPECT_TRUE(barrier_place(&b));
	shared->handled = 0;
	SEND_ONE_BY_ONE(pid, SIGUSR1);
	ASSERT_EQ(0, barrier_status(&b, &s));
	EXPECT_EQ(2, s.unread);
	EXPECT_TRUE(barrier_place(&b));
	ASSERT_EQ(0, join(pid));
}

/* But one with a deadline is. */
TEST(library_waits_until_are_interrupted)
{
	Barrier b = BARRIER_NULL;
	struct quiesce_status s;
	pid_t pid;

	shared = share(sizeof(*shared));
	ASSERT_EQ(0, barrier_create(&b));
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		handle(SIGUSR1, 0);
		check(barrier_place_and_sync_until(&b, CLOCK_MONOTONIC, NULL) == -EINTR);
		check(b.barriers == 1);
		check(barrier_sync_until(&b, CLOCK_MONOTONIC, NULL) == 1);
	});
	barrier_set_role(&b, BARRIER_PARENT);
	ASSERT_TRUE(wait_asleep(pid));
	kill(pid, SIGUSR1);
	while (!atomic_load(&shared->handled))
		nap();
	ASSERT_TRUE(wait_asleep(pid));
	ASSERT_EQ(0, barrier_status(&b, &s));
	EXPECT_EQ(1, s.unread);
	EXPECT_TRUE(barrier_place(&b));
	ASSERT_EQ(0, join(pid));
}

/* quiesce-group.h: nor does a handler end a wait that has nothing to keep the ticket in. */
TEST(library_meets_without_a_struct)
{
	int group = quiesce_group_create(2, 0, 0), a, b;
	struct quiesce_member m;
	pid_t pid;

	ASSERT_LE(0, group);
	shared = share(sizeof(*shared));
	a = quiesce_group_join(group, 0, NULL);
	b = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	pid = spawn({
		handle(SIGUSR1, 0);
		check(quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL) == 0);
		check(quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL) == 0);
	});
	for (int phase = 1; phase <= 2; phase++) {
		shared->handled = 0;
		SEND_ONE_BY_ONE(pid, SIGUSR1);
		ASSERT_EQ(0, member_of(group, 1, &m));
		EXPECT_EQ(phase, m.count);
		EXPECT_EQ(0, place(a));
	}
	ASSERT_EQ(0, join(pid));
}

/* EINTR gives the state as of the return: the wait has read arrivals while it slept. */
TEST(balance_after_a_signal)
{
	struct quiesce_status s;
	pid_t pid;
	int fd[2];

	shared = share(sizeof(*shared));
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, place(fd[0]));
	ASSERT_EQ(0, place(fd[0]));
	pid = spawn({
		handle(SIGUSR1, 0);
		shared->ret = wait_for(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &shared->w);
	});
	ASSERT_TRUE(wait_asleep(pid));
	ASSERT_EQ(0, place(fd[1]));
	do {
		ASSERT_EQ(0, status_of(fd[0], &s));
	} while (s.unread);
	ASSERT_TRUE(wait_asleep(pid));
	kill(pid, SIGUSR1);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-EINTR, shared->ret);
	EXPECT_EQ(1, s.balance);
	EXPECT_EQ(1, shared->w.balance);
	EXPECT_EQ(0, shared->w.view);
	EXPECT_EQ(0, shared->w.ticket);
}

/* The same where another holder of the party has arrived. */
TEST(balance_after_a_signal_and_a_place)
{
	pid_t pid;
	int fd[2];

	shared = share(sizeof(*shared));
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, place(fd[0]));
	pid = spawn({
		handle(SIGUSR1, 0);
		shared->ret = place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &shared->w);
	});
	ASSERT_TRUE(wait_asleep(pid));
	ASSERT_EQ(0, place(fd[0]));
	kill(pid, SIGUSR1);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-EINTR, shared->ret);
	EXPECT_EQ(3, shared->w.balance);
	EXPECT_EQ(2, shared->w.ticket);
}

/*
 * A wait prefers EINTR to ETIMEDOUT: a signal before the deadline counts, also if the
 * task runs again only after it. So it breaks nothing.
 */
TEST(signal_before_the_deadline)
{
	struct sched_param first = { .sched_priority = 1 }, other = {};
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	/* Until the task slept in time. */
	for (int ms = 200; ; ms *= 2) {
		int group = make_group(2, 0, 0), a;
		uint64_t deadline;
		bool in_time;
		pid_t pid;
		int ret;

		ASSERT_GT(30000, ms);
		ASSERT_LE(0, a = join_group(group, 0, NULL));
		ASSERT_LE(0, join_group(group, 0, NULL));
		ASSERT_EQ(0, place(a));
		shared = share(sizeof(*shared));
		deadline = in_ms(ms);
		pid = spawn({
			struct quiesce_wait w = wait_args(QUIESCE_WAIT_PHASE, deadline);

			handle(SIGUSR1, 0);
			w.flags = QUIESCE_WAIT_BREAK;
			w.ticket = 1;
			_exit(ctl(a, QUIESCE_IOC_WAIT, &w) == -EINTR ? 7 : 1);
		});
		while (!asleep_in(pid, SYS_WAIT) && clock_ns(CLOCK_MONOTONIC) < deadline)
			nap();
		ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
		kill(pid, SIGUSR1);
		in_time = clock_ns(CLOCK_MONOTONIC) < deadline;
		/* The child has this CPU alone, and does not get it. */
		while (clock_ns(CLOCK_MONOTONIC) < deadline + 10 * NSEC_PER_MSEC)
			;
		ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &other));
		ret = join(pid);
		if (in_time) {
			EXPECT_EQ(7, ret);
			EXPECT_EQ(0, poll_now(group) & (POLLPRI | POLLERR));
			break;
		}
		close(a);
		close(group);
	}
}

TEST_HARNESS_MAIN
