/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A program of libquiesce in what C89's heirs and C++ have in common. It meets
 * its child twice, then finds it gone. Runs without the device.
 */
#include "barrier.h"
#include "quiesce-group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#define CHECK(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "line %d: not: %s\n", __LINE__, #cond);	\
		exit(1);						\
	}								\
} while (0)

/* As a function, not as an inline one. */
static bool (*is_aborted)(struct Barrier *b) = barrier_is_aborted;

int main(void)
{
	Barrier b = BARRIER_NULL;
	Barrier *p = &b;
	struct quiesce_cause cause;
	struct quiesce_join join;
	struct quiesce_wait wait_args;
	struct quiesce_status status;
	struct quiesce_member member;
	struct timespec past;
	char text[100];
	int code;
	pid_t pid;

	CHECK(barrier_create(&b) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		barrier_set_role(&b, BARRIER_CHILD);
		CHECK(barrier_place_and_sync(&b));
		CHECK(barrier_place(&b));
		CHECK(barrier_sync(&b));
		CHECK(b.barriers == 0 || b.barriers == -1);
		_exit(0);
	}
	barrier_set_role(&b, BARRIER_PARENT);
	CHECK(barrier_place_and_sync(&b));
	CHECK(barrier_place(&b));
	CHECK(barrier_sync_next(&b));
	CHECK(barrier_wait_abortion(&b));
	CHECK(barrier_they_aborted(&b) && !barrier_i_aborted(&b) && !barrier_we_aborted(&b));
	CHECK(is_aborted(&b) && b.barriers == BARRIER_THEY_ABORTED);
	past.tv_sec = 0;
	past.tv_nsec = 1;
	CHECK(barrier_sync_until(&b, CLOCK_MONOTONIC, &past) == 0);
	CHECK(waitpid(pid, &code, 0) == pid && code == 0);
	barrier_destroyp(&p);

	memset(&cause, 0, sizeof(cause));
	CHECK(!strcmp(quiesce_cause_text(&cause, text, sizeof(text)), "nothing has ended"));
	/* Each of the functions with a struct. */
	CHECK(quiesce_group_join(-1, 0, &join) == -EBADF);
	CHECK(quiesce_group_wait(-1, 1, &wait_args, CLOCK_MONOTONIC, NULL) == -EBADF);
	CHECK(quiesce_group_wait_or_break(-1, 1, NULL, CLOCK_MONOTONIC, &past) == -EBADF);
	CHECK(quiesce_group_arrive_and_wait(-1, NULL, CLOCK_MONOTONIC, NULL) == -EBADF);
	CHECK(quiesce_group_arrive_and_wait(-1, NULL, CLOCK_MONOTONIC, &past) == -EINVAL);
	CHECK(quiesce_group_status(-1, &status, NULL, 0) == -EBADF);
	CHECK(quiesce_group_member(-1, 0, &member) == -EBADF);
	CHECK(quiesce_group_create_at(-1, 1, 1, 0) == -EBADF);
	return 0;
}
