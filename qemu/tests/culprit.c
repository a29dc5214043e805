// SPDX-License-Identifier: GPL-2.0
/*
 * The process that is reported when a party's last descriptor is released in another
 * way than by close() in its holder.
 */
#include "ops.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <linux/io_uring.h>

/* WAIT NEXT on @fd fails because the other party has ended; returns the cause. */
static struct quiesce_cause end_of_peer(int fd)
{
	struct quiesce_wait w;

	check(wait_for(fd, QUIESCE_WAIT_NEXT, in_ms(60000), &w) == -EOWNERDEAD);
	return w.cause;
}

/* The sender lives; the receiver is killed with the party unread. */
TEST(receiver_killed_with_it_in_flight)
{
	struct quiesce_cause cause;
	pid_t sender, receiver;
	int fd[2], sock[2];
	struct gate sent;

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&sent));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	receiver = spawn({
		close(fd[0]);
		close(fd[1]);
		close(sock[0]);
		pause();
	});
	sender = spawn({
		close(sock[1]);
		close(fd[1]);
		check(send_fd(sock[0], fd[0]) == 0);
		close(fd[0]);
		close(sock[0]);
		gate_open(&sent);
		pause();
	});
	close(fd[0]);
	close(sock[0]);
	close(sock[1]);
	gate_pass(&sent);
	kill(receiver, SIGKILL);
	ASSERT_EQ(KILLED, join(receiver));
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, cause.cause);
	EXPECT_EQ(receiver, cause.pid);
	EXPECT_EQ(SIGKILL, cause.status);
	kill(sender, SIGKILL);
	join(sender);
}

/* The receiver lives, and closes its socket with the party unread. */
TEST(receiver_closes_with_it_in_flight)
{
	struct quiesce_cause cause;
	pid_t sender, receiver;
	struct gate sent, seen;
	int fd[2], sock[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&sent));
	ASSERT_EQ(0, gate_make(&seen));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	receiver = spawn({
		close(fd[0]);
		close(fd[1]);
		close(sock[0]);
		gate_pass(&seen);
		close(sock[1]);
		pause();
	});
	sender = spawn({
		close(sock[1]);
		close(fd[1]);
		check(send_fd(sock[0], fd[0]) == 0);
		close(fd[0]);
		close(sock[0]);
		gate_open(&sent);
		pause();
	});
	close(fd[0]);
	close(sock[0]);
	close(sock[1]);
	gate_pass(&sent);
	gate_open(&seen);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, cause.cause);
	EXPECT_EQ(receiver, cause.pid);
	kill(sender, SIGKILL);
	EXPECT_EQ(KILLED, join(sender));
	kill(receiver, SIGKILL);
	EXPECT_EQ(KILLED, join(receiver));
}

/* Nobody can receive it any more; the kernel's collector of sockets finds it. */
TEST(collected_in_flight)
{
	struct quiesce_cause cause;
	struct gate alone;
	pid_t sender;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&alone));
	sender = spawn({
		int sock[2];

		close(fd[1]);
		check(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
		check(send_fd(sock[0], fd[0]) == 0);
		check(send_fd(sock[0], sock[1]) == 0);
		check(send_fd(sock[1], sock[0]) == 0);
		/* The message has to be the last reference. */
		gate_pass(&alone);
		close(fd[0]);
		close(sock[0]);
		close(sock[1]);
		/* Each closed cycle starts the collector. */
		for (;;) {
			check(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
			check(send_fd(sock[0], sock[0]) == 0);
			close(sock[0]);
			close(sock[1]);
			nap();
		}
	});
	close(fd[0]);
	gate_open(&alone);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, cause.cause);
	EXPECT_EQ(0, cause.pid);
	kill(sender, SIGKILL);
	EXPECT_EQ(KILLED, join(sender));
}

/* The parent has closed its copies: @alone is opened before the last reference is released. */
static struct gate unshared, go_on, alone;

static void *exit_with_own_table(void *unused)
{
	check(unshare(CLONE_FILES) == 0);
	gate_open(&unshared);
	gate_pass(&go_on);
	return NULL;
}

/* A thread with a separate descriptor table exits; its process lives. */
TEST(thread_with_own_table_exits)
{
	struct quiesce_cause cause;
	pid_t pid;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&unshared));
	ASSERT_EQ(0, gate_make(&go_on));
	ASSERT_EQ(0, gate_make(&alone));
	pid = spawn({
		pthread_t thread;

		close(fd[1]);
		check(pthread_create(&thread, NULL, exit_with_own_table, NULL) == 0);
		gate_pass(&unshared);
		gate_pass(&alone);
		close(fd[0]);
		gate_open(&go_on);
		pause();
	});
	close(fd[0]);
	gate_open(&alone);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, cause.cause);
	EXPECT_EQ(pid, cause.pid);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(KILLED, join(pid));
}

/*
 * A process that exits with a copy is not the one that the party is bound to, which
 * closes the last copy.
 */
TEST(another_process_exits_before_the_owner_closes)
{
	struct quiesce_cause cause;
	struct gate bound, last;
	pid_t owner;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&bound));
	ASSERT_EQ(0, gate_make(&last));
	owner = spawn({
		close(fd[1]);
		check(bind_to_me(fd[0], QUIESCE_BIND_PROCESS) == 0);
		gate_open(&bound);
		gate_pass(&last);
		close(fd[0]);
		pause();
	});
	gate_pass(&bound);
	EXPECT_EQ(3, join(spawn({ _exit(3); })));
	close(fd[0]);
	gate_open(&last);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, cause.cause);
	EXPECT_EQ(owner, cause.pid);
	kill(owner, SIGKILL);
	EXPECT_EQ(KILLED, join(owner));
}

EXEC_MAIN
{
	pause();
}

/* Another thread of its process calls execve(). */
TEST(thread_with_own_table_dies_of_exec)
{
	struct quiesce_cause cause;
	pid_t pid;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&unshared));
	ASSERT_EQ(0, gate_make(&go_on));
	ASSERT_EQ(0, gate_make(&alone));
	pid = spawn({
		pthread_t thread;

		close(fd[1]);
		check(pthread_create(&thread, NULL, exit_with_own_table, NULL) == 0);
		gate_pass(&unshared);
		gate_pass(&alone);
		close(fd[0]);
		exec_self("pause", -1);
	});
	close(fd[0]);
	gate_open(&alone);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_EXEC, cause.cause);
	EXPECT_EQ(pid, cause.pid);
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
}

/* The last thread's exit is the process's, whichever thread that is. */
TEST(last_thread_exits)
{
	struct quiesce_cause cause;
	pid_t pid;
	int fd[2];

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&unshared));
	ASSERT_EQ(0, gate_make(&go_on));
	pid = spawn({
		pthread_t thread;

		close(fd[1]);
		check(pthread_create(&thread, NULL, exit_with_own_table, NULL) == 0);
		gate_pass(&unshared);
		close(fd[0]);
		/* The leader alone. */
		syscall(SYS_exit, 0);
	});
	close(fd[0]);
	while (task_state(pid) != 'Z')
		nap();
	EXPECT_EQ(-ETIMEDOUT, wait_for(fd[1], QUIESCE_WAIT_NEXT, in_ms(BLOCKS_MS), NULL));
	gate_open(&go_on);
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_EXIT, cause.cause);
	EXPECT_EQ(pid, cause.pid);
	EXPECT_EQ(0, join(pid));
}

/* A ring's table of files has the last reference: no process closed it. */
TEST(registered_with_io_uring)
{
	struct io_uring_params params = {};
	int fd[2], ring = syscall(SYS_io_uring_setup, 4, &params);
	struct quiesce_status status;
	struct quiesce_cause cause;
	struct gate closed;
	pid_t pid;

	if (ring < 0)
		SKIP(return, "no io_uring");
	close(ring);
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&closed));
	pid = spawn({
		struct io_uring_params p = {};
		int r = syscall(SYS_io_uring_setup, 4, &p);

		close(fd[1]);
		check(syscall(SYS_io_uring_register, r, IORING_REGISTER_FILES, &fd[0], 1) == 0);
		close(fd[0]);
		gate_open(&closed);
		pause();
	});
	close(fd[0]);
	gate_pass(&closed);
	ASSERT_EQ(0, status_of(fd[1], &status));
	EXPECT_EQ(QUIESCE_CAUSE_NONE, status.cause.cause);
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
	cause = end_of_peer(fd[1]);
	EXPECT_EQ(QUIESCE_CAUSE_CLOSE, cause.cause);
	EXPECT_EQ(0, cause.pid);
}

/* A group whose descriptor is collected in flight: nobody closed it, either. */
TEST(group_collected_in_flight)
{
	struct quiesce_wait w;
	int group = make_group(2, 0, 0), party;
	struct gate alone;
	pid_t sender;

	ASSERT_LE(0, group);
	ASSERT_EQ(0, gate_make(&alone));
	party = join_group(group, 0, NULL);
	sender = spawn({
		int sock[2];

		close(party);
		check(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
		check(send_fd(sock[0], group) == 0);
		check(send_fd(sock[0], sock[1]) == 0);
		check(send_fd(sock[1], sock[0]) == 0);
		gate_pass(&alone);
		close(group);
		close(sock[0]);
		close(sock[1]);
		for (;;) {
			check(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
			check(send_fd(sock[0], sock[0]) == 0);
			close(sock[0]);
			close(sock[1]);
			nap();
		}
	});
	close(group);
	gate_open(&alone);
	EXPECT_EQ(-EOWNERDEAD, meet(party, in_ms(60000), &w));
	EXPECT_EQ(QUIESCE_CAUSE_UNCLAIMED, w.cause.cause);
	EXPECT_EQ(0, w.cause.pid);
	kill(sender, SIGKILL);
	EXPECT_EQ(KILLED, join(sender));
}

/* The number of a pid's pidfds shows whether a process is still the same. */
TEST(inode_of_the_pidfd)
{
	struct quiesce_member m;
	struct stat st;
	pid_t pid;
	int fd[2], pidfd;

	ASSERT_EQ(0, make_pair(0, fd));
	pid = spawn({
		close(fd[1]);
		check(bind_to_me(fd[0], QUIESCE_BIND_PROCESS) == 0);
		pause();
	});
	close(fd[0]);
	do {
		nap();
		ASSERT_EQ(0, member_of(fd[1], 0, &m));
	} while (!(m.state & QUIESCE_STATE_BOUND));
	ASSERT_EQ(pid, m.pid);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, fstat(pidfd, &st));
	EXPECT_EQ(st.st_ino, m.pid_ino);
	EXPECT_EQ(0, m.cause_ino);
	kill(pid, SIGKILL);
	ASSERT_EQ(KILLED, join(pid));
	ASSERT_EQ(0, member_of(fd[1], 0, &m));
	EXPECT_EQ(pid, m.cause.pid);
	EXPECT_EQ(st.st_ino, m.cause_ino);
	/* Another process has another one, even with the same pid. */
	pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	ASSERT_EQ(0, fstat(pidfd, &st));
	EXPECT_NE(st.st_ino, m.cause_ino);
	/* Who cannot see the process gets neither number. */
	EXPECT_EQ(0, join(spawn({
		check(unshare(CLONE_NEWPID) == 0);
		check(join(fork() ?: ({
			check(member_of(fd[1], 0, &m) == 0);
			_exit(m.pid || m.pid_ino || m.cause.pid || m.cause_ino);
			0;
		})) == 0);
	})));
}

/* fdinfo has the numbers of the procfs that it is read from. */
TEST(fdinfo_of_another_pid_namespace)
{
	int fd[2], status = -1;
	pid_t me = getpid(), pid;

	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, bind_to_me(fd[0], 0));
	pid = spawn({
		if (unshare(CLONE_NEWPID))
			_exit(4);
		pid = fork();
		check(pid >= 0);
		if (pid == 0) {
			char path[64], want[64], buf[4096];
			struct quiesce_member member;

			check(getpid() == 1);
			snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", me, fd[0]);
			snprintf(want, sizeof(want), "party-0:\tpid %d ", me);
			check(read_file(path, buf, sizeof(buf)) > 0);
			check(strstr(buf, want));
			/* The caller's own namespace does not have it. */
			check(member_of(fd[0], 0, &member) == 0);
			check(member.pid == 0);
			_exit(0);
		}
		check(waitpid(pid, &status, 0) == pid);
		check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	});
	status = join(pid);
	if (status == 4)
		SKIP(return, "no pid namespaces");
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
