/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What the files of libquiesce share. Not installed. */
#ifndef _QUIESCE_COMMON_H
#define _QUIESCE_COMMON_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "barrier.h"

/* As in systemd, an invalid call aborts the program. */
#define must(cond) do {								\
	if (!(cond)) {								\
		fprintf(stderr, "libquiesce: %s: assertion failed: %s\n", __func__, #cond); \
		abort();							\
	}									\
} while (0)

#define NSEC_PER_SEC 1000000000ULL

/*
 * Copies a struct of @have bytes to a caller whose struct has @size bytes: a
 * program may be older or newer than the library.
 */
static inline void give(void *to, size_t size, const void *from, size_t have)
{
	if (!to)
		return;
	memset(to, 0, size);
	memcpy(to, from, size < have ? size : have);
}

/* Fill in the deadline and the clock's flag; -EINVAL for what is neither. */
int quiesce__set_deadline(struct quiesce_wait *wait, clockid_t clock,
			  const struct timespec *abstime);

/* /dev/quiesce, open, or a negative errno value. */
int quiesce__open_device(void);

/* Close *@fd, leaving errno alone, and make it none. */
void quiesce__close_fd(int *fd);

/* Closes all descriptors: the other side sees the end of this one. */
void barrier__fail(Barrier *b);

/* The barrier of eventfds and a pipe; the waits as do_wait() in barrier.c. */
int barrier__fallback_create(Barrier *b);
void barrier__fallback_set_role(Barrier *b, unsigned int role);
void barrier__fallback_write(Barrier *b, uint64_t places);
int barrier__fallback_wait(Barrier *b, unsigned int kind, clockid_t clock, uint64_t deadline);

#define FALLBACK_ABORTION ((uint64_t)INT64_MAX)

static inline bool is_fallback(const Barrier *b)
{
	return b->pipe[0] >= 0 || b->pipe[1] >= 0;
}

#endif /* _QUIESCE_COMMON_H */
