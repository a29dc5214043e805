// SPDX-License-Identifier: GPL-2.0
/*
 * The rounds: processes wait repeatedly at one barrier, interrupted by signals and
 * with deadlines that are too short. No party may pass before all have arrived, one
 * party leads each phase, and when one is killed the calls of the others fail. Party 0
 * gets no signals and waits for as long as it takes, and so do all in each other
 * generation: a wake-up that is lost is not made good by a signal or a timeout.
 */

#include "fuzz.h"

#define PROCS 4

struct board {
	atomic_ulong slot[PROCS];	/* the round that the party has reached */
	atomic_ulong leaders;
	atomic_ulong calls;
	atomic_bool failed;
	char message[256];
};

static struct board *board;
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

/*
 * One round: to arrive once, and to wait for as long as it takes: with one deadline, at
 * which nobody is late, or with many that are short.
 */
static int meet(int fd, bool pair, bool quiet, struct quiesce_wait *w)
{
	uint64_t give_up = now_ns(CLOCK_MONOTONIC) + 2 * limit_ns();
	int err;

	memset(w, 0, sizeof(*w));
	w->kind = pair ? QUIESCE_WAIT_SYNC : QUIESCE_WAIT_PHASE;
	w->count = 1;
	do {
		if (now_ns(CLOCK_MONOTONIC) > give_up)
			wrong("a round does not come to its end");
		w->deadline = now_ns(CLOCK_MONOTONIC) +
			      (quiet ? limit_ns() : one_in(&rng, 3) ? 50000 : NSEC_PER_SEC);
		atomic_fetch_add(&board->calls, 1);
		err = sh_ioctl(fd, QUIESCE_IOC_ARRIVE_WAIT, w);
		if (quiet && err == -ETIMEDOUT)
			wrong("a wake-up is lost: a wait that nothing interrupts times out");
	} while (err == -EINTR || err == -ETIMEDOUT);
	return err;
}

static void check_cause(const struct quiesce_cause *c)
{
	switch (c->cause) {
	case QUIESCE_CAUSE_EXIT:
	case QUIESCE_CAUSE_CLOSE:
		/* CLOSE: one who had not yet closed his copy of the victim's descriptor. */
		return;
	case QUIESCE_CAUSE_SIGNAL:
		if (c->status == SIGKILL)
			return;
	}
	wrong("a party died of cause %u, status %d", c->cause, c->status);
}

static void worker(int me, int n, int fd, bool pair, bool quiet, unsigned long rounds)
{
	struct itimerval often = { { 0, 2000 + 500 * me }, { 0, 2000 } };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = me % 2 ? 0 : SA_RESTART };
	struct quiesce_wait w;
	unsigned long r, seen;
	int i, err;

	sigaction(SIGALRM, &sa, NULL);
	if (!quiet)
		setitimer(ITIMER_REAL, &often, NULL);
	sh_role = quiet ? SPARED : ANYBODY;
	for (r = 1; r <= rounds; r++) {
		atomic_store(&board->slot[me], r);
		err = meet(fd, pair, quiet, &w);
		if (err == -EOWNERDEAD) {
			check_cause(&w.cause);
			_exit(42);
		}
		if (err)
			wrong("round %lu answers %d (%s)", r, err, strerror(-err));
		for (i = 0; i < n; i++) {
			seen = atomic_load(&board->slot[i]);
			if (seen < r)
				wrong("party %d passes round %lu while party %d is in %lu",
				      me, r, i, seen);
		}
		if (!pair && w.result & QUIESCE_RESULT_LEADER)
			atomic_fetch_add(&board->leaders, 1);
	}
	_exit(0);
}

/* One generation: all finish, or one is killed and the calls of the others fail. */
static const char *generation(int dev, int group, bool pair, bool quiet, unsigned long rounds,
			      bool murder)
{
	int n = pair ? 2 : PROCS, fd[PROCS], i, k, victim = below(&rng, n), status;
	bool finished = true;
	pid_t pid[PROCS];

	if (pair) {
		struct quiesce_pair p = {};

		if (ioctl(dev, QUIESCE_IOC_PAIR, &p))
			return "PAIR fails";
		fd[0] = p.fd[0];
		fd[1] = p.fd[1];
	} else {
		struct quiesce_reset r = {};

		if (ioctl(group, QUIESCE_IOC_RESET, &r))
			return "RESET fails";
		for (i = 0; i < n; i++) {
			struct quiesce_join j = {};

			if (ioctl(group, QUIESCE_IOC_JOIN, &j) || j.party != (unsigned int)i)
				return "after RESET the seats cannot be taken again";
			fd[i] = j.fd;
		}
	}
	for (i = 0; i < n; i++)
		atomic_store(&board->slot[i], 0);
	atomic_store(&board->leaders, 0);
	for (i = 0; i < n; i++) {
		uint64_t seed = rnd(&rng);

		pid[i] = fork();
		if (pid[i])
			continue;
		rng.s = seed;
		for (k = 0; k < n; k++)
			if (k != i)
				close(fd[k]);
		worker(i, n, fd[i], pair, quiet || !i, rounds);
	}
	for (i = 0; i < n; i++)
		close(fd[i]);
	if (murder) {
		usleep(1000 + below(&rng, 20000));
		kill(pid[victim], SIGKILL);
	}
	for (i = 0; i < n; i++) {
		waitpid(pid[i], &status, 0);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			finished = false;
		if (!murder && WEXITSTATUS(status) == 42)
			return "a party heard of a death, and nobody died";
		if (i == victim)
			continue;
		if (!WIFEXITED(status) || (WEXITSTATUS(status) && WEXITSTATUS(status) != 42))
			return "a party ended otherwise than it should";
	}
	if (!pair && finished && atomic_load(&board->leaders) != rounds)
		return "there was not one leader a phase";
	return NULL;
}

const char *run_rounds(uint64_t seed, unsigned long n, unsigned long *done, unsigned long *kills)
{
	uint64_t end = give_up_at();
	struct quiesce_group g = { .parties = PROCS };
	const char *failure = NULL;
	unsigned long i;
	int dev;

	rng.s = seed;
	board = map_pages(sizeof(*board), MAP_SHARED);
	dev = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (board == MAP_FAILED || dev < 0 || ioctl(dev, QUIESCE_IOC_GROUP, &g))
		return "no group";
	for (i = 0; !failure && atomic_load(&board->calls) < n; i++) {
		bool murder = i % 3 == 2;

		if (now_ns(CLOCK_MONOTONIC) > end)
			break;
		failure = generation(dev, g.fd, i % 2, i % 4 >= 2, murder ? 1000000 : 100, murder);
		*kills += murder;
		if (atomic_load(&board->failed))
			failure = board->message;
	}
	close(g.fd);
	close(dev);
	*done = atomic_load(&board->calls);
	return failure;
}
