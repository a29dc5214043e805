// SPDX-License-Identifier: GPL-2.0
/* The commands of the sequential part that make something or change it. */

#include "seq.h"

void op_features(void)
{
	struct quiesce_features f;
	int err;

	memset(&f, FILL, sizeof(f));
	f.reserved = one_in(&rng, 8);
	/* The struct has no flags: the word that must be 0 is `reserved`. */
	if (!call("FEATURES", &dev, QUIESCE_IOC_FEATURES, &f,
		  offsetof(struct quiesce_features, reserved), &err))
		return;
	note("FEATURES", &dev, f.reserved, 0, err);
	if (f.reserved) {
		expect_err("FEATURES with reserved", err, -EINVAL);
		return;
	}
	expect_err("FEATURES", err, 0);
	if (f.version != QUIESCE_VERSION || f.max_parties != QUIESCE_MAX_PARTIES ||
	    f.max_objects != QUIESCE_MAX_OBJECTS ||
	    f.features != (QUIESCE_FEATURE_PAIR | QUIESCE_FEATURE_GROUP | QUIESCE_FEATURE_BIND |
			   QUIESCE_FEATURE_COMPLETION))
		wrong("FEATURES does not return what the header defines");
}

void op_pair(void)
{
	struct quiesce_pair p;
	struct object *o;
	bool inherit = one_in(&rng, 4), spoilt = one_in(&rng, 16);
	int err;

	if (free_handles() < 2)
		return;
	o = new_object();
	if (!o)
		return;
	memset(&p, FILL, sizeof(p));
	p.flags = inherit ? QUIESCE_FD_INHERIT : 0;
	p.reserved = spoilt;
	if (!call("PAIR", &dev, QUIESCE_IOC_PAIR, &p, 0, &err)) {
		o->used = false;
		return;
	}
	note("PAIR", &dev, p.flags, spoilt, err);
	expect_err("PAIR", err, spoilt ? -EINVAL : 0);
	if (err) {
		o->used = false;
		return;
	}
	o->pair = true;
	m_pair_init(&o->p, self);
	new_handle(PAIR, o, (struct m_id) { 0, 0 }, p.fd[0], inherit);
	new_handle(PAIR, o, (struct m_id) { 1, 0 }, p.fd[1], inherit);
}

void op_group(void)
{
	uint32_t parties = below(&rng, 4), max = below(&rng, M_SEATS + 1);
	bool inherit = one_in(&rng, 4), shrink = one_in(&rng, 2), completion = one_in(&rng, 3), bad;
	struct quiesce_group g;
	struct object *o;
	int err;

	if (!free_handles())
		return;
	o = new_object();
	if (!o)
		return;
	if (one_in(&rng, 32))
		max = QUIESCE_MAX_PARTIES + 1;
	memset(&g, FILL, sizeof(g));
	g.flags = (inherit ? QUIESCE_FD_INHERIT : 0) | (shrink ? QUIESCE_GROUP_SHRINK : 0) |
		  (completion ? QUIESCE_GROUP_COMPLETION : 0);
	g.parties = parties;
	g.max_parties = max;
	bad = max ? max < parties || max > QUIESCE_MAX_PARTIES : !parties;
	if (!call("GROUP", &dev, QUIESCE_IOC_GROUP, &g, 0, &err)) {
		o->used = false;
		return;
	}
	note("GROUP", &dev, parties, max, err);
	expect_err("GROUP", err, bad ? -EINVAL : 0);
	if (err) {
		o->used = false;
		return;
	}
	o->pair = false;
	m_group_init(&o->g, parties, max, shrink, completion);
	new_handle(GROUP, o, M_GROUP, g.fd, inherit);
}

void op_join(struct handle *h)
{
	bool inherit = one_in(&rng, 4), bind = one_in(&rng, 6);
	struct quiesce_join j, before, model;
	uint32_t tenancy;
	int err, want;

	if (!free_handles())
		return;
	memset(&j, FILL, sizeof(j));
	j.flags = (inherit ? QUIESCE_FD_INHERIT : 0) | (bind ? QUIESCE_BIND_PROCESS : 0);
	j.reserved = 0;
	before = j;
	if (!call("JOIN", h, QUIESCE_IOC_JOIN, &j, 0, &err))
		return;
	note("JOIN", h, j.flags, j.party, err);
	if (h->kind != GROUP) {
		expect_err("JOIN of no group", err, -ENOTTY);
		return;
	}
	want = m_group_join(&h->o->g, self, bind, &model, &tenancy);
	expect_err("JOIN", err, want);
	if (err) {
		untouched("JOIN", &j, &before, sizeof(j));
		return;
	}
	expect("JOIN", "party", j.party, model.party);
	expect("JOIN", "phase", j.phase, model.phase);
	new_handle(PARTY, h->o, (struct m_id) { j.party, tenancy }, j.fd, inherit);
}

/* Using */

void op_arrive(struct handle *h)
{
	struct quiesce_arrive a, before, model;
	bool drop = h->kind == PARTY && one_in(&rng, 12);
	int err, want;

	memset(&a, FILL, sizeof(a));
	a.flags = drop ? QUIESCE_ARRIVE_DROP : 0;
	a.count = 1;
	if (h->kind == PAIR && one_in(&rng, 4))
		a.count = below(&rng, 4);
	if (one_in(&rng, 50))
		a.count = rnd(&rng) >> below(&rng, 2);
	before = a;
	model = a;
	if (!call("ARRIVE", h, QUIESCE_IOC_ARRIVE, &a, 0, &err))
		return;
	note("ARRIVE", h, a.flags, a.count, err);
	if (h->kind == GROUP)
		want = -ENOTTY;
	else if (!before.count || (h->kind == PARTY && before.count != 1))
		want = -EINVAL;
	else if (h->kind == PAIR)
		want = m_pair_arrive(&h->o->p, h->id.party, before.count, &model);
	else
		want = m_group_arrive(&h->o->g, h->id, drop, &model);
	expect_err("ARRIVE", err, want);
	if (err && err != -ECONNABORTED && err != -EOWNERDEAD && err != -ESHUTDOWN) {
		untouched("ARRIVE", &a, &before, sizeof(a));
		return;
	}
	if (err == -ESHUTDOWN)
		return;
	if (!err) {
		expect("ARRIVE", "index", a.index, model.index);
		expect("ARRIVE", "ticket", a.ticket, model.ticket);
		expect("ARRIVE", "result", a.result, model.result);
	}
	expect("ARRIVE", "balance", a.balance, model.balance);
	expect("ARRIVE", "view", a.view, model.view);
	expect_cause("ARRIVE", &a.cause, &model.cause);
}

void op_abort(struct handle *h)
{
	struct quiesce_abort a, before, model;
	int err, want;

	memset(&a, FILL, sizeof(a));
	a.flags = 0;
	a.code = rnd(&rng);
	before = a;
	model = a;
	if (!call("ABORT", h, QUIESCE_IOC_ABORT, &a, 0, &err))
		return;
	note("ABORT", h, 0, 0, err);
	want = h->kind == PAIR ? m_pair_abort(&h->o->p, h->id.party, self, &model) :
	       m_group_abort(&h->o->g, h->id, self, a.code);
	expect_err("ABORT", err, want);
	if (err)
		untouched("ABORT", &a, &before, sizeof(a));
	else if (h->kind == PAIR)
		expect("ABORT", "view", a.view, model.view);
}

void op_bind(struct handle *h)
{
	struct quiesce_bind b = { .reserved = one_in(&rng, 20) };
	int err, want;

	if (!call("BIND", h, QUIESCE_IOC_BIND, &b, 0, &err))
		return;
	note("BIND", h, 0, 0, err);
	if (h->kind == GROUP) {
		want = -ENOTTY;
	} else if (b.reserved) {
		want = -EINVAL;
	} else {
		want = h->kind == PAIR ? m_pair_bind(&h->o->p, h->id.party, self, false) :
		       m_group_bind(&h->o->g, h->id, self, false);
	}
	expect_err("BIND", err, want);
}

void op_leave(struct handle *h)
{
	int err, want;

	if (!call("LEAVE", h, QUIESCE_IOC_LEAVE, NULL, 0, &err))
		return;
	note("LEAVE", h, 0, 0, err);
	want = h->kind == PARTY ? m_group_leave(&h->o->g, h->id) : -ENOTTY;
	expect_err("LEAVE", err, want);
}

void op_complete(struct handle *h)
{
	struct quiesce_complete c, before, model;
	int err, want;

	memset(&c, FILL, sizeof(c));
	c.flags = 0;
	c.reserved = one_in(&rng, 20);
	c.ticket = h->kind == PARTY ? h->o->g.phase - one_in(&rng, 8) + one_in(&rng, 16) : 1;
	before = c;
	model = c;
	if (!call("COMPLETE", h, QUIESCE_IOC_COMPLETE, &c, 0, &err))
		return;
	note("COMPLETE", h, 0, 0, err);
	if (h->kind != PARTY)
		want = -ENOTTY;
	else if (before.reserved)
		want = -EINVAL;
	else
		want = m_group_complete(&h->o->g, h->id, &model);
	expect_err("COMPLETE", err, want);
	if (err)
		untouched("COMPLETE", &c, &before, sizeof(c));
	else
		expect("COMPLETE", "phase", c.phase, model.phase);
}

void op_reset(struct handle *h)
{
	struct quiesce_reset r, before, model;
	int err;

	memset(&r, FILL, sizeof(r));
	r.flags = 0;
	r.reserved = 0;
	before = r;
	if (!call("RESET", h, QUIESCE_IOC_RESET, &r, 0, &err))
		return;
	note("RESET", h, 0, 0, err);
	if (h->kind != GROUP) {
		expect_err("RESET", err, -ENOTTY);
		untouched("RESET", &r, &before, sizeof(r));
		return;
	}
	expect_err("RESET", err, 0);
	m_group_reset(&h->o->g, &model);
	expect("RESET", "phase", r.phase, model.phase);
}
