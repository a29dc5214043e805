// SPDX-License-Identifier: GPL-2.0
/*
 * The poll oracle of the sequential part: pollers that sleep in poll(), in a level-
 * and an edge-triggered epoll set and in io_uring while calls are made. They must
 * return the events of the model as soon as it sets one, and not before.
 */

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <linux/io_uring.h>

#include "seq.h"

#define WATCHES 6
#define LOST_NS (60 * NSEC_PER_SEC)

enum how { POLL, LEVEL, EDGE, URING, HOWS };

static const char *const names[] = { "poll", "epoll", "epoll by edge", "io_uring" };

struct watch {
	bool used;
	enum how how;
	struct handle *h;
	uint32_t wanted;
	uint32_t level;		/* the model's, when it was checked last */
	int fd;			/* what is polled; of POLL also what cancels it */
	int cancel;
	atomic_int tid;
	atomic_int done;	/* POLL: has returned */
	uint32_t revents;
};

static struct watch watches[WATCHES];

uint32_t model_poll(struct handle *h)
{
	uint32_t mask;

	if (h->kind == PAIR)
		return m_pair_poll(&h->o->p, h->id.party);
	mask = m_group_poll(&h->o->g, h->id);
	if (h->kind == GROUP && h->seen != h->o->g.phase)
		mask |= EPOLLIN;
	return mask;
}

/* io_uring adds EPOLLRDHUP to what is asked for. */
static uint32_t level_of(const struct watch *w)
{
	return model_poll(w->h) & (w->wanted | EPOLLERR | EPOLLHUP |
				   (w->how == URING ? EPOLLRDHUP : 0));
}

/*
 * Events that are set only during a call: the end of the phase, for the last party
 * to arrive, until its own wait has reported it. io_uring may return them.
 */
static uint32_t instant_of(const struct watch *w)
{
	if (w->h->kind != PARTY || !m_group_over(&w->h->o->g, w->h->id))
		return 0;
	return w->wanted & EPOLLIN;
}

/* Those of a run that found something wrong were left as they were. */
void init_watches(void)
{
	memset(watches, 0, sizeof(watches));
}

/* io_uring, with nothing but the system calls */

static struct {
	pid_t owner;
	int fd;
	uint32_t *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} ring = { .fd = -1 };

static bool ring_init(void)
{
	struct io_uring_params p = {};
	char *sq, *cq;

	if (ring.owner == getpid())
		return ring.fd >= 0;
	ring.owner = getpid();
	ring.fd = syscall(SYS_io_uring_setup, 16, &p);
	if (ring.fd < 0)
		return false;
	fcntl(ring.fd, F_SETFD, FD_CLOEXEC);
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		  MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			 MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring.sqes == MAP_FAILED)
		wrong("io_uring: %s", strerror(errno));
	ring.sq_tail = (uint32_t *)(sq + p.sq_off.tail);
	ring.sq_mask = (uint32_t *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (uint32_t *)(sq + p.sq_off.array);
	ring.cq_head = (uint32_t *)(cq + p.cq_off.head);
	ring.cq_tail = (uint32_t *)(cq + p.cq_off.tail);
	ring.cq_mask = (uint32_t *)(cq + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	return true;
}

static void ring_submit(const struct io_uring_sqe *sqe)
{
	uint32_t tail = *ring.sq_tail, at = tail & *ring.sq_mask;

	ring.sqes[at] = *sqe;
	ring.sq_array[at] = at;
	__atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) != 1)
		wrong("io_uring_enter: %s", strerror(errno));
}

/* Takes in what is complete, and notes it with its watch. */
static void ring_reap(void)
{
	syscall(SYS_io_uring_enter, ring.fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
	while (*ring.cq_head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE)) {
		struct io_uring_cqe *cqe = &ring.cqes[*ring.cq_head & *ring.cq_mask];

		if (cqe->user_data < WATCHES) {
			watches[cqe->user_data].revents = cqe->res;
			watches[cqe->user_data].done = 1;
		}
		__atomic_store_n(ring.cq_head, *ring.cq_head + 1, __ATOMIC_RELEASE);
	}
}

static void *poller(void *arg)
{
	struct watch *w = arg;
	struct pollfd p[2] = {
		{ .fd = w->fd, .events = w->wanted },
		{ .fd = w->cancel, .events = POLLIN },
	};

	atomic_store(&w->tid, syscall(SYS_gettid));
	while (poll(p, 2, -1) < 0)
		;
	w->revents = (uint16_t)p[0].revents;
	atomic_store(&w->done, 1);
	return NULL;
}

static bool asleep(pid_t tid)
{
	char path[64], buf[256], *p;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	p = strrchr(buf, ')');
	return p && p[1] && p[2] == 'S';
}

/* Returns whether the poller returns within LOST_NS. */
static bool returns(struct watch *w)
{
	uint64_t end = now_ns(CLOCK_MONOTONIC) + LOST_NS;

	while (!atomic_load(&w->done)) {
		if (w->how == URING)
			ring_reap();
		if (atomic_load(&w->done))
			break;
		if (now_ns(CLOCK_MONOTONIC) > end)
			return false;
		usleep(20);
	}
	return !sh_asleep();
}

static void forget(struct watch *w)
{
	uint64_t one = 1;

	switch (w->how) {
	case POLL:
		if (!atomic_load(&w->done) && write(w->cancel, &one, sizeof(one)) != sizeof(one))
			wrong("eventfd: %s", strerror(errno));
		while (!atomic_load(&w->done))
			usleep(10);
		close(w->cancel);
		break;
	case URING:
		if (!w->done)
			ring_submit(&(struct io_uring_sqe) {
				.opcode = IORING_OP_POLL_REMOVE,
				.fd = -1,
				.addr = w - watches,
				.user_data = WATCHES,
			});
		while (!w->done)
			ring_reap();
		break;
	default:
		close(w->fd);
	}
	w->used = false;
}

void forget_watches(const struct handle *h)
{
	for (int i = 0; i < WATCHES; i++)
		if (watches[i].used && (!h || watches[i].h == h))
			forget(&watches[i]);
}

void op_watch(struct handle *h)
{
	static const uint32_t some[] = { EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, 0 };
	struct epoll_event ev = {};
	struct watch *w = NULL;

	for (int i = 0; i < WATCHES && !w; i++)
		if (!watches[i].used)
			w = &watches[i];
	if (!w) {
		forget(&watches[below(&rng, WATCHES)]);
		return;
	}
	calls++;
	memset(w, 0, sizeof(*w));
	w->used = true;
	w->how = below(&rng, HOWS);
	if (w->how == URING && !ring_init())
		w->how = POLL;
	w->h = h;
	w->fd = h->fd[0];
	w->wanted = one_in(&rng, 3) ? rnd(&rng) & (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP) :
		    some[below(&rng, ARRAY_SIZE(some))];
	note(names[w->how], h, w->wanted, level_of(w), 0);
	switch (w->how) {
	case POLL:
		w->cancel = eventfd(0, EFD_CLOEXEC);
		if (w->cancel < 0 || !thread_of(poller, w))
			wrong("no thread to poll: %s", strerror(errno));
		while (!atomic_load(&w->tid) || (!atomic_load(&w->done) && !asleep(w->tid)))
			usleep(10);
		break;
	case URING:
		ring_submit(&(struct io_uring_sqe) {
			.opcode = IORING_OP_POLL_ADD,
			.fd = w->fd,
			.poll32_events = w->wanted,
			.user_data = w - watches,
		});
		break;
	default:
		w->fd = epoll_create1(EPOLL_CLOEXEC);
		ev.events = w->wanted | (w->how == EDGE ? EPOLLET : 0);
		if (w->fd < 0 || epoll_ctl(w->fd, EPOLL_CTL_ADD, h->fd[0], &ev))
			wrong("epoll: %s", strerror(errno));
	}
}

static void check_epoll(struct watch *w, uint32_t level)
{
	struct epoll_event ev = {};
	bool must = w->how == LEVEL ? level != 0 : (level & ~w->level) != 0;
	int n = epoll_wait(w->fd, &ev, 1, 0);

	if (n == 1 && sh_asleep())
		n = 0;
	if (must && n != 1)
		wrong("%s sleeps on at 0x%x, which was 0x%x", names[w->how], level, w->level);
	if (n == 1 && (!level || ev.events != level))
		wrong("%s returns 0x%x, the model says 0x%x", names[w->how], ev.events, level);
	w->level = level;
}

/* After each call: who polls for something that is so now has returned. */
void check_watches(void)
{
	for (int i = 0; i < WATCHES; i++) {
		struct watch *w = &watches[i];
		uint32_t level;

		if (!w->used)
			continue;
		level = level_of(w);
		if (w->how == LEVEL || w->how == EDGE) {
			check_epoll(w, level);
			continue;
		}
		if (w->how == URING)
			ring_reap();
		if (w->how == URING && w->done)
			level |= w->revents & instant_of(w);
		if (!level && atomic_load(&w->done))
			wrong("%s returns 0x%x, and there is nothing", names[w->how], w->revents);
		if (!level)
			continue;
		if (!returns(w))
			wrong("%s sleeps on at 0x%x", names[w->how], level);
		/* The key of a wake-up need not be all that is so, but it must be so. */
		if (!w->revents || w->revents & ~level || (w->how == POLL && w->revents != level))
			wrong("%s returns 0x%x, the model says 0x%x", names[w->how], w->revents,
			      level);
		if (w->how == URING)
			tally(T_URING);
		forget(w);
	}
}
