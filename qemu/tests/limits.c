// SPDX-License-Identifier: GPL-2.0
/*
 * Load that one user can cause for others: many parties that end with one process,
 * many waiters and pollers on one barrier, many files, and lack of memory.
 */
#include "ops.h"

#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NOBODY 65534
#define SOMEBODY 1000

static void become(unsigned int user)
{
	check(setgid(user) == 0);
	check(setuid(user) == 0);
}

static void become_nobody(void)
{
	become(NOBODY);
}

static void allow_fds(unsigned int n)
{
	struct rlimit limit = { n, n };

	check(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Parties that one process's exit ends are limited. */
TEST(parties_bound_to_a_process)
{
	struct quiesce_bind bind = { .flags = QUIESCE_BIND_PROCESS };
	int group[2], fd[2], n = 0, first = -1, ret;

	allow_fds(QUIESCE_MAX_BOUND + 200);
	for (int i = 0; i < 2; i++) {
		group[i] = make_group(0, QUIESCE_MAX_PARTIES, 0);
		ASSERT_LE(0, group[i]);
	}
	for (;; n++) {
		ret = join_group(group[n >= QUIESCE_MAX_PARTIES / 2], QUIESCE_BIND_PROCESS, NULL);
		if (ret < 0)
			break;
		if (first < 0)
			first = ret;
	}
	EXPECT_EQ(-EDQUOT, ret);
	EXPECT_EQ(QUIESCE_MAX_BOUND, n);
	/* Nor by BIND; the party stays what it was. */
	ASSERT_EQ(0, make_pair(0, fd));
	EXPECT_EQ(-EDQUOT, ctl(fd[0], QUIESCE_IOC_BIND, &bind));
	EXPECT_EQ(0, place(fd[0]));
	/* One that is bound already may be so again. */
	EXPECT_EQ(0, ctl(first, QUIESCE_IOC_BIND, &bind));
	/* One that is not bound is not limited, and one that ends makes room. */
	EXPECT_LE(0, join_group(group[1], 0, NULL));
	close(first);
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_BIND, &bind));
	/* Another process has its own. */
	EXPECT_EQ(0, join(spawn({ check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0); })));
}

/* BIND that is refused leaves the party to the process that it is bound to. */
TEST(bind_that_is_refused)
{
	int group = make_group(0, QUIESCE_MAX_PARTIES, 0), fd[2];
	struct quiesce_member m;
	struct quiesce_wait w;
	struct gate ready;
	pid_t owner;

	allow_fds(QUIESCE_MAX_BOUND + 200);
	ASSERT_LE(0, group);
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_EQ(0, gate_make(&ready));
	owner = spawn({
		check(bind_to_me(fd[1], QUIESCE_BIND_PROCESS) == 0);
		gate_open(&ready);
		pause();
	});
	gate_pass(&ready);
	for (int i = 0; i < QUIESCE_MAX_BOUND; i++)
		ASSERT_LE(0, join_group(group, QUIESCE_BIND_PROCESS, NULL));
	EXPECT_EQ(-EDQUOT, bind_to_me(fd[1], QUIESCE_BIND_PROCESS));
	ASSERT_EQ(0, member_of(fd[0], 1, &m));
	EXPECT_EQ(owner, m.pid);
	EXPECT_EQ(QUIESCE_STATE_BOUND, m.state);
	kill(owner, SIGKILL);
	ASSERT_EQ(KILLED, join(owner));
	EXPECT_EQ(-EOWNERDEAD, wait_for(fd[0], QUIESCE_WAIT_NEXT, in_ms(10000), &w));
	EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, w.cause.cause);
	EXPECT_EQ(owner, w.cause.pid);
}

/* A party that has left stays bound, and BIND fails: it makes no room for another one. */
TEST(bind_of_a_party_that_has_left)
{
	int group = make_group(0, QUIESCE_MAX_PARTIES, 0), fd[2], first, one;
	struct quiesce_member m;

	allow_fds(QUIESCE_MAX_BOUND + 200);
	ASSERT_LE(0, group);
	ASSERT_EQ(0, make_pair(0, fd));
	ASSERT_LE(0, first = join_group(group, QUIESCE_BIND_PROCESS, NULL));
	for (int i = 1; i < QUIESCE_MAX_BOUND; i++)
		ASSERT_LE(0, one = join_group(group, QUIESCE_BIND_PROCESS, NULL));
	ASSERT_EQ(0, leave(one));
	EXPECT_EQ(-ENOTCONN, bind_to_me(one, 0));
	EXPECT_EQ(0, join(spawn({
		check(bind_to_me(one, QUIESCE_BIND_PROCESS) == -ENOTCONN);
	})));
	ASSERT_EQ(0, member_of(group, QUIESCE_MAX_BOUND - 1, &m));
	EXPECT_EQ(QUIESCE_STATE_LEFT | QUIESCE_STATE_BOUND, m.state);
	EXPECT_EQ(getpid(), m.pid);
	EXPECT_EQ(-EDQUOT, bind_to_me(fd[0], QUIESCE_BIND_PROCESS));
	/* One that succeeds does. */
	EXPECT_EQ(0, bind_to_me(first, 0));
	EXPECT_EQ(0, bind_to_me(fd[0], QUIESCE_BIND_PROCESS));
}

/*
 * All parties of a process end with its descriptors, before its parent has waited for
 * it, each with its cause, and who sleeps on one of the barriers is woken.
 */
TEST(exit_ends_all_parties)
{
	enum { GROUPS = 8, PARTIES = 100 };
	int group[GROUPS], own[GROUPS];
	struct quiesce_status status;
	struct quiesce_member member;
	pid_t victim, sleeper[GROUPS];
	struct gate ready;

	ASSERT_EQ(0, gate_make(&ready));
	allow_fds(4096);
	for (int g = 0; g < GROUPS; g++) {
		group[g] = make_group(PARTIES + 1, 0, 0);
		own[g] = join_group(group[g], 0, NULL);
		ASSERT_LE(0, own[g]);
	}
	victim = spawn({
		for (int g = 0; g < GROUPS; g++)
			for (int i = 0; i < PARTIES; i++)
				check(join_group(group[g], QUIESCE_BIND_PROCESS, NULL) >= 0);
		gate_open(&ready);
		pause();
	});
	gate_pass(&ready);
	for (int g = 0; g < GROUPS; g++) {
		sleeper[g] = spawn({
			struct quiesce_wait w;

			check(meet(own[g], QUIESCE_FOREVER, &w) == -EOWNERDEAD);
			check(w.cause.pid == victim);
		});
		ASSERT_TRUE(wait_asleep(sleeper[g]));
	}
	kill(victim, SIGKILL);
	ASSERT_EQ(KILLED, join(victim));
	for (int g = 0; g < GROUPS; g++) {
		ASSERT_EQ(0, status_of(group[g], &status));
		EXPECT_EQ(QUIESCE_CAUSE_SIGNAL, status.cause.cause);
		EXPECT_EQ(victim, status.cause.pid);
		for (int i = 1; i <= PARTIES; i++) {
			ASSERT_EQ(0, member_of(group[g], i, &member));
			EXPECT_EQ(QUIESCE_STATE_BOUND | QUIESCE_STATE_ENDED, member.state);
			EXPECT_EQ(SIGKILL, member.cause.status);
		}
		EXPECT_EQ(0, join(sleeper[g]));
	}
}

/*
 * Where another process has the descriptors open, it is the exit itself that ends the
 * parties: more than are handled at a time.
 */
TEST(exit_ends_parties_that_are_open_elsewhere)
{
	enum { PARTIES = 100 };
	int group = make_group(PARTIES, 0, 0), party[PARTIES];
	struct quiesce_member member;
	struct gate ready;
	pid_t victim;

	ASSERT_LE(0, group);
	ASSERT_EQ(0, gate_make(&ready));
	for (int i = 0; i < PARTIES; i++)
		ASSERT_LE(0, party[i] = join_group(group, 0, NULL));
	victim = spawn({
		for (int i = 0; i < PARTIES; i++)
			check(bind_to_me(party[i], QUIESCE_BIND_PROCESS) == 0);
		gate_open(&ready);
		pause();
	});
	gate_pass(&ready);
	kill(victim, SIGKILL);
	ASSERT_EQ(KILLED, join(victim));
	for (int i = 0; i < PARTIES; i++) {
		ASSERT_EQ(0, member_of(group, i, &member));
		EXPECT_EQ(QUIESCE_STATE_BOUND | QUIESCE_STATE_ENDED, member.state);
		EXPECT_EQ(victim, member.cause.pid);
		EXPECT_EQ(SIGKILL, member.cause.status);
		EXPECT_EQ(-ENOTCONN, place(party[i]));
	}
}

#define POLLERS 3000
#define WAITERS 200

static int waited;

static void *wait_here(void *ticket)
{
	return (void *)(intptr_t)wait_phase(waited, *(uint64_t *)ticket, QUIESCE_FOREVER, NULL);
}

static void *poll_here(void *group)
{
	struct pollfd *p = calloc(POLLERS, sizeof(*p));
	int ret;

	for (int i = 0; i < POLLERS; i++)
		p[i] = (struct pollfd){ .fd = *(int *)group, .events = POLLIN };
	ret = poll(p, POLLERS, -1);
	free(p);
	return (void *)(intptr_t)ret;
}

/* A wake-up that is cut into pieces reaches every one, whatever kind it is. */
TEST(all_of_many_are_woken)
{
	int group = make_group(2, 0, 0), other, epoll[40];
	pthread_t waiter[WAITERS], poller;
	struct quiesce_arrive a;
	uint64_t ticket;
	void *ret;

	allow_fds(4096);
	waited = join_group(group, 0, NULL);
	other = join_group(group, 0, NULL);
	ASSERT_LE(0, other);
	for (int round = 0; round < 3; round++) {
		struct quiesce_status status;

		ASSERT_EQ(0, arrive(waited, &a));
		ticket = a.ticket;
		ASSERT_EQ(0, status_of(group, &status));
		for (int i = 0; i < 40; i++) {
			struct epoll_event event = {
				.events = EPOLLIN | (i % 2 ? EPOLLEXCLUSIVE : EPOLLET),
			};

			epoll[i] = epoll_create1(EPOLL_CLOEXEC);
			ASSERT_EQ(0, epoll_ctl(epoll[i], EPOLL_CTL_ADD, group, &event));
		}
		ASSERT_EQ(0, pthread_create(&poller, NULL, poll_here, &group));
		for (int i = 0; i < WAITERS; i++)
			ASSERT_EQ(0, pthread_create(&waiter[i], NULL, wait_here, &ticket));
		ASSERT_TRUE(wait_for_waiters(waited, WAITERS));
		ASSERT_EQ(0, arrive(other, NULL));
		for (int i = 0; i < WAITERS; i++) {
			ASSERT_EQ(0, pthread_join(waiter[i], &ret));
			EXPECT_EQ(0, (intptr_t)ret);
		}
		ASSERT_EQ(0, pthread_join(poller, &ret));
		EXPECT_EQ(POLLERS, (intptr_t)ret);
		for (int i = 0; i < 40; i++) {
			struct epoll_event event;

			EXPECT_EQ(1, epoll_wait(epoll[i], &event, 1, 0));
			close(epoll[i]);
		}
	}
}

#define USER_FILES "/sys/module/quiesce/parameters/user_files"

static void set_user_files(unsigned int n)
{
	char text[16];
	int fd = open(USER_FILES, O_WRONLY | O_CLOEXEC);

	check(fd >= 0);
	snprintf(text, sizeof(text), "%u", n);
	check(write(fd, text, strlen(text)) > 0);
	close(fd);
}

/* A user's files of the device are limited: opens, groups and parties. */
TEST(files_of_a_user)
{
	char before[16];

	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	set_user_files(6);
	EXPECT_EQ(0, join(spawn({
		int dev, pair[2], group;
		struct quiesce_pair args = {};

		become_nobody();
		check(make_pair(0, pair) == 0);		/* 2 */
		check((group = make_group(0, 8, 0)) >= 0);	/* 3 */
		check((dev = open_dev()) >= 0);
		check(join_group(group, 0, NULL) >= 0);		/* 4 */
		check(join_group(group, 0, NULL) >= 0);		/* 5 */
		check(ctl(dev, QUIESCE_IOC_PAIR, &args) == -EDQUOT);
		check(join_group(group, 0, NULL) >= 0);		/* 6 */
		check(join_group(group, 0, NULL) == -EDQUOT);
		check(make_group(0, 1, 0) == -EDQUOT);
		/* The device can be opened: that costs nothing of ours. */
		check(open_dev() >= 0);
		/* Calls that were refused are not charged. */
		close(pair[0]);
		check(join_group(group, 0, NULL) >= 0);
		/* Another process of the same user has the same limit. */
		check(join(spawn({ check(make_group(0, 1, 0) == -EDQUOT); })) == 0);
	})));
	/* Another user, who may have more than all, is not limited. */
	EXPECT_EQ(0, join(spawn({
		for (int i = 0; i < 20; i++)
			check(make_group(0, 1, 0) >= 0);
	})));
	/* The objects of the processes above are no longer charged. */
	EXPECT_EQ(0, join(spawn({
		become_nobody();
		for (int i = 0; i < 6; i++)
			check(make_group(0, 1, 0) >= 0);
		check(make_group(0, 1, 0) == -EDQUOT);
	})));
	set_user_files(atoi(before));
}

/* Neither the numbers nor the capabilities in a user namespace change who is charged. */
TEST(files_of_a_user_in_namespaces)
{
	char before[16];

	if (access("/proc/self/ns/user", F_OK))
		SKIP(return, "no user namespaces");
	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	set_user_files(6);
	EXPECT_EQ(0, join(spawn({
		become(SOMEBODY);
		/* Or /proc/self/uid_map is root's. */
		check(prctl(PR_SET_DUMPABLE, 1) == 0);
		for (int i = 0; i < 3; i++)
			check(make_group(0, 1, 0) >= 0);
		/* As root there, with all capabilities. */
		check(join(spawn({
			int fd;

			check(unshare(CLONE_NEWUSER) == 0);
			check((fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC)) >= 0);
			check(write(fd, "0 1000 1", 8) == 8);
			check(getuid() == 0);
			for (int i = 0; i < 3; i++)
				check(make_group(0, 1, 0) >= 0);
			check(make_group(0, 1, 0) == -EDQUOT);
		})) == 0);
		for (int i = 0; i < 3; i++)
			check(make_group(0, 1, 0) >= 0);
		check(make_group(0, 1, 0) == -EDQUOT);
		/* As a user who has no number there. */
		check(join(spawn({
			check(unshare(CLONE_NEWUSER) == 0);
			check(getuid() != SOMEBODY);
			check(make_group(0, 1, 0) == -EDQUOT);
		})) == 0);
	})));
	set_user_files(atoi(before));
}

/* A party that has gone counts for as long as its group keeps it, which is memory too. */
TEST(parties_that_have_gone)
{
	enum { PARTIES = 8 };
	char before[16];

	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	set_user_files(PARTIES + 4);
	EXPECT_EQ(0, join(spawn({
		int group[2], party[PARTIES], last[2];
		struct quiesce_member m;

		become_nobody();
		for (int i = 0; i < 2; i++)
			check((group[i] = make_group(0, PARTIES, QUIESCE_GROUP_SHRINK)) >= 0);
		for (int i = 0; i < PARTIES; i++)
			check((party[i] = join_group(group[0], 0, NULL)) >= 0);
		for (int i = 0; i < PARTIES; i++)
			close(party[i]);
		check(member_of(group[0], PARTIES - 1, &m) == 0);
		check(m.cause.cause == QUIESCE_CAUSE_CLOSE);
		for (int i = 0; i < 2; i++)
			check((last[i] = join_group(group[1], 0, NULL)) >= 0);
		check(join_group(group[1], 0, NULL) == -EDQUOT);
		check(join_group(group[0], 0, NULL) == -EDQUOT);
		/* With a group, what it keeps goes; a seat that is taken again costs no more. */
		close(last[0]);
		close(last[1]);
		close(group[1]);
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < PARTIES; i++)
				check((party[i] = join_group(group[0], 0, NULL)) >= 0);
			for (int i = 0; i < PARTIES; i++)
				close(party[i]);
		}
	})));
	EXPECT_EQ(0, join(spawn({
		int group, party[PARTIES];

		become_nobody();
		/* The same after a reset, which opens the seats. */
		check((group = make_group(0, PARTIES, 0)) >= 0);
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < PARTIES; i++)
				check((party[i] = join_group(group, 0, NULL)) >= 0);
			for (int i = 0; i < PARTIES; i++)
				close(party[i]);
			check(make_group(0, 1, 0) >= 0);
			check(reset(group, NULL) == 0);
		}
		check(make_group(0, 1, 0) == -EDQUOT);
	})));
	set_user_files(atoi(before));
}

/* What one user has is no other user's. */
TEST(users_do_not_share_a_limit)
{
	char before[16];
	struct gate full;
	pid_t pid;

	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	ASSERT_EQ(0, gate_make(&full));
	set_user_files(2);
	pid = spawn({
		become_nobody();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 2; i++)
			check(make_group(0, 1, 0) >= 0);
		check(make_group(0, 1, 0) == -EDQUOT);
		gate_open(&full);
		pause();
	});
	gate_pass(&full);
	EXPECT_EQ(0, join(spawn({
		check(setgid(NOBODY) == 0);
		check(setuid(NOBODY - 1) == 0);
		for (int i = 0; i < 2; i++)
			check(make_group(0, 1, 0) >= 0);
		check(make_group(0, 1, 0) == -EDQUOT);
	})));
	kill(pid, SIGKILL);
	EXPECT_EQ(KILLED, join(pid));
	set_user_files(atoi(before));
}

/* With 0 only the privileged have any. */
TEST(no_files_for_users)
{
	char before[16];

	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	set_user_files(0);
	EXPECT_EQ(0, join(spawn({
		int fd[2];

		become_nobody();
		check(make_group(0, 1, 0) == -EDQUOT);
		check(make_pair(0, fd) == -EDQUOT);
	})));
	EXPECT_LE(0, make_group(0, 1, 0));
	set_user_files(atoi(before));
}

/* Capabilities in a namespace of the user's own do not count. */
TEST(limit_in_a_user_namespace)
{
	char before[16];
	int ret;

	ASSERT_LT(0, read_file(USER_FILES, before, sizeof(before)));
	set_user_files(2);
	ret = join(spawn({
		become_nobody();
		if (unshare(CLONE_NEWUSER))
			_exit(4);
		for (int i = 0; i < 2; i++)
			check(make_group(0, 1, 0) >= 0);
		check(make_group(0, 1, 0) == -EDQUOT);
	}));
	set_user_files(atoi(before));
	if (ret == 4)
		SKIP(return, "no user namespaces");
	EXPECT_EQ(0, ret);
}

#define CGROUP "/tmp/limits.cgroup"

/* Mounts the hierarchy and makes a group with a memory controller; false if there is none. */
static bool make_cgroup(void)
{
	int fd;
	bool ok;

	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		return false;
	fd = open(CGROUP "/cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, "+memory", 7) == 7;
	close(fd);
	if (ok)
		mkdir(CGROUP "/small", 0755);
	else
		umount(CGROUP);
	return ok;
}

static void enter_cgroup(void)
{
	int fd = open(CGROUP "/small/cgroup.procs", O_WRONLY | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, "0", 1) == 1);
	close(fd);
}

static void remove_cgroup(void)
{
	rmdir(CGROUP "/small");
	umount(CGROUP);
}

static long charged(void)
{
	char buf[32];

	check(read_file(CGROUP "/small/memory.current", buf, sizeof(buf)) > 0);
	return atol(buf);
}

/* The cgroup is charged for what a group's parties take, not for what they may become. */
TEST(price_of_a_group)
{
	enum { N = 2000 };
	pid_t pid;

	if (!make_cgroup())
		SKIP(return, "no memory controller");
	allow_fds(N + QUIESCE_MAX_PARTIES + 100);
	pid = spawn({
		struct quiesce_group g = { .max_parties = QUIESCE_MAX_PARTIES };
		int dev = open_dev();
		char files[16];
		long before;
		long empty;
		long parties;

		check(dev >= 0);
		enter_cgroup();
		before = charged();
		for (int i = 0; i < N; i++)
			check(ctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
		empty = (charged() - before) / N;
		/* A file with its inode, and the group; debugging kernels add to each. */
		if (empty < 1024 || empty > 8192)
			TH_LOG("a group is charged %ld bytes", empty);
		check(empty >= 1024 && empty <= 8192);
		/* All that a user can have, before a limit stops it. */
		check(read_file(USER_FILES, files, sizeof(files)) > 0);
		check(atol(files) * empty <= 128 << 20);
		before = charged();
		for (int i = 0; i < QUIESCE_MAX_PARTIES; i++)
			check(join_group(g.fd, 0, NULL) >= 0);
		parties = (charged() - before) / QUIESCE_MAX_PARTIES;
		if (parties < 1024 || parties > 8192)
			TH_LOG("a party is charged %ld bytes", parties);
		check(parties >= 1024 && parties <= 8192);
	});
	EXPECT_EQ(0, join(pid));
	remove_cgroup();
}

/* Objects of kmalloc(): those that no cgroup is charged for, or all. */
static long count_objects(bool all)
{
	FILE *f = fopen("/proc/slabinfo", "re");
	char line[256], name[64];
	long objects, sum = 0;
	int size;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %ld", name, &objects) != 2)
			continue;
		if (sscanf(name, "kmalloc-%d", &size) == 1 || !strncmp(name, "kmalloc-rnd-", 12) ||
		    (all && !strncmp(name, "kmalloc-cg-", 11)))
			sum += objects;
	}
	if (f)
		fclose(f);
	return sum;
}

#define not_charged() count_objects(false)

/* Nothing that grows with the number of groups or parties is without a charge. */
TEST(nothing_is_free_of_charge)
{
	enum { N = 2000 };
	pid_t pid;

	if (!not_charged())
		SKIP(return, "no SLUB_DEBUG");
	if (!make_cgroup())
		SKIP(return, "no memory controller");
	allow_fds(N + QUIESCE_MAX_PARTIES + 100);
	pid = spawn({
		struct quiesce_group g = { .max_parties = QUIESCE_MAX_PARTIES };
		int dev = open_dev();
		long before, groups, parties;

		check(dev >= 0);
		enter_cgroup();
		before = not_charged();
		for (int i = 0; i < N; i++)
			check(ctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
		groups = not_charged() - before;
		before = not_charged();
		for (int i = 0; i < QUIESCE_MAX_PARTIES; i++)
			check(join_group(g.fd, 0, NULL) >= 0);
		parties = not_charged() - before;
		if (groups >= N / 2 || parties >= QUIESCE_MAX_PARTIES / 2)
			TH_LOG("%ld objects of %d groups, %ld of %d parties", groups, N, parties,
			       QUIESCE_MAX_PARTIES);
		/* What the CPUs keep for themselves is counted as in use. */
		check(groups < N / 2 && parties < QUIESCE_MAX_PARTIES / 2);
	});
	EXPECT_EQ(0, join(pid));
	remove_cgroup();
}

/* Nor what each group has once, or what a party has that ends with its process. */
TEST(small_groups_are_charged)
{
	/* Not more than may be bound to one process. */
	enum { N = 1000 };
	pid_t pid;

	if (!not_charged())
		SKIP(return, "no SLUB_DEBUG");
	if (!make_cgroup())
		SKIP(return, "no memory controller");
	allow_fds(3 * N + 100);
	pid = spawn({
		int group[N];
		int dev = open_dev();
		long before, first, bound;

		check(dev >= 0);
		enter_cgroup();
		for (int i = 0; i < N; i++) {
			struct quiesce_group g = { .max_parties = 2 };

			check(ctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
			group[i] = g.fd;
		}
		before = not_charged();
		for (int i = 0; i < N; i++)
			check(join_group(group[i], 0, NULL) >= 0);
		first = not_charged() - before;
		before = not_charged();
		for (int i = 0; i < N; i++)
			check(join_group(group[i], QUIESCE_BIND_PROCESS, NULL) >= 0);
		bound = not_charged() - before;
		if (first >= N / 2 || bound >= N / 2)
			TH_LOG("%ld objects of first parties, %ld of bound ones", first, bound);
		check(first < N / 2 && bound < N / 2);
	});
	EXPECT_EQ(0, join(pid));
	remove_cgroup();
}

#define CACHES "/sys/kernel/slab"

/* Objects of kmalloc(), without those that are free but kept: by the CPUs, and by KASAN. */
static long count_used_objects(void)
{
	struct dirent *entry;
	DIR *dir = opendir(CACHES);
	char path[300];
	int fd;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "kmalloc-", 8))
			continue;
		snprintf(path, sizeof(path), CACHES "/%s/shrink", entry->d_name);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		check(fd >= 0 && write(fd, "1", 1) == 1);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return count_objects(true);
}

/* Nothing is left of what was closed, however many users, processes and opens there were. */
TEST(nothing_is_left)
{
	enum { N = 2000 };

	if (!count_objects(true))
		SKIP(return, "no SLUB_DEBUG");
	EXPECT_EQ(0, join(spawn({
		long before = 0;
		long left;

		/* The first rounds are for what the kernel keeps. */
		for (int i = -200; i < N; i++) {
			struct quiesce_group g = { .max_parties = 1 };
			int dev;
			int party;

			if (!i)
				before = count_used_objects();
			/* The real uid is charged; the effective one may change it. */
			check(setreuid(100000 + i, 0) == 0);
			check((dev = open_dev()) >= 0);
			check(ctl(dev, QUIESCE_IOC_GROUP, &g) == 0);
			check((party = join_group(g.fd, QUIESCE_BIND_PROCESS, NULL)) >= 0);
			close(party);
			close(g.fd);
			close(dev);
		}
		/* RCU has yet to free the last ones. */
		for (uint64_t end = in_ms(20000);; nap()) {
			left = count_used_objects() - before;
			if (left < N / 2 || clock_ns(CLOCK_MONOTONIC) > end)
				break;
		}
		if (left >= N / 2)
			TH_LOG("%ld objects of %d rounds are left", left, N);
		check(left < N / 2);
	})));
}

/* At the cgroup's limit a call fails; nobody is killed. */
TEST(cgroup_limit)
{
	char buf[1024], *kills;
	pid_t pid;
	int fd;

	if (!make_cgroup())
		SKIP(return, "no memory controller");
	fd = open(CGROUP "/small/memory.max", O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(3, write(fd, "24M", 3));
	close(fd);
	allow_fds(60000);
	pid = spawn({
		struct quiesce_pair pair = {};
		int dev;
		int ret;

		enter_cgroup();
		dev = open_dev();
		while (!(ret = ctl(dev, QUIESCE_IOC_PAIR, &pair)) || ret == -EDQUOT) {
			if (ret)
				dev = open_dev();
		}
		check(ret == -ENOMEM);
	});
	EXPECT_EQ(0, join(pid));
	ASSERT_LT(0, read_file(CGROUP "/small/memory.events", buf, sizeof(buf)));
	kills = strstr(buf, "oom_kill ");
	ASSERT_NE(NULL, kills);
	EXPECT_EQ(0, atoi(kills + strlen("oom_kill ")));
	remove_cgroup();
}

TEST_HARNESS_MAIN
