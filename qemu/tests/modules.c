// SPDX-License-Identifier: GPL-2.0
/* Many modules that defer at the same time: one module, under many names. */
#include "common.h"

#include <stdarg.h>
#include <sys/stat.h>

#define HOLDER "quiesce_rcu_holder"
/* More than barrier() waits for at a time. */
#define MODULES 12
/* Any of them may be the one that is left out; on a slow kernel not each one is. */
#define ROUNDS MODULES
/* As many as there are accounts. */
#define ACCOUNTS 512
#define PATIENCE_MS 60000

struct image {
	char *bytes;
	size_t size;
};

static struct image read_module(const char *name)
{
	struct image image;
	char path[64];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0 && !fstat(fd, &st));
	image.size = st.st_size;
	image.bytes = malloc(image.size);
	check(image.bytes && read(fd, image.bytes, image.size) == (ssize_t)image.size);
	close(fd);
	return image;
}

static __attribute__((format(printf, 2, 3)))
int load(const struct image *image, const char *fmt, ...)
{
	char parameters[128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(parameters, sizeof(parameters), fmt, args);
	va_end(args);
	return syscall(SYS_init_module, image->bytes, image->size, parameters) < 0 ? -errno : 0;
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) < 0 ? -errno : 0;
}

/* The name of a copy, which is as long as that of the original. */
static const char *name_of(int n)
{
	static char name[sizeof(HOLDER)];

	snprintf(name, sizeof(name), "%.*s%03d", (int)strlen(HOLDER) - 3, HOLDER, n);
	return name;
}

/* Gives the module in @image the name of copy @n, wherever @old occurs in it. */
static void rename_module(struct image *image, const char *old, int n)
{
	char *at = image->bytes, *end = image->bytes + image->size;

	while ((at = memmem(at, end - at, old, strlen(old)))) {
		memcpy(at, name_of(n), strlen(old));
		at += strlen(old);
	}
}

static void set_gate(const char *parameter, int value)
{
	char path[64], text[16];
	int fd;

	snprintf(path, sizeof(path), "/sys/module/quiesce_gate/parameters/%s", parameter);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	check(fd >= 0);
	snprintf(text, sizeof(text), "%d", value);
	check(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Waits until the task sleeps in this system call, in whichever way; false if it ends. */
static bool wait_blocked(pid_t pid, long nr)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	while (!strchr("SD", task_state(pid)) || read_file(path, text, sizeof(text)) <= 0 ||
	       strtol(text, NULL, 10) != nr) {
		if (strchr("ZX", task_state(pid)))
			return false;
		nap();
	}
	return true;
}

/* Tests that load many modules, which takes long where a load does. */
FIXTURE(many) {
	int unused;
};

static void set_expedited(bool on)
{
	int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);

	/* Tiny RCU has no such file. */
	if (fd < 0)
		return;
	check(write(fd, on ? "1" : "0", 1) == 1);
	close(fd);
}

FIXTURE_SETUP(many)
{
	set_expedited(true);
}

FIXTURE_TEARDOWN(many)
{
	set_expedited(false);
}

/* barrier() waits for the destructors of all modules, however many have some in flight. */
TEST_F_TIMEOUT(many, barrier_waits_for_all_of_them, 600)
{
	struct image gate = read_module("quiesce_gate"), holder = read_module(HOLDER);
	struct image copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	uint64_t end = in_ms(30000);

	ASSERT_EQ(0, load(&gate, "open=0"));
	for (int round = 0; more_rounds(round, ROUNDS, end); round++) {
		/* 1, 6, 11, 4 and so on: a few rounds are spread over all of them. */
		int shut = 1 + round * 5 % MODULES;
		pid_t pid;

		set_gate("open", 0);
		set_gate("shut", shut);
		for (int i = 1; i <= MODULES; i++) {
			rename_module(&copy, old, i);
			snprintf(old, sizeof(old), "%s", name_of(i));
			EXPECT_EQ(0, load(&copy, "read=0 pending=0 slow=1 place=%d", i));
		}
		pid = spawn({
			check(load(&holder, "read=0 pending=0 barrier=1") == 0);
		});
		EXPECT_TRUE(wait_blocked(pid, SYS_init_module));
		/* Most likely in barrier(), and all of them are in flight. */
		usleep(200000);
		set_gate("open", 1);
		for (int i = 1; i <= MODULES; i++) {
			/* Returns when its destructor has. */
			if (i != shut)
				EXPECT_EQ(0, unload(name_of(i)));
		}
		for (int i = 0; i < BLOCKS_MS; i++) {
			EXPECT_NE('Z', task_state(pid));
			nap();
		}
		set_gate("shut", 0);
		EXPECT_EQ(0, join(pid));
		EXPECT_EQ(0, unload(name_of(shut)));
		EXPECT_EQ(0, unload(HOLDER));
	}
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/* Loads the module under the name of copy @n, which it gets. */
static int load_copy(struct image *copy, char *old, int n, const char *parameters)
{
	rename_module(copy, old, n);
	snprintf(old, sizeof(HOLDER), "%s", name_of(n));
	return load(copy, "%s", parameters);
}

/*
 * A module's own barrier waits in the domains of others that it has deferred in, and in
 * no other one, however many modules have: nothing keeps the module of that one loaded.
 */
TEST(barrier_of_a_module_waits_in_its_domains)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	enum { LENDER = 1, READER = MODULES + 1, USER, STRANGER };
	int waited = 0;
	pid_t pid;

	ASSERT_EQ(0, load(&gate, "open=0"));
	ASSERT_EQ(0, load_copy(&copy, old, LENDER, "read=0 pending=0 lend=1"));
	for (int i = LENDER + 1; i < READER; i++)
		EXPECT_EQ(0, load_copy(&copy, old, i, "read=0 pending=2 borrow=1"));
	for (int i = LENDER + 1; i < READER; i++)
		EXPECT_EQ(0, unload(name_of(i)));
	/* From here on grace periods of the domain do not end. */
	ASSERT_EQ(0, load_copy(&copy, old, READER, "pending=2 borrow=1"));
	rename_module(&copy, old, STRANGER);
	snprintf(old, sizeof(HOLDER), "%s", name_of(STRANGER));
	pid = spawn({
		check(load(&copy, "read=0 pending=2 barrier=2") == 0);
	});
	while (task_state(pid) != 'Z' && waited++ < PATIENCE_MS)
		nap();
	EXPECT_EQ('Z', task_state(pid));
	if (task_state(pid) == 'Z') {
		EXPECT_EQ(0, join(pid));
		EXPECT_EQ(0, unload(name_of(STRANGER)));
	}
	rename_module(&copy, old, USER);
	snprintf(old, sizeof(HOLDER), "%s", name_of(USER));
	pid = spawn({
		check(load(&copy, "read=0 pending=2 borrow=1 barrier=2") == 0);
	});
	EXPECT_TRUE(wait_blocked(pid, SYS_init_module));
	for (int i = 0; i < BLOCKS_MS; i++) {
		EXPECT_NE('Z', task_state(pid));
		nap();
	}
	set_gate("open", 1);
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(0, unload(name_of(USER)));
	EXPECT_EQ(0, unload(name_of(READER)));
	EXPECT_EQ(0, unload(name_of(LENDER)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/*
 * A module's own barrier waits for a reference that it has retired where a callback of
 * another module drops it, which was posted before: while a reader keeps the callback,
 * and while a destructor keeps the worker that the callback has left the reference to.
 */
TEST(barrier_of_a_module_waits_for_shared_objects)
{
	static const char *const lenders[] = {
		"pending=0 lend=1 share=1",
		"pending=0 lend=1 share=1 read=0 slow=1",
	};
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	enum { LENDER = 1, USER };

	for (int i = 0; i < 2; i++) {
		pid_t pid;

		ASSERT_EQ(0, load(&gate, "open=0"));
		ASSERT_EQ(0, load_copy(&copy, old, LENDER, lenders[i]));
		rename_module(&copy, old, USER);
		snprintf(old, sizeof(HOLDER), "%s", name_of(USER));
		pid = spawn({
			check(load(&copy, "read=0 pending=0 share=2 barrier=2") == 0);
		});
		EXPECT_TRUE(wait_blocked(pid, SYS_init_module));
		for (int j = 0; j < BLOCKS_MS; j++) {
			EXPECT_NE('Z', task_state(pid));
			nap();
		}
		set_gate("open", 1);
		EXPECT_EQ(0, join(pid));
		EXPECT_EQ(0, unload(name_of(USER)));
		EXPECT_EQ(0, unload(name_of(LENDER)));
		EXPECT_EQ(0, unload("quiesce_gate"));
	}
}

/*
 * The module of a domain that others defer in waits for nothing but its own objects,
 * though its domain's worker calls destructors of theirs.
 */
TEST(barrier_of_a_lender_waits_for_its_own)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	enum { LENDER = 1, USER, STRANGER };
	int waited = 0;
	pid_t pid;

	ASSERT_EQ(0, load(&gate, "open=0"));
	ASSERT_EQ(0, load_copy(&copy, old, LENDER, "read=0 pending=0 lend=1 barrier=3"));
	ASSERT_EQ(0, load_copy(&copy, old, USER, "read=0 pending=2 borrow=1"));
	/* Returns when its objects are gone. */
	EXPECT_EQ(0, unload(name_of(USER)));
	/* A third one has a destructor that does not return. */
	ASSERT_EQ(0, load_copy(&copy, old, STRANGER, "read=0 pending=0 slow=1"));
	pid = spawn({
		check(unload(name_of(LENDER)) == 0);
	});
	while (task_state(pid) != 'Z' && waited++ < PATIENCE_MS)
		nap();
	EXPECT_EQ('Z', task_state(pid));
	set_gate("open", 1);
	EXPECT_EQ(0, join(pid));
	EXPECT_EQ(0, unload(name_of(STRANGER)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/* A module that there is no account for is refused, until another one has gone. */
TEST_F_TIMEOUT(many, no_module_is_loaded_without_an_account, 600)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	int n = 0, err;

	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		SKIP(return, "a load takes long in this kernel");
	ASSERT_EQ(0, load(&gate, "open=1"));
	/* quiesce.ko has an account, too, and so have other modules. */
	do
		err = load_copy(&copy, old, n + 1, "idle=1");
	while (!err && ++n < ACCOUNTS);
	EXPECT_EQ(-ENOSPC, err);
	EXPECT_LT(ACCOUNTS - 16, n);
	for (int i = 1; i <= n; i++)
		EXPECT_EQ(0, unload(name_of(i)));
	/* Accounts that were given back are used again. */
	EXPECT_EQ(0, load_copy(&copy, old, 1, "idle=1"));
	EXPECT_EQ(0, unload(name_of(1)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/*
 * An account is found behind those that have gone. Of 64 modules, four pairs share a place
 * on average, and none do once in fifty runs.
 */
TEST_F_TIMEOUT(many, the_first_go_first, 600)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;

	ASSERT_EQ(0, load(&gate, "open=1"));
	for (int i = 1; i <= 64; i++)
		EXPECT_EQ(0, load_copy(&copy, old, i, "read=0 pending=2"));
	/* Each has a domain, which is taken off the list of domains if the account is found. */
	for (int i = 1; i <= 64; i++)
		EXPECT_EQ(0, unload(name_of(i)));
	EXPECT_EQ(0, load_copy(&copy, old, 65, "read=0 pending=2 barrier=2"));
	EXPECT_EQ(0, unload(name_of(65)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/* Whether modules wait in a domain that others used, and they do not: one of many. */
static bool strangers_wait(struct image *copy, char *old, int stranger)
{
	bool stuck = false;

	/* Of 512 slots 64 were used: most likely one of these modules is in one of them. */
	for (int i = 0; i < 32 && !stuck; i++) {
		int waited = 0;
		pid_t pid;

		rename_module(copy, old, stranger);
		snprintf(old, sizeof(HOLDER), "%s", name_of(stranger));
		pid = spawn({
			check(load(copy, "read=0 pending=1 barrier=2") == 0);
		});
		while (task_state(pid) != 'Z' && waited++ < PATIENCE_MS)
			nap();
		stuck = task_state(pid) != 'Z';
		if (stuck)
			set_gate("open", 1);
		check(join(pid) == 0);
		check(unload(name_of(stranger)) == 0);
	}
	return stuck;
}

/*
 * Nobody inherits the domains of a module that has gone. The users post nothing
 * themselves: callbacks of the lender drop what they retire.
 */
TEST_F_TIMEOUT(many, nobody_inherits_a_domain, 600)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	enum { USERS = 64, LENDER = 1, FIRST, STRANGER = FIRST + USERS, USER };

	ASSERT_EQ(0, load(&gate, "open=0"));
	/* A reader holds up its domain, and a destructor its worker. */
	ASSERT_EQ(0, load_copy(&copy, old, LENDER, "pending=0 lend=1 share=1 slow=1"));
	for (int i = FIRST; i < FIRST + USERS; i++) {
		EXPECT_EQ(0, load_copy(&copy, old, i, "read=0 pending=0 borrow=1 share=3"));
		EXPECT_EQ(0, unload(name_of(i)));
	}
	EXPECT_FALSE(strangers_wait(&copy, old, STRANGER));
	set_gate("open", 1);
	/* Takes what was lent. */
	EXPECT_EQ(0, load_copy(&copy, old, USER, "read=0 pending=0 borrow=1 share=2 barrier=2"));
	EXPECT_EQ(0, unload(name_of(USER)));
	EXPECT_EQ(0, unload(name_of(LENDER)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

/* Nor one that was not initialised when its users had gone, and is later. */
TEST_F_TIMEOUT(many, nobody_inherits_a_domain_that_was_not_ready, 600)
{
	struct image gate = read_module("quiesce_gate"), copy = read_module(HOLDER);
	char old[sizeof(HOLDER)] = HOLDER;
	enum { USERS = 64, LENDER = 1, PLACE, FIRST, READER = FIRST + USERS, STRANGER };

	ASSERT_EQ(0, load(&gate, "open=0"));
	ASSERT_EQ(0, load_copy(&copy, old, LENDER, "pending=0 lend=1 lazy=1"));
	/* The reader is loaded where this one was, and a stranger where users were. */
	ASSERT_EQ(0, load_copy(&copy, old, PLACE, "idle=1"));
	for (int i = FIRST; i < FIRST + USERS; i++) {
		EXPECT_EQ(0, load_copy(&copy, old, i, "pending=2 borrow=1 lazy=1"));
		EXPECT_EQ(0, unload(name_of(i)));
	}
	EXPECT_EQ(0, unload(name_of(PLACE)));
	/* From here on grace periods of the domain do not end. */
	ASSERT_EQ(0, load_copy(&copy, old, READER, "pending=2 borrow=1"));
	EXPECT_FALSE(strangers_wait(&copy, old, STRANGER));
	set_gate("open", 1);
	EXPECT_EQ(0, unload(name_of(READER)));
	EXPECT_EQ(0, unload(name_of(LENDER)));
	EXPECT_EQ(0, unload("quiesce_gate"));
}

TEST_HARNESS_MAIN
