// SPDX-License-Identifier: GPL-2.0
/* The C API, used by C. A function returns 0, or the line of what was not so. */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "../../src/include/quiesce_rundown.h"
#include "capi.h"

#define ENSURE(condition)		\
do {					\
	if (!(condition))		\
		return __LINE__;	\
} while (0)

static DEFINE_EX_RUNDOWN_REF(live);
static struct ex_rundown_ref dead = EX_RUNDOWN_REF_INIT_RUN_DOWN(dead);

int quiesce_kunit_capi_word(void)
{
	struct ex_rundown_ref ref;

	ex_initialize_rundown_protection(&ref);
	ENSURE(ex_acquire_rundown_protection(&ref));
	ENSURE(ex_acquire_rundown_protection_ex(&ref, 5));
	ENSURE(!ex_acquire_rundown_protection_ex(&ref, 0));
	ENSURE(!ex_acquire_rundown_protection_ex(&ref, ULONG_MAX));
	ENSURE(ex_wait_for_rundown_protection_release_timeout(&ref, 1) == -ETIMEDOUT);
	ENSURE(!ex_acquire_rundown_protection(&ref));
	ENSURE(!ex_acquire_rundown_protection_ex(&ref, 2));
	ex_release_rundown_protection_ex(&ref, 4);
	ENSURE(ex_wait_for_rundown_protection_release_timeout(&ref, 1) == -ETIMEDOUT);
	ex_release_rundown_protection(&ref);
	ENSURE(ex_wait_for_rundown_protection_release_timeout(&ref, 0) == -ETIMEDOUT);
	ex_release_rundown_protection(&ref);
	ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	ex_rundown_completed(&ref);
	ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	ex_re_initialize_rundown_protection(&ref);
	ENSURE(ex_acquire_rundown_protection(&ref));
	ex_release_rundown_protection(&ref);
	ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	return 0;
}

/* Releases of counts that cannot have been acquired: each with a warning, without effect. */
int quiesce_kunit_capi_bad_counts(void)
{
	static const unsigned long counts[] = { 0, ULONG_MAX, (ULONG_MAX >> 1) + 2 };
	struct ex_rundown_ref ref;
	int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		ex_initialize_rundown_protection(&ref);
		ENSURE(ex_acquire_rundown_protection(&ref));
		ex_release_rundown_protection_ex(&ref, counts[i]);
		ENSURE(ex_wait_for_rundown_protection_release_timeout(&ref, 1) == -ETIMEDOUT);
		ex_release_rundown_protection(&ref);
		/* Neither more nor less than before. */
		ENSURE(!ex_wait_for_rundown_protection_release_timeout(&ref, 60 * HZ));
	}
	return 0;
}

static int signalled(void *arg)
{
	struct ex_rundown_ref *ref = arg;
	int ret = 0;

	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	if (ex_wait_for_rundown_protection_release_interruptible(ref) != -ERESTARTSYS ||
	    ex_wait_for_rundown_protection_release_killable(ref) != -ERESTARTSYS)
		ret = __LINE__;
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return ret;
}

int quiesce_kunit_capi_signals(void)
{
	struct ex_rundown_ref ref;
	struct task_struct *task;
	int ret;

	ex_initialize_rundown_protection(&ref);
	ENSURE(ex_acquire_rundown_protection(&ref));
	task = kthread_run(signalled, &ref, "rundown_signalled");
	ENSURE(!IS_ERR(task));
	while (!(READ_ONCE(ref.word) == 2))
		usleep_range(1000, 2000);
	ret = kthread_stop(task);
	ex_release_rundown_protection(&ref);
	ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	return ret;
}

/* A wait, a begin and a re-initialization where the caller cannot sleep: errors. */
int quiesce_kunit_capi_atomic(void)
{
	struct ex_rundown_ref_cache_aware *percpu = ex_allocate_cache_aware_rundown_protection();
	struct ex_rundown_ref ref;
	int word, aware, re_init, poll;

	ENSURE(percpu);
	ex_initialize_rundown_protection(&ref);
	if (!ex_acquire_rundown_protection(&ref))
		return __LINE__;
	preempt_disable();
	word = ex_wait_for_rundown_protection_release(&ref);
	poll = ex_wait_for_rundown_protection_release_timeout(&ref, 0);
	aware = ex_wait_for_rundown_protection_release_cache_aware(percpu);
	re_init = ex_re_initialize_rundown_protection_cache_aware(percpu);
	preempt_enable();
	/* The rundown of the first was begun by the poll; nothing happened to the other. */
	ex_release_rundown_protection(&ref);
	ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	ENSURE(ex_acquire_rundown_protection_cache_aware(percpu));
	ex_release_rundown_protection_cache_aware(percpu);
	ENSURE(!ex_wait_for_rundown_protection_release_cache_aware(percpu));
	ex_free_cache_aware_rundown_protection(percpu);
	if (!IS_ENABLED(CONFIG_PREEMPT_COUNT))
		return 0;
	ENSURE(word == -EAGAIN);
	ENSURE(poll == -ETIMEDOUT);
	ENSURE(aware == -EAGAIN);
	ENSURE(re_init == -EAGAIN);
	return 0;
}

/*
 * Two waiters, of which the second to return frees the object. Nobody stores to it
 * from then on.
 */
struct shared {
	struct ex_rundown_ref ref;
	atomic_t waiting;
};

static atomic_t waiters_started;

static int wait_and_free(void *arg)
{
	struct shared *object = arg;
	int ret;

	atomic_inc(&waiters_started);
	ret = ex_wait_for_rundown_protection_release(&object->ref);

	if (!atomic_dec_and_test(&object->waiting))
		return ret;
	memset(object, 0x5a, sizeof(*object));
	usleep_range(2000, 3000);
	if (memchr_inv(object, 0x5a, sizeof(*object)))
		ret = __LINE__;
	kfree(object);
	return ret;
}

int quiesce_kunit_capi_freed_after_every_wait(unsigned int rounds)
{
	while (rounds--) {
		struct shared *object = kzalloc_obj(*object);
		struct task_struct *tasks[2];
		int i, ret = 0;

		ENSURE(object);
		ex_initialize_rundown_protection(&object->ref);
		if (!ex_acquire_rundown_protection(&object->ref))
			return __LINE__;
		atomic_set(&object->waiting, 2);
		atomic_set(&waiters_started, 0);
		for (i = 0; i < 2; i++) {
			tasks[i] = kthread_create(wait_and_free, object, "rundown_wait%d", i);
			ENSURE(!IS_ERR(tasks[i]));
			get_task_struct(tasks[i]);
			wake_up_process(tasks[i]);
		}
		/* Both wait, or are about to. */
		while (atomic_read(&waiters_started) != 2 || READ_ONCE(object->ref.word) != 2)
			usleep_range(1000, 2000);
		ex_release_rundown_protection(&object->ref);
		for (i = 0; i < 2; i++)
			ret = kthread_stop_put(tasks[i]) ?: ret;
		ENSURE(!ret);
	}
	return 0;
}

int quiesce_kunit_capi_statics(void)
{
	/* The suite may run again, and finds them as they were left: run down. */
	if (!ex_acquire_rundown_protection(&live)) {
		ex_re_initialize_rundown_protection(&live);
		ENSURE(ex_acquire_rundown_protection(&live));
	}
	ex_release_rundown_protection(&live);
	ENSURE(!ex_wait_for_rundown_protection_release(&live));

	ENSURE(!ex_acquire_rundown_protection(&dead));
	ENSURE(!ex_wait_for_rundown_protection_release(&dead));
	ex_re_initialize_rundown_protection(&dead);
	ENSURE(ex_acquire_rundown_protection(&dead));
	ex_release_rundown_protection(&dead);
	ENSURE(!ex_wait_for_rundown_protection_release(&dead));
	return 0;
}

static int cache_aware(struct ex_rundown_ref_cache_aware *ref)
{
	ENSURE(ex_acquire_rundown_protection_cache_aware(ref));
	ENSURE(ex_acquire_rundown_protection_cache_aware_ex(ref, 5));
	ENSURE(!ex_acquire_rundown_protection_cache_aware_ex(ref, 0));
	ENSURE(ex_wait_for_rundown_protection_release_cache_aware_timeout(ref, 1) == -ETIMEDOUT);
	ENSURE(!ex_acquire_rundown_protection_cache_aware(ref));
	ex_release_rundown_protection_cache_aware_ex(ref, 5);
	ex_release_rundown_protection_cache_aware(ref);
	ENSURE(!ex_wait_for_rundown_protection_release_cache_aware(ref));
	ex_rundown_completed_cache_aware(ref);
	ENSURE(!ex_wait_for_rundown_protection_release_cache_aware(ref));
	ex_re_initialize_rundown_protection_cache_aware(ref);
	ENSURE(ex_acquire_rundown_protection_cache_aware(ref));
	ex_release_rundown_protection_cache_aware(ref);
	ENSURE(!ex_wait_for_rundown_protection_release_cache_aware(ref));
	return 0;
}

int quiesce_kunit_capi_cache_aware(void)
{
	size_t size = ex_size_of_rundown_protection_cache_aware();
	struct ex_rundown_ref_cache_aware *ref;
	void *buffer;
	int ret;

	ref = ex_allocate_cache_aware_rundown_protection();
	ENSURE(ref);
	ret = cache_aware(ref);
	ex_free_cache_aware_rundown_protection(ref);
	ex_free_cache_aware_rundown_protection(NULL);
	if (ret)
		return ret;

	buffer = kmalloc(size, GFP_KERNEL);
	ENSURE(buffer);
	ref = ex_initialize_rundown_protection_cache_aware(buffer, size - 1);
	if (!ref) {
		ref = ex_initialize_rundown_protection_cache_aware(buffer, size);
		ret = ref ? cache_aware(ref) : __LINE__;
	} else {
		ret = __LINE__;
	}
	if (ref)
		ex_uninitialize_rundown_protection_cache_aware(ref);
	kfree(buffer);
	return ret;
}

/* Releases what was not acquired: of a live object, or of one that is run down. */
int quiesce_kunit_capi_over_release(bool run_down)
{
	struct ex_rundown_ref ref;

	ex_initialize_rundown_protection(&ref);
	if (run_down)
		ENSURE(!ex_wait_for_rundown_protection_release(&ref));
	ex_release_rundown_protection(&ref);
	/* It is leaked: nobody may take it for run down, ever. */
	ENSURE(ex_acquire_rundown_protection(&ref) == !run_down);
	ENSURE(ex_wait_for_rundown_protection_release(&ref) == -EOVERFLOW);
	ex_release_rundown_protection(&ref);
	ENSURE(ex_wait_for_rundown_protection_release(&ref) == -EOVERFLOW);
	return 0;
}

void quiesce_kunit_capi_re_init_too_early(void)
{
	struct ex_rundown_ref ref;

	ex_initialize_rundown_protection(&ref);
	ex_re_initialize_rundown_protection(&ref);
}

void quiesce_kunit_capi_completed_too_early(void)
{
	struct ex_rundown_ref ref;

	ex_initialize_rundown_protection(&ref);
	ex_rundown_completed(&ref);
}

/* An object that is freed as soon as the wait is over, with the last release under way. */
struct freed {
	struct ex_rundown_ref ref;
	unsigned long data;
};

static int release_and_end(void *arg)
{
	struct freed *object = arg;

	object->data++;
	ex_release_rundown_protection(&object->ref);
	return 0;
}

int quiesce_kunit_capi_freed_after_wait(unsigned int rounds)
{
	while (rounds--) {
		struct freed *object = kzalloc_obj(*object);
		struct task_struct *task;
		int ret;

		ENSURE(object);
		ex_initialize_rundown_protection(&object->ref);
		if (!ex_acquire_rundown_protection(&object->ref)) {
			kfree(object);
			return __LINE__;
		}
		task = kthread_create(release_and_end, object, "rundown_freed");
		if (IS_ERR(task)) {
			kfree(object);
			return __LINE__;
		}
		get_task_struct(task);
		wake_up_process(task);
		ret = ex_wait_for_rundown_protection_release(&object->ref);
		if (!ret && object->data != 1)
			ret = __LINE__;
		kfree(object);
		/* It is this module's code that runs there. */
		kthread_stop_put(task);
		if (ret)
			return ret;
	}
	return 0;
}
