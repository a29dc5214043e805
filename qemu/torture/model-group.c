// SPDX-License-Identifier: GPL-2.0
/* The group, as quiesce.h has it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "model.h"

void m_group_init(struct m_group *g, uint32_t parties, uint32_t max, bool shrink,
		  bool completion)
{
	memset(g, 0, sizeof(*g));
	g->max = max ? max : parties;
	g->shrink = shrink;
	g->completion = completion;
	g->leader = -1;
	g->phase = 1;
	for (uint32_t i = 0; i < parties; i++)
		g->party[i] = (struct m_party) { .seat = true, .open = true };
}

#define COUNT(g, what) ({							\
	uint32_t n_ = 0;							\
	for (int i_ = 0; i_ < M_SEATS; i_++)					\
		n_ += (g)->party[i_].seat && (g)->party[i_].what;		\
	n_;									\
})

/* Finds the party, whether or not another one has taken its seat. */
static struct m_party *find(struct m_group *g, struct m_id me)
{
	if (g->party[me.party].tenancy == me.tenancy)
		return &g->party[me.party];
	for (int i = 0; i < M_FORMER; i++)
		if (g->former[i].tenancy == me.tenancy)
			return &g->former[i];
	abort();
}

/* The party, unless it has left or ended. */
static struct m_party *live(struct m_group *g, struct m_id me)
{
	struct m_party *p = find(g, me);

	return !p->left && !p->ended ? p : NULL;
}

/* Frees the party's seat for another one; keeps the state that its descriptor can still query. */
static void evict(struct m_group *g, const struct m_party *p)
{
	if (!p->tenancy || p->closed)
		return;
	for (int i = 0; i < M_FORMER; i++) {
		if (g->former[i].tenancy)
			continue;
		g->former[i] = *p;
		g->former[i].seat = false;
		g->former[i].open = false;
		g->former[i].arrived = false;
		return;
	}
	abort();
}

/* Returns whether this party has to complete the phase. */
static bool leads(const struct m_group *g, const struct m_party *p)
{
	return g->leader >= 0 && p == &g->party[g->leader];
}

static struct m_arrival *newest(struct m_party *p)
{
	return &p->last[p->arrivals % QUIESCE_OUTCOMES];
}

/* The oldest arrival that is known; of ticket 0 if there is room for another. */
static struct m_arrival *oldest(struct m_party *p)
{
	return &p->last[(p->arrivals + 1) % QUIESCE_OUTCOMES];
}

/* The arrival with this ticket, if it is one of the last. */
static struct m_arrival *arrival(struct m_party *p, uint64_t ticket)
{
	for (int i = 0; i < QUIESCE_OUTCOMES; i++)
		if (ticket && p->last[i].ticket == ticket)
			return &p->last[i];
	return NULL;
}

uint64_t m_group_ticket(struct m_group *g, struct m_id me)
{
	return newest(find(g, me))->ticket;
}

/* Is the phase of its last arrival over? */
bool m_group_over(struct m_group *g, struct m_id me)
{
	uint64_t ticket = m_group_ticket(g, me);

	return ticket && ticket < g->phase;
}

static uint64_t late_now(const struct m_group *g)
{
	uint64_t bits = 0;

	for (int i = 0; i < M_SEATS; i++)
		if (g->party[i].seat && !g->party[i].arrived)
			bits |= 1ULL << i;
	return bits;
}

/* The first break counts. */
static void break_group(struct m_group *g, int err, const struct quiesce_cause *cause)
{
	if (g->broken)
		return;
	g->broken = err;
	g->cause = *cause;
	g->leader = -1;
}

static void vacate(struct m_party *p)
{
	p->seat = false;
	p->open = false;
	p->arrived = false;
}

static void next_phase(struct m_group *g)
{
	int i;

	g->phase++;
	g->arrivals = 0;
	g->leader = -1;
	for (i = 0; i < M_SEATS; i++) {
		g->party[i].arrived = false;
		if (g->party[i].seat && g->party[i].left)
			vacate(&g->party[i]);
	}
	/* Those that ended after they had arrived cannot arrive in this phase. */
	for (i = 0; i < M_SEATS; i++) {
		if (!g->party[i].seat || !g->party[i].ended)
			continue;
		if (g->shrink)
			vacate(&g->party[i]);
		else
			break_group(g, EOWNERDEAD, &g->party[i].how);
	}
}

/* Of the remaining parties the last to arrive leads. */
static struct m_party *last_left(struct m_group *g)
{
	struct m_party *last = NULL;
	int i;

	for (i = 0; i < M_SEATS; i++) {
		struct m_party *p = &g->party[i];

		if (!p->seat || !p->arrived || p->left || p->ended)
			continue;
		if (!last || newest(p)->index > newest(last)->index)
			last = p;
	}
	return last;
}

/* All have arrived: ends the phase, or leaves that to its leader. */
static void all_arrived(struct m_group *g, struct m_party *leader)
{
	if (leader && g->completion) {
		g->leader = leader - g->party;
		return;
	}
	if (leader)
		newest(leader)->led = true;
	next_phase(g);
}

/* Ends the phase if all remaining parties have arrived and nobody leads. */
static void settle(struct m_group *g)
{
	if (g->broken || g->leader >= 0 || !COUNT(g, arrived) ||
	    COUNT(g, arrived) != COUNT(g, seat))
		return;
	all_arrived(g, last_left(g));
}

/* A party has left or ended: another one leads if it did. */
static void replace_leader(struct m_group *g, const struct m_party *p)
{
	if (g->leader != p - g->party)
		return;
	g->leader = -1;
	settle(g);
}

int m_group_join(struct m_group *g, uint32_t pid, bool bound, struct quiesce_join *out,
		 uint32_t *tenancy)
{
	uint32_t i;

	if (g->broken)
		return -g->broken;
	if (g->leader >= 0)
		return -EBUSY;
	for (i = 0; i < g->max && !g->party[i].open; i++)
		;
	if (i == g->max)
		for (i = 0; i < g->max && g->party[i].seat; i++)
			;
	if (i == g->max)
		return -ENOSPC;
	evict(g, &g->party[i]);
	g->party[i] = (struct m_party) {
		.seat = true,
		.tenancy = *tenancy = ++g->tenancies,
		.pid = pid,
		.bound = bound,
	};
	out->party = i;
	out->phase = g->phase;
	return 0;
}

static void set_cause(struct m_group *g, int err, struct quiesce_cause *out)
{
	memset(out, 0, sizeof(*out));
	if (err == -ECONNABORTED || err == -EOWNERDEAD)
		*out = g->cause;
}

static int arrive_now(struct m_group *g, struct m_party *p, bool drop)
{
	if (g->broken)
		return -g->broken;
	if (p->arrived)
		return -EALREADY;
	p->arrived = true;
	p->arrivals++;
	*newest(p) = (struct m_arrival) { .ticket = g->phase, .index = g->arrivals++ };
	p->left = drop;
	if (COUNT(g, arrived) == COUNT(g, seat)) {
		struct m_party *leader = p;

		/* A party that drops out completes the phase only if no other can. */
		if (drop && g->completion) {
			leader = last_left(g);
			newest(p)->led = !leader;
		}
		all_arrived(g, leader);
	}
	return 0;
}

static uint32_t result(const struct m_group *g, bool leads, const struct m_arrival *a,
		       uint64_t ticket)
{
	if (ticket >= g->phase)
		return leads ? QUIESCE_RESULT_LEADER : 0;
	return QUIESCE_RESULT_DONE | (a && a->led ? QUIESCE_RESULT_LEADER : 0);
}

int m_group_arrive(struct m_group *g, struct m_id me, bool drop, struct quiesce_arrive *out)
{
	struct m_party *p = live(g, me);
	int err;

	if (!p)
		return -ENOTCONN;
	err = arrive_now(g, p, drop);
	if (err == -EALREADY)
		return err;
	out->index = err ? 0 : newest(p)->index;
	out->ticket = err ? 0 : newest(p)->ticket;
	out->balance = 0;
	out->view = 0;
	out->result = err ? 0 : result(g, leads(g, p), newest(p), newest(p)->ticket);
	set_cause(g, err, &out->cause);
	return err;
}

/* The result of a wait for the ticket; -ETIMEDOUT if its phase has not ended. */
static int outcome(struct m_group *g, struct m_party *p, uint64_t ticket,
		   struct quiesce_cause *why)
{
	struct m_arrival *a = arrival(p, ticket);

	memset(why, 0, sizeof(*why));
	if (!a) {
		if (p->left || p->ended)
			return -ENOTCONN;
		if (!ticket || ticket >= g->phase)
			return -EINVAL;
		if (ticket == g->cancelled)
			return -ECANCELED;
		return ticket < g->cancelled ? -ESTALE : 0;
	}
	if (a->err) {
		*why = a->cause;
		return -a->err;
	}
	if (ticket < g->phase)
		return 0;
	if (g->broken) {
		*why = g->cause;
		return -g->broken;
	}
	if (p->ended)
		return -ENOTCONN;
	return leads(g, p) ? 0 : -ETIMEDOUT;
}

int m_group_complete(struct m_group *g, struct m_id me, struct quiesce_complete *io)
{
	struct m_party *p = find(g, me);
	struct quiesce_cause why;
	int err = outcome(g, p, io->ticket, &why);

	if (err && err != -ETIMEDOUT)
		return err;
	if (err || io->ticket < g->phase)
		return -EINVAL;
	newest(p)->led = true;
	newest(p)->reported = true;
	next_phase(g);
	io->phase = g->phase;
	return 0;
}

int m_group_wait(struct m_group *g, struct m_id me, bool arrive, uint32_t pid,
		 struct quiesce_wait *io)
{
	struct m_party *p = find(g, me);
	struct quiesce_cause why = {};
	struct m_arrival *a;
	uint64_t ticket;
	bool over;
	int err = 0;

	if (arrive && !io->ticket) {
		if (p->left || p->ended)
			return -ENOTCONN;
		err = arrive_now(g, p, false);
		if (err == -EALREADY)
			return err;
		if (err)
			why = g->cause;
		else
			io->ticket = newest(p)->ticket;
	} else if (arrive) {
		a = arrival(p, io->ticket);
		if (!a && (p->left || p->ended))
			return -ENOTCONN;
		if (!a && io->ticket < oldest(p)->ticket)
			return -ESTALE;
		if (!a || !a->suspended)
			return -EINVAL;
		a->suspended = false;
	}
	ticket = io->ticket;
	if (!err)
		err = outcome(g, p, ticket, &why);
	a = arrival(p, ticket);
	io->balance = 0;
	io->view = 0;
	io->result = err ? 0 : result(g, leads(g, p), a, ticket);
	io->index = !err && a ? a->index : 0;
	io->cause = why;
	/* The arrival is done with, or the call can be continued. */
	over = !err && ticket < g->phase;
	if (err ? err != -ETIMEDOUT : over)
		io->ticket = 0;
	/* Nothing was written back. */
	if (arrive && (err == -ETIMEDOUT || err == -ENOTCONN))
		a->suspended = true;
	if (a && (over || err == -ECONNABORTED || err == -EOWNERDEAD || err == -ECANCELED))
		a->reported = true;
	if (err == -ETIMEDOUT && io->flags & QUIESCE_WAIT_BREAK && !p->left)
		break_group(g, ECONNABORTED, &(struct quiesce_cause) {
			.cause = QUIESCE_CAUSE_TIMEOUT,
			.party = me.party,
			.pid = pid,
		});
	return err;
}

int m_group_abort(struct m_group *g, struct m_id me, uint32_t pid, uint64_t code)
{
	if (me.party != QUIESCE_NOBODY && !live(g, me))
		return -ENOTCONN;
	break_group(g, ECONNABORTED, &(struct quiesce_cause) {
		.cause = QUIESCE_CAUSE_ABORT,
		.party = me.party,
		.pid = pid,
		.code = code,
	});
	return 0;
}

int m_group_bind(struct m_group *g, struct m_id me, uint32_t pid, bool bound)
{
	struct m_party *p = live(g, me);

	if (!p)
		return -ENOTCONN;
	p->pid = pid;
	p->bound = bound;
	return 0;
}

int m_group_leave(struct m_group *g, struct m_id me)
{
	struct m_party *p = live(g, me);

	if (!p)
		return -ENOTCONN;
	p->left = true;
	if (p->arrived && !g->broken) {
		replace_leader(g, p);
		return 0;
	}
	if (p->arrived) {
		newest(p)->err = g->broken;
		newest(p)->cause = g->cause;
	}
	vacate(p);
	settle(g);
	return 0;
}

void m_group_reset(struct m_group *g, struct quiesce_reset *out)
{
	for (int i = 0; i < M_SEATS; i++) {
		struct m_party *p = &g->party[i];

		if (!p->seat || !p->arrived)
			continue;
		newest(p)->err = g->broken ? g->broken : ECANCELED;
		newest(p)->cause = g->cause;
	}
	g->cancelled = g->phase++;
	g->leader = -1;
	g->broken = 0;
	memset(&g->cause, 0, sizeof(g->cause));
	g->arrivals = 0;
	for (int i = 0; i < M_SEATS; i++) {
		struct m_party *p = &g->party[i];

		p->arrived = false;
		if (!p->seat)
			continue;
		if (p->left || (p->ended && g->shrink)) {
			vacate(p);
		} else if (p->ended) {
			evict(g, p);
			*p = (struct m_party) { .seat = true, .open = true };
		}
	}
	out->phase = g->phase;
}

static uint32_t state(const struct m_group *g, const struct m_party *p)
{
	return (p->open ? QUIESCE_STATE_OPEN : 0) | (p->arrived ? QUIESCE_STATE_ARRIVED : 0) |
	       (p->left ? QUIESCE_STATE_LEFT : 0) | (p->ended ? QUIESCE_STATE_ENDED : 0) |
	       (p->bound ? QUIESCE_STATE_BOUND : 0) | (g->broken ? QUIESCE_STATE_BROKEN : 0) |
	       (leads(g, p) ? QUIESCE_STATE_LEADS : 0);
}

void m_group_status(struct m_group *g, struct m_id me, struct quiesce_status *out, uint64_t *late)
{
	static const struct m_party nobody;
	bool group = me.party == QUIESCE_NOBODY;
	const struct m_party *p = group ? &nobody : find(g, me);

	out->kind = group ? QUIESCE_KIND_GROUP : QUIESCE_KIND_PARTY;
	out->party = me.party;
	out->view = 0;
	out->state = state(g, p);
	out->parties = COUNT(g, seat);
	out->arrived = COUNT(g, arrived);
	out->open = COUNT(g, open);
	out->waiting = 0;
	out->phase = g->phase;
	out->balance = 0;
	out->unread = 0;
	out->sent = 0;
	out->cause = g->cause;
	/* Nobody arrives in a broken group, and who leaves is late no more. */
	*late = late_now(g);
}

int m_group_member(struct m_group *g, uint32_t who, struct quiesce_member *out)
{
	struct m_party *p = &g->party[who % M_SEATS];

	if (who >= g->max || (!p->seat && !p->tenancy))
		return -ESRCH;
	out->state = state(g, p) & ~QUIESCE_STATE_BROKEN;
	out->pid = p->pid;
	out->waiting = 0;
	out->count = newest(p)->ticket;
	out->cause = p->how;
	return 0;
}

void m_group_end(struct m_group *g, struct m_id me, const struct m_who *who)
{
	struct m_party *p = live(g, me);

	if (!p)
		return;
	p->ended = true;
	p->how = (struct quiesce_cause) {
		.cause = who->cause,
		.party = me.party,
		.pid = who->pid,
		.status = who->status,
	};
	if (!g->shrink && leads(g, p)) {
		break_group(g, EOWNERDEAD, &p->how);
		return;
	}
	if (g->broken || p->arrived) {
		replace_leader(g, p);
		return;
	}
	if (g->shrink) {
		vacate(p);
		settle(g);
	} else {
		break_group(g, EOWNERDEAD, &p->how);
	}
}

/* The last copy of its descriptor is closed, after m_group_end(). */
void m_group_release(struct m_group *g, struct m_id me)
{
	struct m_party *p = find(g, me);

	p->closed = true;
	if (p >= g->former && p < g->former + M_FORMER)
		p->tenancy = 0;
}

void m_group_close(struct m_group *g, uint32_t pid)
{
	if (!COUNT(g, open) || g->broken)
		return;
	if (g->shrink) {
		for (int i = 0; i < M_SEATS; i++)
			if (g->party[i].open)
				vacate(&g->party[i]);
		settle(g);
		return;
	}
	break_group(g, EOWNERDEAD, &(struct quiesce_cause) {
		.cause = QUIESCE_CAUSE_UNCLAIMED,
		.party = QUIESCE_NOBODY,
		.pid = pid,
	});
}

uint32_t m_group_poll(struct m_group *g, struct m_id me)
{
	uint32_t mask = g->broken ? EPOLLPRI | EPOLLERR : 0;
	struct m_party *p;

	if (me.party == QUIESCE_NOBODY)
		return mask | (COUNT(g, seat) ? 0 : EPOLLHUP);
	p = find(g, me);
	if ((newest(p)->ticket && newest(p)->ticket < g->phase && !newest(p)->reported) ||
	    leads(g, p))
		mask |= EPOLLIN;
	if (p->left || p->ended)
		return mask | EPOLLHUP;
	if (!g->broken && !p->arrived)
		mask |= EPOLLOUT;
	return mask;
}
