/* SPDX-License-Identifier: GPL-2.0 */
/* Declarations shared by the parts of the fuzzer. */
#ifndef _QUIESCE_TORTURE_FUZZ_H
#define _QUIESCE_TORTURE_FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "quiesce.h"

#define NSEC_PER_SEC 1000000000ULL
#define fallthrough __attribute__((__fallthrough__))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

struct options {
	uint64_t seed;
	unsigned long calls;
	unsigned int procs;
	unsigned int seconds;	/* time limit of each part; 0 for none */
	unsigned int limit;	/* seconds: a call that takes longer hangs */
	const char *twin;	/* the mutant to run, or NULL */
	bool trace;
};

extern struct options opt;

/* splitmix64: small, and the same everywhere. */
struct rng {
	uint64_t s;
};

static inline uint64_t rnd(struct rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline uint32_t below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rnd(r) >> 32) * n >> 32);
}

static inline bool one_in(struct rng *r, uint32_t n)
{
	return !below(r, n);
}

static inline uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/*
 * Every ioctl and poll of the fuzzer goes through these two, where a mutant falsifies
 * the result.
 * Both return a negative errno on failure.
 */
int sh_ioctl(int fd, unsigned long cmd, void *arg);
int sh_poll(int fd, uint32_t *revents);

/* Who makes this process's calls, for the mutants of waits. */
extern enum role {
	ANYBODY,
	SPARED,		/* a process that is never killed */
	AWAY,		/* a child, in namespaces of its own, of one that may be killed */
} sh_role;

/* Valid arguments with which a mutant repeats a call that failed with EFAULT, or NULL. */
extern void *sh_efault_args;

/* Returns whether a mutant is to treat a poller that was woken as one that was not. */
bool sh_asleep(void);

/* What a run did with means that a kernel may lack, counted by all of its processes. */
enum tally {
	T_FROZEN,	/* processes seen frozen */
	T_PIDNS,	/* processes in pid, time and user namespaces of their own */
	T_TIMENS,
	T_USERNS,
	T_SENT,		/* descriptors passed by messages */
	T_UNMAPPED,	/* calls that failed with EFAULT while their memory was unmapped */
	T_URING,	/* polls of io_uring that returned an event */
	TALLIES,
};

extern atomic_ulong *tallies;

void tally(enum tally t);

static inline uint64_t limit_ns(void)
{
	return opt.limit * NSEC_PER_SEC;
}

/* The latest time at which a part must stop. */
static inline uint64_t give_up_at(void)
{
	if (!opt.seconds)
		return UINT64_MAX;
	return now_ns(CLOCK_MONOTONIC) + opt.seconds * NSEC_PER_SEC;
}

static inline void *map_pages(size_t size, int share)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, share | MAP_ANONYMOUS, -1, 0);
}

/* Starts a thread that gets no signals. */
bool thread_of(void *(*run)(void *), void *arg);

/* A page whose end is followed by nothing: what is put at its end must not be passed over. */
void *guarded(size_t size);

/* The parts; each returns NULL, or what went wrong. */
const char *run_sequential(uint64_t seed, unsigned long calls, unsigned long *done);
const char *run_concurrent(uint64_t seed, unsigned long calls, unsigned long *done,
			   unsigned long *kills);
const char *run_rounds(uint64_t seed, unsigned long rounds, unsigned long *done,
		       unsigned long *kills);

#endif /* _QUIESCE_TORTURE_FUZZ_H */
