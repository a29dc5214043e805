/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Barrier: two processes wait for each other, and learn when the other is gone.
 *
 * The calls, their names, results and blocking are those of systemd's
 * src/shared/barrier.h (David Herrmann, 2014), and so are the members of the
 * struct. A program written for that header changes the line that includes it.
 * What is new stands below, after them.
 *
 *	Barrier b = BARRIER_NULL;
 *
 *	if (barrier_create(&b) < 0)
 *		...
 *	if (fork() == 0) {
 *		barrier_set_role(&b, BARRIER_CHILD);
 *		... set up ...
 *		if (!barrier_place_and_sync(&b))
 *			_exit(1);	// the parent aborted or is gone
 *		execve(...);
 *	}
 *	barrier_set_role(&b, BARRIER_PARENT);
 *	... set up ...
 *	if (!barrier_place_and_sync(&b))
 *		...			// the child aborted or is gone
 *	barrier_destroy(&b);
 *
 * Link with -lquiesce. Where /dev/quiesce is missing, eventfds and a pipe take
 * its place, as in systemd. barrier(3) has the whole story.
 */
#ifndef _QUIESCE_BARRIER_H
#define _QUIESCE_BARRIER_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <sys/types.h>

#include "quiesce.h"

/*
 * A program for 32 bits whose time_t has 64 (_TIME_BITS) takes a library that was
 * built in the same way: it does not link with another one.
 */
#ifndef _QUIESCE_TIME
#if defined(_TIME_BITS) && _TIME_BITS == 64 && defined(__TIMESIZE) && __TIMESIZE == 32
#define _QUIESCE_TIME(name) __asm__(#name "_time64")
#else
#define _QUIESCE_TIME(name)
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct timespec;

typedef struct Barrier Barrier;

enum {
	BARRIER_PARENT,
	BARRIER_CHILD
};

/**
 * struct Barrier - one side of a barrier
 * @me: this side's descriptor; before barrier_set_role() the parent's
 * @them: before barrier_set_role() the child's descriptor, then -EBADF; without
 *	/dev/quiesce the other side's eventfd
 * @pipe: without /dev/quiesce, the pipe whose closing reports an exit
 * @barriers: places that this side made, less those of the other side that it
 *	read, as of the last call; or one of BARRIER_*_ABORTED
 *
 * With /dev/quiesce @me can be polled, kept over exec and sent to another
 * process, and all state is in the kernel. Threads that share a Barrier, and
 * signal handlers, must not use it at the same time.
 */
struct Barrier {
	int me;
	int them;
	int pipe[2];
	int64_t barriers;
};

#define BARRIER_NULL { -EBADF, -EBADF, { -EBADF, -EBADF }, 0 }

#define BARRIER_WE_ABORTED	(INT64_MIN + 1)
#define BARRIER_THEY_ABORTED	(INT64_MIN + 2)
#define BARRIER_I_ABORTED	(INT64_MIN + 3)

int barrier_create(Barrier *b);
Barrier *barrier_destroy(Barrier *b);
void barrier_set_role(Barrier *b, unsigned int role);

bool barrier_place(Barrier *b);
bool barrier_abort(Barrier *b);

bool barrier_wait_next(Barrier *b);
bool barrier_wait_abortion(Barrier *b);
bool barrier_sync_next(Barrier *b);
bool barrier_sync(Barrier *b);
bool barrier_place_and_sync(Barrier *b);

/*
 * What this side knows. None of them asks the other side. Who has no compiler
 * for these finds functions of the same names in the library.
 */
#ifndef _QUIESCE_NO_INLINE

static inline bool barrier_i_aborted(Barrier *b)
{
	return b->barriers == BARRIER_I_ABORTED || b->barriers == BARRIER_WE_ABORTED;
}

static inline bool barrier_they_aborted(Barrier *b)
{
	return b->barriers == BARRIER_THEY_ABORTED || b->barriers == BARRIER_WE_ABORTED;
}

static inline bool barrier_we_aborted(Barrier *b)
{
	return b->barriers == BARRIER_WE_ABORTED;
}

static inline bool barrier_is_aborted(Barrier *b)
{
	return barrier_i_aborted(b) || barrier_they_aborted(b);
}

/* For __attribute__((cleanup)) of a variable of type Barrier *. */
static inline void barrier_destroyp(Barrier **b)
{
	if (*b)
		*b = barrier_destroy(*b);
}

#else

bool barrier_i_aborted(Barrier *b);
bool barrier_they_aborted(Barrier *b);
bool barrier_we_aborted(Barrier *b);
bool barrier_is_aborted(Barrier *b);
void barrier_destroyp(Barrier **b);

#endif

/*
 * What systemd's barrier does not have.
 *
 * The waits with a deadline return 1 where those above return true and 0 where
 * they return false, -ETIMEDOUT when @abstime of @clock (CLOCK_MONOTONIC,
 * CLOCK_REALTIME or CLOCK_BOOTTIME) has passed, -EINTR when a signal handler
 * without SA_RESTART ran, -EAGAIN when @b->me has O_NONBLOCK and the wait would
 * sleep, -EINVAL for another clock or a broken time. NULL waits without end.
 * After -ETIMEDOUT, -EINTR and -EAGAIN barrier_place_and_sync_until() has placed:
 * go on with barrier_sync_until(), as a second call places again. The waits above
 * sleep even with O_NONBLOCK.
 */
int barrier_wait_next_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(barrier_wait_next_until);
int barrier_wait_abortion_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(barrier_wait_abortion_until);
int barrier_sync_next_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(barrier_sync_next_until);
int barrier_sync_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(barrier_sync_until);
int barrier_place_and_sync_until(Barrier *b, clockid_t clock, const struct timespec *abstime)
	_QUIESCE_TIME(barrier_place_and_sync_until);

/*
 * barrier_create() on a descriptor of /dev/quiesce that is open already, or,
 * with BARRIER_NO_DEVICE, with eventfds and a pipe even where there is a device.
 */
#define BARRIER_NO_DEVICE (-1)
int barrier_create_at(Barrier *b, int device);

/* barrier_abort() with a reason, which the other side finds in cause.code. */
bool barrier_abort_code(Barrier *b, uint64_t code);

/* End this side with this process, whoever else has a copy of the descriptor. */
int barrier_bind_process(Barrier *b);

/*
 * Reports the current state: whether the other side has aborted or ended, even if
 * no wait has reported it yet, and why (in cause). The view of the other side that
 * the calls above use does not change. @size is the size of the struct that the
 * caller was built with; no more than that is written.
 */
int barrier_status_sized(Barrier *b, struct quiesce_status *status, size_t size);

#ifndef _QUIESCE_NO_INLINE
static inline int barrier_status(Barrier *b, struct quiesce_status *status)
{
	return barrier_status_sized(b, status, sizeof(*status));
}
#else
int barrier_status(Barrier *b, struct quiesce_status *status);
#endif

/* Make a side of a descriptor that came by exec or over a socket. */
int barrier_adopt(Barrier *b, int fd);

/*
 * A cause in words, as "process 12 was killed by signal 9 (Killed)". Returns
 * @buf. Like snprintf() it cuts what does not fit. Not for signal handlers.
 */
char *quiesce_cause_text(const struct quiesce_cause *cause, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* _QUIESCE_BARRIER_H */
