// SPDX-License-Identifier: GPL-2.0
/* The pair, as quiesce.h has it. */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "model.h"

void m_pair_init(struct m_pair *p, uint32_t pid)
{
	memset(p, 0, sizeof(*p));
	p->side[0].pid = pid;
	p->side[1].pid = pid;
}

static int64_t balance(const struct m_side *s)
{
	return (int64_t)(s->placed - s->read);
}

/* The error for an own ABORT has precedence over the error for the other party's. */
static int view_error(const struct m_side *s)
{
	if (s->view & QUIESCE_I_ABORTED)
		return -ESHUTDOWN;
	if (s->view & QUIESCE_THEY_ABORTED)
		return -s->view_err;
	return 0;
}

/*
 * Advances the view; returns how many places it read. ABORT supersedes unread
 * places, an end queues behind them.
 */
static uint64_t look(struct m_pair *p, int me)
{
	struct m_side *s = &p->side[me], *them = &p->side[!me];
	uint64_t n = them->placed - s->read;

	if (s->view & QUIESCE_THEY_ABORTED)
		return 0;
	if (them->aborted) {
		s->view |= QUIESCE_THEY_ABORTED;
		s->view_err = ECONNABORTED;
		return 0;
	}
	if (n) {
		s->read = them->placed;
		return n;
	}
	if (them->ended) {
		s->view |= QUIESCE_THEY_ABORTED;
		s->view_err = EOWNERDEAD;
	}
	return 0;
}

static void cause(const struct m_pair *p, int me, int err, struct quiesce_cause *out)
{
	memset(out, 0, sizeof(*out));
	if (err == -ECONNABORTED || err == -EOWNERDEAD)
		*out = p->side[!me].how;
}

int m_pair_arrive(struct m_pair *p, int me, uint64_t count, struct quiesce_arrive *out)
{
	struct m_side *s = &p->side[me];
	int err;

	if (s->ended)
		return -ENOTCONN;
	err = view_error(s);
	if (!err && (count > INT64_MAX || s->placed + count > INT64_MAX))
		return -EOVERFLOW;
	if (!err)
		s->placed += count;
	out->index = 0;
	out->ticket = s->placed;
	out->balance = balance(s);
	out->view = s->view;
	out->result = 0;
	cause(p, me, err, &out->cause);
	return err;
}

static int wait_for(struct m_pair *p, int me, uint32_t kind)
{
	struct m_side *s = &p->side[me];
	uint64_t n;
	int err;

	if (kind == QUIESCE_WAIT_ABORTION) {
		while (!(s->view & QUIESCE_THEY_ABORTED))
			if (!look(p, me) && !(s->view & QUIESCE_THEY_ABORTED))
				return -ETIMEDOUT;
		return s->view & QUIESCE_I_ABORTED ? -ESHUTDOWN : 0;
	}
	for (;;) {
		err = view_error(s);
		if (err)
			return err;
		if (kind != QUIESCE_WAIT_NEXT && balance(s) <= 0)
			return 0;
		n = look(p, me);
		if (n && kind != QUIESCE_WAIT_SYNC)
			return 0;
		if (!n && !view_error(s))
			return -ETIMEDOUT;
	}
}

int m_pair_wait(struct m_pair *p, int me, bool arrive, struct quiesce_wait *io)
{
	struct m_side *s = &p->side[me];
	struct quiesce_cause *how = &p->side[!me].how;
	int err;

	if (s->ended)
		return -ENOTCONN;
	if (arrive && io->ticket) {
		if (io->ticket > s->placed || !s->suspended)
			return -EINVAL;
		s->suspended--;
	} else if (arrive && !view_error(s)) {
		if (io->count > INT64_MAX || s->placed + io->count > INT64_MAX)
			return -EOVERFLOW;
		s->placed += io->count;
		io->ticket = s->placed;
	}
	err = wait_for(p, me, io->kind);
	/* The arrival is done with, or the call can be continued. */
	if (err != -ETIMEDOUT)
		io->ticket = 0;
	else if (arrive && io->ticket)
		s->suspended++;
	io->balance = balance(s);
	io->view = s->view;
	io->result = 0;
	io->index = 0;
	cause(p, me, err, &io->cause);
	if (!err && io->kind == QUIESCE_WAIT_ABORTION)
		io->cause = *how;
	return err;
}

int m_pair_abort(struct m_pair *p, int me, uint32_t pid, struct quiesce_abort *io)
{
	struct m_side *s = &p->side[me];

	if (s->ended)
		return -ENOTCONN;
	if (!s->aborted) {
		s->aborted = true;
		s->how = (struct quiesce_cause) {
			.cause = QUIESCE_CAUSE_ABORT,
			.party = me,
			.pid = pid,
			.code = io->code,
		};
	}
	s->view |= QUIESCE_I_ABORTED;
	io->view = s->view;
	return 0;
}

static uint32_t state(const struct m_side *s)
{
	return (s->aborted ? QUIESCE_STATE_ABORTED : 0) | (s->ended ? QUIESCE_STATE_ENDED : 0) |
	       (s->bound ? QUIESCE_STATE_BOUND : 0);
}

void m_pair_status(struct m_pair *p, int me, struct quiesce_status *out)
{
	struct m_side *s = &p->side[me], *them = &p->side[!me];

	out->kind = QUIESCE_KIND_PAIR;
	out->party = me;
	out->view = s->view;
	out->state = state(s);
	out->parties = 2;
	out->arrived = 0;
	out->open = 0;
	out->waiting = 0;
	out->phase = 0;
	out->balance = balance(s);
	out->unread = them->placed - s->read;
	out->sent = s->placed - them->read;
	out->cause = them->how;
}

int m_pair_member(struct m_pair *p, uint32_t who, struct quiesce_member *out)
{
	struct m_side *s = &p->side[who & 1];

	if (who > 1)
		return -ESRCH;
	out->state = state(s);
	out->pid = s->pid;
	out->waiting = 0;
	out->count = s->placed;
	out->cause = s->how;
	return 0;
}

int m_pair_bind(struct m_pair *p, int me, uint32_t pid, bool bound)
{
	struct m_side *s = &p->side[me];

	if (s->ended)
		return -ENOTCONN;
	s->pid = pid;
	s->bound = bound;
	return 0;
}

void m_pair_end(struct m_pair *p, int me, const struct m_who *who)
{
	struct m_side *s = &p->side[me];

	if (s->ended)
		return;
	s->ended = true;
	/* The cause that ABORT has set is kept. */
	if (!s->aborted)
		s->how = (struct quiesce_cause) {
			.cause = who->cause,
			.party = me,
			.pid = who->pid,
			.status = who->status,
		};
}

uint32_t m_pair_poll(struct m_pair *p, int me)
{
	struct m_side *s = &p->side[me], *them = &p->side[!me];
	/* No arrival can be read after the other party's ABORT or after an own one. */
	bool unread = them->placed != s->read && !s->view && !them->aborted && !s->ended;
	uint32_t mask = s->ended ? EPOLLHUP : 0;

	if (unread)
		mask |= EPOLLIN;
	if (!s->ended && !view_error(s) && s->placed < INT64_MAX)
		mask |= EPOLLOUT;
	if (them->aborted)
		mask |= EPOLLPRI | EPOLLERR;
	if (them->ended) {
		mask |= EPOLLRDHUP;
		if (!unread)
			mask |= EPOLLHUP;
	}
	return mask;
}
