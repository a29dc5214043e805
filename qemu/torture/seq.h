/* SPDX-License-Identifier: GPL-2.0 */
/* Declarations shared by the files of the sequential part. */
#ifndef _QUIESCE_TORTURE_SEQ_H
#define _QUIESCE_TORTURE_SEQ_H

#include <setjmp.h>
#include <stddef.h>

#include "fuzz.h"
#include "model.h"

#define OBJECTS 5
#define HANDLES 20
#define COPIES 3
#define FILL 0xcc

enum kind { DEV, PAIR, PARTY, GROUP };

struct object {
	bool used;
	bool pair;
	int handles;
	union {
		struct m_pair p;
		struct m_group g;
	};
};

struct handle {
	bool used;
	bool inherit;
	bool nonblock;		/* O_NONBLOCK, of all copies */
	enum kind kind;
	struct object *o;
	struct m_id id;
	uint64_t seen;		/* GROUP: the phase that STATUS returned last */
	int fd[COPIES];
	int copies;
};

extern struct object objects[OBJECTS];
extern struct handle handles[HANDLES], dev;
extern struct rng rng;
extern unsigned long calls;
extern uint32_t self;
extern jmp_buf failed;
extern char failure[256];
extern bool overdue;	/* the current call was interrupted, as it took too long */

/* seq-world.c */
void note(const char *what, const struct handle *h, int64_t a, int64_t b, int ret);
__attribute__((noreturn, format(printf, 1, 2))) void wrong(const char *fmt, ...);
void expect_err(const char *what, int got, int want);
void expect(const char *what, const char *member, int64_t got, int64_t want);
void expect_cause(const char *what, const struct quiesce_cause *got,
		  const struct quiesce_cause *want);
void untouched(const char *what, const void *now, const void *before, size_t size);

#define NO_FLAGS SIZE_MAX

bool call(const char *what, struct handle *h, unsigned long cmd, void *body, size_t in_flags,
	  int *err);

struct handle *new_handle(enum kind kind, struct object *o, struct m_id id, int fd, bool inherit);
struct object *new_object(void);
struct handle *any_handle(void);
int free_handles(void);
void ended(struct handle *h, const struct m_who *who);
void close_copies(struct handle *h);

/* seq-ops.c */
void op_features(void);
void op_pair(void);
void op_group(void);
void op_join(struct handle *h);
void op_arrive(struct handle *h);
void op_abort(struct handle *h);
void op_bind(struct handle *h);
void op_leave(struct handle *h);
void op_complete(struct handle *h);
void op_reset(struct handle *h);

/* seq-wait.c */
void op_wait(struct handle *h);

/* seq-poll.c */
uint32_t model_poll(struct handle *h);
void init_watches(void);
void op_watch(struct handle *h);
void check_watches(void);
void forget_watches(const struct handle *h);

/* seq-look.c */
void op_status(struct handle *h);
void op_member(struct handle *h);
void op_poll(struct handle *h);
void op_strange(struct handle *h);

/* seq-ends.c */
void op_dup(struct handle *h);
void op_close(struct handle *h);
void op_send(struct handle *h);
void op_child(struct handle *h, bool bind);

#endif /* _QUIESCE_TORTURE_SEQ_H */
