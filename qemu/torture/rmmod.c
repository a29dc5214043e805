// SPDX-License-Identifier: GPL-2.0
/*
 * How long rmmod of a module takes that uses nothing, beside so many objects that
 * another module has deferred behind a reader that sleeps, and a destructor that
 * sleeps: deferred with quiesce, deferred in C, and none.
 *
 *     rmmod OBJECTS
 *
 * The rows take turns, and that with none comes twice: what the two differ by is the
 * noise. Fails if the medians with quiesce are worse by far than those of C.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 3
#define TIMES 100
/* Less is no delay, on a machine that is loaded. */
#define FLOOR_US 200000

enum row { NONE, QUIESCE, C, NONE_AGAIN, ROWS };

static const char *const names[ROWS] = {
	"nothing", "deferred with quiesce", "deferred in C", "nothing again",
};

static void must_at(int ok, const char *what, int line)
{
	if (ok)
		return;
	printf("line %d: %s: %m\n", line, what);
	exit(1);
}

#define must(condition) must_at(!!(condition), #condition, __LINE__)

static void load(const char *name, const char *parameters)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	must(syscall(SYS_finit_module, fd, parameters, 0) == 0);
	close(fd);
}

static void unload(const char *name)
{
	must(syscall(SYS_delete_module, name, O_NONBLOCK) == 0);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The median of the times that rmmod takes. */
static uint64_t median(void)
{
	uint64_t us[TIMES];

	for (int i = 0; i < TIMES; i++) {
		load("quiesce_plain", "");
		us[i] = now();
		unload("quiesce_plain");
		us[i] = now() - us[i];
	}
	qsort(us, TIMES, sizeof(us[0]), compare);
	return us[TIMES / 2];
}

static uint64_t measure(enum row row, unsigned int objects)
{
	char parameters[64] = "open=0";
	uint64_t us;
	int fd;

	if (row == C)
		snprintf(parameters, sizeof(parameters), "open=0 flood=%u", objects);
	load("quiesce_gate", parameters);
	if (row == QUIESCE) {
		snprintf(parameters, sizeof(parameters), "slow=1 pending=%u", objects / 2);
		load("quiesce_rcu_holder", parameters);
	}
	us = median();
	fd = open("/sys/module/quiesce_gate/parameters/open", O_WRONLY | O_CLOEXEC);
	must(fd >= 0 && write(fd, "1", 1) == 1);
	close(fd);
	if (row == QUIESCE)
		unload("quiesce_rcu_holder");
	unload("quiesce_gate");
	/* What was freed is not a part of the next row. */
	sleep(1);
	return us;
}

int main(int argc, char **argv)
{
	unsigned int objects = argc > 1 ? atoi(argv[1]) : 1000000;
	uint64_t us[ROWS][ROUNDS];

	for (int round = 0; round < ROUNDS; round++)
		for (int row = 0; row < ROWS; row++)
			us[row][round] = measure(row, objects);
	printf("rmmod of a module that uses nothing, medians of %d, in us, %u objects:\n", TIMES,
	       objects);
	for (int row = 0; row < ROWS; row++) {
		printf("%s:", names[row]);
		for (int round = 0; round < ROUNDS; round++)
			printf(" %llu", (unsigned long long)us[row][round]);
		puts("");
		qsort(us[row], ROUNDS, sizeof(us[row][0]), compare);
	}
	printf("figures rmmod: rmmod_us=%llu rmmod_us_quiesce=%llu rmmod_us_c=%llu\n",
	       (unsigned long long)us[NONE][ROUNDS / 2],
	       (unsigned long long)us[QUIESCE][ROUNDS / 2],
	       (unsigned long long)us[C][ROUNDS / 2]);
	return us[QUIESCE][ROUNDS / 2] > FLOOR_US &&
	       us[QUIESCE][ROUNDS / 2] > 2 * us[C][ROUNDS / 2] &&
	       us[QUIESCE][ROUNDS / 2] > 2 * us[NONE][ROUNDS / 2];
}
