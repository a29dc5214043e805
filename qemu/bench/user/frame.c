// SPDX-License-Identifier: GPL-2.0
/*
 * barrier-bench [NAME...]: runs rounds of quiesce's barrier and of the baselines
 * between processes alternately, and prints one line per round in the format of
 * the benchmark module.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/types.h>

#include "scheme.h"

#define WARM_UP		2
/* A round is the quickest of so many runs: what else the machine does only adds. */
#define RUNS		3
/* Meetings before the clock starts: all are forked and have run. */
#define MEET		8
/* So many at least after that, so that what the end of the last run left behind is small. */
#define LEAST		32

#define __noreturn	__attribute__((noreturn))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* BENCH_ROUNDS and BENCH_RUN_US in the environment change these. */
static int rounds_of_a_row = 24;
/* A run lasts at least this long. */
static __u64 run_ns = 10 * 1000 * 1000;

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static __noreturn void fail(const char *what, const char *name)
{
	fprintf(stderr, "barrier-bench: %s: %s: %s\n", name, what, strerror(errno));
	exit(1);
}

/* Party n runs on CPU n modulo cpus. */
static void pin(unsigned int party, unsigned int cpus)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(party % cpus, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("sched_setaffinity", "pin");
}

static void rounds(const struct scheme *scheme, void *s, unsigned int party, __u64 n)
{
	int err;

	while (n--) {
		err = scheme->round(s, party);
		if (err) {
			errno = -err;
			fail("round", scheme->name);
		}
	}
}

/* The time that n rounds take, in nanoseconds. */
static __u64 measure(const struct scheme *scheme, unsigned int parties, unsigned int cpus,
		     __u64 n)
{
	unsigned int party;
	__u64 begin, end;
	int status;
	void *s = scheme->create(parties);

	if (!s)
		fail("create", scheme->name);
	for (party = 1; party < parties; party++) {
		switch (fork()) {
		case -1:
			fail("fork", scheme->name);
		case 0:
			pin(party, cpus);
			if (scheme->join(s, party))
				fail("join", scheme->name);
			rounds(scheme, s, party, MEET + n);
			_exit(0);
		}
	}
	pin(0, cpus);
	if (scheme->join(s, 0))
		fail("join", scheme->name);
	rounds(scheme, s, 0, MEET);
	begin = now();
	rounds(scheme, s, 0, n);
	end = now();
	for (party = 1; party < parties; party++) {
		if (wait(&status) < 0)
			fail("wait", scheme->name);
		if (status) {
			errno = ECHILD;
			fail("a party failed", scheme->name);
		}
	}
	scheme->destroy(s);
	return end - begin;
}

/* The time that making and unmaking one n times takes. */
static __u64 measure_create(const struct scheme *scheme, unsigned int parties, unsigned int cpus,
			    __u64 n)
{
	__u64 begin;
	void *s;

	(void)cpus;
	begin = now();
	while (n--) {
		s = scheme->create(parties);
		if (!s)
			fail("create", scheme->name);
		scheme->destroy(s);
	}
	return now() - begin;
}

static const struct row {
	const char *name;
	/* Of a row for BENCH=scale the first alone, or none. */
	const struct scheme *schemes[2];
	unsigned int parties;
	unsigned int cpus;
	__u64 (*measure)(const struct scheme *scheme, unsigned int parties, unsigned int cpus,
			 __u64 n);
} rows[] = {
	{ "null_pthread_2cpus", { &scheme_pthread, &scheme_pthread }, 2, 2, measure },
	{ "pair_eventfd_2cpus", { &scheme_pair, &scheme_eventfd }, 2, 2, measure },
	{ "pair_eventfd_1cpu", { &scheme_pair, &scheme_eventfd }, 2, 1, measure },
	{ "pair_pthread_2cpus", { &scheme_pair, &scheme_pthread }, 2, 2, measure },
	{ "pair_pthread_1cpu", { &scheme_pair, &scheme_pthread }, 2, 1, measure },
	{ "pair_pipes_2cpus", { &scheme_pair, &scheme_pipe }, 2, 2, measure },
	{ "pair_pipes_1cpu", { &scheme_pair, &scheme_pipe }, 2, 1, measure },
	{ "pair_create", { &scheme_pair, &scheme_eventfd }, 2, 1, measure_create },
	{ "group_2_2cpus", { &scheme_group, &scheme_pthread }, 2, 2, measure },
	{ "group_3_2cpus", { &scheme_group, &scheme_pthread }, 3, 2, measure },
	{ "group_4_2cpus", { &scheme_group, &scheme_pthread }, 4, 2, measure },
	{ "group_8_2cpus", { &scheme_group, &scheme_pthread }, 8, 2, measure },
	{ "group_16_2cpus", { &scheme_group, &scheme_pthread }, 16, 2, measure },
	{ "group_2_1cpu", { &scheme_group, &scheme_pthread }, 2, 1, measure },
	{ "group_16_1cpu", { &scheme_group, &scheme_pthread }, 16, 1, measure },
#define PARTIES(n) { "scale_parties_" #n, { &scheme_group }, n, 1, measure }
	PARTIES(2), PARTIES(8), PARTIES(32), PARTIES(128), PARTIES(512), PARTIES(1024),
#define WAITERS(n) { "scale_waiters_" #n, { NULL }, n, 1, measure_waiters }
	WAITERS(1), WAITERS(10), WAITERS(100), WAITERS(1000), WAITERS(10000),
#define POLLERS(n) { "scale_pollers_" #n, { NULL }, n, 1, measure_pollers }
	POLLERS(1), POLLERS(10), POLLERS(100), POLLERS(1000), POLLERS(10000),
};

static void run(const struct row *row)
{
	static const char *const sides[] = { "ours", "peer" };
	const struct scheme *scheme;
	int nr_sides = row->schemes[1] ? 2 : 1;
	__u64 n[2], ns;
	int round, side, i;

	for (side = 0; side < nr_sides; side++) {
		scheme = row->schemes[side];
		n[side] = row->schemes[1] ? 16 : scheme ? LEAST : 4;
		while (row->measure(scheme, row->parties, row->cpus, n[side]) < run_ns)
			n[side] *= 2;
	}
	for (round = row->schemes[1] ? -WARM_UP : 0; round < rounds_of_a_row; round++) {
		__u64 best[] = { ~0ull, ~0ull };

		for (i = 0; i < nr_sides * RUNS; i++) {
			/* Each side is first in every other round. */
			side = (i + round + WARM_UP) % nr_sides;
			ns = row->measure(row->schemes[side], row->parties, row->cpus, n[side]);
			if (ns < best[side])
				best[side] = ns;
		}
		for (side = 0; side < nr_sides && round >= 0; side++)
			printf("round %s %s %llu %llu 0\n", row->name, sides[side], n[side],
			       best[side]);
	}
}

/* The kernel's slab memory, in bytes. */
static long long slab_bytes(void)
{
	char line[128];
	long long sum = 0, kb;
	FILE *f;

	/* Fold what the CPUs have counted each for itself. */
	f = fopen("/proc/sys/vm/stat_refresh", "we");
	if (f) {
		fputs("1", f);
		fclose(f);
	}
	f = fopen("/proc/meminfo", "re");
	if (!f)
		fail("open", "/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "SUnreclaim: %lld", &kb) == 1 ||
		    sscanf(line, "SReclaimable: %lld", &kb) == 1)
			sum += kb * 1024;
	fclose(f);
	return sum;
}

/*
 * Kernel memory of one object: the mean of many that are made when others exist
 * already and have used up what the slabs had left.
 */
static long long memory(const struct scheme *scheme, unsigned int parties)
{
	unsigned int first = 2000 / parties;
	unsigned int all = 3 * first;
	long long begin = 0;
	long long end;
	unsigned int i;
	void **s = calloc(all, sizeof(*s));

	if (!s)
		fail("calloc", scheme->name);
	for (i = 0; i < all; i++) {
		if (i == first)
			begin = slab_bytes();
		s[i] = scheme->create(parties);
		if (!s[i])
			fail("create", scheme->name);
	}
	end = slab_bytes();
	while (i--)
		scheme->destroy(s[i]);
	free(s);
	return (end - begin) / (all - first);
}

int main(int argc, char **argv)
{
	unsigned int i;
	int a;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("BENCH_ROUNDS"))
		rounds_of_a_row = atoi(getenv("BENCH_ROUNDS"));
	if (getenv("BENCH_RUN_US"))
		run_ns = strtoull(getenv("BENCH_RUN_US"), NULL, 10) * 1000;
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (i = 0; i < ARRAY_SIZE(rows); i++)
			puts(rows[i].name);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--sizes")) {
		printf("bytes %lld %lld pair: slab memory (peer: eventfds and a pipe)\n",
		       memory(&scheme_pair, 2), memory(&scheme_eventfd, 2));
		for (i = 2; i <= 16; i *= 8)
			printf("bytes %lld 0 group of %u with its parties: slab memory\n",
			       memory(&scheme_group_full, i), i);
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (a = 1; a < argc; a++)
			if (!strcmp(argv[a], rows[i].name))
				run(&rows[i]);
	return 0;
}
