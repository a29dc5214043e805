// SPDX-License-Identifier: GPL-2.0
/* poll and epoll: levels, and what wakes those who poll. */
#include "ops.h"

#include <sys/epoll.h>

/* Events on a barrier while a task polls one of its descriptors. */
enum event {
	PAIR_PLACE, PAIR_ABORT, PAIR_CLOSE, PAIR_READ, PAIR_OWN_ABORT, PAIR_DEATH,
	PARTY_DONE, PARTY_BREAK, PARTY_DEATH, PARTY_LEAVES, PARTY_RESET,
	PARTY_OWN_LEAVE, PARTY_OWN_DROP,
	GROUP_DONE, GROUP_BREAK, GROUP_EMPTY,
};

FIXTURE(poll)
{
	int fd;			/* that is polled */
	int them;		/* through which things happen */
	int group;
	pid_t other;
};

FIXTURE_VARIANT(poll)
{
	enum event event;
	short before, wanted, after;
};

#define VARIANT(name, e, b, w, a) \
	FIXTURE_VARIANT_ADD(poll, name) { .event = e, .before = b, .wanted = w, .after = a }

VARIANT(pair_place, PAIR_PLACE, POLLOUT, POLLIN, POLLIN | POLLOUT);
VARIANT(pair_abort, PAIR_ABORT, POLLOUT, POLLPRI, POLLOUT | POLLPRI | POLLERR);
VARIANT(pair_close, PAIR_CLOSE, POLLOUT, POLLRDHUP, POLLOUT | POLLRDHUP | POLLHUP);
VARIANT(pair_close_unmasked, PAIR_CLOSE, POLLOUT, 0, POLLOUT | POLLRDHUP | POLLHUP);
VARIANT(pair_abort_unmasked, PAIR_ABORT, POLLOUT, 0, POLLOUT | POLLPRI | POLLERR);
VARIANT(pair_death, PAIR_DEATH, POLLOUT, POLLRDHUP, POLLOUT | POLLRDHUP | POLLHUP);
/* Brought about by the very side that polls, in another task. */
VARIANT(pair_read, PAIR_READ, POLLIN | POLLOUT | POLLRDHUP, 0, POLLOUT | POLLRDHUP | POLLHUP);
VARIANT(pair_own_abort, PAIR_OWN_ABORT, POLLIN | POLLOUT | POLLRDHUP, 0, POLLRDHUP | POLLHUP);
VARIANT(party_own_leave, PARTY_OWN_LEAVE, 0, 0, POLLHUP);
VARIANT(party_own_drop, PARTY_OWN_DROP, POLLOUT, 0, POLLHUP);
VARIANT(party_done, PARTY_DONE, 0, POLLIN, POLLIN | POLLOUT);
VARIANT(party_writable, PARTY_DONE, 0, POLLOUT, POLLIN | POLLOUT);
VARIANT(party_break, PARTY_BREAK, 0, POLLPRI, POLLPRI | POLLERR);
VARIANT(party_death, PARTY_DEATH, 0, POLLPRI, POLLPRI | POLLERR);
VARIANT(party_leaves, PARTY_LEAVES, 0, POLLIN, POLLIN | POLLOUT);
/* A reset of the group, or its last party leaving, also ends the phase. */
VARIANT(party_reset, PARTY_RESET, 0, POLLOUT, POLLIN | POLLOUT);
VARIANT(group_done, GROUP_DONE, 0, POLLIN, POLLIN);
VARIANT(group_break, GROUP_BREAK, 0, POLLPRI, POLLPRI | POLLERR);
VARIANT(group_empty, GROUP_EMPTY, 0, 0, POLLIN | POLLHUP);

FIXTURE_SETUP(poll)
{
	struct gate g;
	int fd[2];

	self->group = -1;
	self->other = 0;
	if (variant->event <= PAIR_DEATH) {
		ASSERT_EQ(0, make_pair(0, fd));
		self->fd = fd[0];
		self->them = fd[1];
		if (variant->event == PAIR_READ || variant->event == PAIR_OWN_ABORT) {
			ASSERT_EQ(0, place(fd[1]));
			close(fd[1]);
			self->them = -1;
		}
	} else {
		self->group = make_group(2, 0, 0);
		ASSERT_LE(0, self->group);
		fd[0] = join_group(self->group, 0, NULL);
		ASSERT_LE(0, fd[0]);
		self->them = join_group(self->group, 0, NULL);
		ASSERT_LE(0, self->them);
		if (variant->event != PARTY_OWN_DROP)
			ASSERT_EQ(0, place(fd[0]));
		self->fd = variant->event >= GROUP_DONE ? self->group : fd[0];
		if (variant->event == GROUP_EMPTY)
			ASSERT_EQ(0, leave(fd[0]));
	}
	if (variant->event == PAIR_DEATH || variant->event == PARTY_DEATH) {
		ASSERT_EQ(0, gate_make(&g));
		self->other = spawn({
			gate_open(&g);
			pause();
		});
		close(self->them);
		self->them = -1;
		gate_pass(&g);
	}
}

FIXTURE_TEARDOWN(poll)
{
	if (self->other)
		kill(self->other, SIGKILL);
}

static int happen(struct _test_data_poll *self, const struct _fixture_variant_poll *variant)
{
	struct quiesce_arrive a = arrive_args(1);

	switch (variant->event) {
	case PAIR_READ:
		return wait_for(self->fd, QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL);
	case PAIR_OWN_ABORT:
		return abort_with(self->fd, 0, NULL);
	case PARTY_OWN_LEAVE:
		return leave(self->fd);
	case PARTY_OWN_DROP:
		a.flags = QUIESCE_ARRIVE_DROP;
		return ctl(self->fd, QUIESCE_IOC_ARRIVE, &a);
	case PAIR_PLACE:
	case PARTY_DONE:
	case GROUP_DONE:
		return place(self->them);
	case PAIR_ABORT:
	case PARTY_BREAK:
	case GROUP_BREAK:
		return abort_with(self->them, 0, NULL);
	case PAIR_CLOSE:
		return close(self->them);
	case PAIR_DEATH:
	case PARTY_DEATH:
		return kill(self->other, SIGKILL);
	case PARTY_LEAVES:
	case GROUP_EMPTY:
		return leave(self->them);
	case PARTY_RESET:
		return reset(self->group, NULL);
	}
	return -1;
}

TEST_F(poll, wakes_poll)
{
	struct pollfd p = { .fd = self->fd, .events = variant->wanted };
	pid_t pid;

	EXPECT_EQ(variant->before, poll_now(self->fd));
	EXPECT_EQ(0, poll(&p, 1, BLOCKS_MS));
	pid = spawn({
		/* The other side's descriptors may not be kept here. */
		close(self->them);
		check(poll(&p, 1, -1) == 1);
		check(p.revents == (variant->after & (variant->wanted | POLLERR | POLLHUP)));
	});
	ASSERT_TRUE(wait_asleep_in(pid, NR_POLL));
	ASSERT_EQ(0, happen(self, variant));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(variant->after, poll_now(self->fd));
	/* A level: it is still so. */
	EXPECT_EQ(variant->after, poll_now(self->fd));
}

TEST_F(poll, wakes_epoll)
{
	struct epoll_event ev = { .events = variant->wanted };
	pid_t pid;
	int ep = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, ep);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->fd, &ev));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, BLOCKS_MS));
	pid = spawn({
		close(self->them);
		check(epoll_wait(ep, &ev, 1, -1) == 1);
		check(ev.events == (variant->after & (variant->wanted | POLLERR | POLLHUP)));
		/* A level: again. */
		check(epoll_wait(ep, &ev, 1, -1) == 1);
	});
	ASSERT_TRUE(wait_asleep_in(pid, NR_EPOLL_WAIT));
	ASSERT_EQ(0, happen(self, variant));
	ASSERT_EQ(0, join(pid));
	/* By edge: no more. */
	ev.events = variant->wanted | EPOLLET;
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, self->fd, &ev));
	EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
}

TEST_F(poll, closed_while_polled)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = variant->wanted };

	ASSERT_LE(0, ep);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->fd, &ev));
	ASSERT_EQ(0, happen(self, variant));
	close(self->fd);
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	close(ep);
}

/* Each place is an edge. */
TEST(edges)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(EPOLL_CLOEXEC), fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &ev));
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, place(fd[1]));
		EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
		EXPECT_EQ(EPOLLIN, ev.events);
		EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	}
	EXPECT_EQ(0, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	ASSERT_EQ(0, place(fd[1]));
	EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
}

/* The states of a pair, one after the other: HUP only when all is read. */
TEST(drain_then_hup)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(POLLOUT, poll_now(fd[0]));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(POLLIN | POLLOUT, poll_now(fd[0]));
	close(fd[1]);
	EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP, poll_now(fd[0]));
	EXPECT_EQ(0, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_EQ(POLLOUT | POLLRDHUP | POLLHUP, poll_now(fd[0]));
	/* The view is now the truth: there is nothing to place for. */
	EXPECT_EQ(-EOWNERDEAD, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_EQ(POLLRDHUP | POLLHUP, poll_now(fd[0]));
}

static long switches(pid_t pid)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file(path, text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	return at ? atol(strchr(at, ':') + 1) : -1;
}

/* A task that polls for an abort is not woken by an end that queues behind an arrival. */
TEST(woken_by_key)
{
	long before;
	int fd[2];
	pid_t pid;

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, place(fd[1]));
	pid = spawn({
		struct pollfd p = { .fd = fd[0], .events = POLLPRI };

		close(fd[1]);
		check(poll(&p, 1, -1) == 1);
		check(p.revents == POLLHUP);
	});
	ASSERT_TRUE(wait_asleep_in(pid, NR_POLL));
	before = switches(pid);
	EXPECT_LE(0, before);
	close(fd[1]);
	EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP, poll_now(fd[0]));
	EXPECT_TRUE(asleep_in(pid, NR_POLL));
	EXPECT_EQ(before, switches(pid));
	ASSERT_EQ(0, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_EQ(0, join(pid));
}

/* A level that promises a wait is kept by the wait: no loop spins on one. */
TEST(in_can_be_read)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, abort_with(fd[0], 0, NULL));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, poll_now(fd[0]));
	EXPECT_EQ(-ESHUTDOWN, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, abort_with(fd[1], 0, NULL));
	EXPECT_EQ(POLLOUT | POLLPRI | POLLERR, poll_now(fd[0]));
	EXPECT_EQ(-ECONNABORTED, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
}

/* Own abort: no more to place. */
TEST(own_abort)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, abort_with(fd[0], 0, NULL));
	EXPECT_EQ(0, poll_now(fd[0]));
	EXPECT_EQ(POLLOUT | POLLPRI | POLLERR, poll_now(fd[1]));
	EXPECT_EQ(-ECONNABORTED, wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_EQ(POLLPRI | POLLERR, poll_now(fd[1]));
}

/* The device itself has nothing to poll for. */
/* Waits for a child, 30 seconds at most. */
static int join_soon(pid_t pid)
{
	uint64_t end = in_ms(30000);
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_ns(CLOCK_MONOTONIC) > end) {
			kill(pid, SIGKILL);
			return join(pid);
		}
		nap();
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

#define RACES 200

/*
 * A party hangs up as its process dies, and the first call of the device after it
 * closes the descriptor of a party that had hung up before: one more, one less.
 */
TEST(hangup_beside_a_close)
{
	for (int i = 0; i < RACES; i++) {
		int group = make_group(0, 2, QUIESCE_GROUP_SHRINK), bound, gone;
		struct pollfd death = { .events = POLLIN };
		pid_t pid, poller;
		struct gate g;

		ASSERT_LE(0, group);
		ASSERT_EQ(0, gate_make(&g));
		bound = join_group(group, 0, NULL);
		gone = join_group(group, 0, NULL);
		ASSERT_LE(0, gone);
		ASSERT_EQ(0, leave(gone));
		pid = spawn({
			close(gone);
			check(bind_to_me(bound, QUIESCE_BIND_PROCESS) == 0);
			gate_open(&g);
			pause();
		});
		gate_pass(&g);
		poller = spawn({
			struct pollfd p = { .fd = bound };

			close(gone);
			check(poll(&p, 1, -1) == 1);
			check(p.revents == POLLHUP);
		});
		ASSERT_TRUE(wait_asleep_in(poller, NR_POLL));
		death.fd = syscall(SYS_pidfd_open, pid, 0);
		ASSERT_LE(0, death.fd);
		kill(pid, SIGKILL);
		/* Without sleep: the kernel's own worker is to come second. */
		while (poll(&death, 1, 0) == 0)
			;
		close(gone);
		ASSERT_EQ(0, join_soon(poller))
			TH_LOG("in round %d", i);
		EXPECT_EQ(KILLED, join(pid));
		close(death.fd);
		close(bound);
		close(group);
		close(g.fd[0]);
		close(g.fd[1]);
	}
}

TEST(device)
{
	int dev = open_dev();
	struct pollfd p = { .fd = dev, .events = POLLPRI | POLLRDHUP };

	ASSERT_LE(0, dev);
	EXPECT_EQ(0, poll(&p, 1, 0));
}

TEST_HARNESS_MAIN
