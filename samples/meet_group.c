// SPDX-License-Identifier: GPL-2.0
/*
 * The least that uses a group: four processes meet, and one of them leads.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quiesce-group.h"

static int work(int group)
{
	struct quiesce_wait w;
	int me = quiesce_group_join(group, 0, NULL);
	int ret = quiesce_group_arrive_and_wait(me, &w, CLOCK_MONOTONIC, NULL);

	/* 1: this party leads the phase; 0: another does; -EOWNERDEAD: w.cause says why */
	return ret;
}

int main(void)
{
	int group = quiesce_group_create(4, 0, 0);
	int leaders = 0, status;

	if (group < 0) {
		fprintf(stderr, "meet_group: /dev/quiesce: %s\n", strerror(-group));
		return 1;
	}
	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			_exit(work(group));
	while (wait(&status) > 0)
		leaders += WIFEXITED(status) && WEXITSTATUS(status) == 1;
	printf("four have met, %d of them led\n", leaders);
	return leaders != 1;
}
