// SPDX-License-Identifier: GPL-2.0
/*
 * fuzz: random calls on /dev/quiesce, every answer judged. KTAP on stdout.
 *
 *   fuzz [--seed N] [--calls N] [--procs N] [--seconds N] [--part NAME]
 *        [--break MUTANT] [--trace]
 *
 * A part ends after --calls or --seconds, whichever is first.
 *
 * Parts: sequential (one task; a model predicts every result), concurrent (several
 * processes that are killed; every result must be one that quiesce.h allows),
 * rounds (no party passes a barrier early and each phase has one leader, whichever
 * process is killed), twins (the mutants: each result that is falsified between the
 * kernel and the checkers must be noticed); parts (the first three).
 *
 * To repeat a run, pass the --seed and --calls that it prints.
 */

#include "fuzz.h"

#include <pthread.h>
#include <sys/syscall.h>

struct options opt = {
	.seed = 0,
	.calls = 20000,
	.procs = 4,
	.limit = 90,
};

static int tests;

static bool report(bool ok, const char *name)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", ++tests, name);
	fflush(stdout);
	return ok;
}

/* A mutant, and the part that must notice it. */
static const struct twin {
	const char *name;
	const char *part;
	const char *says;	/* a part of what is reported, if that is always the same */
	unsigned int limit;	/* opt.limit, if it is another */
} twins[] = {
	/* ARRIVE is not called, and returns 0: others may sleep then */
	{ "place-lost", "sequential", NULL, 10 },
	{ "place-twice", "sequential", NULL, 10 },	/* ARRIVE is called twice */
	{ "timeout-passes", "sequential" },	/* a wait that timed out returns 0 */
	{ "poll-in-lost", "sequential" },	/* EPOLLIN is not reported */
	{ "cause-lost", "sequential" },		/* the cause is not returned */
	{ "einval-writes", "sequential" },	/* a refused call writes its struct */
	/* a call that fails with EFAULT has its effect */
	{ "efault-acts", "sequential", NULL, 10 },
	{ "wake-lost", "sequential" },		/* a poller is not woken by its event */
	{ "deadline-lost", "sequential", "hangs", 2 },	/* a wait has no deadline */
	{ "alien-errno", "concurrent" },	/* an errno that quiesce.h does not list */
	{ "einval-writes", "concurrent" },
	{ "never-frozen", "concurrent", "frozen=0" },	/* a means is not used */
	{ "wait-hangs", "concurrent", "hangs", 10 },	/* a wait does not return */
	/* the same in a time namespace, of a process whose parent is killed */
	{ "away-hangs", "concurrent", "does not come to its end", 10 },
	{ "timeout-passes", "rounds" },
	{ "leader-twice", "rounds" },		/* a phase has two leaders */
	{ "waiter-asleep", "rounds", "wake-up", 2 },	/* a waiter sleeps until its deadline */
};

/* Returns whether mutant `name` is to falsify this call, which it does once in `n` calls. */
static bool lie(const char *name, unsigned int n)
{
	static unsigned int count;

	return opt.twin && !strcmp(opt.twin, name) && ++count % n == 0;
}

void *sh_efault_args;
enum role sh_role;
atomic_ulong *tallies;

void tally(enum tally t)
{
	if (t != T_FROZEN || !lie("never-frozen", 1))
		atomic_fetch_add(&tallies[t], 1);
}

bool sh_asleep(void)
{
	return lie("wake-lost", 5);
}

/*
 * Writes to @arg what no call does, if it can be written to: through a pipe, as a
 * fault would end the part.
 */
static void spoil(void *arg)
{
	int fds[2];

	if (pipe(fds) < 0)
		return;
	if (write(fds[1], "ZZZZ", 4) == 4 && read(fds[0], arg, 4) < 0)
		errno = 0;
	close(fds[0]);
	close(fds[1]);
}

static bool is_wait(unsigned long cmd)
{
	return _IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_WAIT) ||
	       _IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT);
}

static __attribute__((noreturn)) void hang(void)
{
	for (;;)
		pause();
}

static void sleep_until(uint64_t deadline)
{
	while (now_ns(CLOCK_MONOTONIC) < deadline)
		usleep(1000);
}

static int wait_forever(int fd, unsigned long cmd, struct quiesce_wait *arg)
{
	uint64_t deadline = arg->deadline;
	int err;

	arg->deadline = QUIESCE_FOREVER;
	err = ioctl(fd, cmd, arg) < 0 ? -errno : 0;
	arg->deadline = deadline;
	return err;
}

int sh_ioctl(int fd, unsigned long cmd, void *arg)
{
	unsigned int nr = _IOC_NR(cmd);
	int err;

	if (!opt.twin)
		return ioctl(fd, cmd, arg) < 0 ? -errno : 0;

	if (nr == _IOC_NR(QUIESCE_IOC_ARRIVE) && lie("place-lost", 20))
		return 0;
	if (is_wait(cmd) && sh_role == SPARED && lie("wait-hangs", 10))
		hang();
	if (is_wait(cmd) && sh_role == AWAY && lie("away-hangs", 1))
		hang();
	if (is_wait(cmd) && arg == guarded(sizeof(struct quiesce_wait)) && lie("deadline-lost", 1))
		err = wait_forever(fd, cmd, arg);
	else
		err = ioctl(fd, cmd, arg) < 0 ? -errno : 0;
	if (err == -EFAULT && sh_efault_args && lie("efault-acts", 1))
		ioctl(fd, cmd, sh_efault_args);
	if (!err && nr == _IOC_NR(QUIESCE_IOC_ARRIVE) && lie("place-twice", 20))
		ioctl(fd, cmd, arg);
	if (err == -ETIMEDOUT && lie("timeout-passes", 5))
		return 0;
	if (err == -EINVAL && _IOC_SIZE(cmd) >= 8 && lie("einval-writes", 5))
		spoil(arg);
	if (lie("alien-errno", 200))
		return -EIO;
	if (nr == _IOC_NR(QUIESCE_IOC_MEMBER) && _IOC_SIZE(cmd) >= sizeof(struct quiesce_member) &&
	    !err && lie("cause-lost", 1))
		memset(&((struct quiesce_member *)arg)->cause, 0, sizeof(struct quiesce_cause));
	if (nr == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT) && !err && lie("leader-twice", 20))
		((struct quiesce_wait *)arg)->result |= QUIESCE_RESULT_LEADER;
	if (nr == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT) && !err && sh_role == SPARED &&
	    lie("waiter-asleep", 20)) {
		sleep_until(((struct quiesce_wait *)arg)->deadline);
		return -ETIMEDOUT;
	}
	return err;
}

int sh_poll(int fd, uint32_t *revents)
{
	struct pollfd p = {
		.fd = fd,
		.events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP,
	};

	if (poll(&p, 1, 0) < 0)
		return -errno;
	*revents = (uint16_t)p.revents;
	if (*revents & POLLIN && lie("poll-in-lost", 5))
		*revents &= ~POLLIN;
	return 0;
}

bool thread_of(void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	pthread_t thread;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ok = !pthread_create(&thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok && !pthread_detach(thread);
}

void *guarded(size_t size)
{
	static char *page;
	long len = sysconf(_SC_PAGESIZE);

	if (!page) {
		page = map_pages(2 * len, MAP_PRIVATE);
		if (page == MAP_FAILED || mprotect(page + len, len, PROT_NONE)) {
			perror("mmap");
			exit(2);
		}
	}
	return page + len - size;
}

/* The parts, and how many of twenty calls each makes if all of them run. */
static const struct {
	const char *name;
	unsigned int twentieths;
} parts[] = {
	{ "sequential", 10 },
	{ "concurrent", 9 },
	{ "rounds", 1 },
};

/* Whether the file @path has @text in it. */
static bool has_text(const char *path, const char *text)
{
	char buf[4096] = "\n";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, buf + 1, sizeof(buf) - 2) < 0)
		buf[1] = '\0';
	close(fd);
	return strstr(buf, text);
}

static bool has_cgroups(void)
{
	return has_text("/proc/filesystems", "\tcgroup2\n");
}

static bool has_pidns(void)
{
	return !access("/proc/self/ns/pid", F_OK);
}

static bool has_timens(void)
{
	return !access("/proc/self/ns/time", F_OK);
}

static bool has_userns(void)
{
	return !access("/proc/self/ns/user", F_OK) &&
	       !has_text("/proc/sys/user/max_user_namespaces", "\n0\n");
}

static bool has_uring(void)
{
	return !access("/proc/sys/kernel/io_uring_disabled", F_OK) &&
	       !has_text("/proc/sys/kernel/io_uring_disabled", "2");
}

/* By tally: what the kernel must have for it, and the part that counts it. */
static const struct means {
	const char *name;
	const char *part;
	bool (*has)(void);
} means[TALLIES] = {
	[T_FROZEN] = { "frozen", "concurrent", has_cgroups },
	[T_PIDNS] = { "pidns", "concurrent", has_pidns },
	[T_TIMENS] = { "timens", "concurrent", has_timens },
	[T_USERNS] = { "userns", "concurrent", has_userns },
	[T_SENT] = { "sent", "concurrent" },
	[T_UNMAPPED] = { "unmapped", "sequential" },
	[T_URING] = { "uring", "sequential", has_uring },
};

/* The calls of a part among which each of its means is used, but once in 10^5 runs. */
#define ENOUGH 8000

/* Returns what is wrong if @part used one of its means not once, and the kernel has it. */
static const char *unused(const char *part)
{
	static char text[128];

	for (int i = 0; i < TALLIES; i++) {
		if (strcmp(means[i].part, part) || tallies[i])
			continue;
		if (!means[i].has || (!geteuid() && means[i].has())) {
			snprintf(text, sizeof(text), "%s=0, and the kernel can", means[i].name);
			return text;
		}
		printf("# %s=0: the kernel or the user cannot\n", means[i].name);
	}
	return NULL;
}

static const char *run_part(const char *part, unsigned long calls, unsigned long *done,
			    unsigned long *kills)
{
	const char *wrong;

	*done = 0;
	*kills = 0;
	if (!strcmp(part, "sequential"))
		wrong = run_sequential(opt.seed, calls, done);
	else if (!strcmp(part, "concurrent"))
		wrong = run_concurrent(opt.seed, calls, done, kills);
	else
		wrong = run_rounds(opt.seed, calls, done, kills);
	return wrong || *done < ENOUGH ? wrong : unused(part);
}

static unsigned long total_calls, total_kills;

static bool judge_part(const char *name, unsigned long calls)
{
	unsigned long done, kills;
	const char *wrong;
	char line[160];

	wrong = run_part(name, calls, &done, &kills);
	total_calls += done;
	total_kills += kills;
	if (wrong)
		printf("# %s\n# again: fuzz --part %s --seed 0x%llx --calls %lu\n", wrong, name,
		       (unsigned long long)opt.seed, calls);
	snprintf(line, sizeof(line), "%s: every answer is right (%lu calls, %lu kills)", name, done,
		 kills);
	return report(!wrong, line);
}

/* Runs the mutant in a separate process, because it may leave any state behind. */
static bool judge_twin(const struct twin *t)
{
	unsigned long done, kills;
	const char *wrong;
	char line[160];
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		opt.twin = t->name;
		opt.limit = t->limit ? t->limit : opt.limit;
		opt.seconds = 0;
		tallies = map_pages(TALLIES * sizeof(*tallies), MAP_SHARED);
		wrong = run_part(t->part, 20000, &done, &kills);
		if (wrong)
			printf("# twin %s: after %lu calls: %s\n", t->name, done, wrong);
		fflush(stdout);
		_exit(wrong && (!t->says || strstr(wrong, t->says)) ? 10 : 0);
	}
	waitpid(pid, &status, 0);
	kill(-pid, SIGKILL);
	snprintf(line, sizeof(line), "%s notices the mutant %s", t->part, t->name);
	return report(WIFEXITED(status) && WEXITSTATUS(status) == 10, line);
}

static unsigned long number(const char *text)
{
	return text ? strtoull(text, NULL, 0) : 0;
}

static int bad_arguments(void)
{
	fprintf(stderr, "usage: fuzz [--seed N] [--calls N] [--procs N] [--seconds N]\n"
		"            [--part NAME] [--break TWIN] [--trace]\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	bool ok = true, all, with_twins;
	unsigned int i, plan = 0;
	int a, fd;

	if (argc == 3 && !strcmp(argv[1], "--exec-child")) {
		/* The program that a test executes: reports that it runs, and exits. */
		if (write(atoi(argv[2]), "x", 1) != 1)
			_exit(1);
		_exit(7);
	}
	for (a = 1; a < argc; a++) {
		const char *value = a + 1 < argc ? argv[a + 1] : NULL;

		if (!strcmp(argv[a], "--trace")) {
			opt.trace = true;
			continue;
		}
		if (!strcmp(argv[a], "--seed"))
			opt.seed = value ? strtoull(value, NULL, 0) : 0;
		else if (!strcmp(argv[a], "--calls"))
			opt.calls = number(value);
		else if (!strcmp(argv[a], "--procs"))
			opt.procs = number(value);
		else if (!strcmp(argv[a], "--seconds"))
			opt.seconds = number(value);
		else if (!strcmp(argv[a], "--part"))
			only = value;
		else if (!strcmp(argv[a], "--break"))
			opt.twin = value;
		else
			return bad_arguments();
		a++;
	}
	if (!opt.seed && syscall(SYS_getrandom, &opt.seed, sizeof(opt.seed), 0) < 0)
		opt.seed = now_ns(CLOCK_MONOTONIC);

	all = !only || !strcmp(only, "parts");
	with_twins = !only || !strcmp(only, "twins");
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		plan += all || !strcmp(only, parts[i].name);
	if (with_twins)
		plan += ARRAY_SIZE(twins);
	if (!plan)
		return bad_arguments();
	printf("TAP version 13\n1..%u\n# seed 0x%llx, %lu calls, %d bits\n", plan,
	       (unsigned long long)opt.seed, opt.calls, (int)(8 * sizeof(long)));
	fd = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("not ok 1 - %s: %s\n", QUIESCE_DEVICE, strerror(errno));
		return 1;
	}
	close(fd);
	tallies = map_pages(TALLIES * sizeof(*tallies), MAP_SHARED);
	if (tallies == MAP_FAILED) {
		perror("mmap");
		return 2;
	}

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		if (all)
			ok &= judge_part(parts[i].name, opt.calls / 20 * parts[i].twentieths);
		else if (!strcmp(only, parts[i].name))
			ok &= judge_part(parts[i].name, opt.calls);
	}
	for (i = 0; with_twins && i < ARRAY_SIZE(twins); i++)
		ok &= judge_twin(&twins[i]);
	printf("# figures fuzz: calls=%lu kills=%lu", total_calls, total_kills);
	for (i = 0; i < TALLIES; i++)
		printf(" %s=%lu", means[i].name, atomic_load(&tallies[i]));
	printf("\n");
	return !ok;
}
