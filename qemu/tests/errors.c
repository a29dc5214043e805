// SPDX-License-Identifier: GPL-2.0
/* Each bad input by itself, with the error that the header promises for it. */
#include "ops.h"

#include <limits.h>
#include <stddef.h>
#include <sys/resource.h>

enum kind { DEVICE, PAIR, PARTY, GROUP, KINDS };

/* Each command, and arguments with which it succeeds. */
struct command {
	const char *name;
	unsigned int cmd;
	unsigned int kinds;		/* bits: where it is one */
	unsigned int flags;		/* defined bits, together */
	int at_flags, at_reserved;	/* offsets, -1 where there is none */
	size_t first;			/* size in the first version */
	size_t size;			/* size in this version */
};

#define ON(kind) (1U << (kind))
#define CMD_FROM(first_, n, s, kinds_, flags_, at_flags_, at_reserved_)		\
	{ #n, QUIESCE_IOC_##n, kinds_, flags_, at_flags_, at_reserved_, first_, sizeof(struct s) }
#define CMD(n, s, ...) CMD_FROM(sizeof(struct s), n, s, __VA_ARGS__)
#define AT(s, m) ((int)offsetof(struct s, m))

static const struct command commands[] = {
	CMD(FEATURES, quiesce_features, ON(DEVICE), 0, -1, AT(quiesce_features, reserved)),
	CMD(PAIR, quiesce_pair, ON(DEVICE), QUIESCE_FD_INHERIT,
	    AT(quiesce_pair, flags), AT(quiesce_pair, reserved)),
	CMD(GROUP, quiesce_group, ON(DEVICE),
	    QUIESCE_FD_INHERIT | QUIESCE_GROUP_SHRINK | QUIESCE_GROUP_COMPLETION,
	    AT(quiesce_group, flags), -1),
	CMD(ARRIVE, quiesce_arrive, ON(PAIR), 0, AT(quiesce_arrive, flags), -1),
	CMD(ARRIVE, quiesce_arrive, ON(PARTY), QUIESCE_ARRIVE_DROP, AT(quiesce_arrive, flags), -1),
	CMD(WAIT, quiesce_wait, ON(PAIR), QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME,
	    AT(quiesce_wait, flags), AT(quiesce_wait, reserved)),
	CMD(WAIT, quiesce_wait, ON(PARTY),
	    QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME | QUIESCE_WAIT_BREAK,
	    AT(quiesce_wait, flags), AT(quiesce_wait, reserved)),
	CMD(ARRIVE_WAIT, quiesce_wait, ON(PAIR), QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME,
	    AT(quiesce_wait, flags), AT(quiesce_wait, reserved)),
	CMD(ARRIVE_WAIT, quiesce_wait, ON(PARTY),
	    QUIESCE_WAIT_REALTIME | QUIESCE_WAIT_BOOTTIME | QUIESCE_WAIT_BREAK,
	    AT(quiesce_wait, flags), AT(quiesce_wait, reserved)),
	CMD(ABORT, quiesce_abort, ON(PAIR) | ON(PARTY) | ON(GROUP), 0,
	    AT(quiesce_abort, flags), -1),
	CMD(BIND, quiesce_bind, ON(PAIR) | ON(PARTY), QUIESCE_BIND_PROCESS,
	    AT(quiesce_bind, flags), AT(quiesce_bind, reserved)),
	CMD(STATUS, quiesce_status, ON(PAIR) | ON(PARTY) | ON(GROUP), 0,
	    AT(quiesce_status, flags), -1),
	CMD_FROM(48, MEMBER, quiesce_member, ON(PAIR) | ON(PARTY) | ON(GROUP), 0, -1, -1),
	CMD(JOIN, quiesce_join, ON(GROUP), QUIESCE_FD_INHERIT | QUIESCE_BIND_PROCESS,
	    AT(quiesce_join, flags), AT(quiesce_join, reserved)),
	CMD(RESET, quiesce_reset, ON(GROUP), 0,
	    AT(quiesce_reset, flags), AT(quiesce_reset, reserved)),
	CMD(COMPLETE, quiesce_complete, ON(PARTY), 0,
	    AT(quiesce_complete, flags), AT(quiesce_complete, reserved)),
};

#define NCOMMANDS ARRAY_SIZE(commands)

/*
 * Descriptors of one kind each: a pair's party whose other side has placed, a
 * party of a group of its own, and a group with an open seat.
 */
static int open_kind(int kind)
{
	int fd[2], group;

	switch (kind) {
	case DEVICE:
		return open_dev();
	case PAIR:
		if (make_pair(0, fd) || place(fd[1]))
			return -1;
		return fd[0];
	case PARTY:
		group = make_group(1, 0, 0);
		return join_group(group, 0, NULL);
	case GROUP:
		return make_group(2, 0, 0);
	default:
		return -1;
	}
}

/* Arguments that succeed on open_kind(kind). */
union args {
	char bytes[256];
	struct quiesce_group group;
	struct quiesce_arrive arrive;
	struct quiesce_wait wait;
	struct quiesce_member member;
	struct quiesce_complete complete;
};

static void good_args(const struct command *c, int kind, union args *a)
{
	memset(a, 0, sizeof(*a));
	switch (c->cmd) {
	case QUIESCE_IOC_GROUP:
		a->group.parties = 1;
		break;
	case QUIESCE_IOC_ARRIVE:
		a->arrive.count = 1;
		break;
	case QUIESCE_IOC_ARRIVE_WAIT:
		a->wait.count = 1;
		a->wait.kind = kind == PAIR ? QUIESCE_WAIT_SYNC : QUIESCE_WAIT_PHASE;
		break;
	case QUIESCE_IOC_WAIT:
		a->wait.kind = kind == PAIR ? QUIESCE_WAIT_NEXT : QUIESCE_WAIT_PHASE;
		if (kind == PARTY)
			a->wait.ticket = 1;
		break;
	case QUIESCE_IOC_COMPLETE:
		a->complete.ticket = 1;
		break;
	}
}

static unsigned int sized(const struct command *c, size_t size)
{
	return _IOC(_IOC_DIR(c->cmd), _IOC_TYPE(c->cmd), _IOC_NR(c->cmd), size);
}

/* The waits of a group's party need an arrival before, and COMPLETE a leader. */
static int prepare(const struct command *c, int kind)
{
	int fd;

	if (c->cmd == QUIESCE_IOC_COMPLETE) {
		fd = join_group(make_group(1, 0, QUIESCE_GROUP_COMPLETION), 0, NULL);
		return place(fd) ? -1 : fd;
	}
	fd = open_kind(kind);

	if (kind == PARTY && c->cmd == QUIESCE_IOC_WAIT && place(fd))
		return -1;
	return fd;
}

#define FOR_EACH(c, kind, fd)						\
	for (const struct command *(c) = commands; (c) < commands + NCOMMANDS; (c)++)	\
		for (int kind = 0; (kind) < KINDS; (kind)++)		\
			if ((c)->kinds & ON(kind))			\
				for (int fd = prepare(c, kind), once = 1; once;	\
				     once = 0, close_all())

/* Whatever a case has made: descriptors above those that the test began with. */
static int lowest;

static void close_all(void)
{
	close_range(lowest, ~0U, 0);
}

#define BEGIN() do {							\
	lowest = dup(0);						\
	if (lowest < 0)							\
		lowest = open("/dev/null", O_RDWR);			\
	ASSERT_LE(0, lowest);						\
	close(lowest);							\
} while (0)

static const char *const kind_names[] = { "device", "pair", "party", "group" };

#define SHOW(c, kind) TH_LOG("%s on %s", (c)->name, kind_names[kind])

TEST(good_calls_succeed)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		ASSERT_LE(0, fd) SHOW(c, kind);
		good_args(c, kind, &a);
		EXPECT_EQ(0, ctl(fd, c->cmd, &a)) SHOW(c, kind);
	}
}

TEST(struct_not_accessible)
{
	BEGIN();
	FOR_EACH(c, kind, fd) {
		EXPECT_EQ(-EFAULT, ctl(fd, c->cmd, NULL)) SHOW(c, kind);
		EXPECT_EQ(-EFAULT, ctl(fd, c->cmd, (void *)-4096UL)) SHOW(c, kind);
	}
}

/* The struct begins in a page that is there and ends in one that is not. */
TEST(struct_accessible_in_part)
{
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	union args a;

	BEGIN();
	ASSERT_EQ(0, munmap(map + 4096, 4096));
	FOR_EACH(c, kind, fd) {
		char *p = map + 4096 - (c->first - 4);

		good_args(c, kind, &a);
		memcpy(p, &a, c->first - 4);
		EXPECT_EQ(-EFAULT, ctl(fd, c->cmd, p)) SHOW(c, kind);
	}
	munmap(map, 4096);
}

/* It can be read, but the answer cannot be written: nothing is left behind. */
TEST(struct_read_only)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	union args *a = (void *)page;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		int before = count_fds();

		if (c->cmd == QUIESCE_IOC_BIND)
			continue;
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ | PROT_WRITE));
		good_args(c, kind, a);
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
		EXPECT_EQ(-EFAULT, ctl(fd, c->cmd, a)) SHOW(c, kind);
		EXPECT_EQ(before, count_fds()) SHOW(c, kind);
	}
	munmap(page, 4096);
}

TEST(struct_too_small)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		good_args(c, kind, &a);
		EXPECT_EQ(-EINVAL, ctl(fd, sized(c, c->first - 1), &a)) SHOW(c, kind);
		EXPECT_EQ(-EINVAL, ctl(fd, sized(c, c->first - 8), &a)) SHOW(c, kind);
		EXPECT_EQ(-EINVAL, ctl(fd, sized(c, 4), &a)) SHOW(c, kind);
		EXPECT_EQ(-EINVAL, ctl(fd, sized(c, 0), &a)) SHOW(c, kind);
	}
}

TEST(struct_larger_and_not_zero)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		good_args(c, kind, &a);
		a.bytes[c->size + 7] = 1;
		EXPECT_EQ(-E2BIG, ctl(fd, sized(c, c->size + 8), &a)) SHOW(c, kind);
		a.bytes[c->size + 7] = 0;
		a.bytes[c->size] = 1;
		EXPECT_EQ(-E2BIG, ctl(fd, sized(c, c->size + 8), &a)) SHOW(c, kind);
		EXPECT_EQ(-E2BIG, ctl(fd, sized(c, sizeof(a)), &a)) SHOW(c, kind);
	}
}

/* A program that was built when the struct was smaller. */
TEST(struct_of_the_first_version)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		good_args(c, kind, &a);
		memset(a.bytes + c->first, 0x5a, sizeof(a) - c->first);
		EXPECT_EQ(0, ctl(fd, sized(c, c->first), &a)) SHOW(c, kind);
		for (size_t i = c->first; i < sizeof(a); i++)
			ASSERT_EQ(0x5a, a.bytes[i]);
	}
}

TEST(struct_larger_and_zero)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		good_args(c, kind, &a);
		EXPECT_EQ(0, ctl(fd, sized(c, sizeof(a)), &a)) SHOW(c, kind);
		/* The kernel has not written members that it does not know. */
		for (size_t i = c->size; i < sizeof(a); i++)
			ASSERT_EQ(0, a.bytes[i]);
	}
}

TEST(flags_unknown)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		for (int bit = 0; c->at_flags >= 0 && bit < 32; bit++) {
			uint32_t flag = 1U << bit;

			if (flag & c->flags)
				continue;
			good_args(c, kind, &a);
			memcpy(a.bytes + c->at_flags, &flag, sizeof(flag));
			EXPECT_EQ(-EINVAL, ctl(fd, c->cmd, &a)) {
				SHOW(c, kind);
				TH_LOG("flag %#x", flag);
			}
		}
	}
}

TEST(reserved_not_zero)
{
	union args a;

	BEGIN();
	FOR_EACH(c, kind, fd) {
		for (int bit = 0; c->at_reserved >= 0 && bit < 32; bit++) {
			uint32_t value = 1U << bit;

			good_args(c, kind, &a);
			memcpy(a.bytes + c->at_reserved, &value, sizeof(value));
			EXPECT_EQ(-EINVAL, ctl(fd, c->cmd, &a)) SHOW(c, kind);
		}
	}
}

/* Every command on every kind of descriptor that it is not one of. */
TEST(command_of_another_kind)
{
	union args a;

	BEGIN();
	for (int kind = 0; kind < KINDS; kind++) {
		int fd = open_kind(kind);

		ASSERT_LE(0, fd);
		for (const struct command *c = commands; c < commands + NCOMMANDS; c++) {
			bool is_one = false;

			for (const struct command *d = commands; d < commands + NCOMMANDS; d++)
				is_one |= d->cmd == c->cmd && (d->kinds & ON(kind));
			if (is_one)
				continue;
			good_args(c, kind, &a);
			EXPECT_EQ(-ENOTTY, ctl(fd, c->cmd, &a)) SHOW(c, kind);
		}
		if (kind != PARTY)
			EXPECT_EQ(-ENOTTY, leave(fd));
		close_all();
	}
}

static unsigned int unknown(unsigned int nr)
{
	return _IOC(_IOC_READ | _IOC_WRITE, QUIESCE_IOC_MAGIC, nr, 64);
}

/* A direction that the command does not have is another command. */
TEST(direction)
{
	BEGIN();
	FOR_EACH(c, kind, fd) {
		union args a;

		for (unsigned int dir = 0; dir < 4; dir++) {
			unsigned int cmd = _IOC(dir, _IOC_TYPE(c->cmd), _IOC_NR(c->cmd),
						_IOC_SIZE(c->cmd));

			good_args(c, kind, &a);
			if (dir != _IOC_DIR(c->cmd))
				EXPECT_EQ(-ENOTTY, ctl(fd, cmd, &a)) SHOW(c, kind);
		}
	}
}

/*
 * LEAVE has no struct. What a later version may add has to be zero, and another
 * direction is no command.
 */
TEST(leave_has_no_struct)
{
	unsigned int nr = _IOC_NR(QUIESCE_IOC_LEAVE);
	struct quiesce_status s;
	uint64_t more[2] = {};
	int party;

	BEGIN();
	party = open_kind(PARTY);
	ASSERT_LE(0, party);
	for (unsigned int dir = 0; dir < 4; dir++) {
		if (dir != _IOC_DIR(QUIESCE_IOC_LEAVE))
			EXPECT_EQ(-ENOTTY, ctl(party, _IOC(dir, QUIESCE_IOC_MAGIC, nr, 0), NULL));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = 1;
		EXPECT_EQ(-E2BIG, ctl(party, _IOC(_IOC_NONE, QUIESCE_IOC_MAGIC, nr, sizeof(more)),
				      more));
		more[i] = 0;
	}
	EXPECT_EQ(-EFAULT, ctl(party, _IOC(_IOC_NONE, QUIESCE_IOC_MAGIC, nr, sizeof(more)),
			       (void *)-4096UL));
	ASSERT_EQ(0, status_of(party, &s));
	EXPECT_EQ(0, s.state);
	EXPECT_EQ(0, ctl(party, _IOC(_IOC_NONE, QUIESCE_IOC_MAGIC, nr, sizeof(more)), more));
	EXPECT_EQ(-ENOTCONN, place(party));
	close_all();
}

/* A call without a third argument has there whatever was in the register. */
TEST(leave_without_an_argument)
{
	static void *const garbage[] = {
		(void *)-1L, (void *)-4096L, (void *)LONG_MIN, (void *)1L
	};

	BEGIN();
	for (unsigned int i = 0; i < ARRAY_SIZE(garbage); i++) {
		int party = open_kind(PARTY);

		ASSERT_LE(0, party);
		EXPECT_EQ(0, ctl(party, QUIESCE_IOC_LEAVE, garbage[i]));
		EXPECT_EQ(-ENOTCONN, ctl(party, QUIESCE_IOC_LEAVE, garbage[i]));
		close_all();
	}
}

TEST(command_unknown)
{
	char args[64] = {};

	BEGIN();
	for (int kind = 0; kind < KINDS; kind++) {
		int fd = open_kind(kind);

		ASSERT_LE(0, fd);
		for (unsigned int nr = 0; nr < 256; nr++) {
			bool known = nr == _IOC_NR(QUIESCE_IOC_LEAVE);

			for (unsigned int i = 0; i < NCOMMANDS; i++)
				known |= nr == _IOC_NR(commands[i].cmd);
			if (!known)
				EXPECT_EQ(-ENOTTY, ctl(fd, unknown(nr), args));
		}
		/* The right number of another driver's. */
		EXPECT_EQ(-ENOTTY, ctl(fd, _IOC(3, 'N', _IOC_NR(QUIESCE_IOC_PAIR), 16), args));
		EXPECT_EQ(-ENOTTY, ctl(fd, _IOC(3, 'N', _IOC_NR(QUIESCE_IOC_STATUS), 16), args));
		EXPECT_EQ(-ENOTTY, ctl(fd, TIOCGWINSZ, args));
		close_all();
	}
}

/* They are no files to read, write, map or seek in. */
TEST(not_a_file)
{
	char c = 0;

	BEGIN();
	for (int kind = 0; kind < KINDS; kind++) {
		int fd = open_kind(kind);

		ASSERT_LE(0, fd);
		EXPECT_EQ(-1, read(fd, &c, 1));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, write(fd, &c, 1));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_TRUE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
		EXPECT_EQ(ENODEV, errno);
		close_all();
	}
}

TEST(group_out_of_range)
{
	static const struct {
		unsigned int parties, max;
	} bad[] = {
		{ 0, 0 },				/* no seat at all */
		{ 2, 1 },				/* more than there may be */
		{ 1, QUIESCE_MAX_PARTIES + 1 },
		{ QUIESCE_MAX_PARTIES + 1, 0 },
		{ UINT32_MAX, 0 },
		{ UINT32_MAX, UINT32_MAX },
		{ 1, UINT32_MAX },
	};

	BEGIN();
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, make_group(bad[i].parties, bad[i].max, 0));
	EXPECT_LE(0, make_group(0, 1, 0));
	EXPECT_LE(0, make_group(1, 1, 0));
	EXPECT_LE(0, make_group(QUIESCE_MAX_PARTIES, 0, 0));
	EXPECT_LE(0, make_group(1, QUIESCE_MAX_PARTIES, 0));
	close_all();
}

TEST(wait_kinds)
{
	struct quiesce_member m;
	struct quiesce_wait w;
	int pair, party;

	BEGIN();
	pair = open_kind(PAIR);
	party = open_kind(PARTY);
	for (uint32_t kind = 0; kind < 40; kind++) {
		bool of_pair = kind >= QUIESCE_WAIT_NEXT && kind <= QUIESCE_WAIT_ABORTION;

		if (!of_pair) {
			EXPECT_EQ(-EINVAL, wait_for(pair, kind, QUIESCE_NOW, &w));
			EXPECT_EQ(-EINVAL, place_wait(pair, kind, QUIESCE_NOW, &w));
		}
		if (kind != QUIESCE_WAIT_PHASE) {
			w = wait_args(kind, QUIESCE_NOW);
			w.ticket = 1;
			EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_WAIT, &w));
			EXPECT_EQ(-EINVAL, place_wait(party, kind, QUIESCE_NOW, &w));
		}
	}
	EXPECT_EQ(-EINVAL, wait_for(pair, UINT32_MAX, QUIESCE_NOW, &w));
	/* None of them has placed or arrived. */
	ASSERT_EQ(0, member_of(pair, 0, &m));
	EXPECT_EQ(0, m.count);
	ASSERT_EQ(0, member_of(party, 0, &m));
	EXPECT_EQ(0, m.count);
	close_all();
}

TEST(counts_and_tickets)
{
	struct quiesce_arrive a;
	struct quiesce_member m;
	struct quiesce_wait w;
	int pair, party;

	BEGIN();
	pair = open_kind(PAIR);
	party = open_kind(PARTY);

	a = arrive_args(0);
	EXPECT_EQ(-EINVAL, ctl(pair, QUIESCE_IOC_ARRIVE, &a));
	a = arrive_args(0);
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_ARRIVE, &a));
	a = arrive_args(2);
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_ARRIVE, &a));

	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	EXPECT_EQ(-EINVAL, ctl(pair, QUIESCE_IOC_ARRIVE_WAIT, &w));
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_ARRIVE_WAIT, &w));
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.count = 2;
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_ARRIVE_WAIT, &w));

	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	w.count = 1;
	EXPECT_EQ(-EINVAL, ctl(pair, QUIESCE_IOC_WAIT, &w));
	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	w.ticket = 1;
	EXPECT_EQ(-EINVAL, ctl(pair, QUIESCE_IOC_WAIT, &w));
	w = wait_args(QUIESCE_WAIT_PHASE, QUIESCE_NOW);
	w.ticket = 1;
	w.count = 1;
	EXPECT_EQ(-EINVAL, ctl(party, QUIESCE_IOC_WAIT, &w));

	ASSERT_EQ(0, member_of(pair, 0, &m));
	EXPECT_EQ(0, m.count);
	ASSERT_EQ(0, member_of(party, 0, &m));
	EXPECT_EQ(0, m.count);
	EXPECT_EQ(-ESRCH, member_of(pair, 2, &m));
	EXPECT_EQ(-ESRCH, member_of(pair, QUIESCE_NOBODY, &m));
	close_all();
}

TEST(late_not_accessible)
{
	struct quiesce_status s;
	int fd;

	BEGIN();
	for (int kind = PAIR; kind < KINDS; kind++) {
		fd = open_kind(kind);
		EXPECT_EQ(-EFAULT, status_late(fd, &s, (uint64_t *)4096));
		/* late_words is 0: the pointer is not read. */
		memset(&s, 0, sizeof(s));
		s.late = 4096;
		EXPECT_EQ(0, ctl(fd, QUIESCE_IOC_STATUS, &s));
		/* No pointer: not written. */
		memset(&s, 0, sizeof(s));
		s.late_words = 16;
		EXPECT_EQ(0, ctl(fd, QUIESCE_IOC_STATUS, &s));
	}
	close_all();
}

TEST(features)
{
	struct quiesce_features f;
	int fd;

	BEGIN();
	fd = open_kind(DEVICE);
	memset(&f, POISON, sizeof(f));
	f.reserved = 0;
	ASSERT_EQ(0, ctl(fd, QUIESCE_IOC_FEATURES, &f));
	EXPECT_EQ(QUIESCE_VERSION, f.version);
	EXPECT_EQ(QUIESCE_FEATURE_PAIR | QUIESCE_FEATURE_GROUP | QUIESCE_FEATURE_BIND |
		  QUIESCE_FEATURE_COMPLETION, f.features);
	EXPECT_EQ(QUIESCE_MAX_PARTIES, f.max_parties);
	EXPECT_EQ(QUIESCE_MAX_OBJECTS, f.max_objects);
	close_all();
}

TEST(descriptors_run_out)
{
	struct rlimit old, limit;
	struct quiesce_pair p;
	struct quiesce_group g;
	struct quiesce_join j;
	int dev, group, before, next;

	BEGIN();
	group = open_kind(GROUP);
	dev = open_kind(DEVICE);
	next = dup(dev);
	close(next);
	before = count_fds();
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = old;

	/* Room for one: a pair needs two, and takes none. */
	limit.rlim_cur = next + 1;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	memset(&p, 0, sizeof(p));
	EXPECT_EQ(-EMFILE, ctl(dev, QUIESCE_IOC_PAIR, &p));

	limit.rlim_cur = next;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	memset(&p, 0, sizeof(p));
	EXPECT_EQ(-EMFILE, ctl(dev, QUIESCE_IOC_PAIR, &p));
	memset(&g, 0, sizeof(g));
	g.parties = 1;
	EXPECT_EQ(-EMFILE, ctl(dev, QUIESCE_IOC_GROUP, &g));
	memset(&j, 0, sizeof(j));
	EXPECT_EQ(-EMFILE, ctl(group, QUIESCE_IOC_JOIN, &j));

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(before, count_fds());
	/* The seat for which the join failed is still open. */
	EXPECT_EQ(0, ctl(group, QUIESCE_IOC_JOIN, &j));
	EXPECT_EQ(0, j.party);
	close_all();
}

TEST(objects_run_out)
{
	struct rlimit limit = { QUIESCE_MAX_OBJECTS + 64, QUIESCE_MAX_OBJECTS + 64 };
	struct quiesce_group g;
	struct quiesce_pair p;
	int dev, last = -1;

	BEGIN();
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	dev = open_kind(DEVICE);
	memset(&g, 0, sizeof(g));
	g.parties = 1;
	for (int i = 0; i < QUIESCE_MAX_OBJECTS; i++) {
		ASSERT_EQ(0, ctl(dev, QUIESCE_IOC_GROUP, &g));
		last = g.fd;
	}
	EXPECT_EQ(-EDQUOT, ctl(dev, QUIESCE_IOC_GROUP, &g));
	memset(&p, 0, sizeof(p));
	EXPECT_EQ(-EDQUOT, ctl(dev, QUIESCE_IOC_PAIR, &p));
	/* Another open file has a separate count. */
	EXPECT_EQ(0, make_pair(0, p.fd));
	/* Closing one object allows creating another. */
	close(last);
	memset(&p, 0, sizeof(p));
	EXPECT_EQ(0, ctl(dev, QUIESCE_IOC_PAIR, &p));
	EXPECT_EQ(-EDQUOT, ctl(dev, QUIESCE_IOC_GROUP, &g));
	close(p.fd[0]);
	EXPECT_EQ(-EDQUOT, ctl(dev, QUIESCE_IOC_GROUP, &g));
	close(p.fd[1]);
	EXPECT_EQ(0, ctl(dev, QUIESCE_IOC_GROUP, &g));
	close_all();
}

/* A pair counts up to INT64_MAX places a side, and places none beyond. */
TEST(counters_at_their_edges)
{
	struct quiesce_arrive a;
	struct quiesce_status s;
	struct quiesce_wait w;
	int fd[2];

	BEGIN();
	ASSERT_EQ(0, make_pair(0, fd));
	a = arrive_args(UINT64_MAX);
	EXPECT_EQ(-EOVERFLOW, ctl(fd[0], QUIESCE_IOC_ARRIVE, &a));
	a = arrive_args((uint64_t)INT64_MAX + 1);
	EXPECT_EQ(-EOVERFLOW, ctl(fd[0], QUIESCE_IOC_ARRIVE, &a));
	ASSERT_EQ(0, status_of(fd[0], &s));
	EXPECT_EQ(0, s.sent);
	EXPECT_EQ(0, s.balance);

	a = arrive_args(INT64_MAX - 1);
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE, &a));
	EXPECT_EQ(INT64_MAX - 1, a.balance);
	a = arrive_args(2);
	EXPECT_EQ(-EOVERFLOW, ctl(fd[0], QUIESCE_IOC_ARRIVE, &a));
	w = wait_args(QUIESCE_WAIT_SYNC, QUIESCE_NOW);
	w.count = 2;
	EXPECT_EQ(-EOVERFLOW, ctl(fd[0], QUIESCE_IOC_ARRIVE_WAIT, &w));
	a = arrive_args(1);
	EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_ARRIVE, &a));
	EXPECT_EQ(INT64_MAX, a.ticket);
	EXPECT_EQ(INT64_MAX, a.balance);
	EXPECT_EQ(-EOVERFLOW, place(fd[0]));
	EXPECT_EQ(-EOVERFLOW, place_wait(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));

	/* The other side reads them all at once, and can do the same. */
	EXPECT_EQ(0, wait_for(fd[1], QUIESCE_WAIT_NEXT, QUIESCE_NOW, &w));
	EXPECT_EQ(-INT64_MAX, w.balance);
	a = arrive_args(INT64_MAX);
	EXPECT_EQ(0, ctl(fd[1], QUIESCE_IOC_ARRIVE, &a));
	EXPECT_EQ(0, a.balance);
	EXPECT_EQ(-EOVERFLOW, place(fd[1]));
	EXPECT_EQ(0, wait_for(fd[0], QUIESCE_WAIT_SYNC, QUIESCE_NOW, &w));
	EXPECT_EQ(0, w.balance);
	/* And still be aborted. */
	EXPECT_EQ(0, abort_with(fd[0], 7, NULL));
	EXPECT_EQ(0, wait_for(fd[1], QUIESCE_WAIT_ABORTION, QUIESCE_NOW, &w));
	EXPECT_EQ(7, w.cause.code);
	close_all();
}

/* Deadlines: both clocks, all of the past, all of the future. */
TEST(deadlines)
{
	struct quiesce_wait w;
	uint64_t soon;
	pid_t pid;
	int fd[2];

	BEGIN();
	ASSERT_EQ(0, make_pair(0, fd));
	for (int realtime = 0; realtime < 2; realtime++) {
		clockid_t clock = realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC;
		uint64_t past[] = { QUIESCE_NOW, 1, clock_ns(clock) - 1 };
		uint64_t future[] = {
			QUIESCE_FOREVER, QUIESCE_FOREVER - 1, INT64_MAX,
			(uint64_t)INT64_MAX + 1, clock_ns(clock) + 1000 * NSEC_PER_SEC,
		};

		for (unsigned int i = 0; i < ARRAY_SIZE(past); i++) {
			w = wait_args(QUIESCE_WAIT_NEXT, past[i]);
			w.flags = realtime ? QUIESCE_WAIT_REALTIME : 0;
			EXPECT_EQ(-ETIMEDOUT, ctl(fd[0], QUIESCE_IOC_WAIT, &w));
		}
		soon = clock_ns(clock) + BLOCKS_MS * NSEC_PER_MSEC;
		w = wait_args(QUIESCE_WAIT_NEXT, soon);
		w.flags = realtime ? QUIESCE_WAIT_REALTIME : 0;
		EXPECT_EQ(-ETIMEDOUT, ctl(fd[0], QUIESCE_IOC_WAIT, &w));
		EXPECT_LE(soon, clock_ns(clock));

		for (unsigned int i = 0; i < ARRAY_SIZE(future); i++) {
			pid = spawn({
				w = wait_args(QUIESCE_WAIT_NEXT, future[i]);
				w.flags = realtime ? QUIESCE_WAIT_REALTIME : 0;
				check(ctl(fd[0], QUIESCE_IOC_WAIT, &w) == 0);
			});
			ASSERT_TRUE(wait_asleep(pid));
			ASSERT_EQ(0, place(fd[1]));
			ASSERT_EQ(0, join(pid));
		}
		/* A result is preferred to a deadline that has passed. */
		ASSERT_EQ(0, place(fd[1]));
		w = wait_args(QUIESCE_WAIT_NEXT, 1);
		w.flags = realtime ? QUIESCE_WAIT_REALTIME : 0;
		EXPECT_EQ(0, ctl(fd[0], QUIESCE_IOC_WAIT, &w));
	}
	close_all();
}

TEST_HARNESS_MAIN
