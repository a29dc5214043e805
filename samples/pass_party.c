// SPDX-License-Identifier: GPL-2.0
/*
 * A party for a process that is nobody's child: over a socket, by SCM_RIGHTS.
 *
 *	pass_party [SOCKET]
 *
 * A service listens on a socket. A client that has connected to it gets one side
 * of a new barrier over the connection, and the two of them meet: all that a
 * party is lies behind its one descriptor. The client binds its side to its
 * process, so that its death is seen even if it has handed the descriptor on;
 * then it does just that and exits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "barrier.h"

static void die(const char *what, int err)
{
	fprintf(stderr, "pass_party: %s: %s\n", what, strerror(-err));
	exit(1);
}

static int send_fd(int sock, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) < 0 ? -errno : 0;
}

static int receive_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static int be_client(const struct sockaddr_un *addr)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, err;
	Barrier b = BARRIER_NULL;

	if (sock < 0 || connect(sock, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		die("connect", -errno);
	fd = receive_fd(sock);
	if (fd < 0)
		die("receive", fd);
	err = barrier_adopt(&b, fd);
	if (err < 0)
		die("this is no side of a barrier", err);
	err = barrier_bind_process(&b);
	if (err < 0)
		die("bind", err);
	printf("[client %d] I have one side of a barrier\n", getpid());
	fflush(stdout);
	if (!barrier_place_and_sync(&b))
		return 1;
	printf("[client %d] we have met; I leave a process behind that has my descriptor\n",
	       getpid());
	fflush(stdout);
	if (fork() == 0) {
		sleep(1);
		_exit(0);
	}
	return 17;
}

static int be_service(int sock)
{
	struct quiesce_status status;
	Barrier b = BARRIER_NULL;
	char why[128];
	int conn, err;

	conn = accept(sock, NULL, NULL);
	if (conn < 0)
		die("accept", -errno);
	err = barrier_create(&b);
	if (err < 0)
		die(QUIESCE_DEVICE, err);
	err = send_fd(conn, b.them);
	if (err < 0)
		die("send", err);
	/* This side keeps no copy of what it has sent. */
	barrier_set_role(&b, BARRIER_PARENT);
	close(conn);

	if (!barrier_place_and_sync(&b))
		return 1;
	printf("[service %d] we have met\n", getpid());
	if (barrier_wait_next(&b))
		return 1;
	err = barrier_status(&b, &status);
	if (err < 0)
		die("barrier_status", err);
	printf("[service %d] the client is gone: %s\n", getpid(),
	       quiesce_cause_text(&status.cause, why, sizeof(why)));
	barrier_destroy(&b);
	return !(status.cause.cause == QUIESCE_CAUSE_EXIT && status.cause.status == 17);
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s",
		 argc > 1 ? argv[1] : "/tmp/pass_party");
	unlink(addr.sun_path);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(sock, 1) < 0)
		die(addr.sun_path, -errno);

	fflush(NULL);
	if (fork() == 0)
		exit(be_client(&addr));
	ret = be_service(sock);
	wait(NULL);
	unlink(addr.sun_path);
	return ret;
}
