// SPDX-License-Identifier: GPL-2.0
/* Waits that poll before they sleep: what comes meanwhile, and who else needs the CPU. */
#include "ops.h"

#include <sched.h>

#define SPIN_US "/sys/module/quiesce/parameters/spin_us"
/* The wait polls for 10 us after one that was short, and twice as long after each further one. */
#define SHORT_WAITS 15
#define ROUNDS 10

/* A pair, and a task with a CPU to itself that waits for one place after the other. */
FIXTURE(polling)
{
	int fd[2];
	char spin_us[32];
	pid_t waiter;
	struct {
		/* How many waits have returned. */
		_Atomic unsigned int returned;
		/* The CPU time that the last one took, in ns. */
		_Atomic uint64_t used;
	} *seen;
};

static void set_spin_us(const char *us)
{
	int fd = open(SPIN_US, O_WRONLY | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, us, strlen(us)) == (ssize_t)strlen(us));
	close(fd);
}

/* Moves the calling task to the first or the last CPU. */
static void move_to(bool last)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(last ? sysconf(_SC_NPROCESSORS_ONLN) - 1 : 0, &cpus);
	check(!sched_setaffinity(0, sizeof(cpus), &cpus));
}

FIXTURE_SETUP(polling)
{
	ASSERT_LT(0, read_file(SPIN_US, self->spin_us, sizeof(self->spin_us)));
	self->seen = share(sizeof(*self->seen));
	ASSERT_EQ(0, make_pair(0, self->fd));
	move_to(false);
	self->waiter = spawn({
		move_to(true);
		while (true) {
			uint64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

			check(wait_for(self->fd[1], QUIESCE_WAIT_NEXT, QUIESCE_FOREVER, NULL) == 0);
			atomic_store(&self->seen->used, clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin);
			atomic_fetch_add(&self->seen->returned, 1);
		}
	});
}

FIXTURE_TEARDOWN(polling)
{
	kill(self->waiter, SIGKILL);
	join(self->waiter);
	set_spin_us(self->spin_us);
}

/* Arrives. Returns whether the wait does; it must not sleep any more. */
static bool release(struct _test_data_polling *self)
{
	unsigned int before = atomic_load(&self->seen->returned);
	bool asleep = false;

	check(place(self->fd[0]) == 0);
	while (true) {
		if (atomic_load(&self->seen->returned) != before)
			return true;
		/* It slept, and had not returned afterwards. */
		if (asleep)
			return false;
		nap();
		asleep = asleep_in(self->waiter, SYS_WAIT);
	}
}

/* Waits that were long enough to sleep and too short for it: the next one polls for 0.1 s. */
static bool short_waits(struct _test_data_polling *self)
{
	set_spin_us("1000000");
	for (int i = 0; i < SHORT_WAITS; i++) {
		if (!wait_asleep(self->waiter) || !release(self))
			return false;
	}
	return true;
}

/* What comes while a wait polls ends it. */
TEST_F(polling, arrival)
{
	ASSERT_TRUE(short_waits(self));
	for (int i = 0; i < ROUNDS; i++) {
		/* It waits, and most likely does not sleep yet. */
		ASSERT_TRUE(wait_for_waiters(self->fd[0], 1));
		ASSERT_TRUE(release(self));
	}
}

/* A wait sleeps at once if another task wants its CPU. */
TEST_F(polling, another_task)
{
	uint64_t least = UINT64_MAX, used;
	pid_t busy;

	ASSERT_TRUE(short_waits(self));
	busy = spawn({
		move_to(true);
		while (true)
			;
	});
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(wait_for_waiters(self->fd[0], 1));
		usleep(100000);
		ASSERT_TRUE(release(self));
		/* The first one may have begun before. */
		used = atomic_load(&self->seen->used);
		if (i && used < least)
			least = used;
	}
	/* The least, because a slow host's time counts, too. */
	EXPECT_GT(10 * NSEC_PER_MSEC, least);
	kill(busy, SIGKILL);
	EXPECT_EQ(KILLED, join(busy));
}

TEST_HARNESS_MAIN
