// SPDX-License-Identifier: GPL-2.0
/*
 * A pair: each call in each state of the other side, where that state was
 * reached before the call, and where it is reached while the call waits.
 */
#include "ops.h"

/* The way in which the other party ends, if it does. */
enum ending {
	LIVES,		/* does nothing further */
	ABORTS,
	CLOSES,		/* its process lives on */
	EXECS,
	EXITS,
	KILLED_IDLE,
	KILLED_WAITING,	/* asleep in a wait */
	LEAKS,		/* exits, and a grandchild has a copy of the descriptor */
	LEAKS_BOUND,	/* the same, but the party is bound to the process */
};

#define ABORT_CODE 0x1234567890abcdefULL
#define EXIT_CODE 23

EXEC_MAIN
{
	pause();
}

FIXTURE(pair)
{
	int me, them;
	pid_t other;		/* the process that has the other side */
	pid_t grandchild;
	struct gate ready;	/* the other side has done its first part */
	struct gate end;	/* the other side may end */
	int *shared;		/* grandchild's pid */
};

FIXTURE_VARIANT(pair)
{
	enum ending ending;
	unsigned int places;	/* that the other side makes before */
};

#define VARIANT(name, e, n) \
	FIXTURE_VARIANT_ADD(pair, name) { .ending = e, .places = n }

VARIANT(nothing, LIVES, 0);
VARIANT(placed, LIVES, 1);
VARIANT(placed_3, LIVES, 3);
VARIANT(aborted, ABORTS, 0);
VARIANT(placed_aborted, ABORTS, 2);
VARIANT(closed, CLOSES, 0);
VARIANT(placed_closed, CLOSES, 2);
VARIANT(execed, EXECS, 0);
VARIANT(placed_execed, EXECS, 1);
VARIANT(exited, EXITS, 0);
VARIANT(placed_exited, EXITS, 2);
VARIANT(killed, KILLED_IDLE, 0);
VARIANT(placed_killed, KILLED_IDLE, 2);
VARIANT(killed_waiting, KILLED_WAITING, 0);
VARIANT(leaked, LEAKS, 0);
VARIANT(placed_leaked, LEAKS, 1);
VARIANT(leaked_bound, LEAKS_BOUND, 0);
VARIANT(placed_leaked_bound, LEAKS_BOUND, 1);

/* The other side's process. */
static void be_other(struct _test_data_pair *self, const struct _fixture_variant_pair *variant)
{
	int fd = self->them;

	close(self->me);
	if (variant->ending == LEAKS_BOUND)
		check(bind_to_me(fd, QUIESCE_BIND_PROCESS) == 0);
	else
		check(bind_to_me(fd, 0) == 0);
	for (unsigned int i = 0; i < variant->places; i++)
		check(place(fd) == 0);
	if (variant->ending == LEAKS || variant->ending == LEAKS_BOUND) {
		/* It has to survive this process. */
		pid_t pid = fork();

		check(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, 0);
			for (;;)
				pause();
		}
		*self->shared = pid;
	}
	gate_open(&self->ready);
	if (variant->ending == KILLED_WAITING)
		wait_for(fd, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, NULL);
	gate_pass(&self->end);

	switch (variant->ending) {
	case ABORTS:
		check(abort_with(fd, ABORT_CODE, NULL) == 0);
		break;
	case CLOSES:
		close(fd);
		break;
	case EXECS:
		exec_self("pause", -1);
		break;
	case EXITS:
	case LEAKS:
	case LEAKS_BOUND:
		_exit(EXIT_CODE);
	default:
		break;
	}
	gate_open(&self->ready);
	for (;;)
		pause();
}

FIXTURE_SETUP(pair)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	self->me = fd[0];
	self->them = fd[1];
	ASSERT_EQ(0, gate_make(&self->ready));
	ASSERT_EQ(0, gate_make(&self->end));
	self->shared = share(sizeof(int));

	self->other = spawn({ be_other(self, variant); });
	ASSERT_LT(0, self->other);
	close(self->them);
	gate_pass(&self->ready);
	self->grandchild = *self->shared;
	if (variant->ending == KILLED_WAITING)
		ASSERT_TRUE(wait_asleep(self->other));
}

FIXTURE_TEARDOWN(pair)
{
	kill(self->other, SIGKILL);
	if (self->grandchild > 0)
		kill(self->grandchild, SIGKILL);
}

/* Returns whether the other party has ended in a way that is reported to this one. */
static bool is_over(enum ending e)
{
	return e != LIVES && e != LEAKS;
}

static bool is_dead(enum ending e)
{
	return is_over(e) && e != ABORTS;
}

/* Ends the other party, and returns when the kernel has noticed. */
static int end_other(struct _test_data_pair *self, const struct _fixture_variant_pair *variant)
{
	struct pollfd p = { .fd = self->me, .events = POLLRDHUP | POLLPRI };

	switch (variant->ending) {
	case LIVES:
		return 0;
	case KILLED_IDLE:
	case KILLED_WAITING:
		kill(self->other, SIGKILL);
		break;
	default:
		gate_open(&self->end);
	}

	switch (variant->ending) {
	case ABORTS:
	case CLOSES:
		gate_pass(&self->ready);
		return 0;
	case EXECS:
		/* Only the poll reports that exec() has closed the descriptor. */
		return poll(&p, 1, -1) == 1 ? 0 : -errno;
	case KILLED_IDLE:
	case KILLED_WAITING:
		return join(self->other) == KILLED ? 0 : -ECHILD;
	default:
		/* The parties of a process have ended before wait() returns its status. */
		return join(self->other) == EXIT_CODE ? 0 : -ECHILD;
	}
}

/* The errno of a call that finds that the other side has ended. */
static int end_errno(enum ending e)
{
	return e == ABORTS ? -ECONNABORTED : -EOWNERDEAD;
}

#define EXPECT_CAUSE(c) do {						\
	const struct quiesce_cause *_c = (c);				\
	unsigned int _cause = QUIESCE_CAUSE_NONE;			\
	int _status = 0;						\
									\
	switch (variant->ending) {					\
	case LIVES:							\
	case LEAKS:							\
		break;							\
	case ABORTS:							\
		_cause = QUIESCE_CAUSE_ABORT;				\
		break;							\
	case CLOSES:							\
		_cause = QUIESCE_CAUSE_CLOSE;				\
		break;							\
	case EXECS:							\
		_cause = QUIESCE_CAUSE_EXEC;				\
		break;							\
	case EXITS:							\
	case LEAKS_BOUND:						\
		_cause = QUIESCE_CAUSE_EXIT;				\
		_status = EXIT_CODE;					\
		break;							\
	case KILLED_IDLE:						\
	case KILLED_WAITING:						\
		_cause = QUIESCE_CAUSE_SIGNAL;				\
		_status = SIGKILL;					\
		break;							\
	}								\
	EXPECT_EQ(_cause, _c->cause);					\
	EXPECT_EQ(_status, _c->status);					\
	if (_cause != QUIESCE_CAUSE_NONE) {				\
		EXPECT_EQ(1, _c->party);				\
		EXPECT_EQ(self->other, _c->pid);			\
	}								\
	EXPECT_EQ(_cause == QUIESCE_CAUSE_ABORT ? ABORT_CODE : 0, _c->code);	\
} while (0)

/* The result of a wait that reads, wants a place, and has none. */
#define EXPECT_UNMET(ret, w) do {					\
	int _ret = (ret);						\
									\
	if (is_over(variant->ending)) {					\
		EXPECT_EQ(end_errno(variant->ending), _ret);		\
		EXPECT_EQ(QUIESCE_THEY_ABORTED, (w)->view);		\
		EXPECT_CAUSE(&(w)->cause);				\
	} else {							\
		EXPECT_EQ(-ETIMEDOUT, _ret);				\
		EXPECT_EQ(0, (w)->view);				\
		EXPECT_EQ(QUIESCE_CAUSE_NONE, (w)->cause.cause);	\
	}								\
} while (0)

/* Does it find places? An abort has swallowed those that were unread. */
static unsigned int readable(const struct _fixture_variant_pair *variant)
{
	return variant->ending == ABORTS ? 0 : variant->places;
}

TEST_F(pair, place_sees_nothing)
{
	struct quiesce_arrive a;

	ASSERT_EQ(0, end_other(self, variant));
	for (int i = 1; i <= 3; i++) {
		EXPECT_EQ(0, arrive(self->me, &a));
		EXPECT_EQ(i, a.ticket);
		EXPECT_EQ(i, a.balance);
		EXPECT_EQ(0, a.index);
		EXPECT_EQ(0, a.view);
		EXPECT_EQ(QUIESCE_CAUSE_NONE, a.cause.cause);
	}
}

TEST_F(pair, wait_next)
{
	struct quiesce_wait w;
	int ret;

	ASSERT_EQ(0, end_other(self, variant));
	ret = wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
	if (readable(variant)) {
		/* All at once. */
		EXPECT_EQ(0, ret);
		EXPECT_EQ(0, w.view);
		EXPECT_EQ(-(int64_t)variant->places, w.balance);
		ret = wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
	}
	EXPECT_UNMET(ret, &w);
}

TEST_F(pair, wait_next_ignores_own_places)
{
	struct quiesce_wait w;
	int ret;

	ASSERT_EQ(0, end_other(self, variant));
	EXPECT_EQ(0, place(self->me));
	EXPECT_EQ(0, place(self->me));
	ret = wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
	if (readable(variant)) {
		EXPECT_EQ(0, ret);
		EXPECT_EQ(2 - (int64_t)variant->places, w.balance);
		EXPECT_EQ(0, place(self->me));
		ret = wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
	}
	EXPECT_UNMET(ret, &w);
}

TEST_F(pair, sync_of_level_side_reads_nothing)
{
	struct quiesce_status s;
	struct quiesce_wait w;

	ASSERT_EQ(0, end_other(self, variant));
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));
	EXPECT_EQ(0, w.view);
	EXPECT_EQ(0, w.balance);
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_SYNC_NEXT, QUIESCE_NOW, &w));
	EXPECT_EQ(0, w.view);
	EXPECT_EQ(0, w.balance);
	EXPECT_EQ(0, status_of(self->me, &s));
	EXPECT_EQ(0, s.balance);
	if (variant->ending != ABORTS)
		EXPECT_EQ(variant->places, s.unread);
}

TEST_F(pair, sync)
{
	struct quiesce_wait w;
	unsigned int n = readable(variant);

	ASSERT_EQ(0, end_other(self, variant));
	for (unsigned int i = 0; i < n; i++)
		EXPECT_EQ(0, place(self->me));
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));
	EXPECT_EQ(0, w.view);
	EXPECT_EQ(0, w.balance);
	/* One more than they made. */
	EXPECT_EQ(0, place(self->me));
	EXPECT_UNMET(wait_for(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w), &w);
	EXPECT_EQ(1, w.balance);
}

TEST_F(pair, sync_next)
{
	struct quiesce_wait w;
	unsigned int n = readable(variant);
	int ret;

	ASSERT_EQ(0, end_other(self, variant));
	for (unsigned int i = 0; i < n + 2; i++)
		EXPECT_EQ(0, place(self->me));
	ret = wait_for(self->me, QUIESCE_WAIT_SYNC_NEXT, QUIESCE_NOW, &w);
	if (n) {
		EXPECT_EQ(0, ret);
		EXPECT_EQ(2, w.balance);
		ret = wait_for(self->me, QUIESCE_WAIT_SYNC_NEXT, QUIESCE_NOW, &w);
	}
	EXPECT_UNMET(ret, &w);
}

TEST_F(pair, place_and_sync)
{
	struct quiesce_wait w;
	unsigned int n = readable(variant);

	ASSERT_EQ(0, end_other(self, variant));
	for (unsigned int i = 1; i <= n; i++) {
		EXPECT_EQ(0, place_wait(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));
		EXPECT_EQ(0, w.view);
		EXPECT_EQ(0, w.ticket);
		/* The first has read them all. */
		EXPECT_EQ((int64_t)i - n, w.balance);
	}
	EXPECT_UNMET(place_wait(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w), &w);
	/* The ticket is for the same call to go on with, if it can. */
	EXPECT_EQ(is_over(variant->ending) ? 0 : n + 1, w.ticket);
	EXPECT_EQ(1, w.balance);
}

TEST_F(pair, place_and_sync_again_places_once)
{
	struct quiesce_status s;
	struct quiesce_wait w;
	int first, second;

	ASSERT_EQ(0, end_other(self, variant));
	first = place_wait(self->me, QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w);
	EXPECT_EQ(first == -ETIMEDOUT ? 1 : 0, w.ticket);
	if (first != -ETIMEDOUT)
		return;
	second = ctl(self->me, QUIESCE_IOC_ARRIVE_WAIT, &w);
	EXPECT_EQ(first, second);
	EXPECT_EQ(1, w.ticket);
	EXPECT_EQ(0, status_of(self->me, &s));
	EXPECT_EQ(1, s.sent);
}

TEST_F(pair, wait_abortion)
{
	struct quiesce_wait w;
	int ret;

	ASSERT_EQ(0, end_other(self, variant));
	ret = wait_for(self->me, QUIESCE_WAIT_ABORTION, QUIESCE_NOW, &w);
	if (is_over(variant->ending)) {
		EXPECT_EQ(0, ret);
		EXPECT_EQ(QUIESCE_THEY_ABORTED, w.view);
		EXPECT_CAUSE(&w.cause);
	} else {
		EXPECT_EQ(-ETIMEDOUT, ret);
		EXPECT_EQ(0, w.view);
		EXPECT_EQ(-(int64_t)variant->places, w.balance);
	}
}

TEST_F(pair, after_own_abort)
{
	struct quiesce_arrive p;
	struct quiesce_abort a;
	struct quiesce_wait w;
	int ret;

	ASSERT_EQ(0, end_other(self, variant));
	EXPECT_EQ(0, abort_with(self->me, 1, &a));
	EXPECT_EQ(QUIESCE_I_ABORTED, a.view);
	EXPECT_EQ(0, abort_with(self->me, 2, &a));
	EXPECT_EQ(QUIESCE_I_ABORTED, a.view);

	/* Its results are written, and there is no cause: that is this side itself. */
	EXPECT_EQ(-ESHUTDOWN, arrive(self->me, &p));
	EXPECT_EQ(QUIESCE_I_ABORTED, p.view);
	EXPECT_EQ(0, p.ticket);
	EXPECT_EQ(0, p.balance);
	EXPECT_EQ(0, p.index);
	EXPECT_EQ(0, p.result);
	EXPECT_EQ(QUIESCE_CAUSE_NONE, p.cause.cause);
	EXPECT_EQ(-ESHUTDOWN, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_I_ABORTED, w.view);
	EXPECT_EQ(-ESHUTDOWN, wait_for(self->me, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w));
	EXPECT_EQ(-ESHUTDOWN, wait_for(self->me, QUIESCE_WAIT_SYNC_NEXT, QUIESCE_FOREVER, &w));
	EXPECT_EQ(-ESHUTDOWN, place_wait(self->me, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_I_ABORTED, w.view);

	ret = wait_for(self->me, QUIESCE_WAIT_ABORTION, QUIESCE_NOW, &w);
	if (is_over(variant->ending)) {
		EXPECT_EQ(-ESHUTDOWN, ret);
		EXPECT_EQ(QUIESCE_I_ABORTED | QUIESCE_THEY_ABORTED, w.view);
	} else {
		EXPECT_EQ(-ETIMEDOUT, ret);
		EXPECT_EQ(QUIESCE_I_ABORTED, w.view);
	}
}

TEST_F(pair, after_their_end_in_view)
{
	struct quiesce_arrive p;
	struct quiesce_abort a;
	struct quiesce_wait w;
	int err = end_errno(variant->ending);

	ASSERT_EQ(0, end_other(self, variant));
	if (!is_over(variant->ending))
		return;
	ASSERT_EQ(0, wait_for(self->me, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, &w));

	EXPECT_EQ(err, arrive(self->me, &p));
	EXPECT_EQ(QUIESCE_THEY_ABORTED, p.view);
	EXPECT_CAUSE(&p.cause);
	EXPECT_EQ(err, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, &w));
	EXPECT_CAUSE(&w.cause);
	EXPECT_EQ(err, wait_for(self->me, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w));
	EXPECT_CAUSE(&w.cause);
	EXPECT_EQ(err, wait_for(self->me, QUIESCE_WAIT_SYNC_NEXT, QUIESCE_FOREVER, &w));
	EXPECT_EQ(err, place_wait(self->me, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w));
	EXPECT_CAUSE(&w.cause);
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, &w));

	EXPECT_EQ(0, abort_with(self->me, 0, &a));
	EXPECT_EQ(QUIESCE_I_ABORTED | QUIESCE_THEY_ABORTED, a.view);
	EXPECT_EQ(-ESHUTDOWN, place(self->me));
	EXPECT_EQ(-ESHUTDOWN, wait_for(self->me, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, &w));
}

TEST_F(pair, status_tells_the_truth)
{
	struct quiesce_member m;
	struct quiesce_status s;

	ASSERT_EQ(0, end_other(self, variant));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(0, status_of(self->me, &s));
	EXPECT_EQ(QUIESCE_KIND_PAIR, s.kind);
	EXPECT_EQ(0, s.party);
	EXPECT_EQ(0, s.view);
	EXPECT_EQ(0, s.state);
	EXPECT_EQ(2, s.parties);
	EXPECT_EQ(1, s.balance);
	EXPECT_EQ(1, s.sent);
	EXPECT_EQ(0, s.waiting);
	if (variant->ending != ABORTS)
		EXPECT_EQ(variant->places, s.unread);
	EXPECT_CAUSE(&s.cause);

	ASSERT_EQ(0, member_of(self->me, 1, &m));
	EXPECT_EQ(variant->places, m.count);
	EXPECT_EQ(0, m.waiting);
	EXPECT_CAUSE(&m.cause);
	EXPECT_EQ(variant->ending == ABORTS ? QUIESCE_STATE_ABORTED :
		  is_dead(variant->ending) ? QUIESCE_STATE_ENDED : 0,
		  m.state & ~QUIESCE_STATE_BOUND);

	ASSERT_EQ(0, member_of(self->me, 0, &m));
	EXPECT_EQ(1, m.count);
	EXPECT_EQ(0, m.state);
	EXPECT_EQ(getpid(), m.pid);
	EXPECT_EQ(QUIESCE_CAUSE_NONE, m.cause.cause);

	/* And has not changed what this side knows. */
	ASSERT_EQ(0, status_of(self->me, &s));
	EXPECT_EQ(0, s.view);
	EXPECT_EQ(0, place(self->me));
}

TEST_F(pair, poll_levels)
{
	struct quiesce_wait w;
	short end = 0;

	ASSERT_EQ(0, end_other(self, variant));
	if (variant->ending == ABORTS)
		end = POLLPRI | POLLERR;
	else if (is_dead(variant->ending))
		end = POLLRDHUP | POLLHUP;

	if (variant->places) {
		/* An end is not POLLHUP while arrivals are unread; an abort supersedes them. */
		short expected = POLLOUT | (variant->ending == ABORTS ? 0 : POLLIN) |
				 (end & ~POLLHUP);

		EXPECT_EQ(expected, poll_now(self->me));
		EXPECT_EQ(expected, poll_now(self->me));
		wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
		EXPECT_EQ(end | (w.view ? 0 : POLLOUT), poll_now(self->me));
	}
	wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w);
	EXPECT_EQ(end | (w.view ? 0 : POLLOUT), poll_now(self->me));
}

/*
 * The same endings, reached while a call of this side sleeps. The waiter is a
 * child, which reports the result of its call.
 */
struct report {
	int ret;
	struct quiesce_wait w;
};

#define EXPECT_WOKEN(kind_, places_, place_) do {			\
	struct report *r = share(sizeof(*r));				\
	struct quiesce_wait w;						\
	struct quiesce_status s;					\
	pid_t waiter;							\
									\
	/* All places are read before: nothing but the end can wake. */	\
	if (variant->places)						\
		ASSERT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));	\
	for (int i = 0; i < (int)(places_); i++)			\
		ASSERT_EQ(0, place(self->me));				\
	waiter = spawn({						\
		r->w = wait_args(kind_, QUIESCE_FOREVER);		\
		r->w.count = place_;					\
		r->ret = ctl(self->me, place_ ? QUIESCE_IOC_ARRIVE_WAIT :	\
			     QUIESCE_IOC_WAIT, &r->w);			\
	});								\
	ASSERT_TRUE(wait_asleep(waiter));				\
	ASSERT_EQ(0, status_of(self->me, &s));				\
	EXPECT_EQ(1 + (variant->ending == KILLED_WAITING), s.waiting);	\
	ASSERT_EQ(0, end_other(self, variant));				\
	if (!is_over(variant->ending)) {				\
		/* Still asleep; it ends with the last copy. */		\
		EXPECT_TRUE(wait_asleep(waiter));			\
		EXPECT_EQ(0, waitpid(waiter, NULL, WNOHANG));		\
		w = wait_args(kind_, in_ms(BLOCKS_MS));			\
		EXPECT_EQ(-ETIMEDOUT, ctl(self->me, QUIESCE_IOC_WAIT, &w));	\
		kill(variant->ending == LEAKS ? self->grandchild : self->other, SIGKILL); \
		ASSERT_EQ(0, join(waiter));				\
		EXPECT_EQ(kind_ == QUIESCE_WAIT_ABORTION ? 0 : -EOWNERDEAD, r->ret);	\
		EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, r->w.cause.cause);	\
		EXPECT_EQ(SIGKILL, r->w.cause.status);			\
		EXPECT_EQ(variant->ending == LEAKS ? self->grandchild : self->other, \
			  r->w.cause.pid);				\
	} else {							\
		ASSERT_EQ(0, join(waiter));				\
		EXPECT_EQ(kind_ == QUIESCE_WAIT_ABORTION ? 0 :		\
			  end_errno(variant->ending), r->ret);		\
		EXPECT_CAUSE(&r->w.cause);				\
	}								\
	EXPECT_EQ(QUIESCE_THEY_ABORTED, r->w.view);			\
	ASSERT_EQ(0, status_of(self->me, &s));				\
	EXPECT_EQ(QUIESCE_THEY_ABORTED, s.view);			\
	EXPECT_EQ(0, s.waiting);					\
} while (0)

TEST_F(pair, wait_next_is_woken)
{
	EXPECT_WOKEN(QUIESCE_WAIT_NEXT, 0, 0);
}

TEST_F(pair, sync_is_woken)
{
	EXPECT_WOKEN(QUIESCE_WAIT_SYNC, variant->places + 1, 0);
}

TEST_F(pair, sync_next_is_woken)
{
	EXPECT_WOKEN(QUIESCE_WAIT_SYNC_NEXT, variant->places + 1, 0);
}

TEST_F(pair, place_and_sync_is_woken)
{
	EXPECT_WOKEN(QUIESCE_WAIT_SYNC, variant->places, 1);
}

TEST_F(pair, wait_abortion_is_woken)
{
	EXPECT_WOKEN(QUIESCE_WAIT_ABORTION, 0, 0);
}

/* An arrival wakes the other side before its own call sleeps. */
TEST(arrives_and_sleeps)
{
	pid_t next, sync;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	next = spawn({
		check(wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(next));
	sync = spawn({
		check(place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(sync));
	ASSERT_FALSE(asleep_in(next, SYS_WAIT));
	EXPECT_EQ(0, join(next));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, join(sync));
}

/* A wait that times out writes what it has read while it slept, too. */
TEST(timeout_after_too_few_places)
{
	struct report *r = share(sizeof(*r));
	uint64_t deadline = 0, placed = UINT64_MAX;

	/* Until the place came before a deadline. */
	for (int ms = 200; ms < 60000 && placed >= deadline; ms *= 2) {
		struct quiesce_status s;
		pid_t pid;
		int fd[2];

		ASSERT_EQ(0, make_pair(0, fd));
		ASSERT_EQ(0, place(fd[0]));
		ASSERT_EQ(0, place(fd[0]));
		deadline = in_ms(ms);
		pid = spawn({
			r->ret = wait_for(fd[0], QUIESCE_WAIT_SYNC, deadline, &r->w);
		});
		do {
			ASSERT_EQ(0, status_of(fd[1], &s));
		} while (!s.waiting && clock_ns(CLOCK_MONOTONIC) < deadline);
		ASSERT_EQ(0, place(fd[1]));
		placed = clock_ns(CLOCK_MONOTONIC);
		ASSERT_EQ(0, join(pid));
		ASSERT_EQ(0, status_of(fd[0], &s));
		close(fd[0]);
		close(fd[1]);
		if (placed >= deadline)
			continue;
		EXPECT_EQ(-ETIMEDOUT, r->ret);
		EXPECT_EQ(1, s.balance);
		EXPECT_EQ(1, r->w.balance);
		EXPECT_EQ(0, r->w.view);
	}
	EXPECT_GT(deadline, placed);
}

/* Late is the side that has placed less often. */
TEST(late_side)
{
	struct quiesce_status s;
	uint64_t late;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	for (int side = 0; side < 2; side++) {
		ASSERT_EQ(0, status_late(fd[side], &s, &late));
		EXPECT_EQ(0, late);
		EXPECT_EQ(1, s.late_words);
	}
	EXPECT_EQ(0, place(fd[1]));
	ASSERT_EQ(0, status_late(fd[0], &s, &late));
	EXPECT_EQ(1 << 0, late);
	EXPECT_EQ(0, place(fd[0]));
	EXPECT_EQ(0, place(fd[0]));
	ASSERT_EQ(0, status_late(fd[0], &s, &late));
	EXPECT_EQ(1 << 1, late);
}

/* A second abort changes nothing. */
TEST(first_abort_counts)
{
	struct quiesce_wait w;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, abort_with(fd[0], 5, NULL));
	EXPECT_EQ(0, abort_with(fd[0], 6, NULL));
	EXPECT_EQ(-ECONNABORTED, wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w));
	EXPECT_EQ(QUIESCE_CAUSE_ABORT, w.cause.cause);
	EXPECT_EQ(5, w.cause.code);
}

struct stalled {
	int fd, ret;
	struct quiesce_wait *w;
};

static void *wait_thread(void *arg)
{
	struct stalled *s = arg;

	s->ret = ctl(s->fd, QUIESCE_IOC_WAIT, s->w);
	return NULL;
}

/* An arrival that another task reads while a wait has its memory made writable ends that wait. */
TEST(read_while_the_memory_of_a_wait_is_faulted_in)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct uffdio_writeprotect writable = {};
	struct stalled s;
	pthread_t thread;
	int uffd, fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	s.fd = fd[0];
	s.w = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(s.w != MAP_FAILED);
	*s.w = wait_args(QUIESCE_WAIT_NEXT, in_ms(10000));
	uffd = stall_writes(s.w);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_thread, &s));
	wait_stalled(uffd);
	ASSERT_EQ(0, place(fd[1]));
	ASSERT_EQ(0, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	writable.range.start = (uintptr_t)s.w;
	writable.range.len = page;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &writable));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, s.ret);
	close(uffd);
}

TEST_HARNESS_MAIN
