// SPDX-License-Identifier: GPL-2.0
/* The C API, used by C. A function returns 0, or the line of what was not so. */

#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
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
	ex_release_rundown_protection_ex(&ref, 0);
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
