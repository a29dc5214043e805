// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of a barrier to a process: one descriptor per party and one system call
 * per round. The calls between two calls of getppid() are counted by ptrace.
 */
#include "ops.h"

#include "barrier.h"
#include "quiesce-group.h"

#include <sys/ptrace.h>

#define ROUNDS 50

struct counts {
	int all, ioctls;
};

/* Count the system calls of @pid, which stops itself, from mark to mark. */
static struct counts count_calls(pid_t pid)
{
	struct counts counts = {};
	bool inside = false, entry = true;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return (struct counts){ -1, -1 };
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	for (;;) {
		struct __ptrace_syscall_info call;

		ptrace(PTRACE_SYSCALL, pid, 0, 0);
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return counts;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		if (entry) {
			ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(call), &call);
			if (call.entry.nr == SYS_getppid) {
				inside = !inside;
			} else if (inside) {
				counts.all++;
				counts.ioctls += call.entry.nr == SYS_ioctl;
			}
		}
		entry = !entry;
	}
}

static void mark(void)
{
	syscall(SYS_getppid);
}

static void begin_traced(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
}

TEST(pair_round)
{
	Barrier b = BARRIER_NULL;
	struct counts counts;
	pid_t pid, other;

	ASSERT_EQ(0, barrier_create(&b));
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		begin_traced();
		mark();
		for (int i = 0; i < ROUNDS; i++)
			check(barrier_place_and_sync(&b));
		mark();
	});
	other = spawn({
		barrier_set_role(&b, BARRIER_PARENT);
		for (int i = 0; i < ROUNDS; i++)
			check(barrier_place_and_sync(&b));
	});
	barrier_destroy(&b);
	counts = count_calls(pid);
	EXPECT_EQ(ROUNDS, counts.all);
	EXPECT_EQ(ROUNDS, counts.ioctls);
	ASSERT_EQ(0, join(other));
}

TEST(group_round)
{
	int group = quiesce_group_create(2, 0, 0), a, b;
	struct counts counts;
	pid_t pid, other;

	ASSERT_LE(0, group);
	a = quiesce_group_join(group, 0, NULL);
	b = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	pid = spawn({
		begin_traced();
		mark();
		for (int i = 0; i < ROUNDS; i++)
			check(quiesce_group_arrive_and_wait(a, NULL, CLOCK_MONOTONIC, NULL) >= 0);
		mark();
	});
	other = spawn({
		for (int i = 0; i < ROUNDS; i++)
			check(quiesce_group_arrive_and_wait(b, NULL, CLOCK_MONOTONIC, NULL) >= 0);
	});
	counts = count_calls(pid);
	EXPECT_EQ(ROUNDS, counts.all);
	EXPECT_EQ(ROUNDS, counts.ioctls);
	ASSERT_EQ(0, join(other));
}

/* An arrival waits for nobody, however often the other side has not arrived. */
TEST(arrivals_are_one_call_each)
{
	int group = quiesce_group_create(2, 0, 0), party;
	Barrier b = BARRIER_NULL;
	struct counts counts;
	pid_t pid;

	ASSERT_EQ(0, barrier_create(&b));
	ASSERT_LE(0, group);
	party = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, party);
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		begin_traced();
		mark();
		for (int i = 0; i < ROUNDS; i++)
			check(barrier_place(&b));
		check(quiesce_group_arrive(party, NULL) == 0);
		mark();
	});
	counts = count_calls(pid);
	EXPECT_EQ(ROUNDS + 1, counts.all);
	EXPECT_EQ(ROUNDS + 1, counts.ioctls);
	barrier_destroy(&b);
}

TEST(predicates_make_no_call)
{
	Barrier b = BARRIER_NULL;
	struct counts counts;
	pid_t pid;

	ASSERT_EQ(0, barrier_create(&b));
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		begin_traced();
		mark();
		check(!barrier_i_aborted(&b));
		check(!barrier_they_aborted(&b));
		check(!barrier_we_aborted(&b));
		check(!barrier_is_aborted(&b));
		mark();
	});
	counts = count_calls(pid);
	EXPECT_EQ(0, counts.all);
}

TEST(descriptors)
{
	Barrier b = BARRIER_NULL;
	int before = count_fds(), group, party;
	pid_t pid;

	ASSERT_EQ(0, barrier_create(&b));
	EXPECT_EQ(before + 2, count_fds());
	pid = spawn({
		barrier_set_role(&b, BARRIER_CHILD);
		check(count_fds() == before + 1);
		barrier_destroy(&b);
		check(count_fds() == before);
	});
	barrier_set_role(&b, BARRIER_PARENT);
	EXPECT_EQ(before + 1, count_fds());
	ASSERT_EQ(0, join(pid));
	barrier_destroy(&b);
	EXPECT_EQ(before, count_fds());

	group = quiesce_group_create(1, 0, 0);
	party = quiesce_group_join(group, 0, NULL);
	ASSERT_LE(0, party);
	EXPECT_EQ(before + 2, count_fds());
	close(group);
	EXPECT_EQ(before + 1, count_fds());
}

TEST_HARNESS_MAIN
