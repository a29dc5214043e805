// SPDX-License-Identifier: GPL-2.0
/*
 * Prints whether the library writes beyond the structs that this was built with.
 * Built with OVERWRITTEN it says that they are larger than they are.
 */
#include <stdio.h>
#include <string.h>

#include "barrier.h"
#include "quiesce-group.h"

#ifdef OVERWRITTEN
#define MORE 8
#else
#define MORE 0
#endif

#define CANARY 0x5a5a5a5a5a5a5a5aUL

static int bad;

#define WITH_CANARY(type, name) \
	struct { struct type s; unsigned long canary[4]; } name; memset(&name, 0x5a, sizeof(name))

#define LOOK(name) do {								\
	for (int i = 0; i < 4; i++)						\
		bad += name.canary[i] != CANARY;				\
} while (0)

int main(void)
{
	WITH_CANARY(quiesce_join, j);
	WITH_CANARY(quiesce_wait, w);
	WITH_CANARY(quiesce_wait, b);
	WITH_CANARY(quiesce_wait, a);
	WITH_CANARY(quiesce_status, s);
	WITH_CANARY(quiesce_member, m);

	quiesce_group_join(-1, 0, &j.s);
	quiesce_group_wait(-1, 1, &w.s, CLOCK_MONOTONIC, NULL);
	quiesce_group_wait_or_break(-1, 1, &b.s, CLOCK_MONOTONIC, NULL);
	quiesce_group_arrive_and_wait(-1, &a.s, CLOCK_MONOTONIC, NULL);
	quiesce_group_status_sized(-1, &s.s, sizeof(s.s) + MORE, NULL, 0);
	quiesce_group_member(-1, 0, &m.s);
	LOOK(j);
	LOOK(w);
	LOOK(b);
	LOOK(a);
	LOOK(s);
	LOOK(m);
#ifdef GROWN
	/* A newer program: what the library does not know of is zero. */
	for (int i = 0; i < 4; i++)
		bad += w.s.grown[i] != 0 || s.s.grown[i] != 0;
#endif
	printf("%d words overwritten\n", bad);
	return bad != 0;
}
