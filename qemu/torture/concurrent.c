// SPDX-License-Identifier: GPL-2.0
/*
 * The concurrent part: several processes share descriptors, make random calls, are
 * frozen and killed at any time, pass descriptors by messages, and have children in
 * pid and time namespaces of their own. The results cannot be predicted; each must be
 * one that quiesce.h allows, structs are not written where it rules that out, a
 * deadline is kept, counters change only as they may, and no call hangs.
 */

#include <stdatomic.h>

#include "fuzz.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SHARED 16
#define OWN 8
#define PROCS 16
#define FILL 0xcc
#define HANG_NS (90 * NSEC_PER_SEC)

enum kind { PAIR, PARTY, GROUP };

struct file {
	enum kind kind;
	int fd;
	uint64_t phase;		/* the latest that was seen */
	bool nonblock;		/* O_NONBLOCK, which only this process sets and clears */
	bool fickle;		/* any process sets and clears O_NONBLOCK at any time */
};

struct board {
	atomic_ulong beat[PROCS];
	atomic_ulong calls;
	atomic_bool stop;
	atomic_bool failed;
	char message[256];
};

static struct board *board;
static struct file shared[SHARED], own[OWN];
static int dev, me;
static struct rng rng;

static __attribute__((noreturn, format(printf, 1, 2))) void wrong(const char *fmt, ...)
{
	va_list args;

	if (!atomic_exchange(&board->failed, true)) {
		va_start(args, fmt);
		vsnprintf(board->message, sizeof(board->message), fmt, args);
		va_end(args);
	}
	_exit(3);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* The errnos that quiesce.h lists for the command, terminated by 0. */
static const int *table(enum kind kind, unsigned int nr)
{
	static const int none[] = { 0 };
	static const int notty[] = { ENOTTY, 0 };
	static const int pair_arrive[] = {
		ESHUTDOWN, ECONNABORTED, EOWNERDEAD, EOVERFLOW, ENOTCONN, 0
	};
	static const int pair_wait[] = {
		ESHUTDOWN, ECONNABORTED, EOWNERDEAD, EOVERFLOW, ENOTCONN, ETIMEDOUT, EINTR, 0
	};
	static const int arrive[] = { ENOTCONN, ECONNABORTED, EOWNERDEAD, EALREADY, 0 };
	static const int wait[] = {
		ENOTCONN, ECONNABORTED, EOWNERDEAD, ECANCELED, ESTALE, ETIMEDOUT, EINTR, EALREADY,
		EINVAL, 0
	};
	static const int join[] = {
		ENOSPC, EBUSY, ECONNABORTED, EOWNERDEAD, EMFILE, ENFILE, ENOMEM, 0
	};
	static const int party[] = { ENOTCONN, 0 };
	static const int complete[] = {
		ENOTCONN, ECONNABORTED, EOWNERDEAD, ECANCELED, ESTALE, EINVAL, 0
	};
	static const int member[] = { ESRCH, 0 };

	switch (nr) {
	case _IOC_NR(QUIESCE_IOC_ARRIVE):
		return kind == PAIR ? pair_arrive : kind == PARTY ? arrive : notty;
	case _IOC_NR(QUIESCE_IOC_WAIT):
	case _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT):
		return kind == PAIR ? pair_wait : kind == PARTY ? wait : notty;
	case _IOC_NR(QUIESCE_IOC_ABORT):
		return kind == GROUP ? none : party;
	case _IOC_NR(QUIESCE_IOC_BIND):
		return kind == GROUP ? notty : party;
	case _IOC_NR(QUIESCE_IOC_STATUS):
		return none;
	case _IOC_NR(QUIESCE_IOC_MEMBER):
		return member;
	case _IOC_NR(QUIESCE_IOC_JOIN):
		return kind == GROUP ? join : notty;
	case _IOC_NR(QUIESCE_IOC_LEAVE):
		return kind == PARTY ? party : notty;
	case _IOC_NR(QUIESCE_IOC_COMPLETE):
		return kind == PARTY ? complete : notty;
	case _IOC_NR(QUIESCE_IOC_RESET):
		return kind == GROUP ? none : notty;
	}
	return notty;
}

/* Makes the call, perhaps with a struct that cannot be taken; judges the errno. */
static int call(struct file *f, unsigned long cmd, void *body)
{
	size_t size = _IOC_SIZE(cmd);
	unsigned int nr = _IOC_NR(cmd);
	const int *list = table(f->kind, nr);
	char *at = guarded(size);
	signed char before[256];
	bool notty = list[0] == ENOTTY;
	int err;

	atomic_fetch_add(&board->beat[me], 1);
	atomic_fetch_add(&board->calls, 1);
	if (size && one_in(&rng, 40)) {
		err = sh_ioctl(f->fd, cmd, at + 1 + below(&rng, size - 1));
		if (err != (notty ? -ENOTTY : -EFAULT))
			wrong("command 0x%x answers %d to a bad address", nr, err);
		return err;
	}
	if (size && one_in(&rng, 40))
		memset(at, 0xff, size);
	else
		memcpy(at, body, size);
	memcpy(before, at, size);
	err = sh_ioctl(f->fd, cmd, at);
	/* All ones is refused by all that have flags, and is no party. */
	if (size && before[0] == -1 && memcmp(before, body, size)) {
		if (err != -EINVAL && err != -ENOTTY && err != -ESRCH)
			wrong("command 0x%x answers %d to a struct of ones", nr, err);
		if (memcmp(before, at, size))
			wrong("command 0x%x was refused and wrote its struct", nr);
		return err;
	}
	memcpy(body, at, size);
	switch (err) {
	case 0:
		return 0;
	case -ECONNABORTED:
	case -EOWNERDEAD:
	case -ESHUTDOWN:
	case -ECANCELED:
		break;
	case -ETIMEDOUT:
	case -EINTR:
		if (f->nonblock)
			wrong("command 0x%x answers %d on a descriptor with O_NONBLOCK", nr, err);
		break;
	case -EAGAIN:
		if ((f->nonblock || f->fickle) && (nr == _IOC_NR(QUIESCE_IOC_WAIT) ||
						   nr == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT)))
			return err;
		break;
	default:
		/* A wait writes its struct before it sleeps. */
		if (err != -EINVAL && (nr == _IOC_NR(QUIESCE_IOC_WAIT) ||
				       nr == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT)))
			break;
		if (memcmp(before, at, size))
			wrong("command 0x%x failed with %d and wrote its struct", nr, err);
	}
	for (; *list; list++)
		if (err == -*list)
			return err;
	wrong("command 0x%x answers %d (%s), which quiesce.h does not allow", nr, err,
	      strerror(-err));
}

static struct file *any(void)
{
	struct file *f = one_in(&rng, 3) ? &own[below(&rng, OWN)] : &shared[below(&rng, SHARED)];

	return f->fd >= 0 ? f : NULL;
}

static struct file *free_own(void)
{
	for (int i = 0; i < OWN; i++)
		if (own[i].fd < 0)
			return &own[i];
	return NULL;
}

static void do_wait(struct file *f)
{
	bool arrive = one_in(&rng, 2);
	struct quiesce_wait w = {
		.kind = f->kind == PAIR ? 1 + below(&rng, 4) : QUIESCE_WAIT_PHASE,
		.flags = f->kind != PAIR && one_in(&rng, 20) ? QUIESCE_WAIT_BREAK : 0,
		.count = arrive,
	};
	uint64_t ms = below(&rng, 4), now;
	int err;

	if (f->kind == PARTY && !arrive)
		w.ticket = f->phase + below(&rng, 2);
	w.deadline = ms ? now_ns(CLOCK_MONOTONIC) + ms * 1000000 : QUIESCE_NOW;
	err = call(f, arrive ? QUIESCE_IOC_ARRIVE_WAIT : QUIESCE_IOC_WAIT, &w);
	now = now_ns(CLOCK_MONOTONIC);
	if (err == -ETIMEDOUT && now < w.deadline)
		wrong("a wait times out %llu ns early", (unsigned long long)(w.deadline - now));
	if (!err && f->kind == PARTY &&
	    !(w.result & (QUIESCE_RESULT_DONE | QUIESCE_RESULT_LEADER)))
		wrong("a wait succeeds and the phase is not over");
	if (arrive && w.ticket && f->kind == PARTY && err != -EINVAL)
		f->phase = w.ticket;
	if ((err == -ECONNABORTED || err == -EOWNERDEAD) && !w.cause.cause)
		wrong("error %d has no cause", err);
}

static void do_status(struct file *f)
{
	uint64_t late[16];
	struct quiesce_status s = { .late_words = 16, .late = (uintptr_t)late };

	if (call(f, QUIESCE_IOC_STATUS, &s))
		return;
	if (s.kind != (f->kind == PAIR ? QUIESCE_KIND_PAIR : f->kind == PARTY ? QUIESCE_KIND_PARTY :
		       QUIESCE_KIND_GROUP))
		wrong("STATUS: kind %u", s.kind);
	if (s.arrived > s.parties || s.open > s.parties || s.parties > QUIESCE_MAX_PARTIES ||
	    s.arrived + s.open > s.parties)
		wrong("STATUS: %u arrived and %u open of %u", s.arrived, s.open, s.parties);
	if (f->kind == GROUP) {
		if (s.phase < f->phase)
			wrong("STATUS: phase %llu after %llu", (unsigned long long)s.phase,
			      (unsigned long long)f->phase);
		f->phase = s.phase;
	}
	if (f->kind == PAIR && (s.unread > 1ULL << 40 || s.sent > 1ULL << 40))
		wrong("STATUS: %llu unread", (unsigned long long)s.unread);
}

static void do_make(void)
{
	struct file *f = free_own(), *g;
	struct quiesce_pair p = {};
	struct quiesce_group q = { .parties = below(&rng, 3), .max_parties = 4 };
	int err;

	if (!f)
		return;
	atomic_fetch_add(&board->calls, 1);
	if (one_in(&rng, 2)) {
		q.flags = one_in(&rng, 2) ? QUIESCE_GROUP_SHRINK : 0;
		q.flags |= one_in(&rng, 3) ? QUIESCE_GROUP_COMPLETION : 0;
		err = sh_ioctl(dev, QUIESCE_IOC_GROUP, &q);
		if (!err)
			*f = (struct file) { .kind = GROUP, .fd = q.fd };
	} else {
		err = sh_ioctl(dev, QUIESCE_IOC_PAIR, &p);
		if (!err) {
			*f = (struct file) { .kind = PAIR, .fd = p.fd[0] };
			g = free_own();
			if (g)
				*g = (struct file) { .kind = PAIR, .fd = p.fd[1] };
			else
				close(p.fd[1]);
		}
	}
	if (err && err != -ENOMEM && err != -EDQUOT)
		wrong("making a barrier answers %d", err);
}

static void do_join(struct file *g)
{
	struct quiesce_join j = { .flags = one_in(&rng, 3) ? QUIESCE_BIND_PROCESS : 0 };
	struct file *f;

	if (call(g, QUIESCE_IOC_JOIN, &j))
		return;
	if (g->kind != GROUP)
		wrong("JOIN of no group succeeds");
	f = free_own();
	if (f)
		*f = (struct file) { .kind = PARTY, .fd = j.fd, .phase = j.phase };
	else
		close(j.fd);
}

static void do_nonblock(struct file *f)
{
	bool on = one_in(&rng, 2);

	if (!f->fickle && (f < own || f >= own + OWN))
		return;
	if (fcntl(f->fd, F_SETFL, on ? O_NONBLOCK : 0))
		wrong("F_SETFL fails: %s", strerror(errno));
	if (!f->fickle)
		f->nonblock = on;
}

/* Sends the descriptor to itself; a message that nobody receives has the last reference. */
static void do_send(struct file *f)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int sock[2];

	if (f < own || f >= own + OWN || socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &f->fd, sizeof(int));
	if (sendmsg(sock[0], &msg, MSG_DONTWAIT) == 1) {
		close(f->fd);
		f->fd = -1;
		if (!one_in(&rng, 4) &&
		    recvmsg(sock[1], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1)
			memcpy(&f->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	}
	close(sock[0]);
	close(sock[1]);
}

/* Returns whether a process is named that is not the caller. */
static bool visible(int32_t pid, uint64_t ino)
{
	return pid ? pid != getpid() : ino;
}

/* In a pid namespace that was just made, no process of a barrier is visible. */
static void look_from_outside(void)
{
	for (int i = 0; i < SHARED; i++) {
		struct quiesce_status s = {};

		if (shared[i].fd < 0 || sh_ioctl(shared[i].fd, QUIESCE_IOC_STATUS, &s))
			continue;
		if (visible(s.cause.pid, 0))
			wrong("STATUS returns pid %d to another namespace", s.cause.pid);
		for (uint32_t party = 0; party < 4; party++) {
			struct quiesce_member m = { .party = party };

			if (sh_ioctl(shared[i].fd, QUIESCE_IOC_MEMBER, &m))
				continue;
			if (visible(m.pid, m.pid_ino) || visible(m.cause.pid, m.cause_ino))
				wrong("MEMBER returns pid %d, %d to another namespace", m.pid,
				      m.cause.pid);
		}
	}
}

/* The children of the caller are in namespaces of their own from now on. */
static bool leave_namespaces(void)
{
	static const char offset[] = "monotonic 5000 0\nboottime 5000 0\n";
	int fd;

	if (unshare(CLONE_NEWPID | CLONE_NEWTIME))
		return false;
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, offset, strlen(offset)) < 0)
		return false;
	close(fd);
	return true;
}

static void in_namespaces(void)
{
	pid_t pid;

	if (!leave_namespaces())
		_exit(0);
	pid = fork();
	if (!pid) {
		struct file *f = any();

		/* The deadline is 5000 s away for whoever takes it for the host's. */
		if (f && f->kind != GROUP)
			do_wait(f);
		look_from_outside();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void do_child(void)
{
	pid_t pid = fork();
	char text[16];

	if (pid > 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return;
	}
	if (pid < 0)
		return;
	if (one_in(&rng, 3))
		in_namespaces();
	if (one_in(&rng, 3)) {
		snprintf(text, sizeof(text), "%d", open("/dev/null", O_WRONLY));
		execl("/proc/self/exe", "fuzz", "--exec-child", text, NULL);
	}
	if (one_in(&rng, 2))
		raise(SIGKILL);
	_exit(0);
}

static void step(void)
{
	struct file *f = any();
	unsigned int op = below(&rng, 1000);
	uint32_t events;

	if (!f || op < 40) {
		do_make();
	} else if (op < 340) {
		do_wait(f);
	} else if (op < 540) {
		struct quiesce_arrive a = {
			.flags = f->kind == PARTY && one_in(&rng, 30) ? QUIESCE_ARRIVE_DROP : 0,
			.count = 1,
		};

		if (!call(f, QUIESCE_IOC_ARRIVE, &a) && f->kind == PARTY)
			f->phase = a.ticket;
	} else if (op < 640) {
		do_status(f);
	} else if (op < 720) {
		struct quiesce_member m = { .party = below(&rng, 4) };

		call(f, QUIESCE_IOC_MEMBER, &m);
	} else if (op < 790) {
		atomic_fetch_add(&board->calls, 1);
		if (!sh_poll(f->fd, &events) &&
		    events & ~(EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
			wrong("poll says 0x%x", events);
	} else if (op < 793) {
		struct quiesce_complete c = { .ticket = f->phase };

		call(f, QUIESCE_IOC_COMPLETE, &c);
	} else if (op < 800) {
		struct quiesce_abort a = { .code = op };

		call(f, QUIESCE_IOC_ABORT, &a);
	} else if (op < 815) {
		struct quiesce_bind b = { .flags = one_in(&rng, 2) ? QUIESCE_BIND_PROCESS : 0 };

		call(f, QUIESCE_IOC_BIND, &b);
	} else if (op < 825) {
		struct file *g = f;

		call(g, QUIESCE_IOC_LEAVE, NULL);
	} else if (op < 830) {
		do_send(f);
	} else if (op < 835) {
		do_nonblock(f);
	} else if (op < 855) {
		struct quiesce_reset r = {};

		call(f, QUIESCE_IOC_RESET, &r);
	} else if (op < 925) {
		do_join(f);
	} else if (op < 998) {
		if (f >= own && f < own + OWN) {
			atomic_fetch_add(&board->calls, 1);
			close(f->fd);
			f->fd = -1;
		}
	} else {
		do_child();
	}
}

static void worker(int index, uint64_t seed)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } };
	struct sigaction sa = { .sa_handler = on_signal };
	int i;

	me = index;
	rng.s = seed;
	for (i = 0; i < OWN; i++)
		own[i].fd = -1;
	/* Half of them are interrupted all the time. */
	sa.sa_flags = index % 2 ? 0 : SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (!atomic_load(&board->stop))
		step();
	_exit(0);
}

/* Creates the descriptors that all processes share: pairs, and groups with parties. */
static bool make_shared(void)
{
	int i = 0, n, g;

	while (i < 4) {
		struct quiesce_pair p = { .flags = i ? QUIESCE_FD_INHERIT : 0 };

		if (ioctl(dev, QUIESCE_IOC_PAIR, &p))
			return false;
		shared[i++] = (struct file) { .kind = PAIR, .fd = p.fd[0], .fickle = !p.flags };
		shared[i++] = (struct file) { .kind = PAIR, .fd = p.fd[1] };
	}
	for (n = 0; n < 3; n++) {
		struct quiesce_group q = {
			.flags = (n == 1 ? QUIESCE_GROUP_SHRINK : 0) |
				 (n ? QUIESCE_GROUP_COMPLETION : 0),
			.parties = 2,
			.max_parties = n + 2,
		};

		if (ioctl(dev, QUIESCE_IOC_GROUP, &q))
			return false;
		g = i++;
		shared[g] = (struct file) { .kind = GROUP, .fd = q.fd };
		for (int k = 0; k < 3; k++) {
			struct quiesce_join j = {};

			if (ioctl(q.fd, QUIESCE_IOC_JOIN, &j))
				break;
			shared[i++] = (struct file) {
				.kind = PARTY,
				.fd = j.fd,
				.phase = j.phase,
				.fickle = !n,
			};
		}
	}
	while (i < SHARED)
		shared[i++].fd = -1;
	return true;
}

static void drop_shared(void)
{
	for (int i = 0; i < SHARED; i++)
		if (shared[i].fd >= 0)
			close(shared[i].fd);
}

#define CGROUP "/tmp/fuzz.cgroup"

/* Makes a cgroup that freezes its processes; nothing is frozen if there is none. */
static void make_freezer(void)
{
	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		return;
	mkdir(CGROUP "/frozen", 0755);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			errno = 0;
		close(fd);
	}
}

/* Freezes @pid for a moment, in whatever it does. */
static void freeze_process(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	put(CGROUP "/frozen/cgroup.procs", text);
	put(CGROUP "/frozen/cgroup.freeze", "1");
	usleep(below(&rng, 5000));
	if (one_in(&rng, 2))
		kill(pid, SIGKILL);
	put(CGROUP "/frozen/cgroup.freeze", "0");
	put(CGROUP "/cgroup.procs", text);
}

static void remove_freezer(void)
{
	rmdir(CGROUP "/frozen");
	umount(CGROUP);
}

static pid_t start(int index)
{
	pid_t pid;
	uint64_t seed = rnd(&rng);

	pid = fork();
	if (!pid)
		worker(index, seed);
	return pid;
}

static bool reap(pid_t pid, unsigned int seconds)
{
	for (unsigned int i = 0; i < seconds * 100; i++) {
		if (waitpid(pid, NULL, WNOHANG))
			return true;
		usleep(10000);
	}
	return false;
}

const char *run_concurrent(uint64_t seed, unsigned long n, unsigned long *done,
			   unsigned long *kills)
{
	uint64_t end = give_up_at();
	uint64_t moved[PROCS];
	unsigned long beat[PROCS] = {};
	unsigned int procs = opt.procs < PROCS ? opt.procs : PROCS, i;
	const char *failure = NULL;
	pid_t pid[PROCS];

	rng.s = seed;
	board = map_pages(sizeof(*board), MAP_SHARED);
	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (board == MAP_FAILED || dev < 0 || !make_shared())
		return "no shared barriers";
	make_freezer();
	for (i = 0; i < procs; i++) {
		pid[i] = start(i);
		moved[i] = now_ns(CLOCK_MONOTONIC);
	}
	while (!failure && !atomic_load(&board->failed) && atomic_load(&board->calls) < n &&
	       now_ns(CLOCK_MONOTONIC) < end) {
		usleep(2000 + below(&rng, 8000));
		if (one_in(&rng, 20)) {
			/* New barriers for those that are forked from now on. */
			drop_shared();
			if (!make_shared())
				failure = "no shared barriers";
		}
		i = below(&rng, procs);
		if (one_in(&rng, 4))
			freeze_process(pid[i]);
		kill(pid[i], SIGKILL);
		if (!reap(pid[i], 90))
			failure = "a process that was killed does not end";
		else
			++*kills;
		pid[i] = start(i);
		moved[i] = now_ns(CLOCK_MONOTONIC);
		for (i = 0; i < procs; i++) {
			unsigned long b = atomic_load(&board->beat[i]);

			if (b != beat[i])
				moved[i] = now_ns(CLOCK_MONOTONIC);
			else if (now_ns(CLOCK_MONOTONIC) - moved[i] > HANG_NS)
				failure = "a call hangs beyond its deadline";
			beat[i] = b;
		}
	}
	atomic_store(&board->stop, true);
	for (i = 0; i < procs; i++)
		if (!reap(pid[i], 90))
			failure = "a process does not come to its end";
	remove_freezer();
	drop_shared();
	close(dev);
	*done = atomic_load(&board->calls);
	if (atomic_load(&board->failed))
		failure = board->message;
	return failure;
}
