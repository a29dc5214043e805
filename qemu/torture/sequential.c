// SPDX-License-Identifier: GPL-2.0
/*
 * The sequential part: one task makes random calls and compares each answer with
 * the model's.
 */

#include "seq.h"

#include <pthread.h>
#include <signal.h>

jmp_buf failed;
char failure[256];

static void step(void)
{
	struct handle *h = any_handle();
	unsigned int op = below(&rng, 1000);

	if (!h || op < 20)
		op_pair();
	else if (op < 40)
		op_group();
	else if (op < 45)
		op_features();
	else if (op < 120 || (h->kind == GROUP && op < 320))
		op_join(h);
	else if (op < 330)
		op_arrive(h);
	else if (op < 580)
		op_wait(h);
	else if (op < 600)
		op_complete(h);
	else if (op < 610)
		op_abort(h);
	else if (op < 630)
		op_bind(h);
	else if (op < 640)
		op_leave(h);
	else if (op < 665)
		op_reset(h);
	else if (op < 700)
		op_poll(h);
	else if (op < 730)
		op_watch(h);
	else if (op < 770)
		op_member(h);
	else if (op < 870)
		op_status(h);
	else if (op < 900)
		op_strange(h);
	else if (op < 930)
		op_dup(h);
	else if (op < 975)
		op_close(h);
	else if (op < 995)
		op_send(h);
	else if (op < 998)
		op_child(h, false);
	else if (h->kind != GROUP)
		op_child(h, true);
}

/* Everything that is left is closed, and everybody is asked how things stand. */
static void finish(void)
{
	for (int i = 0; i < HANDLES; i++) {
		if (!handles[i].used)
			continue;
		op_status(&handles[i]);
		op_poll(&handles[i]);
		close_copies(&handles[i]);
		ended(&handles[i], &(struct m_who) { .pid = self, .cause = QUIESCE_CAUSE_CLOSE });
	}
}

bool overdue;
static atomic_bool running;

static void on_overdue(int sig)
{
	(void)sig;
}

/*
 * Interrupts the task @main when it has made no call for opt.limit seconds: it sleeps in
 * one that returns according to the model, and that fails with EINTR then.
 */
static void *watch(void *main)
{
	unsigned long now, before = 0;

	for (;;) {
		sleep(opt.limit);
		now = __atomic_load_n(&calls, __ATOMIC_RELAXED);
		if (atomic_load(&running) && now == before) {
			overdue = true;
			pthread_kill(*(pthread_t *)main, SIGUSR2);
		}
		before = now;
	}
	return NULL;
}

static bool start_watch(void)
{
	static pthread_t main;

	main = pthread_self();
	sigaction(SIGUSR2, &(struct sigaction) { .sa_handler = on_overdue }, NULL);
	return thread_of(watch, &main);
}

const char *run_sequential(uint64_t seed, unsigned long n, unsigned long *done)
{
	static uint64_t end;

	end = give_up_at();
	rng.s = seed;
	calls = 0;
	self = getpid();
	memset(handles, 0, sizeof(handles));
	memset(objects, 0, sizeof(objects));
	init_watches();
	dev = (struct handle) { .kind = DEV, .copies = 1 };
	dev.fd[0] = open(QUIESCE_DEVICE, O_RDWR | O_CLOEXEC);
	if (dev.fd[0] < 0)
		return "cannot open " QUIESCE_DEVICE;
	if (!start_watch())
		return "no thread";
	atomic_store(&running, true);
	if (setjmp(failed)) {
		atomic_store(&running, false);
		*done = calls;
		return failure;
	}
	while (calls < n && (calls % 64 || now_ns(CLOCK_MONOTONIC) < end)) {
		step();
		check_watches();
	}
	forget_watches(NULL);
	finish();
	atomic_store(&running, false);
	close(dev.fd[0]);
	*done = calls;
	return NULL;
}
