// SPDX-License-Identifier: GPL-2.0
/*
 * The least that uses a barrier: parent and child set up, and meet.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "barrier.h"

int main(void)
{
	Barrier b = BARRIER_NULL;
	int r = barrier_create(&b);

	if (r < 0) {
		fprintf(stderr, "meet: /dev/quiesce: %s\n", strerror(-r));
		return 1;
	}
	if (fork() == 0) {
		barrier_set_role(&b, BARRIER_CHILD);
		/* ... the child's set-up ... */
		if (!barrier_place_and_sync(&b))
			_exit(1); /* the parent aborted, or has exited */
		_exit(0);
	}
	barrier_set_role(&b, BARRIER_PARENT);
	/* ... the parent's set-up ... */
	puts(barrier_place_and_sync(&b) ? "we have met" : "the child is gone");
	barrier_destroy(&b);
	wait(NULL);
	return 0;
}
