// SPDX-License-Identifier: GPL-2.0
/* The waits of the sequential part. */

#include "seq.h"

static void on_alarm(int sig)
{
	(void)sig;
}

static void alarm_in(unsigned int us, int flags)
{
	/* Repeated, because the first signal may arrive before the call sleeps. */
	struct itimerval t = { { 0, us }, { 0, us } };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static void alarm_off(void)
{
	setitimer(ITIMER_REAL, &(struct itimerval){}, NULL);
}

/* The result of the call according to the model; -EINVAL if a member is out of range. */
static int model_wait(struct handle *h, bool arrive, struct quiesce_wait *io)
{
	if (h->kind == PAIR) {
		if (io->kind < QUIESCE_WAIT_NEXT || io->kind > QUIESCE_WAIT_ABORTION ||
		    (arrive ? !io->count : io->count || io->ticket))
			return -EINVAL;
		return m_pair_wait(&h->o->p, h->id.party, arrive, io);
	}
	if (io->kind != QUIESCE_WAIT_PHASE || (arrive ? io->count != 1 : io->count))
		return -EINVAL;
	return m_group_wait(&h->o->g, h->id, arrive, self, io);
}

/* Does the model's wait end at once? It is asked on a copy. */
static bool would_sleep(struct handle *h, bool arrive, const struct quiesce_wait *w)
{
	struct object saved = *h->o;
	struct quiesce_wait io = *w;
	bool sleeps = model_wait(h, arrive, &io) == -ETIMEDOUT;

	*h->o = saved;
	return sleeps;
}

static uint64_t some_ticket(struct handle *h)
{
	struct m_group *g = &h->o->g;

	switch (below(&rng, 6)) {
	case 0: return g->phase;
	case 1: return below(&rng, g->phase + 2);
	case 2: return rnd(&rng);
	default: return m_group_ticket(g, h->id);
	}
}

void op_wait(struct handle *h)
{
	bool arrive = one_in(&rng, 2), sleeps, eintr = false, timed = false;
	struct quiesce_wait w, before, model;
	clockid_t clock;
	int err, want;

	memset(&w, FILL, sizeof(w));
	w.kind = h->kind == PAIR ? 1 + below(&rng, 4) : QUIESCE_WAIT_PHASE;
	if (one_in(&rng, 40))
		w.kind = below(&rng, 8);
	w.flags = one_in(&rng, 5) ? QUIESCE_WAIT_REALTIME : 0;
	w.count = arrive;
	w.ticket = 0;
	w.reserved = 0;
	if (h->kind == PARTY && (!arrive || one_in(&rng, 6)))
		w.ticket = some_ticket(h);
	if (h->kind == PAIR && arrive && one_in(&rng, 4) && h->o->p.side[h->id.party].placed)
		w.ticket = h->o->p.side[h->id.party].placed + one_in(&rng, 8);
	if (one_in(&rng, 60))
		w.count = below(&rng, 3);
	if (h->kind == PARTY && one_in(&rng, 10))
		w.flags |= QUIESCE_WAIT_BREAK;
	w.deadline = one_in(&rng, 2) ? QUIESCE_NOW : 1;
	clock = w.flags & QUIESCE_WAIT_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;

	sleeps = h->kind != GROUP && !h->nonblock && would_sleep(h, arrive, &w);
	if (!sleeps && one_in(&rng, 3)) {
		/* A call that does not sleep needs no deadline. */
		w.deadline = QUIESCE_FOREVER;
	} else if (sleeps && one_in(&rng, 20)) {
		timed = true;
		if (w.flags & QUIESCE_WAIT_BREAK || one_in(&rng, 2)) {
			w.deadline = now_ns(clock) + 300000;
		} else {
			eintr = one_in(&rng, 2);
			w.deadline = eintr ? QUIESCE_FOREVER : now_ns(clock) + 3000000;
			alarm_in(1000, eintr ? 0 : SA_RESTART);
		}
	}
	before = w;
	model = w;
	if (timed) {
		/* Not spoilt: such a call has to sleep. */
		calls++;
		err = sh_ioctl(h->fd[0], arrive ? QUIESCE_IOC_ARRIVE_WAIT : QUIESCE_IOC_WAIT, &w);
		alarm_off();
	} else if (!call("WAIT", h, arrive ? QUIESCE_IOC_ARRIVE_WAIT : QUIESCE_IOC_WAIT, &w,
			 offsetof(struct quiesce_wait, flags), &err)) {
		return;
	}
	note(arrive ? "ARRIVE_WAIT" : "WAIT", h, before.kind | before.flags << 8, before.ticket,
	     err);
	/* A non-blocking call does not time out. */
	if (h->nonblock)
		model.flags &= ~QUIESCE_WAIT_BREAK;
	want = h->kind == GROUP ? -ENOTTY : model_wait(h, arrive, &model);
	if (h->nonblock && want == -ETIMEDOUT)
		want = -EAGAIN;
	if (eintr && want == -ETIMEDOUT)
		want = -EINTR;
	expect_err(arrive ? "ARRIVE_WAIT" : "WAIT", err, want);
	switch (err) {
	case 0:
	case -ECONNABORTED:
	case -EOWNERDEAD:
	case -ESHUTDOWN:
	case -ECANCELED:
	case -ETIMEDOUT:
	case -EAGAIN:
	case -EINTR:
		break;
	default:
		untouched("WAIT", &w, &before, sizeof(w));
		return;
	}
	expect("WAIT", "ticket", w.ticket, model.ticket);
	expect("WAIT", "balance", w.balance, model.balance);
	expect("WAIT", "view", w.view, model.view);
	expect("WAIT", "result", w.result, model.result);
	expect("WAIT", "index", w.index, model.index);
	expect_cause("WAIT", &w.cause, &model.cause);
}
