// SPDX-License-Identifier: GPL-2.0
/*
 * The behaviour that systemd's sixteen tests of its Barrier require, through
 * barrier.h. There, sleeps of 20 ms order the two parties, and an alarm shows that
 * a call blocks. Here gates order them, and a call blocks if its task is found
 * asleep in it; the test then also checks that it returns when the other party ends.
 */
#include "common.h"
#include "fallback.h"

FIXTURE(systemd)
{
	Barrier b;
	struct gate go;	/* opened by the test: the child may go on */
	struct gate at;	/* opened by either side: it has got so far */
	pid_t child, parent;
};

FIXTURE_SETUP(systemd)
{
	Barrier b = BARRIER_NULL;

	self->b = b;
	ASSERT_EQ(0, barrier_create(&self->b));
	ASSERT_EQ(0, gate_make(&self->go));
	ASSERT_EQ(0, gate_make(&self->at));
}

FIXTURE_TEARDOWN(systemd)
{
}

/* Runs both parties' programs, each in a separate process; the test keeps no descriptor. */
#define PLAY(child_code, parent_code) do {				\
	struct gate *go __maybe_unused = &self->go;			\
	struct gate *at __maybe_unused = &self->at;			\
	Barrier *b = &self->b;						\
									\
	self->child = spawn({						\
		barrier_set_role(b, BARRIER_CHILD);			\
		child_code						\
	});								\
	self->parent = spawn({						\
		barrier_set_role(b, BARRIER_PARENT);			\
		parent_code						\
	});								\
	ASSERT_LT(0, self->child);					\
	ASSERT_LT(0, self->parent);					\
	barrier_destroy(b);						\
} while (0)

#define ENDS_WELL(pid) ASSERT_EQ(0, join(pid))

/* Its task sleeps in the call, until the other side is killed. */
#define BLOCKS_UNTIL_DEATH(pid, other) do {				\
	ASSERT_TRUE(wait_asleep(pid));					\
	ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));			\
	kill(other, SIGKILL);						\
	ASSERT_EQ(KILLED, join(other));					\
	ENDS_WELL(pid);							\
} while (0)

/* 1: a side that placed and exited is still met. */
TEST_F(systemd, sync)
{
	PLAY({
		check(barrier_place(b));
		gate_pass(go);
		check(barrier_sync(b));
	}, {
		check(barrier_place(b));
		check(barrier_sync(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

/* 2: wait_next() takes a place that was made before. */
TEST_F(systemd, wait_next)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		check(barrier_place(b));
		check(barrier_sync(b));
	}, {
		check(barrier_place(b));
		gate_open(go);
		check(barrier_sync(b));
	});
	ENDS_WELL(self->child);
	ENDS_WELL(self->parent);
}

/* 3: one wait_next() takes every pending place, so a second one blocks. */
TEST_F(systemd, wait_next_twice)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		gate_open(at);
		check(!barrier_wait_next(b));
	}, {
		check(barrier_place(b));
		check(barrier_place(b));
		gate_open(go);
		pause();
	});
	gate_pass(&self->at);
	BLOCKS_UNTIL_DEATH(self->child, self->parent);
}

/* 4: the caller's own places change nothing in that. */
TEST_F(systemd, wait_next_twice_local)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		check(barrier_place(b));
		check(barrier_place(b));
		gate_open(at);
		check(!barrier_wait_next(b));
	}, {
		check(barrier_place(b));
		check(barrier_place(b));
		gate_open(go);
		pause();
	});
	gate_pass(&self->at);
	BLOCKS_UNTIL_DEATH(self->child, self->parent);
}

/* 5: sync_next() does not block for a side that is behind. */
TEST_F(systemd, wait_next_twice_sync)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		check(barrier_sync_next(b));
	}, {
		check(barrier_place(b));
		check(barrier_place(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

/* 6: nor for one that has caught up. */
TEST_F(systemd, wait_next_twice_local_sync)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		check(barrier_place(b));
		check(barrier_place(b));
		check(barrier_sync_next(b));
	}, {
		check(barrier_place(b));
		check(barrier_place(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

/* 7: the syncs of a side that is behind, and then level. */
TEST_F(systemd, sync_next)
{
	PLAY({
		check(barrier_sync_next(b));
		check(barrier_sync(b));
		check(barrier_place(b));
		check(barrier_place(b));
		gate_open(go);
		check(barrier_sync_next(b));
		check(barrier_sync_next(b));
		check(barrier_sync(b));
	}, {
		gate_pass(go);
		check(barrier_place(b));
		check(barrier_place(b));
		check(barrier_sync(b));
	});
	ENDS_WELL(self->child);
	ENDS_WELL(self->parent);
}

/* 8: sync_next() blocks for a side that is ahead. */
TEST_F(systemd, sync_next_local)
{
	PLAY({
		check(barrier_place(b));
		gate_open(at);
		check(!barrier_sync_next(b));
	}, {
		pause();
	});
	gate_pass(&self->at);
	BLOCKS_UNTIL_DEATH(self->child, self->parent);
}

/* 9: place() is true though the other side may have aborted, unread. */
TEST_F(systemd, sync_next_local_abort)
{
	PLAY({
		gate_pass(go);
		check(barrier_place(b));
		check(!barrier_sync_next(b));
	}, {
		check(barrier_abort(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

/* 10 */
TEST_F(systemd, wait_abortion)
{
	PLAY({
		check(barrier_wait_abortion(b));
	}, {
		gate_pass(go);
		check(barrier_abort(b));
	});
	ASSERT_TRUE(wait_asleep(self->child));
	gate_open(&self->go);
	ENDS_WELL(self->parent);
	ENDS_WELL(self->child);
}

/* 11: without an abort it blocks; an exit is one. */
TEST_F(systemd, wait_abortion_unmatched)
{
	PLAY({
		check(barrier_wait_abortion(b));
	}, {
		pause();
	});
	BLOCKS_UNTIL_DEATH(self->child, self->parent);
}

/* 12: abort() is true on both sides, as neither has read the other's. */
TEST_F(systemd, wait_abortion_local)
{
	PLAY({
		gate_pass(go);
		check(barrier_abort(b));
		check(!barrier_wait_abortion(b));
	}, {
		check(barrier_abort(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

/* 13: after an own abort, wait_abortion() still blocks. */
TEST_F(systemd, wait_abortion_local_unmatched)
{
	PLAY({
		check(barrier_abort(b));
		gate_open(at);
		check(!barrier_wait_abortion(b));
		check(barrier_we_aborted(b));
	}, {
		pause();
	});
	gate_pass(&self->at);
	BLOCKS_UNTIL_DEATH(self->child, self->parent);
}

/* 14: place() returns true although the other party has ended; sync() then returns false. */
TEST_F(systemd, exit)
{
	PLAY({
	}, {
		gate_pass(go);
		check(barrier_place(b));
		check(!barrier_sync(b));
	});
	ENDS_WELL(self->child);
	gate_open(&self->go);
	ENDS_WELL(self->parent);
}

/* 15: and as long as it lives, sync() blocks. */
TEST_F(systemd, no_exit)
{
	PLAY({
		pause();
	}, {
		check(barrier_place(b));
		gate_open(at);
		check(!barrier_sync(b));
	});
	gate_pass(&self->at);
	BLOCKS_UNTIL_DEATH(self->parent, self->child);
}

/* 16: an exit queues behind the places that were made before it. */
TEST_F(systemd, pending_exit)
{
	PLAY({
		gate_pass(go);
		check(barrier_wait_next(b));
		check(barrier_sync_next(b));
		check(barrier_place(b));
		check(barrier_sync_next(b));
		check(barrier_place(b));
		check(!barrier_sync_next(b));
	}, {
		check(barrier_place(b));
	});
	ENDS_WELL(self->parent);
	gate_open(&self->go);
	ENDS_WELL(self->child);
}

TEST_HARNESS_MAIN
