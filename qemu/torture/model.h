/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the barriers of /dev/quiesce, written from the text of quiesce.h
 * and from nothing else: it makes no system call and knows no kernel code. It
 * answers for one task at a time, so a wait that would sleep is ETIMEDOUT.
 *
 * Each m_*() returns 0 or a negative errno, as the ioctl would, and fills in the
 * [out] members that the ioctl has to write.
 */
#ifndef _QUIESCE_TORTURE_MODEL_H
#define _QUIESCE_TORTURE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "quiesce.h"

#define M_SEATS 6

/* The process that ends a party, and the cause. */
struct m_who {
	uint32_t pid;
	uint32_t cause;
	int32_t status;
};

struct m_side {
	uint64_t placed;
	uint64_t read;
	uint32_t view;
	uint32_t suspended;	/* calls that arrived and may be continued */
	int view_err;		/* what THEY_ABORTED in the view answers */
	bool aborted;
	bool ended;
	bool bound;
	uint32_t pid;
	struct quiesce_cause how;
};

struct m_pair {
	struct m_side side[2];
};

/* One arrival. */
struct m_arrival {
	uint64_t ticket;
	uint32_t index;
	bool led;
	bool reported;		/* a wait has reported how its phase ended */
	bool suspended;		/* its ARRIVE_WAIT may be continued */
	int err;		/* how its phase ended, if that was not well */
	struct quiesce_cause cause;
};

/* A seat, and the party that has it or had it last. */
struct m_party {
	uint32_t tenancy;	/* 0: nobody ever, or nobody since a reset */
	bool seat;		/* is one of this phase */
	bool open;
	bool arrived;
	bool left;
	bool ended;
	bool bound;
	bool closed;		/* its descriptor is */
	uint32_t pid;
	uint32_t arrivals;
	/* Arrival n is number n % QUIESCE_OUTCOMES. */
	struct m_arrival last[QUIESCE_OUTCOMES];
	struct quiesce_cause how;
};

#define M_FORMER 32

struct m_group {
	bool shrink;
	bool completion;
	int leader;		/* who has to complete the phase, or -1 */
	uint32_t max;
	uint32_t tenancies;
	uint64_t phase;
	uint64_t cancelled;	/* the last phase that ended in ECANCELED, or 0 */
	uint32_t arrivals;	/* index of the next to arrive */
	int broken;		/* 0, or the errno */
	struct quiesce_cause cause;
	struct m_party party[M_SEATS];
	struct m_party former[M_FORMER];	/* still open, but another party has the seat */
};

/* Identifies a party, whose seat another one may have taken since. */
struct m_id {
	uint32_t party;
	uint32_t tenancy;
};

#define M_GROUP ((struct m_id) { QUIESCE_NOBODY, 0 })

void m_pair_init(struct m_pair *p, uint32_t pid);
int m_pair_arrive(struct m_pair *p, int me, uint64_t count, struct quiesce_arrive *out);
int m_pair_wait(struct m_pair *p, int me, bool arrive, struct quiesce_wait *io);
int m_pair_abort(struct m_pair *p, int me, uint32_t pid, struct quiesce_abort *io);
void m_pair_status(struct m_pair *p, int me, struct quiesce_status *out);
int m_pair_member(struct m_pair *p, uint32_t who, struct quiesce_member *out);
int m_pair_bind(struct m_pair *p, int me, uint32_t pid, bool bound);
void m_pair_end(struct m_pair *p, int me, const struct m_who *who);
uint32_t m_pair_poll(struct m_pair *p, int me);

void m_group_init(struct m_group *g, uint32_t parties, uint32_t max, bool shrink,
		  bool completion);
int m_group_complete(struct m_group *g, struct m_id me, struct quiesce_complete *io);
int m_group_join(struct m_group *g, uint32_t pid, bool bound, struct quiesce_join *out,
		 uint32_t *tenancy);
int m_group_arrive(struct m_group *g, struct m_id me, bool drop, struct quiesce_arrive *out);
int m_group_wait(struct m_group *g, struct m_id me, bool arrive, uint32_t pid,
		 struct quiesce_wait *io);
int m_group_abort(struct m_group *g, struct m_id me, uint32_t pid, uint64_t code);
int m_group_bind(struct m_group *g, struct m_id me, uint32_t pid, bool bound);
int m_group_leave(struct m_group *g, struct m_id me);
void m_group_reset(struct m_group *g, struct quiesce_reset *out);
void m_group_status(struct m_group *g, struct m_id me, struct quiesce_status *out, uint64_t *late);
int m_group_member(struct m_group *g, uint32_t who, struct quiesce_member *out);
void m_group_end(struct m_group *g, struct m_id me, const struct m_who *who);
void m_group_release(struct m_group *g, struct m_id me);
uint64_t m_group_ticket(struct m_group *g, struct m_id me);
bool m_group_over(struct m_group *g, struct m_id me);
void m_group_close(struct m_group *g, uint32_t pid);
uint32_t m_group_poll(struct m_group *g, struct m_id me);

#endif /* _QUIESCE_TORTURE_MODEL_H */
