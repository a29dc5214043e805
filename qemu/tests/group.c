// SPDX-License-Identifier: GPL-2.0
/* Groups: phases, tickets, joining and leaving, breaks and their cause, reset. */
#include "ops.h"

#define CODE 0xfeedbeefcafeULL

/* A group of four, all of whose parties this process has. */
#define N 4

FIXTURE(group)
{
	int group;
	int party[N];
	uint64_t phase;
};

FIXTURE_VARIANT(group)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(group, breaks) { .flags = 0 };
FIXTURE_VARIANT_ADD(group, shrinks) { .flags = QUIESCE_GROUP_SHRINK };

FIXTURE_SETUP(group)
{
	struct quiesce_join j;

	self->group = make_group(N, N + 2, variant->flags);
	ASSERT_LE(0, self->group);
	for (int i = 0; i < N; i++) {
		self->party[i] = join_group(self->group, 0, &j);
		ASSERT_LE(0, self->party[i]);
		ASSERT_EQ(i, j.party);
		self->phase = j.phase;
		ASSERT_EQ(1, j.phase);
	}
}

FIXTURE_TEARDOWN(group)
{
}

/* All but those in the mask arrive. */
#define ARRIVE_BUT(mask) do {						\
	for (int _i = 0; _i < N; _i++)					\
		if (!((mask) & (1 << _i)))				\
			ASSERT_EQ(0, place(self->party[_i]));		\
} while (0)

/* A task that waits with this party, and reports. */
struct report {
	int ret;
	struct quiesce_wait w;
};

static struct report *report_make(void)
{
	return share(sizeof(struct report));
}

#define SPAWN_WAIT(r, fd, ticket) spawn({				\
	(r)->ret = wait_phase(fd, ticket, QUIESCE_FOREVER, &(r)->w);	\
})

TEST_F(group, phase_by_phase)
{
	struct quiesce_arrive a[N];
	struct quiesce_status s;
	struct quiesce_wait w;
	uint64_t late;

	for (int phase = 1; phase <= 50; phase++) {
		for (int i = 0; i < N; i++) {
			/* Another first one each time. */
			int p = (phase + i) % N;

			ASSERT_EQ(0, status_late(self->group, &s, &late));
			EXPECT_EQ(phase, s.phase);
			EXPECT_EQ(i, s.arrived);
			EXPECT_EQ(N, s.parties);
			EXPECT_EQ(N - i, __builtin_popcountll(late));
			EXPECT_TRUE(late & (1 << p));

			ASSERT_EQ(0, arrive(self->party[p], &a[p]));
			EXPECT_EQ(phase, a[p].ticket);
			EXPECT_EQ(i, a[p].index);
			EXPECT_EQ(i == N - 1 ? QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER : 0,
				  a[p].result);
			if (i < N - 1) {
				EXPECT_EQ(-EALREADY, place(self->party[p]));
				EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[p], phase,
								 QUIESCE_NOW, &w));
			}
		}
		for (int i = 0; i < N; i++) {
			int p = (phase + i) % N;

			ASSERT_EQ(0, wait_phase(self->party[p], phase, QUIESCE_FOREVER, &w));
			EXPECT_EQ(QUIESCE_RESULT_DONE |
				  (i == N - 1 ? QUIESCE_RESULT_LEADER : 0), w.result);
			EXPECT_EQ(i, w.index);
			EXPECT_EQ(QUIESCE_CAUSE_NONE, w.cause.cause);
		}
	}
}

TEST_F(group, arrive_and_wait)
{
	struct report *r[N];
	pid_t pid[N];
	unsigned int leaders = 0, seen = 0;

	for (int i = 0; i < N; i++) {
		r[i] = report_make();
		pid[i] = spawn({
			r[i]->ret = meet(self->party[i], QUIESCE_FOREVER, &r[i]->w);
		});
		if (i < N - 1)
			ASSERT_TRUE(wait_asleep(pid[i]));
	}
	for (int i = 0; i < N; i++) {
		ASSERT_EQ(0, join(pid[i]));
		EXPECT_EQ(0, r[i]->ret);
		/* Ready for the next round. */
		EXPECT_EQ(0, r[i]->w.ticket);
		leaders += !!(r[i]->w.result & QUIESCE_RESULT_LEADER);
		seen |= 1 << r[i]->w.index;
		EXPECT_EQ(i, r[i]->w.index);
	}
	EXPECT_EQ(1, leaders);
	EXPECT_EQ((1 << N) - 1, seen);
}

TEST_F(group, tickets)
{
	struct quiesce_arrive a;
	struct quiesce_wait w;

	/* Tickets of no phase, and of a later one. */
	EXPECT_EQ(-EINVAL, wait_phase(self->party[0], 0, QUIESCE_NOW, &w));
	EXPECT_EQ(-EINVAL, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
	EXPECT_EQ(-EINVAL, wait_phase(self->party[0], UINT64_MAX, QUIESCE_NOW, &w));

	/* It may arrive in the next phase without having waited for the last. */
	ARRIVE_BUT(0);
	ASSERT_EQ(0, arrive(self->party[0], &a));
	EXPECT_EQ(2, a.ticket);
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
	EXPECT_EQ(-EALREADY, place(self->party[0]));
	ARRIVE_BUT(1);
	EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(0, wait_phase(self->party[1], 1, QUIESCE_NOW, &w));
}

TEST_F(group, timeout_breaks_nothing)
{
	struct quiesce_status s;
	struct quiesce_wait w;
	uint64_t late;

	ARRIVE_BUT(1 << 2);
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[0], 1, in_ms(BLOCKS_MS), &w));
	ASSERT_EQ(0, status_late(self->party[0], &s, &late));
	EXPECT_EQ(1 << 2, late);
	EXPECT_EQ(1, s.late_words);
	EXPECT_EQ(N - 1, s.arrived);
	EXPECT_EQ(QUIESCE_STATE_ARRIVED, s.state);
	EXPECT_EQ(0, place(self->party[2]));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
}

TEST_F(group, timeout_breaks_when_asked)
{
	struct report *r = report_make();
	struct quiesce_status s;
	struct quiesce_wait w;
	uint64_t late;
	pid_t pid;

	ARRIVE_BUT(1 << 2);
	pid = SPAWN_WAIT(r, self->party[1], 1);
	ASSERT_TRUE(wait_asleep(pid));
	w = wait_args(QUIESCE_WAIT_PHASE, in_ms(BLOCKS_MS));
	w.flags = QUIESCE_WAIT_BREAK;
	w.ticket = 1;
	EXPECT_EQ(-ETIMEDOUT, ctl(self->party[0], QUIESCE_IOC_WAIT, &w));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-ECONNABORTED, r->ret);
	EXPECT_EQ(QUIESCE_CAUSE_TIMEOUT, r->w.cause.cause);
	EXPECT_EQ(0, r->w.cause.party);
	EXPECT_EQ(getpid(), r->w.cause.pid);

	EXPECT_EQ(-ECONNABORTED, place(self->party[2]));
	EXPECT_EQ(-ECONNABORTED, wait_phase(self->party[3], 1, QUIESCE_FOREVER, &w));
	EXPECT_EQ(-ECONNABORTED, meet(self->party[2], QUIESCE_FOREVER, &w));
	/* The late parties are still reported. */
	ASSERT_EQ(0, status_late(self->group, &s, &late));
	EXPECT_EQ(1 << 2, late);
	EXPECT_EQ(QUIESCE_CAUSE_TIMEOUT, s.cause.cause);
	ASSERT_EQ(0, status_of(self->party[0], &s));
	EXPECT_TRUE(s.state & QUIESCE_STATE_BROKEN);
}

TEST_F(group, abort_by_party)
{
	struct report *r = report_make();
	struct quiesce_join j;
	struct quiesce_status s;
	pid_t pid;

	ARRIVE_BUT(1 << 3);
	pid = SPAWN_WAIT(r, self->party[1], 1);
	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, abort_with(self->party[3], CODE, NULL));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-ECONNABORTED, r->ret);
	EXPECT_EQ(QUIESCE_CAUSE_ABORT, r->w.cause.cause);
	EXPECT_EQ(3, r->w.cause.party);
	EXPECT_EQ(getpid(), r->w.cause.pid);
	EXPECT_EQ(CODE, r->w.cause.code);
	/* The first break counts. */
	EXPECT_EQ(0, abort_with(self->party[2], 1, NULL));
	close(self->party[1]);
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(QUIESCE_CAUSE_ABORT, s.cause.cause);
	EXPECT_EQ(3, s.cause.party);
	EXPECT_EQ(CODE, s.cause.code);
	EXPECT_EQ(-ECONNABORTED, join_group(self->group, 0, &j));
}

TEST_F(group, abort_by_group)
{
	struct quiesce_wait w;

	EXPECT_EQ(0, abort_with(self->group, CODE, NULL));
	EXPECT_EQ(-ECONNABORTED, meet(self->party[0], QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_CAUSE_ABORT, w.cause.cause);
	EXPECT_EQ(QUIESCE_NOBODY, w.cause.party);
	EXPECT_EQ(CODE, w.cause.code);
}

TEST_F(group, death_before_arrival)
{
	struct report *r[2];
	struct quiesce_wait w;
	struct gate g;
	pid_t pid[2], victim;

	ASSERT_EQ(0, gate_make(&g));
	victim = spawn({
		check(bind_to_me(self->party[3], 0) == 0);
		gate_open(&g);
		pause();
	});
	gate_pass(&g);
	close(self->party[3]);
	ARRIVE_BUT(1 << 3);
	for (int i = 0; i < 2; i++) {
		r[i] = report_make();
		/* They must not keep the victim's descriptor: it is closed here. */
		pid[i] = SPAWN_WAIT(r[i], self->party[i], 1);
		ASSERT_TRUE(wait_asleep(pid[i]));
	}
	kill(victim, SIGKILL);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, join(pid[i]));
		if (variant->flags & QUIESCE_GROUP_SHRINK) {
			EXPECT_EQ(0, r[i]->ret);
			EXPECT_EQ(QUIESCE_RESULT_DONE, r[i]->w.result & QUIESCE_RESULT_DONE);
			continue;
		}
		EXPECT_EQ(-EOWNERDEAD, r[i]->ret);
		EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, r[i]->w.cause.cause);
		EXPECT_EQ(SIGKILL, r[i]->w.cause.status);
		EXPECT_EQ(3, r[i]->w.cause.party);
		EXPECT_EQ(victim, r[i]->w.cause.pid);
	}
	if (variant->flags & QUIESCE_GROUP_SHRINK) {
		/* And the three go on. */
		ARRIVE_BUT(1 << 3);
		EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_FOREVER, &w));
	} else {
		EXPECT_EQ(-EOWNERDEAD, place(self->party[0]));
		EXPECT_EQ(-EOWNERDEAD, join_group(self->group, 0, NULL));
	}
}

/* No ghosts: who dies while it waits has arrived, and counts for that phase only. */
TEST_F(group, death_after_arrival)
{
	struct quiesce_member m;
	struct quiesce_wait w;
	pid_t victim;

	victim = spawn({
		meet(self->party[3], QUIESCE_FOREVER, NULL);
	});
	close(self->party[3]);
	ASSERT_TRUE(wait_asleep(victim));
	kill(victim, SIGKILL);
	ASSERT_EQ(KILLED, join(victim));

	ASSERT_EQ(0, member_of(self->group, 3, &m));
	EXPECT_TRUE(m.state & QUIESCE_STATE_ENDED);
	EXPECT_TRUE(m.state & QUIESCE_STATE_ARRIVED);
	EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, m.cause.cause);
	EXPECT_EQ(victim, m.cause.pid);
	ARRIVE_BUT(1 << 3);
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_FOREVER, &w));

	/* The next phase is the first that misses it. */
	if (variant->flags & QUIESCE_GROUP_SHRINK) {
		ARRIVE_BUT(1 << 3);
		EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_FOREVER, &w));
		EXPECT_EQ(QUIESCE_RESULT_DONE, w.result & QUIESCE_RESULT_DONE);
	} else {
		EXPECT_EQ(-EOWNERDEAD, meet(self->party[0], QUIESCE_FOREVER, &w));
		EXPECT_EQ(3, w.cause.party);
		EXPECT_EQ(victim, w.cause.pid);
		EXPECT_EQ(SIGKILL, w.cause.status);
	}
}

TEST_F(group, leave)
{
	struct quiesce_member m;
	struct quiesce_status s;
	struct quiesce_wait w;

	/* The party has not arrived: its seat is freed. */
	EXPECT_EQ(0, leave(self->party[0]));
	EXPECT_EQ(-ENOTCONN, leave(self->party[0]));
	EXPECT_EQ(-ENOTCONN, place(self->party[0]));
	EXPECT_EQ(-ENOTCONN, meet(self->party[0], QUIESCE_FOREVER, &w));
	EXPECT_EQ(-ENOTCONN, wait_phase(self->party[0], 1, QUIESCE_FOREVER, &w));
	EXPECT_EQ(-ENOTCONN, abort_with(self->party[0], 0, NULL));
	EXPECT_EQ(-ENOTCONN, bind_to_me(self->party[0], 0));
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(N - 1, s.parties);
	ASSERT_EQ(0, status_of(self->party[0], &s));
	EXPECT_TRUE(s.state & QUIESCE_STATE_LEFT);
	EXPECT_EQ(0, close(self->party[0]));
	/* It had left, and so did not end. */
	ASSERT_EQ(0, member_of(self->group, 0, &m));
	EXPECT_EQ(QUIESCE_STATE_LEFT, m.state);
	EXPECT_EQ(QUIESCE_CAUSE_NONE, m.cause.cause);

	/* Arrived: that stands. */
	EXPECT_EQ(0, place(self->party[1]));
	EXPECT_EQ(0, leave(self->party[1]));
	EXPECT_EQ(0, close(self->party[1]));
	ASSERT_EQ(0, member_of(self->group, 1, &m));
	EXPECT_EQ(QUIESCE_STATE_LEFT | QUIESCE_STATE_ARRIVED, m.state);
	EXPECT_EQ(QUIESCE_CAUSE_NONE, m.cause.cause);
	EXPECT_EQ(0, place(self->party[2]));
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[2], 1, QUIESCE_NOW, &w));

	/* The one that was waited for. */
	EXPECT_EQ(0, leave(self->party[3]));
	EXPECT_EQ(0, wait_phase(self->party[2], 1, QUIESCE_NOW, &w));

	/* Alone now. */
	EXPECT_EQ(0, meet(self->party[2], QUIESCE_NOW, &w));
	EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w.result);
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(1, s.parties);
	EXPECT_EQ(-ESRCH, member_of(self->group, N + 2, &m));
}

TEST_F(group, leave_wakes)
{
	struct report *r = report_make();
	pid_t pid;

	ARRIVE_BUT(1 << 0);
	pid = SPAWN_WAIT(r, self->party[1], 1);
	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, leave(self->party[0]));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, r->ret);
}

TEST_F(group, drop)
{
	struct quiesce_arrive a;
	struct quiesce_status s;
	struct quiesce_wait w;

	a = arrive_args(1);
	a.flags = QUIESCE_ARRIVE_DROP;
	EXPECT_EQ(0, ctl(self->party[0], QUIESCE_IOC_ARRIVE, &a));
	EXPECT_EQ(1, a.ticket);
	EXPECT_EQ(-ENOTCONN, place(self->party[0]));
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(1, s.arrived);
	/* Its ticket can be waited for. */
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(POLLHUP, poll_now(self->party[0]));
	ARRIVE_BUT(1);
	EXPECT_EQ(POLLIN | POLLHUP, poll_now(self->party[0]));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(POLLHUP, poll_now(self->party[0]));
	close(self->party[0]);
	EXPECT_EQ(0, wait_phase(self->party[1], 1, QUIESCE_NOW, &w));
	/* Not in the next. */
	ARRIVE_BUT(1);
	EXPECT_EQ(0, wait_phase(self->party[1], 2, QUIESCE_NOW, &w));
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(N - 1, s.parties);
}

/* Whoever has given up its seat breaks nothing: a timeout of its wait is one only for itself. */
TEST_F(group, timeout_of_a_party_that_left)
{
	struct quiesce_arrive a = arrive_args(1);
	struct quiesce_status s;
	struct quiesce_wait w;

	a.flags = QUIESCE_ARRIVE_DROP;
	ASSERT_EQ(0, ctl(self->party[0], QUIESCE_IOC_ARRIVE, &a));
	ASSERT_EQ(0, place(self->party[1]));
	ASSERT_EQ(0, leave(self->party[1]));
	for (int i = 0; i < 2; i++) {
		for (int sleeps = 0; sleeps < 2; sleeps++) {
			w = wait_args(QUIESCE_WAIT_PHASE, sleeps ? in_ms(BLOCKS_MS) : QUIESCE_NOW);
			w.flags = QUIESCE_WAIT_BREAK;
			w.ticket = 1;
			EXPECT_EQ(-ETIMEDOUT, ctl(self->party[i], QUIESCE_IOC_WAIT, &w));
			ASSERT_EQ(0, status_of(self->group, &s));
			EXPECT_EQ(0, s.state & QUIESCE_STATE_BROKEN);
			EXPECT_EQ(QUIESCE_CAUSE_NONE, s.cause.cause);
		}
	}
	ASSERT_EQ(0, place(self->party[2]));
	EXPECT_EQ(0, meet(self->party[3], QUIESCE_NOW, &w));
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, wait_phase(self->party[i], 1, QUIESCE_NOW, &w));
}

TEST_F(group, last_one_drops)
{
	struct quiesce_arrive a = arrive_args(1);
	struct report *r = report_make();
	pid_t pid;

	ARRIVE_BUT(1 << 3);
	pid = SPAWN_WAIT(r, self->party[0], 1);
	ASSERT_TRUE(wait_asleep(pid));
	a.flags = QUIESCE_ARRIVE_DROP;
	EXPECT_EQ(0, ctl(self->party[3], QUIESCE_IOC_ARRIVE, &a));
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(0, r->ret);
}

TEST_F(group, join_adds_seats)
{
	struct quiesce_status s;
	struct quiesce_join j;
	struct quiesce_wait w;
	int more[2];

	EXPECT_EQ(0, place(self->party[0]));
	for (int i = 0; i < 2; i++) {
		more[i] = join_group(self->group, 0, &j);
		ASSERT_LE(0, more[i]);
		EXPECT_EQ(N + i, j.party);
		EXPECT_EQ(1, j.phase);
	}
	EXPECT_EQ(-ENOSPC, join_group(self->group, 0, &j));
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(N + 2, s.parties);
	EXPECT_EQ(1, s.arrived);

	ARRIVE_BUT(1);
	EXPECT_EQ(0, place(more[0]));
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(0, place(more[1]));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));

	/* A number that has become free is given again. */
	EXPECT_EQ(0, leave(self->party[1]));
	close(self->party[1]);
	self->party[1] = join_group(self->group, 0, &j);
	ASSERT_LE(0, self->party[1]);
	EXPECT_EQ(1, j.party);
	EXPECT_EQ(2, j.phase);
}

TEST_F(group, reset_in_mid_phase)
{
	struct report *r = report_make();
	struct quiesce_arrive a;
	struct quiesce_wait w;
	uint64_t phase;
	pid_t pid;

	ARRIVE_BUT(1 << 3);
	pid = SPAWN_WAIT(r, self->party[1], 1);
	ASSERT_TRUE(wait_asleep(pid));
	ASSERT_EQ(0, reset(self->group, &phase));
	EXPECT_EQ(2, phase);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-ECANCELED, r->ret);
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[0], 1, QUIESCE_FOREVER, &w));

	/* All arrive anew. */
	for (int i = 0; i < N; i++) {
		ASSERT_EQ(0, arrive(self->party[i], &a));
		EXPECT_EQ(2, a.ticket);
		EXPECT_EQ(i, a.index);
	}
	EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
	/* The outcome of phase 1 is still reported; not after another reset. */
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	ASSERT_EQ(0, arrive(self->party[0], &a));
	EXPECT_EQ(3, a.ticket);
	ASSERT_EQ(0, reset(self->group, &phase));
	EXPECT_EQ(4, phase);
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[0], 3, QUIESCE_NOW, &w));
	/* Also to a party that never got that ticket. */
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[1], 3, QUIESCE_NOW, &w));
	/* But no party has a ticket of the phase that has begun. */
	EXPECT_EQ(-EINVAL, wait_phase(self->party[1], 4, QUIESCE_NOW, &w));
	/* A party can always get the outcomes of its last arrivals. */
	EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	/* This party's are forgotten. */
	for (int i = 0; i < QUIESCE_OUTCOMES; i++) {
		ASSERT_EQ(0, arrive(self->party[0], NULL));
		ASSERT_EQ(0, reset(self->group, NULL));
	}
	EXPECT_EQ(-ESTALE, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
}

TEST_F(group, reset_after_break)
{
	struct quiesce_status s;
	struct quiesce_join j;
	struct quiesce_wait w;
	uint64_t phase, late;

	ARRIVE_BUT(1 << 3);
	EXPECT_EQ(0, abort_with(self->party[2], CODE, NULL));
	EXPECT_EQ(-ECONNABORTED, wait_phase(self->party[0], 1, QUIESCE_FOREVER, &w));
	close(self->party[3]);
	EXPECT_EQ(0, leave(self->party[2]));
	close(self->party[2]);

	ASSERT_EQ(0, reset(self->group, &phase));
	EXPECT_EQ(2, phase);
	ASSERT_EQ(0, status_late(self->group, &s, &late));
	EXPECT_EQ(QUIESCE_CAUSE_NONE, s.cause.cause);
	EXPECT_EQ(0, s.state & QUIESCE_STATE_BROKEN);
	EXPECT_EQ(2, s.phase);
	EXPECT_EQ(0, s.arrived);
	/* A party that had arrived still gets the cause. */
	EXPECT_EQ(-ECONNABORTED, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(CODE, w.cause.code);

	/* Until all the seats are taken, again, the phase cannot end. */
	while (s.open) {
		EXPECT_LE(0, join_group(self->group, 0, &j));
		EXPECT_EQ(2, j.phase);
		self->party[j.party] = j.fd;
		ASSERT_EQ(0, status_of(self->group, &s));
	}
	EXPECT_EQ(0, place(self->party[0]));
	EXPECT_EQ(0, place(self->party[1]));
	ASSERT_EQ(0, status_late(self->group, &s, &late));
	for (int i = 2; i < N; i++)
		if (late & (1 << i))
			EXPECT_EQ(0, place(self->party[i]));
	EXPECT_EQ(0, wait_phase(self->party[0], 2, QUIESCE_NOW, &w));
}

TEST_F(group, poll_of_a_party)
{
	struct quiesce_wait w;

	EXPECT_EQ(POLLOUT, poll_now(self->party[0]));
	EXPECT_EQ(0, place(self->party[0]));
	EXPECT_EQ(0, poll_now(self->party[0]));
	ARRIVE_BUT(1);
	EXPECT_EQ(POLLIN | POLLOUT, poll_now(self->party[0]));
	EXPECT_EQ(POLLIN | POLLOUT, poll_now(self->party[0]));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(POLLOUT, poll_now(self->party[0]));
	EXPECT_EQ(0, abort_with(self->party[1], 0, NULL));
	EXPECT_EQ(POLLPRI | POLLERR, poll_now(self->party[0]) & (POLLPRI | POLLERR | POLLHUP));
	EXPECT_EQ(0, poll_now(self->party[0]) & POLLOUT);
	EXPECT_EQ(0, leave(self->party[2]));
	EXPECT_TRUE(poll_now(self->party[2]) & POLLHUP);
}

TEST_F(group, poll_of_the_group)
{
	struct quiesce_status s;

	EXPECT_EQ(0, poll_now(self->group) & (POLLIN | POLLPRI | POLLERR | POLLHUP));
	ARRIVE_BUT(0);
	EXPECT_EQ(POLLIN, poll_now(self->group) & (POLLIN | POLLPRI | POLLERR | POLLHUP));
	ASSERT_EQ(0, status_of(self->group, &s));
	EXPECT_EQ(0, poll_now(self->group) & (POLLIN | POLLPRI | POLLERR | POLLHUP));
	EXPECT_EQ(0, abort_with(self->group, 0, NULL));
	EXPECT_EQ(POLLPRI | POLLERR, poll_now(self->group) & (POLLPRI | POLLERR | POLLHUP));
	for (int i = 0; i < N; i++)
		EXPECT_EQ(0, leave(self->party[i]));
	EXPECT_TRUE(poll_now(self->group) & POLLHUP);
}

TEST_F(group, members)
{
	struct quiesce_member m;
	struct quiesce_arrive a;

	EXPECT_EQ(0, place(self->party[1]));
	ASSERT_EQ(0, member_of(self->group, 1, &m));
	EXPECT_EQ(QUIESCE_STATE_ARRIVED, m.state);
	EXPECT_EQ(getpid(), m.pid);
	EXPECT_EQ(1, m.count);
	EXPECT_EQ(0, m.waiting);
	ASSERT_EQ(0, member_of(self->party[1], 2, &m));
	EXPECT_EQ(0, m.state);
	EXPECT_EQ(0, m.count);
	a = arrive_args(1);
	a.flags = QUIESCE_ARRIVE_DROP;
	ASSERT_EQ(0, ctl(self->party[2], QUIESCE_IOC_ARRIVE, &a));
	ASSERT_EQ(0, member_of(self->party[1], 2, &m));
	EXPECT_TRUE(m.state & QUIESCE_STATE_LEFT);
	EXPECT_TRUE(m.state & QUIESCE_STATE_ARRIVED);
	EXPECT_EQ(-ESRCH, member_of(self->group, QUIESCE_NOBODY, &m));
	EXPECT_EQ(-ESRCH, member_of(self->group, N + 2, &m));
}

/* Open seats hold a phase up, and end when nobody can join any more. */
TEST(open_seats_break)
{
	struct report *r = report_make();
	struct quiesce_status s;
	int group = make_group(3, 0, 0), party;
	struct quiesce_member m;
	uint64_t late;
	pid_t pid;

	ASSERT_LE(0, group);
	party = join_group(group, 0, NULL);
	ASSERT_LE(0, party);
	ASSERT_EQ(0, place(party));
	ASSERT_EQ(0, status_late(group, &s, &late));
	EXPECT_EQ(3, s.parties);
	EXPECT_EQ(2, s.open);
	EXPECT_EQ(6, late);
	ASSERT_EQ(0, member_of(group, 2, &m));
	EXPECT_EQ(QUIESCE_STATE_OPEN, m.state);
	EXPECT_EQ(0, m.pid);
	ASSERT_EQ(0, member_of(group, 0, &m));
	EXPECT_EQ(QUIESCE_STATE_ARRIVED, m.state);
	pid = spawn({
		close(group);
		r->ret = wait_phase(party, 1, QUIESCE_FOREVER, &r->w);
	});
	ASSERT_TRUE(wait_asleep(pid));
	close(group);
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-EOWNERDEAD, r->ret);
	EXPECT_EQ(QUIESCE_CAUSE_UNCLAIMED, r->w.cause.cause);
	EXPECT_EQ(QUIESCE_NOBODY, r->w.cause.party);
}

TEST(open_seats_shrink)
{
	int group = make_group(3, 0, QUIESCE_GROUP_SHRINK), party;
	struct quiesce_wait w;

	ASSERT_LE(0, group);
	party = join_group(group, 0, NULL);
	ASSERT_LE(0, party);
	ASSERT_EQ(0, place(party));
	EXPECT_EQ(-ETIMEDOUT, wait_phase(party, 1, QUIESCE_NOW, &w));
	close(group);
	EXPECT_EQ(0, wait_phase(party, 1, QUIESCE_NOW, &w));
	EXPECT_EQ(0, meet(party, QUIESCE_NOW, &w));
}

/* Nothing breaks when the group's descriptor goes and all seats are taken. */
TEST(group_closed_with_all_seats_taken)
{
	int group = make_group(2, 0, 0), a, b;
	struct quiesce_wait w;

	ASSERT_LE(0, group);
	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	close(group);
	for (int i = 1; i <= 10; i++) {
		ASSERT_EQ(0, place(a));
		ASSERT_EQ(0, meet(b, QUIESCE_NOW, &w));
		ASSERT_EQ(0, wait_phase(a, i, QUIESCE_NOW, &w));
	}
}

/* The bitmap of the late in as many words as there is room for. */
TEST(late_bitmap)
{
	enum { PARTIES = 150, WORDS = 3 };
	int group = make_group(PARTIES, 0, 0), party[PARTIES];
	struct quiesce_status s;
	uint64_t late[WORDS + 1];

	ASSERT_LE(0, group);
	for (int i = 0; i < PARTIES; i++) {
		party[i] = join_group(group, 0, NULL);
		ASSERT_LE(0, party[i]);
		if (i % 3)
			ASSERT_EQ(0, place(party[i]));
	}
	for (unsigned int room = 0; room <= WORDS + 1; room++) {
		memset(late, POISON, sizeof(late));
		memset(&s, POISON, sizeof(s));
		s.flags = 0;
		s.late = (uintptr_t)late;
		s.late_words = room;
		ASSERT_EQ(0, ctl(group, QUIESCE_IOC_STATUS, &s));
		EXPECT_EQ(WORDS, s.late_words);
		EXPECT_EQ(PARTIES, s.parties);
		for (unsigned int w = 0; w < WORDS; w++) {
			uint64_t expected = 0;

			for (int bit = 0; bit < 64; bit++)
				if (w * 64 + bit < PARTIES && (w * 64 + bit) % 3 == 0)
					expected |= 1ULL << bit;
			EXPECT_EQ(w < room ? expected : 0xccccccccccccccccULL, late[w]);
		}
	}
}

/* Many phases of several processes at once: one leader each, no index twice. */
TEST(many_phases)
{
	enum { PARTIES = 6, PHASES = 300 };
	struct {
		_Atomic int leaders[PHASES];
		_Atomic unsigned int seen[PHASES];
		_Atomic int inside;
	} *all = share(sizeof(*all));
	int group = make_group(PARTIES, 0, 0), party[PARTIES];
	pid_t pid[PARTIES];

	ASSERT_LE(0, group);
	for (int i = 0; i < PARTIES; i++) {
		party[i] = join_group(group, 0, NULL);
		ASSERT_LE(0, party[i]);
	}
	for (int i = 0; i < PARTIES; i++) {
		pid[i] = spawn({
			struct quiesce_wait w;

			for (int phase = 0; phase < PHASES; phase++) {
				atomic_fetch_add(&all->inside, 1);
				check(meet(party[i], QUIESCE_FOREVER, &w) == 0);
				/* All have entered this phase, none is in the one after next. */
				check(atomic_load(&all->inside) >= (phase + 1) * PARTIES);
				check(atomic_load(&all->inside) <= (phase + 2) * PARTIES);
				check(w.ticket == 0);
				if (w.result & QUIESCE_RESULT_LEADER)
					atomic_fetch_add(&all->leaders[phase], 1);
				atomic_fetch_or(&all->seen[phase], 1u << w.index);
			}
		});
	}
	for (int i = 0; i < PARTIES; i++)
		EXPECT_EQ(0, join(pid[i]));
	for (int phase = 0; phase < PHASES; phase++) {
		ASSERT_EQ(1, all->leaders[phase]);
		ASSERT_EQ((1 << PARTIES) - 1, all->seen[phase]);
	}
}

static void nothing(int sig)
{
}

/* A signal ends a wait that would break the group at its deadline, and breaks nothing. */
TEST_F(group, signal_breaks_nothing)
{
	pid_t pid = spawn({
		struct sigaction sa = { .sa_handler = nothing };
		struct quiesce_wait w = wait_args(QUIESCE_WAIT_PHASE, in_ms(60000));

		check(!sigaction(SIGUSR1, &sa, NULL));
		w.flags = QUIESCE_WAIT_BREAK;
		w.ticket = 1;
		check(place(self->party[0]) == 0);
		_exit(ctl(self->party[0], QUIESCE_IOC_WAIT, &w) == -EINTR ? 7 : 1);
	});

	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, kill(pid, SIGUSR1));
	EXPECT_EQ(7, join(pid));
	EXPECT_EQ(0, poll_now(self->group) & (POLLPRI | POLLERR));
	ARRIVE_BUT(1);
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, NULL));
}

/* A party bound to its process ends with it, though another has a copy. */
TEST(bound_party)
{
	int group = make_group(2, 0, 0), a, b;
	struct quiesce_wait w;
	struct gate g;
	pid_t pid;

	ASSERT_LE(0, group);
	ASSERT_EQ(0, gate_make(&g));
	a = join_group(group, 0, NULL);
	b = join_group(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	pid = spawn({
		check(bind_to_me(b, QUIESCE_BIND_PROCESS) == 0);
		gate_open(&g);
		_exit(5);
	});
	gate_pass(&g);
	EXPECT_EQ(-EOWNERDEAD, meet(a, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_CAUSE_EXIT, w.cause.cause);
	EXPECT_EQ(5, w.cause.status);
	EXPECT_EQ(pid, w.cause.pid);
	EXPECT_EQ(1, w.cause.party);
	EXPECT_EQ(5, join(pid));
	/* The copy here is of no use any more. */
	EXPECT_EQ(-ENOTCONN, place(b));
	EXPECT_TRUE(poll_now(b) & POLLHUP);
}

/*
 * The end of its process ends the wait of a party that had arrived, in whichever
 * process that has a copy of its descriptor.
 */
TEST_F(group, own_end_ends_own_wait)
{
	struct gate arrived;
	pid_t bound, waiter;

	ASSERT_EQ(0, gate_make(&arrived));
	bound = spawn({
		check(bind_to_me(self->party[0], QUIESCE_BIND_PROCESS) == 0);
		check(place(self->party[0]) == 0);
		gate_open(&arrived);
		pause();
	});
	gate_pass(&arrived);
	waiter = spawn({
		_exit(wait_phase(self->party[0], 1, in_ms(60000), NULL) == -ENOTCONN ? 7 : 1);
	});
	ASSERT_TRUE(wait_asleep(waiter));
	kill(bound, SIGKILL);
	EXPECT_EQ(KILLED, join(bound));
	EXPECT_EQ(7, join(waiter));
}

/*
 * Two parties end with one process, and the end of one ends the phase: the other one
 * does not lead it, whichever of them the kernel ends first.
 */
TEST(party_of_a_dead_process_does_not_lead)
{
	for (int first = 0; first < 2; first++) {
		int group = make_group(3, 0, QUIESCE_GROUP_SHRINK), me, party[2];
		struct quiesce_status s;
		struct quiesce_wait w;
		struct gate bound;
		pid_t pid;

		ASSERT_LE(0, group);
		ASSERT_LE(0, me = join_group(group, 0, NULL));
		for (int i = 0; i < 2; i++)
			ASSERT_LE(0, party[i] = join_group(group, 0, NULL));
		ASSERT_EQ(0, gate_make(&bound));
		pid = spawn({
			check(bind_to_me(party[first], QUIESCE_BIND_PROCESS) == 0);
			check(bind_to_me(party[!first], QUIESCE_BIND_PROCESS) == 0);
			gate_open(&bound);
			pause();
		});
		gate_pass(&bound);
		ASSERT_EQ(0, place(me));
		ASSERT_EQ(0, place(party[0]));
		kill(pid, SIGKILL);
		ASSERT_EQ(KILLED, join(pid));
		EXPECT_EQ(0, wait_phase(me, 1, in_ms(60000), &w));
		EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w.result);
		ASSERT_EQ(0, status_of(group, &s));
		EXPECT_EQ(1, s.parties);
		EXPECT_EQ(2, s.phase);
	}
}

struct stalled {
	int group, ret;
	struct quiesce_status status;
};

static void *ask(void *arg)
{
	struct stalled *s = arg;

	s->ret = ctl(s->group, QUIESCE_IOC_STATUS, &s->status);
	return NULL;
}

/* A phase that ends after STATUS has made its answer is still news to whoever polls. */
TEST(phase_that_ends_during_status)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_zeropage zero = {};
	struct stalled s = {};
	const size_t page = sysconf(_SC_PAGESIZE);
	pthread_t thread;
	int uffd, party;
	char *late;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	late = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(late != MAP_FAILED);
	range.range.start = (uintptr_t)late;
	range.range.len = page;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &range));
	s.group = make_group(1, 0, 0);
	ASSERT_LE(0, s.group);
	ASSERT_LE(0, party = join_group(s.group, 0, NULL));
	ASSERT_EQ(0, place(party));
	EXPECT_EQ(POLLIN, poll_now(s.group));
	s.status.late = (uintptr_t)late;
	s.status.late_words = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, ask, &s));
	/* It writes the bitmap: the answer is made. */
	wait_stalled(uffd);
	ASSERT_EQ(0, place(party));
	zero.range = range.range;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, s.ret);
	EXPECT_EQ(2, s.status.phase);
	EXPECT_EQ(POLLIN, poll_now(s.group));
	ASSERT_EQ(0, status_of(s.group, &s.status));
	EXPECT_EQ(3, s.status.phase);
	EXPECT_EQ(0, poll_now(s.group));
	close(uffd);
}

struct joining {
	int group, ret;
	struct quiesce_join *args;
};

static void *join_by(void *arg)
{
	struct joining *j = arg;

	j->ret = ctl(j->group, QUIESCE_IOC_JOIN, j->args);
	return NULL;
}

/*
 * A JOIN that has to wait for the memory of its result, and in the end fails, is to
 * nobody as if there were another party.
 */
TEST(join_that_waits_and_fails)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct quiesce_status s;
	struct quiesce_join next;
	struct quiesce_wait w;
	struct uffdio_range range;
	struct joining j = {};
	int uffd, party, before;
	pthread_t thread;

	j.args = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(j.args != MAP_FAILED);
	memset(j.args, 0, sizeof(*j.args));
	uffd = stall_writes(j.args);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	j.group = make_group(1, 2, 0);
	ASSERT_LE(0, j.group);
	ASSERT_LE(0, party = join_group(j.group, 0, NULL));
	before = count_fds();
	ASSERT_EQ(0, pthread_create(&thread, NULL, join_by, &j));
	/* It writes its result. */
	wait_stalled(uffd);

	/* The only party goes on alone. */
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.flags = QUIESCE_WAIT_BREAK;
	w.count = 1;
	EXPECT_EQ(0, ctl(party, QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w.result);
	ASSERT_EQ(0, status_of(j.group, &s));
	EXPECT_EQ(1, s.parties);
	EXPECT_EQ(2, s.phase);
	EXPECT_EQ(0, s.state);

	ASSERT_EQ(0, munmap(j.args, page));
	range = (struct uffdio_range) { (uintptr_t)j.args, page };
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WAKE, &range));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-EFAULT, j.ret);
	EXPECT_EQ(before, count_fds());
	ASSERT_EQ(0, status_of(j.group, &s));
	EXPECT_EQ(0, s.state);
	EXPECT_EQ(1, s.parties);
	EXPECT_EQ(0, meet(party, QUIESCE_NOW, &w));
	EXPECT_LE(0, join_group(j.group, 0, &next));
	EXPECT_EQ(1, next.party);
	EXPECT_EQ(3, next.phase);
	close(uffd);
}

struct meeting {
	int party, ret;
	struct quiesce_wait *w;
};

static void *meet_by(void *arg)
{
	struct meeting *m = arg;

	m->ret = ctl(m->party, QUIESCE_IOC_ARRIVE_WAIT, m->w);
	return NULL;
}

/*
 * An ARRIVE_WAIT that finds the group broken once its memory is writable returns no
 * ticket: the same struct arrives after a RESET.
 */
TEST(broken_while_the_memory_of_an_arrival_is_faulted_in)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	struct uffdio_writeprotect writable = {};
	struct meeting m = {};
	int uffd, group, other;
	pthread_t thread;

	m.w = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(m.w != MAP_FAILED);
	*m.w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	m.w->count = 1;
	uffd = stall_writes(m.w);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	group = make_group(2, 0, 0);
	ASSERT_LE(0, group);
	ASSERT_LE(0, m.party = join_group(group, 0, NULL));
	ASSERT_LE(0, other = join_group(group, 0, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, meet_by, &m));
	/* It could arrive, and writes the ticket. */
	wait_stalled(uffd);
	ASSERT_EQ(0, abort_with(other, 3, NULL));
	writable.range.start = (uintptr_t)m.w;
	writable.range.len = page;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &writable));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-ECONNABORTED, m.ret);
	EXPECT_EQ(QUIESCE_CAUSE_ABORT, m.w->cause.cause);
	EXPECT_EQ(3, m.w->cause.code);
	EXPECT_EQ(0, m.w->ticket);

	ASSERT_EQ(0, reset(group, NULL));
	ASSERT_EQ(0, place(other));
	EXPECT_EQ(0, ctl(m.party, QUIESCE_IOC_ARRIVE_WAIT, m.w));
	EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, m.w->result);
	EXPECT_EQ(1, m.w->index);
	close(uffd);
}

TEST_HARNESS_MAIN
