// SPDX-License-Identifier: GPL-2.0
/*
 * The descriptors of the sequential part, its wrapper for calls, and its report of
 * a wrong result.
 */

#include "seq.h"

struct object objects[OBJECTS];
struct handle handles[HANDLES], dev;
struct rng rng;
unsigned long calls;
uint32_t self;

/* The last calls, printed when a check fails. */
static struct note {
	const char *what;
	int handle;
	int64_t a, b;
	int ret;
} notes[32];
static unsigned int noted;

static void tell(const struct note *n)
{
	printf("# %s(%d) %lld %lld = %d\n", n->what, n->handle, (long long)n->a,
	       (long long)n->b, n->ret);
}

void note(const char *what, const struct handle *h, int64_t a, int64_t b, int ret)
{
	struct note *n = &notes[noted++ % ARRAY_SIZE(notes)];

	*n = (struct note) { what, h == &dev ? -1 : (int)(h - handles), a, b, ret };
	if (opt.trace)
		tell(n);
}

void wrong(const char *fmt, ...)
{
	unsigned int i, begin = noted > ARRAY_SIZE(notes) ? noted - ARRAY_SIZE(notes) : 0;
	va_list args;
	int n;

	n = snprintf(failure, sizeof(failure), "call %lu%s: ", calls,
		     overdue ? ", which hangs" : "");
	va_start(args, fmt);
	vsnprintf(failure + n, sizeof(failure) - n, fmt, args);
	va_end(args);
	if (!opt.twin)
		for (i = begin; i < noted; i++)
			tell(&notes[i % ARRAY_SIZE(notes)]);
	longjmp(failed, 1);
}

void expect_err(const char *what, int got, int want)
{
	if (got != want)
		wrong("%s answers %d (%s), the model says %d (%s)", what, got, strerror(-got), want,
		      strerror(-want));
}

void expect(const char *what, const char *member, int64_t got, int64_t want)
{
	if (got != want)
		wrong("%s: %s is %lld, the model says %lld", what, member, (long long)got,
		      (long long)want);
}

void expect_cause(const char *what, const struct quiesce_cause *got,
		  const struct quiesce_cause *want)
{
	expect(what, "cause", got->cause, want->cause);
	expect(what, "party", got->party, want->party);
	expect(what, "pid", got->pid, want->pid);
	expect(what, "status", got->status, want->status);
	expect(what, "code", got->code, want->code);
}

/* Is there such a command on this kind of descriptor? */
static bool known(const struct handle *h, unsigned long cmd)
{
	switch (_IOC_NR(cmd) >> 4) {
	case 0:
		return h->kind == DEV;
	case 2:
		return h->kind == (_IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_LEAVE) ||
				   _IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_COMPLETE) ? PARTY : GROUP);
	}
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(QUIESCE_IOC_ABORT):
	case _IOC_NR(QUIESCE_IOC_STATUS):
	case _IOC_NR(QUIESCE_IOC_MEMBER):
		return h->kind != DEV;
	default:
		return h->kind == PAIR || h->kind == PARTY;
	}
}

/* Two pages that another thread protects, unmaps and maps again while `busy`. */
static struct {
	char *pages;
	char *kept;		/* the same memory, elsewhere */
	long len;
	atomic_bool busy, moving;	/* what is asked of the thread, and what it does */
	atomic_ulong unmapped;
} hostile;

/* Maps page @i of the memory where it belongs, whatever is there. */
static void map_back(int i)
{
	if (mremap(hostile.kept + hostile.len * i, 0, hostile.len, MREMAP_MAYMOVE | MREMAP_FIXED,
		   hostile.pages + hostile.len * i) == MAP_FAILED) {
		perror("mremap");
		exit(2);
	}
}

/* No other thread maps memory while `busy`: it could get a place that is free for a moment. */
static void *come_and_go(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; ; i++) {
		char *page = hostile.pages + hostile.len * (i & 1);
		bool busy = atomic_load(&hostile.busy);

		atomic_store(&hostile.moving, busy);
		if (!busy) {
			usleep(50);
			continue;
		}
		switch (i % 5) {
		case 0:
			mprotect(page, hostile.len, PROT_READ);
			break;
		case 1:
			mprotect(page, hostile.len, PROT_NONE);
			break;
		case 2:
			munmap(page, hostile.len);
			atomic_fetch_add(&hostile.unmapped, 1);
			break;
		default:
			map_back(i & 1);
		}
	}
	return NULL;
}

static void hostile_init(void)
{
	static pid_t owner;

	/* A mutant runs in a forked process, which has no copy of this thread. */
	if (owner == getpid())
		return;
	owner = getpid();
	hostile.len = sysconf(_SC_PAGESIZE);
	hostile.pages = map_pages(2 * hostile.len, MAP_PRIVATE);
	hostile.kept = map_pages(2 * hostile.len, MAP_SHARED);
	if (hostile.pages == MAP_FAILED || hostile.kept == MAP_FAILED ||
	    !thread_of(come_and_go, NULL)) {
		perror("hostile memory");
		exit(2);
	}
}

/*
 * A call whose results perhaps cannot be written. When it answers EFAULT it must
 * have changed nothing: this returns false, and all that is asked later is
 * compared with a model that knows nothing of the call.
 */
static bool call_hostile(const char *what, struct handle *h, unsigned long cmd, void *body,
			 bool moving, int *err)
{
	size_t size = _IOC_SIZE(cmd);
	unsigned long unmapped = atomic_load(&hostile.unmapped);
	char *at, copy[256];

	hostile_init();
	map_back(0);
	map_back(1);
	/* In the first page, or in both. */
	at = hostile.pages + hostile.len - (one_in(&rng, 2) ? size : below(&rng, size));
	memcpy(at, body, size);
	memcpy(copy, body, size);
	if (moving) {
		atomic_store(&hostile.busy, true);
		while (!atomic_load(&hostile.moving))
			usleep(10);
	} else if (one_in(&rng, 2) && at + size > hostile.pages + hostile.len) {
		mprotect(hostile.pages + hostile.len, hostile.len, PROT_READ);
	} else {
		mprotect(hostile.pages, 2 * hostile.len, PROT_READ);
	}
	sh_efault_args = copy;
	*err = sh_ioctl(h->fd[0], cmd, at);
	sh_efault_args = NULL;
	atomic_store(&hostile.busy, false);
	note(what, h, 7 + moving, 0, *err);
	while (atomic_load(&hostile.moving))
		usleep(10);
	map_back(0);
	map_back(1);
	if (*err == -EFAULT && atomic_load(&hostile.unmapped) != unmapped)
		tally(T_UNMAPPED);
	if (*err == -EFAULT)
		return false;
	if (!moving && memcmp(at, copy, size))
		wrong("%s wrote to memory that cannot be written", what);
	memcpy(body, at, size);
	return true;
}

/* The size of the struct in its first version. */
static size_t first(unsigned long cmd)
{
	return _IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_MEMBER) ? 48 : _IOC_SIZE(cmd);
}

/*
 * Makes the call, now and then with the struct spoilt. `body` lies at the end of
 * a page; its [out] members are filled with FILL. Returns false when the call was
 * spoilt, was refused as it had to be and did nothing.
 */
bool call(const char *what, struct handle *h, unsigned long cmd, void *body, size_t in_flags,
	  int *err)
{
	int fd = h->fd[below(&rng, h->copies)];
	size_t size = _IOC_SIZE(cmd), i;
	char *at = guarded(size), copy[256];
	unsigned int how = size && known(h, cmd) ? below(&rng, 60) : 59;
	int want;

	if (how == 3 && in_flags == NO_FLAGS)
		how = 4;
	if (how == 9 && first(cmd) == size)
		how = 10;

	calls++;
	memcpy(at, body, size);
	switch (how) {
	case 0:		/* no memory at all, or too little of it */
		want = -EFAULT;
		*err = sh_ioctl(fd, cmd, one_in(&rng, 2) ? NULL : at + 1 + below(&rng, size - 1));
		break;
	case 1:		/* smaller than the first version */
		want = -EINVAL;
		cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), below(&rng, first(cmd)));
		at = guarded(_IOC_SIZE(cmd));
		memcpy(at, body, _IOC_SIZE(cmd));
		size = _IOC_SIZE(cmd);
		*err = sh_ioctl(fd, cmd, at);
		break;
	case 2:		/* of a later version, and used */
		want = -E2BIG;
		cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size + 16);
		at = guarded(size + 16);
		memcpy(at, body, size);
		memset(at + size, 0, 16);
		at[size + below(&rng, 16)] = 1;
		*err = sh_ioctl(fd, cmd, at);
		break;
	case 3:		/* an unknown flag; `reserved` is spoilt by the callers */
		want = -EINVAL;
		((uint32_t *)(at + in_flags))[0] |= 1U << (8 + below(&rng, 24));
		memcpy(copy, at, size);
		*err = sh_ioctl(fd, cmd, at);
		expect_err(what, *err, want);
		if (memcmp(at, copy, size))
			wrong("%s was refused and wrote its struct", what);
		note(what, h, how, 0, *err);
		return false;
	case 4:		/* no such command */
		want = -ENOTTY;
		cmd = _IOC(_IOC_DIR(cmd), QUIESCE_IOC_MAGIC, 0x40 + below(&rng, 0xc0), size);
		*err = sh_ioctl(fd, cmd, at);
		break;
	case 9:		/* of an earlier version: what it lacks is not written */
		size = first(cmd) + 8 * below(&rng, (size - first(cmd)) / 8);
		cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
		at = guarded(size);
		memcpy(at, body, size);
		*err = sh_ioctl(fd, cmd, at);
		memcpy(body, at, size);
		return true;
	case 5:		/* of a later version, and not used: is taken as it is */
		cmd = _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size + 16);
		at = guarded(size + 16);
		memcpy(at, body, size);
		memset(at + size, 0, 16);
		*err = sh_ioctl(fd, cmd, at);
		for (i = 0; i < 16; i++)
			if (at[size + i])
				wrong("%s wrote where it knows no members", what);
		memcpy(body, at, size);
		return true;
	case 6:		/* a direction that the command does not have */
		want = -ENOTTY;
		cmd = _IOC(_IOC_DIR(cmd) ^ (1 + below(&rng, 3)), _IOC_TYPE(cmd), _IOC_NR(cmd),
			   size);
		*err = sh_ioctl(fd, cmd, at);
		break;
	case 7:		/* memory that cannot be written, wholly or from some byte on */
	case 8:		/* memory that is protected, unmapped and mapped during the call */
		if ((_IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_WAIT) ||
		     _IOC_NR(cmd) == _IOC_NR(QUIESCE_IOC_ARRIVE_WAIT)) &&
		    ((struct quiesce_wait *)body)->deadline == 1)
			/* Sleeps, if not for long: an arrival before that stands. */
			how = 7;
		return call_hostile(what, h, cmd, body, how == 8, err);
	default:
		*err = sh_ioctl(fd, cmd, at);
		memcpy(body, at, size);
		return true;
	}
	note(what, h, how, 0, *err);
	expect_err(what, *err, want);
	if (how != 0 && memcmp(at, body, size))
		wrong("%s was refused and wrote its struct", what);
	return false;
}

void untouched(const char *what, const void *now, const void *before, size_t size)
{
	if (memcmp(now, before, size))
		wrong("%s failed and wrote its struct", what);
}

/* Handles */

struct handle *new_handle(enum kind kind, struct object *o, struct m_id id, int fd, bool inherit)
{
	for (int i = 0; i < HANDLES; i++) {
		if (handles[i].used)
			continue;
		handles[i] = (struct handle) {
			.used = true,
			.inherit = inherit,
			.kind = kind,
			.o = o,
			.id = id,
			.seen = kind == GROUP ? o->g.phase : 0,
			.fd = { fd },
			.copies = 1,
		};
		o->handles++;
		if (!!(fcntl(fd, F_GETFD) & FD_CLOEXEC) == inherit)
			wrong("close-on-exec of a new descriptor is wrong");
		return &handles[i];
	}
	abort();
}

int free_handles(void)
{
	int n = 0;

	for (int i = 0; i < HANDLES; i++)
		n += !handles[i].used;
	return n;
}

struct object *new_object(void)
{
	for (int i = 0; i < OBJECTS; i++) {
		if (objects[i].used)
			continue;
		memset(&objects[i], 0, sizeof(objects[i]));
		objects[i].used = true;
		return &objects[i];
	}
	return NULL;
}

struct handle *any_handle(void)
{
	unsigned int start = below(&rng, HANDLES);

	for (int i = 0; i < HANDLES; i++) {
		struct handle *h = &handles[(start + i) % HANDLES];

		if (h->used)
			return h;
	}
	return NULL;
}

/* The model's part of the last copy being closed. */
void ended(struct handle *h, const struct m_who *who)
{
	struct object *o = h->o;

	if (h->kind == PAIR) {
		m_pair_end(&o->p, h->id.party, who);
	} else if (h->kind == PARTY) {
		m_group_end(&o->g, h->id, who);
		m_group_release(&o->g, h->id);
	} else {
		m_group_close(&o->g, who->pid);
	}
	h->used = false;
	if (!--o->handles)
		o->used = false;
}

void close_copies(struct handle *h)
{
	while (h->copies)
		close(h->fd[--h->copies]);
}
