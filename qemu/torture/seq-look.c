// SPDX-License-Identifier: GPL-2.0
/* Calls of the sequential part that change nothing: queries, and calls of other interfaces. */

#include "seq.h"

#include <sys/stat.h>
#include <sys/syscall.h>

void op_status(struct handle *h)
{
	struct quiesce_status s, model;
	uint64_t late[2], model_late = 0;
	bool bitmap = one_in(&rng, 2);
	int err;

	memset(&s, FILL, sizeof(s));
	memset(late, FILL, sizeof(late));
	s.flags = 0;
	s.late_words = bitmap ? 2 : 0;
	s.late = bitmap ? (uintptr_t)late : 0;
	if (!call("STATUS", h, QUIESCE_IOC_STATUS, &s, 0, &err))
		return;
	note("STATUS", h, s.parties, s.arrived, err);
	expect_err("STATUS", err, 0);
	if (h->kind == PAIR)
		m_pair_status(&h->o->p, h->id.party, &model);
	else
		m_group_status(&h->o->g, h->id, &model, &model_late);
	if (h->kind == GROUP)
		h->seen = h->o->g.phase;
	if (h->kind != PAIR && s.late_words != 1)
		wrong("STATUS: the bitmap needs %u words", s.late_words);
	if (h->kind != PAIR && bitmap && late[0] != model_late)
		wrong("STATUS: 0x%llx are late, the model says 0x%llx", (unsigned long long)late[0],
		      (unsigned long long)model_late);
	expect("STATUS", "kind", s.kind, model.kind);
	expect("STATUS", "party", s.party, model.party);
	expect("STATUS", "view", s.view, model.view);
	expect("STATUS", "state", s.state, model.state);
	expect("STATUS", "parties", s.parties, model.parties);
	expect("STATUS", "arrived", s.arrived, model.arrived);
	expect("STATUS", "open", s.open, model.open);
	expect("STATUS", "waiting", s.waiting, model.waiting);
	expect("STATUS", "phase", s.phase, model.phase);
	expect("STATUS", "balance", s.balance, model.balance);
	expect("STATUS", "unread", s.unread, model.unread);
	expect("STATUS", "sent", s.sent, model.sent);
	expect_cause("STATUS", &s.cause, &model.cause);
}

/* A pidfd of the process has this inode number, as long as there is one. */
static void expect_inode(const char *what, int32_t pid, uint64_t ino)
{
	int fd = pid ? syscall(SYS_pidfd_open, pid, 0) : -1;
	struct stat st;

	if (!pid)
		expect("MEMBER", what, ino, 0);
	if (fd < 0)
		return;
	if (!fstat(fd, &st))
		expect("MEMBER", what, ino, st.st_ino);
	close(fd);
}

void op_member(struct handle *h)
{
	struct quiesce_member m, before, model;
	int err, want;

	memset(&m, FILL, sizeof(m));
	m.party = below(&rng, h->kind == PAIR ? 2 : M_SEATS);
	if (one_in(&rng, 20))
		m.party = rnd(&rng);
	before = m;
	if (!call("MEMBER", h, QUIESCE_IOC_MEMBER, &m, NO_FLAGS, &err))
		return;
	note("MEMBER", h, before.party, m.state, err);
	if (h->kind == PAIR)
		want = m_pair_member(&h->o->p, before.party, &model);
	else
		want = m_group_member(&h->o->g, before.party, &model);
	expect_err("MEMBER", err, want);
	if (err) {
		untouched("MEMBER", &m, &before, sizeof(m));
		return;
	}
	expect("MEMBER", "state", m.state, model.state);
	expect("MEMBER", "pid", m.pid, model.pid);
	expect("MEMBER", "waiting", m.waiting, model.waiting);
	expect("MEMBER", "count", m.count, model.count);
	expect_cause("MEMBER", &m.cause, &model.cause);
	/* The struct of an earlier version may lack them. */
	if (m.pid_ino != before.pid_ino)
		expect_inode("pid_ino", m.pid, m.pid_ino);
	if (m.cause_ino != before.cause_ino)
		expect_inode("cause_ino", m.cause.pid, m.cause_ino);
}

void op_poll(struct handle *h)
{
	uint32_t got, want;

	calls++;
	expect_err("poll", sh_poll(h->fd[0], &got), 0);
	want = model_poll(h);
	note("poll", h, got, want, 0);
	if (got != want)
		wrong("poll says 0x%x, the model 0x%x", got, want);
}

/* Calls that have nothing to do with these files. */
void op_strange(struct handle *h)
{
	int fd = h->fd[0];
	char buf[16] = "";
	void *p;

	calls++;
	switch (below(&rng, 6)) {
	case 0:
		if (read(fd, buf, sizeof(buf)) != -1)
			wrong("read() of a descriptor succeeds");
		break;
	case 1:
		if (write(fd, buf, sizeof(buf)) != -1)
			wrong("write() to a descriptor succeeds");
		break;
	case 2:
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED)
			wrong("mmap() of a descriptor succeeds");
		break;
	case 3:
		h->nonblock = one_in(&rng, 3);
		fcntl(fd, F_SETFL, h->nonblock ? O_NONBLOCK : 0);
		break;
	case 4:
		if (sh_ioctl(fd, _IOWR('N', below(&rng, 256), struct quiesce_wait), buf) != -ENOTTY)
			wrong("an ioctl of another type is known");
		break;
	case 5:
		snprintf(buf, sizeof(buf), "%d", fd);
		if (lseek(fd, 1, SEEK_SET) > 0)
			wrong("lseek() moves");
		break;
	}
}
