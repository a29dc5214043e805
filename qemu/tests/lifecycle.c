// SPDX-License-Identifier: GPL-2.0
/*
 * The lifecycle of a party: copies by fork, dup, exec, SCM_RIGHTS and shared
 * descriptor tables, the process it is bound to, what others see of its end,
 * and the module that stays while a descriptor is open.
 */
#include "ops.h"

#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Programs that exec_self() runs. */
EXEC_MAIN
{
	struct quiesce_wait w;

	if (!strcmp(what, "place")) {
		check(place(fd) == 0);
		check(wait_for(fd, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, &w) == 0);
		_exit(7);
	} else if (!strcmp(what, "pause")) {
		pause();
	}
}

FIXTURE(pair)
{
	int me, them;
	struct gate gate;	/* opened by the child when it is ready */
	struct gate closed;	/* opened when this process has closed its copy */
};

FIXTURE_SETUP(pair)
{
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	self->me = fd[0];
	self->them = fd[1];
	ASSERT_EQ(0, gate_make(&self->gate));
	ASSERT_EQ(0, gate_make(&self->closed));
}

FIXTURE_TEARDOWN(pair)
{
}

/* Has the other side ended, by what the kernel knows? */
static bool they_ended(int fd)
{
	struct quiesce_member m;

	check(member_of(fd, 1, &m) == 0);
	return m.state & QUIESCE_STATE_ENDED;
}

/* Wait for the other side's end and return its cause. */
static struct quiesce_cause their_end(int fd)
{
	struct quiesce_wait w;

	memset(&w, 0, sizeof(w));
	check(wait_for(fd, QUIESCE_WAIT_ABORTION, in_ms(60000), &w) == 0);
	return w.cause;
}

#define EXPECT_END(cause_, status_, pid_) do {				\
	struct quiesce_cause c = their_end(self->me);			\
									\
	EXPECT_EQ(cause_, c.cause);					\
	EXPECT_EQ(status_, c.status);					\
	EXPECT_EQ(pid_, c.pid);						\
	EXPECT_EQ(1, c.party);						\
	EXPECT_EQ(0, c.code);						\
} while (0)

TEST_F(pair, descriptors_are_cloexec)
{
	int group, party, fd[2];

	EXPECT_EQ(FD_CLOEXEC, fcntl(self->me, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->them, F_GETFD));
	group = make_group(2, 0, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(group, F_GETFD));
	party = join_group(group, 0, NULL);
	EXPECT_EQ(FD_CLOEXEC, fcntl(party, F_GETFD));

	ASSERT_EQ(0, make_pair(QUIESCE_FD_INHERIT, fd));
	EXPECT_EQ(0, fcntl(fd[0], F_GETFD));
	EXPECT_EQ(0, fcntl(fd[1], F_GETFD));
	group = make_group(2, 0, QUIESCE_FD_INHERIT);
	EXPECT_EQ(0, fcntl(group, F_GETFD));
	party = join_group(group, QUIESCE_FD_INHERIT, NULL);
	EXPECT_EQ(0, fcntl(party, F_GETFD));
}

TEST_F(pair, dup)
{
	int copy = dup(self->them);

	ASSERT_LE(0, copy);
	EXPECT_EQ(0, place(self->them));
	EXPECT_EQ(0, place(copy));
	close(self->them);
	EXPECT_FALSE(they_ended(self->me));
	EXPECT_EQ(0, place(copy));
	close(copy);
	EXPECT_TRUE(they_ended(self->me));
	EXPECT_END(QUIESCE_CAUSE_CLOSE, 0, getpid());
}

TEST_F(pair, dup2_over_it)
{
	ASSERT_LE(0, dup2(self->me, self->them));
	EXPECT_TRUE(they_ended(self->me));
	EXPECT_END(QUIESCE_CAUSE_CLOSE, 0, getpid());
}

TEST_F(pair, fork_copies)
{
	struct quiesce_status s;
	pid_t pid = spawn({
		check(place(self->them) == 0);
		gate_pass(&self->gate);
		_exit(3);
	});

	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	/* Counts are the party's, whoever placed. */
	EXPECT_EQ(0, place(self->them));
	ASSERT_EQ(0, status_of(self->them, &s));
	EXPECT_EQ(2, s.balance);
	close(self->them);
	EXPECT_FALSE(they_ended(self->me));
	gate_open(&self->gate);
	ASSERT_EQ(3, join(pid));
	/* One place is still unread; the exit stands behind it. */
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 3, pid);
}

TEST_F(pair, exit_codes)
{
	static const int codes[] = { 0, 1, 255 };

	for (unsigned int i = 0; i < ARRAY_SIZE(codes); i++) {
		pid_t pid;
		int fd[2];

		ASSERT_EQ(0, make_pair(0, fd));
		close(self->me);
		self->me = fd[0];
		pid = spawn({
			gate_pass(&self->closed);
			_exit(codes[i]);
		});
		close(fd[1]);
		gate_open(&self->closed);
		EXPECT_END(QUIESCE_CAUSE_EXIT, codes[i], pid);
		join(pid);
	}
}

TEST_F(pair, deadly_signals)
{
	static const int sigs[] = { SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGALRM };
	struct rlimit no_core = {};

	setrlimit(RLIMIT_CORE, &no_core);
	for (unsigned int i = 0; i < ARRAY_SIZE(sigs); i++) {
		pid_t pid;
		int fd[2];

		ASSERT_EQ(0, make_pair(0, fd));
		close(self->me);
		self->me = fd[0];
		pid = spawn({
			signal(sigs[i], SIG_DFL);
			gate_pass(&self->closed);
			raise(sigs[i]);
		});
		close(fd[1]);
		gate_open(&self->closed);
		EXPECT_END(QUIESCE_CAUSE_SIGNAL, sigs[i], pid);
		EXPECT_EQ(256 + sigs[i], join(pid));
	}
}

/* Where the kernel writes core dumps, a signal that does is reported as any other. */
TEST_F(pair, core_dump)
{
	struct rlimit core = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t pid;

	pid = spawn({
		check(chdir("/tmp") == 0);
		setrlimit(RLIMIT_CORE, &core);
		signal(SIGQUIT, SIG_DFL);
		gate_pass(&self->closed);
		raise(SIGQUIT);
	});
	close(self->them);
	self->them = -1;
	gate_open(&self->closed);
	EXPECT_END(QUIESCE_CAUSE_SIGNAL, SIGQUIT, pid);
	join(pid);
}

TEST_F(pair, exec_ends_it)
{
	pid_t pid = spawn({
		gate_pass(&self->closed);
		exec_self("pause", -1);
	});

	close(self->them);
	gate_open(&self->closed);
	EXPECT_END(QUIESCE_CAUSE_EXEC, 0, pid);
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
}

TEST_F(pair, exec_passes_it_on)
{
	pid_t pid = spawn({
		fcntl(self->them, F_SETFD, 0);
		exec_self("place", self->them);
	});

	close(self->them);
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(7, join(pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 7, pid);
}

TEST_F(pair, exec_keeps_its_process)
{
	pid_t pid = spawn({
		check(bind_to_me(self->them, QUIESCE_BIND_PROCESS) == 0);
		fcntl(self->them, F_SETFD, 0);
		exec_self("place", self->them);
	});

	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(7, join(pid));
	/* Though this process still has a copy. */
	EXPECT_END(QUIESCE_CAUSE_EXIT, 7, pid);
}

static void *exec_from_thread(void *fd)
{
	exec_self("place", *(int *)fd);
	return NULL;
}

TEST_F(pair, exec_by_a_thread_keeps_its_process)
{
	pid_t pid = spawn({
		pthread_t thread;

		check(bind_to_me(self->them, QUIESCE_BIND_PROCESS) == 0);
		fcntl(self->them, F_SETFD, 0);
		pthread_create(&thread, NULL, exec_from_thread, &self->them);
		for (;;)
			pause();
	});

	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(7, join(pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 7, pid);
}

TEST_F(pair, scm_rights)
{
	int sock[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = spawn({
		int fd;

		/* Nothing is inherited. */
		close(self->them);
		close(self->me);
		close(sock[0]);
		fd = recv_fd(sock[1]);
		check(fd >= 0);
		check(place(fd) == 0);
		check(wait_for(fd, QUIESCE_WAIT_SYNC, QUIESCE_FOREVER, NULL) == 0);
		_exit(4);
	});
	ASSERT_EQ(0, send_fd(sock[0], self->them));
	close(self->them);
	EXPECT_EQ(0, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(0, place(self->me));
	close(sock[1]);
	ASSERT_EQ(4, join(pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 4, pid);
}

/* On its way through a socket it lives; it ends when nobody can receive it. */
TEST_F(pair, scm_rights_in_flight)
{
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(0, send_fd(sock[0], self->them));
	close(self->them);
	EXPECT_FALSE(they_ended(self->me));
	close(sock[0]);
	EXPECT_FALSE(they_ended(self->me));
	close(sock[1]);
	EXPECT_END(QUIESCE_CAUSE_CLOSE, 0, getpid());
}

/* A process that shares its descriptors with another one keeps nothing alone. */
struct shared_table {
	int fd;
	bool bind;
};

static int share_table(void *arg)
{
	struct shared_table *t = arg;

	if (t->bind && bind_to_me(t->fd, QUIESCE_BIND_PROCESS))
		_exit(1);
	_exit(6);
}

static pid_t clone_files(struct shared_table *t)
{
	static char stack[65536] __attribute__((aligned(64)));

	return clone(share_table, stack + sizeof(stack), CLONE_FILES | SIGCHLD, t);
}

TEST_F(pair, shared_table)
{
	struct shared_table t = { .fd = self->them };
	pid_t pid = clone_files(&t);

	ASSERT_LT(0, pid);
	ASSERT_EQ(6, join(pid));
	EXPECT_FALSE(they_ended(self->me));
	EXPECT_EQ(0, place(self->them));
	close(self->them);
	EXPECT_TRUE(they_ended(self->me));
}

TEST_F(pair, shared_table_bound)
{
	struct shared_table t = { .fd = self->them, .bind = true };
	pid_t pid = clone_files(&t);

	ASSERT_LT(0, pid);
	EXPECT_END(QUIESCE_CAUSE_EXIT, 6, pid);
	ASSERT_EQ(6, join(pid));
	EXPECT_EQ(-ENOTCONN, place(self->them));
	EXPECT_EQ(-ENOTCONN, wait_for(self->them, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(-ENOTCONN, wait_for(self->them, QUIESCE_WAIT_ABORTION, QUIESCE_FOREVER, NULL));
	EXPECT_EQ(-ENOTCONN, abort_with(self->them, 0, NULL));
	EXPECT_EQ(-ENOTCONN, bind_to_me(self->them, 0));
}

/* The descriptor goes while its own wait sleeps: the wait goes on. */
struct waiter {
	int fd;
	atomic_int tid;
	int ret;
};

static void *wait_in_thread(void *arg)
{
	struct waiter *w = arg;

	w->tid = syscall(SYS_gettid);
	w->ret = wait_for(w->fd, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL);
	return NULL;
}

static bool thread_asleep(struct waiter *w)
{
	while (!w->tid)
		nap();
	return wait_asleep(w->tid);
}

TEST_F(pair, closed_while_waited_on)
{
	struct waiter w = { .fd = self->them };
	struct quiesce_cause c;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
	ASSERT_TRUE(thread_asleep(&w));
	close(self->them);
	EXPECT_TRUE(thread_asleep(&w));
	EXPECT_FALSE(they_ended(self->me));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, w.ret);
	/* The wait was the last that held it. */
	c = their_end(self->me);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, c.cause);
	EXPECT_EQ(getpid(), c.pid);
}

TEST_F(pair, both_closed_while_waited_on)
{
	struct waiter w = { .fd = self->them };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, &w));
	ASSERT_TRUE(thread_asleep(&w));
	close(self->them);
	close(self->me);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-EOWNERDEAD, w.ret);
}

/* Two that wait on one party: a place is the party's, and wakes both. */
TEST_F(pair, two_readers)
{
	struct quiesce_status s;
	pid_t pid[2];

	for (int i = 0; i < 2; i++) {
		pid[i] = spawn({
			struct quiesce_wait w;

			check(wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, &w) == 0);
			check(w.balance == -1);
		});
		ASSERT_TRUE(wait_asleep(pid[i]));
	}
	ASSERT_EQ(0, status_of(self->me, &s));
	EXPECT_EQ(2, s.waiting);
	EXPECT_EQ(0, place(self->them));
	ASSERT_EQ(0, join(pid[0]));
	ASSERT_EQ(0, join(pid[1]));
	EXPECT_EQ(-ETIMEDOUT, wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_NOW, NULL));
}

TEST_F(pair, two_readers_are_both_told_of_the_end)
{
	static const unsigned int kinds[] = { QUIESCE_WAIT_NEXT, QUIESCE_WAIT_ABORTION };
	pid_t pid[2], other;

	other = spawn({ pause(); });
	close(self->them);
	for (int i = 0; i < 2; i++) {
		pid[i] = spawn({
			struct quiesce_wait w;

			check(wait_for(self->me, kinds[i], QUIESCE_FOREVER, &w) ==
			      (kinds[i] == QUIESCE_WAIT_ABORTION ? 0 : -EOWNERDEAD));
			check(w.cause.cause == QUIESCE_CAUSE_SIGNAL);
		});
		ASSERT_TRUE(wait_asleep(pid[i]));
	}
	kill(other, SIGKILL);
	ASSERT_EQ(0, join(pid[0]));
	ASSERT_EQ(0, join(pid[1]));
}

/* One calls abort() while another waits on the same party. */
TEST_F(pair, own_abort_ends_own_waits)
{
	pid_t pid = spawn({
		check(wait_for(self->me, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL) == -ESHUTDOWN);
	});

	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_EQ(0, abort_with(self->me, 0, NULL));
	ASSERT_EQ(0, join(pid));
}

TEST_F(pair, bind_is_replaced)
{
	struct quiesce_member m;
	pid_t pid = spawn({
		check(bind_to_me(self->them, QUIESCE_BIND_PROCESS) == 0);
		gate_open(&self->gate);
		pause();
	});

	gate_pass(&self->gate);
	ASSERT_EQ(0, member_of(self->me, 1, &m));
	EXPECT_EQ(pid, m.pid);
	EXPECT_EQ(QUIESCE_STATE_BOUND, m.state);
	EXPECT_EQ(0, bind_to_me(self->them, 0));
	ASSERT_EQ(0, member_of(self->me, 1, &m));
	EXPECT_EQ(getpid(), m.pid);
	EXPECT_EQ(0, m.state);
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	EXPECT_FALSE(they_ended(self->me));
	EXPECT_EQ(0, place(self->them));
}

/*
 * A process that the other side is bound to exits with code 3, and is waited for, while
 * tasks of a higher priority have all CPUs, so that no work item has handled the exit.
 * Returns what f returns then.
 */
static int right_after_the_exit(struct _test_data_pair *self, int (*f)(struct _test_data_pair *),
				pid_t *pid)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), ret, status = 0;
	struct {
		_Atomic int busy;
		_Atomic bool stop;
	} *others = share(sizeof(*others));
	pid_t busy[cpus];
	uint64_t end;

	for (int i = 1; i < cpus; i++) {
		busy[i] = spawn({
			hold_cpu(i, 1);
			atomic_fetch_add(&others->busy, 1);
			/* The kernel's threads of this priority run, too: on PREEMPT_RT, RCU's. */
			while (!atomic_load(&others->stop))
				sched_yield();
		});
	}
	while (atomic_load(&others->busy) != cpus - 1)
		nap();
	*pid = spawn({
		hold_cpu(cpus - 1, 2);
		check(bind_to_me(self->them, QUIESCE_BIND_PROCESS) == 0);
		gate_open(&self->gate);
		gate_pass(&self->closed);
		_exit(3);
	});
	gate_pass(&self->gate);
	hold_cpu(0, 1);
	gate_open(&self->closed);
	end = in_ms(60000);
	while (!waitpid(*pid, &status, WNOHANG) && clock_ns(CLOCK_MONOTONIC) < end)
		sched_yield();
	ret = f(self);
	atomic_store(&others->stop, true);
	check(WEXITSTATUS(status) == 3);
	for (int i = 1; i < cpus; i++)
		check(join(busy[i]) == 0);
	return ret;
}

static int bind_them(struct _test_data_pair *self)
{
	return bind_to_me(self->them, QUIESCE_BIND_PROCESS);
}

/* BIND right after the exit of the process that the party was bound to. */
TEST_F(pair, bound_again_after_the_exit)
{
	pid_t pid;

	EXPECT_EQ(-ENOTCONN, right_after_the_exit(self, bind_them, &pid));
	EXPECT_TRUE(they_ended(self->me));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 3, pid);
}

static int poll_me(struct _test_data_pair *self)
{
	return poll_now(self->me);
}

/* poll() is no exception: it does not see the party of a dead process alive. */
TEST_F(pair, polled_right_after_the_exit)
{
	pid_t pid;

	EXPECT_EQ(POLLOUT | POLLRDHUP | POLLHUP, right_after_the_exit(self, poll_me, &pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 3, pid);
}

static void ignored(int sig)
{
}

/*
 * The exit of a bound process comes before the signal that it sends, also on one
 * CPU, where no work item has handled it.
 */
TEST(exit_before_its_signal)
{
	struct sigaction sa = { .sa_handler = ignored };

	sigaction(SIGCHLD, &sa, NULL);
	hold_cpu(0, 1);
	for (int round = 0; round < 50; round++) {
		struct gate gate;
		pid_t pid;
		int fd[2];

		ASSERT_EQ(0, make_pair(0, fd));
		ASSERT_EQ(0, gate_make(&gate));
		pid = spawn({
			check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
			gate_open(&gate);
			check(wait_asleep(getppid()));
			_exit(3);
		});
		gate_pass(&gate);
		EXPECT_EQ(-EOWNERDEAD, wait_for(fd[0], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL))
			TH_LOG("round %d", round);
		EXPECT_EQ(3, join(pid));
		close(fd[0]);
		close(fd[1]);
		close(gate.fd[0]);
		close(gate.fd[1]);
	}
}

/*
 * Tasks of real-time priority 1 on all CPUs: no work item runs but in the time that
 * the kernel keeps for others.
 */
struct busy {
	_Atomic int tasks;
	_Atomic bool stop;
	pid_t pid[];
};

static struct busy *hold_all_cpus(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct busy *busy = share(sizeof(*busy) + cpus * sizeof(pid_t));

	for (int i = 0; i < cpus; i++) {
		busy->pid[i] = spawn({
			hold_cpu(i, 1);
			atomic_fetch_add(&busy->tasks, 1);
			while (!atomic_load(&busy->stop))
				sched_yield();
		});
	}
	while (atomic_load(&busy->tasks) != cpus)
		nap();
	hold_cpu(0, 1);
	return busy;
}

static void release_all_cpus(struct busy *busy)
{
	int cpus = atomic_load(&busy->tasks);

	atomic_store(&busy->stop, true);
	for (int i = 0; i < cpus; i++)
		check(join(busy->pid[i]) == 0);
}

/* A group names the process that exited first, however late the exits are handled. */
TEST(exits_in_turn)
{
	/* In some of the groups, nobody has handled the first exit before the second. */
	enum { GROUPS = 20, PARTIES = 2 * GROUPS };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), group[GROUPS], party[PARTIES];
	struct quiesce_status status[GROUPS];
	pid_t pid[PARTIES];
	struct gate bound;
	struct busy *busy;

	ASSERT_EQ(0, gate_make(&bound));
	for (int i = 0; i < GROUPS; i++)
		ASSERT_LE(0, group[i] = make_group(0, 2, 0));
	for (int i = 0; i < PARTIES; i++)
		ASSERT_LE(0, party[i] = join_group(group[i / 2], 0, NULL));
	for (int i = 0; i < PARTIES; i++) {
		pid[i] = spawn({
			hold_cpu(cpus - 1, 2);
			check(bind_to_me(party[i], QUIESCE_BIND_PROCESS) == 0);
			/* A process that closes a copy handles the exits before its own. */
			for (int j = 0; j < PARTIES; j++) {
				close(party[j]);
				close(group[j / 2]);
			}
			gate_open(&bound);
			pause();
		});
		gate_pass(&bound);
	}
	busy = hold_all_cpus();
	for (int i = 0; i < GROUPS; i++) {
		for (int j = 2 * i + 1; j >= 2 * i; j--) {
			kill(pid[j], SIGKILL);
			while (!waitpid(pid[j], NULL, WNOHANG))
				sched_yield();
		}
		EXPECT_EQ(0, status_of(group[i], &status[i]));
	}
	release_all_cpus(busy);
	for (int i = 0; i < GROUPS; i++) {
		EXPECT_EQ(QUIESCE_STATE_BROKEN, status[i].state);
		EXPECT_EQ(1, status[i].cause.party);
		EXPECT_EQ(pid[2 * i + 1], status[i].cause.pid);
	}
}

/*
 * Who polls a pidfd is woken after all parties that the process ends have ended, also
 * after the one that was bound first, and on another CPU that waits for nothing else.
 */
TEST(ended_before_its_pidfd_wakes)
{
	enum { ROUNDS = 10, PAIRS = QUIESCE_MAX_BOUND / 2 };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct rlimit limit = { 4096, 4096 };
	int fd[PAIRS][2];

	hold_cpu(cpus - 1, 2);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < ROUNDS; i++) {
		struct epoll_event event = { .events = EPOLLIN };
		struct quiesce_member m;
		struct gate bound;
		int pidfd, epoll, events;
		pid_t pid;

		/* They stay open here: what a process closes as it exits has ended before. */
		for (int j = 0; j < PAIRS; j++)
			ASSERT_EQ(0, make_pair(0, fd[j]));
		ASSERT_EQ(0, gate_make(&bound));
		pid = spawn({
			hold_cpu(0, 1);
			for (int j = 0; j < 2 * PAIRS; j++)
				check(bind_to_me(fd[j / 2][j % 2], QUIESCE_BIND_PROCESS) == 0);
			gate_open(&bound);
			pause();
		});
		gate_pass(&bound);
		pidfd = syscall(SYS_pidfd_open, pid, 0);
		ASSERT_LE(0, pidfd);
		epoll = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event));
		kill(pid, SIGKILL);
		do {
			events = epoll_wait(epoll, &event, 1, cpus > 1 ? 0 : 60000);
		} while (!events);
		ASSERT_EQ(1, events);
		ASSERT_EQ(0, member_of(fd[0][0], 0, &m));
		EXPECT_EQ(QUIESCE_STATE_ENDED | QUIESCE_STATE_BOUND, m.state);
		EXPECT_EQ(KILLED, join(pid));
		close(epoll);
		close(pidfd);
		for (int j = 0; j < 2 * PAIRS; j++)
			close(fd[j / 2][j % 2]);
	}
}

/*
 * An exit before the deadline ends the phase, also where no work item could handle
 * it until then: the wait neither times out nor breaks the group.
 */
TEST(exit_before_the_deadline)
{
	int group, party[2], ret;
	uint64_t deadline = 0;
	_Atomic uint64_t *exited = share(sizeof(*exited));
	struct busy *busy = hold_all_cpus();
	pid_t me = getpid(), pid;

	/* Until one has exited before a deadline. */
	for (int ms = 200; ms < 60000; ms *= 2) {
		struct quiesce_wait w;
		struct gate bound;

		ASSERT_EQ(0, gate_make(&bound));
		ASSERT_LE(0, group = make_group(0, 2, QUIESCE_GROUP_SHRINK));
		for (int i = 0; i < 2; i++)
			ASSERT_LE(0, party[i] = join_group(group, 0, NULL));
		atomic_store(exited, UINT64_MAX);
		pid = spawn({
			hold_cpu(atomic_load(&busy->tasks) - 1, 2);
			check(join(spawn({
				check(bind_to_me(party[1], QUIESCE_BIND_PROCESS) == 0);
				gate_open(&bound);
				for (int i = 0; i < 50 && !asleep_in(me, SYS_WAIT); i++)
					nap();
			})) == 0);
			atomic_store(exited, clock_ns(CLOCK_MONOTONIC));
		});
		gate_pass(&bound);
		deadline = in_ms(ms);
		w = wait_args(QUIESCE_WAIT_PHASE, deadline);
		w.flags = QUIESCE_WAIT_BREAK;
		w.count = 1;
		ret = ctl(party[0], QUIESCE_IOC_ARRIVE_WAIT, &w);
		EXPECT_EQ(0, join(pid));
		for (int i = 0; i < 2; i++) {
			close(bound.fd[i]);
			close(party[i]);
		}
		close(group);
		if (atomic_load(exited) < deadline)
			break;
	}
	release_all_cpus(busy);
	EXPECT_GT(deadline, atomic_load(exited));
	EXPECT_EQ(0, ret);
}

static void *bind_in_thread(void *fd)
{
	return (void *)(intptr_t)bind_to_me(*(int *)fd, QUIESCE_BIND_PROCESS);
}

/* Bound to the process, not to the thread that asked for it. */
TEST_F(pair, bind_outlives_its_thread)
{
	pid_t pid = spawn({
		pthread_t thread;
		void *ret;

		pthread_create(&thread, NULL, bind_in_thread, &self->them);
		pthread_join(thread, &ret);
		check(!ret);
		gate_open(&self->gate);
		wait_for(self->them, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL);
		_exit(9);
	});

	gate_pass(&self->gate);
	ASSERT_TRUE(wait_asleep(pid));
	EXPECT_FALSE(they_ended(self->me));
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(9, join(pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 9, pid);
}

static void *exit_with_all(void *gate)
{
	gate_pass(gate);
	syscall(SYS_exit_group, 7);
	return NULL;
}

/*
 * A process lives until its last thread has exited, also if its first one has, which
 * is reported to its parent because it traces it. Its exit code is that of exit_group().
 */
TEST_F(pair, first_thread_exits_first)
{
	for (int traced = 0; traced < 2; traced++) {
		uint64_t end = in_ms(60000);
		pid_t pid;
		int fd[2];

		ASSERT_EQ(0, make_pair(0, fd));
		close(self->me);
		self->me = fd[0];
		pid = spawn({
			pthread_t thread;

			check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
			check(!traced || ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
			check(pthread_create(&thread, NULL, exit_with_all, &self->closed) == 0);
			gate_open(&self->gate);
			syscall(SYS_exit, 0);
		});
		gate_pass(&self->gate);
		while (task_state(pid) != 'Z' && clock_ns(CLOCK_MONOTONIC) < end)
			nap();
		EXPECT_EQ('Z', task_state(pid));
		EXPECT_FALSE(they_ended(self->me));
		gate_open(&self->closed);
		EXPECT_END(QUIESCE_CAUSE_EXIT, 7, pid);
		EXPECT_EQ(7, join(pid));
		close(fd[1]);
	}
}

/*
 * The exit code is that of exit_group() also if the first thread is the last to exit,
 * with a code of its own: its tracer stops it in its exit, and the thread that calls
 * exit_group() has a priority by which it is over before the first one runs again.
 */
TEST_F(pair, first_thread_exits_last)
{
	for (int round = 0; round < 10; round++) {
		struct sched_param first = { .sched_priority = 1 };
		pthread_t thread;
		cpu_set_t cpu;
		int fd[2], status;
		pid_t pid;

		ASSERT_EQ(0, make_pair(0, fd));
		close(self->me);
		self->me = fd[0];
		pid = spawn({
			CPU_ZERO(&cpu);
			CPU_SET(0, &cpu);
			check(sched_setaffinity(0, sizeof(cpu), &cpu) == 0);
			check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
			check(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
			check(pthread_create(&thread, NULL, exit_with_all, &self->closed) == 0);
			check(pthread_setschedparam(thread, SCHED_FIFO, &first) == 0);
			raise(SIGSTOP);
			syscall(SYS_exit, 0);
		});
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSTOPPED(status));
		ASSERT_EQ(0, ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT));
		ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, NULL, NULL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);
		gate_open(&self->closed);
		EXPECT_END(QUIESCE_CAUSE_EXIT, 7, pid);
		EXPECT_EQ(7, join(pid));
		close(fd[1]);
	}
}

/* The end of a bound party is reported once, whether the process or the descriptor ends first. */
TEST_F(pair, bound_and_closed)
{
	pid_t pid = spawn({
		check(bind_to_me(self->them, QUIESCE_BIND_PROCESS) == 0);
		gate_pass(&self->closed);
		close(self->them);
		gate_open(&self->gate);
		pause();
	});

	close(self->them);
	gate_open(&self->closed);
	gate_pass(&self->gate);
	EXPECT_END(QUIESCE_CAUSE_CLOSE, 0, pid);
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	EXPECT_END(QUIESCE_CAUSE_CLOSE, 0, pid);
}

/* Pids as each reader's namespace has them. */
TEST_F(pair, pid_namespaces)
{
	struct quiesce_member m;
	pid_t pid;

	ASSERT_EQ(0, bind_to_me(self->me, 0));
	ASSERT_EQ(0, unshare(CLONE_NEWPID));
	pid = spawn({
		check(getpid() == 1);
		check(bind_to_me(self->them, 0) == 0);
		check(member_of(self->them, 1, &m) == 0);
		check(m.pid == 1);
		/* The other side cannot be seen from in here. */
		check(member_of(self->them, 0, &m) == 0);
		check(m.pid == 0);
		gate_open(&self->gate);
		check(wait_for(self->them, QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL) == 0);
		_exit(2);
	});
	ASSERT_LT(1, pid);
	close(self->them);
	gate_pass(&self->gate);
	ASSERT_EQ(0, member_of(self->me, 1, &m));
	EXPECT_EQ(pid, m.pid);
	EXPECT_EQ(0, place(self->me));
	ASSERT_EQ(2, join(pid));
	EXPECT_END(QUIESCE_CAUSE_EXIT, 2, pid);
}

/* A thread waits, another ends the process. */
TEST_F(pair, exit_with_a_waiting_thread)
{
	pid_t pid = spawn({
		struct waiter w = { .fd = self->them };
		pthread_t thread;

		pthread_create(&thread, NULL, wait_in_thread, &w);
		check(thread_asleep(&w));
		gate_pass(&self->closed);
		_exit(11);
	});

	close(self->them);
	gate_open(&self->closed);
	EXPECT_END(QUIESCE_CAUSE_EXIT, 11, pid);
	ASSERT_EQ(11, join(pid));
}

/* The device's file is needed to make barriers, not to use them. */
TEST_F(pair, device_closed)
{
	/* make_pair() has closed it long ago. */
	EXPECT_EQ(0, place(self->me));
	EXPECT_EQ(0, place_wait(self->them, QUIESCE_WAIT_SYNC, QUIESCE_NOW, NULL));
}

/* Each open descriptor holds the module; none is left when they are closed. */
TEST(module_stays)
{
	long refs = count_module_users();
	int fd[2], dev, group, party;

	/* Processes of the tests before may not be quite dead. */
	ASSERT_TRUE(wait_for_module_refs(refs));
	dev = open_dev();
	ASSERT_LE(0, dev);
	EXPECT_EQ(refs + 1, module_refs());
	EXPECT_EQ(-1, syscall(SYS_delete_module, "quiesce", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(dev);
	EXPECT_EQ(refs, module_refs());

	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_LT(refs, module_refs());
	EXPECT_EQ(-1, syscall(SYS_delete_module, "quiesce", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(fd[0]);
	EXPECT_LT(refs, module_refs());
	close(fd[1]);
	EXPECT_EQ(refs, module_refs());

	group = make_group(2, 0, 0);
	ASSERT_LE(0, group);
	party = join_group(group, 0, NULL);
	ASSERT_LE(0, party);
	close(group);
	EXPECT_LT(refs, module_refs());
	close(party);
	EXPECT_EQ(refs, module_refs());
}

/* Anybody may use it; nothing about it asks for a capability. */
TEST(without_privilege)
{
	struct stat st;
	pid_t pid;
	int fd[2];

	/* Whatever this system has chosen. */
	ASSERT_EQ(0, stat(QUIESCE_DEVICE, &st));
	ASSERT_EQ(0, chmod(QUIESCE_DEVICE, 0666));
	ASSERT_EQ(0, make_pair(0, fd));
	pid = spawn({
		struct quiesce_wait w;
		int group;

		check(setresgid(65534, 65534, 65534) == 0);
		check(setresuid(65534, 65534, 65534) == 0);
		/* Changing ids clears it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		check(place(fd[0]) == 0);
		check(bind_to_me(fd[0], QUIESCE_BIND_PROCESS) == 0);
		check(make_pair(0, fd) == 0);
		check(place(fd[0]) == 0);
		check(wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w) == 0);
		group = make_group(1, 0, 0);
		check(group >= 0);
		check(meet(join_group(group, 0, NULL), QUIESCE_NOW, &w) == 0);
	});
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(0, chmod(QUIESCE_DEVICE, st.st_mode & 07777));
}

TEST_HARNESS_MAIN
