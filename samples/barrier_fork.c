// SPDX-License-Identifier: GPL-2.0
/*
 * Set-up on both sides of a fork.
 *
 *	barrier_fork [FILE]
 *
 * Reads words from FILE or standard input. Parent and child each index one half
 * of them as their set-up, and wait at the barrier until both are ready: from
 * then on each may use the other's index. In a second round the child is killed
 * in the middle of its set-up; the parent's wait fails and reports which process
 * died and of which signal.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "barrier.h"

/* What one side makes of its half of the words. */
struct index {
	size_t words, distinct;
	char longest[64];
};

/* Shared: the barrier says when the other side's part may be read. */
struct shared {
	struct index parent, child;
};

static struct timespec start;
static const char *me = "parent";

static double ms_since_start(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start.tv_sec) * 1e3 + (now.tv_nsec - start.tv_nsec) / 1e6;
}

__attribute__((format(printf, 1, 2)))
static void say(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int n;

	n = snprintf(line, sizeof(line), "%9.3f ms  [%s %d] ", ms_since_start(), me, getpid());
	va_start(args, fmt);
	vsnprintf(line + n, sizeof(line) - n - 1, fmt, args);
	va_end(args);
	strcat(line, "\n");
	/* One write, so that the sides' lines do not mix. */
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		_exit(1);
}

static void die(const char *what, int err)
{
	fprintf(stderr, "barrier_fork: %s: %s\n", what, strerror(-err));
	exit(1);
}

static size_t read_words(FILE *in, char ***words)
{
	size_t n = 0, room = 0;
	char word[256];

	/* Runs of letters, of apostrophes and hyphens too. */
	while (fscanf(in, "%*[^A-Za-z0-9]"), fscanf(in, "%255[A-Za-z0-9'-]", word) == 1) {
		if (n == room) {
			room = room ? 2 * room : 256;
			*words = realloc(*words, room * sizeof(**words));
			if (!*words)
				die("realloc", -ENOMEM);
		}
		(*words)[n] = strdup(word);
		if (!(*words)[n++])
			die("strdup", -ENOMEM);
	}
	return n;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void index_words(struct index *index, char **words, size_t n)
{
	qsort(words, n, sizeof(*words), by_text);
	index->words = n;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || strcmp(words[i], words[i - 1]))
			index->distinct++;
		if (strlen(words[i]) > strlen(index->longest))
			snprintf(index->longest, sizeof(index->longest), "%s", words[i]);
	}
}

static void tell(const char *whose, const struct index *index)
{
	say("the %s's half: %zu words, %zu distinct, the longest \"%s\"",
	    whose, index->words, index->distinct, index->longest);
}

/* Both sides set themselves up and meet. */
static void round_one(struct shared *shared, char **words, size_t n)
{
	Barrier b = BARRIER_NULL;
	int err = barrier_create(&b);
	pid_t child;

	if (err < 0)
		die(QUIESCE_DEVICE, err);

	child = fork();
	if (child < 0)
		die("fork", -errno);
	if (child == 0) {
		me = "child ";
		barrier_set_role(&b, BARRIER_CHILD);
		index_words(&shared->child, words + n / 2, n - n / 2);
		say("set up: my %zu words are sorted; I wait for my parent", n - n / 2);
		if (!barrier_place_and_sync(&b))
			_exit(1);
		say("we have met");
		tell("parent", &shared->parent);
		_exit(0);
	}

	barrier_set_role(&b, BARRIER_PARENT);
	index_words(&shared->parent, words, n / 2);
	say("set up: my %zu words are sorted; I wait for my child", n / 2);
	if (!barrier_place_and_sync(&b)) {
		say("the child is gone");
		exit(1);
	}
	say("we have met");
	tell("child", &shared->child);
	waitpid(child, NULL, 0);
	barrier_destroy(&b);
}

/* The child is killed before it is set up. */
static int round_two(void)
{
	Barrier b = BARRIER_NULL;
	int err = barrier_create(&b);
	struct quiesce_status status;
	pid_t child, killer;
	char why[128];

	if (err < 0)
		die(QUIESCE_DEVICE, err);

	child = fork();
	if (child < 0)
		die("fork", -errno);
	if (child == 0) {
		me = "child ";
		barrier_set_role(&b, BARRIER_CHILD);
		say("this set-up will never be done");
		for (;;)
			pause();
	}
	barrier_set_role(&b, BARRIER_PARENT);

	killer = fork();
	if (killer < 0)
		die("fork", -errno);
	if (killer == 0) {
		me = "killer";
		barrier_destroy(&b);
		usleep(20000);
		say("kill -KILL %d", child);
		kill(child, SIGKILL);
		_exit(0);
	}

	say("I wait for my child");
	if (barrier_place_and_sync(&b)) {
		say("a dead child was met");
		return 1;
	}
	err = barrier_status(&b, &status);
	if (err < 0)
		die("barrier_status", err);
	say("I wait no longer: %s", quiesce_cause_text(&status.cause, why, sizeof(why)));
	if (status.cause.cause != QUIESCE_CAUSE_SIGNAL || status.cause.status != SIGKILL ||
	    status.cause.pid != child)
		return 1;

	waitpid(child, NULL, 0);
	waitpid(killer, NULL, 0);
	barrier_destroy(&b);
	return 0;
}

int main(int argc, char **argv)
{
	FILE *in = argc > 1 ? fopen(argv[1], "r") : stdin;
	struct shared *shared;
	char **words = NULL;
	size_t n;

	if (!in)
		die(argv[1], -errno);
	clock_gettime(CLOCK_MONOTONIC, &start);

	n = read_words(in, &words);
	say("%zu words read: I index the first %zu, my child the others", n, n / 2);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap", -errno);

	round_one(shared, words, n);
	return round_two();
}
