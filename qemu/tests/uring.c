// SPDX-License-Identifier: GPL-2.0
/* io_uring's poll on parties of a pair and of a group. */
#include "ops.h"

#include <liburing.h>

FIXTURE(uring)
{
	struct io_uring ring;
	int fd[2];
};

FIXTURE_SETUP(uring)
{
	ASSERT_EQ(0, io_uring_queue_init(8, &self->ring, 0));
	ASSERT_EQ(0, make_pair(0, self->fd));
}

FIXTURE_TEARDOWN(uring)
{
	io_uring_queue_exit(&self->ring);
}

static int submit_poll(struct io_uring *ring, int fd, unsigned int mask, bool multishot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (multishot)
		io_uring_prep_poll_multishot(sqe, fd, mask);
	else
		io_uring_prep_poll_add(sqe, fd, mask);
	return io_uring_submit(ring);
}

/* The next completion's result; -ETIME when there is none now. */
static int reap(struct io_uring *ring, bool wait, bool *more)
{
	struct __kernel_timespec none = {};
	struct io_uring_cqe *cqe;
	int ret;

	ret = wait ? io_uring_wait_cqe(ring, &cqe) : io_uring_wait_cqe_timeout(ring, &cqe, &none);
	if (ret < 0)
		return ret;
	ret = cqe->res;
	if (more)
		*more = cqe->flags & IORING_CQE_F_MORE;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

TEST_F(uring, place)
{
	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, false));
	EXPECT_EQ(-ETIME, reap(&self->ring, false, NULL));
	ASSERT_EQ(0, place(self->fd[1]));
	EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
	/* A level. */
	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, false));
	EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
}

TEST_F(uring, many_places_by_multishot)
{
	bool more;

	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, true));
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, place(self->fd[1]));
		EXPECT_EQ(POLLIN, reap(&self->ring, true, &more));
		EXPECT_TRUE(more);
		EXPECT_EQ(0, wait_for(self->fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	}
}

TEST_F(uring, death)
{
	struct gate g;
	pid_t pid;

	ASSERT_EQ(0, gate_make(&g));
	pid = spawn({
		gate_open(&g);
		pause();
	});
	close(self->fd[1]);
	gate_pass(&g);
	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLRDHUP, false));
	EXPECT_EQ(-ETIME, reap(&self->ring, false, NULL));
	kill(pid, SIGKILL);
	EXPECT_EQ(POLLRDHUP | POLLHUP, reap(&self->ring, true, NULL));
	ASSERT_EQ(KILLED, join(pid));
}

TEST_F(uring, abort)
{
	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLPRI, false));
	ASSERT_EQ(0, abort_with(self->fd[1], 0, NULL));
	EXPECT_EQ(POLLPRI | POLLERR, reap(&self->ring, true, NULL));
}

TEST_F(uring, phases)
{
	int group = make_group(2, 0, 0), a, b;

	ASSERT_LE(0, group);
	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	for (int i = 1; i <= 10; i++) {
		ASSERT_EQ(0, place(a));
		ASSERT_EQ(1, submit_poll(&self->ring, a, POLLIN, false));
		EXPECT_EQ(-ETIME, reap(&self->ring, false, NULL));
		ASSERT_EQ(0, place(b));
		EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
		EXPECT_EQ(0, wait_phase(a, i, QUIESCE_NOW, NULL));
	}
	ASSERT_EQ(1, submit_poll(&self->ring, a, POLLPRI, false));
	close(b);
	EXPECT_EQ(POLLPRI | POLLERR, reap(&self->ring, true, NULL));
}

/* The end of a phase is no event for the party whose own call has ended and reported it. */
TEST_F(uring, own_wait_reports_the_phase)
{
	int group = make_group(2, 0, 0), a, b;
	struct quiesce_wait w;

	ASSERT_LE(0, group);
	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(1, submit_poll(&self->ring, b, POLLIN, false));
	for (int i = 1; i <= 3; i++) {
		ASSERT_EQ(0, place(a));
		ASSERT_EQ(0, meet(b, QUIESCE_NOW, &w));
		ASSERT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w.result);
		EXPECT_EQ(0, poll_now(b) & POLLIN);
		EXPECT_EQ(-ETIME, reap(&self->ring, false, NULL));
		EXPECT_EQ(0, wait_phase(a, i, QUIESCE_NOW, NULL));
	}
	/* The next phase ends by the other's arrival. */
	ASSERT_EQ(0, place(b));
	ASSERT_EQ(0, place(a));
	EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
}

TEST_F(uring, own_complete_reports_the_phase)
{
	int group = make_group(2, 0, QUIESCE_GROUP_COMPLETION), a, b;
	struct quiesce_complete c = {};
	struct quiesce_wait w;
	bool more = false;

	ASSERT_LE(0, group);
	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(1, submit_poll(&self->ring, b, POLLIN, true));
	ASSERT_EQ(0, place(a));
	ASSERT_EQ(0, meet(b, QUIESCE_NOW, &w));
	ASSERT_EQ(QUIESCE_RESULT_LEADER, w.result);
	EXPECT_EQ(POLLIN, reap(&self->ring, true, &more));
	EXPECT_TRUE(more);
	c.ticket = w.ticket;
	ASSERT_EQ(0, ctl(b, QUIESCE_IOC_COMPLETE, &c));
	EXPECT_EQ(0, poll_now(b) & POLLIN);
	EXPECT_EQ(-ETIME, reap(&self->ring, false, NULL));
}

/* What the tasks of late_poll have. */
struct late {
	int *fd;
	int reader;
};

static void *wait_for_abortion(void *fd)
{
	check(wait_for(*(int *)fd, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, NULL) == 0);
	return NULL;
}

static void *arrive_once(void *arg)
{
	struct late *late = arg;

	hold_cpu(0, 1);
	check(sched_getscheduler(0) == SCHED_FIFO);
	check(wait_asleep(late->reader));
	check(place(late->fd[1]) == 0);
	return NULL;
}

/*
 * An arrival that is read while the task that arrived wakes many others is returned
 * neither to a poll that was there before it nor to one that comes after it was read.
 */
TEST_F(uring, arrival_that_was_read)
{
	enum { WAITERS = 500, ROUNDS = 5 };
	struct __kernel_timespec soon = { .tv_nsec = 100 * NSEC_PER_MSEC };
	struct late late = { .fd = self->fd, .reader = gettid() };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t waiter[WAITERS], arriving;
	struct quiesce_status status;
	struct io_uring_cqe *cqe;
	pthread_attr_t attr;

	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, true));
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 16);
	for (int i = 0; i < WAITERS; i++)
		ASSERT_EQ(0, pthread_create(&waiter[i], &attr, wait_for_abortion, &self->fd[1]));
	hold_cpu(cpus - 1, 1);
	ASSERT_EQ(SCHED_FIFO, sched_getscheduler(0));
	for (int i = 0; i < ROUNDS; i++) {
		do {
			nap();
			ASSERT_EQ(0, status_of(self->fd[0], &status));
		} while (status.waiting != WAITERS);
		ASSERT_EQ(0, pthread_create(&arriving, &attr, arrive_once, &late));
		/* The last to sleep is the first to be woken. */
		ASSERT_EQ(0, wait_for(self->fd[0], QUIESCE_WAIT_NEXT, in_ms(60000), NULL));
		ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, false));
		EXPECT_EQ(-ETIME, io_uring_wait_cqe_timeout(&self->ring, &cqe, &soon));
		ASSERT_EQ(0, pthread_join(arriving, NULL));
		/* The next arrival. */
		ASSERT_EQ(0, place(self->fd[1]));
		EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
		EXPECT_EQ(POLLIN, reap(&self->ring, true, NULL));
		ASSERT_EQ(0, wait_for(self->fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	}
	ASSERT_EQ(0, abort_with(self->fd[0], 0, NULL));
	for (int i = 0; i < WAITERS; i++)
		EXPECT_EQ(0, pthread_join(waiter[i], NULL));
}

/* A poll that is under way holds the descriptor's file; it can be cancelled. */
TEST_F(uring, cancelled)
{
	struct io_uring_sqe *sqe;
	struct quiesce_member m;

	ASSERT_EQ(1, submit_poll(&self->ring, self->fd[0], POLLIN, false));
	close(self->fd[0]);
	ASSERT_EQ(0, member_of(self->fd[1], 0, &m));
	EXPECT_EQ(0, m.state);
	sqe = io_uring_get_sqe(&self->ring);
	io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = 1;
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	for (int i = 0; i < 2; i++) {
		int ret = reap(&self->ring, true, NULL);

		EXPECT_TRUE(ret == -ECANCELED || ret >= 0);
	}
	EXPECT_EQ(0, wait_for(self->fd[1], QUIESCE_WAIT_ABORTION, in_ms(60000), NULL));
}

TEST_HARNESS_MAIN
