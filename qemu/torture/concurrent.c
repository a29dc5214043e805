// SPDX-License-Identifier: GPL-2.0
/*
 * The concurrent part: several processes share descriptors, make random calls, are
 * frozen and killed at any time, pass descriptors by messages, and have children in
 * pid, time and user namespaces of their own. The results cannot be predicted; each
 * must be one that quiesce.h allows, structs are not written where it rules that out,
 * no wait times out early, counters change only as they may, and no call hangs: the
 * first process is never killed but asked to return, which it must, as its children
 * must, and those of processes that were killed.
 */

#include "fuzz.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define SHARED 16
#define OWN 8
#define PROCS 16
#define FILL 0xcc
#define SPARE 0		/* the process that is never killed */

enum kind { PAIR, PARTY, GROUP };

struct file {
	enum kind kind;
	int fd;
	uint64_t phase;		/* the latest that was seen */
	bool nonblock;		/* O_NONBLOCK, which only its opener sets and clears */
	bool fickle;		/* any process sets and clears O_NONBLOCK at any time */
};

struct board {
	atomic_ulong calls;
	atomic_bool stop;
	atomic_bool spare_stop;		/* the same for SPARE alone */
	atomic_ulong late_ns;		/* the latest return of a wait that timed out */
	atomic_bool failed;
	char message[256];
};

static struct board *board;
static struct file shared[SHARED], own[OWN];
static bool forked;		/* the files in own[] are the parent's as well */
static int dev;
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

static void note_late(uint64_t ns)
{
	unsigned long old = atomic_load(&board->late_ns);

	while (ns > old && !atomic_compare_exchange_weak(&board->late_ns, &old, ns))
		;
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
	if (err == -ETIMEDOUT && ms)
		note_late(now - w.deadline);
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

	if (!f->fickle && (forked || f < own || f >= own + OWN))
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
		    recvmsg(sock[1], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1) {
			memcpy(&f->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
			tally(T_SENT);
		}
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

#define AHEAD 5000	/* seconds, of the clocks in a time namespace */
#define OTHER_UID 7	/* of the caller, in a user namespace */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The children of the caller are in namespaces of their own from now on, if there are such. */
static void leave_namespaces(void)
{
	int flags = 0;
	char text[64];

	if (!access("/proc/self/ns/pid", F_OK))
		flags |= CLONE_NEWPID;
	if (!access("/proc/self/ns/time", F_OK))
		flags |= CLONE_NEWTIME;
	if (!access("/proc/self/ns/user", F_OK) && !one_in(&rng, 3))
		flags |= CLONE_NEWUSER;
	snprintf(text, sizeof(text), "%d %d 1\n", OTHER_UID, geteuid());
	if (unshare(flags))
		return;
	if (flags & CLONE_NEWUSER)
		put("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "monotonic %d 0\nboottime %d 0\n", AHEAD, AHEAD);
	if (flags & CLONE_NEWTIME)
		put("/proc/self/timens_offsets", text);
}

static void step(void);

static __attribute__((noreturn)) void in_namespaces(void)
{
	uint64_t before = now_ns(CLOCK_MONOTONIC);
	pid_t pid;

	leave_namespaces();
	pid = fork();
	if (!pid) {
		struct file *f = any();

		forked = true;
		if (sh_role == ANYBODY)
			sh_role = AWAY;
		if (getpid() == 1)
			tally(T_PIDNS);
		if (now_ns(CLOCK_MONOTONIC) - before > (AHEAD - 1) * NSEC_PER_SEC)
			tally(T_TIMENS);
		if (geteuid() == OTHER_UID)
			tally(T_USERNS);
		/* The deadline is AHEAD away for whoever takes it for the host's. */
		if (f && f->kind != GROUP)
			do_wait(f);
		if (getpid() == 1)
			look_from_outside();
		for (unsigned int n = below(&rng, 20); n; n--)
			step();
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
	if (one_in(&rng, 2))
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
	} else if (op < 995) {
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

	rng.s = seed;
	sh_role = index == SPARE ? SPARED : ANYBODY;
	for (i = 0; i < OWN; i++)
		own[i].fd = -1;
	/* Half of them are interrupted all the time. */
	sa.sa_flags = index % 2 ? 0 : SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (!atomic_load(&board->stop) &&
	       !(index == SPARE && atomic_load(&board->spare_stop)))
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

/* Whether all processes of the cgroup are frozen now. */
static bool all_frozen(void)
{
	char text[128] = "";
	int fd = open(CGROUP "/frozen/cgroup.events", O_RDONLY | O_CLOEXEC);
	bool yes = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "frozen 1");

	if (fd >= 0)
		close(fd);
	return yes;
}

/* Freezes @pid for a moment, in whatever it does, and perhaps kills it then. */
static void freeze_process(pid_t pid, bool may_die)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	put(CGROUP "/frozen/cgroup.procs", text);
	put(CGROUP "/frozen/cgroup.freeze", "1");
	usleep(below(&rng, 5000));
	/* One that ends by itself is not. */
	for (int i = 0; i < 50 && !all_frozen(); i++)
		usleep(1000);
	if (all_frozen())
		tally(T_FROZEN);
	if (may_die && one_in(&rng, 2))
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

/* Waits for @pid to end, or for all children if it is -1; false if that takes too long. */
static bool reap(pid_t pid)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + limit_ns();
	pid_t got;

	while (now_ns(CLOCK_MONOTONIC) < end) {
		got = waitpid(pid, NULL, WNOHANG);
		if (got < 0 || (got && pid > 0))
			return true;
		if (!got)
			usleep(1000);
	}
	return false;
}

/* Has @pid, the process number @i, end: it is killed, or returns when it is asked to. */
static const char *end_process(unsigned int i, pid_t pid)
{
	bool ends;

	if (i != SPARE) {
		kill(pid, SIGKILL);
		return reap(pid) ? NULL : "a process that was killed does not end";
	}
	atomic_store(&board->spare_stop, true);
	ends = reap(pid);
	if (!ends)
		kill(pid, SIGKILL);
	atomic_store(&board->spare_stop, false);
	return ends ? NULL : "a call hangs: a process that is not killed does not return";
}

const char *run_concurrent(uint64_t seed, unsigned long n, unsigned long *done,
			   unsigned long *kills)
{
	uint64_t end = give_up_at();
	unsigned int procs = opt.procs < PROCS ? opt.procs : PROCS, i;
	const char *failure = NULL;
	unsigned long ends = 0;
	pid_t pid[PROCS];

	rng.s = seed;
	board = map_pages(sizeof(*board), MAP_SHARED);
	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (board == MAP_FAILED || dev < 0 || !make_shared())
		return "no shared barriers";
	/* The children of processes that were killed are this one's. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	make_freezer();
	for (i = 0; i < procs; i++)
		pid[i] = start(i);
	/* A process ends for each 400 calls, or more often. */
	while (!failure && !atomic_load(&board->failed) &&
	       (atomic_load(&board->calls) < n || ends < n / 400) &&
	       now_ns(CLOCK_MONOTONIC) < end) {
		usleep(2000 + below(&rng, 8000));
		if (one_in(&rng, 20)) {
			/* New barriers for those that are forked from now on. */
			drop_shared();
			if (!make_shared())
				failure = "no shared barriers";
		}
		if (failure)
			break;
		i = below(&rng, procs);
		if (one_in(&rng, 2))
			freeze_process(pid[i], i != SPARE);
		failure = end_process(i, pid[i]);
		ends++;
		*kills += i != SPARE;
		pid[i] = start(i);
	}
	atomic_store(&board->stop, true);
	if (!reap(-1) && !failure)
		failure = "a process does not come to its end";
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	remove_freezer();
	drop_shared();
	close(dev);
	printf("# the latest return of a wait that timed out: %lu us after its deadline\n",
	       atomic_load(&board->late_ns) / 1000);
	*done = atomic_load(&board->calls);
	if (atomic_load(&board->failed))
		failure = board->message;
	return failure;
}
