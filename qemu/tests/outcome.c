// SPDX-License-Identifier: GPL-2.0
/*
 * A call has the effect that it reports, exactly once: outcomes belong to phases, a
 * struct that is reused arrives again, and a call that cannot write its results has
 * no effect.
 */
#include "ops.h"

#include <sys/mman.h>

#define PARTIES 5
#define ROUNDS 40

/* A group whose parties but the last sleep in ARRIVE_WAIT, in threads. */
struct meeting {
	int group, party[PARTIES];
	pthread_t thread[PARTIES];
	struct one {
		int fd, ret;
		struct quiesce_wait w;
	} one[PARTIES];
};

static void *meet_thread(void *arg)
{
	struct one *o = arg;

	o->ret = meet(o->fd, QUIESCE_FOREVER, &o->w);
	return NULL;
}

static bool begin(struct meeting *m)
{
	m->group = make_group(PARTIES, 0, 0);
	for (int i = 0; i < PARTIES; i++) {
		m->party[i] = join_group(m->group, 0, NULL);
		m->one[i].fd = m->party[i];
		if (m->party[i] < 0)
			return false;
	}
	for (int i = 0; i < PARTIES - 1; i++)
		pthread_create(&m->thread[i], NULL, meet_thread, &m->one[i]);
	return wait_for_waiters(m->group, PARTIES - 1);
}

static void end(struct meeting *m)
{
	for (int i = 0; i < PARTIES - 1; i++)
		pthread_join(m->thread[i], NULL);
	for (int i = 0; i < PARTIES; i++)
		close(m->party[i]);
	close(m->group);
}

/* An operation on a group directly after a phase has ended, or was broken. */
enum afterwards { NOTHING, RESET, LEAVE, LEAVE_JOIN, CLOSE_GROUP, RESETS, KINDS };

static void then(struct meeting *m, enum afterwards what)
{
	switch (what) {
	case RESET:
		check(reset(m->group, NULL) == 0);
		break;
	case RESETS:
		for (int i = 0; i < 10; i++)
			check(reset(m->group, NULL) == 0);
		break;
	case LEAVE:
	case LEAVE_JOIN:
		for (int i = 0; i < PARTIES - 1; i++)
			check(leave(m->party[i]) == 0);
		if (what == LEAVE)
			break;
		/* In a broken group nobody can join. */
		reset(m->group, NULL);
		for (int i = 0; i < PARTIES - 1; i++) {
			int fd = join_group(m->group, 0, NULL);

			if (fd >= 0)
				close(fd);
		}
		break;
	default:
		break;
	}
}

TEST(a_phase_that_ended_well_stays_so)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct meeting m;
		struct quiesce_arrive a;

		ASSERT_TRUE(begin(&m));
		ASSERT_EQ(0, arrive(m.party[PARTIES - 1], &a));
		EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, a.result);
		then(&m, round % KINDS);
		end(&m);
		for (int i = 0; i < PARTIES - 1; i++) {
			EXPECT_EQ(0, m.one[i].ret)
				TH_LOG("afterwards: %d", round % KINDS);
			EXPECT_EQ(QUIESCE_RESULT_DONE, m.one[i].w.result);
		}
	}
}

TEST(a_break_keeps_its_cause)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct meeting m;

		ASSERT_TRUE(begin(&m));
		if (round & 1) {
			ASSERT_EQ(0, abort_with(m.party[PARTIES - 1], 4711, NULL));
		} else {
			close(m.party[PARTIES - 1]);
			m.party[PARTIES - 1] = -1;
		}
		then(&m, round % KINDS);
		end(&m);
		for (int i = 0; i < PARTIES - 1; i++) {
			EXPECT_EQ(round & 1 ? -ECONNABORTED : -EOWNERDEAD, m.one[i].ret)
				TH_LOG("afterwards: %d", round % KINDS);
			EXPECT_EQ(round & 1 ? QUIESCE_CAUSE_ABORT : QUIESCE_CAUSE_CLOSE,
				  m.one[i].w.cause.cause);
			EXPECT_EQ(PARTIES - 1, m.one[i].w.cause.party);
			EXPECT_EQ(getpid(), m.one[i].w.cause.pid);
			EXPECT_EQ(round & 1 ? 4711 : 0, m.one[i].w.cause.code);
		}
	}
}

TEST(a_reset_is_a_reset)
{
	struct meeting m;

	ASSERT_TRUE(begin(&m));
	then(&m, RESETS);
	end(&m);
	for (int i = 0; i < PARTIES - 1; i++)
		EXPECT_EQ(-ECANCELED, m.one[i].ret);
}

/* So many of its arrivals a party can ask for, in any order. */
TEST(last_outcomes)
{
	int group = make_group(2, 0, 0), a, b;
	struct quiesce_wait w;

	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	for (int i = 1; i <= 2 * QUIESCE_OUTCOMES; i++) {
		bool first = i & 1;

		ASSERT_EQ(0, place(first ? a : b));
		ASSERT_EQ(0, place(first ? b : a));
	}
	for (int i = 2 * QUIESCE_OUTCOMES; i > QUIESCE_OUTCOMES; i--) {
		ASSERT_EQ(0, wait_phase(a, i, QUIESCE_NOW, &w));
		EXPECT_EQ(!(i & 1), w.index);
		EXPECT_EQ(QUIESCE_RESULT_DONE | (i & 1 ? 0 : QUIESCE_RESULT_LEADER), w.result);
	}
}

/* The struct of the last round serves for the next: it arrives in each. */
TEST(struct_again)
{
	int group = make_group(2, 0, 0), party[2], fd[2];
	struct quiesce_wait w;
	struct quiesce_member m;
	struct quiesce_status s;
	pid_t pid;

	ASSERT_EQ(0, make_pair(0, fd));
	for (int i = 0; i < 2; i++) {
		party[i] = join_group(group, 0, NULL);
		ASSERT_LE(0, party[i]);
	}
	pid = spawn({
		w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_FOREVER);
		w.count = 1;
		for (int i = 0; i < ROUNDS; i++)
			check(ctl(fd[1], QUIESCE_IOC_ARRIVE_WAIT, &w) == 0);
		w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_FOREVER);
		w.count = 1;
		for (int i = 0; i < ROUNDS; i++)
			check(ctl(party[1], QUIESCE_IOC_ARRIVE_WAIT, &w) == 0);
	});
	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_FOREVER);
	w.count = 1;
	for (int i = 1; i <= ROUNDS; i++) {
		ASSERT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
		ASSERT_EQ(0, member_of(fd[0], 0, &m));
		ASSERT_EQ(i, m.count);
	}
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_FOREVER);
	w.count = 1;
	for (int i = 1; i <= ROUNDS; i++) {
		ASSERT_EQ(0, ctl(party[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
		ASSERT_EQ(0, status_of(group, &s));
		ASSERT_EQ(i + 1, s.phase);
	}
	EXPECT_EQ(0, join(pid));
}

/* A ticket serves one continuation, and only of a call that was interrupted. */
TEST(stale_ticket)
{
	int group = make_group(2, 0, 0), a, b, fd[2];
	struct quiesce_wait w, copy;
	struct quiesce_arrive arrived;
	struct quiesce_status s;

	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, make_pair(0, fd));

	EXPECT_EQ(-ETIMEDOUT, meet(a, QUIESCE_NOW, &w));
	EXPECT_EQ(1, w.ticket);
	copy = w;
	EXPECT_EQ(-ETIMEDOUT, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(0, place(b));
	EXPECT_EQ(0, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(0, w.ticket);
	/* A copy that was kept passes nothing. */
	EXPECT_EQ(-EINVAL, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &copy));
	/* Nor does what ARRIVE gave: that is WAIT's. */
	ASSERT_EQ(0, arrive(a, &arrived));
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.count = 1;
	w.ticket = arrived.ticket;
	EXPECT_EQ(-EINVAL, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &w));
	ASSERT_EQ(0, status_of(group, &s));
	EXPECT_EQ(1, s.arrived);

	EXPECT_EQ(-ETIMEDOUT, place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));
	copy = w;
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(-EINVAL, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &copy));
	ASSERT_EQ(0, status_of(fd[1], &s));
	EXPECT_EQ(1, s.unread);
}

/* A call that is refused for its arguments uses up no ticket. */
TEST(refused_with_a_ticket)
{
	int group = make_group(2, 0, 0), a, b, fd[2];
	struct quiesce_wait w;

	ASSERT_LE(0, a = join_group(group, 0, NULL));
	ASSERT_LE(0, b = join_group(group, 0, NULL));
	ASSERT_EQ(0, make_pair(0, fd));
	for (int pair = 0; pair < 2; pair++) {
		int me = pair ? fd[0] : a, other = pair ? fd[1] : b;

		EXPECT_EQ(-ETIMEDOUT, place_wait(me, pair ? QUIESCE_WAIT_SYNC : QUIESCE_WAIT_PHASE,
						 QUIESCE_NOW, &w));
		EXPECT_EQ(1, w.ticket);
		w.flags = QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME;
		EXPECT_EQ(-EINVAL, ctl(me, QUIESCE_IOC_ARRIVE_WAIT, &w));
		w.flags = 1U << 31;
		EXPECT_EQ(-EINVAL, ctl(me, QUIESCE_IOC_ARRIVE_WAIT, &w));
		w.flags = 0;
		w.reserved = 1;
		EXPECT_EQ(-EINVAL, ctl(me, QUIESCE_IOC_ARRIVE_WAIT, &w));
		w.reserved = 0;
		w.kind = 99;
		EXPECT_EQ(-EINVAL, ctl(me, QUIESCE_IOC_ARRIVE_WAIT, &w));
		w.kind = pair ? QUIESCE_WAIT_SYNC : QUIESCE_WAIT_PHASE;
		EXPECT_EQ(0, place(other));
		EXPECT_EQ(0, ctl(me, QUIESCE_IOC_ARRIVE_WAIT, &w));
	}
}

/* O_NONBLOCK: nothing sleeps, whatever its deadline. */
TEST(nonblocking)
{
	int group = make_group(2, 0, 0), a, b, fd[2];
	struct quiesce_status s;
	struct quiesce_wait w;

	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, fcntl(a, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, fcntl(fd[0], F_SETFL, O_NONBLOCK));

	EXPECT_EQ(-EAGAIN, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, &w));
	EXPECT_EQ(-EAGAIN, place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w));
	EXPECT_EQ(1, w.ticket);
	EXPECT_EQ(1, w.balance);
	EXPECT_EQ(-EAGAIN, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(0, place(fd[1]));
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(0, w.ticket);

	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.count = 1;
	w.flags = QUIESCE_WAIT_BREAK;
	EXPECT_EQ(-EAGAIN, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &w));
	ASSERT_EQ(0, status_of(group, &s));
	EXPECT_EQ(0, s.state & QUIESCE_STATE_BROKEN);
	EXPECT_EQ(0, place(b));
	EXPECT_EQ(0, ctl(a, QUIESCE_IOC_ARRIVE_WAIT, &w));
	/* The other descriptors sleep. */
	EXPECT_EQ(-ETIMEDOUT, meet(b, in_ms(BLOCKS_MS), NULL));
}

/* Each command with a struct that can be read and not written, in both ways. */
FIXTURE(unwritable)
{
	char *page;
	int pair[2], group, party[2];
};

FIXTURE_VARIANT(unwritable)
{
	/* Number of bytes of the struct that are on a writable page. */
	unsigned int part;
};

FIXTURE_VARIANT_ADD(unwritable, all) { .part = 0 };
FIXTURE_VARIANT_ADD(unwritable, all_but_a_word) { .part = 8 };

FIXTURE_SETUP(unwritable)
{
	self->page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, make_pair(0, self->pair));
	self->group = make_group(2, 4, 0);
	for (int i = 0; i < 2; i++) {
		self->party[i] = join_group(self->group, 0, NULL);
		ASSERT_LE(0, self->party[i]);
	}
}

FIXTURE_TEARDOWN(unwritable)
{
}

static int unwritable(struct _test_data_unwritable *self, unsigned int part, int fd,
		      unsigned long cmd, const void *args)
{
	char *at = self->page + 4096 - part;
	int ret;

	check(mprotect(self->page, 8192, PROT_READ | PROT_WRITE) == 0);
	memcpy(at, args, _IOC_SIZE(cmd));
	check(mprotect(self->page + 4096, 4096, PROT_READ) == 0);
	ret = ctl(fd, cmd, at);
	check(mprotect(self->page, 8192, PROT_READ | PROT_WRITE) == 0);
	/* Not even what is on the page that can be written. */
	check(memcmp(at, args, _IOC_SIZE(cmd)) == 0);
	return ret;
}

#define EXPECT_REFUSED(fd, cmd, args) \
	EXPECT_EQ(-EFAULT, unwritable(self, variant->part, fd, cmd, args))

TEST_F(unwritable, pair)
{
	struct quiesce_arrive a = arrive_args(1);
	struct quiesce_abort ab = { .code = 1 };
	struct quiesce_wait w;
	struct quiesce_status s;

	EXPECT_REFUSED(self->pair[0], QUIESCE_IOC_ARRIVE, &a);
	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	w.count = 1;
	EXPECT_REFUSED(self->pair[0], QUIESCE_IOC_ARRIVE_WAIT, &w);
	w.deadline = in_ms(BLOCKS_MS);
	EXPECT_REFUSED(self->pair[0], QUIESCE_IOC_ARRIVE_WAIT, &w);
	ASSERT_EQ(0, status_of(self->pair[1], &s));
	EXPECT_EQ(0, s.unread);
	EXPECT_EQ(0, poll_now(self->pair[1]) & POLLIN);

	EXPECT_EQ(0, place(self->pair[0]));
	w = wait_args(QUIESCE_WAIT_NEXT, QUIESCE_NOW);
	EXPECT_REFUSED(self->pair[1], QUIESCE_IOC_WAIT, &w);
	ASSERT_EQ(0, status_of(self->pair[1], &s));
	EXPECT_EQ(1, s.unread);
	EXPECT_REFUSED(self->pair[1], QUIESCE_IOC_ABORT, &ab);
	ASSERT_EQ(0, status_of(self->pair[1], &s));
	EXPECT_EQ(0, s.state);
	EXPECT_EQ(0, s.view);
	/* An outcome that could not be written is still to be had. */
	close(self->pair[0]);
	EXPECT_EQ(0, wait_for(self->pair[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_REFUSED(self->pair[1], QUIESCE_IOC_WAIT, &w);
	ASSERT_EQ(0, status_of(self->pair[1], &s));
	EXPECT_EQ(0, s.view);
	EXPECT_EQ(-EOWNERDEAD, wait_for(self->pair[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
}

TEST_F(unwritable, group)
{
	struct quiesce_arrive a = arrive_args(1);
	struct quiesce_abort ab = { .code = 1 };
	struct quiesce_reset r = {};
	struct quiesce_join j = {};
	struct quiesce_status s, look = {};
	uint64_t late = POISON;
	struct quiesce_wait w;
	int fds = count_fds();

	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_ARRIVE, &a);
	a.flags = QUIESCE_ARRIVE_DROP;
	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_ARRIVE, &a);
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.count = 1;
	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_ARRIVE_WAIT, &w);
	EXPECT_REFUSED(self->group, QUIESCE_IOC_JOIN, &j);
	EXPECT_EQ(fds, count_fds());
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(0, s.arrived);
	EXPECT_EQ(2, s.parties);
	EXPECT_EQ(0, s.state);

	/* The one that would end the phase does not. */
	EXPECT_EQ(0, place(self->party[0]));
	EXPECT_REFUSED(self->party[1], QUIESCE_IOC_ARRIVE_WAIT, &w);
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(1, s.phase);
	EXPECT_EQ(0, place(self->party[1]));

	EXPECT_REFUSED(self->group, QUIESCE_IOC_STATUS, &look);
	EXPECT_EQ(POLLIN, poll_now(self->group));
	/* Nor is the bitmap written, which is on another page. */
	look.late = (uintptr_t)&late;
	look.late_words = 1;
	EXPECT_REFUSED(self->group, QUIESCE_IOC_STATUS, &look);
	EXPECT_EQ(POISON, late);
	EXPECT_EQ(POLLIN, poll_now(self->group));
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.ticket = 1;
	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_WAIT, &w);
	EXPECT_EQ(POLLIN | POLLOUT, poll_now(self->party[0]));
	EXPECT_REFUSED(self->group, QUIESCE_IOC_RESET, &r);
	EXPECT_REFUSED(self->group, QUIESCE_IOC_ABORT, &ab);
	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_ABORT, &ab);
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(2, s.phase);
	EXPECT_EQ(0, s.state);
	/* A wait that breaks by its timeout does not, either. */
	EXPECT_EQ(0, place(self->party[0]));
	w.ticket = 2;
	w.flags = QUIESCE_WAIT_BREAK;
	EXPECT_REFUSED(self->party[0], QUIESCE_IOC_WAIT, &w);
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(0, s.state);
}

struct vanishing {
	int fd, ret;
	struct quiesce_wait *w;
};

static void *vanishing_thread(void *arg)
{
	struct vanishing *v = arg;

	v->ret = ctl(v->fd, QUIESCE_IOC_ARRIVE_WAIT, v->w);
	return NULL;
}

/* A wait whose memory vanishes while it sleeps has arrived, and can be resumed, once. */
static void vanishes_while_it_waits(struct __test_metadata *_metadata, int fd, int other, int kind)
{
	struct vanishing v = { .fd = fd };
	struct quiesce_status s;
	pthread_t thread;

	v.w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, v.w);
	*v.w = wait_args(kind, QUIESCE_FOREVER);
	v.w->count = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, vanishing_thread, &v));
	ASSERT_TRUE(wait_for_waiters(fd, 1));
	EXPECT_EQ(0, mprotect(v.w, 4096, PROT_READ));
	EXPECT_EQ(0, place(other));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-EFAULT, v.ret);
	EXPECT_EQ(0, mprotect(v.w, 4096, PROT_READ | PROT_WRITE));
	EXPECT_NE(0, v.w->ticket);
	EXPECT_EQ(0, ctl(fd, QUIESCE_IOC_ARRIVE_WAIT, v.w));
	if (kind == QUIESCE_WAIT_PHASE)
		EXPECT_NE(0, v.w->result & QUIESCE_RESULT_DONE);
	/* It has not arrived again. */
	ASSERT_EQ(0, status_of(fd, &s));
	EXPECT_EQ(0, s.arrived);
	EXPECT_EQ(0, s.balance);
	munmap(v.w, 4096);
}

TEST(vanishes_in_a_group)
{
	int group = make_group(2, 0, 0), party[2];

	for (int i = 0; i < 2; i++)
		party[i] = join_group(group, 0, NULL);
	vanishes_while_it_waits(_metadata, party[0], party[1], QUIESCE_WAIT_PHASE);
}

TEST(vanishes_in_a_pair)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	vanishes_while_it_waits(_metadata, fd[0], fd[1], QUIESCE_WAIT_SYNC);
}

/* A page that is only not there yet is made to be there. */
TEST(written_at_first_touch)
{
	struct quiesce_wait *w;
	int fd[2];
	pid_t pid;

	ASSERT_EQ(0, make_pair(0, fd));
	w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	*w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	w->count = 1;
	/* Copied on write: the child's call finds it mapped for reading. */
	pid = spawn({
		check(ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, w) == -ETIMEDOUT);
		check(w->ticket == 1);
	});
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(0, w->ticket);
}

TEST_HARNESS_MAIN
