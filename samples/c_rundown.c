// SPDX-License-Identifier: GPL-2.0
/*
 * Sample: run-down protection for C.
 *
 * Threads use a buffer that is taken away while they do, and given back later. The
 * same in Rust is rust_rundown.rs.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "../src/include/quiesce_rundown.h"

#define USERS	3

/* Run down until there is a buffer. */
static struct ex_rundown_ref buffer_ref = EX_RUNDOWN_REF_INIT_RUN_DOWN(buffer_ref);
static unsigned long *buffer;

/* Counts the accesses of all threads, with a counter per CPU. */
static struct ex_rundown_ref_cache_aware *statistics;

static struct task_struct *users[USERS];
static atomic_t used, refused;

static int user(void *unused)
{
	while (!kthread_should_stop()) {
		if (ex_acquire_rundown_protection(&buffer_ref)) {
			/* It stays there until the release; sleeping is fine. */
			buffer[0]++;
			usleep_range(100, 200);
			buffer[1]++;
			ex_release_rundown_protection(&buffer_ref);
			atomic_inc(&used);
		} else {
			atomic_inc(&refused);
			usleep_range(100, 200);
		}
		if (ex_acquire_rundown_protection_cache_aware(statistics))
			ex_release_rundown_protection_cache_aware(statistics);
	}
	return 0;
}

static int give_buffer(void)
{
	buffer = kcalloc(2, sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	ex_re_initialize_rundown_protection(&buffer_ref);
	return 0;
}

static int take_buffer(void)
{
	int err;

	/* From now on nobody gets it; those who have it finish first. */
	err = ex_wait_for_rundown_protection_release(&buffer_ref);
	if (err)
		return err;
	ex_rundown_completed(&buffer_ref);
	kfree(buffer);
	buffer = NULL;
	return 0;
}

static void stop_users(void)
{
	int i;

	for (i = 0; i < USERS && users[i]; i++)
		kthread_stop(users[i]);
}

static int __init c_rundown_init(void)
{
	int i, err;

	statistics = ex_allocate_cache_aware_rundown_protection();
	if (!statistics)
		return -ENOMEM;

	for (i = 0; i < USERS; i++) {
		struct task_struct *task = kthread_run(user, NULL, "c_rundown/%d", i);

		if (IS_ERR(task)) {
			err = PTR_ERR(task);
			goto stop;
		}
		users[i] = task;
	}

	for (i = 0; i < 3; i++) {
		err = give_buffer();
		if (err)
			goto stop;
		msleep(20);
		err = take_buffer();
		if (err)
			goto stop;
		pr_info("the buffer was taken away in use: %d uses, %d refusals\n",
			atomic_read(&used), atomic_read(&refused));
	}
	err = give_buffer();
	if (err)
		goto stop;
	return 0;

stop:
	stop_users();
	ex_free_cache_aware_rundown_protection(statistics);
	return err;
}

static void __exit c_rundown_exit(void)
{
	/* The threads run this module's code: they end first. */
	stop_users();
	if (!take_buffer())
		pr_info("everybody is out\n");
	if (!ex_wait_for_rundown_protection_release_cache_aware(statistics))
		ex_free_cache_aware_rundown_protection(statistics);
}

module_init(c_rundown_init);
module_exit(c_rundown_exit);

MODULE_DESCRIPTION("Uses quiesce's run-down protection from C");
MODULE_AUTHOR("The quiesce developers");
MODULE_LICENSE("GPL");
