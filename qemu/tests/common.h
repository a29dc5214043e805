/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers shared by the tests of /dev/quiesce.
 *
 * No test sleeps to let something happen. That a call blocks is shown by a
 * deadline that expires, or by finding the task asleep in that very system call;
 * that a call returns, by its return.
 */
#ifndef _QUIESCE_TESTS_COMMON_H
#define _QUIESCE_TESTS_COMMON_H

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "quiesce.h"

/* A loaded emulator with KASAN is slow; a hang is caught all the same. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 90

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* Returns the deadline that is @ms milliseconds ahead. */
static inline uint64_t in_ms(unsigned int ms)
{
	return clock_ns(CLOCK_MONOTONIC) + ms * NSEC_PER_MSEC;
}

/*
 * Whether a loop of @rounds rounds, numbered from 0, has round @round: those from a
 * quarter of them on begin before @end, so that a slow kernel does not take minutes.
 */
static inline bool more_rounds(int round, int rounds, uint64_t end)
{
	return round < rounds &&
	       (round < rounds / 4 || clock_ns(CLOCK_MONOTONIC) < end);
}

/* Time for which a wait that must block is observed. */
#define BLOCKS_MS 20

/* ioctl that returns -errno. */
#define ctl(fd, cmd, arg) (ioctl(fd, cmd, arg) < 0 ? -errno : 0)

static inline void nap(void)
{
	struct timespec ts = { .tv_nsec = NSEC_PER_MSEC };

	nanosleep(&ts, NULL);
}

static inline ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n >= 0)
		buf[n] = '\0';
	else
		n = -errno;
	close(fd);
	return n;
}

/* The letter in /proc/TID/stat, 0 when there is no such task. */
static inline char task_state(pid_t tid)
{
	char path[64], buf[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return 0;
	p = strrchr(buf, ')');
	return p && p[1] ? p[2] : 0;
}

/* Is the task asleep, interruptibly, in this system call? */
static inline bool asleep_in(pid_t tid, long nr)
{
	char path[64], buf[256], *end;
	long seen;

	if (task_state(tid) != 'S')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	if (read_file(path, buf, sizeof(buf)) <= 0)
		return false;
	seen = strtol(buf, &end, 10);
	return end != buf && seen == nr;
}

/* Wait until the task sleeps in this system call; false when it never does. */
static inline bool wait_asleep_in(pid_t tid, long nr)
{
	uint64_t end = in_ms(60000);

	while (!asleep_in(tid, nr)) {
		char state = task_state(tid);

		if (clock_ns(CLOCK_MONOTONIC) > end || !state || strchr("ZX", state))
			return false;
		nap();
	}
	return true;
}

/* In a wait of the device, or of what takes its place where it is missing. */
#ifdef QUIESCE_FALLBACK
#define SYS_WAIT SYS_ppoll
#else
#define SYS_WAIT SYS_ioctl
#endif
#define wait_asleep(tid) wait_asleep_in(tid, SYS_WAIT)

/* The system calls of poll(), epoll_wait() and pause(): newer architectures lack the old ones. */
#ifdef SYS_poll
#define NR_POLL SYS_poll
#define NR_EPOLL_WAIT SYS_epoll_wait
#define NR_PAUSE SYS_pause
#else
#define NR_POLL SYS_ppoll
#define NR_EPOLL_WAIT SYS_epoll_pwait
#define NR_PAUSE SYS_ppoll
#endif

/* fork whose child does not outlive its parent, whatever happens to that. */
static inline pid_t fork_bound(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent && getppid() != 0)
			_exit(127);
	}
	return pid;
}

/* Waits for a child; returns its exit code, or 256 + the signal that killed it. */
static inline int join(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

#define KILLED (256 + SIGKILL)

/*
 * Code for another process: spawn({ ... }) gives its pid. The value of a check
 * that fails there is its line, as the exit code.
 */
#define spawn(...) ({							\
	pid_t _pid = fork_bound();					\
	if (_pid == 0) {						\
		__VA_ARGS__						\
		_exit(0);						\
	}								\
	_pid;								\
})

#define check(cond) do {						\
	if (!(cond)) {							\
		fprintf(TH_LOG_STREAM, "# %s:%d: (%d) not: %s\n",	\
			__FILE__, __LINE__, getpid(), #cond);		\
		_exit(1);						\
	}								\
} while (0)

/* Zeroed memory that this process and its children share. */
static inline void *share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	return p;
}

/*
 * A gate between processes: bytes in a pipe. Opened once, passed once.
 */
struct gate {
	int fd[2];
};

static inline int gate_make(struct gate *g)
{
	return pipe2(g->fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static inline void gate_open(struct gate *g)
{
	check(write(g->fd[1], "x", 1) == 1);
}

static inline void gate_pass(struct gate *g)
{
	char c;

	check(read(g->fd[0], &c, 1) == 1);
}

/*
 * Run this test's program again, as @what, with @fd known to it. The
 * program's exec_main() is called before anything else is.
 */
#define EXEC_ENV "QUIESCE_TEST_EXEC"
#define EXEC_ENV_FD "QUIESCE_TEST_EXEC_FD"

static inline void exec_self(const char *what, int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	setenv(EXEC_ENV, what, 1);
	setenv(EXEC_ENV_FD, number, 1);
	execl("/proc/self/exe", "exec_self", (char *)NULL);
	_exit(126);
}

#define EXEC_MAIN							\
static void exec_main(const char *what, int fd);			\
__attribute__((constructor)) static void exec_main_hook(void)		\
{									\
	const char *w = getenv(EXEC_ENV), *n = getenv(EXEC_ENV_FD);	\
									\
	if (w && n) {							\
		prctl(PR_SET_PDEATHSIG, SIGKILL);			\
		exec_main(w, atoi(n));					\
		_exit(0);						\
	}								\
}									\
static void exec_main(const char *what, int fd)

/*
 * 'PROGRAM -n 20' runs the whole of it 20 times, or for about a minute, and shows
 * the last run, or the first that fails.
 */
static inline int run_again(int nr, bool last)
{
	char path[64], buf[4096];
	int fd = -1, ret;
	ssize_t n;
	pid_t pid;

	snprintf(path, sizeof(path), "/tmp/run.%d", getpid());
	if (!last)
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (fd >= 0) {
			dup2(fd, STDOUT_FILENO);
			dup2(fd, STDERR_FILENO);
		}
		execl("/proc/self/exe", "again", (char *)NULL);
		_exit(126);
	}
	ret = join(pid);
	if (fd >= 0) {
		lseek(fd, 0, SEEK_SET);
		while (ret && (n = read(fd, buf, sizeof(buf))) > 0)
			(void)!write(STDOUT_FILENO, buf, n);
		close(fd);
		unlink(path);
	}
	if (ret)
		printf("# run %d failed\n", nr);
	return ret;
}

__attribute__((constructor)) static void run_again_hook(int argc, char **argv)
{
	int times = argc == 3 && !strcmp(argv[1], "-n") ? atoi(argv[2]) : 0;
	uint64_t end = in_ms(60000);
	bool last = times == 0;

	for (int i = 1; !last; i++) {
		last = !more_rounds(i, times, end);
		if (run_again(i, last))
			exit(1);
	}
	if (times)
		exit(0);
}

/* The number of descriptors that this process has open. */
static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -3; /* ".", ".." and the folder itself */

	if (!dir)
		return -errno;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline int open_dev(void)
{
	return open("/dev/quiesce", O_RDWR | O_CLOEXEC);
}

/* Send and receive a descriptor over a socket pair. */
static inline int send_fd(int sock, int fd)
{
	char c = 'x', buf[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static inline int recv_fd(int sock)
{
	char c, buf[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

#endif /* _QUIESCE_TESTS_COMMON_H */
