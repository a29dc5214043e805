// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of descriptors and how parties end. Children only end parties, in every
 * possible way, while the parent checks the effects.
 */

#include "seq.h"

void op_dup(struct handle *h)
{
	if (h->copies == COPIES)
		return;
	h->fd[h->copies++] = fcntl(h->fd[0], h->inherit ? F_DUPFD : F_DUPFD_CLOEXEC, 0);
}

void op_close(struct handle *h)
{
	calls++;
	if (h->copies == 1)
		forget_watches(h);
	close(h->fd[--h->copies]);
	note("close", h, h->copies, 0, 0);
	if (!h->copies)
		ended(h, &(struct m_who) { .pid = self, .cause = QUIESCE_CAUSE_CLOSE });
}

/* Away and back through a socket: it stays the same party. */
void op_send(struct handle *h)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int sv[2];

	calls++;
	forget_watches(h);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &h->fd[0], sizeof(int));
	if (sendmsg(sv[0], &msg, 0) != 1)
		wrong("sendmsg: %s", strerror(errno));
	close(h->fd[0]);
	if (recvmsg(sv[1], &msg, h->inherit ? 0 : MSG_CMSG_CLOEXEC) != 1)
		wrong("recvmsg: %s", strerror(errno));
	memcpy(&h->fd[0], CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	close(sv[0]);
	close(sv[1]);
	note("send", h, 0, 0, 0);
}

static void child(struct handle *h, int how, int bind, int go, int say)
{
	char byte, arg[16];

	if (bind) {
		struct quiesce_bind b = { .flags = QUIESCE_BIND_PROCESS };

		byte = ioctl(h->fd[0], QUIESCE_IOC_BIND, &b) ? 'e' : 'b';
		if (write(say, &byte, 1) != 1)
			_exit(1);
	}
	if (read(go, &byte, 1) != 1)
		_exit(1);
	switch (how) {
	case QUIESCE_CAUSE_EXIT:
		_exit(5);
	case QUIESCE_CAUSE_SIGNAL:
		raise(SIGKILL);
		break;
	case QUIESCE_CAUSE_EXEC:
		fcntl(say, F_SETFD, 0);
		snprintf(arg, sizeof(arg), "%d", say);
		execl("/proc/self/exe", "fuzz", "--exec-child", arg, NULL);
		_exit(1);
	default:
		close_copies(h);
		if (write(say, "x", 1) != 1)
			_exit(1);
		read(go, &byte, 1);
	}
	_exit(0);
}

static void must_write(int fd)
{
	if (write(fd, "g", 1) != 1)
		wrong("write to a child: %s", strerror(errno));
}

/* The process is dead; that its party has ended may take a moment longer. */
static void wait_ended(struct handle *h)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + 20 * NSEC_PER_SEC;
	struct quiesce_member m = { .party = h->id.party };

	do {
		if (ioctl(h->fd[0], QUIESCE_IOC_MEMBER, &m))
			wrong("MEMBER: %s", strerror(errno));
		if (m.state & QUIESCE_STATE_ENDED)
			return;
		usleep(1000);
	} while (now_ns(CLOCK_MONOTONIC) < end);
	wrong("a bound party does not end with its process");
}

/*
 * A child has the last copies and ends: by close, exec, exit or a signal. With
 * `bind` the parent keeps its copies, and the party ends with the child that it
 * was bound to.
 */
void op_child(struct handle *h, bool bind)
{
	static const int ways[] = { QUIESCE_CAUSE_CLOSE, QUIESCE_CAUSE_EXEC, QUIESCE_CAUSE_EXIT,
				    QUIESCE_CAUSE_SIGNAL };
	int how = ways[bind ? 2 + below(&rng, 2) : below(&rng, 4)];
	int go[2], say[2], status;
	struct m_who who;
	char byte = 0;
	pid_t pid;

	calls++;
	forget_watches(h);
	if (pipe2(go, O_CLOEXEC) || pipe2(say, O_CLOEXEC))
		wrong("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		close(go[1]);
		close(say[0]);
		child(h, how, bind, go[0], say[1]);
	}
	close(go[0]);
	close(say[1]);
	if (bind) {
		bool gone = (h->kind == PAIR ? m_pair_bind(&h->o->p, h->id.party, pid, true) :
			     m_group_bind(&h->o->g, h->id, pid, true)) != 0;

		if (read(say[0], &byte, 1) != 1 || byte != (gone ? 'e' : 'b'))
			wrong("BIND in a child answers wrongly");
		bind = !gone;
		who = (struct m_who) { pid, how, how == QUIESCE_CAUSE_EXIT ? 5 : SIGKILL };
		must_write(go[1]);
		waitpid(pid, &status, 0);
		if (bind)
			wait_ended(h);
		if (bind && h->kind == PAIR)
			m_pair_end(&h->o->p, h->id.party, &who);
		else if (bind)
			m_group_end(&h->o->g, h->id, &who);
	} else {
		if (h->inherit && how == QUIESCE_CAUSE_EXEC) {
			/* The descriptor lives through execve() and ends with what was executed. */
			who = (struct m_who) { pid, QUIESCE_CAUSE_EXIT, 7 };
		} else {
			who = (struct m_who) { pid, how, how == QUIESCE_CAUSE_EXIT ? 5 :
					       how == QUIESCE_CAUSE_SIGNAL ? SIGKILL : 0 };
		}
		close_copies(h);
		must_write(go[1]);
		if (how == QUIESCE_CAUSE_CLOSE || how == QUIESCE_CAUSE_EXEC) {
			if (read(say[0], &byte, 1) != 1)
				wrong("a child did not come to its end");
			if (how == QUIESCE_CAUSE_CLOSE)
				must_write(go[1]);
		}
		waitpid(pid, &status, 0);
		ended(h, &who);
	}
	note(bind ? "bound child" : "child", h, how, pid, 0);
	close(go[1]);
	close(say[0]);
}
