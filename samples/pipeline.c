// SPDX-License-Identifier: GPL-2.0
/*
 * A pipeline of N workers in phases.
 *
 *	pipeline [WORKERS [FILE]]
 *
 * The lines of FILE or of standard input lie on a belt. In each phase all workers
 * do their steps on the line before them at the same time, and when all are done
 * the belt moves on by one. The workers synchronize with a group barrier; the
 * parent polls its descriptor for the current phase and for a worker's death. One
 * worker is killed half way: the status names it, the parent starts the workers
 * again, and they continue with the unfinished phase.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "quiesce-group.h"

#define MAX_WORKERS 64
#define MAX_LINES 4096

struct item {
	int line;		/* -1: an empty place */
	uint32_t hash;
};

/* Shared by all. The belt is there twice: as it is and as it will be. */
struct shared {
	unsigned int first;	/* the phase with which the workers begin */
	struct item belt[2][MAX_WORKERS];
	uint32_t hash[MAX_LINES];
};

static struct shared *shared;
static char *lines[MAX_LINES];
static unsigned int nlines, workers = 4;

static void die(const char *what, int err)
{
	fprintf(stderr, "pipeline: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* What the worker at this place of the belt does to a line: a round of FNV-1a. */
static uint32_t step(uint32_t hash, unsigned int place, const char *line)
{
	hash ^= place;
	for (; *line; line++)
		hash = (hash ^ (unsigned char)*line) * 16777619;
	return hash;
}

/*
 * One phase of one worker: it takes what the one before it has left, and leaves
 * its own for the next. Done twice it comes to the same.
 */
static void work(unsigned int me, unsigned int phase)
{
	struct item item;

	if (me == 0)
		item = (struct item){ phase < nlines ? (int)phase : -1, 2166136261 };
	else
		item = shared->belt[phase % 2][me - 1];
	if (item.line >= 0) {
		item.hash = step(item.hash, me, lines[item.line]);
		if (me == workers - 1)
			shared->hash[item.line] = item.hash;
	}
	shared->belt[(phase + 1) % 2][me] = item;
}

/* A worker, until the belt is empty. */
static void be_worker(int party, unsigned int me)
{
	unsigned int all = nlines + workers - 1;
	struct quiesce_wait wait;
	char why[128];
	int ret;

	for (unsigned int phase = shared->first; phase < all; phase++) {
		work(me, phase);
		ret = quiesce_group_arrive_and_wait(party, &wait, CLOCK_MONOTONIC, NULL);
		if (ret < 0) {
			printf("[worker %u] I stop in phase %u: %s\n", me, phase,
			       quiesce_cause_text(&wait.cause, why, sizeof(why)));
			fflush(stdout);
			_exit(1);
		}
		/* Each phase has one leader, which prints the progress. */
		if (ret == 1 && all >= 4 && (phase + 1) % (all / 4) == 0) {
			printf("[worker %u] I lead phase %u of %u, which is over\n",
			       me, phase, all);
			fflush(stdout);
		}
	}
	quiesce_group_leave(party);
	_exit(0);
}

/*
 * Start the workers and watch them. Returns true when they are through. Worker
 * @victim is killed in phase @when.
 */
static bool run(unsigned int victim, unsigned int when)
{
	struct quiesce_status status;
	pid_t pid[MAX_WORKERS];
	int group, party, err;
	bool killed = false;
	struct pollfd p;
	unsigned int phase;
	char why[128];

	group = quiesce_group_create(workers, 0, 0);
	if (group < 0)
		die(QUIESCE_DEVICE, group);
	fflush(NULL);
	for (unsigned int i = 0; i < workers; i++) {
		party = quiesce_group_join(group, 0, NULL);
		if (party < 0)
			die("join", party);
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork", -errno);
		if (pid[i] == 0) {
			close(group);
			be_worker(party, i);
		}
		/* The worker's death is its end: no copy is kept here. */
		close(party);
	}

	p = (struct pollfd){ .fd = group, .events = POLLIN | POLLPRI };
	for (;;) {
		if (poll(&p, 1, -1) < 0)
			die("poll", -errno);
		err = quiesce_group_status(group, &status, NULL, 0);
		if (err)
			die("status", err);
		/* The group counts its own phases, from 1. */
		phase = shared->first + status.phase - 1;
		if (p.revents & (POLLERR | POLLHUP))
			break;
		if (!killed && phase >= when && phase < nlines) {
			printf("[parent] phase %u of %u: kill -KILL worker %u\n", phase,
			       nlines + workers - 1, victim);
			kill(pid[victim], SIGKILL);
			killed = true;
		}
	}
	for (unsigned int i = 0; i < workers; i++)
		waitpid(pid[i], NULL, 0);
	if (p.revents & POLLERR)
		printf("[parent] broken in phase %u: party %u is missing: %s\n", phase,
		       status.cause.party, quiesce_cause_text(&status.cause, why, sizeof(why)));
	/* What an unfinished phase reads nobody has written since. */
	shared->first = phase;
	close(group);
	return !(p.revents & POLLERR);
}

static void read_lines(FILE *in)
{
	char line[1024];

	while (nlines < MAX_LINES && fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		lines[nlines] = strdup(line);
		if (!lines[nlines++])
			die("strdup", -ENOMEM);
	}
}

int main(int argc, char **argv)
{
	FILE *in = argc > 2 ? fopen(argv[2], "r") : stdin;
	unsigned int wrong = 0, starts = 1;

	if (argc > 1)
		workers = strtoul(argv[1], NULL, 0);
	if (!in || workers < 1 || workers > MAX_WORKERS) {
		fprintf(stderr, "usage: pipeline [WORKERS (1 to %d) [FILE]]\n", MAX_WORKERS);
		return 2;
	}
	read_lines(in);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap", -errno);

	while (!run(workers / 2, starts == 1 ? nlines / 2 : nlines))
		if (starts++ == 3)
			return 1;

	for (unsigned int i = 0; i < nlines; i++) {
		uint32_t hash = 2166136261;

		for (unsigned int place = 0; place < workers; place++)
			hash = step(hash, place, lines[i]);
		wrong += hash != shared->hash[i];
	}
	printf("[parent] %u lines through %u workers in %u phases and %u starts, %u wrong\n",
	       nlines, workers, shared->first, starts, wrong);
	return wrong != 0;
}
