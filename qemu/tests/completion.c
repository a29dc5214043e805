// SPDX-License-Identifier: GPL-2.0
/* Groups whose leader completes each phase before the others are released. */
#include "ops.h"
#include "quiesce-group.h"

#define PARTIES 4
#define PHASES 60

static int complete(int party, uint64_t ticket, uint64_t *phase)
{
	struct quiesce_complete args;
	int ret;

	memset(&args, POISON, sizeof(args));
	args.flags = 0;
	args.reserved = 0;
	args.ticket = ticket;
	ret = ctl(party, QUIESCE_IOC_COMPLETE, &args);
	if (!ret && phase)
		*phase = args.phase;
	return ret;
}

TEST(the_step_runs_before_release)
{
	struct {
		_Atomic int inside;
		int steps;	/* plain: only the leader writes it, between the phases */
	} *all = share(sizeof(*all));
	int group = quiesce_group_create(PARTIES, 0, QUIESCE_GROUP_COMPLETION);
	pid_t pid[PARTIES];

	ASSERT_LE(0, group);
	for (int i = 0; i < PARTIES; i++) {
		int me = quiesce_group_join(group, 0, NULL);

		ASSERT_LE(0, me);
		pid[i] = spawn({
			for (int phase = 1; phase <= PHASES; phase++) {
				struct quiesce_wait w;
				int ret;

				atomic_fetch_add(&all->inside, 1);
				ret = quiesce_group_arrive_and_wait(me, &w, CLOCK_MONOTONIC, NULL);
				check(ret >= 0);
				if (ret == 1) {
					check(atomic_load(&all->inside) == phase * PARTIES);
					check(all->steps == phase - 1);
					sched_yield();
					all->steps = phase;
					check(quiesce_group_complete(me, w.ticket) == 0);
				} else {
					check(w.ticket == 0);
					check(all->steps >= phase);
				}
			}
		});
		close(me);
	}
	for (int i = 0; i < PARTIES; i++)
		EXPECT_EQ(0, join(pid[i]));
	EXPECT_EQ(PHASES, all->steps);
}

FIXTURE(completion)
{
	int group, party[3];
};

FIXTURE_VARIANT(completion)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(completion, breaks) { .flags = 0 };
FIXTURE_VARIANT_ADD(completion, shrinks) { .flags = QUIESCE_GROUP_SHRINK };

FIXTURE_SETUP(completion)
{
	self->group = make_group(3, 4, QUIESCE_GROUP_COMPLETION | variant->flags);
	ASSERT_LE(0, self->group);
	for (int i = 0; i < 3; i++) {
		self->party[i] = join_group(self->group, 0, NULL);
		ASSERT_LE(0, self->party[i]);
	}
}

FIXTURE_TEARDOWN(completion)
{
}

TEST_F(completion, all_calls_report_the_leader)
{
	struct quiesce_arrive a;
	struct quiesce_member m;
	struct quiesce_wait w;
	uint64_t phase;

	EXPECT_EQ(-EINVAL, complete(self->party[0], 1, NULL));
	ASSERT_EQ(0, place(self->party[0]));
	ASSERT_EQ(0, place(self->party[1]));
	ASSERT_EQ(0, arrive(self->party[2], &a));
	EXPECT_EQ(QUIESCE_RESULT_LEADER, a.result);
	EXPECT_EQ(1, a.ticket);
	ASSERT_EQ(0, wait_phase(self->party[2], 1, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_RESULT_LEADER, w.result);
	EXPECT_EQ(1, w.ticket);
	EXPECT_EQ(POLLIN, poll_now(self->party[2]));
	EXPECT_EQ(0, poll_now(self->party[0]));
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[0], 1, in_ms(BLOCKS_MS), &w));
	ASSERT_EQ(0, member_of(self->group, 2, &m));
	EXPECT_EQ(QUIESCE_STATE_ARRIVED | QUIESCE_STATE_LEADS, m.state);
	EXPECT_EQ(-EBUSY, join_group(self->group, 0, NULL));
	EXPECT_EQ(-EINVAL, complete(self->party[0], 1, NULL));
	EXPECT_EQ(-EINVAL, complete(self->party[2], 2, NULL));
	EXPECT_EQ(-ENOTTY, complete(self->group, 1, NULL));
	EXPECT_EQ(0, complete(self->party[2], 1, &phase));
	EXPECT_EQ(2, phase);
	EXPECT_EQ(-EINVAL, complete(self->party[2], 1, NULL));
	EXPECT_EQ(POLLOUT, poll_now(self->party[2]));
	EXPECT_EQ(POLLIN | POLLOUT, poll_now(self->party[0]));
	ASSERT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(QUIESCE_RESULT_DONE, w.result);
	ASSERT_EQ(0, wait_phase(self->party[2], 1, QUIESCE_NOW, &w));
	EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w.result);
	EXPECT_EQ(0, w.ticket);
}

/* The struct of a leader's ARRIVE_WAIT does not pass the next round by mistake. */
TEST_F(completion, the_struct_used_again)
{
	struct quiesce_wait w;
	uint64_t phase;

	ASSERT_EQ(0, place(self->party[0]));
	ASSERT_EQ(0, place(self->party[1]));
	ASSERT_EQ(0, meet(self->party[2], QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_RESULT_LEADER, w.result);
	EXPECT_EQ(1, w.ticket);
	EXPECT_EQ(-EINVAL, ctl(self->party[2], QUIESCE_IOC_ARRIVE_WAIT, &w));
	EXPECT_EQ(-EALREADY, meet(self->party[2], QUIESCE_NOW, NULL));
	EXPECT_EQ(0, complete(self->party[2], 1, &phase));
	EXPECT_EQ(2, phase);
	EXPECT_EQ(-EINVAL, ctl(self->party[2], QUIESCE_IOC_ARRIVE_WAIT, &w));
}

/* A leader that leaves is replaced by one that sleeps: one after the other, both lead. */
TEST_F(completion, leader_leaves)
{
	struct quiesce_wait *w = share(sizeof(*w));
	struct quiesce_arrive a;
	pid_t pid;

	ASSERT_EQ(0, place(self->party[0]));
	pid = spawn({
		check(meet(self->party[1], QUIESCE_FOREVER, w) == 0);
		check(w->result == QUIESCE_RESULT_LEADER);
		check(complete(self->party[1], w->ticket, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(pid));
	ASSERT_EQ(0, arrive(self->party[2], &a));
	EXPECT_EQ(QUIESCE_RESULT_LEADER, a.result);
	EXPECT_TRUE(asleep_in(pid, SYS_ioctl));
	ASSERT_EQ(0, leave(self->party[2]));
	EXPECT_EQ(-EINVAL, complete(self->party[2], 1, NULL));
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, w));
	EXPECT_EQ(QUIESCE_RESULT_DONE, w->result);
	EXPECT_EQ(0, wait_phase(self->party[2], 1, QUIESCE_NOW, w));
	EXPECT_EQ(QUIESCE_RESULT_DONE, w->result);
	EXPECT_EQ(0, wait_phase(self->party[1], 1, QUIESCE_NOW, w));
	EXPECT_EQ(QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER, w->result);
}

/* A leader that is killed in its step. */
TEST_F(completion, leader_dies)
{
	struct quiesce_wait w;
	struct gate g;
	pid_t pid;

	ASSERT_EQ(0, gate_make(&g));
	ASSERT_EQ(0, place(self->party[0]));
	ASSERT_EQ(0, place(self->party[1]));
	pid = spawn({
		check(meet(self->party[2], QUIESCE_FOREVER, &w) == 0);
		gate_open(&g);
		pause();
	});
	close(self->party[2]);
	gate_pass(&g);
	EXPECT_EQ(-ETIMEDOUT, wait_phase(self->party[1], 1, QUIESCE_NOW, &w));
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	if (variant->flags & QUIESCE_GROUP_SHRINK) {
		ASSERT_EQ(0, wait_phase(self->party[1], 1, QUIESCE_FOREVER, &w));
		EXPECT_EQ(QUIESCE_RESULT_LEADER, w.result);
		EXPECT_EQ(0, complete(self->party[1], 1, NULL));
		EXPECT_EQ(0, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	} else {
		EXPECT_EQ(-EOWNERDEAD, wait_phase(self->party[0], 1, QUIESCE_FOREVER, &w));
		EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, w.cause.cause);
		EXPECT_EQ(2, w.cause.party);
		EXPECT_EQ(-EOWNERDEAD, complete(self->party[1], 1, NULL));
	}
}

/* A copy of the descriptor of a leader that has died after it completed its phase. */
TEST_F(completion, copy_of_a_dead_leader)
{
	pid_t pid;

	ASSERT_EQ(0, place(self->party[0]));
	ASSERT_EQ(0, place(self->party[1]));
	pid = spawn({
		check(bind_to_me(self->party[2], QUIESCE_BIND_PROCESS) == 0);
		check(meet(self->party[2], QUIESCE_FOREVER, NULL) == 0);
		check(complete(self->party[2], 1, NULL) == 0);
	});
	ASSERT_EQ(0, join(pid));
	EXPECT_EQ(-ENOTCONN, place(self->party[2]));
	EXPECT_EQ(-EINVAL, complete(self->party[2], 1, NULL));
	EXPECT_EQ(0, wait_phase(self->party[2], 1, QUIESCE_NOW, NULL));
}

/*
 * A process that has the last arrivals dies, and its descriptors close one after the
 * other: the lead passes to the party that is left.
 */
TEST(leaders_that_die_together)
{
	enum { BOUND = 200 };
	int group = make_group(BOUND + 1, 0, QUIESCE_GROUP_COMPLETION | QUIESCE_GROUP_SHRINK);
	struct quiesce_status s;
	struct quiesce_wait w;
	int me;
	struct gate ready;
	pid_t pid;

	ASSERT_LE(0, group);
	me = join_group(group, 0, NULL);
	ASSERT_LE(0, me);
	ASSERT_EQ(0, place(me));
	ASSERT_EQ(0, gate_make(&ready));
	pid = spawn({
		for (int i = 0; i < BOUND; i++)
			check(place(join_group(group, QUIESCE_BIND_PROCESS, NULL)) == 0);
		gate_open(&ready);
		pause();
	});
	gate_pass(&ready);
	EXPECT_EQ(-ETIMEDOUT, wait_phase(me, 1, QUIESCE_NOW, &w));
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	ASSERT_EQ(0, wait_phase(me, 1, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_RESULT_LEADER, w.result);
	EXPECT_EQ(0, complete(me, 1, NULL));
	ASSERT_EQ(0, status_of(group, &s));
	EXPECT_EQ(1, s.parties);
	EXPECT_EQ(2, s.phase);
}

/*
 * A leader ends with its process while others have its descriptor: one that sleeps
 * replaces it. It sleeps without a deadline, at which it would find that it leads.
 */
TEST(leader_that_is_open_elsewhere_dies)
{
	int group = make_group(2, 0, QUIESCE_GROUP_COMPLETION | QUIESCE_GROUP_SHRINK), me, leader;
	struct gate ready;
	pid_t pid, victim;

	ASSERT_LE(0, group);
	ASSERT_LE(0, me = join_group(group, 0, NULL));
	ASSERT_LE(0, leader = join_group(group, 0, NULL));
	ASSERT_EQ(0, gate_make(&ready));
	pid = spawn({
		struct quiesce_wait w;

		check(meet(me, QUIESCE_FOREVER, &w) == 0);
		check(w.result == QUIESCE_RESULT_LEADER);
		check(complete(me, w.ticket, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(pid));
	victim = spawn({
		check(bind_to_me(leader, QUIESCE_BIND_PROCESS) == 0);
		check(place(leader) == 0);
		gate_open(&ready);
		pause();
	});
	gate_pass(&ready);
	EXPECT_TRUE(wait_asleep(pid));
	kill(victim, SIGKILL);
	ASSERT_EQ(KILLED, join(victim));
	EXPECT_EQ(0, join(pid));
}

/* A party ends that had not arrived: the last to arrive leads, and sleeps since before. */
TEST(sleeper_leads_by_the_end_of_another)
{
	int group = make_group(2, 0, QUIESCE_GROUP_COMPLETION | QUIESCE_GROUP_SHRINK), me, other;
	pid_t pid;

	ASSERT_LE(0, group);
	ASSERT_LE(0, me = join_group(group, 0, NULL));
	ASSERT_LE(0, other = join_group(group, 0, NULL));
	pid = spawn({
		struct quiesce_wait w;

		close(other);
		check(meet(me, QUIESCE_FOREVER, &w) == 0);
		check(w.result == QUIESCE_RESULT_LEADER);
		check(complete(me, w.ticket, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep(pid));
	/* No process was bound and nobody has left: only that a leader was chosen is news. */
	close(other);
	EXPECT_EQ(0, join(pid));
}

/* The same where the open seats end. */
TEST(sleeper_leads_by_the_end_of_open_seats)
{
	int group = make_group(2, 0, QUIESCE_GROUP_COMPLETION | QUIESCE_GROUP_SHRINK), me;
	pid_t pid;

	ASSERT_LE(0, group);
	ASSERT_LE(0, me = join_group(group, 0, NULL));
	pid = spawn({
		struct quiesce_wait w;

		close(group);
		check(meet(me, QUIESCE_FOREVER, &w) == 0);
		check(w.result == QUIESCE_RESULT_LEADER);
	});
	ASSERT_TRUE(wait_asleep(pid));
	close(group);
	EXPECT_EQ(0, join(pid));
}

/* The deadline of another party ends the step. */
TEST_F(completion, the_step_takes_too_long)
{
	struct quiesce_wait w = {
		.kind = QUIESCE_WAIT_PHASE,
		.flags = QUIESCE_WAIT_BREAK,
		.ticket = 1,
		.deadline = in_ms(BLOCKS_MS),
	};

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, place(self->party[i]));
	EXPECT_EQ(-ETIMEDOUT, ctl(self->party[0], QUIESCE_IOC_WAIT, &w));
	EXPECT_EQ(-ECONNABORTED, complete(self->party[2], 1, NULL));
	EXPECT_EQ(-ECONNABORTED, wait_phase(self->party[1], 1, QUIESCE_FOREVER, &w));
	EXPECT_EQ(QUIESCE_CAUSE_TIMEOUT, w.cause.cause);
	EXPECT_EQ(0, w.cause.party);
}

/* What the leader of a phase that was reset does has no effect on the next. */
TEST_F(completion, reset_in_the_step)
{
	struct quiesce_wait w;
	uint64_t phase;

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, place(self->party[i]));
	ASSERT_EQ(0, reset(self->group, NULL));
	EXPECT_EQ(-ECANCELED, complete(self->party[2], 1, NULL));
	EXPECT_EQ(-ECANCELED, wait_phase(self->party[0], 1, QUIESCE_NOW, &w));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, place(self->party[i]));
	EXPECT_EQ(-ECANCELED, complete(self->party[2], 1, NULL));
	EXPECT_EQ(0, complete(self->party[2], 2, &phase));
	EXPECT_EQ(3, phase);
}

/* A poller of a party that becomes the leader returns. */
TEST_F(completion, pollers_of_the_leader)
{
	struct pollfd p = { .fd = self->party[1], .events = POLLIN };
	pid_t pid;

	ASSERT_EQ(0, place(self->party[0]));
	ASSERT_EQ(0, place(self->party[1]));
	pid = spawn({
		check(poll(&p, 1, -1) == 1);
		check(p.revents == POLLIN);
		check(complete(self->party[1], 1, NULL) == 0);
	});
	ASSERT_TRUE(wait_asleep_in(pid, NR_POLL));
	ASSERT_EQ(0, place(self->party[2]));
	ASSERT_EQ(0, leave(self->party[2]));
	EXPECT_EQ(0, join(pid));
}

/* Without the flag a phase ends by itself. */
TEST(only_with_the_flag)
{
	int fd[2], group = make_group(1, 0, 0), party = join_group(group, 0, NULL);
	struct quiesce_complete args = { .flags = 1, .ticket = 1 };

	ASSERT_LE(0, party);
	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(0, meet(party, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(-EINVAL, complete(party, 1, NULL));
	EXPECT_EQ(-ENOTTY, complete(fd[0], 1, NULL));
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_COMPLETE, &args));
	args = (struct quiesce_complete) { .reserved = 1, .ticket = 1 };
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_COMPLETE, &args));
	EXPECT_EQ(-EFAULT, ctl(party, QUIESCE_IOC_COMPLETE, NULL));
}

TEST_HARNESS_MAIN
